"""Season statistics of one strip of pixels: kernels over float32 (date, pixel), NaN = unseen.

``reduce`` is driven by a table, so it is compiled once for all feature sets.
A pixel without a seen value gives NaN, and 0 for the count.
"""

from __future__ import annotations

import re

import numpy as np
from numba import njit
from numpy.typing import NDArray

F32 = np.float32
NAN = np.float32(np.nan)

_COUNT, _MEAN, _STD, _PERCENTILE, _RANGE = range(5)
_CODES = {
    "count": (_COUNT, 0.0),
    "mean": (_MEAN, 0.0),
    "std": (_STD, 0.0),
    "min": (_PERCENTILE, 0.0),
    "max": (_PERCENTILE, 1.0),
    "median": (_PERCENTILE, 0.5),
    "range": (_RANGE, 0.0),
}
_PERCENTILE_NAME = re.compile(r"p(0|[1-9][0-9]?|100)")

#: What ``statistic`` understands, for messages.
STATISTICS = (*_CODES, "p0 to p100")

#: One row a feature: formula number, statistic, percentile rank 0..1, output row.
JOB = np.dtype([("formula", np.int64), ("statistic", np.int64), ("rank", np.float64), ("row", np.int64)])


def statistic(name: str) -> tuple[int, float]:
    """(code, rank) of a statistic's name. Raises ValueError for an unknown one."""
    if name in _CODES:
        return _CODES[name]
    match = _PERCENTILE_NAME.fullmatch(name)
    if not match:
        raise ValueError(f"unknown statistic {name!r}; known: {', '.join(STATISTICS)}")
    return _PERCENTILE, int(match[1]) / 100


def jobs(rows: list[tuple[int, str, int]]) -> NDArray[np.void]:
    """Table for ``reduce`` from (formula number, statistic name, output row), by formula."""
    full = [(formula, *statistic(name), row) for formula, name, row in sorted(rows)]
    return np.array(full, JOB)


@njit(nogil=True, cache=True)
def reduce(values, n, table, ordered, seen, out, y, x):  # type: ignore[no-untyped-def]
    """Reduce ``values`` (formula, date, pixel) into ``out`` (feature, y, x) at row y from column x.

    ``ordered`` (pixel, date) and ``seen`` (pixel,) are scratch space, sorted once a formula.
    """
    current = -1
    for j in range(table.shape[0]):
        job = table[j]
        dates = values[job.formula]
        if job.formula != current:
            current = job.formula
            _order(dates, n, ordered, seen)
        target = out[job.row, y]
        if job.statistic == _COUNT:
            for i in range(n):
                target[x + i] = F32(seen[i])
        elif job.statistic == _MEAN:
            for i in range(n):
                target[x + i] = _finite(_mean(ordered[i], seen[i]))
        elif job.statistic == _STD:
            for i in range(n):
                target[x + i] = _finite(_std(ordered[i], seen[i]))
        elif job.statistic == _PERCENTILE:
            for i in range(n):
                target[x + i] = _finite(_percentile(ordered[i], seen[i], job.rank))
        else:
            for i in range(n):
                top = ordered[i, seen[i] - 1] if seen[i] else NAN
                target[x + i] = _finite(np.float64(top) - ordered[i, 0]) if seen[i] else NAN


@njit(nogil=True, cache=True)
def _finite(value):  # type: ignore[no-untyped-def]
    """float32, with NaN for what it cannot hold: infinity must not reach a model or a file."""
    narrow = F32(value)
    return narrow if np.isfinite(narrow) else NAN


@njit(nogil=True, cache=True)
def _order(dates, n, ordered, seen):  # type: ignore[no-untyped-def]
    """Seen values of each pixel in rising order, by insertion: tens of dates, half sorted."""
    for i in range(n):
        seen[i] = 0
    for t in range(dates.shape[0]):
        for i in range(n):
            value = dates[t, i]
            if not np.isnan(value):
                k = seen[i]
                while k > 0 and ordered[i, k - 1] > value:
                    ordered[i, k] = ordered[i, k - 1]
                    k -= 1
                ordered[i, k] = value
                seen[i] += 1


@njit(nogil=True, cache=True)
def _mean(values, n):  # type: ignore[no-untyped-def]
    total = 0.0
    for k in range(n):
        total += values[k]
    return total / n if n else np.nan


@njit(nogil=True, cache=True)
def _std(values, n):  # type: ignore[no-untyped-def]
    """Population standard deviation (ddof 0), two passes so that nothing cancels."""
    centre, squares = _mean(values, n), 0.0
    for k in range(n):
        squares += (values[k] - centre) ** 2
    return np.sqrt(squares / n) if n else np.nan


@njit(nogil=True, cache=True)
def _percentile(values, n, rank):  # type: ignore[no-untyped-def]
    """Linear percentile of rising ``values`` (Hyndman & Fan 1996, type 7)."""
    if n == 0:
        return np.nan
    place = rank * (n - 1)
    low = int(place)
    high = min(low + 1, n - 1)
    return values[low] + (place - low) * (np.float64(values[high]) - np.float64(values[low]))
