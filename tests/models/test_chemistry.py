"""Conversions to ECe against the published formulas and a slow version of their spread."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import chemistry
from models.chemistry import FORMULAS, Formula, Readings, convert
from models.legends import Scheme

# --- units and temperature ---------------------------------------------------------------------


def test_units_are_said_and_never_guessed() -> None:
    for unit, value in [
        ("dS/m", 1.5),
        ("mS/cm", 1.5),
        ("uS/cm", 1500),
        ("µS/cm", 1500),
        ("\u03bcS/cm", 1500),
        ("mS/m", 150),
        ("S/m", 0.15),
    ]:
        assert chemistry.to_ds_m(value, unit) == pytest.approx(1.5), unit
    for unit in ("", "ppm", "ds", "MS/m"):
        with pytest.raises(ValueError, match="unknown unit"):
            chemistry.to_ds_m(1.0, unit)


def test_temperature_factors_are_those_of_handbook_60() -> None:
    # USSL Handbook 60 (Richards 1954), Table 15.
    table = {5: 1.613, 10: 1.411, 15: 1.247, 20: 1.112, 25: 1.0, 30: 0.907, 35: 0.829, 40: 0.763}
    for t, factor in table.items():
        assert chemistry.to_25c(1.0, t) == pytest.approx(factor, rel=0.013), t
    assert chemistry.to_25c(2.0, 25) == 2 and chemistry.to_25c(2.0, np.nan) == 2
    published = 0.4470 + 1.4034 * math.exp(-18 / 26.815)
    assert chemistry.to_25c(1.0, 18) == pytest.approx(published, rel=7e-4)
    with pytest.raises(ValueError, match="temperature is 77"):
        chemistry.to_25c([1.0, 1.0], [20.0, 77.0])


def test_salts() -> None:
    np.testing.assert_allclose(chemistry.from_tds([640.0, 3200, 8000]), [1, 5, 10])
    assert chemistry.to_tss(4.0) == 40


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("1:5", "1:5"),
        (" 1 : 2.50 ", "1:2.5"),
        ("1:2,5", "1:2.5"),
        ("1/5", "1:5"),
        ("EC1:5", "1:5"),
        ("EC_ratio1-2.5", "1:2.5"),
        ("ECe_sat", "paste"),
        ("Saturated paste", "paste"),
        ("ECe", "paste"),
        ("bão hòa", "paste"),
        ("In-situ", "in-situ"),
        ("5:1", "5:1"),
        ("1:0", "1:0"),
        ("1:x", "1:x"),
    ],
)
def test_extracts_have_one_spelling(text: str, name: str) -> None:
    assert chemistry.parse_extract(text) == name


# --- formulas ----------------------------------------------------------------------------------

#: Each published formula at EC = 2 dS/m, in plain arithmetic.
AT_TWO = {
    ("1:5", "coarse"): [8.22 * 2 - 0.33],
    ("1:5", "medium"): [7.58 * 2 + 0.06],
    ("1:5", "fine"): [7.36 * 2 - 0.24],
    ("1:2.5", "coarse"): [4.3 * 2 + 0.17],
    ("1:2.5", "medium"): [3.84 * 2 + 0.35],
    ("1:2.5", "fine"): [3.68 * 2 + 0.22],
    ("1:1", "coarse"): [2.72 * 2 - 1.27, 3.01 * 2 - 0.06],
    ("1:1", "medium"): [2.15 * 2 - 0.44, 3.01 * 2 - 0.77],
    ("1:1", "fine"): [2.03 * 2 - 0.41, 2.66 * 2 - 0.97],
    ("1:2", "coarse"): [2.79 * 2 + 0.71, 3.58 * 2 + 0.1],
    ("1:2", "medium"): [2.35 * 2 - 0.36, 3.23 * 2 - 0.67],
    ("1:2", "fine"): [2.16 * 2 + 0.03, 3.12 * 2 - 0.59],
}
ANY_TEXTURE = {
    "1:5": [
        6.4 * 2,
        6.53 * 2 - 0.108,
        5.97 * 2 - 1.17,
        11.68 * 2 - 5.77,
        8.7 * 2,
        11.74 * 2 - 6.15,
        5.4 * 2 - 0.61,
        4.834 * 2 + 0.437,
        math.exp(0.7 * math.log(2) + 1.78),
        10 ** (1.256 * math.log10(2) + 0.766),
    ],
    "1:2.5": [3.3 * 2 - 0.2, 4.77 * 2],
    "1:1": [1.83 * 2 + 0.117, 2.2 * 2, 1.93 * 2 - 0.57, 1.79 * 2 + 1.46],
    "1:2": [],
}


@pytest.mark.parametrize(("extract", "texture"), AT_TWO)
def test_each_formula_is_the_published_one(extract: str, texture: str) -> None:
    found = convert(Readings(2.0, "dS/m", extract, texture))
    wanted = AT_TWO[extract, texture] + ANY_TEXTURE[extract]
    np.testing.assert_allclose(sorted(found[0].formulas.values()), sorted(wanted))
    assert found.ece[0] == pytest.approx(statistics.geometric_mean(wanted))


def test_faos_dilution_takes_texture_and_humus() -> None:
    for texture, water in [("loam", 25), ("clay loam", 44), ("clay", 63)]:
        for extract, parts in [("1:1", 1), ("1:2.5", 2.5), ("1:5", 5), ("1:10", 10)]:
            said = convert(Readings(1.0, "dS/m", extract, texture, humus=0.3))[0].formulas["FAO 2006"]
            assert said == pytest.approx(100 * parts / water)
    assert "FAO 2006" not in convert(Readings(1.0, "dS/m", "1:5", "loam"))[0].formulas
    alone = convert(Readings(1.0, "dS/m", "1:10", "loam", humus=0.3))
    assert alone.ece[0] == pytest.approx(40) and np.isnan(alone.variance[0])


def test_every_formula_names_its_source_and_is_there_once() -> None:
    assert all(f.source for f in FORMULAS)
    assert len({f.id for f in FORMULAS}) == len(FORMULAS)


def test_slopes_fall_from_coarse_to_fine() -> None:
    """The paste of sand holds less water; R's soilassessment names these textures the other way round."""
    for extract in ("1:1", "1:2.5", "1:5"):
        slopes = [
            f.factor
            for f in FORMULAS
            if isinstance(f, Formula) and f.study == "Sonmez 2008" and f.extract == extract
        ]
        assert slopes == sorted(slopes, reverse=True) and len(slopes) == 3


