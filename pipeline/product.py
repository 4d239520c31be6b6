"""Product: one target over one tile and season, as a cloud-optimised GeoTIFF of scaled integers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from models.targets import Target
from pipeline.overviews import SCRATCH, write_cog
from pipeline.season import Season

NODATA = -32768
PROBABILITY_STEP = 0.0001
#: Raised when the same inputs would give other bytes than before.
ALGORITHM = "5"

#: Why a pixel is not mapped; code -> name. 0 is mapped.
REASONS = {0: "mapped", 1: "outside", 2: "masked", 3: "no_clear_date", 4: "unknown_ground", 5: "failed"}
MAPPED, OUTSIDE, MASKED, NO_CLEAR_DATE, UNKNOWN_GROUND, FAILED = REASONS

#: How every COG of ours is written.
COG = {
    "driver": "COG",
    "COMPRESS": "ZSTD",
    "LEVEL": "9",
    "PREDICTOR": "YES",
    "BLOCKSIZE": "512",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "1",
}


@dataclass(frozen=True)
class ProductBand:
    """How one layer is stored: value = stored x scale, ``NODATA`` = not mapped."""

    name: str
    scale: float = 1.0
    unit: str = ""
    classes: Mapping[int, str] | None = None
    """Code -> name of a band of classes."""

    @property
    def coded(self) -> bool:
        """Whether its numbers are codes, of which no mean can be taken."""
        return self.classes is not None or self.name == "applicability"


def bands_of(target: Target) -> tuple[ProductBand, ...]:
    """Bands of a target's product, in order: the model's layers, then how far to trust them."""
    own = [_band(target, layer) for layer in target.layers]
    return (*own, ProductBand("clear_dates"), ProductBand("reason", classes=REASONS))


def _band(target: Target, layer: str) -> ProductBand:
    if layer == "applicability":
        return ProductBand(layer)  # 1 inside the area of applicability, 0 outside
    if layer == "class":
        return ProductBand(layer, classes={c.code: c.name for c in target.classes})
    if target.kind == "class" or layer in target.exceedances:
        return ProductBand(layer, PROBABILITY_STEP)
    return ProductBand(layer, target.scale, target.unit)


def encode(layers: Mapping[str, NDArray[Any]], bands: Iterable[ProductBand]) -> NDArray[np.int16]:
    """Layers (y, x) as int16 (band, y, x); NaN becomes NODATA.

    A value beyond what an int16 can hold at the band's scale is set to the limit; an interval
    stays an interval.
    """
    stored = []
    for band in bands:
        values = np.asarray(layers[band.name], np.float64) / band.scale
        rounded = np.clip(np.rint(values), NODATA + 1, -NODATA - 1)
        stored.append(np.where(np.isnan(rounded), NODATA, rounded).astype(np.int16))
    return np.stack(stored)


@dataclass(frozen=True, order=True)
class ProductId:
    """What a product is of; ``name`` is its file name without suffix."""

    season: str
    tile: str
    target: str

    @property
    def name(self) -> str:
        """File name without suffix, ``<tile>_<target>``."""
        return f"{self.tile}_{self.target}"


@dataclass(frozen=True)
class Product:
    """A finished product on its way to a store."""

    id: ProductId
    season: Season
    region: str
    geobox: GeoBox
    target: Target
    key: str
    """Digest of all inputs: the same key gives the same bytes."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Bundle and scenes digests, sensors and their providers, lost reads, whether simulated."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """All that `replay` needs to make it again, inputs by their digests; empty where it cannot be made again."""

    @property
    def bands(self) -> tuple[ProductBand, ...]:
        """Bands of its COG, in order."""
        return bands_of(self.target)


class TileWriter:
    """Collects a tile's blocks in a scratch file, then writes the COG. Memory: one block."""

    def __init__(self, product: Product, scratch: Path) -> None:
        self.product, self.scratch = product, scratch
        rows, columns = product.geobox.shape
        profile: dict[str, Any] = SCRATCH | {
            "height": rows, "width": columns, "count": len(product.bands), "dtype": "int16",
            "nodata": NODATA, "crs": str(product.geobox.crs), "transform": product.geobox.affine,
            "bigtiff": "if_safer",
        }  # fmt: skip
        with rasterio.open(scratch, "w", **profile) as file:
            self._describe(file)
            self._fill_outside(file)

    def _describe(self, file: Any) -> None:
        p = self.product
        file.update_tags(
            PHUSA_SEASON=p.season.name, PHUSA_TARGET=p.target.name, PHUSA_TILE=p.id.tile,
            PHUSA_KEY=p.key, PHUSA_STATUS=p.target.status, PHUSA_SOURCE=p.target.source,
            PHUSA_UNCERTAINTY=str(p.provenance.get("uncertainty", "")),
            **({"PHUSA_ERROR_RANGE_M": f"{far:.0f}"} if (far := p.provenance.get("error_range_m")) else {}),
            **({"PHUSA_SIMULATED": "SIMULATED - dữ liệu mô phỏng"} if p.provenance.get("simulated") else {}),
        )  # fmt: skip
        for number, band in enumerate(p.bands, 1):
            file.set_band_description(number, band.name)
            if band.unit:
                file.set_band_unit(number, band.unit)
            if band.classes is not None:
                codes = {str(code): name for code, name in band.classes.items()}
                file.update_tags(number, CLASSES=json.dumps(codes, ensure_ascii=False))
        file.scales = [band.scale for band in p.bands]

    def _fill_outside(self, file: Any) -> None:
        """Blocks without any area are never computed: outside until a block says otherwise."""
        for _, window in file.block_windows(1):
            empty = np.full((file.count, window.height, window.width), NODATA, np.int16)
            empty[-1] = OUTSIDE  # the reason band
            file.write(empty, window=window)

    def write(self, offset: tuple[int, int], stored: NDArray[np.int16]) -> None:
        """Store one block, int16 (band, y, x), at ``offset`` (row, column) of the tile."""
        rows, columns = stored.shape[1:]
        with rasterio.open(self.scratch, "r+") as file:
            file.write(stored, window=Window(offset[1], offset[0], columns, rows))

    def finish(self, path: Path) -> None:
        """Write the COG to ``path`` and remove the scratch file."""
        write_cog(self.scratch, path, [band.coded for band in self.product.bands], COG)
        self.scratch.unlink()


def summary(path: Path) -> dict[str, Any]:
    """Area in km2 of the mapped pixels and of each reason, by grid cells (UTM distorts areas by < 0.1 %)."""
    with rasterio.open(path) as file:
        reason_band = file.descriptions.index("reason") + 1
        counts = np.zeros(len(REASONS), np.int64)
        for _, window in file.block_windows(1):
            counts += np.bincount(file.read(reason_band, window=window).ravel(), minlength=len(REASONS))
        pixel_km2 = abs(file.transform.a * file.transform.e) / 1e6
    return {f"{name}_km2": float(round(counts[code] * pixel_km2, 6)) for code, name in REASONS.items()}
