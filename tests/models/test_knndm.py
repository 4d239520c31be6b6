"""kNNDM against a plain version written from Linnenbrink et al. (2024), step by step as in CAST."""

from __future__ import annotations

from itertools import count as naturals
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp, wasserstein_distance
from sklearn.cluster import AgglomerativeClustering
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score

from features import FeatureSpec
from models import SampleTable, folds
from models.knndm import KNNDM, Chosen, choose, clustering
from models.settings import FoldSettings


def clustered(seed: int, clusters: int = 12, each: int = 10, spread: float = 2.0) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 100, (clusters, 2))
    sizes = rng.integers(1, 2 * each, clusters)
    return np.concatenate([c + rng.normal(0, spread, (n, 2)) for c, n in zip(centre, sizes, strict=True)])


def area(seed: int = 0, n: int = 400) -> NDArray[np.float64]:
    return np.random.default_rng(seed + 1000).uniform(0, 100, (n, 2))


def distance(a: Any, b: Any) -> float:
    return float(((a - b) ** 2).sum() ** 0.5)


def away(places: Any, fold: Any) -> list[float]:
    """Distance from each sample to the nearest one in another fold."""
    return [
        min(distance(p, q) for q, g in zip(places, fold, strict=True) if g != f)
        for p, f in zip(places, fold, strict=True)
    ]


def plain(
    places: NDArray[np.float64], targets: NDArray[np.float64], k: int, maxp: float
) -> tuple[float, Any]:
    """W and folds by the paper's steps, in loops."""
    to_places = [min(distance(t, p) for p in places) for t in targets]
    n = len(places)
    grid: list[int] = []
    for step in range(100):
        nk = round(np.exp(np.log(k) + (np.log(n - 2) - np.log(k)) * step / 99))
        if nk not in grid:
            grid.append(nk)
    first = PCA(1).fit(places)
    best: tuple[float, Any] = (np.inf, None)
    for nk in grid:
        label = AgglomerativeClustering(nk, linkage="ward").fit_predict(places)
        along = {c: first.transform(places[label == c].mean(axis=0)[None])[0, 0] for c in range(nk)}
        axis = first.components_[0]
        turned = np.sign(axis[np.abs(axis).argmax()])
        fold_of: dict[int, int] = {}
        fresh = naturals()
        ordered = sorted(range(nk), key=lambda c: turned * along[c])
        for c in ordered:
            if (label == c).sum() >= n / k:
                fold_of[c] = next(fresh)
        left = [f for f in range(k) if f not in fold_of.values()]
        for turn, c in enumerate(c for c in ordered if c not in fold_of):
            fold_of[c] = left[turn % len(left)]
        fold = np.array([fold_of[c] for c in label])
        if max((fold == f).sum() for f in range(k)) > maxp * n:
            continue
        W = wasserstein_distance(away(places, fold), to_places)
        if best[0] > W:
            best = W, fold
    return best


@pytest.mark.parametrize(("seed", "k", "maxp"), [(0, 10, 0.5), (1, 10, 0.5), (2, 5, 0.5), (3, 3, 0.4)])
def test_it_agrees_with_the_paper_in_loops(seed: int, k: int, maxp: float) -> None:
    places, targets = clustered(seed, 8, 6), area(seed, 150)
    found = KNNDM(places, targets, k, maxp).match(len(places))
    W, fold = plain(places, targets, k, maxp)
    assert found.clustering.clustered
    assert pytest.approx(W, rel=1e-12) == found.W
    np.testing.assert_array_equal(found.fold, fold)


def test_clustering_is_the_test_of_the_paper() -> None:
    places, targets = clustered(5), area(5, 100)
    between = [min(distance(p, q) for q in np.delete(places, i, 0)) for i, p in enumerate(places)]
    to_places = [min(distance(t, p) for p in places) for t in targets]
    found = clustering(places, targets)
    np.testing.assert_allclose(found.between_samples, between)
    np.testing.assert_allclose(found.to_places, to_places)
    method = "exact" if len(between) * len(to_places) < 10_000 else "asymp"
    assert found.p_value == ks_2samp(between, to_places, alternative="greater", method=method).pvalue
    assert pytest.approx(wasserstein_distance(between, to_places)) == found.W


def test_spread_samples_get_random_folds() -> None:
    """Also where they are more regular than the map's places: only too short distances count."""
    regular = np.array([(x, y) for x in range(5, 100, 10) for y in range(5, 100, 10)], float)
    jittered = regular + np.random.default_rng(0).uniform(-5, 5, (100, 2))
    for places in (jittered, regular):
        found = KNNDM(places, area(2, 1000)).match(len(places))
        assert found.clusters is None and not found.clustering.clustered
        assert np.bincount(found.fold).tolist() == [10] * 10


def test_distances_match_the_map_better_than_those_of_random_folds() -> None:
    for seed in range(5):
        places, targets = clustered(seed, 15, 12), area(seed)
        found = KNNDM(places, targets).match(len(places))
        shuffled = np.random.default_rng(0).permutation(np.arange(len(places)) % 10)
        to_places = found.clustering.to_places
        assert 0.6 * wasserstein_distance(away(places, shuffled), to_places) > found.W
        assert pytest.approx(wasserstein_distance(away(places, found.fold), to_places)) == found.W


