"""The table of a season's blocks: where each is, how far it came, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import geopandas

from pipeline import blocks, journal, losses
from pipeline.files import aside
from pipeline.grid import lonlat_box
from pipeline.plan import TilePlan
from pipeline.season import Season

#: States of a block's target. ``stored``: done; ``budget``: left to the next run; ``failed``: by an error of
#: ours; ``missing``: not reached, since the run was stopped.
STATES = ("stored", "failed", "budget", "missing")


def file(work: Path, season: Season) -> Path:
    """Where the table of a season's last run lies, as GeoParquet."""
    return journal.folder(work, season) / "blocks.parquet"


def build(
    plans: Sequence[TilePlan],
    paths: Mapping[tuple[str, str], tuple[str, Path]],
    failed: Mapping[str, str],
    left: set[str],
    seconds: Mapping[str, float],
    whole: set[tuple[str, str]],
) -> geopandas.GeoDataFrame:
    """One row a block and target, in WGS 84.

    ``paths``: (block, target) -> (key, path of the stored block); ``failed``: block -> error; ``left``: blocks
    that a budget did not reach; ``seconds``: block -> wall seconds when last mapped; ``whole``: (tile, target) of
    the products that are stored.
    """
    rows, shapes = [], []
    for tile_plan in plans:
        for task in tile_plan.tasks:
            outline = lonlat_box(task.geobox)
            for product in tile_plan.products:
                target = product.target.name
                key, path = paths[task.name, target]
                facts = blocks.stored(path, key, lossy=True)
                done = facts is not None or (tile_plan.tile.name, target) in whole
                state = (
                    "stored" if done else "failed" if task.name in failed
                    else "budget" if task.name in left else "missing"
                )  # fmt: skip
                rows.append(
                    {
                        "block": task.name,
                        "tile": tile_plan.tile.name,
                        "target": target,
                        "state": state,
                        "error": failed.get(task.name, ""),
                        "scenes": len(task.scenes),
                        "clear_dates": facts.clear_dates if facts else None,
                        "ground_px": facts.ground_px if facts else None,
                        "mapped_px": facts.mapped_px if facts else None,
                        "failed_px": facts.failed_px if facts else None,
                        "reads": facts.reads if facts else None,
                        "lost_reads": len(facts.losses) if facts else None,
                        "loss_percent": losses.percent(len(facts.losses), facts.reads) if facts else None,
                        "seconds": seconds.get(task.name),
                        "key": key,
                    }
                )
                shapes.append(outline)
    numbers = (
        "clear_dates",
        "ground_px",
        "mapped_px",
        "failed_px",
        "reads",
        "lost_reads",
        "loss_percent",
        "seconds",
    )
    frame = geopandas.GeoDataFrame(rows, geometry=shapes, crs=4326)
    return frame.astype(dict.fromkeys(numbers, "float64")) if len(frame) else frame


def write(frame: geopandas.GeoDataFrame, path: Path) -> None:
    """As GeoParquet, or as GeoPackage where the name ends so."""
    with aside(path) as temporary:
        if path.suffix == ".gpkg":
            frame.to_file(temporary, layer="blocks", driver="GPKG")
        else:
            frame.to_parquet(temporary)


def read(work: Path, season: Season) -> geopandas.GeoDataFrame | None:
    """The table of a season's last run; None where there was none."""
    path = file(work, season)
    return geopandas.read_parquet(path) if path.is_file() else None
