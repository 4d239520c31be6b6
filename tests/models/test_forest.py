"""Forest against LightGBM itself, bit for bit: odd models, odd values, odd shapes, threads and pickles."""

from __future__ import annotations

import logging
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import forest_kernels
from models.forest import Forest, ForestGroup
from models.forest_kernels import BLOCK

FEATURES = 5
CATEGORICAL = 4  # number of the feature that holds categories
QUIET = {
    "verbosity": -1,
    "num_threads": 1,
    "min_data_in_leaf": 1,
    "min_data_per_group": 1,
    "min_data_in_bin": 1,
}
TINY = np.float32(1e-35)
SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, TINY, -TINY, np.nextafter(TINY, np.float32(1)), -np.nextafter(TINY, np.float32(1)),
     1e-45, -1e-45, 1e-38, 3.4e38, -3.4e38, 1, -1, 0.5, -0.5, 0.999, 1.5, 31, 32, 63.9, 64, 255, 2**24, 2.0**31, 2.0**32, -(2.0**31), 1e10],
    np.float32,
)  # fmt: skip


def sample(n: int, seed: int = 0, features: int = FEATURES) -> NDArray[np.float32]:
    """Normal, skewed, constant and coarse columns, with gaps and zeros; the last holds categories."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, features)).astype(np.float32)
    X[:, 1] = np.exp(8 * X[:, 1])
    X[:, 2] = np.round(X[:, 2])
    X[:, 3] = 7
    X[rng.random(X.shape) < 0.1] = np.nan
    X[rng.random(X.shape) < 0.1] = 0
    X[:, CATEGORICAL] = rng.integers(-1, 70, n)
    return X


def labels(X: NDArray[np.float32], classes: int = 0, seed: int = 0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    Z = np.clip(np.nan_to_num(X.astype(np.float64)), -5, 5)
    y = Z[:, 0] + np.abs(Z[:, 1]) * Z[:, 2] + X[:, CATEGORICAL] % 3 + rng.normal(0, 0.3, len(X))
    return np.argsort(np.argsort(y)) * classes // len(X) if classes else y


def fit(
    parameters: dict[str, Any] | None = None,
    trees: int = 20,
    X: NDArray[np.float32] | None = None,
    y: NDArray[Any] | None = None,
    categorical: bool = True,
    **more: Any,
) -> lightgbm.Booster:
    X = sample(600) if X is None else X
    parameters = QUIET | (parameters or {})
    y = (
        labels(X, {"binary": 2}.get(parameters.get("objective", ""), parameters.get("num_class", 0)))
        if y is None
        else y
    )
    data = lightgbm.Dataset(X, y, params=parameters, categorical_feature=[CATEGORICAL] if categorical else [])
    return lightgbm.train(parameters, data, trees, **more)


def probes(booster: lightgbm.Booster, n: int = 1500, seed: int = 9) -> NDArray[np.float32]:
    """Rows made of the model's own thresholds, their neighbours, special values and ordinary ones."""
    texts = re.findall(r"^threshold=(.+)$", booster.model_to_string(), re.M)
    with np.errstate(over="ignore"):
        on = np.array(" ".join(texts).split(), np.float64).astype(np.float32)
    up, down = np.nextafter(on, np.float32(np.inf)), np.nextafter(on, np.float32(-np.inf))
    rng = np.random.default_rng(seed)
    features = booster.num_feature()
    X = sample(n, seed, features)
    strange = rng.choice(np.concatenate([on, up, down, SPECIAL]), X.shape)
    return np.where(rng.random(X.shape) < 0.6, strange, X)


