"""Predictive distributions against closed forms and Monte Carlo, calibration against a world that is known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats
from sklearn.linear_model import LogisticRegression

from models import uncertainty
from models.uncertainty import SCORES, Calibration, ClassCalibration, Distribution, calibrate, shape

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
GAUSS = tuple(SCORES.tolist())


def normal(mu: float, sd: float, transform: Any = "none") -> Distribution:
    return Calibration(GAUSS, 2 * np.log(sd), 0.0, transform).about_soil(np.array([mu]), np.zeros(1))


# --- one distribution -------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1e-6, 0.01, 0.05, 0.123, 0.5, 0.9, 0.999999])
def test_a_gaussian_shape_gives_the_normal_and_the_lognormal(p: float) -> None:
    for transform, oracle in (
        ("none", stats.norm(0.4, 0.7)),
        ("log", stats.lognorm(0.7, scale=np.exp(0.4))),
    ):
        found = normal(0.4, 0.7, transform)
        value = float(oracle.ppf(p))
        assert found.quantile(p)[0] == pytest.approx(value, rel=1e-9)
        # between knots the normal score is read off a straight line, so this is exact, too
        assert found.above(value)[0] == pytest.approx(1 - p, rel=1e-6, abs=1e-12)
        assert found.cdf(np.array([value]))[0] == pytest.approx(p, rel=1e-6)
        assert found.mean[0] == pytest.approx(oracle.mean(), rel=1e-9)
        assert found.median[0] == pytest.approx(oracle.median(), rel=1e-9)


shapes = st.builds(
    lambda seed, n, power: shape(
        np.sign(e := np.random.default_rng(seed).normal(size=n)) * np.abs(e) ** power
    ),
    st.integers(0, 10**6),
    st.integers(2, 80),
    st.sampled_from([0.3, 1.0, 2.0]),
)


@PROPERTY
@given(shapes, st.sampled_from(["none", "log"]), st.integers(0, 99))
def test_nothing_that_is_read_crosses(knots: NDArray[np.float64], transform: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = Distribution(rng.normal(size=50), rng.exponential(size=50), knots, transform)
    levels = [0.5, 0.8, 0.9, 0.99]
    lower, upper = zip(*(found.interval(level) for level in levels), strict=True)
    rising = np.stack([*lower[::-1], found.median, *upper])
    assert (np.diff(rising, axis=0) >= 0).all()
    chance = np.stack([found.above(t) for t in (-3, 0, 0.1, 1, 2, 50)])
    assert (np.diff(chance, axis=0) <= 0).all() and (chance >= 0).all() and (chance <= 1).all()
    for p in (0.001, 0.05, 0.5, 0.77, 0.95):
        np.testing.assert_allclose(found.cdf(found.quantile(p)), p, atol=1e-6)


@PROPERTY
@given(shapes, st.sampled_from(["none", "log"]))
def test_the_mean_is_that_of_many_draws(knots: NDArray[np.float64], transform: Any) -> None:
    found = Distribution(np.array([0.3]), np.array([0.4]), knots, transform)
    p = (np.arange(4000) + 0.5) / 4000
    draws = np.array([found.quantile(float(q))[0] for q in p])
    if knots[-1] - knots[0] < 20:  # beyond, the mean of exp lies in tails that 4,000 draws miss
        assert found.mean[0] == pytest.approx(draws.mean(), rel=0.02, abs=0.02)


def test_a_value_that_a_logarithm_cannot_have_is_exceeded_for_sure() -> None:
    found = normal(0, 1, "log")
    assert found.above(0.0)[0] == found.above(-1.0)[0] == 1
    assert found.cdf(np.array([0.0]))[0] == 0


def test_an_unknown_row_is_unknown_in_all() -> None:
    calibration = Calibration(GAUSS, 0.0, 0.1, "log")
    found = calibration.about_soil(np.array([np.nan, 1.0]), np.array([np.nan, 0.0]))
    for values in (found.median, found.mean, found.above(2.0), found.above(-1.0), *found.interval()):
        assert np.isnan(values[0]) and np.isfinite(values[1])


@pytest.mark.parametrize("p", [0, 1, -0.1, 1.1])
def test_a_level_that_is_no_probability_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="expected above 0 and below 1"):
        normal(0, 1).quantile(p)


# --- the shape --------------------------------------------------------------------------------


def test_the_shape_has_the_conformal_quantiles() -> None:
    """The k-th of n residuals stands at k / (n + 1): 19 of them hold a 90 % interval exactly."""
    e = np.sort(np.random.default_rng(0).normal(size=19))
    found = Distribution(np.zeros(1), np.ones(1), shape(e))
    assert found.quantile(10 / 20)[0] == pytest.approx(e[9], abs=1e-9)
    assert found.quantile(0.05)[0] == pytest.approx(e[0], abs=0.05)
    assert found.quantile(0.95)[0] == pytest.approx(e[18], abs=0.05)


def test_skew_is_kept() -> None:
    e = stats.expon.rvs(size=20000, random_state=0) - 1
    found = Distribution(np.zeros(1), np.ones(1), shape(e))
    for p in (0.05, 0.5, 0.95):
        assert found.quantile(p)[0] == pytest.approx(stats.expon.ppf(p) - 1, abs=0.05)


def test_ties_and_few_residuals_still_rise() -> None:
    for e in ([0.0, 0.0, 0.0], [1.0, 1.0], [-1.0, 2.0], [0, 0, 0, 5]):
        assert (np.diff(shape(np.array(e, float))) > 0).all()
    for e in ([1.0], [], [1.0, np.nan]):
        with pytest.raises(ValueError, match="expected 2 or more, all finite"):
            shape(np.array(e))


# --- the laboratory ---------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_known_sample_error_is_taken_out_of_the_interval(noise: float) -> None:
    """Soil sd 0.6; the interval is about the soil however noisy the laboratory, and covers its truth."""
    rng = np.random.default_rng(1)
    n = 20000
    own = noise**2 * rng.uniform(0.5, 1.5, n)
    soil = 0.6 * rng.normal(size=n)
    measured = soil + np.sqrt(own) * rng.normal(size=n)
    base = uncertainty.log_variance(measured, own)
    found = calibrate(measured, np.zeros(n), base, own)
    assert np.exp(base) == pytest.approx(0.36, rel=0.05)
    low, high = found.about_soil(np.zeros(n), np.zeros(n)).interval(0.9)
    assert ((low <= soil) & (soil <= high)).mean() == pytest.approx(0.9, abs=0.01)
    low, high = found.about_measurement(np.zeros(n), np.zeros(n), own).interval(0.9)
    assert ((low <= measured) & (measured <= high)).mean() == pytest.approx(0.9, abs=0.01)


def test_a_common_error_widens_every_interval_and_more_samples_do_not_help() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for n in (100, 10000):
        e = rng.normal(size=n)
        plain = calibrate(e, np.zeros(n), 0.0)
        shared = calibrate(e, np.zeros(n), 0.0, common_variance=np.full(n, 3.0))
        assert shared.common == pytest.approx(3)
        widths.append(
            [
                np.subtract(*c.about_soil(np.zeros(1), np.zeros(1)).interval()[::-1])[0]
                for c in (plain, shared)
            ]
        )
    for alone, both in widths:
        assert both / alone == pytest.approx(2)  # sqrt(1 + 3)
    shared = calibrate(rng.normal(size=4), np.zeros(4), 0.0, common_variance=[0.0, 0.0, 4.0, 4.0])
    assert shared.common == pytest.approx(1)  # one error moves all: its sd is 0, 0, 2, 2, on average 1


def test_one_variance_by_likelihood_is_that_of_a_grid() -> None:
    rng = np.random.default_rng(3)
    own = rng.uniform(0, 0.5, 300)
    e = rng.normal(size=300) * np.sqrt(0.2 + own)
    grid = np.linspace(np.log(0.01), np.log(2), 4001)
    best = grid[np.argmin([-stats.norm.logpdf(e, scale=np.sqrt(np.exp(g) + own)).sum() for g in grid])]
    assert uncertainty.log_variance(e, own) == pytest.approx(best, abs=1e-3)
    value = uncertainty.likelihood(e, np.full(300, best), own) + 0.5 * np.log(2 * np.pi)
    assert value == pytest.approx(-stats.norm.logpdf(e, scale=np.sqrt(np.exp(best) + own)).mean())


def test_a_laboratory_worse_than_all_that_is_seen_does_not_make_the_soil_certain() -> None:
    e = np.random.default_rng(4).normal(size=200)
    assert np.exp(uncertainty.log_variance(e, 100.0)) == pytest.approx(0.01 * (e**2).mean())


def test_slopes_of_the_likelihood_are_its_differences() -> None:
    rng = np.random.default_rng(5)
    e, f, own = rng.normal(size=7), rng.normal(size=7), rng.uniform(0, 1, 7)
    slope, information = uncertainty.likelihood_slopes(e, f, own)
    for k in range(7):
        step = np.zeros(7)
        step[k] = 1e-6
        rise = uncertainty.likelihood(e, f + step, own) - uncertainty.likelihood(e, f - step, own)
        assert slope[k] == pytest.approx(7 * rise / 2e-6, rel=1e-5)
    draws = rng.normal(size=(200000, 7)) * np.sqrt(np.exp(f) + own)
    many = np.stack([uncertainty.likelihood_slopes(d, f, own)[0] for d in draws[:20000]])
    np.testing.assert_allclose(many.var(axis=0), information, rtol=0.1)


@pytest.mark.parametrize("variance", [-1.0, np.nan, np.inf, [0.1, 0.2]])
def test_a_variance_that_is_none_is_refused(variance: Any) -> None:
    with pytest.raises(ValueError, match="variances"):
        calibrate(np.arange(5.0), np.zeros(5), 0.0, variance)


def test_a_calibration_goes_to_json_and_back_to_the_same_bits() -> None:
    found = calibrate(np.random.default_rng(0).normal(size=50), np.zeros(50), 0.3, 0.1, 0.2, "log")
    assert Calibration.parse(json.loads(json.dumps(found.dump()))) == found


@pytest.mark.parametrize(
    "change",
    [{"knots": [1.0]}, {"knots": [0.0] * 61}, {"transform": "sqrt"}, {"common": -1}, {"base": np.inf}],
)
def test_a_calibration_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Calibration.parse(Calibration(GAUSS, 0.0, 0.0).dump() | change)


# --- classes ----------------------------------------------------------------------------------


def ordered(n: int, seed: int, stretch: float = 1.0) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Classes of a latent logistic quantity, and what an over- or under-confident model says of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 2, n)
    label = np.digitize(x + rng.logistic(size=n), [-1, 0.5, 2])
    tails = 1 / (1 + np.exp(-stretch * (x[:, None] - np.array([-1, 0.5, 2]))))
    return -np.diff(np.hstack([np.ones((n, 1)), tails, np.zeros((n, 1))]), axis=1), label


@pytest.mark.parametrize("stretch", [0.3, 1.0, 3.0])
def test_confidence_is_set_right_at_each_cut(stretch: float) -> None:
    said, label = ordered(20000, 0, stretch)
    found = ClassCalibration.fit(said, label)
    assert found.slope == pytest.approx(1 / stretch, rel=0.05)
    fresh, truth = ordered(20000, 1, stretch)
    chance = found.apply(fresh)
    np.testing.assert_allclose(chance, ordered(20000, 1)[0], atol=0.03)
    for k in range(3):
        above = chance[:, k + 1 :].sum(axis=1)
        for low in np.arange(0, 1, 0.2):
            near = (above >= low) & (above < low + 0.2)
            assert above[near].mean() == pytest.approx((truth[near] > k).mean(), abs=0.04)


def test_of_two_classes_it_is_logistic_regression() -> None:
    said, label = ordered(4000, 2, 2.0)
    two, label = np.column_stack([said[:, :2].sum(axis=1), said[:, 2:].sum(axis=1)]), (label > 1).astype(int)
    x = np.log(two[:, 1] / two[:, 0])[:, None]
    oracle = LogisticRegression(C=np.inf, tol=1e-10).fit(x, label)
    found = ClassCalibration.fit(two, label)
    np.testing.assert_allclose(found.apply(two), oracle.predict_proba(x), atol=2e-3)


@PROPERTY
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 60), st.booleans())
def test_probabilities_are_probabilities_whatever_was_said(seed: int, k: int, n: int, prior: bool) -> None:
    rng = np.random.default_rng(seed)
    said = rng.dirichlet(np.full(k, 0.1), n)
    label = rng.integers(0, rng.integers(1, k + 1), n)  # some classes may lack a sample
    found = ClassCalibration.fit(said, label, rng.dirichlet(np.ones(k)) + 0.01 if prior else None)
    chance = found.apply(rng.dirichlet(np.full(k, 0.1), 40))
    assert (chance >= 0).all()
    np.testing.assert_allclose(chance.sum(axis=1), 1, atol=1e-9)
    assert ClassCalibration.parse(json.loads(json.dumps(found.dump()))) == found


def test_weights_given_to_classes_in_training_are_undone() -> None:
    said, label = ordered(20000, 3)
    weighted = said * np.array([1, 1, 1, 20.0])
    weighted /= weighted.sum(axis=1, keepdims=True)
    found = ClassCalibration.fit(weighted, label).apply(weighted)
    np.testing.assert_allclose(found.mean(axis=0), np.bincount(label) / len(label), atol=0.01)


def test_the_rate_of_sampling_is_undone() -> None:
    """Half of the samples were sought where it is bad; the map's shares are those of the ground."""
    said, label = ordered(60000, 4)
    ground = np.bincount(label) / len(label)
    kept = np.concatenate([np.flatnonzero(label == 3), np.flatnonzero(label != 3)[:9000]])
    rates = (np.bincount(label[kept]) / len(kept)) / ground
    biased = said * rates
    biased /= biased.sum(axis=1, keepdims=True)
    plain = ClassCalibration.fit(biased[kept], label[kept]).apply(biased)
    found = ClassCalibration.fit(biased[kept], label[kept], ground).apply(biased)
    assert np.abs(plain.mean(axis=0) - ground).max() > 0.1
    np.testing.assert_allclose(found.mean(axis=0), ground, atol=0.015)
    np.testing.assert_allclose(found, said, atol=0.06)


def test_scores_that_point_the_wrong_way_say_nothing() -> None:
    said, label = ordered(2000, 5)
    found = ClassCalibration.fit(said[:, ::-1], label)
    assert found.slope == 0
    np.testing.assert_allclose(found.apply(said)[0], np.bincount(label) / 2000, atol=0.01)


def test_shares_that_do_not_fit_are_refused() -> None:
    said, label = ordered(50, 6)
    for share in ([0.5, 0.5], [0.0, 0.2, 0.3, 0.5], [-1, 1, 1, 1]):
        with pytest.raises(ValueError, match="expected 4 numbers above 0"):
            ClassCalibration.fit(said, label, share)
