"""How far mapped ground lies from the ground a model was trained on, feature by feature.

The population stability index (Siddiqi 2006; its distribution: Yurdakul & Naranjo 2020) over the deciles of
the training rows: sum of (mapped - trained) x ln(mapped / trained), shares of each decile. Below 0.1 the two
are alike by common use, above 0.25 they are not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 10
#: Added to the count of each bin, so that an empty one has a share (Jeffreys' prior).
_PRIOR = 0.5


def edges(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Inner deciles (feature, 9) of training rows (row, feature) without a gap."""
    return np.quantile(np.asarray(rows, np.float64), np.arange(1, BINS) / BINS, axis=0).T


def counts(bounds: NDArray[np.float64], rows: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rows (row, feature) in each bin, (feature, 10); a bound belongs to the bin above, NaN to none."""
    made = np.zeros((len(bounds), BINS), np.int64)
    for own, limits, values in zip(made, bounds, np.asarray(rows).T, strict=True):
        known = values[~np.isnan(values)]
        own += np.bincount(np.searchsorted(limits, known, side="right"), minlength=BINS)
    return made


def stability(trained: ArrayLike, mapped: ArrayLike) -> float:
    """Population stability index of two counts over the same bins; NaN where either is empty."""
    a, b = np.asarray(trained, np.float64), np.asarray(mapped, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"counts have {a.shape} and {b.shape} bins; expected the same")
    if not a.sum() or not b.sum():
        return float("nan")
    p, q = ((c + _PRIOR) / (c + _PRIOR).sum() for c in (a, b))
    return float(((q - p) * np.log(q / p)).sum())
