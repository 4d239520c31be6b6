"""The driver's loop: blocks go to workers, finished tiles come back as COGs, the store registers them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client

from models.bundle import ModelBundle
from pipeline import blocks, driverlock, forecast, journal, ledger, runner, work
from pipeline.blocks import Assembled, Facts, Job, Made, Piece
from pipeline.errors import InputError
from pipeline.forecast import Learnt
from pipeline.ledger import Entry, entry
from pipeline.mapping import BlockTask
from pipeline.plan import TilePlan, block_key
from pipeline.product import Product, bands_of
from pipeline.runner import Call, Flow, Outcome
from pipeline.scenes import Scenes
from pipeline.stack import Loss
from pipeline.stores import Record, Store

#: Called with (done, all) after each block.
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Budget:
    """What a run may spend; what is begun is finished, and the next run goes on from there."""

    hours: float | None = None
    """Wall hours from the start of the run."""
    gb: float | None = None
    """Read from the sources, over the network or from files."""


@dataclass
class MapReport:
    """What a run did and what it could not."""

    computed: list[Record] = field(default_factory=list)
    skipped: list[Record] = field(default_factory=list)
    failed: list[tuple[str, str, str]] = field(default_factory=list)
    """(tile, target, error)."""
    losses: list[Loss] = field(default_factory=list)
    blocks: int = 0
    """Blocks that this run mapped; the others were stored."""
    left_blocks: list[str] = field(default_factory=list)
    """Blocks that the budget did not reach."""
    scenes: Scenes | None = None
    """What was read, and what the guard refused."""

    @property
    def left(self) -> int:
        """How many blocks the budget did not reach."""
        return len(self.left_blocks)

    @property
    def records(self) -> list[Record]:
        """Every product that is stored now, made in this run or before."""
        return sorted([*self.computed, *self.skipped], key=lambda r: r.id)


@dataclass(frozen=True)
class Places:
    """The folders of a run, and its lock."""

    lock: Path
    blocks: Path
    models: Path
    ledger: Path
    scratch: Path


@dataclass
class _Tile:
    """A tile on its way from blocks to products."""

    plan: TilePlan
    paths: dict[tuple[str, str], tuple[str, Path]]
    """(block, target) -> (key, path without suffix)."""
    facts: dict[tuple[str, str], Facts] = field(default_factory=dict)
    """Of the blocks that are stored."""
    error: str = ""
    missing: int = 0
    """Blocks on their way."""
    left: list[BlockTask] = field(default_factory=list)
    """Blocks that the budget did not reach."""

    @property
    def name(self) -> str:
        return self.plan.tile.name

    def todo(self, task: BlockTask) -> BlockTask | None:
        """The block with those targets that are not stored; None where all are."""
        targets = []
        for p in self.plan.products:
            at = task.name, p.target.name
            key, path = self.paths[at]
            found = blocks.stored(path, key)
            if found:
                self.facts[at] = found
            else:
                targets.append(p.target.name)
        return replace(task, targets=tuple(targets)) if targets else None

    def made(self, product: Product) -> Product:
        """The product with what became of its blocks' reads."""
        mine = [self.facts[task.name, product.target.name] for task in self.plan.tasks]
        counts = {
            "reads": sum(f.reads for f in mine),
            "lost_reads": sum(len(f.losses) for f in mine),
            "ground_px": sum(f.ground_px for f in mine),
            "failed_px": sum(f.failed_px for f in mine),
        }
        made = {**product.provenance, **counts}
        recipe = {**product.recipe, "provenance": made} if product.recipe else {}
        sampled = [np.array(f.features) for f in mine if f.features]
        if recipe and sampled:
            recipe["feature_counts"] = np.sum(sampled, axis=0).tolist()
        return replace(product, provenance=made, recipe=recipe)

    def pieces(self, product: Product) -> list[Piece]:
        """Where the blocks of a product lie, what place they have in it, and their SHA-256."""
        name = product.target.name
        return [
            (str(self.paths[t.name, name][1]), t.offset, self.facts[t.name, name].sha256)
            for t in self.plan.tasks
        ]

    @property
    def losses(self) -> list[Loss]:
        return list(dict.fromkeys(loss for facts in self.facts.values() for loss in facts.losses))

    @property
    def ledger(self) -> list[Entry]:
        """What became of the reads of each block, once however many targets were made of them; a block
        that the budget did not reach has a line for each scene."""
        by_block = {block: facts for (block, _), facts in self.facts.items()}
        lines = [line for facts in by_block.values() for line in facts.ledger]
        for task in self.left:
            lines += [entry(s, task.name, "*", "catalogued", ledger.BUDGET) for s in task.scenes]
        return lines


