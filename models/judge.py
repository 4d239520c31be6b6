"""What a model is worth on rows that it never saw: spatial folds, baselines beside it, seasons left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models import baselines, evaluate, leftout, paired, search
from models.bundle import ModelBundle
from models.folds import Folds
from models.leftout import LeftOutClasses
from models.recipe import Recipe
from models.samples import SampleTable
from models.targets import Target
from models.uncertainty import Vector

#: A model must be better than a simple one by this share of its error; less is no gain to speak of.
MARGIN = 0.01
#: A linear model that is better by this share is the better model, however few the folds are.
CLEARLY = 0.05


@dataclass(frozen=True)
class Judged:
    """Scores, and the rows that they were read from."""

    scores: dict[str, Any]
    """``spatial``, ``baselines``, ``applicability`` and, of several seasons, ``season``."""
    rows: pd.DataFrame
    """A row a sample: place, season, fold, ``observed``, the layers that were said of it by the other folds,
    ``pit`` of a quantity, and ``inside`` the area of applicability of the other folds (1, 0, NaN)."""


def judge(bundle: ModelBundle, table: SampleTable) -> Judged:
    """Judge the way in which ``bundle`` was made, on spatial folds of the samples ``table``.

    Where features were selected or settings tuned, each fold searches anew among its own training rows, so
    that no row has a say in the model that judges it. Raises ValueError where all samples are of one site.
    """
    target = bundle.target
    table = table.measured(target.name)
    splits = search.blocked(table, target)
    recipes = search.nested(table, target, splits)
    rows = evaluate.left_out(table, target, splits, recipes)
    rows["inside"] = _inside(bundle, table, splits)
    layers = {name: rows[name].to_numpy() for name in target.layers if name in rows}
    scores = {
        "spatial": evaluate.score(table, target, layers),
        "baselines": beside(table, target, splits, recipes),
        "applicability": _by_applicability(table, target, layers, rows["inside"].to_numpy()),
    }
    season = evaluate.left_out_seasons(table, target)
    return Judged(scores | ({"season": season} if season else {}), rows)


def losses(
    table: SampleTable, target: Target, splits: Folds, says: Vector, calibrated: bool = True
) -> Vector:
    """Loss of each row (row,), as ``models.leftout.losses``, of classes after calibration on other folds."""
    if target.kind == "class" and calibrated:
        codes = sorted(c.code for c in target.classes)
        plain = target.model_copy(update={"shares": ()})  # samples are judged at the rates they were drawn at
        left = LeftOutClasses(plain, says, np.searchsorted(codes, table.y(target.name)))
        names = [c.name for c in sorted(target.classes, key=lambda c: c.code)]
        says = np.full_like(says, np.nan)
        for fit, test in splits:
            found = left.layers(fit, test)
            says[test] = np.stack([found[f"p_{name}"] for name in names], axis=1)
    return leftout.losses(table, target, says)


def beside(
    table: SampleTable, target: Target, splits: Folds, recipes: list[Recipe] | None
) -> dict[str, dict[str, Any]]:
    """Error of each baseline that the gate names on the same folds, the model's beside it, and whether it beats it."""
    own = losses(table, target, splits, leftout.says(table, target, splits, recipes))
    found: dict[str, dict[str, Any]] = {}
    for name in target.gate.beats:
        says = baselines.says(table, target, splits, name)
        other = losses(table, target, splits, says, calibrated=name != "mean")
        test = paired.on_folds(own, other, splits)
        better = test.p_worse < target.gate.significance
        ours, theirs = error(own, target), error(other, target)
        passed = {
            "mean": ours < (1 - MARGIN) * theirs,
            "linear": not better and ours < (1 + CLEARLY) * theirs,
            "forest": not better,
        }
        found[name] = {
            "what": baselines.WHAT[name][target.kind],
            "error_of": error_name(target),
            "error": theirs,
            "model_error": ours,
            "p_value": test.p_worse,
            "beaten": bool(passed[name]),
        }
    return found


def error_name(target: Target) -> str:
    """What ``error`` is."""
    if target.kind == "class":
        return "ranked probability score" if target.ordered else "Brier score"
    return "RMSE of the logarithm" if target.transform == "log" else f"RMSE in {target.unit}"


def error(loss: Vector, target: Target) -> float:
    """One number of losses (row,): their mean, its root for a quantity."""
    return float(np.sqrt(loss.mean()) if target.kind == "regression" else loss.mean())


def _inside(bundle: ModelBundle, table: SampleTable, splits: Folds) -> Vector:
    """1 where a row lies inside the area of applicability of the rows of other folds, else 0 (row,)."""
    around = bundle.applicability
    if around is None:
        return np.full(len(table), np.nan)
    X = table.select(bundle.spec.names).X
    own = X[:, list(around.used)].astype(np.float64)
    whole = np.flatnonzero(np.isfinite(own).all(axis=1))
    X = np.where(np.isin(np.arange(X.shape[1]), around.used), X, np.float32(0))  # other gaps are none
    found = np.full(len(table), np.nan)
    for fit, test in splits:
        others = replace(around, rows=own[np.intersect1d(fit, whole)])
        found[test] = others.inside(X[test]) if len(others.rows) else 0
    return found


def _by_applicability(
    table: SampleTable, target: Target, layers: dict[str, NDArray[np.float32]], inside: Vector
) -> dict[str, Any]:
    """Scores of the rows inside and outside the area of applicability; None where there is none."""
    keys = ("n", "coverage", "coverage_interval", "rmse", "accuracy", "brier", "interval")
    parts = {
        name: evaluate.part(table, target, layers, np.flatnonzero(inside == wanted))
        for name, wanted in (("inside", 1), ("outside", 0))
    }
    return {name: part and {k: part[k] for k in keys if k in part} for name, part in parts.items()}
