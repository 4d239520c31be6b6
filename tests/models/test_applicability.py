"""Applicability against a plain version written from Meyer & Pebesma (2021), and its own promises."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.applicability import Applicability


def plain(
    train: Any, importance: Any, folds: Any, new: Any
) -> tuple[NDArray[np.float64], float, NDArray[np.float64]]:
    """Section 2 of the paper in loops: index of new rows, threshold, index of training rows."""
    train, new = np.asarray(train, float), np.asarray(new, float)
    kept = [k for k in range(train.shape[1]) if importance[k] > 0 and len(set(train[:, k])) > 1]

    def scaled(rows: NDArray[np.float64]) -> list[list[float]]:
        found = []
        for row in rows:
            values = []
            for k in kept:
                mean = sum(train[:, k]) / len(train)
                sd = (sum((train[:, k] - mean) ** 2) / (len(train) - 1)) ** 0.5
                values.append((row[k] - mean) / sd * importance[k])
            found.append(values)
        return found

    def distance(a: list[float], b: list[float]) -> float:
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5

    known, asked = scaled(train), scaled(new)
    n = len(known)
    pairs = [distance(known[i], known[j]) for i in range(n) for j in range(n) if i != j]
    mean = sum(pairs) / len(pairs)
    own = [
        min(distance(known[i], known[j]) for j in range(n) if folds[j] != folds[i]) / mean for i in range(n)
    ]
    q1, q3 = np.percentile(own, [25, 75])
    threshold = min(q3 + 1.5 * (q3 - q1), max(own))
    return np.array([min(distance(a, b) for b in known) / mean for a in asked]), threshold, np.array(own)


def make(n: int, features: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[Any]]:
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, features))
    X = (rng.normal(size=(n, 3)) @ mixing + rng.normal(size=(n, features))).astype(np.float32)
    X *= 10 ** rng.uniform(-3, 3, features).astype(np.float32)  # units differ
    X += rng.normal(size=features).astype(np.float32)
    return X, rng.exponential(size=features) - 0.2, rng.integers(0, 4, n)


@pytest.mark.parametrize(("n", "features"), [(2, 1), (15, 1), (16, 2), (17, 7), (40, 8), (70, 9), (90, 20)])
def test_it_agrees_with_the_paper_in_loops(n: int, features: int) -> None:
    X, importance, folds = make(n, features, n)
    importance[0] = 1.0
    folds[:2] = 0, 1
    new = np.concatenate([make(60, features, n + 1)[0], X])
    found = Applicability.fit(X, importance, folds)
    index, threshold, _ = plain(X, importance, folds, new)
    np.testing.assert_allclose(found.dissimilarity(new), index, rtol=1e-9, atol=1e-12)
    assert found.threshold == pytest.approx(threshold, rel=1e-9)
    near = np.abs(index - threshold) < 1e-9
    np.testing.assert_array_equal(found.inside(new)[~near], (index <= threshold)[~near])


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 10**6), st.integers(2, 120), st.integers(1, 12))
def test_inside_is_the_index_within_the_threshold_to_the_last_bit(seed: int, n: int, features: int) -> None:
    X, importance, folds = make(n, features, seed)
    importance[0], folds[0], folds[1] = 1, 0, 1
    found = Applicability.fit(X, importance, folds)
    rng = np.random.default_rng(seed)
    # rows moved off a training row by just the threshold's distance fall on either side of the last bit
    moved = X[rng.integers(0, n, 40)].copy()
    step = found.threshold * found.scale / found.factor[0]
    moved[:, found.used[0]] += (step * (1 + rng.integers(-3, 4, 40) * 1e-7)).astype(np.float32)
    new = np.concatenate([X, moved, make(40, features, seed + 1)[0]])
    new = new[rng.permutation(len(new))]
    np.testing.assert_array_equal(found.inside(new), found.dissimilarity(new) <= found.threshold)


def test_a_threshold_worked_out_by_hand() -> None:
    """0, 1, 3, 7 on a line, each a fold: distances 1, 1, 2, 4; pairs 1, 3, 7, 2, 6, 4, mean 23/6."""
    X = np.array([[0], [1], [3], [7]], np.float32)
    found = Applicability.fit(X, [2.0], [0, 1, 2, 3])
    mean = 23 / 6
    # quartiles of 1, 1, 2, 4 are 1 and 2.5; 2.5 + 1.5 x 1.5 = 4.75 is beyond the largest, 4
    assert found.threshold == pytest.approx(4 / mean)
    np.testing.assert_allclose(found.dissimilarity(np.array([[4], [-1]], np.float32)), [1 / mean, 1 / mean])
    assert found.inside(np.array([[10.99], [11.01]], np.float32)).tolist() == [True, False]


def test_the_threshold_is_capped_only_where_the_fence_lies_beyond_all() -> None:
    X = np.array([*range(20), 60], np.float32)[:, None]
    found = Applicability.fit(X, [1.0], np.arange(21))
    pairs = [abs(a - b) for a in X[:, 0] for b in X[:, 0] if a != b]
    assert found.threshold == pytest.approx(1 / np.mean(pairs))  # the fence is 1, the largest 41


def test_folds_decide_which_rows_count_as_known() -> None:
    X = np.array([0, 0.1, 5, 5.1], np.float32)[:, None]
    alone = Applicability.fit(X, [1.0], [0, 1, 2, 3])
    pairs = Applicability.fit(X, [1.0], [0, 0, 1, 1])
    assert pairs.threshold > 10 * alone.threshold


def test_negative_importance_counts_as_none_and_constants_are_left_out() -> None:
    X, _, folds = make(50, 4, 3)
    X[:, 2] = 7
    found = Applicability.fit(X, [1.0, -5.0, 3.0, 0.5], folds)
    assert found.used == (0, 3)
    moved = X.copy()
    moved[:, 1] += 1e6
    moved[:, 2] = 1e6
    np.testing.assert_array_equal(found.dissimilarity(moved), found.dissimilarity(X))


def test_a_training_row_is_no_distance_from_itself() -> None:
    X, importance, folds = make(200, 40, 5)
    found = Applicability.fit(X, importance, folds)
    assert (found.dissimilarity(X) == 0).all() and found.inside(X).all()


@pytest.mark.parametrize("gap", [np.nan, np.inf, -np.inf])
def test_a_row_with_a_gap_has_no_index_and_is_outside(gap: float) -> None:
    X, importance, folds = make(60, 5, 1)
    found = Applicability.fit(X, importance, folds)
    new = make(600, 5, 2)[0]
    holes = new.copy()
    for k in range(5):
        holes[k::50, k] = gap
    lacks = ~np.isfinite(holes).all(axis=1)
    index = found.dissimilarity(holes)
    np.testing.assert_array_equal(np.isnan(index), lacks)
    np.testing.assert_array_equal(index[~lacks], found.dissimilarity(new)[~lacks])
    np.testing.assert_array_equal(found.inside(holes), ~lacks & found.inside(new))


def test_training_rows_with_a_gap_take_no_part() -> None:
    X, importance, folds = make(60, 5, 1)
    torn = np.concatenate([X, X[:10] + 100])
    torn[60:, 2] = np.nan
    assert Applicability.fit(torn, importance, np.r_[folds, folds[:10]]) == Applicability.fit(
        X, importance, folds
    )


def test_any_memory_layout_gives_the_same_bits() -> None:
    X, importance, folds = make(60, 9, 1)
    found = Applicability.fit(X, importance, folds)
    new = make(700, 9, 2)[0]
    wide = np.repeat(new, 2, axis=1)[:, ::2]
    for other in (np.asfortranarray(new), wide, new[::-1][::-1], np.ascontiguousarray(new.T).T):
        np.testing.assert_array_equal(found.dissimilarity(other), found.dissimilarity(new))
        np.testing.assert_array_equal(found.inside(other), found.inside(new))


def test_neighbours_do_not_change_a_row() -> None:
    """A row's first guess is the row before it; its answer is not."""
    X, importance, folds = make(150, 9, 1)
    found = Applicability.fit(X, importance, folds)
    new = make(500, 9, 2)[0]
    order = np.random.default_rng(0).permutation(500)
    np.testing.assert_array_equal(found.dissimilarity(new[order]), found.dissimilarity(new)[order])
    np.testing.assert_array_equal(
        np.concatenate([found.dissimilarity(row[None]) for row in new[:40]]), found.dissimilarity(new)[:40]
    )


