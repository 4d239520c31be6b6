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
    """Windows that show enough ground in both; below ``WINDOWS`` nothing is said of a step."""
    step_db: float | None
    """Median over windows of second less first."""
    p: float | None
    """Of no step: Wilcoxon's signed-rank test over windows."""

    @property
    def matters(self) -> bool | None:
        """True where a step is there and is not small; None where nothing is said of it."""
        if self.step_db is None or self.p is None:
            return None
        return abs(self.step_db) >= LEAST_DB and self.p < SURE

    @property
    def told(self) -> dict[str, Any]:
        """As it stands in records."""
        return asdict(self) | {"images": list(self.images), "matters": self.matters}


@dataclass(frozen=True)
class StepTask:
    """One scene and the windows that it is looked at in."""

    scene: Scene
    windows: tuple[tuple[int, GeoBox], ...]


def report(found: Scenes, place: BaseGeometry, client: Client, path: Path | None = None) -> list[Step]:
    """Steps of a season's images over ``place`` (WGS 84), written to ``path`` too if that is given.

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
    if path:
        write_aside(path, json_text([step.told for step in steps]))
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
    return [
        StepTask(s, tuple((k, w) for k, w, outline in windows if s.geometry.intersects(outline)))
        for s in sorted(mixed, key=lambda s: s.id)
    ]


def look(task: StepTask) -> dict[tuple[str, int], NDArray[np.float32]]:
    """(band, window) -> decibels, (pixel,), NaN = unseen; bands that cannot be read are left out."""
    scene, found = task.scene, {}
    nodata = -32768.0 if scene.nodata is None else scene.nodata
    for band in SENSORS[RADAR].bands:
        if band not in scene.urls or not task.windows:
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
    """Steps between the makers of one orbit's images, by band."""
    makers = sorted({maker(scene) for scene, _ in seen})
    windows = sorted({k for _, found in seen for _, k in found})
    offered = {b for s, found in seen for b in (*s.urls, *(band for band, _ in found))}
    bands = [b for b in SENSORS[RADAR].bands if b in offered]
    steps = []
    for first, second in combinations(makers, 2):
        for band in bands:
            sides = [[w for s, w in seen if maker(s) == name] for name in (first, second)]
            moved = [
                _moved([[w[band, k] for w in side if (band, k) in w] for side in sides]) for k in windows
            ]
            known = np.array([m for m in moved if m is not None])
            images = len(sides[0]), len(sides[1])
            steps.append(Step(orbit, band, first, second, images, len(known), *_judged(known)))
    return steps


def _judged(known: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """Step in decibels and p, from the step of each window; None where they are too few."""
    if len(known) < WINDOWS:
        return None, None
    p = float(wilcoxon(known).pvalue) if known.any() else 1.0
    return round(float(np.median(known)), 3), round(p, 5)


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
