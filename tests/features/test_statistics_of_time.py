"""Statistics that ask when a date was, or what another index was then, against NumPy, SciPy and pymannkendall."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pymannkendall
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from features import FeatureSpec, block, temporal

Array = NDArray[Any]
RADAR = "sentinel-1-rtc"
EPOCH = np.datetime64("2000-01-01")

NAMES = (
    "vv_slope", "vv_sen", "vv_mks", "vv_mkvar", "vv_mkp",
    "vv_amp365", "vv_sin365", "vv_cos365", "vv_amp30", "vv_cos30",
    "vv_age", "vv_runbelow0.3", "vv_runabove-0.2", "vv_atmaxvh", "vv_atminvh", "vv_meandb", "vv_p50db", "vv_mean",
)  # fmt: skip
SPEC = FeatureSpec.parse(NAMES)


def features(vv: Array, days: Array, vh: Array | None = None, **more: Any) -> dict[str, NDArray[np.float32]]:
    """Feature -> (y, x) of (date, y, x) values."""
    bands = {"vv": np.asarray(vv, np.float32), "vh": np.asarray(vv if vh is None else vh, np.float32)}
    made = block(bands, SPEC, dates={RADAR: EPOCH + np.asarray(days)}, **more)
    return dict(zip(NAMES, made, strict=True))


def wave(x: Array, t: Array, period: float) -> tuple[float, float, float]:
    """Amplitude, sine and cosine of the phase by NumPy's least squares."""
    w = 2 * np.pi * (t % period) / period
    if len({round(float(a), 9) for a in w}) < 3:
        return (np.nan, np.nan, np.nan)
    _, b, c = np.linalg.lstsq(np.stack([np.ones_like(w), np.cos(w), np.sin(w)], 1), x, rcond=None)[0]
    amplitude = np.hypot(b, c)
    return (amplitude, c / amplitude, b / amplitude) if amplitude > 0 else (amplitude, np.nan, np.nan)


def longest(x: Array, t: Array, within: Callable[[Array], Array]) -> float:
    best = 0.0
    for i in range(len(x)):
        for j in range(i, len(x)):
            if within(x[i : j + 1]).all():
                best = max(best, t[j] - t[i] + 1)
    return best


def one(vv: Array, vh: Array, t: Array, until: float) -> dict[str, float]:
    """The oracle of one pixel: float64, from the seen dates alone."""
    seen = ~np.isnan(vv)
    x, days = vv[seen].astype(np.float64), t[seen].astype(np.float64)
    nothing = dict.fromkeys(NAMES, np.nan)
    if not len(x):
        return nothing
    found = nothing | {"vv_mean": x.mean(), "vv_age": until - days[-1]}
    if len(set(days)) > 1:
        found["vv_slope"] = stats.linregress(days, x).slope
        found["vv_sen"] = stats.theilslopes(x, days).slope
    test = pymannkendall.original_test(x) if len(x) > 1 else None
    found |= {"vv_mks": test.s, "vv_mkvar": test.var_s, "vv_mkp": test.p} if test else {
        "vv_mks": 0, "vv_mkvar": 0, "vv_mkp": 1
    }  # fmt: skip
    for period in (365, 30):
        names = [f"vv_{k}{period}" for k in ("amp", "sin", "cos")]
        found |= {n: v for n, v in zip(names, wave(x, days, period), strict=True) if n in found}
    found["vv_runbelow0.3"] = longest(x, days, lambda v: v < np.float32(0.3))
    found["vv_runabove-0.2"] = longest(x, days, lambda v: v > np.float32(-0.2))
    both = seen & ~np.isnan(vh)
    if both.any():
        found["vv_atmaxvh"], found["vv_atminvh"] = (
            vv[both][np.argmax(vh[both])], vv[both][np.argmin(vh[both])]
        )  # fmt: skip
    for name, value in (("vv_meandb", x.mean()), ("vv_p50db", np.median(x))):
        found[name] = 10 * np.log10(value) if value > 0 else np.nan
    return found


def check(vv: Array, vh: Array, days: Array, **more: Any) -> None:
    found = features(vv, days, vh, **more)
    until = (more["until"] - EPOCH).astype(float) if more else days[-1] if len(days) else 0
    for y, x in np.ndindex(vv.shape[1:]):
        expected = one(vv[:, y, x], vh[:, y, x], days, until)
        for name in NAMES:
            loose = 2e-3 if name[3:6] in ("amp", "sin", "cos") else 2e-6
            np.testing.assert_allclose(
                found[name][y, x], expected[name], rtol=loose, atol=loose / 10, err_msg=f"{name} at {y} {x}"
            )


@pytest.mark.parametrize("dates", [1, 2, 3, 5, 9, 20, 24, 33, 70])
def test_every_statistic_of_time_equals_its_oracle(dates: int) -> None:
    rng = np.random.default_rng(dates)
    days = 9000 + np.cumsum(rng.integers(1, 12, dates))
    shape = (dates, 2, 13)
    vv = rng.normal(0.1, 0.3, shape)
    vv[:, 1] = np.round(vv[:, 1], 1)  # ties
    vh = rng.permutation(vv.ravel()).reshape(shape)
    vv[rng.random(shape) < 0.3] = np.nan
    vh[rng.random(shape) < 0.2] = np.nan
    check(vv.astype(np.float32), vh.astype(np.float32), days)