class Drive:
    """One run over the tiles of a season."""

    def __init__(
        self, client: Client, store: Store, places: Places, log_to: journal.Journal, budget: Budget,
        progress: Progress, learnt: Learnt = Learnt(),  # noqa: B008 - a frozen value
    ) -> None:  # fmt: skip
        self.client, self.store, self.places, self.journal = client, store, places, log_to
        self.budget, self.progress, self.report = budget, progress, MapReport()
        self.learnt = learnt
        self.tiles: dict[str, _Tile] = {}
        self._spent = _Spent()

    def run(
        self, waiting: Sequence[TilePlan], bundles: Sequence[ModelBundle], settings: dict[str, Any]
    ) -> MapReport:
        """Map what is missing of ``waiting``; ``settings`` as ``plan.product_settings`` gives them."""
        models = {b.target.name: self._model(b) for b in bundles}
        self._see()
        by_name = {b.target.name: b for b in bundles}
        jobs: list[Job] = []
        for tile_plan in waiting:
            tile = self._tile(tile_plan, by_name, settings)
            for task in tile_plan.tasks:
                if todo := tile.todo(task):
                    targets = [(*tile.paths[task.name, t], models[t]) for t in todo.targets]
                    jobs.append(Job(todo, tuple((k, str(p), m) for k, p, m in targets)))
                    tile.missing += 1
        self._map(jobs, list(by_name.values()))
        return self.report

    def _tile(self, tile_plan: TilePlan, bundles: dict[str, ModelBundle], settings: dict[str, Any]) -> _Tile:
        paths = {}
        for task in tile_plan.tasks:
            for p in tile_plan.products:
                key = block_key(settings, task, bundles[p.target.name])
                paths[task.name, p.target.name] = (
                    key,
                    blocks.place(self.places.blocks, task.name, p.target.name, key),
                )
        tile = self.tiles[tile_plan.tile.name] = _Tile(tile_plan, paths)
        return tile

    def _see(self) -> None:
        """Raises InputError where a worker does not see the work folder: it could store nothing."""
        seen = self.client.run(os.path.isdir, str(self.places.models))
        blind = sorted(address for address, sees in seen.items() if not sees)
        if blind:
            raise InputError(
                f"{len(blind)} of {len(seen)} workers, the first {blind[0]}, do not see {self.places.models.parent}; "
                "workers on other machines need the store's folder at the same path"
            )

    def _model(self, bundle: ModelBundle) -> str:
        """Folder of a model in the work folder, where every worker finds it, also one that came later."""
        folder = self.places.models / bundle.digest[:20]
        if not (folder / "bundle.json").is_file():
            bundle.save(folder)
        return str(folder)

    def _map(self, jobs: Sequence[Job], bundles: Sequence[ModelBundle]) -> None:
        specs = [b.spec for b in bundles]
        layers = {b.target.name: len(bands_of(b.target)) for b in bundles}
        amounts = {j.name: work.of_block(j.task, specs, sum(layers[t] for t in j.task.targets)) for j in jobs}
        peaks = {j.name: work.peak_bytes(j.task, specs, sum(layers[t] for t in j.task.targets)) for j in jobs}
        peak = work.PROCESS_BYTES + max(peaks.values(), default=0)
        threads = sum(self.client.ncores().values())
        at_once = runner.slots(self.client, peak)
        amount = work.total(amounts.values()) + work.of_products(
            (p.geobox.shape.x * p.geobox.shape.y, len(p.bands))
            for tile in self.tiles.values()
            for p in tile.plan.products
        )
        processes = len(runner.workers(self.client))
        said = self.learnt.forecast(amount, threads, processes)
        self.journal.tell(
            "start", **journal.here(), blocks=len(jobs), tiles=len(self.tiles), threads=threads, workers=processes,
            at_once=at_once, peak_bytes=round(peak), work=asdict(amount), forecast=forecast.as_json(said),
        )  # fmt: skip
        flow: Flow[Any, Any] = Flow(self.client, partial(runner.flight, self.client, peak), self._workers)
        for job in jobs:
            flow.add(Call(job, blocks.make, (), peak))
        for tile in self.tiles.values():
            if not tile.missing:
                self._assemble(flow, tile)
        for outcome in flow:
            driverlock.check(self.places.lock)
            if isinstance(outcome.task, Job):
                self._block(flow, outcome, amounts, len(jobs))
            else:
                self._product(outcome)
            self._spent.limit = flow.limit
            if flow.waiting and self._spent.beyond(self.budget, self.journal.seconds):
                self._stop(flow)

    def _workers(self, count: int) -> None:
        self.journal.tell("workers", workers=count, patience_s=runner.patience())

    def _block(
        self, flow: Flow[Any, Any], outcome: Outcome[Job, Made], amounts: Mapping[str, work.Work], total: int
    ) -> None:
        job, made = outcome.task, outcome.result
        tile = self.tiles[job.name.partition("/")[0]]
        tile.missing -= 1
        if made is None:
            self._spent.failed += 1
            tile.error = tile.error or f"block {job.name}: {outcome.error}"
            self.journal.tell("failed", block=job.name, error=outcome.error)
        else:
            self.report.blocks += 1
            self._spent.add(made)
            tile.facts |= {(job.name, t): f for t, f in zip(job.task.targets, made.facts, strict=True)}
            self._tell(made, amounts[job.name])
        self.progress(self.report.blocks + self._spent.failed, total)
        if not tile.missing:
            self._assemble(flow, tile)

    def _tell(self, made: Made, amount: work.Work) -> None:
        facts = made.facts[0]
        seconds = {name: [round(v, 4) for v in pair] for name, pair in made.seconds.items()}
        self.journal.tell(
            "block", block=facts.block, stages=seconds, work=asdict(amount), process=made.process,
            brought=made.brought, local_bytes=made.local_bytes, peak_bytes=made.peak_bytes, reads=facts.reads,
            lost=len(facts.losses), ground_px=facts.ground_px, mapped_px=facts.mapped_px,
            clear_dates=facts.clear_dates, stored_bytes=sum(f.bytes for f in made.facts),
        )  # fmt: skip

    def _assemble(self, flow: Flow[Any, Any], tile: _Tile) -> None:
        """All blocks of a tile have ended: write its ledger, and have its products made where none failed."""
        ledger.write(tile.ledger, self.places.ledger / f"{tile.name}.parquet")
        self.report.losses += tile.losses
        if tile.error:
            self.report.failed += [(p.id.tile, p.id.target, tile.error) for p in tile.plan.products]
        elif not tile.left:
            for p in tile.plan.products:
                out = str(self.places.scratch / f"{p.id.name}.tif")
                flow.add(Call(tile.made(p), blocks.assemble, (tile.pieces(p), out)), first=True)

    def _product(self, outcome: Outcome[Product, Assembled]) -> None:
        product, cog = outcome.task, outcome.result
        if cog is None:
            self.report.failed.append((product.id.tile, product.id.target, outcome.error))
            self.journal.tell("failed", block=product.id.name, error=outcome.error)
            return
        begun = self.journal.seconds
        self.report.computed.append(self.store.put(product, Path(cog.path)))
        put, rows_columns = self.journal.seconds - begun, product.geobox.shape.yx
        self.journal.tell(
            "tile", product=product.id.name, stages={"encode": cog.seconds, "ready": cog.ready, "put": [round(put, 4), 0.0]},
            stored_bytes=cog.bytes, out_mpx=rows_columns[0] * rows_columns[1] * len(product.bands) / 1e6,
        )  # fmt: skip

    def _stop(self, flow: Flow[Any, Any]) -> None:
        """The budget is spent: what is in flight ends, what waits is left to the next run."""
        for call in flow.stop():
            if not isinstance(call.task, Job):
                flow.add(call)  # a tile whose blocks are all there costs no more reads
                continue
            tile = self.tiles[call.task.name.partition("/")[0]]
            tile.missing -= 1
            tile.left.append(call.task.task)
            self.report.left_blocks.append(call.task.name)
            if not tile.missing:
                self._assemble(flow, tile)


@dataclass
class _Spent:
    """What a run has spent so far."""

    limit: int = 1
    """Blocks in flight."""
    failed: int = 0
    local: int = 0
    seconds: list[float] = field(default_factory=list)
    """Of each block that was mapped."""
    _low: dict[str, int] = field(default_factory=dict)
    _high: dict[str, int] = field(default_factory=dict)

    def add(self, made: Made) -> None:
        before, after = made.brought
        self._low[made.process] = min(before, self._low.get(made.process, before))
        self._high[made.process] = max(after, self._high.get(made.process, after))
        self.local += made.local_bytes
        self.seconds.append(made.seconds["total"][0])

    @property
    def bytes(self) -> int:
        return self.local + sum(self._high[p] - self._low[p] for p in self._high)

    def beyond(self, budget: Budget, elapsed: float) -> bool:
        """Whether another block would pass the budget, after those that are in flight."""
        if not self.seconds:
            return False
        mean = sum(self.seconds) / len(self.seconds)
        late = budget.hours is not None and elapsed + mean > 3600 * budget.hours
        each = self.bytes / len(self.seconds)
        much = budget.gb is not None and self.bytes + self.limit * each > 1e9 * budget.gb
        return late or much
