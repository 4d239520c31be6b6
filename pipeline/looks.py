"""Before a season is read, a look at each of its Sentinel-2 scenes: is its offset what its record says?

The same pixels of every scene are looked at, however large the blocks are: nine windows of each 100 km
square's part of the area.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from features import clouds
from features.bands import OPTICAL
from pipeline import guard, reads, runner
from pipeline.errors import PhusaError
from pipeline.files import json_text, write_aside
from pipeline.grid import Tile, lonlat_box, tiles
from pipeline.load import harmonise
from pipeline.remote import Fault
from pipeline.scenes import Scene, Scenes, digest
from pipeline.sensors import CLASSES, SCL, SENSORS

#: Scene id -> what speaks against its offset, and why it could not be judged; one of them is "".
Told = dict[str, tuple[str, str]]
#: Windows along each side of a tile, their side in metres, and how many of their pixels are kept.
ALONG, SIDE_M, KEPT = 3, 2560, 32
#: Windows lie on the pixels that all bands share.
PIXEL_M = 20


@dataclass(frozen=True)
class LookTask:
    """One scene and the windows that it is looked at in."""

    scene: Scene
    windows: tuple[GeoBox, ...]
    dilate_m: float


@dataclass(frozen=True)
class Found:
    """What a worker saw of one scene; faults of reading are for the blocks to tell."""

    look: guard.Look
    whole: bool
    """False where a file could not be read."""


def refuse(
    found: Scenes, place: BaseGeometry, dilate_m: float, client: Client, memory: Path | None = None
) -> Scenes:
    """``found`` with what speaks against a scene's offset written to it (``Scene.refused``), or why it could
    not be judged (``Scene.unjudged``).

    ``place`` (WGS 84) is what will be read. ``memory`` names a file that keeps the verdicts: the same
    scenes over the same place are not looked at again. Raises PhusaError where a look fails by an error
    of ours.
    """
    tasks = _tasks(found, place, dilate_m)
    if not tasks:
        return found
    key = _key(tasks)
    told = _remembered(memory, key)
    if told is None:
        told, whole = _verdicts(tasks, client)
        if memory and whole:
            write_aside(memory, json_text({"key": key, "told": told}))
    looked = {t.scene.id for t in tasks}
    kept = tuple(_with(s, told, s.id in looked) if s.sensor == OPTICAL else s for s in found.kept)
    return replace(found, kept=kept)


def _with(scene: Scene, told: Told, looked: bool) -> Scene:
    against, unjudged = told.get(scene.id, ("", "" if looked else "none of the windows lies in it"))
    return replace(scene, refused=against, unjudged=unjudged)


def _tasks(found: Scenes, place: BaseGeometry, dilate_m: float) -> list[LookTask]:
    windows = sample_windows(place)
    outlines = [(w, lonlat_box(w)) for w in windows]
    tasks = []
    for scene in found.of(OPTICAL):
        own = tuple(
            w for w, outline in outlines
            if scene.epsg in (None, w.crs.epsg) and scene.geometry.intersects(outline)  # type: ignore[union-attr]
        )  # fmt: skip
        if own:
            tasks.append(LookTask(scene, own, dilate_m))
    return sorted(tasks, key=lambda t: (_ground(t.scene), t.scene.datetime, t.scene.id))


def sample_windows(place: BaseGeometry) -> list[GeoBox]:
    """The windows that images of ``place`` (WGS 84) are looked at in."""
    return [w for tile in tiles(place, PIXEL_M // 2) for w in _windows(tile)]


def _windows(tile: Tile) -> Iterator[GeoBox]:
    """Squares in the middle of the cells that cut the tile's area in ``ALONG`` x ``ALONG``."""
    west, south, east, north = tile.area.bounds
    width, height = (east - west) / ALONG, (north - south) / ALONG
    cells = [
        (west + (i + 0.5) * width, south + (j + 0.5) * height) for j in range(ALONG) for i in range(ALONG)
    ]
    boxes = [_box(tile.epsg, x, y, min(width, SIDE_M), min(height, SIDE_M)) for x, y in cells]
    inside = [box for box in boxes if shapely.intersects(tile.area, shapely.box(*box.boundingbox.bbox))]
    yield from inside if len(inside) >= ALONG else boxes  # an area in small pieces has few to fall in


def _box(epsg: int, x: float, y: float, width: float, height: float) -> GeoBox:
    left, top = math.floor((x - width / 2) / PIXEL_M), math.ceil((y + height / 2) / PIXEL_M)
    shape = math.ceil(height / PIXEL_M), math.ceil(width / PIXEL_M)
    affine = Affine(PIXEL_M, 0, left * PIXEL_M, 0, -PIXEL_M, top * PIXEL_M)
    return GeoBox(shape, affine, f"EPSG:{epsg}")


def _ground(scene: Scene) -> tuple[str, str]:
    return str(scene.epsg), scene.granule or ""


