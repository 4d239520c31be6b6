"""A season's products: mapped tile by tile, published together, and their state told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from distributed import Client

from models.bundle import ModelBundle
from pipeline import (
    blocks,
    blocktable,
    boundaries,
    driverlock,
    forecast,
    journal,
    layers,
    ledger,
    looks,
    losses,
    radarsteps,
    version,
)
from pipeline.config import Config
from pipeline.drive import Budget, Drive, MapReport, Places, Progress
from pipeline.errors import InputError, IntegrityError, PhusaError
from pipeline.files import json_text, scratch_folder
from pipeline.grid import lonlat_box
from pipeline.journal import Journal, Listener
from pipeline.plan import TilePlan, block_key, plan, product_settings
from pipeline.product import ProductId
from pipeline.provenance import Vault
from pipeline.qa import report as report_of_quality
from pipeline.raster import LayerFile
from pipeline.runstate import RunState, inputs_digest
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stores import Record, Release, Store, work_folder
from pipeline.zones import report, tables


def silent(done: int, total: int) -> None:
    """No progress shown."""


def map_season(
    config: Config,
    season: Season,
    found: Scenes,
    bundles: Sequence[ModelBundle],
    store: Store,
    client: Client,
    progress: Progress = silent,
    budget: Budget = Budget(),  # noqa: B008 - a frozen value
    listeners: Sequence[Listener] = (),
) -> MapReport:
    """Make every product of a season that is not stored yet. Products are drafts until published.

    Raises HeldError where another driver is at work on the season, LostError where one took over while
    this one slept.
    """
    work = work_folder(store.path, store.region)
    with driverlock.hold(work, season):
        return _map(config, season, found, bundles, store, client, progress, budget, listeners)


def _map(
    config: Config, season: Season, found: Scenes, bundles: Sequence[ModelBundle], store: Store, client: Client,
    progress: Progress, budget: Budget, listeners: Sequence[Listener],
) -> MapReport:  # fmt: skip
    work = work_folder(store.path, store.region)
    verdicts = work / "looks" / f"{season.slug}.json"
    found = looks.refuse(found, config.region.geometry, config.clouds.dilate_m, client, verdicts)
    steps = radarsteps.report(found, config.region.geometry, client, _radar_steps(work, season))
    own = layers.prepare(config, found, [b.spec for b in bundles], work)
    plans = plan(config, season, found, bundles, own, steps)
    _keep(config, found, bundles, plans, own, Vault(store.path))
    waiting, skipped = _missing(plans, store)
    planned = tuple((p.id.tile, p.id.target, p.key) for t in plans for p in t.products)
    state = RunState(season.name, inputs_digest(config, season, work), planned, ())
    lock = driverlock.lock_file(work, season)
    driverlock.check(lock)
    state.write(work, season)
    found.write(scenes_file(work, season))
    here = blocks.folder(work, season)
    blocks.sweep(here)
    learnt = forecast.learn(journal.all_of(work))
    log = Journal(work, season, listeners)
    report, end = MapReport(), journal.INTERRUPTED
    try:
        with scratch_folder(work / "scratch") as scratch:
            places = Places(lock, here, work / "bundles", ledger.folder(work, season), scratch)
            drive = Drive(client, store, places, log, budget, progress, learnt)
            report = drive.report
            drive.run(waiting, bundles, product_settings(config, season))
        driverlock.check(lock)
        end = journal.FAILED if report.failed else journal.BUDGET if report.left else journal.DONE
        report.skipped = skipped
        paths = _paths(config, season, plans, bundles, here)
        if end == journal.DONE:
            # Of a season that is whole, keep the blocks that it was made of: late scenes touch only some.
            blocks.prune(here, (path for _, path in paths.values()), [b.target.name for b in bundles])
        _tabulate(work, season, plans, paths, report)
    finally:
        report.skipped, report.scenes = skipped, found
        if driverlock.held(lock):
            replace(state, failed=tuple(report.failed)).write(work, season)
        log.tell("end", state=end, computed=len(report.computed), skipped=len(skipped), left=report.left)
        log.close()
    return report


def _keep(
    config: Config, found: Scenes, bundles: Sequence[ModelBundle], plans: Sequence[TilePlan],
    own: Sequence[LayerFile], vault: Vault,
) -> None:  # fmt: skip
    """Keep what the products are made from, so that they can be made again."""
    for bundle in bundles:
        vault.keep_bundle(bundle)
    for file in (*([config.region.mask.path] if config.region.mask else []), *(Path(x.path) for x in own)):
        vault.keep_raster(file)
    for each in plans:
        vault.keep_tile(each.tile, found.meeting(lonlat_box(each.tile.geobox)), found)


def _missing(plans: Sequence[TilePlan], store: Store) -> tuple[list[TilePlan], list[Record]]:
    """Tiles with the products that are still to be made, and the records of those that are stored."""
    waiting: list[TilePlan] = []
    skipped: list[Record] = []
    for tile_plan in plans:
        todo = []
        for p in tile_plan.products:
            stored = store.find(p.id, p.key)
            # A product made while reads were lost is made again: the fault may be over.
            if stored and not stored.lost_reads and stored.intact:
                skipped.append(stored)
            else:
                todo.append(p)
        if todo:
            names = tuple(p.target.name for p in todo)
            tasks = tuple(replace(t, targets=names) for t in tile_plan.tasks)
            waiting.append(replace(tile_plan, products=tuple(todo), tasks=tasks))
    return waiting, skipped


def _paths(
    config: Config, season: Season, plans: Sequence[TilePlan], bundles: Sequence[ModelBundle], here: Path
) -> dict[tuple[str, str], tuple[str, Path]]:
    """(block, target) -> its key, and where it is stored."""
    settings = product_settings(config, season)
    found = {}
    for tile_plan in plans:
        for task in tile_plan.tasks:
            for b in bundles:
                key = block_key(settings, task, b)
                found[task.name, b.target.name] = key, blocks.place(here, task.name, b.target.name, key)
    return found


def _tabulate(
    work: Path, season: Season, plans: Sequence[TilePlan], paths: dict[tuple[str, str], tuple[str, Path]],
    report: MapReport,
) -> None:  # fmt: skip
    told = journal.all_of(work, season)
    seconds = {b["block"]: b["stages"]["total"][0] for t in told for b in t.blocks}
    failed = {f["block"]: f["error"] for f in told[-1].failed}
    whole = {(r.id.tile, r.id.target) for r in report.records}
    table = blocktable.build(plans, paths, failed, set(report.left_blocks), seconds, whole)
    blocktable.write(table, blocktable.file(work, season))


def _acquisitions(work: Path, season: Season) -> dict[str, Any]:
    """What became of the images of a season's last run, from records to reads."""
    told: dict[str, Any] = {"ledger": ledger.summary(work, season)}
    path = scenes_file(work, season)
    if path.is_file():
        scenes = Scenes.read(path)
        told |= {"records_dropped": scenes.reasons, "guard": scenes.guarded}
        told["gaps"] = ledger.gaps(scenes, season)
    return told | {"radar_steps": radarsteps.read(_radar_steps(work, season))}


