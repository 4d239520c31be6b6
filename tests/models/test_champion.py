"""Champion and challenger on the same folds: better is told from the same, from worse and from luck."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from features import FeatureSpec
from models import ModelBundle, SampleTable, Target
from models.champion import compare
from models.train import train

NAMES = ["ndvi_p50", "swir16_mean", "slope"]
TITLE = {"vi": "Độ mặn", "en": "Salinity"}
GOOD = {"trees": 60, "min_leaf": 5, "learning_rate": 0.1, "feature_fraction": 1.0}
STUMP = {"trees": 1, "leaves": 2, "min_leaf": 5}


def table(n: int = 240, seed: int = 0, names: list[str] = NAMES) -> SampleTable:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).astype(np.float32) for name in NAMES})
    sign = np.where((frame.ndvi_p50 > 0) == (frame.slope > 0), 3.0, -3.0)
    frame = frame.assign(
        ece=sign + rng.normal(0, 0.3, n), land=np.where(sign > 0, 2.0, 1.0) + (frame.swir16_mean > 1),
        x=rng.uniform(0, 9000, n), y=rng.uniform(0, 9000, n), lon=105.0, lat=10.0, epsg=32648,
        group="", season="2025-dry", date="2025-02-01", sample_id="s",
    )  # fmt: skip
    return SampleTable(frame, FeatureSpec.parse(names))


def regression(model: dict[str, Any], **more: Any) -> Target:
    kind = {"name": "ece", "kind": "regression", "title": TITLE, "unit": "dS/m", "model": model}
    return Target.model_validate(kind | more)


def classified(model: dict[str, Any], ordered: bool) -> Target:
    classes = [{"code": c, "name": f"c{c}", "title": TITLE, "colour": "#000000"} for c in (1, 2, 3)]
    kind = {"name": "land", "kind": "class", "title": TITLE, "classes": classes, "model": model}
    return Target.model_validate(kind | {"ordered": ordered})


@pytest.fixture(scope="module")
def good() -> ModelBundle:
    return train(table(), regression(GOOD))


@pytest.fixture(scope="module")
def stump() -> ModelBundle:
    return train(table(), regression(STUMP))


def test_a_better_way_of_learning_wins_and_a_worse_one_does_not(
    good: ModelBundle, stump: ModelBundle
) -> None:
    won = compare(stump, good, table())
    assert won["better"] and won["difference"] < 0 and won["p_better"] < 0.01
    assert (won["rows"], won["champion_rows"], won["folds"]) == (240, 240, 15)
    lost = compare(good, stump, table())
    assert not lost["better"] and lost["difference"] == pytest.approx(-won["difference"])


def test_the_same_way_on_the_same_rows_is_the_same(good: ModelBundle) -> None:
    renamed = replace(good, target=good.target.model_copy(update={"source": "another laboratory"}))
    found = compare(good, renamed, table())
    assert found["same"] and not found["better"] and found["difference"] == 0


def test_luck_is_not_better(good: ModelBundle) -> None:
    seed = train(table(), regression(GOOD | {"seed": 5, "feature_fraction": 0.67}))
    again = train(table(), regression(GOOD | {"seed": 6, "feature_fraction": 0.67}))
    assert not (compare(seed, again, table())["better"] or compare(again, seed, table())["better"])


def test_more_samples_count_for_the_challenger() -> None:
    many = table(500)
    few = train(many.take(np.arange(40)), regression(GOOD))
    found = compare(few, train(many, regression(GOOD)), many)
    assert found["champion_rows"] == 40
    assert found["better"]


def test_a_champion_of_other_samples_judges_as_it_is(good: ModelBundle) -> None:
    found = compare(good, train(table(seed=8), regression(STUMP)), table(seed=8))
    assert found["champion_rows"] == 0
    assert not found["better"] and found["difference"] > 1  # it knows the rule already


@pytest.mark.parametrize("ordered", [True, False])
def test_classes_are_compared_too_ordered_or_not(ordered: bool) -> None:
    weak = train(table(), classified(STUMP, not ordered))
    strong = train(table(), classified(GOOD, ordered))
    found = compare(weak, strong, table())
    assert found["better"] and found["loss"] == ("ranked probability score" if ordered else "Brier score")
    elsewhere = compare(strong, train(table(seed=4), classified(STUMP, ordered)), table(seed=4))
    assert elsewhere["champion_rows"] == 0 and not elsewhere["better"]


def test_a_challenger_may_have_more_features_but_not_lack_the_champions(good: ModelBundle) -> None:
    few = train(table(names=["ndvi_p50", "swir16_mean"]), regression(GOOD))
    assert compare(few, good, table())["better"]
    with pytest.raises(ValueError, match=r"lack feature\(s\) \['slope'\]"):
        compare(good, few, table(names=["ndvi_p50", "swir16_mean"]))


def test_models_of_other_things_are_not_compared(good: ModelBundle) -> None:
    other = train(table(), regression(GOOD, unit="g/kg"))
    with pytest.raises(ValueError, match="another kind, unit, transform or classes"):
        compare(other, good, table())


def test_what_is_expected_is_what_lightgbm_says(good: ModelBundle) -> None:
    import lightgbm

    X = table(seed=3).X.copy()
    own = lightgbm.Booster(model_str=good.boosters["estimate"]).predict(X)
    assert (good.expected(X) == own).all()
    plain = train(table(), classified(GOOD, False))
    chances = lightgbm.Booster(model_str=plain.boosters["class"]).predict(X)
    assert np.abs(plain.expected(X) - chances).max() < 1e-12
    X[0, 0] = np.nan
    assert np.isnan(good.expected(X)[0]) and np.isnan(plain.expected(X)[0]).all()
