"""One raster band on a given grid, the same pixels whatever window is asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj.exceptions import ProjError
from rasterio.errors import RasterioError
from rasterio.windows import Window

from pipeline import jp2, tiff
from pipeline.grid import transformer
from pipeline.pixels import replicate
from pipeline.remote import Access, Fault, RemoteFile
from pipeline.tiles import Shelf, decoded, decodes

#: Largest internal tile, most of them in a file, and largest source window a pixel of the grid.
MAX_TILE_BYTES, MAX_TILES = 256 << 20, 1 << 22
MAX_SOURCE_PX = 400
#: Edges that differ by less than this part of a pixel are one edge.
_ALIGNED = 1e-3
#: As rasterio reads; decoding is on the caller's thread.
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
}
#: Tiles of fewer rows are strips or next to it: not worth keeping.
_SHARED_ROWS = 128


@dataclass(frozen=True)
class Facts:
    """What a file says of itself."""

    driver: str
    crs: str
    """As its EPSG code or WKT, "" where it has none."""
    epsg: int | None
    projected: bool
    """True where a pixel's size is not in degrees."""
    transform: Affine
    shape: tuple[int, int]
    """(height, width) in pixels."""
    dtype: str
    nodata: float | None
    tile: tuple[int, int]
    """(height, width) of its internal tiles."""
    layout: tiff.Layout | jp2.Layout | None
    """None where nobody but GDAL knows where its pixels lie."""
    coding: tiff.Coding | None
    """How its tiles are decoded here; None where GDAL does it."""

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self.shape[1]

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def pixel(self) -> float:
        """Width of a pixel in units of the CRS."""
        return math.hypot(self.transform.a, self.transform.d)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of a file whose rows run west to east."""
        left, top = self.transform * (0, 0)
        right, bottom = self.transform * (self.width, self.height)
        return left, bottom, right, top


#: What files said of themselves, and decoded tiles that the blocks beside may want: of one process.
#: A file that changes has another mark, and so other entries.
FACTS: Shelf[Facts] = Shelf(4096, lambda _: 1)
TILES: Shelf[NDArray[Any]] = Shelf(256 << 20, lambda pixels: pixels.nbytes)


class LocalFile:
    """A file of this machine, read as a remote one is."""

    #: Nothing of it was brought.
    whole = False

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Fault("missing asset", "no such file") from None
        except OSError as error:
            raise Fault("unreadable", f"{error.strerror or error}") from None
        about = os.fstat(self._fd)
        self.size = about.st_size
        self.mark = f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes start..stop of the file. Raises Fault."""
        try:
            content = os.pread(self._fd, stop - start, start) if stop <= self.size else b""
        except OSError as error:
            raise Fault("unreadable", f"{error.strerror or error}") from None
        if len(content) != stop - start:
            raise Fault("truncated", f"bytes {start}-{stop} are wanted of a file of {self.size}")
        return content

    def prefetch(self, ranges: object) -> bool:
        """All of it is here."""
        return False

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


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


