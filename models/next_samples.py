"""Where new samples help a map most.

A place is served when a sample lies near it, on the ground and in what the satellites see. A new sample is
worth what it brings nearer, summed over all places, those of wide intervals and beyond applicability
counting more. Picked one after another (greedy facility location: Cornuéjols et al. 1977; for soil, spatial
and feature-space coverage: Walvoort et al. 2010, doi:10.1016/j.cageo.2010.04.005, Brus 2019,
doi:10.1016/j.geoderma.2018.07.036), samples spread by themselves: ground that one of them serves needs no
second. No chance is involved; for areas and accuracies draw a probability sample instead (``models.area``).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

Floats = NDArray[np.float64]
#: Places whose distances to all others are held at once.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Places:
    """Places of the land to be mapped, each of which may also be visited (place,).

    Some thousands, drawn at random or on a grid from the map, are enough: work grows with their square.
    Raises ValueError where lengths differ, a value is not finite or out of range.
    """

    xy: Floats
    """Metres (place, 2)."""
    X: NDArray[np.floating] | None = None
    """Features (place, feature)."""
    width: Floats | None = None
    """Width of the prediction interval, above or at 0, in any unit."""
    gap: Floats | None = None
    """Dissimilarity over its threshold: above 1 the model has seen nothing like it."""
    access: Floats | None = None
    """0 cannot be reached (it still wants to be served from elsewhere) to 1 easy; multiplies the worth."""

    def __post_init__(self) -> None:
        _check(self.xy, self.X)
        for name in ("width", "gap", "access"):
            values = getattr(self, name)
            if values is None:
                continue
            values = np.asarray(values, np.float64)
            if values.shape != (len(self.xy),) or not np.isfinite(values).all() or (values < 0).any():
                raise ValueError(f"{name} must be {len(self.xy)} finite numbers, none below 0")
            if name == "access" and values.max() > 1:
                raise ValueError(f"access reaches {values.max():g}; expected 0 to 1")


@dataclass(frozen=True, eq=False)
class Samples:
    """Where samples lie already: metres (sample, 2) and features (sample, feature)."""

    xy: Floats
    X: NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        _check(self.xy, self.X)


@dataclass(frozen=True, eq=False)
class Plan:
    """Places to visit, best first (pick,), with the parts of each one's score; NaN where not given."""

    rows: NDArray[np.intp]
    """Rows of the places."""
    worth: Floats
    """Share of the whole need that the pick takes away, given the picks before it, times its access."""
    distance_m: Floats
    """To the nearest sample or earlier pick."""
    novelty: Floats
    """Distance in features to the same, in units of the places' mean distance to the samples."""
    width: Floats
    gap: Floats
    access: Floats
    need: Floats
    """Of all places (place,): 1 on average, more where intervals are wide or the model knows less."""
    alone: Floats
    """Of all places (place,): worth of a first and only sample there, a map to look at."""
    left: float
    """Share of the need that remains after all picks."""


def plan(places: Places, samples: Samples | None, count: int, importance: Floats | None = None) -> Plan:
    """The ``count`` places where samples help most; ``samples`` None plans a first campaign.

    Distance on the ground and in features (scaled to unit variance over the places, times ``importance``
    (feature,) of the model, negative taken as 0) are each put in units of the mean distance from a place
    to its nearest sample, and added. Equal places are taken in their order. Raises ValueError where
    fewer than ``count`` places can be reached or features do not match.
    """
    reachable = np.ones(len(places.xy)) if places.access is None else np.asarray(places.access, np.float64)
    if not 1 <= count <= (reachable > 0).sum():
        raise ValueError(f"{count} samples wanted; expected 1 to {(reachable > 0).sum()} reachable places")
    spaces, known = _spaces(places, samples, importance)
    need = _need(places)
    remote = _remoteness(spaces, known)
    whole = float(need @ remote) or 1.0

    def worth(rows: NDArray[np.intp]) -> Floats:
        nearer = np.maximum(remote - _distance(spaces, rows), 0)
        return np.asarray(reachable[rows] * (nearer @ need) / whole)

    everyone = np.arange(len(need))
    alone = np.concatenate([worth(everyone[k : k + _CHUNK]) for k in range(0, len(need), _CHUNK)])
    # Worth only falls as picks are made, so that the best of the old values that is still the best when
    # computed anew is the best of all (Minoux 1978).
    queue = [(-alone[k], int(k)) for k in everyone if reachable[k] > 0]
    heapq.heapify(queue)
    picks: list[int] = []
    worths: list[float] = []
    while len(picks) < count:
        _, k = heapq.heappop(queue)
        now = float(worth(np.array([k]))[0])
        if queue and (-now, k) > queue[0]:
            heapq.heappush(queue, (-now, k))
            continue
        picks.append(k)
        worths.append(now)
        remote = np.minimum(remote, _distance(spaces, np.array([k]))[0])
    rows = np.array(picks, np.intp)
    return Plan(
        rows=rows,
        worth=np.array(worths),
        distance_m=_nearest(np.asarray(places.xy, np.float64), None if samples is None else samples.xy, rows),
        novelty=_nearest(*spaces[1], rows) if len(spaces) > 1 else np.full(count, np.nan),
        width=_part(places.width, rows),
        gap=_part(places.gap, rows),
        access=_part(places.access, rows),
        need=need,
        alone=alone,
        left=float(need @ remote) / whole,
    )


