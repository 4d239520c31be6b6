"""``phusa zones``: areas by unit and by anyone's polygons."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import click

from pipeline import boundaries
from pipeline.cli import shell
from pipeline.cli.shell import Result, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.season import Season
from pipeline.stores import open_store

_PATH = click.Path(path_type=Path)
_config = click.argument("config", type=_PATH)
_season = click.option("--season", required=True, help="Name of a published season in the config.")
_target = click.option("--target", help="Name of a target; the config's only one if absent.")
_range = click.option(
    "--range-km", type=click.FloatRange(min=0.01),
    help="Distance over which the map's errors go together (range of an exponential correlogram); as "
    "the model's left-out samples tell it if absent, 5 where they do not.",
)  # fmt: skip
_out = click.option(
    "--out", type=_PATH, required=True, help="Table to write: .csv, .xlsx, .gpkg or .parquet."
)
_DAY = click.DateTime(formats=["%Y-%m-%d"])


@click.group()
def zones() -> None:
    """Areas by commune, province, region and nation, and by anyone's polygons."""


@zones.command()
@_config
@click.argument("file", type=_PATH)
@_season
@_target
@click.option(
    "--key",
    default="",
    help="Columns that name a polygon, such as parcel,sheet,commune; row numbers if absent.",
)
@_range
@_out
@command
def stats(
    config: Path, file: Path, season: str, target: str | None, key: str, range_km: float | None, out: Path
) -> Result:
    """Areas of each polygon of FILE (parcels, dikes, projects), each for itself, from a published season."""
    from pipeline.zones import files, report, tables

    files.check(out)
    settings = Config.read(config)
    counted, when = _published(settings, season, target)
    columns = [c.strip() for c in key.split(",") if c.strip()]
    with shell.progress("stats") as show:
        chunks = report.by_feature(counted, file, columns, counted.correlation(range_km), _threads(), show)
        rows = files.write(chunks, out, tables.all_headings(counted.theme), str(when.end))
    return _result(counted, season, out, rows, range_km)


@zones.command()
@_config
@_season
@_target
@click.option("--boundaries", "units", type=_PATH, required=True, help="Units made by `phusa zones import`.")
@click.option("--date", "day", type=_DAY, help="Units of this day; of the season's last day if absent.")
@click.option("--ranking", type=_PATH, help="Also write the communes by priority.")
@click.option(
    "--reference", type=_PATH, help="CSV of a probability sample: lon, lat and the target's column."
)
@click.option("--adjusted", type=_PATH, help="Table of the areas adjusted by --reference.")
@_range
@_out
@command
def table(
    config: Path, season: str, target: str | None, units: Path, day: dt.datetime | None,
    ranking: Path | None, reference: Path | None, adjusted: Path | None, range_km: float | None, out: Path,
) -> Result:  # fmt: skip
    """Areas by administrative unit of a published season, in the units of any day."""
    from pipeline.zones import files, report, tables

    if bool(reference) != bool(adjusted):
        raise InputError("--reference and --adjusted go together: a sample, and the table made with it")
    for path in filter(None, (out, ranking, adjusted)):
        files.check(path)
    settings = Config.read(config)
    counted, when = _published(settings, season, target)
    date = day.date() if day else when.end
    correlation = counted.correlation(range_km)
    made = report.by_unit(counted, boundaries.load(units), date, correlation, _threads())
    headings = tables.all_headings(counted.theme)
    rows = files.write([tables.for_readers(made.table)], out, headings, str(when.end))
    result = _result(counted, season, out, rows, range_km) | {"units_of": str(date)}
    if ranking:
        files.write([tables.for_readers(made.ranking(correlation))], ranking, headings, str(when.end))
        result["ranking"] = str(ranking.resolve())
    if reference and adjusted:
        estimates, refused = made.adjusted(counted, reference)
        files.write([tables.for_readers(estimates)], adjusted, _ADJUSTED, str(when.end))
        result |= {"adjusted": str(adjusted.resolve()), "without_estimate": refused}
    return result


