"""Measures against SciPy, scikit-learn, numerical integrals and values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, norm
from sklearn import metrics

from models import measures

RNG = np.random.default_rng(4)
Y = RNG.gamma(2, 3, 80)
P = Y + RNG.normal(0.5, 1.5, 80)


# --- a quantity --------------------------------------------------------------------------------


def test_errors_equal_scikit_learn() -> None:
    assert measures.rmse(Y, P) == pytest.approx(metrics.root_mean_squared_error(Y, P))
    assert measures.mae(Y, P) == pytest.approx(metrics.mean_absolute_error(Y, P))
    assert measures.r2(Y, P) == pytest.approx(metrics.r2_score(Y, P))
    assert measures.bias(Y, P) == pytest.approx(P.mean() - Y.mean()) and measures.bias(Y, P) > 0


def test_r2_is_not_the_squared_correlation() -> None:
    assert measures.r2(Y, 2 * Y + 5) < 0 and np.corrcoef(Y, 2 * Y + 5)[0, 1] == pytest.approx(1)
    assert np.isnan(measures.r2([3.0, 3], [1.0, 2])) and np.isnan(measures.concordance([3.0, 3], [3.0, 3]))


def test_concordance_as_lin_splits_it() -> None:
    r, sy, sp = np.corrcoef(Y, P)[0, 1], Y.std(), P.std()
    shift = (P.mean() - Y.mean()) / np.sqrt(sy * sp)
    closeness = 2 / (sp / sy + sy / sp + shift**2)
    assert measures.concordance(Y, P) == pytest.approx(r * closeness)
    assert measures.concordance(Y, Y) == pytest.approx(1) and measures.concordance(Y, -Y) < 0
    assert measures.concordance([1, 2, 3, 4], [2, 3, 4, 5]) == pytest.approx(2.5 / (2.5 + 1))


def test_rpiq_by_hand() -> None:
    assert measures.rpiq([0, 1, 2, 3, 4], [1, 2, 3, 4, 5]) == 2
    assert measures.rpiq(Y, Y) == float("inf")


@settings(max_examples=40, deadline=None)
@given(st.floats(0.1, 100), st.floats(-50, 50))
def test_what_depends_on_units_and_what_does_not(scale: float, shift: float) -> None:
    y, p = scale * Y + shift, scale * P + shift
    for measure in (measures.r2, measures.concordance, measures.rpiq):
        assert measure(y, p) == pytest.approx(measure(Y, P), rel=1e-6)
    for measure in (measures.rmse, measures.mae, measures.bias):
        assert measure(y, p) == pytest.approx(scale * measure(Y, P), rel=1e-6)


# --- an interval -------------------------------------------------------------------------------


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (87, 100), (1, 3)])
def test_binomial_bounds_as_their_authors_wrote_them(hits: int, n: int) -> None:
    found = measures.proportion(hits, n)
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1
    assert (found.value, found.lower, found.upper) == pytest.approx((hits / n, low, high))
    z, p = norm.ppf(0.975), hits / n
    middle = (p + z**2 / 2 / n) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 4 / n**2)
    wilson = measures.proportion(hits, n, method="wilson")
    assert (wilson.lower, wilson.upper) == pytest.approx((middle - reach, middle + reach), abs=1e-12)


def test_picp_counts_the_ends_as_inside() -> None:
    found = measures.picp([1.0, 2, 3, 4], [1.0, 1, 1, 1], [1.0, 2, 2, 9])
    assert (found.value, found.n) == (0.75, 4)


def test_interval_score_by_hand_and_its_optimum() -> None:
    assert measures.interval_score([0.0, 5], [1.0, 1], [3.0, 3], 0.9) == pytest.approx(2 + 20 * (1 + 2) / 2)
    y = np.random.default_rng(1).normal(size=20000)

    def score(half: float) -> float:
        return measures.interval_score(y, np.full(20000, -half), np.full(20000, half), 0.9)

    best = norm.ppf(0.95)
    assert score(best) < min(score(best * 0.9), score(best * 1.1))


# --- a distribution ----------------------------------------------------------------------------


def crps_by_integral(cdf: Any, y: float, low: float, high: float) -> float:
    return (
        quad(lambda t: cdf(t) ** 2, low, y, limit=200)[0]
        + quad(lambda t: (1 - cdf(t)) ** 2, y, high, limit=200)[0]
    )


@pytest.mark.parametrize("y", [-3.0, 0.4, 1.0, 6.0])
def test_crps_of_a_normal_is_the_integral(y: float) -> None:
    found = measures.crps_gaussian([y], [1.0], [1.7])
    assert found == pytest.approx(crps_by_integral(norm(1, 1.7).cdf, y, -20, 20), rel=1e-6)
    assert measures.crps_gaussian([y], [1.0], [0.0]) == pytest.approx(abs(y - 1))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=9), st.floats(-6, 6))
def test_crps_of_an_ensemble_is_its_definition(members: list[float], y: float) -> None:
    x = np.array(members)
    pairs = np.abs(x[:, None] - x)
    m = len(x)
    first = np.abs(x - y).mean()
    found = measures.crps_sample([y], x[None])
    assert found == pytest.approx(first - pairs.sum() / m**2 / 2, abs=1e-9)
    fair = measures.crps_sample([y], x[None], fair=True)
    assert fair == pytest.approx(first - pairs.sum() / (m * (m - 1)) / 2, abs=1e-9)


def test_the_three_crps_agree_on_one_distribution() -> None:
    rng = np.random.default_rng(6)
    mean = rng.normal(size=60)
    y = mean + rng.normal(size=60)
    exact = measures.crps_gaussian(y, mean, np.ones(60))
    levels = (np.arange(199) + 1) / 200
    quantiles = mean[:, None] + norm.ppf(levels)
    assert measures.crps_quantiles(y, quantiles, levels) == pytest.approx(exact, rel=0.01)
    assert measures.crps_sample(y, quantiles) == pytest.approx(exact, rel=0.01)
    uneven = np.linspace(0, 1, 402)[1:-1] ** 3
    assert measures.crps_quantiles(y, mean[:, None] + norm.ppf(uneven), uneven) == pytest.approx(
        exact, rel=0.02
    )
    assert measures.crps_quantiles([3.0], [[1.0]], [0.5]) == 2  # one median: the absolute error


def test_pit_and_qcp_show_what_is_calibrated() -> None:
    rng = np.random.default_rng(8)
    y = rng.normal(size=3000)
    draws = rng.normal(size=(3000, 99))
    assert np.histogram(measures.pit(y, draws), 5, (0, 1))[0] == pytest.approx(600, abs=75)
    assert measures.pit(y + 2, draws).mean() > 0.85
    assert measures.pit([2.0], [[1.0, 2, 2, 3]]).tolist() == [0.5]
    levels = np.array([0.05, 0.5, 0.95])
    quantiles = np.tile(norm.ppf(levels), (3000, 1))
    np.testing.assert_allclose(measures.qcp(y, quantiles, levels), levels, atol=0.025)
    # An interval that fails on one side only: PICP says 0.9, QCP does not.
    sided = np.tile(norm.ppf([0.1, 0.5, 0.9999]), (3000, 1))
    assert measures.picp(y, sided[:, 0], sided[:, 2]).value == pytest.approx(0.9, abs=0.02)
    assert abs(measures.qcp(y, sided, levels)[0] - 0.05) > 0.03


# --- classes -----------------------------------------------------------------------------------


def test_brier_equals_scikit_learn_and_brier() -> None:
    y, p = RNG.integers(0, 2, 50), RNG.random(50)
    assert measures.brier(y, p) == pytest.approx(metrics.brier_score_loss(y, p))
    both = np.stack([1 - p, p], axis=1)
    assert measures.brier(y, both) == pytest.approx(2 * measures.brier(y, p))


def test_reliability_by_hand() -> None:
    found = measures.reliability([0, 1, 1, 1, 0], [0.05, 0.07, 0.95, 1.0, 0.5])
    np.testing.assert_allclose(found.predicted, [0.06, 0.5, 0.975])
    np.testing.assert_allclose(found.observed, [0.5, 0, 1])
    assert found.count.tolist() == [2, 1, 2]
    assert (found.lower <= found.observed).all() and (found.observed <= found.upper).all()
    assert found.error == pytest.approx((2 * 0.44 + 0.5 + 2 * 0.025) / 5)


def slow_kappa(y: Any, p: Any, order: list[int], power: int) -> float:
    k, n = len(order), len(y)
    table = [[sum(a == i and b == j for a, b in zip(y, p, strict=True)) / n for j in order] for i in order]
    rows, columns = [sum(r) for r in table], [sum(c) for c in zip(*table, strict=True)]
    seen = sum(abs(i - j) ** power * table[i][j] for i in range(k) for j in range(k))
    chance = sum(abs(i - j) ** power * rows[i] * columns[j] for i in range(k) for j in range(k))
    return 1 - seen / chance


@pytest.mark.parametrize(("weights", "power"), [("linear", 1), ("quadratic", 2)])
def test_weighted_kappa_is_cohens(weights: Any, power: int) -> None:
    order = [10, 30, 20, 40]  # steps of the list count, not the codes
    y, p = RNG.choice(order, 60), RNG.choice(order, 60)
    p[:30] = y[:30]
    assert measures.weighted_kappa(y, p, order, weights) == pytest.approx(slow_kappa(y, p, order, power))
    assert measures.weighted_kappa(y, y, order, weights) == 1
    assert np.isnan(measures.weighted_kappa([10, 10], [10, 10], order, weights))


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: measures.rmse([1.0, np.nan], [1.0, 1]), "1 of 2 values are not finite"),
        (lambda: measures.rmse([1.0, 2], [1.0]), "equal"),
        (lambda: measures.rmse([], []), "1 or more"),
        (lambda: measures.picp([1.0], [2.0], [1.0]), "lower end above"),
        (lambda: measures.interval_score([1.0], [0.0], [1.0], 1.0), "coverage"),
        (lambda: measures.proportion(0, 0), "1 or more"),
        (lambda: measures.crps_gaussian([1.0], [1.0], [-1.0]), "below 0"),
        (lambda: measures.crps_sample([1.0], [1.0]), "expected"),
        (lambda: measures.crps_sample([1.0], [[1.0]], fair=True), "2 members"),
        (lambda: measures.crps_quantiles([1.0], [[1.0, 2]], [0.5, 0.4]), "rising"),
        (lambda: measures.brier([0, 2], [0.1, 0.2]), "0 or 1"),
        (lambda: measures.brier([0, 1], [0.1, 1.2]), "0 to 1"),
        (lambda: measures.brier([0, 2], [[0.5, 0.5], [0.5, 0.5]]), "column numbers"),
        (lambda: measures.reliability([0, 1], [0.1, 1.2]), "0 to 1"),
        (lambda: measures.weighted_kappa([1, 5], [1, 1], [1, 2]), "not one of"),
    ],
)
def test_what_has_no_measure_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
