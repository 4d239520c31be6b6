"""STAC 1.1 records of products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from models.targets import Title
from pipeline.product import NODATA, Product, ProductBand
from pipeline.season import Season
from pipeline.statistics import BandStatistics
from pipeline.symbology import both, coded

VERSION = "1.1.0"
EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/version/v1.2.0/schema.json",
]
#: Multihash head of SHA-256: its code, and 32 bytes.
SHA256_HEAD = "1220"
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def collection_id(region: str, season: Season) -> str:
    """Id of the collection of a season of a region."""
    return f"phusa-{region}-{season.slug}"


def item(
    product: Product, sha256: str, size: int, href: str, statistics: Sequence[BandStatistics]
) -> dict[str, Any]:
    """The item of a product whose COG is at ``href``; statistics are of its bands, in order."""
    outline = lonlat(product.geobox)
    target, provenance = product.target, dict(product.provenance)
    expression, software = provenance.pop("features", None), provenance.pop("software", {})
    simulated = bool(provenance.get("simulated"))
    label = "SIMULATED " if simulated else ""
    return {
        "type": "Feature",
        "stac_version": VERSION,
        "stac_extensions": EXTENSIONS,
        "id": f"{product.season.slug}_{product.id.name}",
        "collection": collection_id(product.region, product.season),
        "geometry": shapely.geometry.mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "title": f"{label}{target.title.vi} ({target.title.en}), {product.id.tile}, {product.season}",
            "datetime": None,
            **_span(product.season),
            "proj:code": f"EPSG:{product.geobox.crs.epsg}",  # type: ignore[union-attr]
            "proj:shape": list(product.geobox.shape.yx),
            "proj:transform": list(product.geobox.affine)[:6],
            "proj:bbox": list(product.geobox.boundingbox.bbox),
            "processing:level": "L4",
            "processing:lineage": _lineage(product),
            **({"processing:software": dict(software)} if software else {}),
            **(
                {"processing:expression": {"format": "phusa-features", "expression": expression}}
                if expression
                else {}
            ),
            "phusa:season": product.season.name,
            "phusa:tile": product.id.tile,
            "phusa:target": target.name,
            "phusa:key": product.key,
            "phusa:status": target.status,
            **{f"phusa:{name}": value for name, value in sorted(provenance.items())},
        },
        "links": [],
        "assets": {
            "map": {
                "href": href,
                "type": MEDIA_TYPE,
                "title": f"{label}{target.title.vi} ({target.title.en})",
                "roles": ["data"],
                "file:checksum": f"{SHA256_HEAD}{sha256}",
                "file:size": size,
                "bands": [
                    _band(band, product, known) for band, known in zip(product.bands, statistics, strict=True)
                ],
            }
        },
    }


def _lineage(product: Product) -> str:
    sensors = ", ".join(sorted(product.provenance.get("providers", {})))
    return (
        f"Phù Sa: season statistics of {sensors or 'satellite images'} per pixel ({product.season.start} to "
        f"{product.season.end}), read by a gradient-boosted model trained on soil samples, with calibrated "
        f"uncertainty. Thống kê theo mùa của ảnh vệ tinh, đọc bởi mô hình học từ mẫu đất, kèm độ bất định."
    )


def released(item: dict[str, Any], version: int, predecessor: str | None) -> dict[str, Any]:
    """A product's item as part of release number ``version`` of its season; ``predecessor`` is the address of
    the same product's item in the release before, if it was in it."""
    links = [link for link in item["links"] if link["rel"] != "predecessor-version"]
    if predecessor:
        links.append({"rel": "predecessor-version", "href": predecessor, "type": "application/geo+json"})
    return item | {"properties": item["properties"] | {"version": str(version)}, "links": links}


def asset(
    href: str, kind: str, title: str, roles: Sequence[str], sha256: str, size: int, **more: Any
) -> dict[str, Any]:
    """A file that comes with a product."""
    return {
        "href": href,
        "type": kind,
        "title": title,
        "roles": list(roles),
        "file:checksum": f"{SHA256_HEAD}{sha256}",
        "file:size": size,
        **more,
    }


def _band(band: ProductBand, product: Product, known: BandStatistics) -> dict[str, Any]:
    """A band's record; its statistics are of the numbers as stored, like ``nodata``."""
    record: dict[str, Any] = {
        "name": band.name,
        "data_type": "int16",
        "nodata": NODATA,
        "raster:sampling": "area",
        "raster:spatial_resolution": abs(product.geobox.affine.a),
    }
    if band.scale != 1:
        record |= {"raster:scale": band.scale, "raster:offset": 0}
    if band.unit:
        record["unit"] = band.unit
    codes = coded(product.target, band)
    if known.count and not codes:
        record["statistics"] = {
            "minimum": known.minimum, "maximum": known.maximum, "mean": known.mean, "stddev": known.stddev,
            "count": known.count, "valid_percent": known.valid_percent,
        }  # fmt: skip
    else:
        record["statistics"] = {"count": known.count, "valid_percent": known.valid_percent}
    if codes:
        names = band.classes or {0: "outside", 1: "inside"}
        record["classification:classes"] = [
            _class(code, names[code], codes[code], known) for code in sorted(names)
        ]
    return record


def _class(code: int, name: str, shown: tuple[Title, str], known: BandStatistics) -> dict[str, Any]:
    title, colour = shown
    pixels = known.histogram.get(code, 0)
    return {
        "value": code, "name": name, "title": both(title), "color_hint": colour.lstrip("#").upper(),
        "description": both(title), "count": pixels,
        "percentage": 100 * pixels / known.count if known.count else 0,
    }  # fmt: skip


def collection(region: str, season: Season, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The collection of a season's items."""
    boxes = [i["bbox"] for i in items]
    extent = [
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    ]
    span = _span(season)
    simulated = any(i["properties"].get("phusa:simulated") for i in items)
    label = "SIMULATED - dữ liệu mô phỏng. " if simulated else ""
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": ["https://stac-extensions.github.io/version/v1.2.0/schema.json"],
        "id": collection_id(region, season),
        "title": f"{region} {season}",
        "description": f"{label}Bản đồ Phù Sa, vùng {region}, mùa {season}. Phù Sa maps of {region}, season {season}.",
        "license": "other",
        "extent": {
            "spatial": {"bbox": [extent]},
            "temporal": {"interval": [[span["start_datetime"], span["end_datetime"]]]},
        },
        "links": [],
    }


def _span(season: Season) -> dict[str, str]:
    return {
        "start_datetime": f"{season.start}T00:00:00Z",
        "end_datetime": f"{season.end}T23:59:59Z",
    }


def lonlat(geobox: GeoBox) -> BaseGeometry:
    """Outline in WGS 84, rounded to 7 decimals (1 cm) so that records do not depend on the machine."""
    outline = geobox.extent.to_crs("EPSG:4326").geom
    return shapely.transform(outline, lambda xy: xy.round(7))
