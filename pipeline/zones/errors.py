"""Intervals of an area that keep the spatial correlation of the map's error.

The land of a class in a zone is T = sum of a_i Z_i over cells i of area a_i, where Z_i is 1 if the cell
truly is of the class: a draw of probability p_i, the map's own. Draws of near cells go together: their
correlation is (1 - nugget) exp(-d / range). So

    E T = sum a_i p_i        Var T = (1 - nugget) sum_ij a_i a_j s_i s_j exp(-d_ij / range)

with s = sqrt(p (1 - p)) (block-to-block variance of geostatistics, Journel and Huijbregts 1978; de Gruijter
et al. 2006, chapter 13). Cells that were taken as independent would give intervals tens of times too narrow.
The double sum runs over coarse cells, each with the mean correlation within itself; T is between 0 and the
zone's area, so its interval is that of the beta distribution of the same mean and variance.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from models.correlation import Correlation
from pipeline.zones.tally import Places

Floats = NDArray[np.float64]
#: More coarse cells than this are merged two by two.
MOST = 1500
LEVEL = 0.95


def variance(places: Places, correlation: Correlation) -> Floats:
    """Variance in m4 of each layer's area over ``places``, (layer,)."""
    if not len(places.zone):
        return np.zeros(places.spread.shape[1])
    middle, spread, size = _merged(
        places.middle.astype(np.float64), places.spread.astype(np.float64), places.size.astype(np.float64)
    )
    within = _within(size / correlation.range_m)
    pairs = _double_sum(middle, spread, within, correlation.range_m)
    return np.asarray((1 - correlation.nugget) * pairs, np.float64)


def variances(places: Places, first: NDArray[np.int64], correlation: Correlation) -> Floats:
    """``variance`` of each zone (zone, layer); zone k's places are ``first[k]``..``first[k + 1]``."""
    within = _within(places.size.astype(np.float64) / correlation.range_m)
    middle = places.middle.astype(np.float64)
    few = np.where(np.diff(first) <= MOST, np.diff(first), 0)
    found = (1 - correlation.nugget) * _each_double_sum(
        middle, places.spread, within, first[:-1], few, correlation.range_m
    )
    for k in np.flatnonzero(np.diff(first) > MOST):
        found[k] = variance(places.of(np.arange(first[k], first[k + 1])), correlation)
    return np.asarray(found, np.float64)


@njit(nogil=True, cache=True)
def _each_double_sum(
    middle: Floats, spread: Floats, within: Floats, start: Any, count: Any, range_m: float
) -> Floats:
    total = np.zeros((len(start), spread.shape[1]))
    for k in range(len(start)):
        a, b = start[k], start[k] + count[k]
        total[k] = _double_sum(middle[a:b], spread[a:b], within[a:b], range_m)
    return total


def _merged(middle: Floats, spread: Floats, size: Floats) -> tuple[Floats, Floats, Floats]:
    """Places merged by ever larger cubes until there are few enough."""
    step = 1.0  # first the parts of one coarse cell, which all have its middle
    while step == 1 or len(middle) > MOST:
        _, index = np.unique(np.floor(middle / step).astype(np.int64), axis=0, return_inverse=True)
        index = index.ravel()
        count = np.bincount(index)
        middle = np.column_stack([np.bincount(index, m) / count for m in middle.T])
        spread = np.column_stack([np.bincount(index, s) for s in spread.T])
        size = np.sqrt(np.bincount(index, size**2))
        step = max(2 * step, 2000.0)
    return middle, spread, size


@njit(nogil=True, cache=True)
def _double_sum(middle: Floats, spread: Floats, within: Floats, range_m: float) -> Floats:
    total = np.zeros(spread.shape[1])
    for i in range(len(middle)):
        for k in range(len(total)):
            total[k] += within[i] * spread[i, k] ** 2
        for j in range(i):
            dx, dy = middle[i, 0] - middle[j, 0], middle[i, 1] - middle[j, 1]
            dz = middle[i, 2] - middle[j, 2]
            rho = 2 * math.exp(-math.sqrt(dx * dx + dy * dy + dz * dz) / range_m)
            for k in range(len(total)):
                total[k] += rho * spread[i, k] * spread[j, k]
    return total


def _within(ratio: Floats) -> Floats:
    """Mean correlation of two points of a square whose side is ``ratio`` ranges."""
    known, values = _within_table()
    return np.interp(np.log(np.maximum(ratio, 1e-6)), known, values)


@lru_cache(maxsize=1)
def _within_table() -> tuple[Floats, Floats]:
    u, w = np.polynomial.legendre.leggauss(40)
    u, w = (u + 1) / 2, w / 2
    # The difference of two uniform places has density 2 (1 - u) along each axis.
    density = np.outer(2 * (1 - u) * w, 2 * (1 - u) * w)
    far = np.hypot(u[:, None], u[None, :])
    ratios = np.exp(np.linspace(np.log(1e-6), np.log(1e3), 400))
    return np.log(ratios), np.array([(density * np.exp(-r * far)).sum() for r in ratios])


def interval(
    mean: ArrayLike, spread2: ArrayLike, most: ArrayLike, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Lower and upper bounds of areas with ``mean`` and variance ``spread2`` between 0 and ``most``.

    Quantiles of the beta distribution of that mean and variance; both bounds are the mean where there
    is no variance.
    """
    mean, spread2, most = (np.asarray(v, np.float64) for v in (mean, spread2, most))
    size = np.where(most > 0, most, 1)
    m = np.clip(mean / size, 0, 1)
    v = np.minimum(spread2 / size**2, 0.999 * m * (1 - m))
    wide = v > 1e-14
    safe_m, safe_v = np.where(wide, m, 0.5), np.where(wide, v, 0.01)
    n = safe_m * (1 - safe_m) / safe_v - 1
    tail = (1 - level) / 2
    low, high = (betaincinv(safe_m * n, (1 - safe_m) * n, q) for q in (tail, 1 - tail))
    return np.where(wide, low, m) * size, np.where(wide, high, m) * size
