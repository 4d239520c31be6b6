"""The values of a row: numbers and classes of targets, and conductivities that become ECe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models import textures
from models.chemistry import FORMULAS, Readings, convert
from models.ec_formulas import Formula
from models.readings import PASTE, parts
from models.targets import Target
from pipeline.imports.headers import Column, Columns, extract_of
from pipeline.imports.rules import Finding, Refused, mend
from pipeline.imports.spellings import (
    FAMILIES,
    PLACEHOLDERS,
    SENTINELS,
    SPREADSHEET_ERRORS,
    Ambiguous,
    Cell,
    Decimal,
    factor,
    number,
    plain,
    unit,
    with_unit,
)

#: Unit -> what soil can have. Brine saturated with salt has about 250 dS/m.
POSSIBLE = {
    "dS/m": (0.0, 200.0),
    "%": (0.0, 100.0),
    "g/kg": (0.0, 1000.0),
    "mg/kg": (0.0, 1e6),
    "cmol/kg": (0.0, 500.0),
}
PH = (1.5, 13.0)
ANY = (-np.inf, np.inf)
_CONDUCTIVITY = FAMILIES[0]
EXTRACTS = tuple(dict.fromkeys(c.extract for c in FORMULAS if isinstance(c, Formula)))


@dataclass(frozen=True)
class Conductivity:
    """A conductivity as the laboratory wrote it, waiting for its conversion."""

    value: float
    unit: str
    extract: str
    texture: str = ""
    clay: float = float("nan")
    humus: float = float("nan")


@dataclass(frozen=True)
class Values:
    """What a row measured."""

    of_target: Mapping[str, float]
    conductivity: Conductivity | None = None
    """What is to become ECe."""
    mends: tuple[Finding, ...] = ()
    measured: Conductivity | None = None
    """What the laboratory read, also where its own ECe is taken."""


@dataclass(frozen=True)
class Stated:
    """What the config says of a file's values."""

    units: Mapping[str, str]
    """Header or our name -> unit."""
    extract: str = ""


def is_ece(target: Target) -> bool:
    """Whether a target is the conductivity of the saturated paste, to which other extracts are converted."""
    names = {plain(target.value_column), plain(target.name)}
    titled = any("ece" in plain(t).split() for t in (target.title.vi, target.title.en))
    return (
        target.kind == "regression"
        and (unit(target.unit) or "") in _CONDUCTIVITY
        and (bool(names & {"ece", "ec e"}) or titled)
    )


