"""STAC 1.1 records of products."""

from __future__ import annotations

from typing import Any

import shapely
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from models.targets import MapClass
from pipeline.product import NODATA, Product, ProductBand
from pipeline.season import Season

VERSION = "1.1.0"
EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"


def collection_id(region: str, season: Season) -> str:
    """Id of the collection of a season of a region."""
    return f"phusa-{region}-{season.slug}"


def item(product: Product, sha256: str, size: int, href: str) -> dict[str, Any]:
    """The item of a product whose COG is at ``href``."""
    outline = lonlat(product.geobox)
    target, provenance = product.target, dict(product.provenance)
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
                "file:checksum": f"1220{sha256}",
                "file:size": size,
                "bands": [_band(band, product) for band in product.bands],
            }
        },
    }


def _band(band: ProductBand, product: Product) -> dict[str, Any]:
    record: dict[str, Any] = {"name": band.name, "data_type": "int16", "nodata": NODATA}
    if band.scale != 1:
        record["raster:scale"] = band.scale
    if band.unit:
        record["unit"] = band.unit
    if band.classes is not None:
        shown = {c.code: c for c in product.target.classes} if band.name == "class" else {}
        record["classification:classes"] = [
            {"value": code, "name": name} | (_legend(shown[code]) if code in shown else {})
            for code, name in band.classes.items()
        ]
    return record


def _legend(known: MapClass) -> dict[str, str]:
    colour = known.colour.lstrip("#").upper()
    return {"title": f"{known.title.vi} ({known.title.en})", "color_hint": colour}


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
