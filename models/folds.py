"""Folds for cross-validation, as scikit-learn splitters. What belongs to one group never lies on both sides.

``Random`` asks about ground between the samples, ``Blocks`` about new ground at least a block away from
much of it, ``models.knndm.KNNDM`` about the very area that is mapped, ``LeaveOut`` about another season,
survey polygon or province.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold

from models.samples import SampleTable

Fold = tuple[NDArray[np.intp], NDArray[np.intp]]
Folds = list[Fold]

EARTH_RADIUS_M = 6_371_008.8


class Splitter(ABC):
    """What scikit-learn takes as ``cv``: each row is tested once, in the fold that ``assign`` gives it."""

    @abstractmethod
    def assign(self, rows: int, groups: ArrayLike | None = None) -> NDArray[np.intp]:
        """Fold number 0.. of each of ``rows`` rows; rows of one group share theirs."""

    def split(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Iterator[Fold]:
        """(train, test) row numbers of each fold, by rising fold number. Of ``X`` only the length is used."""
        fold = self.assign(len(X), groups)
        for number in np.unique(fold):
            yield np.flatnonzero(fold != number), np.flatnonzero(fold == number)

    @abstractmethod
    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Number of folds."""


@dataclass(frozen=True)
class Random(Splitter):
    """Groups (rows where none are given) dealt at random into folds of about equal size."""

    n_splits: int = 5
    seed: int = 1

    def assign(self, rows: int, groups: ArrayLike | None = None) -> NDArray[np.intp]:
        """Fold number of each row (row,)."""
        return _deal(numbered(rows, groups), self.n_splits, self.seed)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Number of folds, as scikit-learn asks for it."""
        return self.n_splits


@dataclass(frozen=True)
class Blocks(Splitter):
    """Whole squares of ground dealt at random into folds (Roberts et al. 2017, doi:10.1111/ecog.02881).

    ``places`` float (row, axis) in metres; a group lies in the square of its centre.
    """

    places: NDArray[np.float64] = field(repr=False)
    block_m: float
    n_splits: int = 5
    seed: int = 1

    def assign(self, rows: int, groups: ArrayLike | None = None) -> NDArray[np.intp]:
        """Fold number of each row (row,)."""
        places = checked_places(self.places, rows)
        group = numbered(rows, groups)
        square = np.floor(centres(places, group) / self.block_m)
        block = np.unique(square, axis=0, return_inverse=True)[1].reshape(-1)[group]
        return _deal(block, self.n_splits, self.seed)

    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Number of folds, as scikit-learn asks for it."""
        return self.n_splits


