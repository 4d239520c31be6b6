"""Means by design: against Cochran's formulas written out, and over repeated drawings."""

from __future__ import annotations

import numpy as np
import pytest

from models import design


def test_a_stratified_mean_is_cochrans() -> None:
    rng = np.random.default_rng(1)
    sizes, counts = np.array([400, 100, 50]), np.array([20, 10, 5])
    y = [rng.normal(k, 1 + k, n) for k, n in enumerate(counts)]
    strata = np.repeat(["a", "b", "c"], counts)
    found = design.mean(np.concatenate(y), np.repeat(counts / sizes, counts), strata)
    weight = sizes / sizes.sum()
    assert found.value == pytest.approx(sum(w * v.mean() for w, v in zip(weight, y, strict=True)))
    variance = sum(
        w**2 * (1 - n / size) * v.var(ddof=1) / n
        for w, size, n, v in zip(weight, sizes, counts, y, strict=True)
    )
    assert found.se == pytest.approx(np.sqrt(variance))


def test_its_error_is_that_of_repeated_drawings() -> None:
    rng = np.random.default_rng(2)
    ground = [rng.gamma(2, 2, 300), rng.gamma(2, 5, 60)]
    truth = np.concatenate(ground).mean()
    drawn = []
    for _ in range(2000):
        picks = [rng.choice(g, n, replace=False) for g, n in zip(ground, (30, 20), strict=True)]
        p = np.repeat([0.1, 1 / 3], [30, 20])
        drawn.append(design.mean(np.concatenate(picks), p, np.repeat([0, 1], [30, 20])))
    values, errors = np.array([d.value for d in drawn]), np.array([d.se for d in drawn])
    assert values.mean() == pytest.approx(truth, rel=0.01)
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.05)


def test_a_census_has_no_error_and_one_unit_has_an_unknown_one() -> None:
    assert design.mean([1, 3], [1, 1]).se == 0
    assert np.isnan(design.mean([1.0, 2, 3], [0.1, 0.1, 0.1], ["a", "a", "b"]).se)
    for p in ([0.0, 1], [0.5, 1.2], [0.5]):
        with pytest.raises(ValueError):
            design.mean([1, 2], p)
