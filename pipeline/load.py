"""Scenes -> the stack of one window of the map grid, every lost read accounted for."""

from __future__ import annotations

import datetime as dt
import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import planetary_computer
import rasterio
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from odc.geo.xr import xr_coords
from rasterio.errors import RasterioError
from rasterio.features import geometry_mask

import features
from features import clouds, terrain
from features.bands import BANDS, DEM, OPTICAL, RADAR
from features.spec import FeatureSpec
from pipeline.raster import read_onto
from pipeline.scenes import Scene
from pipeline.sensors import SCL, SENSORS, Sensor

log = logging.getLogger(__name__)

#: The only formats opened, whatever a file holds: a VRT called .tif could point anywhere.
DRIVERS = {".jp2": "JP2OpenJPEG"}

_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "0.5",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GDAL_HTTP_LOW_SPEED_TIME": "60",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "100",
    "GDAL_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Loss:
    """A read that was catalogued and needed, and that a fault took."""

    scene: str
    band: str
    where: str
    reason: str


@dataclass
class Stack:
    """Pixels of one window: ``arrays`` as ``features.block`` wants them."""

    geobox: GeoBox
    arrays: dict[str, NDArray[Any]]
    dates: dict[str, NDArray[np.datetime64]]
    clear_dates: NDArray[np.int16]
    """Dates on which the pixel was seen, (y, x): by Sentinel-2 where it is loaded, else Sentinel-1."""
    orbits: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """A number for the relative orbit of each of Sentinel-1's dates, counted from 0 in this stack."""
    reads: int = 0
    losses: list[Loss] = field(default_factory=list)
    lost: NDArray[np.bool_] = field(init=False)
    """Where a read was lost, (y, x): inside the footprints of the scenes that ``losses`` names."""

    def __post_init__(self) -> None:
        self.lost = np.zeros(self.geobox.shape.yx, np.bool_)

    def features(self, spec: FeatureSpec, until: dt.date) -> NDArray[np.float32]:
        """Features of the window, float32 (feature, y, x); ages count to ``until``."""
        return features.block(
            self.arrays, spec, dates=self.dates, orbits=self.orbits, until=np.datetime64(until, "D")
        )

    def datasets(self) -> dict[str, xr.Dataset]:
        """One labelled Dataset a sensor, dims (time, y, x), for ``features.cube`` and notebooks."""
        found: dict[str, xr.Dataset] = {}
        for sensor in {BANDS[b] for b in self.arrays}:
            dims = ("y", "x") if SENSORS[sensor].timeless else ("time", "y", "x")
            mine = {b: (dims, a) for b, a in self.arrays.items() if BANDS[b] == sensor}
            coords: dict[Any, Any] = dict(xr_coords(self.geobox))
            if "time" in dims:
                coords["time"] = ("time", self.dates[sensor].astype("datetime64[ns]"))
            if sensor in self.orbits:
                coords["orbit"] = ("time", self.orbits[sensor])
            found[sensor] = xr.Dataset(mine, coords)
        return found


def load(
    scenes: Iterable[Scene], geobox: GeoBox, bands: Sequence[str], dilate_m: float, where: str = ""
) -> Stack:
    """Read ``bands`` of all ``scenes`` that meet ``geobox``.

    Sentinel-2 comes as uint16 reflectance x 10000 with the offset removed, 0 = unseen (no data,
    cloud or shadow grown by ``dilate_m``) and seen values at least 1; Sentinel-1 as float32 gamma0
    power; layers as float32 (y, x). One pass of the satellite is one date. A read that fails is
    recorded, never raised. Memory: dates x bands x pixels of the window.
    """
    outline = _outline(geobox)
    near = [s for s in scenes if s.geometry.intersects(outline)]
    stack = Stack(geobox, {}, {}, np.zeros(geobox.shape.yx, np.int16))
    options = dict(_GDAL)
    if "AWS_ACCESS_KEY_ID" not in os.environ:
        options["AWS_NO_SIGN_REQUEST"] = "YES"
    reader = _Reader(stack, where)
    with rasterio.Env(**options):
        for sensor in SENSORS.values():
            wanted = [b for b in bands if BANDS[b] == sensor.name]
            mine = [s for s in near if s.sensor == sensor.name]
            if not wanted:
                continue
            if sensor.name == OPTICAL:
                own = [s for s in mine if s.epsg in (None, geobox.crs.epsg)]  # type: ignore[union-attr]
                _optical(reader, own, wanted, dilate_m)
            elif sensor.name == RADAR:
                _radar(reader, mine, wanted, count=OPTICAL not in {BANDS[b] for b in bands})
            elif sensor.name == DEM:
                _terrain(reader, mine, wanted)
    return stack


