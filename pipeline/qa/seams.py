"""Steps across edges of the work, where the land has none: blocks, granules, UTM zones, orbits.

At each pixel beside an edge a profile is read across it. The mean step over the edge is held against the
mean steps between the same profiles' other neighbours: their scatter is what the land itself does over that
length. The score is the step in standard deviations of those; noise and gradients cancel in both alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize
from rasterio.windows import Window

from pipeline.grid import to_crs, transformer
from pipeline.product import NODATA, OUTSIDE
from pipeline.scenes import Scene

#: Pixels of a profile on each side of an edge.
HALF = 16
#: Fewer pairs than this over an edge tell nothing.
MIN_PAIRS = 64
#: A footprint's outline is true to some pixels only: the step over an orbit's edge is looked for within
#: ``ORBIT_SLACK`` of it, by lines through ``ORBIT_REACH`` pixels, in profiles of ``ORBIT_HALF`` on each side.
ORBIT_REACH, ORBIT_SLACK, ORBIT_HALF = 8, 3, 48
KINDS = ("block", "granule", "zone", "orbit")
#: (down, right): towards the south and towards the east.
_WAYS = ((1, 0), (0, 1))
_NO_VALUES = ("class", "applicability", "clear_dates", "reason")


class Step(NamedTuple):
    """What one edge shows in one band."""

    step: float
    """Mean step over the edge, less that beside it, as stored."""
    spread: float
    """Standard deviation of the mean steps beside it."""
    pairs: int

    @property
    def score(self) -> float:
        """The step in standard deviations; 0 where nothing can be told."""
        return abs(self.step) / self.spread if self.pairs else 0.0


@dataclass(frozen=True)
class Edge:
    """Profiles across one edge: as stored, (band, pixel, 2 x half), NODATA where not mapped."""

    kind: str
    where: str
    profiles: NDArray[np.int16]
    reach: int = 1
    slack: int = 0


@dataclass(frozen=True)
class Map:
    """One product to be looked at."""

    cog: Path
    tile: str
    epsg: int
    anchor: tuple[float, float]
    block_px: int
    scenes: tuple[Scene, ...] = ()


def step(profiles: NDArray[np.floating], reach: int = 1, scale: float = 1, slack: int = 0) -> Step:
    """The step in the middle of profiles (pixel, 2 x half), NaN = not mapped.

    With ``reach`` 1 it is the difference of two neighbours; else of straight lines through ``reach`` pixels on
    each side, both carried to the edge. The largest within ``slack`` pixels of the middle counts. ``scale``
    is the size of the values' own steps, whose rounding is part of the spread. ``pairs`` is 0 where fewer
    than ``MIN_PAIRS`` have a step, or too few neighbours.
    """
    values = np.asarray(profiles, np.float64)
    width = values.shape[1]
    at = np.arange(reach - 1, width - reach)
    weights = _to_the_edge(reach)
    steps = np.zeros((len(values), len(at)))
    for k, weight in enumerate(weights):
        steps += weight * (values[:, at + 1 + k] - values[:, at - k])
    known = ~np.isnan(steps)
    counts = known.sum(axis=0)
    means = np.where(known, steps, 0).sum(axis=0) / np.maximum(counts, 1)
    away = abs(at - (width // 2 - 1))
    beside = (away >= 2 * reach + slack) & (counts >= MIN_PAIRS)
    near = (away <= slack) & (counts >= MIN_PAIRS)
    if not near.any() or beside.sum() < 6:
        return Step(0.0, 0.0, 0)
    usual = float(means[beside].mean())
    middle = int(np.flatnonzero(near)[np.argmax(abs(means[near] - usual))])
    # Both sides are rounded, each pixel by scale^2 / 12.
    rounding = scale * scale / 6 * float((weights**2).sum()) / counts[middle]
    spread = math.sqrt(float(means[beside].var(ddof=1)) + rounding)
    return Step(float(means[middle]) - usual, spread, int(counts[middle]))


def _to_the_edge(reach: int) -> NDArray[np.float64]:
    """Weights of ``reach`` pixels, the nearest first, in the value at the edge of a line through them."""
    if reach == 1:
        return np.ones(1)
    x = np.arange(reach) + 0.5
    off = x - x.mean()
    return np.asarray(1 / reach - x.mean() * off / (off * off).sum())


def value_bands(cog: Path) -> dict[str, tuple[int, float, str]]:
    """Band name -> number, scale and unit of the bands that hold values."""
    with rasterio.open(cog) as file:
        return {
            name: (k, file.scales[k - 1], file.units[k - 1] or "")
            for k, name in enumerate(file.descriptions, 1)
            if name not in _NO_VALUES
        }


def block_edges(map_: Map) -> Iterator[Edge]:
    """Edges between the blocks of one product, each the length of a block."""
    with rasterio.open(map_.cog) as file:
        bands = [k for k, _, _ in value_bands(map_.cog).values()]
        pixel = file.transform.a
        columns = round((file.transform.c - map_.anchor[0]) / pixel), file.width
        rows = round((map_.anchor[1] - file.transform.f) / pixel), file.height
        half = min(HALF, map_.block_px // 2)
        for across, along, turned in ((columns, rows, False), (rows, columns, True)):
            for edge in _borders(*across, map_.block_px):
                if edge < half or edge + half > across[1]:
                    continue
                for start, stop in _spans(*along, map_.block_px):
                    place = (edge - half, start, 2 * half, stop - start)
                    window = Window(*((place[1], place[0], place[3], place[2]) if turned else place))
                    pixels = file.read(bands, window=window)
                    yield Edge(
                        "block",
                        f"{map_.tile}, {'row' if turned else 'column'} {edge}, {start}-{stop}",
                        pixels.transpose(0, 2, 1) if turned else pixels,
                    )


def _borders(skip: int, length: int, size: int) -> range:
    return range((-skip) % size or size, length, size)


def _spans(skip: int, length: int, size: int) -> Iterator[tuple[int, int]]:
    cuts = [0, *_borders(skip, length, size), length]
    yield from pairwise(cuts)


def orbit_edges(map_: Map) -> Iterator[Edge]:
    """Edges of what the orbits saw: one for each two sets of orbits that meet in the product."""
    with rasterio.open(map_.cog) as file:
        seen = _orbits(map_.scenes, map_.epsg, file.transform, file.shape)
        places = [
            np.nonzero(seen[: seen.shape[0] - down, : seen.shape[1] - right] != seen[down:, right:])
            for down, right in _WAYS
        ]
        if not any(len(y) for y, _ in places):
            return
        pixels = file.read([k for k, _, _ in value_bands(map_.cog).values()])
    pairs, profiles = [], []
    for (y, x), (down, right) in zip(places, _WAYS, strict=True):
        near, far = seen[y, x], seen[y + down, x + right]
        found = _across(pixels, y, x, down, right)
        found[:, near > far] = found[:, near > far, ::-1]  # all from the lower set to the higher
        pairs.append(np.stack([np.minimum(near, far), np.maximum(near, far)], axis=1))
        profiles.append(found)
    sets, whole = np.concatenate(pairs), np.concatenate(profiles, axis=1)
    for low, high in np.unique(sets, axis=0):
        own = whole[:, (sets == (low, high)).all(axis=1)]
        yield Edge("orbit", f"{map_.tile}, orbit sets {low:b} | {high:b}", own, ORBIT_REACH, ORBIT_SLACK)


def _across(
    pixels: NDArray[np.int16], y: NDArray[np.intp], x: NDArray[np.intp], down: int, right: int
) -> NDArray[np.int16]:
    """Profiles (band, pixel, 2 x ORBIT_HALF) over the edges beyond pixels (y, x)."""
    steps = np.arange(-ORBIT_HALF + 1, ORBIT_HALF + 1)
    rows, columns = y[:, None] + down * steps, x[:, None] + right * steps
    inside = (rows >= 0) & (rows < pixels.shape[1]) & (columns >= 0) & (columns < pixels.shape[2])
    found = pixels[:, rows.clip(0, pixels.shape[1] - 1), columns.clip(0, pixels.shape[2] - 1)]
    return np.where(inside, found, np.int16(NODATA))


def _orbits(
    scenes: Sequence[Scene], epsg: int, transform: Affine, shape: tuple[int, int]
) -> NDArray[np.uint32]:
    """Which orbits saw each pixel, one bit for each sensor and orbit."""
    orbits = sorted({(s.sensor, s.orbit) for s in scenes if s.orbit})
    seen = np.zeros(shape, np.uint32)
    for bit, orbit in enumerate(orbits[:32]):
        outlines = [to_crs(s.geometry, epsg) for s in scenes if (s.sensor, s.orbit) == orbit]
        mask = rasterize(outlines, shape, transform=transform, dtype="uint8")
        seen |= mask.astype(np.uint32) << np.uint32(bit)
    return seen


def tile_edges(maps: Sequence[Map]) -> Iterator[Edge]:
    """Edges between products of neighbouring granules, and of neighbouring UTM zones."""
    for a in maps:
        for down, right in _WAYS:
            rim = _rim(a, down, right)
            if rim is None:
                continue
            for b in maps:
                if a is not b and (edge := _between(a, b, rim, down, right)):
                    yield edge


class _Rim(NamedTuple):
    """Pixels of a map beyond which, in one direction, it has none."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]


