"""Composites against NumPy, SciPy's optimiser and hdstats, with gaps, single dates and answers at a corner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.signal
from numpy.typing import NDArray

from features import FeatureSpec, block
from features.composites import Composite, deviations, geomedian, median, medoid

BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
TOLERANCE = 0.1


def make(dates: int, shape: tuple[int, int], seed: int = 0, unseen: float = 0.35) -> NDArray[np.uint16]:
    """(band, time, y, x): a season that brightens and dims all bands, clouds left over, some bands unseen."""
    rng = np.random.default_rng(seed)
    season = np.cumsum(rng.normal(0, 200, (1, dates, 1, 1)), axis=1) * rng.uniform(0.5, 1.5, (6, 1, 1, 1))
    values = 2500 + 300 * np.arange(6)[:, None, None, None] + season + rng.normal(0, 150, (1, dates, *shape))
    values = values + rng.normal(0, 60, (6, dates, *shape))
    values = np.where(rng.random((1, dates, *shape)) < 0.06, values + 3000, values)
    hidden = (rng.random((1, dates, *shape)) < unseen) | (rng.random((6, dates, *shape)) < 0.02)
    return np.where(hidden, 0, np.clip(np.rint(values), 1, 65535)).astype(np.uint16)


def spectra(stack: NDArray[np.uint16], y: int, x: int) -> NDArray[np.float64]:
    """(date, band) of the dates on which all bands of a pixel are seen."""
    found = stack[:, :, y, x].T.astype(np.float64)
    return found[(found > 0).all(axis=1)]


def pixel(*dates: tuple[int, ...]) -> NDArray[np.uint16]:
    """A stack of one pixel from its dates' spectra."""
    return np.array(dates, np.uint16).T[:, :, None, None]


def summed(point: NDArray[Any], dates: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(dates - point, axis=1).sum())


