"""Folds held to their properties: nothing that belongs together is ever on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyproj
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyRegressor
from sklearn.model_selection import cross_val_score

from features import FeatureSpec
from models import SampleTable, folds

SPEC = FeatureSpec.parse(["slope"])


def table(x: Any, y: Any, group: Any = "", epsg: Any = 32648) -> SampleTable:
    columns = {
        "x": x,
        "y": y,
        "group": group,
        "epsg": epsg,
        "season": "s",
        "date": "d",
        "lon": 0.0,
        "lat": 0.0,
    }
    return SampleTable(
        pd.DataFrame(columns | {"sample_id": "a", "slope": np.zeros(len(x), np.float32)}), SPEC
    )


@st.composite
def tables(draw: st.DrawFn) -> SampleTable:
    """Sites on a coarse grid, so that places repeat; some lie in survey polygons, each wholly in one."""
    n = draw(st.integers(2, 40))
    side = draw(st.sampled_from([300.0, 2000.0, 20000.0]))
    cells = draw(st.lists(st.tuples(st.integers(-6, 6), st.integers(-6, 6)), min_size=n, max_size=n))
    polygons = draw(st.dictionaries(st.sampled_from(sorted(set(cells))), st.sampled_from(["A", "B", "C"])))
    zones = [32648 if cell[0] < 3 else 32649 for cell in cells]
    x, y = (np.array([cell[k] for cell in cells]) * side / 12 for k in (0, 1))
    return table(x, y, [polygons.get(cell, "") for cell in cells], zones)


def together(found: SampleTable) -> list[str]:
    """What each row belongs to, said plainly: its polygon, or else its place."""
    rows = found.frame.itertuples()
    return [f"polygon {r.group}" if r.group else f"place {r.epsg} {r.x} {r.y}" for r in rows]


def check(splits: folds.Folds, n: int, keys: list[str]) -> None:
    """Each row is tested once, by a model that saw neither it nor anything of its key."""
    tested = np.concatenate([test for _, test in splits])
    assert sorted(tested) == list(range(n))
    for train, test in splits:
        assert len(train) and len(test)
        assert sorted([*train, *test]) == list(range(n))
        assert not {keys[k] for k in train} & {keys[k] for k in test}


PROPERTY = settings(max_examples=80, deadline=None, derandomize=True, database=None)


@PROPERTY
@given(tables(), st.integers(2, 8), st.integers(0, 99))
def test_random_folds_never_split_a_site_or_a_polygon(found: SampleTable, count: int, seed: int) -> None:
    keys = together(found)
    assume(len(set(keys)) > 1)
    splits = folds.random(found, count, seed)
    check(splits, len(found), keys)
    assert len(splits) == min(count, len(set(keys)))


@PROPERTY
@given(tables(), st.integers(2, 8), st.integers(0, 99), st.sampled_from([100.0, 500.0, 3000.0]))
def test_spatial_folds_never_split_a_block_a_site_or_a_polygon(
    found: SampleTable, count: int, seed: int, block_m: float
) -> None:
    block = [str(k) for k in folds.blocks(found, block_m)]
    assume(len(set(block)) > 1)
    splits = folds.spatial(found, count, block_m, seed)
    check(splits, len(found), block)
    check(splits, len(found), together(found))
    assert len(splits) == min(count, len(set(block)))


@PROPERTY
@given(tables())
def test_sites_are_numbered_by_what_belongs_together(found: SampleTable) -> None:
    numbers, keys = folds.sites(found), together(found)
    assert len(set(zip(numbers.tolist(), keys, strict=True))) == len(set(keys)) == len(set(numbers.tolist()))


@PROPERTY
@given(tables(), st.sampled_from([100.0, 700.0]))
def test_single_places_lie_in_the_square_that_holds_them(found: SampleTable, block_m: float) -> None:
    alone = SampleTable(found.frame.assign(group=""), SPEC)
    squares = [(r.epsg, r.x // block_m, r.y // block_m) for r in alone.frame.itertuples()]
    numbers = folds.blocks(alone, block_m).tolist()
    assert len(set(zip(numbers, squares, strict=True))) == len(set(squares)) == len(set(numbers))


def test_blocks_are_squares_worked_out_by_hand() -> None:
    found = table(x=[0, 999.9, 1000, -0.1, 500, 500], y=[0, 0, 0, 0, 999, 1001])
    numbers = folds.blocks(found, 1000)
    assert numbers[0] == numbers[1] == numbers[4]
    assert len({int(numbers[k]) for k in (0, 2, 3, 5)}) == 4


def test_a_polygon_across_blocks_lies_whole_in_the_block_of_its_centre() -> None:
    found = table(x=[900, 1900, 1800, 1500], y=[0, 0, 0, 0], group=["P", "P", "P", ""])
    numbers = folds.blocks(found, 1000)
    assert len(set(numbers.tolist())) == 1


def test_the_same_metres_in_two_zones_are_two_places() -> None:
    found = table(x=[500, 500], y=[500, 500], epsg=[32648, 32649])
    assert len(set(folds.sites(found))) == len(set(folds.blocks(found, 1000))) == 2


@pytest.mark.parametrize("empty", ["", None, np.nan])
def test_an_empty_group_means_the_site_itself(empty: Any) -> None:
    found = table(x=[1.0, 2.0, 1.0], y=[1.0, 2.0, 1.0], group=empty)
    numbers = folds.sites(found)
    assert numbers[0] == numbers[2] != numbers[1]


def test_seasons_of_one_place_stay_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    x, y = np.tile(rng.uniform(0, 5000, 20), 3), np.tile(rng.uniform(0, 5000, 20), 3)
    found = table(x, y)
    for splits in (folds.random(found, 5, 1), folds.spatial(found, 5, 1000, 1)):
        check(splits, 60, [f"{a} {b}" for a, b in zip(x, y, strict=True)])


def test_a_place_that_names_a_polygon_in_one_season_only_stays_in_one_fold() -> None:
    """One survey gave its polygons, the next came back to the same points without them."""
    rng = np.random.default_rng(0)
    x, y = np.tile(rng.uniform(0, 5000, 20), 2), np.tile(rng.uniform(0, 5000, 20), 2)
    found = table(x, y, group=[f"P{k}" for k in range(20)] + [""] * 20)
    check(folds.random(found, 5, 1), 40, [f"{a} {b}" for a, b in zip(x, y, strict=True)])


def _sides(splits: folds.Folds) -> list[list[int]]:
    return [test.tolist() for _, test in splits]


def test_the_seed_alone_decides_the_folds() -> None:
    rng = np.random.default_rng(3)
    found = table(rng.uniform(0, 9000, 80), rng.uniform(0, 9000, 80))
    for make in (lambda s: folds.random(found, 5, s), lambda s: folds.spatial(found, 5, 1000, s)):
        assert _sides(make(1)) == _sides(make(1))
        assert _sides(make(1)) != _sides(make(2))


def test_folds_of_equal_sites_are_of_about_equal_size() -> None:
    rng = np.random.default_rng(3)
    found = table(rng.uniform(0, 9000, 83), rng.uniform(0, 9000, 83))
    assert {len(test) for _, test in folds.random(found, 5, 1)} == {16, 17}


def test_samples_of_a_single_site_or_block_are_refused() -> None:
    found = table(x=[1.0, 2.0, 3.0], y=[1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="lie in 1 blocks of 1000 m; cross-validation needs at least 2"):
        folds.spatial(found, 5, 1000, 1)
    with pytest.raises(ValueError, match="lie in 1 sites"):
        folds.random(table(x=[1.0, 1.0], y=[1.0, 1.0]), 5, 1)


# --- splitters --------------------------------------------------------------------------------


def scattered(n: int = 60, seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(0, 9000, (n, 2))


def test_scikit_learn_takes_every_splitter() -> None:
    places = scattered()
    X, y, label = np.zeros((60, 2)), np.arange(60.0), np.arange(60) % 3
    for splitter, number in (
        (folds.Random(4), 4),
        (folds.Blocks(places, 1500, 4), 4),
        (folds.LeaveOut(label), 3),
        (folds.LeaveOut(label, parts=2), 6),
    ):
        assert len(cross_val_score(DummyRegressor(), X, y, cv=splitter)) == number
        assert splitter.get_n_splits(X, y) == len(list(splitter.split(X, y))) == number


@pytest.mark.parametrize("seed", range(4))
def test_no_splitter_splits_a_group(seed: int) -> None:
    places, rng = scattered(seed=seed), np.random.default_rng(seed)
    groups = rng.integers(0, 15, 60)
    label = groups % 4
    for splitter in (folds.Random(5, seed), folds.Blocks(places, 2000, 3, seed), folds.LeaveOut(label)):
        check(list(splitter.split(places, groups=groups)), 60, [str(g) for g in groups])


def test_blocks_of_a_splitter_are_whole_squares() -> None:
    places = scattered(200)
    squares = [f"{x // 1000} {y // 1000}" for x, y in places]
    check(list(folds.Blocks(places, 1000, 5).split(places)), 200, squares)


def test_a_season_is_left_out_whole() -> None:
    season = np.repeat(["2023", "2024", "2025"], [10, 20, 30])
    splits = list(folds.LeaveOut(season).split(np.zeros(60)))
    assert [len(test) for _, test in splits] == [10, 20, 30]
    for train, test in splits:
        assert len(set(season[test])) == 1 and not set(season[test]) & set(season[train])
        assert len(train) + len(test) == 60


def test_a_site_of_two_seasons_is_trained_on_in_neither_where_it_is_tested() -> None:
    season, site = np.array([1, 1, 1, 2, 2, 2]), np.array([0, 1, 2, 0, 3, 4])
    splits = [(a.tolist(), b.tolist()) for a, b in folds.LeaveOut(season).split(site, groups=site)]
    assert splits == [([4, 5], [0, 1, 2]), ([1, 2], [3, 4, 5])]


def test_sites_of_every_season_are_left_out_part_by_part() -> None:
    season, site = np.repeat([0, 1, 2], 20), np.tile(np.arange(20), 3)
    with pytest.raises(ValueError, match="2 or more parts"):
        list(folds.LeaveOut(season).split(site, groups=site))
    splits = list(folds.LeaveOut(season, parts=4).split(site, groups=site))
    assert len(splits) == 12
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(60))
    for train, test in splits:
        assert len(test) == 5 and len(train) == 30
        assert not set(site[train]) & set(site[test]) and not set(season[train]) & set(season[test])


def test_what_cannot_be_split_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot make 5 folds of 3 group\(s\)"):
        folds.Random(5).assign(6, [1, 1, 2, 2, 3, 3])
    with pytest.raises(ValueError, match="all 4 rows have one label"):
        list(folds.LeaveOut([1, 1, 1, 1]).split(np.zeros(4)))
    with pytest.raises(ValueError, match="found 3 labels for 4 rows"):
        folds.LeaveOut([1, 2, 3]).assign(4)
    with pytest.raises(ValueError, match="row 1 has no label"):
        folds.LeaveOut(["a", None, "b"]).assign(3)


def test_degrees_become_metres_that_hold_across_zones() -> None:
    """Hà Nội to Hồ Chí Minh City, and 1 km across the border of zones 48 and 49, by the geodesic."""
    geod = pyproj.Geod(ellps="sphere", a=folds.EARTH_RADIUS_M, b=folds.EARTH_RADIUS_M)
    for lon, lat in (([105.85, 106.63], [21.03, 10.82]), ([107.9954, 108.0046], [12, 12])):
        a, b = folds.on_globe(lon, lat)
        assert np.linalg.norm(a - b) == pytest.approx(geod.line_length(lon, lat), rel=2e-3)
