"""The steps of a season, each a function from values to values; the command line calls them."""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import rasterio.shutil
from distributed import Client
from rasterio.windows import Window

from features.spec import FeatureSpec
from models import evaluate, train
from models.bundle import BundleError, ModelBundle
from models.samples import SampleTable
from models.targets import Target
from pipeline import catalog, mapping, runner, sampling, sites
from pipeline.config import Config, SampleFile
from pipeline.errors import InputError, LossError, PhusaError
from pipeline.files import write_aside
from pipeline.grid import lonlat_box, tiles
from pipeline.load import Loss
from pipeline.mapping import BlockResult, BlockTask
from pipeline.plan import RunState, TilePlan, block_tasks, plan
from pipeline.product import Product, ProductId, TileWriter
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stores import Record, Release, Store

log = logging.getLogger(__name__)

#: Called with (done, all) after each block.
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """No progress shown."""


def find_scenes(config: Config, season: Season) -> Scenes:
    """Scenes of a season over the mapped area."""
    return catalog.search(config.sources, season, config.region.geometry)


# --- samples -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Samples:
    """Imported samples: the table to train on (None where no row is left) and the report."""

    table: SampleTable | None
    report: dict[str, Any]
    loss_percent: float


def gather(
    config: Config, client: Client, files: Sequence[SampleFile], spec: FeatureSpec | None = None
) -> Samples:
    """Import sample files and read the features at their sites, each in its own season's images."""
    spec = spec or config.features
    accepted: list[sites.Site] = []
    refusals: list[sites.Refusal] = []
    for entry in files:
        good, bad = sites.read(entry.file, config.season(entry.season), config.targets, entry.columns)
        accepted, refusals = accepted + good, refusals + bad
    tables, reads, losses = [], 0, []
    for name in sorted({s.season for s in accepted}):
        here = [s for s in accepted if s.season == name]
        where = sampling.place(here, config.region.grid.resolution_m)
        found = catalog.search(_needed(config, spec), config.season(name), where)
        sampled = sampling.sample(
            client, here, found, spec, config.region.grid.resolution_m, config.clouds.dilate_m
        )
        refusals, reads = refusals + sampled.refusals, reads + sampled.reads
        losses += sampled.losses
        if sampled.table is not None:
            tables.append(sampled.table.frame)
    refused = {(r.file, r.row) for r in refusals}
    kept = [s for s in accepted if (s.file, s.row) not in refused]
    percent = _percent(len(losses), reads)
    extra = {"loss_percent": percent, "lost": lost(losses)}
    table = SampleTable(pd.concat(tables, ignore_index=True), spec) if tables else None
    return Samples(table, sites.report(kept, refusals, extra), percent)


def _needed(config: Config, spec: FeatureSpec) -> list[Any]:
    """The sources whose bands the spec uses."""
    from features.bands import BANDS

    sensors = {BANDS[band] for band in spec.bands}
    return [s for s in config.sources if s.sensor in sensors]


# --- models ------------------------------------------------------------------------------------


def fit(table: SampleTable, target: Target) -> ModelBundle:
    """Train; a fault of the samples is an InputError."""
    try:
        return train.train(table, target)
    except ValueError as error:
        raise InputError(str(error)) from None


def assess(table: SampleTable, target: Target) -> dict[str, Any]:
    """Cross-validated scores of a target."""
    try:
        return evaluate.cross_validate(table, target)
    except ValueError as error:
        raise InputError(str(error)) from None


def assess_reference(
    config: Config, client: Client, bundle: ModelBundle, trained_on: SampleTable
) -> dict[str, Any] | None:
    """Scores on the config's ``evaluate_on`` samples; None where the config has none."""
    if config.evaluate_on is None:
        return None
    gathered = gather(config, client, [config.evaluate_on], bundle.spec)
    if gathered.table is None:
        raise InputError(f"{config.evaluate_on.file}: no usable row to evaluate on: {gathered.report['by_rule']}")
    _refuse_overlap(gathered.table, trained_on, config.evaluate_on)
    try:
        scores = evaluate.on_reference(bundle, gathered.table)
    except ValueError as error:
        raise InputError(f"{config.evaluate_on.file}: {error}") from None
    return scores | {"season": config.evaluate_on.season, "refused": gathered.report["by_rule"]}


