"""Scenes -> the stack of one window of the map grid, every read accounted for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from features import bits, clouds, speckle, terrain
from features.bands import DEM, OPTICAL, RADAR, sensor_of
from features.bits import Bits
from pipeline import ledger, pixels
from pipeline.buffers import BUFFERS
from pipeline.facts import GDAL
from pipeline.grid import cut_at_180
from pipeline.ledger import entry
from pipeline.placement import Patch
from pipeline.raster import LayerFile
from pipeline.reads import Job, Reader, attempts, blank, windows
from pipeline.remote import Fault
from pipeline.scenes import GUARD, Scene
from pipeline.sensors import CLASSES, CLOUD, SCL, SENSORS, How
from pipeline.stack import Stack

#: Orbits are numbers; a direction alone stands for one.
_DIRECTIONS = {"ascending": -1, "descending": -2}


def load(
    scenes: Iterable[Scene],
    geobox: GeoBox,
    bands: Sequence[str],
    dilate_m: float,
    where: str = "",
    layers: Sequence[LayerFile] = (),
    how: How = How(),  # noqa: B008 - a frozen value
) -> Stack:
    """Read ``bands`` of all ``scenes`` that meet ``geobox``.

    Sentinel-2 comes as uint16 reflectance x 10000 with the offset removed, 0 = unseen (no data,
    cloud or shadow grown by ``dilate_m``) and seen values at least 1; Sentinel-1 as float32 gamma0
    power; layers as float32 (y, x), those of the region from the files ``layers``. One pass of the
    satellite is one date. A read that fails is recorded, never raised. Memory: dates x bands x pixels of the window.
    """
    outline = _outline(geobox)
    near = [s for s in scenes if s.geometry.intersects(outline)]
    stack = Stack(geobox, {}, {}, np.zeros(geobox.shape.yx, np.int16))
    reader = Reader(stack, where)
    with rasterio.Env(**GDAL):
        for sensor in SENSORS.values():
            wanted = [b for b in bands if sensor_of(b) == sensor.name]
            mine = [s for s in near if s.sensor == sensor.name]
            if not wanted:
                continue
            if sensor.name == OPTICAL:
                own = [s for s in mine if s.epsg in (None, geobox.crs.epsg)]  # type: ignore[union-attr]
                for scene in (s for s in mine if s not in own):
                    detail = f"its ground here is read in its own zone, EPSG:{scene.epsg}"
                    stack.ledger.append(entry(scene, where, "*", "catalogued", "other zone", detail))
                _optical(reader, own, wanted, dilate_m, how.cloud_percent)
            elif sensor.name == RADAR:
                count = OPTICAL not in {sensor_of(b) for b in bands}
                _radar(reader, mine, wanted, count, how)
            elif sensor.name == DEM:
                _terrain(reader, mine, wanted)
        stack.arrays.update({layer.name: layer.read(geobox) for layer in layers if layer.name in bands})
    return stack


def _outline(geobox: GeoBox) -> shapely.Geometry:
    return cut_at_180(geobox.extent.to_crs("EPSG:4326", resolution=geobox.resolution.x * 64).geom)


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
    clear: Bits


@dataclass
class _Seen:
    """What one date has by now: pixels where every band is filled; None where some band lacks some that the
    others have."""

    bits: Bits | None
    fresh: bool = True
    """Nothing was written yet: its pixels are whatever the memory held."""


def _optical(
    reader: Reader, scenes: Sequence[Scene], bands: Sequence[str], dilate_m: float, cloud_percent: float
) -> None:
    stack = reader.stack
    passes = _passes(scenes)
    shape = (len(passes), *stack.geobox.shape.yx)
    for band in bands:
        stack.arrays[band] = BUFFERS.empty(shape, np.uint16)  # ``_fill`` writes all of each date
    stack.dates[OPTICAL], stack.orbits[OPTICAL] = _days(passes), _orbits(passes)
    # First what is clear, then the first granule of every pass, then the second one's part, ...
    seen = [_Seen(bits.none(stack.geobox.shape.yx)) for _ in passes]
    try:
        looks = _looks(reader, passes, bands, dilate_m, cloud_percent)
        for n in range(max(map(len, passes), default=0)):
            round_n = [group[n] for group in passes if n < len(group)]
            _paste(reader, [looks[s] for s in round_n if s in looks], bands, seen)
    finally:
        reader.call_off()
    for t, date in enumerate(seen):
        if date.fresh:
            for band in bands:
                stack.arrays[band][t] = 0
        bits.tally(_any_band(stack, t, date, bands), stack.clear_dates)


def _looks(
    reader: Reader,
    passes: Sequence[Sequence[Scene]],
    bands: Sequence[str],
    dilate_m: float,
    cloud_percent: float,
) -> dict[Scene, _Look]:
    """Every scene whose classification could be read."""
    stack = reader.stack
    halo = math.ceil(dilate_m / stack.geobox.resolution.x)
    padded = stack.geobox.pad(halo) if halo else stack.geobox
    dates = {scene: t for t, group in enumerate(passes) for scene in group}
    looks: dict[Scene, _Look] = {}
    classes: list[clouds.Classes] = []
    first = {group[0] for group in passes}
    views: dict[Scene, _View] = {}
    asked = [_opinion(Job(scene, SCL, padded, CLASSES, 0)) for scene in dates if _asks(scene, cloud_percent)]
    opinions = attempts(asked)
    for job, patch in reader.patches(Job(scene, SCL, padded, CLASSES, 0) for scene in dates):
        opinion = next(opinions) if _asks(job.scene, cloud_percent) else None
        if patch is None:  # without it clouds cannot be told: the whole scene is lost here
            stack.reads += len(bands)
            why = stack.losses[-1].cause
            reader.lose(job.scene, bands, Fault(why, "its scene classification was lost"))
            continue
        if job.source:  # a copy has a probability of its own, or none
            opinion = next(attempts([_opinion(job)])) if _asks(job.source, cloud_percent) else None
        cloudy = _second_opinion(reader, job.scene, opinion, cloud_percent)
        found = clouds.Classes.of(patch.pixels, padded.shape.yx, patch.part, patch.up, patch.skip)
        views[job.scene] = view = _viewed(job, found, cloudy, halo)
        if job.scene.refused:
            continue
        classes.append(found)
        if job.scene in first and view.share:
            reader.send_for(_jobs(stack, job.scene, view.clear, bands))
    if len(classes) >= clouds.DATES:
        views |= _restored(reader, views, clouds.often(classes), halo, cloud_percent)
    for scene, view in views.items():
        doubt = f"its offset could not be judged: {scene.unjudged}" if scene.unjudged and view.share else ""
        reader.note(scene, SCL, "used", "", "; ".join(filter(None, (view.told, doubt))), view.share)
        if not view.share:
            stack.reads += len(bands)
            for band in bands:
                kind: ledger.Reason = ledger.CLOUD if view.flown else ledger.NODATA
                reader.note(scene, band, "catalogued", kind, "no clear pixel here")
        elif scene.refused:
            stack.reads += len(bands)
            reader.lose(scene, bands, Fault(GUARD, scene.refused))
        else:
            looks[scene] = _Look(scene, dates[scene], view.clear)
    return looks


@dataclass
class _View:
    """The classification of one scene in one block."""

    job: Job
    clear: Bits
    share: float
    """Part of the block that is clear."""
    flown: bool
    """Something of it was seen, cloud or ground."""
    told: str
    """What the ledger says of it."""


def _viewed(job: Job, found: clouds.Classes, cloudy: NDArray[np.bool_] | None, halo: int) -> _View:
    """What a classification, and another opinion on what is ``cloudy``, say of the block within the halo."""
    clear = bits.crop(found.clear(halo, None if cloudy is None else bits.pack(cloudy)), halo, found.width)
    flown = bits.crop(found.seen, halo, found.width).any()
    size = len(clear) * (found.width - 2 * halo)
    return _View(job, clear, bits.count(clear) / size, bool(flown), job.via)


def _restored(
    reader: Reader, views: Mapping[Scene, _View], often: NDArray[np.bool_], halo: int, percent: float
) -> dict[Scene, _View]:
    """Views in which ground is clear again that is called cloud nearly always and does not change: bright
    salt and sand. Its brightness in blue is read for that, where such pixels are."""
    scenes = [scene for scene in views if not scene.refused and "blue" in scene.urls]
    if not often.any() or len(scenes) < clouds.DATES:
        return {}
    padded = reader.stack.geobox.pad(halo) if halo else reader.stack.geobox
    part = padded[bits.span(bits.pack(often), padded.shape.x)]
    at = often[_inside(padded, part)]
    blue = np.zeros((len(scenes), int(at.sum())), np.uint16)
    for k, scene in enumerate(scenes):
        with suppress(Fault):  # a date that cannot be read here is told where it is needed
            [(copy, numbers)] = windows(scene, "blue", [part], SENSORS[OPTICAL])
            blue[k] = harmonise(numbers, copy.offset)[at]
    found = {}
    for scene, ground in zip(scenes, clouds.steady(blue), strict=True):
        if ground.any():
            with suppress(Fault):
                found[scene] = _cleared(reader, views[scene], part, at, ground, halo, percent)
    return found


def _cleared(
    reader: Reader, view: _View, part: GeoBox, at: NDArray[np.bool_], ground: NDArray[np.bool_], halo: int,
    percent: float,
) -> _View:  # fmt: skip
    """A view with the pixels ``ground`` of those ``at`` a part of it seen for what they are."""
    job = view.job
    [(_, scl)] = windows(job.scene, SCL, [job.geobox], job.sensor)
    restored = np.zeros(scl.shape, np.bool_)
    window = restored[_inside(job.geobox, part)]
    window[at] = ground
    restored &= np.isin(scl, clouds.BRIGHT)
    scl[restored] = clouds.BARE
    opinion = next(attempts([_opinion(job)])) if _asks(job.actual, percent) else None
    cloudy = _cloudy(opinion, percent)
    if cloudy is not None:
        cloudy &= ~restored
    inner = np.s_[halo : scl.shape[0] - halo, halo : scl.shape[1] - halo]
    clear = clouds.clear(scl, halo, cloudy)[inner]
    told = f"{int(restored[inner].sum())} pixels are called cloud nearly always and do not change: restored"
    return replace(view, clear=bits.pack(clear), share=float(clear.mean()), told=told)


def _asks(scene: Scene, percent: float) -> bool:
    """Whether a provider's own probability of cloud counts beside the classification."""
    return bool(scene.cloud_url) and percent <= 100


