"""The search for a recipe: planted features are found, the same rows give the same recipe, bounds hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from features import FeatureSpec
from models import SampleTable, Target, leftout, search
from models.recipe import Recipe
from models.train import train

NAMES = ["ndvi_p50", "swir16_mean", "slope", "vv_mean", "vh_mean"]
TITLE = {"vi": "Độ mặn", "en": "Salinity"}


def table(n: int = 240, seed: int = 0) -> SampleTable:
    """ECe follows swir16_mean and slope, each hardly seen without the other; the rest is noise."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).astype(np.float32) for name in NAMES})
    both = np.where((frame.swir16_mean > 0) == (frame.slope > 0), 2.0, -2.0)
    frame = frame.assign(
        ece=both + rng.normal(0, 0.3, n), x=rng.uniform(0, 9000, n), y=rng.uniform(0, 9000, n)
    )
    frame = frame.assign(
        lon=105.0, lat=10.0, epsg=32648, group="", season="2025-dry", date="2025-02-01", sample_id="s"
    )
    return SampleTable(frame, FeatureSpec.parse(NAMES))


def target(**more: Any) -> Target:
    model = {"trees": 30, "min_leaf": 5, "learning_rate": 0.2, "feature_fraction": 1.0}
    kind = {"name": "ece", "kind": "regression", "title": TITLE, "unit": "dS/m", "model": model}
    return Target.model_validate(kind | more)


def test_a_pair_that_only_tells_together_is_found_and_noise_is_left() -> None:
    bundle = train(table(), target(selection={"most": 4}))
    assert bundle.spec.names == ("swir16_mean", "slope")  # in the table's order
    steps = bundle.card["recipe"]["selection"]["steps"]
    assert sorted(steps[0]["added"]) == ["slope", "swir16_mean"]
    # 10 pairs, then the 3 others once: none helps.
    assert bundle.card["recipe"]["selection"]["recipes_tried"] == 13
    layers = bundle.predict_rows(table(seed=5).select(bundle.spec.names).X)
    assert np.corrcoef(layers["estimate"], table(seed=5).y("ece"))[0, 1] > 0.9


def test_selection_keeps_its_bounds() -> None:
    theme = target(selection={"most": 2, "candidates": 3})
    rows = table()
    recipe = search.select(rows, theme, search.blocked(rows, theme))
    assert len(recipe.features) == 2
    assert len(recipe.about["selection"]["of"]) == 3
    assert recipe.about["selection"]["recipes_tried"] == 3


def test_each_step_of_selection_lowers_the_left_out_error() -> None:
    theme = target(selection={"most": 5})
    rows = table(seed=3)
    splits = search.blocked(rows, theme)
    recipe = search.select(rows, theme, splits)
    errors = [step["error"] for step in recipe.about["selection"]["steps"]]
    assert errors == sorted(errors, reverse=True)
    assert search.left_out_error(rows, theme, splits, recipe) == errors[-1]


def test_tuning_is_seeded_bounded_and_never_worse_than_the_start() -> None:
    theme = target(tuning={"trials": 5, "seed": 3})
    rows = table(120)
    splits = search.blocked(rows, theme)
    start = Recipe.given(rows, theme)
    one, other = (search.tune(rows, theme, splits, start) for _ in range(2))
    assert one == other
    about = one.about["tuning"]
    assert about["trials"] == 5
    assert about["best_error"] <= about["first_error"]
    assert about["first_error"] == search.left_out_error(rows, theme, splits, start)
    assert about["best_error"] == search.left_out_error(rows, theme, splits, one)


def test_a_tuned_bundle_is_reproducible_and_one_with_a_time_limit_says_that_it_is_not() -> None:
    rows = table(120)
    tuned = target(tuning={"trials": 3})
    first = train(rows, tuned)
    assert first.digest == train(rows, tuned).digest
    assert first.card["reproducible"] is True
    limited = train(rows, target(tuning={"trials": 3, "time_limit_s": 60}))
    assert limited.card["reproducible"] is False
    assert train(rows, target()).card["reproducible"] is True
    assert first.target == tuned  # the bundle keeps what was asked for; the card says what was found


def test_a_start_beyond_the_usual_bounds_is_tried_too() -> None:
    theme = target(tuning={"trials": 2}, model={"trees": 700, "leaves": 2, "learning_rate": 0.5})
    rows = table(60)
    found = search.tune(rows, theme, search.blocked(rows, theme), Recipe.given(rows, theme))
    assert found.about["tuning"]["trials"] == 2


def test_each_fold_searches_among_its_own_training_rows() -> None:
    theme = target(selection={"most": 2})
    rows = table()
    splits = search.blocked(rows, theme)
    recipes = search.nested(rows, theme, splits)
    assert recipes is not None and len(recipes) == len(splits)
    fit, _ = splits[0]
    own = rows.take(fit)
    assert recipes[0] == search.find(own, theme, search.blocked(own, theme))
    assert search.nested(rows, target(), splits) is None


def test_losses_of_ordered_classes_are_ranked_probability_scores() -> None:
    classes = [
        {"code": c, "name": f"c{c}", "title": TITLE, "colour": "#000000"} for c in (30, 10, 20)
    ]  # least to most: 30, 10, 20
    theme = Target.model_validate(
        {"name": "land", "kind": "class", "title": TITLE, "classes": classes, "ordered": True}
    )
    rows = SampleTable(table(2).frame.assign(land=[30.0, 20.0]), table(2).spec)
    says = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5]])  # by rising code: 10, 20, 30
    # In order 30, 10, 20: .5 .2 .3; cumulative .5 .7 1. Truth 30: 1 1 1; truth 20: 0 0 1.
    expected = [(0.5 - 1) ** 2 + (0.7 - 1) ** 2, 0.5**2 + 0.7**2]
    assert leftout.losses(rows, theme, says) == pytest.approx(expected)
    brier = leftout.losses(rows, theme.model_copy(update={"ordered": False}), says)
    assert brier == pytest.approx([0.2**2 + 0.3**2 + 0.5**2, 0.2**2 + 0.7**2 + 0.5**2])


def test_a_feature_that_the_table_lacks_is_named() -> None:
    with pytest.raises(ValueError, match=r"lacks feature.*ndwi_p50"):
        table(20).select(["ndvi_p50", "ndwi_p50"])
    with pytest.raises(ValueError, match="pairs are tried first"):
        target(selection={"most": 1})
