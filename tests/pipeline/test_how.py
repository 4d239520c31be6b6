"""Pixels as they are read: a second opinion on clouds, and smoothed speckle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from scipy.ndimage import binary_dilation

from features.speckle import lee
from pipeline import catalog
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.demo import world as w
from pipeline.errors import InputError
from pipeline.load import load
from pipeline.plan import product_settings
from pipeline.scenes import Scene
from pipeline.sensors import How


def scenes(demo: Demo, sensor: str) -> list[Scene]:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    return [s for s in found if s.sensor == sensor]


def grid(demo: Demo) -> GeoBox:
    side = demo.world.salinity.shape[0]
    return GeoBox((side, side), demo.world.transform, f"EPSG:{w.EPSG}")


@pytest.fixture(scope="module")
def doubted(original_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """Every scene with a cloud probability that sees one more cloud, and says 255 in a corner."""
    found = []
    for scene in scenes(original_demo, "sentinel-2-l2a"):
        path = tmp_path_factory.mktemp("cloud") / "cloud.tif"
        with rasterio.open(scene.urls["scl"]) as scl:
            profile, shape = scl.profile, scl.shape
        values = np.full(shape, 20, np.uint8)
        values[10:20, 30:34] = 65
        values[40:44, 30:34] = 64
        values[:5, :5] = 255
        with rasterio.open(path, "w", **profile) as file:
            file.write(values, 1)
        found.append(replace(scene, cloud_url=str(path)))
    return found


def test_a_second_opinion_adds_clouds_and_they_grow(original_demo: Demo, doubted: list[Scene]) -> None:
    place = grid(original_demo)
    one = [s for s in doubted if "48PXS" in s.id]
    plain = load([replace(s, cloud_url="") for s in one], place, ["red"], 60)
    stack = load(one, place, ["red"], 60)
    extra = np.zeros(place.shape.yx, np.bool_)
    extra[20:40, 60:68] = True
    disk = np.hypot(*np.mgrid[-6:7, -6:7]) <= 6
    gone = binary_dilation(extra, structure=disk)
    assert np.array_equal(stack.arrays["red"], np.where(gone, 0, plain.arrays["red"]))
    assert (stack.clear_dates < plain.clear_dates).any()
    assert not stack.losses
    lines = [e for e in stack.ledger if e.band == "cloud"]
    assert {(e.state, e.reason) for e in lines} == {("used", "")}
    part = load(one, place[15:60, 50:90], ["red"], 60)
    assert np.array_equal(part.arrays["red"], stack.arrays["red"][:, 15:60, 50:90])


def test_the_threshold_is_the_configs(original_demo: Demo, doubted: list[Scene]) -> None:
    place = grid(original_demo)
    seen = [
        int((load(doubted, place, ["red"], 0, how=How(percent)).arrays["red"] > 0).sum())
        for percent in (10, 64, 65, 66, 101)
    ]
    assert seen[0] < seen[1] < seen[2] < seen[3] == seen[4]


def test_a_second_opinion_that_cannot_be_had_is_told_and_is_no_loss(
    original_demo: Demo, doubted: list[Scene], tmp_path: Path
) -> None:
    place = grid(original_demo)
    gone = [replace(s, cloud_url=str(tmp_path / "none.tif")) for s in doubted]
    stack = load(gone, place, ["red"], 60)
    plain = load([replace(s, cloud_url="") for s in doubted], place, ["red"], 60)
    assert np.array_equal(stack.arrays["red"], plain.arrays["red"])
    assert (stack.losses, stack.reads) == ([], plain.reads)
    lines = {(e.state, e.reason) for e in stack.ledger if e.band == "cloud"}
    assert lines == {("catalogued", "missing asset")}


def test_speckle_is_smoothed_alike_in_blocks_of_any_size(original_demo: Demo) -> None:
    found, place = scenes(original_demo, "sentinel-1-rtc"), grid(original_demo)
    plain = load(found, place, ["vv", "vh"], 60).arrays
    how = How(lee_radius=3)
    whole = load(found, place, ["vv", "vh"], 60, how=how).arrays
    part = load(found, place[40:90, 33:101], ["vv", "vh"], 60, how=how).arrays
    for band in ("vv", "vh"):
        assert np.array_equal(np.isnan(whole[band]), np.isnan(plain[band]))
        for t, power in enumerate(plain[band]):
            np.testing.assert_array_equal(whole[band][t], lee(power, 3, 4.4))
        assert np.array_equal(part[band], whole[band][:, 40:90, 33:101], equal_nan=True)
        assert not np.array_equal(whole[band], plain[band], equal_nan=True)


def test_the_config_asks_for_both(demo: Demo) -> None:
    text = demo.config.read_text()
    plain = Config.read(demo.config)
    assert plain.how == How()
    extra = "speckle: {filter: lee, radius_px: 2, looks: 5}\nclouds: {probability_percent: 40}\n"
    demo.config.write_text(text + extra)
    config = Config.read(demo.config)
    assert config.how == How(40, 2, 5)
    season = config.season(demo.season)
    assert product_settings(config, season) != product_settings(plain, season)
    demo.config.write_text(text + "speckle: {filter: gamma}\n")
    with pytest.raises(InputError, match="speckle"):
        Config.read(demo.config)