def _opinion(job: Job) -> Job:
    """The read of the probability of cloud that stands beside a classification."""
    scene = replace(job.actual, assets=((CLOUD, job.actual.cloud_url),), pixel_m=(), alternates=())
    return Job(scene, CLOUD, job.geobox, CLASSES, 0)


def _cloudy(opinion: tuple[Job, Patch | Fault] | None, percent: float) -> NDArray[np.bool_] | None:
    """Where the probability of cloud is high, (y, x); None where nobody tells."""
    if opinion is None or isinstance(opinion[1], Fault):
        return None
    found = opinion[1].onto(blank(opinion[0]))
    return np.asarray((found >= percent) & (found <= 100), np.bool_)


def _second_opinion(
    reader: Reader, scene: Scene, opinion: tuple[Job, Patch | Fault] | None, percent: float
) -> NDArray[np.bool_] | None:
    """``_cloudy``, told in the ledger. The classification stands without it, so a fault is no loss."""
    cloudy = _cloudy(opinion, percent)
    if cloudy is not None:
        reader.note(scene, CLOUD, "used", share=float(cloudy.mean()))
    elif opinion and isinstance(opinion[1], Fault):
        state: ledger.State = "catalogued" if opinion[1].cause == "missing asset" else "found"
        reader.note(scene, CLOUD, state, opinion[1].cause, str(opinion[1]))
    return cloudy


