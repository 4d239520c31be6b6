"""The files that come with a product: palette, styles, a map of its classes, metadata, and how it was made.

They lie beside the COG, are assets of its STAC item with size and digest, and are released with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio

from pipeline import iso19115, stac, statistics, style, symbology
from pipeline.files import json_text, sha256, write_aside
from pipeline.overviews import write_cog
from pipeline.product import COG, NODATA, Product

XML = "application/xml"
#: Number of what no class says, in the map of classes.
NO_CLASS = 0


def record(product: Product, cog: Path, digest: str, href: str) -> dict[str, Any]:
    """The STAC item of a COG at ``cog`` that readers find at ``href``; its companions are written beside it."""
    known = statistics.of_product(cog)
    item = stac.item(product, digest, cog.stat().st_size, href, known)
    where = href[: -len(cog.name)]
    for key, path, kind, title, roles, more in _write(product, item, cog, digest, known):
        item["assets"][key] = stac.asset(
            f"{where}{path.name}", kind, title, roles, sha256(path), path.stat().st_size, **more
        )
    return item


#: Asset key, file, media type, title, roles, more fields.
_Made = tuple[str, Path, str, str, tuple[str, ...], dict[str, Any]]


def _write(
    product: Product, item: dict[str, Any], cog: Path, digest: str, known: list[statistics.BandStatistics]
) -> Iterator[_Made]:
    label = product.target.title
    if style.write(item, cog):
        yield "palette", style.sidecar(cog), XML, "GDAL: palette, names of classes", ("metadata",), {}
    for n, legend in enumerate(symbology.legends(product.target, product.bands, known)):
        # QGIS takes the style that has the map's own name.
        suffix = "" if n == 0 else f".{legend.group}"
        for kind, text in (
            ("qml", symbology.qml(legend)),
            ("sld", symbology.sld(legend, f"{product.id.name}")),
        ):
            path = cog.with_name(f"{cog.stem}{suffix}.{kind}")
            write_aside(path, text)
            media = "application/vnd.ogc.sld+xml" if kind == "sld" else XML
            yield f"{kind}_{legend.group}", path, media, f"{kind.upper()}: {legend.title}", ("style",), {}
    if product.bands[0].classes is not None:
        path = cog.with_name(f"{cog.stem}.class.tiff")
        _write_classes(product, cog, path)
        classes = item["assets"]["map"]["bands"][0]["classification:classes"]
        band = {"name": "class", "data_type": "uint8", "nodata": NO_CLASS, "classification:classes": classes}
        yield (
            "classes", path, stac.MEDIA_TYPE, f"{symbology.both(label)}: bảng màu (in colours)",
            ("data", "visual"), {"bands": [band]},
        )  # fmt: skip
    path = cog.with_name(f"{cog.stem}.iso19115-3.xml")
    write_aside(path, iso19115.record(product, item, known))
    yield "metadata", path, XML, "ISO 19115-3", ("metadata",), {}
    if product.recipe:
        path = cog.with_name(f"{cog.stem}.provenance")
        write_aside(path, json_text(dict(product.recipe) | {"sha256": digest}))
        yield "provenance", path, "application/json", "phusa replay", ("metadata",), {}


def _write_classes(product: Product, cog: Path, path: Path) -> None:
    """The first band as uint8 with a colour table, which every viewer shows in its colours."""
    scratch = path.with_name(f".{path.stem}.scratch.tif")
    palette = {NO_CLASS: (0, 0, 0, 0)}
    for code, (_, colour) in symbology.coded(product.target, product.bands[0]).items():
        red, green, blue = bytes.fromhex(colour.lstrip("#"))
        palette[code] = (red, green, blue, 255)
    try:
        with rasterio.open(cog) as source:
            profile = {
                "driver": "GTiff", "dtype": "uint8", "count": 1, "nodata": NO_CLASS, "crs": source.crs,
                "transform": source.transform, "height": source.height, "width": source.width, "tiled": True,
                "blockxsize": 512, "blockysize": 512, "compress": "zstd", "zstd_level": 1,
            }  # fmt: skip
            with rasterio.open(scratch, "w", **profile) as made:
                made.write_colormap(1, palette)
                made.set_band_description(1, "class")
                made.update_tags(1, CLASSES=source.tags(1)["CLASSES"])
                for _, window in source.block_windows(1):
                    codes = source.read(1, window=window)
                    codes[codes == NODATA] = NO_CLASS
                    made.write(codes.astype(np.uint8), 1, window=window)
        write_cog(scratch, path, [True], COG | {"PREDICTOR": "NO"})
    finally:
        scratch.unlink(missing_ok=True)


def files(item: dict[str, Any], cog: Path) -> dict[Path, str]:
    """Every file of a product that lies beside ``cog``, the COG too -> the SHA-256 that its item states."""
    return {
        cog.with_name(a["href"].rpartition("/")[2]): a["file:checksum"][len(stac.SHA256_HEAD) :]
        for a in item["assets"].values()
    }
