"""One raster band on a given grid, the same pixels whatever window is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from pipeline import jp2, tiff
from pipeline.grid import transformer
from pipeline.remote import Access, Fault, RemoteFile

#: Largest internal tile, and source window a pixel of the grid, that are read at all.
MAX_TILE_BYTES = 256 << 20
MAX_SOURCE_PX = 400
#: Edges that differ by less than this part of a pixel are one edge.
_ALIGNED = 1e-3
#: As rasterio reads; decoding is on the caller's thread.
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
}


@dataclass
class Raster:
    """An open file; of a remote one only the parts that were brought."""

    url: str
    file: Any
    remote: RemoteFile | None = None
    layout: tiff.Layout | jp2.Layout | None = None
    resampling: str = "nearest"

    def close(self) -> None:
        """Close the file and let go of what was fetched of it."""
        self.file.close()
        if self.remote:
            self.remote.close()

    def bring(self, geobox: GeoBox, resampling: str) -> None:
        """Fetch what ``read`` will decode. Raises Fault."""
        source = _source_window(self.file, geobox, resampling)
        if source and self.remote and self.layout and self.remote.prefetch(self.layout.ranges(*source)):
            self.file.close()  # its read-ahead may hold what was not there yet
            self.file = _opened(self.remote.path, self.file.driver)

    def read(self, geobox: GeoBox, dtype: str, nodata: float, resampling: str) -> NDArray[Any]:
        """The first band on ``geobox``, (y, x) of ``dtype``, ``nodata`` where it has no pixel.

        On the grid's own pixels they are copied, replicated or averaged by whole numbers. Else every
        pixel is placed exactly: GDAL's usual approximation (an eighth of a pixel) depends on the
        window, and blocks of different sizes would then differ.
        """
        self.bring(geobox, resampling)
        out = np.full(geobox.shape.yx, nodata, dtype)
        try:
            return _onto(self.file, geobox, out, nodata, resampling)
        except RasterioError as error:
            raise Fault("unreadable", cause(error)) from None


def open_raster(url: str, access: Access | None = None) -> Raster:
    """Open a GeoTIFF or a JPEG 2000 file, told by its first bytes and never by its name.

    Raises Fault where it cannot be had, is of another kind, or claims sizes that no image has.
    """
    access = access or Access()
    raster = _remote(url, access) if url.startswith(("http://", "https://", "s3://")) else _local(url)
    height, width = raster.file.block_shapes[0]
    if height * width * np.dtype(raster.file.dtypes[0]).itemsize > MAX_TILE_BYTES:
        raster.close()
        raise Fault("unreadable", f"its internal tiles of {height} x {width} pixels are too large")
    return raster


def _local(path: str) -> Raster:
    try:
        with Path(path).open("rb") as file:
            start = file.read(12)
    except FileNotFoundError:
        raise Fault("missing asset", "no such file") from None
    except OSError as error:
        raise Fault("unreadable", f"{error.strerror or error}") from None
    return Raster(path, _opened(path, _driver(start)))


def _remote(url: str, access: Access) -> Raster:
    remote = RemoteFile(url, access)
    try:
        start = remote.fetch(0, min(12, remote.size))
        driver = _driver(start)
        layout = tiff.layout(remote.fetch) if driver == "GTiff" else jp2.layout(remote.fetch, remote.size)
        return Raster(url, _opened(remote.path, driver), remote, layout)
    except ValueError as error:
        remote.close()
        raise Fault("unreadable", str(error)) from None
    except BaseException:
        remote.close()
        raise


def _driver(start: bytes) -> str:
    if tiff.is_tiff(start):
        return "GTiff"
    if start.startswith(jp2.START):
        return "JP2OpenJPEG"
    raise Fault("unreadable", f"it is neither GeoTIFF nor JPEG 2000: it begins with {start!r}")


def _opened(path: str, driver: str) -> Any:
    try:
        with rasterio.Env(**GDAL):
            return rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise Fault("unreadable", cause(error)) from None


def cause(error: BaseException) -> str:
    """What GDAL said first: rasterio wraps it in "see previous exception"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]


@contextmanager
def opened(url: str) -> Iterator[Raster]:
    raster = open_raster(url)
    try:
        yield raster
    finally:
        raster.close()


def read_onto(url: str, geobox: GeoBox, dtype: str, nodata: float, resampling: str) -> NDArray[Any]:
    """``Raster.read`` of a file that is opened for it."""
    with opened(url) as raster:
        return raster.read(geobox, dtype, nodata, resampling)


# --- on the grid's own pixels ------------------------------------------------------------------


@dataclass(frozen=True)
class _Fit:
    """How the pixels of a file lie on those of a grid: ``up`` grid pixels to one of the file along
    each axis, or ``down`` of the file to one of the grid; the file begins at grid pixel (x, y)."""

    up: int
    down: int
    x: int
    y: int


