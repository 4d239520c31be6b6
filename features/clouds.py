"""What of a Sentinel-2 scene is clear, from its scene classification (SCL)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Cloud shadow, medium and high probability cloud, cirrus: grown by the dilation radius.
CLOUDY = (3, 8, 9, 10)
#: No data and saturated: unseen, but their surroundings are good.
UNSEEN = (0, 1)
#: Bare soil.
BARE = 5
#: Last of ESA's classes; what is above is no class, so nothing is known of it.
LAST = 11


def clear(scl: NDArray[np.uint8], radius: int, also: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """True where the ground is seen.

    ``scl`` (y, x) holds ESA's classes; cloud and shadow are grown by a disk of ``radius`` pixels, and so
    is what another opinion calls cloud (``also``).
    Water (6) stays clear: flooded rice is class 6. Callers pass a halo of ``radius`` and cut it off.
    """
    cloudy = _among(scl, CLOUDY)
    if also is not None:
        cloudy |= also
    if radius > 0 and cloudy.any():
        cloudy = grow(cloudy, radius)
    return ~(cloudy | _among(scl, UNSEEN) | (scl > LAST))


def _among(scl: NDArray[np.uint8], codes: Sequence[int]) -> NDArray[np.bool_]:
    """Comparing with one code after another takes a tenth of np.isin's time."""
    found: NDArray[np.bool_] = scl == codes[0]
    for code in codes[1:]:
        found |= scl == code
    return found


#: Fewest dates that tell that a pixel is called cloud nearly always, and how often that is.
DATES, NEARLY_ALWAYS = 8, 0.9
#: Cloud of medium and high probability: what bright salt and sand are taken for.
BRIGHT = (8, 9)


class Often:
    """Counts, date by date, how often each pixel (y, x) is called cloud."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self._seen, self._cloud = np.zeros(shape, np.uint16), np.zeros(shape, np.uint16)

    def add(self, scl: NDArray[np.uint8]) -> None:
        """Count one image's classes."""
        self._seen += scl > 0
        self._cloud += _among(scl, BRIGHT)

    @property
    def pixels(self) -> NDArray[np.bool_]:
        """Where cloud is seen nearly always, on enough dates."""
        return np.asarray((self._seen >= DATES) & (self._cloud >= NEARLY_ALWAYS * self._seen), np.bool_)


def steady(blue: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Dates on which a pixel that is called cloud nearly always shows its ground, (time, pixel).

    ``blue`` (time, pixel) is reflectance x 10000, 0 = unseen. Salt and sand keep their brightness, clouds do
    not: most of the dates lie within a tenth of their median (or 0.015), and those dates are the ground's.
    """
    values = np.where(blue > 0, blue.astype(np.float32), np.nan)
    seen = ~np.isnan(values)
    middle = _medians(values)
    near = np.abs(values - middle) <= np.maximum(0.1 * middle, 150)  # False where unseen
    return np.asarray(near & (near.sum(axis=0) >= np.maximum(0.6 * seen.sum(axis=0), DATES // 2)), np.bool_)


def _medians(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lower median along the first axis, NaN left out."""
    if not values.size:
        return np.full(values.shape[1:], np.nan, np.float32)
    ordered = np.sort(values, axis=0)  # NaN come last
    last = np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0)
    middle: NDArray[np.float32] = ordered[last // 2, np.arange(values.shape[1])]
    return middle


def grow(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """``mask`` (y, x) dilated by a disk of ``radius`` pixels, nothing beyond its edges.

    A disk is a pile of rows, and a row is grown from the next shorter one, so the cost is that of
    4 x ``radius`` passes (a structuring element costs its area).
    """
    wide, grown = mask.copy(), mask.copy()
    width = 0
    for dy in range(radius, -1, -1):
        reach = math.isqrt(radius * radius - dy * dy)
        while width < reach:
            width += 1
            wide[:, width:] |= mask[:, :-width]
            wide[:, :-width] |= mask[:, width:]
        height = len(mask) - dy
        if height > 0:
            grown[dy:] |= wide[:height]
            grown[:height] |= wide[dy:]
    return grown
