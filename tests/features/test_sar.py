"""Sentinel-1 by relative orbit: made in power, combined as stated, decibels last."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymannkendall
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from features import FeatureSpec, block, sar

RADAR = "sentinel-1-rtc"
NAMES = (
    "vv_mean", "vv_std", "vv_min", "vv_max", "vv_range", "vv_p50", "vv_count", "vv_age", "vv_mks", "vv_mkp",
    "vv_runbelow0.05", "vh_vv_p90", "vv_meandb", "vv_mean@low", "slope", "red_mean",
)  # fmt: skip
SPEC = FeatureSpec.parse(NAMES, windows={"low": "vv < 0.1"})
ORBITS = np.array([7, 91, 7, 128, 91, 7, 7, 91])
DAYS = np.datetime64("2025-02-01") + np.array([0, 3, 12, 14, 15, 24, 36, 27])

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def stack() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(2)
    found: dict[str, Any] = {}
    for band in ("vv", "vh"):
        power = rng.gamma(2, 0.04, (8, 30, 40)).astype(np.float32)
        power[rng.random(power.shape) < 0.4] = np.nan
        found[band] = power
    found["slope"] = np.ones((30, 40), np.float32)
    found["red"] = np.full((2, 30, 40), 500, np.uint16)
    return found


@pytest.fixture(scope="module")
def combined(stack: dict[str, Any]) -> dict[str, NDArray[np.float32]]:
    kept, sar.CHUNK = sar.CHUNK, 200  # several chunks in a small block
    try:
        made = block(stack, SPEC, dates={RADAR: DAYS}, orbits={RADAR: ORBITS})
    finally:
        sar.CHUNK = kept
    return dict(zip(NAMES, made, strict=True))


def per_orbit(values: NDArray[Any], function: Any) -> NDArray[Any]:
    return np.stack([function(values[number == ORBITS], axis=0) for number in (7, 91, 128)])


def weighted(values: NDArray[Any], function: Any) -> NDArray[Any]:
    """Mean over the orbits weighted by their seen dates."""
    made, counts = per_orbit(values, function), per_orbit(~np.isnan(values), np.sum)
    counts = np.where(np.isnan(made), 0, counts)
    return np.nansum(made * counts, axis=0) / np.where(counts.sum(axis=0) > 0, counts.sum(axis=0), np.nan)


def test_statistics_are_made_per_orbit_and_combined(
    stack: dict[str, Any], combined: dict[str, NDArray[np.float32]]
) -> None:
    vv, vh = stack["vv"].astype(float), stack["vh"].astype(float)
    low = np.where(vv < np.float32(0.1), vv, np.nan)
    days = DAYS.astype(int)[:, None, None]
    expected = {
        "vv_mean": np.nanmean(vv, axis=0),
        "vv_std": weighted(vv, np.nanstd),
        "vv_min": np.nanmin(vv, axis=0),
        "vv_max": np.nanmax(vv, axis=0),
        "vv_range": weighted(vv, lambda a, axis: np.nanmax(a, axis) - np.nanmin(a, axis)),
        "vv_p50": weighted(vv, np.nanmedian),
        "vv_count": (~np.isnan(vv)).sum(axis=0),
        "vv_age": np.where(
            np.isnan(vv).all(axis=0), np.nan, days.max() - np.where(np.isnan(vv), 0, days).max(axis=0)
        ),
        "vh_vv_p90": weighted(vh / vv, lambda a, axis: np.nanpercentile(a, 90, axis)),
        "vv_meandb": 10 * np.log10(np.nanmean(vv, axis=0)),
        "vv_mean@low": np.nanmean(low, axis=0),
        "slope": stack["slope"],
        "red_mean": np.full((30, 40), 0.05),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(combined[name], values, rtol=2e-6, atol=1e-6, err_msg=name)


def test_trends_of_orbits_are_summed_as_seasons_are(
    stack: dict[str, Any], combined: dict[str, NDArray[np.float32]]
) -> None:
    for y, x in ((0, 0), (3, 9), (17, 30), (29, 39)):
        score = variance = 0.0
        for number in (7, 91, 128):
            order = np.argsort(DAYS[number == ORBITS])
            values = stack["vv"][number == ORBITS, y, x][order]
            values = values[~np.isnan(values)]
            if len(values) > 1:
                test = pymannkendall.original_test(values)
                score, variance = score + test.s, variance + test.var_s
        assert combined["vv_mks"][y, x] == score
        z = max(abs(score) - 1, 0) / np.sqrt(variance) if score else 0.0
        np.testing.assert_allclose(combined["vv_mkp"][y, x], 2 * norm.sf(z), rtol=1e-6)


def test_one_orbit_is_the_plain_series(stack: dict[str, Any]) -> None:
    plain = block(stack, SPEC, dates={RADAR: DAYS})
    same = block(stack, SPEC, dates={RADAR: DAYS}, orbits={RADAR: np.zeros(8, int)})
    np.testing.assert_array_equal(plain, same)


def test_the_names_of_orbits_do_not_matter(stack: dict[str, Any], combined: dict[str, Any]) -> None:
    renamed = np.select([ORBITS == 7, ORBITS == 91], [0, 1], 2)
    found = block(stack, SPEC, dates={RADAR: DAYS}, orbits={RADAR: renamed})
    for name, values in zip(NAMES, found, strict=True):
        np.testing.assert_array_equal(values, combined[name], err_msg=name)


def test_orbits_that_do_not_fit_are_refused(stack: dict[str, Any]) -> None:
    with pytest.raises(
        ValueError, match=r"orbits\['sentinel-1-rtc'\] is int64 \(3,\); expected whole numbers \(8,\)"
    ):
        block(stack, SPEC, dates={RADAR: DAYS}, orbits={RADAR: np.arange(3)})
