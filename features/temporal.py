"""Season statistics of one strip of pixels: their names, and kernels over float32 values, NaN = unseen.

``reduce`` is driven by a table, so it is compiled once for all feature sets. It holds the values of a
strip as flat arrays of rows of ``STRIP`` pixels, ``PITCH`` apart: with that length known, loops become
vectors.
A pixel without a seen value gives NaN, and 0 for the count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features import columns, trend
from features.columns import LANES
from features.network import PITCH, STRIP, sort

F32 = np.float32
NAN = np.float32(np.nan)
INFINITY = np.float32(np.inf)

(COUNT, MEAN, STD, PERCENTILE, RANGE, AGE, AT_MAX, AT_MIN, RUN_BELOW, RUN_ABOVE,
 SLOPE, SEN, MK_S, MK_VARIANCE, MK_P, AMPLITUDE, SINE, COSINE) = range(18)  # fmt: skip
_PLAIN = {
    "count": (COUNT, 0.0),
    "mean": (MEAN, 0.0),
    "std": (STD, 0.0),
    "min": (PERCENTILE, 0.0),
    "max": (PERCENTILE, 1.0),
    "median": (PERCENTILE, 0.5),
    "range": (RANGE, 0.0),
    "age": (AGE, 0.0),
    "slope": (SLOPE, 0.0),
    "sen": (SEN, 0.0),
    "mks": (MK_S, 0.0),
    "mkvar": (MK_VARIANCE, 0.0),
    "mkp": (MK_P, 0.0),
}
_NUMBER = r"(-?(?:0|[1-9][0-9]{0,4})(?:\.[0-9]{0,5}[1-9])?)"
_FAMILIES = {
    re.compile(r"p(0|[1-9][0-9]?|100)"): PERCENTILE,
    re.compile(r"amp([1-9][0-9]{0,3})"): AMPLITUDE,
    re.compile(r"sin([1-9][0-9]{0,3})"): SINE,
    re.compile(r"cos([1-9][0-9]{0,3})"): COSINE,
    re.compile(rf"runbelow{_NUMBER}"): RUN_BELOW,
    re.compile(rf"runabove{_NUMBER}"): RUN_ABOVE,
}
_AT = re.compile(r"at(max|min)([a-z][a-z0-9]*)")
_DECIBEL = re.compile(r"(mean|min|max|median|p(?:0|[1-9][0-9]?|100))db")

#: What ``statistic`` understands, for messages.
STATISTICS = (
    "count", "mean", "std", "min", "max", "median", "range", "p0 to p100",
    "age", "slope", "sen", "mks", "mkvar", "mkp", "amp<days>, sin<days>, cos<days>",
    "runbelow<value>, runabove<value>", "atmax<index>, atmin<index>", "meandb, mindb, maxdb, mediandb, p<k>db",
)  # fmt: skip

#: Statistics that ask when a date was.
_TIMED = frozenset(range(AGE, COSINE + 1)) - {AT_MAX, AT_MIN}

#: One row a feature: series number, statistic, its value (rank 0..1, days, threshold),
#: the number of the other series that it asks, output row.
JOB = np.dtype(
    [
        ("series", np.int64),
        ("kind", np.int64),
        ("value", np.float64),
        ("other", np.int64),
        ("row", np.int64),
    ]
)


class Statistic(NamedTuple):
    """What to make of a pixel's values over the season."""

    kind: int
    value: float
    """Percentile rank 0..1, period in days, or threshold."""
    other: str | None = None
    """Name of the index or band whose extreme picks the date."""
    decibel: bool = False

    @property
    def timed(self) -> bool:
        """True where the dates must be known."""
        return self.kind in _TIMED


def statistic(name: str) -> Statistic:
    """The statistic that ``name`` stands for. Raises ValueError for an unknown one."""
    if name in _PLAIN:
        return Statistic(*_PLAIN[name])
    if match := _DECIBEL.fullmatch(name):
        return statistic(match[1])._replace(decibel=True)
    if match := _AT.fullmatch(name):
        return Statistic(AT_MAX if match[1] == "max" else AT_MIN, 0.0, match[2])
    for pattern, kind in _FAMILIES.items():
        match = pattern.fullmatch(name)
        if match and match[1] != "-0":
            return Statistic(kind, float(match[1]) / (100 if kind == PERCENTILE else 1))
    raise ValueError(f"unknown statistic {name!r}; known: {', '.join(STATISTICS)}")


