"""The simulated images as a provider would offer them: COGs and a static STAC catalogue."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.demo import optical, radar
from pipeline.demo import world as w
from pipeline.demo.grid import spread
from pipeline.demo.settings import Simulation
from pipeline.files import aside, json_text, write_aside
from pipeline.grid import to_crs
from pipeline.stac import MEDIA_TYPE

LABEL = "SIMULATED - dữ liệu mô phỏng"
_ESA = dict(zip(w.BANDS, ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"), strict=True))
#: First column, in parts of the width, of the two overlapping granules and their ends.
GRANULES = {"48PXS": (0.0, 0.7), "48PYS": (0.3, 1.0)}
_COG = {
    "driver": "COG", "crs": f"EPSG:{w.EPSG}", "count": 1, "COMPRESS": "ZSTD", "LEVEL": "3", "PREDICTOR": "YES",
    "BLOCKSIZE": "256", "NUM_THREADS": "1",
}  # fmt: skip
_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
]
_WORKERS = 2
Item = dict[str, Any]


def write(folder: Path, ground: w.World, simulation: Simulation) -> Path:
    """Write what is not there yet of the archive and return the path of its catalog.json.

    ``earth-search`` delivers numbers without the offset, flagged so, while ``raster:bands`` says
    otherwise, as the real service does; ``planetary-computer`` delivers raw numbers of baselines
    before and after 04.00. Both show the same surface. A scene's item is written after its images,
    so a scene with items is whole.
    """
    passes: list[Callable[[], list[Item]]] = []
    for k, date in enumerate(w.dates(simulation.optical_dates)):
        passes.append(_Optical(folder, ground, k, date, simulation.convention).items)
    for k, date in enumerate(w.dates(simulation.radar_dates)):
        passes.append(_Radar(folder, ground, k, date).items)
    passes.append(lambda: [_dem_item(folder, ground)])
    with ThreadPoolExecutor(_WORKERS) as pool:
        made = [item for items in pool.map(lambda each: each(), passes) for item in items]
    collections = ("sentinel-2-l2a", "sentinel-1-rtc", "cop-dem-glo-30")
    return _catalog(folder, {c: [i for i in made if i["collection"] == c] for c in collections})


class _Optical:
    """One pass of Sentinel-2: two granules of one datatake."""

    def __init__(self, folder: Path, ground: w.World, k: int, date: dt.datetime, convention: str) -> None:
        self.folder, self.ground, self.k, self.date = folder, ground, k, date
        self.raw = convention == "planetary-computer"
        self.baseline = "05.11" if k % 2 else "03.01"

    def items(self) -> list[Item]:
        known = [_known(self.folder, self.identity(granule)) for granule in GRANULES]
        whole = [item for item in known if item is not None]
        if len(whole) == len(GRANULES):
            return whole
        scene = optical.see(self.ground, self.date, np.random.default_rng([self.ground.seed, 2, self.k]))
        return [self.item(granule, scene) for granule in GRANULES]

    def identity(self, granule: str) -> str:
        return f"S2A_{granule}_{self.date:%Y%m%d}_0_L2A"

    @property
    def edge(self) -> tuple[float, float]:
        """Where the swath ends at the top and bottom, in parts of the width: each fourth pass is partial."""
        return (0.66, 0.78) if self.k % 4 == 2 else (1.0, 1.0)

    def item(self, granule: str, scene: optical.Scene) -> Item:
        identity, size = self.identity(granule), self.ground.size
        first, last = (int(part * size) // 2 * 2 for part in GRANULES[granule])
        unseen = _beyond(size // 2, self.edge)[:, first // 2 : last // 2]
        added = 1000 if self.raw and self.baseline >= "04.00" else 0
        corner = self.ground.transform * Affine.translation(first, 0)
        assets = {}
        for band, layer in scene.reflectance.items():
            step = 1 if band in optical.TEN_METRES else 2
            numbers = np.maximum(np.rint(layer[:, first // step : last // step] * 10000), 1) + added
            numbers[spread(unseen, 2 // step)] = 0
            key = _ESA[band] if self.raw else band
            asset = write_band(
                self.folder / identity / f"{key}.tif",
                numbers.astype(np.uint16),
                corner * Affine.scale(step),
                0,
            )
            about = [{"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}]
            assets[key] = asset | ({} if self.raw else {"raster:bands": about})
        key = "SCL" if self.raw else "scl"
        scl = np.where(unseen, 0, scene.scl[:, first // 2 : last // 2]).astype(np.uint8)
        assets[key] = write_band(self.folder / identity / f"{key}.tif", scl, corner * Affine.scale(2), 0)
        seen = scl[scl > 0]
        about_scene = {
            "platform": "sentinel-2a",
            "eo:cloud_cover": round(100 * float(np.isin(seen, (8, 9, 10)).mean()), 1),
            "s2:nodata_pixel_percentage": round(100 * float(unseen.mean()), 1),
            "s2:processing_baseline": self.baseline,
            "s2:datatake_id": f"GS2A_{self.date:%Y%m%dT%H%M%S}_{self.k:06d}_N{self.baseline}",
            "sat:relative_orbit": 18 if self.edge == (1.0, 1.0) else 118,
            "grid:code": f"MGRS-{granule}",
            **({} if self.raw else {"earthsearch:boa_offset_applied": True}),
        }
        outline = _outline(self.ground, (first / size, first / size), (last / size, last / size), self.edge)
        return _item(self.folder, identity, "sentinel-2-l2a", self.date, outline, about_scene, assets)


class _Radar:
    """One pass of Sentinel-1: ascending ones see all, descending ones miss a wedge in the west."""

    def __init__(self, folder: Path, ground: w.World, k: int, date: dt.datetime) -> None:
        self.folder, self.ground, self.k = folder, ground, k
        self.descending = k % 2 == 1
        self.date = date.replace(hour=22, minute=45) if self.descending else date.replace(hour=11, minute=10)

    def items(self) -> list[Item]:
        identity = f"S1A_IW_{self.date:%Y%m%dT%H%M%S}_rtc"
        known = _known(self.folder, identity)
        if known is not None:
            return [known]
        ground = self.ground
        power = radar.see(ground, self.date, np.random.default_rng([ground.seed, 1, self.k]))
        edge = (0.10, 0.22) if self.descending else (0.0, 0.0)
        power[:, ~_beyond(ground.size, edge)] = -32768
        assets = {
            band: write_band(self.folder / identity / f"{band}.tif", layer, ground.transform, -32768)
            for band, layer in zip(("vv", "vh"), power, strict=True)
        }
        about = {
            "platform": "sentinel-1a",
            "sat:relative_orbit": 164 if self.descending else 18,
            "sat:orbit_state": "descending" if self.descending else "ascending",
        }
        outline = _outline(ground, edge, (1.0, 1.0), (1.0, 1.0))
        return [_item(self.folder, identity, "sentinel-1-rtc", self.date, outline, about, assets)]


def _dem_item(folder: Path, ground: w.World) -> Item:
    identity = "DEM_48PXS"
    known = _known(folder, identity)
    if known is not None:
        return known
    asset = write_band(folder / identity / "data.tif", ground.elevation, ground.transform, -9999)
    whole = _outline(ground, (0.0, 0.0), (1.0, 1.0), (1.0, 1.0))
    return _item(folder, identity, "cop-dem-glo-30", w.dates(1)[0], whole, {}, {"data": asset})


def write_band(path: Path, pixels: NDArray[Any], transform: Affine, nodata: float) -> dict[str, Any]:
    """One band (y, x) as a COG with the label SIMULATED; returns its STAC asset."""
    rows, columns = pixels.shape
    resampling = "NEAREST" if pixels.dtype == np.uint8 else "AVERAGE"
    profile = _COG | {
        "height": rows, "width": columns, "dtype": pixels.dtype, "nodata": nodata, "transform": transform,
        "OVERVIEW_RESAMPLING": resampling,
    }  # fmt: skip
    with aside(path) as temporary, rasterio.open(temporary, "w", **profile) as file:
        file.write(pixels, 1)
        file.update_tags(PHUSA_SIMULATED=LABEL)
    return {
        "href": f"./{path.name}", "type": MEDIA_TYPE, "roles": ["data"], "title": f"{path.stem}, {LABEL}",
        "proj:shape": [rows, columns], "proj:transform": list(transform)[:6],
    }  # fmt: skip


def _beyond(size: int, edge: tuple[float, float]) -> NDArray[np.bool_]:
    """True for pixels east of a line from ``edge[0]`` at the top to ``edge[1]`` at the bottom."""
    rows, columns = (np.mgrid[0.5:size, 0.5:size] / size).astype(np.float64)
    return np.asarray(columns > edge[0] + (edge[1] - edge[0]) * rows, np.bool_)


def _outline(
    ground: w.World, west: tuple[float, float], east: tuple[float, float], cut: tuple[float, float]
) -> BaseGeometry:
    """Footprint between two lines (top, bottom; parts of the width), less what lies east of ``cut``."""

    def between(left: tuple[float, float], right: tuple[float, float]) -> BaseGeometry:
        corners = [(left[0], 0), (right[0], 0), (right[1], 1), (left[1], 1)]
        return shapely.Polygon([ground.transform * (x * ground.size, y * ground.size) for x, y in corners])

    seen = shapely.intersection(between(west, east), between((0.0, 0.0), cut))
    return shapely.transform(to_crs(seen, 4326, w.EPSG), lambda xy: xy.round(7))


def _known(folder: Path, identity: str) -> Item | None:
    path = folder / identity / f"{identity}.json"
    item: Item | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return item


def _item(
    folder: Path,
    identity: str,
    collection: str,
    date: dt.datetime,
    outline: BaseGeometry,
    about: dict[str, Any],
    assets: dict[str, Any],
) -> Item:
    """Write an item beside its images, ``<folder>/<id>/<id>.json``."""
    item = {
        "type": "Feature", "stac_version": "1.0.0", "stac_extensions": _EXTENSIONS, "id": identity,
        "collection": collection, "geometry": shapely.geometry.mapping(outline), "bbox": list(outline.bounds),
        "properties": {
            "datetime": date.isoformat().replace("+00:00", "Z"), "proj:epsg": w.EPSG, "phusa:simulated": True,
            "title": f"{identity}, {LABEL}", **about,
        },
        "links": [{"rel": "collection", "href": f"../{collection}.json", "type": "application/json"}],
        "assets": assets,
    }  # fmt: skip
    _write(folder / identity / f"{identity}.json", item)
    return item


def _catalog(folder: Path, items: dict[str, list[Item]]) -> Path:
    """A collection's file lies beside the folders of its items."""
    for collection, members in items.items():
        _write(folder / f"{collection}.json", _collection(collection, members))
    links = [{"rel": "child", "href": f"./{c}.json", "type": "application/json"} for c in items]
    path = folder / "catalog.json"
    about = {"type": "Catalog", "stac_version": "1.0.0", "id": "phusa-demo", "description": LABEL}
    _write(path, about | {"links": links})
    return path


def _collection(identity: str, items: Sequence[Item]) -> dict[str, Any]:
    boxes = np.array([item["bbox"] for item in items])
    times = sorted(item["properties"]["datetime"] for item in items)
    extent = [*boxes[:, :2].min(0).tolist(), *boxes[:, 2:].max(0).tolist()]
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": identity, "description": LABEL, "license": "other",
        "extent": {"spatial": {"bbox": [extent]}, "temporal": {"interval": [[times[0], times[-1]]]}},
        "links": [{"rel": "item", "href": f"./{i['id']}/{i['id']}.json", "type": "application/geo+json"} for i in _sorted(items)],
    }  # fmt: skip


def _sorted(items: Iterable[Item]) -> list[Item]:
    return sorted(items, key=lambda item: str(item["id"]))


def _write(path: Path, content: dict[str, Any]) -> None:
    write_aside(path, json_text(content))
