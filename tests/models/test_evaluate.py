"""Scores against NumPy, and what cross-validation must notice."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import targets
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import binom

from features import FeatureSpec
from models import SampleTable, Target, evaluate, folds, leftout
from models.samples import PLACE_COLUMNS
from models.settings import BoosterSettings, FoldSettings
from models.train import train

SMALL = BoosterSettings(trees=25, min_leaf=5, learning_rate=0.15)


def table(n: int, seed: int = 0, **more: Any) -> SampleTable:
    return targets.noise(n, seed, 10000, **more)


regression = partial(targets.regression, model=SMALL)
classified = partial(targets.classified, model=SMALL)


def exact(codes: Any, truth: Any, probability: float = 1.0) -> dict[str, NDArray[np.float32]]:
    """Layers that say class ``truth`` with ``probability`` and share the rest."""
    truth = np.asarray(truth)
    rest = (1 - probability) / (len(codes) - 1)
    layers = {f"p_c{c}": np.where(truth == c, probability, rest).astype(np.float32) for c in codes}
    return {"class": truth.astype(np.float32), **layers}


# --- scores by hand ---------------------------------------------------------------------------


def test_class_scores_worked_out_by_hand() -> None:
    truth = [10, 10, 10, 20, 20, 30]
    said = [10, 10, 20, 20, 30, 30]
    found = evaluate.score(table(6, land=truth), classified(), exact((30, 10, 20), said, 0.8))
    assert found["n"] == 6
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["confusion"] == {
        "c30": {"c30": 1, "c10": 0, "c20": 0},
        "c10": {"c30": 0, "c10": 2, "c20": 1},
        "c20": {"c30": 1, "c10": 0, "c20": 1},
    }
    # right: (1 - .8)^2 + 2 x .1^2 = .06; wrong: .8^2 + (1 - .1)^2 + .1^2 = 1.46
    assert found["brier"] == pytest.approx((4 * 0.06 + 2 * 1.46) / 6)
    assert found["interval_of"] == "accuracy"


def test_a_perfect_classification_scores_one() -> None:
    truth = np.resize([10, 20, 30], 30)
    found = evaluate.score(table(30, land=truth), classified(), exact((30, 10, 20), truth))
    assert (found["accuracy"], found["brier"], found["interval"]) == (1, 0, [1, 1])


def test_quantity_scores_equal_numpy() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(5, 2, 200)
    estimate = (y + rng.normal(0.3, 1, 200)).astype(np.float32)
    layers = {"estimate": estimate, "lower": estimate - np.float32(1), "upper": estimate + np.float32(1)}
    found = evaluate.score(table(200, ece=y), regression(interval=0.8), layers)
    error = estimate.astype(np.float64) - y
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(error**2)))
    assert found["mae"] == pytest.approx(np.mean(np.abs(error)))
    assert found["bias"] == pytest.approx(np.mean(error)) and found["bias"] > 0
    assert found["r2"] == pytest.approx(1 - np.sum(error**2) / (200 * np.var(y)))
    assert found["coverage"] == np.mean(np.abs(error) <= 1)
    assert found["coverage_interval"][0] < found["coverage"] < found["coverage_interval"][1]
    assert found["rpiq"] == pytest.approx(np.subtract(*np.percentile(y, [75, 25])) / found["rmse"])
    assert found["interval_score"] == pytest.approx(np.mean(2 + 10 * np.maximum(np.abs(error) - 1, 0)))
    assert 0.8 < found["concordance"] < np.corrcoef(y, estimate)[0, 1]
    assert (found["n"], found["unit"], found["coverage_nominal"]) == (200, "dS/m", 0.8)
    assert found["interval_of"] == "rmse"


def test_r2_of_values_that_do_not_vary_is_not_known() -> None:
    layer = np.full(5, 2, np.float32)
    found = evaluate.score(
        table(5, ece=3.0), regression(), {"estimate": layer, "lower": layer, "upper": layer}
    )
    assert found["r2"] is None and found["rmse"] == 1 and found["coverage"] == 0


# --- the interval -----------------------------------------------------------------------------


def accuracy_interval(right: Any, x: Any, y: Any, block_m: float = 1000) -> tuple[float, float]:
    right = np.asarray(right, bool)
    said = np.where(right, 10, 20)
    target = classified(10, 20, folds=FoldSettings(block_m=block_m))
    found = evaluate.score(table(len(right), land=10.0, x=x, y=y), target, exact((10, 20), said))
    low, high = found["interval"]
    assert low <= found["accuracy"] <= high
    assert found["interval_level"] == 0.95
    return low, high


def test_the_interval_of_independent_samples_is_that_of_the_binomial() -> None:
    n, x = 200, 1000.0 * np.arange(200)  # each in its own block
    right = np.arange(n) % 5 != 0
    low, high = accuracy_interval(right, x, 0.0)
    expected = binom.ppf([0.025, 0.975], n, 0.8) / n
    np.testing.assert_allclose([low, high], expected, atol=0.011)


def test_samples_that_repeat_their_neighbours_do_not_narrow_the_interval() -> None:
    x, right = 1000.0 * np.arange(60), np.arange(60) % 4 != 0
    once = accuracy_interval(right, x, 0.0)
    assert accuracy_interval(np.repeat(right, 10), np.repeat(x, 10), 0.0) == once
    alone = accuracy_interval(np.repeat(right, 10), 1000.0 * np.arange(600), 0.0)
    assert alone[1] - alone[0] < (once[1] - once[0]) / 2


def test_the_interval_of_one_block_is_the_score_itself() -> None:
    assert accuracy_interval([True, True, True, False], [1.0, 2, 3, 4], 0.0) == (0.75, 0.75)


def test_the_interval_is_the_same_each_time_and_says_how_it_was_made() -> None:
    y = np.random.default_rng(0).normal(size=50)
    layer = np.zeros(50, np.float32)
    layers = {"estimate": layer, "lower": layer, "upper": layer}
    target, rows = regression(folds=FoldSettings(block_m=2000)), table(50, ece=y)
    one = evaluate.score(rows, target, layers)
    assert evaluate.score(rows, target, layers) == one
    blocks = len(set(folds.blocks(rows, 2000)))
    assert one["interval_method"] == f"bootstrap of {blocks} blocks of 2000 m"
    assert one["interval"][0] < one["rmse"] < one["interval"][1]


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """40 blocks of 5 alike samples, accuracy 0.7: an interval over samples would hold it half the time."""
    rng, held = np.random.default_rng(5), 0
    x = np.repeat(1000.0 * np.arange(40), 5)
    for _ in range(40):
        low, high = accuracy_interval(np.repeat(rng.random(40) < 0.7, 5), x, 0.0)
        held += low <= 0.7 <= high
    assert held >= 34


# --- cross-validation -------------------------------------------------------------------------


def planted_trend(n: int = 300, seed: int = 3) -> SampleTable:
    """Salinity varies from place to place as no feature explains; features only tell places apart."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 12000, n), rng.uniform(0, 12000, n)
    field = np.sin(x / 2000 * 1.3) + np.cos(y / 2000 * 1.7) + 0.5 * np.sin((x + y) / 1500)
    place = {"ndvi_p50": x / 12000, "swir16_mean": y / 12000, "slope": rng.normal(size=n)}
    features = {k: np.asarray(v, np.float32) for k, v in place.items()}
    land = np.where(field > 0, 20, 10)
    return table(n, seed, x=x, y=y, ece=field + rng.normal(0, 0.05, n), land=land, **features)