def test_equal_values_have_no_trend() -> None:
    found = {k: v[0, 0] for k, v in features(np.full((12, 1, 1), 0.25), np.arange(12) * 5).items()}
    assert (found["vv_slope"], found["vv_sen"], found["vv_mks"], found["vv_mkp"]) == (0, 0, 0, 1)
    assert found["vv_amp365"] == 0 and np.isnan(found["vv_sin365"]) and np.isnan(found["vv_cos365"])
    assert found["vv_runbelow0.3"] == 56 and found["vv_runabove-0.2"] == 56


def test_no_date_and_no_seen_date_are_nan() -> None:
    empty = features(np.zeros((0, 2, 3)), np.zeros(0, int))
    hidden = features(np.full((7, 2, 3), np.nan), np.arange(7))
    for name in NAMES:
        assert np.isnan(empty[name]).all() and np.isnan(hidden[name]).all(), name


def test_two_dates_have_a_slope_but_no_wave() -> None:
    found = features(np.array([1.0, 2.0]).reshape(2, 1, 1), np.array([0, 10]))
    assert found["vv_slope"][0, 0] == found["vv_sen"][0, 0] == np.float32(0.1)
    assert np.isnan(found["vv_amp365"][0, 0])


def test_two_images_of_one_day_have_no_slope_between_them() -> None:
    found = features(np.array([1.0, 2.0]).reshape(2, 1, 1), np.array([7, 7]))
    assert np.isnan(found["vv_slope"][0, 0]) and np.isnan(found["vv_sen"][0, 0])


def test_a_wave_is_recovered_from_uneven_dates() -> None:
    days = np.array([0, 3, 11, 40, 77, 130, 200, 210, 300, 333])
    phase = np.linspace(-3, 3, 7)
    values = 0.4 + 0.2 * np.cos(2 * np.pi * days[:, None, None] / 365 - phase)
    found = features(values, days)
    np.testing.assert_allclose(found["vv_amp365"][0], 0.2, rtol=1e-5)
    np.testing.assert_allclose(np.arctan2(found["vv_sin365"][0], found["vv_cos365"][0]), phase, atol=1e-5)


def test_dates_may_come_in_any_order() -> None:
    rng = np.random.default_rng(3)
    days, values = np.cumsum(rng.integers(1, 9, 15)), rng.normal(size=(15, 3, 40))
    plain = features(values, days)
    order = rng.permutation(15)
    for name, found in features(values[order], days[order]).items():
        np.testing.assert_array_equal(found, plain[name], err_msg=name)


def test_ages_count_to_the_day_that_is_given() -> None:
    rng = np.random.default_rng(4)
    values = np.where(rng.random((6, 1, 20)) < 0.5, np.nan, rng.random((6, 1, 20))).astype(np.float32)
    check(values, values, np.arange(6) * 10, until=EPOCH + 100)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5, float("nan")]), max_size=40))
def test_mann_kendall_with_ties_is_that_of_pymannkendall(values: list[float]) -> None:
    series = np.array(values, np.float32)
    found = features(series.reshape(-1, 1, 1), np.arange(len(values)) * 3)
    seen = series[~np.isnan(series)]
    if len(seen) < 2:
        return
    test = pymannkendall.original_test(seen)
    assert found["vv_mks"][0, 0] == test.s
    np.testing.assert_allclose(found["vv_mkvar"][0, 0], test.var_s, rtol=1e-6)
    np.testing.assert_allclose(found["vv_mkp"][0, 0], test.p, rtol=1e-5, atol=1e-12)


def test_statistics_of_time_ask_for_dates() -> None:
    stack = {"vv": np.zeros((3, 1, 1), np.float32), "vh": np.zeros((3, 1, 1), np.float32)}
    with pytest.raises(ValueError, match="'vv_slope' needs the dates of sentinel-1-rtc; dates has none"):
        block(stack, SPEC)
    with pytest.raises(
        ValueError, match=r"dates\['sentinel-1-rtc'\] is .* \(2,\); expected datetime64\[D\] \(3,\)"
    ):
        block(stack, SPEC, dates={RADAR: EPOCH + np.arange(2)})
    with pytest.raises(ValueError, match="expected datetime64"):
        block(stack, SPEC, dates={RADAR: np.arange(3)})
    with pytest.raises(ValueError, match="holds NaT"):
        block(stack, SPEC, dates={RADAR: np.array(["2025-01-01", "NaT", "2025-01-03"], "datetime64[D]")})


@pytest.mark.parametrize(
    "name",
    ["amp0", "amp05", "amp", "sin-3", "runbelow", "runbelow-0", "runbelow0.10", "runabove.5", "atmax", "atmaxNDVI",
     "atmid", "meandbdb", "stddb", "countdb", "mk", "age3", "runbelow1e3"],
)  # fmt: skip
def test_a_statistic_has_one_spelling(name: str) -> None:
    with pytest.raises(ValueError, match="unknown statistic"):
        temporal.statistic(name)


def test_the_index_that_picks_the_date_is_checked() -> None:
    with pytest.raises(
        ValueError, match="unknown index or band 'nvi' in feature 'red_atmaxnvi'; did you mean"
    ):
        FeatureSpec.parse(["red_atmaxnvi"])
    with pytest.raises(ValueError, match="made from sentinel-2-l2a, but the other index from sentinel-1-rtc"):
        FeatureSpec.parse(["red_atmaxvv"])
