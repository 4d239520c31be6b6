"""One raster band on a given grid, the same pixels whatever window is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.errors import RasterioError
from rasterio.windows import Window

from pipeline import jp2, tiff
from pipeline.buffers import BUFFERS
from pipeline.facts import Facts, cause, gdal_open, read_facts
from pipeline.localfile import LocalFile
from pipeline.placement import Patch, place, source_window
from pipeline.remote import Access, Fault, RemoteFile
from pipeline.tiles import Shelf, decoded

#: Tiles of fewer rows are strips or next to it: not worth keeping.
_SHARED_ROWS = 128


#: What files said of themselves, and decoded tiles that the blocks beside may want: of one process.
#: A file that changes has another mark, and so other entries.
FACTS: Shelf[Facts] = Shelf(4096, lambda _: 1)
TILES: Shelf[NDArray[Any]] = Shelf(256 << 20, lambda pixels: pixels.nbytes)


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
        window = source_window(self.facts, geobox, resampling)
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

        Placed as ``placement.place`` tells. ``shared`` says that the blocks beside will want even the tiles
        that lie wholly in this one. Raises Fault.
        """
        self.bring(geobox, resampling)
        try:
            return place(self.facts, partial(self.window, shared=shared), geobox, dtype, nodata, resampling)
        except RasterioError as error:
            raise Fault("unreadable", cause(error)) from None

    def window(self, left: int, top: int, right: int, bottom: int, shared: bool) -> NDArray[Any]:
        """Pixels of the file, (y, x). Raises Fault, and RasterioError where GDAL cannot decode them."""
        facts = self.facts
        height, width = facts.tile
        if facts.coding is None and height < _SHARED_ROWS:
            return np.asarray(self._gdal().read(1, window=Window(left, top, right - left, bottom - top)))
        out = BUFFERS.empty((bottom - top, right - left), facts.dtype)
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
            self._file = gdal_open(self.source.path, self.facts.driver)
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
        return Raster(url, source, _known(url, source) if source.mark else read_facts(source))
    except BaseException:
        source.close()
        raise


def _known(url: str, source: LocalFile | RemoteFile) -> Facts:
    """Facts that are read once a version of a file. GDAL wants the headers themselves in every copy."""
    made = False

    def make() -> Facts:
        nonlocal made
        facts, made = read_facts(source), True
        if isinstance(source, RemoteFile):
            source.keep_head()
        return facts

    facts = FACTS.get((url, source.mark), make)
    if not made and isinstance(source, RemoteFile) and not source.adopt_head():
        make()
    return facts


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
