"""Electrical conductivity of any extract to that of the saturated paste, ECe, with the error this brings.

Published formulas for one extract differ by a factor of two, so a converted value carries their spread.
Most of it is a multiplier: in logarithms a shift that all samples of one extract have in common. Its
variance (``shared``) widens every interval and does not shrink with the number of samples; what differs
from sample to sample (``own``) does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from models.ec_formulas import FORMULAS, Converter, FaoDilution, Formula
from models.legends import Scheme
from models.readings import Floats, Readings, from_tds, parse_extract, parts, to_25c, to_ds_m, to_tss

__all__ = [
    "FORMULAS", "Conversion", "Converter", "Ece", "FaoDilution", "Formula", "Readings", "convert",
    "from_tds", "parse_extract", "to_25c", "to_ds_m", "to_tss",
]  # fmt: skip

Bools = NDArray[np.bool_]
#: Water of the wettest pastes of mineral soils, parts to one of soil.
_WETTEST_PASTE = 1.5


@dataclass(frozen=True)
class Ece:
    """ECe of one sample, dS/m, and what each formula said."""

    ece: float
    log_sd: float
    lower: float
    upper: float
    """90 % interval of the conversion."""
    clipped: bool
    beyond_calibration: bool
    formulas: dict[str, float]
    """Converter id -> ECe, before clipping."""


@dataclass(frozen=True, eq=False)
class Conversion:
    """ECe of readings (row,), dS/m at 25 °C, with the variance of its logarithm in two parts."""

    readings: Readings
    """What was measured, untouched."""
    ece: Floats
    """Geometric mean over the studies whose formulas apply, each with one vote; a median."""
    shared: Floats
    """Variance of ln ECe common to all rows of the same extract. NaN where one formula alone applies and
    states no error: then it is not known, and not 0."""
    own: Floats
    """Variance of ln ECe of each row by itself."""
    clipped: Bools
    """A formula fell below what is possible here and was left out, or, if all did, ECe is that bound."""
    beyond_calibration: Bools
    """No formula used is known to be calibrated at this ECe."""
    ids: tuple[str, ...]
    values: Floats
    """ECe by each converter of ``ids`` (row, converter); NaN where it does not apply."""

    def __len__(self) -> int:
        return len(self.ece)

    def __getitem__(self, row: int) -> Ece:
        low, high = self.interval()
        said = {i: float(v) for i, v in zip(self.ids, self.values[row], strict=True) if not np.isnan(v)}
        flags = bool(self.clipped[row]), bool(self.beyond_calibration[row])
        sd = float(np.sqrt(self.variance[row]))
        return Ece(float(self.ece[row]), sd, float(low[row]), float(high[row]), *flags, said)

    @property
    def variance(self) -> Floats:
        """Variance of ln ECe (row,)."""
        return self.shared + self.own

    def interval(self, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Lower and upper ECe (row,), normal in the logarithm."""
        reach = norm.ppf(0.5 + coverage / 2) * np.sqrt(self.variance)
        return self.ece * np.exp(-reach), self.ece * np.exp(reach)

    def chances(self, scheme: Scheme) -> Floats:
        """Probability of each class of ``scheme`` (row, class), normal in the logarithm; NaN where the
        error is not known. Raises ValueError where the scheme is not of ECe in dS/m."""
        if (scheme.quantity, scheme.unit) != ("ece", "dS/m"):
            raise ValueError(
                f"{scheme.name} classes {scheme.quantity} in {scheme.unit}; expected ece in dS/m"
            )
        sd = np.sqrt(self.variance)[:, None]
        below = np.log(scheme.bounds) - np.log(self.ece)[:, None]
        # Without any error (the paste itself) the chance is 0 or 1; a bound belongs to the class above it.
        exact = np.where(below > 0, 1.0, 0.0)
        reached = np.where(sd == 0, exact, norm.cdf(below / np.where(sd == 0, 1, sd)))
        return np.asarray(np.diff(reached, prepend=0, append=1, axis=1) + 0 * sd)

    def covariance(self) -> Floats:
        """Covariance of ln ECe (row, row): rows of one extract move together."""
        extract = self.readings.extracts
        shared = np.where(extract[:, None] == extract, np.sqrt(self.shared[:, None] * self.shared), 0)
        return np.asarray(shared + np.diag(self.own))

    def mean_variance(self) -> float:
        """Variance of the mean of ln ECe over all rows; its shared part stays, however many they are."""
        _, group = np.unique(self.readings.extracts, return_inverse=True)
        moved = np.bincount(group, weights=np.sqrt(self.shared))
        return float(((moved**2).sum() + self.own.sum()) / len(self) ** 2)

    def frame(self) -> pd.DataFrame:
        """Everything in one table: what was measured, ECe, its error and its flags."""
        low, high = self.interval()
        return pd.DataFrame(
            self.readings.columns
            | {"ece": self.ece, "ece_lower": low, "ece_upper": high}
            | {"ece_log_variance_shared": self.shared, "ece_log_variance_own": self.own}
            | {"ece_clipped": self.clipped, "ece_beyond_calibration": self.beyond_calibration}
        )


