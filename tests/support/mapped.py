"""Published products with pixels that a test chooses, and a config that finds them."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from models.targets import Target
from pipeline import yamlfile
from pipeline.grid import Tile, tiles
from pipeline.product import Product, ProductBand, ProductId, TileWriter, bands_of, encode
from pipeline.season import Season
from pipeline.stores.folder import FolderStore

TARGETS = Path(__file__).resolve().parents[2] / "configs" / "targets"
SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))

#: Gives a tile's layers (y, x) by name, the reasons among them.
Layers = Callable[[Tile], Mapping[str, NDArray[Any]]]


def target(name: str) -> Target:
    return yamlfile.parse(Target, TARGETS / f"{name}.yaml")


def publish(
    folder: Path, area: BaseGeometry, name: str, layers: Layers, exceedance: tuple[float, ...] = (),
    season: Season = SEASON,
) -> list[Path]:  # fmt: skip
    """Make and publish the products of one target over ``area``; ``exceedance`` adds bands p<threshold>."""
    store = FolderStore(folder / "store", "delta")
    records = [store.put(p, cog) for p, cog in products(folder, area, name, layers, exceedance, season)]
    return [r.path for r in store.publish(season, records).records]


def products(
    folder: Path, area: BaseGeometry, name: str, layers: Layers, exceedance: tuple[float, ...] = (),
    season: Season = SEASON,
) -> Iterator[tuple[Product, Path]]:  # fmt: skip
    """Make the products of one target over ``area``, each with its COG."""
    theme = target(name)
    folder.mkdir(parents=True, exist_ok=True)
    for tile in tiles(area, 10):
        key = hashlib.sha256(f"{tile.name}{name}{season.name}".encode()).hexdigest()
        product = _With(exceedance, tile, theme, key, season)
        made = dict(layers(tile))
        made["reason"] = np.where(tile.outside(tile.geobox), 1, made["reason"])
        filled = {
            b.name: np.asarray(made.get(b.name, np.zeros(tile.geobox.shape.yx)), float) for b in product.bands
        }
        for band in product.bands:
            if band.name not in ("reason", "clear_dates"):
                filled[band.name] = np.where(made["reason"] == 0, filled[band.name], np.nan)
        writer = TileWriter(product, folder / "scratch.tif")
        writer.write((0, 0), encode(filled, product.bands))
        cog = folder / f"{product.id.name}.made.tif"
        writer.finish(cog)
        yield product, cog


class _With(Product):
    """A product with bands of exceedance, whatever its target's model gives today."""

    def __init__(
        self, exceedance: tuple[float, ...], tile: Tile, theme: Target, key: str, season: Season
    ) -> None:
        super().__init__(
            ProductId(season.name, tile.name, theme.name), season, "delta", tile.geobox, theme, key
        )
        object.__setattr__(self, "exceedance", exceedance)

    @property
    def bands(self) -> tuple[ProductBand, ...]:
        own = bands_of(self.target)
        more = [ProductBand(f"p{t:g}", 0.0001) for t in getattr(self, "exceedance", ())]
        have = {b.name for b in own}
        return (*own[:-1], *(b for b in more if b.name not in have), own[-1])


def config(folder: Path, area: tuple[float, float, float, float], targets: tuple[str, ...]) -> Path:
    """A config whose store is where ``publish`` put its products."""
    path = folder / "region.yaml"
    path.write_text(
        f"""
region: {{name: delta, area: [{", ".join(str(v) for v in area)}]}}
sources:
  - {{sensor: sentinel-2-l2a, provider: earth-search}}
seasons:
  {SEASON.name}: {{start: {SEASON.start}, end: {SEASON.end}}}
features: [ndvi_p50]
targets: [{", ".join(str(TARGETS / f"{t}.yaml") for t in targets)}]
store: {{kind: folder, path: store}}
""",
        encoding="utf-8",
    )
    return path