@dataclass(frozen=True)
class LeaveOut(Splitter):
    """Each label (a season, a survey polygon, a province) is left out in turn.

    ``labels`` (row,). With ``groups`` given to ``split`` a group never lies on both sides: with ``parts`` 1
    its rows are dropped from training where it is tested, so a site visited in two seasons is new ground
    in both. Where every site is visited in every season that leaves nothing to train on; with ``parts``
    of 2 or more the groups are dealt into parts, and one label in one part is left out in turn (leave
    location and time out, Meyer et al. 2018, doi:10.1016/j.envsoft.2017.12.001).
    """

    labels: ArrayLike = field(repr=False)
    parts: int = 1
    seed: int = 1

    def assign(self, rows: int, groups: ArrayLike | None = None) -> NDArray[np.intp]:
        """Fold number of each row (row,)."""
        return numbered(rows, self.labels) * self.parts + self._part(rows, groups)

    def split(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Iterator[Fold]:
        """(training rows, test rows) of each fold, as scikit-learn yields them."""
        rows = len(X)
        label, part, group = numbered(rows, self.labels), self._part(rows, groups), numbered(rows, groups)
        if len(np.unique(label)) < 2:
            raise ValueError(f"all {rows} rows have one label; leaving it out leaves nothing to train on")
        fold = label * self.parts + part
        for number in np.unique(fold):
            test = np.flatnonzero(fold == number)
            train = np.flatnonzero((label != label[test[0]]) & ~np.isin(group, group[test]))
            if not len(train):
                raise ValueError(
                    "no row with another label lies outside the tested groups; "
                    "split without groups, or with 2 or more parts"
                )
            yield train, test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Number of folds, as scikit-learn asks for it."""
        return len(np.unique(self.assign(len(np.asarray(self.labels)), groups)))

    def _part(self, rows: int, groups: ArrayLike | None) -> NDArray[np.intp]:
        if self.parts == 1:
            return np.zeros(rows, np.intp)
        return _deal(numbered(rows, groups), self.parts, self.seed)


def numbered(rows: int, labels: ArrayLike | None) -> NDArray[np.intp]:
    """Labels (row,) as numbers 0..; each row its own where there are none. Raises ValueError for a gap."""
    if labels is None:
        return np.arange(rows)
    if len(np.asarray(labels)) != rows:
        raise ValueError(f"found {len(np.asarray(labels))} labels for {rows} rows")
    numbers = np.asarray(pd.factorize(np.asarray(labels))[0], np.intp)
    if (numbers < 0).any():
        raise ValueError(f"row {int(np.flatnonzero(numbers < 0)[0])} has no label")
    return numbers


def checked_places(places: ArrayLike, rows: int | None = None) -> NDArray[np.float64]:
    """``places`` as float64 (place, axis). Raises ValueError for another shape or a gap."""
    found = np.asarray(places, np.float64)
    if found.ndim != 2 or not len(found) or (rows is not None and len(found) != rows):
        raise ValueError(f"places are {found.shape}; expected ({'place' if rows is None else rows}, axis)")
    if not np.isfinite(found).all():
        raise ValueError("places must be finite")
    return found


def centres(places: NDArray[np.float64], group: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean place (group, axis) of each group number."""
    sums = np.stack([np.bincount(group, axis) for axis in places.T], axis=1)
    return np.asarray(sums / np.bincount(group)[:, None])


def sites(table: SampleTable) -> NDArray[np.intp]:
    """Number of the survey polygon, or else of the place, that each row belongs to.

    Rows of one place, and of polygons that share a place, have one number.
    """
    frame = table.frame
    text = frame.epsg.astype(str) + " " + frame.x.astype(str) + " " + frame.y.astype(str)
    place, places = pd.factorize(text)
    polygon, polygons = pd.factorize(frame.group.mask(frame.group == ""))
    # A place that names its polygon in one survey only still belongs to it: parts of one graph.
    named = polygon >= 0
    size = len(places) + len(polygons)
    links = (np.ones(named.sum()), (place[named], len(places) + polygon[named]))
    _, part = connected_components(csr_array(links, shape=(size, size)), directed=False)
    return np.asarray(pd.factorize(part[place])[0], np.intp)


def blocks(table: SampleTable, block_m: float) -> NDArray[np.intp]:
    """Number of the ``block_m`` square that each row's site lies in; a site's rows share theirs."""
    site = sites(table)
    centre = table.frame.groupby(site)[["x", "y"]].transform("mean")
    zone = table.frame.groupby(site)["epsg"].transform("first")
    cell = zone.astype(str)
    for axis in ("x", "y"):
        cell = cell + " " + np.floor(centre[axis] / block_m).astype(int).astype(str)
    return np.asarray(pd.factorize(cell)[0], np.intp)


def on_globe(lon: ArrayLike, lat: ArrayLike) -> NDArray[np.float64]:
    """Degrees as metres on a sphere, float (place, 3): straight distances hold across UTM zones.

    A chord is shorter than the great circle by 0.1 % at 1,000 km.
    """
    east, north = np.radians(np.asarray(lon, np.float64)), np.radians(np.asarray(lat, np.float64))
    axes = (np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north))
    return EARTH_RADIUS_M * np.stack(axes, axis=-1)


def spatial(table: SampleTable, count: int, block_m: float, seed: int) -> Folds:
    """Whole blocks are left out (Roberts et al. 2017, doi:10.1111/ecog.02881): error on new ground."""
    return _split(blocks(table, block_m), count, seed, f"blocks of {block_m:g} m")


def random(table: SampleTable, count: int, seed: int) -> Folds:
    """Sites are left out at random: error beside known ground, too hopeful for the rest."""
    return _split(sites(table), count, seed, "sites")


def _split(groups: NDArray[np.intp], count: int, seed: int, what: str) -> Folds:
    distinct = len(np.unique(groups))
    if distinct < 2:
        raise ValueError(f"the samples lie in {distinct} {what}; cross-validation needs at least 2")
    return list(Random(min(count, distinct), seed).split(groups, groups=groups))


def numbers(splits: Folds) -> NDArray[np.intp]:
    """Fold number (row,) of splits in which each row is tested once."""
    fold = np.empty(sum(len(test) for _, test in splits), np.intp)
    for number, (_, test) in enumerate(splits):
        fold[test] = number
    return fold


def _deal(group: NDArray[np.intp], count: int, seed: int) -> NDArray[np.intp]:
    """Fold number of each row; whole groups dealt at random."""
    distinct = len(np.unique(group))
    if count < 2 or distinct < count:
        raise ValueError(f"cannot make {count} folds of {distinct} group(s); expected 2 folds or more")
    return numbers(list(GroupKFold(count, shuffle=True, random_state=seed).split(group, groups=group)))
