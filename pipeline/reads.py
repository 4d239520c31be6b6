"""Reads: bands of scenes onto a grid, many in flight, each fault a loss that the stack keeps."""

from __future__ import annotations

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
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.geom import Geometry
from rasterio.errors import RasterioError
from rasterio.features import geometry_mask
from rasterio.warp import transform_bounds
from shapely.geometry.base import BaseGeometry

from features.bands import OPTICAL
from pipeline import integrity
from pipeline.facts import Facts, cause
from pipeline.grid import cut_at_180
from pipeline.ledger import Reason, State, entry
from pipeline.placement import Patch
from pipeline.raster import Raster, open_raster
from pipeline.remote import Access, Fault
from pipeline.scenes import Scene
from pipeline.sensors import CLOUD, SCL, Sensor
from pipeline.stack import Loss, Stack

log = logging.getLogger(__name__)

#: Reads in flight ahead of the one that is decoded, and the most of one process. They only wait for
#: the network; decoding stays on the caller's thread.
AHEAD, FLIGHTS = 16, 32
#: Pixel size of Sentinel-2's bands, in metres; what is coarser is another product.
_PIXEL_M = {"blue": 10, "green": 10, "red": 10, "nir": 10}
_COARSEST_M = 20


@dataclass(frozen=True)
class Job:
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
        """The scene whose files are opened."""
        return self.source or self.scene

    @property
    def remote(self) -> bool:
        """True where the file comes over the network."""
        return "://" in self.actual.urls.get(self.band, "")

    @property
    def via(self) -> str:
        """What the ledger says of the way; nothing where the scene itself was read."""
        return f"read from the fallback: {self.source.id}" if self.source else ""


@dataclass
class Reader:
    """Reads bands of scenes onto grids; keeps the count of reads, losses, and the ledger."""

    stack: Stack
    where: str
    _sent: dict[Job, Future[Raster]] = field(default_factory=dict)

    def send_for(self, jobs: Iterable[Job]) -> None:
        """Begin with the remote ones of some jobs that ``patches`` will be asked for, as far as there is room."""
        for job in jobs:
            if job.remote and len(self._sent) < AHEAD:
                self._sent[job] = _flights(os.getpid()).submit(_prepare, job)

    def call_off(self) -> None:
        """Let go of what was sent for and never asked for."""
        _called_off(self._sent.values())
        self._sent.clear()

    def note(
        self, scene: Scene, band: str, state: State, reason: Reason = "", detail: str = "", share: float = 0.0
    ) -> None:
        """A line of the ledger: how far a band came, why no further, and the share of the window it gave."""
        self.stack.ledger.append(entry(scene, self.where, band, state, reason, detail, share))

    def lose(self, scene: Scene, bands: Iterable[str], fault: Fault) -> None:
        """Count ``bands`` of a scene as lost to a fault, and its footprint as ground that may lack them."""
        for band in bands:
            log.warning("lost %s %s at %s: %s: %s", scene.id, band, self.where, fault.cause, fault)
            self.stack.losses.append(Loss(scene.id, band, self.where, str(fault), fault.cause))
            state: State = "catalogued" if fault.cause == "missing asset" else "found"
            self.note(scene, band, state, fault.cause, str(fault))
        self.stack.lost |= _covered(scene, self.stack.geobox)

    def read(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, NDArray[Any] | None]]:
        """Each job with its pixels, (y, x), ``nodata`` where the scene has none; None where lost."""
        for job, patch in self.patches(jobs):
            yield job, None if patch is None else patch.onto(blank(job))

    def patches(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, Patch | None]]:
        """Each job with its pixels as they lie on its grid; None where lost."""
        for job, found in attempts(jobs, self._sent):
            self.stack.reads += 1
            if isinstance(found, Patch):
                yield job, found
            elif elsewhere := _elsewhere(job):
                yield elsewhere
            else:
                place = job.scene.urls.get(job.band, "")
                self.lose(
                    job.scene, [job.band], Fault(found.cause, f"{place}: {found}" if place else str(found))
                )
                yield job, None


