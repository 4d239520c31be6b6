"""Layers of a region: its own rasters, and those that need ground far from a pixel.

Wetness and distances are made once for the whole region, on a grid of its own, and kept in the work
folder under a digest of what they were made from; blocks and sample sites read the same files.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.spatial import cKDTree

from features import terrain
from features.bands import BANDS, DEM, REGION_LAYERS
from features.spec import FeatureSpec
from pipeline import scenes as scene_lists
from pipeline.errors import InputError, LossError
from pipeline.files import aside, sha256
from pipeline.grid import to_crs, transformer, utm_of
from pipeline.load import load
from pipeline.raster import LayerFile
from pipeline.scenes import Scene, Scenes

if TYPE_CHECKING:
    from pipeline.config import Config

#: Raised when the same inputs would give other layers.
VERSION = 1
#: Largest grid of a region, and rows of it that are held beside it.
MOST_PX, ROWS = 400_000_000, 1024


def prepare(
    config: Config, found: Scenes, specs: Sequence[FeatureSpec], work: Path | None
) -> tuple[LayerFile, ...]:
    """Files of all region layers that ``specs`` use, made where they are not there yet.

    ``found`` holds the elevation models of the region. Without a ``work`` folder they are kept among the
    system's temporary files. Raises InputError where an input is missing or useless, LossError where an
    elevation model cannot be read.
    """
    used = sorted({band for spec in specs for band in spec.bands})
    own = [_own(config, name) for name in used if name in config.layers]
    made = [name for name in used if name in REGION_LAYERS]
    unknown = [name for name in used if name not in config.layers and _is_foreign(name)]
    if unknown:
        raise InputError(f"the model needs the layer {unknown[0]!r}; name its file in layers of the config")
    if not made:
        return tuple(own)
    height = [s for s in found.of(DEM) if s.geometry.intersects(config.region.geometry)]
    key = _key(config, height)
    folder = (work or Path(tempfile.gettempdir()) / "phusa") / "layers" / key[:16]
    missing = [name for name in made if not (folder / f"{name}.tif").is_file()]
    if missing:
        _make(config, height, missing, folder)
    return (*own, *(LayerFile(n, str(folder / f"{n}.tif"), "bilinear", key) for n in made))


def beyond(layer: LayerFile, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which places (WGS 84 degrees) lie outside a layer's raster."""
    with rasterio.open(layer.path, driver="GTiff") as file:
        x, y = transformer(4326, str(file.crs)).transform(lon, lat)
        columns, rows = ~file.transform * (np.asarray(x), np.asarray(y))
        inside = (columns >= 0) & (rows >= 0) & (columns < file.width) & (rows < file.height)
    return np.asarray(~inside, np.bool_)


def _is_foreign(name: str) -> bool:
    return name not in BANDS and name not in REGION_LAYERS


def settings(config: Config) -> dict[str, Any]:
    """What the config says that region layers depend on; nothing where none can be asked for."""
    terms = config.terrain
    found: dict[str, Any] = {}
    if config.layers:
        found["layers"] = {n: [sha256(layer.path), layer.kind] for n, layer in sorted(config.layers.items())}
    if set(config.features.names) & set(REGION_LAYERS):
        files = {name: sha256(path) for name in ("channels", "coast") if (path := getattr(terms, name))}
        found["terrain"] = terms.model_dump(mode="json", exclude={"channels", "coast"}) | files
    return found


def _own(config: Config, name: str) -> LayerFile:
    layer = config.layers[name]
    resampling = "nearest"
    if layer.kind == "value":
        with rasterio.open(layer.path, driver="GTiff") as file:
            finer = file.crs.is_projected and file.res[0] < 0.75 * config.region.grid.resolution_m
        resampling = "average" if finer else "bilinear"
    return LayerFile(name, str(layer.path), resampling, f"{sha256(layer.path)}:{layer.kind}")


def _key(config: Config, height: Sequence[Scene]) -> str:
    terms = config.terrain
    inputs = [
        VERSION,
        shapely.to_wkb(shapely.normalize(config.region.geometry), hex=True),
        scene_lists.digest(height),
        terms.model_dump(mode="json", exclude={"channels", "coast"}),
        [sha256(path) if path else "" for path in (terms.channels, terms.coast)],
    ]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def _grid(config: Config) -> GeoBox:
    """The region and its collar in the UTM zone of its middle."""
    area, terms = config.region.geometry, config.terrain
    middle = shapely.box(*area.bounds).centroid
    epsg = utm_of(middle.x, middle.y)
    west, south, east, north = to_crs(area, epsg).buffer(terms.collar_km * 1000).bounds
    step = terms.resolution_m
    left, top = math.floor(west / step), math.ceil(north / step)
    shape = top - math.floor(south / step), math.ceil(east / step) - left
    if shape[0] * shape[1] > MOST_PX:
        raise InputError(
            f"terrain: {shape[0]} x {shape[1]} pixels of {step:g} m are too many for one region; "
            "set terrain.resolution_m higher"
        )
    return GeoBox(shape, Affine(step, 0, left * step, 0, -step, top * step), f"EPSG:{epsg}")


def _make(config: Config, height: Sequence[Scene], names: Sequence[str], folder: Path) -> None:
    grid, terms = _grid(config), config.terrain
    drained = None
    if "twi" in names or ("distance_to_channels" in names and terms.channels is None):
        elevation = _elevation(height, grid)
        drained = upslope(elevation, terms.resolution_m)
    for name in names:
        if name == "twi":
            assert drained is not None
            padded = np.pad(elevation, 1, constant_values=np.nan)
            layer = terrain.wetness(drained, terrain.slope(padded, terms.resolution_m), terms.resolution_m)
        elif name == "distance_to_coast":
            assert terms.coast is not None
            layer = distance(_points(terms.coast, grid), grid, terms.coast.name)
        elif terms.channels is not None:
            layer = distance(_points(terms.channels, grid), grid, terms.channels.name)
        else:
            assert drained is not None
            layer = distance(_cells(drained >= terms.channels_km2 * 1e6, grid), grid, "terrain.channels_km2")
        _write(layer, grid, folder / f"{name}.tif")