def _fit(file: Any, geobox: GeoBox, resampling: str) -> _Fit | None:
    """None where the file's pixels must be resampled."""
    t, g = file.transform, geobox.affine
    if file.crs is None or file.crs.to_epsg() != geobox.crs.epsg:  # type: ignore[union-attr]
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


def _overlap(fit: _Fit, file: Any, geobox: GeoBox) -> tuple[slice, slice] | None:
    """Rows and columns of the grid that the file covers."""
    rows = max(0, fit.y), min(geobox.shape.y, fit.y + file.height * fit.up // fit.down)
    columns = max(0, fit.x), min(geobox.shape.x, fit.x + file.width * fit.up // fit.down)
    return (slice(*rows), slice(*columns)) if rows[0] < rows[1] and columns[0] < columns[1] else None


def _cells(part: slice, first: int, fit: _Fit) -> tuple[int, int]:
    """(start, stop) of the file's pixels under a part of the grid's axis."""
    start, stop = part.start - first, part.stop - first
    return start // fit.up * fit.down, -(-stop // fit.up) * fit.down


def _source_window(file: Any, geobox: GeoBox, resampling: str) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) in pixels of the file that a read touches. Raises Fault."""
    fit = _fit(file, geobox, resampling)
    if fit is None:
        return _warp_window(file, geobox)
    part = _overlap(fit, file, geobox)
    if part is None:
        return None
    (top, bottom), (left, right) = _cells(part[0], fit.y, fit), _cells(part[1], fit.x, fit)
    return left, top, min(right, file.width), min(bottom, file.height)


def _onto(file: Any, geobox: GeoBox, out: NDArray[Any], nodata: float, resampling: str) -> NDArray[Any]:
    fit = _fit(file, geobox, resampling)
    if fit is None:
        return _warp(file, geobox, out, nodata, resampling)
    part = _overlap(fit, file, geobox)
    if part is None:
        return out
    (top, bottom), (left, right) = _cells(part[0], fit.y, fit), _cells(part[1], fit.x, fit)
    bottom, right = min(bottom, file.height), min(right, file.width)
    window = Window(left, top, right - left, bottom - top)
    whole = out.shape == (bottom - top, right - left) and file.dtypes[0] == out.dtype
    source = file.read(1, window=window, out=out) if whole else file.read(1, window=window)
    unseen = file.nodata
    if unseen is not None and unseen != nodata and not (math.isnan(unseen) and math.isnan(nodata)):
        source = np.where(_is(source, unseen), np.asarray(nodata, out.dtype), source)
    if fit.down > 1:
        out[part] = _means(source, fit.down, nodata, out.dtype)[: out[part].shape[0], : out[part].shape[1]]
    elif fit.up > 1:
        skip = part[0].start - fit.y - top * fit.up, part[1].start - fit.x - left * fit.up
        _replicate(source, fit.up, skip, out[part])
    elif source is not out:
        out[part] = source
    return out


def _replicate(source: NDArray[Any], n: int, skip: tuple[int, int], out: NDArray[Any]) -> None:
    """Each pixel n x n times, without the first ``skip`` rows and columns."""
    width = out.shape[1]
    columns = np.repeat(source, n, axis=1)[:, skip[1] : skip[1] + width]
    for k in range(n):
        first = (k - skip[0]) % n
        rows = out[first::n]
        start = (first + skip[0]) // n
        rows[...] = columns[start : start + len(rows)]


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


def _warp_window(file: Any, geobox: GeoBox) -> tuple[int, int, int, int] | None:
    columns, rows = _places(geobox, str(file.crs), ~file.transform)
    inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    if not inside.any():
        return None
    x, y = columns[inside], rows[inside]
    left, top = max(0, int(x.min()) - 1), max(0, int(y.min()) - 1)
    right, bottom = min(file.width, int(x.max()) + 2), min(file.height, int(y.max()) + 2)
    if (right - left) * (bottom - top) > MAX_SOURCE_PX * max(10_000, geobox.shape.x * geobox.shape.y):
        raise Fault(
            "wrong grid", f"its pixels of {file.res[0]:g} are too fine for a grid of {geobox.resolution.x:g}"
        )
    return left, top, right, bottom


def _warp(file: Any, geobox: GeoBox, out: NDArray[Any], nodata: float, resampling: str) -> NDArray[Any]:
    """Nearest or bilinear values at the exact places of the grid's pixel centres.

    Bilinear weights of unseen neighbours go to the seen ones; a pixel whose own cell is unseen stays so.
    """
    window = _warp_window(file, geobox)
    if window is None:
        return out
    left, top, right, bottom = window
    columns, rows = _places(geobox, str(file.crs), ~file.transform)
    inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    source = file.read(1, window=Window(left, top, right - left, bottom - top))
    unseen = nodata if file.nodata is None else file.nodata
    sample = _nearest if resampling == "nearest" else _bilinear
    out[inside] = sample(source, columns[inside] - left, rows[inside] - top, unseen, nodata)
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
