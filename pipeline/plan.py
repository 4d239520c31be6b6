"""What a season's run has to do: tiles, blocks and product keys, known before any work is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import shapely

from models.bundle import ModelBundle
from pipeline import product, scenes
from pipeline.config import Config
from pipeline.files import sha256
from pipeline.grid import Tile, lonlat_box, tiles
from pipeline.mapping import BlockTask, MaskFile
from pipeline.product import Product, ProductId
from pipeline.scenes import Scenes
from pipeline.season import Season


@dataclass(frozen=True)
class TilePlan:
    """One tile: its products, one for each bundle, and its blocks."""

    tile: Tile
    products: tuple[Product, ...]
    tasks: tuple[BlockTask, ...]


def plan(config: Config, season: Season, found: Scenes, bundles: Sequence[ModelBundle]) -> list[TilePlan]:
    """Tile plans of a season, west to east."""
    mask = config.region.mask
    mask_digest = sha256(mask.path) if mask else ""
    plans = []
    for tile in tiles(config.region.geometry, config.region.grid.resolution_m):
        here = found.meeting(lonlat_box(tile.geobox))
        made = {
            "scenes_digest": scenes.digest(here),
            "providers": dict(sorted(found.provider.items())),
            "simulated": any(s.simulated for s in here),
        }
        products = tuple(
            Product(
                id=ProductId(season.name, tile.name, bundle.target.name),
                season=season,
                region=config.region.name,
                geobox=tile.geobox,
                target=bundle.target,
                key=_key(config, season, tile, made["scenes_digest"], bundle, mask_digest),
                provenance=made
                | {"bundle": bundle.digest, "uncertainty": bundle.card.get("uncertainty", "")},
            )
            for bundle in bundles
        )
        plans.append(TilePlan(tile, products, block_tasks(config, tile, here)))
    return plans


def _key(
    config: Config, season: Season, tile: Tile, scenes_digest: object, bundle: ModelBundle, mask_digest: str
) -> str:
    mask = config.region.mask
    inputs = {
        "algorithm": product.ALGORITHM,
        "season": [season.name, str(season.start), str(season.end)],
        "tile": [tile.name, tile.epsg, list(tile.geobox.affine)[:6], list(tile.geobox.shape.yx)],
        "area": hashlib.sha256(shapely.to_wkb(shapely.normalize(tile.area))).hexdigest(),
        "scenes": scenes_digest,
        "bundle": bundle.digest,
        "spec": bundle.spec.digest,
        "clouds": config.clouds.model_dump(mode="json"),
        "mask": [mask_digest, list(mask.classes), mask.version] if mask else None,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def block_tasks(config: Config, tile: Tile, here: Sequence[scenes.Scene]) -> tuple[BlockTask, ...]:
    """The blocks of a tile with just the scenes that each meets."""
    mask = config.region.mask
    own = MaskFile(str(mask.path), mask.classes) if mask else None
    tasks = []
    for block in tile.blocks(config.region.grid.block_px):
        outline = lonlat_box(block.geobox)
        near = tuple(s for s in here if s.geometry.intersects(outline))
        area = shapely.intersection(tile.area, shapely.box(*block.geobox.boundingbox.bbox))
        tasks.append(
            BlockTask(block.name, block.geobox, block.offset, area, near, config.clouds.dilate_m, own)
        )
    return tuple(tasks)


@dataclass(frozen=True)
class RunState:
    """What the last run of a season planned, and what failed; kept so that ``status`` needs no network."""

    season: str
    planned: tuple[tuple[str, str, str], ...]
    """(tile, target, key)."""
    failed: tuple[tuple[str, str, str], ...]
    """(tile, target, error)."""

    @staticmethod
    def path(store: Path, season: Season) -> Path:
        return store / "runs" / f"{season.slug}.json"

    def dump(self) -> str:
        return (
            json.dumps({"season": self.season, "planned": self.planned, "failed": self.failed}, indent=1)
            + "\n"
        )

    @classmethod
    def read(cls, store: Path, season: Season) -> RunState | None:
        path = cls.path(store, season)
        if not path.exists():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            content["season"],
            tuple((t, g, k) for t, g, k in content["planned"]),
            tuple((t, g, e) for t, g, e in content["failed"]),
        )
