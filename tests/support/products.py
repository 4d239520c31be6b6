"""Small products and areas for the tests of stores."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

from models.targets import Target
from pipeline import yamlfile
from pipeline.product import Product, ProductId, TileWriter, bands_of, encode
from pipeline.season import Season

SEASON = Season("2025 dry/north", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
TARGETS = Path(__file__).parents[2] / "configs" / "targets"
GEOBOX = GeoBox((300, 280), Affine(10, 0, 640000, 0, -10, 1100000), "EPSG:32648")


def target(name: str) -> Target:
    return yamlfile.parse(Target, TARGETS / f"{name}.yaml")


def make(
    tmp_path: Path, tile: str = "48PXS", name: str = "salinity", fill: float = 4.25, **made: Any
) -> tuple[Product, Path]:
    theme = target(name)
    key = hashlib.sha256(f"{tile}{name}{fill}".encode()).hexdigest()
    product = Product(ProductId(SEASON.name, tile, name), SEASON, "delta", GEOBOX, theme, key, made)
    layers = {band.name: np.full(GEOBOX.shape.yx, float(fill)) for band in bands_of(theme)}
    layers["reason"] = np.zeros(GEOBOX.shape.yx)
    layers["reason"][:, 270:] = 1
    layers[theme.layers[0]][:, 270:] = np.nan
    writer = TileWriter(product, tmp_path / "scratch.tif")
    writer.write((0, 0), encode(layers, bands_of(theme)))
    cog = tmp_path / f"{product.id.name}.made.tif"
    writer.finish(cog)
    return product, cog


def areas() -> pd.DataFrame:
    """Areas of two communes, as ``zones.tables.tidy`` gives them."""
    row = {
        "target": "salinity", "units_of": dt.date(2025, 7, 1), "mask_version": "2025", "level": "commune",
        "code": "26740", "name": "Xã Biển Bạch", "indicator": "over_4", "land_m2": 10, "mapped_m2": 9, "unknown_m2": 1,
        "unknown_percent": 10.1, "map_m2": 3, "expected_m2": 4, "lower_m2": 2, "upper_m2": 6, "note": "SIMULATED",
    }  # fmt: skip
    rows = [row, row | {"code": "26743", "name": "Xã Đất Mũi", "expected_m2": None}]
    return pd.DataFrame(rows).astype({"expected_m2": "Int64"})
