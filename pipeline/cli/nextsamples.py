"""``phusa next-samples``: where to sample next, in files that a field team loads."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from pipeline import fieldwork, xlsform
from pipeline.cli import shell
from pipeline.cli.shell import Result, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.sampling import read_table
from pipeline.stores import open_store

_PATH = click.Path(path_type=Path)


@click.command("next-samples")
@click.argument("config", type=_PATH)
@click.option(
    "--season", required=True, help="Season whose published map says where it is unsure; samples are for it."
)
@click.option("--target", help="Target of that map; the config's only one if absent.")
@click.option("--count", type=click.IntRange(1, 5000), default=50, show_default=True, help="Places wanted.")
@click.option(
    "--samples", "table", type=_PATH, help="Table made by `phusa samples`: where samples lie already."
)
@click.option("--first", is_flag=True, help="There is no map yet: spread over the area and its mask.")
@click.option(
    "--roads", type=_PATH, help="Lines; places further than --reach-m from all of them are not visited."
)
@click.option(
    "--reach-m", type=click.FloatRange(1), default=500.0, show_default=True, help="Walk from a road, metres."
)
@click.option("--avoid", type=_PATH, help="Polygons where nobody may go.")
@click.option(
    "--candidates",
    type=click.IntRange(10, 20000),
    default=2000,
    show_default=True,
    help="Places drawn to choose from.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="The same seed gives the same places.",
)
@click.option("--prefix", default="N", show_default=True, help="Names of places begin with it.")
@click.option(
    "--out", type=_PATH, required=True, help="Folder for next_samples.gpx, .gpkg and .xlsx (XLSForm)."
)
@command
def next_samples(
    config: Path, season: str, target: str | None, count: int, table: Path | None, first: bool, roads: Path | None,
    reach_m: float, avoid: Path | None, candidates: int, seed: int, prefix: str, out: Path,
) -> Result:  # fmt: skip
    """Pick places where samples help the map most; write them for receivers, GIS and field forms."""
    settings = Config.read(config)
    when = settings.season(season)
    known = read_table(table).frame if table else None
    lon, lat = (known[c].to_numpy(np.float64) if known is not None else np.empty(0) for c in ("lon", "lat"))
    ground = _ground(settings, season, target, first, candidates, seed)
    ground = fieldwork.reachable(ground, roads, reach_m, avoid)
    points = fieldwork.pick(ground, lon, lat, count, prefix)
    name = settings.region.name
    fieldwork.write_gpx(points, out / "next_samples.gpx", f"{name} {season}")
    fieldwork.write_geopackage(points, out / "next_samples.gpkg", when.end)
    title = (f"Lấy mẫu đất {name}", f"Soil sampling {name}")
    xlsform.write(points, settings.targets, out / "next_samples.xlsx", title, when.end)
    files = [str((out / f"next_samples.{kind}").resolve()) for kind in ("gpx", "gpkg", "xlsx")]
    places = points.drop(columns="geometry").to_dict("records")
    return {"season": season, "count": len(points), "files": files, "points": places}


def _ground(
    settings: Config, season: str, target: str | None, first: bool, candidates: int, seed: int
) -> fieldwork.Ground:
    region = settings.region
    if first:
        path, classes = (region.mask.path, region.mask.classes) if region.mask else (None, ())
        return fieldwork.of_area(region.geometry, path, classes, candidates, seed)
    if target is None and len(settings.targets) != 1:
        names = ", ".join(t.name for t in settings.targets) or "none"
        raise InputError(f"of which target? Name it by --target; the config has {names}")
    theme = settings.target(target or settings.targets[0].name)
    if settings.store is None:
        raise InputError("the config has no store; add the key store")
    store = open_store(settings.store, region.name, shell.dsn())
    try:
        paths = [r.path for r in store.published(settings.season(season)) if r.id.target == theme.name]
    finally:
        store.close()
    if not paths:
        raise InputError(
            f"season {season!r} has no published product of {theme.name}; publish it, or give --first"
        )
    return fieldwork.of_map(paths, theme, candidates, seed)
