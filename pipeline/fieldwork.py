"""Where to sample next, for people: places picked from a map or an area, as GPX, GeoPackage and XLSForm."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from rasterio.enums import Resampling
from shapely.geometry.base import BaseGeometry

from models import next_samples
from models.targets import Target
from pipeline.errors import InputError
from pipeline.files import aside
from pipeline.grid import to_crs, transformer, utm_of

Floats = NDArray[np.float64]
#: Cells of a map that candidates are drawn from, a side and file at most.
_MOST_CELLS = 2048


@dataclass(frozen=True, eq=False)
class Ground:
    """Places that could be visited (place,), in WGS 84, and what the map says of them."""

    lon: Floats
    lat: Floats
    width: Floats | None = None
    """Width of the prediction interval (of its logarithm where the target learns the log), or for classes
    the chance that the class is wrong."""
    gap: Floats | None = None
    """1 where the model has seen nothing alike, 0 elsewhere."""
    access: Floats | None = None

    def xy(self, epsg: int) -> Floats:
        """Metres (place, 2)."""
        return np.column_stack(transformer(4326, epsg).transform(self.lon, self.lat))


def of_map(paths: Sequence[Path], target: Target, count: int, seed: int) -> Ground:
    """``count`` mapped places of a target's products, drawn at random. Raises InputError where none is mapped."""
    rng = np.random.default_rng(seed)
    names = ["lower", "upper"] if target.kind == "regression" else [f"p_{c.name}" for c in target.classes]
    grids = [_mapped(path) for path in sorted(paths)]
    sizes = np.array([len(x) for x, _, _ in grids])
    if not sizes.sum():
        raise InputError(f"no place of {target.name} is mapped")
    drawn = np.sort(rng.choice(int(sizes.sum()), min(count, int(sizes.sum())), replace=False))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    lon, lat, layers = [], [], []
    for path, (x, y, epsg), start, end in zip(sorted(paths), grids, starts[:-1], starts[1:], strict=True):
        own = drawn[(drawn >= start) & (drawn < end)] - start
        found = _values(path, x[own], y[own], [*names, "applicability"])
        kept = np.isfinite(found).all(axis=1)
        where = transformer(epsg, 4326).transform(x[own][kept], y[own][kept])
        lon.append(where[0])
        lat.append(where[1])
        layers.append(found[kept])
    values = np.concatenate(layers)
    if target.kind == "class":
        width = 1 - values[:, :-1].max(axis=1)
    elif target.transform == "log":
        width = np.log(np.maximum(values[:, 1], 1e-6) / np.maximum(values[:, 0], 1e-6))
    else:
        width = values[:, 1] - values[:, 0]
    return Ground(
        np.concatenate(lon), np.concatenate(lat), np.maximum(width, 0), 1.0 - np.clip(values[:, -1], 0, 1)
    )


def _mapped(path: Path) -> tuple[Floats, Floats, int]:
    """Middles of the mapped cells (x, y) of a product, thinned where it is large, and its EPSG."""
    with rasterio.open(path) as file:
        shape = tuple(min(_MOST_CELLS, n) for n in file.shape)
        band = file.descriptions.index("applicability") + 1
        seen = file.read(band, out_shape=shape, resampling=Resampling.nearest, masked=True)
        rows, columns = np.nonzero(~np.ma.getmaskarray(seen))
        # the middle of a true pixel, however thin the cells are
        r = ((rows + 0.5) * file.height / shape[0]).astype(int)
        c = ((columns + 0.5) * file.width / shape[1]).astype(int)
        x, y = rasterio.transform.xy(file.transform, r, c)
        return np.asarray(x, np.float64), np.asarray(y, np.float64), int(file.crs.to_epsg())


def _values(path: Path, x: Floats, y: Floats, names: Sequence[str]) -> Floats:
    """Bands of a product at places (place, band) in their units; NaN where not mapped."""
    with rasterio.open(path) as file:
        bands = [file.descriptions.index(n) + 1 for n in names]
        found = np.array([v.data for v in file.sample(zip(x, y, strict=True), bands, masked=True)])
        raw = np.ma.masked_equal(found.reshape(len(x), len(bands)).astype(np.float64), file.nodata)
        scale = np.array([file.scales[b - 1] for b in bands])
        offset = np.array([file.offsets[b - 1] for b in bands])
        return np.asarray((raw * scale + offset).filled(np.nan), np.float64)


def of_area(area: BaseGeometry, mask: Path | None, classes: Sequence[int], count: int, seed: int) -> Ground:
    """``count`` places drawn at random from an area, on the mask's classes where there is one.

    Raises InputError where the area holds none of them.
    """
    rng = np.random.default_rng(seed)
    west, south, east, north = area.bounds
    low, high = np.sin(np.radians([south, north]))
    found: list[Floats] = []
    for _ in range(200):
        lon = rng.uniform(west, east, 4 * count)
        lat = np.degrees(np.arcsin(rng.uniform(low, high, 4 * count)))  # even on the globe
        kept = shapely.contains_xy(area, lon, lat)
        places = np.column_stack([lon, lat])[kept]
        found.append(places[_on_mask(places, mask, classes)])
        if sum(map(len, found)) >= count:
            break
    places = np.concatenate(found)[:count]
    if not len(places):
        raise InputError("the area holds no ground of the mask's classes")
    return Ground(places[:, 0], places[:, 1])


