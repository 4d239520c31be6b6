"""The commands of ``phusa``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import dask
from dask.utils import parse_timedelta
from distributed import Client
from pydantic import ValidationError

from features.bands import BANDS
from features.spec import FeatureSpec
from models.bundle import ModelBundle
from models.samples import SampleTable
from pipeline import (
    admission,
    catalog,
    featurefiles,
    importreport,
    learning,
    losses,
    production,
    runner,
    yamlfile,
)
from pipeline.cli import samplestore, shell
from pipeline.cli.db import db
from pipeline.cli.explain import drivers, explain
from pipeline.cli.export import export
from pipeline.cli.exportsamples import export_samples
from pipeline.cli.forecast import forecast_
from pipeline.cli.indices import indices
from pipeline.cli.limits import Limits, limits
from pipeline.cli.mosaic import mosaic_
from pipeline.cli.nextsamples import next_samples
from pipeline.cli.qa import qa
from pipeline.cli.releases import history, journal, review, verify, withdraw
from pipeline.cli.replay import replay
from pipeline.cli.report import report
from pipeline.cli.shell import Result, command, open_configured
from pipeline.cli.zones import zones
from pipeline.config import Config, SampleFile
from pipeline.demo import Simulation
from pipeline.demo import report as demo_report
from pipeline.demo import settings as demo_settings
from pipeline.demo import write as write_demo
from pipeline.drive import Budget, MapReport
from pipeline.errors import InputError
from pipeline.files import json_text, write_aside
from pipeline.sampling import read_table, write_table
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stores import Store, work_folder

_PATH = click.Path(path_type=Path)
_config = click.argument("config", type=_PATH)
_season = click.option("--season", required=True, help="Name of a season in the config.")
_target = click.option("--target", required=True, help="Name of a target in the config.")
_scenes = click.option(
    "--scenes", type=_PATH, help="Scene list made by `phusa scenes`; searched anew if absent."
)
_bundle = click.option(
    "--bundle", "bundles", type=_PATH, multiple=True,
    help="Trained model folder, once a target; those that `train` left in the store if absent.",
)  # fmt: skip


def _wait(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Set for the command alone."""
    if value is not None:
        try:
            parse_timedelta(value)
        except (ValueError, KeyError):
            raise click.BadParameter(f"{value!r}; expected a time as 90s, 10m or 24h") from None
        context.with_resource(dask.config.set({runner.WAIT: value}))


