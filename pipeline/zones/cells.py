"""True areas of grid cells on the ellipsoid, as whole square millimetres."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pyproj
from numpy.typing import NDArray

from pipeline.grid import transformer

#: Rows of cells that share one row of areas, counted from the projection's origin. The areal scale
#: changes along a UTM meridian by less than 2e-8 of itself within half as many rows of 10 m.
STRIP = 512
#: Cells beyond this width would overflow the kernels' integers.
WIDEST_M = 60


@lru_cache(maxsize=256)
def areas(epsg: int, resolution_m: int, strip: int, first: int, columns: int) -> NDArray[np.int64]:
    """Area in mm2 of the cells of one strip of rows, (column,).

    Columns are counted from the projection's origin eastward, beginning with ``first``; strip k holds
    the rows from k x STRIP to (k + 1) x STRIP cells north of the origin. The area of a cell is that on
    the map divided by the projection's areal scale at its middle (Snyder 1987, eq. 4-11).
    Raises ValueError where cells are wider than 60 m.
    """
    if not 0 < resolution_m <= WIDEST_M:
        raise ValueError(f"cells are {resolution_m} m wide; expected at most {WIDEST_M} m")
    x = (first + np.arange(columns) + 0.5) * resolution_m
    y = np.full(columns, (strip + 0.5) * STRIP * resolution_m)
    lon, lat = transformer(epsg, 4326).transform(x, y)
    scale = _projection(epsg).get_factors(lon, lat).areal_scale
    found = np.asarray(np.rint(1e6 * resolution_m**2 / scale), np.int64)
    found.flags.writeable = False  # callers share it
    return found


@lru_cache(maxsize=8)
def _projection(epsg: int) -> pyproj.Proj:
    return pyproj.Proj(epsg)
