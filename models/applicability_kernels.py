"""The nearest training row of each row, in numba: exact, with most training rows ruled out unseen.

Training rows lie in blocks of ``LANES`` neighbours, so that one step of a loop serves all rows of a block. A block is
passed over where its ball is too far, and left as soon as all its rows are. Sums run in one order, feature
by feature, whatever was passed over: the same distance has the same bits in each mode.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

#: Training rows in a block.
LANES = 16
#: Features added between two looks at whether a block can still win.
STEP = 8
#: Rows scaled at a time.
ROWS = 256
#: Rounding of a ball's distance must never rule out the nearest row.
SLACK = 1e-9


class Blocks(NamedTuple):
    """Scaled training rows; features padded with zeros to a multiple of ``STEP``."""

    feature: NDArray[np.int64]
    """Column of X of each scaled feature (feature,)."""
    centre: NDArray[np.float64]
    """What is taken off each (feature,)."""
    factor: NDArray[np.float64]
    """What each is then multiplied by (feature,)."""
    rows: NDArray[np.float64]
    """(block, padded feature, lane)."""
    middle: NDArray[np.float64]
    """Centre of each block's ball, blocks as lanes: (block of blocks, padded feature, lane)."""
    radius: NDArray[np.float64]
    """(block,)."""


@numba.njit(nogil=True, cache=True)
def _distances(x, rows, sums, bound):  # type: ignore[no-untyped-def]
    """Squared distances from ``x`` to a block's rows; stops, giving the bound, where all reach it."""
    for lane in range(LANES):
        sums[lane] = 0.0
    for f in range(0, rows.shape[0], STEP):
        x0, x1, x2, x3 = x[f], x[f + 1], x[f + 2], x[f + 3]
        x4, x5, x6, x7 = x[f + 4], x[f + 5], x[f + 6], x[f + 7]
        for lane in range(LANES):
            s = sums[lane]
            d = x0 - rows[f, lane]
            s += d * d
            d = x1 - rows[f + 1, lane]
            s += d * d
            d = x2 - rows[f + 2, lane]
            s += d * d
            d = x3 - rows[f + 3, lane]
            s += d * d
            d = x4 - rows[f + 4, lane]
            s += d * d
            d = x5 - rows[f + 5, lane]
            s += d * d
            d = x6 - rows[f + 6, lane]
            s += d * d
            d = x7 - rows[f + 7, lane]
            s += d * d
            sums[lane] = s
        alive = 0
        for lane in range(LANES):
            alive += 1 if sums[lane] < bound else 0
        if alive == 0:
            return bound
    for lane in range(LANES):
        bound = min(bound, sums[lane])
    return bound


@numba.njit(nogil=True, cache=True)
def _scaled(X, start, stop, blocks, gap, into):  # type: ignore[no-untyped-def]
    """Rows ``start`` to ``stop`` of X, scaled, into (row, padded feature); ``gap`` is NaN where X has one."""
    gap[:] = 0
    for f in range(X.shape[1]):
        for row in range(start, stop):
            gap[row - start] += X[row, f] * np.float32(0)  # of a finite value that is 0
    for k in range(len(blocks.feature)):
        f, centre, factor = blocks.feature[k], blocks.centre[k], blocks.factor[k]
        for row in range(start, stop):
            into[row - start, k] = (np.float64(X[row, f]) - centre) * factor


@numba.njit(nogil=True, cache=True)
def nearest(X, blocks, bound, first_will_do, out):  # type: ignore[no-untyped-def]
    """Least squared distance of each row of X (row, feature) into ``out`` float64 (row,).

    Only distances below ``bound`` are looked for; a row without one gets the bound. With
    ``first_will_do`` any distance below the bound serves. NaN where a value of X is not finite.
    """
    count = blocks.rows.shape[0]
    sums = np.empty(LANES)
    far = np.empty(blocks.middle.shape[0] * LANES)
    scaled = np.zeros((ROWS, blocks.rows.shape[1]))
    gap = np.zeros(ROWS, np.float32)
    last = 0
    for start in range(0, X.shape[0], ROWS):
        stop = min(start + ROWS, X.shape[0])
        _scaled(X, start, stop, blocks, gap, scaled)
        for row in range(start, stop):
            if np.isnan(gap[row - start]):
                out[row] = np.nan
                continue
            x = scaled[row - start]
            best = _distances(x, blocks.rows[last], sums, bound)  # a pixel is like the one before it
            if first_will_do and best < bound:
                out[row] = best
                continue
            for k in range(blocks.middle.shape[0]):
                _distances(x, blocks.middle[k], sums, np.inf)
                for lane in range(LANES):
                    far[k * LANES + lane] = np.sqrt(sums[lane])
            tried, closest = last, last
            for b in range(count):
                if far[b] < far[closest]:
                    closest = b
            for k in range(-1, count):
                b = closest if k < 0 else k
                if b == tried or (k >= 0 and b == closest):
                    continue
                edge = far[b] - blocks.radius[b]
                if edge > 0 and edge * edge * (1 - SLACK) >= best:
                    continue
                found = _distances(x, blocks.rows[b], sums, best)
                if found < best:
                    best = found
                    last = b
                    if first_will_do:
                        break
            out[row] = best
