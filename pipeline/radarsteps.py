"""Do satellites of one orbit, or versions of the processor, see the same ground alike?

Sentinel-1A and 1C, or two versions of a processor, may differ by tenths of a decibel, which a season's
statistics would take for change. The season's own images tell: on the same pixels of one relative orbit,
windows of ground that changes least are compared pair by pair. What is found is reported, not mended.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from scipy.stats import wilcoxon
from shapely.geometry.base import BaseGeometry

from features.bands import RADAR
from pipeline import reads, runner
from pipeline.errors import PhusaError
from pipeline.files import json_text, write_aside
from pipeline.grid import lonlat_box
from pipeline.looks import sample_windows, thin
from pipeline.remote import Fault
from pipeline.scenes import Scene, Scenes
from pipeline.sensors import SENSORS

#: Fewest windows, and pixels of a window, that a step is told from.
WINDOWS, PIXELS = 6, 30
#: A step smaller than this, in decibels, or less sure than this, is not reported as one.
LEAST_DB, SURE = 0.2, 0.05


@dataclass(frozen=True)
class Step:
    """How the images of ``second`` stand to those of ``first`` in one relative orbit."""

    orbit: str
    band: str
    first: str
    second: str
    images: tuple[int, int]
    windows: int
    step_db: float
    """Median over windows of second less first."""
    p: float
    """Of no step: Wilcoxon's signed-rank test over windows."""

    @property
    def matters(self) -> bool:
        """True where a step is there and is not small."""
        return abs(self.step_db) >= LEAST_DB and self.p < SURE


@dataclass(frozen=True)
class StepTask:
    """One scene and the windows that it is looked at in."""

    scene: Scene
    windows: tuple[tuple[int, GeoBox], ...]


def report(found: Scenes, place: BaseGeometry, client: Client, path: Path) -> list[Step]:
    """Steps of a season's images over ``place`` (WGS 84), written to ``path`` too.

    Nothing is read where every orbit has one platform and processor. Raises PhusaError where a look fails
    by an error of ours.
    """
    tasks = _tasks(found, place)
    seen: dict[str, list[tuple[Scene, dict[tuple[str, int], NDArray[np.float32]]]]] = defaultdict(list)
    for outcome in runner.execute(client, look, tasks):
        if outcome.result is None:
            raise PhusaError(f"the look at {outcome.task.scene.id} failed: {outcome.error}")
        seen[outcome.task.scene.orbit or ""].append((outcome.task.scene, outcome.result))
    steps = [step for orbit in sorted(seen) for step in compare(orbit, seen[orbit])]
    write_aside(path, json_text([asdict(s) | {"matters": s.matters} for s in steps]))
    return steps


def maker(scene: Scene) -> str:
    """Platform, and version of the processor where the record tells it."""
    return " ".join(part for part in (scene.platform or "unknown", scene.processor) if part)


def _tasks(found: Scenes, place: BaseGeometry) -> list[StepTask]:
    makers = defaultdict(set)
    for scene in found.of(RADAR):
        makers[scene.orbit].add(maker(scene))
    mixed = [s for s in found.of(RADAR) if len(makers[s.orbit]) > 1]
    windows = [(k, w, lonlat_box(w)) for k, w in enumerate(sample_windows(place))] if mixed else []
    tasks = []
    for scene in sorted(mixed, key=lambda s: s.id):
        own = tuple((k, w) for k, w, outline in windows if scene.geometry.intersects(outline))
        if own:
            tasks.append(StepTask(scene, own))
    return tasks


def look(task: StepTask) -> dict[tuple[str, int], NDArray[np.float32]]:
    """(band, window) -> decibels, (pixel,), NaN = unseen; bands that cannot be read are left out."""
    scene, found = task.scene, {}
    nodata = -32768.0 if scene.nodata is None else scene.nodata
    for band in SENSORS[RADAR].bands:
        if band not in scene.urls:
            continue
        try:
            parts = reads.windows(scene, band, [w for _, w in task.windows], SENSORS[RADAR], nodata)
        except Fault:
            continue
        for (k, _), (_, power) in zip(task.windows, parts, strict=True):
            values = thin(power)
            seen = np.isfinite(values) & (values > 0) & (values != nodata)
            found[band, k] = 10 * np.log10(np.where(seen, values, np.nan)).astype(np.float32)
    return found


def compare(
    orbit: str, seen: Sequence[tuple[Scene, Mapping[tuple[str, int], NDArray[np.float32]]]]
) -> list[Step]:
    """Steps between the makers of one orbit's images, by band; none where too little is seen of both."""
    makers = sorted({maker(scene) for scene, _ in seen})
    keys = sorted({key for _, windows in seen for key in windows})
    steps = []
    for first, second in combinations(makers, 2):
        for band in sorted({band for band, _ in keys}):
            sides = [[w for s, w in seen if maker(s) == name] for name in (first, second)]
            moved = [
                _moved([[w[key] for w in side if key in w] for side in sides])
                for key in keys
                if key[0] == band
            ]
            known = np.array([m for m in moved if m is not None])
            if len(known) >= WINDOWS:
                p = 1.0 if not known.any() else float(wilcoxon(known).pvalue)
                images = len(sides[0]), len(sides[1])
                middle = round(float(np.median(known)), 3)
                steps.append(Step(orbit, band, first, second, images, len(known), middle, round(p, 5)))
    return steps


def _moved(sides: Sequence[Sequence[NDArray[np.float32]]]) -> float | None:
    """Step of one window over the calmer half of its pixels; None where too few are seen on both sides."""
    if not all(sides):
        return None
    with np.errstate(all="ignore"):
        both = np.concatenate([np.stack(side) for side in sides])
        known = np.all([np.isfinite(np.stack(side)).any(axis=0) for side in sides], axis=0)
        if known.sum() < 2 * PIXELS:
            return None
        spread = np.nanstd(both[:, known], axis=0)
        calm = spread <= np.median(spread)
        first, second = (np.nanmedian(np.stack(side)[:, known][:, calm], axis=0) for side in sides)
    return float(np.median(second - first))


def read(path: Path) -> list[dict[str, Any]]:
    """What ``report`` wrote, or nothing."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return []
