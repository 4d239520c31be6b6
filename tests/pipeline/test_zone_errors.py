"""Intervals of areas keep the spatial correlation of the map's error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, norm

from models import correlation, folds
from models.correlation import Correlation
from pipeline.zones import errors
from pipeline.zones.tally import Places

SIDE = 500.0


def places(middle: NDArray, spread: NDArray, size: float = 0.0) -> Places:
    n = len(middle)
    return Places(np.zeros(n, np.int32), middle.astype(np.float32), np.full(n, size, np.float32), spread)


def test_variance_is_the_double_sum() -> None:
    rng = np.random.default_rng(2)
    middle, spread = rng.uniform(0, 20_000, (60, 3)).round(), rng.uniform(0, 1e5, (60, 2))
    far = np.linalg.norm(middle[:, None] - middle[None], axis=2)
    want = np.einsum("ik,ij,jk->k", spread, np.exp(-far / 4000), spread)
    np.testing.assert_allclose(errors.variance(places(middle, spread), Correlation(4000)), want, rtol=1e-6)
    np.testing.assert_allclose(
        errors.variance(places(middle, spread), Correlation(4000, 0.25)), 0.75 * want, rtol=1e-6
    )
    assert errors.variance(places(middle[:0], spread[:0]), Correlation(4000)).tolist() == [0, 0]


def test_zones_together_are_as_each_alone() -> None:
    rng = np.random.default_rng(6)
    many = places(rng.uniform(0, 9000, (90, 3)), rng.uniform(0, 1e4, (90, 2)), 300.0)
    first = np.array([0, 0, 40, 41, 90])
    got = errors.variances(many, first, Correlation(2500, 0.1))
    for k in range(4):
        alone = errors.variance(many.of(np.arange(first[k], first[k + 1])), Correlation(2500, 0.1))
        np.testing.assert_allclose(got[k], alone, rtol=1e-6)


@pytest.mark.parametrize("side", [10.0, 800.0, 3000.0, 20_000.0])
def test_a_coarse_cell_is_correlated_with_itself_as_its_cells_are(side: float) -> None:
    rng = np.random.default_rng(3)
    a, b = rng.uniform(0, side, (2, 400_000, 2))
    want = np.exp(-np.linalg.norm(a - b, axis=1) / 3000).mean()
    one = places(np.zeros((1, 3)), np.ones((1, 1)), side)
    assert errors.variance(one, Correlation(3000))[0] == pytest.approx(want, rel=3e-3)


def test_many_places_are_merged_without_changing_the_variance() -> None:
    x, y = np.meshgrid(np.arange(90) * SIDE, np.arange(90) * SIDE)
    middle = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])
    spread = np.random.default_rng(4).uniform(0.5, 1, (x.size, 1)) * SIDE**2
    full = errors._double_sum(middle, spread, errors._within(np.full(x.size, SIDE / 6000)), 6000.0)
    got = errors.variance(places(middle, spread, SIDE), Correlation(6000))
    assert len(errors._merged(middle, spread, np.full(x.size, SIDE))[0]) <= errors.MOST
    assert got[0] == pytest.approx(full[0], rel=0.02)


def test_bounds_are_those_of_a_beta_distribution_within_the_zone() -> None:
    low, high = errors.interval(
        np.array([30.0, 5, 0, 50]), np.array([100.0, 25, 0, 0]), np.array([100.0, 100, 10, 50])
    )
    for k, (mean, sd) in enumerate([(0.3, 0.1), (0.05, 0.05)]):
        n = mean * (1 - mean) / sd**2 - 1
        assert [low[k], high[k]] == pytest.approx(100 * beta.ppf([0.025, 0.975], mean * n, (1 - mean) * n))
    assert (low[2:] == high[2:]).all()
    assert high[3] == 50
    certain = errors.interval(np.array([50.0]), np.array([1e9]), np.array([100.0]))
    assert 0 <= certain[0][0] < 1 < 99 < certain[1][0] <= 100


def field(rng: np.random.Generator, n: int, range_cells: float) -> NDArray:
    """Gaussian field with correlation exp(-d / range), (n, n), by circulant embedding."""
    m = 4 * n
    d = np.minimum(np.arange(m), m - np.arange(m))
    power = np.fft.fft2(np.exp(-np.hypot(d[:, None], d[None]) / range_cells)).real.clip(0)
    noise = rng.standard_normal((m, m)) + 1j * rng.standard_normal((m, m))
    return np.fft.fft2(np.sqrt(power / m**2) * noise).real[:n, :n]


def test_intervals_of_communes_cover_the_truth_at_their_level() -> None:
    """Truth is drawn from the map's probabilities with correlated errors; the range is fitted from samples.

    Pixels taken as independent would cover far less, which shows that the test can fail.
    """
    rng = np.random.default_rng(11)
    n, cell, commune = 96, 250.0, 24
    x, y = np.meshgrid(np.arange(n) * cell, np.arange(n) * cell)
    hit = naive = count = 0
    for _ in range(40):
        p = norm.cdf(0.8 * field(rng, n, 30))
        truth = norm.cdf(field(rng, n, 8)) < p
        chosen = rng.choice(n * n, 500, replace=False)
        pc, zc = p.ravel()[chosen], truth.ravel()[chosen]
        xy = np.column_stack([x.ravel()[chosen], y.ravel()[chosen]])
        fitted = correlation.fit(xy, (zc - pc) / np.sqrt(pc * (1 - pc)), 12_000)
        spread = np.sqrt(p * (1 - p)) * cell**2
        for i in range(0, n, commune):
            for j in range(0, n, commune):
                box = slice(i, i + commune), slice(j, j + commune)
                middle = np.column_stack([x[box].ravel(), y[box].ravel(), np.zeros(commune**2)])
                mean, real = p[box].sum() * cell**2, truth[box].sum() * cell**2
                most = np.array(commune**2 * cell**2)
                v = errors.variance(places(middle, spread[box].reshape(-1, 1), cell), fitted)[0]
                low, high = errors.interval(np.array(mean), np.array(v), most)
                hit += low <= real <= high
                low, high = errors.interval(np.array(mean), np.array((spread[box] ** 2).sum()), most)
                naive += low <= real <= high
                count += 1
    assert 0.90 <= hit / count <= 0.98, hit / count
    assert naive / count < 0.5


def test_a_range_that_was_planted_is_found_again() -> None:
    rng = np.random.default_rng(5)
    r = np.concatenate([field(rng, 64, 6)[None] for _ in range(12)])
    x, y = np.meshgrid(np.arange(64) * 100.0, np.arange(64) * 100.0)
    found = []
    for layer in r:
        chosen = rng.choice(64 * 64, 600, replace=False)
        xy = np.column_stack([x.ravel()[chosen], y.ravel()[chosen]])
        found.append(correlation.fit(xy, layer.ravel()[chosen] / layer.std(), 3000).range_m)
    assert np.median(found) == pytest.approx(600, rel=0.5)
    with pytest.raises(ValueError, match="29 samples are too few"):
        correlation.fit(xy[:29], np.arange(29.0), 3000)
    with pytest.raises(ValueError, match="range 0"):
        Correlation(0)


def test_what_a_card_says_of_errors_follows_the_samples() -> None:
    from models.samples import SampleTable

    def table(lon: np.ndarray, lat: np.ndarray) -> SampleTable:
        frame = pd.DataFrame({"lon": lon, "lat": lat})
        return cast(SampleTable, SimpleNamespace(frame=frame))

    rng = np.random.default_rng(2)
    lon, lat = rng.uniform(105, 106, 600), rng.uniform(9, 10, 600)
    places = folds.on_globe(lon, lat)
    far = np.linalg.norm(places[:, None] - places[None], axis=2)
    rough = np.linalg.cholesky(np.exp(-far / 8000) + 0.3 * np.eye(600)) @ rng.standard_normal(600)
    found = correlation.of_left_out(table(lon, lat), rough)
    assert found is not None
    assert 4000 < found["range_m"] < 16_000
    assert 0.05 < found["nugget"] < 0.5
    assert found["samples"] == 600
    assert correlation.of_left_out(table(lon, lat), np.r_[rough[:29], np.full(571, np.nan)]) is None
    assert correlation.of_left_out(table(lon, lat), np.zeros(600)) is None
    assert correlation.of_left_out(table(lon * 0 + 105, lat * 0 + 9), rough) is None
