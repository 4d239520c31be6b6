"""Scenes -> the stack of one window of the map grid, every read accounted for."""

from __future__ import annotations

import datetime as dt
import logging
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import rasterio
import shapely
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from odc.geo.xr import xr_coords
from rasterio.errors import RasterioError
from rasterio.features import geometry_mask
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

import features
from features import clouds, terrain
from features.bands import BANDS, DEM, OPTICAL, RADAR
from features.spec import FeatureSpec
from pipeline import guard, ledger
from pipeline.grid import cut_at_180
from pipeline.ledger import Entry, entry
from pipeline.raster import GDAL, Raster, cause, open_raster
from pipeline.remote import Access, Fault
from pipeline.scenes import Scene
from pipeline.sensors import SCL, SENSORS, Sensor

log = logging.getLogger(__name__)

#: Reason in the ledger of reads whose numbers look an offset away. They are used all the same: a block
#: sees little of a scene, and what it dropped would make the pixels depend on the size of blocks.
GUARD = "radiometric guard"

#: Reads in flight ahead of the one that is decoded, and the most of one process. They only wait for
#: the network; decoding stays on the caller's thread.
AHEAD, FLIGHTS = 16, 32
#: Pixel size of Sentinel-2's bands, in metres; what is coarser is another product.
_PIXEL_M = {"blue": 10, "green": 10, "red": 10, "nir": 10}
_COARSEST_M = 20
#: Orbits are numbers; a direction alone stands for one.
_DIRECTIONS = {"ascending": -1, "descending": -2}


@dataclass(frozen=True)
class Loss:
    """A read that was catalogued and needed, and that a fault took."""

    scene: str
    band: str
    where: str
    reason: str
    cause: str = "unreadable"
    """The kind of fault, as the ledger counts it."""