def assert_bits(found: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
    assert found.shape == expected.shape and found.dtype == np.float64
    np.testing.assert_array_equal(
        np.where(np.isnan(found), 0, found).view(np.int64),
        np.where(np.isnan(expected), 0, expected).view(np.int64),
    )
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


def check(booster: lightgbm.Booster, X: NDArray[np.float32] | None = None) -> Forest:
    X = probes(booster) if X is None else X
    forest = Forest.from_booster(booster)
    expected = np.asarray(booster.predict(X, raw_score=True))
    assert forest.exact
    assert_bits(forest.predict_raw(np.ascontiguousarray(X)), expected)
    assert_bits(forest.predict_raw(np.asfortranarray(X)), expected)
    return forest


# --- the property -----------------------------------------------------------------------------

OBJECTIVES = (
    "regression",
    "regression_l1",
    "quantile",
    "huber",
    "poisson",
    "binary",
    "multiclass",
    "multiclassova",
)


@st.composite
def models(draw: st.DrawFn) -> tuple[lightgbm.Booster, int]:
    pick = lambda *values: draw(st.sampled_from(values))  # noqa: E731
    objective, boosting = pick(*OBJECTIVES), pick("gbdt", "gbdt", "dart", "rf")
    n, seed = draw(st.integers(12, 500)), draw(st.integers(0, 2**31 - 1))
    X = sample(n, seed)
    rng = np.random.default_rng(seed)
    if pick(True, False):  # values as odd as those that will be predicted
        X = np.where(rng.random(X.shape) < 0.2, rng.choice(SPECIAL[:20], X.shape), X)
    if pick(True, False):
        X = np.nan_to_num(X)
    classes = {"binary": 2, "multiclass": 3, "multiclassova": 3}.get(objective, 0)
    y = labels(np.nan_to_num(X), classes, seed)
    parameters = QUIET | {
        "objective": objective,
        "boosting": boosting,
        "num_leaves": pick(2, 3, 8, 31, 33, 64, 65, 255, 300, 400),
        "max_bin": pick(2, 15, 255, 1000),
        "use_missing": pick(True, True, False),
        "zero_as_missing": pick(False, False, True),
        "max_cat_to_onehot": pick(1, 4, 100),
        "boost_from_average": pick(True, False),
        "learning_rate": pick(0.1, 1.0),
        "feature_fraction": pick(0.5, 1.0),
        "extra_trees": pick(False, True),
        "seed": seed,
        "bagging_freq": 1,
        "bagging_fraction": 0.7,
        "min_data_in_leaf": pick(1, 1, 20),
        "min_sum_hessian_in_leaf": 1e-9,
    }
    if classes > 2:
        parameters["num_class"] = classes
    if objective == "poisson":
        y = np.abs(y)
    data = lightgbm.Dataset(
        X, y, params=parameters, categorical_feature=pick([], [CATEGORICAL], [2, CATEGORICAL])
    )
    more: dict[str, Any] = {}
    if boosting == "gbdt" and pick(True, False):
        other = sample(60, seed + 1)
        valid = lightgbm.Dataset(other, rng.permutation(np.resize(y, 60)), reference=data)
        more = {"valid_sets": [valid], "callbacks": [lightgbm.early_stopping(2, verbose=False)]}
    return lightgbm.train(parameters, data, draw(st.integers(1, 13)), **more), seed


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(models(), st.sampled_from([0, 1, 2, 255, 256, 257, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 77]))
def test_any_model_gives_the_bits_of_lightgbm(model: tuple[lightgbm.Booster, int], rows: int) -> None:
    booster, seed = model
    X = probes(booster, max(rows, 1), seed)
    expected = np.asarray(booster.predict(X, raw_score=True))[:rows]
    forest = Forest.from_booster(booster)
    assert forest.exact
    assert_bits(forest.predict_raw(np.ascontiguousarray(X)[:rows]), expected)
    assert_bits(forest.predict_raw(np.asfortranarray(X)[:rows]), expected)
    assert_bits(Forest.from_booster(booster.model_to_string()).predict_raw(X[:rows]), expected)


# --- objectives and boosting ------------------------------------------------------------------


@pytest.mark.parametrize("objective", [*OBJECTIVES, "cross_entropy", "gamma", "tweedie", "mape", "fair"])
def test_every_objective(objective: str) -> None:
    X = sample(400)
    parameters: dict[str, Any] = {"objective": objective}
    y = labels(X)
    if objective in ("gamma", "tweedie", "poisson", "cross_entropy"):
        y = np.abs(y) / np.abs(y).max() + 1e-3 * (objective != "cross_entropy")
    if objective in ("binary", "multiclass", "multiclassova"):
        classes = 2 if objective == "binary" else 4
        parameters |= {"num_class": classes} if classes > 2 else {}
        y = labels(X, classes)
    booster = fit(parameters, X=X, y=y)
    forest = check(booster)
    assert forest.predict_raw(sample(3)).ndim == (2 if "multiclass" in objective else 1)


def test_an_objective_of_ones_own() -> None:
    X = sample(300)
    y = labels(X)
    own = lambda raw, data: (raw - y, np.ones_like(y))  # noqa: E731
    booster = fit({"objective": own}, X=X, y=y)
    assert check(booster).group.objectives == ("",)


@pytest.mark.parametrize("boosting", ["gbdt", "dart", "rf"])
@pytest.mark.parametrize("classes", [0, 3])
def test_every_boosting(boosting: str, classes: int) -> None:
    """LightGBM's raw score of rf is the sum of its trees, not the mean that ``predict`` gives."""
    parameters = {"boosting": boosting, "bagging_freq": 1, "bagging_fraction": 0.5}
    check(fit(parameters | ({"objective": "multiclass", "num_class": classes} if classes else {})))


def test_an_early_stopped_model_uses_its_best_iteration() -> None:
    X, other = sample(300), sample(200, 5)
    data = lightgbm.Dataset(other, labels(other, seed=1))
    stop = lightgbm.early_stopping(20, verbose=False)
    booster = fit({"learning_rate": 0.5}, 60, X, valid_sets=[data], callbacks=[stop])
    assert 0 < booster.best_iteration < 60
    check(booster)
    booster = fit(trees=20)
    booster.best_iteration = 7  # with trees behind the best one, as LightGBM before 4.7 left them
    assert len(check(booster).group.tables.leaf_start) == 1 + 7  # type: ignore[union-attr]
    assert booster.num_trees() == 20


def test_a_model_trained_on_from_another() -> None:
    """Its trees disagree on how a feature's gaps are treated."""
    X = sample(400)
    whole = np.nan_to_num(X)
    first = fit({}, 10, whole, labels(X))
    parameters = QUIET | {"zero_as_missing": True}
    data = lightgbm.Dataset(X, labels(X), params=parameters, free_raw_data=False)
    booster = lightgbm.train(parameters, data, 10, init_model=first)
    forest = check(booster)
    assert set(forest.group.tables.missing_from.tolist()) == {1, 3}  # type: ignore[union-attr]


def test_without_trees_the_score_is_zero() -> None:
    X = sample(50)
    for parameters, classes in (({}, 0), ({"objective": "multiclass", "num_class": 3}, 3)):
        booster = lightgbm.Booster(QUIET | parameters, lightgbm.Dataset(X, labels(X, classes)))
        assert check(booster, sample(7)).predict_raw(X).max() == 0


def test_constant_trees() -> None:
    check(fit({"min_data_in_leaf": 10_000}))
    X = sample(90)
    check(fit({"objective": "multiclass", "num_class": 3}, X=X, y=np.zeros(90)))


# --- missing values, categories, thresholds ---------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "kinds"),
    [({}, {2}), ({"use_missing": False}, {3}), ({"zero_as_missing": True}, {1})],
    ids=["nan", "none", "zero"],
)
def test_every_missing_type_with_both_default_directions(parameters: dict[str, Any], kinds: set[int]) -> None:
    X = sample(900)[:, [0, 1, 2, 0, 1]]
    X[np.random.default_rng(3).random(X.shape) < 0.2] = np.nan
    booster = fit(
        parameters | {"num_leaves": 60}, X=X, y=labels(sample(900)) + np.isnan(X[:, 1]), categorical=False
    )
    tables = check(booster).group.tables
    assert tables is not None
    assert set(tables.missing_from.tolist()) == kinds
    if kinds != {3}:
        assert set(tables.missing_code.tolist()) == {0, 255}


