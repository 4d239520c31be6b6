"""Terrain layers from a digital elevation model on the map grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def slope(elevation: NDArray[np.float32], resolution_m: float) -> NDArray[np.float32]:
    """Slope in degrees (Horn 1981), one pixel smaller on each side than ``elevation`` (y, x) in m.

    NaN where one of the nine pixels is NaN.
    """
    z = elevation.astype(np.float64)
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    rise = np.hypot(east - west, south - north) / (8 * resolution_m)
    flat = np.degrees(np.arctan(rise)) + 0 * z[1:-1, 1:-1]
    return flat.astype(np.float32)