def test_no_rows_are_no_rows() -> None:
    X, importance, folds = make(60, 5, 1)
    found = Applicability.fit(X, importance, folds)
    assert found.dissimilarity(X[:0]).shape == found.inside(X[:0]).shape == (0,)


def test_to_json_and_back_to_the_same_bits() -> None:
    X, importance, folds = make(60, 5, 1)
    found, new = Applicability.fit(X, importance, folds), make(300, 5, 2)[0]
    for back in (Applicability.from_json(found.to_json()), pickle.loads(pickle.dumps(found))):
        assert back == found and back.to_json() == found.to_json()
        np.testing.assert_array_equal(back.dissimilarity(new), found.dissimilarity(new))
        np.testing.assert_array_equal(back.inside(new), found.inside(new))


@pytest.mark.parametrize("change", [{"rows": [[1.0]]}, {"rows": []}, {"mean": [1.0]}, {"used": None}])
def test_json_that_does_not_fit_together_is_refused(change: dict[str, Any]) -> None:
    X, importance, folds = make(60, 5, 1)
    content = json.loads(Applicability.fit(X, importance, folds).to_json()) | change
    with pytest.raises((ValueError, TypeError)):
        Applicability.parse(content)


def test_what_does_not_fit_is_refused_with_both_sides() -> None:
    X, importance, folds = make(60, 5, 1)
    with pytest.raises(ValueError, match=r"importance is \(4,\); expected 5"):
        Applicability.fit(X, importance[:4], folds)
    with pytest.raises(ValueError, match=r"folds are \(59,\); expected one number for each of 60"):
        Applicability.fit(X, importance, folds[1:])
    with pytest.raises(ValueError, match="no feature has both variance and an importance above 0"):
        Applicability.fit(X, -np.ones(5), folds)
    with pytest.raises(ValueError, match=r"lie in 1 fold\(s\); expected 2"):
        Applicability.fit(X, importance, np.zeros(60))
    with pytest.raises(ValueError, match=r"X is \(60, 4\); expected \(row, 5\)"):
        Applicability.fit(X, importance, folds).inside(X[:, :4])


def test_double_precision_is_kept() -> None:
    X, importance, folds = make(60, 5, 1)
    fine, new = X.astype(float) * (1 + 1e-9), make(80, 5, 2)[0].astype(float) * (1 - 1e-9)
    index, threshold, _ = plain(fine, importance, folds, new)
    found = Applicability.fit(fine, importance, folds)
    np.testing.assert_allclose(found.dissimilarity(new), index, rtol=1e-11)
    assert found.threshold == pytest.approx(threshold, rel=1e-12)
    np.testing.assert_array_equal(found.inside(new), found.dissimilarity(new) <= found.threshold)
