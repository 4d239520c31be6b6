"""Boosters: ordered classes, imbalance and monotone constraints against what they must be."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from features import FeatureSpec
from models import ModelBundle, SampleTable, Target
from models.applicability import Applicability
from models.boosting import boost_target, steps
from models.train import train

SPEC = FeatureSpec.parse(["ndvi_p50", "swir16_mean"])
TITLE = {"vi": "Độ mặn", "en": "Salinity"}
MODEL = {"trees": 25, "min_leaf": 5, "learning_rate": 0.15}


def rows(n: int = 300, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).astype(np.float32) for name in SPEC.names})
    return frame.assign(
        x=rng.uniform(0, 9000, n), y=rng.uniform(0, 9000, n), lon=105.0, lat=10.0, epsg=32648,
        group="", season="2025-dry", date="2025-02-01", sample_id="s",
    )  # fmt: skip


def classified(*codes: int, **more: Any) -> Target:
    classes = [{"code": c, "name": f"c{c}", "title": TITLE, "colour": "#000000"} for c in codes]
    kind = {"name": "land", "kind": "class", "title": TITLE, "classes": classes, "model": MODEL}
    return Target.model_validate(kind | more)


def regression(**more: Any) -> Target:
    kind = {"name": "ece", "kind": "regression", "title": TITLE, "unit": "dS/m", "model": MODEL}
    return Target.model_validate(kind | more)


def degrees(seed: int = 1, n: int = 300) -> SampleTable:
    """Codes 30, 10, 20 from least to most, by ndvi_p50 and some noise."""
    frame = rows(n, seed)
    noisy = frame.ndvi_p50 + np.random.default_rng(seed).normal(0, 0.3, n)
    codes = np.array([30.0, 10.0, 20.0])[np.digitize(noisy, [-0.4, 0.6])]
    return SampleTable(frame.assign(land=codes), SPEC)


def test_ordered_classes_are_frank_and_hall_by_lightgbm_itself() -> None:
    table, target = degrees(), classified(30, 10, 20, ordered=True)
    bundle = train(table, target)
    assert set(bundle.boosters) == {"above_c30", "above_c10"}
    fresh = degrees(2)
    rank = np.array([{30: 0, 10: 1, 20: 2}[int(v)] for v in table.y("land")])
    tails = []
    for k in range(2):
        data = lightgbm.Dataset(table.X, rank > k)
        own = lightgbm.train(target.model.parameters() | {"objective": "binary"}, data, 25)
        tails.append(own.predict(fresh.X))
    first, second = tails
    second = np.minimum(first, second)
    expected = np.stack([1 - first, first - second, second], axis=1)
    raw = [lightgbm.Booster(model_str=bundle.boosters[n]).predict(fresh.X) for n in target.boosters]
    assert np.abs(steps(np.stack(raw, axis=1)) - expected).max() < 1e-12
    calibrated = bundle.calibration.apply(expected)  # type: ignore[union-attr]
    found = bundle.predict_rows(fresh.X)
    for k, code in enumerate((30, 10, 20)):
        assert found[f"p_c{code}"] == pytest.approx(calibrated[:, k], abs=1e-6)
    assert (found["class"] == fresh.y("land")).mean() > 0.7


def test_a_bundle_of_ordered_classes_loads_as_it_was_and_its_contributions_add_up(tmp_path: Any) -> None:
    bundle = train(degrees(), classified(30, 10, 20, ordered=True))
    bundle.save(tmp_path / "b")
    again = ModelBundle.load(tmp_path / "b")
    assert again == bundle
    X = degrees(3).X
    for name, parts in again.contributions(X).items():
        chance = lightgbm.Booster(model_str=bundle.boosters[name]).predict(X)
        assert np.abs(expit(parts.sum(axis=1)) - chance).max() < 1e-9


def test_a_fold_without_a_class_still_gives_probabilities() -> None:
    table = degrees()
    kept = np.flatnonzero(table.y("land") != 10)
    target = classified(30, 10, 20, ordered=True)
    found = boost_target(table.X[kept], table.y("land")[kept], target, SPEC.names).says(table.X)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(table)))
    assert found[:, 0].max() < 1e-6  # code 10 was never seen
    one = np.flatnonzero(table.y("land") == 20)
    alone = boost_target(table.X[one], table.y("land")[one], target, SPEC.names).says(table.X)
    assert alone[:, 1].min() > 1 - 1e-6


def test_steps_sum_to_one_and_never_fall_below_nothing() -> None:
    found = steps(np.array([[0.9, 0.95, 0.2], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    assert found.tolist() == [
        [pytest.approx(0.1), 0, pytest.approx(0.7), pytest.approx(0.2)], [1, 0, 0, 0], [0, 0, 0, 1],
    ]  # fmt: skip


def test_balance_finds_the_rare_class_and_calibration_gives_its_rate_back() -> None:
    def rare(seed: int) -> SampleTable:
        frame, rng = rows(1500, seed), np.random.default_rng(seed + 50)
        chance = expit(2 * frame.ndvi_p50 - 4)
        return SampleTable(frame.assign(land=np.where(rng.random(1500) < chance, 2.0, 1.0)), SPEC)

    plain, even = classified(1, 2), classified(1, 2, model=MODEL | {"balance": 1})
    table, fresh = rare(1), rare(2)
    says = [boost_target(table.X, table.y("land"), t, SPEC.names).says(fresh.X)[:, 1] for t in (plain, even)]
    rate = (fresh.y("land") == 2).mean()
    assert says[1].mean() > 2 * rate > 2 * 0.8 * says[0].mean()
    calibrated = train(table, even).predict_rows(fresh.X)["p_c2"].mean()
    assert calibrated == pytest.approx(rate, rel=0.3)


def test_balance_is_lightgbms_class_weight() -> None:
    """scikit-learn's 'balanced' weights, at power 1."""
    table, target = degrees(), classified(30, 10, 20, model=MODEL | {"balance": 1})
    label = np.searchsorted([10, 20, 30], table.y("land"))
    oracle = lightgbm.LGBMClassifier(
        n_estimators=25, class_weight="balanced", **{
            k: v for k, v in target.model.parameters().items() if k not in ("verbosity", "num_threads")
        }, n_jobs=1, verbose=-1,
    ).fit(table.X, label)  # fmt: skip
    found = boost_target(table.X, table.y("land"), target, SPEC.names).says(table.X)
    assert np.abs(found - oracle.predict_proba(table.X)).max() < 1e-6