def test_the_paste_is_the_quantity_itself() -> None:
    found = convert(Readings([0.4, 200.0], "dS/m", "saturated paste"), lab_log_sd=0.05)
    assert found.ece.tolist() == [0.4, 200]
    np.testing.assert_allclose(found.variance, 0.0025)
    assert not found.clipped.any() and not found.beyond_calibration.any()


# --- spread ------------------------------------------------------------------------------------


def local(study: str, factor: float, offset: float = 0.0, **more: Any) -> Formula:
    return Formula(study, "1:5", factor, offset, **more)


def test_a_multiplier_is_shared_by_all_samples_and_not_averaged() -> None:
    three = [local("a", 4.0), local("b", 6.0), local("c", 9.0)]
    want = statistics.variance(map(math.log, (4, 6, 9)))
    for n in (1, 5, 500):
        found = convert(Readings(np.linspace(0.3, 6, n), "dS/m", "1:5"), three, lab_log_sd=0.1)
        np.testing.assert_allclose(found.shared, want)
        np.testing.assert_allclose(found.own, 0.01)
        assert found.mean_variance() == pytest.approx(want + 0.01 / n)
    np.testing.assert_allclose(found.ece, 6 * found.readings.ec_25)


def test_extracts_do_not_move_together() -> None:
    found = convert(Readings([1.0, 2, 1, 2], "dS/m", ["1:5", "1:5", "1:2.5", "paste"], "clay"))
    covariance = found.covariance()
    assert covariance[0, 1] == pytest.approx(found.shared[0]) and covariance[0, 1] > 0
    assert covariance[0, 2] == covariance[2, 3] == covariance[0, 3] == 0
    np.testing.assert_allclose(np.diag(covariance), found.variance)
    assert np.linalg.eigvalsh(covariance).min() > -1e-12
    assert found.mean_variance() == pytest.approx(covariance.mean())


def slow(x: list[float], formulas: list[tuple[str, float, float]]) -> Any:
    """Shared and own variance by plain loops; every formula applies and has its own study."""
    logs = [[math.log(f * v + b) for _, f, b in formulas] for v in x]
    mean = [statistics.fmean(row) for row in logs]
    apart = [[a - m for a in row] for row, m in zip(logs, mean, strict=True)]
    k = len(formulas)
    shift = [statistics.fmean(row[s] for row in apart) for s in range(k)]
    shared = sum(s**2 for s in shift) / (k - 1)
    own = [sum((row[s] - shift[s]) ** 2 for s in range(k)) / (k - 1) for row in apart]
    return [math.exp(m) for m in mean], shared, own


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(0.5, 20), min_size=1, max_size=8),
    st.lists(st.tuples(st.floats(4, 12), st.floats(0, 3)), min_size=2, max_size=5),
)
def test_the_spread_equals_the_slow_version(x: list[float], lines: list[tuple[float, float]]) -> None:
    named = [(f"s{k}", f, b) for k, (f, b) in enumerate(lines)]
    found = convert(Readings(x, "dS/m", "1:5"), [local(*line) for line in named])
    ece, shared, own = slow(x, named)
    np.testing.assert_allclose(found.ece, ece)
    np.testing.assert_allclose(found.shared, shared, atol=1e-12)
    np.testing.assert_allclose(found.own, own, atol=1e-12)


