"""The commands of ``phusa``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from pipeline import runner, workflow
from pipeline.cli import shell
from pipeline.cli.shell import Result, command
from pipeline.config import Config, SampleFile
from pipeline.errors import InputError, IntegrityError
from pipeline.files import write_aside
from pipeline.sampling import read_table, write_table
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stores import Store, open_store

_PATH = click.Path(path_type=Path)
_config = click.argument("config", type=_PATH)
_season = click.option("--season", required=True, help="Name of a season in the config.")
_target = click.option("--target", required=True, help="Name of a target in the config.")
_scenes = click.option("--scenes", type=_PATH, help="Scene list made by `phusa scenes`; searched anew if absent.")
_bundle = click.option(
    "--bundle", "bundles", type=_PATH, multiple=True,
    help="Trained model folder, once a target; those that `train` left in the store if absent.",
)  # fmt: skip
_scheduler = click.option(
    "--scheduler", default="threads", show_default=True,
    help="threads, processes, or tcp://host:port of a Dask scheduler.",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="phusa")
def main() -> None:
    """Phù Sa: seasonal maps of soil salinity and land-degradation risk, with their uncertainty."""


@main.command()
@_config
@_season
@click.option("--out", type=_PATH, required=True, help="JSON file for the scene list.")
@command
def scenes(config: Path, season: str, out: Path) -> Result:
    """List the season's images over the area: kept and dropped, with reasons."""
    settings = Config.read(config)
    found = workflow.find_scenes(settings, settings.season(season))
    found.write(out)
    return {"season": season, "out": str(out.resolve()), **_scene_counts(found)}


@main.command()
@_config
@click.argument("files", type=_PATH, nargs=-1)
@click.option("--season", help="Season of FILES that the config does not name.")
@click.option("--out", type=_PATH, required=True, help="Parquet table, ready to train on.")
@click.option("--report", type=_PATH, help="JSON report of every refused row.")
@_scheduler
@command
def samples(
    config: Path, files: tuple[Path, ...], season: str | None, out: Path, report: Path | None, scheduler: str
) -> Result:
    """Import sample FILES (the config's own if none is given) and read the features at their sites."""
    settings = Config.read(config)
    entries = _sample_files(settings, files, season)
    with runner.cluster(scheduler) as client:
        gathered = workflow.gather(settings, client, entries)
    if report:
        write_aside(report, json.dumps(gathered.report, indent=1, ensure_ascii=False) + "\n")
    if gathered.table is None:
        raise InputError(f"{_names(entries)}: no usable row: {gathered.report['by_rule']}")
    workflow.refuse_losses(gathered.loss_percent, settings, gathered.report["lost"])
    write_table(gathered.table, out)
    counts = {k: v for k, v in gathered.report.items() if k != "refusals"}
    where = {"report": str(report.resolve())} if report else {}
    return {"out": str(out.resolve()), **where, **counts}


@main.command()
@_config
@_target
@click.option("--samples", "table", type=_PATH, required=True, help="Table made by `phusa samples`.")
@click.option("--out", type=_PATH, help="Folder for the trained model; in the store if absent.")
@command
def train(config: Path, target: str, table: Path, out: Path | None) -> Result:
    """Train the model of one target."""
    settings = Config.read(config)
    out = out or workflow.bundle_folder(_store_settings(settings).path, settings.target(target).name)
    bundle = workflow.fit(read_table(table), settings.target(target))
    try:
        bundle.save(out)
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from None
    return {"target": target, "bundle": str(out.resolve()), "digest": bundle.digest, "card": dict(bundle.card)}


@main.command()
@_config
@_target
@click.option("--samples", "table", type=_PATH, required=True, help="Table made by `phusa samples`.")
@click.option("--out", type=_PATH, help="Folder for evaluation.json.")
@click.option("--bundle", type=_PATH, help="Trained model to judge; trained anew from the samples if absent.")
@_scheduler
@command
def evaluate(
    config: Path, target: str, table: Path, out: Path | None, bundle: Path | None, scheduler: str
) -> Result:
    """Score a target: spatial folds beside random ones, and the config's reference samples."""
    settings = Config.read(config)
    rows = read_table(table)
    theme = settings.target(target)
    model = workflow.load_bundle(bundle) if bundle else workflow.fit(rows, theme)
    with runner.cluster(scheduler) as client:
        scores = _scores(settings, client, model, rows)
    result = {"target": target, "bundle": model.digest, **scores}
    if out:
        write_aside(out / "evaluation.json", json.dumps(result, indent=1, ensure_ascii=False) + "\n")
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
    found = _scene_list(settings, when, scenes)
    with runner.cluster(scheduler) as client, shell.progress("features") as show:
        files, loss = workflow.write_features(settings, when, found, out, client, show)
    return {"season": season, "files": [str(f.resolve()) for f in files], "loss_percent": loss, **_scene_counts(found)}


@main.command("map")
@_config
@_season
@_bundle
@_scenes
@_scheduler
@command
def map_(config: Path, season: str, bundles: tuple[Path, ...], scenes: Path | None, scheduler: str) -> Result:
    """Map a season with trained models. Finished products are kept; run again to do the rest."""
    settings = Config.read(config)
    when = settings.season(season)
    with _store(settings) as store:
        models = workflow.bundles_for(settings, bundles, store.path)
        found = _scene_list(settings, when, scenes)
        with runner.cluster(scheduler) as client, shell.progress("map") as show:
            report = workflow.map_season(settings, when, found, models, store, client, show)
    return _map_result(settings, season, report)


