"""Replay: a product made again from what it was made from, and held against what is published."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from distributed import Client
from odc.geo.geobox import GeoBox

from models.bundle import ModelBundle
from pipeline import mapping, product, provenance, runner, version
from pipeline.errors import InputError, IntegrityError, PhusaError
from pipeline.files import scratch_folder, sha256
from pipeline.grid import Tile
from pipeline.mapping import MaskFile
from pipeline.plan import key_of, tile_tasks
from pipeline.product import Product, ProductId, TileWriter
from pipeline.provenance import Vault
from pipeline.raster import LayerFile
from pipeline.season import Season
from pipeline.sensors import How
from pipeline.stack import Loss


@dataclass(frozen=True)
class Replay:
    """A product that was made again, byte for byte."""

    cog: Path
    sha256: str
    same_code: bool
    """Whether by the very code that made it first."""


def replay(path: Path, vault: Vault | None, client: Client, scratch: Path) -> Replay:
    """Make the product at ``path`` (COG, item or recipe) again and compare SHA-256.

    Raises InputError where an input is gone, naming it; IntegrityError where an input, the record or the
    product is not what it was.
    """
    recipe = provenance.read(path)
    vault = vault or Vault.of(path)
    faults = _recorded(recipe)
    made, lost = _make(recipe, vault, client, scratch)
    if lost:
        told = "; ".join(f"{loss.scene} {loss.band}: {loss.reason}" for loss in lost[:3])
        raise InputError(
            f"{len(lost)} reads of images that the product was made from failed, the first: {told}"
        )
    if made != recipe["sha256"]:
        faults.append(f"made again, its SHA-256 is {made}; its record says {recipe['sha256']}")
    if faults:
        raise IntegrityError(f"{recipe['cog']}: " + "; ".join(faults))
    return Replay(recipe["cog"], made, recipe["provenance"].get("code") == version.digest())


def _recorded(recipe: dict[str, Any]) -> list[str]:
    """What of the record does not hold without making anything."""
    setup, made, faults = recipe["setup"], recipe["provenance"], []
    if setup["settings"]["algorithm"] != product.ALGORITHM:
        raise InputError(
            f"the code that the product was made by is gone: algorithm {setup['settings']['algorithm']}, "
            f"code {made.get('code')}; this is algorithm {product.ALGORITHM}, code {version.digest()}"
        )
    if made.get("lost_reads"):
        raise InputError(
            f"the product was made while {made['lost_reads']} reads were lost; its inputs were not whole"
        )
    if provenance.digest(setup) != made.get("config"):
        faults.append("its settings are not those of their digest")
    try:
        found = sha256(recipe["cog"])
    except OSError:
        return [*faults, "the file is missing"]
    if found != recipe["sha256"]:
        faults.append(f"the file's SHA-256 is {found}; its record says {recipe['sha256']}")
    return faults


def _make(recipe: dict[str, Any], vault: Vault, client: Client, scratch: Path) -> tuple[str, list[Loss]]:
    """SHA-256 of the product made again, and the reads that were lost meanwhile."""
    setup = recipe["setup"]
    bundle = vault.bundle(recipe["provenance"]["bundle"])
    found = vault.scenes(recipe["provenance"]["scenes_digest"])
    geobox = GeoBox(tuple(setup["shape"]), Affine(*setup["transform"]), f"EPSG:{setup['epsg']}")
    x, y = setup["anchor"]
    tile = Tile(setup["tile"], geobox, vault.area(setup["area"]), (x, y))
    made = _product(recipe, tile, bundle)
    settings = setup["settings"]
    mask = settings["mask"]
    own = MaskFile(str(vault.raster(mask[0])), tuple(mask[1])) if mask else None
    layers = [
        LayerFile(name, str(vault.raster(file)), how, source) for name, how, source, file in setup["layers"]
    ]
    tasks = tile_tasks(
        tile, found.kept, setup["block_px"], settings["clouds"]["dilate_m"], made.season, own,
        layers, _how(settings), (bundle.target.name,),
    )  # fmt: skip
    with scratch_folder(scratch) as folder:
        writer = TileWriter(made, folder / "scratch.tif")
        lost: list[Loss] = []
        for outcome in runner.execute(client, mapping.map_block, tasks, [bundle]):
            if outcome.result is None:
                raise PhusaError(f"block {outcome.task.name}: {outcome.error}")
            lost += outcome.result.losses
            writer.write(outcome.task.offset, outcome.result.arrays[bundle.target.name])
        cog = folder / f"{made.id.name}.tif"
        writer.finish(cog)
        return sha256(cog), lost


def _how(settings: dict[str, Any]) -> How:
    percent, speckle = settings["clouds"]["probability_percent"], settings.get("speckle")
    return How(percent, speckle["radius_px"], speckle["looks"]) if speckle else How(percent)


def _product(recipe: dict[str, Any], tile: Tile, bundle: ModelBundle) -> Product:
    name, start, end = recipe["season"]
    season = Season(name, dt.date.fromisoformat(start), dt.date.fromisoformat(end))
    made = recipe["provenance"]
    key = key_of(provenance.settings_of(recipe["setup"]), tile, made["scenes_digest"], bundle)
    if key != recipe["key"]:
        raise IntegrityError(
            f"{recipe['cog']}: its inputs have the key {key}; its record says {recipe['key']}"
        )
    return Product(
        ProductId(name, tile.name, bundle.target.name), season, recipe["region"], tile.geobox, bundle.target,
        key, made,
    )  # fmt: skip