@pytest.mark.parametrize("sign", [1, -1])
def test_a_monotone_feature_never_turns(sign: int) -> None:
    frame = rows(400)
    wave = sign * frame.ndvi_p50 + 2 * np.sin(3 * frame.ndvi_p50)
    table = SampleTable(frame.assign(ece=wave.astype(float)), SPEC)
    free = train(table, regression())
    bound = train(table, regression(model=MODEL | {"monotone": {"ndvi_p50": sign}}))
    X = np.zeros((200, 2), np.float32)
    X[:, 0] = np.linspace(-3, 3, 200)
    estimates = [
        np.diff(lightgbm.Booster(model_str=b.boosters["estimate"]).predict(X)) * sign for b in (free, bound)
    ]
    assert estimates[0].min() < -1e-3
    assert estimates[1].min() >= 0 and estimates[1].max() > 0


def test_a_monotone_feature_that_is_not_there_is_named() -> None:
    table = SampleTable(rows(60).assign(ece=np.arange(60.0)), SPEC)
    with pytest.raises(ValueError, match=r"monotone names \['ndwi_p50'\]; features are ndvi_p50"):
        train(table, regression(model=MODEL | {"monotone": {"ndwi_p50": 1}}))


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("ordered: true", {"model": {"monotone": {"ndvi_p50": 1}}}),
        ("has no \\['rmse'\\]", {"gate": {"maximum": {"rmse": 1}}}),
        ("twice", {"gate": {"beats": ["mean", "mean"]}}),
        ("balance", {"model": {"balance": 2}}),
    ],
)
def test_settings_that_make_no_sense_are_refused(fault: str, change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=fault):
        classified(1, 2, **change)


def test_a_quantity_has_no_classes_to_balance_or_to_order() -> None:
    for change in ({"ordered": True}, {"model": {"balance": 0.5}}):
        with pytest.raises(ValueError, match="takes no classes"):
            regression(**change)
    with pytest.raises(ValueError, match="log_r2"):
        regression(gate={"minimum": {"log_r2": 0.5}})


def test_thinned_rows_vouch_for_no_more_than_all_and_lie_near_those_left_out() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 3))
    whole = Applicability.fit(X, np.array([3.0, 1.0, 2.0]), np.arange(600) % 5)
    few = whole.thinned(80)
    assert len(few.rows) == 80 and {tuple(r) for r in few.rows} <= {tuple(r) for r in whole.rows}
    assert (few.scale, few.threshold) == (whole.scale, whole.threshold)
    fresh = rng.normal(size=(500, 3)) * 1.5
    more, less = few.dissimilarity(fresh), whole.dissimilarity(fresh)
    assert (more >= less - 1e-12).all()
    # Farthest-first leaves no row farther than the best choice could by more than a factor of two, and
    # random rows leave some much farther.
    random = [
        Applicability(
            3, whole.used, whole.mean, whole.factor, whole.rows[rng.permutation(600)[:80]],
            whole.scale, whole.threshold,
        ).dissimilarity(X).max()
        for _ in range(5)
    ]  # fmt: skip
    assert few.dissimilarity(X).max() < min(random)
    assert whole.thinned(600) is whole
    assert few.thinned(80) is few


def test_the_target_says_how_many_rows_are_kept() -> None:
    table = SampleTable(rows(200).assign(ece=rows(200).ndvi_p50.astype(float)), SPEC)
    bundle = train(table, regression(applicability={"max_rows": 50}))
    assert bundle.applicability is not None and len(bundle.applicability.rows) == 50