def _radar_steps(work: Path, season: Season) -> Path:
    return work / "looks" / f"{season.slug}-radar.json"


def publish(config: Config, season: Season, store: Store) -> Release:
    """Publish what the last run of a season made: all of it, or nothing.

    Raises InputError where the season was not mapped or its inputs changed since, PhusaError where a
    product is missing, IntegrityError where one is damaged, LossError where too much was lost, QualityError
    where a limit of the config is passed, LostError where another driver took over while this one slept.
    """
    work = work_folder(store.path, store.region)
    with driverlock.hold(work, season):
        return _publish(config, season, store)


def mapped(config: Config, season: Season, store: Store) -> list[Record]:
    """The products that the last run of a season made.

    Raises InputError where the season was not mapped or its inputs changed since, PhusaError where a product
    is missing.
    """
    work = work_folder(store.path, store.region)
    state = RunState.read(work, season)
    if state is None:
        raise InputError(f"season {season.name!r} has not been mapped; run `phusa map` first")
    if state.inputs != inputs_digest(config, season, work):
        raise InputError(f"season {season.name!r}: {_STALE}; run `phusa map` again")
    found = {f"{t}_{g}": store.find(ProductId(season.name, t, g), key) for t, g, key in state.planned}
    absent = [name for name, record in found.items() if record is None]
    if absent:
        raise PhusaError(
            f"{len(absent)} of {len(found)} products are missing, the first {absent[0]}; "
            "run `phusa map` again: it does only those"
        )
    return [record for record in found.values() if record]


def _publish(config: Config, season: Season, store: Store) -> Release:
    records = mapped(config, season, store)
    damaged = [str(record.path) for record in records if not record.intact]
    if damaged:
        raise IntegrityError(
            f"{len(damaged)} products are not what their records say, the first {damaged[0]}; "
            "run `phusa map` again: it makes those anew"
        )
    losses.refuse_records(records, config.max_loss_percent)
    if config.quality.limited:
        report_of_quality.refuse(report_of_quality.make(config, season, records, store))
    work = work_folder(store.path, store.region)
    state = RunState.read(work, season)
    assert state is not None  # ``mapped`` read it
    return store.publish(
        season, records, areas(config, season, records), _documents(state, work, season),
        partial(driverlock.check, driverlock.lock_file(work, season)),
    )  # fmt: skip