def least(dates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The point of least summed distance by SciPy: a smooth search from several places, and the dates themselves."""
    starts = [dates.mean(axis=0), np.median(dates, axis=0)]
    found = [
        scipy.optimize.minimize(
            lambda p: (summed(p, dates), ((p - dates) / np.linalg.norm(p - dates, axis=1)[:, None]).sum(axis=0)),
            start + 0.37, jac=True, method="BFGS", options={"gtol": 1e-9},
        ).x
        for start in starts
    ]  # fmt: skip
    return min([*found, *dates], key=lambda p: summed(p, dates))


@pytest.fixture(scope="module")
def stack() -> NDArray[np.uint16]:
    return make(20, (9, 31))


@pytest.fixture(scope="module")
def centre(stack: NDArray[np.uint16]) -> Composite:
    return geomedian(stack, TOLERANCE)


# --- the geomedian -----------------------------------------------------------------------------


def test_the_geomedian_is_where_scipy_finds_the_least_sum(
    stack: NDArray[np.uint16], centre: Composite
) -> None:
    checked = 0
    for y, x in np.ndindex(stack.shape[2:]):
        dates = spectra(stack, y, x)
        assert centre.count[y, x] == len(dates)
        if len(dates) >= 3 and (y + x) % 3 == 0:
            answer, ours = least(dates), centre.values[:, y, x]
            assert summed(ours, dates) <= summed(answer, dates) * (1 + 1e-7)
            assert np.linalg.norm(ours - answer) < TOLERANCE + 0.01
            checked += 1
    assert checked > 80


@pytest.mark.parametrize("bands", [2, 3, 10])
def test_any_number_of_bands(bands: int) -> None:
    rng = np.random.default_rng(bands)
    stack = rng.integers(100, 9000, (bands, 9, 4, 5)).astype(np.uint16)
    found = geomedian(stack).values
    for y, x in np.ndindex(4, 5):
        dates = spectra(stack, y, x)
        assert summed(found[:, y, x], dates) <= summed(least(dates), dates) * (1 + 1e-7)


def test_of_one_band_it_is_a_median() -> None:
    stack = make(9, (5, 7), unseen=0.2)[:1]
    found = geomedian(stack, 0.01).values[0]
    for y, x in np.ndindex(5, 7):
        dates = spectra(stack, y, x)
        assert summed(found[y, x], dates) <= summed(np.median(dates), dates) + 0.05


@pytest.mark.parametrize("tolerance", [0.01, 1.0, 10.0])
def test_a_stated_tolerance_is_kept(stack: NDArray[np.uint16], tolerance: float) -> None:
    exact = geomedian(stack, 0.01, 10_000).values
    found = geomedian(stack, tolerance).values
    assert np.nanmax(np.linalg.norm(found - exact, axis=0)) < tolerance + 0.01


def test_no_date_one_date_two_dates_and_dates_alike() -> None:
    a, b = (100, 200, 300), (300, 200, 700)
    assert np.isnan(geomedian(pixel((0, 0, 0), (5, 0, 9))).values).all()
    assert geomedian(pixel((0, 0, 0), (5, 0, 9))).count[0, 0] == 0
    assert geomedian(pixel((0, 0, 0), a, (5, 0, 9))).values.ravel().tolist() == list(a)
    assert geomedian(pixel(a, b)).values.ravel() == pytest.approx([200, 200, 500])
    assert geomedian(pixel(a, a, a, a)).values.ravel().tolist() == list(a)
    none = geomedian(np.zeros((3, 0, 2, 2), np.uint16))
    assert np.isnan(none.values).all() and (none.count == 0).all()
    assert geomedian(np.zeros((3, 4, 0, 2), np.uint16)).values.shape == (3, 0, 2)


def test_a_date_that_outweighs_the_others_is_the_answer() -> None:
    a = (1000, 2000, 3000)
    far = [(1500, 2000, 3000), (1000, 2600, 3000), (900, 1900, 9000)]
    assert geomedian(pixel(a, a, a, *far)).values.ravel() == pytest.approx(a, abs=0.01)


def test_a_mean_that_meets_a_date_is_left_where_that_date_is_not_the_answer() -> None:
    # The dates lie on a line and their mean is one of them, but three of five lie together elsewhere.
    on = [(1000 + 10 * k, 1000 + 10 * k) for k in (-1, -1, -1, 0, 3)]
    assert np.mean(on, axis=0).tolist() == [1000, 1000]
    assert geomedian(pixel(*on)).values.ravel() == pytest.approx([990, 990], abs=0.05)


def test_a_far_outlier_hardly_moves_it() -> None:
    near = [(1000, 1000), (1010, 1000), (1000, 1010), (1010, 1010), (1005, 1006)]
    calm = geomedian(pixel(*near)).values.ravel()
    wild = geomedian(pixel(*near, (65535, 65535))).values.ravel()
    assert np.linalg.norm(wild - calm) < 10


def test_a_pixel_does_not_depend_on_its_neighbours(stack: NDArray[np.uint16], centre: Composite) -> None:
    for part in (np.s_[2:3, 5:6], np.s_[:, 7:], np.s_[4:, ::2]):
        alone = geomedian(np.ascontiguousarray(stack[:, :, *part]), TOLERANCE)
        np.testing.assert_array_equal(alone.values, centre.values[:, *part])
    turned = geomedian(stack.transpose(0, 1, 3, 2), TOLERANCE)
    np.testing.assert_array_equal(turned.values, centre.values.transpose(0, 2, 1))


def test_a_wide_image_is_cut_into_chunks_that_do_not_show() -> None:
    one = make(5, (1, 40))
    wide = np.tile(one, (1, 1, 3, 500))
    for work in (geomedian, median, medoid):
        small, large = work(one), work(wide)
        np.testing.assert_array_equal(large.values, np.tile(small.values, (1, 3, 500)))
        np.testing.assert_array_equal(large.count, np.tile(small.count, (3, 500)))


# --- median and medoid -------------------------------------------------------------------------


def test_the_median_is_numpys_over_the_dates_with_all_bands(stack: NDArray[np.uint16]) -> None:
    found = median(stack)
    for y, x in np.ndindex(stack.shape[2:]):
        dates = spectra(stack, y, x)
        np.testing.assert_allclose(found.values[:, y, x], np.median(dates, axis=0), rtol=1e-6)
        assert found.count[y, x] == len(dates)


def test_the_medoid_is_the_date_with_the_least_sum_the_earliest_of_equals(stack: NDArray[np.uint16]) -> None:
    found = medoid(stack).values
    for y, x in np.ndindex(stack.shape[2:]):
        dates = spectra(stack, y, x)
        sums = [summed(date, dates) for date in dates]
        best = int(np.argmax(np.array(sums) <= min(sums) * (1 + 1e-12)))
        assert found[:, y, x].tolist() == dates[best].tolist()
    assert medoid(pixel((30, 40), (10, 20))).values.ravel().tolist() == [30, 40]
    assert np.isnan(medoid(pixel((0, 40), (10, 0))).values).all()


# --- deviations --------------------------------------------------------------------------------


def test_deviations_are_the_papers_medians(stack: NDArray[np.uint16], centre: Composite) -> None:
    found = deviations(stack, centre)
    for y, x in np.ndindex(stack.shape[2:]):
        dates, m = spectra(stack, y, x), centre.values[:, y, x].astype(np.float64)
        cosine = (dates @ m) / (np.linalg.norm(dates, axis=1) * np.linalg.norm(m))
        curtis = np.abs(dates - m).sum(axis=1) / np.abs(dates + m).sum(axis=1)
        expected = np.median([np.linalg.norm(dates - m, axis=1), 1 - cosine, curtis], axis=1)
        got = [found.edev[y, x], found.sdev[y, x], found.bcdev[y, x]]
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9)


def test_deviations_of_no_date_one_date_and_dates_alike() -> None:
    for dates in ([(0, 0)], [(0, 5), (5, 0)]):
        spread = deviations(pixel(*dates), geomedian(pixel(*dates)))
        assert np.isnan([spread.edev, spread.sdev, spread.bcdev]).all()
    for dates in ([(50, 70)], [(50, 70)] * 4):
        spread = deviations(pixel(*dates), geomedian(pixel(*dates)))
        np.testing.assert_allclose([spread.edev, spread.sdev, spread.bcdev], 0, atol=1e-9)
    with pytest.raises(ValueError, match="centre has bands"):
        deviations(pixel((1, 2, 3)), geomedian(pixel((1, 2))))


def test_hdstats_finds_the_same(stack: NDArray[np.uint16], centre: Composite) -> None:
    for name in ("cwt", "ricker", "morlet2"):  # hdstats imports what SciPy no longer has
        if not hasattr(scipy.signal, name):
            setattr(scipy.signal, name, None)
    hdstats = pytest.importorskip("hdstats")
    cube = np.where((stack == 0).any(axis=0), np.nan, stack.astype(np.float32) / 10000)
    cube = np.ascontiguousarray(cube.transpose(2, 3, 0, 1), np.float32)
    theirs = hdstats.nangeomedian_pcm(cube, maxiters=10_000, eps=1e-7, num_threads=1).transpose(2, 0, 1) * 1e4
    assert np.nanquantile(np.linalg.norm(theirs - centre.values, axis=0), 0.95) < 1
    middle = np.ascontiguousarray(centre.values.transpose(1, 2, 0) / np.float32(1e4))
    spread = deviations(stack, centre)
    for ours, work, unit in (
        (spread.edev, hdstats.emad_pcm, 1e4),
        (spread.sdev, hdstats.smad_pcm, 1),
        (spread.bcdev, hdstats.bcmad_pcm, 1),
    ):
        np.testing.assert_allclose(ours, work(cube, middle, num_threads=1) * unit, rtol=1e-3, atol=1e-6)


# --- in and out --------------------------------------------------------------------------------


def test_a_composite_feeds_indices(stack: NDArray[np.uint16]) -> None:
    named = dict(zip(BANDS, stack, strict=True))
    found = geomedian(named)
    assert found.bands == BANDS
    np.testing.assert_array_equal(found.values, geomedian(stack).values)
    ndvi, ndmi = block(found.stack(), FeatureSpec.parse(["ndvi_mean", "ndmi_mean"]))
    red, nir, swir16 = (found.values[BANDS.index(b)].astype(np.float64) for b in ("red", "nir", "swir16"))
    np.testing.assert_allclose(ndvi, (nir - red) / (nir + red), atol=2e-4)
    np.testing.assert_allclose(ndmi, (nir - swir16) / (nir + swir16), atol=2e-4)
    unseen = geomedian({"red": pixel((0,))[0], "nir": pixel((7,))[0]}).stack()
    assert unseen["red"].dtype == np.uint16 and unseen["nir"].tolist() == [[[0]]]


@pytest.mark.parametrize(
    ("stack", "told"),
    [
        ({}, "no band"),
        ({"red": np.ones((2, 3, 3), np.float32)}, "band 'red' is float32 with 3 axes; expected uint16"),
        (np.ones((2, 3, 3), np.uint16), "band 0 is uint16 with 2 axes"),
        ({"red": np.ones((2, 3, 3), np.uint16), "nir": np.ones((3, 3, 3), np.uint16)}, "band 'nir' is"),
    ],
)
def test_what_is_no_stack_is_refused(stack: Any, told: str) -> None:
    for work in (median, medoid, geomedian):
        with pytest.raises(ValueError, match=told):
            work(stack)


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"tolerance 0\.001"):
        geomedian(pixel((1,)), 0.001)
    with pytest.raises(ValueError, match="iterations is 0"):
        geomedian(pixel((1,)), iterations=0)
    with pytest.raises(ValueError, match="no names"):
        geomedian(pixel((1,))).stack()


@pytest.mark.parametrize("seed", range(40))
def test_few_dates_alike_on_a_line_or_at_a_corner(seed: int) -> None:
    """Where the answer is a date or is not unique, the sum is still the least there is."""
    rng = np.random.default_rng(seed)
    dates, bands = int(rng.integers(1, 9)), int(rng.integers(1, 7))
    drawn = [
        rng.integers(1, 6, (dates, bands)),
        1000 + rng.integers(-20, 21, (dates, 1)) * rng.integers(0, 4, (1, bands)),
        np.repeat(rng.integers(1, 10_000, (2, bands)), [dates, int(rng.integers(1, 4))], axis=0),
        1 + rng.integers(0, 2, (dates, bands)) * 65534,
    ]
    for values in drawn:
        whole = values.astype(np.float64)
        with np.errstate(all="ignore"):
            answer = summed(
                min([*whole, whole.mean(axis=0), np.median(whole, axis=0)], key=lambda p: summed(p, whole)),
                whole,
            )
            answer = min(answer, summed(least(whole), whole)) if len(np.unique(whole, axis=0)) > 2 else answer
        found = geomedian(pixel(*values.tolist()), 0.01).values.ravel()
        assert summed(found, whole) <= answer * (1 + 1e-6) + 0.01 * len(whole)
