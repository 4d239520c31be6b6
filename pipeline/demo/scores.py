"""The map against the simulation's truth, pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from models import measures
from models.evaluate import agreement
from models.targets import Target
from pipeline.product import MAPPED, NODATA, REASONS

Layers = dict[str, NDArray[np.float64]]


def mosaic(products: Iterable[Path], transform: Affine, shape: tuple[int, int]) -> Layers:
    """Layers of a target's COGs on one grid, (y, x): values in their unit, NaN where not mapped.

    ``reason`` holds the codes why; all products lie on the grid's own pixels.
    """
    layers: Layers = {}
    for path in products:
        with rasterio.open(path) as file:
            pixels, names, scales = file.read(), file.descriptions, file.scales
            left = round((file.transform.c - transform.c) / transform.a)
            top = round((file.transform.f - transform.f) / transform.e)
        rows = slice(max(0, top), min(shape[0], top + pixels.shape[1]))
        columns = slice(max(0, left), min(shape[1], left + pixels.shape[2]))
        inside = pixels[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        for name, scale, stored in zip(names, scales, inside, strict=True):
            values = np.where(stored == NODATA, np.nan, stored * scale)
            layers.setdefault(name, np.full(shape, np.nan))[rows, columns] = values
    return layers


def read_truth(path: Path) -> tuple[NDArray[np.float64], Affine]:
    """A raster of the noise-free truth, (y, x), NaN off farmland."""
    with rasterio.open(path) as file:
        return file.read(1).astype(np.float64), file.transform


def judge(target: Target, layers: Layers, truth: NDArray[np.float64]) -> dict[str, Any]:
    """Scores of a target's map over every farmland pixel that was mapped.

    Regression: R2, RMSE and Lin's concordance on the log of the quantity where the target learns the
    log, else on the quantity itself, and how often the interval holds the truth. Classes: accuracy,
    kappa, the confusion and the area by class, mapped and true.
    """
    farmland = ~np.isnan(truth)
    main = layers[target.layers[0]]
    both = farmland & ~np.isnan(main)
    about = {
        "pixels": int(both.sum()),
        "mapped_percent": float(100 * both.sum() / farmland.sum()),
        "not_mapped": _reasons(layers["reason"], farmland & ~both),
    }
    if not both.any():
        raise ValueError(f"no farmland pixel of target {target.name!r} was mapped")
    events = _events(target, layers, truth)
    about["reliability"] = {
        name: _curve(happened[both], np.clip(layers[name][both], 0, 1)) for name, happened in events.items()
    }
    if target.kind == "class":
        return about | _classes(target, main[both].astype(int), truth[both].astype(int))
    inside = (layers["lower"][both] <= truth[both]) & (truth[both] <= layers["upper"][both])
    return about | {
        "scale": "log" if target.transform == "log" else "linear",
        **agreement(_scaled(target, main[both]), _scaled(target, truth[both])),
        "unit": target.unit,
        "rmse_in_unit": float(np.sqrt(np.mean((main[both] - truth[both]) ** 2))),
        "coverage": float(inside.mean()),
        "coverage_nominal": target.interval,
        **_by_applicability(target, {k: v[both] for k, v in layers.items()}, truth[both]),
    }


def _events(target: Target, layers: Layers, truth: NDArray[np.float64]) -> dict[str, NDArray[np.bool_]]:
    """Layer of a probability -> where what it speaks of is true, (y, x)."""
    if target.kind == "regression":
        found = {name: truth > threshold for name, threshold in target.exceedances.items()}
    else:
        found = {"risk": np.isin(truth, [target.codes[name] for name in target.bad_classes])}
    return {name: happened for name, happened in found.items() if name in layers}


def _curve(happened: NDArray[np.bool_], said: NDArray[np.float64]) -> list[dict[str, float]]:
    found = measures.reliability(happened, said)
    return [
        {"predicted": float(p), "observed": float(o), "pixels": int(n)}
        for p, o, n in zip(found.predicted, found.observed, found.count, strict=True)
    ]


def _by_applicability(target: Target, layers: Layers, truth: NDArray[np.float64]) -> dict[str, Any]:
    """Share of the pixels, coverage and RMSE (on the scale of the other scores) inside and outside; nothing of
    a map without that layer."""
    if "applicability" not in layers:
        return {}
    found: dict[str, Any] = {}
    for name, wanted in (("inside", 1), ("outside", 0)):
        here = layers["applicability"] == wanted
        held = (layers["lower"] <= truth) & (truth <= layers["upper"])
        error = _scaled(target, layers["estimate"]) - _scaled(target, truth)
        found[name] = {
            "percent": float(100 * here.mean()),
            "coverage": float(held[here].mean()) if here.any() else None,
            "rmse": float(np.sqrt((error[here] ** 2).mean())) if here.any() else None,
        }
    return {"applicability": found}


def _scaled(target: Target, values: NDArray[np.float64]) -> NDArray[np.float64]:
    # Stored steps of 0.01 may round a small value to 0.
    return np.log(np.maximum(values, target.scale / 2)) if target.transform == "log" else values


def _classes(target: Target, found: NDArray[np.int_], truth: NDArray[np.int_]) -> dict[str, Any]:
    names = {c.code: c.name for c in target.classes}
    counts = {a: {b: int(((truth == a) & (found == b)).sum()) for b in names} for a in names}
    n = len(truth)
    right = sum(counts[a][a] for a in names) / n
    hectares = 0.01
    return {
        "accuracy": right,
        "kappa": measures.weighted_kappa(truth, found, list(names), None),
        "confusion": {names[a]: {names[b]: counts[a][b] for b in names} for a in names},
        "area_ha": {
            names[a]: {
                "map": round(float((found == a).sum() * hectares), 2),
                "truth": round(float((truth == a).sum() * hectares), 2),
            }
            for a in names
        },
    }


def _reasons(reason: NDArray[np.float64], where: NDArray[np.bool_]) -> dict[str, int]:
    """Why pixels are not mapped: reason -> number of pixels."""
    codes, counts = np.unique(reason[where & ~np.isnan(reason)].astype(int), return_counts=True)
    return {REASONS[c]: int(n) for c, n in zip(codes.tolist(), counts.tolist(), strict=True) if c != MAPPED}
