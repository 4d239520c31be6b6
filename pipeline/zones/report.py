"""A season's tables by unit, and areas of anyone's polygons: from published products to files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray

from models.correlation import Correlation
from models.targets import Target
from pipeline import boundaries
from pipeline.errors import InputError
from pipeline.grid import SQUARE_M, to_crs, transformer
from pipeline.zones import reference, tables
from pipeline.zones.tables import UNASSIGNED, Leaves, Unit
from pipeline.zones.tally import Source, Sums, tally
from pipeline.zones.themes import OUTSIDE, NothingMapped, ProductSquare, Theme, theme_of

Ints = NDArray[np.int64]
#: Features of a file that are held at one time.
CHUNK = 50_000
#: Range of the errors where no model told it, and nobody states it.
ASSUMED_RANGE_M = 5000.0
#: What makes a parcel's key: parcel number, map sheet and commune.
PARCEL_KEY = ("parcel", "sheet", "commune")


@dataclass(frozen=True)
class Counted:
    """The published products of one target in one season, ready to be counted."""

    theme: Theme
    squares: tuple[ProductSquare, ...]
    resolution_m: int

    @classmethod
    def of(cls, target: Target, cogs: Sequence[Path], mask_version: str = "") -> Counted:
        """``mask_version`` of the farmland mask that they were made with, "" where there was none.

        Raises InputError where there is no product or one cannot be counted.
        """
        if not cogs:
            raise InputError(f"target {target.name} has no published product")
        with rasterio.open(cogs[0]) as file:
            theme = theme_of(target, file.descriptions)
        squares = tuple(ProductSquare(cog, theme) for cog in sorted(cogs))
        if len(sizes := {s.resolution_m for s in squares}) > 1:
            raise InputError(f"products of {target.name} have cells of {sorted(sizes)} m; expected one size")
        simulated = any(s.simulated for s in squares)
        theme = replace(theme, simulated=simulated, mask_version=mask_version)
        return cls(theme, squares, squares[0].resolution_m)

    def correlation(self, stated_km: float | None = None) -> Correlation:
        """How far the errors go together: as stated, else as the products' models tell, else assumed.

        The nugget of samples is mostly the laboratory's and no error of the map, so nothing is taken off
        for it: intervals are too wide before they are too narrow. Of several models the longest range
        holds.
        """
        if stated_km is not None:
            return Correlation(1000 * stated_km)
        told = [s.error_range_m for s in self.squares]
        if all(t is not None for t in told):
            return Correlation(max(t for t in told if t is not None), basis="estimated")
        return Correlation(ASSUMED_RANGE_M, basis="assumed")

    def sources(self, polygons: NDArray[np.object_]) -> Iterator[Source]:
        """The products, then the squares that the polygons reach beyond them."""
        yield from self.squares
        known = {(s.epsg, s.square) for s in self.squares}
        for epsg, square in _squares(polygons):
            if (epsg, square) not in known:
                yield NothingMapped(epsg, square)

    def sums(self, polygons: NDArray[np.object_], overlapping: bool = False, threads: int = 1) -> Sums:
        return tally(
            polygons, self.sources(polygons), self.resolution_m, (self.theme.class_count,),
            len(self.theme.probable), overlapping, threads=threads,
        )  # fmt: skip

    @property
    def outline(self) -> Any:
        """What the products' files span, in WGS 84."""
        boxes = []
        for s in self.squares:
            c0, c1, r0, r1 = (v * self.resolution_m for v in s.window)
            box = shapely.segmentize(shapely.box(c0, -r1, c1, -r0), 5000)
            boxes.append(to_crs(box, 4326, s.epsg))
        return shapely.union_all(boxes)