def _rim(map_: Map, down: int, right: int) -> _Rim | None:
    with rasterio.open(map_.cog) as file:
        inside = file.read(file.descriptions.index("reason") + 1) != OUTSIDE
    beyond = np.zeros_like(inside)
    beyond[: inside.shape[0] - down, : inside.shape[1] - right] = inside[down:, right:]
    rows, columns = np.nonzero(inside & ~beyond)
    return _Rim(rows, columns) if len(rows) else None


def _between(a: Map, b: Map, rim: _Rim, down: int, right: int) -> Edge | None:
    """Profiles from ``a`` over its rim into ``b``, whose pixels are the nearest ones."""
    with rasterio.open(a.cog) as first, rasterio.open(b.cog) as second:
        here = np.arange(-HALF + 1, 1)
        there = np.arange(1, HALF + 1)
        x, y = first.transform * (
            rim.columns[:, None] + right * there + 0.5,
            rim.rows[:, None] + down * there + 0.5,
        )
        if a.epsg != b.epsg:
            x, y = transformer(a.epsg, b.epsg).transform(x, y)
        columns, rows = (np.floor(v).astype(np.intp) for v in ~second.transform * (x, y))
        met = (rows[:, 0] >= 0) & (rows[:, 0] < second.height) & (columns[:, 0] >= 0)
        met &= columns[:, 0] < second.width
        if met.sum() < MIN_PAIRS:
            return None
        own = _gather(first, a, rim.rows[met, None] + down * here, rim.columns[met, None] + right * here)
        other = _gather(second, b, rows[met], columns[met])
        kind = "granule" if a.epsg == b.epsg else "zone"
        return Edge(
            kind, f"{a.tile} | {b.tile}, {'S' if down else 'E'}", np.concatenate([own, other], axis=2)
        )


