"""A season's run: what is stored is done, budgets, late scenes, damage, and what others can follow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet
import pytest
import yaml
from distributed import Client

from models.bundle import ModelBundle
from pipeline import blocks, catalog, driverlock, journal, learning, ledger, mapping, production, runner
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.drive import Budget, Drive, MapReport
from pipeline.driverlock import HeldError, LostError
from pipeline.journal import Event
from pipeline.order import along_curve, hilbert
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stack import Loss
from pipeline.stores import work_folder
from pipeline.stores.folder import FolderStore


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with runner.cluster("threads") as client:
        yield client


@pytest.fixture(scope="module")
def bundles(original_demo: Demo, client: Client) -> list[ModelBundle]:
    config = Config.read(original_demo.config)
    gathered = learning.gather(config, client, config.samples)
    assert gathered.table is not None
    found = []
    for target in config.targets:
        small = target.model_copy(update={"model": target.model.model_copy(update={"trees": 5})})
        found.append(learning.fit(gathered.table, small))
    return found


@dataclass
class Land:
    """A small region cut into many blocks."""

    config: Config
    season: Season
    scenes: Scenes
    bundles: list[ModelBundle]
    client: Client

    def store(self, name: str) -> FolderStore:
        return FolderStore(self.config._file.parent / name, self.config.region.name)

    def work(self, name: str) -> Path:
        return work_folder(self.store(name).path, self.config.region.name)

    def map(self, name: str, scenes: Scenes | None = None, **more: object) -> MapReport:
        return production.map_season(
            self.config, self.season, scenes or self.scenes, self.bundles, self.store(name), self.client,
            **more,  # type: ignore[arg-type]
        )  # fmt: skip

    def products(self, name: str) -> dict[str, bytes]:
        folder = self.store(name).path / "drafts"
        return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    def blocks(self, name: str) -> dict[str, tuple[int, bytes]]:
        folder = blocks.folder(self.work(name), self.season)
        return {
            str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.read_bytes())
            for p in sorted(folder.rglob("*")) if p.is_file()
        }  # fmt: skip


@pytest.fixture
def land(demo: Demo, bundles: list[ModelBundle], client: Client) -> Land:
    content = yaml.safe_load(demo.config.read_text())
    content["region"]["grid"]["block_px"] = 64
    demo.config.write_text(yaml.safe_dump(content, sort_keys=False))
    config = Config.read(demo.config)
    season = config.season(demo.season)
    found = catalog.search(config.sources, season, config.region.geometry)
    return Land(config, season, found, bundles, client)


def test_a_budget_stops_cleanly_and_the_next_runs_end_at_the_same_bytes(land: Land) -> None:
    whole = land.map("whole")
    assert whole.blocks >= 9
    assert (whole.left, whole.failed) == (0, [])
    told = journal.last(land.work("whole"), land.season)
    assert told is not None
    gb = told.local_bytes / 1e9
    assert 0 < gb < 1
    runs = []
    for _ in range(20):
        runs.append(land.map("parts", budget=Budget(gb=gb / 4)))
        state = journal.last(land.work("parts"), land.season)
        assert state is not None
        assert state.end is not None
        assert state.end["state"] == ("budget" if runs[-1].left else "done")
        if not runs[-1].left:
            break
        lines = reasons(land.work("parts"), land.season)
        assert lines.count("budget") > 0
        told_status = production.status(land.config, land.store("parts"))[land.season.name]
        assert told_status["missing"]
    assert len(runs) >= 3
    assert sum(r.blocks for r in runs) == whole.blocks  # nothing was made twice
    assert land.products("parts") == land.products("whole")
    assert "budget" not in reasons(land.work("parts"), land.season)
    assert {k: v[1] for k, v in land.blocks("parts").items()} == {
        k: v[1] for k, v in land.blocks("whole").items()
    }


def reasons(work: Path, season: Season) -> list[str]:
    found: list[str] = []
    for path in ledger.folder(work, season).glob("*.parquet"):
        found += pyarrow.parquet.read_table(path)["reason"].to_pylist()
    return found


def test_hours_are_a_budget_too(land: Land) -> None:
    report = land.map("short", budget=Budget(hours=1e-6))
    assert report.left > 0
    assert report.blocks > 0  # each run comes further
    assert land.map("short").left == 0


def test_late_scenes_touch_their_own_blocks_only(land: Land) -> None:
    late = next(s for s in land.scenes.of("sentinel-2-l2a") if "48PYS" in s.id)
    early = replace(land.scenes, kept=tuple(s for s in land.scenes.kept if s is not late))
    first = land.map("store", early)
    before = land.blocks("store")
    again = land.map("store")
    after = land.blocks("store")
    assert 0 < again.blocks < first.blocks
    same = {k for k in before if after.get(k) == before[k]}
    touched = {k.rpartition("_")[0] for k in after if k not in same}
    assert len({k.rpartition("_")[0] for k in touched}) == again.blocks
    assert len(same) == 4 * (first.blocks - again.blocks)  # two files, two targets
    assert len(after) == len(before)  # what is superseded is gone
    land.map("fresh")
    assert land.products("store") == land.products("fresh")


def test_a_lossy_block_alone_is_made_again(land: Land) -> None:
    victim = Path(land.scenes.of("sentinel-2-l2a")[0].urls["nir"])
    content = victim.read_bytes()
    victim.write_bytes(b"broken")
    lossy = land.map("store")
    assert lossy.losses
    lost = {loss.where for loss in lossy.losses}
    victim.write_bytes(content)
    mended = land.map("store")
    assert mended.blocks == len(lost) < lossy.blocks
    assert not mended.losses
    land.map("fresh")
    assert land.products("store") == land.products("fresh")


def test_a_damaged_block_is_told_and_made_again(land: Land) -> None:
    land.map("whole")
    land.map("store", budget=Budget(gb=1e-9))
    victim = next(p for p in blocks.folder(land.work("store"), land.season).rglob("*.tif"))
    spoiled = bytearray(victim.read_bytes())
    spoiled[-1] ^= 1
    victim.write_bytes(spoiled)
    bad = land.map("store")
    assert "its SHA-256 is not that of its record" in bad.failed[0][2]
    good = land.map("store")
    assert (good.failed, good.blocks) == ([], 1)
    assert land.products("store") == land.products("whole")


def test_a_poorer_block_that_comes_late_spoils_nothing(land: Land) -> None:
    """A worker that lost its link stores what it could read, after another has stored all of it."""
    land.map("whole")
    place = {p.name: p for p in blocks.folder(land.work("whole"), land.season).rglob("*.json")}
    record = next(iter(place.values()))
    facts = blocks.Facts.read(record)
    path = record.with_suffix("")
    poor = replace(facts, losses=(Loss("s", "red", facts.block, "gone"),), sha256="0" * 64)
    blocks.tif(path, poor.sha256).write_bytes(b"poor")
    record.write_text(poor.dump())
    good = blocks.tif(path, facts.sha256)
    assert good.is_file()
    assert blocks.stored(path, facts.key) is None  # the next run makes it again
    before = land.products("whole")
    assert land.map("whole").blocks == 0  # the product itself is stored
    assert land.products("whole") == before


def test_a_failed_block_costs_only_itself(land: Land, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = mapping.map_block, []

    def faulty(task: mapping.BlockTask, models: list[ModelBundle]) -> mapping.BlockResult:
        seen.append(task.name)
        if task.name == "48PXS/0-0" or len(seen) == 1:
            raise RuntimeError("a fault of ours")
        return real(task, models)

    with monkeypatch.context() as patch:
        patch.setattr(mapping, "map_block", faulty)
        first = land.map("store")
    assert first.failed
    second = land.map("store")
    assert first.blocks + second.blocks == len(set(seen))
    assert second.failed == []


def test_events_are_heard_and_the_journal_tells_them_again(land: Land) -> None:
    heard: list[Event] = []
    report = land.map("store", listeners=[heard.append])
    told = journal.last(land.work("store"), land.season)
    assert told is not None
    kinds = [e["event"] for e in heard]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert kinds.count("block") == report.blocks == len(told.blocks) == told.start["blocks"]
    assert kinds.count("tile") == len(report.computed) == len(told.tiles)
    for block in told.blocks:
        wall, cpu = block["stages"]["total"]
        assert wall >= block["stages"]["load"][0] >= 0
        assert cpu > 0
        assert block["peak_bytes"] > 0
        assert block["work"]["reads"] >= block["reads"] >= 0
    assert told.network_bytes == 0
    done = [line for line in (told.path.read_text() + '{"event": "blo').splitlines() if line]
    torn = told.path.with_name("torn.jsonl")
    torn.write_text("\n".join(done))
    again = journal.read(torn)
    assert again is not None
    assert len(again.blocks) == len(told.blocks)


def test_status_tells_of_a_living_run_and_a_second_driver_is_refused(land: Land) -> None:
    seen: list[dict[str, object]] = []
    refused: list[str] = []

    def look(event: Event) -> None:
        if event["event"] == "block":
            running = production.status(land.config, land.store("store"))[land.season.name]["running"]
            seen.append(running)
            holder = driverlock.holder(land.work("store"), land.season)
            assert holder is not None
            refused.append(str(HeldError(land.season.name, holder)))

    report = land.map("store", listeners=[look])
    assert [s["done"] for s in seen] == list(range(1, report.blocks + 1))
    assert seen[-1]["remaining_s"] == 0
    assert all(s["blocks_per_minute"] > 0 for s in seen)  # type: ignore[operator]
    assert all(s["read_gb"] > 0 for s in seen)  # type: ignore[operator]
    assert "running" not in production.status(land.config, land.store("store"))[land.season.name]
    assert "since" in refused[0]


def take_over(land: Land, name: str) -> Path:
    """Another machine's driver holds the season's lock."""
    lock = driverlock.lock_file(land.work(name), land.season)
    other = {"token": "other", "host": "node7", "machine": "node7 boot", "since": "2025-05-01"}
    lock.write_text(json.dumps(json.loads(lock.read_text()) | other))
    return lock


def test_a_driver_that_lost_its_lock_registers_and_publishes_nothing_more(
    land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = land.work("store") / "runs" / f"{land.season.slug}.json"
    seen: list[Event] = []

    def sleep(event: Event) -> None:
        seen.append(event)
        if event["event"] == "tile":
            take_over(land, "store")
            state.write_text("the other driver's")

    with pytest.raises(
        LostError, match=r"held by process \d+ on node7, since 2025-05-01.*stores nothing more"
    ):
        land.map("store", listeners=[sleep])
    lock = driverlock.lock_file(land.work("store"), land.season)
    assert [e["event"] for e in seen[-2:]] == ["tile", "end"]
    registered = [p for p in land.products("store") if p.endswith(".tif")]
    assert len(registered) == 1
    assert json.loads(lock.read_text())["token"] == "other"
    assert state.read_text() == "the other driver's"

    lock.unlink()
    state.unlink()
    assert land.map("store").failed == []
    monkeypatch.setattr(production, "areas", lambda *_: take_over(land, "store") and None)
    with pytest.raises(LostError):
        production.publish(land.config, land.season, land.store("store"))
    assert not (land.store("store").path / "catalog.json").exists()
    assert land.store("store").history() == []
    lock.unlink()
    monkeypatch.undo()
    assert production.publish(land.config, land.season, land.store("store")).state == "official"


def test_a_run_without_workers_says_so(land: Land) -> None:
    told: list[dict[str, object]] = []

    def look(event: Event) -> None:
        if event["event"] == "block":
            told.append(production.status(land.config, land.store("store"))[land.season.name]["running"])

    monkeypatched = Drive._block

    def vanish(self: Drive, *arguments: object) -> None:
        self._workers(0)
        monkeypatched(self, *arguments)  # type: ignore[arg-type]
        self._workers(2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Drive, "_block", vanish)
        land.map("store", listeners=[look], budget=Budget(gb=1e-9))
    assert {t["waiting_for_workers"] for t in told} == {True}
    assert {t["remaining_s"] for t in told} == {None}
    last = journal.last(land.work("store"), land.season)
    assert last is not None
    assert not last.waiting
    assert last.workers[0]["patience_s"] == 600


def test_a_killed_drivers_lock_and_litter_do_not_stand_in_the_way(land: Land) -> None:
    folder = blocks.folder(land.work("store"), land.season) / "48PXS"
    folder.mkdir(parents=True)
    litter = folder / ".abc.tmp.tif"
    litter.write_bytes(b"half")
    lock = driverlock.lock_file(land.work("store"), land.season)
    with driverlock.hold(land.work("store"), land.season):
        held = json.loads(lock.read_text())
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps(held | {"pid": 999999999, "started": "1"}))
    assert land.map("store").failed == []
    assert not litter.exists()
    assert not lock.exists()


def test_pace_forgets_a_slow_start() -> None:
    blocks_of = [{"seconds": 100 + t} for t in range(30)]
    told = journal.Told(Path(), {"seconds": 0, "blocks": 50}, blocks_of)
    rate, left = journal.pace(told)
    assert rate == pytest.approx(60)
    assert left == pytest.approx(20)
    assert journal.pace(journal.Told(Path(), {"seconds": 0, "blocks": 50})) == (None, None)


def test_the_curve_steps_to_a_neighbour_each_time() -> None:
    cells = [((r, c), r + 7, c + 3) for r in range(16) for c in range(16)]
    path = along_curve(cells)
    assert sorted(path) == sorted(c[0] for c in cells)
    assert all(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1 for a, b in itertools.pairwise(path))
    assert [hilbert(r, c, 1) for r, c in ((0, 0), (1, 0), (1, 1), (0, 1))] == [0, 1, 2, 3]
    assert along_curve([]) == []
