"""Administrative units through time."""

from __future__ import annotations

import datetime as dt
from fractions import Fraction
from pathlib import Path

import geopandas
import pandas as pd
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from support import SHARED, Phusa

from pipeline import boundaries
from pipeline.boundaries import Crosswalk
from pipeline.errors import InputError

START = dt.date(2025, 7, 1)


@pytest.mark.parametrize(
    ("day", "count", "huế", "đồng_nai"),
    [
        (dt.date(2024, 12, 31), 63, "tỉnh", "tỉnh"),
        (dt.date(2025, 6, 30), 63, "thành phố", "tỉnh"),
        (START, 34, "thành phố", "tỉnh"),
        (dt.date(2026, 4, 29), 34, "thành phố", "tỉnh"),
        (dt.date(2026, 4, 30), 34, "thành phố", "thành phố"),
    ],
)
def test_provinces_of_a_day(day: dt.date, count: int, huế: str, đồng_nai: str) -> None:
    table = boundaries.provinces(day).set_index("code")
    assert len(table) == count
    assert table.index.is_unique
    assert table.index.str.fullmatch(r"\d\d").all()
    assert table.loc["46", "kind"] == huế
    assert table.loc["75", "kind"] == đồng_nai
    assert table.loc["01", "name"] == "Hà Nội"


def test_communes_and_regions_cover_the_country() -> None:
    communes, provinces = boundaries.communes(), boundaries.provinces(START)
    assert len(communes) == communes["code"].nunique() == 3321
    assert communes["code"].str.fullmatch(r"\d{5}").all()
    assert set(communes["province"]) == set(provinces["code"])
    assert set(communes["old_province"]) == set(boundaries.provinces(dt.date(2025, 6, 30))["code"])
    regions = boundaries.regions()
    assert sorted(regions[regions["set"] == "socio-economic"]["province"]) == sorted(provinces["code"])
    assert len(regions[regions["code"] == "TDMNPB14"]) == 14
    assert {"80", "83"} <= set(regions[regions["code"] == "DBSCL13"]["province"])  # Long An, Bến Tre


@pytest.mark.parametrize(("level", "old", "new"), [("province", 63, 34), ("commune", 10_040, 3321)])
def test_crosswalks_lose_nothing(level: boundaries.Level, old: int, new: int) -> None:
    walk = boundaries.crosswalk(level)
    assert walk.table["old"].nunique() == old
    assert walk.table["new"].nunique() == new
    assert (walk.table.groupby("old")["weight"].sum() == 1).all()
    values = {unit: 1_000_003 + 7 * k for k, unit in enumerate(walk.table["old"].unique())}
    carried = walk.carry(values)
    assert sum(carried.values()) == sum(values.values())
    assert set(carried) == set(walk.table["new"])


def test_merged_provinces_are_those_of_the_resolution() -> None:
    table = boundaries.crosswalk("province").table
    assert sorted(table[table["new"] == "86"]["old"]) == ["83", "84", "86"]  # Vĩnh Long + Bến Tre + Trà Vinh
    assert table[table["old"] == "80"]["new"].tolist() == ["80"]  # Long An went to Tây Ninh
    assert table[table["old"] == "72"]["new"].tolist() == ["80"]


@given(st.integers(0, 10**15), st.lists(st.integers(1, 10**6), min_size=1, max_size=6))
def test_figures_are_split_without_loss(value: int, parts: list[int]) -> None:
    weights = [Fraction(p, sum(parts)) for p in parts]
    table = pd.DataFrame(
        {"old": "a", "new": [f"n{k}" for k in range(len(parts))], "weight": weights, "basis": "x"}
    )
    carried = Crosswalk(table).carry({"a": value})
    assert sum(carried.values()) == value
    for k, weight in enumerate(weights):
        assert abs(carried[f"n{k}"] - value * weight) < 1


def test_weights_that_do_not_sum_to_one_are_refused() -> None:
    table = pd.DataFrame({"old": ["a", "a"], "new": ["b", "c"], "weight": [Fraction(1, 3)] * 2, "basis": "x"})
    with pytest.raises(InputError, match="weights of old unit a sum to 2/3"):
        Crosswalk(table)
    with pytest.raises(InputError, match="old unit 99 is not in the crosswalk"):
        boundaries.crosswalk("province").carry({"99": 1})


def squares(codes: list[str] | list[int], **more: object) -> geopandas.GeoDataFrame:
    shapes = [shapely.box(105 + 0.1 * k, 10, 105.1 + 0.1 * k, 10.1) for k in range(len(codes))]
    return geopandas.GeoDataFrame({"code": codes, **more}, geometry=shapes, crs=4326)


