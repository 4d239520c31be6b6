"""Where: tiles (the product unit) and blocks (the task unit) on Sentinel-2's own UTM pixel grid.

A tile is the part of a 100 km MGRS square inside the mapped area; each pixel belongs to one square
and one UTM zone. Blocks are counted from the corner of the Sentinel-2 granule of that square, so a
block border falls on borders of the images' internal tiles and none is decoded twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask
from shapely.affinity import translate
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError

#: A geometry, or an array of them.
Shape = TypeVar("Shape")

SQUARE_M = 100_000
#: Granule corners are multiples of 60 m, the size at which 10, 20 and 60 m pixels meet.
GRANULE_STEP_M = 60
#: An area of fewer pixels than this is looked at closely: it may lie between their centres.
SLIVER_PX = 20_000
#: Longest straight edge kept when a lon/lat polygon is carried to UTM, in degrees (about 1 km).
_EDGE_DEGREES = 0.01


@dataclass(frozen=True)
class Block:
    """One square of pixels of a tile: a Dask task."""

    tile: str
    row: int
    column: int
    geobox: GeoBox
    offset: tuple[int, int]
    """First (row, column) of the block in its tile."""

    @property
    def name(self) -> str:
        """``<tile>/<row>-<column>``."""
        return f"{self.tile}/{self.row}-{self.column}"


@dataclass(frozen=True)
class Tile:
    """The part of one 100 km square that lies in the area."""

    name: str
    geobox: GeoBox
    area: BaseGeometry
    """The mapped area in the tile's own CRS; pixel centres outside it are not mapped."""
    anchor: tuple[float, float]
    """Granule corner (x, y) that blocks are counted from."""

    @property
    def epsg(self) -> int:
        """EPSG code of the UTM zone."""
        return int(self.geobox.crs.epsg)  # type: ignore[union-attr, arg-type]

    def blocks(self, block_px: int) -> list[Block]:
        """Blocks that hold some of the area, row by row."""
        rows, columns = self.geobox.shape
        resolution = self.geobox.affine.a
        x0, y0 = self.geobox.affine.c, self.geobox.affine.f
        skip_x = round((x0 - self.anchor[0]) / resolution)
        skip_y = round((self.anchor[1] - y0) / resolution)
        shapely.prepare(self.area)
        found = []
        for i, (top, bottom) in _cuts(skip_y, rows, block_px):
            for j, (left, right) in _cuts(skip_x, columns, block_px):
                geobox = self.geobox[top:bottom, left:right]
                if shapely.intersects(self.area, shapely.box(*geobox.boundingbox.bbox)):
                    found.append(Block(self.name, i, j, geobox, (top, left)))
        return found

    @property
    def holds_pixels(self) -> bool:
        """Whether a pixel's centre lies in the area; a sliver may hold none."""
        if self.area.area > SLIVER_PX * self.geobox.affine.a**2:
            return True
        return not self.outside(self.geobox).all()

    def outside(self, geobox: GeoBox) -> NDArray[np.bool_]:
        """True for the pixels of ``geobox`` whose centre lies outside the area, (y, x)."""
        mask = geometry_mask([self.area], geobox.shape.yx, geobox.affine, all_touched=False)
        return np.asarray(mask, np.bool_)