def convert(
    readings: Readings, converters: Sequence[Converter] = FORMULAS, lab_log_sd: ArrayLike = 0.0
) -> Conversion:
    """ECe of readings by every converter that applies, and their spread as its error.

    ``lab_log_sd``: standard deviation of repeated laboratory readings in logarithms (about their relative
    error), which is added to ``own``. Where texture is not known, all textures of a study count, and their
    spread is the row's own. Raises ValueError for a measured row that no converter takes.
    """
    x, extract = readings.ec_25, readings.extracts
    values = np.stack([c(readings) for c in converters], axis=1)
    applies = ~np.isnan(values)
    _refuse(np.flatnonzero(~np.isnan(x) & ~applies.any(axis=1)), extract, converters)
    floor = _least(x, extract)
    possible = applies & (np.nan_to_num(values) > floor[:, None])
    logs = np.log(np.where(possible, values, 1))
    votes, within, voting = _by_study(logs, possible, [c.study for c in converters])
    count = np.maximum(voting.sum(axis=1), 1)
    log_ece = votes.sum(axis=1) / count
    stated = [np.nan if c.log_sd is None else c.log_sd for c in converters]
    alone = np.where(possible, stated, 0).max(axis=1) ** 2
    shared, own = _split(np.where(voting, votes - log_ece[:, None], 0), voting, extract, alone)
    own = own + within.sum(axis=1) / count + np.asarray(lab_log_sd, np.float64) ** 2
    # exp(log(4)) is not 4, and a class may begin there.
    sole = np.where(possible, values, 0).sum(axis=1)
    ece = np.where(possible.sum(axis=1) == 1, sole, np.exp(log_ece))
    some, measured = possible.any(axis=1), ~np.isnan(x)
    ece = np.where(some, ece, np.where(measured, floor, np.nan))
    low, high = np.array([c.calibrated or (np.inf, -np.inf) for c in converters]).T
    vouched = possible & (low <= ece[:, None]) & (ece[:, None] <= high)
    return Conversion(
        readings=readings,
        ece=ece,
        shared=np.where(some, shared, np.nan),
        own=np.where(some, own, np.nan),
        clipped=np.asarray((applies & ~possible).any(axis=1)),
        beyond_calibration=measured & ~vouched.any(axis=1),
        ids=tuple(c.id for c in converters),
        values=values,
    )


def _refuse(rows: NDArray[np.intp], extract: NDArray[np.str_], converters: Sequence[Converter]) -> None:
    if len(rows):
        known = sorted({c.extract for c in converters if isinstance(c, Formula)})
        raise ValueError(
            f"row {rows[0]}: no formula takes extract {str(extract[rows[0]])!r}; known: {', '.join(known)}, "
            "any 1:n with texture and humus, and your own calibration as a Formula"
        )


def _least(x: Floats, extract: NDArray[np.str_]) -> Floats:
    """The least ECe possible: salt of a 1:n extract is no thinner in a paste, which holds less water."""
    water = np.array([parts(e) for e in extract])
    dilution = np.where(np.isnan(water), 0, np.minimum(water / _WETTEST_PASTE, 1))
    return np.nan_to_num(x * dilution)


def _by_study(logs: Floats, possible: Bools, studies: Sequence[str]) -> tuple[Floats, Floats, Bools]:
    """Mean and variance of ln ECe over each study's own formulas, and where it has any (row, study)."""
    member = np.array([[s == name for name in dict.fromkeys(studies)] for s in studies], np.float64)
    n = possible @ member
    mean = np.where(possible, logs, 0) @ member / np.maximum(n, 1)
    apart = np.where(possible, logs - mean @ member.T, 0) ** 2
    return mean, apart @ member / np.maximum(n, 1), n > 0


def _split(apart: Floats, voting: Bools, extract: NDArray[np.str_], alone: Floats) -> tuple[Floats, Floats]:
    """Shared and own variance (row,) of what studies say apart from their mean (row, study).

    A study's mean deviation over the rows of an extract is its shift; the shifts' variance is shared. A
    single study shows no spread: its own stated variance ``alone`` stands, NaN where it states none.
    """
    count = voting.sum(axis=1)
    shared, own = np.zeros(len(apart)), np.zeros(len(apart))
    for name in np.unique(extract):
        rows = np.flatnonzero((extract == name) & (count > 0))
        shift = apart[rows].sum(axis=0) / np.maximum(voting[rows].sum(axis=0), 1)
        some = voting[rows].any(axis=0).sum()
        shared[rows] = (shift**2).sum() / max(some - 1, 1)
        rest = np.where(voting[rows], apart[rows] - shift, 0)
        own[rows] = (rest**2).sum(axis=1) / np.maximum(count[rows] - 1, 1)
    single = count == 1
    return np.where(single & np.isnan(alone), np.nan, shared), np.where(single, own + alone, own)
