"""Sample files -> sites. Each row is accepted, mended or refused by a rule with a reason; none vanishes."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from models.targets import Target
from pipeline.errors import InputError
from pipeline.imports import places, sheets, values
from pipeline.imports.headers import WEAK_RANK, Columns, is_place, names_a_place, recognise
from pipeline.imports.land import Land
from pipeline.imports.layers import MEASURED, Draft, Settled, settle
from pipeline.imports.rules import Finding, Refused, mend, refusal
from pipeline.imports.spellings import Cell, Day, Layer, day, decimal_sign, factor, layer, number, plain, unit
from pipeline.season import Season

_SUMMARIES = {"trung binh", "tb", "tong", "tong cong", "cong", "mean", "average", "total", "sum", "max", "min", "sd",
              "std", "cv", "median", "ghi chu", "note", "notes"}  # fmt: skip
#: A column of which more than this share is impossible in the target's unit is in another unit.
IN_DOUBT = 0.1


@dataclass(frozen=True)
class Stated:
    """What the config says of a sample file."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Header -> our name."""
    crs: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    """Header or our name -> unit."""
    extract: str = ""
    layer: str = ""
    """Sheet of a workbook, layer of a GeoPackage."""
    depth_cm: tuple[float, float] = (0.0, 30.0)
    edge_m: float = 15.0
    """Points of a polygon keep this distance from its edge."""


@dataclass(frozen=True, eq=False)
class Site:
    """One place (WGS 84) measured once: a row, a point of a survey polygon, or a profile of several rows."""

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
    errors: Mapping[str, float] = field(default_factory=dict)
    """Column of an error variance, as ``SampleTable`` reads it -> value."""
    about: Mapping[str, str | float] = field(default_factory=dict)
    """Depth, extract, laboratory, stratum, inclusion probability where the file has them."""