@main.command()
@_config
@_season
@command
def publish(config: Path, season: str) -> Result:
    """Publish what `map` made of a season: all of it at once, or nothing."""
    settings = Config.read(config)
    with _store(settings) as store:
        release = workflow.publish(settings, settings.season(season), store)
    return _release_result(store, release)


@main.command()
@_config
@_season
@_bundle
@_scenes
@_scheduler
@command
def run(config: Path, season: str, bundles: tuple[Path, ...], scenes: Path | None, scheduler: str) -> Result:
    """The whole season: scenes, samples, train, evaluate, map, publish. With --bundle, no training."""
    settings = Config.read(config)
    when = settings.season(season)
    with _store(settings) as store:
        if bundles:
            workflow.bundles_for(settings, bundles, store.path)
        elif not settings.targets:
            raise InputError(f"{config}: the config has no targets; add the key targets")
        found = _scene_list(settings, when, scenes)
        found.write(store.path / "scenes" / f"{when.slug}.json")
        with runner.cluster(scheduler) as client:
            scores: dict[str, Any] = {}
            if bundles:
                models = workflow.bundles_for(settings, bundles, store.path)
            else:
                models, table, _ = workflow.train_all(settings, client, store.path)
                scores = {m.target.name: _scores(settings, client, m, table) for m in models}
            with shell.progress("map") as show:
                report = workflow.map_season(settings, when, found, models, store, client, show)
        result = _map_result(settings, season, report) | {"scores": scores, **_scene_counts(found)}
        if not report.failed:
            release = workflow.publish(settings, when, store)
            result |= _release_result(store, release)
    return result


@main.command()
@_config
@command
def status(config: Path) -> Result:
    """For each season: products done, missing and failed."""
    settings = Config.read(config)
    with _store(settings) as store:
        return {"store": str(store.path), "seasons": workflow.status(settings, store)}


@main.command()
@_config
@command
def verify(config: Path) -> Result:
    """Check that every published file is what its record says."""
    settings = Config.read(config)
    with _store(settings) as store:
        faults = store.verify()
    if faults:
        raise IntegrityError("\n".join(faults))
    return {"store": str(store.path), "faults": []}


def _scores(settings: Config, client: Any, model: Any, table: Any) -> dict[str, Any]:
    scores: dict[str, Any] = {"cross_validation": workflow.assess(table, model.target)}
    reference = workflow.assess_reference(settings, client, model, table)
    return scores | ({"reference": reference} if reference else {})


def _sample_files(settings: Config, files: Sequence[Path], season: str | None) -> list[SampleFile]:
    """Sample files with their seasons: as the config names them, or all of ``season``."""
    if not files:
        if not settings.samples:
            raise InputError("no sample file is given, and the config has no samples")
        return list(settings.samples)
    named = {entry.file.resolve(): entry for entry in settings.samples}
    entries = []
    for file in files:
        entry = named.get(file.resolve())
        if season:
            settings.season(season)
            entries.append(SampleFile(file=file.resolve(), season=season, columns=entry.columns if entry else {}))
        elif entry:
            entries.append(entry)
        elif len(settings.seasons) == 1:
            entries.append(SampleFile(file=file.resolve(), season=next(iter(settings.seasons))))
        else:
            raise InputError(f"{file}: of which season? Name it by --season, or list the file in samples; known: {', '.join(settings.seasons)}")
    return entries


def _names(entries: Sequence[SampleFile]) -> str:
    return ", ".join(str(entry.file) for entry in entries)


def _scene_list(settings: Config, season: Season, path: Path | None) -> Scenes:
    if path is None:
        return workflow.find_scenes(settings, season)
    found = Scenes.read(path)
    if found.season != season.name:
        raise InputError(f"{path} lists season {found.season!r}, not {season.name!r}")
    return found


def _scene_counts(found: Scenes) -> Result:
    sensors = sorted(found.provider)
    return {
        "scenes": {sensor: len(found.of(sensor)) for sensor in sensors},
        "dropped": found.reasons,
        "scenes_digest": found.digest,
    }


def _store_settings(settings: Config) -> Any:
    if settings.store is None:
        raise InputError("the config has no store; add the key store")
    return settings.store


class _store:
    """The config's store, closed at the end."""

    def __init__(self, settings: Config) -> None:
        self.settings = _store_settings(settings)

    def __enter__(self) -> Store:
        self.store = open_store(self.settings, shell.dsn())
        return self.store

    def __exit__(self, *_: object) -> None:
        self.store.close()


def _map_result(settings: Config, season: str, report: workflow.MapReport) -> Result:
    """What a mapping run did; raises LossError, and exits 1 where a product failed."""
    lost = workflow.lost(report.losses)
    workflow.refuse_losses(workflow.loss_of(report.records), settings, lost)
    result: Result = {
        "season": season,
        "products": [str(r.path) for r in report.records],
        "computed": len(report.computed),
        "skipped": len(report.skipped),
        "failed": [{"tile": t, "target": g, "error": e} for t, g, e in report.failed],
        "loss_percent": workflow.loss_of(report.records),
        "lost": lost,
    }
    return result | ({"exit_code": 1} if report.failed else {})


def _release_result(store: Store, release: Any) -> Result:
    return {
        "store": str(store.path),
        "season": release.season,
        "release": release.id,
        "changed": release.changed,
        "products": [str(r.path) for r in release.records],
    }

