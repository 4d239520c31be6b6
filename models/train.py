"""SampleTable + Target -> ModelBundle."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np

from models import correlation, leftout
from models.applicability import Applicability
from models.boosting import boost_scale, boost_target
from models.bundle import ModelBundle
from models.folds import numbers
from models.knndm import Chosen, choose
from models.samples import SampleTable
from models.targets import Target
from models.uncertainty import Calibration, ClassCalibration, Vector


def train(table: SampleTable, target: Target, places: Vector | None = None) -> ModelBundle:
    """Train on the rows of ``table`` that have a value of ``target``, and calibrate on rows left out.

    ``places`` (place, 3): where the map will be, as ``models.folds.on_globe`` gives it; folds are then
    matched to it, else they are spatial blocks. Deterministic: the same rows in the same order give the
    same bytes. Raises ValueError where a value is not one that the target allows, where values do not
    vary, where a class has no sample, and where all samples are of one site.
    """
    table = table.measured(target.name)
    target.check_values(table.y(target.name), every_class=True)
    chosen = choose(table, target.folds, places)
    fit = _classes if target.kind == "class" else _quantity
    boosters, calibration, about, errors = fit(table, target, chosen)
    applicability = _applicability(table, boosters[target.boosters[0]], chosen)
    card = {
        "samples": len(table),
        "samples_digest": table.digest,
        "simulated": table.simulated,
        "seasons": sorted(set(table.frame.season.astype(str))),
        "lightgbm": lightgbm.__version__,
        "uncertainty": f"calibrated on {chosen.what}",
        "calibration": about,
        "error_correlation": correlation.of_left_out(table, errors),
        "features_with_gaps": [n for n in table.spec.names if table.frame[n].isna().any()],
    }
    texts = {name: booster.model_to_string() for name, booster in boosters.items()}
    return ModelBundle(target, table.spec, texts, card, calibration, applicability)


Fitted = tuple[dict[str, lightgbm.Booster], Calibration | ClassCalibration, dict[str, Any], Vector]


def _quantity(table: SampleTable, target: Target, chosen: Chosen) -> Fitted:
    left = leftout.quantity(table, target, chosen.splits)
    X, names, own = table.X, table.spec.names, left.sample_variance
    known = np.isfinite(left.residual)
    boosters = {
        "estimate": boost_target(X, table.y(target.name), target, names),
        "scale": boost_scale(
            X[known], left.residual[known], left.base, own[known], target, names, left.trees
        ),
    }
    calibration = left.calibration()
    about = {
        "unit": f"log of {target.unit}" if target.transform == "log" else target.unit,
        "left_out_rms": float(np.sqrt((left.residual[known] ** 2).mean())),
        "soil_sd": float(np.sqrt(np.exp(left.base))),
        "sample_error_sd": float(np.sqrt(own.mean())),
        "common_error_sd": float(np.sqrt(calibration.common)),
        "scale_trees": left.trees,
    }
    return boosters, calibration, about, left.standardised


def _classes(table: SampleTable, target: Target, chosen: Chosen) -> Fitted:
    left = leftout.classes(table, target, chosen.splits)
    booster = boost_target(table.X, table.y(target.name), target, table.spec.names)
    order = [c.name for c in target.classes]
    return {"class": booster}, left.calibration(), {"cuts": order[1:]}, left.standardised


def _applicability(table: SampleTable, booster: lightgbm.Booster, chosen: Chosen) -> Applicability | None:
    """Over the features that training had of each row; None where no such feature tells rows apart.

    Importance is the gain of the splits; where no tree split, all count alike.
    """
    X = table.X
    gain = np.asarray(booster.feature_importance("gain"), np.float64)
    weight = gain if gain.any() else np.ones(len(gain))
    whole = np.isfinite(X).all(axis=0)
    weight = np.where(whole, weight, 0)
    if not ((weight > 0) & (np.ptp(np.where(whole, X, 0), axis=0) > 0)).any():
        return None
    return Applicability.fit(np.where(whole, X, 0), weight, numbers(chosen.splits))
