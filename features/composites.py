"""One picture of a season: median, medoid and geomedian of its dates, and the spread around it.

A date counts for a pixel only where all bands are seen, so that a composite is a spectrum the ground could have.
No pixel's value depends on its neighbours or on how an image was cut into blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features import weiszfeld
from features.weiszfeld import F32, LANES, NAN

#: Pixels handed to a kernel at a time: bounds the memory that gathering bands takes.
CHUNK = 1 << 14

Stack = Mapping[str, NDArray[np.uint16]] | NDArray[np.uint16]


@dataclass(frozen=True)
class Composite:
    """A season's picture."""

    bands: tuple[str, ...]
    """Names of the first axis; empty where the stack was a bare array."""
    values: NDArray[np.float32]
    """(band, y, x) in the stack's unit (reflectance x 10000), NaN where no date has all bands."""
    count: NDArray[np.uint16]
    """(y, x) dates used."""

    def stack(self) -> dict[str, NDArray[np.uint16]]:
        """The picture as a stack of one date, for ``features.block``: band -> uint16 (1, y, x), 0 = unseen.

        Rounded to the stack's own unit; raises ValueError where bands have no names.
        """
        if not self.bands:
            raise ValueError("the composite was made from a bare array; its bands have no names")
        whole = np.clip(np.rint(self.values), 1, 65535)
        whole = np.where(np.isnan(self.values), 0, whole).astype(np.uint16)
        return {band: whole[k][np.newaxis] for k, band in enumerate(self.bands)}


@dataclass(frozen=True)
class Deviations:
    """Median absolute deviations of a season's dates from its picture, each float32 (y, x), NaN = unseen."""

    edev: NDArray[np.float32]
    """By Euclidean distance, in the stack's unit."""
    sdev: NDArray[np.float32]
    """By cosine distance (1 - cosine of the spectral angle): blind to brightness."""
    bcdev: NDArray[np.float32]
    """By Bray-Curtis distance."""


def median(stack: Stack) -> Composite:
    """Each band's median over the dates.

    ``stack`` maps band name to uint16 (time, y, x), or is uint16 (band, time, y, x); 0 = unseen.
    Raises ValueError for another type or for shapes that differ.
    """
    return _made(stack, _median)


def medoid(stack: Stack) -> Composite:
    """The seen date whose summed Euclidean distance to the other dates is least (Flood 2013); ties: the earliest.

    doi:10.3390/rs5126481. Arguments and errors as for ``median``.
    """
    return _made(stack, _medoid)


def geomedian(stack: Stack, tolerance: float = 0.1, iterations: int = 1000) -> Composite:
    """The spectrum with the least summed Euclidean distance to all dates (Roberts, Mueller & McIntyre 2017).

    doi:10.1109/TGRS.2017.2723896. Damped Newton steps from the mean; where one makes the sum larger, the step of
    Weiszfeld, with that of Vardi & Zhang (2000) where a date is met. ``tolerance`` bounds the estimated distance
    to the answer, in the stack's unit (0.1 is 1e-5 of reflectance), and is at least 0.01, since steps below
    0.001 are lost in float32. Of two dates it is the mean; for an even number of dates on one line, where the
    answer is not unique, one of the answers. Arguments and errors as for ``median``.
    """
    if not tolerance >= 0.01:
        raise ValueError(f"tolerance {tolerance} is below 0.01 of the stack's unit")
    if iterations < 1:
        raise ValueError(f"iterations is {iterations}; expected at least 1")
    return _made(stack, lambda part, out, n: weiszfeld.geomedian(part, out, n, F32(tolerance), iterations))


def deviations(stack: Stack, centre: Composite) -> Deviations:
    """Spread of the dates around ``centre``, usually their geomedian (Roberts, Dunn & Mueller 2018).

    doi:10.1109/IGARSS.2018.8518312. Raises ValueError where ``centre`` is not of the stack's shape.
    """
    names, arrays = _bands(stack)
    shape = arrays[0].shape[1:]
    if centre.values.shape != (len(arrays), *shape) or centre.bands != names:
        raise ValueError(
            f"centre has bands {centre.bands} of shape {centre.values.shape}; "
            f"the stack has {names} of shape {(len(arrays), *shape)}"
        )
    out = np.empty((3, *shape), np.float32)
    for rows, part in _chunks(arrays):
        here = (rows.stop - rows.start, shape[1])
        middle = np.ascontiguousarray(centre.values[:, rows]).reshape(len(arrays), here[0] * here[1])
        found = np.empty((3, middle.shape[1]), np.float32)
        _deviations(part, middle, found)
        out[:, rows] = found.reshape(3, *here)
    return Deviations(*out)


def _made(stack: Stack, kernel: Callable[..., None]) -> Composite:
    names, arrays = _bands(stack)
    shape = arrays[0].shape[1:]
    values, count = np.empty((len(arrays), *shape), np.float32), np.empty(shape, np.uint16)
    for rows, part in _chunks(arrays):
        found, dates = np.empty((len(arrays), part.shape[2]), np.float32), np.empty(part.shape[2], np.uint16)
        kernel(part, found, dates)
        here = (rows.stop - rows.start, shape[1])
        pixels = here[0] * here[1]
        values[:, rows] = found[:, :pixels].reshape(len(arrays), *here)
        count[rows] = dates[:pixels].reshape(here)
    return Composite(names, values, count)


