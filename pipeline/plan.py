"""What a season's run has to do: tiles, blocks and product keys, known before any work is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import shapely
from shapely.geometry.base import BaseGeometry

from features.bands import RADAR
from models.bundle import ModelBundle
from pipeline import product, provenance, scenes, version
from pipeline.config import Config
from pipeline.files import sha256
from pipeline.grid import Tile, lonlat_box, tiles
from pipeline.mapping import BlockTask, MaskFile
from pipeline.order import along_curve
from pipeline.product import Product, ProductId
from pipeline.radarsteps import Step
from pipeline.raster import LayerFile
from pipeline.scenes import Scenes
from pipeline.season import Season
from pipeline.sensors import How
from pipeline.work import PROCESS_BYTES, Work, of_block, of_products, peak_bytes, total


@dataclass(frozen=True)
class TilePlan:
    """One tile: its products, one for each bundle, and its blocks."""

    tile: Tile
    products: tuple[Product, ...]
    tasks: tuple[BlockTask, ...]


def plan(
    config: Config,
    season: Season,
    found: Scenes,
    bundles: Sequence[ModelBundle],
    layers: Sequence[LayerFile] = (),
    steps: Sequence[Step] = (),
) -> list[TilePlan]:
    """Tile plans of a season, west to east; ``layers`` are the region's own that the bundles use, ``steps``
    what the season's radar images show between satellites."""
    settings = product_settings(config, season)
    own = {"layers": {layer.name: layer.digest for layer in layers}} if layers else {}
    plans = []
    for tile in tiles(config.region.geometry, config.region.grid.resolution_m):
        here = found.meeting(lonlat_box(tile.geobox))
        made = {
            "scenes_digest": scenes.digest(here),
            "providers": {sensor: _public(address) for sensor, address in sorted(found.provider.items())},
            "simulated": any(s.simulated for s in here),
            "code": version.digest(),
            "software": {"phusa": version.number()},
        }
        orbits = {s.orbit or "" for s in here if s.sensor == RADAR}
        if told := [step.told for step in steps if step.orbit in orbits]:
            made["radar_steps"] = told
        setup = provenance.setup(tile, config.region.grid.block_px, settings, layers)
        made["config"] = provenance.digest(setup)
        products = tuple(_product(config, season, tile, bundle, made | own, setup) for bundle in bundles)
        plans.append(TilePlan(tile, products, block_tasks(config, season, tile, here, layers)))
    return plans


def _product(
    config: Config,
    season: Season,
    tile: Tile,
    bundle: ModelBundle,
    made: dict[str, Any],
    setup: dict[str, Any],
) -> Product:
    """A product to be, with all that its records say of how it was made."""
    own = made | {
        "simulated": made["simulated"] or bool(bundle.card.get("simulated")),
        "bundle": bundle.digest,
        "uncertainty": bundle.card.get("uncertainty", ""),
        "features": json.loads(bundle.spec.to_json()),
        "error_range_m": (bundle.card.get("error_correlation") or {}).get("range_m"),
    }
    key = key_of(provenance.settings_of(setup), tile, made["scenes_digest"], bundle)
    recipe = {
        "format": provenance.FORMAT,
        "product": {"season": season.name, "tile": tile.name, "target": bundle.target.name},
        "region": config.region.name,
        "season": [season.name, str(season.start), str(season.end)],
        "key": key,
        "setup": setup,
    }
    return Product(
        id=ProductId(season.name, tile.name, bundle.target.name),
        season=season,
        region=config.region.name,
        geobox=tile.geobox,
        target=bundle.target,
        key=key,
        provenance=own,
        recipe=recipe,
    )


@dataclass(frozen=True)
class Amounts:
    """How much a season is, told without reading an image."""

    tiles: int
    blocks: int
    work: Work
    peak_bytes: float
    """Memory that the largest block may take."""


