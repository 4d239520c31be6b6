"""How far the errors of a map go together, told by what models say of samples that they did not see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from models import folds
from models.samples import SampleTable

Floats = NDArray[np.float64]
#: Samples whose pairs are looked at; more are drawn from, for pairs grow by the square.
MOST = 2000
FEWEST = 30
#: A smaller share of the variance that goes with distance is noise.
LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Correlation:
    """Of the errors of two places: (1 - nugget) exp(-distance / range_m)."""

    range_m: float
    nugget: float = 0.0
    basis: Literal["stated", "estimated", "assumed"] = "stated"
    """By a person, from samples that the model did not see, or by us for want of either."""

    def __post_init__(self) -> None:
        if not (self.range_m > 0 and 0 <= self.nugget < 1):
            raise ValueError(f"range {self.range_m} m and nugget {self.nugget}; expected above 0, and 0 to 1")


def fit(xy: Floats, residuals: Floats, farthest_m: float, bins: int = 15) -> Correlation:
    """Correlation of standardised residuals (sample,) at places (sample, axis) in metres.

    Of a class z that had probability p the residual is (z - p) / sqrt(p (1 - p)). Least squares on the mean
    product of pairs by distance, weighted by the pairs' number (Cressie 1985 weighs alike). Raises
    ValueError where there are fewer than 30 samples.
    """
    if len(xy) < FEWEST:
        raise ValueError(f"{len(xy)} samples are too few to fit a correlation; expected {FEWEST} or more")
    distance, product = _pairs(np.asarray(xy, np.float64), residuals - residuals.mean(), farthest_m)
    edges = np.linspace(0, farthest_m, bins + 1)
    number = np.digitize(distance, edges) - 1
    count = np.bincount(number, minlength=bins)[:bins]
    sums = np.bincount(number, product, bins)[:bins]
    far = np.bincount(number, distance, bins)[:bins]
    use = count > 0
    h, rho, weight = far[use] / count[use], sums[use] / count[use] / residuals.var(), np.sqrt(count[use])
    first = farthest_m / 5
    made = least_squares(
        lambda v: weight * (v[0] * np.exp(-h / v[1]) - rho), [0.5, first],
        bounds=([1e-6, farthest_m / 1000], [1, 2 * farthest_m]),
    )  # fmt: skip
    return Correlation(float(made.x[1]), float(np.clip(1 - made.x[0], 0, 0.999)), "estimated")


def _pairs(xy: Floats, residuals: Floats, farthest_m: float) -> tuple[Floats, Floats]:
    i, j = np.triu_indices(len(xy), 1)
    distance = np.linalg.norm(xy[i] - xy[j], axis=1)
    near = distance < farthest_m
    return distance[near], (residuals[i] * residuals[j])[near]


def of_left_out(table: SampleTable, residuals: Floats) -> dict[str, Any] | None:
    """What a model's card says of its errors: ``range_m``, ``nugget`` and the ``samples`` it stands on.

    ``residuals`` (row,): standardised, of models that did not see the row; NaN where there is none. None
    where samples are too few or no part of the error goes with distance.
    """
    known = np.flatnonzero(np.isfinite(residuals))
    if len(known) > MOST:
        known = np.sort(np.random.default_rng(0).choice(known, MOST, replace=False))
    if len(known) < FEWEST or not np.ptp(residuals[known]) > 0:
        return None
    places = folds.on_globe(table.frame.lon, table.frame.lat)[known]
    farthest = float(np.linalg.norm(np.ptp(places, axis=0))) / 2
    if not farthest > 0:
        return None
    found = fit(places, residuals[known], farthest)
    if 1 - found.nugget < LEAST_SHARE:
        return None
    return {"range_m": found.range_m, "nugget": found.nugget, "samples": len(known)}
