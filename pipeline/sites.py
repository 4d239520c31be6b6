"""Sample files -> sites. Each row is accepted, or refused with a rule and a reason; none vanishes."""

from __future__ import annotations

import csv
import datetime as dt
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyproj

from models.targets import Target
from pipeline.errors import InputError
from pipeline.grid import transformer
from pipeline.season import Season

#: Our names of a sample file's columns; a target's column comes from its config.
COLUMNS = ("sample_id", "date", "lon", "lat", "x", "y", "crs", "group")


@dataclass(frozen=True, eq=False)
class Site:
    """One accepted row: a place (WGS 84) measured once."""

    sample_id: str
    group: str
    season: str
    date: str
    lon: float
    lat: float
    values: Mapping[str, float]
    """Target name -> class code or quantity; a target not measured is absent."""
    file: str
    row: int


@dataclass(frozen=True)
class Refusal:
    """One refused row."""

    file: str
    row: int
    """Line of the file, the header being 1."""
    sample_id: str
    rule: str
    reason: str


class _Refused(ValueError):
    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(reason)
        self.rule = rule


def read(
    path: Path, season: Season, targets: Sequence[Target], columns: Mapping[str, str]
) -> tuple[list[Site], list[Refusal]]:
    """Sites of ``season`` in a CSV file. Raises InputError where the file itself cannot be used."""
    header, rows = _table(path)
    names = _names(path, header, columns, targets)
    sites: list[Site] = []
    refusals: list[Refusal] = []
    seen: dict[str, int] = {}
    for number, row in rows:
        cells = dict(zip(names, (cell.strip() for cell in row), strict=False))
        identity = cells.get("sample_id") or f"row-{number}"
        try:
            if len(row) != len(names):
                raise _Refused("cell-count", f"{len(row)} cells, the header has {len(names)}")
            if identity in seen:
                raise _Refused("duplicate-id", f"sample_id {identity!r} stands in row {seen[identity]} too")
            lon, lat = _place(cells)
            date = _date(cells, season)
            values = _values(cells, targets)
        except _Refused as refusal:
            refusals.append(Refusal(str(path), number, identity, refusal.rule, str(refusal)))
            continue
        seen[identity] = number
        group = cells.get("group", "")
        sites.append(Site(identity, group, season.name, date, lon, lat, values, str(path), number))
    return sites, refusals


def _table(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and rows of a CSV file; each row with the line it starts on. Empty lines are no rows."""
    if not path.is_file():
        raise InputError(f"{path}: no such sample file")
    rows: list[tuple[int, list[str]]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader, start = csv.reader(file, strict=True), 1
            for row in reader:
                rows += [(start, row)] if any(cell.strip() for cell in row) else []
                start = reader.line_num + 1
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text, expected CSV (is it a binary file?)") from None
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not a CSV table: {error}") from None
    if len(rows) < 2:
        raise InputError(f"{path}: no row below the header")
    return [name.strip() for name in rows[0][1]], rows[1:]


def _names(
    path: Path, header: Sequence[str], columns: Mapping[str, str], targets: Sequence[Target]
) -> list[str]:
    """Our names of a file's columns. Raises InputError where one is absent, or not to be told apart."""
    found = f"{path}: found columns {', '.join(header)[:300]}"
    absent = [name for name in columns if name not in header]
    if absent:
        raise InputError(f"{found}; samples.columns in the config names {absent[0]!r}")
    names = [columns.get(name, name) for name in header]
    wanted = [t.value_column for t in targets]
    twice = [name for name in (*COLUMNS, *wanted) if names.count(name) > 1]
    if twice:
        raise InputError(f"{found}; two of them are {twice[0]!r}")
    if not ({"lon", "lat"} <= set(names) or {"x", "y", "crs"} <= set(names)):
        raise InputError(
            f"{found}; expected lon and lat, or x, y and crs (samples.columns in the config maps odd headers)"
        )
    if targets and not set(wanted) & set(names):
        raise InputError(f"{found}; expected one of {', '.join(wanted)}")
    return names


def _place(cells: Mapping[str, str]) -> tuple[float, float]:
    names = ("lon", "lat") if cells.get("lon") or cells.get("lat") else ("x", "y")
    first, second = (_number(cells.get(name, ""), name) for name in names)
    if names == ("x", "y"):
        first, second = _from_crs(first, second, cells.get("crs", ""))
    if not (-180 <= first <= 180 and -80 <= second <= 84):
        raise _Refused(
            "outside-globe", f"place {first:g}, {second:g} is outside longitudes -180..180, latitudes -80..84"
        )
    return first, second


def _from_crs(x: float, y: float, crs: str) -> tuple[float, float]:
    try:
        lon, lat = transformer(pyproj.CRS.from_user_input(crs).to_wkt(), "EPSG:4326").transform(x, y)
    except pyproj.exceptions.ProjError:
        raise _Refused(
            "unknown-crs", f"crs {crs!r} is not a known reference system such as EPSG:32648"
        ) from None
    if not (math.isfinite(lon) and math.isfinite(lat)):
        raise _Refused("outside-globe", f"place {x:g}, {y:g} does not exist in {crs}")
    return float(lon), float(lat)


def _number(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        rule = "bad-place" if text else "no-place"
        raise _Refused(rule, f"{name} is {text!r}, expected a number") from None
    if not math.isfinite(value):
        raise _Refused("bad-place", f"{name} is {text!r}, expected a finite number")
    return value


def _date(cells: Mapping[str, str], season: Season) -> str:
    if "date" not in cells:
        return ""
    try:
        day = dt.date.fromisoformat(cells["date"][:10])
    except ValueError:
        raise _Refused("bad-date", f"date is {cells['date']!r}, expected YYYY-MM-DD") from None
    if day not in season:
        raise _Refused(
            "outside-season", f"date {day} is not in season {season.name!r} ({season.start} to {season.end})"
        )
    return str(day)


def _values(cells: Mapping[str, str], targets: Sequence[Target]) -> dict[str, float]:
    values = {}
    for target in targets:
        text = cells.get(target.value_column, "")
        if text:
            try:
                values[target.name] = target.read(text)
            except ValueError as error:
                raise _Refused("bad-value", f"{target.value_column}: {error}") from None
    if targets and not values:
        names = ", ".join(t.value_column for t in targets)
        raise _Refused("no-value", f"no value of {names}")
    return values


def report(sites: Sequence[Site], refusals: Sequence[Refusal], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The import report: how many rows were accepted, and each refused one with its rule."""
    return {
        "rows": len(sites) + len(refusals),
        "accepted": len(sites),
        "refused": len(refusals),
        "by_rule": dict(sorted(Counter(r.rule for r in refusals).items())),
        **extra,
        "refusals": [vars(r) for r in refusals],
    }