@pytest.mark.parametrize("onehot", [1, 100])
def test_categories(onehot: int) -> None:
    X = sample(900)
    X[:, CATEGORICAL] = np.random.default_rng(0).integers(0, 130, 900)
    y = X[:, CATEGORICAL] % 7 + labels(X) / 10
    booster = fit({"max_cat_to_onehot": onehot, "num_leaves": 40, "cat_smooth": 1}, X=X, y=y)
    found = np.repeat(sample(1), 20_000, axis=0)
    found[:, CATEGORICAL] = np.linspace(-3, 140, 20_000)
    assert len(check(booster, found).group.tables.word_start) > 10  # type: ignore[union-attr]
    check(booster)


def test_infinite_thresholds_and_inputs() -> None:
    X = sample(500)
    rng = np.random.default_rng(0)
    for value in (np.inf, -np.inf, 3.4e38, -3.4e38):
        X[rng.random(X.shape) < 0.15] = value
    check(fit(X=X, y=labels(np.nan_to_num(sample(500))), categorical=False))


@pytest.mark.parametrize("max_bin", [255, 1000, 5000])
def test_a_feature_with_more_than_255_thresholds_has_several_columns(max_bin: int) -> None:
    X = sample(6000)
    booster = fit({"max_bin": max_bin, "num_leaves": 200}, 30, X=X, y=np.sin(50 * np.nan_to_num(X[:, 0])))
    forest = check(booster)
    first_rank = forest.group.tables.first_rank  # type: ignore[union-attr]
    assert (first_rank.max() > 0) == (max_bin > 255)


