"""What a raster file says of itself, checked before anything is allocated for it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import RasterioError

from pipeline import jp2, tiff
from pipeline.localfile import LocalFile
from pipeline.remote import Fault, RemoteFile
from pipeline.tiles import decodes

#: Largest internal tile, and most of them in a file.
MAX_TILE_BYTES, MAX_TILES = 256 << 20, 1 << 22
#: As rasterio reads; decoding is on the caller's thread.
GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_PAM_ENABLED": "NO",
    "GDAL_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Facts:
    """What a file says of itself."""

    driver: str
    crs: str
    """As its EPSG code or WKT, "" where it has none."""
    epsg: int | None
    projected: bool
    """True where a pixel's size is not in degrees."""
    transform: Affine
    shape: tuple[int, int]
    """(height, width) in pixels."""
    dtype: str
    nodata: float | None
    tile: tuple[int, int]
    """(height, width) of its internal tiles."""
    layout: tiff.Layout | jp2.Layout | None
    """None where nobody but GDAL knows where its pixels lie."""
    coding: tiff.Coding | None
    """How its tiles are decoded here; None where GDAL does it."""

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return self.shape[1]

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def pixel(self) -> float:
        """Width of a pixel in units of the CRS."""
        return math.hypot(self.transform.a, self.transform.d)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of a file whose rows run west to east."""
        left, top = self.transform * (0, 0)
        right, bottom = self.transform * (self.width, self.height)
        return left, bottom, right, top


def read_facts(source: LocalFile | RemoteFile) -> Facts:
    """Facts of an open file. Raises Fault where GDAL refuses it, or it claims sizes that no image has."""
    driver = _driver(source.fetch(0, min(12, source.size)))
    layout: tiff.Layout | jp2.Layout | None
    try:
        layout = tiff.layout(source.fetch) if driver == "GTiff" else jp2.layout(source.fetch, source.size)
    except (Fault, ValueError) as error:
        if isinstance(source, RemoteFile):
            raise error if isinstance(error, Fault) else Fault("unreadable", str(error)) from None
        layout = None  # GDAL knows more kinds, and has the whole file
    with gdal_open(source.path, driver) as file:
        tile, dtype = file.block_shapes[0], file.dtypes[0]
        if tile[0] * tile[1] * np.dtype(dtype).itemsize > MAX_TILE_BYTES:
            raise Fault("unreadable", f"its internal tiles of {tile[0]} x {tile[1]} pixels are too large")
        if math.prod(-(-n // m) for n, m in zip(file.shape, tile, strict=True)) > MAX_TILES:
            raise Fault(
                "unreadable", f"its {file.shape} pixels lie in internal tiles of {tile[0]} x {tile[1]}"
            )
        t = file.transform
        if not all(math.isfinite(v) and abs(v) < 1e12 for v in t) or abs(t.determinant) < 1e-18:
            raise Fault("wrong grid", f"its pixels have no place: {tuple(t)[:6]}")
        if layout and layout.shape != file.shape:
            raise Fault("unreadable", f"its size is {layout.shape} by its header, {file.shape} by GDAL")
        epsg, projected = (file.crs.to_epsg(), file.crs.is_projected) if file.crs else (None, False)
        return Facts(
            driver, str(file.crs or ""), epsg, projected, file.transform, file.shape, dtype, file.nodata, tile,
            layout, _coding(layout, tile, dtype),
        )  # fmt: skip


def _coding(layout: tiff.Layout | jp2.Layout | None, tile: tuple[int, int], dtype: str) -> tiff.Coding | None:
    if not isinstance(layout, tiff.Layout) or layout.coding is None or layout.tile != tile:
        return None
    same = np.dtype(layout.coding.dtype).newbyteorder("=") == np.dtype(dtype)
    return layout.coding if same and decodes(layout.coding) else None


def _driver(start: bytes) -> str:
    if tiff.is_tiff(start):
        return "GTiff"
    if start.startswith(jp2.START):
        return "JP2OpenJPEG"
    raise Fault("unreadable", f"it is neither GeoTIFF nor JPEG 2000: it begins with {start!r}")


def gdal_open(path: str, driver: str) -> Any:
    """Open a file by the one driver that its first bytes name. Raises Fault."""
    try:
        with rasterio.Env(**GDAL):
            return rasterio.open(path, driver=driver)
    except RasterioError as error:
        raise Fault("unreadable", cause(error)) from None


def cause(error: BaseException) -> str:
    """What GDAL said first: rasterio wraps it in "see previous exception"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]