def _elevation(height: Sequence[Scene], grid: GeoBox) -> NDArray[np.float32]:
    """Metres on the region's grid, NaN where unknown."""
    parts = []
    for top in range(0, grid.shape.y, ROWS):
        stack = load(height, grid[top : min(top + ROWS, grid.shape.y), :], ["elevation"], 0, "region")
        if stack.losses:
            lost = stack.losses[0]
            raise LossError(f"the elevation model {lost.scene} cannot be read: {lost.reason}")
        parts.append(stack.arrays["elevation"])
    elevation = np.concatenate(parts)
    if np.isnan(elevation).all():
        raise InputError("no elevation is known in the region; its elevation models hold no pixel there")
    return elevation


def upslope(elevation: NDArray[np.float32], resolution_m: float) -> NDArray[np.float64]:
    """Area in m2 that drains through each pixel, its own included, (y, x); NaN where height is unknown.

    Depressions are filled (Wang & Liu 2006); each pixel drains to the steepest of its eight neighbours
    (O'Callaghan & Mark 1984), on flats the way that the filling came. Water leaves at the edges of what is
    known.
    """
    import pyflwdir  # compiles for seconds: only where it is needed

    known = np.isfinite(elevation)
    height = np.where(known, elevation, np.float32(_UNKNOWN))
    filled, directions = pyflwdir.dem.fill_depressions(height, nodata=_UNKNOWN)
    filled = np.where(known, filled, np.nan)
    steepest = _steepest(filled)
    directions = np.where(steepest > 0, steepest, directions)
    flow = pyflwdir.from_array(directions, ftype="d8", check_ftype=False)
    cells = flow.upstream_area(unit="cell").astype(np.float64)
    return np.where(known, cells * resolution_m**2, np.nan)


#: (code, rows down, columns right) of the eight neighbours, as ESRI has them.
_D8 = ((1, 0, 1), (2, 1, 1), (4, 1, 0), (8, 1, -1), (16, 0, -1), (32, -1, -1), (64, -1, 0), (128, -1, 1))
_UNKNOWN = -9999.0


def _steepest(height: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The code of the neighbour that each pixel falls to most steeply, (y, x); 0 where none is lower."""
    rows, columns = height.shape
    padded = np.pad(height, 1, constant_values=np.nan)
    best, codes = np.zeros(height.shape, np.float32), np.zeros(height.shape, np.uint8)
    for code, down, right in _D8:
        neighbour = padded[1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
        fall = (height - neighbour) / np.float32(math.hypot(down, right))
        steeper = fall > best  # never where one of them is unknown
        best[steeper], codes[steeper] = fall[steeper], code
    return codes


def distance(places: NDArray[np.float64], grid: GeoBox, what: str) -> NDArray[np.float32]:
    """Metres from each pixel's centre to the nearest of ``places`` (place, 2) in the grid's CRS, (y, x)."""
    if not len(places):
        raise InputError(f"{what} holds nothing in or near the region to take a distance to")
    tree = cKDTree(places)
    a, (height, width) = grid.affine, grid.shape
    x = a.c + a.a * (np.arange(width) + 0.5)
    out = np.empty((height, width), np.float32)
    for row in range(height):
        y = np.full(width, a.f + a.e * (row + 0.5))
        out[row] = tree.query(np.column_stack([x, y]))[0]
    return out


def _points(path: Path, grid: GeoBox) -> NDArray[np.float64]:
    """Points along the lines, edges or pixels of a file, no farther apart than the grid's pixels."""
    if path.suffix.lower() in (".tif", ".tiff"):
        with rasterio.open(path, driver="GTiff") as file:
            if file.crs is None:
                raise InputError(f"{path} has no coordinate reference system")
            rows, columns = np.nonzero(file.read(1, masked=True).filled(0) > 0)
            x, y = rasterio.transform.xy(file.transform, rows, columns)
            frame = geopandas.GeoSeries(shapely.points(x, y), crs=file.crs)
    else:
        frame = geopandas.read_file(path).geometry
        frame = frame.set_crs(4326) if frame.crs is None else frame
        shapes = np.asarray(frame[~(frame.is_empty | frame.isna())].values)
        edges = np.where(shapely.get_dimensions(shapes) == 2, shapely.boundary(shapes), shapes)
        frame = geopandas.GeoSeries(edges, crs=frame.crs)
    local = frame.to_crs(str(grid.crs))
    dense = shapely.segmentize(np.asarray(local.values), grid.resolution.x)
    return shapely.get_coordinates(dense)


def _cells(chosen: NDArray[np.bool_], grid: GeoBox) -> NDArray[np.float64]:
    """Centres of the chosen pixels, (place, 2)."""
    rows, columns = np.nonzero(chosen)
    a = grid.affine
    return np.column_stack([a.c + a.a * (columns + 0.5), a.f + a.e * (rows + 0.5)])


def _write(layer: NDArray[np.float32], grid: GeoBox, path: Path) -> None:
    profile = {
        "driver": "GTiff", "height": grid.shape.y, "width": grid.shape.x, "count": 1, "dtype": "float32",
        "nodata": np.nan, "crs": str(grid.crs), "transform": grid.affine, "tiled": True,
        "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 3, "bigtiff": "if_safer",
    }  # fmt: skip
    with aside(path) as temporary, rasterio.open(temporary, "w", **profile) as file:
        file.write(layer, 1)
