"""One raster band on a given grid, the same pixels whatever window is asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.loader import RasterBandMetadata, RasterLoadParams, RasterSource, RioReader
from rasterio.windows import Window

from pipeline.grid import transformer


def read_onto(url: str, geobox: GeoBox, dtype: str, nodata: float, resampling: str) -> NDArray[Any]:
    """The first band of ``url`` on ``geobox``, (y, x) of ``dtype``, ``nodata`` where it has no pixel.

    In the grid's own CRS by odc-stac's reader, which pastes aligned pixels and warps no more than it
    must. From another CRS every pixel is placed exactly: GDAL's usual approximation (an eighth of a
    pixel) depends on the window, and blocks of different sizes would then differ.
    Raises RasterioError or OSError where the file cannot be read.
    """
    with rasterio.open(url) as file:
        if file.crs is not None and file.crs.to_epsg() != geobox.crs.epsg:  # type: ignore[union-attr]
            return _warp(file, geobox, dtype, nodata, resampling)
    source = RasterSource(url, meta=RasterBandMetadata(dtype, nodata))
    how = RasterLoadParams(dtype, fill_value=nodata, resampling=resampling)
    place, pixels = RioReader(source, None).read(how, geobox)  # type: ignore[arg-type]
    out = np.full(geobox.shape.yx, nodata, dtype)
    out[place] = pixels
    return out


def _warp(file: Any, geobox: GeoBox, dtype: str, nodata: float, resampling: str) -> NDArray[Any]:
    """Nearest or bilinear values at the exact places of the grid's pixel centres.

    Bilinear weights of unseen neighbours go to the seen ones; a pixel whose own cell is unseen stays so.
    """
    columns, rows = _places(geobox, str(file.crs), ~file.transform)
    inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    out = np.full(geobox.shape.yx, nodata, dtype)
    if not inside.any():
        return out
    x, y = columns[inside], rows[inside]
    left, top = max(0, int(x.min()) - 1), max(0, int(y.min()) - 1)
    right, bottom = min(file.width, int(x.max()) + 2), min(file.height, int(y.max()) + 2)
    source = file.read(1, window=Window(left, top, right - left, bottom - top))
    unseen = nodata if file.nodata is None else file.nodata
    sample = _nearest if resampling == "nearest" else _bilinear
    out[inside] = sample(source, x - left, y - top, unseen, nodata)
    return out


@lru_cache(maxsize=2)
def _places(geobox: GeoBox, crs: str, inverse: Affine) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(column, row) in a raster of the centre of each pixel of ``geobox``; whole numbers are cell edges."""
    a, (height, width) = geobox.affine, geobox.shape
    x, y = np.meshgrid(a.c + a.a * (np.arange(width) + 0.5), a.f + a.e * (np.arange(height) + 0.5))
    x, y = transformer(str(geobox.crs), crs).transform(x, y)
    return inverse.c + inverse.a * x + inverse.b * y, inverse.f + inverse.d * x + inverse.e * y


def _nearest(
    source: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64], unseen: float, nodata: float
) -> NDArray[Any]:
    values = source[y.astype(int), x.astype(int)]
    return np.where(_is(values, unseen), nodata, values)


def _bilinear(
    source: NDArray[Any], x: NDArray[np.float64], y: NDArray[np.float64], unseen: float, nodata: float
) -> NDArray[Any]:
    x0, y0 = np.floor(x - 0.5), np.floor(y - 0.5)
    fx, fy = x - 0.5 - x0, y - 0.5 - y0
    total = np.zeros(len(x))
    weight = np.zeros(len(x))
    for dx, dy, share in (
        (0, 0, (1 - fx) * (1 - fy)),
        (1, 0, fx * (1 - fy)),
        (0, 1, (1 - fx) * fy),
        (1, 1, fx * fy),
    ):
        column = np.clip(x0 + dx, 0, source.shape[1] - 1).astype(int)
        row = np.clip(y0 + dy, 0, source.shape[0] - 1).astype(int)
        value = source[row, column].astype(np.float64)
        seen = np.where(_is(value, unseen), 0.0, share)
        total += np.where(seen > 0, seen * value, 0.0)
        weight += seen
    own = _is(source[y.astype(int), x.astype(int)], unseen)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(own | (weight == 0), nodata, total / weight)


def _is(values: NDArray[Any], unseen: float) -> NDArray[np.bool_]:
    return np.asarray(np.isnan(values) | (values == unseen), np.bool_)
