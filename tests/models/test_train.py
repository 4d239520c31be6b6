"""Training: planted truth is found, the same rows give the same bytes, and unfit samples are refused."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest
import targets
from numpy.typing import NDArray

from models import SampleTable
from models.settings import BoosterSettings
from models.train import train

SMALL = BoosterSettings(trees=12, min_leaf=5)


def table(n: int = 120, seed: int = 0, **more: Any) -> SampleTable:
    return targets.noise(n, seed, 5000, **more)


regression = partial(targets.regression, model=SMALL)
classified = partial(targets.classified, model=SMALL)


def cycle(*values: float, n: int = 120) -> NDArray[np.float64]:
    return np.resize(np.array(values, np.float64), n)


# --- truth ------------------------------------------------------------------------------------


def test_a_planted_quantity_is_found_on_rows_never_seen() -> None:
    def planted(n: int, seed: int) -> SampleTable:
        plain = table(n, seed)
        f, rng = plain.frame, np.random.default_rng(seed + 100)
        truth = 5 + 3 * f.ndvi_p50 + 2 * (f.swir16_mean > 0) + rng.normal(0, 0.3, n)
        return SampleTable(f.assign(ece=truth.astype(float)), targets.SPEC)

    target = regression(model=SMALL.model_copy(update={"trees": 80, "learning_rate": 0.1}))
    bundle, fresh = train(planted(800, 1), target), planted(800, 2)
    layers, truth = bundle.predict_rows(fresh.X), fresh.y("ece")
    residual = layers["estimate"] - truth
    assert 1 - (residual**2).sum() / ((truth - truth.mean()) ** 2).sum() > 0.95
    assert abs(residual.mean()) < 0.1
    covered = ((layers["lower"] <= truth) & (truth <= layers["upper"])).mean()
    assert 0.86 < covered < 0.96  # residuals left out by blocks are somewhat larger than of all samples


@pytest.mark.parametrize("codes", [(1, 2, 3), (30, 10, 20), (254, 1), (7, 200, 3, 90)])
def test_planted_classes_are_found_whatever_their_codes_and_order(codes: tuple[int, ...]) -> None:
    def planted(seed: int) -> SampleTable:
        plain = table(400, seed)
        edges = np.quantile(
            np.random.default_rng(0).normal(size=10000), np.arange(1, len(codes)) / len(codes)
        )
        return SampleTable(
            plain.frame.assign(land=np.array(codes)[np.digitize(plain.frame.ndvi_p50, edges)]), targets.SPEC
        )

    bundle = train(
        planted(1), classified(*codes, model=SMALL.model_copy(update={"trees": 60, "learning_rate": 0.2}))
    )
    fresh = planted(2)
    found = bundle.predict_rows(fresh.X)
    assert (found["class"] == fresh.y("land")).mean() > 0.95
    assert set(np.unique(found["class"])) == set(codes)
    for code in codes:  # each probability belongs to the class that it names
        mine = fresh.y("land") == code
        assert found[f"p_c{code}"][mine].mean() > 0.7 > 0.2 > found[f"p_c{code}"][~mine].mean()


def test_a_log_target_estimates_the_median() -> None:
    plain = table(1500, 4)
    values = np.exp(np.random.default_rng(5).normal(1, 1, 1500))
    found = train(
        SampleTable(plain.frame.assign(ece=values), targets.SPEC), regression(transform="log", model=SMALL)
    )
    estimate = found.predict_rows(plain.X)["estimate"].mean()
    assert abs(estimate - np.median(values)) < 0.35 < np.mean(values) - np.median(values)


# --- the same rows, the same bytes ------------------------------------------------------------


@pytest.mark.parametrize("kind", ["class", "regression"])
def test_training_twice_gives_the_same_bytes(kind: str) -> None:
    rows = table(ece=cycle(1, 5, 2, 8, 3), land=cycle(10, 20, 30, 20))
    target = classified() if kind == "class" else regression()
    one, other = train(rows, target), train(rows, target)
    assert one.boosters == other.boosters
    assert one.digest == other.digest


def test_another_process_gives_the_same_digest() -> None:
    """With other hash seeds and another number of threads on offer."""
    code = """
        import numpy as np, pandas as pd
        from features import FeatureSpec
        from models import SampleTable, Target
        from models.train import train
        rng = np.random.default_rng(0)
        frame = pd.DataFrame({c: rng.normal(size=200).astype(np.float32) for c in ("ndvi_p50", "slope")})
        frame = frame.assign(x=rng.uniform(0, 9000, 200), y=0.0, lon=0.0, lat=0.0, epsg=1)
        frame = frame.assign(group="", season="s", date="d", sample_id="i")
        frame["ece"] = rng.normal(size=200)
        title = {"vi": "a", "en": "b"}
        target = Target(name="ece", kind="regression", title=title, unit="g", model={"trees": 10})
        print(train(SampleTable(frame, FeatureSpec.parse(["ndvi_p50", "slope"])), target).digest)
    """
    children = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            env={"OMP_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "PATH": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for threads in ("1", "2")
    ]
    found = []
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        found.append(out.strip())
    assert len(found[0]) == 64 and found[0] == found[1]


def test_the_seed_changes_the_trees() -> None:
    rows = table(ece=cycle(1, 5, 2, 8, 3))
    other = SMALL.model_copy(update={"seed": 2, "feature_fraction": 0.5})
    one = SMALL.model_copy(update={"seed": 1, "feature_fraction": 0.5})
    assert train(rows, regression(model=one)).boosters != train(rows, regression(model=other)).boosters


def test_the_table_is_left_as_it_was() -> None:
    rows = table(ece=cycle(1, np.nan, 2))
    before = rows.frame.copy()
    train(rows, regression(transform="log"))
    pd.testing.assert_frame_equal(rows.frame, before)


# --- what the bundle says ---------------------------------------------------------------------


def test_only_rows_with_a_value_are_trained_on() -> None:
    values = cycle(1, 2, 3, 4)
    values[::3] = np.nan
    rows = table(ece=values)
    bundle = train(rows, regression())
    assert bundle.card["samples"] == 80
    assert bundle.boosters == train(rows.take(np.flatnonzero(~np.isnan(values))), regression()).boosters


def test_the_card_says_what_it_was_trained_on() -> None:
    rows = table(ece=cycle(1, 2, 3), season=np.where(np.arange(120) < 60, "2025-wet", "2024-dry"))
    bundle = train(rows, regression())
    assert bundle.card["seasons"] == ["2024-dry", "2025-wet"]
    assert bundle.card["samples_digest"] == rows.digest
    assert bundle.card["lightgbm"] == lightgbm.__version__
    assert bundle.card["uncertainty"] == "calibrated on left-out blocks of 1000 m"


def test_the_bundle_carries_spec_and_target() -> None:
    target = classified(bad_classes=["c20"])
    bundle = train(table(land=cycle(10, 20, 30)), target)
    assert bundle.spec == targets.SPEC and bundle.target == target
    assert set(bundle.boosters) == {"class"}
    assert set(train(table(ece=cycle(1, 2)), regression()).boosters) == {"estimate", "scale"}


def test_boosters_know_the_names_of_their_features_and_the_number_of_trees() -> None:
    bundle = train(table(ece=cycle(1, 2, 3)), regression())
    booster = lightgbm.Booster(model_str=bundle.boosters["estimate"])
    assert booster.feature_name() == list(targets.SPEC.names)
    assert booster.num_trees() == 12


def test_missing_features_are_trained_on() -> None:
    f = table(300).frame
    rows = SampleTable(f.assign(slope=np.nan, ece=f.ndvi_p50.astype(float)), targets.SPEC)
    estimate = train(rows, regression(model=BoosterSettings(trees=60))).predict_rows(rows.X)["estimate"]
    assert np.corrcoef(estimate, rows.y("ece"))[0, 1] > 0.9


# --- what is refused --------------------------------------------------------------------------


def test_a_class_without_a_sample_is_named() -> None:
    with pytest.raises(ValueError, match="'land': no sample of class c30, c20"):
        train(table(land=cycle(10)), classified())


@pytest.mark.parametrize("stranger", [15, 5, 40, 10.5])
def test_a_class_that_the_target_does_not_know_is_refused(stranger: float) -> None:
    """15 lies between the codes 10 and 20: it must not be learnt as 20."""
    with pytest.raises(ValueError, match=f"{stranger:g}"):
        train(table(land=cycle(10, 20, stranger, 30)), classified())


def test_values_that_do_not_vary_are_refused() -> None:
    with pytest.raises(ValueError, match="'ece': all 120 samples have the value 3"):
        train(table(ece=cycle(3)), regression())


def test_a_target_without_a_measured_row_is_refused() -> None:
    with pytest.raises(ValueError):
        train(table(ece=np.nan), regression())
    with pytest.raises(ValueError, match="no column 'ece'"):
        train(table(), regression())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_value_that_has_no_logarithm_is_refused(value: float) -> None:
    """One zero among the samples would draw the whole map to zero."""
    with pytest.raises(ValueError):
        train(table(ece=cycle(value, 1, 2, 4)), regression(transform="log"))


def test_an_infinite_value_is_refused() -> None:
    with pytest.raises(ValueError):
        train(table(ece=cycle(np.inf, 1, 2, 4)), regression())
