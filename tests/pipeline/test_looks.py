"""Before a season is read, scenes whose records lie of the offset are refused; their reads are lost."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import rasterio
import shapely
from distributed import Client
from odc.geo.geobox import GeoBox
from support import SHARED, Phusa

from pipeline import catalog, looks, runner
from pipeline.config import Config
from pipeline.demo import Demo, build
from pipeline.demo import world as w
from pipeline.load import load
from pipeline.providers import StaticProvider
from pipeline.scenes import Scene, Scenes
from pipeline.season import Season

BANDS = ("blue", "red", "nir", "swir16")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Numbers that carry the offset since baseline 04.00."""
    folder = tmp_path_factory.mktemp("raw")
    return build(
        folder, seed=7, size=160, sites=5, optical_dates=4, radar_dates=1, convention="planetary-computer"
    )


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with runner.cluster("threads") as client:
        yield client


def scenes(demo: Demo) -> Scenes:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry)
    return replace(found, kept=tuple(s for s in found.kept if s.sensor == "sentinel-2-l2a"))


def refused(found: Scenes, kept: list[Scene], demo: Demo, client: Client) -> dict[str, str]:
    place = Config.read(demo.config).region.geometry
    judged = looks.refuse(replace(found, kept=tuple(kept)), place, 60, client)
    return {s.id: s.refused for s in judged.kept if s.refused}


def test_sound_records_are_believed(raw: Demo, original_demo: Demo, client: Client) -> None:
    for demo in (raw, original_demo):
        found = scenes(demo)
        assert refused(found, list(found.kept), demo, client) == {}


def test_an_offset_that_was_not_taken_off_is_seen(raw: Demo, client: Client) -> None:
    found = scenes(raw)
    liars = {s.id for s in found.kept if s.offset == -1000}
    assert liars
    told = refused(found, [replace(s, offset=0) for s in found.kept], raw, client)
    assert set(told) == liars
    assert all("was not taken off" in why and "in blue" in why for why in told.values())


def test_an_offset_that_was_taken_twice_is_seen(raw: Demo, client: Client) -> None:
    found = scenes(raw)
    liars = {s.id for s in found.kept if s.offset == 0}
    told = refused(found, [replace(s, offset=-1000, baseline="05.11") for s in found.kept], raw, client)
    assert set(told) == liars
    assert all("was taken twice" in why for why in told.values())


def test_one_scene_of_many_is_seen(original_demo: Demo, client: Client) -> None:
    found = scenes(original_demo)
    for k in range(0, len(found.kept), 3):
        kept = list(found.kept)
        kept[k] = replace(kept[k], offset=-1000)
        assert set(refused(found, kept, original_demo, client)) == {kept[k].id}


