"""How good a model is: spatial and random folds side by side, and samples it never saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models import design, folds, knndm, leftout, measures, search
from models.bundle import ModelBundle
from models.recipe import Recipe
from models.samples import SampleTable
from models.targets import Target
from models.uncertainty import Vector

Layers = dict[str, NDArray[np.float32]]
RESAMPLES = 2000
LEVEL = 0.95


def cross_validate(table: SampleTable, target: Target, places: Vector | None = None) -> dict[str, Any]:
    """Scores of spatial folds beside random ones, their difference, and which question each answers.

    ``places`` (place, 3) on the map, as ``models.folds.on_globe`` gives them, add folds that are matched to
    the mapped area (kNNDM), and tell whether the samples are clustered in it. The optimism is how much
    better random folds look than the best founded of the others.
    """
    table = table.measured(target.name)
    f = target.folds
    spatial = _score_folds(table, target, folds.spatial(table, f.count, f.block_m, f.seed))
    random = _score_folds(table, target, folds.random(table, f.count, f.seed))
    found = {
        "spatial": spatial | {"answers": "error in blocks of block_m that hold no training sample"},
        "random": random | {"answers": "error beside sampled ground; hopeful elsewhere"},
    }
    best = spatial
    if places is not None:
        best = _score_folds(table, target, knndm.choose(table, f, places).splits)
        found["matched"] = best | {"answers": "error over the mapped area, if ground is alike"}
        where = folds.on_globe(table.frame.lon, table.frame.lat)
        found |= clustering_report(knndm.clustering(where, places, folds.sites(table)))
    if (seasons := left_out_seasons(table, target)) is not None:
        found["season"] = seasons
    main = "accuracy" if target.kind == "class" else "rmse"
    sign = 1 if target.kind == "class" else -1
    return found | {
        "optimism": {main: sign * (random[main] - best[main])},
        "folds": f.model_dump(mode="json"),
    }


def clustering_report(found: knndm.Clustering) -> dict[str, Any]:
    """How clustered the samples are, and which estimate then answers for the map."""
    return {
        "clustering": {
            "clustered": found.clustered,
            "p_value": found.p_value,
            "between_samples_m": float(np.median(found.between_samples)),
            "to_mapped_places_m": float(np.median(found.to_places)),
            "wasserstein_m": found.W,
        },
        "guidance": CLUSTERED if found.clustered else SPREAD,
    }


CLUSTERED = (
    "The samples are clustered in the mapped area: random folds flatter the map (de Bruin et al. 2022, "
    "doi:10.1016/j.ecoinf.2022.101665). Read `matched` as the error of the map, `spatial` as the error on "
    "new ground a block away, and neither as a substitute for a probability sample: where one exists, "
    "give it as evaluate_on (Wadoux et al. 2021, doi:10.1016/j.ecolmodel.2021.109692)."
)
SPREAD = (
    "The samples are spread like the mapped places: `matched` folds are random ones and answer for the map; "
    "`spatial` folds then overstate its error (Wadoux et al. 2021, doi:10.1016/j.ecolmodel.2021.109692). "
    "A probability sample given as evaluate_on needs no such assumption."
)


def _score_folds(table: SampleTable, target: Target, splits: folds.Folds) -> dict[str, Any]:
    """Scores over the pooled predictions for left-out rows, calibrated on the rows of the other folds.

    Intervals of a quantity are about the laboratory's value, sample error included, as that is what they
    are held against. Where features are selected or settings tuned, each fold does so for itself.
    """
    rows = left_out(table, target, splits, search.nested(table, target, splits))
    return score(table, target, {n: rows[n].to_numpy() for n in target.layers if n in rows})


def left_out(
    table: SampleTable, target: Target, splits: folds.Folds, recipes: Sequence[Recipe] | None = None
) -> pd.DataFrame:
    """What the other folds' models, calibrated on them, say of each row: its place, season and ``fold``, the
    value ``observed``, the target's layers (float32) and, of a quantity, ``pit``: the probability that was
    given to values up to the observed one. NaN where a row cannot be judged."""
    found = table.frame[["sample_id", "season", "lon", "lat"]].reset_index(drop=True)
    found["fold"] = folds.numbers(splits)
    found["observed"] = table.y(target.name)
    left: leftout.LeftOutClasses | leftout.LeftOutQuantity
    if target.kind == "class":
        left = leftout.classes(table, target, splits, recipes)
    else:
        left = leftout.quantity(table, target, splits, recipes)
    for name in target.layers:
        if name != "applicability":
            found[name] = np.full(len(table), np.nan, np.float32)
    for fit, test in splits:
        for name, values in left.layers(fit, test).items():
            found.loc[test, name] = values
        if isinstance(left, leftout.LeftOutQuantity):
            found.loc[test, "pit"] = left.pit(fit, test)
    return found


def left_out_seasons(table: SampleTable, target: Target) -> dict[str, Any] | None:
    """Scores where each season in turn is new, and so is its ground; None of a single season.

    A site never lies on both sides; where that leaves nothing to train on, sites are dealt into the folds'
    number of parts, and a season is left out part by part (Meyer et al. 2018).
    """
    season: NDArray[Any] = np.array(table.frame.season.astype(str))
    names = sorted(set(season))
    if len(names) < 2:
        return None
    site = folds.sites(table)
    try:
        splits = list(folds.LeaveOut(season).split(season, groups=site))
    except ValueError:
        parts = min(target.folds.count, len(np.unique(site)))
        if parts < 2:
            return None
        splits = list(folds.LeaveOut(season, parts, target.folds.seed).split(season, groups=site))
    rows = left_out(table, target, splits, search.nested(table, target, splits))
    layers = {name: rows[name].to_numpy() for name in target.layers if name in rows}
    by_season = {name: part(table, target, layers, np.flatnonzero(season == name)) for name in names}
    return score(table, target, layers) | {
        "answers": "error in a season that gave no training sample",
        "seasons": by_season,
    }


def part(
    table: SampleTable, target: Target, layers: dict[str, NDArray[np.float32]], rows: NDArray[np.intp]
) -> dict[str, Any] | None:
    """Scores of some rows; None where none of them could be judged."""
    if not len(rows) or np.isnan(layers[target.layers[0]][rows]).all():
        return None
    return score(table.take(rows), target, {name: v[rows] for name, v in layers.items()})


def on_reference(bundle: ModelBundle, table: SampleTable) -> dict[str, Any]:
    """Scores of ``bundle`` on samples that took no part in its training.

    Raises ValueError where their features are not the bundle's.
    """
    if not {f.name for f in bundle.spec.features} <= set(table.spec.names):
        raise ValueError("the samples were read with other features than the model's")
    table = table.select(bundle.spec.names).measured(bundle.target.name)
    if table.spec.digest != bundle.spec.digest:
        raise ValueError("the samples were read with other features than the model's")
    layers = bundle.predict_rows(table.X)
    return score(table, bundle.target, layers) | by_design(table, bundle.target, layers)


def by_design(table: SampleTable, target: Target, layers: Layers) -> dict[str, Any]:
    """Scores over the ground that a probability sample stands for; empty where ``table`` is none.

    From the columns ``inclusion_probability`` and, where it has one, ``stratum``. Rows that the model cannot
    judge are left out, and their share of the ground is told.
    """
    if "inclusion_probability" not in table.frame or table.frame.inclusion_probability.isna().any():
        return {}
    p = table.frame.inclusion_probability.to_numpy(np.float64)
    strata = table.frame.stratum.fillna("").to_numpy(str) if "stratum" in table.frame else np.full(len(p), "")
    judged = ~np.isnan(layers[target.layers[0]])
    first, y = layers[target.layers[0]].astype(np.float64), table.y(target.name)

    def over(values: NDArray[np.float64]) -> design.Mean:
        return design.mean(values[judged], p[judged], strata[judged])

    if target.kind == "class":
        right = over((first == y).astype(np.float64))
        scores = {"accuracy": right.value, "accuracy_se": right.se}
    else:
        square, bias = over((first - y) ** 2), over(first - y)
        inside = over(((layers["lower"] <= y) & (y <= layers["upper"])).astype(np.float64))
        rmse = float(np.sqrt(square.value))
        scores = {"rmse": rmse, "rmse_se": square.se / (2 * rmse) if rmse else 0.0, "bias": bias.value, "bias_se": bias.se,
                  "coverage": inside.value, "coverage_se": inside.se}  # fmt: skip
    known = design.mean(judged.astype(np.float64), p, strata)
    finite = {name: value if np.isfinite(value) else None for name, value in scores.items()}
    return {"by_design": finite | {"judged_share": known.value, "strata": len(np.unique(strata))}}


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
    classes = sorted(target.classes, key=lambda c: c.code)
    own = np.stack([layers[f"p_{c.name}"] for c in classes], axis=1).astype(np.float64)
    truth = np.searchsorted([c.code for c in classes], y)
    return {
        "n": len(y),
        "accuracy": float(right.mean()),
        "kappa": _known(
            measures.weighted_kappa(y, layers["class"], list(names), "quadratic" if target.ordered else None)
        ),
        "brier": measures.brier(truth, np.clip(own, 0, 1)),
        "confusion": confusion,
    }, lambda rows: float(right[rows].mean())


def _quantity_scores(
    y: NDArray[np.float64], layers: Layers, target: Target
) -> tuple[dict[str, Any], Headline]:
    estimate, lower, upper = (layers[n].astype(np.float64) for n in ("estimate", "lower", "upper"))
    covered = measures.picp(y, lower, upper, LEVEL)
    scores = {
        "rmse": measures.rmse(y, estimate),
        "mae": measures.mae(y, estimate),
        "bias": measures.bias(y, estimate),
        "r2": measures.r2(y, estimate),
        "concordance": measures.concordance(y, estimate),
        "rpiq": measures.rpiq(y, estimate),
        "interval_score": measures.interval_score(y, lower, upper, target.interval),
        "coverage": covered.value,
    }
    return {
        "n": len(y),
        "unit": target.unit,
        **{name: _known(value) for name, value in scores.items()},
        "coverage_interval": [covered.lower, covered.upper],
        "coverage_nominal": target.interval,
        **_on_log_scale(estimate, y, target),
    }, lambda rows: measures.rmse(y[rows], estimate[rows])


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _on_log_scale(
    estimate: NDArray[np.float64], y: NDArray[np.float64], target: Target
) -> dict[str, dict[str, float]]:
    """Agreement of the logs, where the model learns the log: a few large values rule the plain scores."""
    if target.transform != "log" or len(y) < 2:
        return {}
    return {"log": agreement(np.log(np.maximum(estimate, np.finfo(np.float32).tiny)), np.log(y))}


def agreement(found: NDArray[np.float64], truth: NDArray[np.float64]) -> dict[str, float]:
    """R2, RMSE, bias and Lin's concordance of two equally long arrays without NaN."""
    return {
        "r2": measures.r2(truth, found),
        "rmse": measures.rmse(truth, found),
        "bias": measures.bias(truth, found),
        "concordance": measures.concordance(truth, found),
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