@pytest.mark.parametrize("kind", ["class", "regression"])
def test_a_planted_spatial_trend_scores_worse_under_spatial_folds_than_under_random_ones(kind: str) -> None:
    where = FoldSettings(block_m=4000, count=5)
    model = SMALL.model_copy(update={"trees": 60})
    target = (
        classified(10, 20, folds=where, model=model)
        if kind == "class"
        else regression(folds=where, model=model)
    )
    found = evaluate.cross_validate(planted_trend(), target)
    spatial, random = found["spatial"], found["random"]
    if kind == "class":
        assert random["accuracy"] > spatial["accuracy"] + 0.1
        assert found["optimism"] == {"accuracy": pytest.approx(random["accuracy"] - spatial["accuracy"])}
    else:
        assert random["r2"] > spatial["r2"] + 0.3
        assert found["optimism"] == {"rmse": pytest.approx(spatial["rmse"] - random["rmse"])}
    assert next(iter(found["optimism"].values())) > 0


def test_a_planted_truth_is_known_to_be_known() -> None:
    plain = table(400, 7)
    rows = SampleTable(plain.frame.assign(ece=3.0 * plain.frame.ndvi_p50.astype(float) + 1), targets.SPEC)
    found = evaluate.cross_validate(rows, regression(model=SMALL.model_copy(update={"trees": 60})))
    assert found["spatial"]["r2"] > 0.9 and found["random"]["r2"] > 0.9
    assert abs(found["optimism"]["rmse"]) < 0.2 * np.std(rows.y("ece"))