def _gather(file: Any, map_: Map, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.int16]:
    """Pixels (band, ...) at rows and columns, NODATA beyond the map; only what is needed is read."""
    inside = (rows >= 0) & (rows < file.height) & (columns >= 0) & (columns < file.width)
    top, left = int(rows[inside].min()), int(columns[inside].min())
    bottom, far = int(rows[inside].max()) + 1, int(columns[inside].max()) + 1
    bands = [k for k, _, _ in value_bands(map_.cog).values()]
    pixels = file.read(bands, window=Window(left, top, far - left, bottom - top))
    found = pixels[:, (rows - top).clip(0, bottom - top - 1), (columns - left).clip(0, far - left - 1)]
    return np.where(inside, found, np.int16(NODATA))


def look(maps: Sequence[Map]) -> list[dict[str, Any]]:
    """One row a kind of edge and band of one target's products: edges, and the worst of them."""
    bands = value_bands(maps[0].cog)
    found: dict[tuple[str, str], list[tuple[Step, str]]] = {}
    for edge in _all(maps):
        profiles = np.where(edge.profiles == NODATA, np.nan, edge.profiles.astype(np.float64))
        for name, own in zip(bands, profiles, strict=True):
            result = step(own, edge.reach, slack=edge.slack)
            if result.pairs:
                found.setdefault((edge.kind, name), []).append((result, edge.where))
    rows = []
    for (kind, name), steps in found.items():
        worst, where = max(steps, key=lambda pair: pair[0].score)
        _, scale, unit = bands[name]
        rows.append({
            "kind": kind, "band": name, "edges": len(steps), "worst_score": worst.score,
            "worst_step": worst.step * scale, "unit": unit, "pairs": worst.pairs, "where": where,
            "scores": sorted((s.score for s, _ in steps), reverse=True)[:10],
        })  # fmt: skip
    return sorted(rows, key=lambda r: (KINDS.index(str(r["kind"])), -float(str(r["worst_score"]))))


def _all(maps: Sequence[Map]) -> Iterator[Edge]:
    for each in maps:
        yield from block_edges(each)
        yield from orbit_edges(each)
    yield from tile_edges(maps)