@dataclass
class Stack:
    """Pixels of one window: ``arrays`` as ``features.block`` wants them."""

    geobox: GeoBox
    arrays: dict[str, NDArray[Any]]
    dates: dict[str, NDArray[np.datetime64]]
    clear_dates: NDArray[np.int16]
    """Dates on which the pixel was seen, (y, x): by Sentinel-2 where it is loaded, else Sentinel-1."""
    reads: int = 0
    losses: list[Loss] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)
    """What became of every band of every scene here."""
    orbits: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Sensor name -> relative orbit of each date; -1 ascending and -2 descending where only that is
    known, 0 where nothing is."""
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
    reader = _Reader(stack, where)
    with rasterio.Env(**GDAL):
        for sensor in SENSORS.values():
            wanted = [b for b in bands if BANDS[b] == sensor.name]
            mine = [s for s in near if s.sensor == sensor.name]
            if not wanted:
                continue
            if sensor.name == OPTICAL:
                own = [s for s in mine if s.epsg in (None, geobox.crs.epsg)]  # type: ignore[union-attr]
                for scene in (s for s in mine if s not in own):
                    detail = f"its ground here is read in its own zone, EPSG:{scene.epsg}"
                    stack.ledger.append(entry(scene, where, "*", "catalogued", "other zone", detail))
                _optical(reader, own, wanted, dilate_m)
            elif sensor.name == RADAR:
                _radar(reader, mine, wanted, count=OPTICAL not in {BANDS[b] for b in bands})
            elif sensor.name == DEM:
                _terrain(reader, mine, wanted)
    return stack


def _outline(geobox: GeoBox) -> shapely.Geometry:
    return cut_at_180(geobox.extent.to_crs("EPSG:4326", resolution=geobox.resolution.x * 64).geom)


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


def _orbits(passes: Sequence[Sequence[Scene]]) -> NDArray[np.int64]:
    return np.array([_orbit(group[0]) for group in passes], np.int64)


def _orbit(scene: Scene) -> int:
    text = scene.orbit or ""
    return int(text) if text.isascii() and text.isdigit() else _DIRECTIONS.get(text, 0)


@dataclass
class _Look:
    """One scene in one block: what of it is clear."""

    scene: Scene
    t: int
    """Its date."""
    clear: NDArray[np.uint8]
    """(y, x) as packed bits."""
    scl: NDArray[np.uint8]
    """The thinned classes, 0 where not clear."""


def _optical(reader: _Reader, scenes: Sequence[Scene], bands: Sequence[str], dilate_m: float) -> None:
    stack = reader.stack
    passes = _passes(scenes)
    shape = (len(passes), *stack.geobox.shape.yx)
    for band in bands:
        stack.arrays[band] = np.zeros(shape, np.uint16)
    stack.dates[OPTICAL], stack.orbits[OPTICAL] = _days(passes), _orbits(passes)
    # First what is clear, then the first granule of every pass, then the second one's part, ...
    looks = _looks(reader, passes, bands, dilate_m)
    for n in range(max(map(len, passes), default=0)):
        round_n = [group[n] for group in passes if n < len(group)]
        _paste(reader, [looks[s] for s in round_n if s in looks], bands)
    _check_steps(reader, passes, bands)
    for t in range(len(passes)):
        seen = np.zeros(shape[1:], np.bool_)
        for band in bands:
            seen |= stack.arrays[band][t] > 0
        stack.clear_dates += seen


def _looks(
    reader: _Reader, passes: Sequence[Sequence[Scene]], bands: Sequence[str], dilate_m: float
) -> dict[Scene, _Look]:
    """Every scene whose classification could be read."""
    stack, sensor = reader.stack, SENSORS[OPTICAL]
    halo = math.ceil(dilate_m / stack.geobox.resolution.x)
    padded = stack.geobox.pad(halo) if halo else stack.geobox
    inner = np.s_[halo : padded.shape.y - halo, halo : padded.shape.x - halo]
    dates = {scene: t for t, group in enumerate(passes) for scene in group}
    looks = {}
    for job, numbers in reader.read(_Job(scene, SCL, padded, sensor, 0) for scene in dates):
        if numbers is None:  # without it clouds cannot be told: the whole scene is lost here
            stack.reads += len(bands)
            why = stack.losses[-1].cause
            reader.lose(job.scene, bands, Fault(why, "its scene classification was lost"))
            continue
        scl = numbers.astype(np.uint8)
        clear = clouds.clear(scl, halo)[inner]
        looks[job.scene] = _Look(
            job.scene, dates[job.scene], np.packbits(clear), (scl[inner] * clear)[guard.thin(clear.shape)]
        )
        reader.note(job.scene, SCL, "used", "", job.via, float(clear.mean()))
        if not clear.any():
            kind = ledger.CLOUD if scl[inner].any() else ledger.NODATA
            stack.reads += len(bands)
            for band in bands:
                reader.note(job.scene, band, "catalogued", kind, "no clear pixel here")
            del looks[job.scene]
    return looks


def _paste(reader: _Reader, looks: Sequence[_Look], bands: Sequence[str]) -> None:
    """Read one scene of each date and let it fill what is clear and not seen yet."""
    stack, sensor = reader.stack, SENSORS[OPTICAL]
    needs = {}
    for look in looks:
        need = _need(stack, look, bands)
        if need.any():
            needs[look.scene] = np.packbits(need), _part(stack.geobox, need)
            continue
        stack.reads += len(bands)
        for band in bands:
            reader.note(
                look.scene, band, "catalogued", ledger.DUPLICATE, "the other granule has these pixels"
            )
    wanted = [look for look in looks if look.scene in needs]
    jobs = (_Job(look.scene, band, needs[look.scene][1], sensor, 0) for look in wanted for band in bands)
    reads = reader.read(jobs)
    for look in wanted:
        need = _unpacked(needs[look.scene][0], stack.geobox)
        found = [next(reads) for _ in bands]
        _place(reader, look, need, [(job, numbers) for job, numbers in found if numbers is not None])


def _need(stack: Stack, look: _Look, bands: Sequence[str]) -> NDArray[np.bool_]:
    clear = _unpacked(look.clear, stack.geobox)
    missing = np.zeros(clear.shape, np.bool_)
    for band in bands:
        missing |= stack.arrays[band][look.t] == 0
    return clear & missing


def _unpacked(bits: NDArray[np.uint8], geobox: GeoBox) -> NDArray[np.bool_]:
    height, width = geobox.shape
    return np.unpackbits(bits, count=height * width).reshape(height, width).view(np.bool_)


def _part(geobox: GeoBox, need: NDArray[np.bool_]) -> GeoBox:
    """The part of a window that holds all needed pixels: nothing else is decoded."""
    rows, columns = np.flatnonzero(need.any(axis=1)), np.flatnonzero(need.any(axis=0))
    return geobox[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _place(
    reader: _Reader, look: _Look, need: NDArray[np.bool_], pixels: Sequence[tuple[_Job, NDArray[Any]]]
) -> None:
    stack, scene = reader.stack, look.scene
    thin, seen = guard.thin(need.shape), {}
    values = {}
    for job, numbers in pixels:
        band, at = job.band, _inside(stack.geobox, job.geobox)
        value = _harmonise(numbers, job.actual.offset)
        value *= need[at]
        values[band] = at, value, job.via
        whole = np.zeros(need.shape, np.uint16) if value.shape != need.shape else value
        whole[at] = value
        seen[band] = whole[thin]
    kind = (scene.day, scene.platform, *_processing(scene))
    against = reader.suspects.get(kind) or guard.judge(seen, look.scl)
    if against:  # granules of one pass were processed alike: what one shows holds for the next
        reader.suspects[kind] = against
    share = float(need.mean())
    for band, (at, value, via) in values.items():
        target = stack.arrays[band][look.t][at]
        np.copyto(target, value, where=target == 0)
        if value.any():
            reader.note(scene, band, "used", GUARD if against else "", against or via, share)
        else:
            reader.note(scene, band, "read", ledger.NODATA, "no seen pixel")


def _inside(geobox: GeoBox, part: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of a window that a part of it is."""
    x = round((part.affine.c - geobox.affine.c) / geobox.affine.a)
    y = round((part.affine.f - geobox.affine.f) / geobox.affine.e)
    return slice(y, y + part.shape.y), slice(x, x + part.shape.x)


