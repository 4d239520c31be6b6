"""Terrain layers from a digital elevation model on the map grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Tangent of the gentlest slope that water is taken to run on: a flat would have no wetness index.
GENTLEST = 0.001
#: Names of the layers that ``layers`` makes.
NAMES = ("slope", "aspect", "northness", "eastness", "profile_curvature", "plan_curvature")
Layer = NDArray[np.float32]
_Height = NDArray[np.float64]


def reach(resolution_m: float) -> int:
    """Pixels around a window that its layers depend on."""
    return max(1, round(CURVATURE_M / resolution_m))


#: Spacing of the heights that a curvature is made of: that of the elevation model. Closer together they
#: would show the kinks of the interpolation between its pixels.
CURVATURE_M = 30.0


def slope(elevation: Layer, resolution_m: float) -> Layer:
    """Slope in degrees (Horn 1981), one pixel smaller on each side than ``elevation`` (y, x) in m.

    NaN where one of the nine pixels is NaN.
    """
    east, north, known = _differences(elevation)
    return (np.degrees(np.arctan(np.hypot(east, north) / (8 * resolution_m))) + known).astype(np.float32)


def aspect(elevation: Layer) -> Layer:
    """The way that a slope faces (Horn 1981), in degrees clockwise from north, 0 to 360; NaN on flats.

    One pixel smaller on each side than ``elevation`` (y, x) in m.
    """
    east, north, known = _differences(elevation)
    degrees = np.degrees(np.arctan2(-east, -north)) % 360
    flat = (east == 0) & (north == 0)
    return np.where(flat, np.nan, degrees + known).astype(np.float32)


def facing(elevation: Layer) -> tuple[Layer, Layer]:
    """(northness, eastness): cosine and sine of the aspect, -1 to 1, both 0 on flats.

    An aspect of 359 degrees is near one of 1 degree; these two say so, so models take them.
    """
    east, north, known = _differences(elevation)
    rise = np.hypot(east, north)
    rise[rise == 0] = 1
    return (known - north / rise).astype(np.float32), (known - east / rise).astype(np.float32)


def curvature(elevation: Layer, resolution_m: float) -> tuple[Layer, Layer]:
    """(profile, plan) curvature in 1/m (Zevenbergen & Thorne 1987) from the 3 x 3 heights that lie ``reach``
    pixels apart; smaller than ``elevation`` (y, x) in m by as much on each side.

    Signs as in ArcGIS: a profile below 0 is convex down the slope (water runs faster), a plan above 0
    convex across it (water parts). Both are 0 on flats, NaN where one of the nine heights is NaN.
    """
    k = reach(resolution_m)
    z, step = elevation.astype(np.float64), k * resolution_m
    rows, columns = z.shape[0] - 2 * k, z.shape[1] - 2 * k
    z1, z2, z3, z4, z5, z6, z7, z8, z9 = (
        z[i * k : i * k + rows, j * k : j * k + columns] for i in range(3) for j in range(3)
    )
    d, e = ((z4 + z6) / 2 - z5) / step**2, ((z2 + z8) / 2 - z5) / step**2
    f = (-z1 + z3 + z7 - z9) / (4 * step**2)
    g, h = (-z4 + z6) / (2 * step), (z2 - z8) / (2 * step)
    steep = g * g + h * h
    known = 0 * (z1 + z3 + z7 + z9) + 0 * steep
    steep[steep == 0] = np.inf
    profile = 2 * (d * g * g + e * h * h + f * g * h) / steep
    plan = -2 * (d * h * h + e * g * g - f * g * h) / steep
    return (profile + known).astype(np.float32), (plan + known).astype(np.float32)


def layers(elevation: Layer, resolution_m: float) -> dict[str, Layer]:
    """All layers of ``NAMES``, smaller than ``elevation`` (y, x) in m by ``reach`` on each side."""
    k = reach(resolution_m)
    inner = elevation[k - 1 : len(elevation) - k + 1, k - 1 : elevation.shape[1] - k + 1]
    northness, eastness = facing(inner)
    profile, plan = curvature(elevation, resolution_m)
    return {
        "slope": slope(inner, resolution_m),
        "aspect": aspect(inner),
        "northness": northness,
        "eastness": eastness,
        "profile_curvature": profile,
        "plan_curvature": plan,
    }


def wetness(upslope_m2: NDArray[np.floating], slope_degrees: Layer, resolution_m: float) -> Layer:
    """Topographic wetness index ln(a / tan b) (Beven & Kirkby 1979), (y, x).

    a is the area that drains through a pixel (its own included) by the width of the pixel, in m; b the
    slope, not gentler than ``GENTLEST``.
    """
    tangent = np.maximum(np.tan(np.radians(slope_degrees.astype(np.float64))), GENTLEST)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(upslope_m2 / resolution_m / tangent).astype(np.float32)


def _differences(elevation: Layer) -> tuple[_Height, _Height, _Height]:
    """Rise over eight pixels toward east and toward north (Horn 1981), and 0, or NaN where one of the nine
    pixels is NaN."""
    z = elevation.astype(np.float64)
    north = z[:-2, :-2] + 2 * z[:-2, 1:-1] + z[:-2, 2:]
    south = z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:]
    west = z[:-2, :-2] + 2 * z[1:-1, :-2] + z[2:, :-2]
    east = z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:]
    known = 0 * (north + south + z[1:-1, :-2] + z[1:-1, 2:]) + 0 * z[1:-1, 1:-1]
    return east - west, north - south, known