@dataclass
class Raster:
    """An open file; of a remote one only the parts that were brought."""

    url: str
    source: LocalFile | RemoteFile
    facts: Facts
    resampling: str = "nearest"
    _file: Any = field(default=None, repr=False)
    """GDAL's, opened where GDAL decodes."""

    def close(self) -> None:
        """Close the file and let go of what was fetched of it."""
        self._shut()
        self.source.close()

    def _shut(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def bring(self, geobox: GeoBox, resampling: str) -> None:
        """Fetch what ``read`` will decode. Raises Fault."""
        window = _source_window(self.facts, geobox, resampling)
        if window is None or self.facts.layout is None or isinstance(self.source, LocalFile):
            return
        wanted = _touched(window, self.facts.layout.tile)
        if self.facts.layout.tile == self.facts.tile:
            wanted = [t for t in wanted if self._key(*t) not in TILES]
        self._fetch(wanted)

    def _fetch(self, tiles: list[tuple[int, int]]) -> None:
        if self.source.prefetch(sorted(part for t in tiles for part in self._parts(*t))):
            self._shut()  # its read-ahead may hold what was not there yet

    def read(self, geobox: GeoBox, dtype: str, nodata: float, resampling: str) -> NDArray[Any]:
        """The first band on ``geobox``, (y, x) of ``dtype``, ``nodata`` where it has no pixel."""
        out = np.full(geobox.shape.yx, nodata, dtype)
        patch = self.patch(geobox, dtype, nodata, resampling)
        return out if patch is None else patch.onto(out)

    def patch(
        self, geobox: GeoBox, dtype: str, nodata: float, resampling: str, shared: bool = False
    ) -> Patch | None:
        """The first band on ``geobox`` as ``dtype``, unseen pixels as ``nodata``; None where it has none.

        On the grid's own pixels they are copied, replicated or averaged by whole numbers. Else every
        pixel is placed exactly: GDAL's usual approximation (an eighth of a pixel) depends on the
        window, and blocks of different sizes would then differ. ``shared`` says that the blocks beside
        will want even the tiles that lie wholly in this one.
        """
        self.bring(geobox, resampling)
        try:
            return _patch(self, geobox, dtype, nodata, resampling, shared)
        except RasterioError as error:
            raise Fault("unreadable", cause(error)) from None

    def window(self, left: int, top: int, right: int, bottom: int, shared: bool) -> NDArray[Any]:
        """Pixels of the file, (y, x). Raises Fault, and RasterioError where GDAL cannot decode them."""
        facts = self.facts
        height, width = facts.tile
        if facts.coding is None and height < _SHARED_ROWS:
            return np.asarray(self._gdal().read(1, window=Window(left, top, right - left, bottom - top)))
        out = np.empty((bottom - top, right - left), facts.dtype)
        for row, column in _touched((left, top, right, bottom), facts.tile):
            y, x = row * height, column * width
            inside = left <= x and top <= y and x + width <= right and y + height <= bottom
            if inside and not shared and self._key(row, column) not in TILES:
                self._decode(row, column, out[y - top : y - top + height, x - left : x - left + width])
                continue
            pixels = self._tile(row, column)
            y0, y1, x0, x1 = max(y, top), min(y + height, bottom), max(x, left), min(x + width, right)
            out[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0 - y : y1 - y, x0 - x : x1 - x]
        return out

    def _tile(self, row: int, column: int) -> NDArray[Any]:
        """One tile that blocks beside may want too."""
        key = self._key(row, column)
        if key is None or self.facts.tile[0] < _SHARED_ROWS:
            return self._decode(row, column)
        return TILES.get(key, lambda: self._decode(row, column))

    def _key(self, row: int, column: int) -> tuple[str, str, int, int] | None:
        return (self.url, self.source.mark, row, column) if self.source.mark else None

    def _parts(self, row: int, column: int) -> list[tuple[int, int]]:
        """Where in the file a tile lies. Raises Fault where that is more than any tile is."""
        layout = self.facts.layout
        if layout is None:
            return []
        parts = layout.parts(row, column)
        if not parts and isinstance(layout, jp2.Layout):
            raise Fault("truncated", f"tile {row}, {column} is not in the file")
        most = 2 * layout.tile[0] * layout.tile[1] * np.dtype(self.facts.dtype).itemsize + 65_536
        if sum(stop - start for start, stop in parts) > most:
            raise Fault("unreadable", f"tile {row}, {column} claims more than {most} bytes in the file")
        return parts

    def _decode(self, row: int, column: int, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """The pixels of one tile, in ``out`` if that is given."""
        facts = self.facts
        height, width = facts.tile
        if facts.coding is None or not isinstance(facts.layout, tiff.Layout):
            if facts.layout and facts.layout.tile == facts.tile:  # it may have left the shelf
                self._fetch([(row, column)])
            y, x = row * height, column * width
            part = Window(x, y, min(width, facts.width - x), min(height, facts.height - y))
            return np.asarray(self._gdal().read(1, window=part, out=out))
        if not facts.layout.tiled:
            height = min(height, facts.height - row * height)
        parts = self._parts(row, column)
        if not parts:
            out = np.empty((height, width), facts.dtype) if out is None else out
            out[...] = facts.nodata or 0
            return out
        try:
            return decoded(self.source.fetch(*parts[0]), facts.coding, (height, width), out)
        except ValueError as error:
            raise Fault("unreadable", f"tile {row}, {column}: {error}") from None

    def _gdal(self) -> Any:
        if self._file is None:
            self._file = _opened(self.source.path, self.facts.driver)
        return self._file


def _touched(window: tuple[int, int, int, int], tile: tuple[int, int]) -> list[tuple[int, int]]:
    """(row, column) of the internal tiles that pixels (left, top, right, bottom) touch."""
    left, top, right, bottom = window
    rows = range(top // tile[0], (bottom - 1) // tile[0] + 1)
    columns = range(left // tile[1], (right - 1) // tile[1] + 1)
    return [(row, column) for row in rows for column in columns]


def open_raster(url: str, access: Access | None = None, fresh: bool = False) -> Raster:
    """Open a GeoTIFF or a JPEG 2000 file, told by its first bytes and never by its name; ``fresh``: ask its
    server even where its head is known.

    Raises Fault where it cannot be had, is of another kind, or claims sizes that no image has.
    """
    remote = url.startswith(("http://", "https://", "s3://"))
    source = RemoteFile(url, access or Access(), fresh) if remote else LocalFile(url)
    try:
        if fresh:
            FACTS.drop((url, source.mark))
        return Raster(url, source, _known(url, source) if source.mark else _facts(source))
    except BaseException:
        source.close()
        raise


def _known(url: str, source: LocalFile | RemoteFile) -> Facts:
    """Facts that are read once a version of a file. GDAL wants the headers themselves in every copy."""
    made = False

    def make() -> Facts:
        nonlocal made
        facts, made = _facts(source), True
        if isinstance(source, RemoteFile):
            source.keep_head()
        return facts

    facts = FACTS.get((url, source.mark), make)
    if not made and isinstance(source, RemoteFile) and not source.adopt_head():
        make()
    return facts


def _facts(source: LocalFile | RemoteFile) -> Facts:
    """Read once a file; so a file that GDAL refuses, or that is no image, is a Fault."""
    driver = _driver(source.fetch(0, min(12, source.size)))
    layout: tiff.Layout | jp2.Layout | None
    try:
        layout = tiff.layout(source.fetch) if driver == "GTiff" else jp2.layout(source.fetch, source.size)
    except (Fault, ValueError) as error:
        if isinstance(source, RemoteFile):
            raise error if isinstance(error, Fault) else Fault("unreadable", str(error)) from None
        layout = None  # GDAL knows more kinds, and has the whole file
    with _opened(source.path, driver) as file:
        tile, dtype = file.block_shapes[0], file.dtypes[0]
        if tile[0] * tile[1] * np.dtype(dtype).itemsize > MAX_TILE_BYTES:
            raise Fault("unreadable", f"its internal tiles of {tile[0]} x {tile[1]} pixels are too large")
        if math.prod(-(-n // m) for n, m in zip(file.shape, tile, strict=True)) > MAX_TILES:
            raise Fault(
                "unreadable", f"its {file.shape} pixels lie in internal tiles of {tile[0]} x {tile[1]}"
            )
        t = file.transform
        if not all(math.isfinite(v) and abs(v) < 1e12 for v in t) or abs(t.determinant) < 1e-18:
            raise Fault("wrong grid", f"its pixels have no place: {tuple(t)[:6]}")
        if layout and layout.shape != file.shape:
            raise Fault("unreadable", f"its size is {layout.shape} by its header, {file.shape} by GDAL")
        epsg, projected = (file.crs.to_epsg(), file.crs.is_projected) if file.crs else (None, False)
        return Facts(
            driver, str(file.crs or ""), epsg, projected, file.transform, file.shape, dtype, file.nodata, tile,
            layout, _coding(layout, tile, dtype),
        )  # fmt: skip


def _coding(layout: tiff.Layout | jp2.Layout | None, tile: tuple[int, int], dtype: str) -> tiff.Coding | None:
    if not isinstance(layout, tiff.Layout) or layout.coding is None or layout.tile != tile:
        return None
    same = np.dtype(layout.coding.dtype).newbyteorder("=") == np.dtype(dtype)
    return layout.coding if same and decodes(layout.coding) else None


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


@dataclass(frozen=True)
class LayerFile:
    """A raster that is a feature: its pixels do not change with the season."""

    name: str
    path: str
    resampling: str
    digest: str
    """Of what it was made from."""

    def read(self, geobox: GeoBox) -> NDArray[np.float32]:
        """The layer on a grid, (y, x), NaN where it is unknown. Raises Fault."""
        values = read_onto(self.path, geobox, "float32", float("nan"), self.resampling)
        return np.where(np.isfinite(values), values, np.float32(np.nan))


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


def _source_window(file: Facts, geobox: GeoBox, resampling: str) -> tuple[int, int, int, int] | None:
    """(left, top, right, bottom) in pixels of the file that a read touches. Raises Fault."""
    fit = _fit(file, geobox, resampling)
    if fit is None:
        return _warp_window(file, geobox)
    part = _overlap(fit, file, geobox)
    if part is None:
        return None
    (top, bottom), (left, right) = _cells(part[0], fit.y, fit), _cells(part[1], fit.x, fit)
    return left, top, min(right, file.width), min(bottom, file.height)


def _patch(
    raster: Raster, geobox: GeoBox, dtype: str, nodata: float, resampling: str, shared: bool
) -> Patch | None:
    file = raster.facts
    fit = _fit(file, geobox, resampling)
    if fit is None:
        return _warp(raster, geobox, dtype, nodata, resampling, shared)
    part = _overlap(fit, file, geobox)
    if part is None:
        return None
    (top, bottom), (left, right) = _cells(part[0], fit.y, fit), _cells(part[1], fit.x, fit)
    bottom, right = min(bottom, file.height), min(right, file.width)
    pixels = raster.window(left, top, right, bottom, shared)
    unseen = file.nodata
    if unseen is not None and unseen != nodata and not (math.isnan(unseen) and math.isnan(nodata)):
        pixels = np.where(_is(pixels, unseen), np.asarray(nodata, dtype), pixels)
    if fit.down > 1:
        height, width = part[0].stop - part[0].start, part[1].stop - part[1].start
        return Patch(_means(pixels, fit.down, nodata, np.dtype(dtype))[:height, :width], part)
    skip = part[0].start - fit.y - top * fit.up, part[1].start - fit.x - left * fit.up
    return Patch(pixels.astype(dtype, copy=False), part, fit.up, skip)


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
    raster: Raster, geobox: GeoBox, dtype: str, nodata: float, resampling: str, shared: bool
) -> Patch | None:
    """Nearest or bilinear values at the exact places of the grid's pixel centres.

    Bilinear weights of unseen neighbours go to the seen ones; a pixel whose own cell is unseen stays so.
    """
    file = raster.facts
    window = _warp_window(file, geobox)
    if window is None:
        return None
    left, top, right, bottom = window
    columns, rows = _places(geobox, file.crs, ~file.transform)
    inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    source = raster.window(left, top, right, bottom, shared)
    unseen = nodata if file.nodata is None else file.nodata
    sample = _nearest if resampling == "nearest" else _bilinear
    out = np.full(geobox.shape.yx, nodata, dtype)
    out[inside] = sample(source, columns[inside] - left, rows[inside] - top, unseen, nodata)
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
