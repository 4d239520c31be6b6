"""How good a model is: spatial and random folds side by side, and samples it never saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import folds
from models.bundle import ModelBundle
from models.samples import SampleTable
from models.targets import Target
from models.train import train

Layers = dict[str, NDArray[np.float32]]
RESAMPLES = 2000
LEVEL = 0.95


def cross_validate(table: SampleTable, target: Target) -> dict[str, Any]:
    """Scores of spatial block folds beside random ones, and their difference, the optimism."""
    table = table.measured(target.name)
    f = target.folds
    spatial = _score_folds(table, target, folds.spatial(table, f.count, f.block_m, f.seed))
    random = _score_folds(table, target, folds.random(table, f.count, f.seed))
    main = "accuracy" if target.kind == "class" else "rmse"
    sign = 1 if target.kind == "class" else -1
    return {
        "spatial": spatial | {"answers": "error in blocks of block_m that hold no training sample"},
        "random": random | {"answers": "error beside sampled ground; hopeful elsewhere"},
        "optimism": {main: sign * (random[main] - spatial[main])},
        "folds": f.model_dump(mode="json"),
    }


def _score_folds(table: SampleTable, target: Target, splits: folds.Folds) -> dict[str, Any]:
    """Scores over the pooled predictions for left-out rows."""
    pooled = {name: np.full(len(table), np.nan, np.float32) for name in target.layers}
    for fit, test in splits:
        layers = train(table.take(fit), target, every_class=False).predict_rows(table.X[test])
        for name, values in layers.items():
            pooled[name][test] = values
    return score(table, target, pooled)


def on_reference(bundle: ModelBundle, table: SampleTable) -> dict[str, Any]:
    """Scores of ``bundle`` on samples that took no part in its training.

    Raises ValueError where their features are not the bundle's.
    """
    if table.spec.digest != bundle.spec.digest:
        raise ValueError("the samples were read with other features than the model's")
    table = table.measured(bundle.target.name)
    return score(table, bundle.target, bundle.predict_rows(table.X))


def score(table: SampleTable, target: Target, layers: Layers) -> dict[str, Any]:
    """Scores with 95 % intervals.

    Neighbouring samples tell the same story twice, so the interval resamples whole blocks of
    ``folds.block_m``, not samples (cluster bootstrap, Field & Welsh 2007).
    """
    judged = ~np.isnan(layers[target.layers[0]])
    if not judged.any():
        raise ValueError(f"the model of {target.name!r} can judge none of the {len(table)} samples")
    layers = {name: values[judged] for name, values in layers.items()}
    y = table.y(target.name)[judged]
    groups = folds.blocks(table, target.folds.block_m)[judged]
    measure = _class_scores if target.kind == "class" else _quantity_scores
    scores, headline = measure(y, layers, target)
    low, high = _interval(headline, groups)
    return scores | {
        "not_judged": int((~judged).sum()),
        "interval": [low, high],
        "interval_of": "accuracy" if target.kind == "class" else "rmse",
        "interval_level": LEVEL,
        "interval_method": f"bootstrap of {len(np.unique(groups))} blocks of {target.folds.block_m:g} m",
    }


#: Rows (with repeats) -> the headline score of just those rows.
Headline = Callable[[NDArray[np.intp]], float]


def _class_scores(y: NDArray[np.float64], layers: Layers, target: Target) -> tuple[dict[str, Any], Headline]:
    right = layers["class"] == y
    names = {c.code: c.name for c in target.classes}
    confusion = {
        names[a]: {names[b]: int(((y == a) & (layers["class"] == b)).sum()) for b in names} for a in names
    }
    own = np.stack([layers[f"p_{c.name}"] for c in target.classes])
    truth = np.stack([y == c.code for c in target.classes])
    return {
        "n": len(y),
        "accuracy": float(right.mean()),
        "brier": float(((own - truth) ** 2).sum(axis=0).mean()),
        "confusion": confusion,
    }, lambda rows: float(right[rows].mean())


def _quantity_scores(
    y: NDArray[np.float64], layers: Layers, target: Target
) -> tuple[dict[str, Any], Headline]:
    error = layers["estimate"].astype(np.float64) - y
    spread = float(((y - y.mean()) ** 2).sum())
    covered = (layers["lower"] <= y) & (y <= layers["upper"])
    return {
        "n": len(y),
        "unit": target.unit,
        "rmse": float(np.sqrt((error**2).mean())),
        "mae": float(np.abs(error).mean()),
        "bias": float(error.mean()),
        "r2": 1 - float((error**2).sum()) / spread if spread else None,
        "coverage": float(covered.mean()),
        "coverage_nominal": target.interval,
        **_on_log_scale(layers["estimate"].astype(np.float64), y, target),
    }, lambda rows: float(np.sqrt((error[rows] ** 2).mean()))


def _on_log_scale(
    estimate: NDArray[np.float64], y: NDArray[np.float64], target: Target
) -> dict[str, dict[str, float]]:
    """Agreement of the logs, where the model learns the log: a few large values rule the plain scores."""
    if target.transform != "log" or len(y) < 2:
        return {}
    return {"log": agreement(np.log(np.maximum(estimate, np.finfo(np.float32).tiny)), np.log(y))}


def agreement(found: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """R2 (1 - mean squared error / variance of the truth), RMSE, bias and concordance (Lin 1989,
    doi:10.2307/2532051) of two equally long arrays without NaN; NaN where the truth does not vary."""
    error = found - truth
    spread, gap = float(np.var(truth)), float(np.mean(error))
    shared = float(np.mean((found - found.mean()) * (truth - truth.mean())))
    whole = float(np.var(found)) + spread + gap**2
    return {
        "r2": 1 - float(np.mean(error**2)) / spread if spread else float("nan"),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": gap,
        "concordance": 2 * shared / whole if spread else float("nan"),
    }


def _interval(headline: Headline, groups: NDArray[np.intp]) -> tuple[float, float]:
    """Percentile interval of the headline score over resampled groups."""
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    rng = np.random.default_rng(0)
    values = [
        headline(np.concatenate([members[g] for g in rng.integers(0, len(members), len(members))]))
        for _ in range(RESAMPLES)
    ]
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