def _any_band(stack: Stack, t: int, date: _Seen, bands: Sequence[str]) -> Bits:
    """Pixels that one date has in some band."""
    if date.bits is not None:
        return date.bits
    return bits.pack(np.logical_or.reduce([stack.arrays[band][t] > 0 for band in bands]))


def _every_band(stack: Stack, t: int, date: _Seen, bands: Sequence[str]) -> Bits:
    """Pixels that one date has in all bands."""
    if date.bits is not None:
        return date.bits
    return bits.pack(np.logical_and.reduce([stack.arrays[band][t] > 0 for band in bands]))


def _paste(reader: Reader, looks: Sequence[_Look], bands: Sequence[str], seen: Sequence[_Seen]) -> None:
    """Read one scene of each date and let it fill what is clear and not seen yet."""
    stack = reader.stack
    needs: dict[Scene, Bits] = {}
    for look in looks:
        need = look.clear & ~_every_band(stack, look.t, seen[look.t], bands)
        if need.any():
            needs[look.scene] = need
            continue
        stack.reads += len(bands)
        for band in bands:
            reader.note(
                look.scene, band, "catalogued", ledger.DUPLICATE, "the other granule has these pixels"
            )
    wanted = [look for look in looks if look.scene in needs]
    patches = reader.patches(
        job for look in wanted for job in _jobs(stack, look.scene, needs[look.scene], bands)
    )
    for look in wanted:
        _place(reader, look, needs[look.scene], patches, bands, seen[look.t])