#: One space: places (place, axis) and samples (sample, axis) or None, in units of the mean remoteness.
_Space = tuple[Floats, Floats | None]


def _spaces(places: Places, samples: Samples | None, importance: Floats | None) -> tuple[list[_Space], bool]:
    """The ground and, where features are given, theirs; and whether there are samples at all."""
    if samples is not None and not len(samples.xy):
        samples = None
    pairs: list[_Space] = [(np.asarray(places.xy, np.float64), None if samples is None else samples.xy)]
    if places.X is not None:
        if samples is not None and (samples.X is None or samples.X.shape[1] != places.X.shape[1]):
            raise ValueError(f"places have {places.X.shape[1]} features; expected the same of the samples")
        scale = _scale(np.asarray(places.X, np.float64), importance)
        pairs.append((places.X * scale, None if samples is None else np.asarray(samples.X) * scale))
    return [_in_own_units(*pair) for pair in pairs], samples is not None


def _scale(X: Floats, importance: Floats | None) -> Floats:
    weight = np.ones(X.shape[1]) if importance is None else np.maximum(np.asarray(importance, np.float64), 0)
    if weight.shape != (X.shape[1],) or not np.isfinite(weight).all() or not weight.any():
        raise ValueError(f"importance must be {X.shape[1]} finite numbers, not all 0")
    spread = X.std(axis=0)
    return np.asarray(np.divide(weight, spread, out=np.zeros(len(weight)), where=spread > 0))


def _in_own_units(places: Floats, samples: Floats | None) -> _Space:
    if samples is None:
        unit = float(np.sqrt(places.var(axis=0).sum()))
    else:
        rows = range(0, len(places), _CHUNK)
        unit = float(np.mean(np.concatenate([cdist(places[k : k + _CHUNK], samples).min(1) for k in rows])))
    unit = unit or 1.0
    return places / unit, None if samples is None else np.asarray(samples, np.float64) / unit


def _distance(spaces: list[_Space], rows: NDArray[np.intp]) -> Floats:
    """Distances (row, place), the spaces' added."""
    return np.asarray(sum(cdist(here[rows], here) for here, _ in spaces))


def _remoteness(spaces: list[_Space], known: bool) -> Floats:
    """Distance of each place to its nearest sample (place,); without samples, that of no pick's reach."""
    n = len(spaces[0][0])
    if not known:
        reach = sum(float(np.linalg.norm(np.ptp(here, axis=0))) for here, _ in spaces)
        return np.full(n, reach)
    rows = [slice(k, k + _CHUNK) for k in range(0, n, _CHUNK)]
    return np.concatenate([sum(cdist(here[r], there) for here, there in spaces).min(axis=1) for r in rows])


def _need(places: Places) -> Floats:
    """Every place counts; width and gap each add as much again on average."""
    parts = [np.ones(len(places.xy))]
    for values in (places.width, places.gap):
        if values is not None and np.any(values):
            parts.append(np.asarray(values, np.float64) / np.mean(values))
    return np.asarray(np.mean(parts, axis=0))


def _nearest(here: Floats, there: Floats | None, rows: NDArray[np.intp]) -> Floats:
    """Distance of each pick to the samples and to the picks before it; infinite for the very first."""
    points = here[rows]
    known = np.full(len(rows), np.inf)
    if there is not None and len(there):
        known = cdist(points, there).min(axis=1)
    before = np.where(np.tri(len(rows), k=-1, dtype=bool), cdist(points, points), np.inf)
    return np.asarray(np.minimum(known, before.min(axis=1)))


def _part(values: Floats | None, rows: NDArray[np.intp]) -> Floats:
    return np.full(len(rows), np.nan) if values is None else np.asarray(values, np.float64)[rows]


def _check(xy: Floats, X: NDArray[np.floating] | None) -> None:
    if np.ndim(xy) != 2 or np.shape(xy)[1] != 2 or not np.isfinite(xy).all():
        raise ValueError(f"xy is {np.shape(xy)}; expected (place, 2), finite")
    if X is not None and (np.ndim(X) != 2 or len(X) != len(xy)):
        raise ValueError(f"X is {np.shape(X)}; expected ({len(xy)}, feature)")
    if X is not None and not np.isfinite(X).all():
        row = int((~np.isfinite(X).all(axis=1)).argmax())
        raise ValueError(f"row {row} of X is not finite; leave out what the model cannot judge")
