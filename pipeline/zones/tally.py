"""Sums by zone over a season's products: square by square, strip by strip, in exact integers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any, Protocol

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.grid import SQUARE_M, to_crs, transformer
from pipeline.zones import cells, kernels
from pipeline.zones.kernels import FULL, WEIGHT, Ints
from pipeline.zones.partition import Partition, Rings, divide, rings, separate

Floats = NDArray[np.float64]
#: Width of the coarse cells by which the error's correlation is summed, in grid cells.
COARSE = 128
#: Area in 1 / BASE mm2 is whole, whatever was cut and weighted.
BASE = FULL * WEIGHT
_SPREAD = np.sqrt(np.arange(WEIGHT + 1) / WEIGHT * (1 - np.arange(WEIGHT + 1) / WEIGHT))


class Source(Protocol):
    """Pixels of one 100 km square."""

    epsg: int
    square: tuple[int, int]
    """(x, y) of the square, counted from the zone's origin."""
    window: tuple[int, int, int, int]
    """First and last + 1 column, first and last + 1 row of what is mapped, counted from the zone's
    origin; rows grow southward."""
    mapped: bool
    """False where there is no product: zones are then measured each for itself."""

    def codes(self, columns: tuple[int, int], rows: tuple[int, int]) -> Sequence[NDArray[np.uint8]]:
        """One class image (y, x) a layer; class 0 is outside the mapped area."""

    def weights(self, columns: tuple[int, int], rows: tuple[int, int]) -> Sequence[NDArray[np.int16]]:
        """Probabilities (y, x) in parts of WEIGHT, below 0 where there is none."""


@dataclass(eq=False)
class Sums:
    """What zones hold. The last zone is what no zone covers."""

    zones: int
    classes: tuple[int, ...]
    """Number of classes of each class layer."""
    weighted: int
    """Number of probability layers."""
    high: list[Ints] = field(init=False)
    low: list[Ints] = field(init=False)
    weight_high: Ints = field(init=False)
    weight_low: Ints = field(init=False)
    places: list[Places] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.high = [np.zeros((self.zones, n), np.int64) for n in self.classes]
        self.low = [np.zeros((self.zones, n), np.int64) for n in self.classes]
        self.weight_high = np.zeros((self.zones, self.weighted), np.int64)
        self.weight_low = np.zeros((self.zones, self.weighted), np.int64)

    def add(self, part: _Part, detailed: bool) -> None:
        """Take in a strip; what belongs to no zone here is left to the neighbouring UTM zone."""
        kept = part.owner >= 0
        owner = part.owner[kept]
        for layer in range(len(self.classes)):
            _gather(
                self.high[layer], self.low[layer], owner, part.high[layer][kept], part.low[layer][kept], FULL
            )
        _gather(self.weight_high, self.weight_low, owner, part.weight_high[kept], part.weight_low[kept], BASE)
        kept &= part.spread.any(axis=1)
        if detailed and kept.any():
            self.places.append(
                Places(
                    part.owner[kept].astype(np.int32),
                    part.middle[kept].astype(np.float32),
                    np.sqrt(part.high[0][kept].sum(axis=1) * 1e-6).astype(np.float32),
                    part.spread[kept],
                )
            )

    def area(self, layer: int) -> list[list[Fraction]]:
        """Exact area in mm2 of each class in each zone."""
        return _fractions(self.high[layer], self.low[layer], FULL)

    def weighted_area(self) -> list[list[Fraction]]:
        """Exact area x probability in mm2 of each probability layer in each zone."""
        return _fractions(self.weight_high, self.weight_low, BASE)

    def area_m2(self, layer: int) -> Floats:
        """As ``area`` in m2, rounded to double precision."""
        return np.asarray((self.high[layer] + self.low[layer] / FULL) * 1e-6, np.float64)

    def weighted_m2(self) -> Floats:
        return np.asarray((self.weight_high + self.weight_low / BASE) * 1e-6, np.float64)


