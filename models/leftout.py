"""What models say of rows that they did not see: the ground that calibration and scores stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.boosting import boost_scale, boost_target, learnt
from models.folds import Folds
from models.layers import class_layers, listed, quantity_layers
from models.recipe import Recipe
from models.samples import SampleTable
from models.targets import Target
from models.uncertainty import (
    Calibration,
    ClassCalibration,
    Vector,
    calibrate,
    checked_variance,
    likelihood,
    log_variance,
)

#: Sizes of the scale booster that are tried; 0 is one variance for all.
SCALE_TREES = (0, 10, 20, 40, 80)


@dataclass(frozen=True)
class LeftOutQuantity:
    """Left-out raw scores of the boosters of a quantity, in learning units (row,)."""

    target: Target
    location: Vector
    residual: Vector
    """Measured value less location."""
    scale: Vector
    """Score of the scale booster, to be added to ``base``."""
    base: float
    trees: int
    """Size of the scale booster that told left-out residuals best."""
    sample_variance: Vector
    common_variance: Vector

    def calibration(self, rows: NDArray[np.intp] | slice = slice(None)) -> Calibration:
        """From the residuals of ``rows``."""
        rows = np.arange(len(self.residual))[rows]
        rows = rows[np.isfinite(self.residual[rows])]
        return calibrate(
            self.residual[rows],
            self.scale[rows],
            self.base,
            self.sample_variance[rows],
            self.common_variance[rows],
            self.target.transform,
        )

    @property
    def standardised(self) -> Vector:
        """Residuals in standard deviations, sample error included; NaN where the row could not be judged."""
        return np.asarray(self.residual / np.sqrt(np.exp(self.base + self.scale) + self.sample_variance))

    def layers(self, fit: NDArray[np.intp], test: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
        """Layers of the rows ``test``, calibrated on the rows ``fit``; about the laboratory's value."""
        own = self.sample_variance[test]
        found = self.calibration(fit).about_measurement(self.location[test], self.scale[test], own)
        return quantity_layers(self.target, found)

    def pit(self, fit: NDArray[np.intp], test: NDArray[np.intp]) -> Vector:
        """Probability given to values up to the measured one, of the rows ``test``, calibrated on ``fit``."""
        own = self.sample_variance[test]
        found = self.calibration(fit).about_measurement(self.location[test], self.scale[test], own)
        learnt = self.location[test] + self.residual[test]
        return found.cdf(np.exp(learnt) if self.target.transform == "log" else learnt)


@dataclass(frozen=True)
class LeftOutClasses:
    """Left-out class probabilities (row, class), classes by rising code."""

    target: Target
    probability: Vector
    label: NDArray[np.intp]
    """Number of the class found, by rising code (row,)."""

    def calibration(self, rows: NDArray[np.intp] | slice = slice(None)) -> ClassCalibration:
        """From the probabilities of ``rows``; cuts follow the order of the target's classes."""
        rows = np.arange(len(self.label))[rows]
        rows = rows[np.isfinite(self.probability[rows]).all(axis=1)]
        order = listed(self.target)
        share = self.target.shares or None
        return ClassCalibration.fit(
            self.probability[rows][:, order], np.argsort(order)[self.label[rows]], share
        )

    @property
    def standardised(self) -> Vector:
        """(z - p) / sqrt(p (1 - p)) of the bad classes, or of the commonest where the target names none."""
        names = [c.name for c in sorted(self.target.classes, key=lambda c: c.code)]
        told = [names.index(n) for n in self.target.bad_classes] or [int(np.bincount(self.label).argmax())]
        p = np.clip(self.probability[:, told].sum(axis=1), 0.01, 0.99)
        return np.asarray((np.isin(self.label, told) - p) / np.sqrt(p * (1 - p)), np.float64)

    def layers(self, fit: NDArray[np.intp], test: NDArray[np.intp]) -> dict[str, NDArray[np.float32]]:
        """Layers of the rows ``test``, calibrated on the rows ``fit``."""
        known = np.isfinite(self.probability[test]).all(axis=1)
        raw = self.probability[test][known][:, listed(self.target)]
        found = class_layers(self.target, self.calibration(fit).apply(raw))
        full = {name: np.full(len(test), np.nan, np.float32) for name in found}
        for name, values in found.items():
            full[name][known] = values
        return full


