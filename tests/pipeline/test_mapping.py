"""Why pixels are not mapped."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from odc.geo.geobox import GeoBox

import features
from features.bands import BANDS
from models.bundle import ModelBundle
from pipeline import catalog, learning, mapping, runner, strips
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.demo import world as w
from pipeline.load import load
from pipeline.mapping import BlockTask, MaskFile, feature_block, map_block
from pipeline.product import FAILED, MAPPED, MASKED, NO_CLEAR_DATE, OUTSIDE, UNKNOWN_GROUND, bands_of, encode
from pipeline.scenes import Scene

SIDE = 160


@pytest.fixture(scope="module")
def bundle(original_demo: Demo) -> ModelBundle:
    config = Config.read(original_demo.config)
    with runner.cluster("threads") as client:
        gathered = learning.gather(config, client, config.samples)
    assert gathered.table is not None
    target = config.target("salinity")
    small = target.model_copy(update={"model": target.model.model_copy(update={"trees": 5})})
    return learning.fit(gathered.table, small)


def reasons(demo: Demo, bundle: ModelBundle, found: tuple[Scene, ...], **more: object) -> np.ndarray:
    geobox = GeoBox((SIDE, SIDE), demo.world.transform, f"EPSG:{w.EPSG}")
    whole = shapely.box(*geobox.boundingbox.bbox)
    settings = {"area": whole, "mask": None} | more
    task = BlockTask(
        "48PXS/0-0",
        geobox,
        (0, 0),
        settings["area"],
        found,
        60,
        dt.date(2025, 4, 30),
        settings["mask"],
        targets=("salinity",),
    )  # type: ignore[arg-type]
    stored = map_block(task, [bundle]).arrays["salinity"]
    names = [band.name for band in bands_of(bundle.target)]
    reason = stored[names.index("reason")]
    assert np.array_equal(stored[names.index("estimate")] != -32768, reason == MAPPED)
    return reason


def write_mask(path: Path, classes: np.ndarray, demo: Demo) -> None:
    with rasterio.open(
        path, "w", driver="GTiff", width=SIDE, height=SIDE, count=1, dtype="uint8",
        crs=f"EPSG:{w.EPSG}", transform=demo.world.transform,
    ) as file:  # fmt: skip
        file.write(classes, 1)


def under(scenes: list[Scene], demo: Demo) -> np.ndarray:
    """Pixels whose centre lies in a footprint, by a test of each point."""
    a = demo.world.transform
    x, y = np.meshgrid(a.c + 10 * (np.arange(SIDE) + 0.5), a.f - 10 * (np.arange(SIDE) + 0.5))
    lon, lat = pyproj.Transformer.from_crs(w.EPSG, 4326, always_xy=True).transform(x, y)
    return np.asarray(shapely.contains_xy(shapely.union_all([s.geometry for s in scenes]), lon, lat))


def test_failed_is_only_what_a_loss_took(demo: Demo, bundle: ModelBundle) -> None:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    optical = [s for s in found if s.sensor == "sentinel-2-l2a"]
    for scene in optical:  # nothing is ever clear in the top rows
        with rasterio.open(scene.urls["scl"], "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            scl = file.read(1)
            scl[:20] = 9
            file.write(scl, 1)
    clear = reasons(demo, bundle, found)
    assert set(np.unique(clear)) == {
        MAPPED,
        NO_CLEAR_DATE,
        UNKNOWN_GROUND,
    }  # no radar, or no slope on the rim
    assert (clear[:40] == NO_CLEAR_DATE).all()
    eastern = [s for s in optical if "48PYS" in s.id]
    for scene in eastern:
        Path(scene.urls["scl"]).unlink()
    lost = reasons(demo, bundle, found)
    east = under(eastern, demo)
    assert 0 < east.sum() < east.size
    edge = np.zeros_like(east)  # a footprint's edge may cut a pixel
    edge[:, 1:] |= east[:, 1:] != east[:, :-1]
    edge[:, :-1] |= east[:, 1:] != east[:, :-1]
    assert (lost[:40][east[:40] & ~edge[:40]] == FAILED).all()
    assert (lost[:40][~east[:40] & ~edge[:40]] == NO_CLEAR_DATE).all()
    assert (lost[~east & ~edge] == clear[~east & ~edge]).all()


def test_outside_and_masked_come_first(demo: Demo, bundle: ModelBundle, tmp_path: Path) -> None:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    land = np.ones((SIDE, SIDE), np.uint8)
    land[:, 100:] = 7
    mask = tmp_path / "land.tif"
    write_mask(mask, land, demo)
    a = demo.world.transform
    area = shapely.box(a.c, a.f - 10 * SIDE, a.c + 10 * 130, a.f - 10 * 30)
    reason = reasons(demo, bundle, found, area=area, mask=MaskFile(str(mask), (1, 2)))
    assert (reason[:30] == OUTSIDE).all()
    assert (reason[:, 130:] == OUTSIDE).all()
    assert (reason[30:, 100:130] == MASKED).all()
    assert set(np.unique(reason[30:, :100])) == {MAPPED, NO_CLEAR_DATE, UNKNOWN_GROUND}


def whole_block(task: BlockTask, bundle: ModelBundle, ground: np.ndarray) -> np.ndarray:
    """The stored bands computed from all pixels of the block at once, reasons left out."""
    bands = [band for band in BANDS if band in bundle.spec.bands]
    stack = load(task.scenes, task.geobox, bands, task.dilate_m)
    until = np.datetime64(task.until, "D")
    cube = features.block(stack.arrays, bundle.spec, dates=stack.dates, orbits=stack.orbits, until=until)
    cube[:, ~ground | (stack.clear_dates == 0)] = np.nan
    layers = dict(bundle.predict(cube))
    layers["clear_dates"] = np.where(ground, stack.clear_dates.astype(np.float32), np.nan)
    return encode(layers, bands_of(bundle.target)[:-1])


@pytest.mark.parametrize("strip", [1, 700, 10**6])
def test_strips_of_the_ground_give_the_bands_of_the_whole_block(
    demo: Demo, bundle: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strip: int
) -> None:
    monkeypatch.setattr(strips, "STRIP_PIXELS", strip)
    monkeypatch.setattr(mapping, "TILE_PX", 16)
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    rng = np.random.default_rng(0)
    ground = np.zeros((SIDE, SIDE), np.bool_)
    # a strip of one pixel is slow: few of them do
    ground[37:150, 50:90] = rng.random((113, 40)) < (0.01 if strip == 1 else 0.4)
    mask = tmp_path / "land.tif"
    write_mask(mask, np.where(ground, 1, 7).astype(np.uint8), demo)
    geobox = GeoBox((SIDE, SIDE), demo.world.transform, f"EPSG:{w.EPSG}")
    task = BlockTask(
        "48PXS/0-0", geobox, (0, 0), shapely.box(*geobox.boundingbox.bbox), found, 60, dt.date(2025, 4, 30),
        MaskFile(str(mask), (1,)), targets=("salinity",),
    )  # fmt: skip
    result = map_block(task, [bundle])
    stored = result.arrays["salinity"]
    assert np.array_equal(stored[:-1], whole_block(task, bundle, ground))
    assert np.array_equal(stored[-1] == MASKED, ~ground)
    assert result.ground_px == ground.sum() and (stored[-1] == MAPPED).any()
    cube = feature_block(task, bundle.spec).arrays["features"]
    assert np.isnan(cube[:, ~ground]).all() and not np.isnan(cube[:, ground]).all()


def test_a_block_without_ground_reads_nothing(demo: Demo, bundle: ModelBundle, tmp_path: Path) -> None:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    mask = tmp_path / "land.tif"
    write_mask(mask, np.full((SIDE, SIDE), 7, np.uint8), demo)
    geobox = GeoBox((SIDE, SIDE), demo.world.transform, f"EPSG:{w.EPSG}")
    task = BlockTask(
        "48PXS/0-0", geobox, (0, 0), shapely.box(*geobox.boundingbox.bbox), found, 60, dt.date(2025, 4, 30),
        MaskFile(str(mask), (1,)), targets=("salinity",),
    )  # fmt: skip
    result = map_block(task, [bundle])
    assert (result.arrays["salinity"][:-1] == -32768).all() and (
        result.arrays["salinity"][-1] == MASKED
    ).all()
    assert (result.reads, result.ground_px, result.failed_px, result.losses) == (0, 0, 0, ())
    assert np.isnan(feature_block(task, bundle.spec).arrays["features"]).all()