def _gather(high: Ints, low: Ints, owner: Ints, more_high: Ints, more_low: Ints, base: int) -> None:
    """Add places (place, layer) to their zones; ``low`` stays below ``base``."""
    np.add.at(high, owner, more_high + more_low // base)
    np.add.at(low, owner, more_low % base)
    high += low // base
    low %= base


def _fractions(high: Ints, low: Ints, base: int) -> list[list[Fraction]]:
    return [
        [Fraction(int(h) * base + int(rest), base) for h, rest in zip(row, rests, strict=True)]
        for row, rests in zip(high, low, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class Places:
    """Parts of zones in coarse cells: zone (place,), middle (place, 3) in metres from the Earth's centre,
    size (place,): root of the area in m, and spread (place, layer): sum of area in m2 x standard deviation of the indicator p (1 - p)."""

    zone: NDArray[np.int32]
    middle: NDArray[np.float32]
    size: NDArray[np.float32]
    spread: NDArray[np.float64]

    def of(self, chosen: NDArray[Any]) -> Places:
        return Places(self.zone[chosen], self.middle[chosen], self.size[chosen], self.spread[chosen])


def tally(
    polygons: NDArray[np.object_],
    sources: Iterable[Source],
    resolution_m: int,
    classes: tuple[int, ...],
    weighted: int,
    overlapping: bool = False,
    detailed: bool = True,
    threads: int = 1,
) -> Sums:
    """Sums over ``polygons`` (zone,) in WGS 84 of all ``sources``.

    The zones are a partition: the row after the last zone holds what lies in none of them but is
    mapped, and where zones overlap they split the ground. With ``overlapping`` each zone is counted for
    itself and that row is empty. ``detailed``: places are kept, which intervals need. The result does
    not depend on ``threads``.
    """  # fmt: skip
    sums = Sums(len(polygons) + 1, classes, weighted)
    boxes = shapely.bounds(polygons)
    with ThreadPoolExecutor(threads) as pool:
        for source in sources:
            squared = _squared(polygons, _meeting(boxes, source), source, resolution_m)
            strips = _strips(squared, source, resolution_m)
            work = partial(
                _sum_strip,
                source=source,
                square=squared,
                sums=sums,
                overlapping=overlapping,
                detailed=detailed,
            )
            for batch in _batches(strips, 2 * threads):
                for made in pool.map(work, batch):
                    if made is not None:
                        sums.add(made, detailed)
    return sums


def _batches(strips: Iterator[_Strip], size: int) -> Iterator[list[_Strip]]:
    while batch := list(itertools.islice(strips, size)):
        yield batch


@dataclass(frozen=True, eq=False)
class _Square:
    """Zones of one square, counted in cells from the zone's origin."""

    own: Rings
    low: Ints
    high: Ints
    """First and last step of each ring's rows."""
    zones: Ints
    """Zone of each of ``own``'s; the last is what lies beyond the UTM zone, -1."""
    window: tuple[int, int, int, int]
    resolution_m: int


@dataclass(frozen=True)
class _Strip:
    number: int
    columns: tuple[int, int]
    rows: tuple[int, int]


def _meeting(boxes: Floats, source: Source) -> Ints:
    """Zones whose lon/lat box meets the square."""
    x, y = source.square
    outline = shapely.box(x * SQUARE_M, y * SQUARE_M, (x + 1) * SQUARE_M, (y + 1) * SQUARE_M)
    west, south, east, north = to_crs(shapely.segmentize(outline, 1000), 4326, source.epsg).bounds
    hit = (boxes[:, 0] <= east) & (boxes[:, 2] >= west) & (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
    return np.flatnonzero(hit)


def _squared(polygons: NDArray[np.object_], near: Ints, source: Source, resolution_m: int) -> _Square:
    """The zones that meet a square, in its CRS, with what lies beyond its UTM zone as one more."""
    x, y = source.square
    left, right = _meridians(source.epsg)
    box = shapely.box(x * SQUARE_M, y * SQUARE_M, (x + 1) * SQUARE_M, (y + 1) * SQUARE_M)
    south, north = _latitudes(box, source.epsg)
    shapes = _clipped(polygons[near], left, right)
    shapes = np.asarray(to_crs(shapes, source.epsg), np.object_)
    strange = [shapely.box(left - 2, south, left, north), shapely.box(right, south, right + 2, north)]
    beyond = shapely.intersection(shapely.union_all([to_crs(s, source.epsg) for s in strange]), box)
    shapes = np.array([*shapes, beyond], np.object_)
    transform = Affine(resolution_m, 0, 0, 0, -resolution_m, 0)
    own = rings(shapes, transform)
    first, last = _rows(own)
    return _Square(own, first, last, np.append(near, -1), _window(own, source, resolution_m), resolution_m)


def _clipped(polygons: NDArray[np.object_], left: float, right: float) -> NDArray[np.object_]:
    """Polygons without what lies beyond two meridians."""
    boxes = shapely.bounds(polygons)
    beyond = (boxes[:, 0] < left) | (boxes[:, 2] > right)
    if not beyond.any():
        return polygons
    polygons = polygons.copy()
    polygons[beyond] = shapely.intersection(polygons[beyond], shapely.box(left, -90, right, 90))
    return polygons


def _meridians(epsg: int) -> tuple[int, int]:
    left = epsg % 100 * 6 - 186
    return left, left + 6


def _latitudes(box: BaseGeometry, epsg: int) -> tuple[float, float]:
    """A little more than the square's, so that its corners lie inside."""
    _, south, _, north = to_crs(shapely.segmentize(box, 1000), 4326, epsg).bounds
    return south - 0.1, north + 0.1


def _rows(own: Rings) -> tuple[Ints, Ints]:
    if not len(own.zone):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    y = own.xy[:, 1]
    return np.minimum.reduceat(y, own.start[:-1]), np.maximum.reduceat(y, own.start[:-1])


def _window(own: Rings, source: Source, resolution_m: int) -> tuple[int, int, int, int]:
    """Columns and rows of what is mapped and of the zones, inside the square."""
    per, (x, y) = SQUARE_M // resolution_m, source.square
    c0, c1, r0, r1 = source.window
    if len(own.xy):
        column, row = own.xy[:, 0] // kernels.STEPS, own.xy[:, 1] // kernels.STEPS
        c0, c1 = min(c0, int(column.min())), max(c1, int(column.max()) + 1)
        r0, r1 = min(r0, int(row.min())), max(r1, int(row.max()) + 1)
    left, top = x * per, -(y + 1) * per
    # Coarse cells lie where they lie whatever the zones are.
    c0, r0 = max(left, c0), max(top, r0 // cells.STRIP * cells.STRIP)
    return left + (c0 - left) // COARSE * COARSE, min(c1, left + per), r0, min(r1, top + per)


def _strips(square: _Square, source: Source, resolution_m: int) -> Iterator[_Strip]:
    """Strips of rows that share one row of cell areas."""
    c0, c1, r0, r1 = square.window
    if c0 >= c1 or r0 >= r1:
        return
    for number in range(-(r1 - 1) // cells.STRIP - 1, -r0 // cells.STRIP + 1):
        top, bottom = max(r0, -(number + 1) * cells.STRIP), min(r1, -number * cells.STRIP)
        if top < bottom:
            yield _Strip(number, (c0, c1), (top, bottom))


@dataclass(frozen=True, eq=False)
class _Part:
    """Sums of one strip by place; place k is of zone ``owner[k]``."""

    owner: Ints
    middle: Floats
    high: list[Ints]
    low: list[Ints]
    weight_high: Ints
    weight_low: Ints
    spread: Floats


def _sum_strip(
    strip: _Strip, source: Source, square: _Square, sums: Sums, overlapping: bool, detailed: bool
) -> _Part | None:
    first_column, first_row = strip.columns[0], strip.rows[0]
    shape = strip.rows[1] - first_row, strip.columns[1] - first_column
    own = _near(square, strip).shifted(first_column, first_row)
    beyond, unassigned = len(square.zones) - 1, len(square.zones)
    alone = overlapping or not source.mapped
    if alone and not len(own.zone):
        return None
    made = separate(own, shape, COARSE) if alone else divide(own, shape, unassigned, beyond, COARSE)
    places = _places(made, unassigned + 1, shape)
    area = cells.areas(source.epsg, square.resolution_m, strip.number, first_column, shape[1])
    owner = np.append(square.zones, sums.zones - 1)[places.zone]
    cut = made.runs, places.of_run, made.starts, places.of_part, made.shares
    high = [np.zeros((len(owner), n), np.int64) for n in sums.classes]
    low = [np.zeros_like(h) for h in high]
    for layer, codes in enumerate(source.codes(strip.columns, strip.rows)):
        kernels.tally_classes(*cut, codes, area, high[layer], low[layer])
    weight_high = np.zeros((sums.weighted, len(owner)), np.int64)
    deviation = _SPREAD if detailed else _SPREAD[:0]
    weight_low, spread = np.zeros_like(weight_high), np.zeros(weight_high.shape)
    for layer, weights in enumerate(source.weights(strip.columns, strip.rows)):
        kernels.tally_weights(
            *cut, weights, deviation, area, weight_high[layer], weight_low[layer], spread[layer]
        )
    middle = places.middle(source.epsg, square.resolution_m, first_column, first_row)
    return _Part(owner, middle, high, low, weight_high.T, weight_low.T, spread.T)


def _near(square: _Square, strip: _Strip) -> Rings:
    """The rings that reach into a strip's rows."""
    own = square.own
    reach = (square.high > strip.rows[0] * kernels.STEPS) & (square.low < strip.rows[1] * kernels.STEPS)
    if reach.all():
        return own
    chosen = np.flatnonzero(reach)
    lengths = own.start[chosen + 1] - own.start[chosen]
    start = np.concatenate([[0], np.cumsum(lengths)])
    index = np.repeat(own.start[chosen] - start[:-1], lengths) + np.arange(start[-1])
    return Rings(own.xy[index], start, own.zone[chosen], own.sign[chosen])


@dataclass(frozen=True, eq=False)
class _PlaceIndex:
    zone: Ints
    row: Ints
    column: Ints
    of_run: Ints
    of_part: Ints

    def middle(self, epsg: int, resolution_m: int, first_column: int, first_row: int) -> Floats:
        x = (first_column + (self.column + 0.5) * COARSE) * resolution_m
        y = -(first_row + (self.row + 0.5) * COARSE) * resolution_m
        lon, lat = transformer(epsg, 4326).transform(x, y)
        return np.column_stack(transformer(4979, 4978).transform(lon, lat, np.zeros_like(lon)))


def _places(made: Partition, zones: int, shape: tuple[int, int]) -> _PlaceIndex:
    """Number the parts of zones in coarse cells; the zone of a run of cut cells is in its entries."""
    across = -(-shape[1] // COARSE)
    run = (made.runs[:, 0] // COARSE * across + made.runs[:, 1] // COARSE) * zones
    whole = made.runs[:, 3] >= 0
    cut = np.zeros(len(made.starts) - 1, np.int64)
    cut[-2 - made.runs[~whole, 3]] = run[~whole]
    keys = np.concatenate([
        np.where(whole, run + made.runs[:, 3], 0), np.repeat(cut, np.diff(made.starts)) + made.zones
    ])  # fmt: skip
    found, index = kernels.number_keys(keys)
    coarse, zone = found // zones, found % zones
    return _PlaceIndex(zone, coarse // across, coarse % across, index[: len(run)], index[len(run) :])