@dataclass(frozen=True)
class Refusal:
    """One refused row."""

    file: str
    row: int
    """Line of the file, the header being 1; the feature's id in a GeoPackage."""
    sample_id: str
    rule: str
    reason: str
    reason_vi: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one row."""

    file: str
    row: int
    sample_id: str
    refused: Finding | None = None
    mends: tuple[Finding, ...] = ()
    into: int = 0
    """Row that it became part of; 0: it stands for itself."""

    @property
    def status(self) -> Literal["accepted", "mended", "refused"]:
        return "refused" if self.refused else "mended" if self.mends else "accepted"


@dataclass(frozen=True)
class Imported:
    """A sample file, read."""

    sites: list[Site]
    outcomes: list[Outcome]
    about: dict[str, Any]
    """How the file was read: format, encoding, meaning of each column, what was assumed."""

    @property
    def refusals(self) -> list[Refusal]:
        """The refused rows."""
        return refusals(self.outcomes)


def read(
    path: Path,
    seasons: Season | Sequence[Season],
    targets: Sequence[Target],
    stated: Stated | None = None,
    land: Land | None = None,
) -> Imported:
    """Sites of ``seasons`` in a CSV, XLSX, GeoPackage, GeoJSON or KoBo/ODK file.

    Without ``land`` no place is abroad. Raises InputError where the file itself cannot be used.
    """
    return _Import(
        path, [seasons] if isinstance(seasons, Season) else list(seasons), targets, stated or Stated(), land
    ).run()


class _Import:
    """One file on its way; what is known of the whole file, and the steps of a row."""

    def __init__(
        self,
        path: Path,
        seasons: Sequence[Season],
        targets: Sequence[Target],
        stated: Stated,
        land: Land | None,
    ) -> None:
        self.path, self.seasons, self.targets, self.stated = path, seasons, targets, stated
        given = {h.strip() for h in stated.columns}
        sheet = sheets.read(
            path, lambda cells: names_a_place(cells) or (bool(given) and given <= set(cells)), stated.layer
        )
        self.sheet = sheets.spread(sheet)
        self.columns = self._columns()
        cells = [c for r in self.sheet.rows for c in r.cells if isinstance(c, str)]
        self.sign = decimal_sign(cells)
        if not self.sign and self.sheet.about.get("separator") == ";" and any("," in c for c in cells):
            self.sign = ","
        crs, self.crs_from = self._crs()
        shapes_crs = self.sheet.crs or stated.crs
        self.places = places.Reader(self.columns, self.sign, crs, shapes_crs, land, stated.edge_m)
        said = values.Stated(stated.units, stated.extract)
        plain_reader = values.Reader(self.columns, targets, self.sign, said)
        self.values = replace(plain_reader, in_doubt=self._in_doubt(plain_reader))
        self.dates = self._dates()
        self.month_first = any(d.reading == "month-first" for d in self.dates.values()) and not any(
            d.reading == "day-first" and d.day.day > 12 for d in self.dates.values()
        )
        weak = self.columns.by_term.get("sample_id")
        names = [r.cells[weak.index] for r in self.sheet.rows if r.cells[weak.index] != ""] if weak else []
        # A column such as "name" or "id" may as well hold owners or zeros: it names samples where most differ.
        told_apart = len(set(map(str, names))) > 0.5 * len(names)
        self.own_ids = weak is not None and (weak.rank < WEAK_RANK or told_apart)

    def run(self) -> Imported:
        drafts: list[Draft] = []
        waiting: list[tuple[int, values.Conductivity]] = []
        outcomes: dict[int, Outcome] = {}
        seen: dict[tuple[Any, ...], int] = {}
        for row in self.sheet.rows:
            cells = {t: row.cells[c.index] for t, c in self.columns.by_term.items()}
            identity = self._identity(row.number, cells)
            try:
                self._whole(row, cells, seen)
                draft, conductivity = self._draft(row, identity, cells)
            except Refused as fault:
                outcomes[row.number] = Outcome(str(self.path), row.number, identity, fault.finding, row.mends)
                continue
            seen[_key(row)] = row.number
            outcomes[row.number] = Outcome(str(self.path), row.number, identity, mends=draft.mends)
            if conductivity is not None:
                waiting.append((len(drafts), conductivity))
            drafts.append(draft)
        drafts = self._converted(drafts, waiting, outcomes)
        settled = settle([d for d in drafts if not outcomes[d.number].refused], self.stated.depth_cm)
        _tell(settled, outcomes)
        found = [s for d in settled.kept for s in self._sites(d)]
        return Imported(found, list(outcomes.values()), self._about(outcomes))

    # --- what holds for the whole file -----------------------------------------------------------------

    def _columns(self) -> Columns:
        found = f"{self.path}: found columns {', '.join(self.sheet.header)[:300]}"
        try:
            columns = recognise(self.sheet.header, self.stated.columns, self.targets)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        if not is_place(columns) and all(r.shape is None for r in self.sheet.rows):
            raise InputError(
                f"{found}; expected lon and lat, or x, y and crs (samples.columns in the config maps odd headers)"
            )
        column = columns.by_term.get("unit")
        if column and column.rank and not any(unit(str(r.cells[column.index])) for r in self.sheet.rows):
            columns = columns.without("unit")  # "đơn vị" is an organisation too
        wanted = [t.value_column for t in self.targets]
        conducts = any(values.is_ece(t) for t in self.targets) and ("ec" in columns or "ece" in columns)
        if self.targets and not set(wanted) & set(columns.by_term) and not conducts:
            raise InputError(f"{found}; expected one of {', '.join(wanted)}")
        return columns

    def _crs(self) -> tuple[str, str]:
        """The file's reference system and who states it: config, headers of the places, or the title."""
        if self.stated.crs:
            return self.stated.crs, "config"
        here = [
            self.columns.by_term[t].header for t in ("x", "y", "lon", "lat", "geopoint") if t in self.columns
        ]
        for text, source in (
            (" ".join(here[:1]), "header"),
            (str(self.sheet.about.get("title", "")), "title"),
        ):
            if found := re.search(r"(?i)vn[-_ ]?2000[^;)\]]*", text):
                return found[0], source
            if found := re.search(
                r"(?i)wgs[-_ ]?(?:19)?84(?:\s*/?\s*utm\s*(?:zone\s*)?\d\d\s*[ns]?)?|epsg\W{0,2}\d{4,5}", text
            ):
                return found[0], source
        return "", ""

    def _dates(self) -> dict[int, Day]:
        column = self.columns.by_term.get("date")
        found = {}
        for row in self.sheet.rows if column else []:
            assert column is not None
            try:
                found[row.number] = day(row.cells[column.index])
            except ValueError:
                continue
        return found

    def _in_doubt(self, reader: values.Reader) -> frozenset[str]:
        """Columns without a stated unit of which many a number is impossible in the target's."""
        doubted = set()
        for target in self.targets:
            column = self.columns.by_term.get(target.value_column)
            wanted = unit(target.unit)
            if column is None or column.unit or not column.own or wanted not in values.POSSIBLE:
                continue
            if (
                self.stated.units.get(column.header)
                or self.stated.units.get(column.term)
                or "unit" in self.columns
            ):
                continue
            numbers = []
            for row in self.sheet.rows:
                cell = row.cells[column.index]
                try:
                    numbers.append(cell if isinstance(cell, float) else number(str(cell), self.sign))
                except ValueError:
                    continue
            beyond = sum(v > values.POSSIBLE[wanted][1] for v in numbers)
            if beyond > max(1, IN_DOUBT * len(numbers)):
                doubted.add(column.term)
        return frozenset(doubted)

    # --- one row -----------------------------------------------------------------------------------------

    def _identity(self, row: int, cells: Mapping[str, Cell]) -> str:
        cell = cells.get("sample_id", "") if self.own_ids else ""
        text = f"{cell:.15g}" if isinstance(cell, float) else str(cell)
        return text or f"row-{row}"

    def _whole(self, row: sheets.Row, cells: Mapping[str, Cell], seen: Mapping[tuple[Any, ...], int]) -> None:
        if row.refused:
            fault = Refused("bad-quotes")
            fault.finding = row.refused
            raise fault
        texts = [c for c in row.cells if c != ""]
        first = plain(str(texts[0])) if texts else ""
        placed = (
            any(cells.get(t, "") != "" for t in ("lon", "lat", "x", "y", "geopoint")) or row.shape is not None
        )
        if first in _SUMMARIES and not placed:
            raise Refused("summary-row", found=str(texts[0]))
        if _key(row) in seen:
            raise Refused("duplicate-row", row=seen[_key(row)])

    def _draft(
        self, row: sheets.Row, identity: str, cells: Mapping[str, Cell]
    ) -> tuple[Draft, values.Conductivity | None]:
        place = self.places.place(cells, row.shape)
        text, seasons, of_date = self._date(row.number, cells)
        depth, of_depth = self._layer(cells)
        measured = self.values.values(cells)
        about = self._aside(cells, depth)
        if measured.measured:
            read = measured.measured
            about |= dict(zip(MEASURED, (read.value, read.unit, read.extract), strict=True))
        group = _shown(cells.get("group", ""))
        draft = Draft(
            row.number, identity, group, place, text, seasons, depth, dict(measured.of_target), {},
            frozenset(t.name for t in self.targets if t.kind == "class"), about,
            (*row.mends, *place.mends, *of_date, *of_depth, *measured.mends),
        )  # fmt: skip
        return draft, measured.conductivity

    def _date(self, row: int, cells: Mapping[str, Cell]) -> tuple[str, tuple[str, ...], tuple[Finding, ...]]:
        if "date" not in self.columns:
            if len(self.seasons) > 1:
                raise Refused("no-date")
            return "", (self.seasons[0].name,), ()
        cell = cells["date"]
        if cell == "":
            raise Refused("no-date")
        shown = _shown(cell)
        if row not in self.dates:
            raise Refused("bad-date", found=shown)
        found = self.dates[row]
        mends = []
        if found.reading == "either" and self.month_first:
            raise Refused("ambiguous-date", found=shown)
        if found.reading == "month-first":
            mends.append(mend("month-first-date", found=shown))
        if found.reading == "serial":
            mends.append(mend("serial-date", found=shown))
        if found.short_year:
            mends.append(mend("two-digit-year", found=shown))
        seasons = tuple(s.name for s in self.seasons if found.day in s)
        if not seasons and len(self.seasons) == 1:
            season = self.seasons[0]
            raise Refused(
                "outside-season", found=found.day, season=season.name, start=season.start, end=season.end
            )
        if not seasons:
            raise Refused(
                "outside-every-season", found=found.day, seasons=", ".join(s.name for s in self.seasons)
            )
        return str(found.day), seasons, tuple(mends)

    def _layer(self, cells: Mapping[str, Cell]) -> tuple[Layer | None, tuple[Finding, ...]]:
        cell = cells.get("depth", "")
        top, bottom = cells.get("depth_top", ""), cells.get("depth_bottom", "")
        term = "depth" if cell != "" else "depth_bottom"
        column = self.columns.by_term.get(term)
        length = column.unit if column and column.unit in ("m", "cm", "mm") else "cm"
        shown = _shown(cell)
        if cell == "" and bottom != "":
            shown = f"{_shown(top) or '0'}-{_shown(bottom)}"
            cell = shown
        if cell == "":
            return None, ()
        if isinstance(cell, str) and plain(cell) in (
            "tang mat",
            "mat",
            "topsoil",
            "lop mat",
            "tang canh tac",
            "a",
            "ap",
        ):
            return None, ()
        try:
            found = layer(cell, length)
        except TypeError:
            raise Refused("depth-became-date", found=shown) from None
        except ValueError:
            raise Refused("bad-depth", found=shown) from None
        return found, (mend("depth-from-surface", found=shown),) if found.surface else ()

    def _aside(self, cells: Mapping[str, Cell], depth: Layer | None) -> dict[str, str | float]:
        about: dict[str, str | float] = {}
        if depth is not None:
            about |= {"depth_top_cm": depth.top, "depth_bottom_cm": depth.bottom}
        for term in ("laboratory", "stratum", "province", "licence", "project"):
            if cells.get(term, "") != "":
                about[term] = _shown(cells[term])
        chance = cells.get("inclusion_probability", "")
        if chance != "":
            try:
                share = chance if isinstance(chance, float) else number(str(chance), self.sign, degrees=True)
            except ValueError:
                share = 0.0
            if not 0 < share <= 1:
                raise Refused("bad-probability", found=_shown(chance))
            about["inclusion_probability"] = share
        return about

    # --- the rows together -----------------------------------------------------------------------------

    def _converted(
        self,
        drafts: list[Draft],
        waiting: Sequence[tuple[int, values.Conductivity]],
        outcomes: dict[int, Outcome],
    ) -> list[Draft]:
        """Conductivities become ECe, all at once, with the variances that the conversion brings."""
        drafts = list(drafts)
        found = values.to_ece([c for _, c in waiting])
        for (k, source), ece in zip(waiting, found, strict=True):
            d, row = drafts[k], outcomes[drafts[k].number]
            if not (ece.own >= 0 and ece.shared >= 0):
                fault = refusal("unknown-error", found=source.extract)
                outcomes[d.number] = replace(row, refused=fault)
                continue
            names = [t for t in self.targets if values.is_ece(t) and t.name not in d.values]
            errors, of = dict(d.errors), dict(d.values)
            for target in names:
                scale = 1.0 if target.transform == "log" else ece.ece**2
                kind = (
                    f"{target.name}_log_variance" if target.transform == "log" else f"{target.name}_variance"
                )
                of[target.name] = ece.ece * factor("dS/m", target.unit)
                errors |= {f"{kind}_own": ece.own * scale, f"{kind}_shared": ece.shared * scale}
            mends = d.mends
            if source.extract != "paste":
                sd = f"{(ece.own + ece.shared) ** 0.5:.2f}"
                mends = (
                    *mends,
                    mend(
                        "ece-converted",
                        found=source.value,
                        unit=source.unit,
                        extract=source.extract,
                        ece=ece.ece,
                        sd=sd,
                    ),
                )
            about = d.about | {"extract": source.extract, "ec": source.value, "ec_unit": source.unit}
            drafts[k] = replace(d, values=of, errors=errors, mends=mends, about=about)
            outcomes[d.number] = replace(row, mends=mends)
        return drafts

    def _sites(self, draft: Draft) -> Iterable[Site]:
        points = draft.place.points or ((draft.place.lon, draft.place.lat),)
        group = draft.group or (f"polygon {draft.identity}" if draft.place.points else "")
        for season in draft.seasons:
            for k, (lon, lat) in enumerate(points, start=1):
                identity = f"{draft.identity}#{k}" if draft.place.points else draft.identity
                about = draft.about
                if draft.layer:
                    about = about | {"depth_top_cm": draft.layer.top, "depth_bottom_cm": draft.layer.bottom}
                yield Site(
                    identity,
                    group,
                    season,
                    draft.day,
                    lon,
                    lat,
                    draft.values,
                    str(self.path),
                    draft.number,
                    draft.errors,
                    about,
                )

    def _about(self, outcomes: Mapping[int, Outcome]) -> dict[str, Any]:
        """How the file was read, and what was taken for granted."""
        assumed = []
        degrees = {"lon", "lat"} <= set(self.columns.by_term) or "geopoint" in self.columns
        if degrees and not self.places.crs and "crs" not in self.columns:
            assumed.append(
                "degrees without a reference system are read as WGS 84 (EPSG:4326), as receivers give them; "
                "were they VN-2000, they would lie about 225 m off: state crs"
            )
        for target in self.targets:
            column = self.columns.by_term.get(target.value_column)
            if (
                column
                and target.kind == "regression"
                and not column.unit
                and column.own
                and column.term not in self.values.in_doubt
            ):
                assumed.append(
                    f"column {column.header!r} is in {target.unit}, the unit of target {target.name}"
                )
        if any(d.reading == "either" for d in self.dates.values()):
            assumed.append("dates such as 3/4/2025 have the day first")
        if any(k in self.columns for k in ("depth", "depth_bottom")) is False:
            assumed.append("no depth is stated: samples are taken as of the topsoil")
        crs = (
            {"crs": self.places.shapes_crs or self.places.crs}
            if self.places.shapes_crs or self.places.crs
            else {}
        )
        stated = {"crs_from": self.crs_from} if self.crs_from else {}
        counts = Counter(o.status for o in outcomes.values())
        return {
            "file": str(self.path), **self.sheet.about, **crs, **stated,
            "decimal_sign": self.sign or "none seen", "rows": len(outcomes), **{k: counts[k] for k in ("accepted", "mended", "refused")},
            **self.columns.about(), "assumed": assumed,
        }  # fmt: skip


