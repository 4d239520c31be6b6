"""Administrative units through time: polygons with validity, the names of both generations, crosswalks.

``configs/boundaries/`` holds what is law and needs no polygon: the provinces of both generations with the
days on which they hold, and which old province went into which new one. Polygons are imported by people:
their licence and their generation are theirs to state.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely

from pipeline.errors import InputError
from pipeline.files import aside
from pipeline.shipped import CONFIGS

Level = Literal["province", "commune"]
FOLDER = CONFIGS / "boundaries"
#: Digits of a code; leading zeros are part of it.
DIGITS: dict[str, int] = {"province": 2, "commune": 5}
FOREVER = dt.date(9999, 12, 31)
LAYER = "units"
COLUMNS = ["level", "code", "name", "parent", "valid_from", "valid_to", "source"]
#: Lon/lat boxes of the archipelagos that every national map shows.
ARCHIPELAGOS = {
    "Hoàng Sa": shapely.box(110.9, 15.6, 113.0, 17.3),
    "Trường Sa": shapely.box(111.3, 6.3, 117.9, 12.1),
}
#: What files call our columns.
KNOWN = {
    "code": ("code", "ma", "ma_xa", "ma_tinh", "maxa", "matinh", "ma_dvhc", "province_code", "ward_code"),
    "name": ("fullName", "name", "ten", "ten_xa", "ten_tinh", "tenxa", "tentinh", "full_name"),
    "parent": ("parent", "province_code", "ma_tinh", "matinh", "parent_code"),
}


@dataclass(frozen=True)
class Imported:
    """Units read from a file, and what a reader should know of them."""

    units: geopandas.GeoDataFrame
    warnings: tuple[str, ...]


def read(
    file: Path,
    level: Level,
    valid_from: dt.date,
    valid_to: dt.date | None = None,
    source: str = "",
    columns: dict[str, str] | None = None,
) -> Imported:
    """Polygons of one level from a vector file, with the days on which they hold (both included).

    ``columns`` maps code, name, parent to the file's headers where they are odd. A file without codes gets
    those of the official names. Warns where an archipelago is absent or polygons had to be mended.
    Raises InputError.
    """
    if valid_to is not None and valid_to < valid_from:
        raise InputError(f"units are valid from {valid_from} to {valid_to}; the end lies before the start")
    try:
        frame = geopandas.read_file(file)
    except Exception as error:  # GDAL raises many kinds
        raise InputError(f"{file} cannot be read as polygons: {error}") from None
    if frame.crs is None:
        raise InputError(f"{file} has no coordinate reference system")
    found = _columns(file, frame, level, columns or {})
    warnings: list[str] = []
    codes = _codes(file, frame, level, found, warnings, valid_from)
    parent = frame[found["parent"]].map(_text) if level == "commune" and "parent" in found else ""
    units = geopandas.GeoDataFrame(
        {
            "level": level,
            "code": codes,
            "name": frame[found["name"]].map(_text) if "name" in found else codes,
            "parent": parent,
            "valid_from": valid_from.isoformat(),
            "valid_to": (valid_to or FOREVER).isoformat(),
            "source": source or file.name,
        },
        geometry=_polygons(file, frame.to_crs(4326).geometry, warnings),
        crs=4326,
    )
    if level == "commune":
        units["parent"] = units["parent"].map(lambda c: c.zfill(2) if c.isdigit() else c)
    _check(file, units)
    warnings += _archipelagos(units)
    return Imported(units.sort_values("code", ignore_index=True), tuple(warnings))


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _columns(file: Path, frame: pd.DataFrame, level: Level, given: dict[str, str]) -> dict[str, str]:
    """Our name -> the file's header."""
    found = {}
    for name, known in KNOWN.items():
        if name in given:
            if given[name] not in frame.columns:
                raise InputError(f"{file} has no column {given[name]!r}; found {', '.join(frame.columns)}")
            found[name] = given[name]
            continue
        taken = set(found.values())
        header = next((k for k in known if k in frame.columns and k not in taken), None)
        if header:
            found[name] = header
    if "code" not in found and "name" not in found:
        raise InputError(f"{file} has neither a code nor a name column; found {', '.join(frame.columns)}")
    return found


