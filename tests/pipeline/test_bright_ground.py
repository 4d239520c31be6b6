"""Bright salt that is called cloud on nearly every date is restored; true clouds are not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox

from features import clouds
from pipeline import catalog
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.demo import world as w
from pipeline.load import load
from pipeline.scenes import Scene

DATES = 10
SALT, CLOUD = np.s_[20:30, 10:20], np.s_[40:50, 10:20]  # in pixels of 20 m


def wide(part: tuple[slice, slice]) -> tuple[slice, slice]:
    return slice(2 * part[0].start, 2 * part[0].stop), slice(2 * part[1].start, 2 * part[1].stop)


@pytest.fixture(scope="module")
def season(original_demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[GeoBox, list[Scene]]:
    """Ten dates of one granule: salt that is always called cloud, a place that always is cloudy, and one
    date with true cloud over the salt."""
    config = Config.read(original_demo.config)
    found = catalog.search(config.sources, config.season(original_demo.season), config.region.geometry)
    first = next(s for s in found.of("sentinel-2-l2a") if "48PXS" in s.id)
    rng, folder, made = np.random.default_rng(3), tmp_path_factory.mktemp("bright"), []
    for k in range(DATES):
        paths = {}
        for band in ("scl", "blue", "red"):
            with rasterio.open(first.urls[band]) as file:
                values, profile = file.read(1), file.profile
            if band == "scl":
                values[:] = 5
                values[SALT] = 8 + k % 2
                values[CLOUD] = 9
            else:
                values[:] = 1500
                values[wide(SALT)] = 4200 + rng.integers(-120, 120, (20, 20))
                values[wide(CLOUD)] = rng.integers(1800, 9500)
                if k == 7:
                    values[wide(SALT)] = 8000
            paths[band] = str(folder / f"{k}_{band}.tif")
            with rasterio.open(paths[band], "w", **profile) as file:
                file.write(values, 1)
        day = dt.datetime(2025, 1, 1, 3, tzinfo=dt.UTC) + dt.timedelta(days=5 * k)
        made.append(
            replace(first, id=f"d{k}", datetime=day.isoformat(), assets=tuple(paths.items()), offset=0)
        )
    side = original_demo.world.salinity.shape[0]
    grid = GeoBox((side, side), original_demo.world.transform, f"EPSG:{w.EPSG}")
    return grid[:, : rasterio.open(first.urls["red"]).width], made


def test_salt_is_restored_and_cloud_is_not(season: tuple[GeoBox, list[Scene]]) -> None:
    grid, scenes = season
    stack = load(scenes, grid, ["red"], 60)
    seen = stack.arrays["red"] > 0
    salt, cloud = wide(SALT), wide(CLOUD)
    assert seen[:, salt[0], salt[1]].all(axis=(1, 2)).tolist() == [k != 7 for k in range(DATES)]
    assert not seen[7, salt[0], salt[1]].any()  # true cloud over the salt
    assert not seen[:, cloud[0], cloud[1]].any()
    ring = np.s_[:, salt[0].start - 4 : salt[0].start, salt[1]]
    assert seen[ring].all(axis=(1, 2)).tolist() == [k != 7 for k in range(DATES)]  # nor is salt grown
    told = {e.scene: e.detail for e in stack.ledger if e.band == "scl"}
    assert "400 pixels are called cloud nearly always" in told["d0"]
    assert told["d7"] == ""


def test_blocks_of_any_size_agree(season: tuple[GeoBox, list[Scene]]) -> None:
    grid, scenes = season
    whole = load(scenes, grid, ["red"], 60).arrays["red"]
    for rows, columns in ((slice(0, 45), slice(0, 30)), (slice(57, 110), slice(33, 40))):
        part = load(scenes, grid[rows, columns], ["red"], 60).arrays["red"]
        assert np.array_equal(part, whole[:, rows, columns])


def test_few_dates_tell_nothing(season: tuple[GeoBox, list[Scene]]) -> None:
    grid, scenes = season
    stack = load(scenes[:5], grid, ["red"], 60)
    assert not stack.arrays["red"][:, wide(SALT)[0], wide(SALT)[1]].any()


def test_steady_is_what_keeps_its_brightness() -> None:
    rng = np.random.default_rng(0)
    salt = rng.normal(4000, 100, (12, 50))
    salt[3] = 9000
    sky = rng.uniform(2000, 9000, (12, 50))
    blue = np.concatenate([salt, sky], axis=1).clip(1).astype(np.uint16)
    blue[5, 0] = 0
    found = clouds.steady(blue)
    expected = np.ones((12, 50), np.bool_)
    expected[3] = expected[5, 0] = False
    assert (found[:, :50] == expected).mean() > 0.99
    assert not found[5, 0] and not found[3].any()
    assert found[:, 50:].any(axis=0).mean() < 0.05
    assert not clouds.steady(np.zeros((12, 4), np.uint16)).any()
