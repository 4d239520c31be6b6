"""The boosters (LightGBM) that models are made of; the same rows in the same order give the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.layers import listed
from models.targets import Target
from models.uncertainty import Vector, likelihood_slopes

#: The scale booster is kept small: squared residuals say little each.
SCALE = {"num_leaves": 4, "learning_rate": 0.1, "lambda_l2": 5.0}
#: Smallest leaf of the scale booster, in samples; a variance of fewer is a guess.
SCALE_LEAF = 20


def boost(
    X: NDArray[np.float32],
    y: NDArray[Any],
    target: Target,
    names: tuple[str, ...],
    objective: dict[str, Any],
    trees: int | None = None,
    weight: Vector | None = None,
) -> lightgbm.Booster:
    """A booster of ``y`` (row,) on ``X`` (row, feature) with the target's settings."""
    parameters = target.model.parameters(names) | objective
    data = lightgbm.Dataset(
        X, y, weight=weight, feature_name=list(names), params=parameters, free_raw_data=True
    )
    return lightgbm.train(parameters, data, target.model.trees if trees is None else trees)


@dataclass(frozen=True)
class Boosted:
    """The boosters of the target itself, by name."""

    target: Target
    boosters: dict[str, lightgbm.Booster]

    def says(self, X: NDArray[np.float32]) -> Vector:
        """Means in learning units (row,), or class probabilities by rising code (row, class)."""
        found = [np.asarray(b.predict(X, num_threads=1)) for b in self.boosters.values()]
        if not self.target.ordered:
            return np.asarray(found[0])
        by_rank = steps(np.stack(found, axis=1))
        return np.asarray(by_rank[:, np.argsort(listed(self.target))])

    def gain(self) -> Vector:
        """Gain of the splits by each feature (feature,), summed over the boosters."""
        gains = [b.feature_importance("gain") for b in self.boosters.values()]
        return np.asarray(np.sum(gains, axis=0), np.float64)


def steps(reached: Vector) -> Vector:
    """Probabilities (row, class) from P(class > k) of each class but the last (row, class - 1), which cannot
    rise with k; where independent boosters say that it does, the lower cut's word holds."""
    tails = np.minimum.accumulate(reached, axis=1)
    one, none = np.ones((len(tails), 1)), np.zeros((len(tails), 1))
    return np.asarray(-np.diff(np.hstack([one, tails, none]), axis=1))


def boost_target(X: NDArray[np.float32], y: Vector, target: Target, names: tuple[str, ...]) -> Boosted:
    """The boosters of the target itself: of its mean in learning units, of its classes by rising code, or of
    ordered classes one a cut: is it beyond? (Frank & Hall 2001, doi:10.1007/3-540-44795-4_13)."""
    if target.kind == "regression":
        booster = boost(X, learnt(y, target), target, names, {"objective": "regression"})
        return Boosted(target, {"estimate": booster})
    codes = sorted(c.code for c in target.classes)
    label = np.searchsorted(codes, y)
    weight = _balanced(label, target.model.balance)
    if not target.ordered:
        objective = {"objective": "multiclass", "num_class": len(codes)}
        return Boosted(target, {"class": boost(X, label, target, names, objective, weight=weight)})
    rank = np.argsort(listed(target))[label]
    cuts = {
        name: boost(X, (rank > k).astype(np.intp), target, names, {"objective": "binary"}, weight=weight)
        for k, name in enumerate(target.boosters)
    }
    return Boosted(target, cuts)


def _balanced(label: NDArray[np.intp], power: float) -> Vector | None:
    """Weight (row,) of samples of classes ``label`` (row,), 1 in the mean; None where all weigh the same."""
    if power == 0:
        return None
    weight = (1 / np.bincount(label)[label]) ** power
    return np.asarray(weight / weight.mean())


def boost_scale(
    X: NDArray[np.float32],
    residual: Vector,
    base: float,
    own: Vector,
    target: Target,
    names: tuple[str, ...],
    trees: int,
) -> lightgbm.Booster:
    """A booster of log variance less ``base``, by likelihood, of residuals (row,) that also hold ``own``
    variance (row,). 0 everywhere where ``trees`` is 0 or nothing varies that could tell rows apart."""
    varies = bool((np.nanmax(np.nan_to_num(X), axis=0) > np.nanmin(np.nan_to_num(X), axis=0)).any())
    if trees == 0 or not varies or len(X) < 2 * SCALE_LEAF:
        return boost(X, np.zeros(len(X)), target, names, {"objective": "regression"}, 1)

    def slopes(score: Vector, data: lightgbm.Dataset) -> tuple[Vector, Vector]:
        return likelihood_slopes(residual, base + score, own)

    leaf = {"min_data_in_leaf": SCALE_LEAF, "min_data_in_bin": 1, "feature_pre_filter": False}
    return boost(X, residual, target, names, SCALE | leaf | {"objective": slopes}, trees)


def learnt(y: Vector, target: Target) -> Vector:
    """Values (row,) in learning units."""
    return np.log(y) if target.transform == "log" else y