def _documents(state: RunState, work: Path, season: Season) -> dict[str, str]:
    """How a release was made: the run, and what became of its images."""
    path = scenes_file(work, season)
    reads = ledger.released(work, season)
    reads += ledger.unread(Scenes.read(path), season) if path.is_file() else []
    run = {
        "software": version.number(),
        "code": version.digest(),
        "inputs": state.inputs,
        "products": [{"tile": t, "target": g, "key": k} for t, g, k in state.planned],
        "radar_steps": radarsteps.read(_radar_steps(work, season)),
    }
    return {"RUN": json_text(run), "LEDGER": json.dumps(reads, ensure_ascii=False)}


def areas(config: Config, season: Season, records: Sequence[Record]) -> pd.DataFrame | None:
    """One row a target, unit and indicator of a season's products; None where the config names no units."""
    if config.zones is None:
        return None
    units = boundaries.load(config.zones.boundaries)
    day = config.zones.date or season.end
    found = []
    for target in sorted({r.id.target for r in records}):
        cogs = [r.path for r in records if r.id.target == target]
        mask = config.region.mask.version if config.region.mask else ""
        counted = report.Counted.of(config.target(target), cogs, mask)
        made = report.by_unit(counted, units, day, counted.correlation(config.zones.range_km))
        found.append(tables.tidy(counted.theme, made.table, day, mask))
    return pd.concat(found, ignore_index=True) if found else None


def scenes_file(work: Path, season: Season) -> Path:
    """The list of images that a season's last run used."""
    return work / "scenes" / f"{season.slug}.json"


_STALE = "the config or a trained model changed since it was mapped"


def status(config: Config, store: Store) -> dict[str, Any]:
    """Season name -> its products done (published or drafts), missing and failed.

    ``stale`` says that the config or a trained model changed since the season was mapped;
    ``published`` counts those that the official release shows, ``unpublished`` names those that wait for it;
    ``refused`` says that too much imagery was lost for its products to be published.
    """
    return {season.name: _season_status(config, season, store) for season in config.seasons.values()}


def _running(work: Path, season: Season) -> dict[str, Any] | None:
    """How far the driver that is at work on a season has come; None where none is."""
    driver = driverlock.holder(work, season)
    if driver is None:
        return None
    who = {"host": driver.host, "pid": driver.pid, "since": driver.since}
    told = journal.last(work, season)
    if told is None or told.end or told.start["pid"] != driver.pid:
        return who  # it plans, or publishes
    rate, left = journal.pace(told)
    return who | {
        "blocks": told.start["blocks"],
        "done": len(told.blocks),
        "failed": len(told.failed),
        "products": len(told.tiles),
        "blocks_per_minute": rate,
        "remaining_s": None if told.waiting else left,
        "waiting_for_workers": told.waiting,
        "read_gb": (told.network_bytes + told.local_bytes) / 1e9,
        "last_heard": told.last["at"],
    }


def _season_status(config: Config, season: Season, store: Store) -> dict[str, Any]:
    work = work_folder(store.path, store.region)
    state = RunState.read(work, season)
    errors = {(t, g): e for t, g, e in state.failed} if state else {}
    done: list[Record] = []
    missing, failed = [], []
    for tile, target, key in state.planned if state else ():
        record = store.find(ProductId(season.name, tile, target), key)
        if record:
            done.append(record)
        elif (tile, target) in errors:
            failed.append({"product": f"{tile}_{target}", "error": errors[tile, target]})
        else:
            missing.append(f"{tile}_{target}")
    official = {(record.id, record.key) for record in store.published(season)}
    shown = official & {(record.id, record.key) for record in done} if state else official
    share = losses.of_records(done)
    running = _running(work, season)
    return {
        "planned": state is not None,
        "stale": state is not None and state.inputs != inputs_digest(config, season, work),
        "done": [record.id.name for record in done],
        "missing": missing,
        "failed": failed,
        "published": len(shown),
        "unpublished": [record.id.name for record in done if (record.id, record.key) not in shown],
        "loss_percent": share,
        "refused": share > config.max_loss_percent,
        **(_acquisitions(work, season) if state else {}),
        **({"running": running} if running else {}),
    }
