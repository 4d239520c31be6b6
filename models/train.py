"""SampleTable + Target -> ModelBundle."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from models.bundle import ModelBundle
from models.samples import SampleTable
from models.targets import Target


def train(table: SampleTable, target: Target, every_class: bool = True) -> ModelBundle:
    """Train on the rows of ``table`` that have a value of ``target``.

    Deterministic: the same rows in the same order give the same bytes.
    Raises ValueError where a value is not one that the target allows, where values do not vary, and,
    unless ``every_class`` is False (a fold may lack one), where a class has no sample.
    """
    table = table.measured(target.name)
    X, y = table.X, table.y(target.name)
    _check(y, target, every_class)
    fit = _fit_classes if target.kind == "class" else _fit_quantity
    seasons = sorted(set(table.frame.season.astype(str)))
    card = {
        "samples": len(table),
        "samples_digest": table.digest,
        "seasons": seasons,
        "lightgbm": lightgbm.__version__,
        "uncertainty": "uncalibrated",
        "features_with_gaps": [n for n in table.spec.names if table.frame[n].isna().any()],
    }
    return ModelBundle(target, table.spec, fit(X, y, target, table.spec.names), card)


def _check(y: NDArray[np.float64], target: Target, every_class: bool) -> None:
    if target.kind == "class":
        strange = sorted(set(y.tolist()) - {float(c.code) for c in target.classes})
        if strange:
            raise ValueError(
                f"target {target.name!r}: {strange[0]:g} is no class code; known: {target.codes}"
            )
        absent = [c.name for c in target.classes if not (y == c.code).any()]
        if absent and every_class:
            raise ValueError(f"target {target.name!r}: no sample of class {', '.join(absent)}")
        return
    if not np.isfinite(y).all():
        raise ValueError(f"target {target.name!r}: a sample's value is not finite")
    if target.transform == "log" and y.min() <= 0:
        raise ValueError(f"target {target.name!r}: {y.min():g} is not above 0, which transform log needs")
    if np.ptp(y) == 0:
        raise ValueError(f"target {target.name!r}: all {len(y)} samples have the value {y[0]:g}")


def _fit_classes(
    X: NDArray[np.float32], y: NDArray[np.float64], target: Target, names: tuple[str, ...]
) -> dict[str, str]:
    codes = [c.code for c in target.classes]
    labels = np.searchsorted(np.sort(codes), y)
    objective: dict[str, Any] = {"objective": "multiclass", "num_class": len(codes)}
    return {"class": _boost(X, labels, target, names, objective)}


def _fit_quantity(
    X: NDArray[np.float32], y: NDArray[np.float64], target: Target, names: tuple[str, ...]
) -> dict[str, str]:
    z = np.log(y) if target.transform == "log" else y
    tail = (1 - target.interval) / 2
    objectives: dict[str, dict[str, Any]] = {
        "estimate": {"objective": "regression"},
        "lower": {"objective": "quantile", "alpha": tail},
        "upper": {"objective": "quantile", "alpha": 1 - tail},
    }
    return {layer: _boost(X, z, target, names, o) for layer, o in objectives.items()}


def _boost(
    X: NDArray[np.float32],
    y: NDArray[Any],
    target: Target,
    names: tuple[str, ...],
    objective: dict[str, Any],
) -> str:
    parameters = target.model.parameters() | objective
    data = lightgbm.Dataset(X, y, feature_name=list(names), params=parameters, free_raw_data=True)
    return lightgbm.train(parameters, data, target.model.trees).model_to_string()