def _check_steps(reader: _Reader, passes: Sequence[Sequence[Scene]], bands: Sequence[str]) -> None:
    """Tell of dates that stand an offset away from those processed otherwise."""
    stack = reader.stack
    groups = [_processing(group[0]) for group in passes]
    if len(set(groups)) < 2:
        return
    y, x = guard.thin(stack.geobox.shape.yx)
    series = {band: stack.arrays[band][:, y, x] for band in bands}
    for t, against in guard.steps(series, groups).items():
        for scene in passes[t]:
            stack.ledger = [_suspected(e, scene, bands, against) for e in stack.ledger]


def _suspected(line: Entry, scene: Scene, bands: Sequence[str], against: str) -> Entry:
    mine = line.scene == scene.id and line.band in bands and line.state == ledger.USED
    return replace(line, reason=GUARD, detail=against) if mine else line


def _processing(scene: Scene) -> tuple[str, int, bool]:
    """Scenes of which this is alike have one radiometry."""
    return scene.collection, scene.offset, float(scene.baseline or 0) >= 4


def _harmonise(numbers: NDArray[np.uint16], offset: int) -> NDArray[np.uint16]:
    """Reflectance x 10000 without the offset, in place; 0 stays unseen, seen values stay at least 1."""
    if offset == 0:
        return numbers
    unseen = numbers == 0
    np.maximum(numbers, 1 - offset, out=numbers)
    numbers += np.uint16(offset % 65536)  # modulo 65536 that subtracts
    numbers[unseen] = 0
    return numbers


def _radar(reader: _Reader, scenes: Sequence[Scene], bands: Sequence[str], count: bool) -> None:
    stack, sensor = reader.stack, SENSORS[RADAR]
    passes = _passes(scenes)
    shape = (len(passes), *stack.geobox.shape.yx)
    for band in bands:
        stack.arrays[band] = np.full(shape, np.nan, np.float32)
    stack.dates[RADAR], stack.orbits[RADAR] = _days(passes), _orbits(passes)
    dates = {scene: t for t, group in enumerate(passes) for scene in group}
    jobs = (_Job(s, band, stack.geobox, sensor, _unseen(s)) for s in dates for band in bands)
    for job, power in reader.read(jobs):
        if power is None:
            continue
        seen = (power > 0) & np.isfinite(power) & (power != job.nodata)
        target = stack.arrays[job.band][dates[job.scene]]
        fill = seen & np.isnan(target)
        np.copyto(target, power, where=fill)
        if fill.any():
            reader.note(job.scene, job.band, "used", "", job.via, float(fill.mean()))
        elif seen.any():
            reader.note(job.scene, job.band, "read", ledger.DUPLICATE, "another slice has these pixels")
        else:
            reader.note(job.scene, job.band, "read", ledger.NODATA, "no pixel here")
    if count:
        for layer in stack.arrays[bands[0]]:
            stack.clear_dates += ~np.isnan(layer)


