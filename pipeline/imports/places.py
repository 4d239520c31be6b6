"""The place of a row: degrees or metres in any reference system, columns or geometry, mended where swapped."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.grid import to_crs, utm_of
from pipeline.imports import crs as systems
from pipeline.imports.headers import Columns
from pipeline.imports.land import Land
from pipeline.imports.rules import Finding, Refused, mend
from pipeline.imports.spellings import Angle, Cell, Decimal, angle, number, pair, plain

#: A place known less well than this lies in another pixel as likely as not.
WORST_ACCURACY_M = 50.0
#: Two places of one row further apart than this are two places.
APART_M = 100.0
#: Points taken in one polygon, at most.
POINTS_A_POLYGON = 9
_LETTERS_OF_VIET_NAM = {"d", "dong", "t", "tay", "b", "bac"}


@dataclass(frozen=True)
class Place:
    """Where a row is (WGS 84)."""

    lon: float
    lat: float
    points: tuple[tuple[float, float], ...] = ()
    """Of a polygon: places inside, away from its edge."""
    mends: tuple[Finding, ...] = ()
    crs: str = ""
    """What the place was read in."""


@dataclass(frozen=True)
class Reader:
    """How the places of one sheet are read."""

    columns: Columns
    sign: Decimal
    crs: str
    """Reference system stated by the config, the headers or the title; "" where none is."""
    shapes_crs: str
    land: Land | None
    edge_m: float

    def place(self, cells: Mapping[str, Cell], shape: BaseGeometry | None) -> Place:
        """The place of a row. Raises Refused."""
        ways = [self._of_degrees, self._of_metres]
        found = None
        if shape is not None and not shapely.is_empty(shape):
            found = self._of_shape(shape)
        while found is None and ways:
            found = ways.pop(0)(cells)
        if found is None:
            raise self._nowhere(cells)
        said = []
        for way in ways:  # a second place that cannot be read refuses nothing
            with suppress(Refused):
                said += [p for p in (way(cells),) if p is not None]
        for other in said:
            apart = _metres(found, other)
            if apart > APART_M:
                names = f"{found.lon:.5f}, {found.lat:.5f} and {other.lon:.5f}, {other.lat:.5f}"
                raise Refused("place-conflict", name=names, metres=apart)
        self._check(found, cells)
        return found

    # --- degrees and metres in columns ---------------------------------------------------------------

    def _of_degrees(self, cells: Mapping[str, Cell]) -> Place | None:
        lon, lat = cells.get("lon", ""), cells.get("lat", "")
        if lon == "" and lat == "":
            return self._of_text(cells)
        first, second = self._angle(lon, "lon"), self._angle(lat, "lat")
        mends: tuple[Finding, ...] = ()
        if first.axis == "lat" or second.axis == "lon":
            if first.axis == second.axis:
                raise Refused(
                    "hemisphere", name="lon, lat", found=f"{lon}, {lat}", expected="two letters of one axis"
                )
            first, second = second, first
            mends = (mend("swapped-columns", found=f"{second.letter}, {first.letter}".strip(", ")),)
        return self._geographic(first, second, cells, mends)

    def _of_text(self, cells: Mapping[str, Cell]) -> Place | None:
        text = cells.get("geopoint", "")
        if text == "" or not isinstance(text, str):
            return None
        try:
            lat, lon, accuracy = pair(text, self.sign)
        except ValueError:
            raise Refused(
                "bad-place", name="place", found=text, expected="expected latitude and longitude"
            ) from None
        if accuracy is not None and "accuracy" not in self.columns:
            _accurate(accuracy)
        return self._geographic(lon, lat, cells, ())

    def _geographic(
        self, lon: Angle, lat: Angle, cells: Mapping[str, Cell], mends: tuple[Finding, ...]
    ) -> Place:
        if plain(lat.letter) == "n" and plain(lon.letter) in _LETTERS_OF_VIET_NAM:
            raise Refused(
                "hemisphere",
                name="lat",
                found=f"{lat.letter} beside {lon.letter}",
                expected="N is north in English, south (Nam) in Vietnamese",
            )
        x, y = lon.degrees, lat.degrees
        metres_too = {"x", "y"} <= set(self.columns.by_term)
        text = "" if metres_too else self._system(cells)
        if abs(x) > 1000 or abs(y) > 1000:
            if text:
                return self._projected(x, y, text, mends)
            if min(abs(x), abs(y)) > 1e5 and max(abs(x), abs(y)) < 1e7:
                raise Refused("no-crs", x=x, y=y)
            name, value = ("lon", x) if abs(x) > 1000 else ("lat", y)
            raise Refused("lost-decimal-point", name=name, found=f"{value:.0f}")
        system = systems.parse(text) if text else pyproj.CRS.from_epsg(4326)
        if system.is_projected:
            raise Refused("crs-mismatch", found="degrees", crs=text, expected="metres")
        return self._turned(x, y, system, text or "EPSG:4326, assumed of degrees", mends, "swapped-lonlat")

    def _of_metres(self, cells: Mapping[str, Cell]) -> Place | None:
        first, second = cells.get("x", ""), cells.get("y", "")
        if first == "" and second == "":
            return None
        x, y = self._metre(first, "x"), self._metre(second, "y")
        text = self._system(cells)
        if not text:
            if abs(x) <= 180 and abs(y) <= 180:
                return self._turned(
                    x, y, pyproj.CRS.from_epsg(4326), "EPSG:4326, assumed of degrees", (), "swapped-lonlat"
                )
            raise Refused("no-crs", x=x, y=y)
        return self._projected(x, y, text, ())

    def _projected(self, x: float, y: float, text: str, mends: tuple[Finding, ...]) -> Place:
        system = systems.parse(text)
        if system.is_geographic and max(abs(x), abs(y)) > 1000:
            if systems.is_vn2000(system):
                raise Refused("no-meridian", found=text)
            raise Refused("crs-mismatch", found="metres", crs=text, expected="degrees")
        rule = "swapped-lonlat" if system.is_geographic else "swapped-xy"
        return self._turned(x, y, system, text, mends, rule)

    def _turned(
        self, x: float, y: float, system: pyproj.CRS, text: str, mends: tuple[Finding, ...], rule: str
    ) -> Place:
        """The place, its two numbers exchanged where only so it lies near where it can be."""
        lon, lat = systems.to_wgs84(system, x, y)
        if self.land is not None and not (_finite(lon, lat) and self.land.near(lon, lat)):
            other = systems.to_wgs84(system, y, x)
            if _finite(*other) and self.land.near(*other):
                return Place(*other, mends=(*mends, mend(rule)), crs=text)
        if not _finite(lon, lat):
            raise Refused("outside-globe", x=x, y=y, more=f" or does not exist in {text}")
        return Place(lon, lat, mends=mends, crs=text)

    def _system(self, cells: Mapping[str, Cell]) -> str:
        """The row's own reference system, else the file's; "" where none is stated."""
        own, meridian = _text(cells.get("crs", "")), _text(cells.get("meridian", ""))
        text = own or self.crs
        if meridian:
            # A meridian alone does not tell the datum.
            return f"{text} {meridian}" if re.search(r"(?i)vn[-_ ]?2000", text) else (text or meridian)
        return text

    # --- shapes --------------------------------------------------------------------------------------

    def _of_shape(self, shape: BaseGeometry) -> Place:
        if not self.shapes_crs:
            x, y = shapely.get_coordinates(shape)[0]
            raise Refused("no-crs", x=x, y=y)
        system = systems.parse(self.shapes_crs)
        kind = shape.geom_type
        parts = shapely.get_parts(shape)
        if kind == "MultiPoint" and len(parts) == 1:
            shape, kind = parts[0], "Point"
        if kind == "Point":
            x, y = shapely.get_coordinates(shape)[0].tolist()
            rule = "swapped-lonlat" if system.is_geographic else "swapped-xy"
            return self._turned(x, y, system, self.shapes_crs, (), rule)
        if kind not in ("Polygon", "MultiPolygon"):
            raise Refused("bad-geometry", found=kind)
        return self._of_polygon(shape, system)

    def _of_polygon(self, shape: BaseGeometry, system: pyproj.CRS) -> Place:
        mends: tuple[Finding, ...] = ()
        if not shapely.is_valid(shape):
            parts = [
                p for p in shapely.get_parts(shapely.make_valid(shape)) if p.geom_type.endswith("Polygon")
            ]
            shape, mends = shapely.union_all(parts), (mend("polygon-mended"),)
        turned = shapely.transform(
            shapely.force_2d(shape), lambda xy: np.array([systems.to_wgs84(system, *p) for p in xy])
        )
        if shapely.is_empty(turned) or not np.isfinite(shapely.get_coordinates(turned)).all():
            raise Refused("bad-geometry", found="polygon outside its reference system")
        middle = turned.representative_point()
        if not (-180 <= middle.x <= 180 and -80 <= middle.y <= 84):
            return Place(middle.x, middle.y, crs=self.shapes_crs)
        epsg = utm_of(middle.x, middle.y)
        inner = shapely.buffer(to_crs(turned, epsg), -self.edge_m)
        if shapely.is_empty(inner):
            raise Refused("narrow-polygon", metres=self.edge_m)
        places = inside(inner)
        points = tuple(
            (float(p[0]), float(p[1]))
            for p in shapely.get_coordinates(to_crs(shapely.multipoints(places), 4326, epsg))
        )
        return Place(middle.x, middle.y, points, mends, self.shapes_crs)

    # --- what a place must be ------------------------------------------------------------------------

    def _check(self, place: Place, cells: Mapping[str, Cell]) -> None:
        if not (-180 <= place.lon <= 180 and -80 <= place.lat <= 84):
            raise Refused("outside-globe", x=place.lon, y=place.lat, more="")
        if abs(place.lon) < 1e-6 and abs(place.lat) < 1e-6:
            raise Refused("null-island")
        fault = self.land.fault(place.lon, place.lat) if self.land is not None else None
        if fault:
            raise Refused(fault[0], x=place.lon, y=place.lat, km=fault[1])
        cell = cells.get("accuracy", "")
        if cell != "":
            try:
                _accurate(cell if isinstance(cell, float) else number(str(cell)))
            except ValueError as error:
                if isinstance(error, Refused):
                    raise

    def _nowhere(self, cells: Mapping[str, Cell]) -> Refused:
        term = next((t for t in ("lon", "x", "geopoint") if t in self.columns), "geometry")
        return Refused("no-place", name=term)

    def _angle(self, cell: Cell, name: str) -> Angle:
        if cell == "":
            raise Refused("no-place", name=name)
        if isinstance(cell, float):
            return Angle(cell)
        text = str(cell)
        try:
            found = angle(text, self.sign)
        except ValueError as error:
            if str(error) == "minutes":
                raise Refused("bad-minutes", name=name, found=text) from None
            if str(error) == "sign":
                raise Refused(
                    "hemisphere", name=name, found=text, expected="sign and letter disagree"
                ) from None
            raise _bad(name, text) from None
        if not math.isfinite(found.degrees):
            raise _bad(name, text)
        return found

    def _metre(self, cell: Cell, name: str) -> float:
        if cell == "":
            raise Refused("no-place", name=name)
        if isinstance(cell, float):
            return cell
        text = re.sub(r"\s*m$", "", str(cell))
        try:
            return number(text, self.sign, degrees=True)
        except ValueError:
            raise _bad(name, str(cell)) from None


def inside(shape: BaseGeometry) -> list[tuple[float, float]]:
    """Up to ``POINTS_A_POLYGON`` places spread over a polygon (metres), always the same."""
    west, south, east, north = shape.bounds
    step = max(20.0, math.sqrt(shape.area / POINTS_A_POLYGON))
    xs = _centred(west, east, step)
    ys = _centred(south, north, step)
    grid = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    found = grid[shapely.contains_xy(shape, grid)]
    if not len(found):
        found = shapely.get_coordinates(shape.representative_point())
    if len(found) > POINTS_A_POLYGON:
        found = found[np.linspace(0, len(found) - 1, POINTS_A_POLYGON).round().astype(int)]
    return [(float(x), float(y)) for x, y in found]


def _centred(low: float, high: float, step: float) -> NDArray[np.float64]:
    count = max(1, math.ceil((high - low) / step))
    return np.asarray((low + high) / 2 + (np.arange(count) - (count - 1) / 2) * step, np.float64)


def _accurate(metres: float) -> None:
    if metres > WORST_ACCURACY_M:
        raise Refused("gps-accuracy", found=metres, limit=WORST_ACCURACY_M)


def _bad(name: str, text: str) -> Refused:
    infinite = plain(text) in ("inf", "infinity", "nan")
    expected = (
        "expected a finite number" if infinite else "expected a number, or degrees, minutes and seconds"
    )
    return Refused("bad-place", name=name, found=text, expected=expected)


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.10g}"
    return str(cell).strip()


def _finite(x: float, y: float) -> bool:
    return math.isfinite(x) and math.isfinite(y)


def _metres(a: Place, b: Place) -> float:
    return float(pyproj.Geod(ellps="WGS84").inv(a.lon, a.lat, b.lon, b.lat)[2])
