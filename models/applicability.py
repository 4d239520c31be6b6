"""Where a model may be used: dissimilarity index and area of applicability.

Meyer & Pebesma 2021 (doi:10.1111/2041-210X.13650), in the steps of the R package CAST.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from models import applicability_kernels as kernels
from models.applicability_kernels import LANES, STEP, Blocks


@dataclass(frozen=True)
class Applicability:
    """Training rows as the dissimilarity index sees them: scaled, and weighted by importance."""

    features: int
    """Number of features that a row must have."""
    used: tuple[int, ...]
    """The features that count, heaviest first: those that vary and have importance above 0."""
    mean: tuple[float, ...]
    """Of the training rows, for each used feature."""
    factor: tuple[float, ...]
    """Importance / standard deviation (ddof 1), for each used feature."""
    rows: NDArray[np.float64] = field(repr=False, compare=False)
    """Training rows (row, used feature), in their own unit."""
    scale: float
    """Mean distance between all pairs of training rows; the index is a distance divided by it."""
    threshold: float
    """Largest index inside: Q75 + 1.5 IQR of the training rows' own, at most their maximum."""

    @classmethod
    def fit(cls, X: NDArray[np.floating], importance: ArrayLike, folds: ArrayLike) -> Applicability:
        """From training rows ``X`` (row, feature), the model's importance (feature,), fold numbers (row,).

        Importance below 0 counts as 0; features of no importance or no variance are left out. The index of
        a training row is its distance to the nearest row of another fold. Rows with a value that is not
        finite take no part. Raises ValueError for shapes that do not fit, where no feature is left, or
        where the whole rows lie in fewer than 2 folds.
        """
        X, weight, fold = _checked(X, importance, folds)
        whole = np.isfinite(X).all(axis=1)
        X, fold = X[whole], fold[whole]
        if len(np.unique(fold)) < 2:
            raise ValueError(
                f"{len(X)} training rows without a gap lie in {len(np.unique(fold))} fold(s); expected 2 or more"
            )
        varies = np.ptp(X, axis=0) > 0
        used = [int(k) for k in np.argsort(-weight, kind="stable") if weight[k] > 0 and varies[k]]
        if not used:
            raise ValueError("no feature has both variance and an importance above 0")
        rows = np.ascontiguousarray(X[:, used])
        mean = rows.mean(axis=0)
        factor = weight[used] / rows.std(axis=0, ddof=1)
        scaled = (rows - mean) * factor
        scale = _mean_distance(scaled)
        threshold = _threshold(_to_other_folds(scaled, fold) / scale)
        return cls(
            X.shape[1], tuple(used), tuple(mean.tolist()), tuple(factor.tolist()), rows, scale, threshold
        )

    def thinned(self, most: int) -> Applicability:
        """At most ``most`` of the rows, spread as evenly as may be; scale and threshold stay those of all.

        Rows are taken one by one, each the farthest from those taken (Gonzalez 1985), so no row left out
        lies far from one that is kept. The index can only grow: less ground is vouched for, never more.
        """
        if len(self.rows) <= most:
            return self
        scaled = (self.rows - np.array(self.mean)) * np.array(self.factor)
        kept = np.empty(most, np.intp)
        distance = np.full(len(scaled), np.inf)
        following = int((scaled**2).sum(axis=1).argmin())
        for k in range(most):
            kept[k] = following
            np.minimum(distance, ((scaled - scaled[following]) ** 2).sum(axis=1), out=distance)
            following = int(distance.argmax())
        return replace(self, rows=np.ascontiguousarray(self.rows[np.sort(kept)]))

    def dissimilarity(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Dissimilarity index float64 (row,) of rows (row, feature); NaN where a value is not finite."""
        squared = self._nearest(X, np.inf, False)
        return np.asarray(np.sqrt(squared) / self.scale)

    def inside(self, X: NDArray[np.floating]) -> NDArray[np.bool_]:
        """``dissimilarity(X) <= threshold`` (row,), faster; False where a value of the row is not finite."""
        return np.asarray(self._nearest(X, self._bound, True) < self._bound)

    def _nearest(self, X: NDArray[np.floating], bound: float, first: bool) -> NDArray[np.float64]:
        if X.dtype not in (np.float32, np.float64):
            X = X.astype(np.float64)
        if X.ndim != 2 or X.shape[1] != self.features:
            raise ValueError(f"X is {X.shape}; expected (row, {self.features})")
        out = np.empty(len(X))
        kernels.nearest(X, self._blocks, bound, first, out)
        return out

    @cached_property
    def _bound(self) -> float:
        """The least squared distance that is outside, to the last bit."""
        squared = (self.threshold * self.scale) ** 2
        while math.sqrt(squared) / self.scale > self.threshold:
            squared = math.nextafter(squared, -math.inf)
        while math.sqrt(squared) / self.scale <= self.threshold:
            squared = math.nextafter(squared, math.inf)
        return squared

    @cached_property
    def _blocks(self) -> Blocks:
        mean, factor = np.array(self.mean), np.array(self.factor)
        scaled = (self.rows - mean) * factor
        members = _neighbours(scaled, np.arange(len(scaled)))
        middle = np.stack([scaled[m].mean(axis=0) for m in members])
        radius = np.array(
            [np.sqrt(((scaled[m] - c) ** 2).sum(axis=1).max()) for m, c in zip(members, middle, strict=True)]
        )
        filled = np.concatenate([np.resize(m, LANES) for m in members])
        index = np.array(self.used, np.int64)
        return Blocks(index, mean, factor, _in_lanes(scaled[filled]), _in_lanes(middle), radius * (1 + 1e-12))

    def dump(self) -> dict[str, Any]:
        """As values that JSON holds; ``parse`` reads them back to the same bits."""
        return {
            "features": self.features,
            "used": list(self.used),
            "mean": list(self.mean),
            "factor": list(self.factor),
            "rows": self.rows.tolist(),
            "scale": self.scale,
            "threshold": self.threshold,
        }

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Applicability:
        """Back from ``dump``. Raises ValueError, KeyError or TypeError for other content."""
        rows = np.array(content["rows"], np.float64)
        columns = [tuple(content[key]) for key in ("used", "mean", "factor")]
        if rows.ndim != 2 or not len(rows) or any(len(c) != rows.shape[1] for c in columns):
            raise ValueError(f"applicability has rows {rows.shape} for {len(columns[0])} features")
        used, mean, factor = columns
        return cls(
            int(content["features"]),
            tuple(int(k) for k in used),
            tuple(float(v) for v in mean),
            tuple(float(v) for v in factor),
            rows,
            float(content["scale"]),
            float(content["threshold"]),
        )

    def to_json(self) -> str:
        """``dump`` as JSON text."""
        return json.dumps(self.dump())

    @classmethod
    def from_json(cls, text: str) -> Applicability:
        """Back from ``to_json``. Raises ValueError, KeyError or TypeError for other text."""
        return cls.parse(json.loads(text))


def _checked(
    X: ArrayLike, importance: ArrayLike, folds: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[Any]]:
    X, weight, fold = np.asarray(X, np.float64), np.asarray(importance, np.float64), np.asarray(folds)
    if X.ndim != 2:
        raise ValueError(f"X is {X.shape}; expected (row, feature)")
    if weight.shape != (X.shape[1],) or not np.isfinite(weight).all():
        raise ValueError(f"importance is {weight.shape}; expected {X.shape[1]} finite values")
    if fold.shape != (len(X),):
        raise ValueError(f"folds are {fold.shape}; expected one number for each of {len(X)} rows")
    return X, np.maximum(weight, 0), fold


def _mean_distance(scaled: NDArray[np.float64]) -> float:
    """Between all pairs of rows; some rows at a time, as all pairs would fill memory."""
    total = sum(float(cdist(scaled[k : k + 500], scaled).sum()) for k in range(0, len(scaled), 500))
    return total / (len(scaled) * (len(scaled) - 1))


def _to_other_folds(scaled: NDArray[np.float64], fold: NDArray[Any]) -> NDArray[np.float64]:
    """Distance of each row to the nearest row of another fold."""
    found = np.empty(len(scaled))
    for number in np.unique(fold):
        own = fold == number
        found[own] = KDTree(scaled[~own]).query(scaled[own])[0]
    return found


def _threshold(index: NDArray[np.float64]) -> float:
    lower, upper = np.quantile(index, [0.25, 0.75])
    return float(min(upper + 1.5 * (upper - lower), index.max()))


def _neighbours(scaled: NDArray[np.float64], members: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Rows halved at the median of their widest feature until at most ``LANES`` are together."""
    if len(members) <= LANES:
        return [members]
    widest = int(scaled[members].var(axis=0).argmax())
    order = members[np.argsort(scaled[members, widest], kind="stable")]
    middle = len(order) // 2
    return [*_neighbours(scaled, order[:middle]), *_neighbours(scaled, order[middle:])]


def _in_lanes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(row, feature) as (block, padded feature, lane); the last row fills the last block."""
    count, features = -(-len(rows) // LANES), -(-rows.shape[1] // STEP) * STEP
    filled = rows[np.minimum(np.arange(count * LANES), len(rows) - 1)]
    padded = np.zeros((count * LANES, features))
    padded[:, : rows.shape[1]] = filled
    return np.ascontiguousarray(padded.reshape(count, LANES, features).transpose(0, 2, 1))
