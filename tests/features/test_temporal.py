"""Season statistics against NumPy's own nan-functions in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from features import FeatureSpec, block, temporal

Array = NDArray[Any]

RANKS = range(101)
NAMES = ("count", "mean", "std", "min", "max", "median", "range", *(f"p{k}" for k in RANKS))
SPEC = FeatureSpec.parse([f"vv_{name}" for name in NAMES])
ROW = {name: k for k, name in enumerate(NAMES)}

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's on all-NaN columns


def statistics(values: Array) -> NDArray[np.float32]:
    """All statistics of (date, y, x); the formula of a plain radar band is the value itself."""
    return block({"vv": np.asarray(values, np.float32)}, SPEC)


def oracle(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """NumPy's own over axis 0 of (date, y, x), NaN = unseen."""
    if not len(values):
        return np.stack([np.full(values.shape[1:], 0.0 if name == "count" else np.nan) for name in NAMES])
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    plain = [
        (~np.isnan(values)).sum(axis=0),
        np.nanmean(values, axis=0),
        np.nanstd(values, axis=0, ddof=0),
        low,
        high,
        np.nanmedian(values, axis=0),
        high - low,
    ]
    return np.concatenate([plain, np.nanpercentile(values, RANKS, axis=0)])


def check(values: Array) -> None:
    values = np.asarray(values, np.float32)
    scale = np.nanmax(np.abs(values), initial=1e-30)
    found, expected = statistics(values), oracle(values.astype(np.float64))
    for name, row in ROW.items():
        np.testing.assert_allclose(found[row], expected[row], rtol=3e-7, atol=scale * 1e-7, err_msg=name)


FLOATS = st.floats(-1e6, 1e6, width=32) | st.just(float("nan")) | st.sampled_from([0.0, -0.0, 1.0, 2.0])
STACKS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(0, 14), st.integers(1, 3), st.integers(1, 4)),
    elements=FLOATS,
)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(STACKS)
@example(np.zeros((0, 2, 3), np.float32))
@example(np.full((5, 1, 2), np.nan, np.float32))
def test_every_statistic_equals_numpy(values: NDArray[np.float32]) -> None:
    check(values)


@pytest.mark.parametrize("dates", [1, 2, 3, 20, 75])
def test_many_pixels_and_dates_equal_numpy(dates: int) -> None:
    rng = np.random.default_rng(dates)
    values = rng.gamma(2, 0.1, (dates, 3, 300))
    values[rng.random(values.shape) < 0.4] = np.nan
    check(values)


@pytest.mark.parametrize("order", ["rising", "falling", "tied"])
def test_sorted_and_tied_dates_equal_numpy(order: str) -> None:
    rng = np.random.default_rng(1)
    values = np.sort(rng.normal(size=(30, 2, 50)), axis=0)
    if order == "tied":
        values = rng.integers(0, 4, values.shape).astype(float)
    check(values[::-1] if order == "falling" else values)


def test_percentiles_rise_from_the_smallest_to_the_largest() -> None:
    rng = np.random.default_rng(8)
    found = statistics(rng.normal(size=(11, 4, 60)))
    percentiles = found[[ROW[f"p{k}"] for k in range(101)]]
    assert (np.diff(percentiles, axis=0) >= 0).all()
    np.testing.assert_array_equal(percentiles[0], found[ROW["min"]])
    np.testing.assert_array_equal(percentiles[50], found[ROW["median"]])
    np.testing.assert_array_equal(percentiles[100], found[ROW["max"]])


def test_one_date_is_its_own_statistics() -> None:
    found = statistics(np.array([[[0.25, -3.0, np.nan]]]))
    for name, row in ROW.items():
        expected = {"count": [1, 1, 0], "std": [0, 0, np.nan], "range": [0, 0, np.nan]}.get(
            name, [0.25, -3.0, np.nan]
        )
        np.testing.assert_array_equal(found[row, 0], np.array(expected, np.float32), err_msg=name)


def test_no_date_gives_nan_and_a_count_of_zero() -> None:
    found = statistics(np.zeros((0, 2, 5)))
    assert found.shape == (len(SPEC.names), 2, 5)
    assert (found[ROW["count"]] == 0).all()
    assert np.isnan(np.delete(found, ROW["count"], axis=0)).all()


def test_a_pixel_never_seen_is_nan_beside_one_that_is() -> None:
    values = np.full((6, 1, 3), np.nan)
    values[2:4, 0, 1] = [1.0, 3.0]
    found = statistics(values)
    assert found[ROW["count"], 0].tolist() == [0, 2, 0]
    assert found[ROW["mean"], 0, 1] == 2
    assert np.isnan(np.delete(found, ROW["count"], axis=0)[:, 0, [0, 2]]).all()


def test_the_order_of_dates_and_unseen_dates_change_no_bit() -> None:
    rng = np.random.default_rng(9)
    values = rng.normal(size=(12, 2, 70)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    shuffled = values[rng.permutation(12)]
    padded = np.concatenate(
        [np.full((2, 2, 70), np.nan, np.float32), values, np.full((1, 2, 70), np.nan, np.float32)]
    )
    np.testing.assert_array_equal(statistics(shuffled), statistics(values))
    np.testing.assert_array_equal(statistics(padded), statistics(values))


def test_infinite_input_counts_as_unseen() -> None:
    values = np.array([np.inf, 1.0, -np.inf, 3.0]).reshape(4, 1, 1)
    found = statistics(values)[:, 0, 0]
    assert (found[ROW["count"]], found[ROW["mean"]], found[ROW["max"]]) == (2, 2, 3)


def test_the_spread_of_large_close_values_does_not_cancel() -> None:
    values = (1_000_000 + np.array([0, 0.0625, 0.125, 0.1875])).reshape(4, 1, 1)
    expected = np.std(values.astype(np.float32).astype(np.float64))
    np.testing.assert_allclose(statistics(values)[ROW["std"], 0, 0], expected, rtol=1e-6)


def test_no_statistic_of_huge_values_is_infinite() -> None:
    """A value beyond float32 is not known; it must not reach a model or a file as infinity."""
    huge = np.float32(3e38)
    found = statistics(np.array([huge, -huge, huge]).reshape(3, 1, 1))[:, 0, 0]
    infinite = [name for name, row in ROW.items() if np.isinf(found[row])]
    assert infinite == []


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("p0", 0.0),
        ("p7", 0.07),
        ("p50", 0.5),
        ("p99", 0.99),
        ("p100", 1.0),
        ("median", 0.5),
        ("min", 0),
        ("max", 1),
    ],
)
def test_a_percentile_has_its_rank(name: str, code: float) -> None:
    assert temporal.statistic(name)[1] == code
    assert temporal.statistic(name)[0] == temporal.statistic("p50")[0]


@pytest.mark.parametrize(
    "name", ["", "p", "p101", "p-1", "p05", "p5.0", "P50", "avg", "p1000", "count ", "mean\n"]
)
def test_an_unknown_statistic_is_refused_with_what_is_known(name: str) -> None:
    with pytest.raises(ValueError, match="known: count, mean, std, min, max, median, range, p0 to p100"):
        temporal.statistic(name)