def jobs(rows: Sequence[tuple[int, Statistic, int, int]]) -> NDArray[np.void]:
    """Table for ``reduce`` from (series, statistic, other series, output row).

    In order of series, and within one by kind: what several jobs share is made once, and stands in its
    buffer until they are done.
    """
    full = [(series, s.kind, s.value, other, row) for series, s, other, row in rows]
    return np.array(sorted(full, key=lambda job: (job[0], min(job[1], AMPLITUDE), job[2])), JOB)


class Scratch(NamedTuple):
    """Buffers of ``reduce``, made once a call of a kernel."""

    ordered: NDArray[np.float32]
    """Seen values of each pixel in rising order, flat (padded dates, STRIP)."""
    pairs: NDArray[np.float32]
    """Slopes between pairs of dates, flat (pair, NARROW); empty where no feature asks."""
    slopes: NDArray[np.float32]
    """The same in rising order."""
    single: NDArray[np.float32]
    double: NDArray[np.float64]
    """Accumulators, flat (k, STRIP)."""
    seen: NDArray[np.int32]
    """Seen dates of each pixel."""
    whole: NDArray[np.int32]


@njit(nogil=True)
def reduce(values, width, days, until, table, merges, slope_merges, scratch, out, x, n):  # type: ignore[no-untyped-def]
    """Reduce the strip's ``values`` into ``out`` (feature, pixel) at pixels x to x + n.

    ``values`` is flat (date, series, PITCH) with ``width`` = series * PITCH; ``days`` counts the days of
    its dates, in rising order, and ``until`` the day to which ages count.
    """
    current, fitted = -1, np.nan
    sorted_, averaged = False, False
    target = scratch.single[:STRIP]
    for j in range(table.shape[0]):
        job = table[j]
        first = job.series * PITCH
        if job.series != current:
            current, fitted = job.series, np.nan
            sorted_, averaged = False, False
            _count(values, first, width, days.shape[0], scratch.seen)
        kind = job.kind
        if (kind in (PERCENTILE, RANGE, MK_VARIANCE, MK_P)) and not sorted_:
            sorted_ = True
            sort(values, first, width, days.shape[0], scratch.ordered, STRIP, merges)
        if (kind in (MEAN, STD)) and not averaged:
            averaged = True
            _moments(values, first, width, days.shape[0], scratch.double)
        if kind == COUNT:
            for i in range(STRIP):
                target[i] = F32(scratch.seen[i])
        elif kind == MEAN:
            for i in range(STRIP):
                target[i] = F32(scratch.double[i])
        elif kind == STD:
            for i in range(STRIP):
                target[i] = F32(np.sqrt(scratch.double[STRIP + i]))
        elif kind == PERCENTILE:
            _percentile(scratch.ordered, scratch.seen, job.value, target)
        elif kind == RANGE:
            _range(scratch.ordered, scratch.seen, target)
        elif kind == AGE:
            _age(values, first, width, days, until, target)
        elif kind in (AT_MAX, AT_MIN):
            sign = F32(1.0) if kind == AT_MAX else F32(-1.0)
            _at(values, first, job.other * PITCH, width, days.shape[0], sign, scratch.single, target)
        elif kind in (RUN_BELOW, RUN_ABOVE):
            sign = F32(1.0) if kind == RUN_BELOW else F32(-1.0)
            _run(
                values, first, width, days, sign * F32(job.value), sign, scratch.seen, scratch.single, target
            )
        elif kind == SLOPE:
            trend.slope(values, first, width, days, scratch.seen, scratch.double, target)
        elif kind == SEN:
            trend.sen(
                values, first, width, days, scratch.pairs, scratch.slopes, slope_merges, scratch.whole, target
            )
        elif kind == MK_S:
            trend.score(values, first, width, days.shape[0], scratch.seen, scratch.whole, target)
        elif kind == MK_VARIANCE:
            trend.variance(scratch.ordered, days.shape[0], scratch.seen, scratch.double, target)
        elif kind == MK_P:
            trend.score(values, first, width, days.shape[0], scratch.seen, scratch.whole, target)
            trend.variance(scratch.ordered, days.shape[0], scratch.seen, scratch.double, target)
            trend.probability(scratch.whole, scratch.double, scratch.seen, target)
        else:
            if job.value != fitted:
                fitted = job.value
                trend.harmonic(values, first, width, days, fitted, scratch.seen, scratch.double)
            trend.phase(scratch.double, kind - AMPLITUDE, target)
        _write(target, out[job.row], x, n)