def _outline(geobox: GeoBox) -> shapely.Geometry:
    return geobox.extent.to_crs("EPSG:4326", resolution=geobox.resolution.x * 64).geom


def _covered(scene: Scene, geobox: GeoBox) -> NDArray[np.bool_]:
    """The pixels in a scene's footprint, (y, x); all that it touches."""
    outline = Geometry(scene.geometry, "EPSG:4326").to_crs(str(geobox.crs), resolution=0.01)
    shape, affine = geobox.shape.yx, geobox.affine
    return np.asarray(geometry_mask([outline.geom], shape, affine, all_touched=True, invert=True), np.bool_)


def _passes(scenes: Sequence[Scene]) -> list[list[Scene]]:
    """Scenes by date, oldest first; within a date in a fixed order, so that overlaps are settled."""
    groups: dict[tuple[str, ...], list[Scene]] = {}
    for scene in sorted(scenes, key=lambda s: (s.pass_key, s.datetime, s.id)):
        groups.setdefault(scene.pass_key, []).append(scene)
    return list(groups.values())


def _days(passes: Sequence[Sequence[Scene]]) -> NDArray[np.datetime64]:
    return np.array([group[0].day for group in passes], "datetime64[D]")


def _optical(reader: _Reader, scenes: Sequence[Scene], bands: Sequence[str], dilate_m: float) -> None:
    stack, sensor = reader.stack, SENSORS[OPTICAL]
    passes = _passes(scenes)
    shape = (len(passes), *stack.geobox.shape.yx)
    halo = math.ceil(dilate_m / stack.geobox.resolution.x)
    for band in bands:
        stack.arrays[band] = np.zeros(shape, np.uint16)
    stack.dates[OPTICAL] = _days(passes)
    for t, group in enumerate(passes):
        seen = np.zeros(shape[1:], np.bool_)
        for scene in group:
            scl = reader.read(scene, [SCL], sensor, stack.geobox.pad(halo) if halo else stack.geobox, 0)
            if SCL not in scl:  # without it clouds cannot be told: the whole scene is lost here
                stack.reads += len(bands)
                reader.lose(scene, bands, "its scene classification was lost")
                continue
            clear = clouds.clear(scl[SCL].astype(np.uint8), halo)
            clear = clear[halo : clear.shape[0] - halo, halo : clear.shape[1] - halo]
            pixels = reader.read(scene, bands, sensor, stack.geobox, 0)
            for band, numbers in pixels.items():
                value = np.where(clear, _harmonise(numbers, scene.offset), np.uint16(0))
                target = stack.arrays[band][t]
                np.copyto(target, value, where=target == 0)
                seen |= value > 0
        stack.clear_dates += seen


def _harmonise(numbers: NDArray[np.uint16], offset: int) -> NDArray[np.uint16]:
    """Reflectance x 10000 without the offset; 0 stays unseen, seen values stay at least 1."""
    if offset == 0:
        return numbers
    shifted = np.maximum(numbers.astype(np.int32) + offset, 1).astype(np.uint16)
    return np.where(numbers == 0, np.uint16(0), shifted)


