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

#: Pixels handled at a time: values of all indices and dates of a strip stay in the core's cache.
STRIP = 256
#: Pixels handled at a time where each pair of dates has a value.
NARROW = 64
#: Rows that one unrolled network sorts.
LARGEST = 32

_LANES = 16
_VECTOR = ir.VectorType(ir.FloatType(), _LANES)


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


def _unrolled(rows: int, width: int) -> Any:
    """Intrinsic that sorts ``rows`` rows of ``_LANES`` columns in place, row r at ``first + r * width``."""

    @intrinsic  # type: ignore[untyped-decorator]
    def network(_context: Any, values: Any, first: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            top = builder.gep(array.data, [arguments[1]])
            places = [
                builder.bitcast(
                    builder.gep(top, [ir.Constant(ir.IntType(64), row * width)]), _VECTOR.as_pointer()
                )
                for row in range(rows)
            ]
            held = [builder.load(place, align=4) for place in places]
            for a, b in comparators(rows):
                less = builder.fcmp_ordered("<", held[a], held[b])
                held[a], held[b] = (
                    builder.select(less, held[a], held[b]),
                    builder.select(less, held[b], held[a]),
                )
            for place, vector in zip(places, held, strict=True):
                builder.store(vector, place, align=4)
            return context.get_dummy_value()

        return types.void(values, first), generate

    return network


def _sorter(width: int) -> Any:
    """``sort(values, rows, merges)``: each column of flat (rows, ``width``) float32 in rising order, no NaN."""
    two, four, eight, twelve, sixteen, twenty, twenty_four, whole = (
        _unrolled(rows, width) for rows in (2, 4, 8, 12, 16, 20, 24, LARGEST)
    )

    @njit(nogil=True)
    def few(values, first, rows):  # type: ignore[no-untyped-def]
        for i in range(first, first + width, _LANES):
            if rows == 2:
                two(values, i)
            elif rows == 4:
                four(values, i)
            elif rows == 8:
                eight(values, i)
            elif rows == 12:
                twelve(values, i)
            elif rows == 16:
                sixteen(values, i)
            elif rows == 20:
                twenty(values, i)
            elif rows == 24:
                twenty_four(values, i)
            else:
                whole(values, i)

    @njit(nogil=True)
    def sort(values, rows, merges):  # type: ignore[no-untyped-def]
        if rows <= LARGEST:
            if rows > 1:
                few(values, 0, rows)
            return
        for run in range(0, rows, LARGEST):
            few(values, run * width, LARGEST)
        for k in range(merges.shape[0]):
            upper = values[merges[k, 0] * width : (merges[k, 0] + 1) * width]
            lower = values[merges[k, 1] * width : (merges[k, 1] + 1) * width]
            for i in range(width):
                a, b = upper[i], lower[i]
                upper[i] = a if a < b else b
                lower[i] = b if a < b else a

    return sort


sort_strip = _sorter(STRIP)
sort_narrow = _sorter(NARROW)


def padded(rows: int) -> int:
    """Rows that ``sort`` wants for ``rows`` values; the rest is filled with +inf."""
    for size in (1, 2, 4, 8, 12, 16, 20, 24):
        if rows <= size:
            return size
    return -(-rows // LARGEST) * LARGEST