def test_formulas_of_one_study_have_one_vote() -> None:
    many = [local("a", 4.0), local("b", 8.0, texture="coarse"), local("b", 8.0, texture="fine")]
    assert convert(Readings(1.0, "dS/m", "1:5"), many).ece[0] == pytest.approx(math.sqrt(32))


def test_a_texture_not_known_widens_the_samples_own_error() -> None:
    found = convert(Readings([2.0, 2.0], "dS/m", "1:2.5", ["clay", ""]))
    assert found.own[1] > found.own[0]


def test_the_error_covers_the_formulas() -> None:
    x = np.geomspace(0.8, 4, 40)
    found = convert(Readings(x, "dS/m", "1:5", "clay"))
    low, high = found.interval(0.9)
    said = found.values[:, ~np.isnan(found.values).all(axis=0)]
    inside = (said >= low[:, None]) & (said <= high[:, None])
    assert inside.mean() > 0.85


def test_one_formula_that_states_no_error_leaves_it_unknown() -> None:
    one = convert(Readings(1.0, "dS/m", "1:5"), [local("a", 5.0)])
    assert one.ece[0] == 5 and np.isnan(one.variance[0])
    mine = convert(Readings(1.0, "dS/m", "1:5"), [local("a", 5.0, log_sd=0.2)], lab_log_sd=0.1)
    assert mine.own[0] == pytest.approx(0.05) and mine.shared[0] == 0


# --- clipping and extrapolation ----------------------------------------------------------------


def test_a_formula_that_says_the_impossible_is_left_out_and_flagged() -> None:
    found = convert(Readings([0.4, 3.0], "dS/m", "1:5", "clay"))
    chi = found.ids.index("Chi 2010 1:5")
    assert found.values[0, chi] < 0 and found.clipped.tolist() == [True, False]
    rest = [v for v in found[0].formulas.values() if v > 0.4]
    studies = len(rest)
    assert studies < len(found[0].formulas)
    assert found.ece[0] == pytest.approx(statistics.geometric_mean(rest))


def test_where_all_fall_below_the_extract_it_is_the_bound() -> None:
    found = convert(Readings(0.3, "dS/m", "1:5"), [local("a", 5.0, -3.0)])
    assert found.ece[0] == pytest.approx(0.3) and found.clipped[0]
    assert np.isnan(found.shared[0]) and np.isnan(found.own[0])
    assert found.beyond_calibration[0]


def test_a_formula_below_the_extract_itself_is_left_out() -> None:
    found = convert(Readings(1.0, "dS/m", "1:5"), [local("a", 6.0), local("b", 2.0, -1.2)])
    assert found.ece[0] == 6 and found.clipped[0]
    wet = convert(Readings(1.0, "dS/m", "1:1"), [Formula("c", "1:1", 0.7), Formula("d", "1:1", 0.6)])
    assert wet.ece[0] == 0.7  # a very wet paste is thinner than a 1:1 extract, but not that thin


@settings(max_examples=50, deadline=None)
@given(
    st.floats(0.001, 100),
    st.sampled_from(["1:1", "1:2", "1:2.5", "1:5"]),
    st.sampled_from(["", "clay", "loam"]),
)
def test_ece_is_never_below_what_the_extract_allows(ec: float, extract: str, texture: str) -> None:
    found = convert(Readings(ec, "dS/m", extract, texture))
    assert found.ece[0] >= ec / 1.5 * 0.999999


def test_beyond_calibration_is_flagged() -> None:
    known = [local("a", 5.0, calibrated=(1.0, 10.0)), local("b", 6.0)]
    found = convert(Readings([0.1, 1.0, 3.0], "dS/m", "1:5"), known)
    assert found.beyond_calibration.tolist() == [True, False, True]
    assert convert(Readings(1.0, "dS/m", "1:5"), known[1:]).beyond_calibration[0]


