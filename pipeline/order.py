"""In which order blocks are mapped: neighbours one after another, for they share scenes and their files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

T = TypeVar("T")


def hilbert(row: int, column: int, bits: int = 16) -> int:
    """Place of a cell on the Hilbert curve (Hilbert 1891) over 2**bits x 2**bits cells."""
    x, y, place = column, row, 0
    for k in range(bits - 1, -1, -1):
        side = 1 << k
        right, down = int(bool(x & side)), int(bool(y & side))
        place += side * side * ((3 * right) ^ down)
        if not down:
            if right:
                x, y = side - 1 - (x & (side - 1)), side - 1 - (y & (side - 1))
            x, y = y, x
        x, y = x & (side - 1), y & (side - 1)
    return place


def along_curve(cells: Iterable[tuple[T, int, int]]) -> Sequence[T]:
    """Things at (row, column) along the curve, counted from their own first row and column."""
    known = list(cells)
    if not known:
        return []
    top, left = min(row for _, row, _ in known), min(column for _, _, column in known)
    bits = max(1, max(max(row - top, column - left) for _, row, column in known).bit_length())
    return [c[0] for c in sorted(known, key=lambda c: hilbert(c[1] - top, c[2] - left, bits))]
