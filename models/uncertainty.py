"""One predictive distribution a pixel, about the soil and not about the laboratory.

A quantity is learnt as z (its logarithm for transform log). A location booster gives mu(x), a scale booster
the variance v(x) of the soil around mu. Left-out residuals of spatial folds, divided by their own standard
deviation, give one shape; the distribution is mu + sqrt(v + c) times that shape, where c is the variance
of an error that all samples share. This is the normalised conformal predictive distribution of Boström,
Johansson & Löfström 2021 (PMLR 152), with two changes: the known variance of each sample's error is taken
out (v is fitted by likelihood to residuals of variance v + s2), and the shape is a Gaussian anamorphosis
(Chilès & Delfiner 2012, ch. 6), so that it has tails. Taking out s2 keeps the shape and matches the
variance, which is exact where errors are Gaussian.

Classes are calibrated as cumulative probabilities (Platt 1999, at each cut between classes), kept monotone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, ndtr, ndtri

Vector = NDArray[np.float64]

#: Standard normal scores at which the shape is kept; beyond them it goes on straight.
SCORES = np.round(np.arange(-30, 31) / 10, 1)
#: Soil variance is never thought to be less than this share of that of the residuals.
LEAST_SHARE = 0.01
#: Probabilities are kept this far from 0 and 1 before their logit is taken.
TINY = 1e-6
#: Strength of the belief that probabilities need no stretching, in units of one sample.
STRETCH_PRIOR = 1.0


@dataclass(frozen=True)
class Distribution:
    """Predictive distributions of rows: everything that is said of a row is read from one of these.

    ``location`` and ``spread`` (row,) are in learning units; values are in the target's unit. A row whose
    location is NaN is NaN in all.
    """

    location: Vector
    spread: Vector
    knots: Vector = field(repr=False)
    """Quantiles of the shape at ``SCORES``, rising."""
    transform: Literal["none", "log"] = "none"

    def quantile(self, p: float) -> Vector:
        """Value that is not exceeded with probability ``p``, 0 < p < 1 (row,)."""
        if not 0 < p < 1:
            raise ValueError(f"probability is {p}; expected above 0 and below 1")
        return self._back(self.location + self.spread * _shape(float(ndtri(p)), self.knots))

    @property
    def median(self) -> Vector:
        """(row,)."""
        return self.quantile(0.5)

    @property
    def mean(self) -> Vector:
        """Expected value (row,): what sums and averages over an area need."""
        if self.transform == "none":
            return np.asarray(self.location + self.spread * _mean_of_shape(self.knots))
        return np.asarray(np.exp(self.location) * _mean_of_exponential(self.spread, self.knots))

    def interval(self, level: float = 0.9) -> tuple[Vector, Vector]:
        """Central interval of nominal coverage ``level``: lower and upper (row,)."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def above(self, threshold: float) -> Vector:
        """Probability that the value exceeds ``threshold``, given in the target's unit (row,)."""
        if self.transform == "log" and threshold <= 0:
            return np.where(np.isnan(self.location), np.nan, 1.0)
        z = np.log(threshold) if self.transform == "log" else threshold
        return np.asarray(ndtr(-_score((z - self.location) / self.spread, self.knots)))

    def cdf(self, values: Vector) -> Vector:
        """Probability that the value is at most ``values`` (row,), each row at its own; the PIT of a truth."""
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.log(np.maximum(values, 0)) if self.transform == "log" else values
        return np.asarray(ndtr(_score((z - self.location) / self.spread, self.knots)))

    def _back(self, z: Vector) -> Vector:
        return np.exp(z) if self.transform == "log" else z