# --- size -------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", [2, 3, 31, 32, 33, 63, 64, 65, 127, 254, 255, 256, 257, 1000])
def test_any_number_of_leaves(leaves: int) -> None:
    X = sample(4000)
    booster = fit({"num_leaves": leaves, "max_bin": 1000}, 6, X)
    assert re.search(f"num_leaves={leaves}\n", booster.model_to_string())
    check(booster)


def test_a_tree_as_deep_as_it_has_leaves() -> None:
    X = np.zeros((300, FEATURES), np.float32)
    X[:, 0] = np.arange(300)
    for leaves in (200, 290):
        booster = fit({"num_leaves": leaves}, 2, X, 1.3 ** np.arange(300), categorical=False)
        check(booster, np.tile(np.linspace(-5, 310, 4000, dtype=np.float32)[:, None], FEATURES))


def test_five_thousand_trees_and_five_hundred_features() -> None:
    X = np.random.default_rng(0).normal(size=(400, 500)).astype(np.float32)
    y = X @ np.random.default_rng(1).normal(size=500)
    booster = fit(
        {"num_leaves": 4, "feature_fraction": 0.05, "min_data_in_leaf": 20}, 5000, X, y, categorical=False
    )
    forest = check(booster, probes(booster, 300))
    assert booster.num_trees() == 5000
    assert 1e5 < forest.nbytes < 1e6


@pytest.mark.parametrize("rows", [0, 1, 7, 255, 256, 257, 1023, 1024, 1025, 3333])
@pytest.mark.parametrize("classes", [0, 3])
def test_any_number_of_rows(rows: int, classes: int, several: dict[int, lightgbm.Booster]) -> None:
    X = probes(several[classes], 4000)
    expected = np.asarray(several[classes].predict(X, raw_score=True))
    check_rows = Forest.from_booster(several[classes]).predict_raw
    assert_bits(check_rows(X[:rows]), expected[:rows])
    assert_bits(check_rows(X[::-1][:rows]), expected[::-1][:rows])


# --- memory, threads, processes ---------------------------------------------------------------


@pytest.fixture(scope="module")
def several() -> dict[int, lightgbm.Booster]:
    """By number of classes."""
    return {0: fit(), 3: fit({"objective": "multiclass", "num_class": 3})}


def test_any_layout_gives_the_same_bits(several: dict[int, lightgbm.Booster]) -> None:
    X = probes(several[3])
    expected = np.asarray(several[3].predict(X, raw_score=True))
    forest = Forest.from_booster(several[3])
    wide = np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)
    read_only = X.copy()
    read_only.flags.writeable = False
    bytes_ = np.zeros(X.nbytes + 1, np.uint8)
    odd = bytes_[1:].view(np.float32).reshape(X.shape)
    odd[:] = X
    packed = np.zeros(len(X), [("flag", np.uint8), ("X", np.float32, FEATURES)])
    packed["X"] = X
    for other in (wide[::2, ::3], X[::-1][::-1], np.asfortranarray(X), read_only, odd, packed["X"]):
        assert_bits(forest.predict_raw(other), expected)
    assert_bits(forest.predict_raw(X[:, ::-1][:, ::-1]), expected)
    assert_bits(forest.predict_raw(np.broadcast_to(X[3], X.shape)), np.repeat(expected[3:4], len(X), axis=0))


