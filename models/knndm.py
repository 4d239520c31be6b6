"""k-fold nearest-neighbour distance matching: folds that are as far from training as the map is.

Linnenbrink et al. 2024 (doi:10.5194/gmd-17-5897-2024), in the steps of the R package CAST: where the samples
are clustered in the mapped area, clusters of them are merged into k folds such that the distances from
tested to training samples are distributed like those from mapped places to samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial import KDTree
from scipy.stats import ks_2samp, wasserstein_distance

from models.folds import (
    Folds,
    Random,
    Splitter,
    blocks,
    centres,
    checked_places,
    numbered,
    on_globe,
    random,
    sites,
    spatial,
)
from models.samples import SampleTable
from models.settings import FoldSettings

#: Distances from mapped places count as beyond those between samples at this level of significance.
CLUSTERED_P = 0.05
#: Numbers of clusters that are tried, denser among the low ones.
CANDIDATES = 100


@dataclass(frozen=True)
class Clustering:
    """How much more clustered the samples are than the places that are mapped."""

    between_samples: NDArray[np.float64] = field(repr=False)
    """Gj: mean distance of a group's samples to the nearest one of another group (group,)."""
    to_places: NDArray[np.float64] = field(repr=False)
    """Gij: distance of each mapped place to the nearest sample (place,)."""

    @property
    def p_value(self) -> float:
        """Kolmogorov-Smirnov: how likely distances between samples are so short by chance.

        Exact for few distances, else by the limit, where R's ``ks.test`` (and so CAST) draws the line.
        """
        few = len(self.between_samples) * len(self.to_places) < 10_000
        method = "exact" if few else "asymp"
        found = ks_2samp(self.between_samples, self.to_places, alternative="greater", method=method)
        return float(found.pvalue)

    @property
    def clustered(self) -> bool:
        """Samples lie nearer to each other than mapped places lie to samples."""
        return self.p_value < CLUSTERED_P

    @property
    def W(self) -> float:  # noqa: N802 - the paper's name for it
        """Wasserstein distance between both distributions, in the places' unit; 0 is alike."""
        return float(wasserstein_distance(self.between_samples, self.to_places))


@dataclass(frozen=True)
class Matching:
    """Folds and how well their distances match those of the map."""

    fold: NDArray[np.intp] = field(repr=False)
    """Fold number 0.. (row,)."""
    clusters: int | None
    """Number of clusters that were merged into the folds; None where folds are random."""
    W: float
    """Wasserstein distance between the distances in cross-validation and ``Clustering.to_places``."""
    clustering: Clustering


@dataclass(frozen=True)
class KNNDM(Splitter):
    """Folds for the error over the area where ``targets`` lie, from samples at ``places``.

    ``places`` float (row, axis), ``targets`` float (place, axis): a fair selection, by design or on a
    regular grid, of about 1,000 of the places that are mapped; same axes and unit, straight distances (for
    degrees see ``models.folds.on_globe``). No fold holds more than ``max_share`` of the rows. A group
    moves as one, by its centre. Clusters are Ward's; memory grows with the square of the groups.
    """

    places: NDArray[np.float64] = field(repr=False)
    targets: NDArray[np.float64] = field(repr=False)
    n_splits: int = 10
    max_share: float = 0.5
    seed: int = 1

    def assign(self, rows: int, groups: ArrayLike | None = None) -> NDArray[np.intp]:
        """Fold number of each row (row,)."""
        return self.match(rows, groups).fold

    def get_n_splits(self, X: Any = None, y: Any = None, groups: ArrayLike | None = None) -> int:
        """Number of folds, as scikit-learn asks for it."""
        return len(np.unique(self.assign(len(self.places), groups)))

    def match(self, rows: int, groups: ArrayLike | None = None) -> Matching:
        """The folds and what they were chosen by.

        Raises ValueError where ``max_share`` is not above 1/n_splits and below 1, where there are fewer
        groups than folds, or where each way of merging leaves a fold beyond ``max_share``.
        """
        if not 1 / self.n_splits < self.max_share < 1:
            raise ValueError(f"max_share is {self.max_share:g}; expected above 1/{self.n_splits} and below 1")
        places, group = checked_places(self.places, rows), numbered(rows, groups)
        found = clustering(places, self.targets, group)
        if not found.clustered:
            fold = Random(self.n_splits, self.seed).assign(rows, group)
            return Matching(fold, None, _mismatch(places, fold, found), found)
        return self._best(places, group, found)

    def _best(self, places: NDArray[np.float64], group: NDArray[np.intp], found: Clustering) -> Matching:
        centre, size = centres(places, group), np.bincount(group)
        if len(centre) < self.n_splits:
            raise ValueError(f"cannot make {self.n_splits} folds of {len(centre)} group(s)")
        most = max(len(centre) - 2, self.n_splits)
        tried = np.unique(np.rint(np.geomspace(self.n_splits, most, CANDIDATES)).astype(int))
        trees = cut_tree(linkage(centre, "ward"), n_clusters=[*tried, len(centre)])
        best: Matching | None = None
        for clusters, label in zip([*tried, len(centre)], trees.T, strict=True):
            if best is not None and clusters == len(centre) > most:
                break  # groups dealt singly serve only where all clusters are too large
            merged = _merge(places, label[group], np.bincount(label, size), self.n_splits)
            if np.bincount(merged).max() > self.max_share * len(places):
                continue
            W = _mismatch(places, merged, found)
            if best is None or W < best.W:
                best = Matching(merged, int(clusters), W, found)
        if best is None:
            raise ValueError(
                f"the samples cannot be merged into {self.n_splits} folds of at most {self.max_share:g} of the "
                f"rows; the largest group has {size.max() / len(places):.2f}"
            )
        return best


