"""What does a season cost beside decoding its pixels? Local COGs, both targets, one run, medians.

24 dates of Sentinel-2 (10 bands and SCL) and 12 of Sentinel-1 in two orbits, 40 % of the ground farmland in
fields, 30 % of each date cloud; some 1,500 trees, 500 training rows. Decoding reads the same files with the
same library and nothing else. One thread; processor time, so that what else runs weighs less; only what two
workers gain is wall time. `python benchmarks/season.py [--size 4096] [--block 2048] [--dates 24] [--keep DIR]`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# benchmarks/features.py must not hide the package of the same name.
HERE = Path(__file__).resolve().parent
sys.path[:] = [place for place in sys.path if Path(place).resolve() != HERE]
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS"), "1")

import argparse
import datetime as dt
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from scipy.ndimage import zoom

from features import FeatureSpec
from models.bundle import ModelBundle
from models.samples import SampleTable
from models.targets import Target
from models.train import train
from pipeline.facts import GDAL
from pipeline.load import load
from pipeline.mapping import BlockTask, MaskFile, feature_block, map_block
from pipeline.scenes import Scene
from pipeline.strips import Strips

REPEATS = 3
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


def decode(tasks: Sequence[BlockTask], bands: Sequence[str]) -> None:
    """Read the windows of all bands of all dates into one reused buffer each size."""
    buffers: dict[tuple[Any, ...], np.ndarray] = {}
    with rasterio.Env(**GDAL):
        for task in tasks:
            rows, columns = task.geobox.shape
            for scene in task.scenes:
                for band, path in scene.assets:
                    if band not in (*bands, "scl") or (band == "scl" and "red" not in bands):
                        continue
                    with rasterio.open(path) as file:
                        step = round(file.res[0] / 10)
                        place = [v // step for v in (task.offset[1], task.offset[0], columns, rows)]
                        key = (place[3], place[2], file.dtypes[0])
                        buffer = buffers.setdefault(key, np.empty(key[:2], key[2]))
                        file.read(1, window=Window(*place), out=buffer)


def race(work: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median processor seconds of each, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def streamed(task: BlockTask, spec: FeatureSpec) -> None:
    """Load, and features as maps take them: strip by strip, never kept."""
    shape = task.geobox.shape.yx
    whole = slice(0, shape[0]), slice(0, shape[1])
    strips = Strips(load(task.scenes, task.geobox, spec.bands, 60), np.ones(shape, np.bool_), whole)
    for at, _ in strips:
        strips.features(at, spec, task.until)


def mapped(task: BlockTask, made: Sequence[ModelBundle]) -> int:
    """A worker's task: peak memory of this process so far, in KiB."""
    map_block(task, made)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def ready(made: Sequence[ModelBundle], task: BlockTask) -> int:
    small = task.geobox[:64, :64]
    first = replace(task, geobox=small, area=shapely.box(*small.boundingbox.bbox), mask=None)
    return mapped(first, made)


def workers(tasks: Sequence[BlockTask], made: Sequence[ModelBundle]) -> None:
    """Peak memory of a worker, and what a second one gains."""
    context, walls = multiprocessing.get_context("spawn"), []
    for count in (1, 2):
        with ProcessPoolExecutor(count, context) as pool:
            empty = max(pool.map(partial(ready, made), [tasks[0]] * count))
            start = time.perf_counter()
            peak = max(pool.map(mapped, tasks, [made] * len(tasks)))
            walls.append(time.perf_counter() - start)
        print(
            f"{count} worker(s): {walls[-1]:.1f} s wall for {len(tasks)} blocks; peak of a worker "
            f"{peak / 1e6:.2f} GB, of it {empty / 1e6:.2f} GB before the first block", flush=True
        )  # fmt: skip
    print(f"2 workers are {walls[0] / walls[1]:.2f} times as fast as 1")


def run(folder: Path, size: int, block: int, dates: int, repeats: int) -> None:
    scenes, mask = build(folder, size, dates)
    tasks, bare = blocks(scenes, mask, size, block), blocks(scenes, None, size, block)
    stored = sum(p.stat().st_size for p in folder.iterdir()) / 1e9
    print(
        f"{size} x {size} px, {dates} dates, {stored:.2f} GB of COGs, {len(tasks)} block(s) of {block}",
        flush=True,
    )
    start = time.process_time()
    made = bundles(tasks[0])
    trees = sum(text.count("\nTree=") for b in made for text in b.boosters.values())
    print(
        f"trained in {time.process_time() - start:.0f} s: {trees} trees, 500 rows, {len(SPEC.names)} features"
    )
    first, optical = tasks[:1], OPTICAL.bands
    map_block(first[0], made), feature_block(first[0], OPTICAL)  # compiles
    found = race(
        {
            "decode": lambda: decode(first, optical),
            "load": lambda: load(scenes, first[0].geobox, optical, 60),
            "load and features": lambda: streamed(bare[0], OPTICAL),
            "features command": lambda: feature_block(bare[0], OPTICAL),
            "features command, farmland": lambda: feature_block(first[0], OPTICAL),
            "decode with S1": lambda: decode(first, SPEC.bands),
            "map step": lambda: map_block(first[0], made),
            "map step without a mask": lambda: map_block(bare[0], made),
        },
        repeats,
    )
    for name, seconds in found.items():
        whole = found["decode with S1" if "map" in name or "S1" in name else "decode"]
        goal = {"load and features": " (goal 1.8)", "map step": " (goal 3.5, stretch 2.5)"}.get(name, "")
        print(f"{name}: {seconds:.2f} s a block, {seconds / whole:.2f} x decode{goal}", flush=True)
    several = [n for n in (1, 2, 4) if n <= len(tasks)]
    if len(several) > 1:
        many = {str(n): lambda n=n: [map_block(t, made) for t in tasks[:n]] for n in several}
        each = race(many, 1)
        shares = ", ".join(f"{n}: {s / int(n):.2f} s" for n, s in each.items())
        print(f"seconds a block of 1, 2 and 4 blocks (goal: equal within 10 %): {shares}")
        workers(tasks[:4], made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="side in pixels of 10 m")
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--keep", type=Path, help="folder to build the COGs in once, for runs of one size")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        folder = given.keep or Path(aside)
        folder.mkdir(parents=True, exist_ok=True)
        run(folder, given.size, given.block, given.dates, given.repeats)


if __name__ == "__main__":
    main()