def _unseen(scene: Scene) -> float:
    return -32768.0 if scene.nodata is None else scene.nodata


def _terrain(reader: _Reader, scenes: Sequence[Scene], bands: Sequence[str]) -> None:
    stack, sensor = reader.stack, SENSORS[DEM]
    nodata = -32767.0
    padded = stack.geobox.pad(1)
    height = np.full(padded.shape.yx, np.nan, np.float32)
    jobs = (_Job(s, "elevation", padded, sensor, nodata) for s in sorted(scenes, key=lambda s: s.id))
    for job, values in reader.read(jobs):
        if values is None:
            continue
        fill = np.isnan(height) & (values != nodata) & np.isfinite(values)
        np.copyto(height, values, where=fill)
        if fill.any():
            reader.note(job.scene, job.band, "used", share=float(fill.mean()))
        else:
            reader.note(job.scene, job.band, "read", ledger.NODATA, "no pixel here")
    layers = {
        "elevation": height[1:-1, 1:-1].copy(),
        "slope": terrain.slope(height, stack.geobox.resolution.x),
    }
    stack.arrays.update({band: layers[band] for band in bands})


@dataclass(frozen=True)
class _Job:
    """One read: a band of a scene onto a grid."""

    scene: Scene
    band: str
    geobox: GeoBox
    sensor: Sensor
    nodata: float
    source: Scene | None = None
    """The copy of the scene that is read instead."""

    @property
    def actual(self) -> Scene:
        return self.source or self.scene

    @property
    def remote(self) -> bool:
        return "://" in self.actual.urls.get(self.band, "")

    @property
    def via(self) -> str:
        return f"read from the fallback: {self.source.id}" if self.source else ""


@dataclass
class _Reader:
    """Reads bands of scenes onto grids; keeps the count of reads, losses, and the ledger."""

    stack: Stack
    where: str
    suspects: dict[tuple[object, ...], str] = field(default_factory=dict)
    """Passes that the guard suspects, and what was seen."""

    def note(
        self, scene: Scene, band: str, state: str, reason: str = "", detail: str = "", share: float = 0.0
    ) -> None:
        self.stack.ledger.append(entry(scene, self.where, band, state, reason, detail, share))

    def lose(self, scene: Scene, bands: Iterable[str], fault: Fault) -> None:
        for band in bands:
            log.warning("lost %s %s at %s: %s: %s", scene.id, band, self.where, fault.cause, fault)
            self.stack.losses.append(Loss(scene.id, band, self.where, str(fault), fault.cause))
            state = "catalogued" if fault.cause == "missing asset" else "found"
            self.note(scene, band, state, fault.cause, str(fault))
        self.stack.lost |= _covered(scene, self.stack.geobox)

    def read(self, jobs: Iterable[_Job]) -> Iterator[tuple[_Job, NDArray[Any] | None]]:
        """Each job with its pixels, (y, x), ``nodata`` where the scene has none; None where lost."""
        for job, ready in _ahead(jobs):
            self.stack.reads += 1
            try:
                yield job, _pixels(job, ready)
            except Fault as fault:
                if elsewhere := _elsewhere(job):
                    yield elsewhere
                    continue
                place = job.scene.urls.get(job.band, "")
                self.lose(
                    job.scene, [job.band], Fault(fault.cause, f"{place}: {fault}" if place else str(fault))
                )
                yield job, None


