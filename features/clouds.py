"""What of a Sentinel-2 scene is clear, from its scene classification (SCL)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

#: Cloud shadow, medium and high probability cloud, cirrus: grown by the dilation radius.
CLOUDY = (3, 8, 9, 10)
#: No data and saturated: unseen, but their surroundings are good.
UNSEEN = (0, 1)


def clear(scl: NDArray[np.uint8], radius: int) -> NDArray[np.bool_]:
    """True where the ground is seen.

    ``scl`` (y, x) holds ESA's classes; cloud and shadow are grown by a disk of ``radius`` pixels.
    Water (6) stays clear: flooded rice is class 6. Callers pass a halo of ``radius`` and cut it off.
    """
    cloudy = np.isin(scl, CLOUDY)
    if radius > 0 and cloudy.any():
        y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
        cloudy = binary_dilation(cloudy, structure=x * x + y * y <= radius * radius)
    return ~(cloudy | np.isin(scl, UNSEEN))
