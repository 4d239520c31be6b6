"""Overviews of a product: codes by mode, values by average, in one COG.

GDAL builds the overviews of a file by one rule for all its bands. Here each level is made in integers from
the full map, and a VRT hands map and levels to GDAL's COG writer, which copies them as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import rasterio
import rasterio.shutil
from numba import njit
from numpy.typing import NDArray
from rasterio.windows import Window

#: A map no longer than this needs no overview: one internal tile shows it.
SMALL_PX = 512
#: How pixels are kept until they are encoded for good.
SCRATCH = {
    "driver": "GTiff",
    "tiled": True,
    "blockxsize": 512,
    "blockysize": 512,
    "compress": "zstd",
    "zstd_level": 1,
    "bigtiff": "if_safer",
}


def factors(shape: tuple[int, int]) -> list[int]:
    """Powers of 2 by which a map (rows, columns) is reduced until no side exceeds ``SMALL_PX``."""
    found, factor = [], 1
    while -(-max(shape) // factor) > SMALL_PX:
        factor *= 2
        found.append(factor)
    return found


def write_cog(scratch: Path, cog: Path, coded: Sequence[bool], options: dict[str, str]) -> None:
    """Copy ``scratch`` to a COG; ``coded`` says of each band whether it holds codes.

    ``options`` are those of GDAL's COG driver. Levels are kept beside ``scratch`` while it is written.
    """
    levels = _write_levels(scratch, coded)
    vrt = scratch.with_name(f"{scratch.stem}.levels.vrt")
    try:
        vrt.write_text(_vrt(scratch, levels), encoding="utf-8")
        rasterio.shutil.copy(vrt, cog, **options | {"OVERVIEWS": "FORCE_USE_EXISTING" if levels else "NONE"})
    finally:
        for path in (vrt, *levels):
            path.unlink(missing_ok=True)


def _write_levels(scratch: Path, coded: Sequence[bool]) -> list[Path]:
    """One GeoTIFF a level; memory is one strip of rows of one band."""
    with rasterio.open(scratch) as file:
        steps = factors(file.shape)
        if not steps:
            return []
        paths = [scratch.with_name(f"{scratch.stem}.{step}.tif") for step in steps]
        rows, columns = file.shape
        made: list[Any] = []
        try:
            for path, step in zip(paths, steps, strict=True):
                made.append(rasterio.open(
                    path, "w", height=-(-rows // step), width=-(-columns // step), count=file.count,
                    dtype=file.dtypes[0], nodata=file.nodata, crs=file.crs,
                    transform=file.transform * file.transform.scale(step), **SCRATCH,
                ))  # fmt: skip
            tall = max(512, steps[-1])
            for top in range(0, rows, tall):
                window = Window(0, top, columns, min(tall, rows - top))
                for band, codes in enumerate(coded, 1):
                    strip = file.read(band, window=window)
                    for level, step, reduced in zip(
                        made, steps, reduce(strip, steps, file.nodata, codes), strict=True
                    ):
                        level.write(
                            reduced, band, window=Window(0, top // step, level.width, reduced.shape[0])
                        )
        finally:
            for level in made:
                level.close()
    return paths


def reduce(
    pixels: NDArray[Any], steps: Sequence[int], nodata: float | None, coded: bool
) -> list[NDArray[Any]]:
    """Pixels (y, x) reduced by each step, from the pixels themselves and not from the level before.

    A cell is the mode of the known pixels under it, the smallest code of equals, where ``coded``; else their
    mean, halves rounded up. ``nodata`` where none is known. Steps are powers of 2, rising.
    """
    empty = np.int64(np.iinfo(np.int64).min if nodata is None else nodata)
    if coded:
        known = pixels[pixels != empty]
        codes = np.unique(known).astype(np.int64)
        counts = np.stack([pixels == c for c in codes]).astype(np.int32) if len(codes) else None
    else:
        sums = np.where(pixels == empty, 0, pixels).astype(np.int64)
        seen = (pixels != empty).astype(np.int32)
    made, done = [], 1
    for step in steps:
        while done < step:
            if not coded:
                sums, seen = _halve(sums), _halve(seen)
            elif counts is not None:
                counts = np.stack([_halve(c) for c in counts])
            done *= 2
        if not coded:
            made.append(_means(sums, seen, int(empty)).astype(pixels.dtype))
        elif counts is None:
            shape = [-(-n // step) for n in pixels.shape]
            made.append(np.full(shape, empty, pixels.dtype))
        else:
            top = codes[counts.argmax(axis=0)]
            made.append(np.where(counts.any(axis=0), top, empty).astype(pixels.dtype))
    return made


@njit(nogil=True, cache=True)
def _halve(pixels: NDArray[Any]) -> NDArray[Any]:
    """Sums over squares of 2 x 2; the last row or column of an odd side stands alone."""
    rows, columns = pixels.shape
    made = np.zeros(((rows + 1) // 2, (columns + 1) // 2), pixels.dtype)
    for y in range(rows):
        for x in range(columns):
            made[y // 2, x // 2] += pixels[y, x]
    return made


@njit(nogil=True, cache=True)
def _means(sums: NDArray[np.int64], seen: NDArray[np.int32], empty: int) -> NDArray[np.int64]:
    made = np.full(sums.shape, empty)
    for y in range(sums.shape[0]):
        for x in range(sums.shape[1]):
            n = np.int64(seen[y, x])
            if n > 0:
                made[y, x] = (2 * sums[y, x] + n) // (2 * n)
    return made


def _vrt(scratch: Path, levels: Sequence[Path]) -> str:
    """The map with its levels as a VRT that GDAL copies: every band's description, unit, scale and tags."""
    with rasterio.open(scratch) as file:
        rows, columns = file.shape
        root = ET.Element("VRTDataset", rasterXSize=str(columns), rasterYSize=str(rows))
        ET.SubElement(root, "SRS").text = file.crs.to_wkt()
        ET.SubElement(root, "GeoTransform").text = ", ".join(repr(v) for v in file.transform.to_gdal())
        _tags(root, file.tags())
        for k in range(1, file.count + 1):
            kind = {"int16": "Int16", "uint8": "Byte"}[file.dtypes[k - 1]]
            band = ET.SubElement(root, "VRTRasterBand", dataType=kind, band=str(k))
            if file.descriptions[k - 1]:
                ET.SubElement(band, "Description").text = file.descriptions[k - 1]
            if file.units[k - 1]:
                ET.SubElement(band, "UnitType").text = file.units[k - 1]
            ET.SubElement(band, "NoDataValue").text = f"{file.nodata:g}"
            if file.scales[k - 1] != 1:
                ET.SubElement(band, "Offset").text = "0"
                ET.SubElement(band, "Scale").text = repr(file.scales[k - 1])
            _tags(band, file.tags(k))
            if file.colorinterp[k - 1].name == "palette":
                _palette(band, file.colormap(k))
            source = ET.SubElement(band, "SimpleSource")
            ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = scratch.name
            ET.SubElement(source, "SourceBand").text = str(k)
            for path in levels:
                level = ET.SubElement(band, "Overview")
                ET.SubElement(level, "SourceFilename", relativeToVRT="1").text = path.name
                ET.SubElement(level, "SourceBand").text = str(k)
    return ET.tostring(root, encoding="unicode")


def _tags(parent: ET.Element, tags: dict[str, str]) -> None:
    own = {k: v for k, v in tags.items() if k not in ("AREA_OR_POINT",)}
    if own:
        block = ET.SubElement(parent, "Metadata")
        for key, value in own.items():
            ET.SubElement(block, "MDI", key=key).text = value


def _palette(band: ET.Element, colours: dict[int, tuple[int, int, int, int]]) -> None:
    ET.SubElement(band, "ColorInterp").text = "Palette"
    table = ET.SubElement(band, "ColorTable")
    for _, (red, green, blue, alpha) in sorted(colours.items()):
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
