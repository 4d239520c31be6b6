"""Measures of how good predictions, intervals, distributions and classes are; arrays in, numbers out.

All take finite values of equal length and raise ValueError otherwise; leave unmeasured rows out first.
A measure that its data cannot give (the R2 of values that do not vary) is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, norm
from sklearn.metrics import cohen_kappa_score

Floats = NDArray[np.float64]


# --- a predicted quantity ----------------------------------------------------------------------


def bias(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Mean error, predicted minus observed: above 0 the model says too much."""
    y, p = _pair(observed, predicted)
    return float((p - y).mean())


def mae(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error."""
    y, p = _pair(observed, predicted)
    return float(np.abs(p - y).mean())


def rmse(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error."""
    y, p = _pair(observed, predicted)
    return float(np.sqrt(((p - y) ** 2).mean()))


def r2(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Share of variance explained, 1 - SSE/SST (modelling efficiency, Nash & Sutcliffe 1970); not the
    squared correlation, and below 0 where the mean would predict better."""
    y, p = _pair(observed, predicted)
    spread = ((y - y.mean()) ** 2).sum()
    return float(1 - ((p - y) ** 2).sum() / spread) if np.ptp(y) > 0 else float("nan")


def concordance(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Lin's concordance correlation (1989, doi:10.2307/2532051): correlation times closeness to the 1:1
    line; moments with divisor n, as Lin's."""
    y, p = _pair(observed, predicted)
    below = y.var() + p.var() + (y.mean() - p.mean()) ** 2
    return float(2 * ((y - y.mean()) * (p - p.mean())).mean() / below) if below > 0 else float("nan")


def rpiq(observed: ArrayLike, predicted: ArrayLike) -> float:
    """Interquartile range of the observed values over RMSE (Bellon-Maurel et al. 2010,
    doi:10.1016/j.trac.2010.05.006); quartiles are linear. Infinite for a perfect prediction."""
    low, high = np.percentile(_pair(observed, predicted)[0], [25, 75])
    error = rmse(observed, predicted)
    return float((high - low) / error) if error > 0 else float("inf")


# --- a predicted interval ----------------------------------------------------------------------


@dataclass(frozen=True)
class Proportion:
    """A share of ``n`` cases with its binomial bounds."""

    value: float
    lower: float
    upper: float
    n: int


def proportion(
    hits: int, n: int, level: float = 0.95, method: Literal["exact", "wilson"] = "exact"
) -> Proportion:
    """A share with Clopper & Pearson's exact bounds (1934), or Wilson's (1927), which are narrower.

    They hold for independent cases; neighbouring samples are fewer than they look.
    """
    if not 0 <= hits <= n or n == 0:
        raise ValueError(f"found {hits} of {n} cases; expected 0 to n of 1 or more")
    bounds = binomtest(int(hits), int(n)).proportion_ci(level, method=method)
    return Proportion(hits / n, float(bounds.low), float(bounds.high), int(n))


def picp(observed: ArrayLike, lower: ArrayLike, upper: ArrayLike, level: float = 0.95) -> Proportion:
    """Prediction interval coverage probability: share inside lower..upper, ends included, with exact
    (Clopper-Pearson) bounds at ``level``. Read it with ``interval_score``: it hides one-sided failure and
    any width will do for it (Schmidinger & Heuvelink 2023, doi:10.1016/j.geoderma.2023.116585)."""
    y, low, high = _interval(observed, lower, upper)
    return proportion(int(((low <= y) & (y <= high)).sum()), len(y), level)


def interval_score(observed: ArrayLike, lower: ArrayLike, upper: ArrayLike, coverage: float = 0.9) -> float:
    """Mean interval score, in the unit of the values, smaller is better: width plus 2/alpha times how far
    a value lies outside, alpha = 1 - ``coverage`` (Gneiting & Raftery 2007, eq. 43,
    doi:10.1198/016214506000001437)."""
    y, low, high = _interval(observed, lower, upper)
    if not 0 < coverage < 1:
        raise ValueError(f"coverage is {coverage}; expected between 0 and 1")
    miss = np.maximum(low - y, 0) + np.maximum(y - high, 0)
    return float((high - low + 2 / (1 - coverage) * miss).mean())


# --- a predicted distribution ------------------------------------------------------------------


def crps_gaussian(observed: ArrayLike, mean: ArrayLike, sd: ArrayLike) -> float:
    """Mean continuous ranked probability score of normal predictions, in the unit of the values, smaller
    is better (Gneiting et al. 2005, eq. 5, doi:10.1175/MWR2904.1). With ``sd`` 0 it is the MAE."""
    y, m = _pair(observed, mean)
    s = np.broadcast_to(_finite(sd, "sd"), y.shape)
    if (s < 0).any():
        raise ValueError(f"sd has {s.min():g}; expected none below 0")
    z = (y - m) / np.where(s > 0, s, 1)
    score = s * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
    return float(np.where(s > 0, score, np.abs(y - m)).mean())


def crps_sample(observed: ArrayLike, draws: ArrayLike, fair: bool = False) -> float:
    """Mean CRPS of an ensemble (row, member): E|X - y| - E|X - X'|/2 (Gneiting & Raftery 2007, eq. 21).

    ``fair`` divides the second term by m(m - 1), so that small ensembles are not punished for being small
    (Ferro 2014, doi:10.1002/qj.2270).
    """
    y, x = _rows(observed, draws, "draws")
    m = x.shape[1]
    if fair and m < 2:
        raise ValueError("a fair score needs 2 members or more")
    x = np.sort(x, axis=1)
    # Sum of |xi - xj| over all pairs, from ranks: each member counts by how many lie below it.
    pairs = 2 * (x * (2 * np.arange(m) - m + 1)).sum(axis=1)
    spread = pairs / (m * (m - 1) if fair else m * m)
    return float((np.abs(x - y[:, None]).mean(axis=1) - spread / 2).mean())


def crps_quantiles(observed: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> float:
    """Mean CRPS from quantiles (row, level): twice the pinball loss, integrated over the levels.

    Each level stands for the levels nearest to it, so a few, uneven levels do. It is an approximation
    from above in the tails that no level reaches (Laio & Tamea 2007, doi:10.5194/hess-11-1267-2007).
    """
    y, q, tau = _levels(observed, quantiles, levels)
    edges = np.concatenate([[0], (tau[1:] + tau[:-1]) / 2, [1]])
    error = y[:, None] - q
    pinball = np.maximum(tau * error, (tau - 1) * error)
    return float((2 * pinball * np.diff(edges)).sum(axis=1).mean())


def pit(observed: ArrayLike, draws: ArrayLike) -> Floats:
    """Probability integral transform (row,) of an ensemble (row, member): share of members below the
    value, ties half. A flat histogram means calibrated, a U too narrow, a slope biased (Dawid 1984)."""
    y, x = _rows(observed, draws, "draws")
    below, ties = (x < y[:, None]).mean(axis=1), (x == y[:, None]).mean(axis=1)
    return np.asarray(below + ties / 2)


def qcp(observed: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> Floats:
    """Quantile coverage probability (level,): share of values at or below each predicted quantile
    (row, level); calibrated where it equals ``levels`` (Schmidinger & Heuvelink 2023)."""
    y, q, _ = _levels(observed, quantiles, levels)
    return np.asarray((y[:, None] <= q).mean(axis=0))


# --- classes -----------------------------------------------------------------------------------


def brier(truth: ArrayLike, probability: ArrayLike) -> float:
    """Brier score (1950), smaller is better.

    Of an event: ``truth`` (row,) of 0 and 1, ``probability`` (row,); 0 to 1. Of classes: ``truth`` (row,)
    of column numbers, ``probability`` (row, class); summed over the classes as Brier's, 0 to 2.
    """
    p = _finite(probability, "probability")
    if (p < 0).any() or (p > 1).any():
        raise ValueError(f"probabilities reach {p.min():g} to {p.max():g}; expected 0 to 1")
    if p.ndim == 1:
        y, p = _pair(truth, p)
        _events(y)
        return float(((p - y) ** 2).mean())
    y, p = _rows(truth, p, "probability")
    hit = y[:, None] == np.arange(p.shape[1])
    if not hit.any(axis=1).all():
        raise ValueError(f"truth must hold column numbers 0 to {p.shape[1] - 1}")
    return float(((p - hit) ** 2).sum(axis=1).mean())


@dataclass(frozen=True, eq=False)
class Reliability:
    """Reliability diagram (bin,): bins without a case are left out."""

    predicted: Floats
    """Mean probability of the cases in the bin."""
    observed: Floats
    """How often the event came."""
    lower: Floats
    upper: Floats
    """95 % Wilson bounds of ``observed``."""
    count: NDArray[np.int64]

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of observed and predicted, by number of cases."""
        return float(np.average(np.abs(self.observed - self.predicted), weights=self.count))


def reliability(truth: ArrayLike, probability: ArrayLike, bins: int = 10) -> Reliability:
    """How often an event (0 and 1) came where a probability was said, in equal bins of it."""
    y, p = _pair(truth, probability)
    _events(y)
    if (p < 0).any() or (p > 1).any():
        raise ValueError(f"probabilities reach {p.min():g} to {p.max():g}; expected 0 to 1")
    cell = np.minimum((p * bins).astype(int), bins - 1)
    count = np.bincount(cell, minlength=bins)
    some = count > 0
    hits, said = (np.bincount(cell, weights=v, minlength=bins)[some] for v in (y, p))
    count = count[some]
    shares = [proportion(int(h), int(n), method="wilson") for h, n in zip(hits, count, strict=True)]
    lower, upper = (np.array([getattr(s, side) for s in shares]) for side in ("lower", "upper"))
    return Reliability(said / count, hits / count, lower, upper, count)


def weighted_kappa(
    observed: ArrayLike,
    predicted: ArrayLike,
    classes: ArrayLike,
    weights: Literal["quadratic", "linear"] | None = "quadratic",
) -> float:
    """Cohen's weighted kappa (1968) of ordered classes: 1 perfect, 0 as by chance; far misses weigh more,
    or all alike with ``weights`` None (Cohen 1960).

    ``classes`` lists the codes from least to most; distance is in steps of that list, not in codes.
    NaN where only one class occurs.
    """
    y, p, order = (np.asarray(v) for v in (observed, predicted, classes))
    if y.shape != p.shape or y.ndim != 1 or not len(y):
        raise ValueError(
            f"found {y.shape} observed and {p.shape} predicted; expected equal (row,), not empty"
        )
    strange = sorted(set(np.concatenate([y, p]).tolist()) - set(order.tolist()))
    if strange:
        raise ValueError(f"class {strange[0]} is not one of {order.tolist()}")
    if len(set(y.tolist()) | set(p.tolist())) < 2:
        return float("nan")
    return float(cohen_kappa_score(y, p, labels=order, weights=weights))


# --- arguments ---------------------------------------------------------------------------------


def _finite(values: ArrayLike, what: str) -> Floats:
    array = np.asarray(values, np.float64)
    wrong = int((~np.isfinite(array)).sum())
    if wrong or not array.size:
        raise ValueError(
            f"{what}: {wrong} of {array.size} values are not finite; expected 1 or more, all finite"
        )
    return array


def _pair(observed: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    y, p = _finite(observed, "observed"), _finite(predicted, "predicted")
    if y.ndim != 1 or y.shape != p.shape:
        raise ValueError(f"found {y.shape} observed and {p.shape} predicted; expected equal (row,)")
    return y, p


def _interval(observed: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> tuple[Floats, Floats, Floats]:
    (y, low), (_, high) = _pair(observed, lower), _pair(observed, upper)
    if (low > high).any():
        raise ValueError(f"{int((low > high).sum())} intervals have their lower end above the upper")
    return y, low, high


def _rows(observed: ArrayLike, table: ArrayLike, what: str) -> tuple[Floats, Floats]:
    y, x = _finite(observed, "observed"), _finite(table, what)
    if y.ndim != 1 or x.ndim != 2 or len(x) != len(y):
        raise ValueError(f"found {y.shape} observed and {x.shape} {what}; expected (row,) and (row, n)")
    return y, x


def _levels(observed: ArrayLike, quantiles: ArrayLike, levels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    (y, q), tau = _rows(observed, quantiles, "quantiles"), _finite(levels, "levels")
    if tau.shape != (q.shape[1],) or not ((tau > 0) & (tau < 1)).all() or (np.diff(tau) <= 0).any():
        raise ValueError(f"levels are {tau.tolist()}; expected {q.shape[1]} rising between 0 and 1")
    return y, q, tau


def _events(y: Floats) -> None:
    if not np.isin(y, (0, 1)).all():
        raise ValueError("truth of an event must be 0 or 1")