@njit(nogil=True)
def _write(target, row, x, n):  # type: ignore[no-untyped-def]
    """NaN for what float32 cannot hold: infinity must not reach a model or a file."""
    place = row[x : x + n]
    for i in range(n):
        value = target[i]
        place[i] = value if abs(value) < INFINITY else NAN


@njit(nogil=True)
def _count(values, first, width, dates, seen):  # type: ignore[no-untyped-def]
    for i in range(0, STRIP, LANES):
        columns.count(values, first + i, width, dates, seen, i)


@njit(nogil=True)
def _moments(values, first, width, dates, double):  # type: ignore[no-untyped-def]
    """Means and population variances to the first rows of ``double``."""
    for i in range(0, STRIP, LANES):
        columns.moments(values, first + i, width, dates, double[:STRIP], double[STRIP : 2 * STRIP], i)


@njit(nogil=True)
def _percentile(ordered, seen, rank, target):  # type: ignore[no-untyped-def]
    for i in range(0, STRIP, LANES):
        columns.percentile(ordered, ordered.shape[0] // STRIP, STRIP, seen, rank, target, i)


@njit(nogil=True)
def _range(ordered, seen, target):  # type: ignore[no-untyped-def]
    for i in range(STRIP):
        last = max(seen[i] - 1, 0)
        top = ordered[np.uint32(last) * np.uint32(STRIP) + np.uint32(i)]
        target[i] = F32(np.float64(top) - ordered[i]) if seen[i] > 0 else NAN


@njit(nogil=True)
def _age(values, first, width, days, until, target):  # type: ignore[no-untyped-def]
    """Days from the newest seen date to ``until``."""
    for i in range(STRIP):
        target[i] = NAN
    for t in range(days.shape[0]):
        row = values[first + t * width : first + t * width + STRIP]
        age = F32(until - days[t])
        for i in range(STRIP):
            target[i] = age if row[i] == row[i] else target[i]


@njit(nogil=True)
def _at(values, first, other, width, dates, sign, single, target):  # type: ignore[no-untyped-def]
    """Value on the date, among those that saw both, where sign * other is greatest; the first of equals."""
    best = single[STRIP : 2 * STRIP]
    for i in range(STRIP):
        target[i] = NAN
        best[i] = -INFINITY
    for t in range(dates):
        row = values[first + t * width : first + t * width + STRIP]
        judge = values[other + t * width : other + t * width + STRIP]
        for i in range(STRIP):
            value, merit, top, kept = row[i], sign * judge[i], best[i], target[i]
            better = (value == value) & (merit > top)
            best[i] = merit if better else top
            target[i] = value if better else kept


@njit(nogil=True)
def _run(values, first, width, days, threshold, sign, seen, single, target):  # type: ignore[no-untyped-def]
    """Days of the longest unbroken run of seen dates with sign * value < threshold, both ends counted.

    Unseen dates neither break nor lengthen a run; 0 where no seen date is in one.
    """
    start = single[STRIP : 2 * STRIP]
    for i in range(STRIP):
        start[i] = NAN
        target[i] = F32(0.0) if seen[i] > 0 else NAN
    for t in range(days.shape[0]):
        row = values[first + t * width : first + t * width + STRIP]
        day = F32(days[t] - days[0])
        for i in range(STRIP):
            within = sign * row[i] < threshold
            opened = day if start[i] != start[i] else start[i]
            kept = opened if within else NAN
            start[i] = kept if row[i] == row[i] else start[i]
            length = day - opened + F32(1.0)
            target[i] = length if within and length > target[i] else target[i]
