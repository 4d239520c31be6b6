"""A season's products as one map: a VRT for each UTM zone, and a coarse map of the whole for the web.

Each pixel of the ground is owned by one 100 km square of one UTM zone (``grid``), so tiles of a zone never
overlap and nothing is blended: a VRT only says where each product lies. A cell of the web map is taken
from the tile that owns its centre.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.windows import Window

from pipeline import product
from pipeline.errors import IntegrityError
from pipeline.files import aside, write_aside
from pipeline.grid import SQUARE_M, transformer
from pipeline.overviews import write_cog

#: Web Mercator: its number, half its width in metres, and the pixel of its level 0.
MERCATOR, _HALF = 3857, math.pi * 6378137
_LEVEL_0 = 2 * _HALF / 256
#: Largest web map, in pixels of one side.
MOST_PX = 60_000


@dataclass(frozen=True)
class _Piece:
    """One product of the mosaic."""

    path: Path
    epsg: int
    affine: Affine
    width: int
    height: int

    @classmethod
    def open(cls, path: Path) -> _Piece:
        with rasterio.open(path) as file:
            return cls(path, int(file.crs.to_epsg()), file.transform, file.width, file.height)

    @property
    def square(self) -> tuple[int, int]:
        """Column and row of the 100 km square that it lies in."""
        x, y = self.affine * (self.width / 2, self.height / 2)
        return math.floor(x / SQUARE_M), math.floor(y / SQUARE_M)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, bottom, right, top in its own CRS."""
        a = self.affine
        return a.c, a.f + a.e * self.height, a.c + a.a * self.width, a.f


def zones(cogs: Sequence[Path], out: Path, name: str) -> list[Path]:
    """``out/<name>_<epsg>.vrt`` for each UTM zone of the products; their paths are relative where they can be.

    Raises IntegrityError where two products overlap or have other grids: they are not of one release.
    """
    pieces: dict[int, list[_Piece]] = {}
    for path in sorted(cogs):
        piece = _Piece.open(path)
        pieces.setdefault(piece.epsg, []).append(piece)
    made = []
    for epsg, mine in sorted(pieces.items()):
        _check(mine)
        path = out / f"{name}_{epsg}.vrt"
        write_aside(path, _vrt(mine, out))
        made.append(path)
    return made


def _check(pieces: Sequence[_Piece]) -> None:
    first = pieces[0]
    for k, piece in enumerate(pieces):
        if (piece.affine.a, piece.affine.e) != (first.affine.a, first.affine.e):
            raise IntegrityError(
                f"{piece.path} has pixels of {piece.affine.a:g} m, {first.path} of {first.affine.a:g} m"
            )
        for other in pieces[k + 1 :]:
            a, b = piece.bounds, other.bounds
            if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]:
                raise IntegrityError(f"{piece.path} and {other.path} overlap: they are not of one release")


def _vrt(pieces: Sequence[_Piece], out: Path) -> str:
    """GDAL's XML of files side by side; where there is none, there is no data."""
    size = pieces[0].affine.a
    left, top = min(p.bounds[0] for p in pieces), max(p.bounds[3] for p in pieces)
    columns = round((max(p.bounds[2] for p in pieces) - left) / size)
    rows = round((top - min(p.bounds[1] for p in pieces)) / size)
    root = ET.Element("VRTDataset", rasterXSize=str(columns), rasterYSize=str(rows))
    with rasterio.open(pieces[0].path) as file:
        ET.SubElement(root, "SRS").text = file.crs.to_wkt()
        ET.SubElement(root, "GeoTransform").text = f"{left}, {size}, 0.0, {top}, 0.0, {-size}"
        _tags(
            root,
            {
                k: v
                for k, v in file.tags().items()
                if k in ("PHUSA_SEASON", "PHUSA_TARGET", "PHUSA_SIMULATED")
            },
        )
        for number, described in enumerate(file.descriptions, 1):
            band = ET.SubElement(root, "VRTRasterBand", dataType="Int16", band=str(number))
            ET.SubElement(band, "Description").text = described
            _tags(band, file.tags(number))
            ET.SubElement(band, "NoDataValue").text = str(product.NODATA)
            ET.SubElement(band, "Scale").text = repr(float(file.scales[number - 1]))
            for piece in pieces:
                _source(band, piece, number, (left, top, size), out)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _tags(parent: ET.Element, tags: Mapping[str, str]) -> None:
    if tags:
        metadata = ET.SubElement(parent, "Metadata")
        for key, value in sorted(tags.items()):
            ET.SubElement(metadata, "MDI", key=key).text = value


def _source(
    band: ET.Element, piece: _Piece, number: int, origin: tuple[float, float, float], out: Path
) -> None:
    left, top, size = origin
    source = ET.SubElement(band, "SimpleSource")
    relative = os.path.relpath(piece.path.resolve(), out.resolve())
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = relative
    ET.SubElement(source, "SourceBand").text = str(number)
    shape: dict[str, Any] = {"xSize": str(piece.width), "ySize": str(piece.height)}
    x, y = round((piece.affine.c - left) / size), round((top - piece.affine.f) / size)
    ET.SubElement(source, "SrcRect", xOff="0", yOff="0", **shape)
    ET.SubElement(source, "DstRect", xOff=str(x), yOff=str(y), **shape)


