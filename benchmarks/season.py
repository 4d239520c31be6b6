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

# benchmarks/features.py must not hide the package of the same name: this folder comes last.
HERE = Path(__file__).resolve().parent
sys.path[:] = [*(place for place in sys.path if Path(place).resolve() != HERE), str(HERE)]
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS"), "1")

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import rasterio
import shapely
from rasterio.windows import Window
from support.memory import most_memory
from support.race import race
from support.season import OPTICAL, SPEC, blocks, build, bundles

from features import FeatureSpec
from models.bundle import ModelBundle
from pipeline.facts import GDAL
from pipeline.load import load
from pipeline.mapping import BlockTask, feature_block, map_block
from pipeline.strips import Strips

REPEATS = 3


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


def streamed(task: BlockTask, spec: FeatureSpec) -> None:
    """Load, and features as maps take them: strip by strip, never kept."""
    shape = task.geobox.shape.yx
    whole = slice(0, shape[0]), slice(0, shape[1])
    strips = Strips(load(task.scenes, task.geobox, spec.bands, 60), np.ones(shape, np.bool_), whole)
    for at, _ in strips:
        strips.features(at, spec, task.until)


def mapped(task: BlockTask, made: Sequence[ModelBundle]) -> int:
    """A worker's task: peak memory of this process so far, in bytes."""
    map_block(task, made)
    return most_memory()


def ready(made: Sequence[ModelBundle], task: BlockTask) -> int:
    small = task.geobox[:64, :64]
    first = replace(task, geobox=small, area=shapely.box(*small.boundingbox.bbox), mask=None)
    return mapped(first, made)


def workers(tasks: Sequence[BlockTask], made: Sequence[ModelBundle]) -> None:
    """Peak memory of a worker, and what a second one gains, each way twice in turns."""
    context = multiprocessing.get_context("spawn")
    walls: dict[int, list[float]] = {1: [], 2: []}
    for count in (1, 2, 1, 2):
        with ProcessPoolExecutor(count, context) as pool:
            empty = max(pool.map(partial(ready, made), [tasks[0]] * count))
            start = time.perf_counter()
            peak = max(pool.map(mapped, tasks, [made] * len(tasks)))
            walls[count].append(time.perf_counter() - start)
        print(
            f"{count} worker(s): {walls[count][-1]:.1f} s wall for {len(tasks)} blocks; peak of a worker "
            f"{peak / 1e9:.2f} GB, of it {empty / 1e9:.2f} GB before the first block", flush=True
        )  # fmt: skip
    print(f"2 workers are {min(walls[1]) / min(walls[2]):.2f} times as fast as 1")


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
