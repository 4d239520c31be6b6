"""Compiled loops over the pixels that are read."""

from __future__ import annotations

import numpy as np
from numba import njit

from features.bits import SPREAD, spread_row


@njit(nogil=True, cache=True)
def from_differences(numbers, out):  # type: ignore[no-untyped-def]
    """Running sums along each row, modulo the number's size (TIFF 6.0, section 14)."""
    for y in range(numbers.shape[0]):
        total = out.dtype.type(0)
        for x in range(numbers.shape[1]):
            total = out.dtype.type(total + numbers[y, x])
            out[y, x] = total


@njit(nogil=True, cache=True)
def from_planes(octets, out):  # type: ignore[no-untyped-def]
    """Running sums of octets, then numbers from them: the first octets of all a row's numbers come
    first, the most significant ahead (Adobe Photoshop TIFF Technical Note 3)."""
    height, width = out.shape
    item = octets.shape[1] // width
    row = np.empty(octets.shape[1], np.uint8)
    for y in range(height):
        total = np.uint8(0)
        for k in range(octets.shape[1]):
            total = np.uint8(total + octets[y, k])
            row[k] = total
        for x in range(width):
            value = out.dtype.type(0)
            for b in range(item):
                value = out.dtype.type((value << out.dtype.type(8)) | row[b * width + x])
            out[y, x] = value


@njit(nogil=True, cache=True)
def replicate(pixels, n, skip_y, skip_x, out):  # type: ignore[no-untyped-def]
    """Each pixel n x n times, without the first ``skip_y`` rows and ``skip_x`` columns."""
    done = -1
    for y in range(out.shape[0]):
        row = (y + skip_y) // n
        if row == done:
            out[y] = out[y - 1]
            continue
        done, column, times = row, skip_x // n, skip_x % n
        for x in range(out.shape[1]):
            out[y, x] = pixels[row, column]
            times += 1
            if times == n:
                column, times = column + 1, 0


@njit(nogil=True, cache=True)
def harmonise(numbers, offset, out):  # type: ignore[no-untyped-def]
    """Reflectance x 10000 without the offset of delivered uint16 numbers: 0 stays unseen, seen values
    stay at least 1. Both are 1-D."""
    for k in range(len(out)):
        value = np.int32(numbers[k])
        out[k] = np.uint16(0) if value == 0 else np.uint16(max(value + np.int32(offset), np.int32(1)))


@njit(nogil=True, cache=True)
def fill(plane, rows, columns, fresh, pixels, up, skip_y, skip_x, offset, need):  # type: ignore[no-untyped-def]
    """Write harmonised pixels into ``plane`` (y, x), uint16, where ``need`` holds and it is 0.

    ``pixels`` each cover ``up`` x ``up`` of its part ``rows`` and ``columns``, each (start, stop), less
    ``skip_y`` rows and ``skip_x`` columns. ``fresh`` says that what the plane holds does not count. ``need``
    (y, octet) are ``features.bits`` of the plane. Returns how many needed pixels the source has seen.
    """
    left, right = columns
    width = right - left
    spread = np.empty(need.shape[1], np.uint64)
    wanted = spread.view(np.uint8)[left:right]
    wide = np.empty(width, np.uint16)
    narrow = np.empty(pixels.shape[1], np.uint16)
    pairs = np.empty(pixels.shape[1], np.uint32)
    done, seen = -1, np.int64(0)
    for y in range(rows[0], rows[1]):
        row = (y - rows[0] + skip_y) // up
        if row != done:
            done = row
            if up == 1:
                harmonise(pixels[row][skip_x : skip_x + width], offset, wide)
            elif up == 2:
                harmonise(pixels[row], offset, narrow)
                for x in range(len(pairs)):
                    pairs[x] = np.uint32(narrow[x]) * np.uint32(65537)
                wide[:] = pairs.view(np.uint16)[skip_x : skip_x + width]
            else:
                harmonise(pixels[row], offset, narrow)
                for x in range(width):
                    wide[x] = narrow[(x + skip_x) // up]
        spread_row(need[y], SPREAD, spread)
        target = plane[y][left:right]  # of a whole row, whose pixels the compiler knows to lie side by side
        count = np.uint32(0)
        for x in range(width):
            value = wide[x] if wanted[x] else np.uint16(0)
            count += np.uint32(value != 0)
            if fresh:
                target[x] = value
            else:
                target[x] = target[x] if target[x] else value
        seen += np.int64(count)
    return seen