def _radar(reader: _Reader, scenes: Sequence[Scene], bands: Sequence[str], count: bool) -> None:
    stack, sensor = reader.stack, SENSORS[RADAR]
    passes = _passes(scenes)
    shape = (len(passes), *stack.geobox.shape.yx)
    for band in bands:
        stack.arrays[band] = np.full(shape, np.nan, np.float32)
    stack.dates[RADAR] = _days(passes)
    names = [group[0].orbit or "" for group in passes]
    stack.orbits[RADAR] = np.array([sorted(set(names)).index(name) for name in names], np.int64)
    for t, group in enumerate(passes):
        for scene in group:
            nodata = -32768.0 if scene.nodata is None else scene.nodata
            for band, power in reader.read(scene, bands, sensor, stack.geobox, nodata).items():
                seen = np.where((power > 0) & (power != nodata), power, np.float32(np.nan))
                target = stack.arrays[band][t]
                np.copyto(target, seen, where=np.isnan(target))
        if count:
            stack.clear_dates += ~np.isnan(stack.arrays[bands[0]][t])


def _terrain(reader: _Reader, scenes: Sequence[Scene], bands: Sequence[str]) -> None:
    stack, sensor = reader.stack, SENSORS[DEM]
    nodata = -32767.0
    padded = stack.geobox.pad(1)
    height = np.full(padded.shape.yx, np.nan, np.float32)
    for scene in sorted(scenes, key=lambda s: s.id):
        for values in reader.read(scene, ["elevation"], sensor, padded, nodata).values():
            np.copyto(height, values, where=np.isnan(height) & (values != nodata))
    layers = {
        "elevation": height[1:-1, 1:-1].copy(),
        "slope": terrain.slope(height, stack.geobox.resolution.x),
    }
    stack.arrays.update({band: layers[band] for band in bands})


@dataclass
class _Reader:
    """Reads bands of a scene onto a grid through odc-stac; keeps the count of reads and losses."""

    stack: Stack
    where: str

    def lose(self, scene: Scene, bands: Iterable[str], reason: str) -> None:
        for band in bands:
            log.warning("lost %s %s at %s: %s", scene.id, band, self.where, reason)
            self.stack.losses.append(Loss(scene.id, band, self.where, reason))
        self.stack.lost |= _covered(scene, self.stack.geobox)

    def read(
        self, scene: Scene, bands: Sequence[str], sensor: Sensor, geobox: GeoBox, nodata: float
    ) -> dict[str, NDArray[Any]]:
        """Band -> (y, x) of the bands that could be read; ``nodata`` where the scene has no pixel."""
        urls = scene.urls
        found: dict[str, NDArray[Any]] = {}
        self.stack.reads += len(bands)
        for band in bands:
            if band not in urls:
                self.lose(scene, [band], "the record has no such asset")
                continue
            try:
                url = _openable(urls[band], scene)
                resampling = _check(url, scene, sensor, geobox)
                found[band] = read_onto(url, geobox, sensor.dtype, nodata, resampling)
            except (RasterioError, OSError, ValueError) as error:
                self.lose(scene, [band], f"{urls[band]}: {_cause(error)}")
        return found


def _cause(error: BaseException) -> str:
    """What GDAL said first: rasterio wraps it in "see previous exception"."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:300]


def _openable(url: str, scene: Scene) -> str:
    return str(planetary_computer.sign_url(url)) if scene.sign else url


def _check(url: str, scene: Scene, sensor: Sensor, geobox: GeoBox) -> str:
    """The resampling for an asset, after a look at what the file really is."""
    driver = DRIVERS.get(PurePosixPath(urlsplit(url).path).suffix.lower(), "GTiff")
    with rasterio.open(url, driver=driver) as file:
        if sensor.name == OPTICAL and np.dtype(file.dtypes[0]).kind not in "ui":
            raise ValueError(f"{url} holds {file.dtypes[0]}; expected whole numbers")
        if file.crs is None:
            raise ValueError(f"{url} has no coordinate reference system")
        if scene.epsg and file.crs.to_epsg() not in (None, scene.epsg):
            raise ValueError(f"{url} lies in EPSG:{file.crs.to_epsg()}; its record says {scene.epsg}")
        finer = file.crs.is_projected and file.res[0] < geobox.resolution.x * 0.75
        return "average" if finer and url != scene.urls.get(SCL) else sensor.resampling
