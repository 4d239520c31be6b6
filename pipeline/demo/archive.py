"""The simulated images as a provider would offer them: COGs and a static STAC catalogue."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.demo import world as w
from pipeline.grid import to_crs

LABEL = "SIMULATED - dữ liệu mô phỏng"
_TEN = ("blue", "green", "red", "nir")
_ESA = dict(zip(w.BANDS, ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), strict=True))
#: First column, in parts of the width, of the two overlapping granules and their ends.
GRANULES = {"48PXS": (0.0, 0.7), "48PYS": (0.3, 1.0)}


def write(
    folder: Path, ground: w.World, seed: int, optical_dates: int, radar_dates: int, convention: str
) -> Path:
    """Write the archive and return the path of its catalog.json.

    ``earth-search`` delivers numbers without the offset, flagged so, while ``raster:bands`` says
    otherwise, as the real service does; ``planetary-computer`` delivers raw numbers of baselines
    before and after 04.00. Both show the same surface.
    """
    items: dict[str, list[dict[str, Any]]] = {
        "sentinel-2-l2a": [],
        "sentinel-1-rtc": [],
        "cop-dem-glo-30": [],
    }
    for k, date in enumerate(w.dates(optical_dates)):
        rng = np.random.default_rng([seed, 2, k])
        reflectance, scl = w.optical(ground, date, rng)
        baseline = "05.11" if k % 2 else "03.01"
        for granule in GRANULES:
            items["sentinel-2-l2a"].append(
                _optical_item(folder, ground, granule, date, baseline, convention, reflectance, scl)
            )
    for k, date in enumerate(w.dates(radar_dates)):
        power = w.radar(ground, date, np.random.default_rng([seed, 1, k]))
        items["sentinel-1-rtc"].append(_radar_item(folder, ground, date, power))
    items["cop-dem-glo-30"].append(_dem_item(folder, ground))
    return _catalog(folder, items)


def _optical_item(
    folder: Path,
    ground: w.World,
    granule: str,
    date: dt.datetime,
    baseline: str,
    convention: str,
    reflectance: NDArray[np.float32],
    scl: NDArray[np.uint8],
) -> dict[str, Any]:
    size = scl.shape[1]
    first, last = (int(part * size) // 2 * 2 for part in GRANULES[granule])
    identity = f"S2A_{granule}_{date:%Y%m%d}_0_L2A"
    raw = convention == "planetary-computer"
    added = 1000 if raw and baseline >= "04.00" else 0
    transform = ground.transform * Affine.translation(first, 0)
    assets = {}
    for band, layer in zip(w.BANDS, reflectance, strict=True):
        numbers = np.maximum(np.rint(layer[:, first:last] * 10000), 1) + added
        key = _ESA[band] if raw else band
        asset = _write_band(
            folder / identity / f"{key}.tif",
            numbers.astype(np.uint16),
            transform,
            1 if band in _TEN else 2,
            0,
        )
        bands = [] if raw else [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
        assets[key] = asset | ({"raster:bands": bands} if bands else {})
    key = "SCL" if raw else "scl"
    assets[key] = _write_band(folder / identity / f"{key}.tif", scl[:, first:last], transform, 2, 0)
    about = {
        "platform": "sentinel-2a", "eo:cloud_cover": round(100 * float(np.isin(scl, (8, 9, 10)).mean()), 1),
        "s2:processing_baseline": baseline, "grid:code": f"MGRS-{granule}",
        **({} if raw else {"earthsearch:boa_offset_applied": True}),
    }  # fmt: skip
    return _item(
        identity,
        "sentinel-2-l2a",
        date,
        _outline(ground.transform, size, first, last, scl.shape[0]),
        about,
        assets,
    )


def _radar_item(
    folder: Path, ground: w.World, date: dt.datetime, power: NDArray[np.float32]
) -> dict[str, Any]:
    identity = f"S1A_{date:%Y%m%d}_rtc"
    assets = {
        band: _write_band(folder / identity / f"{band}.tif", layer, ground.transform, 1, -32768)
        for band, layer in zip(("vv", "vh"), power, strict=True)
    }
    size = power.shape[1]
    about = {"platform": "sentinel-1a", "sat:relative_orbit": 18, "sat:orbit_state": "ascending"}
    return _item(
        identity, "sentinel-1-rtc", date, _outline(ground.transform, size, 0, size, size), about, assets
    )


def _dem_item(folder: Path, ground: w.World) -> dict[str, Any]:
    identity = "DEM_48PXS"
    asset = _write_band(folder / identity / "data.tif", ground.elevation, ground.transform, 1, -9999)
    size = ground.elevation.shape[0]
    return _item(
        identity,
        "cop-dem-glo-30",
        w.dates(1)[0],
        _outline(ground.transform, size, 0, size, size),
        {},
        {"data": asset},
    )


def _write_band(
    path: Path, pixels: NDArray[Any], transform: Affine, step: int, nodata: float
) -> dict[str, Any]:
    """One band as COG; ``step`` 2 keeps each other pixel, as a 20 m band would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = pixels[::step, ::step]
    profile = {
        "driver": "COG", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype,
        "nodata": nodata, "crs": f"EPSG:{w.EPSG}", "transform": transform * Affine.scale(step), "compress": "deflate",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
        file.update_tags(PHUSA_SIMULATED=LABEL)
    return {
        "href": f"./{path.name}",
        "type": "image/tiff; application=geotiff; profile=cloud-optimized",
        "roles": ["data"],
    }


def _outline(transform: Affine, size: int, first: int, last: int, height: int) -> BaseGeometry:
    west, north = transform * (first, 0)
    east, south = transform * (min(last, size), height)
    return to_crs(shapely.box(west, south, east, north), 4326, w.EPSG)


def _item(
    identity: str,
    collection: str,
    date: dt.datetime,
    outline: BaseGeometry,
    about: dict[str, Any],
    assets: dict[str, Any],
) -> dict[str, Any]:
    return {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": [], "id": identity, "collection": collection,
        "geometry": shapely.geometry.mapping(outline), "bbox": list(outline.bounds),
        "properties": {"datetime": date.isoformat().replace("+00:00", "Z"), "proj:epsg": w.EPSG, "phusa:simulated": True, "title": LABEL, **about},
        "links": [{"rel": "collection", "href": "../collection.json", "type": "application/json"}],
        "assets": assets,
    }  # fmt: skip


def _catalog(folder: Path, items: dict[str, list[dict[str, Any]]]) -> Path:
    """Items lie in ``<folder>/<id>/<id>.json``, a collection's file beside those folders."""
    for collection, members in items.items():
        for item in members:
            item["links"][0]["href"] = f"../{collection}.json"
            _write(folder / item["id"] / f"{item['id']}.json", item)
        _write(folder / f"{collection}.json", _collection(collection, members))
    path = folder / "catalog.json"
    links = [{"rel": "child", "href": f"./{c}.json", "type": "application/json"} for c in items]
    _write(
        path,
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "phusa-demo",
            "description": LABEL,
            "links": links,
        },
    )
    return path


def _collection(identity: str, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    boxes = np.array([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    extent = [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": identity, "description": LABEL, "license": "other",
        "extent": {"spatial": {"bbox": [extent]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": [{"rel": "item", "href": f"./{i['id']}/{i['id']}.json", "type": "application/geo+json"} for i in _sorted(items)],
    }  # fmt: skip


def _sorted(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: str(item["id"]))


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
