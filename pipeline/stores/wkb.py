"""PostGIS raster tiles as WKB (PostGIS RFC 2, "WKB raster" version 0)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from pipeline.product import NODATA, OUTSIDE

TILE_PX = 256
#: Read at once: a multiple of the COG's own blocks, so that each is decoded once.
_READ_PX = 1024
_INT16 = 5
_OFFLINE = 0x80
_HAS_NODATA = 0x40


def tiles(cog: Path, pixels: bool = True) -> Iterator[bytes]:
    """WKB of the product's tiles of 256 px, by rows from the north west; those wholly outside are left out.

    Without ``pixels`` a tile says where in ``cog`` they are.
    """
    with rasterio.open(cog) as file:
        reason = file.descriptions.index("reason")
        srid = file.crs.to_epsg()
        for top in range(0, file.height, TILE_PX):
            if top % _READ_PX == 0:
                strip = _strip(file, top)
            rows = strip[:, top % _READ_PX : top % _READ_PX + TILE_PX]
            for left in range(0, file.width, TILE_PX):
                tile = rows[:, :, left : left + TILE_PX]
                if (tile[reason] != OUTSIDE).any():
                    transform = file.transform @ Affine.translation(left, top)
                    yield encode(tile, transform, srid, None if pixels else cog)


def _strip(file: rasterio.DatasetReader, top: int) -> NDArray[np.int16]:
    height = min(_READ_PX, file.height - top)
    read: NDArray[np.int16] = file.read(window=Window(0, top, file.width, height))
    return read


def encode(pixels: NDArray[np.int16], transform: Affine, srid: int, cog: Path | None = None) -> bytes:
    """WKB of int16 (band, y, x), nodata -32768; with ``cog``, of a raster whose pixels stay in that file."""
    bands, height, width = pixels.shape
    head = struct.pack(
        "<BHHddddddiHH", 1, 0, bands, transform.a, transform.e, transform.c, transform.f,
        transform.b, transform.d, srid, width, height,
    )  # fmt: skip
    if cog is not None:
        mark = struct.pack("<Bh", _INT16 | _HAS_NODATA | _OFFLINE, NODATA)
        path = str(cog).encode() + b"\0"
        return head + b"".join(mark + bytes([number]) + path for number in range(bands))
    mark = struct.pack("<Bh", _INT16 | _HAS_NODATA, NODATA)
    return head + b"".join(mark + band.astype("<i2", copy=False).tobytes() for band in pixels)
