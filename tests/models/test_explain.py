"""Contributions add up to the score that LightGBM gives, and drivers are the greatest of them."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from features import FeatureSpec
from models import ModelBundle, SampleTable, Target
from models.explain import explain, tabulate
from models.train import train

NAMES = ["ndvi_p50", "swir16_mean", "slope", "vv_mean"]
TITLE = {"vi": "Độ mặn", "en": "Salinity"}
MODEL = {"trees": 30, "min_leaf": 5, "learning_rate": 0.15, "feature_fraction": 1.0}


def table(n: int = 200, seed: int = 0) -> SampleTable:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).astype(np.float32) for name in NAMES})
    wet = 3 * frame.ndvi_p50 - 2 * frame.slope + rng.normal(0, 0.2, n)
    frame = frame.assign(
        ece=np.exp(wet / 4).astype(float), land=np.digitize(wet, [-2, 2]) + 1.0,
        x=rng.uniform(0, 9000, n), y=rng.uniform(0, 9000, n), lon=105.0, lat=10.0, epsg=32648,
        group="", season="2025-dry", date="2025-02-01", sample_id=[f"s{k}" for k in range(n)],
    )  # fmt: skip
    return SampleTable(frame, FeatureSpec.parse(NAMES))


def bundle(kind: str) -> ModelBundle:
    if kind == "log":
        more: dict[str, Any] = {
            "name": "ece",
            "kind": "regression",
            "unit": "dS/m",
            "transform": "log",
        }
    else:
        classes = [{"code": c, "name": f"c{c}", "title": TITLE, "colour": "#000000"} for c in (1, 2, 3)]
        more = {"name": "land", "kind": "class", "classes": classes, "ordered": kind == "ordered"}
    return train(table(), Target.model_validate({"title": TITLE, "model": MODEL} | more))


def raw(model: ModelBundle, name: str, X: Any) -> Any:
    return lightgbm.Booster(model_str=model.boosters[name]).predict(X, raw_score=True)


def test_contributions_add_up_to_lightgbms_raw_score() -> None:
    X = table(seed=1).X
    quantity = bundle("log")
    found = explain(quantity, X)
    assert np.abs(found.score - raw(quantity, "estimate", X)).max() < 1e-9
    assert set(found.of) == {"ln(dS/m)"}
    ordered = bundle("ordered")
    both = raw(ordered, "above_c1", X) + raw(ordered, "above_c2", X)
    assert np.abs(explain(ordered, X).score - both).max() < 1e-9
    plain = bundle("plain")
    scores = raw(plain, "class", X)
    told = explain(plain, X)
    assert np.abs(told.score - scores.max(axis=1)).max() < 1e-9
    assert told.of == tuple(f"c{k + 1}" for k in scores.argmax(axis=1))


def test_what_is_expected_without_features_is_the_mean_over_the_training_rows() -> None:
    model = bundle("log")
    found = explain(model, table().X)
    assert np.ptp(found.expected) == 0
    assert found.expected[0] == pytest.approx(raw(model, "estimate", table().X).mean(), abs=1e-6)


def test_the_planted_drivers_come_first_with_their_sign() -> None:
    X = np.zeros((2, 4), np.float32)
    X[0, 0], X[1, 2] = 2.5, 2.5  # much ndvi raises; much slope lowers
    found = explain(bundle("ordered"), X)
    assert found.top(1).ravel().tolist() == [0, 2]
    assert found.contributions[0, 0] > 0 > found.contributions[1, 2]


def test_top_drivers_are_padded_where_there_are_none() -> None:
    X = np.full((2, 4), np.nan, np.float32)
    X[1] = 1
    top = explain(bundle("log"), X).top(6)
    assert top.shape == (2, 6)
    assert (top[0] == -1).all()
    assert sorted(top[1][:4].tolist()) == [0, 1, 2, 3] and (top[1][4:] == -1).all()


def test_the_table_has_every_place_and_feature_in_order_of_weight() -> None:
    model, rows = bundle("log"), table(6, seed=2)
    found = tabulate(model, rows)
    assert len(found) == 6 * 4
    for key, part in found.groupby("sample_id"):
        assert part["rank"].tolist() == [1, 2, 3, 4]
        assert (np.diff(part.contribution.abs()) <= 0).all()
        assert part.contribution.sum() + part.expected.iloc[0] == pytest.approx(part.score.iloc[0])
        own = rows.frame.set_index("sample_id").loc[key]
        assert dict(zip(part.feature, part.value, strict=True)) == pytest.approx(
            {name: float(own[name]) for name in NAMES}
        )


def test_places_that_cannot_be_judged_are_left_out_or_refused() -> None:
    rows = table(3)
    rows.frame.loc[0, "slope"] = np.nan
    assert set(tabulate(bundle("log"), rows).sample_id) == {"s1", "s2"}
    rows.frame["slope"] = np.nan
    with pytest.raises(ValueError, match="can judge none of the 3 places"):
        tabulate(bundle("log"), rows)