def _codes(
    file: Path, frame: pd.DataFrame, level: Level, found: dict[str, str], warnings: list[str], day: dt.date
) -> list[str]:
    """Official codes as text: the file's, filled up with zeros, or by name where the file's are none."""
    digits = DIGITS[level]
    if "code" in found:
        raw = frame[found["code"]].map(_text)
        if raw.str.fullmatch(rf"\d{{1,{digits}}}").all() and raw.is_unique:
            if (raw.str.len() < digits).any():
                warnings.append(
                    f"{file.name}: codes lost their leading zeros; they were filled up to {digits} digits"
                )
            return [code.zfill(digits) for code in raw]
    if level != "province" or "name" not in found:
        column = found.get("code", "code")
        raise InputError(
            f"{file}: column {column!r} holds no distinct codes of {digits} digits; name the right one by --column code=..."
        )
    warnings.append(f"{file.name}: its codes are not the official ones; taken by name")
    known = provinces(day)
    by_name = {plain(name): code for code, name in zip(known["code"], known["name"], strict=True)}
    codes = []
    for name in frame[found["name"]].map(_text):
        if plain(name) not in by_name:
            raise InputError(f"{file}: {name!r} is no province on {day}")
        codes.append(by_name[plain(name)])
    return codes


def plain(name: str) -> str:
    """A province's name for comparison: without its kind, capitals, blanks and the two ways to set òa."""
    text = name.casefold().strip()
    for kind in ("thành phố", "tỉnh", "tp.", "tp "):
        text = text.removeprefix(kind).strip()
    for old, new in (("oà", "òa"), ("oá", "óa"), ("thừa thiên huế", "huế"), ("thừa thiên - huế", "huế")):
        text = text.replace(old, new)
    text = {"hcm": "hồ chí minh"}.get(text, text)
    return "".join(c for c in text if c.isalnum())


def _polygons(file: Path, shapes: Any, warnings: list[str]) -> Any:
    values = np.asarray(shapes.array)
    if (absent := shapely.is_missing(values) | shapely.is_empty(values)).any():
        raise InputError(f"{file}: row {int(absent.argmax()) + 1} has no polygon")
    broken = ~shapely.is_valid(values)
    if broken.any():
        warnings.append(f"{file.name}: {int(broken.sum())} polygons cross themselves; they were mended")
    return areal(values)


def areal(shapes: Any) -> Any:
    """Valid polygons (shape,) of what may be broken; lines and points that mending leaves are dropped."""
    values = np.array(shapes, np.object_, copy=True)
    for k in np.flatnonzero(~shapely.is_valid(values)):
        parts = shapely.get_parts(shapely.make_valid(values[k]))
        values[k] = shapely.union_all([p for p in parts if p.geom_type in ("Polygon", "MultiPolygon")])
    return shapely.force_2d(values)


def _check(file: Path, units: geopandas.GeoDataFrame) -> None:
    double = units["code"].duplicated()
    if double.any():
        raise InputError(f"{file}: code {units['code'][double].iloc[0]} is there twice")
    bad = ~units.geometry.geom_type.isin(["Polygon", "MultiPolygon"])
    if bad.any():
        raise InputError(
            f"{file}: unit {units['code'][bad].iloc[0]} is a {units.geom_type[bad].iloc[0]}, no polygon"
        )


def _archipelagos(units: geopandas.GeoDataFrame) -> list[str]:
    shapes = units.geometry.array
    return [
        f"{units['source'].iloc[0]} has no polygon of {name}; a national map must show it"
        for name, box in ARCHIPELAGOS.items()
        if not shapely.intersects(np.asarray(shapes), box).any()
    ]


def store(imported: Sequence[geopandas.GeoDataFrame], path: Path) -> None:
    """Write units as a GeoPackage, those already in ``path`` of other levels or days included.

    Raises InputError where two sets of one level hold on the same day.
    """
    frames = list(imported)
    if path.exists():
        frames.insert(0, load(path))
    units = pd.concat(frames, ignore_index=True)
    sets = units[["level", "valid_from", "valid_to"]].drop_duplicates()
    for level, group in sets.groupby("level"):
        spans = sorted(zip(group["valid_from"], group["valid_to"], strict=True))
        for (_, end), (start, _) in itertools.pairwise(spans):
            if start <= end:
                raise InputError(
                    f"{path}: two sets of {level} units hold on {start}; end the older one with --valid-to"
                )
    with aside(path) as temporary:
        pyogrio.write_dataframe(
            geopandas.GeoDataFrame(units, crs=4326), temporary, layer=LAYER, driver="GPKG"
        )


def load(path: Path) -> geopandas.GeoDataFrame:
    """What ``store`` wrote. Raises InputError."""
    try:
        units = pyogrio.read_dataframe(path, layer=LAYER)
    except Exception as error:
        raise InputError(f"{path} holds no units made by `phusa zones import`: {error}") from None
    if missing := set(COLUMNS) - set(units.columns):
        raise InputError(
            f"{path} lacks the columns {', '.join(sorted(missing))}; make it by `phusa zones import`"
        )
    units["parent"] = units["parent"].fillna("")
    return units


