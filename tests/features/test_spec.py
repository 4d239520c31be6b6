"""FeatureSpec: names in and out, the bands they need, and a digest that covers the arithmetic."""

from __future__ import annotations

import json
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import BANDS, INDICES, Feature, FeatureSpec, Index
from features.bands import LAYERS

STATISTICS = ["count", "mean", "std", "min", "max", "median", "range", *(f"p{k}" for k in range(101))]
SUBJECTS = [*INDICES, *(band for band in BANDS if band not in LAYERS)]
NAMES = st.lists(
    st.sampled_from(sorted(LAYERS))
    | st.builds("{}_{}".format, st.sampled_from(SUBJECTS), st.sampled_from(STATISTICS)),
    min_size=1,
    max_size=12,
    unique=True,
)
ROUND = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def index(formula: str, name: str = "mine") -> dict[str, Index]:
    return {name: Index(name, formula, "soil", (0.0, 1.0), "")}


@ROUND
@given(NAMES)
def test_a_spec_prints_the_names_that_it_was_parsed_from(names: list[str]) -> None:
    spec = FeatureSpec.parse(names)
    assert spec.names == tuple(names)
    assert FeatureSpec.parse(spec.names) == spec


@ROUND
@given(NAMES)
def test_json_carries_a_spec_there_and_back(names: list[str]) -> None:
    spec = FeatureSpec.parse(names)
    back = FeatureSpec.from_json(spec.to_json())
    assert back == spec
    assert (back.digest, back.bands, back.names) == (spec.digest, spec.bands, spec.names)


@ROUND
@given(NAMES)
def test_the_bands_are_those_of_the_formulas_in_canonical_order(names: list[str]) -> None:
    needed: set[str] = set()
    for name in names:
        subject = name if name in LAYERS else name.rpartition("_")[0]
        text = INDICES[subject].formula if subject in INDICES else subject
        needed |= set(re.findall("[a-z_]+[0-9]*", text)) & set(BANDS)
    assert FeatureSpec.parse(names).bands == tuple(b for b in BANDS if b in needed)


@ROUND
@given(NAMES, st.randoms(use_true_random=False))
def test_another_order_has_another_digest(names: list[str], rng: random.Random) -> None:
    shuffled = list(names)
    rng.shuffle(shuffled)
    same = shuffled == names
    assert (FeatureSpec.parse(shuffled).digest == FeatureSpec.parse(names).digest) is same


def test_a_name_is_split_at_its_last_underscore() -> None:
    spec = FeatureSpec.parse(["vh_vv_p10", "swir16_mean", "slope"])
    assert [(f.formula, f.statistic) for f in spec.features] == [
        ("vh / vv", "p10"),
        ("swir16", "mean"),
        ("slope", None),
    ]