def _elsewhere(job: _Job) -> tuple[_Job, NDArray[Any]] | None:
    """The read done on a copy of the scene, if one can be read."""
    for copy in job.scene.alternates:
        other = replace(job, source=copy)
        with suppress(Fault):
            return other, _pixels(other, None)
    return None


def _ahead(jobs: Iterable[_Job]) -> Iterator[tuple[_Job, Future[Raster] | None]]:
    """Jobs in order, with the files of the remote ones on their way."""
    waiting: deque[tuple[_Job, Future[Raster] | None]] = deque()
    try:
        for job in jobs:
            waiting.append((job, _flights(os.getpid()).submit(_prepare, job) if job.remote else None))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:
        for _, future in waiting:  # somebody stopped early
            if future and not future.cancel():
                future.add_done_callback(_discard)


def _discard(future: Future[Raster]) -> None:
    if not future.exception():
        future.result().close()


@lru_cache(maxsize=1)
def _flights(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(FLIGHTS, thread_name_prefix="phusa-read")


def _prepare(job: _Job) -> Raster:
    """The job's file, open, found to be what its record says, its bytes brought. Raises Fault."""
    scene = job.actual
    if job.band not in scene.urls:
        raise Fault("missing asset", "the record has no such asset")
    try:
        raster = open_raster(scene.urls[job.band], Access(scene.sign, scene.s3_endpoint, scene.connections))
    except (OSError, ValueError, RasterioError) as error:
        raise _fault(error) from None
    try:
        raster.resampling = _check(raster.file, job)
        raster.bring(job.geobox, raster.resampling)
    except BaseException as error:
        raster.close()
        raise _fault(error) from None
    return raster


def _pixels(job: _Job, ready: Future[Raster] | None) -> NDArray[Any]:
    try:
        return _decoded(job, ready.result() if ready else _prepare(job))
    except Fault as fault:
        if ready is None or fault.cause != "unreadable":
            raise
    return _decoded(job, _prepare(job))  # what came may have been spoiled on its way


def _decoded(job: _Job, raster: Raster) -> NDArray[Any]:
    try:
        return raster.read(job.geobox, job.sensor.dtype, job.nodata, raster.resampling)
    except (OSError, ValueError, RasterioError) as error:
        raise _fault(error) from None
    finally:
        raster.close()


def _fault(error: BaseException) -> Fault:
    return error if isinstance(error, Fault) else Fault("unreadable", cause(error))


def _check(file: Any, job: _Job) -> str:
    """The resampling for an asset, after a look at what the file really is. Raises Fault."""
    scene, sensor = job.actual, job.sensor
    if sensor.name == OPTICAL and np.dtype(file.dtypes[0]).kind not in "ui":
        raise Fault("wrong grid", f"it holds {file.dtypes[0]}; expected whole numbers")
    if file.crs is None:
        raise Fault("wrong grid", "it has no coordinate reference system")
    if scene.epsg and file.crs.to_epsg() not in (None, scene.epsg):
        raise Fault("wrong grid", f"it lies in EPSG:{file.crs.to_epsg()}; its record says {scene.epsg}")
    size = float(file.res[0])
    claimed = dict(scene.pixel_m).get(job.band)
    if claimed and not math.isclose(size, claimed, rel_tol=0.01):
        raise Fault("wrong grid", f"its pixels are {size:g} wide; its record says {claimed:g}")
    if sensor.name == OPTICAL and size > 1.01 * _PIXEL_M.get(job.band, _COARSEST_M):
        raise Fault(
            "wrong grid", f"its pixels are {size:g} m; {job.band} has {_PIXEL_M.get(job.band, _COARSEST_M)}"
        )
    if not _lonlat(str(file.crs), *file.bounds).intersects(scene.geometry):
        raise Fault("wrong grid", "it lies elsewhere than the footprint of its record")
    finer = file.crs.is_projected and size < job.geobox.resolution.x * 0.75
    return "average" if finer and job.band != SCL else sensor.resampling


@lru_cache(maxsize=256)
def _lonlat(crs: str, *bounds: float) -> BaseGeometry:
    """A box in WGS 84; the files of one granule share theirs."""
    west, south, east, north = transform_bounds(crs, 4326, *bounds)
    return cut_at_180(shapely.box(west, south, east if east >= west else east + 360, north))
