"""What drives the map, on a coarse grid: the three features that move each place most, and by how much."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from rasterio.windows import Window

from models.bundle import ModelBundle
from models.explain import explain
from pipeline import losses, mapping, product, runner
from pipeline.config import Config
from pipeline.drive import Progress
from pipeline.errors import InputError, PhusaError
from pipeline.files import json_text, scratch_folder, write_aside
from pipeline.grid import Tile, lonlat_box, tiles
from pipeline.load import load
from pipeline.mapping import BlockTask
from pipeline.plan import block_tasks
from pipeline.production import silent
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stack import Loss

TOP = 3
BANDS = tuple(f"driver{k}" for k in range(1, TOP + 1)) + tuple(f"contribution{k}" for k in range(1, TOP + 1))
#: Step of stored contributions to a logarithm or a logit; to a quantity it is the target's own.
STEP = 0.001


@dataclass(frozen=True)
class Drivers:
    """Files that were written, and what was lost on the way."""

    files: list[Path]
    legend: Path
    loss_percent: float
    lost: dict[str, int]


def write(
    config: Config, season: Season, found: Scenes, bundle: ModelBundle, out: Path, client: Client,
    cell_m: int = 100, progress: Progress = silent,
) -> Drivers:  # fmt: skip
    """``out/<tile>_<target>_drivers.tif`` and ``<target>_drivers.json``, its legend.

    int16: bands ``driver1..3`` hold codes of features (tag CLASSES), ``contribution1..3`` what each adds to
    the score (signed, scaled; see ``models.explain``). Each square of ``cell_m`` shows the pixel in its
    middle; not mapped there, nothing is shown. Raises InputError where ``cell_m`` is no multiple of the map's
    pixels, LossError beyond ``max_loss_percent``, and PhusaError where a block failed.
    """
    resolution = config.region.grid.resolution_m
    if cell_m < resolution or cell_m % resolution:
        raise InputError(f"cells of {cell_m} m; expected a multiple of the map's {resolution} m")
    step = cell_m // resolution
    arrays: dict[str, NDArray[np.int16]] = {}
    owner: dict[str, Tile] = {}
    tasks: list[BlockTask] = []
    for tile in tiles(config.region.geometry, resolution):
        rows, columns = (-(-side // step) for side in tile.geobox.shape.yx)
        arrays[tile.name] = np.full((len(BANDS), rows, columns), product.NODATA, np.int16)
        here = found.meeting(lonlat_box(tile.geobox))
        for task in block_tasks(config, season, tile, here):
            owner[task.name] = tile
            tasks.append(task)
    reads, lost = 0, list[Loss]()
    for done, outcome in enumerate(runner.execute(client, driver_block, tasks, (bundle, step)), 1):
        if outcome.result is None:
            raise PhusaError(f"block {outcome.task.name} failed: {outcome.error}")
        reads, lost = reads + outcome.result.reads, [*lost, *outcome.result.losses]
        stored = outcome.result.arrays["drivers"]
        top, left = (first_cell(start, step) for start in outcome.task.offset)
        whole = arrays[owner[outcome.task.name].name]
        whole[:, top : top + stored.shape[1], left : left + stored.shape[2]] = stored
        progress(done, len(tasks))
    share = losses.percent(len(lost), reads)
    losses.refuse(share, config.max_loss_percent, losses.worst(lost))
    simulated = bool(bundle.card.get("simulated")) or any(s.simulated for s in found.kept)
    files = [
        _write(out, tile, arrays[tile.name], step, bundle, season, simulated)
        for tile in dict.fromkeys(owner.values())
    ]
    legend = out / f"{bundle.target.name}_drivers.json"
    write_aside(legend, json_text(_legend(bundle, list(arrays.values()), cell_m, season, simulated)))
    return Drivers(files, legend, share, losses.worst(lost))


def first_cell(start: int, step: int) -> int:
    """Number of the first cell whose middle lies at ``start`` or beyond, in pixels of the tile."""
    return -(-(start - step // 2) // step)


def middles(offset: int, length: int, step: int) -> NDArray[np.intp]:
    """Pixels of a block that starts at ``offset`` of its tile and lie in the middle of a cell."""
    first = first_cell(offset, step) * step + step // 2 - offset
    return np.arange(first, length, step)


def driver_block(task: BlockTask, given: tuple[ModelBundle, int]) -> mapping.BlockResult:
    """Drivers of the cells of one block, int16 (band, cell row, cell column); runs on workers."""
    bundle, step = given
    stack = load(task.scenes, task.geobox, bundle.spec.bands, task.dilate_m, task.name, task.layers, task.how)
    cube = stack.features(bundle.spec, task.until)
    reason = mapping.reasons(task, stack, bundle, cube)
    rows, columns = (
        middles(start, length, step) for start, length in zip(task.offset, cube.shape[1:], strict=True)
    )
    picked = np.ix_(rows, columns)
    mapped = reason[picked] == product.MAPPED
    pixels = np.ascontiguousarray(cube[:, rows[:, None], columns[None, :]][:, mapped].T)
    arrays = np.full((len(BANDS), *mapped.shape), product.NODATA, np.int16)
    arrays[:, mapped] = encode(bundle, pixels)
    counts = int((reason == product.MAPPED).sum()), int((reason == product.FAILED).sum())
    return mapping.BlockResult({"drivers": arrays}, stack.reads, tuple(stack.losses), *counts)


def encode(bundle: ModelBundle, pixels: NDArray[np.float32]) -> NDArray[np.int16]:
    """Stored drivers (band, row) of rows of features (row, feature)."""
    found = explain(bundle, pixels)
    first = found.top(TOP)
    size = np.take_along_axis(found.contributions, np.maximum(first, 0), axis=1) / step_of(bundle)
    limit = -product.NODATA - 1
    size = np.clip(np.rint(np.nan_to_num(size)), -limit, limit)
    stored = np.concatenate([first + 1, size], axis=1)
    return np.where(np.tile(first < 0, 2), product.NODATA, stored).T.astype(np.int16)


def step_of(bundle: ModelBundle) -> float:
    """Step of stored contributions."""
    target = bundle.target
    return STEP if target.kind == "class" or target.transform == "log" else target.scale


def _write(
    out: Path, tile: Tile, stored: NDArray[np.int16], step: int, bundle: ModelBundle, season: Season,
    simulated: bool,
) -> Path:  # fmt: skip
    path = out / f"{tile.name}_{bundle.target.name}_drivers.tif"
    codes = {str(k): name for k, name in enumerate(bundle.spec.names, 1)}
    profile: dict[str, Any] = {
        "driver": "GTiff", "dtype": "int16", "nodata": product.NODATA, "count": len(BANDS),
        "height": stored.shape[1], "width": stored.shape[2], "crs": str(tile.geobox.crs),
        "transform": tile.geobox.affine * Affine.scale(step),
    }  # fmt: skip
    with scratch_folder(out / ".scratch") as work:
        scratch, cog = work / "drivers.tif", work / "drivers.cog.tif"
        with rasterio.open(scratch, "w", **profile) as file:
            file.write(stored, window=Window(0, 0, *stored.shape[:0:-1]))
            file.descriptions = BANDS
            file.scales = [1.0] * TOP + [step_of(bundle)] * TOP
            for number in range(1, TOP + 1):
                file.update_tags(number, CLASSES=json.dumps(codes))
            file.update_tags(
                PHUSA_SEASON=season.name, PHUSA_TARGET=bundle.target.name, PHUSA_BUNDLE=bundle.digest,
                **({"PHUSA_SIMULATED": "SIMULATED - dữ liệu mô phỏng"} if simulated else {}),
            )  # fmt: skip
        rasterio.shutil.copy(
            scratch, cog, driver="COG", COMPRESS="ZSTD", PREDICTOR="YES", OVERVIEW_RESAMPLING="NEAREST"
        )
        cog.replace(path)
    return path


def _legend(
    bundle: ModelBundle, arrays: Sequence[NDArray[np.int16]], cell_m: int, season: Season, simulated: bool
) -> dict[str, Any]:
    first = np.concatenate([a[0].ravel() for a in arrays])
    shown = first[first != product.NODATA]
    unit = "sum of the logits of being above each class" if bundle.target.ordered else "raw score"
    if bundle.target.kind == "regression":
        unit = f"ln({bundle.target.unit})" if bundle.target.transform == "log" else bundle.target.unit
    return {
        "target": bundle.target.name,
        "season": season.name,
        "simulated": simulated,
        "bundle": bundle.digest,
        "cell_m": cell_m,
        "bands": list(BANDS),
        "contribution_unit": unit,
        "contribution_step": step_of(bundle),
        "cells": len(shown),
        "codes": [
            {
                "code": k,
                "feature": f.name,
                "formula": f.formula,
                "statistic": f.statistic,
                "first_in": float((shown == k).mean()) if len(shown) else 0.0,
            }
            for k, f in enumerate(bundle.spec.features, 1)
        ],
    }
