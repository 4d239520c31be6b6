"""A season of local COGs for the benchmarks, and models of it: what is learnt is invented, what it costs is not.

Dates of Sentinel-2 (10 bands and SCL), half as many of Sentinel-1 in two orbits, 40 % of the ground farmland in
fields of 160 m, 30 % of each date cloud.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import zoom

from features import FeatureSpec
from models.bundle import ModelBundle
from models.samples import SampleTable
from models.targets import Target
from models.train import train
from pipeline.mapping import BlockTask, MaskFile, feature_block
from pipeline.scenes import Scene

EPSG = 32648
WEST, NORTH = 600_000, 1_100_000
FINE = ("blue", "green", "red", "nir")
COARSE = ("rededge1", "rededge2", "rededge3", "nir08", "swir16", "swir22")
INDICES = ("ndvi", "evi", "savi", "msavi", "gndvi", "ndre", "ndwi", "mndwi", "ndmi", "ndti", "bsi", "bi")
#: The spec of the features issue: 12 indices x 5 statistics and 10 bands.
OPTICAL = FeatureSpec.parse(
    [f"{i}_{s}" for i in INDICES for s in ("mean", "std", "p10", "p50", "p90")]
    + [f"{b}_p50" for b in FINE + COARSE]
)
SPEC = FeatureSpec.parse(
    [*OPTICAL.names, *(f"{b}_{s}" for b in ("vv", "vh") for s in ("mean", "p10", "p90"))]
)
FARMLAND = 1


def field(rng: np.random.Generator, size: int, cell: int) -> np.ndarray:
    """Smooth ground, about 0 to 1."""
    small = rng.random((size // cell + 2, size // cell + 2), np.float32)
    return np.asarray(zoom(small, cell, order=1))[:size, :size]


def write(path: Path, values: np.ndarray, pixel: float, nodata: float | None) -> None:
    if path.exists():  # kept from an earlier run of the same size
        return
    rows, columns = values.shape
    profile = {
        "driver": "COG", "height": rows, "width": columns, "count": 1, "dtype": values.dtype, "nodata": nodata,
        "crs": f"EPSG:{EPSG}", "transform": Affine(pixel, 0, WEST, 0, -pixel, NORTH), "compress": "DEFLATE",
        "predictor": "YES", "blocksize": 512, "overviews": "NONE",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(values, 1)


def build(folder: Path, size: int, dates: int) -> tuple[list[Scene], MaskFile]:
    """The season's COGs, and the farmland in fields of a few hectares."""
    rng = np.random.default_rng(0)
    ground = {b: field(rng, size, 64) for b in FINE + COARSE}
    box = GeoBox((size, size), Affine(10, 0, WEST, 0, -10, NORTH), f"EPSG:{EPSG}").extent.to_crs("EPSG:4326")
    footprint = box.geom.wkt
    scenes = []
    for t in range(dates):
        clouds = zoom(rng.random((size // 128 + 1,) * 2, np.float32), 64, order=1)[: size // 2, : size // 2]
        assets = {"scl": folder / f"s2_{t}_scl.tif"}
        scl = np.where(clouds > np.quantile(clouds, 0.7), 9, 4).astype(np.uint8)
        write(assets["scl"], scl, 20, 0)
        for k, band in enumerate(FINE + COARSE):
            side, step = (size, 1) if band in FINE else (size // 2, 2)
            season = 0.3 * np.sin(2 * np.pi * (t / dates + k / 10))
            noise = rng.normal(0, 60, (side, side)).astype(np.float32)
            numbers = 800 + 2500 * (ground[band][::step, ::step] + season) + noise
            assets[band] = folder / f"s2_{t}_{band}.tif"
            write(assets[band], np.clip(numbers, 1, 10000).astype(np.uint16), 10 * step, 0)
        scenes.append(_scene("sentinel-2-l2a", t, footprint, assets, None))
    for t in range(max(dates // 2, 1)):
        assets = {b: folder / f"s1_{t}_{b}.tif" for b in ("vv", "vh")}
        for path in assets.values():
            power = (0.05 + 0.1 * ground["red"]) * rng.gamma(5, 0.2, (size, size))
            write(path, power.astype(np.float32), 10, -32768)
        scenes.append(_scene("sentinel-1-rtc", t, footprint, assets, str(18 + 37 * (t % 2))))
    fields = np.kron(rng.random((size // 16 + 1,) * 2) < 0.4, np.ones((16, 16), np.uint8))[:size, :size]
    write(folder / "farmland.tif", fields.astype(np.uint8), 10, 255)
    return scenes, MaskFile(str(folder / "farmland.tif"), (FARMLAND,))


def _scene(sensor: str, t: int, footprint: str, assets: dict[str, Path], orbit: str | None) -> Scene:
    day = dt.datetime(2024, 12, 1, 3, tzinfo=dt.UTC) + dt.timedelta(days=(5 if orbit is None else 10) * t)
    return Scene(
        f"{sensor}-{t}", sensor, sensor, day.isoformat(), footprint, tuple((b, str(p)) for b, p in assets.items()),
        EPSG, platform="A", orbit=orbit, baseline="05.11", nodata=-32768 if orbit else None,
    )  # fmt: skip


def blocks(scenes: Sequence[Scene], mask: MaskFile | None, size: int, block: int) -> list[BlockTask]:
    whole = GeoBox((size, size), Affine(10, 0, WEST, 0, -10, NORTH), f"EPSG:{EPSG}")
    tasks = []
    for y in range(0, size, block):
        for x in range(0, size, block):
            geobox = whole[y : min(y + block, size), x : min(x + block, size)]
            area = shapely.box(*geobox.boundingbox.bbox)
            tasks.append(
                BlockTask(
                    f"{y}-{x}", geobox, (y, x), area, tuple(scenes), 60, dt.date(2025, 4, 30), mask,
                    targets=("salinity", "degradation"),
                )
            )  # fmt: skip
    return tasks


def bundles(task: BlockTask) -> list[ModelBundle]:
    """Both targets, trained on 500 pixels of one block; what is learnt is invented."""
    cube = feature_block(task, SPEC).arrays["features"].reshape(len(SPEC.names), -1)
    rng = np.random.default_rng(1)
    at = rng.choice(np.flatnonzero(~np.isnan(cube).any(axis=0)), 500, replace=False)
    X = cube[:, at].T
    signal = (X - X.mean(axis=0)) / X.std(axis=0) @ rng.normal(0, 0.1, X.shape[1]) + rng.normal(0, 0.3, 500)
    rows, columns = np.divmod(at, task.geobox.shape.x)
    frame = pd.DataFrame(dict(zip(SPEC.names, X.T, strict=True))).assign(
        sample_id=[str(k) for k in range(500)], group="", season="s", date="2025-03-01", lon=105.0, lat=10.0,
        epsg=EPSG, x=WEST + 10.0 * columns, y=NORTH - 10.0 * rows, salinity=np.exp(signal),
        degradation=np.digitize(signal, np.quantile(signal, [0.25, 0.5, 0.75])) + 1.0,
    )  # fmt: skip
    title = {"vi": "Đất", "en": "Soil"}
    grades = [
        {"code": k, "name": f"c{k}", "title": title, "colour": "#000000"} for k in range(1, 5)
    ]  # fmt: skip
    targets = [
        {"name": "salinity", "kind": "regression", "unit": "dS/m", "transform": "log", "thresholds": [4, 8],
         "model": {"trees": 500, "leaves": 15}},
        {"name": "degradation", "kind": "class", "classes": grades, "bad_classes": ["c3", "c4"],
         "model": {"trees": 225, "leaves": 7}},
    ]  # fmt: skip
    table = SampleTable(frame, SPEC)
    return [
        train(table, Target.model_validate(t | {"title": title, "status": "unverified"})) for t in targets
    ]