def test_weights_by_area_follow_the_polygons() -> None:
    old = squares(["a", "b"])
    new = geopandas.GeoDataFrame(
        {"code": ["x", "y"]}, geometry=[shapely.box(105, 10, 105.15, 10.1), shapely.box(105.15, 10, 105.2, 10.1)], crs=4326
    )  # fmt: skip
    table = boundaries.by_area(old, new).table.set_index(["old", "new"])["weight"]
    assert table["a", "x"] == 1
    assert float(table["b", "x"]) == pytest.approx(0.5, rel=1e-9)
    assert table["b", "x"] + table["b", "y"] == 1
    with pytest.raises(InputError, match="old unit b meets no new unit"):
        boundaries.by_area(old, new.iloc[:1].assign(geometry=[shapely.box(105, 10, 105.05, 10.1)]))


def test_units_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "xa.gpkg"
    squares([4, 31825], ten=["A", "B"], ma_tinh=[1, 92]).to_file(file)
    read = boundaries.read(file, "commune", START)
    assert read.units["code"].tolist() == ["00004", "31825"]
    assert read.units["parent"].tolist() == ["01", "92"]
    assert any("leading zeros" in w for w in read.warnings)
    assert sum("a national map must show it" in w for w in read.warnings) == 2
    store = tmp_path / "units.gpkg"
    boundaries.store([read.units], store)
    back = boundaries.load(store)
    assert boundaries.on(back, START, "commune")["code"].tolist() == ["00004", "31825"]
    with pytest.raises(InputError, match="no commune units hold on 2025-06-30"):
        boundaries.on(back, dt.date(2025, 6, 30), "commune")
    with pytest.raises(InputError, match="two sets of commune units hold on 2026-04-30"):
        boundaries.store([boundaries.read(file, "commune", dt.date(2026, 4, 30)).units], store)


def test_archipelagos_and_broken_polygons(tmp_path: Path) -> None:
    frame = squares(["48", "56"], name=["Đà Nẵng", "Khánh Hòa"])
    bow = shapely.Polygon([(105, 10), (105.1, 10.1), (105.1, 10), (105, 10.1)])
    frame.geometry = [
        shapely.MultiPolygon([shapely.box(112.2, 16.4, 112.3, 16.5), shapely.box(108, 16, 108.1, 16.1)]), bow
    ]  # fmt: skip
    frame.to_file(tmp_path / "p.gpkg")
    read = boundaries.read(tmp_path / "p.gpkg", "province", START)
    text = " ".join(read.warnings)
    assert "Trường Sa" in text
    assert "Hoàng Sa" not in text
    assert "1 polygons cross themselves" in text
    assert shapely.is_valid(read.units.geometry.array).all()


def test_files_that_cannot_be_units_are_refused(tmp_path: Path, phusa: Phusa) -> None:
    def refused(frame: geopandas.GeoDataFrame, *more: str) -> str:
        frame.to_file(tmp_path / "f.gpkg")
        answer = phusa(
            "zones", "import", tmp_path / "f.gpkg", "--level", "commune", "--valid-from", "2025-07-01", "--out", tmp_path / "u.gpkg", *more
        )  # fmt: skip
        assert answer.code == 2, answer.out
        return answer.err

    assert "no distinct codes of 5 digits" in refused(squares(["1", "1"]))
    assert "no distinct codes of 5 digits" in refused(squares(["VN-1", "2"]))
    assert "has no column 'x'" in refused(squares(["1", "2"]), "--column", "code=x")
    assert "expected code=HEADER" in refused(squares(["1", "2"]), "--column", "lat=x")
    assert "the end lies before the start" in refused(squares(["1", "2"]), "--valid-to", "2025-06-30")
    points = squares(["1"]).set_geometry([shapely.Point(105, 10)])
    assert "is a Point, no polygon" in refused(points)


@pytest.mark.skipif(not (SHARED / "vietnam_admin").exists(), reason="real boundaries are not here")
def test_real_boundaries_of_both_generations(tmp_path: Path) -> None:
    folder = SHARED / "vietnam_admin"
    new = boundaries.read(folder / "vn_communes_3321_2025_simplified.gpkg", "commune", START)
    assert len(new.units) == 3321
    assert set(new.units["code"]) == set(boundaries.communes()["code"])
    assert new.units["name"].iloc[0] == "Phường Ba Đình"
    old = boundaries.read(
        folder / "vn_provinces_63_pre2025.gpkg", "province", dt.date(2008, 8, 1), dt.date(2025, 6, 30)
    )
    assert set(old.units["code"]) == set(boundaries.provinces(dt.date(2025, 6, 30))["code"])
