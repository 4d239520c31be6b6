"""Pixels of a file laid on a grid, the same whatever window of the grid is asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError

from pipeline.facts import Facts
from pipeline.grid import transformer
from pipeline.pixels import replicate
from pipeline.remote import Fault

#: Largest source window, in pixels for each of the grid.
MAX_SOURCE_PX = 400
#: Edges that differ by less than this part of a pixel are one edge.
_ALIGNED = 1e-3


class Window(Protocol):
    """How pixels (y, x) of a file are had."""

    def __call__(self, left: int, top: int, right: int, bottom: int) -> NDArray[Any]: ...


@dataclass(frozen=True)
class Patch:
    """Pixels that lie on a part of a grid, each on ``up`` x ``up`` of the grid's."""

    pixels: NDArray[Any]
    part: tuple[slice, slice]
    """Rows and columns of the grid."""
    up: int = 1
    skip: tuple[int, int] = (0, 0)
    """Rows and columns of the grid that the first pixels cover before the part begins."""

    def onto(self, out: NDArray[Any]) -> NDArray[Any]:
        """``out``, (y, x) of the whole grid, with the patch laid on it."""
        target = out[self.part]
        if self.up == 1:
            target[...] = self.pixels
        else:
            replicate(self.pixels, self.up, self.skip[0], self.skip[1], target)
        return out


# --- on the grid's own pixels ------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    """How the pixels of a file lie on those of a grid: ``up`` grid pixels to one of the file along
    each axis, or ``down`` of the file to one of the grid; the file begins at grid pixel (x, y)."""

    up: int
    down: int
    x: int
    y: int


def _fit(file: Facts, geobox: GeoBox, resampling: str) -> _Fit | None:
    """None where the file's pixels must be resampled."""
    t, g = file.transform, geobox.affine
    if file.epsg is None or file.epsg != geobox.crs.epsg:  # type: ignore[union-attr]
        return None
    if t.b or t.d or t.e > 0 or abs(t.a + t.e) > _ALIGNED * t.a:
        return None
    up, down = max(1, round(t.a / g.a)), max(1, round(g.a / t.a))
    if abs(t.a * down - g.a * up) > 1e-6 * g.a or (up > 1 and resampling == "bilinear"):
        return None
    if down > 1 and resampling != "average":
        return None
    x, y = (t.c - g.c) / g.a, (t.f - g.f) / g.e
    if abs(x - round(x)) > _ALIGNED or abs(y - round(y)) > _ALIGNED:
        return None
    return _Fit(up, down, round(x), round(y))