def _on_mask(places: Floats, mask: Path | None, classes: Sequence[int]) -> NDArray[np.bool_]:
    if mask is None or not len(places):
        return np.ones(len(places), bool)
    with rasterio.open(mask, driver="GTiff") as file:
        x, y = transformer("EPSG:4326", file.crs.to_wkt()).transform(*places.T)
        codes = np.array([v[0] for v in file.sample(zip(x, y, strict=True), [1])])
    return np.isin(codes, classes)


def reachable(ground: Ground, roads: Path | None, reach_m: float, avoid: Path | None) -> Ground:
    """The same ground with its access: 0 further than ``reach_m`` from every road, and in what is to be avoided."""
    access = np.ones(len(ground.lon))
    epsg = utm_of(float(np.median(ground.lon)), float(np.median(ground.lat)))
    points = np.asarray(shapely.points(ground.xy(epsg)))
    if roads is not None:
        lines = shapely.STRtree(_shapes(roads, epsg))
        pairs, _ = lines.query_nearest(points, max_distance=reach_m, all_matches=False)
        access = np.zeros(len(points))
        access[pairs] = 1.0
    if avoid is not None:
        forbidden = shapely.union_all(_shapes(avoid, epsg))
        access[shapely.intersects(forbidden, points)] = 0.0
    return replace(ground, access=access)


def _shapes(path: Path, epsg: int) -> NDArray[np.object_]:
    try:
        frame = geopandas.read_file(path)
    except Exception as error:  # GDAL raises many kinds
        raise InputError(f"{path} cannot be read: {error}") from None
    if frame.crs is None:
        raise InputError(f"{path} has no coordinate reference system")
    shapes = np.asarray(to_crs(np.asarray(frame.to_crs(4326).geometry.array), epsg))
    return np.asarray(shapes[~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)])


def pick(ground: Ground, lon: Floats, lat: Floats, count: int, prefix: str) -> geopandas.GeoDataFrame:
    """The ``count`` places that help most beside samples at ``lon lat``, best first, as points in WGS 84.

    Raises InputError where fewer can be reached.
    """
    epsg = utm_of(float(np.median(ground.lon)), float(np.median(ground.lat)))
    places = next_samples.Places(ground.xy(epsg), None, ground.width, ground.gap, ground.access)
    known = next_samples.Samples(Ground(lon, lat).xy(epsg)) if len(lon) else None
    try:
        plan = next_samples.plan(places, known, count)
    except ValueError as error:
        raise InputError(str(error)) from None
    digits = max(3, len(str(count)))
    frame = pd.DataFrame(
        {
            "name": [f"{prefix}{k:0{digits}d}" for k in range(1, count + 1)],
            "rank": np.arange(1, count + 1),
            "lon": ground.lon[plan.rows].round(7),
            "lat": ground.lat[plan.rows].round(7),
            "worth": plan.worth.round(6),
            "distance_m": np.where(np.isfinite(plan.distance_m), plan.distance_m, np.nan).round(1),
            "interval_width": plan.width.round(4),
            "outside_applicability": plan.gap.round(2),
        }
    )
    return geopandas.GeoDataFrame(frame, geometry=geopandas.points_from_xy(frame.lon, frame.lat), crs=4326)


def write_gpx(points: geopandas.GeoDataFrame, path: Path, title: str) -> None:
    """GPX 1.1 waypoints, as receivers and phones load them."""
    space = "http://www.topografix.com/GPX/1/1"
    ElementTree.register_namespace("", space)
    root = ElementTree.Element(f"{{{space}}}gpx", {"version": "1.1", "creator": "phusa"})
    about = ElementTree.SubElement(root, f"{{{space}}}metadata")
    ElementTree.SubElement(about, f"{{{space}}}name").text = title
    for p in points.itertuples():
        point = ElementTree.SubElement(
            root, f"{{{space}}}wpt", {"lat": f"{p.lat:.7f}", "lon": f"{p.lon:.7f}"}
        )
        ElementTree.SubElement(point, f"{{{space}}}name").text = p.name
        words = f"Ưu tiên {p.rank} / priority {p.rank}"
        if np.isfinite(p.distance_m):
            words += f"; cách mẫu gần nhất {p.distance_m / 1000:.1f} km / to the nearest sample"
        ElementTree.SubElement(point, f"{{{space}}}desc").text = words
        ElementTree.SubElement(point, f"{{{space}}}sym").text = "Flag, Blue"
    ElementTree.indent(root, " ")
    with aside(path) as temporary:
        ElementTree.ElementTree(root).write(temporary, encoding="utf-8", xml_declaration=True)


def write_geopackage(points: geopandas.GeoDataFrame, path: Path, day: dt.date) -> None:
    """The points with all that was reckoned of them; the same points give the same bytes."""
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{day}T00:00:00.000Z"})
    try:
        with aside(path) as temporary:
            pyogrio.write_dataframe(points, temporary, layer="next_samples", driver="GPKG")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
