"""``phusa explain`` and ``phusa drivers``: why the model says what it says."""

from __future__ import annotations

from pathlib import Path

import click

from features.bands import BANDS, sensor_of
from models import explain as explaining
from models.bundle import ModelBundle
from models.samples import SampleTable
from pipeline import catalog, learning, losses, runner, sampling
from pipeline.cli import shell
from pipeline.cli.shell import Result, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.files import write_aside
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.sites import Site
from pipeline.stores import work_folder

_PATH = click.Path(path_type=Path)
_config = click.argument("config", type=_PATH)
_target = click.option("--target", required=True, help="Name of a target in the config.")
_bundle = click.option("--bundle", type=_PATH, help="Trained model; that in the store if absent.")
_scheduler = click.option(
    "--scheduler", default="threads", show_default=True,
    help="threads, processes, or tcp://host:port of a Dask scheduler.",
)  # fmt: skip
#: Places and features that the answer itself lists; the table holds all.
SHOWN, TOP = 20, 3


@click.command()
@_config
@_target
@_bundle
@click.option("--samples", "table", type=_PATH, help="Table made by `phusa samples`: explain its rows.")
@click.option(
    "--at", "places", type=(float, float), multiple=True, metavar="LON LAT", help="Explain this pixel."
)
@click.option("--season", help="Season of the images at --at.")
@click.option("--out", type=_PATH, help="CSV with every place and feature.")
@_scheduler
@command
def explain(
    config: Path, target: str, bundle: Path | None, table: Path | None,
    places: tuple[tuple[float, float], ...], season: str | None, out: Path | None, scheduler: str,
) -> Result:  # fmt: skip
    """What each feature adds (TreeSHAP): for samples, or for any pixel of a season."""
    settings = Config.read(config)
    model = _model(settings, target, bundle)
    if bool(table) == bool(places):
        raise InputError("explain what? Give --samples, or --at LON LAT with --season")
    if table:
        rows = sampling.read_table(table)
    elif season is None:
        raise InputError("--at needs --season: of which images?")
    else:
        rows = _at(settings, model, places, settings.season(season), scheduler)
    try:
        found = explaining.tabulate(model, rows)
    except ValueError as error:
        raise InputError(str(error)) from None
    if out:
        write_aside(out, found.to_csv(index=False))
    keys = ["sample_id", "season", "lon", "lat"]
    shown = [
        {
            **dict(zip(keys, key, strict=True)),
            **part.iloc[0][["of", "expected", "score"]].to_dict(),
            "drivers": part[["feature", "value", "contribution"]].head(TOP).to_dict("records"),
        }
        for key, part in list(found.groupby(keys, sort=False))[:SHOWN]
    ]
    where = {"out": str(out.resolve())} if out else {}
    return {
        "target": target,
        "bundle": model.digest,
        **where,
        "places": len(found) // len(model.spec.names),
        "explained": shown,
    }


@click.command()
@_config
@_target
@click.option("--season", required=True, help="Name of a season in the config.")
@_bundle
@click.option("--out", type=_PATH, required=True, help="Folder for <tile>_<target>_drivers.tif.")
@click.option("--scenes", type=_PATH, help="Scene list made by `phusa scenes`; searched anew if absent.")
@click.option("--cell-m", type=int, default=100, show_default=True, help="Side of a cell of the map.")
@_scheduler
@command
def drivers(
    config: Path, target: str, season: str, bundle: Path | None, out: Path, scenes: Path | None,
    cell_m: int, scheduler: str,
) -> Result:  # fmt: skip
    """Map the three features that move each place most, and by how much, on a coarse grid."""
    from pipeline import drivers as mapped

    settings = Config.read(config)
    model, when = _model(settings, target, bundle), settings.season(season)
    if scenes is None:
        found = catalog.search(settings.sources, when, settings.region.geometry)
    else:
        found = Scenes.read(scenes)
        found.need(when, sorted({BANDS[band] for band in model.spec.bands if band in BANDS}))
    with runner.cluster(scheduler) as client, shell.progress("drivers") as show:
        made = mapped.write(settings, when, found, model, out, client, cell_m, show)
    return {
        "season": season,
        "target": target,
        "files": [str(f.resolve()) for f in made.files],
        "legend": str(made.legend.resolve()),
        "loss_percent": made.loss_percent,
        "lost": made.lost,
    }


def _model(settings: Config, target: str, bundle: Path | None) -> ModelBundle:
    """The named bundle, else the store's. Raises InputError where it is of another target."""
    theme = settings.target(target)
    if bundle is None and settings.store is None:
        raise InputError("the config has no store; name a trained model with --bundle")
    folder = bundle
    if folder is None and settings.store is not None:
        folder = learning.bundle_folder(work_folder(settings.store.path, settings.region.name), theme.name)
    assert folder is not None
    found = learning.load_bundle(folder)
    if found.target.name != target:
        raise InputError(f"{folder} holds a model of {found.target.name!r}; expected {target!r}")
    return found


def _at(
    settings: Config, model: ModelBundle, places: tuple[tuple[float, float], ...], season: Season,
    scheduler: str,
) -> SampleTable:  # fmt: skip
    """The features of the pixels at ``places`` (lon, lat)."""
    for lon, lat in places:
        if not (-180 <= lon <= 180 and -80 <= lat <= 84):
            raise InputError(f"--at {lon:g} {lat:g}: expected longitude and latitude in degrees")
    sites = [
        Site(f"{lon:g} {lat:g}", "", season.name, "", lon, lat, {}, "--at", k)
        for k, (lon, lat) in enumerate(places, 1)
    ]
    resolution = settings.region.grid.resolution_m
    sensors = {sensor_of(band) for band in model.spec.bands}
    sources = [s for s in settings.sources if s.sensor in sensors]
    found = catalog.search(sources, season, sampling.place(sites, resolution))
    with runner.cluster(scheduler) as client:
        read = sampling.sample(
            client,
            sites,
            found,
            model.spec,
            resolution,
            settings.clouds.dilate_m,
            season.end,
            learning.region_layers(settings, model.spec),
            settings.how,
        )
    losses.refuse(
        losses.percent(len(read.losses), read.reads), settings.max_loss_percent, losses.worst(read.losses)
    )
    if read.table is None:
        raise InputError("; ".join(f"{r.sample_id}: {r.reason}" for r in read.refusals))
    return read.table