def _bands(stack: Stack) -> tuple[tuple[str, ...], list[NDArray[np.uint16]]]:
    """Names and (time, y, x) arrays of a stack."""
    names = tuple(stack) if isinstance(stack, Mapping) else ()
    arrays = [np.asarray(a) for a in (stack.values() if isinstance(stack, Mapping) else stack)]
    if not arrays:
        raise ValueError("the stack has no band")
    for k, array in enumerate(arrays):
        label = repr(names[k]) if names else str(k)
        if array.dtype != np.uint16 or array.ndim != 3:
            raise ValueError(
                f"band {label} is {array.dtype} with {array.ndim} axes; expected uint16 (time, y, x)"
            )
        if array.shape != arrays[0].shape:
            raise ValueError(f"band {label} is {array.shape}; the first band is {arrays[0].shape}")
    return names, arrays


def _chunks(arrays: list[NDArray[np.uint16]]) -> Iterator[tuple[slice, NDArray[np.uint16]]]:
    """Rows, and their dates gathered as contiguous (band, time, pixel), followed by a few unseen pixels.

    With those, the dates of one pixel do not all fall on the same few lines of a cache.
    """
    dates, height, width = arrays[0].shape
    step = max(1, CHUNK // max(width, 1))
    for y in range(0, height, step):
        rows = slice(y, min(y + step, height))
        pixels = (rows.stop - y) * width
        part = np.zeros((len(arrays), dates, -(-pixels // 2048) * 2048 + 32), np.uint16)
        for k, array in enumerate(arrays):
            part[k, :, :pixels] = array[:, rows].reshape(dates, pixels)
        yield rows, part


@njit(nogil=True, inline="always")
def _gather(part, start, n, values, seen, count):  # type: ignore[no-untyped-def]
    """Lanes ``values`` (time, band, lane), ``seen`` 1 where all bands are, and the ``count`` of such dates."""
    bands, dates, _ = part.shape
    for i in range(n):
        count[start + i] = 0
    for t in range(dates):
        for i in range(n):
            seen[t, i] = F32(1)
        for p in range(bands):
            for i in range(n):
                number = part[p, t, start + i]
                values[t, p, i] = F32(number)
                seen[t, i] = seen[t, i] if number else F32(0)
        for i in range(n):
            count[start + i] += np.uint16(1) if seen[t, i] > F32(0) else np.uint16(0)


@njit(nogil=True, cache=True)
def _middle(ordered, n):  # type: ignore[no-untyped-def]
    """Median of the first ``n`` of ``ordered``, sorted in place."""
    for k in range(1, n):
        value, j = ordered[k], k
        while j > 0 and ordered[j - 1] > value:
            ordered[j] = ordered[j - 1]
            j -= 1
        ordered[j] = value
    if n == 0:
        return np.nan
    return 0.5 * (np.float64(ordered[(n - 1) // 2]) + np.float64(ordered[n // 2]))


@njit(nogil=True, cache=True)
def _median(part, out, count):  # type: ignore[no-untyped-def]
    bands, dates, pixels = part.shape
    values, seen = np.empty((dates, bands, LANES), F32), np.empty((dates, LANES), F32)
    ordered = np.empty(max(dates, 1), F32)
    for start in range(0, pixels, LANES):
        n = min(LANES, pixels - start)
        _gather(part, start, n, values, seen, count)
        for p in range(bands):
            for i in range(n):
                k = 0
                for t in range(dates):
                    if seen[t, i]:
                        ordered[k] = values[t, p, i]
                        k += 1
                out[p, start + i] = F32(_middle(ordered, k))


@njit(nogil=True, cache=True)
def _medoid(part, out, count):  # type: ignore[no-untyped-def]
    bands, dates, pixels = part.shape
    values, seen = np.empty((dates, bands, LANES), F32), np.empty((dates, LANES), F32)
    total, square = np.empty((dates, LANES)), np.empty(LANES)
    for start in range(0, pixels, LANES):
        n = min(LANES, pixels - start)
        _gather(part, start, n, values, seen, count)
        total[:] = 0.0
        for t in range(dates):
            for s in range(dates):
                square[:] = 0.0
                for p in range(bands):
                    a, b = values[t, p], values[s, p]
                    for i in range(n):
                        step = np.float64(a[i]) - np.float64(b[i])
                        square[i] += step * step
                for i in range(n):
                    total[t, i] += np.sqrt(square[i]) * seen[s, i]
        for i in range(n):
            best, least = -1, np.inf
            for t in range(dates):
                # Sums of the same distances in another order are a tie, whatever the last bit says.
                if (seen[t, i] and total[t, i] < least * (1 - 1e-12)) or (seen[t, i] and best < 0):
                    best, least = t, total[t, i]
            for p in range(bands):
                out[p, start + i] = values[best, p, i] if best >= 0 else NAN


@njit(nogil=True, cache=True, error_model="numpy")
def _deviations(part, centre, out):  # type: ignore[no-untyped-def]
    bands, dates = part.shape[:2]
    euclidean, angular, curtis = np.empty(max(dates, 1)), np.empty(max(dates, 1)), np.empty(max(dates, 1))
    for i in range(out.shape[1]):
        k = 0
        for t in range(dates):
            seen = True
            square = dot = length = other = apart = together = 0.0
            for p in range(bands):
                a, b = np.float64(part[p, t, i]), np.float64(centre[p, i])
                seen = seen and bool(a > 0)
                square += (a - b) ** 2
                dot += a * b
                length += a * a
                other += b * b
                apart += abs(a - b)
                together += abs(a + b)
            if seen:
                euclidean[k] = np.sqrt(square)
                angular[k] = max(0.0, 1.0 - dot / np.sqrt(length * other))
                curtis[k] = apart / together
                k += 1
        out[0, i], out[1, i], out[2, i] = _middle(euclidean, k), _middle(angular, k), _middle(curtis, k)
