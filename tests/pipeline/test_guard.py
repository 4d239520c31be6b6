"""Scenes whose records lie of the offset are dropped; real and sound ones are not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from support import SHARED

from pipeline import catalog, guard
from pipeline.config import Config
from pipeline.demo import Demo, build
from pipeline.demo import world as w
from pipeline.load import load
from pipeline.providers import StaticProvider
from pipeline.scenes import Scene
from pipeline.season import Season

BANDS = ("blue", "red", "nir", "swir16")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """Numbers that carry the offset since baseline 04.00."""
    folder = tmp_path_factory.mktemp("raw")
    return build(
        folder, seed=7, size=160, sites=5, optical_dates=4, radar_dates=1, convention="planetary-computer"
    )


def scenes(demo: Demo) -> list[Scene]:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    return [s for s in found if s.sensor == "sentinel-2-l2a"]


def window(demo: Demo) -> GeoBox:
    side = demo.world.salinity.shape[0]
    return GeoBox((side, side), demo.world.transform, f"EPSG:{w.EPSG}")


def suspected(found: list[Scene], demo: Demo) -> set[str]:
    stack = load(found, window(demo), BANDS, 0)
    assert stack.losses == []
    told = [e for e in stack.ledger if e.reason == "radiometric guard"]
    for line in told:
        assert line.state == "used"
        assert any(word in line.detail for word in ("clip", "darkest", "step"))
    return {line.scene for line in told}


def test_sound_records_are_believed(raw: Demo, original_demo: Demo) -> None:
    assert suspected(scenes(raw), raw) == set()
    assert suspected(scenes(original_demo), original_demo) == set()


def test_an_offset_that_was_not_taken_off_is_seen(raw: Demo) -> None:
    found = scenes(raw)
    liars = {s.id for s in found if s.offset == -1000}
    assert liars
    assert suspected([replace(s, offset=0) for s in found], raw) == liars


def test_an_offset_that_was_taken_twice_is_seen(raw: Demo) -> None:
    found = scenes(raw)
    liars = {s.id for s in found if s.offset == 0}
    assert suspected([replace(s, offset=-1000, baseline="05.11") for s in found], raw) == liars


def test_a_suspicion_changes_no_pixel_so_blocks_of_any_size_agree(raw: Demo) -> None:
    found = [replace(s, offset=0) for s in scenes(raw)]
    place = window(raw)
    whole = load(found, place, BANDS, 0)
    part = load(found, place[40:60, 40:60], BANDS, 0)
    for band in BANDS:
        assert np.array_equal(part.arrays[band], whole.arrays[band][:, 40:60, 40:60])


def test_a_step_between_baselines_is_an_offset_only_if_all_bands_move_alike() -> None:
    rng = np.random.default_rng(3)
    ground = {b: rng.integers(1500, 4000, (30, 30)) for b in ("blue", "red", "nir")}
    noise = {b: rng.integers(-60, 60, (6, 30, 30)) for b in ground}
    groups = ["old"] * 4 + ["new"] * 2

    def told(blue: int, red: int, nir: int) -> set[int]:
        moved = {"blue": blue, "red": red, "nir": nir}
        series = {b: (ground[b] + noise[b]).astype(np.int32) for b in ground}
        for band, step in moved.items():
            series[band][4:] += step
        return set(guard.steps({b: v.astype(np.uint16) for b, v in series.items()}, groups))

    assert told(0, 0, 0) == set()
    assert told(1000, 1000, 1000) == {4, 5}
    assert told(-1000, -1000, -1000) == {4, 5}
    assert told(1000, 900, 100) == set()  # haze
    assert told(400, 400, 400) == set()
    assert guard.steps({b: ground[b][None].astype(np.uint16) for b in ground}, ["old"]) == {}


def test_bright_land_and_dark_water_are_no_evidence() -> None:
    desert = {b: np.full((20, 20), 3000, np.uint16) for b in ("blue", "red", "swir16")}
    assert guard.judge(desert, np.full((20, 20), guard.BARE, np.uint8)) == ""
    water = {b: np.ones((20, 20), np.uint16) for b in ("blue", "red", "swir16")}
    assert guard.judge(water, np.full((20, 20), guard.WATER, np.uint8)) == ""
    assert guard.judge(water, np.zeros((20, 20), np.uint8)) == ""
    assert "taken twice" in guard.judge(water, np.full((20, 20), guard.VEGETATION, np.uint8))
    assert "not taken off" in guard.judge(desert, np.full((20, 20), guard.VEGETATION, np.uint8))
    assert guard.judge(water, np.eye(20, dtype=np.uint8) * guard.BARE) == ""  # too few pixels


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared Flanders patches")
def test_no_real_scene_is_suspected_and_lies_about_real_ones_are_seen() -> None:
    provider = StaticProvider(
        kind="static", catalog=str(SHARED / "flanders/catalog.json"), convention="earth-search"
    )
    source = SimpleNamespace(
        sensor="sentinel-2-l2a", provider=provider, fallback=None, max_cloud_percent=100.0
    )
    season = Season("all", dt.date(2015, 1, 1), dt.date(2020, 1, 1))
    found = catalog.search([source], season, shapely.box(-180, -80, 180, 80)).kept
    for patch in "ab":
        mine = [s for s in found if s.id.endswith(f"_{patch}")]
        with rasterio.open(Path(mine[0].urls["red"])) as file:
            grid = GeoBox(file.shape, file.transform, file.crs)
        sound = load(mine, grid, BANDS, 60)
        assert sound.losses == []
        assert not [e for e in sound.ledger if e.reason == "radiometric guard"]
        read = {e.scene for e in sound.ledger if e.band == "red" and e.state == "used"}
        twice = load([replace(s, offset=-1000) for s in mine], grid, BANDS, 60)
        caught = {e.scene for e in twice.ledger if e.reason == "radiometric guard"}
        assert caught <= read
        assert len(caught) >= 0.8 * len(read)