def _jobs(stack: Stack, scene: Scene, need: Bits, bands: Sequence[str]) -> list[Job]:
    """The reads of a scene: nothing is decoded but the part that holds all needed pixels."""
    part = stack.geobox[bits.span(need, stack.geobox.shape.x)]
    return [Job(scene, band, part, SENSORS[OPTICAL], 0) for band in bands]


def _place(
    reader: Reader,
    look: _Look,
    need: Bits,
    patches: Iterator[tuple[Job, Patch | None]],
    bands: Sequence[str],
    date: _Seen,
) -> None:
    """Lay the bands of one scene, the next of ``patches``, on what its date lacks."""
    stack, scene, wanted = reader.stack, look.scene, bits.count(need)
    size = stack.geobox.shape.y * stack.geobox.shape.x
    whole = date.bits is not None
    for band in bands:
        job, patch = next(patches)
        if patch is None:
            whole = False
            if date.fresh:
                stack.arrays[band][look.t] = 0
            continue
        count = _fill(stack, job, patch, need, look.t, date.fresh)
        whole &= count == wanted
        if count:
            lacks = f"{wanted - count} of {wanted} clear pixels have no value" if count < wanted else ""
            told = "; ".join(filter(None, (job.via, lacks)))
            reader.note(scene, band, "used", "", told, count / size)
        else:
            reader.note(scene, band, "read", ledger.NODATA, "no seen pixel")
    date.bits = _every_band(stack, look.t, date, bands) | need if whole else None
    date.fresh = False


def _spot(stack: Stack, job: Job, patch: Patch) -> tuple[slice, slice]:
    """Rows and columns of the stack that a patch lies on."""
    rows, columns = _inside(stack.geobox, job.geobox)
    y, x = patch.part
    return (
        slice(rows.start + y.start, rows.start + y.stop),
        slice(columns.start + x.start, columns.start + x.stop),
    )


