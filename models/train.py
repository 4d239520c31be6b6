"""SampleTable + Target -> ModelBundle."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np

from models import correlation, leftout, search
from models.applicability import Applicability
from models.boosting import Boosted, boost_scale, boost_target
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
    same bytes; where tuning has a time limit the card says that they may differ. Raises ValueError where a
    value is not one that the target allows, where values do not vary, where a class has no sample, and where all samples are of one site.
    """
    whole = table.to_learn_from.measured(target.name)
    target.check_values(whole.y(target.name), every_class=True)
    if unknown := sorted(set(target.model.monotone) - set(whole.spec.names)):
        raise ValueError(
            f"target {target.name!r}: monotone names {unknown}; features are {', '.join(whole.spec.names)}"
        )
    chosen = choose(whole, target.folds, places)
    recipe = search.find(whole, target, chosen.splits)
    table, tuned = recipe.apply(whole, target)
    fit = _classes if target.kind == "class" else _quantity
    boosted, made = fit(table, tuned, chosen)
    applicability = _applicability(table, boosted, chosen)
    card = {
        "samples": len(table),
        "samples_digest": whole.digest,
        "simulated": table.simulated,
        "seasons": sorted(set(table.frame.season.astype(str))),
        "lightgbm": lightgbm.__version__,
        "uncertainty": f"calibrated on {chosen.what}",
        "calibration": made.about,
        "recipe": recipe.dump(),
        "rows": base64.b64encode(np.sort(whole.row_digests(target.name)).tobytes()).decode(),
        "reproducible": target.tuning.trials < 2 or target.tuning.time_limit_s is None,
        "error_correlation": correlation.of_left_out(table, made.errors),
        "features_with_gaps": [n for n in table.spec.names if table.frame[n].isna().any()],
    }
    texts = {name: booster.model_to_string() for name, booster in made.boosters.items()}
    return ModelBundle(target, table.spec, texts, card, made.calibration, applicability)


@dataclass(frozen=True)
class Fitted:
    """All boosters, and what calibrates them."""

    boosters: dict[str, lightgbm.Booster]
    calibration: Calibration | ClassCalibration
    about: dict[str, Any]
    errors: Vector
    """Left-out errors in standard deviations (row,)."""


def _quantity(table: SampleTable, target: Target, chosen: Chosen) -> tuple[Boosted, Fitted]:
    left = leftout.quantity(table, target, chosen.splits)
    X, names, own = table.X, table.spec.names, left.sample_variance
    known = np.isfinite(left.residual)
    boosted = boost_target(X, table.y(target.name), target, names)
    boosters = {
        **boosted.boosters,
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
    return boosted, Fitted(boosters, calibration, about, left.standardised)


def _classes(table: SampleTable, target: Target, chosen: Chosen) -> tuple[Boosted, Fitted]:
    left = leftout.classes(table, target, chosen.splits)
    boosted = boost_target(table.X, table.y(target.name), target, table.spec.names)
    order = [c.name for c in target.classes]
    about = {"cuts": order[1:]}
    return boosted, Fitted(boosted.boosters, left.calibration(), about, left.standardised)


def _applicability(table: SampleTable, boosted: Boosted, chosen: Chosen) -> Applicability | None:
    """Over the features that training had of each row; None where no such feature tells rows apart.

    Importance is the gain of the splits; where no tree split, all count alike.
    """
    X = table.X
    gain = boosted.gain()
    weight = gain if gain.any() else np.ones(len(gain))
    whole = np.isfinite(X).all(axis=0)
    weight = np.where(whole, weight, 0)
    if not ((weight > 0) & (np.ptp(np.where(whole, X, 0), axis=0) > 0)).any():
        return None
    found = Applicability.fit(np.where(whole, X, 0), weight, numbers(chosen.splits))
    return found.thinned(boosted.target.applicability.max_rows)