def _cuts(skip: int, length: int, step: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """(number, (start, stop)) of the steps, counted ``skip`` pixels before the start, in 0..length."""
    for number in range(skip // step, (skip + length - 1) // step + 1):
        yield number, (max(0, number * step - skip), min(length, (number + 1) * step - skip))


def tiles(area: BaseGeometry, resolution_m: int) -> list[Tile]:
    """Tiles of a lon/lat area (WGS 84), west to east, then south to north.

    Raises InputError where no pixel's centre lies in the area.
    """
    found = []
    for epsg, part in _zones(area):
        local = to_crs(part, epsg)
        west, south, east, north = local.bounds
        for x in range(int(west // SQUARE_M), int(east // SQUARE_M) + 1):
            for y in range(int(south // SQUARE_M), int(north // SQUARE_M) + 1):
                square = shapely.box(x * SQUARE_M, y * SQUARE_M, (x + 1) * SQUARE_M, (y + 1) * SQUARE_M)
                inside = shapely.intersection(local, square)
                tile = _tile(epsg, x, y, inside, resolution_m) if inside.area > 0 else None
                if tile and tile.holds_pixels:
                    found.append(tile)
    if not found:
        raise InputError(f"the area {[round(v, 6) for v in area.bounds]} holds no pixel of {resolution_m} m")
    return found


def _tile(epsg: int, x: int, y: int, area: BaseGeometry, resolution_m: int) -> Tile:
    west, south, east, north = area.bounds
    left, top = math.floor(west / resolution_m), math.ceil(north / resolution_m)
    columns = max(1, math.ceil(east / resolution_m) - left)
    rows = max(1, top - math.floor(south / resolution_m))
    affine = Affine(resolution_m, 0, left * resolution_m, 0, -resolution_m, top * resolution_m)
    anchor = (_down(x * SQUARE_M), _up((y + 1) * SQUARE_M, epsg))
    geobox = GeoBox((rows, columns), affine, f"EPSG:{epsg}")
    return Tile(square_name(epsg, x, y), geobox, area, anchor)


def _down(x: float) -> float:
    return math.floor(x / GRANULE_STEP_M) * GRANULE_STEP_M


def _up(y: float, epsg: int) -> float:
    false_northing = 10_000_000 if epsg > 32700 else 0
    return math.ceil((y - false_northing) / GRANULE_STEP_M) * GRANULE_STEP_M + false_northing


_COLUMNS = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")
_ROWS = "ABCDEFGHJKLMNPQRSTUV"
_BANDS = "CDEFGHJKLMNPQRSTUVWX"


def square_name(epsg: int, x: int, y: int) -> str:
    """MGRS name of the 100 km square (x, y), counted from the zone's origin, such as ``48PXS``.

    The latitude letter is that of the square's middle (a square on a border has one name here).
    Libraries rename squares whose middle lies beyond the zone's edge, which would give two tiles
    one name. Letters: NGA.STND.0037 (2014).
    """
    zone = epsg % 100
    middle = (x + 0.5) * SQUARE_M, (y + 0.5) * SQUARE_M
    latitude = transformer(epsg, 4326).transform(*middle)[1]
    band = _BANDS[min(19, int((latitude + 80) // 8))]
    row = _ROWS[(y + (5 if zone % 2 == 0 else 0)) % 20]
    return f"{zone:02d}{band}{_COLUMNS[zone % 3][x - 1]}{row}"


def _zones(area: BaseGeometry) -> Iterator[tuple[int, BaseGeometry]]:
    """(EPSG, part of the area) for each UTM zone and hemisphere that the area touches."""
    west, _, east, _ = area.bounds
    for zone in range(int((west + 180) // 6) + 1, min(60, int((east + 180) // 6) + 1) + 1):
        left = zone * 6 - 186
        for base, south, north in ((32600, 0, 84), (32700, -80, 0)):
            part = shapely.intersection(area, shapely.box(left, south, left + 6, north))
            if part.area > 0:
                yield base + zone, part


def utm_of(lon: float, lat: float) -> int:
    """EPSG of the UTM zone that owns a WGS 84 place."""
    return (32600 if lat >= 0 else 32700) + min(60, int((lon + 180) // 6) + 1)


def to_crs(geometry: Shape, epsg: int, source: int = 4326) -> Shape:
    """A geometry, or an array of them, carried to another CRS (x, y order), with long lon/lat edges bent along the way."""
    shape: Any = geometry
    if source == 4326:
        shape = shapely.segmentize(shape, _EDGE_DEGREES)
    change = transformer(source, epsg)
    carried: Shape = shapely.transform(shape, lambda xy: np.column_stack(change.transform(*xy.T)))
    return carried


def cut_at_180(shape: BaseGeometry) -> BaseGeometry:
    """A WGS 84 outline of an image, cut where it crosses longitude 180 (RFC 7946, 3.1.9).

    No image is half the globe wide: a part that seems so crosses it.
    """
    spans = [part.bounds for part in shapely.get_parts(shape)]
    if all(west >= -180 and east <= 180 and east - west <= 180 for west, _, east, _ in spans):
        return shape
    parts = []
    for part in shapely.get_parts(shape):
        west, _, east, _ = part.bounds
        if east - west > 180:
            part = shapely.transform(part, _eastward)
            west, _, east, _ = part.bounds
        for turn in (-360, 0, 360):
            if west + turn < 180 and east + turn > -180:
                moved = shapely.make_valid(translate(part, xoff=turn))
                parts.append(shapely.intersection(moved, shapely.box(-180, -90, 180, 90)))
    return shapely.union_all(parts)


def _eastward(xy: Any) -> Any:
    xy = xy.copy()
    xy[:, 0] %= 360
    return xy


@lru_cache(maxsize=128)
def transformer(source: int | str, target: int | str) -> pyproj.Transformer:
    """Transformer in x, y order, made once for each pair of reference systems."""
    return pyproj.Transformer.from_crs(source, target, always_xy=True)


def lonlat_box(geobox: GeoBox) -> BaseGeometry:
    """The outline of a geobox in WGS 84."""
    return cut_at_180(geobox.extent.to_crs("EPSG:4326", resolution=geobox.resolution.x * 100).geom)


def pixel(lon: float, lat: float, resolution_m: int) -> tuple[int, int, int]:
    """(EPSG, column, row) of a place, counted in pixels from the zone's origin; rows grow southward."""
    epsg = utm_of(lon, lat)
    x, y = transformer(4326, epsg).transform(lon, lat)
    return epsg, math.floor(x / resolution_m), -math.ceil(y / resolution_m)


def pixel_window(epsg: int, columns: tuple[int, int], rows: tuple[int, int], resolution_m: int) -> GeoBox:
    """GeoBox of pixels ``columns`` and ``rows`` (first, last, both included) as ``pixel`` counts them."""
    affine = Affine(resolution_m, 0, columns[0] * resolution_m, 0, -resolution_m, -rows[0] * resolution_m)
    shape = rows[1] - rows[0] + 1, columns[1] - columns[0] + 1
    return GeoBox(shape, affine, f"EPSG:{epsg}")
