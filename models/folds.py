"""Folds for cross-validation. One group (site or survey polygon) never lies in two folds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold

from models.samples import SampleTable

Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


def sites(table: SampleTable) -> NDArray[np.intp]:
    """Number of the survey polygon, or else of the place, that each row belongs to.

    Rows of one place, and of polygons that share a place, have one number.
    """
    frame = table.frame
    text = frame.epsg.astype(str) + " " + frame.x.astype(str) + " " + frame.y.astype(str)
    place, places = pd.factorize(text)
    polygon, polygons = pd.factorize(frame.group.replace("", np.nan))
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
    splitter = GroupKFold(min(count, distinct), shuffle=True, random_state=seed)
    return [(train, test) for train, test in splitter.split(groups, groups=groups)]