def on(units: geopandas.GeoDataFrame, day: dt.date, level: Level) -> geopandas.GeoDataFrame:
    """Units of a level that hold on a day. Raises InputError where there are none."""
    text = day.isoformat()
    chosen = units[(units["level"] == level) & (units["valid_from"] <= text) & (units["valid_to"] >= text)]
    if chosen.empty:
        known = units[["level", "valid_from", "valid_to"]].drop_duplicates().itertuples(index=False)
        raise InputError(
            f"no {level} units hold on {day}; there are {', '.join(f'{v} {a} to {b}' for v, a, b in known)}"
        )
    return chosen.reset_index(drop=True)


def provinces(day: dt.date | None = None) -> pd.DataFrame:
    """Official provinces: code, name, kind, region, valid_from, valid_to; of one day or all generations."""
    table = pd.read_csv(FOLDER / "provinces.csv", dtype=str, keep_default_na=False)
    if day is None:
        return table
    text = day.isoformat()
    until = table["valid_to"].replace("", FOREVER.isoformat())
    return table[(table["valid_from"] <= text) & (until >= text)].reset_index(drop=True)


def regions() -> pd.DataFrame:
    """Regions by province: set, code, name, province, valid_from. Sets: social-economic, the old north, deltas."""
    return pd.read_csv(FOLDER / "regions.csv", dtype=str, keep_default_na=False)


@dataclass(frozen=True)
class Crosswalk:
    """Shares of old units in new ones; those of an old unit sum to 1."""

    table: pd.DataFrame
    """old, new, weight (Fraction), basis: how the weight is known."""

    def __post_init__(self) -> None:
        wrong = {u: w for u, w in self.table.groupby("old")["weight"].sum().items() if w != 1}
        if wrong:
            unit, weight = next(iter(wrong.items()))
            raise InputError(f"the weights of old unit {unit} sum to {weight}, not to 1")

    def carry(self, values: dict[str, int]) -> dict[str, int]:
        """Whole figures of old units carried to the new, with the same total.

        Each old unit's figure is split by largest remainder. Raises InputError for an unknown unit.
        """
        parts: dict[str, list[tuple[str, Fraction]]] = {}
        for old, new, weight in zip(*(self.table[c] for c in ("old", "new", "weight")), strict=True):
            parts.setdefault(old, []).append((new, weight))
        totals: dict[str, int] = {}
        for unit, value in values.items():
            if unit not in parts:
                raise InputError(f"old unit {unit} is not in the crosswalk")
            shares = _split(value, [weight for _, weight in parts[unit]])
            for (new, _), share in zip(parts[unit], shares, strict=True):
                totals[new] = totals.get(new, 0) + share
        return totals


def _split(value: int, weights: Sequence[Fraction]) -> list[int]:
    exact = [value * w for w in weights]
    parts = [e.__floor__() for e in exact]
    order = sorted(range(len(parts)), key=lambda k: (parts[k] - exact[k], k))
    for k in order[: value - sum(parts)]:
        parts[k] += 1
    return parts


def crosswalk(level: Level) -> Crosswalk:
    """The official passage of 1 July 2025 from old units to new.

    Provinces went over whole. Communes that were divided have equal weights, basis ``equal``, for the law
    names no areas; ``by_area`` gives true ones where polygons of both generations are at hand.
    """
    table = pd.read_csv(FOLDER / f"{level}_crosswalk.csv", dtype=str, keep_default_na=False)
    return Crosswalk(table.assign(weight=table["weight"].map(Fraction)))


def by_area(old: geopandas.GeoDataFrame, new: geopandas.GeoDataFrame) -> Crosswalk:
    """Weights from the overlap of polygons in an equal-area projection; what no new unit holds is shared alike."""
    a = geopandas.GeoDataFrame({"old": old["code"]}, geometry=old.geometry.array, crs=old.crs).to_crs(6933)
    b = geopandas.GeoDataFrame({"new": new["code"]}, geometry=new.geometry.array, crs=new.crs).to_crs(6933)
    met = geopandas.overlay(a, b, keep_geom_type=True)
    met["mm2"] = np.rint(shapely.area(met.geometry.array) * 1e6).astype(np.int64)
    met = met[met["mm2"] > 0].sort_values(["old", "new"], ignore_index=True)
    if absent := sorted(set(a["old"]) - set(met["old"])):
        raise InputError(f"old unit {absent[0]} meets no new unit")
    total = met.groupby("old")["mm2"].sum()
    weight = [Fraction(int(v), int(total[o])) for o, v in zip(met["old"], met["mm2"], strict=True)]
    return Crosswalk(pd.DataFrame({"old": met["old"], "new": met["new"], "weight": weight, "basis": "area"}))


def communes() -> pd.DataFrame:
    """Official communes since 1 July 2025: code, name, kind, province, and the old province of most of each."""
    return pd.read_csv(FOLDER / "communes.csv", dtype=str, keep_default_na=False)