def _key(tasks: Sequence[LookTask]) -> str:
    places = sorted({(str(w.crs), *w.affine[:6], *w.shape.yx) for t in tasks for w in t.windows})
    inputs = [guard.VERSION, digest(t.scene for t in tasks), places, tasks[0].dilate_m]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _remembered(memory: Path | None, key: str) -> Told | None:
    if memory is None:
        return None
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(memory.read_text(encoding="utf-8"))
        if content["key"] == key:
            return {str(k): (str(against), str(why)) for k, (against, why) in content["told"].items()}
    return None


def _verdicts(tasks: Sequence[LookTask], client: Client) -> tuple[Told, bool]:
    """What is told of the scenes that are not sound, and whether every file could be read."""
    looks: dict[tuple[str, str], list[tuple[LookTask, guard.Look]]] = {}
    whole = True
    for outcome in runner.execute(client, look, tasks):
        if outcome.result is None:
            raise PhusaError(f"the look at {outcome.task.scene.id} failed: {outcome.error}")
        whole &= outcome.result.whole
        looks.setdefault(_ground(outcome.task.scene), []).append((outcome.task, outcome.result.look))
    verdicts: dict[str, guard.Verdict] = {}
    for members in looks.values():
        members.sort(key=lambda m: m[0].scene.id)  # they come in any order
        verdicts |= guard.judge(_aligned(members))
    return _with_neighbours([t.scene for t in tasks], verdicts), whole


def _aligned(members: Sequence[tuple[LookTask, guard.Look]]) -> list[guard.Look]:
    """Looks on the pixels of all windows that any of them has."""
    windows = list(dict.fromkeys(w for task, _ in members for w in task.windows))
    ends = np.cumsum([_size(w) for w in windows])
    places = {w: np.arange(end - _size(w), end) for w, end in zip(windows, ends, strict=True)}
    total = int(ends[-1])
    aligned = []
    for task, seen in members:
        at = np.concatenate([places[w] for w in task.windows])
        bands = {}
        for name, values in seen.bands.items():
            bands[name] = np.zeros(total, np.uint16)
            bands[name][at] = values
        scl = np.zeros(total, np.uint8)
        scl[at] = seen.scl
        aligned.append(guard.Look(seen.scene, bands, scl))
    return aligned


def _with_neighbours(scenes: Sequence[Scene], verdicts: dict[str, guard.Verdict]) -> Told:
    """What is told of each scene that is not sound; one that shows too little of itself goes with its pass,
    whose granules were processed alike."""
    kinds: dict[tuple[object, ...], list[guard.Verdict]] = {}
    for s in scenes:
        kinds.setdefault(_processing(s), []).append(verdicts[s.id])
    told = {}
    for s in scenes:
        own, others = verdicts[s.id], kinds[_processing(s)]
        if own.against:
            told[s.id] = own.against, ""
        elif own.state == "unknown" and not any(v.state == "sound" for v in others):
            guilty = [f"{v.against} (in another granule of its pass)" for v in others if v.against]
            told[s.id] = (guilty[0], "") if guilty else ("", own.seen)
    return told


def _processing(scene: Scene) -> tuple[object, ...]:
    """Scenes of which this is alike were taken in one pass and have one radiometry."""
    return (*scene.pass_key, scene.collection, scene.offset, float(scene.baseline or 0) >= 4)


# --- on workers --------------------------------------------------------------------------------


def look(task: LookTask) -> Found:
    """Read what the guard looks at of one scene; bands are not read where nothing is clear."""
    scene, sensor = task.scene, SENSORS[OPTICAL]
    reach = math.ceil(task.dilate_m / PIXEL_M)
    scl = np.zeros(sum(map(_size, task.windows)), np.uint8)
    bands: dict[str, NDArray[np.uint16]] = {}
    try:
        classes = [v for _, v in reads.windows(scene, SCL, task.windows, CLASSES)]
        scl = np.concatenate([thin(c * clouds.clear(c, reach)) for c in classes])
        for band in guard.EVIDENCE if np.isin(scl, guard.GROUND).any() else ():
            if band in scene.urls:
                parts = reads.windows(scene, band, task.windows, sensor)
                bands[band] = np.concatenate([thin(harmonise(v, copy.offset)) for copy, v in parts])
    except Fault:
        return Found(guard.Look(scene.id, bands, scl), False)
    return Found(guard.Look(scene.id, bands, scl), True)


def _size(window: GeoBox) -> int:
    """Pixels that are kept of a window."""
    return thin(np.empty(window.shape.yx, np.bool_)).size


def thin(values: NDArray[Any]) -> NDArray[Any]:
    """About ``KEPT`` x ``KEPT`` of a window's pixels, (pixel,)."""
    step = max(1, min(values.shape) // KEPT)
    return values[::step, ::step].ravel()