def _squares(polygons: NDArray[np.object_]) -> list[tuple[int, tuple[int, int]]]:
    """100 km squares, by UTM zone, that the boxes of WGS 84 polygons may reach."""
    found: set[tuple[int, tuple[int, int]]] = set()
    for west, south, east, north in np.unique(shapely.bounds(polygons).round(2), axis=0):
        for zone in range(int((west - 0.01 + 180) // 6) + 1, int((east + 0.01 + 180) // 6) + 2):
            left, right = zone * 6 - 186, zone * 6 - 180
            for base, low, high in ((32600, 0.0, 84.0), (32700, -80.0, 0.0)):
                a, b = max(west - 0.01, left), min(east + 0.01, right)
                c, d = max(south - 0.01, low), min(north + 0.01, high)
                if a < b and c < d:
                    found |= {(base + zone, xy) for xy in _reach(base + zone, a, c, b, d)}
    return sorted(found)


def _reach(epsg: int, west: float, south: float, east: float, north: float) -> list[tuple[int, int]]:
    lon, lat = np.meshgrid(np.linspace(west, east, 5), np.linspace(south, north, 5))
    x, y = transformer(4326, epsg).transform(lon.ravel(), lat.ravel())
    xs = range(int(x.min() // SQUARE_M), int(x.max() // SQUARE_M) + 1)
    ys = range(int(y.min() // SQUARE_M), int(y.max() // SQUARE_M) + 1)
    return [(i, j) for i in xs for j in ys]


def by_unit(
    season: Counted, units: geopandas.GeoDataFrame, day: dt.date, correlation: Correlation, threads: int = 1
) -> UnitTables:
    """Areas by commune where there are communes on ``day``, by province, region and nation.

    Units that hold nothing of the map are left out; what is mapped and lies in no unit has
    the row "unassigned", so that every level sums to the nation.
    """
    leaves_of = _leaves(units, day)
    near = shapely.intersects(np.asarray(leaves_of.geometry.array), season.outline)
    chosen = leaves_of[near].reset_index(drop=True)
    if chosen.empty:
        raise InputError(f"none of the {len(leaves_of)} units that hold on {day} reaches the map")
    polygons = np.asarray(chosen.geometry.array, np.object_)
    sums = season.sums(polygons, threads=threads)
    leaves = Leaves.agreeing(sums)
    leaves.classes[-1, OUTSIDE] = 0  # no unit and no map: foreign land and sea
    reached = np.flatnonzero(leaves.classes[:-1, OUTSIDE + 1 :].any(axis=1))
    made = list(_units(chosen, day, reached))
    table = tables.rows(season.theme, sums, leaves, made, correlation)
    table["geometry"] = _shapes(chosen, made)
    return UnitTables(table, made, leaves, chosen)


@dataclass(frozen=True, eq=False)
class UnitTables:
    """Areas by unit, and what further tables are made of."""

    table: pd.DataFrame
    units: list[Unit]
    leaves: Leaves
    polygons: geopandas.GeoDataFrame

    def ranking(self, correlation: Correlation) -> pd.DataFrame:
        """The finest units by priority; raises InputError where the products lack the probabilities."""
        if "headline_percent" not in self.table:
            raise InputError("no priority can be told: the products lack the probability bands")
        level = self.table["level"].iloc[0]
        own = self.table[self.table["level"] == level].reset_index(drop=True)
        return tables.ranking(own, middles(own), correlation)

    def adjusted(self, season: Counted, sample: Path) -> tuple[pd.DataFrame, list[str]]:
        """Areas of provinces and nation by the reference sample, and the units that have no estimate."""
        read = reference.read(sample, season.theme)
        on_map = reference.mapped(read, season.squares)
        wide = [u for u in self.units if u.level in ("province", "region", "nation")]
        return reference.adjusted(season.theme, read, on_map, self.leaves, wide, self.polygons)


def _leaves(units: geopandas.GeoDataFrame, day: dt.date) -> geopandas.GeoDataFrame:
    """The finest units of a day."""
    try:
        return boundaries.on(units, day, "commune")
    except InputError:
        return boundaries.on(units, day, "province")


def _units(found: geopandas.GeoDataFrame, day: dt.date, each: Ints) -> Iterator[Unit]:
    """Rows of the zones ``each`` that hold some of the map, and their sums."""
    leaves, level = found.iloc[each], found["level"].iloc[0] if len(found) else "commune"
    for k, code, name in zip(each, leaves["code"], leaves["name"], strict=True):
        yield Unit(level, code, name, np.array([k]))
    province = leaves["parent"] if level == "commune" else leaves["code"]
    names = dict(zip(*(boundaries.provinces(day)[c] for c in ("code", "name")), strict=True))
    if level == "commune":
        for code in sorted(set(province)):
            yield Unit("province", code, names.get(code, code), each[(province == code).to_numpy()])
    for code, name, members in _regions(leaves, level, province, day):
        if members.any():
            yield Unit("region", code, name, each[members])
    yield Unit(UNASSIGNED, "", "Chưa thuộc đơn vị nào", np.array([len(found)]))
    yield Unit("nation", "VN", "Cả vùng lập bản đồ", np.append(each, len(found)))


def _regions(
    leaves: pd.DataFrame, level: str, province: pd.Series[str], day: dt.date
) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Regions made of the provinces of ``day``; of old ones too, by the communes that came from them."""
    new = day >= dt.date(2025, 7, 1)
    old = province if not new else province.map(lambda code: "")
    if new and level == "commune":
        origin = dict(zip(*(boundaries.communes()[c] for c in ("code", "old_province")), strict=True))
        old = leaves["code"].map(lambda c: origin.get(c, ""))
    known = boundaries.regions()
    for code in known["code"].unique():
        group = known[known["code"] == code]
        name, generation = str(group["name"].iloc[0]), str(group["generation"].iloc[0])
        if generation == "new" and not new:
            continue
        members = (province if generation == "new" else old).isin(group["province"])
        yield code, name, members.to_numpy(np.bool_)


def _shapes(leaves: geopandas.GeoDataFrame, units: Sequence[Unit]) -> list[Any]:
    """Polygons of the leaves; sums of them have none, for their outlines are not ours to draw."""
    own = [*leaves.geometry.array, None]
    level = leaves["level"].iloc[0] if len(leaves) else ""
    return [own[u.zones[0]] if u.level == level else None for u in units]


def middles(table: pd.DataFrame) -> NDArray[np.float64]:
    """Places of units with polygons, (unit, 3) in metres from the Earth's centre."""
    points = shapely.point_on_surface(np.asarray(table["geometry"], np.object_))
    lon, lat = shapely.get_x(points), shapely.get_y(points)
    return np.column_stack(transformer(4979, 4978).transform(lon, lat, np.zeros_like(lon)))


def by_feature(
    season: Counted,
    file: Path,
    key: Sequence[str],
    correlation: Correlation,
    threads: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[geopandas.GeoDataFrame]:
    """Areas of each polygon of a file, for itself, in chunks; columns of ``key`` come first.

    Raises InputError where the file cannot be read, a key is absent or is not one of a kind, or a row
    has no polygon.
    """  # fmt: skip
    total, crs = _head(file, key)
    seen = np.zeros(0, np.uint64)
    for start in range(0, total, CHUNK):
        frame = pyogrio.read_dataframe(file, skip_features=start, max_features=CHUNK)
        shapes = _shaped(file, frame, start, crs)
        keys = (
            frame[list(key)] if key else pd.DataFrame({"row": np.arange(start + 1, start + len(frame) + 1)})
        )
        if key:
            seen = _distinct(file, keys, seen, start)
        sums = season.sums(shapes, overlapping=True, threads=threads)
        made = [Unit("zone", str(k), "", np.array([k])) for k in range(len(shapes))]
        table = tables.rows(season.theme, sums, Leaves.each(sums), made, correlation)
        table = table.drop(columns=["level", "code", "name"])
        yield geopandas.GeoDataFrame(
            pd.concat([keys.reset_index(drop=True), table], axis=1), geometry=shapes, crs=4326
        )
        progress(min(start + CHUNK, total), total)


def _head(file: Path, key: Sequence[str]) -> tuple[int, Any]:
    try:
        info = pyogrio.read_info(file, force_feature_count=True)
    except Exception as error:  # GDAL raises many kinds
        raise InputError(f"{file} cannot be read as polygons: {error}") from None
    if info["crs"] is None:
        raise InputError(f"{file} has no coordinate reference system")
    if absent := [k for k in key if k not in info["fields"]]:
        raise InputError(f"{file} has no column {absent[0]!r}; found {', '.join(info['fields'])}")
    if not info["features"]:
        raise InputError(f"{file} holds no polygon")
    return int(info["features"]), info["crs"]


def _shaped(file: Path, frame: geopandas.GeoDataFrame, start: int, crs: Any) -> NDArray[np.object_]:
    shapes = np.asarray(frame.geometry.array, np.object_)
    kinds = shapely.get_type_id(shapes)
    if not (good := np.isin(kinds, (3, 6)) & ~shapely.is_empty(shapes)).all():
        row = int((~good).argmax())
        found = "nothing" if shapes[row] is None else shapes[row].geom_type
        raise InputError(f"{file}: row {start + row + 1} has {found}; expected a polygon")
    mended = boundaries.areal(shapes)
    return np.asarray(geopandas.GeoSeries(mended, crs=crs).to_crs(4326).array, np.object_)


def _distinct(file: Path, keys: pd.DataFrame, seen: NDArray[np.uint64], start: int) -> NDArray[np.uint64]:
    """Digests of the keys so far, sorted: eight bytes a polygon, however many there are."""
    digests = np.asarray(pd.util.hash_pandas_object(keys.astype(str), index=False), np.uint64)
    found, first = np.unique(digests, return_index=True)
    double = np.ones(len(digests), np.bool_)
    double[first] = np.isin(found, seen)
    if double.any():
        k = int(double.argmax())
        shown = ", ".join(f"{c} {v}" for c, v in keys.iloc[k].items())
        raise InputError(f"{file}: row {start + k + 1}: {shown} was there before; a key names one polygon")
    return np.sort(np.concatenate([seen, found]))