@dataclass(frozen=True)
class Calibration:
    """What turns the raw scores of the location and scale boosters into distributions."""

    knots: tuple[float, ...]
    """Quantiles of the shape at ``SCORES``, rising."""
    base: float
    """Log variance to which the scale booster's score is added."""
    common: float
    """Variance of the error that all samples share, in squared learning units."""
    transform: Literal["none", "log"] = "none"

    def __post_init__(self) -> None:
        if len(self.knots) != len(SCORES) or not (np.diff(self.knots) > 0).all():
            raise ValueError(f"a shape has {len(SCORES)} rising knots")
        if not (np.isfinite(self.base) and 0 <= self.common < np.inf):
            raise ValueError(f"base {self.base} and common variance {self.common} must be finite")

    def about_soil(self, location: ArrayLike, scale: ArrayLike) -> Distribution:
        """Distributions of the soil's own value, from both boosters' raw scores (row,)."""
        return self._with(location, scale, self.common)

    def about_measurement(
        self, location: ArrayLike, scale: ArrayLike, sample_variance: ArrayLike = 0.0
    ) -> Distribution:
        """Distributions of what a laboratory would report, which shares the common error."""
        return self._with(location, scale, sample_variance)

    def _with(self, location: ArrayLike, scale: ArrayLike, more: ArrayLike) -> Distribution:
        mu, raw = np.asarray(location, np.float64), np.asarray(scale, np.float64)
        spread = np.sqrt(np.exp(self.base + raw) + np.asarray(more))
        return Distribution(mu, spread, np.array(self.knots), self.transform)

    def dump(self) -> dict[str, Any]:
        """As values that JSON holds; ``parse`` reads them back to the same bits."""
        return {
            "knots": list(self.knots),
            "base": self.base,
            "common": self.common,
            "transform": self.transform,
        }

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Calibration:
        """Back from ``dump``, to the same bits."""
        if content["transform"] not in ("none", "log"):
            raise ValueError(f"unknown transform {content['transform']!r}")
        knots = tuple(float(q) for q in content["knots"])
        return cls(knots, float(content["base"]), float(content["common"]), content["transform"])


def calibrate(
    residual: Vector,
    scale: Vector,
    base: float,
    sample_variance: ArrayLike = 0.0,
    common_variance: ArrayLike = 0.0,
    transform: Literal["none", "log"] = "none",
) -> Calibration:
    """The shape of left-out residuals (row,), given the left-out raw scores of the scale booster (row,).

    ``sample_variance`` (row,) of each sample's own error is taken out; ``common_variance`` (row,) or one
    number is that of an error which shifts all samples together: residuals do not show it, averaging does
    not lessen it, so it is added to every distribution. Where it differs by row, its standard deviations
    are averaged, as one error moves all. Both in squared learning units. The mean residual does not move
    the distributions: samples come in clusters, and the chance of a few clusters is no bias of the map. It
    widens them instead. Raises ValueError for fewer
    than 2 residuals or a negative variance.
    """
    own = checked_variance(sample_variance, len(residual))
    shared = float(np.sqrt(checked_variance(common_variance, len(residual))).mean() ** 2)
    total = np.sqrt(np.exp(base + scale) + own)
    e = residual / total
    centred = e - e.mean()
    if centred.any():
        centred *= np.sqrt((e**2).mean() / (centred**2).mean())
    return Calibration(tuple(shape(centred).tolist()), base, shared, transform)


def checked_variance(variance: ArrayLike, rows: int) -> Vector:
    """Variances (row,); one number stands for all rows. Raises ValueError where one is negative or missing."""
    found = np.asarray(variance, np.float64)
    if found.shape not in ((), (rows,)):
        raise ValueError(f"variances are {found.shape}; expected one number or ({rows},)")
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError("variances must be finite and not negative")
    return np.broadcast_to(found, (rows,))


def shape(normalised: Vector) -> Vector:
    """Quantiles at ``SCORES`` of residuals divided by their standard deviation (row,).

    The k-th smallest of n stands at probability k / (n + 1), as conformal prediction asks; beyond the
    extremes the shape goes on with the mean slope of its side.
    """
    e = np.sort(np.asarray(normalised, np.float64))
    if len(e) < 2 or not np.isfinite(e).all():
        raise ValueError(f"found {len(e)} residuals; expected 2 or more, all finite")
    score = ndtri(np.arange(1, len(e) + 1) / (len(e) + 1))
    knots = np.interp(SCORES, score, e)
    middle = np.interp(0, score, e)
    for side, end, far in ((score[0] > SCORES, e[0], score[0]), (score[-1] < SCORES, e[-1], score[-1])):
        knots[side] = end + (SCORES[side] - far) * (end - middle) / far
    return np.asarray(np.maximum.accumulate(knots) + 1e-9 * SCORES)  # ties must still rise


