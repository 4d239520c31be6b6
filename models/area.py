"""Areas and accuracies with their errors, from a probability sample and never from counted pixels.

A map's pixel count is biased by the map's own errors. These estimators take the class from the reference
sample and the strata from the map: Olofsson et al. 2013 (doi:10.1016/j.rse.2012.10.031) and 2014
(doi:10.1016/j.rse.2014.02.015), Stehman 2014 (doi:10.1080/01431161.2014.930207), Cochran 1977.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

Floats = NDArray[np.float64]
Method = Literal["equal", "proportional", "neyman"]


@dataclass(frozen=True, eq=False)
class AreaEstimate:
    """Areas (class,) in the unit given, accuracies as fractions 0 to 1, each with its standard error.

    ``users`` of a class that the map lacks and ``producers`` of a class that the reference lacks are NaN.
    """

    area: Floats
    area_se: Floats
    users: Floats
    users_se: Floats
    producers: Floats
    producers_se: Floats
    overall: float
    overall_se: float

    def interval(
        self, what: Literal["area", "users", "producers", "overall"] = "area", level: float = 0.95
    ) -> tuple[Floats, Floats]:
        """Lower and upper normal confidence bounds, kept inside what is possible (no area below 0)."""
        value, se = np.asarray(getattr(self, what)), np.asarray(getattr(self, f"{what}_se"))
        reach = norm.ppf(0.5 + level / 2) * se
        most = self.area.sum() if what == "area" else 1.0
        return np.clip(value - reach, 0, most), np.clip(value + reach, 0, most)


def stratified(counts: ArrayLike, stratum_areas: ArrayLike) -> AreaEstimate:
    """Areas and accuracies where the strata are the map's classes (Olofsson et al. 2014, eq. 2 to 11).

    ``counts`` (class, class): sampled units, rows the map class (stratum), columns the reference class.
    ``stratum_areas`` (class,): mapped area of each class in any unit; areas come back in it. Units are
    drawn at random within strata; the sampled share of the area is taken as small.
    A class that is not on the map has area 0 and a row of zeros.
    Raises ValueError where counts are no square table of whole numbers, areas are negative, or a
    stratum with area has fewer than 2 samples, so that it has no standard error.
    """
    n, areas = _table(counts), _areas(stratum_areas)
    if n.shape != (len(areas), len(areas)):
        raise ValueError(f"counts are {n.shape} and stratum areas {areas.shape}; expected (k, k) and (k,)")
    rows = n.sum(axis=1)
    _enough(rows, areas)
    on_map = areas > 0
    size = np.where(on_map, rows, 2)  # strata without area weigh nothing
    p = np.where(on_map[:, None], n / size[:, None], 0)
    variance = areas[:, None] ** 2 * p * (1 - p) / (size[:, None] - 1)
    area, own = (areas[:, None] * p).sum(axis=0), np.diagonal(p)
    producers = _ratio(areas * own, area)
    others = variance.sum(axis=0) - np.diagonal(variance)
    spread = (1 - producers) ** 2 * np.diagonal(variance) + producers**2 * others
    return AreaEstimate(
        area=area,
        area_se=np.sqrt(variance.sum(axis=0)),
        users=np.where(on_map, own, np.nan),
        users_se=np.where(on_map, np.sqrt(own * (1 - own) / (size - 1)), np.nan),
        producers=producers,
        producers_se=_ratio(np.sqrt(spread), area),
        overall=float((areas * own).sum() / areas.sum()),
        overall_se=float(np.sqrt(np.diagonal(variance).sum()) / areas.sum()),
    )


def stratified_units(
    strata: ArrayLike,
    mapped: ArrayLike,
    reference: ArrayLike,
    stratum_sizes: ArrayLike,
    classes: int,
    unit_area: float = 1.0,
) -> AreaEstimate:
    """Areas and accuracies where the strata differ from the map's classes (Stehman 2014).

    ``strata mapped reference`` (sample,): each unit's stratum 0..strata-1, map class and reference class
    0..classes-1. ``stratum_sizes`` (stratum,): units (pixels) in each stratum; ``unit_area``: area of one.
    Variances carry the finite-population factor 1 - n/N. Raises ValueError as ``stratified`` does.
    """
    sizes = _areas(stratum_sizes)
    h, m, r = (_codes(*pair) for pair in ((strata, len(sizes)), (mapped, classes), (reference, classes)))
    if not len(h) == len(m) == len(r):
        raise ValueError(
            f"found {len(h)} strata, {len(m)} map and {len(r)} reference classes; expected equal"
        )
    n = np.bincount(h, minlength=len(sizes))
    _enough(n, sizes)
    if (n > sizes).any():
        raise ValueError(f"stratum {int((n > sizes).argmax())} has more samples than units")
    each = np.arange(classes)
    is_map, is_true = m[:, None] == each, r[:, None] == each
    one, total = np.ones(len(h)), sizes.sum()

    def ratio(y: NDArray[np.bool_], x: NDArray[np.bool_] | Floats) -> tuple[float, float]:
        """Combined ratio of two stratified means and its standard error (Stehman 2014, eq. 27 and 28)."""
        top, bottom = _means(y, h, n) @ sizes, _means(x, h, n) @ sizes
        if bottom == 0:
            return np.nan, np.nan
        rest = y - top / bottom * x
        s2 = _means((rest - _means(rest, h, n)[h]) ** 2, h, n) * n / np.maximum(n - 1, 1)
        variance = (sizes**2 * (1 - n / np.maximum(sizes, 1)) * s2 / np.maximum(n, 1)).sum()
        return float(top / bottom), float(np.sqrt(variance) / bottom)

    area = np.array([ratio(is_true[:, k], one) for k in each]) * total * unit_area
    users = np.array([ratio(is_map[:, k] & is_true[:, k], is_map[:, k]) for k in each])
    producers = np.array([ratio(is_map[:, k] & is_true[:, k], is_true[:, k]) for k in each])
    overall = ratio(m == r, one)
    (a, a_se), (u, u_se), (p, p_se) = area.T, users.T, producers.T
    return AreaEstimate(a, a_se, u, u_se, p, p_se, *overall)


def sample_size(
    stratum_areas: ArrayLike, expected_users: ArrayLike, overall_se: float, units: float = np.inf
) -> int:
    """Samples for which overall accuracy has the standard error wanted (Cochran 1977, eq. 5.25).

    ``expected_users`` (stratum,): user's accuracies one expects, fractions. For a class's share of the area
    instead, give its expected share in each stratum. ``units``: number of pixels, which matters only where
    it is small. The number is that of Neyman allocation, rounded up.
    """
    weight, spread = _weights(stratum_areas), _spread(expected_users)
    if not overall_se > 0:
        raise ValueError(f"standard error wanted is {overall_se}; expected above 0")
    need = (weight @ spread) ** 2 / (overall_se**2 + weight @ spread**2 / units)
    return int(np.ceil(round(float(need), 9)))


def allocate(
    total: int,
    stratum_areas: ArrayLike,
    method: Method = "proportional",
    minimum: int = 2,
    expected_users: ArrayLike | None = None,
) -> NDArray[np.int64]:
    """Samples of each stratum (stratum,), which sum to ``total``; a stratum without area gets none.

    ``equal`` serves user's accuracies, ``proportional`` overall accuracy, ``neyman`` (area times standard
    deviation, from ``expected_users``) the smallest error of it. Good practice for rare classes
    (Olofsson et al. 2014, section 5.1) is ``proportional`` with a ``minimum`` of 50 to 100.
    Raises ValueError where ``total`` cannot give each stratum its minimum.
    """
    weight = _weights(stratum_areas)
    there = weight > 0
    if minimum < 2:
        raise ValueError(f"minimum is {minimum}; expected 2 or more, or a stratum has no standard error")
    if total < minimum * there.sum():
        raise ValueError(f"{total} samples cannot give {there.sum()} strata {minimum} each")
    share = np.where(there, 1.0, 0.0) if method == "equal" else weight
    if method == "neyman":
        if expected_users is None:
            raise ValueError("method neyman needs expected_users")
        share = weight * _spread(expected_users)
    poor = np.zeros(len(weight), bool)
    while True:  # who falls short of the minimum gets it, and the others share what is left
        rest = there & ~poor
        left = total - minimum * poor.sum()
        part = share * rest
        # Strata that are sure to be right have no spread; they share evenly what no other needs.
        quota = left * (part / part.sum() if part.sum() else rest / max(rest.sum(), 1))
        short = rest & (quota < minimum)
        if not short.any():
            break
        poor |= short
    if not rest.any():
        quota = there * (left / there.sum())
    found = np.where(poor, minimum, 0) + _whole(quota, left)
    return found


@dataclass(frozen=True)
class ZoneEstimate:
    """Mean of one zone with its standard error; times the zone's area it is a total."""

    mean: float
    se: float
    map_mean: float
    """What the map alone says, errors of the map included."""
    sample_mean: float
    sample_se: float
    """Without the map; its squared ratio to ``se`` says how many times the map multiplies the samples."""
    samples: int

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Lower and upper normal confidence bound of the mean, in its unit."""
        reach = float(norm.ppf(0.5 + level / 2)) * self.se
        return self.mean - reach, self.mean + reach


def model_assisted(
    observed: ArrayLike,
    predicted: ArrayLike,
    map_mean: float,
    kind: Literal["difference", "regression"] = "difference",
    strata: ArrayLike | None = None,
    stratum_areas: ArrayLike | None = None,
) -> ZoneEstimate:
    """Mean of a zone from its map and a probability sample inside it (Särndal et al. 1992, chapter 6;
    McRoberts 2010, doi:10.1016/j.rse.2009.12.013; Stehman 2009).

    ``observed predicted`` (sample,): the quantity, or 0 and 1 of a class, and what the map says there.
    The map must not have been trained on these samples, else their residuals flatter it.
    ``map_mean``: mean of the map over the whole zone. ``difference`` adds the mean residual to it;
    ``regression`` (GREG) first fits a line, which pays where the map is biased in scale.
    ``strata`` (sample,) with ``stratum_areas`` (stratum,) for a stratified sample, else simple random.
    Raises ValueError where a stratum with area has fewer than 2 samples, or a line fewer than 3.
    """
    y, m = _finite(observed, "observed"), _finite(predicted, "predicted")
    if len(y) != len(m):
        raise ValueError(f"found {len(y)} observed and {len(m)} predicted values; expected equal numbers")
    if (strata is None) != (stratum_areas is None):
        raise ValueError("a stratified sample needs both strata and stratum_areas")
    areas = np.ones(1) if stratum_areas is None else _areas(stratum_areas)
    h = np.zeros(len(y), np.intp) if strata is None else _codes(strata, len(areas))
    if len(h) != len(y):
        raise ValueError(f"found {len(h)} strata for {len(y)} samples; expected equal numbers")
    n, weight = np.bincount(h, minlength=len(areas)), _weights(areas)
    _enough(n, areas)
    if not np.isfinite(map_mean):
        raise ValueError(f"map_mean is {map_mean}; expected a finite number")
    a, b, correct = 0.0, 1.0, 1.0
    if kind == "regression":
        if len(y) < 3 or np.ptp(m) == 0:
            raise ValueError("a regression estimate needs 3 samples and predictions that differ")
        b, a = np.polyfit(m, y, 1, w=np.sqrt(weight[h] / n[h]))
        correct = (len(y) - 1) / (len(y) - 2)
    residual, se = _stratified_mean(y - a - b * m, h, n, weight)
    mean, mean_se = _stratified_mean(y, h, n, weight)
    estimate = float(a + b * map_mean + residual)
    return ZoneEstimate(estimate, se * float(np.sqrt(correct)), float(map_mean), mean, mean_se, len(y))


def _stratified_mean(
    values: Floats, h: NDArray[np.intp], n: NDArray[np.intp], weight: Floats
) -> tuple[float, float]:
    means = _means(values, h, n)
    s2 = _means((values - means[h]) ** 2, h, n) * n / np.maximum(n - 1, 1)
    return float(weight @ means), float(np.sqrt((weight**2 * s2 / np.maximum(n, 1)).sum()))


def _means(values: ArrayLike, h: NDArray[np.intp], n: NDArray[np.intp]) -> Floats:
    """Mean in each stratum; 0 where it has no sample."""
    total = np.bincount(h, weights=np.asarray(values, np.float64), minlength=len(n))
    return np.asarray(total / np.maximum(n, 1))


def _ratio(top: Floats, bottom: Floats) -> Floats:
    return np.asarray(np.divide(top, bottom, out=np.full(len(top), np.nan), where=bottom > 0))


def _whole(quota: Floats, total: float) -> NDArray[np.int64]:
    """Whole numbers near ``quota`` that sum to ``total``: the largest remainders are rounded up."""
    floor = np.floor(quota + 1e-9)
    up = np.argsort(floor - quota, kind="stable")[: round(total - floor.sum())]
    floor[up] += 1
    return floor.astype(np.int64)


def _enough(n: NDArray[Any], areas: Floats) -> None:
    few = np.flatnonzero((areas > 0) & (n < 2))
    if len(few):
        k = int(few[0])
        raise ValueError(
            f"stratum {k} has {int(n[k])} sample(s) for an area of {areas[k]:g}; a standard error needs "
            "2 or more (sample it more, or merge it with another)"
        )


def _table(counts: ArrayLike) -> Floats:
    n = np.asarray(counts, np.float64)
    if n.ndim != 2 or not np.isfinite(n).all() or (n < 0).any() or (n != np.round(n)).any():
        raise ValueError("counts must be a table of whole numbers, none negative")
    return n


def _areas(values: ArrayLike) -> Floats:
    areas = np.asarray(values, np.float64)
    if areas.ndim != 1 or not np.isfinite(areas).all() or (areas < 0).any() or not areas.sum() > 0:
        raise ValueError(f"stratum areas are {areas.tolist()}; expected finite numbers from 0, not all 0")
    return areas


def _weights(areas: ArrayLike) -> Floats:
    found = _areas(areas)
    return np.asarray(found / found.sum())


def _spread(users: ArrayLike) -> Floats:
    """Standard deviation of right and wrong in each stratum."""
    u = np.asarray(users, np.float64)
    if not ((u >= 0) & (u <= 1)).all():
        raise ValueError(f"expected user's accuracies are {u.tolist()}; expected fractions 0 to 1")
    return np.asarray(np.sqrt(u * (1 - u)))


def _codes(values: ArrayLike, count: int) -> NDArray[np.intp]:
    codes = np.asarray(values)
    if codes.ndim != 1 or codes.dtype.kind not in "iu":
        raise ValueError(f"strata and classes must be whole numbers (sample,); found {codes.dtype}")
    if len(codes) and not (codes.min() >= 0 and codes.max() < count):
        raise ValueError(f"found code {codes.min()} to {codes.max()}; expected 0 to {count - 1}")
    return codes.astype(np.intp)


def _finite(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite numbers (sample,)")
    return array
