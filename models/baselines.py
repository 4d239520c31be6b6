"""What a model must beat: the mean, a linear model and a random forest on the same folds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from models.boosting import learnt
from models.folds import Folds
from models.gate import Baseline
from models.samples import SampleTable
from models.targets import Target
from models.uncertainty import Vector

WHAT = {
    "mean": {"regression": "the mean of the samples", "class": "the shares of the classes"},
    "linear": {"regression": "a ridge regression", "class": "a logistic regression"},
    "forest": {"regression": "a random forest", "class": "a random forest"},
}


def says(table: SampleTable, target: Target, splits: Folds, name: Baseline) -> Vector:
    """What a baseline of the other folds says of each row; shapes and units of ``models.leftout.says``.

    Gaps in features become the median of the training rows; a forest takes them as they are.
    """
    X, y = table.X.astype(np.float64), table.y(target.name)
    if target.kind == "regression":
        truth, found = learnt(y, target), np.full(len(table), np.nan)
        for fit, test in splits:
            found[test] = _quantity(name).fit(X[fit], truth[fit]).predict(X[test])
        return found
    codes = sorted(c.code for c in target.classes)
    label, shares = np.searchsorted(codes, y), np.zeros((len(table), len(codes)))
    for fit, test in splits:
        present = np.unique(label[fit])
        if name == "mean" or len(present) == 1:
            shares[test] = np.bincount(label[fit], minlength=len(codes)) / len(fit)
        else:
            shares[np.ix_(test, present)] = _classes(name).fit(X[fit], label[fit]).predict_proba(X[test])
    return shares


class _Mean:
    """The mean of the training rows, whatever the features."""

    def fit(self, X: NDArray[np.float64], y: Vector) -> _Mean:
        self.mean = float(y.mean())
        return self

    def predict(self, X: NDArray[np.float64]) -> Vector:
        return np.full(len(X), self.mean)


def _quantity(name: Baseline) -> Any:
    if name == "mean":
        return _Mean()
    if name == "linear":
        return _scaled(RidgeCV(np.logspace(-3, 4, 15)))
    return RandomForestRegressor(100, min_samples_leaf=3, max_features=1 / 3, random_state=0, n_jobs=1)


def _classes(name: Baseline) -> Any:
    if name == "linear":
        return _scaled(LogisticRegression(max_iter=2000))
    return RandomForestClassifier(100, min_samples_leaf=3, random_state=0, n_jobs=1)


def _scaled(model: Any) -> Any:
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)