def test_the_verdict_is_remembered_for_the_same_scenes_only(
    raw: Demo, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, place = scenes(raw), Config.read(raw.config).region.geometry
    lies = replace(found, kept=tuple(replace(s, offset=0) for s in found.kept))
    memory = tmp_path / "looks.json"
    first = looks.refuse(lies, place, 60, client, memory)
    monkeypatch.setattr(looks, "_verdicts", lambda *_: pytest.fail("looked again"))
    assert looks.refuse(lies, place, 60, client, memory) == first
    with pytest.raises(BaseException, match="looked again"):
        looks.refuse(found, place, 60, client, memory)
    memory.write_text("{")
    with pytest.raises(BaseException, match="looked again"):
        looks.refuse(lies, place, 60, client, memory)


def test_a_refused_scene_gives_no_pixel_and_its_needed_reads_are_lost(
    original_demo: Demo,
) -> None:
    found = list(scenes(original_demo).kept)
    side = original_demo.world.salinity.shape[0]
    place = GeoBox((side, side), original_demo.world.transform, f"EPSG:{w.EPSG}")
    sound = load(found, place, BANDS, 60)
    read = {e.scene for e in sound.ledger if e.band == "red" and e.state == "used"}
    liar = next(s for s in found if s.id in read)
    rest = load([s for s in found if s != liar], place, BANDS, 60)
    stack = load([replace(s, refused="seen") if s == liar else s for s in found], place, BANDS, 60)
    assert {(x.scene, x.band, x.cause) for x in stack.losses} == {
        (liar.id, b, "radiometric guard") for b in BANDS
    }
    assert stack.lost.any()
    lines = [e for e in stack.ledger if e.scene == liar.id and e.band in BANDS]
    assert {(e.state, e.reason, e.detail) for e in lines} == {("found", "radiometric guard", "seen")}
    days = np.isin(stack.dates["sentinel-2-l2a"], rest.dates["sentinel-2-l2a"])
    for band in BANDS:
        assert np.array_equal(stack.arrays[band][days], rest.arrays[band])
        assert not stack.arrays[band][~days].any()


def test_a_run_says_what_was_seen_and_counts_the_loss(demo: Demo, phusa: Phusa, tmp_path: Path) -> None:
    """The record of one image says that the offset is still in its numbers; it is not."""
    path = next(sorted((demo.config.parent / "archive").glob("*/S2*.json")).__iter__())
    record = json.loads(path.read_text())
    record["properties"]["earthsearch:boa_offset_applied"] = False
    record["properties"]["s2:processing_baseline"] = "05.11"
    path.write_text(json.dumps(record))
    season, out = ("--season", demo.season), ("--out", tmp_path / "out")
    answer = phusa("features", demo.config, *season, *out, "--json")
    assert answer.code == 4, answer
    assert "taken twice" in answer.err
    rows = pyarrow.parquet.read_table(tmp_path / "out" / "ledger.parquet").to_pylist()
    mine = [r for r in rows if r["reason"] == "radiometric guard"]
    assert mine and all("taken twice" in r["detail"] and r["state"] == "found" for r in mine)
    assert json.loads((tmp_path / "out/ledger.json").read_text())["dropped"]["radiometric guard"] == len(mine)
    text = demo.config.read_text()
    for blocks in (16 * 4, 160):
        demo.config.write_text(
            f"max_loss_percent: 40\n{text}".replace("block_px: 512", f"block_px: {blocks}")
        )
        made = json.loads(phusa("features", demo.config, *season, *out, "--json").out)
        assert made["dropped"].get("radiometric guard") == 1, made
        assert 0 < made["loss_percent"] < 40
        assert made["ledger"]["dropped"]["radiometric guard"] > 0
        assert made["ledger"]["catalogued"] >= made["ledger"]["found"] >= made["ledger"]["used"] > 0


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared Flanders patches")
def test_no_real_scene_is_refused_and_lies_about_real_ones_are_seen(client: Client) -> None:
    provider = StaticProvider(
        kind="static", catalog=str(SHARED / "flanders/catalog.json"), convention="earth-search"
    )
    source = SimpleNamespace(
        sensor="sentinel-2-l2a", provider=provider, fallback=None, max_cloud_percent=100.0
    )
    season = Season("all", dt.date(2015, 1, 1), dt.date(2020, 1, 1))
    found = catalog.search([source], season, shapely.box(-180, -80, 180, 80))
    for patch in "ab":
        mine = [s for s in found.kept if s.id.endswith(f"_{patch}")]
        place = shapely.union_all([s.geometry for s in mine])
        part = replace(found, kept=tuple(mine))
        assert not any(s.refused for s in looks.refuse(part, place, 60, client).kept)
        with rasterio.open(Path(mine[0].urls["red"])) as file:
            grid = GeoBox(file.shape, file.transform, file.crs)
        read = {e.scene for e in load(mine, grid, BANDS, 60).ledger if e.band == "red" and e.state == "used"}
        twice = replace(part, kept=tuple(replace(s, offset=-1000) for s in mine))
        caught = {s.id for s in looks.refuse(twice, place, 60, client).kept if s.refused}
        assert len(caught & read) >= 0.8 * len(read)  # the others show hardly any clear land
        one = next(s for s in mine if s.id in read)
        kept = tuple(replace(s, offset=-1000) if s == one else s for s in mine)
        judged = looks.refuse(replace(part, kept=kept), place, 60, client).kept
        assert {s.id for s in judged if s.refused} == {one.id}