def _scheduler(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where a command's tasks run."""
    where = click.option(
        "--scheduler", default="threads", show_default=True,
        help="threads, processes, or tcp://host:port of a Dask scheduler.",
    )  # fmt: skip
    wait = click.option(
        "--wait-for-workers", expose_value=False, callback=_wait, metavar="TIME",
        help=f"How long a Dask scheduler without any worker is waited for, as 90s or 24h.  [default: {runner.USUAL_WAIT}]",
    )  # fmt: skip
    return where(wait(function))


@click.group(
    cls=shell.Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="phusa")
def main() -> None:
    """Phù Sa: seasonal maps of soil salinity and land-degradation risk, with their uncertainty."""


main.add_command(indices)


@main.command()
@_config
@_season
@click.option(
    "--out",
    type=_PATH,
    required=True,
    help="File for the scene list: .parquet for stac-geoparquet, JSON else.",
)
@click.option("--refresh", is_flag=True, help="Tell what changed since the list that --out holds.")
@command
def scenes(config: Path, season: str, out: Path, refresh: bool) -> Result:
    """List the season's images over the area: kept and dropped, with reasons."""
    settings = Config.read(config)
    old = Scenes.read(out) if refresh else None
    found = catalog.search(settings.sources, settings.season(season), settings.region.geometry)
    found.write(out)
    changes = {"changes": found.since(old)} if old else {}
    return {"season": season, "out": str(out.resolve()), **_scene_counts(found), **changes}


@main.command()
@_config
@click.argument("files", type=_PATH, nargs=-1)
@click.option("--season", help="Season of FILES that the config does not name.")
@click.option("--out", type=_PATH, required=True, help="Parquet table, ready to train on.")
@click.option(
    "--report",
    type=_PATH,
    help="JSON report of every mended or refused row; a page for readers beside it (.html).",
)
@click.option("--table-only", is_flag=True, help="Write nothing into the config's database.")
@_scheduler
@command
def samples(
    config: Path, files: tuple[Path, ...], season: str | None, out: Path, report: Path | None, table_only: bool,
    scheduler: str,
) -> Result:  # fmt: skip
    """Import sample FILES (the config's own if none is given) and read the features at their sites.

    Where the config's store is a database, what was measured at accepted sites is written into it too.
    """
    settings = Config.read(config)
    entries = _sample_files(settings, files, season)
    keep = samplestore.keeper(settings, table_only)
    with runner.cluster(scheduler) as client:
        gathered = learning.gather(settings, client, entries)
    page = importreport.write(report, gathered.report) if report else None
    if gathered.table is None:
        raise InputError(f"{_names(entries)}: no usable row: {gathered.report['by_rule']}")
    losses.refuse(gathered.loss_percent, settings.max_loss_percent, gathered.report["lost"])
    write_table(gathered.table, out)
    stored = keep(gathered.sites, entries)
    counts = {k: v for k, v in gathered.report.items() if k not in ("refusals", "mends", "files")}
    where = {"report": str(report.resolve()), "page": str(page)} if report else {}
    return {"out": str(out.resolve()), **where, **counts, **stored}


@main.command()
@_config
@_target
@click.option("--samples", "table", type=_PATH, required=True, help="Table made by `phusa samples`.")
@click.option("--out", type=_PATH, help="Folder for the trained model; in the store if absent.")
@click.option(
    "--champion", type=_PATH, help="Model that the new one must be better than; that in --out if absent."
)
@click.option(
    "--force", is_flag=True, help="Replace the champion by a model that is not better; the card tells."
)
@command
def train(
    config: Path, target: str, table: Path, out: Path | None, champion: Path | None, force: bool
) -> Result:
    """Train the model of one target. Refused (exit 3) where it misses its gate or is no better than the
    model that it would replace; then nothing is written."""
    settings = Config.read(config)
    theme, rows = settings.target(target), learning.to_learn_from(read_table(table))
    own = learning.bundle_folder(_work(settings), theme.name) if out is None else out
    rival = champion or (admission.usable(own, theme, settings.features) if out is None else own)
    bundle = admission.admit(
        learning.fit(rows, theme, settings.region.geometry, settings.radar_product), rows
    )
    bundle = admission.challenge(bundle, rows, rival, champion is not None, force)
    admission.save(bundle, own, settings.region.geometry)
    card = {name: value for name, value in bundle.card.items() if name != "rows"}
    return {"target": target, "bundle": str(own.resolve()), "digest": bundle.digest, "card": card}


@main.command()
@_config
@_target
@click.option("--samples", "table", type=_PATH, required=True, help="Table made by `phusa samples`.")
@click.option("--out", type=_PATH, help="Folder for evaluation.json, metrics.json and the tables of plots.")
@click.option("--bundle", type=_PATH, help="Trained model to judge; trained anew from the samples if absent.")
@_scheduler
@command
def evaluate(
    config: Path, target: str, table: Path, out: Path | None, bundle: Path | None, scheduler: str
) -> Result:
    """Score a target: folds matched to the map, spatial and random ones, and the config's reference."""
    settings = Config.read(config)
    rows = learning.to_learn_from(read_table(table))
    theme = settings.target(target)
    model = (
        learning.load_bundle(bundle)
        if bundle
        else learning.fit(rows, theme, settings.region.geometry, settings.radar_product)
    )
    with runner.cluster(scheduler) as client:
        scores = _scores(settings, client, [model], rows)[target]
    result = {"target": target, "bundle": model.digest, **scores}
    if out:
        write_aside(out / "evaluation.json", json_text(result))
        write_aside(out / "metrics.json", json_text(learning.metrics(scores)))
        write_aside(out / "scores.csv", learning.score_table(scores))
        for name, text in learning.plots(model, rows).items():
            write_aside(out / name, text)
        result["out"] = str((out / "evaluation.json").resolve())
    return result


@main.command()
@_config
@_season
@click.option("--out", type=_PATH, required=True, help="Folder for <tile>.tif.")
@_scenes
@_scheduler
@command
def features(config: Path, season: str, out: Path, scenes: Path | None, scheduler: str) -> Result:
    """Write the config's features of a season, one GeoTIFF a tile."""
    settings = Config.read(config)
    when = settings.season(season)
    found = _scene_list(settings, when, scenes, [settings.features])
    with runner.cluster(scheduler, found.in_buckets) as client, shell.progress("features") as show:
        made = featurefiles.write(settings, when, found, out, client, show)
    return {
        "season": season,
        "files": [str(f.resolve()) for f in made.files],
        "loss_percent": made.loss_percent,
        "lost": made.lost,
        "ledger": made.ledger,
        **_scene_counts(made.scenes),
    }


@main.command("map")
@_config
@_season
@_bundle
@_scenes
@_scheduler
@limits
@command
def map_(
    config: Path, season: str, bundles: tuple[Path, ...], scenes: Path | None, scheduler: str, limits: Limits
) -> Result:
    """Map a season with trained models. Finished products are kept; run again to do the rest."""
    settings = Config.read(config)
    when = settings.season(season)
    with open_configured(settings) as store:
        models = learning.bundles_for(settings, bundles, _work(settings))
        found = _scene_list(settings, when, scenes, [m.spec for m in models])
        with runner.cluster(scheduler, found.in_buckets) as client:
            report = _mapped(settings, when, found, models, store, client, limits)
    return _map_result(settings, season, report)


@main.command()
@_config
@_season
@command
def publish(config: Path, season: str) -> Result:
    """Publish what `map` made of a season: all of it at once, or nothing."""
    settings = Config.read(config)
    with open_configured(settings) as store:
        release = production.publish(settings, settings.season(season), store)
    return _release_result(store, release)


@main.command()
@_config
@_season
@_bundle
@_scenes
@_scheduler
@limits
@command
def run(
    config: Path, season: str, bundles: tuple[Path, ...], scenes: Path | None, scheduler: str, limits: Limits
) -> Result:
    """The whole season: scenes, samples, train, evaluate, map, publish. With --bundle, no training."""
    return _run(config, season, bundles, scenes, scheduler, limits)


@main.command()
@click.option(
    "--out", type=_PATH, required=True, help="Folder for the demonstration: new, or of an earlier one."
)
@click.option("--simulation", type=_PATH, help="Settings of the simulation, in place of configs/demo.yaml.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Replaces the settings' own; the same seed gives the same files.",
)
@click.option("--size-px", type=int, help="Side of the world in pixels of 10 m, a multiple of 4.")
@click.option("--only-data", is_flag=True, help="Build images, samples and truth; run nothing on them.")
@_scheduler
@command
def demo(
    out: Path,
    simulation: Path | None,
    seed: int | None,
    size_px: int | None,
    only_data: bool,
    scheduler: str,
) -> Result:
    """A SIMULATED delta, run from scenes to published maps and judged against its known truth."""
    made = write_demo(out, _simulation(simulation or demo_settings.FILE, seed, size_px))
    where = {"config": str(made.config.resolve()), "season": made.season, "truth": str(made.truth.resolve())}
    if only_data:
        return {"simulated": True, **where}
    result = _run(made.config, made.season, (), None, scheduler, Limits(Budget()))
    if not result["failed"]:
        settings = Config.read(made.config)
        found = _scene_list(settings, settings.season(made.season), None, [settings.features])
        products = [Path(p) for p in result["products"]]
        result |= demo_report.finish(out, settings, made.season, found, products, result["scores"])
    return {"simulated": True, **where, **result}


def _simulation(settings: Path, seed: int | None, size_px: int | None) -> Simulation:
    """The simulation of a settings file, with what the command line says otherwise."""
    usual = yamlfile.parse(Simulation, settings)
    given = {"seed": seed, "size_px": size_px}
    try:
        return Simulation(**usual.model_dump() | {k: v for k, v in given.items() if v is not None})
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        option = "--" + str(fault["loc"][0]).replace("_", "-")
        raise InputError(f"{option}: found {fault['input']}; {fault['msg']}") from None


@main.command()
@_config
@command
def status(config: Path) -> Result:
    """For each season: products done, missing and failed."""
    settings = Config.read(config)
    with open_configured(settings) as store:
        return {"store": str(store.path), "seasons": production.status(settings, store)}


main.add_command(zones)
main.add_command(replay)
main.add_command(export)
main.add_command(qa)
main.add_command(forecast_)
main.add_command(next_samples)
main.add_command(export_samples)
main.add_command(explain)
main.add_command(drivers)
main.add_command(report)
main.add_command(mosaic_)
main.add_command(db)
for step in (review, withdraw, history, verify, journal):
    main.add_command(step)


def _run(
    config: Path, season: str, bundles: tuple[Path, ...], scenes: Path | None, scheduler: str, limits: Limits
) -> Result:
    """The whole season, from scenes to publication."""
    settings = Config.read(config)
    when = settings.season(season)
    with open_configured(settings) as store:
        if not settings.targets:
            raise InputError(f"{config}: the config has no targets; add the key targets")
        models = learning.bundles_for(settings, bundles, _work(settings)) if bundles else []
        specs = [m.spec for m in models] or [settings.features]
        found = _scene_list(settings, when, scenes, specs)
        with runner.cluster(scheduler, found.in_buckets) as client:
            scores: dict[str, Any] = {}
            if not models:
                models, table, _ = learning.train_all(settings, client, _work(settings))
                scores = _scores(settings, client, models, table)
            report = _mapped(settings, when, found, models, store, client, limits)
        result = _map_result(settings, season, report) | {
            "scores": scores,
            **_scene_counts(report.scenes or found),
        }
        if not report.failed and not report.left:
            release = production.publish(settings, when, store)
            result |= _release_result(store, release)
    return result


def _mapped(
    settings: Config, season: Season, found: Scenes, models: Sequence[ModelBundle], store: Store, client: Client,
    limits: Limits,
) -> MapReport:  # fmt: skip
    with limits.listeners(settings.region.name, season.name) as heard, shell.progress("map") as show:
        return production.map_season(
            settings, season, found, models, store, client, show, limits.budget, heard
        )


def _scores(
    settings: Config, client: Client, models: Sequence[ModelBundle], table: SampleTable
) -> dict[str, Any]:
    """Target name -> scores of its model, by cross-validation and on the reference samples."""
    reference = learning.reference(settings, client, table.spec, table)
    scores: dict[str, Any] = {}
    for model in models:
        area = settings.region.geometry
        scores[model.target.name] = {"cross_validation": learning.assess(table, model.target, area)}
        if reference is not None:
            scores[model.target.name]["reference"] = learning.assess_reference(model, reference)
    return scores


def _sample_files(settings: Config, files: Sequence[Path], season: str | None) -> list[SampleFile]:
    """Sample files with their seasons: as the config names them, or all of ``season``."""
    if season:
        settings.season(season)
    if not files:
        if season:
            raise InputError(
                "--season is of FILES, and none is given; the config names its own files' seasons"
            )
        if not settings.samples:
            raise InputError("no sample file is given, and the config has no samples")
        return list(settings.samples)
    stated = [*settings.samples, *([settings.evaluate_on] if settings.evaluate_on else [])]
    entries: list[SampleFile] = []
    for file in files:
        known = [entry for entry in stated if entry.file == file.resolve()]
        if known and season:
            entries.append(known[0].model_copy(update={"season": season}))
        elif known:
            entries += known
        else:  # of several seasons, each row goes by its date
            only = next(iter(settings.seasons)) if len(settings.seasons) == 1 else ""
            entries.append(SampleFile(file=file.resolve(), season=season or only))
    return entries


def _names(entries: Sequence[SampleFile]) -> str:
    return ", ".join(str(entry.file) for entry in entries)


def _scene_list(settings: Config, season: Season, path: Path | None, specs: Sequence[FeatureSpec]) -> Scenes:
    """A saved list, or a new search; either holds every sensor that ``specs`` need."""
    if path is None:
        return catalog.search(settings.sources, season, settings.region.geometry)
    found = Scenes.read(path)
    found.need(season, sorted({BANDS[band] for spec in specs for band in spec.bands if band in BANDS}))
    return found


def _scene_counts(found: Scenes) -> Result:
    sensors = sorted(found.provider)
    return {
        "scenes": {sensor: len(found.of(sensor)) for sensor in sensors},
        "dropped": found.reasons,
        "scenes_digest": found.digest,
    }


def _work(settings: Config) -> Path:
    return work_folder(shell.store_settings(settings).path, settings.region.name)


def _map_result(settings: Config, season: str, report: MapReport) -> Result:
    """What a mapping run did; raises LossError, and exits 1 where a product failed."""
    lost, share = losses.worst(report.losses), losses.of_records(report.records)
    losses.refuse(share, settings.max_loss_percent, lost)
    losses.refuse_records(report.records, settings.max_loss_percent)
    result: Result = {
        "season": season,
        "products": [str(r.path) for r in report.records],
        "computed": len(report.computed),
        "skipped": len(report.skipped),
        "failed": [{"tile": t, "target": g, "error": e} for t, g, e in report.failed],
        "loss_percent": share,
        "lost": lost,
    }
    if report.left:
        result |= {"stopped": "budget", "blocks_left": report.left}
    return result | ({"exit_code": 1} if report.failed or report.left else {})


def _release_result(store: Store, release: Any) -> Result:
    return {
        "store": str(store.path),
        "season": release.season,
        "release": release.id,
        "changed": release.changed,
        "state": release.state,
        "products": [str(r.path) for r in release.records],
    }
