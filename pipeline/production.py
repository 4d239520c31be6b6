"""A season's products: mapped tile by tile, published together, and their state told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from distributed import Client
from numpy.typing import NDArray

from models.bundle import ModelBundle
from pipeline import boundaries, ledger, losses, mapping, runner
from pipeline.config import Config
from pipeline.errors import InputError, IntegrityError, PhusaError
from pipeline.files import scratch_folder
from pipeline.grid import lonlat_box
from pipeline.mapping import BlockResult, BlockTask
from pipeline.plan import TilePlan, plan
from pipeline.product import ProductId, TileWriter
from pipeline.provenance import Vault
from pipeline.qa import report as report_of_quality
from pipeline.runstate import RunState, inputs_digest
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stack import Loss
from pipeline.stores import Record, Release, Store, work_folder
from pipeline.zones import report, tables

#: Called with (done, all) after each block.
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """No progress shown."""


@dataclass
class MapReport:
    """What a run did and what it could not."""

    computed: list[Record] = field(default_factory=list)
    skipped: list[Record] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    """(tile, target, error)."""
    losses: list[Loss] = field(default_factory=list)

    @property
    def records(self) -> list[Record]:
        """Every product that is stored now, made in this run or before."""
        return sorted([*self.computed, *self.skipped], key=lambda r: r.id)


def map_season(
    config: Config,
    season: Season,
    found: Scenes,
    bundles: Sequence[ModelBundle],
    store: Store,
    client: Client,
    progress: Progress = silent,
) -> MapReport:
    """Make every product of a season that is not stored yet. Products are drafts until published."""
    plans = plan(config, season, found, bundles)
    work = work_folder(store.path, store.region)
    report = MapReport()
    waiting: list[TilePlan] = []
    for tile_plan in plans:
        todo = []
        for p in tile_plan.products:
            stored = store.find(p.id, p.key)
            # A product made while reads were lost is made again: the fault may be over.
            if stored and not stored.lost_reads and stored.intact:
                report.skipped.append(stored)
            else:
                todo.append(p)
        if todo:
            names = tuple(p.target.name for p in todo)
            tasks = tuple(replace(t, targets=names) for t in tile_plan.tasks)
            waiting.append(replace(tile_plan, products=tuple(todo), tasks=tasks))
    planned = tuple((p.id.tile, p.id.target, p.key) for t in plans for p in t.products)
    state = RunState(season.name, inputs_digest(config, season, work), planned, ())
    state.write(work, season)
    found.write(scenes_file(work, season))
    _keep(config, found, bundles, plans, Vault(store.path))
    try:
        with scratch_folder(work / "scratch") as scratch:
            _map_tiles(
                waiting, bundles, store, client, scratch, report, progress, ledger.folder(work, season)
            )
    finally:
        replace(state, failed=tuple(report.failed)).write(work, season)
    return report


def _keep(
    config: Config, found: Scenes, bundles: Sequence[ModelBundle], plans: Sequence[TilePlan], vault: Vault
) -> None:
    """Keep what the products are made from, so that they can be made again."""
    for bundle in bundles:
        vault.keep_bundle(bundle)
    if config.region.mask:
        vault.keep_mask(config.region.mask)
    for each in plans:
        vault.keep_tile(each.tile, found.meeting(lonlat_box(each.tile.geobox)), found)


def _map_tiles(
    waiting: Sequence[TilePlan],
    bundles: Sequence[ModelBundle],
    store: Store,
    client: Client,
    scratch: Path,
    report: MapReport,
    progress: Progress,
    tables: Path,
) -> None:
    owner = {task.name: tile_plan for tile_plan in waiting for task in tile_plan.tasks}
    tasks = [task for tile_plan in waiting for task in tile_plan.tasks]
    assemblies: dict[str, _Assembly] = {}
    for done, outcome in enumerate(runner.execute(client, mapping.map_block, tasks, list(bundles)), 1):
        tile_plan = owner[outcome.task.name]
        name = tile_plan.tile.name
        assembly = assemblies.get(name) or assemblies.setdefault(name, _Assembly(tile_plan, scratch))
        assembly.add(outcome)
        if assembly.complete:
            del assemblies[name]
            report.losses += assembly.losses
            report.failed += assembly.failures
            ledger.write(assembly.ledger, tables / f"{name}.parquet")
            report.computed += assembly.store(store)
        progress(done, len(tasks))


class _Assembly:
    """A tile on its way from blocks to products."""

    def __init__(self, tile_plan: TilePlan, scratch: Path) -> None:
        self.plan, self.scratch = tile_plan, scratch
        self.writers = {
            p.target.name: TileWriter(p, scratch / f"{p.id.name}.scratch.tif") for p in tile_plan.products
        }
        self.missing = len(tile_plan.tasks)
        self.reads = self.ground_px = self.failed_px = 0
        self.losses: list[Loss] = []
        self.ledger: list[ledger.Entry] = []
        self.features: dict[str, NDArray[np.int64]] = {}
        self.error = ""

    def add(self, outcome: runner.Outcome[BlockTask, BlockResult]) -> None:
        self.missing -= 1
        if outcome.result is None:
            self.error = self.error or f"block {outcome.task.name}: {outcome.error}"
            return
        self.reads += outcome.result.reads
        self.ground_px += outcome.result.ground_px
        self.failed_px += outcome.result.failed_px
        self.losses += outcome.result.losses
        self.ledger += outcome.result.ledger
        for target, counts in outcome.result.features.items():
            self.features[target] = self.features.get(target, np.int64(0)) + counts
        for target, stored in outcome.result.arrays.items():
            self.writers[target].write(outcome.task.offset, stored)

    @property
    def complete(self) -> bool:
        return self.missing == 0

    @property
    def failures(self) -> list[tuple[str, str, str]]:
        return [(p.id.tile, p.id.target, self.error) for p in self.plan.products if self.error]

    def store(self, store: Store) -> list[Record]:
        """Finish the tile's COGs and hand them over; nothing where a block failed."""
        if self.error:
            return []
        records = []
        for p in self.plan.products:
            cog = self.scratch / f"{p.id.name}.tif"
            self.writers[p.target.name].finish(cog)
            made = {
                **p.provenance,
                "reads": self.reads,
                "lost_reads": len(self.losses),
                "ground_px": self.ground_px,
                "failed_px": self.failed_px,
            }
            recipe = dict(p.recipe) | {"provenance": made} if p.recipe else {}
            if recipe and p.target.name in self.features:
                recipe["feature_counts"] = self.features[p.target.name].tolist()
            records.append(store.put(replace(p, provenance=made, recipe=recipe), cog))
        return records


