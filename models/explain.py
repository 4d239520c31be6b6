"""Why a model says what it says: TreeSHAP of the one score that a reader asks about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle import ModelBundle
from models.samples import SampleTable

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Explained:
    """What each feature adds to the score of each row; NaN where the model cannot judge the row."""

    contributions: Floats
    """(row, feature), in the order of the bundle's spec."""
    expected: Floats
    """Score without knowing any feature (row,)."""
    of: tuple[str, ...]
    """Whose score it is, for each row: see ``explain``."""

    @property
    def score(self) -> Floats:
        """Raw score (row,): ``expected`` and all contributions add up to it."""
        return np.asarray(self.expected + self.contributions.sum(axis=1))

    def top(self, count: int) -> NDArray[np.intp]:
        """Numbers of the features of greatest absolute contribution (row, count), greatest first; -1 where
        there is none left, or none at all."""
        size = np.abs(self.contributions)
        ranked = np.argsort(-size, axis=1, kind="stable")[:, :count]
        found = np.where(np.take_along_axis(size, ranked, axis=1) > 0, ranked, -1)
        return np.pad(found, ((0, 0), (0, max(0, count - found.shape[1]))), constant_values=-1)


def explain(bundle: ModelBundle, X: NDArray[np.float32]) -> Explained:
    """TreeSHAP (Lundberg et al. 2020) of rows of features (row, feature).

    Of a quantity its location, in the unit, or in the natural logarithm for transform log. Of ordered classes
    the sum of the logits of being above each, so that more is worse. Of other classes the raw score of the
    class of greatest score at the row, named in ``of``.
    """
    target = bundle.target
    found = bundle.contributions(X)
    if target.kind == "regression":
        parts, of = found["estimate"], (f"ln({target.unit})" if target.transform == "log" else target.unit,)
    elif target.ordered:
        parts, of = np.sum([found[name] for name in target.boosters], axis=0), ("logits of being above",)
    else:
        every = found["class"]
        names = [c.name for c in sorted(target.classes, key=lambda c: c.code)]
        first = np.argmax(np.nan_to_num(every.sum(axis=2)), axis=1)
        parts = every[np.arange(len(X)), first] if len(X) else every[:, 0]
        return Explained(parts[:, :-1], parts[:, -1], tuple(names[k] for k in first))
    return Explained(parts[:, :-1], parts[:, -1], of * len(X))


def tabulate(bundle: ModelBundle, table: SampleTable) -> pd.DataFrame:
    """A row a sample and feature, greatest contribution first: ``sample_id season lon lat of expected score
    rank feature value contribution``. Samples that the model cannot judge are left out."""
    names = bundle.spec.names
    X = table.select(names).X
    found = explain(bundle, X)
    place = table.frame[["sample_id", "season", "lon", "lat"]].to_dict("records")
    parts = []
    for k in np.flatnonzero(np.isfinite(found.score)):
        order = np.argsort(-np.abs(found.contributions[k]), kind="stable")
        parts.append(
            pd.DataFrame(
                {
                    **place[k],
                    "of": found.of[k], "expected": found.expected[k], "score": found.score[k],
                    "rank": np.arange(1, len(names) + 1), "feature": np.array(names)[order],
                    "value": X[k][order].astype(np.float64), "contribution": found.contributions[k][order],
                }
            )
        )  # fmt: skip
    if not parts:
        raise ValueError(f"the model of {bundle.target.name!r} can judge none of the {len(table)} places")
    return pd.concat(parts, ignore_index=True)