def test_the_rows_stay_as_they_were(several: dict[int, lightgbm.Booster]) -> None:
    X = probes(several[0])
    before = X.copy()
    Forest.from_booster(several[0]).predict_raw(X)
    np.testing.assert_array_equal(X.view(np.int32), before.view(np.int32))


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("rows", [0, 1, 1025, 50_001])
def test_threads_of_its_own(threads: int, rows: int, several: dict[int, lightgbm.Booster]) -> None:
    X = probes(several[3], 50_001)[:rows]
    expected = np.asarray(several[3].predict(X, raw_score=True)) if rows else np.empty((0, 3))
    assert_bits(Forest.from_booster(several[3]).predict_raw(X, threads=threads), expected)


def test_threads_of_the_caller(several: dict[int, lightgbm.Booster]) -> None:
    forests = {k: Forest.from_booster(b) for k, b in several.items()}
    jobs = [(k, probes(several[k], 2000 + seed, seed)) for seed in range(12) for k in several]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda job: forests[job[0]].predict_raw(job[1]), jobs))
    for (k, X), raw in zip(jobs, found, strict=True):
        assert_bits(raw, np.asarray(several[k].predict(X, raw_score=True)))


def test_a_pickle_holds_tables_only_and_predicts_the_same(several: dict[int, lightgbm.Booster]) -> None:
    forest = Forest.from_booster(several[3])
    X = probes(several[3])
    data = pickle.dumps(forest)
    assert len(data) < forest.nbytes + 5000
    assert_bits(pickle.loads(data).predict_raw(X), forest.predict_raw(X))
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(forest, protocol=5, buffer_callback=buffers.append)
    read_only = pickle.loads(data, buffers=[bytes(b.raw()) for b in buffers])
    assert_bits(read_only.predict_raw(X), forest.predict_raw(X))


def test_kernels_are_compiled_once_for_all_of_these(several: dict[int, lightgbm.Booster]) -> None:
    for booster in several.values():
        X = probes(booster, 20)
        for other in (X, np.asfortranarray(X), X[::2]):
            other.flags.writeable = other.base is None
            Forest.from_booster(booster).predict_raw(other)
    assert len(forest_kernels.predict.signatures) == 1


def test_nbytes_is_that_of_the_arrays(several: dict[int, lightgbm.Booster]) -> None:
    small, large = (Forest.from_booster(fit(trees=n)) for n in (5, 50))
    assert 0 < 5 * small.nbytes < large.nbytes < 1e6


# --- out, and what is refused -----------------------------------------------------------------


@pytest.mark.parametrize("classes", [0, 3])
def test_out_is_filled_whole_and_returned(classes: int, several: dict[int, lightgbm.Booster]) -> None:
    forest, shape = Forest.from_booster(several[classes]), (1500, 3) if classes else (1500,)
    outs = [np.full(shape, 777.0), np.full(shape, 777.0, order="F"), np.full((1500, 2, 4), 777.0)[:, 1, 1:]]
    outs[2] = outs[2] if classes else outs[2][:, 0]
    for out in outs:
        for seed in (1, 2):
            X = probes(several[classes], 1500, seed)
            assert forest.predict_raw(X, out=out) is out
            assert_bits(out.copy(), np.asarray(several[classes].predict(X, raw_score=True)))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (3, 6), (0, 4), (2, 3, 5)])
def test_rows_of_another_shape_are_refused(
    shape: tuple[int, ...], several: dict[int, lightgbm.Booster]
) -> None:
    with pytest.raises(ValueError, match=r"expected \(rows, 5\)"):
        Forest.from_booster(several[0]).predict_raw(np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "X", [np.zeros((2, 5)), np.zeros((2, 5), ">f4"), np.zeros((2, 5), np.int32), [[0.0] * 5], None]
)
def test_rows_of_another_dtype_are_refused(X: Any, several: dict[int, lightgbm.Booster]) -> None:
    with pytest.raises(ValueError, match="expected a float32 array"):
        Forest.from_booster(several[0]).predict_raw(X)