def amounts(config: Config, season: Season, found: Scenes) -> Amounts:
    """The work of a whole season with the config's own features and targets."""
    layers = sum(len(product.bands_of(target)) for target in config.targets)
    specs = [config.features]
    tiles_here = tiles(config.region.geometry, config.region.grid.resolution_m)
    tasks = [
        task
        for tile in tiles_here
        for task in block_tasks(config, season, tile, found.meeting(lonlat_box(tile.geobox)))
    ]
    peak = max(peak_bytes(task, specs, layers) for task in tasks) + PROCESS_BYTES
    cogs = of_products(
        (t.geobox.shape.x * t.geobox.shape.y, len(product.bands_of(target)))
        for t in tiles_here
        for target in config.targets
    )
    blocks_work = total(of_block(t, specs, layers) for t in tasks)
    return Amounts(len(tiles_here), len(tasks), blocks_work + cogs, peak)


def _public(address: str) -> str:
    """A provider's address; of a catalogue on this machine no more than folder and file name."""
    return address if "://" in address else "/".join(PurePath(address).parts[-2:])


def product_settings(config: Config, season: Season) -> dict[str, Any]:
    """What the config says that every product of a season depends on."""
    mask = config.region.mask
    return {
        "algorithm": product.ALGORITHM,
        "season": [season.name, str(season.start), str(season.end)],
        "clouds": config.clouds.model_dump(mode="json"),
        **({"speckle": config.speckle.model_dump(mode="json")} if config.speckle else {}),
        "mask": [sha256(mask.path), list(mask.classes), mask.version] if mask else None,
    }


def key_of(settings: dict[str, Any], tile: Tile, scenes_digest: object, bundle: ModelBundle) -> str:
    """Key of a product: digest of all that its bytes depend on."""
    inputs = settings | {
        "tile": [tile.name, tile.epsg, list(tile.geobox.affine)[:6], list(tile.geobox.shape.yx)],
        "area": area_digest(tile.area),
        "scenes": scenes_digest,
        "bundle": bundle.digest,
        "spec": bundle.spec.digest,
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def block_key(settings: dict[str, Any], task: BlockTask, bundle: ModelBundle) -> str:
    """Digest of all that one block's pixels of one target depend on: other blocks' scenes do not count."""
    inputs = settings | {
        "block": [str(task.geobox.crs), list(task.geobox.affine)[:6], list(task.geobox.shape.yx)],
        "area": area_digest(task.area),
        "scenes": scenes.digest(task.scenes),
        "bundle": bundle.digest,
        "spec": bundle.spec.digest,
        **({"layers": {layer.name: layer.digest for layer in task.layers}} if task.layers else {}),
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def area_digest(area: BaseGeometry) -> str:
    """SHA-256 over an area, the same however its rings are ordered."""
    return hashlib.sha256(shapely.to_wkb(shapely.normalize(area))).hexdigest()


def block_tasks(
    config: Config,
    season: Season,
    tile: Tile,
    here: Sequence[scenes.Scene],
    layers: Sequence[LayerFile] = (),
) -> tuple[BlockTask, ...]:
    """The blocks of a tile with just the scenes that each meets, neighbours one after another."""
    mask = config.region.mask
    own = MaskFile(str(mask.path), mask.classes) if mask else None
    return tile_tasks(
        tile, here, config.region.grid.block_px, config.clouds.dilate_m, season, own, layers, config.how
    )


def tile_tasks(
    tile: Tile,
    here: Sequence[scenes.Scene],
    block_px: int,
    dilate_m: float,
    season: Season,
    mask: MaskFile | None,
    layers: Sequence[LayerFile] = (),
    how: How = How(),  # noqa: B008 - a frozen value
    targets: tuple[str, ...] = (),
) -> tuple[BlockTask, ...]:
    """``block_tasks`` from plain values."""
    tasks = []
    for block in along_curve((b, b.row, b.column) for b in tile.blocks(block_px)):
        outline = lonlat_box(block.geobox)
        near = tuple(s for s in here if s.geometry.intersects(outline))
        area = shapely.intersection(tile.area, shapely.box(*block.geobox.boundingbox.bbox))
        tasks.append(
            BlockTask(
                block.name,
                block.geobox,
                block.offset,
                area,
                near,
                dilate_m,
                season.end,
                mask,
                targets,
                tuple(layers),
                how,
            )
        )
    return tuple(tasks)