def _refuse_overlap(reference: SampleTable, trained_on: SampleTable, entry: SampleFile) -> None:
    """A site measured in the same season must not both train and judge."""
    keys = ["season", "epsg", "x", "y"]
    shared = reference.frame.merge(trained_on.frame[keys].drop_duplicates(), on=keys)
    if len(shared):
        raise InputError(
            f"{entry.file}: {len(shared)} reference sites are training sites too, the first {shared.sample_id[0]!r}"
        )


def load_bundle(folder: Path) -> ModelBundle:
    try:
        return ModelBundle.load(folder)
    except BundleError as error:
        raise InputError(f"{error}; make one with `phusa train`, or name one with --bundle") from None


def bundles_for(config: Config, folders: Sequence[Path], store: Path) -> list[ModelBundle]:
    """One bundle for each target of the config: the named ones, else those that ``train`` left in the store."""
    if not config.targets:
        raise InputError("the config has no targets; add the key targets")
    named = [load_bundle(folder) for folder in folders]
    by_target = {b.target.name: b for b in named}
    if len(by_target) < len(named):
        raise InputError(f"two bundles are of one target: {[b.target.name for b in named]}")
    unknown = set(by_target) - {t.name for t in config.targets}
    if unknown:
        raise InputError(f"bundle of target {sorted(unknown)[0]!r}, which is not among the config's targets")
    bundles = [by_target.get(t.name) or load_bundle(bundle_folder(store, t.name)) for t in config.targets]
    for bundle in bundles:
        try:
            config.need(bundle.spec)
        except ValueError as error:
            raise InputError(f"bundle of {bundle.target.name!r}: {error}") from None
    return bundles


def bundle_folder(store: Path, target: str) -> Path:
    return store / "bundles" / target


def train_all(config: Config, client: Client, store: Path) -> tuple[list[ModelBundle], SampleTable, dict[str, Any]]:
    """Samples and bundles of every target, from the config's sample files."""
    if not config.samples:
        raise InputError("the config names no samples to train on, and no --bundle is given")
    gathered = gather(config, client, config.samples)
    refuse_losses(gathered.loss_percent, config, gathered.report["lost"])
    if gathered.table is None:
        raise InputError(f"no usable sample row: {gathered.report['by_rule']}")
    sampling.write_table(gathered.table, store / "samples" / "samples.parquet")
    write_aside(store / "samples" / "report.json", json.dumps(gathered.report, indent=1, ensure_ascii=False) + "\n")
    bundles = []
    for target in config.targets:
        bundle = fit(gathered.table, target)
        bundle.save(bundle_folder(store, target.name))
        bundles.append(bundle)
    return bundles, gathered.table, gathered.report


