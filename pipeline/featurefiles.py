"""The features themselves as GeoTIFFs, for researchers and for checking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from distributed import Client
from numpy.typing import NDArray
from rasterio.windows import Window

from features.spec import FeatureSpec
from pipeline import layers, ledger, looks, losses, mapping, radarsteps, runner
from pipeline.config import Config
from pipeline.drive import Progress
from pipeline.errors import PhusaError
from pipeline.files import json_text, scratch_folder, write_aside
from pipeline.grid import lonlat_box, tiles
from pipeline.mapping import BlockTask
from pipeline.plan import block_tasks
from pipeline.production import silent
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.stack import Loss
from pipeline.stores import work_folder


@dataclass(frozen=True)
class FeatureFiles:
    """What was written, and what was lost on the way."""

    files: list[Path]
    loss_percent: float
    lost: dict[str, int]
    """Lost reads by scene and reason."""
    scenes: Scenes
    """What was read, and what the guard refused."""
    ledger: dict[str, Any]
    """Sums of ``out/ledger.parquet``."""


def write(
    config: Config, season: Season, found: Scenes, out: Path, client: Client, progress: Progress = silent
) -> FeatureFiles:
    """``out/<tile>.tif``, float32 with NaN, a band a feature.

    ``out/ledger.parquet`` tells what became of every read, ``ledger.json`` its sums, the gaps of the
    orbits, and what the guard and the comparison of radar images found. Raises LossError beyond ``max_loss_percent`` and PhusaError where a block failed; then nothing
    of this run is left but the ledger.
    """
    spec = config.features
    found = looks.refuse(found, config.region.geometry, config.clouds.dilate_m, client)
    steps = radarsteps.report(found, config.region.geometry, client)
    kept = work_folder(config.store.path, config.region.name) if config.store else None
    own = layers.prepare(config, found, [spec], kept)
    with scratch_folder(out / ".scratch") as work:
        owner: dict[str, Path] = {}
        tasks: list[BlockTask] = []
        for tile in tiles(config.region.geometry, config.region.grid.resolution_m):
            path = work / f"{tile.name}.tif"
            _new_features(path, tile.geobox, spec, any(s.simulated for s in found.kept))
            here = found.meeting(lonlat_box(tile.geobox))
            for task in block_tasks(config, season, tile, here, own):
                owner[task.name] = path
                tasks.append(task)
        reads = ground = failed = 0
        lost: list[Loss] = []
        entries: list[ledger.Entry] = []
        for done, outcome in enumerate(runner.execute(client, mapping.feature_block, tasks, spec), 1):
            if outcome.result is None:
                raise PhusaError(f"block {outcome.task.name} failed: {outcome.error}")
            reads, lost = reads + outcome.result.reads, [*lost, *outcome.result.losses]
            entries += outcome.result.ledger
            ground, failed = ground + outcome.result.ground_px, failed + outcome.result.failed_px
            _write_block(owner[outcome.task.name], outcome.task.offset, outcome.result.arrays["features"])
            progress(done, len(tasks))
        ledger.write(entries, out / "ledger.parquet")
        told = ledger.sums([out / "ledger.parquet"]) | {"gaps": ledger.gaps(found, season)}
        told |= {"guard": found.guarded, "radar_steps": [step.told for step in steps]}
        write_aside(out / "ledger.json", json_text(told | {"records_dropped": found.reasons}))
        share = losses.percent(len(lost), reads)
        losses.refuse(share, config.max_loss_percent, losses.worst(lost))
        losses.refuse_ground(failed, ground, f"season {season.name!r}")
        files = [_finish_features(path, out) for path in sorted(set(owner.values()))]
        return FeatureFiles(files, share, losses.worst(lost), found, told)


def _write_block(path: Path, offset: tuple[int, int], cube: NDArray[np.float32]) -> None:
    with rasterio.open(path, "r+") as file:
        file.write(cube, window=Window(offset[1], offset[0], cube.shape[2], cube.shape[1]))


def _new_features(path: Path, geobox: Any, spec: FeatureSpec, simulated: bool) -> None:
    profile = {
        "driver": "GTiff", "height": geobox.shape.y, "width": geobox.shape.x, "count": len(spec.names),
        "dtype": "float32", "nodata": np.nan, "crs": str(geobox.crs), "transform": geobox.affine,
        "tiled": True, "blockxsize": 256, "blockysize": 256, "bigtiff": "if_safer", "compress": "zstd", "zstd_level": 1,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = spec.names
        file.update_tags(
            PHUSA_FEATURES=spec.digest, **({"PHUSA_SIMULATED": "SIMULATED"} if simulated else {})
        )
        for _, window in file.block_windows(1):
            empty = np.full((file.count, window.height, window.width), np.nan, np.float32)
            file.write(empty, window=window)


def _finish_features(path: Path, out: Path) -> Path:
    final = out / path.name
    cog = path.with_suffix(".cog.tif")
    rasterio.shutil.copy(
        path, cog, driver="COG", COMPRESS="ZSTD", PREDICTOR="YES", BIGTIFF="IF_SAFER", OVERVIEWS="NONE"
    )
    cog.replace(final)
    return final
