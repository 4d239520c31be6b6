"""PostGIS raster tiles as WKB: raster has no binary input, so hex text goes through COPY."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from pipeline.product import NODATA, OUTSIDE

TILE_PX = 256
_INT16 = 5
_HAS_NODATA = 0x40


def tiles(cog: Path) -> Iterator[str]:
    """Hex WKB of the product's tiles of 256 px, those wholly outside the area left out."""
    with rasterio.open(cog) as file:
        reason = file.descriptions.index("reason")
        for row in range(0, file.height, TILE_PX):
            for column in range(0, file.width, TILE_PX):
                window = rasterio.windows.Window(
                    column, row, min(TILE_PX, file.width - column), min(TILE_PX, file.height - row)
                )
                pixels = file.read(window=window)
                if (pixels[reason] != OUTSIDE).any():
                    yield encode(pixels, file.window_transform(window), file.crs.to_epsg())


def encode(pixels: NDArray[np.int16], transform: Affine, srid: int) -> str:
    """Hex WKB of int16 (band, y, x), nodata -32768 (PostGIS RFC 2, "WKB raster" version 0)."""
    bands, height, width = pixels.shape
    head = struct.pack(
        "<BHHddddddiHH", 1, 0, bands, transform.a, transform.e, transform.c, transform.f,
        transform.b, transform.d, srid, width, height,
    )  # fmt: skip
    mark = struct.pack("<Bh", _INT16 | _HAS_NODATA, NODATA)
    return (head + b"".join(mark + band.astype("<i2").tobytes() for band in pixels)).hex()