def test_names_may_come_from_any_iterable() -> None:
    assert FeatureSpec.parse(name for name in ("ndvi_p50", "slope")).names == ("ndvi_p50", "slope")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "ndvii_p50",
            r"unknown index or band 'ndvii' in feature 'ndvii_p50'; did you mean 'ndvi'\?.*known: ndvi,",
        ),
        ("b8_p50", "unknown index or band 'b8'"),
        ("NDVI_p50", "unknown index or band 'NDVI'"),
        ("_p50", "unknown index or band ''"),
        ("slope_mean", "unknown index or band 'slope'"),
        ("elevation_p50", "unknown index or band 'elevation'"),
        ("ndvi", "unknown feature 'ndvi'; expected <index or band>_<statistic>.*slope"),
        ("red", "unknown feature 'red'"),
        ("", "unknown feature ''"),
        ("ndvi_", "feature 'ndvi_': unknown statistic ''; known: count, mean"),
        ("ndvi_p101", "feature 'ndvi_p101': unknown statistic 'p101'"),
        ("ndvi_p05", "unknown statistic 'p05'"),
        ("ndvi_p-1", "unknown statistic 'p-1'"),
        ("ndvi_p5.5", "unknown statistic 'p5.5'"),
        ("ndvi_P50", "unknown statistic 'P50'"),
        ("ndvi_p50 ", "unknown statistic 'p50 '"),
        ("ndvi_p50\n", "unknown statistic"),
        ("ndvi_mode", "unknown statistic 'mode'"),
        ("nir / red_mean", "unknown index or band 'nir / red'"),
        ("__import__('os')_mean", "unknown index or band"),
    ],
)
def test_an_unknown_part_of_a_name_is_named_with_what_is_known(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSpec.parse([name])


def test_a_percentile_is_written_in_plain_digits() -> None:
    """Else one percentile has many names, and a digest and a band description for each."""
    with pytest.raises(ValueError, match="unknown statistic"):
        FeatureSpec.parse(["red_p5\N{ARABIC-INDIC DIGIT THREE}"])


def test_a_repeated_feature_is_refused() -> None:
    with pytest.raises(ValueError, match="'ndvi_p50' is given 2 times"):
        FeatureSpec.parse(["ndvi_p50", "slope", "ndvi_p50"])


def test_no_feature_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no features given"):
        FeatureSpec.parse([])


def test_a_layer_takes_no_statistic_and_a_band_needs_one() -> None:
    with pytest.raises(ValueError, match="'slope_mean' needs no statistic"):
        FeatureSpec((Feature("slope_mean", "slope", "mean"),))
    with pytest.raises(ValueError, match="'red' needs a statistic"):
        FeatureSpec((Feature("red", "red", None),))


def test_the_digest_covers_the_formulas() -> None:
    one = FeatureSpec.parse(["mine_p50"], index("nir - red"))
    other = FeatureSpec.parse(["mine_p50"], index("nir + red"))
    assert one.names == other.names
    assert one.digest != other.digest


def test_the_digest_covers_names_and_statistics() -> None:
    digests = {
        FeatureSpec.parse([name]).digest for name in ("ndvi_p50", "ndvi_median", "ndvi_p51", "savi_p50")
    }
    assert len(digests) == 4


def test_the_digest_does_not_mind_how_a_formula_is_spelled() -> None:
    one = FeatureSpec.parse(["mine_p50"], index("(nir-red)/(nir+red)"))
    other = FeatureSpec.parse(["mine_p50"], index(" ( nir - red ) / ((nir + red))  "))
    assert one.digest == other.digest == FeatureSpec.from_json(one.to_json()).digest
    assert one == other
    spelled = FeatureSpec((Feature("mine_p50", "(nir-red)/(nir+red)", "p50"),))
    assert spelled.digest == one.digest


def test_a_stored_spec_keeps_its_formula_where_the_canon_has_changed() -> None:
    stored = FeatureSpec.parse(["ndvi_p50"], index("nir / red", "ndvi")).to_json()
    assert FeatureSpec.from_json(stored).features[0].formula == "nir / red"


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '[{"name": "a_mean", "formula": "__import__(\'os\')", "statistic": "mean"}]',
        '[{"name": "a_mean", "formula": "red + vv", "statistic": "mean"}]',
        '[{"name": "slope", "formula": "slope", "statistic": "mean"}]',
        "not json",
    ],
)
def test_a_stored_spec_is_checked_as_a_written_one(text: str) -> None:
    with pytest.raises(ValueError):
        FeatureSpec.from_json(text)


def test_a_stored_statistic_is_checked_as_a_written_one() -> None:
    rows = [{"name": "red_p999", "formula": "red", "statistic": "p999"}]
    with pytest.raises(ValueError, match="p999"):
        FeatureSpec.from_json(json.dumps(rows))


def test_a_spec_is_a_value() -> None:
    spec = FeatureSpec.parse(["ndvi_p50", "slope"])
    assert hash(spec) == hash(FeatureSpec.parse(["ndvi_p50", "slope"]))
    with pytest.raises(AttributeError):
        spec.features = ()  # type: ignore[misc]