def test_an_out_that_does_not_fit_is_refused(several: dict[int, lightgbm.Booster]) -> None:
    X, group = np.zeros((4, 5), np.float32), Forest.share(list(several.values()))
    with pytest.raises(ValueError, match=r"out is \(3,\); expected \(4,\)"):
        Forest.from_booster(several[0]).predict_raw(X, out=np.empty(3))
    with pytest.raises(ValueError, match=r"out is \(4,\); expected \(4, 3\)"):
        Forest.from_booster(several[3]).predict_raw(X, out=np.empty(4))
    with pytest.raises(ValueError, match="writeable float64"):
        Forest.from_booster(several[0]).predict_raw(X, out=np.empty(4, np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="writeable float64"):
        Forest.from_booster(several[0]).predict_raw(X, out=np.broadcast_to(0.0, 4))
    with pytest.raises(ValueError, match="out has 1 arrays; expected 2"):
        group.predict_raw(X, out=[np.empty(4)])
    with pytest.raises(ValueError, match="threads is 0"):
        group.predict_raw(X, threads=0)


@pytest.mark.parametrize(
    ("pattern", "replacement"),
    [
        (r"left_child=\S+", "left_child=99999"),
        (r"right_child=\S+", "right_child=0"),
        (r"split_feature=\S+", "split_feature=5"),
        (r"threshold=\S+ ", "threshold="),
        (r"leaf_value=\S+ ", "leaf_value=x "),
        (r"max_feature_idx=\d+", ""),
    ],
)
def test_a_torn_text_is_refused(pattern: str, replacement: str, several: dict[int, lightgbm.Booster]) -> None:
    text = several[0].model_to_string()
    torn = re.sub(pattern, replacement, text, count=1)
    assert torn != text
    with pytest.raises(ValueError):
        Forest.from_booster(torn)


# --- linear trees, and boosters together ------------------------------------------------------


def test_linear_trees_are_left_to_lightgbm_and_that_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    X = sample(300)
    booster = fit({"linear_tree": True}, X=X, categorical=False)
    with caplog.at_level(logging.WARNING, "models.forest"):
        forest = Forest.from_booster(booster)
    assert "linear trees" in caplog.text
    assert not forest.exact and forest.nbytes == 0
    X = probes(booster)
    expected = np.asarray(booster.predict(X, raw_score=True))
    out = np.empty(len(X))
    for found in (forest, pickle.loads(pickle.dumps(forest))):
        assert_bits(found.predict_raw(X), expected)
        assert_bits(found.predict_raw(np.asfortranarray(X), out, threads=2), expected)
        assert found.predict_raw(X[:0]).shape == (0,)


def test_nothing_is_logged_for_other_trees(
    several: dict[int, lightgbm.Booster], caplog: pytest.LogCaptureFixture
) -> None:
    Forest.share(list(several.values()))
    assert not caplog.records


def test_boosters_together_give_what_each_gives(several: dict[int, lightgbm.Booster]) -> None:
    """Also where their thresholds together outgrow one column, and their missing types differ."""
    X = sample(3000)
    boosters = [
        fit(
            {"objective": "quantile", "alpha": a, "max_bin": 255, "num_leaves": 64, "seed": k},
            20,
            X + np.float32(k),
        )
        for k, a in enumerate((0.05, 0.5, 0.95))
    ]
    boosters += [several[3], fit({"zero_as_missing": True}), fit({"use_missing": False}), several[0]]
    boosters += [fit({"num_leaves": 700}, 5, X), fit({"objective": "multiclass", "num_class": 4}, 3)]
    group = Forest.share(boosters)
    assert isinstance(group, ForestGroup) and group.exact
    assert group.tables is not None and group.tables.first_rank.max() > 0
    rows = np.concatenate([probes(b, 700, k) for k, b in enumerate(boosters)])
    outs = [np.empty((len(rows), k) if k > 1 else len(rows)) for k in group.classes]
    for found in (group.predict_raw(rows), group.predict_raw(np.asfortranarray(rows), outs, threads=2)):
        for booster, raw in zip(boosters, found, strict=True):
            assert_bits(raw, np.asarray(booster.predict(rows, raw_score=True)))
    assert [len(raw) for raw in group.predict_raw(rows[:0])] == [0] * len(boosters)


def test_boosters_of_other_features_are_refused(several: dict[int, lightgbm.Booster]) -> None:
    wide = fit(X=sample(100, features=7))
    with pytest.raises(ValueError, match="share their features"):
        Forest.share([several[0], wide])
    with pytest.raises(ValueError, match="share their features"):
        Forest.share([])


def test_softmax_has_the_bits_of_lightgbm(several: dict[int, lightgbm.Booster]) -> None:
    X = probes(several[3], 20_000)
    scores = Forest.from_booster(several[3]).predict_raw(X)
    forest_kernels.softmax(scores)
    assert_bits(scores, np.asarray(several[3].predict(X)))
