"""Areas and accuracies against the published examples, and slow versions written from the papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from models import area

Z = norm.ppf(0.975)

# Olofsson et al. 2013, Tables 3 and 4: Landsat pixels of three change classes.
COUNTS_2013 = [[97, 0, 3], [3, 279, 18], [2, 1, 97]]
PIXELS_2013 = [22353, 1122543, 610228]

# Olofsson et al. 2013, second example (Table 6), areas as shares.
COUNTS_2013B = [[127, 66, 54], [2, 322, 17], [0, 15, 540]]
SHARES_2013B = [0.007, 0.295, 0.698]

# Olofsson et al. 2014, Table 8: deforestation, forest gain, stable forest, stable non-forest, in hectares.
COUNTS_2014 = [[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]]
HECTARES_2014 = np.array([200000, 150000, 3200000, 6450000]) * 0.09


# --- published ---------------------------------------------------------------------------------


def test_olofsson_2013_first_example() -> None:
    found = area.stratified(COUNTS_2013, PIXELS_2013)
    assert found.area[0] == pytest.approx(45112, abs=1)  # eq. 10
    assert found.area_se[0] == pytest.approx(10751, abs=1)  # eq. 12
    assert found.overall == pytest.approx(0.944, abs=5e-4)  # eq. 16
    np.testing.assert_allclose(found.users, [0.97, 0.93, 0.97], atol=1e-9)
    np.testing.assert_allclose(found.producers, [0.4806308, 0.9941887, 0.8969259], rtol=1e-6)
    np.testing.assert_allclose(Z * found.users_se, [0.03360292, 0.02892031, 0.03360292], rtol=1e-5)
    np.testing.assert_allclose(Z * found.producers_se, [0.22453045, 0.01132522, 0.04120541], rtol=1e-5)
    assert found.area.sum() == pytest.approx(sum(PIXELS_2013))


def test_olofsson_2013_second_example() -> None:
    found = area.stratified(COUNTS_2013B, SHARES_2013B)
    assert (found.overall, Z * found.overall_se) == pytest.approx((0.96, 0.01), abs=0.005)
    np.testing.assert_allclose(found.users, [0.51417, 0.94428, 0.97297], atol=1e-5)
    np.testing.assert_allclose(found.producers, [0.67535, 0.93072, 0.97664], atol=1e-5)
    np.testing.assert_allclose(Z * found.users_se, [0.06246, 0.02438, 0.01350], atol=1e-5)
    np.testing.assert_allclose(Z * found.producers_se, [0.30458, 0.02938, 0.00960], atol=1e-5)


def test_olofsson_2014_table_8_as_printed_on_page_54() -> None:
    found = area.stratified(COUNTS_2014, HECTARES_2014)
    np.testing.assert_allclose(found.users.round(2), [0.88, 0.73, 0.93, 0.96])
    np.testing.assert_allclose((Z * found.users_se).round(2), [0.07, 0.10, 0.04, 0.02])
    np.testing.assert_allclose(found.producers.round(2), [0.75, 0.85, 0.93, 0.96])
    np.testing.assert_allclose((Z * found.producers_se).round(2), [0.21, 0.25, 0.03, 0.02])
    assert (round(found.overall, 2), round(Z * found.overall_se, 2)) == (0.95, 0.02)
    np.testing.assert_allclose(found.area, [21157.76, 11686.15, 285769.93, 581386.15], atol=0.01)
    np.testing.assert_allclose(Z * found.area_se, [6157.52, 3755.76, 15509.55, 16281.36], atol=0.01)
    low, high = found.interval()
    np.testing.assert_allclose(high - low, 2 * Z * found.area_se)
    assert found.interval("overall", 0.9)[0] == pytest.approx(found.overall - 1.644854 * found.overall_se)


def test_stehman_2014_numerical_example() -> None:
    s = np.repeat([0, 1, 2, 3], 10)
    m = np.array([0] * 7 + [1] * 3 + [0] + [1] * 11 + [2] * 6 + [1, 1] + [3] * 10)
    letters = "AAAAACBABC" + "ABBBBBAABB" + "CCCCCDDBBA" + "DDDDDDDCCB"
    r = np.array(["ABCD".index(c) for c in letters])
    found = area.stratified_units(s, m, r, [40000, 30000, 20000, 10000], 4)
    total = 100000
    assert found.area[[0, 2]] / total == pytest.approx([0.35, 0.20])
    assert found.area_se[[0, 2]] / total == pytest.approx([0.082, 0.064], abs=5e-4)
    assert (found.overall, found.overall_se) == pytest.approx((0.63, 0.085), abs=5e-4)
    assert (found.users[1], found.users_se[1]) == pytest.approx((0.574, 0.125), abs=1e-3)
    # The paper rounds on its way to 0.114; R's mapaccuracy has 0.11655.
    assert (found.producers[1], found.producers_se[1]) == pytest.approx((0.794, 0.11655), abs=5e-4)
    hectares = area.stratified_units(s, m, r, [40000, 30000, 20000, 10000], 4, unit_area=0.01)
    np.testing.assert_allclose(hectares.area_se, found.area_se / 100)


def test_sample_size_and_allocation_of_olofsson_2014() -> None:
    areas, users = [0.02, 0.015, 0.32, 0.645], [0.7, 0.6, 0.9, 0.95]
    assert area.sample_size(areas, users, 0.01) == 641  # section 5.1.1
    assert area.allocate(640, areas, "equal").tolist() == [160] * 4
    assert area.allocate(641, areas, "proportional").tolist() == [13, 10, 205, 413]  # Table 7
    good = area.allocate(640, areas, minimum=75)
    assert good[:2].tolist() == [75, 75] and good.sum() == 640
    np.testing.assert_allclose(good[2:], [165, 325], atol=3)  # Table 7 rounds by hand


# --- slow versions from the papers -------------------------------------------------------------


def slow(counts: Any, areas: Any) -> dict[str, list[float]]:
    """Equations of Olofsson et al. 2014 one sum at a time."""
    k, total = len(areas), sum(areas)
    out: dict[str, list[float]] = {n: [] for n in ("area", "area_se", "users", "users_se", "prod", "prod_se")}
    rows = [sum(r) for r in counts]
    w = [a / total for a in areas]
    for j in range(k):
        share = sum(w[i] * counts[i][j] / rows[i] for i in range(k) if areas[i])
        var = sum(
            w[i] ** 2 * (counts[i][j] / rows[i]) * (1 - counts[i][j] / rows[i]) / (rows[i] - 1)
            for i in range(k)
            if areas[i]
        )
        out["area"].append(share * total)
        out["area_se"].append(math.sqrt(var) * total)
        if areas[j]:
            u = counts[j][j] / rows[j]
            out["users"].append(u)
            out["users_se"].append(math.sqrt(u * (1 - u) / (rows[j] - 1)))
        else:
            u = 0.0
            out["users"].append(math.nan)
            out["users_se"].append(math.nan)
        if share == 0:
            out["prod"].append(math.nan)
            out["prod_se"].append(math.nan)
            continue
        own = w[j] * u
        p = own / share
        n_hat = sum(areas[i] / rows[i] * counts[i][j] for i in range(k) if areas[i])
        first = areas[j] ** 2 * (1 - p) ** 2 * u * (1 - u) / (rows[j] - 1) if areas[j] else 0.0
        second = sum(
            areas[i] ** 2 * counts[i][j] / rows[i] * (1 - counts[i][j] / rows[i]) / (rows[i] - 1)
            for i in range(k)
            if i != j and areas[i]
        )
        out["prod"].append(p)
        out["prod_se"].append(math.sqrt((first + p**2 * second) / n_hat**2))
    return out


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_equals_the_slow_version(data: st.DataObject) -> None:
    k = data.draw(st.integers(2, 5))
    cells = st.integers(0, 40)
    counts = data.draw(st.lists(st.lists(cells, min_size=k, max_size=k), min_size=k, max_size=k))
    areas = data.draw(st.lists(st.floats(1, 1e6), min_size=k, max_size=k))
    if data.draw(st.booleans()):  # a class that is only in the reference
        areas[-1], counts[-1] = 0.0, [0] * k
    for i, row in enumerate(counts):
        if areas[i] and sum(row) < 2:
            row[i] += 2
    found, want = area.stratified(counts, areas), slow(counts, areas)
    for name, key in [("area", "area"), ("users", "users"), ("producers", "prod")]:
        np.testing.assert_allclose(getattr(found, name), want[key], rtol=1e-9, atol=1e-9, equal_nan=True)
        scale = sum(areas) if name == "area" else 1
        np.testing.assert_allclose(
            getattr(found, f"{name}_se"), want[f"{key}_se"], rtol=1e-7, atol=1e-8 * scale, equal_nan=True
        )


def test_strata_that_are_the_classes_agree_in_both_estimators() -> None:
    counts = np.array(COUNTS_2014)
    m, r = (np.repeat(axis.ravel(), counts.ravel()) for axis in np.indices(counts.shape))
    pixels = np.array([200000, 150000, 3200000, 6450000])
    one, two = (
        area.stratified(counts, pixels * 0.09),
        area.stratified_units(m, m, r, pixels, 4, unit_area=0.09),
    )
    for name in ("area", "area_se", "users", "users_se", "producers", "producers_se", "overall"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), rtol=1e-3, err_msg=name)


def test_the_standard_errors_are_the_spread_of_repeated_samples() -> None:
    rng = np.random.default_rng(3)
    truth = np.array([[0.85, 0.1, 0.05], [0.1, 0.85, 0.05], [0.02, 0.03, 0.95]])
    areas, n = np.array([10.0, 30.0, 60.0]), [60, 80, 100]
    runs = [area.stratified([rng.multinomial(n[i], truth[i]) for i in range(3)], areas) for _ in range(1500)]
    for name in ("area", "users", "producers", "overall"):
        values = np.array([getattr(r, name) for r in runs])
        claimed = np.sqrt(np.mean([np.square(getattr(r, f"{name}_se")) for r in runs], axis=0))
        np.testing.assert_allclose(values.std(axis=0), claimed, rtol=0.08, err_msg=name)
    np.testing.assert_allclose(np.mean([r.area for r in runs], axis=0), areas @ truth, rtol=0.01)
    inside = [r.interval()[0][0] <= (areas @ truth)[0] <= r.interval()[1][0] for r in runs]
    assert 0.9 < np.mean(inside) < 0.97


# --- edges -------------------------------------------------------------------------------------


def test_a_class_that_the_reference_lacks_has_no_producers_accuracy() -> None:
    found = area.stratified([[0, 10], [0, 90]], [5.0, 95.0])
    assert found.area.tolist() == [0, 100] and found.area_se.tolist() == [0, 0]
    assert np.isnan(found.producers[0]) and np.isnan(found.producers_se[0])
    assert (found.users[0], found.producers[1]) == (0, 0.95)


def test_a_class_that_the_map_lacks_still_has_an_area() -> None:
    found = area.stratified([[8, 2], [0, 0]], [100.0, 0.0])
    np.testing.assert_allclose(found.area, [80, 20])
    assert np.isnan(found.users[1]) and np.isnan(found.users_se[1])
    assert (found.producers[1], found.producers_se[1]) == (0, 0)


def test_a_perfect_map_has_no_error() -> None:
    found = area.stratified(np.diag([5, 5]), [1.0, 3.0])
    assert found.overall == 1 and found.overall_se == 0
    np.testing.assert_array_equal(found.area_se, 0)


def test_bounds_stay_possible() -> None:
    found = area.stratified([[9, 1], [1, 99]], [1.0, 999.0])
    low, high = found.interval()
    assert low[0] == 0 and high[1] == 1000
    assert (found.interval("producers")[1] <= 1).all()


@pytest.mark.parametrize(
    ("counts", "areas", "message"),
    [
        ([[1, 0], [0, 5]], [1, 1], "stratum 0 has 1 sample"),
        ([[5, 0], [0, 0]], [1, 1], "stratum 1 has 0 sample"),
        ([[5, 0], [0, 5]], [1, 1, 1], "expected"),
        ([[5, 0, 1], [0, 5, 1]], [1, 1], "expected"),
        ([[5, -1], [0, 5]], [1, 1], "whole numbers"),
        ([[5, 0.5], [0, 5]], [1, 1], "whole numbers"),
        ([[5, np.nan], [0, 5]], [1, 1], "whole numbers"),
        ([[5, 0], [0, 5]], [1, -1], "areas"),
        ([[5, 0], [0, 5]], [0, 0], "areas"),
    ],
)
def test_what_cannot_be_estimated_is_refused(counts: Any, areas: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        area.stratified(counts, areas)


def test_units_with_strange_codes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        area.stratified_units([0, 0], [0, 2], [0, 1], [10], 2)
    with pytest.raises(ValueError, match="more samples than units"):
        area.stratified_units([0, 0], [0, 1], [0, 1], [1], 2)
    with pytest.raises(ValueError, match="whole numbers"):
        area.stratified_units([0.0, 0.0], [0, 1], [0, 1], [10], 2)


# --- planning a sample -------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.floats(0.001, 1000), min_size=1, max_size=8),
    st.integers(2, 60),
    st.integers(0, 900),
    st.sampled_from(["equal", "proportional", "neyman"]),
)
def test_an_allocation_adds_up_and_keeps_its_minimum(
    areas: list[float], minimum: int, more: int, method: Any
) -> None:
    total = minimum * len(areas) + more
    users = np.linspace(0.5, 1, len(areas))
    found = area.allocate(total, areas, method, minimum, users)
    assert found.sum() == total and found.min() >= minimum


def test_neyman_is_the_best_split() -> None:
    areas, users = np.array([10.0, 30, 60]), np.array([0.6, 0.8, 0.95])

    def variance(n: Any) -> float:
        return float(((areas / 100) ** 2 * users * (1 - users) / n).sum())

    best = area.allocate(300, areas, "neyman", expected_users=users)
    for _ in range(300):
        other = np.random.default_rng(_).multinomial(300, [0.2, 0.4, 0.4])
        assert variance(other) >= variance(best) * 0.9999
    need = area.sample_size(areas, users, 0.02)
    assert variance(area.allocate(need, areas, "neyman", expected_users=users)) <= 0.02**2 * 1.01
    assert area.sample_size(areas, users, 0.02, units=200) < need


def test_strata_without_area_get_no_sample() -> None:
    assert area.allocate(10, [1.0, 0.0, 1.0]).tolist() == [5, 0, 5]
    with pytest.raises(ValueError, match="cannot give"):
        area.allocate(3, [1, 1])
    with pytest.raises(ValueError, match="expected_users"):
        area.allocate(30, [1, 1], "neyman")
    with pytest.raises(ValueError, match="above 0"):
        area.sample_size([1, 1], [0.5, 0.5], 0)


# --- model-assisted ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["difference", "regression"])
@pytest.mark.parametrize("in_strata", [False, True])
def test_the_map_helps_the_sample_and_its_bias_is_taken_out(kind: Any, in_strata: bool) -> None:
    rng = np.random.default_rng(5)
    truth = rng.gamma(2, 2, 20000)
    mapped = 0.5 * truth + 3 + rng.normal(0, 0.6, 20000)  # biased in level and in scale
    side = (np.arange(20000) >= 12000).astype(int)
    truth[side == 1] += 1
    runs = []
    for _ in range(400):
        if in_strata:
            rows = np.concatenate([rng.choice(12000, 30), 12000 + rng.choice(8000, 30)])
            more = {"strata": side[rows], "stratum_areas": [12000, 8000]}
        else:
            rows, more = rng.choice(20000, 60), {}
        runs.append(area.model_assisted(truth[rows], mapped[rows], mapped.mean(), kind, **more))
    means = np.array([r.mean for r in runs])
    claimed = np.sqrt(np.mean([r.se**2 for r in runs]))
    assert abs(means.mean() - truth.mean()) < 4 * claimed / 20
    assert abs(mapped.mean() - truth.mean()) > 0.3
    np.testing.assert_allclose(means.std(), claimed, rtol=0.1)
    assert claimed < 0.75 * np.mean([r.sample_se for r in runs])
    inside = [r.interval()[0] <= truth.mean() <= r.interval()[1] for r in runs]
    assert 0.9 <= np.mean(inside) <= 0.98


def test_the_difference_estimate_by_hand() -> None:
    found = area.model_assisted([1.0, 2, 4], [1.5, 2, 3], 10.0)
    assert found.mean == pytest.approx(10 + 0.5 / 3)
    assert found.se == pytest.approx(np.std([-0.5, 0, 1], ddof=1) / np.sqrt(3))
    assert (found.sample_mean, found.map_mean, found.samples) == (pytest.approx(7 / 3), 10, 3)


def test_a_zone_with_too_few_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="1 sample"):
        area.model_assisted([1.0], [1.0], 1.0)
    with pytest.raises(ValueError, match="3 samples"):
        area.model_assisted([1.0, 2.0], [1.0, 2.0], 1.0, "regression")
    with pytest.raises(ValueError, match="finite"):
        area.model_assisted([1.0, np.nan], [1.0, 1.0], 1.0)
    with pytest.raises(ValueError, match="both"):
        area.model_assisted([1.0, 2.0], [1.0, 1.0], 1.0, strata=[0, 0])