def test_groups_are_never_split_and_no_fold_is_too_large() -> None:
    for seed in range(5):
        places, rng = clustered(seed, 15, 12), np.random.default_rng(seed)
        groups = rng.permutation(np.arange(len(places)) // 3)
        for targets in (area(seed), places + 0.01):
            splitter = KNNDM(places, targets, 6)
            splits = list(splitter.split(places, groups=groups))
            assert len(splits) == splitter.get_n_splits(places, None, groups) == 6
            assert sorted(np.concatenate([t for _, t in splits])) == list(range(len(places)))
            for train, test in splits:
                assert not set(groups[train]) & set(groups[test])
                assert len(test) <= 0.5 * len(places)


def test_samples_of_one_group_are_no_neighbours() -> None:
    """Ten cores of each pit lie a metre apart; the pits are spread as the map is."""
    pits = np.array([(x, y) for x in range(6, 100, 12) for y in range(6, 100, 12)], float)
    places = np.repeat(pits, 10, axis=0) + np.random.default_rng(0).normal(0, 0.01, (640, 2))
    assert clustering(places, area(4)).clustered
    assert not clustering(places, area(4), np.repeat(np.arange(64), 10)).clustered


def test_scikit_learn_takes_it() -> None:
    places = clustered(1, 12, 8)
    X, y = np.zeros((len(places), 2)), np.arange(len(places), dtype=float)
    splitter = KNNDM(places, area(1), 5)
    assert len(cross_val_score(DummyRegressor(), X, y, cv=splitter)) == 5
    search = GridSearchCV(DummyRegressor(), {"strategy": ["mean", "median"]}, cv=splitter).fit(X, y)
    assert search.n_splits_ == 5


def test_the_same_samples_give_the_same_folds() -> None:
    places, targets = clustered(2), area(2)
    one, two = (KNNDM(places.copy(), targets.copy()).assign(len(places)) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_one_group_of_nearly_all_samples_is_refused_for_what_it_is() -> None:
    places = clustered(2)
    groups = np.r_[np.zeros(len(places) - 20), np.arange(1, 21)]
    with pytest.raises(ValueError, match=r"at most 0\.5 of the rows; the largest group has 0\.[6-9]"):
        KNNDM(places, area(2), 5).assign(len(places), groups)


def test_what_cannot_be_is_refused() -> None:
    places = clustered(2)
    with pytest.raises(ValueError, match=r"max_share is 0\.5; expected above 1/2 and below 1"):
        KNNDM(places, area(), 2).assign(len(places))
    with pytest.raises(ValueError, match=r"places are .*; expected \(7, axis\)"):
        KNNDM(places, area()).assign(7)
    with pytest.raises(ValueError, match="places have 2 axes, targets 3"):
        KNNDM(places, np.zeros((5, 3))).assign(len(places))
    with pytest.raises(ValueError, match="finite"):
        KNNDM(np.where(places < places.min() + 1, np.nan, places), area()).assign(len(places))
    with pytest.raises(ValueError, match="lie in one group"):
        KNNDM(places, area()).assign(len(places), np.zeros(len(places)))


# --- folds of a sample table ------------------------------------------------------------------


def sampled(places: NDArray[np.float64], group: Any = "") -> SampleTable:
    """Places in kilometres as samples near the equator, where a degree is 111.195 km either way."""
    lon, lat = places.T / 111.195
    frame = pd.DataFrame({"x": places[:, 0] * 1000, "y": places[:, 1] * 1000, "lon": lon, "lat": lat})
    frame = frame.assign(epsg=32648, group=group, season="s", date="d", sample_id="i", slope=np.float32(1))
    return SampleTable(frame, FeatureSpec.parse(["slope"]))


def fold_of(found: Chosen) -> NDArray[np.intp]:
    return folds.numbers(found.splits)


def test_places_on_the_map_decide_the_folds_of_a_table() -> None:
    places, targets = clustered(1), area(1)
    found = choose(sampled(places), FoldSettings(count=6), folds.on_globe(*targets.T / 111.195))
    assert "kNNDM" in found.what
    np.testing.assert_array_equal(fold_of(found), KNNDM(places, targets, 6).assign(len(places)))


def test_without_a_map_blocks_are_left_out_and_in_one_block_sites() -> None:
    table = sampled(clustered(1))
    found = choose(table, FoldSettings(count=4, block_m=5000))
    assert found.what == "left-out blocks of 5000 m"
    np.testing.assert_array_equal(fold_of(found), folds.numbers(folds.spatial(table, 4, 5000, 1)))
    found = choose(table, FoldSettings(count=4, block_m=1e9))
    assert found.what == "left-out sites"
    np.testing.assert_array_equal(fold_of(found), folds.numbers(folds.random(table, 4, 1)))
    with pytest.raises(ValueError, match="lie in 1 sites"):
        choose(table.take(np.zeros(5, int)), FoldSettings())


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("sizes", [(40, 1, 1), (1, 1, 1, 1, 1), (30, 20, 3, 3, 2, 2), (5, 5)])
def test_one_large_survey_does_not_stop_a_map_from_being_trained(count: int, sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    centre = rng.uniform(0, 100, (len(sizes), 2))
    group = np.repeat(np.arange(len(sizes)), sizes)
    table = sampled(centre[group] + rng.normal(0, 1, (len(group), 2)), [f"g{k}" for k in group])
    found = choose(table, FoldSettings(count=count), folds.on_globe(*area(0).T / 111.195))
    for train, test in found.splits:
        assert len(train) and len(test) and not set(group[train]) & set(group[test])