def says(
    table: SampleTable, target: Target, splits: Folds, recipes: Sequence[Recipe] | None = None
) -> Vector:
    """What boosters of the other folds say of each row: means in learning units (row,), or class
    probabilities by rising code (row, class); NaN where a row lacks a feature that was whole in its fold.

    ``recipes``: how each fold's boosters are made; by default as the target says, of all features.
    """
    count = len(target.classes)
    found = np.full((len(table), count) if target.kind == "class" else len(table), np.nan)
    for (fit, test), how in zip(splits, _made(table, target, splits, recipes), strict=True):
        _fill(found, *how, fit, test)
    return found


def losses(table: SampleTable, target: Target, found: Vector) -> Vector:
    """Loss of each row (row,) of ``says``: the squared error in learning units, of classes Brier's score, of
    ordered ones the ranked probability score. A row that was not judged counts as judged by the mean."""
    y = table.y(target.name)
    truth = learnt(y, target)
    if target.kind == "class":
        codes = sorted(c.code for c in target.classes)
        truth = (np.searchsorted(codes, y)[:, None] == np.arange(len(codes))).astype(np.float64)
        if target.ordered:
            order = listed(target)
            truth, found = np.cumsum(truth[:, order], axis=1), np.cumsum(found[:, order], axis=1)
    squared = (np.where(np.isfinite(found), found, truth.mean(axis=0)) - truth) ** 2
    return np.asarray(squared if squared.ndim == 1 else squared.sum(axis=1))


def _made(
    table: SampleTable, target: Target, splits: Folds, recipes: Sequence[Recipe] | None
) -> list[tuple[SampleTable, Target]]:
    """Each fold's table and target."""
    return [r.apply(table, target) for r in recipes] if recipes else [(table, target)] * len(splits)


def quantity(
    table: SampleTable, target: Target, splits: Folds, recipes: Sequence[Recipe] | None = None
) -> LeftOutQuantity:
    """Each row judged by boosters that learnt from other folds (``says``); so is the scale of its residual."""
    y = table.y(target.name)
    target.check_values(y)
    own, common = table.error_variance(target.name, target.transform == "log")
    own, common = checked_variance(own, len(y)), checked_variance(common, len(y))
    location = says(table, target, splits, recipes)
    residual = learnt(y, target) - location
    known = np.isfinite(residual)
    base = log_variance(residual[known], own[known])
    staged = np.zeros((len(SCALE_TREES), len(y)))
    made = _made(table, target, splits, recipes)
    for (fit, test), (rows, tuned) in zip(splits, made, strict=True):
        fit, X, names = fit[known[fit]], rows.X, rows.spec.names
        booster = boost_scale(X[fit], residual[fit], base, own[fit], tuned, names, SCALE_TREES[-1])
        for row, trees in zip(staged[1:], SCALE_TREES[1:], strict=True):
            row[test] = booster.predict(X[test], num_iteration=trees, num_threads=1)
    fits = [likelihood(residual[known], base + scores[known], own[known]) for scores in staged]
    best = int(np.argmin(fits))
    return LeftOutQuantity(target, location, residual, staged[best], base, SCALE_TREES[best], own, common)


def classes(
    table: SampleTable, target: Target, splits: Folds, recipes: Sequence[Recipe] | None = None
) -> LeftOutClasses:
    """Each row judged by a booster that learnt from other folds (``says``)."""
    y = table.y(target.name)
    target.check_values(y)
    codes = sorted(c.code for c in target.classes)
    return LeftOutClasses(target, says(table, target, splits, recipes), np.searchsorted(codes, y))


def _fill(
    out: Vector, table: SampleTable, target: Target, fit: NDArray[np.intp], test: NDArray[np.intp]
) -> None:
    """What a booster of the rows ``fit`` says of the rows ``test``.

    A gap in a feature that was whole in ``fit`` stays NaN in ``out``: LightGBM would take it for 0.
    """
    X, y = table.X, table.y(target.name)
    boosted = boost_target(X[fit], y[fit], target, table.spec.names)
    whole = ~np.isnan(X[fit]).any(axis=0)
    test = test[~np.isnan(X[test][:, whole]).any(axis=1)]
    if len(test):
        out[test] = boosted.says(X[test])
