"""What a model must beat, and how better is told from luck."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.dummy import DummyClassifier

from features import FeatureSpec
from models import SampleTable, Target, baselines, folds, gate, leftout, paired, search
from models.evaluate import left_out_seasons
from models.judge import judge
from models.train import train

NAMES = ["ndvi_p50", "swir16_mean", "slope"]
TITLE = {"vi": "Độ mặn", "en": "Salinity"}
MODEL = {"trees": 60, "min_leaf": 5, "learning_rate": 0.1, "feature_fraction": 1.0}


def rows(n: int = 240, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).astype(np.float32) for name in NAMES})
    return frame.assign(
        x=rng.uniform(0, 9000, n), y=rng.uniform(0, 9000, n), lon=105.0, lat=10.0, epsg=32648,
        group="", season="2025-dry", date="2025-02-01", sample_id=[f"s{k}" for k in range(n)],
    )  # fmt: skip


def table(frame: pd.DataFrame, **columns: Any) -> SampleTable:
    return SampleTable(frame.assign(**columns), FeatureSpec.parse(NAMES))


def regression(**more: Any) -> Target:
    kind = {"name": "ece", "kind": "regression", "title": TITLE, "unit": "dS/m", "model": MODEL}
    return Target.model_validate(kind | more)


def classified(**more: Any) -> Target:
    classes = [{"code": c, "name": f"c{c}", "title": TITLE, "colour": "#000000"} for c in (1, 2, 3)]
    kind = {"name": "land", "kind": "class", "title": TITLE, "classes": classes, "model": MODEL}
    return Target.model_validate(kind | more)


def noise(n: int = 240) -> Any:
    return np.random.default_rng(9).normal(0, 1, n)


def crossed(frame: pd.DataFrame) -> Any:
    """What trees see and no straight line does."""
    return np.where((frame.ndvi_p50 > 0) == (frame.slope > 0), 3.0, -3.0) + 0.3 * noise(len(frame))


def reasons(samples: SampleTable, target: Target) -> list[str]:
    return gate.missed(target.gate, judge(train(samples, target), samples).scores)


# --- baselines --------------------------------------------------------------------------------


def test_a_model_that_beats_the_simple_ones_passes() -> None:
    assert reasons(table(rows(), ece=crossed(rows())), regression()) == []
    degrees = np.digitize(crossed(rows()) + rows().slope, [-3, 3]) + 1.0
    assert reasons(table(rows(), land=degrees), classified(ordered=True)) == []


def test_a_model_of_noise_is_refused() -> None:
    (mean, *_) = reasons(table(rows(), ece=noise()), regression())
    assert "the mean of the samples is as good on the same spatial folds: RMSE in dS/m" in mean
    labels = np.random.default_rng(3).integers(1, 4, 240).astype(float)
    assert any("the shares of the classes" in r for r in reasons(table(rows(), land=labels), classified()))


def test_a_straight_line_is_better_told_by_a_straight_line() -> None:
    frame = rows()
    line = (2 * frame.ndvi_p50 - frame.slope + 0.1 * noise()).astype(float)
    assert any("a ridge regression is better" in r for r in reasons(table(frame, ece=line), regression()))
    # The gate may ask for less.
    assert reasons(table(frame, ece=line), regression(gate={"beats": ["mean"]})) == []


def test_a_forest_that_is_better_by_the_test_refuses_a_stump() -> None:
    stump = regression(model={"trees": 1, "leaves": 2}, gate={"beats": ["forest"]})
    (found,) = reasons(table(rows(400), ece=crossed(rows(400))), stump)
    assert found.startswith("a random forest is better on the same spatial folds") and "(p = " in found


def test_baselines_equal_scikit_learn_and_numpy() -> None:
    samples, target = table(rows(), ece=crossed(rows())), regression()
    splits = search.blocked(samples, target)
    mean = baselines.says(samples, target, splits, "mean")
    y = samples.y("ece")
    for fit, test in splits:
        assert mean[test] == pytest.approx(y[fit].mean())
    labels = table(rows(), land=np.resize([1.0, 1, 2, 3], 240))
    theme = classified()
    shares = baselines.says(labels, theme, splits, "mean")
    for fit, test in splits:
        prior = DummyClassifier(strategy="prior").fit(labels.X[fit], labels.y("land")[fit])
        assert shares[test] == pytest.approx(prior.predict_proba(labels.X[test]))
    for name in ("linear", "forest"):
        found = baselines.says(labels, theme, splits, name)  # type: ignore[arg-type]
        assert found.sum(axis=1) == pytest.approx(np.ones(240))


def test_baselines_bear_gaps_and_classes_that_a_fold_lacks() -> None:
    frame = rows()
    frame.loc[::3, "slope"] = np.nan
    frame["vv"] = np.nan
    land = np.where(np.arange(240) == 7, 3.0, np.resize([1.0, 2.0], 240))
    samples, target = table(frame, ece=noise(), land=land), classified()
    splits = search.blocked(samples, target)
    for name in ("mean", "linear", "forest"):
        assert np.isfinite(baselines.says(samples, target, splits, name)).all()  # type: ignore[arg-type]
        assert np.isfinite(baselines.says(samples, regression(), splits, name)).all()  # type: ignore[arg-type]


# --- the paired test --------------------------------------------------------------------------


def test_the_corrected_test_is_nadeau_and_bengios_by_hand() -> None:
    d = [0.3, -0.1, 0.2, 0.4, 0.1]
    found = paired.corrected_t(d, 0.25)
    score = np.mean(d) / np.sqrt((1 / 5 + 0.25) * np.var(d, ddof=1))
    assert found.t == pytest.approx(score)
    assert found.p_worse == pytest.approx(stats.t.sf(score, 4))
    assert found.p_better + found.p_worse == pytest.approx(1)
    # Without overlap it is the plain paired t-test.
    plain = stats.ttest_1samp(d, 0, alternative="greater")
    assert paired.corrected_t(d, 0).p_worse == pytest.approx(plain.pvalue)
    assert found.interval[0] < np.mean(d) < found.interval[1]


def test_equal_losses_are_no_evidence_and_one_sided_ones_are() -> None:
    assert paired.corrected_t([0, 0, 0], 0.25).p_better == 0.5
    assert paired.corrected_t([-1, -1, -1], 0.25).p_better == 0
    for wrong in ([1.0], [1.0, np.nan]):
        with pytest.raises(ValueError, match="2 or more, all finite"):
            paired.corrected_t(wrong, 0.25)


def test_the_correction_keeps_its_level_where_the_plain_test_does_not() -> None:
    """Two equal learners on overlapping training sets: fold means share what they were trained on."""
    rng = np.random.default_rng(0)
    wrong = {0.0: 0, 0.25: 0}
    for _ in range(400):
        shared = rng.normal(0, 0.45)  # of training; correlation 0.2, as test / (test + train)
        d = shared + rng.normal(0, 0.9, 5)
        for ratio in wrong:
            wrong[ratio] += paired.corrected_t(d, ratio).p_better < 0.05
    assert wrong[0.25] / 400 < 0.07 < wrong[0.0] / 400


# --- the gate ---------------------------------------------------------------------------------


def test_the_gate_says_which_number_was_found_and_wanted() -> None:
    bounds = {"minimum": {"r2": 0.99, "coverage": 0.5}, "maximum": {"rmse": 0.1, "coverage": 0.999}}
    found = reasons(table(rows(), ece=crossed(rows())), regression(gate=bounds | {"beats": []}))
    assert len(found) == 2
    assert found[0].startswith("r2 of spatial folds is 0.") and found[0].endswith("wanted at least 0.99")
    assert found[1].startswith("rmse of spatial folds is") and found[1].endswith("wanted at most 0.1")


def test_a_score_that_is_not_known_misses_its_bound() -> None:
    bounds = gate.Bounds(minimum={"kappa": 0.1})
    assert bounds.missed({"kappa": None}, "x") == ["kappa of x is not known; wanted at least 0.1"]
    assert gate.Bounds(minimum={"log_r2": 0.1}).missed({"log": {"r2": 0.2}}, "x") == []
    assert gate.Bounds(maximum={"rmse": 1}).missed({"rmse": float("nan")}, "x")
    for nothing in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            gate.Bounds(minimum={"r2": nothing})


def test_a_season_that_was_left_out_is_judged_and_gated() -> None:
    """In the wet season the sign turns: folds within seasons know it, a new season does not."""
    frame = rows(400)
    wet = np.arange(400) % 2 == 0
    truth = np.where(wet, 1, -1) * crossed(frame)
    frame = frame.assign(season=np.where(wet, "2024-wet", "2025-dry"), slope=frame.slope + 0)
    frame["swir16_mean"] = np.where(wet, 5, -5).astype(np.float32)  # tells the season
    bounds = {"beats": ["mean"], "left_out_season": {"minimum": {"r2": 0.0}}}
    samples, target = table(frame, ece=truth), regression(gate=bounds)
    judged = judge(train(samples, target), samples)
    assert judged.scores["spatial"]["r2"] > 0.6
    assert judged.scores["season"]["r2"] < 0
    assert set(judged.scores["season"]["seasons"]) == {"2024-wet", "2025-dry"}
    assert gate.missed(target.gate, judged.scores) == [
        f"r2 of left-out seasons is {judged.scores['season']['r2']:.4g}; wanted at least 0"
    ]
    one = table(frame[wet].reset_index(drop=True), ece=truth[wet])
    assert left_out_seasons(one, target) is None


def test_sites_that_are_visited_in_every_season_are_left_out_with_it() -> None:
    half = rows(120)
    both = pd.concat([half.assign(season="a"), half.assign(season="b")], ignore_index=True)
    samples = table(both, ece=np.tile(crossed(half), 2))
    found = left_out_seasons(samples, regression())
    assert found is not None and found["n"] == 240


# --- what is judged ---------------------------------------------------------------------------


def test_judged_rows_are_what_the_scores_are_of() -> None:
    samples, target = table(rows(), ece=crossed(rows())), regression()
    found = judge(train(samples, target), samples)
    json.dumps(found.scores)
    r = found.rows
    error = (r.estimate.astype(float) - r.observed).to_numpy()
    assert found.scores["spatial"]["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    covered = ((r.lower <= r.observed) & (r.observed <= r.upper)).mean()
    assert found.scores["spatial"]["coverage"] == pytest.approx(covered)
    assert (((r.pit >= 0.05) & (r.pit <= 0.95)).mean()) == pytest.approx(covered)
    inside, outside = (found.scores["applicability"][k] for k in ("inside", "outside"))
    assert inside["n"] == (r.inside == 1).sum() and (outside["n"] if outside else 0) == (r.inside == 0).sum()
    splits = folds.spatial(samples, 5, 1000, 1)
    assert (r.fold == folds.numbers(splits)).all()
    assert found.scores["baselines"]["mean"]["model_error"] == pytest.approx(
        np.sqrt(leftout.losses(samples, target, leftout.says(samples, target, splits)).mean())
    )


def test_ground_unlike_the_rest_lies_outside_and_is_covered_less() -> None:
    frame = rows(300)
    frame.loc[frame.x > 8000, NAMES] += 12
    truth = crossed(frame) + np.where(frame.x > 8000, 40.0, 0.0)
    samples = table(frame, ece=truth)
    target = regression(folds={"count": 5, "block_m": 4000})
    found = judge(train(samples, target), samples).scores["applicability"]
    assert found["outside"]["n"] >= 10
    assert found["outside"]["coverage"] < found["inside"]["coverage"]


def test_a_bundle_of_chosen_features_is_judged_by_what_it_uses() -> None:
    samples = table(rows(), ece=crossed(rows()))
    target = regression(selection={"most": 2}, model=MODEL | {"trees": 15, "learning_rate": 0.3})
    bundle = train(samples, target)
    assert bundle.spec.names == ("ndvi_p50", "slope")
    found = judge(bundle, samples)
    assert found.rows.inside.isin([0, 1]).all() and found.scores["spatial"]["r2"] > 0.8