def test_noise_is_known_to_be_noise_even_where_sites_repeat() -> None:
    """Each site stands four times with equal features and value: a fold that split it would look perfect."""
    rng = np.random.default_rng(2)
    once = table(80, 8, ece=rng.normal(size=80))
    rows = once.take(np.tile(np.arange(80), 4))
    found = evaluate.cross_validate(rows, regression(model=BoosterSettings(trees=40, min_leaf=2, leaves=31)))
    assert found["random"]["r2"] < 0.2 and found["spatial"]["r2"] < 0.2


def test_every_measured_row_is_scored_once_and_no_other() -> None:
    values = np.random.default_rng(0).normal(size=90)
    values[::3] = np.nan
    found = evaluate.cross_validate(table(90, ece=values), regression())
    assert found["spatial"]["n"] == found["random"]["n"] == 60


def test_scores_are_the_same_each_time_and_fit_into_json() -> None:
    rows, target = table(90, land=np.resize([10, 20, 30], 90)), classified(bad_classes=["c10"])
    one = evaluate.cross_validate(rows, target)
    assert json.loads(json.dumps(one, allow_nan=False)) == one
    assert evaluate.cross_validate(rows, target) == one
    assert one["folds"] == target.folds.model_dump()


def test_pooled_scores_equal_folds_done_by_hand() -> None:
    rows, target = planted_trend(150), regression(folds=FoldSettings(block_m=3000, count=4))
    pooled = np.full(150, np.nan)
    splits, y = folds.spatial(rows, 4, 3000, target.folds.seed), rows.y("ece")
    location = np.full(150, np.nan)
    for fit, test in splits:
        booster = lightgbm.Booster(model_str=train(rows.take(fit), target).boosters["estimate"])
        location[test] = booster.predict(rows.X[test])
    left = leftout.quantity(rows, target, splits)
    np.testing.assert_array_equal(left.location, location)
    for fit, test in splits:  # the median of a row is calibrated on the rows of other folds
        spread = np.sqrt(np.exp(left.base + left.scale))
        e = (y - location)[fit] / spread[fit]
        e = (e - e.mean()) * np.sqrt((e**2).mean()) / e.std()
        pooled[test] = location[test] + spread[test] * np.median(e)
    found = evaluate.cross_validate(rows, target)["spatial"]
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((pooled - y) ** 2)), rel=1e-5)


def test_places_on_the_map_add_matched_folds_and_say_which_estimate_answers() -> None:
    rng = np.random.default_rng(0)
    rows = planted_trend(200)
    near = rng.uniform(0, 10000, (200, 2)) // 2500 * 2500 + rng.uniform(0, 300, (200, 2))
    lon, lat = near.T / 111_195
    frame = rows.frame.assign(x=near[:, 0], y=near[:, 1], lon=lon, lat=lat)
    places = folds.on_globe(*(rng.uniform(0, 10000, (2, 500)) / 111_195))
    found = evaluate.cross_validate(SampleTable(frame, targets.SPEC), regression(), places)
    assert found["clustering"]["clustered"] and found["guidance"] == evaluate.CLUSTERED
    assert found["clustering"]["between_samples_m"] < 100 < found["clustering"]["to_mapped_places_m"]
    assert found["optimism"] == {"rmse": pytest.approx(found["matched"]["rmse"] - found["random"]["rmse"])}
    assert found["matched"]["n"] == 200 and json.loads(json.dumps(found, allow_nan=False)) == found

    spread = np.array([(x, y) for x in range(14) for y in range(14)]) * 700.0 + 350
    lon, lat = spread.T / 111_195
    frame = rows.take(np.arange(196)).frame.assign(x=spread[:, 0], y=spread[:, 1], lon=lon, lat=lat)
    found = evaluate.cross_validate(SampleTable(frame, targets.SPEC), regression(), places)
    assert not found["clustering"]["clustered"] and found["guidance"] == evaluate.SPREAD


def test_sample_error_widens_what_is_held_against_samples_but_not_what_is_said_of_the_soil() -> None:
    rng = np.random.default_rng(3)
    plain = table(600, 3)
    soil = 2 * plain.frame.ndvi_p50.astype(float) + rng.normal(0, 0.5, 600)
    measured = plain.frame.assign(ece=soil + rng.normal(0, 1, 600))
    told = SampleTable(measured.assign(ece_variance_own=1.0), targets.SPEC)
    scores = evaluate.cross_validate(told, regression())["random"]
    assert scores["coverage"] == pytest.approx(0.9, abs=0.04)
    layers = train(told, regression()).predict_rows(told.X)
    unaware = train(SampleTable(measured, targets.SPEC), regression()).predict_rows(told.X)
    widths = [(a["upper"] - a["lower"]).mean() for a in (layers, unaware)]
    assert widths[0] < 0.75 * widths[1]