@dataclass(frozen=True)
class Reader:
    """How the values of one sheet are read."""

    columns: Columns
    targets: Sequence[Target]
    sign: Decimal
    stated: Stated
    in_doubt: frozenset[str] = frozenset()
    """Columns whose unit is not stated and whose numbers cannot be of the target's."""

    def values(self, cells: Mapping[str, Cell]) -> Values:
        """The values of a row. Raises Refused, where none is left too."""
        self._soil(cells)
        mends: list[Finding] = []
        found: dict[str, float] = {}
        for target in self.targets:
            cell = cells.get(target.value_column, "")
            if cell == "":
                continue
            read = self._class if target.kind == "class" else self._quantity
            value = read(target, cell, cells, mends)
            if value is not None:
                found[target.name] = value
        conductivity = None
        if any(is_ece(t) and t.name not in found for t in self.targets):
            conductivity = self._conductivity(cells, mends)
        if not found and conductivity is None and self.targets:
            raise Refused("no-value", names=", ".join(t.value_column for t in self.targets))
        return Values(found, conductivity, tuple(mends), conductivity or self._beside(cells))

    def _beside(self, cells: Mapping[str, Cell]) -> Conductivity | None:
        """The conductivity from which the file's own ECe was made, where it stands beside it and is understood."""
        try:
            return self._conductivity(cells, [])
        except Refused:
            return None

    def _soil(self, cells: Mapping[str, Cell]) -> None:
        medium = plain(str(cells.get("medium", "")))
        if medium and ("nuoc" in medium.split() or "water" in medium.split()):
            raise Refused("water-sample", found=str(cells["medium"]))

    def _class(self, target: Target, cell: Cell, cells: Mapping[str, Cell], mends: list[Finding]) -> float:
        name = target.value_column
        text = f"{cell:g}" if isinstance(cell, float) else str(cell)
        try:
            return target.read(text)
        except ValueError as error:
            titles = {plain(c.title.vi): c.code for c in target.classes}
            if plain(text) in titles and len(titles) == len(target.classes):
                mends.append(mend("unaccented-class", name=name, found=text))
                return float(titles[plain(text)])
            raise Refused("bad-value", name=name, why=error, found=text) from None

    def _quantity(
        self, target: Target, cell: Cell, cells: Mapping[str, Cell], mends: list[Finding]
    ) -> float | None:
        column = self.columns.by_term[target.value_column]
        read = self._number(target.value_column, cell, mends, target)
        if read is None:
            return None
        value, in_cell = read
        wanted = unit(target.unit) or target.unit
        source = (
            in_cell or column.unit or self._unit_cell(cells, wanted) or self._said(column.header, column.term)
        )
        if not source and self._needs_unit(wanted, column):
            why = (
                "its row of the unit column is empty, or its numbers are not of the target's unit"
                if column.own
                else "the header is no target's own name"
            )
            raise Refused("no-unit", name=column.header, why=why)
        try:
            value = value * factor(source, wanted) if source else value
        except ValueError:
            raise Refused("unknown-unit", name=column.header, found=source, expected=wanted) from None
        try:
            value = target.read(repr(value))
        except ValueError as error:
            raise Refused("bad-value", name=target.value_column, why=error, found=cell) from None
        low, high = PH if "ph" in (plain(target.unit), plain(target.name)) else POSSIBLE.get(wanted, ANY)
        if not low <= value <= high:
            raise Refused(
                "impossible-value", name=column.header, found=value, unit=target.unit, low=low, high=high
            )
        return value

    def _needs_unit(self, wanted: str, column: Column) -> bool:
        """A column of the config or of the target's own name is in the target's unit, unless its numbers
        cannot be; any other has to say its unit, where the quantity has several."""
        if column.term in self.in_doubt or ("unit" in self.columns and wanted in _CONDUCTIVITY):
            return True
        return not column.own and any(wanted in family and len(family) > 1 for family in FAMILIES)

    def _unit_cell(self, cells: Mapping[str, Cell], wanted: str) -> str:
        """The row's unit column, which is about the quantity whose units it speaks of."""
        text = str(cells.get("unit", ""))
        if not text:
            return ""
        found = unit(text)
        family = next((f for f in FAMILIES if wanted in f), {})
        if not found or (found not in family and family):
            if not found and family is _CONDUCTIVITY:
                raise Refused("unknown-unit", name="unit", found=text, expected=wanted)
            return ""
        return found

    def _said(self, header: str, term: str) -> str:
        text = self.stated.units.get(header) or self.stated.units.get(term, "")
        return unit(text) or text

    def _number(
        self, name: str, cell: Cell, mends: list[Finding], target: Target | None = None
    ) -> tuple[float, str] | None:
        """(value, unit in the cell); None where the cell says that nothing was measured."""
        if isinstance(cell, float):
            if cell in SENTINELS:
                mends.append(mend("placeholder", name=name, found=f"{cell:g}"))
                return None
            return cell, ""
        text = str(cell)
        folded = text.casefold()
        if folded in PLACEHOLDERS:
            mends.append(mend("placeholder", name=name, found=text))
            return None
        if folded in SPREADSHEET_ERRORS:
            raise Refused("broken-cell", name=name, found=text)
        if text[0] in "<≤" or folded in ("bdl", "<lod", "lod", "kph", "không phát hiện", "trace", "vết"):
            raise Refused("below-detection", name=name, found=text)
        if text[0] in ">≥":
            raise Refused("above-range", name=name, found=text)
        bare, in_cell = with_unit(text)
        try:
            value = number(bare, self.sign)
        except Ambiguous:
            raise Refused("ambiguous-number", name=name, found=text) from None
        except ValueError:
            raise self._not_a_number(name, text, target) from None
        if not np.isfinite(value):
            raise self._not_a_number(name, text, target)
        if value in SENTINELS:
            mends.append(mend("placeholder", name=name, found=text))
            return None
        if in_cell:
            mends.append(mend("unit-in-cell", name=name, found=text))
        other = {".": ",", ",": "."}.get(self.sign)
        if other and other in bare and self.sign not in bare:
            mends.append(mend("mixed-decimal", name=name, found=text))
        return value, in_cell

    def _not_a_number(self, name: str, text: str, target: Target | None) -> Refused:
        why = f"{text!r} is not a number"
        if target is not None:
            try:
                target.read(text)
            except ValueError as error:
                why = str(error)
        return Refused("bad-value", name=name, why=why, found=text)

    def _conductivity(self, cells: Mapping[str, Cell], mends: list[Finding]) -> Conductivity | None:
        term = next(
            (
                t
                for t in ("ece", "ec")
                if cells.get(t, "") != "" and t not in {x.value_column for x in self.targets}
            ),
            "",
        )
        if not term:
            return None
        column = self.columns.by_term[term]
        read = self._number(column.header, cells[term], mends)
        if read is None:
            return None
        value, in_cell = read
        source = in_cell or column.unit or self._unit_cell(cells, "dS/m") or self._said(column.header, term)
        if not source:
            raise Refused(
                "no-unit", name=column.header, why="conductivities are written in dS/m, mS/cm and µS/cm"
            )
        if source not in _CONDUCTIVITY:
            raise Refused("unknown-unit", name=column.header, found=source, expected="dS/m")
        extract = column.extract or (PASTE if term == "ece" else "") or self._extract(cells)
        low, high = POSSIBLE["dS/m"]
        ds_m = value * factor(source, "dS/m")
        if not low < ds_m <= high:
            raise Refused("impossible-value", name=column.header, found=ds_m, unit="dS/m", low=low, high=high)
        texture, clay, humus = self._ground(cells, mends)
        if (
            extract != PASTE
            and extract not in EXTRACTS
            and not (texture and humus == humus and parts(extract) == parts(extract))
        ):
            raise Refused("unknown-extract", found=extract)
        return Conductivity(value, source, extract, texture, clay, humus)

    def _extract(self, cells: Mapping[str, Cell]) -> str:
        text = str(cells.get("extract", ""))
        found = extract_of(text) if text else ""
        found = found or (extract_of(self.stated.extract) if self.stated.extract else "")
        if not found:
            column = self.columns.by_term["ec"].header
            raise Refused("unknown-extract", found=text) if text else Refused("no-extract", name=column)
        return found

    def _ground(self, cells: Mapping[str, Cell], mends: list[Finding]) -> tuple[str, float, float]:
        texture = str(cells.get("texture", ""))
        if texture:
            try:
                textures.parse(texture)
            except ValueError:
                mends.append(mend("unknown-texture", found=texture))
                texture = ""
        shares = []
        for term in ("clay", "humus"):
            column, cell, share = self.columns.by_term.get(term), cells.get(term, ""), float("nan")
            if column and cell != "":
                try:
                    share = cell if isinstance(cell, float) else number(str(cell), self.sign)
                    share *= factor(column.unit, "%") if column.unit else 1.0
                except ValueError:
                    share = float("nan")
            shares.append(
                share if 0 <= share <= 100 and (column is not None and column.unit) else float("nan")
            )
        return texture, shares[0], shares[1]


@dataclass(frozen=True)
class Converted:
    """ECe of one row in dS/m with the variances of its logarithm."""

    ece: float
    own: float
    shared: float


def to_ece(rows: Sequence[Conductivity]) -> list[Converted]:
    """ECe of conductivities, all of a file together: what they have in common widens no scatter.

    A variance that is not known is NaN.
    """
    if not rows:
        return []
    found = convert(
        Readings(
            [r.value for r in rows],
            np.array([r.unit for r in rows], object),
            np.array([r.extract for r in rows], object),
            texture=np.array([r.texture for r in rows], object),
            clay=[r.clay for r in rows],
            humus=[r.humus for r in rows],
        )
    )
    return [
        Converted(float(e), float(o), float(s))
        for e, o, s in zip(found.ece, found.own, found.shared, strict=True)
    ]