def _fill(stack: Stack, job: Job, patch: Patch, need: Bits, t: int, fresh: bool) -> int:
    """Write a patch where it is needed and nothing is yet; how many needed pixels it has seen.

    ``fresh`` says that this date has nothing yet, not even zeros: the patch's surroundings become 0.
    """
    rows, columns = _spot(stack, job, patch)
    plane = stack.arrays[job.band][t]
    if fresh:
        plane[: rows.start] = plane[rows.stop :] = 0
        plane[rows, : columns.start] = plane[rows, columns.stop :] = 0
    part = (rows.start, rows.stop), (columns.start, columns.stop)
    source = patch.pixels, patch.up, *patch.skip, job.actual.offset
    return int(pixels.fill(plane, *part, fresh, *source, need.view(np.uint8)))


def _inside(geobox: GeoBox, part: GeoBox) -> tuple[slice, slice]:
    """Rows and columns of a window that a part of it is."""
    x = round((part.affine.c - geobox.affine.c) / geobox.affine.a)
    y = round((part.affine.f - geobox.affine.f) / geobox.affine.e)
    return slice(y, y + part.shape.y), slice(x, x + part.shape.x)


def harmonise(numbers: NDArray[np.uint16], offset: int) -> NDArray[np.uint16]:
    """Reflectance x 10000 without the offset; 0 stays unseen, seen values stay at least 1."""
    out = np.empty(numbers.size, np.uint16)
    pixels.harmonise(numbers.ravel(), offset, out)
    return out.reshape(numbers.shape)


def _radar(reader: Reader, scenes: Sequence[Scene], bands: Sequence[str], count: bool, how: How) -> None:
    stack, sensor, halo = reader.stack, SENSORS[RADAR], how.lee_radius
    passes = _passes(scenes)
    place = stack.geobox.pad(halo) if halo else stack.geobox
    shape = (len(passes), *place.shape.yx)
    for band in bands:
        stack.arrays[band] = BUFFERS.full(shape, np.nan, np.float32)
    stack.dates[RADAR], stack.orbits[RADAR] = _days(passes), _orbits(passes)
    dates = {scene: t for t, group in enumerate(passes) for scene in group}
    jobs = (Job(s, band, place, sensor, _unseen(s)) for s in dates for band in bands)
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
    for band in bands if halo else ():
        smooth = [speckle.lee(power, halo, how.radar_looks) for power in stack.arrays[band]]
        inner = np.s_[halo:-halo, halo:-halo]
        none = np.empty((0, *stack.geobox.shape.yx), np.float32)
        stack.arrays[band] = np.stack([s[inner] for s in smooth]) if smooth else none
    if count:
        for layer in stack.arrays[bands[0]]:
            stack.clear_dates += ~np.isnan(layer)


def _unseen(scene: Scene) -> float:
    return -32768.0 if scene.nodata is None else scene.nodata


def _terrain(reader: Reader, scenes: Sequence[Scene], bands: Sequence[str]) -> None:
    stack, sensor = reader.stack, SENSORS[DEM]
    nodata = -32767.0
    resolution = stack.geobox.resolution.x
    # curvatures need more of the surroundings than slopes
    plain = {*bands} <= {"elevation", "slope"}
    halo = 1 if plain else terrain.reach(resolution)
    padded = stack.geobox.pad(halo)
    height = np.full(padded.shape.yx, np.nan, np.float32)
    jobs = (Job(s, "elevation", padded, sensor, nodata) for s in sorted(scenes, key=lambda s: s.id))
    for job, values in reader.read(jobs):
        if values is None:
            continue
        fill = np.isnan(height) & (values != nodata) & np.isfinite(values)
        np.copyto(height, values, where=fill)
        if fill.any():
            reader.note(job.scene, job.band, "used", share=float(fill.mean()))
        else:
            reader.note(job.scene, job.band, "read", ledger.NODATA, "no pixel here")
    layers = {"elevation": height[halo:-halo, halo:-halo].copy()}
    if plain:
        layers["slope"] = terrain.slope(height, resolution)
    else:
        layers |= terrain.layers(height, resolution)
    stack.arrays.update({band: layers[band] for band in bands})
