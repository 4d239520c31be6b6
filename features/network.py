"""Sorting networks over columns: the same comparisons for every pixel, so whole vectors sort at once.

Batcher's odd-even merge sort (Batcher 1968, doi:10.1145/1468075.1468121). Networks of up to
``LARGEST`` rows are unrolled in registers, written as vector instructions: a loop that the compiler
must discover costs a hundred times its compile time. More rows are sorted in runs and merged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from features.columns import LANES, Rows, all_lanes, seen

#: Pixels handled at a time: values of all indices and dates of a strip stay in the core's cache.
STRIP = 256
#: Floats from one row of a strip to the next: at a power of two all rows would share a few places of the cache.
PITCH = STRIP + LANES
#: Pixels handled at a time where each pair of dates has a value.
NARROW = 64
#: Rows that one unrolled network sorts.
LARGEST = 32

_INT = ir.IntType(64)


def comparators(rows: int, sorted_runs: int = 1) -> list[tuple[int, int]]:
    """Batcher's pairs (upper, lower) for ``rows`` of which runs of ``sorted_runs`` (a power of two) are sorted."""
    pairs = []
    run = sorted_runs
    while run < rows:
        step = run
        while step >= 1:
            for start in range(step % run, rows - step, 2 * step):
                for k in range(min(step, rows - start - step)):
                    if (start + k) // (2 * run) == (start + k + step) // (2 * run):
                        pairs.append((start + k, start + k + step))
            step //= 2
        run *= 2
    return pairs


def merges(rows: int) -> NDArray[np.int64]:
    """The comparators left once runs of ``LARGEST`` rows are sorted: what ``sort`` wants beside its rows."""
    return np.array(comparators(rows, LARGEST), np.int64).reshape(-1, 2)


def _unrolled(rows: int) -> Any:
    """Intrinsic that sorts ``dates`` <= ``rows`` rows of 16 columns into ``target``.

    Date t is read at ``first + t * width`` and row r written at ``place + r * row``; unseen dates
    (NaN) and rows beyond the dates are +inf.
    """

    @intrinsic
    def network(
        _context: Any, values: Any, first: Any, width: Any, dates: Any, target: Any, place: Any, row: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, result = (Rows(context, builder, signature.args[k], arguments[k]) for k in (0, 4))
            _, first, width, dates, _, place, row = arguments
            infinite = all_lanes(source.vector, float("inf"))
            held = []
            for k in range(rows):
                # Where the row is beyond the dates the first is read in its stead.
                there = builder.icmp_signed("<", ir.Constant(_INT, k), dates)
                offset = builder.select(there, builder.mul(width, ir.Constant(_INT, k)), ir.Constant(_INT, 0))
                vector = source.load(builder.add(first, offset))
                vector = builder.select(seen(builder, vector), vector, infinite)
                held.append(builder.select(there, vector, infinite))
            for a, b in comparators(rows):
                less = builder.fcmp_ordered("<", held[a], held[b])
                held[a], held[b] = (
                    builder.select(less, held[a], held[b]),
                    builder.select(less, held[b], held[a]),
                )
            for k, vector in enumerate(held):
                result.store(vector, builder.add(place, builder.mul(row, ir.Constant(_INT, k))))
            return context.get_dummy_value()

        return types.void(values, first, width, dates, target, place, row), generate

    return network


_four, _eight, _twelve, _sixteen, _twenty, _twenty_four, _whole = (
    _unrolled(rows) for rows in (4, 8, 12, 16, 20, 24, LARGEST)
)


@njit(nogil=True)
def _run(values, first, width, dates, target, place, row, rows):  # type: ignore[no-untyped-def]
    """Sort one run of at most ``LARGEST`` dates of all columns of a row."""
    for i in range(0, row, LANES):
        if rows == 4:
            _four(values, first + i, width, dates, target, place + i, row)
        elif rows == 8:
            _eight(values, first + i, width, dates, target, place + i, row)
        elif rows == 12:
            _twelve(values, first + i, width, dates, target, place + i, row)
        elif rows == 16:
            _sixteen(values, first + i, width, dates, target, place + i, row)
        elif rows == 20:
            _twenty(values, first + i, width, dates, target, place + i, row)
        elif rows == 24:
            _twenty_four(values, first + i, width, dates, target, place + i, row)
        else:
            _whole(values, first + i, width, dates, target, place + i, row)


@njit(nogil=True)
def sort(values, first, width, dates, target, row, merges):  # type: ignore[no-untyped-def]
    """Sort ``dates`` > 0 rows of ``values`` into flat (padded(dates), row) ``target``, rising, then +inf.

    Date t of ``values`` lies at ``first + t * width``; ``row`` is a multiple of 16, ``merges`` those of
    the padded rows. Unseen dates (NaN) go to the end as +inf.
    """
    rows = target.shape[0] // row
    if rows <= LARGEST:
        _run(values, first, width, dates, target, 0, row, rows)
        return
    for top in range(0, rows, LARGEST):
        left = min(dates - top, LARGEST)
        _run(values, first + top * width, width, left, target, top * row, row, LARGEST)
    for k in range(merges.shape[0]):
        upper = target[merges[k, 0] * row : (merges[k, 0] + 1) * row]
        lower = target[merges[k, 1] * row : (merges[k, 1] + 1) * row]
        for i in range(row):
            a, b = upper[i], lower[i]
            upper[i] = a if a < b else b
            lower[i] = b if a < b else a


def padded(rows: int) -> int:
    """Rows that ``sort`` writes for a number of dates."""
    for size in (4, 8, 12, 16, 20, 24):
        if rows <= size:
            return size
    return -(-rows // LARGEST) * LARGEST
