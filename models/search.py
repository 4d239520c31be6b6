"""The search for a recipe on folds: forward feature selection, then tuning. Bounded and seeded."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from models import folds, leftout
from models.boosting import boost_target
from models.folds import Folds
from models.recipe import Recipe
from models.samples import SampleTable
from models.settings import BoosterSettings
from models.targets import Target

#: What tuning may change, and between which bounds, widened to the target's own settings where they lie beyond.
SPACE: dict[str, tuple[float, float]] = {
    "trees": (50, 600),
    "leaves": (3, 31),
    "learning_rate": (0.01, 0.2),
    "min_leaf": (3, 40),
    "feature_fraction": (0.3, 1.0),
    "l2": (0.0, 10.0),
}


def find(table: SampleTable, target: Target, splits: Folds) -> Recipe:
    """The recipe that judges the left-out rows of ``splits`` best, as far as the target asks for a search."""
    recipe = Recipe.given(table, target)
    if target.selection.most:
        recipe = select(table, target, splits)
    if target.tuning.trials > 1:
        recipe = tune(table, target, splits, recipe)
    return recipe


def searches(target: Target) -> bool:
    """True where the target asks for a search."""
    return target.selection.most > 0 or target.tuning.trials > 1


def blocked(table: SampleTable, target: Target, seed: int | None = None) -> Folds:
    """Spatial folds of a target; single sites where all lie in one block."""
    f = target.folds
    if seed is not None:
        f = f.model_copy(update={"seed": seed})
    if len(np.unique(folds.blocks(table, f.block_m))) < 2:
        return folds.random(table, f.count, f.seed)
    return folds.spatial(table, f.count, f.block_m, f.seed)


def nested(table: SampleTable, target: Target, splits: Folds) -> list[Recipe] | None:
    """For each fold the recipe that its training rows lead to; None where nothing is searched for."""
    if not searches(target):
        return None
    found = []
    for fit, _ in splits:
        rows = table.take(fit)
        found.append(find(rows, target, blocked(rows, target)))
    return found


def select(table: SampleTable, target: Target, splits: Folds) -> Recipe:
    """Forward feature selection (Meyer et al. 2018): the best pair, then one feature more while it helps.

    Candidates are the features of greatest gain in a model of all; of equals the earlier in the table.
    """
    limits, names = target.selection, table.spec.names
    gain = boost_target(table.X, table.y(target.name), target, names).gain()
    candidates = [names[k] for k in np.argsort(-gain, kind="stable")[: limits.candidates]]
    fits = 0

    def best(options: Sequence[tuple[str, ...]]) -> tuple[float, tuple[str, ...]]:
        nonlocal fits
        fits += len(options)
        tried = [
            (left_out_error(table, target, splits, Recipe(o, target.model)), k) for k, o in enumerate(options)
        ]
        loss, number = min(tried)
        return loss, options[number]

    loss, chosen = best(list(combinations(candidates, min(2, len(candidates)))))
    path = [(loss, list(chosen))]
    while len(chosen) < min(limits.most, len(candidates)):
        tried, longer = best([(*chosen, name) for name in candidates if name not in chosen])
        if not tried < loss:
            break
        loss, chosen = tried, longer
        path.append((loss, [longer[-1]]))
    ordered = tuple(n for n in names if n in chosen)
    steps = [{"added": added, "error": value} for value, added in path]
    about = {"selection": {"of": list(candidates), "steps": steps, "recipes_tried": fits}}
    return Recipe(ordered, target.model, about)


def tune(table: SampleTable, target: Target, splits: Folds, start: Recipe) -> Recipe:
    """Better booster settings by Optuna's tree-structured Parzen estimator; the start is the first trial."""
    import optuna

    limits = target.tuning
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=limits.seed))
    own = {name: getattr(start.model, name) for name in SPACE}
    study.enqueue_trial(own)

    def trial(trial: optuna.Trial) -> float:
        found = {name: _suggest(trial, name, own[name]) for name in SPACE}
        model = start.model.model_copy(update=found)
        return left_out_error(table, target, splits, Recipe(start.features, model))

    study.optimize(trial, limits.trials, limits.time_limit_s)
    model = BoosterSettings.model_validate(start.model.model_dump() | study.best_params)
    about = {
        "trials": len(study.trials),
        "first_error": study.trials[0].value,
        "best_error": study.best_value,
        "time_limit_s": limits.time_limit_s,
    }
    return Recipe(start.features, model, {**start.about, "tuning": about})


def _suggest(trial: Any, name: str, own: float) -> float:
    low, high = SPACE[name]
    if name == "l2":  # 0 has no logarithm
        return float(trial.suggest_float(name, min(0.0, own), max(high, own)))
    if isinstance(low, int):
        return int(trial.suggest_int(name, min(low, own), max(high, own), log=True))
    return float(trial.suggest_float(name, min(low, own), max(high, own), log=True))


def left_out_error(table: SampleTable, target: Target, splits: Folds, recipe: Recipe) -> float:
    """Mean loss of a recipe over left-out rows; see ``models.leftout.losses``."""
    says = leftout.says(table, target, splits, [recipe] * len(splits))
    return float(leftout.losses(table, target, says).mean())
