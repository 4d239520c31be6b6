"""Products in VN-2000, Viet Nam's own reference system."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from pipeline.errors import InputError
from pipeline.files import aside, scratch_folder
from pipeline.overviews import write_cog
from pipeline.product import COG, MAPPED, NODATA, OUTSIDE
from pipeline.vn2000 import NAME, OPERATION, SYSTEMS, WITHDRAWN, operation

_CODED = ("class", "applicability", "reason")
#: Not read from the model: known also where nothing is mapped.
_EVERYWHERE = ("clear_dates", "reason")


def vn2000(text: str) -> int:
    """EPSG code of a projected VN-2000 system from text such as ``EPSG:3405``. Raises InputError."""
    found = re.fullmatch(r"(?:epsg:)?(\d{4,5})", text.strip(), re.IGNORECASE)
    code = int(found[1]) if found else 0
    if code in WITHDRAWN:
        raise InputError(
            f"--crs {text}: EPSG withdrew it, its false easting is wrong by 500 km; expected 5896 to 5899 "
            "or 9205 to 9218 of the same central meridian"
        )
    if code not in SYSTEMS:
        raise InputError(
            f"--crs {text}: not a projected VN-2000 system; expected EPSG:3405, EPSG:3406 (UTM 48N, 49N), "
            "EPSG:5896 to 5899 or EPSG:9205 to 9218 (3 degree zones)"
        )
    return code


def write(product: Path, code: int, out: Path) -> dict[str, Any]:
    """A product's COG in the VN-2000 system ``code``: codes of the nearest pixel, values bilinear.

    Pixels keep their size; the grid's corners are multiples of it. Raises InputError.
    """
    try:
        with rasterio.open(product, driver="GTiff") as source:
            names = list(source.descriptions)
            if "reason" not in names:
                raise InputError(f"{product}: no product of phusa: it has no band reason")
            way = operation(int(source.crs.to_epsg()), code)
            transform, shape = grid(source.bounds, source.res[0], way)
            coded = [name in _CODED for name in names]
            with scratch_folder(out.resolve().parent / ".phusa-export") as folder:
                scratch = folder / "warped.tif"
                _warp(source, scratch, code, way, transform, shape, coded)
                with aside(out) as temporary:
                    write_cog(scratch, temporary, coded, COG)
    except RasterioError as error:
        raise InputError(f"{product} cannot be read as a GeoTIFF: {error}") from None
    return {"out": str(out.resolve()), "crs": f"EPSG:{code}", "operation": OPERATION, "shape": list(shape)}


def grid(bounds: Any, pixel: float, way: pyproj.Transformer) -> tuple[Affine, tuple[int, int]]:
    """Grid (transform, (rows, columns)) of square pixels that holds ``bounds`` (west, south, east, north)."""
    west, south, east, north = bounds
    west, south, east, north = way.transform_bounds(west, south, east, north, densify_pts=101)
    left, top = math.floor(west / pixel) * pixel, math.ceil(north / pixel) * pixel
    columns, rows = math.ceil((east - left) / pixel), math.ceil((top - south) / pixel)
    return Affine(pixel, 0, left, 0, -pixel, top), (rows, columns)


def _warp(
    source: Any, path: Path, code: int, way: pyproj.Transformer, transform: Affine, shape: tuple[int, int],
    coded: list[bool],
) -> None:  # fmt: skip
    profile = {
        "driver": "GTiff", "dtype": "int16", "count": source.count, "nodata": NODATA, "crs": f"EPSG:{code}",
        "transform": transform, "height": shape[0], "width": shape[1], "tiled": True, "blockxsize": 512,
        "blockysize": 512, "compress": "zstd", "zstd_level": 1, "bigtiff": "if_safer", "interleave": "band",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as made:
        made.update_tags(**source.tags(), PHUSA_CRS_OPERATION=f"{OPERATION} {NAME}")
        for band in range(1, source.count + 1):
            reproject(
                rasterio.band(source, band), rasterio.band(made, band), src_nodata=NODATA, dst_nodata=NODATA,
                resampling=Resampling.nearest if coded[band - 1] else Resampling.bilinear,
                COORDINATE_OPERATION=way.definition, tolerance=0.01, num_threads=1,
            )  # fmt: skip
            made.set_band_description(band, source.descriptions[band - 1])
            if source.units[band - 1]:
                made.set_band_unit(band, source.units[band - 1])
            made.update_tags(band, **source.tags(band))
        made.scales = source.scales
    _agree(path, list(source.descriptions))


def _agree(path: Path, names: list[str]) -> None:
    """Values only where the nearest pixel is mapped; beyond the product every pixel is outside."""
    with rasterio.open(path, "r+") as file:
        for _, window in file.block_windows(1):
            pixels: NDArray[np.int16] = file.read(window=window)
            reason = pixels[names.index("reason")]
            reason[reason == NODATA] = OUTSIDE
            for name, band in zip(names, pixels, strict=True):
                if name not in _EVERYWHERE:
                    band[reason != MAPPED] = NODATA
            file.write(pixels, window=window)
