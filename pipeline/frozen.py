"""Scene lists as stac-geoparquet: one row an image, readable by any GIS, whole or refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet
import shapely
import stac_geoparquet.arrow

if TYPE_CHECKING:
    from pipeline.scenes import Scene, Scenes

#: Key of the file's metadata that holds what is not an image, and the digest of all.
_META = b"phusa"
FORMAT = "phusa-scenes-1"
#: Column with a scene exactly as it is.
_EXACT = "phusa:scene"


def write(scenes: Scenes, path: Path) -> None:
    """Write a scene list to ``path``, with the digest that ``read`` checks."""
    items = [_item(scene) for scene in scenes.kept]
    stac_geoparquet.arrow.to_parquet(stac_geoparquet.arrow.parse_stac_items_to_arrow(items), path)
    about = {
        "format": FORMAT,
        "season": scenes.season,
        "provider": scenes.provider,
        "dropped": [asdict(d) for d in scenes.dropped],
        "scenes_digest": scenes.digest,
    }
    about["sha256"] = _digest(about, [item["properties"][_EXACT] for item in items])
    table = pyarrow.parquet.read_table(path)
    meta = {**(table.schema.metadata or {}), _META: json.dumps(about, ensure_ascii=False).encode()}
    pyarrow.parquet.write_table(table.replace_schema_metadata(meta), path)


def read(path: Path) -> dict[str, Any]:
    """As ``Scenes.write`` would put it in JSON. Raises ValueError where the file is not as it was made."""
    table = pyarrow.parquet.read_table(path)
    about: dict[str, Any] = json.loads((table.schema.metadata or {})[_META])
    rows = table.column(_EXACT).to_pylist()
    if about.pop("sha256") != _digest(about, rows):
        raise ValueError("its content is not what its digest says")
    return {k: v for k, v in about.items() if k != "scenes_digest"} | {"kept": [json.loads(r) for r in rows]}


def _digest(about: dict[str, Any], rows: list[str]) -> str:
    lines = [json.dumps(about, sort_keys=True, ensure_ascii=False), *rows]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _item(scene: Scene) -> dict[str, Any]:
    geometry, orbit = scene.geometry, scene.orbit or ""
    known = {
        "platform": scene.platform,
        "proj:code": f"EPSG:{scene.epsg}" if scene.epsg else None,
        "sat:relative_orbit": int(orbit) if orbit.isdecimal() else None,
        "processing:version": scene.baseline,
        "grid:code": f"MGRS-{scene.granule}" if scene.granule else None,
        "eo:cloud_cover": scene.cloud_percent,
    }
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": scene.id,
        "collection": scene.collection,
        "geometry": json.loads(shapely.to_geojson(geometry)),
        "bbox": list(geometry.bounds),
        "properties": {
            "datetime": scene.datetime,
            "phusa:sensor": scene.sensor,
            **known,
            _EXACT: json.dumps(asdict(scene), sort_keys=True, ensure_ascii=False),
        },
        "links": [],
        "assets": {band: {"href": url} for band, url in scene.assets},
    }