def _acquisitions(work: Path, season: Season) -> dict[str, Any]:
    """What became of the images of a season's last run, from records to reads."""
    told: dict[str, Any] = {"ledger": ledger.summary(work, season)}
    path = scenes_file(work, season)
    if path.is_file():
        scenes = Scenes.read(path)
        told |= {"records_dropped": scenes.reasons, "gaps": ledger.gaps(scenes, season)}
    return told


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


def publish(config: Config, season: Season, store: Store) -> Release:
    """Publish what the last run of a season made: all of it, or nothing.

    Raises InputError where the season was not mapped or its inputs changed since, PhusaError where a
    product is missing, IntegrityError where one is damaged, LossError where too much was lost, QualityError
    where a limit of the config is passed.
    """
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
    return store.publish(season, records, areas(config, season, records))


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
    ``refused`` that too much imagery was lost for its products to be published.
    """
    return {season.name: _season_status(config, season, store) for season in config.seasons.values()}


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
    share = losses.of_records(done)
    return {
        "planned": state is not None,
        "stale": state is not None and state.inputs != inputs_digest(config, season, work),
        "done": [record.id.name for record in done],
        "missing": missing,
        "failed": failed,
        "published": len(store.published(season)),
        "loss_percent": share,
        "refused": share > config.max_loss_percent,
        **(_acquisitions(work, season) if state else {}),
    }
