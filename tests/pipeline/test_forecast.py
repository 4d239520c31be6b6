"""The forecast learns what runs took, and says so honestly."""

from __future__ import annotations

import datetime as dt
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from affine import Affine
from odc.geo.geobox import GeoBox
from support import Phusa

from features.spec import FeatureSpec
from pipeline import catalog, forecast, journal
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.forecast import PRIOR_FACTOR, Rates, core_seconds, learn, wall_seconds
from pipeline.journal import Told
from pipeline.mapping import BlockTask, MaskFile, ground_of
from pipeline.plan import amounts
from pipeline.prices import Prices
from pipeline.scenes import Scene
from pipeline.work import Work, of_block, peak_bytes, total

#: What a process takes to compile and load.
READY_S = 2.0
TRUE = Rates(load_read=0.01, load_mb=0.02, compute_block=0.3, compute_stack=0.1, compute_out=0.2, store_out=0.05,
             encode_product=0.4, encode_mpx=0.3, startup=3.0, ready=READY_S, read_mb=0.5, disk_out=1.2, idle=1.4)  # fmt: skip


def run(
    blocks: int, seed: int, noise: float = 0.0, state: str = "done", slow: float = 1.0, cold: float = 0.0
) -> Told:
    """A journal of a machine whose rates are ``TRUE``; ``cold`` seconds more to compile, a process."""
    rng = np.random.default_rng(seed)
    events: list[dict[str, Any]] = []
    for k in range(blocks):
        reads, stack = int(rng.integers(20, 300)), float(rng.uniform(1, 50))
        work = Work(
            1, reads, raw_mb=float(rng.uniform(5, 200)), stack_mpx=stack, out_mpx=float(rng.uniform(1, 30))
        )
        load = TRUE.load_read * work.reads + TRUE.load_mb * work.raw_mb
        compute = TRUE.compute_block + TRUE.compute_stack * stack + TRUE.compute_out * work.out_mpx
        store = TRUE.store_out * work.out_mpx
        off = slow * float(np.exp(rng.normal(0, noise)))
        first = TRUE.startup + TRUE.ready if k < 2 else 0.0
        ready = READY_S + cold if k < 2 else 0.0
        cpu = {"ready": ready, "load": load * off, "store": store * off,
               "total": (load + compute + store) * off + first + (cold if k < 2 else 0.0)}  # fmt: skip
        events.append({
            "event": "block", "seconds": float(k + 1), "stages": {n: [v, v] for n, v in cpu.items()}, "work": asdict(work),
            "process": f"p{k % 2}", "brought": [0, 0], "local_bytes": TRUE.read_mb * work.raw_mb * 1e6,
            "stored_bytes": TRUE.disk_out * work.out_mpx * 1e6,
        })  # fmt: skip
    made = total(Work(**e["work"]) for e in events)
    sizes = rng.uniform(1, 40, 4)
    seconds = [float(TRUE.encode_product + TRUE.encode_mpx * v) * slow for v in sizes]
    tiles = [
        {
            "event": "tile",
            "seconds": 0.0,
            "stages": {"encode": [e, e]},
            "out_mpx": float(v),
            "stored_bytes": 0,
        }
        for v, e in zip(sizes, seconds, strict=True)
    ]
    made += Work(products=4, cog_mpx=float(sizes.sum()))
    wall = slow * wall_seconds(replace(TRUE, ready=READY_S + cold), made, 2, 2)
    return Told(
        Path(),
        {"seconds": 0.0, "threads": 2, "blocks": blocks},
        events,
        tiles,
        [],
        {"state": state, "seconds": wall},
    )


def test_the_rates_of_a_machine_are_found_again() -> None:
    learnt = learn([run(30, 1, cold=25.0), run(50, 2), run(40, 3)])
    for name, value in asdict(TRUE).items():
        assert getattr(learnt.rates, name) == pytest.approx(value, rel=1e-3), name
    big = Work(500, 60000, 40000, 0, 9000, 8000, 60, 9000)
    said = learnt.forecast(big, 16, 16)
    assert said.core_hours.expected == pytest.approx(core_seconds(TRUE, big, 16) / 3600, rel=1e-3)
    assert said.wall_hours.expected == pytest.approx(wall_seconds(TRUE, big, 16, 16) / 3600, rel=1e-3)
    assert said.learnt_from == 3