def _overlap(fit: _Fit, file: Facts, geobox: GeoBox) -> tuple[slice, slice] | None:
    """Rows and columns of the grid that the file covers."""
    rows = max(0, fit.y), min(geobox.shape.y, fit.y + file.height * fit.up // fit.down)
    columns = max(0, fit.x), min(geobox.shape.x, fit.x + file.width * fit.up // fit.down)
    return (slice(*rows), slice(*columns)) if rows[0] < rows[1] and columns[0] < columns[1] else None


def _cells(part: slice, first: int, fit: _Fit) -> tuple[int, int]:
    """(start, stop) of the file's pixels under a part of the grid's axis."""
    start, stop = part.start - first, part.stop - first
    return start // fit.up * fit.down, -(-stop // fit.up) * fit.down


def source_window(file: Facts, geobox: GeoBox, resampling: str) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) in pixels of the file that a read touches. Raises Fault."""
    fit = _fit(file, geobox, resampling)
    if fit is None:
        return _warp_window(file, geobox)
    part = _overlap(fit, file, geobox)
    if part is None:
        return None
    (top, bottom), (left, right) = _cells(part[0], fit.y, fit), _cells(part[1], fit.x, fit)
    return left, top, min(right, file.width), min(bottom, file.height)


def place(
    file: Facts, window: Window, geobox: GeoBox, dtype: str, nodata: float, resampling: str
) -> Patch | None:
    """What ``window`` gives of ``file`` on ``geobox`` as ``dtype``, unseen pixels as ``nodata``.

    None where the file has no pixel there. On the grid's own pixels they are copied, replicated or averaged
    by whole numbers. Else every pixel is placed exactly: GDAL's usual approximation (an eighth of a pixel)
    depends on the window, and blocks of different sizes would then differ. Raises Fault.
    """
    fit = _fit(file, geobox, resampling)
    if fit is None:
        return _warp(file, window, geobox, dtype, nodata, resampling)
    part = _overlap(fit, file, geobox)
    if part is None:
        return None
    (top, bottom), (left, right) = _cells(part[0], fit.y, fit), _cells(part[1], fit.x, fit)
    bottom, right = min(bottom, file.height), min(right, file.width)
    pixels = window(left, top, right, bottom)
    unseen = file.nodata
    if unseen is not None and unseen != nodata and not (math.isnan(unseen) and math.isnan(nodata)):
        pixels = np.where(_is(pixels, unseen), np.asarray(nodata, dtype), pixels)
    pixels = _saturated(pixels, dtype)
    if fit.down > 1:
        height, width = part[0].stop - part[0].start, part[1].stop - part[1].start
        return Patch(_means(pixels, fit.down, nodata, np.dtype(dtype))[:height, :width], part)
    skip = part[0].start - fit.y - top * fit.up, part[1].start - fit.x - left * fit.up
    return Patch(pixels.astype(dtype, copy=False), part, fit.up, skip)


def _saturated(pixels: NDArray[Any], dtype: str) -> NDArray[Any]:
    """What is beyond the range of a narrower whole number stays at its end, and never comes round again."""
    if np.dtype(dtype).kind not in "ui" or np.can_cast(pixels.dtype, dtype):
        return pixels
    limits = np.iinfo(dtype)
    return np.asarray(np.clip(pixels, limits.min, limits.max))


def _means(source: NDArray[Any], n: int, nodata: float, dtype: Any) -> NDArray[Any]:
    """Means of n x n pixels over those that are seen."""
    height, width = source.shape[0] // n, source.shape[1] // n
    cells = source[: height * n, : width * n].reshape(height, n, width, n).astype(np.float64)
    seen = ~_is(cells, nodata)
    total, count = np.where(seen, cells, 0).sum(axis=(1, 3)), seen.sum(axis=(1, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(count > 0, total / count, nodata)
    return (np.floor(mean + 0.5) if np.dtype(dtype).kind in "ui" else mean).astype(dtype)


# --- elsewhere ---------------------------------------------------------------------------------


def _warp_window(file: Facts, geobox: GeoBox) -> tuple[int, int, int, int] | None:
    if not file.crs:
        raise Fault("wrong grid", "it has no coordinate reference system")
    try:
        columns, rows = _places(geobox, file.crs, ~file.transform)
    except ProjError as error:
        raise Fault("wrong grid", f"its coordinate reference system cannot be used: {error}") from None
    inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    if not inside.any():
        return None
    x, y = columns[inside], rows[inside]
    left, top = max(0, int(x.min()) - 1), max(0, int(y.min()) - 1)
    right, bottom = min(file.width, int(x.max()) + 2), min(file.height, int(y.max()) + 2)
    if (right - left) * (bottom - top) > MAX_SOURCE_PX * max(10_000, geobox.shape.x * geobox.shape.y):
        raise Fault(
            "wrong grid", f"its pixels of {file.pixel:g} are too fine for a grid of {geobox.resolution.x:g}"
        )
    return left, top, right, bottom


def _warp(
    file: Facts, window: Window, geobox: GeoBox, dtype: str, nodata: float, resampling: str
) -> Patch | None:
    """Nearest or bilinear values at the exact places of the grid's pixel centres.

    Bilinear weights of unseen neighbours go to the seen ones; a pixel whose own cell is unseen stays so.
    """
    touched = _warp_window(file, geobox)
    if touched is None:
        return None
    left, top, right, bottom = touched
    columns, rows = _places(geobox, file.crs, ~file.transform)
    inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    source = window(left, top, right, bottom)
    unseen = nodata if file.nodata is None else file.nodata
    sample = _nearest if resampling == "nearest" else _bilinear
    out = np.full(geobox.shape.yx, nodata, dtype)
    values = sample(source, columns[inside] - left, rows[inside] - top, unseen, nodata)
    out[inside] = _saturated(values, dtype)
    return Patch(out, (slice(0, geobox.shape.y), slice(0, geobox.shape.x)))


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
