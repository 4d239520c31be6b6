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