def test_limits_hold_the_truth_nine_times_in_ten() -> None:
    """Runs whose speed varies by 15 % from day to day."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(60):
        slow = np.exp(rng.normal(0, 0.15, 7))
        told = [run(12, 100 * trial + k, 0.2, slow=float(s)) for k, s in enumerate(slow)]
        taken = forecast.taken_of(told[-1])
        said = learn(told[:-1]).forecast(taken.work, 2, 2).core_hours.times(3600)
        inside += said.low <= taken.core_s <= said.high
    assert 0.8 <= inside / 60 <= 1.0


def test_limits_narrow_as_runs_are_recorded() -> None:
    widths = []
    for count in (0, 1, 3, 10):
        said = learn([run(20, k, 0.1) for k in range(count)]).forecast(Work(10, 10, 10, 0, 10, 10), 2, 2)
        widths.append(math.log(said.core_hours.high / said.core_hours.low))
    assert widths[0] == pytest.approx(2 * math.log(PRIOR_FACTOR))
    assert widths[0] > widths[1] > widths[2] > widths[3] > 0


def test_a_machine_that_has_compiled_is_not_said_to_compile_again() -> None:
    cold, warm = run(30, 1, cold=25.0), run(50, 2)
    assert forecast.taken_of(cold).core_s > 50
    said = learn([cold, warm, warm, warm]).forecast(forecast.taken_of(warm).work, 2, 2)
    assert said.core_hours.low < forecast.taken_of(warm).core_s / 3600 < said.core_hours.high
    rates = learn([cold, warm, warm, warm]).rates
    assert rates.ready == pytest.approx(TRUE.ready)


def test_runs_that_ended_in_good_order_teach() -> None:
    """A season of many nights ends each by its budget."""
    assert learn([run(20, 1, state="interrupted"), run(20, 2, state="failed"), run(2, 3)]).runs == 0
    assert learn([run(20, 1, state="budget"), run(20, 2)]).runs == 2


def test_network_is_what_is_remote_only() -> None:
    learnt = learn([run(20, 1)])
    near, far = Work(1, 10, 100, 0, 1, 1), Work(1, 10, 100, 60, 1, 1)
    assert learnt.forecast(near, 1, 1).network_gb.expected == 0
    half = learnt.forecast(far, 1, 1)
    assert half.network_gb.expected == pytest.approx(0.6 * half.read_gb.expected)


def test_money_is_the_sum_of_what_is_priced() -> None:
    made = learn([]).forecast(Work(1, 10, 1000, 500, 10, 10), 1, 1)
    paid = forecast.money(made, Prices(currency="VND", core_hour=800, network_gb=100, disk_gb=10))
    by_hand = 800 * made.core_hours.high + 100 * made.network_gb.high + 10 * made.disk_gb.high
    assert paid.high == pytest.approx(by_hand)


def test_the_work_of_a_season_is_counted_from_records(demo: Demo) -> None:
    config = Config.read(demo.config)
    season = config.season(demo.season)
    found = catalog.search(config.sources, season, config.region.geometry)
    amount = amounts(config, season, found)
    assert amount.tiles == 2
    assert amount.work.blocks == amount.blocks
    bands = {"sentinel-2-l2a": 0, "sentinel-1-rtc": 0, "dem": 0}
    from features.bands import BANDS

    for band in config.features.bands:
        bands[BANDS[band]] += 1
    bands["sentinel-2-l2a"] += 1  # the scene classification
    from pipeline.plan import plan

    reads = 0
    for tile in plan(config, season, found, []):
        for task in tile.tasks:
            box = shapely.from_wkt(task.geobox.extent.to_crs("EPSG:4326").wkt)
            if ground_of(task).any():
                reads += sum(bands[s.sensor] for s in found.kept if s.geometry.intersects(box))
            assert peak_bytes(task, [config.features], 10) > 4 * task.geobox.shape.x * task.geobox.shape.y
    assert amount.work.reads == pytest.approx(reads, rel=0.05)
    assert amount.work.remote_mb == 0
    assert amount.work.raw_mb > 0


def test_what_the_mask_leaves_out_is_no_work(tmp_path: Path) -> None:
    """Farmland in the north-western quarter of a block, half of it: a quarter is read, an eighth computed."""
    geobox = GeoBox((2048, 2048), Affine(10, 0, 600000, 0, -10, 1200000), "EPSG:32648")
    land = np.zeros((2048, 2048), np.uint8)
    land[:1024, :1024] = np.kron(np.indices((64, 64)).sum(0) % 2, np.ones((16, 16)))
    path = tmp_path / "land.tif"
    with rasterio.open(path, "w", driver="GTiff", height=2048, width=2048, count=1, dtype="uint8", crs="EPSG:32648",
                       transform=geobox.affine) as file:  # fmt: skip
        file.write(land, 1)
    footprint = geobox.extent.buffer(100).to_crs("EPSG:4326").geom.wkt
    scene = Scene("s", "sentinel-2-l2a", "c", "2025-01-01T03:00:00Z", footprint, (("nir", "x.tif"),), 32648)
    spec = FeatureSpec.parse(["nir_p50"])
    whole = BlockTask(
        "b", geobox, (0, 0), shapely.box(*geobox.boundingbox.bbox), (scene,), 60, dt.date(2025, 4, 30)
    )
    all_of_it = of_block(whole, [spec], 3)
    some = of_block(replace(whole, mask=MaskFile(str(path), (1,))), [spec], 3)
    assert some.raw_mb == pytest.approx(all_of_it.raw_mb / 4)
    assert some.stack_mpx == pytest.approx(all_of_it.stack_mpx / 8)
    assert (some.reads, some.out_mpx) == (all_of_it.reads, all_of_it.out_mpx)
    none = of_block(replace(whole, mask=MaskFile(str(path), (7,))), [spec], 3)
    assert none == Work(1, out_mpx=all_of_it.out_mpx)


def test_the_command_reads_no_image_and_learns_from_the_store(demo: Demo, phusa: Phusa) -> None:
    content = yaml.safe_load(demo.config.read_text())
    content["rates"] = {"currency": "VND", "core_hour": 900, "network_gb": 0, "disk_gb": 400}
    demo.config.write_text(yaml.safe_dump(content, sort_keys=False))
    for image in demo.config.parent.rglob("archive/*/*.tif"):
        image.unlink()
    answer = phusa("forecast", demo.config, "--season", demo.season, "--cores", 16, "--json")
    assert answer.code == 0, answer.err
    said = answer.json
    assert said["scenes"]["sentinel-2-l2a"] == 10
    assert (said["learnt_from"], said["cores"], said["money"]["currency"]) == (0, 16, "VND")
    for name in ("core_hours", "wall_hours", "read_gb", "disk_gb", "money"):
        assert 0 < said[name]["low"] < said[name]["expected"] < said[name]["high"], name
    assert said["network_gb"]["expected"] == 0

    config = Config.read(demo.config)
    assert config.store is not None
    log = journal.Journal(config.store.path / "work" / config.region.name, config.season(demo.season))
    told = run(20, 1)
    for event in (
        told.start | {"event": "start"},
        *told.blocks,
        *told.tiles,
        (told.end or {}) | {"event": "end"},
    ):
        log.tell(**{k: v for k, v in event.items() if k != "seconds"})
    log.close()
    assert phusa("forecast", demo.config, "--season", demo.season, "--json").json["learnt_from"] == 1
    plain = phusa("forecast", demo.config, "--season", demo.season)
    assert "learnt from 1 runs" in plain.out
    assert "core-hours" in plain.out


def test_bad_rates_are_refused(demo: Demo, phusa: Phusa) -> None:
    content = yaml.safe_load(demo.config.read_text())
    for rates, told in (({"currency": "VND", "core_hour": -1}, "core_hour"), ({"core_hour": 1}, "currency"),
                        ({"currency": "VND", "cpu": 1}, "cpu")):  # fmt: skip
        demo.config.write_text(yaml.safe_dump(content | {"rates": rates}, sort_keys=False))
        answer = phusa("forecast", demo.config, "--season", demo.season, "--json")
        assert answer.code == 2
        assert told in json.loads(answer.out)["error"]


def test_a_scene_list_of_another_season_is_refused(demo: Demo, phusa: Phusa, tmp_path: Path) -> None:
    out = tmp_path / "s.json"
    assert phusa("scenes", demo.config, "--season", demo.season, "--out", out).code == 0
    content = json.loads(out.read_text()) | {"season": "wet"}
    out.write_text(json.dumps(content))
    answer = phusa("forecast", demo.config, "--season", demo.season, "--scenes", out, "--json")
    assert answer.code == 2
    assert "of season 'wet'" in answer.json["error"]
