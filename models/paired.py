"""Is one model better than another on the same folds, or was it luck?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from models.folds import Folds
from models.uncertainty import Vector


@dataclass(frozen=True)
class Paired:
    """Mean difference of the losses of two models, this less that, over folds."""

    difference: float
    """Below 0 this model is better."""
    standard_error: float
    t: float
    degrees_of_freedom: int
    p_better: float
    """One-sided: how likely a difference this low is by chance, if this model is no better."""
    p_worse: float
    interval: tuple[float, float]
    """95 %."""

    def dump(self) -> dict[str, Any]:
        """As values that JSON holds."""
        return asdict(self) | {"interval": list(self.interval)}


def corrected_t(differences: ArrayLike, test_to_train: float) -> Paired:
    """Corrected resampled t-test (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).

    ``differences`` (fold,): mean loss of this model less that of the other, on the rows left out of each
    training; training sets overlap, so the variance is raised by ``test_to_train``, the rows tested over
    the rows trained on. All equal: no doubt where they are not 0, no evidence where they are. Raises
    ValueError for fewer than 2, or ones that are not finite.
    """
    d = np.asarray(differences, np.float64)
    if d.ndim != 1 or len(d) < 2 or not np.isfinite(d).all():
        raise ValueError(f"differences are {d.shape}; expected (fold,) with 2 or more, all finite")
    mean, spread = float(d.mean()), float(d.std(ddof=1))
    error = spread * float(np.sqrt(1 / len(d) + test_to_train))
    freedom = len(d) - 1
    if error > 0:
        score = mean / error
        low, high = student.interval(0.95, freedom, mean, error)
    else:
        score, low, high = (0.0 if mean == 0 else float(np.copysign(np.inf, mean))), mean, mean
    p_better = float(student.cdf(score, freedom))
    return Paired(mean, error, score, freedom, p_better, 1 - p_better, (float(low), float(high)))


def on_folds(this: Vector, that: Vector, splits: Folds) -> Paired:
    """``corrected_t`` of losses (row,) of two models over the test rows of ``splits``."""
    difference = this - that
    means = [float(difference[test].mean()) for _, test in splits]
    return corrected_t(means, float(np.mean([len(test) / len(fit) for fit, test in splits])))
