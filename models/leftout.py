"""What models say of rows that they did not see: the ground that calibration and scores stand on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.boosting import boost_scale, boost_target, learnt
from models.folds import Folds
from models.samples import SampleTable
from models.targets import Target
from models.uncertainty import Calibration, ClassCalibration, Vector, calibrate, likelihood, log_variance

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
        return calibrate(
            self.residual[rows],
            self.scale[rows],
            self.base,
            self.sample_variance[rows],
            self.common_variance[rows],
            self.target.transform,
        )


@dataclass(frozen=True)
class LeftOutClasses:
    """Left-out class probabilities (row, class), classes by rising code."""

    target: Target
    probability: Vector
    label: NDArray[np.intp]
    """Number of the class found, by rising code (row,)."""

    def calibration(self, rows: NDArray[np.intp] | slice = slice(None)) -> ClassCalibration:
        """From the probabilities of ``rows``; cuts follow the order of the target's classes."""
        order = listed(self.target)
        place = np.argsort(order)
        share = self.target.shares if self.target.shares else None
        return ClassCalibration.fit(self.probability[rows][:, order], place[self.label[rows]], share)


def listed(target: Target) -> NDArray[np.intp]:
    """Number by rising code of each class, in the order in which the target lists them."""
    return np.searchsorted(sorted(c.code for c in target.classes), [c.code for c in target.classes])


def quantity(table: SampleTable, target: Target, splits: Folds) -> LeftOutQuantity:
    """Each row judged by boosters that learnt from other folds; so is the scale of its residual."""
    X, names = table.X, table.spec.names
    y = table.y(target.name)
    own, common = table.error_variance(target.name)
    location = np.empty(len(y))
    for fit, test in splits:
        location[test] = boost_target(X[fit], y[fit], target, names).predict(X[test], num_threads=1)
    residual = learnt(y, target) - location
    base = log_variance(residual, own)
    staged = np.zeros((len(SCALE_TREES), len(y)))
    for fit, test in splits:
        booster = boost_scale(X[fit], residual[fit], base, own[fit], target, names, SCALE_TREES[-1])
        for row, trees in zip(staged[1:], SCALE_TREES[1:], strict=True):
            row[test] = booster.predict(X[test], num_iteration=trees, num_threads=1)
    best = int(np.argmin([likelihood(residual, base + scores, own) for scores in staged]))
    return LeftOutQuantity(
        target, location, residual, staged[best], base, SCALE_TREES[best], own, common
    )


def classes(table: SampleTable, target: Target, splits: Folds) -> LeftOutClasses:
    """Each row judged by a booster that learnt from other folds."""
    X, y = table.X, table.y(target.name)
    codes = sorted(c.code for c in target.classes)
    probability = np.empty((len(y), len(codes)))
    for fit, test in splits:
        booster = boost_target(X[fit], y[fit], target, table.spec.names)
        probability[test] = booster.predict(X[test], num_threads=1)
    return LeftOutClasses(target, probability, np.searchsorted(codes, y))