def clustering(places: ArrayLike, targets: ArrayLike, groups: ArrayLike | None = None) -> Clustering:
    """Distances between samples at ``places`` (row, axis) and from ``targets`` (place, axis) to them."""
    places, targets = checked_places(places), checked_places(targets)
    if places.shape[1] != targets.shape[1]:
        raise ValueError(f"places have {places.shape[1]} axes, targets {targets.shape[1]}; expected the same")
    group = numbered(len(places), groups)
    between = _nearest_elsewhere(places, group)  # rows of a group are no independent witnesses of it
    between = np.bincount(group, between) / np.bincount(group)
    return Clustering(between, np.asarray(KDTree(places).query(targets)[0], np.float64))


def _merge(
    places: NDArray[np.float64], cluster: NDArray[np.intp], size: NDArray[Any], count: int
) -> NDArray[np.intp]:
    """Clusters into ``count`` folds: a big one is a fold of its own, the rest are dealt in turn.

    They are dealt along the first principal component of the places, so that a fold spreads out.
    """
    axis = np.linalg.svd(places - places.mean(axis=0), full_matrices=False)[2][0]
    axis = axis * np.sign(axis[np.abs(axis).argmax()])  # its sign is arbitrary; the same on any machine
    order = np.argsort((centres(places, cluster) - places.mean(axis=0)) @ axis, kind="stable")
    big = order[size[order] >= len(places) / count]
    rest = order[size[order] < len(places) / count]
    fold = np.empty(len(size), np.intp)
    fold[big] = np.arange(len(big))
    if len(rest):
        fold[rest] = len(big) + np.arange(len(rest)) % (count - len(big))
    return fold[cluster]


def _mismatch(places: NDArray[np.float64], fold: NDArray[np.intp], found: Clustering) -> float:
    return float(wasserstein_distance(_nearest_elsewhere(places, fold), found.to_places))


def _nearest_elsewhere(places: NDArray[np.float64], label: NDArray[np.intp]) -> NDArray[np.float64]:
    """Distance of each place to the nearest one with another label."""
    if len(np.unique(label)) < 2:
        raise ValueError("all rows lie in one group; distances need 2 or more")
    found = np.empty(len(places))
    tree, todo, k = KDTree(places), np.arange(len(places)), 2
    while len(todo):  # most have it among their first neighbours; asking for all of all would fill memory
        distance, near = tree.query(places[todo], k=min(k, len(places)))
        other = label[near] != label[todo][:, None]
        done = other.any(axis=1)
        found[todo[done]] = distance[done, other[done].argmax(axis=1)]
        todo, k = todo[~done], 4 * k
    return found


@dataclass(frozen=True)
class Chosen:
    """The folds that answer for a map, and in words what they are."""

    splits: Folds = field(repr=False)
    what: str


def choose(table: SampleTable, settings: FoldSettings, targets: ArrayLike | None = None) -> Chosen:
    """Folds matched to the mapped ``targets`` (place, 3) of ``models.folds.on_globe``, else spatial blocks.

    Where all samples lie in one block, their sites are left out; ValueError where that is one, too.
    """
    site = sites(table)
    count = min(settings.count, len(np.unique(site)))
    if targets is None or count < 2:
        block = blocks(table, settings.block_m)
        if len(np.unique(block)) < 2:
            return Chosen(random(table, settings.count, settings.seed), "left-out sites")
        splits = spatial(table, settings.count, settings.block_m, settings.seed)
        return Chosen(splits, f"left-out blocks of {settings.block_m:g} m")
    where = on_globe(table.frame.lon, table.frame.lat)
    # No fold can be smaller than the largest site, nor than an even share.
    share = min(max(0.5, 1.5 / count, float(np.bincount(site).max()) / len(site) + 1e-9), 1 - 1e-9)
    splitter = KNNDM(where, checked_places(targets), count, share, settings.seed)
    return Chosen(list(splitter.split(where, groups=site)), "folds matched to the mapped area (kNNDM)")