def test_a_score_that_claims_distance_from_all_samples_keeps_it() -> None:
    """Neighbouring blocks lie side by side; without a buffer a test sample can touch a training one."""
    rows, where = planted_trend(), FoldSettings(block_m=2000, count=5)
    found = evaluate.cross_validate(rows, regression(folds=where))
    if "further than block_m from any sample" not in found["spatial"]["answers"]:
        return
    place = rows.frame[["x", "y"]].to_numpy()
    for fit, test in folds.spatial(rows, where.count, where.block_m, where.seed):
        nearest = cKDTree(place[fit]).query(place[test])[0]
        assert nearest.min() > where.block_m


def test_a_class_that_lives_in_one_block_can_be_judged_or_is_refused_for_what_it_is() -> None:
    """The samples do have the class; it is a fold that lacks it, and the message must say so."""
    n = 120
    land, x = np.resize([10, 20], n), 1000.0 * np.arange(n) + 5000
    land[:8], x[:8] = 30, 10.0
    rows = table(n, x=x, y=0.0, land=land)
    try:
        found = evaluate.cross_validate(rows, classified(folds=FoldSettings(block_m=500)))
    except ValueError as error:
        reason = str(error)
    else:
        assert found["spatial"]["n"] == n
        return
    assert "fold" in reason or "block" in reason


def test_samples_of_one_place_cannot_be_cross_validated() -> None:
    with pytest.raises(ValueError, match="needs at least 2"):
        evaluate.cross_validate(table(30, x=1.0, y=1.0, ece=np.arange(30.0)), regression())


# --- reference samples ------------------------------------------------------------------------


def test_reference_scores_are_those_of_the_bundles_predictions() -> None:
    rows, target = planted_trend(200), classified(10, 20)
    bundle, reference = train(rows, target), planted_trend(120, 9)
    found = evaluate.on_reference(bundle, reference)
    assert found == evaluate.score(reference, target, bundle.predict_rows(reference.X))
    assert found["accuracy"] == np.mean(bundle.predict_rows(reference.X)["class"] == reference.y("land"))


def test_reference_rows_without_a_value_are_left_out() -> None:
    bundle, reference = train(planted_trend(200), regression()), planted_trend(90, 9)
    half = SampleTable(
        reference.frame.assign(ece=np.where(np.arange(90) % 2, np.nan, reference.y("ece"))), targets.SPEC
    )
    assert evaluate.on_reference(bundle, half) == evaluate.on_reference(
        bundle, reference.take(np.arange(0, 90, 2))
    )


def test_a_reference_with_other_features_is_reordered_or_refused() -> None:
    """Its columns are in another order; read by position, they would judge the model on nonsense."""
    bundle, reference = train(planted_trend(200), regression()), planted_trend(90, 9)
    turned = SampleTable(reference.frame, FeatureSpec.parse(targets.SPEC.names[::-1]))
    try:
        found = evaluate.on_reference(bundle, turned)
    except ValueError:
        return
    assert found == evaluate.on_reference(bundle, reference)


def test_a_reference_with_too_few_features_is_a_value_error() -> None:
    bundle, reference = train(planted_trend(200), regression()), planted_trend(90, 9)
    fewer = SampleTable(reference.frame, FeatureSpec.parse(targets.SPEC.names[:2]))
    with pytest.raises(ValueError):
        evaluate.on_reference(bundle, fewer)


def test_a_probability_sample_is_scored_by_its_design() -> None:
    rng = np.random.default_rng(5)
    y = rng.normal(10, 2, 40)
    rows = pd.DataFrame(
        dict.fromkeys(PLACE_COLUMNS, "")
        | {"ece": y, "ndvi_p50": 0.5, "stratum": ["a"] * 30 + ["b"] * 10}
        | {"inclusion_probability": [0.5] * 30 + [0.01] * 10},
        index=range(40),
    )
    table = SampleTable(rows, FeatureSpec.parse(["ndvi_p50"]))
    target = Target(name="ece", kind="regression", title={"vi": "ECe", "en": "ECe"}, unit="dS/m")
    error = np.repeat([1.0, 3.0], [30, 10])
    layers = {"estimate": y + error, "lower": y - 1, "upper": y + 1}
    found = evaluate.by_design(table, target, {k: v.astype(np.float64) for k, v in layers.items()})[
        "by_design"
    ]
    weight = np.array([60, 1000]) / 1060
    assert found["bias"] == pytest.approx(weight @ [1, 3])
    assert found["rmse"] == pytest.approx(np.sqrt(weight @ [1, 9]))
    assert (found["coverage"], found["strata"], found["judged_share"]) == (1.0, 2, 1.0)
    assert (
        evaluate.by_design(
            SampleTable(rows.drop(columns="inclusion_probability"), table.spec), target, layers
        )
        == {}
    )