def attempts(
    jobs: Iterable[Job], sent: dict[Job, Future[Raster]] | None = None
) -> Iterator[tuple[Job, Patch | Fault]]:
    """Each job, in order, with its pixels or what took them; no copy of the scene is tried.

    Those that were ``sent`` for are taken from there.
    """
    for job, ready in _ahead(jobs, {} if sent is None else sent):
        try:
            yield job, _pixels(job, ready)
        except Fault as fault:
            yield job, fault


def windows(
    scene: Scene, band: str, geoboxes: Sequence[GeoBox], sensor: Sensor, nodata: float = 0
) -> list[tuple[Scene, NDArray[Any]]]:
    """One band of a scene in several windows, the file opened once, each with the copy that was read.

    ``nodata`` where it has no pixel. Raises Fault where neither the scene nor a copy of it can be read.
    """
    faults = []
    for source in (None, *scene.alternates):
        job = Job(scene, band, geoboxes[0], sensor, nodata, source)
        try:
            return [(job.actual, pixels) for pixels in _windows(job, geoboxes)]
        except Fault as fault:
            faults.append(fault)
    raise faults[0]


def _windows(job: Job, geoboxes: Sequence[GeoBox], fresh: bool = False) -> list[NDArray[Any]]:
    try:
        raster = _prepare(job, fresh)
        try:
            return [_one(raster, geobox, job.sensor.dtype, job.nodata) for geobox in geoboxes]
        finally:
            raster.close()
    except (OSError, ValueError, RasterioError) as error:
        fault = _fault(error)
        if fresh or not _may_be_new(job, fault):
            raise fault from None
    return _windows(job, geoboxes, fresh=True)


def _may_be_new(job: Job, fault: Fault) -> bool:
    """Whether a second look may find another file, or other bytes: one was replaced, or came spoiled."""
    return job.remote and fault.cause in ("unreadable", "checksum", "truncated")


def _one(raster: Raster, geobox: GeoBox, dtype: str, nodata: float) -> NDArray[Any]:
    """One of several windows, which may share internal tiles."""
    out = np.full(geobox.shape.yx, nodata, dtype)
    patch = raster.patch(geobox, dtype, nodata, raster.resampling, shared=True)
    return out if patch is None else patch.onto(out)


def _covered(scene: Scene, geobox: GeoBox) -> NDArray[np.bool_]:
    """The pixels in a scene's footprint, (y, x); all that it touches."""
    outline = Geometry(scene.geometry, "EPSG:4326").to_crs(str(geobox.crs), resolution=0.01)
    shape, affine = geobox.shape.yx, geobox.affine
    return np.asarray(geometry_mask([outline.geom], shape, affine, all_touched=True, invert=True), np.bool_)


def blank(job: Job) -> NDArray[Any]:
    """The grid of a job, (y, x), with nothing on it."""
    return np.full(job.geobox.shape.yx, job.nodata, job.sensor.dtype)


def _elsewhere(job: Job) -> tuple[Job, Patch] | None:
    """The read done on a copy of the scene, if one can be read."""
    for copy in job.scene.alternates:
        other = replace(job, source=copy)
        with suppress(Fault):
            return other, _pixels(other, None)
    return None


def _ahead(
    jobs: Iterable[Job], sent: dict[Job, Future[Raster]]
) -> Iterator[tuple[Job, Future[Raster] | None]]:
    """Jobs in order, with the files of the remote ones on their way."""
    waiting: deque[tuple[Job, Future[Raster] | None]] = deque()
    try:
        for job in jobs:
            ready = sent.pop(job, None)
            if job.remote and ready is None:
                ready = _flights(os.getpid()).submit(_prepare, job)
            waiting.append((job, ready))
            if len(waiting) > AHEAD:
                yield waiting.popleft()
        while waiting:
            yield waiting.popleft()
    finally:  # somebody may have stopped early
        _called_off(future for _, future in waiting if future)


