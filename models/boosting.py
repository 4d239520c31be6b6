"""The boosters (LightGBM) that models are made of; the same rows in the same order give the same bytes."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

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
) -> lightgbm.Booster:
    """A booster of ``y`` (row,) on ``X`` (row, feature) with the target's settings."""
    parameters = target.model.parameters() | objective
    data = lightgbm.Dataset(X, y, feature_name=list(names), params=parameters, free_raw_data=True)
    return lightgbm.train(parameters, data, target.model.trees if trees is None else trees)


def boost_target(
    X: NDArray[np.float32], y: Vector, target: Target, names: tuple[str, ...]
) -> lightgbm.Booster:
    """The booster of the target itself: of its mean in learning units, or of its classes by rising code."""
    if target.kind == "regression":
        return boost(X, learnt(y, target), target, names, {"objective": "regression"})
    codes = sorted(c.code for c in target.classes)
    objective = {"objective": "multiclass", "num_class": len(codes)}
    return boost(X, np.searchsorted(codes, y), target, names, objective)


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