# --- maps --------------------------------------------------------------------------------------


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
    report = MapReport()
    waiting: list[TilePlan] = []
    for tile_plan in plans:
        todo = []
        for p in tile_plan.products:
            stored = store.find(p.id)
            # A product made while reads were lost is made again: the fault may be over.
            if stored and stored.key == p.key and not stored.lost_reads:
                report.skipped.append(stored)
            else:
                todo.append(p)
        if todo:
            names = tuple(p.target.name for p in todo)
            tasks = tuple(replace(t, targets=names) for t in tile_plan.tasks)
            waiting.append(replace(tile_plan, products=tuple(todo), tasks=tasks))
    _save_state(store.path, season, plans, [])
    scratch = store.path / "scratch" / uuid.uuid4().hex
    scratch.mkdir(parents=True)
    try:
        _map_tiles(waiting, bundles, store, client, scratch, report, progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        _save_state(store.path, season, plans, report.failed)
    return report


def _map_tiles(
    waiting: Sequence[TilePlan],
    bundles: Sequence[ModelBundle],
    store: Store,
    client: Client,
    scratch: Path,
    report: MapReport,
    progress: Progress,
) -> None:
    owner = {task.name: tile_plan for tile_plan in waiting for task in tile_plan.tasks}
    tasks = [task for tile_plan in waiting for task in tile_plan.tasks]
    assemblies: dict[str, _Assembly] = {}
    for done, outcome in enumerate(
        runner.execute(client, mapping.map_block, tasks, list(bundles)), 1
    ):
        tile_plan = owner[outcome.task.name]
        name = tile_plan.tile.name
        assembly = assemblies.get(name) or assemblies.setdefault(name, _Assembly(tile_plan, scratch))
        assembly.add(outcome)
        if assembly.complete:
            del assemblies[name]
            report.losses += assembly.losses
            report.failed += assembly.failures
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
        self.reads = 0
        self.losses: list[Loss] = []
        self.error = ""

    def add(self, outcome: runner.Outcome[BlockTask, BlockResult]) -> None:
        self.missing -= 1
        if outcome.result is None:
            self.error = self.error or f"block {outcome.task.name}: {outcome.error}"
            return
        self.reads += outcome.result.reads
        self.losses += outcome.result.losses
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
            made = {**p.provenance, "reads": self.reads, "lost_reads": len(self.losses)}
            records.append(store.put(replace(p, provenance=made), cog))
        return records


def _save_state(
    store: Path, season: Season, plans: Iterable[TilePlan], failed: Sequence[tuple[str, str, str]]
) -> None:
    planned = tuple((p.id.tile, p.id.target, p.key) for t in plans for p in t.products)
    state = RunState(season.name, planned, tuple(failed))
    write_aside(RunState.path(store, season), state.dump())


def loss_of(records: Iterable[Record]) -> float:
    """Share of reads, in percent, that stored products lack; a tile's targets share their reads."""
    tiles_seen: dict[str, tuple[int, int]] = {}
    for record in records:
        p = record.item["properties"]
        tiles_seen[record.id.tile] = (int(p.get("phusa:lost_reads", 0)), int(p.get("phusa:reads", 0)))
    return _percent(sum(v[0] for v in tiles_seen.values()), sum(v[1] for v in tiles_seen.values()))


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def lost(losses: Sequence[Loss]) -> dict[str, int]:
    """Lost reads by scene and reason, the most frequent ten."""
    return dict(Counter(f"{loss.scene}: {loss.reason}" for loss in losses).most_common(10))


def refuse_losses(percent: float, config: Config, lost: dict[str, int]) -> None:
    """Raises LossError where more was lost than the config allows."""
    if percent > config.max_loss_percent:
        worst = "; ".join(f"{n} reads of {what}" for what, n in list(lost.items())[:3])
        raise LossError(
            f"{percent:.1f} % of the reads were lost, max_loss_percent is {config.max_loss_percent:g}: {worst}"
        )


def publish(config: Config, season: Season, store: Store) -> Release:
    """Publish what the last run of a season made: all of it, or nothing."""
    state = RunState.read(store.path, season)
    if state is None:
        raise InputError(f"season {season.name!r} has not been mapped; run `phusa map` first")
    records, absent = [], []
    for tile, target, key in state.planned:
        record = store.find(ProductId(season.name, tile, target))
        if record and record.key == key:
            records.append(record)
        else:
            absent.append(f"{tile}_{target}")
    if absent:
        raise PhusaError(
            f"{len(absent)} of {len(state.planned)} products are missing, the first {absent[0]}; "
            "run `phusa map` again: it does only those"
        )
    refuse_losses(loss_of(records), config, {r.id.name: r.lost_reads for r in records if r.lost_reads})
    return store.publish(config.region.name, season, records)


def status(config: Config, store: Store) -> dict[str, Any]:
    """For each season: products done (published or drafts), missing and failed."""
    seasons: dict[str, Any] = {}
    for season in config.seasons.values():
        state = RunState.read(store.path, season)
        published = {(r.id.tile, r.id.target): r.key for r in store.published(season)}
        entry: dict[str, Any] = {"done": [], "missing": [], "failed": [], "published": len(published)}
        errors = {(t, g): e for t, g, e in state.failed} if state else {}
        for tile, target, key in state.planned if state else ():
            name = f"{tile}_{target}"
            record = store.find(ProductId(season.name, tile, target))
            if record and record.key == key:
                entry["done"].append(name)
            elif (tile, target) in errors:
                entry["failed"].append({"product": name, "error": errors[tile, target]})
            else:
                entry["missing"].append(name)
        entry["planned"] = state is not None
        seasons[season.name] = entry
    return seasons


# --- features ----------------------------------------------------------------------------------


def write_features(
    config: Config, season: Season, found: Scenes, out: Path, client: Client, progress: Progress = silent
) -> tuple[list[Path], float]:
    """``out/<tile>.tif``, float32 with NaN, a band a feature. Returns the files and the loss in percent.

    Raises LossError beyond ``max_loss_percent`` and PhusaError where a block failed; then no file
    of this run is left.
    """
    spec = config.features
    work = out / f".{uuid.uuid4().hex}.tmp"
    work.mkdir(parents=True)
    try:
        owner: dict[str, Path] = {}
        tasks: list[BlockTask] = []
        for tile in tiles(config.region.geometry, config.region.grid.resolution_m):
            path = work / f"{tile.name}.tif"
            _new_features(path, tile.geobox, spec, any(s.simulated for s in found.kept))
            here = found.meeting(lonlat_box(tile.geobox))
            for task in block_tasks(config, tile, here):
                owner[task.name] = path
                tasks.append(task)
        reads, losses = 0, []
        for done, outcome in enumerate(runner.execute(client, mapping.feature_block, tasks, spec), 1):
            if outcome.result is None:
                raise PhusaError(f"block {outcome.task.name} failed: {outcome.error}")
            reads, losses = reads + outcome.result.reads, [*losses, *outcome.result.losses]
            with rasterio.open(owner[outcome.task.name], "r+") as file:
                cube = outcome.result.arrays["features"]
                file.write(cube, window=Window(outcome.task.offset[1], outcome.task.offset[0], cube.shape[2], cube.shape[1]))
            progress(done, len(tasks))
        percent = _percent(len(losses), reads)
        refuse_losses(percent, config, lost(losses))
        return [_finish_features(path, out) for path in sorted(set(owner.values()))], percent
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _new_features(path: Path, geobox: Any, spec: FeatureSpec, simulated: bool) -> None:
    profile = {
        "driver": "GTiff", "height": geobox.shape.y, "width": geobox.shape.x, "count": len(spec.names),
        "dtype": "float32", "nodata": np.nan, "crs": str(geobox.crs), "transform": geobox.affine,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer", "compress": "zstd", "zstd_level": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = spec.names
        file.update_tags(PHUSA_FEATURES=spec.digest, **({"PHUSA_SIMULATED": "SIMULATED"} if simulated else {}))
        for _, window in file.block_windows(1):
            empty = np.full((file.count, window.height, window.width), np.nan, np.float32)
            file.write(empty, window=window)


def _finish_features(path: Path, out: Path) -> Path:
    final = out / path.name
    cog = path.with_suffix(".cog.tif")
    rasterio.shutil.copy(path, cog, driver="COG", COMPRESS="ZSTD", PREDICTOR="YES", BIGTIFF="IF_SAFER", OVERVIEWS="NONE")
    cog.replace(final)
    return final