def _called_off(flights: Iterable[Future[Raster]]) -> None:
    for future in flights:
        if not future.cancel():
            future.add_done_callback(_discard)


def _discard(future: Future[Raster]) -> None:
    if not future.exception():
        future.result().close()


@lru_cache(maxsize=1)
def _flights(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(FLIGHTS, thread_name_prefix="phusa-read")


def _prepare(job: Job, fresh: bool = False) -> Raster:
    """The job's file, open, found to be what its record says, its bytes brought; ``fresh``: nothing that is
    known of it counts. Raises Fault."""
    scene = job.actual
    if job.band not in scene.urls:
        raise Fault("missing asset", "the record has no such asset")
    try:
        access = Access(scene.sign, scene.s3_endpoint, scene.connections)
        raster = open_raster(scene.urls[job.band], access, fresh)
    except (OSError, ValueError, RasterioError) as error:
        raise _fault(error) from None
    stated = next(((size, checksum) for band, size, checksum in scene.files if band == job.band), (0, ""))
    try:
        integrity.check(raster.source, raster.url, *stated)
        raster.resampling = _check(raster.facts, job)
        raster.bring(job.geobox, raster.resampling)
        if raster.source.whole:  # now its digest costs no more bytes
            integrity.check(raster.source, raster.url, *stated)
    except BaseException as error:
        raster.close()
        raise _fault(error) from None
    return raster


def _pixels(job: Job, ready: Future[Raster] | None) -> Patch:
    try:
        return _decoded(job, ready.result() if ready else _prepare(job))
    except Fault as fault:
        if not _may_be_new(job, fault):
            raise
    return _decoded(job, _prepare(job, fresh=True))


def _decoded(job: Job, raster: Raster) -> Patch:
    kind = job.sensor.dtype
    try:
        patch = raster.patch(job.geobox, kind, job.nodata, raster.resampling, job.band in (SCL, CLOUD))
        return patch or Patch(np.zeros((0, 0), kind), (slice(0, 0), slice(0, 0)))
    except (OSError, ValueError, RasterioError) as error:
        raise _fault(error) from None
    finally:
        raster.close()


def _fault(error: BaseException) -> Fault:
    return error if isinstance(error, Fault) else Fault("unreadable", cause(error))


def _check(file: Facts, job: Job) -> str:
    """The resampling for an asset, after a look at what the file really is. Raises Fault."""
    scene, sensor = job.actual, job.sensor
    if sensor.name == OPTICAL and np.dtype(file.dtype).kind not in "ui":
        raise Fault("wrong grid", f"it holds {file.dtype}; expected whole numbers")
    if not file.crs:
        raise Fault("wrong grid", "it has no coordinate reference system")
    if scene.epsg and file.epsg not in (None, scene.epsg):
        raise Fault("wrong grid", f"it lies in EPSG:{file.epsg}; its record says {scene.epsg}")
    size = file.pixel
    claimed = dict(scene.pixel_m).get(job.band)
    if claimed and not math.isclose(size, claimed, rel_tol=0.01):
        raise Fault("wrong grid", f"its pixels are {size:g} wide; its record says {claimed:g}")
    if sensor.name == OPTICAL and size > 1.01 * _PIXEL_M.get(job.band, _COARSEST_M):
        raise Fault(
            "wrong grid", f"its pixels are {size:g} m; {job.band} has {_PIXEL_M.get(job.band, _COARSEST_M)}"
        )
    if not _lonlat(file.crs, *file.bounds).intersects(scene.geometry):
        raise Fault("wrong grid", "it lies elsewhere than the footprint of its record")
    finer = file.projected and size < job.geobox.resolution.x * 0.75
    return "average" if finer and job.band != SCL else sensor.resampling


@lru_cache(maxsize=256)
def _lonlat(crs: str, *bounds: float) -> BaseGeometry:
    """A box in WGS 84; the files of one granule share theirs."""
    west, south, east, north = transform_bounds(crs, 4326, *bounds)
    return cut_at_180(shapely.box(west, south, east if east >= west else east + 360, north))