def _key(row: sheets.Row) -> tuple[Any, ...]:
    return (*map(str, row.cells), row.shape.wkb if row.shape is not None else b"")


def _shown(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:.15g}"
    if isinstance(cell, dt.datetime) and cell.time() == dt.time():
        return str(cell.date())
    return str(cell)


def _tell(settled: Settled, outcomes: dict[int, Outcome]) -> None:
    """Write what was settled between rows into their outcomes."""
    for number_, finding in settled.refused.items():
        outcomes[number_] = replace(outcomes[number_], refused=finding)
    for number_, found in settled.mends.items():
        outcomes[number_] = replace(outcomes[number_], mends=(*outcomes[number_].mends, *found))
    for number_, into in settled.merged.items():
        outcomes[number_] = replace(outcomes[number_], into=into)


def refusals(outcomes: Iterable[Outcome]) -> list[Refusal]:
    """The refused rows of ``outcomes``."""
    return [
        Refusal(o.file, o.row, o.sample_id, o.refused.rule, o.refused.reason, o.refused.reason_vi)
        for o in outcomes
        if o.refused
    ]


def together(imports: Sequence[Imported]) -> list[Outcome]:
    """One outcome a row, where a file was read for several seasons: refused only where no season took it."""
    found: dict[tuple[str, int], Outcome] = {}
    for outcome in (o for i in imports for o in i.outcomes):
        known = found.get((outcome.file, outcome.row))
        if known is None or (known.refused and not outcome.refused):
            found[outcome.file, outcome.row] = outcome
    return list(found.values())


def report(outcomes: Sequence[Outcome], sites: int, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The import report: rows = accepted + mended + refused, and each refused or mended one with its rules."""
    counts = Counter(o.status for o in outcomes)
    mends = [
        {"file": o.file, "row": o.row, "sample_id": o.sample_id, **vars(m)}
        for o in outcomes
        if not o.refused
        for m in o.mends
    ]
    return {
        "rows": len(outcomes),
        "accepted": counts["accepted"],
        "mended": counts["mended"],
        "refused": counts["refused"],
        "sites": sites,
        "by_rule": dict(sorted(Counter(o.refused.rule for o in outcomes if o.refused).items())),
        "mended_by_rule": dict(sorted(Counter(m["rule"] for m in mends).items())),
        **extra,
        "refusals": [vars(r) for r in refusals(outcomes)],
        "mends": mends,
    }