def web(cogs: Sequence[Path], path: Path, resolution_m: float) -> float:
    """A Web Mercator COG of all products, on the grid of the zoom level nearest to ``resolution_m``.

    Values are means of the owner's pixels in a cell, codes the most frequent; scaled int16 as in the
    products. To look at, not to compute with. Returns its pixel in metres (at the equator).
    """
    pieces = [_Piece.open(p) for p in sorted(cogs)]
    size: float = _LEVEL_0 / 2.0 ** round(math.log2(_LEVEL_0 / resolution_m))
    windows = [_window(piece, size) for piece in pieces]
    left, top = min(w.col_off for w in windows), min(w.row_off for w in windows)
    width = max(w.col_off + w.width for w in windows) - left
    height = max(w.row_off + w.height for w in windows) - top
    if max(width, height) > MOST_PX:
        raise ValueError(
            f"a web map of {width} x {height} pixels; at most {MOST_PX} a side: take a coarser resolution"
        )
    affine = Affine(size, 0, left * size - _HALF, 0, -size, _HALF - top * size)
    with aside(path) as temporary:
        scratch = temporary.with_name(f"{temporary.name}.scratch.tif")
        try:
            coded = _new(scratch, pieces[0].path, affine, (height, width))
            with rasterio.open(scratch, "r+") as file:
                for piece, window in zip(pieces, windows, strict=True):
                    at = Window(window.col_off - left, window.row_off - top, window.width, window.height)
                    _paste(file, at, piece, coded)
            write_cog(scratch, temporary, coded, product.COG)
        finally:
            scratch.unlink(missing_ok=True)
    return size


def _window(piece: _Piece, size: float) -> Window:
    """Cells of the level's grid that a product touches."""
    bounds = transformer(piece.epsg, MERCATOR).transform_bounds(*piece.bounds, densify_pts=21)
    left, right = math.floor((bounds[0] + _HALF) / size), math.ceil((bounds[2] + _HALF) / size)
    top, bottom = math.floor((_HALF - bounds[3]) / size), math.ceil((_HALF - bounds[1]) / size)
    return Window(left, top, right - left, bottom - top)


def _new(scratch: Path, like: Path, affine: Affine, shape: tuple[int, int]) -> list[bool]:
    """An empty map with the bands of a product; says of each whether it holds codes."""
    with rasterio.open(like) as source:
        profile: dict[str, Any] = {
            "driver": "GTiff", "height": shape[0], "width": shape[1], "count": source.count, "dtype": "int16",
            "nodata": product.NODATA, "crs": f"EPSG:{MERCATOR}", "transform": affine, "tiled": True,
            "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1, "bigtiff": "if_safer",
        }  # fmt: skip
        with rasterio.open(scratch, "w", **profile) as file:
            file.descriptions, file.scales = source.descriptions, source.scales
            kept = ("PHUSA_SEASON", "PHUSA_TARGET", "PHUSA_SIMULATED")
            tags = {k: v for k, v in source.tags().items() if k in kept}
            file.update_tags(
                **tags, PHUSA_NOTE="Means of cells, to look at; compute with the products themselves."
            )
            for number in range(1, source.count + 1):
                file.update_tags(number, **source.tags(number))
            for _, window in file.block_windows(1):
                empty = np.full((file.count, window.height, window.width), product.NODATA, np.int16)
                file.write(empty, window=window)
        return [
            bool(source.tags(n).get("CLASSES")) or source.descriptions[n - 1] == "applicability"
            for n in range(1, source.count + 1)
        ]


def _paste(file: Any, at: Window, piece: _Piece, coded: Sequence[bool]) -> None:
    """Write the cells whose centres the piece owns."""
    affine = file.window_transform(at)
    owned = _owned(piece, affine, (at.height, at.width))
    with rasterio.open(piece.path) as source:
        for number, is_code in enumerate(coded, 1):
            cells = np.full((at.height, at.width), product.NODATA, np.int16)
            reproject(
                rasterio.band(source, number), cells, dst_transform=affine, dst_crs=file.crs,
                src_nodata=product.NODATA, dst_nodata=product.NODATA,
                resampling=Resampling.mode if is_code else Resampling.average,
            )  # fmt: skip
            before = file.read(number, window=at)
            file.write(np.where(owned, cells, before), number, window=at)


def _owned(piece: _Piece, affine: Affine, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells whose centre lies in the piece's own zone and square, (y, x)."""
    columns, rows = np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5)
    x, y = affine.c + affine.a * columns, affine.f + affine.e * rows
    lon, lat = transformer(MERCATOR, 4326).transform(x, y)
    zone = np.minimum(60, np.floor((lon + 180) / 6) + 1) + np.where(lat >= 0, 32600, 32700)
    east, north = transformer(4326, piece.epsg).transform(lon, lat)
    column, row = piece.square
    here = (np.floor(east / SQUARE_M) == column) & (np.floor(north / SQUARE_M) == row)
    return np.asarray((zone == piece.epsg) & here, np.bool_)