def test_chances_of_the_classes() -> None:
    title = {"vi": "Mặn", "en": "Saline"}
    ends = {"low": 2, "middle": 4, "high": None}
    classes = [
        {"code": k, "name": n, "below": e, "title": title, "colour": "#000000"}
        for k, (n, e) in enumerate(ends.items(), 1)
    ]
    about = {"name": "s", "title": title, "quantity": "ece", "status": "unverified", "source": "here"}
    scheme = Scheme.model_validate(about | {"unit": "dS/m", "classes": classes})
    found = convert(Readings([0.5, np.nan], "dS/m", "1:5"), [local("a", 5.0, log_sd=0.4)])
    draws = 2.5 * np.exp(np.random.default_rng(0).normal(0, 0.4, 200_000))
    wanted = [(draws < 2).mean(), ((draws >= 2) & (draws < 4)).mean(), (draws >= 4).mean()]
    np.testing.assert_allclose(found.chances(scheme)[0], wanted, atol=0.005)
    assert np.isnan(found.chances(scheme)[1]).all()
    paste = convert(Readings([1.0, 2.0, 4.0], "dS/m", "paste"))
    assert paste.chances(scheme).argmax(axis=1).tolist() == [0, 1, 2]
    assert scheme.classify(paste.ece).tolist() == [1, 2, 3]
    other = Scheme.model_validate(about | {"unit": "%", "classes": classes})
    with pytest.raises(ValueError, match="expected ece in dS/m"):
        paste.chances(other)


# --- readings ----------------------------------------------------------------------------------


def test_what_was_measured_is_kept() -> None:
    readings = Readings(
        [1500.0, 2.0],
        ["uS/cm", "dS/m"],
        ["1:5", "1:2.5"],
        ["Sét", None],
        [30.0, np.nan],
        method="TCVN 6650",
    )
    frame = convert(readings).frame()
    assert frame.ec.tolist() == [1500, 2] and frame.unit.tolist() == ["uS/cm", "dS/m"]
    assert frame.extract.tolist() == ["1:5", "1:2.5"] and frame.texture.tolist() == ["Sét", ""]
    assert frame.temperature[0] == 30 and frame.method.tolist() == ["TCVN 6650"] * 2
    assert readings.ec_25[0] == pytest.approx(1.5 * 0.907, rel=0.003)
    assert readings.names.tolist() == ["clay", ""] and readings.groups.tolist() == ["fine", ""]
    assert (frame.ece_lower < frame.ece).all() and (frame.ece < frame.ece_upper).all()


def test_what_was_not_measured_has_no_value_and_no_flag() -> None:
    found = convert(Readings([np.nan, 2.0], "dS/m", "1:5", "clay"))
    assert np.isnan(found.ece[0]) and np.isnan(found.variance[0])
    assert not found.clipped[0] and not found.beyond_calibration[0]
    only = convert(Readings(2.0, "dS/m", "1:5", "clay"))
    assert found.ece[1] == only.ece[0] and found.shared[1] == pytest.approx(only.shared[0])


def test_no_reading_is_no_error() -> None:
    found = convert(Readings([], "dS/m", "1:5"))
    assert len(found) == 0 and found.frame().empty


def test_columns_of_a_table_are_taken_as_they_are() -> None:
    table = pd.DataFrame({"ec": [800, 900], "ratio": ["1:5", "1:5"], "tex": ["Sét", np.nan]}, index=[7, 3])
    found = convert(Readings(table.ec, "µS/cm", table.ratio, table.tex))
    assert found.ece.shape == (2,) and found.readings.texture.tolist() == ["Sét", ""]


def test_one_sample_is_one_value() -> None:
    one = convert(Readings(2.0, "dS/m", "1:5", "clay"))[0]
    assert one.lower < one.ece < one.upper and one.log_sd > 0
    assert one.upper / one.ece == pytest.approx(math.exp(1.644854 * one.log_sd), rel=1e-5)
    assert 9 < min(one.formulas.values()) < max(one.formulas.values()) < 18


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (([1.0, 0.0], "dS/m", "1:5"), "row 1: conductivity is 0"),
        (([1.0, -2.0], "dS/m", "1:5"), "row 1: conductivity is -2"),
        (([1.0, np.inf], "dS/m", "1:5"), "row 1: conductivity is inf"),
        (([1.0, 1.0], ["dS/m", "ppm"], "1:5"), "row 1: unit: unknown unit 'ppm'"),
        (([1.0, 1.0], "dS/m", "1:5", ["clay", "mud"]), "row 1: texture: unknown texture 'mud'"),
        (([1.0, 1.0], "dS/m", "1:5", "", [20.0, 80.0]), "temperature is 80"),
    ],
)
def test_readings_that_cannot_be_read_are_refused(fields: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Readings(*fields)


def test_an_extract_without_formula_is_refused_and_a_local_calibration_takes_it() -> None:
    for extract in ("in-situ", "1:7", "5:1"):
        with pytest.raises(ValueError, match=f"row 1: no formula takes extract '{extract}'"):
            convert(Readings([1.0, 1.0], "dS/m", ["1:5", extract]))
    mine = Formula("my field", "in-situ", 3.0, 0.5, log_sd=0.3, source="calibration of 40 pits")
    found = convert(Readings(1.0, "dS/m", "in-situ"), [*FORMULAS, mine])
    assert found.ece[0] == 3.5 and found.variance[0] == pytest.approx(0.09)