@zones.command()
@_config
@_season
@click.option("--before", required=True, help="Name of the published season to compare with.")
@_target
@click.option("--boundaries", "units", type=_PATH, required=True, help="Units made by `phusa zones import`.")
@click.option("--date", "day", type=_DAY, help="Units of this day; of the season's last day if absent.")
@_range
@_out
@command
def change(
    config: Path, season: str, before: str, target: str | None, units: Path, day: dt.datetime | None,
    range_km: float | None, out: Path,
) -> Result:  # fmt: skip
    """This season, an earlier one and the change between them, both in the units of one day."""
    from pipeline.zones import change as changes
    from pipeline.zones import files, report, tables

    files.check(out)
    settings = Config.read(config)
    known = boundaries.load(units)
    date, told = None, []
    for name in (season, before):
        counted, when = _published(settings, name, target)
        date = date or (day.date() if day else when.end)
        made = report.by_unit(counted, known, date, counted.correlation(range_km), _threads())
        told.append(tables.tidy(counted.theme, made.table, date, counted.theme.mask_version))
        told[-1]["season"] = name
    table = tables.for_readers(changes.between(*told))
    rows = files.write([table], out, changes.HEADINGS, str(date))
    return _result(counted, season, out, rows, range_km) | {"before": before, "units_of": str(date)}


@zones.command("import")
@click.argument("file", type=_PATH)
@click.option(
    "--level", type=click.Choice(["province", "commune"]), required=True, help="What the polygons are."
)
@click.option("--valid-from", type=_DAY, required=True, help="First day on which they hold.")
@click.option("--valid-to", type=_DAY, help="Last day, if that is past.")
@click.option("--source", default="", help="Where they are from, and their licence.")
@click.option("--column", multiple=True, help="Our name for an odd header: code=MA_XA, name=..., parent=...")
@click.option("--out", type=_PATH, required=True, help="GeoPackage of units; added to if it is there.")
@command
def import_(
    file: Path, level: boundaries.Level, valid_from: dt.datetime, valid_to: dt.datetime | None, source: str,
    column: tuple[str, ...], out: Path,
) -> Result:  # fmt: skip
    """Take polygons of provinces or communes, with the days on which they hold, into a file of units."""
    odd = dict(c.split("=", 1) for c in column if "=" in c)
    if len(odd) < len(column) or set(odd) - set(boundaries.KNOWN):
        raise InputError(f"--column {' '.join(column)}: expected code=HEADER, name=HEADER or parent=HEADER")
    read = boundaries.read(file, level, valid_from.date(), valid_to.date() if valid_to else None, source, odd)
    boundaries.store([read.units], out)
    for warning in read.warnings:
        click.echo(f"phusa: {warning}", err=True)
    return {
        "out": str(out.resolve()),
        "level": level,
        "units": len(read.units),
        "warnings": list(read.warnings),
    }


_ADJUSTED = {
    "level": "Cấp", "code": "Mã", "name": "Tên", "class": "Loại", "samples": "Số mẫu",
    "adjusted_m2": "Diện tích hiệu chỉnh theo mẫu (m²)", "lower_m2": "cận dưới 95 % (m²)",
    "upper_m2": "cận trên 95 % (m²)",
}  # fmt: skip


def _published(settings: Config, season: str, target: str | None) -> tuple[Any, Season]:
    """The target's published products of a season."""
    from pipeline.zones.report import Counted

    when = settings.season(season)
    if target is None:
        if len(settings.targets) != 1:
            names = ", ".join(t.name for t in settings.targets) or "none"
            raise InputError(f"of which target? Name it by --target; the config has {names}")
        target = settings.targets[0].name
    theme = settings.target(target)
    if settings.store is None:
        raise InputError("the config has no store; add the key store")
    store = open_store(settings.store, settings.region.name, shell.dsn())
    try:
        records = [r for r in store.published(when) if r.id.target == target]
    finally:
        store.close()
    if not records:
        raise InputError(f"season {season!r} has no published product of {target}; run `phusa publish` first")
    mask = settings.region.mask.version if settings.region.mask else ""
    return Counted.of(theme, [r.path for r in records], mask), when


def _threads() -> int:
    """Each holds half a hundred megabytes of pixels a layer; two keep millions of parcels below 2 GB."""
    return min(2, os.cpu_count() or 1)


def _result(counted: Any, season: str, out: Path, rows: int, range_km: float | None) -> Result:
    theme, correlation = counted.theme, counted.correlation(range_km)
    missing = {"missing_bands": theme.missing} if theme.missing else {}
    return {
        "season": season,
        "target": theme.target.name,
        "status": theme.target.status,
        "out": str(out.resolve()),
        "rows": rows,
        "interval": f"95 %, error correlation exp(-d / {correlation.range_m / 1000:.3g} km), {correlation.basis}",
        **missing,
    }