def _shape(score: float, knots: Vector) -> float:
    """Quantile of the shape at a standard normal score."""
    end = SCORES[-1]
    if abs(score) > end:
        edge = knots[-1] if score > 0 else knots[0]
        return float(edge + (abs(score) - end) * (edge - _shape(0.0, knots)) / end)
    return float(np.interp(score, SCORES, knots))


def _score(e: Vector, knots: Vector) -> Vector:
    """Standard normal score of quantiles of the shape: the inverse of ``_shape``."""
    middle, end = _shape(0.0, knots), SCORES[-1]
    inner = np.interp(e, knots, SCORES)
    high, low = end * (e - middle) / (knots[-1] - middle), -end * (e - middle) / (knots[0] - middle)
    return np.where(e > knots[-1], high, np.where(e < knots[0], low, inner))


def _segments(knots: Vector) -> tuple[Vector, Vector, Vector, Vector]:
    """Straight pieces of the shape: from score, to score, value at score 0, slope."""
    middle, end = _shape(0.0, knots), SCORES[-1]
    inner = np.diff(knots) / np.diff(SCORES)
    slope = np.concatenate([[-(knots[0] - middle) / end], inner, [(knots[-1] - middle) / end]])
    at = np.concatenate([[knots[0] + end * slope[0]], knots[:-1] - SCORES[:-1] * inner, [middle]])
    at[-1] = knots[-1] - end * slope[-1]
    return np.concatenate([[-np.inf], SCORES]), np.concatenate([SCORES, [np.inf]]), at, slope


def _mean_of_shape(knots: Vector) -> float:
    start, stop, at, slope = _segments(knots)
    density = [np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi) for u in (start, stop)]
    return float((at * (ndtr(stop) - ndtr(start)) + slope * (density[0] - density[1])).sum())


def _mean_of_exponential(spread: Vector, knots: Vector) -> Vector:
    """Mean of exp(spread x shape), piece by piece: each is a part of a lognormal."""
    found = np.zeros(np.shape(spread))
    for start, stop, at, slope in zip(*_segments(knots), strict=True):
        b = spread * slope
        found += np.exp(spread * at + 0.5 * b**2) * (ndtr(stop - b) - ndtr(start - b))
    return np.where(np.isnan(spread), np.nan, found)


def log_variance(residual: Vector, sample_variance: ArrayLike = 0.0) -> float:
    """Maximum-likelihood log of one variance v where residuals have variance v + their sample variance.

    At least ``LEAST_SHARE`` of the residuals' own: a laboratory said to be worse than all that is seen
    does not make the soil certain.
    """
    squared, own = residual**2, checked_variance(sample_variance, len(residual))
    least = LEAST_SHARE * float(squared.mean())
    if least == 0:
        raise ValueError("all residuals are 0; nothing can be said of the error")
    low, high = np.log(least), np.log(float(squared.max()) * 2)
    for _ in range(60):  # the score changes sign once where a maximum lies inside
        middle = (low + high) / 2
        v = np.exp(middle)
        if float(((v + own - squared) / (v + own) ** 2).sum()) < 0:
            low = middle
        else:
            high = middle
    return float(low)


def likelihood(residual: Vector, log_v: Vector, sample_variance: Vector) -> float:
    """Mean negative log likelihood of residuals of variance exp(log_v) + sample_variance, less a constant."""
    total = np.exp(log_v) + sample_variance
    return float((0.5 * np.log(total) + 0.5 * residual**2 / total).mean())


def likelihood_slopes(residual: Vector, log_v: Vector, sample_variance: Vector) -> tuple[Vector, Vector]:
    """Gradient and Fisher information of ``likelihood`` by log_v, each (row,); what boosting asks for."""
    v = np.exp(log_v)
    share = v / (v + sample_variance)
    return 0.5 * share * (1 - residual**2 / (v + sample_variance)), 0.5 * share**2


