"""Masks of one bit a pixel, an eighth of the memory that a season of masks would have to move.

A mask of (y, x) is uint64 (y, word): pixel x is bit x % 64 of word x // 64, and the bits behind a row's last
pixel are 0.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: A mask, as the text above tells.
Bits = NDArray[np.uint64]

#: Times this, eight octets of 0 or 1 have their eight bits, first octet first, in the topmost octet.
_GATHER = np.uint64(0x0102040810204080)
_ONES = np.uint64(0x0101010101010101)
#: Eight octets of 0 or 1 by the octet that holds their bits, the lowest bit first.
SPREAD: NDArray[np.uint64] = (
    np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view("<u8").ravel()
)


def words(width: int) -> int:
    """Words of a row of ``width`` pixels."""
    return -(-width // 64)


def none(shape: tuple[int, int]) -> Bits:
    """A mask of (y, x) that holds nowhere."""
    return np.zeros((shape[0], words(shape[1])), np.uint64)


def pack(mask: NDArray[np.bool_]) -> Bits:
    """The bits of a mask (y, x)."""
    out = none(mask.shape)
    octets = np.packbits(mask, axis=1, bitorder="little")
    out.view(np.uint8)[:, : octets.shape[1]] = octets
    return out


def unpack(bits: Bits, width: int) -> NDArray[np.bool_]:
    """The mask (y, x) of ``bits``."""
    octets = bits.view(np.uint8)
    return np.unpackbits(octets, axis=1, count=width, bitorder="little").view(np.bool_)


def inverse(bits: Bits, width: int) -> Bits:
    """Where ``bits`` does not hold."""
    return _ended(~bits, width)


def count(bits: Bits) -> int:
    """How many pixels hold."""
    return int(np.bitwise_count(bits).sum(dtype=np.int64))


def span(bits: Bits, width: int) -> tuple[slice, slice]:
    """Rows and columns between the first and the last pixel that holds; at least one must."""
    rows = np.flatnonzero(bits.any(axis=1))
    columns = np.flatnonzero(unpack(np.bitwise_or.reduce(bits, axis=0)[None], width)[0])
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def crop(bits: Bits, halo: int, width: int) -> Bits:
    """``bits`` of rows of ``width`` pixels without ``halo`` pixels on each side."""
    inner = bits[halo : len(bits) - halo]
    out = none((len(inner), width - 2 * halo))
    _moved(inner, halo, out)
    return _ended(out, width - 2 * halo)


def _ended(bits: Bits, width: int) -> Bits:
    """``bits`` with nothing behind the last of ``width`` pixels."""
    if width % 64:
        bits[:, -1] &= np.uint64((1 << width % 64) - 1)
    return bits


@njit(nogil=True, cache=True)
def _moved(bits, by, out):  # type: ignore[no-untyped-def]
    """``out``: pixel x is pixel x + ``by`` of ``bits``."""
    whole, part = by >> 6, np.uint64(by & 63)
    for y in range(out.shape[0]):
        for k in range(out.shape[1]):
            at = k + whole
            value = bits[y, at] >> part
            if part and at + 1 < bits.shape[1]:
                value |= bits[y, at + 1] << (np.uint64(64) - part)
            out[y, k] = value


def grown(bits: Bits, radius: int, width: int) -> Bits:
    """``bits`` dilated by a disk of ``radius`` pixels, nothing beyond the edges.

    A disk is a pile of rows, and a row is grown from the next shorter one, so the cost is that of
    4 x ``radius`` passes over the bits (a structuring element costs its area). Where nothing grows it is ``bits``
    itself.
    """
    if radius <= 0 or not bits.any():
        return bits
    wide, out = bits.copy(), bits.copy()
    reached = 0
    for dy in range(radius, -1, -1):
        reach = math.isqrt(radius * radius - dy * dy)
        if reach > reached:
            _widen(bits, reached + 1, reach, wide)
            reached = reach
        height = len(bits) - dy
        if height > 0:
            out[dy:] |= wide[:height]
            out[:height] |= wide[dy:]
    return _ended(out, width)


@njit(nogil=True, cache=True)
def _widen(bits, first, last, wide):  # type: ignore[no-untyped-def]
    """Add to ``wide`` what lies ``first`` to ``last`` pixels beside those of ``bits``."""
    size = bits.shape[1]
    for by in range(first, last + 1):
        whole, part = by >> 6, np.uint64(by & 63)
        rest = np.uint64(64) - part
        for y in range(bits.shape[0]):
            row, target = bits[y], wide[y]
            for k in range(whole, size):
                target[k] |= row[k - whole] << part
            for k in range(size - whole):
                target[k] |= row[k + whole] >> part
            if part:
                for k in range(whole + 1, size):
                    target[k] |= row[k - whole - 1] >> rest
                for k in range(size - whole - 1):
                    target[k] |= row[k + whole + 1] << rest


def tally(bits: Bits, total: NDArray[np.int16]) -> None:
    """Add 1 to each pixel of ``total`` (y, x) that holds."""
    _tally(bits.view(np.uint8), SPREAD, total)


@njit(nogil=True, cache=True)
def _tally(octets, spread, total):  # type: ignore[no-untyped-def]
    row = np.empty(octets.shape[1], np.uint64)
    flags = row.view(np.uint8)
    for y in range(total.shape[0]):
        spread_row(octets[y], spread, row)
        for x in range(total.shape[1]):
            total[y, x] += np.int16(flags[x])


@njit(nogil=True, cache=True, inline="always")
def spread_row(octets, spread, out):  # type: ignore[no-untyped-def]
    """Octets of 0 or 1, eight in a word of ``out``, from their bits."""
    for k in range(len(octets)):
        out[k] = spread[octets[k]]


def planes(
    codes: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    number: int,
    shape: tuple[int, int],
    part: tuple[slice, slice],
    up: int = 1,
    skip: tuple[int, int] = (0, 0),
) -> NDArray[np.uint64]:
    """Masks of classes, uint64 (mask, y, word): bit k of ``flags`` (256,) tells whether a class is in mask k.

    Each of ``codes`` (y, x) lies on ``up`` x ``up`` pixels of ``part`` of a grid of ``shape``, less ``skip``
    rows and columns; elsewhere the class is 0.
    """
    out = np.empty((number, shape[0], words(shape[1])), np.uint64)
    rows, columns = part
    _planes(codes, flags, shape[1], rows.start, rows.stop, columns.start, columns.stop, up, *skip, out)
    return out


@njit(nogil=True, cache=True)
def _planes(codes, flags, width, top, bottom, left, right, up, skip_y, skip_x, out):  # type: ignore[no-untyped-def]
    line = np.zeros(out.shape[2] * 8, np.uint64)
    row = line.view(np.uint8)
    row[:width] = flags[0]
    empty = np.empty((out.shape[0], out.shape[2]), np.uint64)
    _gathered(line, empty)
    cells = np.empty(codes.shape[1], np.uint8)
    pairs = np.empty(codes.shape[1], np.uint16)
    done = -1
    for y in range(out.shape[1]):
        if y < top or y >= bottom or left >= right:
            out[:, y] = empty
            continue
        source = (y - top + skip_y) // up
        if source == done:
            out[:, y] = out[:, y - 1]
            continue
        done = source
        for k in range(len(cells)):
            cells[k] = flags[codes[source, k]]
        if up == 1:
            row[left:right] = cells[skip_x : skip_x + right - left]
        elif up == 2:
            for k in range(len(cells)):
                pairs[k] = np.uint16(cells[k]) * np.uint16(257)
            row[left:right] = pairs.view(np.uint8)[skip_x : skip_x + right - left]
        else:
            for x in range(left, right):
                row[x] = cells[(x - left + skip_x) // up]
        _gathered(line, out[:, y])


@njit(nogil=True, cache=True)
def _gathered(line, out):  # type: ignore[no-untyped-def]
    """``out`` (mask, word): bit k of each octet of ``line`` as a bit of mask k."""
    for k in range(out.shape[0]):
        for w in range(out.shape[1]):
            value = np.uint64(0)
            for j in range(8):
                octet = (((line[8 * w + j] >> np.uint64(k)) & _ONES) * _GATHER) >> np.uint64(56)
                value |= octet << np.uint64(8 * j)
            out[k, w] = value
