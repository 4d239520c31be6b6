"""Accepted sites as rows of the national database: what was measured there, by which procedure, in its unit.

Only what was measured becomes a record: the conductivity of its extract, not the ECe reckoned from it; a class
is a judgement, and no result. What the database could not take is left out by itself, with the reason.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import shapely

from models.targets import Target
from pipeline import boundaries
from pipeline.config import Config, SampleFile
from pipeline.errors import InputError
from pipeline.glosis import PROCEDURES
from pipeline.imports.layers import MEASURED
from pipeline.imports.spellings import factor, plain
from pipeline.imports.values import is_ece
from pipeline.sites import Site

#: Of samples of which nothing is said: nobody is told where they lie but who has the right.
PRIVATE = "confidential"
NO_PROVINCE = "không rõ"
#: WGS 84 degrees; centimetres below the surface; a GloSIS procedure code; the value in the procedure's unit.
COLUMNS = (
    "project", "code", "lon", "lat", "province", "licence", "sampled_on", "upper_cm", "lower_cm", "procedure",
    "value",
)  # fmt: skip


@dataclass(frozen=True)
class Procedure:
    """A way to measure that the database knows."""

    unit: str
    lowest: float
    highest: float


@dataclass(frozen=True)
class Known:
    """What the database takes."""

    procedures: Mapping[str, Procedure]
    licences: frozenset[str]


@dataclass(frozen=True)
class LeftOut:
    """A site, or one of its values, that the database does not take."""

    file: str
    row: int
    sample_id: str
    reason: str


def records(
    sites: Sequence[Site], files: Sequence[SampleFile], config: Config, known: Known
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """``COLUMNS``, one row a measurement, and what is left out. A survey polygon is one plot, at its first point."""
    province = _provinces(config)
    stated = {str(f.file): f for f in files}
    points: dict[tuple[str, int], list[Site]] = {}
    for site in sites:
        points.setdefault((site.file, site.row), []).append(site)
    taken: dict[tuple[object, ...], dict[str, object]] = {}
    places: dict[tuple[object, object], tuple[object, object]] = {}
    left: list[LeftOut] = []
    for members in points.values():
        site, file = members[0], stated[members[0].file]
        whole = site.sample_id.rpartition("#")[0]
        parted = whole and (site.group == f"polygon {whole}" or len({m.sample_id for m in members}) > 1)
        try:
            about = _about(site, file, known, province)
            about["code"] = whole if parted else site.sample_id
            plot, place = (about["project"], about["code"]), (about["lon"], about["lat"])
            if places.setdefault(plot, place) != place:
                raise ValueError(f"{plot[1]} of project {plot[0]} lies elsewhere in another file")
        except ValueError as fault:
            left.append(LeftOut(site.file, site.row, site.sample_id, str(fault)))
            continue
        for name, procedure, unit, value in _measured(site, file, config.targets):
            try:
                row = about | _result(name, procedure, unit, value, known)
                key = (*plot, *(row[c] for c in ("sampled_on", "upper_cm", "lower_cm", "procedure")))
                if taken.setdefault(key, row)["value"] != row["value"]:
                    raise ValueError(
                        f"{name}: {plot[1]} of project {plot[0]} has another value in another file"
                    )
            except ValueError as fault:
                left.append(LeftOut(site.file, site.row, site.sample_id, str(fault)))
    return pd.DataFrame(list(taken.values()), columns=list(COLUMNS)), left


def _about(
    site: Site, stated: SampleFile, known: Known, province: Callable[[Site], str]
) -> dict[str, object]:
    """Project, place, licence, day and depth. Raises ValueError with what the database would not take."""
    said = {name: str(site.about.get(name, "")) for name in ("licence", "project", "province")}
    licence = (said["licence"] or stated.licence or PRIVATE).strip()
    licence = {name.casefold(): name for name in known.licences}.get(licence.casefold(), licence)
    if licence not in known.licences:
        raise ValueError(f"licence {licence} is not known; known: {', '.join(sorted(known.licences))}")
    if not site.date:
        raise ValueError("no day of sampling")
    upper, lower = (
        float(site.about.get(name, default))
        for name, default in zip(("depth_top_cm", "depth_bottom_cm"), stated.depth_cm, strict=True)
    )
    if not 0 <= upper < lower:
        raise ValueError(f"depth {upper:g} to {lower:g} cm is no layer")
    return {
        "project": said["project"] or stated.project or Path(site.file).stem,
        "lon": round(site.lon, 7), "lat": round(site.lat, 7),
        "province": _official(said["province"] or stated.province or province(site)) or NO_PROVINCE,
        "licence": licence, "sampled_on": site.date, "upper_cm": upper, "lower_cm": lower,
    }  # fmt: skip


def _measured(
    site: Site, stated: SampleFile, targets: Sequence[Target]
) -> Iterator[tuple[str, str, str, float]]:
    """Name, procedure ("" where nothing says it), unit and value of each quantity that was measured."""
    value, unit, extract = (site.about.get(name) for name in MEASURED)
    if value is not None:
        yield f"EC {extract}", PROCEDURES.get(str(extract), ""), str(unit), float(value)
    for target in targets:
        if target.kind != "regression" or target.name not in site.values:
            continue
        procedure = stated.procedures.get(target.name) or stated.procedures.get(target.value_column, "")
        if is_ece(target) and not procedure:
            if value is not None:
                continue  # reckoned from it, or it itself
            procedure = "" if extract else PROCEDURES["paste"]
        yield target.name, procedure, target.unit, site.values[target.name]


def _result(name: str, procedure: str, unit: str, value: float, known: Known) -> dict[str, object]:
    """Raises ValueError."""
    if not procedure:
        raise ValueError(f"{name}: how it was measured is not known; the file's procedures may say it")
    if procedure not in known.procedures:
        raise ValueError(f"{name}: the database does not know the procedure {procedure}")
    way = known.procedures[procedure]
    try:
        number = float(f"{value * factor(unit, way.unit):.9g}")
    except ValueError as fault:
        raise ValueError(f"{name}: {fault}") from None
    if not way.lowest <= number <= way.highest:
        raise ValueError(f"{name}: {number:g} {way.unit} is beyond {way.lowest:g} to {way.highest:g}")
    return {"procedure": procedure, "value": number}


def _official(name: str) -> str:
    """A province as the law spells it, for rights go by names; what is no province of Viet Nam stays as it is."""
    return _names().get(_bare(name), unicodedata.normalize("NFC", " ".join(name.split())))


@functools.cache
def _names() -> dict[str, str]:
    return {_bare(name): name for name in boundaries.provinces()["name"]}


def _bare(name: str) -> str:
    """Without marks, kind, capitals and blanks."""
    words = re.sub(r"^(tinh|thanh pho|tp) ", "", plain(name))
    return plain(boundaries.plain(words)).replace(" ", "")


def _provinces(config: Config) -> Callable[[Site], str]:
    """Finds the province of a site among the config's zones, as it was on the day; "" where there is none."""
    if config.zones is None:
        return lambda site: ""
    units = boundaries.load(config.zones.boundaries)

    @functools.cache
    def on(day: str) -> tuple[shapely.STRtree, list[str]]:
        try:
            held = boundaries.on(units, dt.date.fromisoformat(day), "province")
        except InputError:  # the boundaries are of another generation
            return shapely.STRtree([]), []
        return shapely.STRtree(held.to_crs(4326).geometry.to_numpy()), list(held["name"])

    def find(site: Site) -> str:
        tree, names = on(site.date)
        found = tree.query(shapely.Point(site.lon, site.lat), predicate="intersects")
        return names[min(found)] if len(found) else ""

    return find
