"""Means over a probability sample, by its design: no model of the ground and no fold is asked.

Each unit stands for 1/p of the ground, p its inclusion probability (Horvitz & Thompson 1952); means are those
ratios (Hájek 1971) with Taylor variances within strata (Särndal, Swensson & Wretman 1992, section 5.7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mean:
    """A mean over the sampled ground with its standard error."""

    value: float
    se: float


def mean(values: ArrayLike, probability: ArrayLike, strata: ArrayLike | None = None) -> Mean:
    """Mean of ``values`` (unit,) over the ground that a probability sample stands for.

    ``probability`` (unit,): inclusion probabilities, above 0 to 1. ``strata`` (unit,): any labels; one if absent.
    Units are taken as drawn without replacement with equal chances within a stratum. The standard error is
    NaN where a stratum has a single unit that stands for more than itself. Raises ValueError where lengths
    differ or a probability is not possible.
    """
    y, p = np.asarray(values, np.float64), np.asarray(probability, np.float64)
    h = (
        np.zeros(len(y), np.intp)
        if strata is None
        else np.unique(np.asarray(strata, str), return_inverse=True)[1]
    )
    if not (y.shape == p.shape == h.shape and y.ndim == 1 and len(y)):
        raise ValueError(
            f"found {y.shape} values, {p.shape} probabilities and {h.shape} strata; expected equal"
        )
    if not ((p > 0) & (p <= 1)).all():
        raise ValueError("an inclusion probability is not above 0 and at most 1")
    weight = 1 / p
    total = weight.sum()
    found = float(weight @ y / total)
    z = weight * (y - found) / total
    n = np.bincount(h)
    spread = np.bincount(h, z**2) - np.bincount(h, z) ** 2 / n
    left = 1 - np.bincount(h, p) / n
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = np.where(left > 1e-12, left * n / (n - 1) * np.maximum(spread, 0), 0.0)
    return Mean(found, float(np.sqrt(parts.sum())))