@dataclass(frozen=True)
class ClassCalibration:
    """Probabilities of ordered classes, calibrated cut by cut: P(class > k) for each but the last.

    Since left-out samples of their true frequencies set the cuts, weights that training gave to classes
    are undone.
    """

    slope: float
    """Stretch of the logit of all cuts, 0 or more."""
    shift: tuple[float, ...]
    """Shift of the logit of each cut (class - 1,)."""
    prior: tuple[float, ...] | None = None
    """How many times likelier each class is on the map than among the samples (class,)."""

    @classmethod
    def fit(
        cls, probability: Vector, label: NDArray[Any], share: ArrayLike | None = None
    ) -> ClassCalibration:
        """From left-out ``probability`` (row, class) and the class numbers 0.. that were found (row,).

        ``share`` (class,): the classes' true shares of the mapped area, where samples were drawn at other
        rates. Raises ValueError where a share is not above 0.
        """
        count = probability.shape[1]
        stretch, shifts = _platt(_tails(probability), label[:, None] > np.arange(count - 1))
        slope, shift = stretch, tuple(shifts.tolist())
        if share is None:
            return cls(slope, shift)
        wanted = np.asarray(share, np.float64)
        if wanted.shape != (count,) or not (wanted > 0).all():
            raise ValueError(f"shares are {wanted.tolist()}; expected {count} numbers above 0")
        sampled = np.bincount(label, minlength=count) + 0.5  # a class never sampled still may be there
        ratio = (wanted / wanted.sum()) / (sampled / sampled.sum())
        return cls(slope, shift, tuple(ratio.tolist()))

    def apply(self, probability: Vector) -> Vector:
        """Calibrated probability (row, class) that sums to 1."""
        raw = logit(np.clip(_tails(probability), TINY, 1 - TINY))
        tails = expit(self.slope * raw + np.array(self.shift))
        tails = np.minimum.accumulate(tails, axis=1)  # P(class > k) cannot rise with k
        one, none = np.ones((len(tails), 1)), np.zeros((len(tails), 1))
        found = -np.diff(np.hstack([one, tails, none]), axis=1)
        if self.prior is not None:
            found = found * np.array(self.prior)
            found /= found.sum(axis=1, keepdims=True)
        return np.asarray(np.maximum(found, 0.0))

    def dump(self) -> dict[str, Any]:
        """As values that JSON holds; ``parse`` reads them back to the same bits."""
        prior = None if self.prior is None else list(self.prior)
        return {"slope": self.slope, "shift": list(self.shift), "prior": prior}

    @classmethod
    def parse(cls, content: dict[str, Any]) -> ClassCalibration:
        """Back from ``dump``. Raises ValueError or KeyError for other content."""
        shift = tuple(float(v) for v in content["shift"])
        prior = None if content["prior"] is None else tuple(float(v) for v in content["prior"])
        if prior is not None and len(prior) != len(shift) + 1:
            raise ValueError(f"{len(shift)} cuts and prior {prior} do not fit")
        return cls(float(content["slope"]), shift, prior)


def _tails(probability: Vector) -> Vector:
    """P(class > k) for each class but the last (row, class - 1)."""
    return np.asarray(np.cumsum(probability[:, ::-1], axis=1)[:, ::-1][:, 1:])


def _platt(probability: Vector, happened: NDArray[np.bool_]) -> tuple[float, Vector]:
    """One slope and each cut's shift of the logits (row, cut), by likelihood.

    Platt's smoothed targets and a prior slope of 1; cuts share the slope so that they seldom cross.
    """
    x = logit(np.clip(probability, TINY, 1 - TINY))
    rows, cuts = x.shape
    yes = happened.sum(axis=0)
    wanted = np.where(happened, (yes + 1) / (yes + 2), 1 / (rows - yes + 2))
    found = np.concatenate([[1.0], np.zeros(cuts)])
    for _ in range(200):
        p = expit(found[0] * x + found[1:])
        w = np.maximum(p * (1 - p), 1e-9)
        gradient = np.concatenate([[((p - wanted) * x).sum()], (p - wanted).sum(axis=0)])
        gradient[0] += STRETCH_PRIOR * (found[0] - 1)
        hessian = np.diag(np.concatenate([[(w * x * x).sum() + STRETCH_PRIOR], w.sum(axis=0)]))
        hessian[0, 1:] = hessian[1:, 0] = (w * x).sum(axis=0)
        step = np.linalg.solve(hessian, gradient)
        found -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))  # far off, Newton overshoots
        if np.abs(step).max() < 1e-10:
            break
    if found[0] < 0:  # scores that point the wrong way say nothing
        return 0.0, logit(wanted.mean(axis=0))
    return float(found[0]), found[1:]
