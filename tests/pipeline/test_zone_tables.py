"""Tables by unit: every table agrees with every other, in whole square metres."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import mapped
import numpy as np
import pandas as pd
import pyogrio
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Phusa

from models.correlation import Correlation
from pipeline import boundaries, production
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.stores import open_store
from pipeline.zones import change, report, rounding, tables, themes
from pipeline.zones.report import CHUNK
from pipeline.zones.tally import Sums

BOX = (106.30, 9.60, 106.36, 9.65)
NEW, OLD = dt.date(2025, 8, 1), dt.date(2025, 4, 30)
CODES = ("29182", "29413", "31633")


def chances(value: np.ndarray) -> dict[str, np.ndarray]:
    return {f"p{t}": np.clip(0.5 + (value - t) / 20, 0.01, 0.99) for t in (2, 4, 8, 16)}


def salt(tile: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(int(tile.geobox.affine.c))
    shape = tile.geobox.shape.yx
    value = rng.choice([1.0, 2.0, 3.0, 4.0, 4.01, 9.0, 20.0], shape)
    reason = rng.choice([0, 0, 0, 0, 2, 3, 4, 5], shape)
    return {"estimate": value, "lower": value / 2, "upper": value * 2, "reason": reason, **chances(value)}


def decay(tile: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    shape = tile.geobox.shape.yx
    p = rng.dirichlet([2, 1, 1, 1], shape)
    names = ("p_none", "p_slight", "p_moderate", "p_heavy")
    layers = {name: p[..., k] for k, name in enumerate(names)}
    reason = rng.choice([0, 0, 0, 2, 3], shape)
    return {"class": p.argmax(axis=-1) + 1, "risk": p[..., 2] + p[..., 3], "reason": reason, **layers}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two targets published over a small box, and units of both generations: three communes with a gap."""
    made = tmp_path_factory.mktemp("zones")
    mapped.publish(made, shapely.box(*BOX), "salinity", salt, (2, 4, 8, 16))
    mapped.config(made, BOX, ("salinity",))
    new = geopandas.GeoDataFrame(
        {
            "code": CODES,
            "fullName": ["Xã Thạnh Phú", "Xã Long Hữu", "Xã Cù Lao Dung"],
            "province_code": ["86", "86", "92"],
        },
        geometry=[
            shapely.box(106.29, 9.59, 106.32, 9.63),
            shapely.Polygon([(106.32, 9.59), (106.35, 9.59), (106.34, 9.63), (106.32, 9.63)]),
            shapely.box(106.29, 9.631, 106.37, 9.66),
        ],
        crs=4326,
    )
    new.to_file(made / "communes.gpkg")
    old = geopandas.GeoDataFrame(
        {"ten_tinh": ["Bến Tre", "TP Cần Thơ"]},
        geometry=[shapely.box(106.2, 9.5, 106.33, 9.7), shapely.box(106.33, 9.5, 106.5, 9.7)],
        crs=4326,
    )
    old.to_file(made / "provinces.gpkg")
    units = made / "units.gpkg"
    boundaries.store([boundaries.read(made / "communes.gpkg", "commune", dt.date(2025, 7, 1)).units], units)
    before = boundaries.read(made / "provinces.gpkg", "province", dt.date(2008, 8, 1), dt.date(2025, 6, 30))
    boundaries.store([before.units], units)
    return made


def counted(folder: Path) -> report.Counted:
    return report.Counted.of(mapped.target("salinity"), sorted((folder / "store").rglob("*_salinity.tif")))


def areas(columns: Any) -> list[str]:
    return [c for c in columns if c.endswith("_m2") and "lower" not in c and "upper" not in c]


def test_communes_sum_to_provinces_and_the_nation_in_every_column(folder: Path) -> None:
    made = report.by_unit(
        counted(folder), boundaries.load(folder / "units.gpkg"), NEW, Correlation(2000)
    ).table
    columns = areas(made.columns)
    by = {level: made[made["level"] == level][columns].sum() for level in made["level"].unique()}
    assert (by["commune"] == by["province"]).all()
    assert (by["commune"] + by["unassigned"] == by["nation"]).all()
    assert by["unassigned"]["mapped_m2"] > 0
    assert by["unassigned"]["outside_m2"] == 0
    nation = made[made["level"] == "nation"].iloc[0]
    classes = [f"from_{k}_map_m2" for k in (0, 2, 4, 8)]
    assert nation[classes].sum() + nation["above_16_map_m2"] == nation["mapped_m2"]
    assert nation["land_m2"] == nation["mapped_m2"] + nation["unknown_m2"]


def test_another_days_units_have_the_same_national_total(folder: Path) -> None:
    units = boundaries.load(folder / "units.gpkg")
    new, old = (report.by_unit(counted(folder), units, day, Correlation(2000)).table for day in (NEW, OLD))
    assert set(old[old["level"] == "province"]["code"]) == {"83", "92"}
    assert "province" in set(new["level"])
    columns = [c for c in areas(new.columns) if c != "outside_m2"]
    a, b = (t[t["level"] == "nation"][columns].iloc[0] for t in (new, old))
    assert (a == b).all()
    for t in (new, old):
        assert set(t["level"]) >= {"region", "unassigned", "nation"}
    bounds = [c for c in new.columns if c.endswith(("lower_m2", "upper_m2"))]
    a, b = (t[t["level"] == "nation"][bounds].iloc[0].astype(float) for t in (new, old))
    np.testing.assert_allclose(a, b, atol=2)


def test_units_that_do_not_reach_the_map_are_told(folder: Path) -> None:
    units = boundaries.load(folder / "units.gpkg")
    units.geometry = units.geometry.translate(3, 3)
    with pytest.raises(InputError, match="none of the 3 units that hold on 2025-08-01 reaches the map"):
        report.by_unit(counted(folder), units, NEW, Correlation(2000))


def test_figures_are_the_pixels_own(folder: Path) -> None:
    """Beside a plain sum over pixels; a value on a limit is not above it."""
    nation = report.by_unit(
        counted(folder), boundaries.load(folder / "units.gpkg"), NEW, Correlation(2000)
    ).table
    nation = nation[nation["level"] == "nation"].iloc[0]
    above = known = unknown = masked = expected = 0.0
    for path in sorted((folder / "store").rglob("*_salinity.tif")):
        with rasterio.open(path) as file:
            bands = dict(zip(file.descriptions, file.read(), strict=True))
        value, reason = bands["estimate"] * 0.01, bands["reason"]
        above += ((value > 4.001) & (reason == 0)).sum()
        expected += (bands["p4"][reason == 0] * 1e-4).sum()
        known += (reason == 0).sum()
        masked += (reason == 2).sum()
        unknown += (reason > 2).sum()
    size = nation["mapped_m2"] / known
    assert size == pytest.approx(100.06, abs=0.1)
    for column, count in (
        ("above_4_map_m2", above),
        ("above_4_expected_m2", expected),
        ("unknown_m2", unknown),
        ("masked_m2", masked),
    ):
        assert nation[column] == pytest.approx(count * size, rel=1e-4), column
    assert nation["unknown_percent"] == pytest.approx(100 * unknown / (known + unknown), abs=1e-3)
    assert nation["headline_percent"] == pytest.approx(100 * expected / known, abs=0.01)


def test_every_figure_has_its_interval_and_unknown_share(folder: Path) -> None:
    made = report.by_unit(
        counted(folder), boundaries.load(folder / "units.gpkg"), NEW, Correlation(2000)
    ).table
    for measure in counted(folder).theme.measures:
        low, middle, high = (made[f"{measure.name}_{k}_m2"] for k in ("lower", "expected", "upper"))
        assert (low <= middle).all()
        assert (middle <= high).all()
        assert (high <= made["mapped_m2"]).all()
        assert (low < high)[made["mapped_m2"] > 1e6].all()
    assert made["unknown_percent"].notna().all()
    assert (
        made["note"]
        .eq(
            "ngưỡng phân loại chưa được xác minh; khoảng 95 %: sai số tương quan exp(-d / 2 km) (do người dùng nêu)"
        )
        .all()
    )


def test_products_without_probabilities_say_so_and_have_no_interval(tmp_path: Path) -> None:
    paths = mapped.publish(tmp_path, shapely.box(106.3, 9.6, 106.31, 9.61), "salinity", salt)
    season = report.Counted.of(mapped.target("salinity"), paths)
    if season.theme.missing:  # until the model gives them
        assert season.theme.missing == ["p16", "p2", "p4", "p8"]
        frame = next(report.by_feature(season, _parcels(tmp_path, 2), [], Correlation(1000)))
        assert frame["above_4_map_m2"].notna().all()
        assert frame["above_4_lower_m2"].isna().all()
        assert "headline_percent" not in frame
        assert "không có khoảng tin cậy: bản đồ thiếu lớp p16, p2, p4, p8" in frame["note"].iloc[0]


def test_classes_and_their_headline(tmp_path: Path) -> None:
    paths = mapped.publish(tmp_path, shapely.box(106.3, 9.6, 106.32, 9.62), "degradation", decay)
    season = report.Counted.of(mapped.target("degradation"), paths)
    assert season.theme.missing == []
    assert season.theme.headline == "bad"
    frame = next(report.by_feature(season, _parcels(tmp_path, 3), ["parcel"], Correlation(1000)))
    whole = frame[[f"{n}_map_m2" for n in ("none", "slight", "moderate", "heavy")]].sum(axis=1)
    assert (abs(whole - frame["mapped_m2"]) <= 2).all()
    bad = frame["moderate_expected_m2"] + frame["heavy_expected_m2"]
    assert (abs(bad - frame["bad_expected_m2"]).astype(float) / frame["mapped_m2"] < 1e-3).all()
    head = tables.all_headings(season.theme)
    assert head["heavy_map_m2"] == "Thoái hóa nặng: đếm trên bản đồ (m²)"
    with pytest.raises(InputError, match="have no band reason"):
        themes.theme_of(mapped.target("degradation"), ["class", "risk"])


def _parcels(folder: Path, count: int, name: str = "parcels.gpkg") -> Path:
    rng = np.random.default_rng(8)
    x, y = 106.3 + rng.uniform(0, 0.018, count), 9.6 + rng.uniform(0, 0.018, count)
    frame = geopandas.GeoDataFrame(
        {"parcel": np.arange(1, count + 1), "sheet": "12", "commune": "00123"},
        geometry=shapely.box(x, y, x + 0.001, y + 0.0008), crs=4326,
    )  # fmt: skip
    frame.to_file(folder / name)
    return folder / name


@pytest.mark.parametrize("suffix", [".csv", ".gpkg", ".parquet", ".xlsx"])
def test_parcels_by_command(
    folder: Path, tmp_path: Path, phusa: Phusa, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if suffix == ".xlsx":
        pytest.importorskip("xlsxwriter")
    monkeypatch.setattr(report, "CHUNK", 7)
    file, out = _parcels(tmp_path, 20), tmp_path / f"areas{suffix}"
    answer = phusa(
        "zones", "stats", folder / "region.yaml", file, "--season", "2025-dry", "--key", "parcel,sheet,commune", "--out", out, "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    assert answer.json["rows"] == 20
    if suffix == ".csv":
        table = pd.read_csv(out, dtype={"commune": str, "sheet": str})
    elif suffix == ".gpkg":
        table = pyogrio.read_dataframe(out)
    elif suffix == ".parquet":
        table = geopandas.read_parquet(out)
    else:
        pytest.importorskip("openpyxl")
        table = pd.read_excel(out, dtype={"commune": str})
    assert list(table["parcel"]) == list(range(1, 21))
    assert set(table["commune"]) == {"00123"}
    land = table["Đất nông nghiệp (m²)"] + table["Ngoài đất nông nghiệp (m²)"]
    geod = pyproj.Geod(ellps="WGS84")
    want = [geod.geometry_area_perimeter(s)[0] for s in geopandas.read_file(file).geometry]
    np.testing.assert_allclose(land.astype(float), want, atol=0.7)
    assert {"Chưa biết (%)", "Tỷ lệ đất: Độ mặn của đất (ECe) trên 4 dS/m, cận trên 95 % (%)"} <= set(
        table.columns
    )


def test_chunks_change_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _parcels(tmp_path, 20)
    whole = pd.concat(report.by_feature(counted(folder), file, ["parcel"], Correlation(2000)))
    assert CHUNK > 20
    monkeypatch.setattr(report, "CHUNK", 3)
    parts = pd.concat(report.by_feature(counted(folder), file, ["parcel"], Correlation(2000)))
    pd.testing.assert_frame_equal(whole.reset_index(drop=True), parts.reset_index(drop=True))


def test_bad_polygon_files_are_refused(folder: Path, tmp_path: Path, phusa: Phusa) -> None:
    def run(file: Path, *more: str) -> str:
        answer = phusa(
            "zones", "stats", folder / "region.yaml", file, "--season", "2025-dry", "--out", tmp_path / "o.csv", *more
        )  # fmt: skip
        assert answer.code == 2
        assert not (tmp_path / "o.csv").exists()
        return answer.err

    file = _parcels(tmp_path, 5)
    assert "no column 'lot'; found parcel, sheet, commune" in run(file, "--key", "lot")
    assert "row 2: sheet 12 was there before" in run(file, "--key", "sheet")
    assert "ends in .csv" in run(file, "--out", str(tmp_path / "o.txt"))
    assert "cannot be read" in run(tmp_path / "none.gpkg")
    lines = geopandas.GeoDataFrame(geometry=[shapely.LineString([(0, 0), (1, 1)])], crs=4326)
    lines.to_file(tmp_path / "lines.gpkg")
    assert "row 1 has LineString; expected a polygon" in run(tmp_path / "lines.gpkg")
    assert (
        "unknown season"
        in phusa(
            "zones", "stats", folder / "region.yaml", file, "--season", "x", "--out", tmp_path / "o.csv"
        ).err
    )


def test_the_table_of_units_by_command(folder: Path, tmp_path: Path, phusa: Phusa) -> None:
    sample = tmp_path / "reference.csv"
    rng = np.random.default_rng(1)
    lon, lat = rng.uniform(106.30, 106.36, 400), rng.uniform(9.60, 9.65, 400)
    values = rng.choice([1.0, 3.0, 6.0, 9.0, 20.0], 400)
    pd.DataFrame({"lon": lon, "lat": lat, "ece": values}).to_csv(sample, index=False)
    answer = phusa(
        "zones", "table", folder / "region.yaml", "--season", "2025-dry", "--boundaries", folder / "units.gpkg",
        "--date", "2025-08-01", "--out", tmp_path / "t.csv", "--ranking", tmp_path / "r.csv",
        "--reference", sample, "--adjusted", tmp_path / "a.csv", "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    table = pd.read_csv(tmp_path / "t.csv", dtype={"Mã": str})
    assert set(table["Cấp"]) == {"xã", "tỉnh", "vùng", "chưa thuộc đơn vị nào", "toàn bộ"}
    assert list(table["Mã"][:3]) == list(CODES)
    rank = pd.read_csv(tmp_path / "r.csv")
    assert list(rank["Thứ tự ưu tiên"]) == [1, 2, 3]
    assert (rank["Thứ tự, cận dưới 90 %"] <= rank["Thứ tự ưu tiên"]).all()
    adjusted = pd.read_csv(tmp_path / "a.csv")
    nation = adjusted[adjusted["Cấp"] == "toàn bộ"]
    mapped_m2 = table.loc[table["Cấp"] == "toàn bộ", "Đã đánh giá (m²)"].iloc[0]
    assert nation["Diện tích hiệu chỉnh theo mẫu (m²)"].sum() == pytest.approx(mapped_m2, abs=5)
    assert (nation["cận dưới 95 % (m²)"] < nation["cận trên 95 % (m²)"]).all()


def test_areas_are_published_with_the_season(folder: Path, tmp_path: Path, dsn: str) -> None:
    text = (folder / "region.yaml").read_text(encoding="utf-8")
    path = folder / "with_zones.yaml"
    path.write_text(f"{text}zones: {{boundaries: units.gpkg, date: 2025-08-01}}\n", encoding="utf-8")
    config = Config.read(path)
    assert config.store is not None
    store = open_store(config.store, "delta")
    records = store.published(mapped.SEASON)
    found = production.areas(config, mapped.SEASON, records)
    assert found is not None
    release = store.publish(mapped.SEASON, records, found)
    assert release.changed
    assert not store.publish(mapped.SEASON, release.records, found).changed
    table = pyogrio.read_dataframe(release.records[0].path.parent / "tables.gpkg", layer="areas")
    assert len(table) == len(found)
    assert list(table["code"]) == list(found["code"])
    assert set(table["season_start"]) == {mapped.SEASON.start.isoformat()}
    assert store.verify() == []
    later = type(mapped.SEASON)("2026-dry", dt.date(2026, 1, 1), dt.date(2026, 4, 30))
    grown = store.publish(later, release.records, found.assign(expected_m2=found["expected_m2"] * 2))
    told = pyogrio.read_dataframe(grown.records[0].path.parent / "tables.gpkg", layer="area_change")
    assert set(told["season_before"]) == {"2025-dry"}

    from pipeline.stores import PostgisSettings
    from pipeline.stores.postgis import PostgisStore

    database = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store"), "delta", dsn)
    assert isinstance(database, PostgisStore)
    for year, factor in ((2025, 1), (2026, 2)):
        season = type(mapped.SEASON)(f"{year}-dry", dt.date(year, 1, 1), dt.date(year, 4, 30))
        grown = found.assign(expected_m2=found["expected_m2"] * factor)
        small = mapped.products(
            tmp_path / season.name, shapely.box(106.3, 9.6, 106.31, 9.61), "salinity", salt, (4,), season
        )
        maps = [database.put(product, cog) for product, cog in small]
        assert database.publish(season, maps, grown).changed
        assert not database.publish(season, maps, grown).changed
    row = database.connection.execute(
        "SELECT season, season_before, expected_m2, before_m2, change_m2, change_lower_m2, change_upper_m2 "
        "FROM phusa.area_now WHERE code = %s AND indicator = 'above_4'", (CODES[0],)
    ).fetchall()  # fmt: skip
    assert len(row) == 1
    season, before, now, old, change, low, high = row[0]
    assert (season, before) == ("2026-dry", "2025-dry")
    assert now == 2 * old
    assert change == old
    assert low < change < high
    own = told[(told["code"] == CODES[0]) & (told["indicator"] == "above_4")].iloc[0]
    assert own["change_m2"] == change
    assert own["change_lower_m2"] == pytest.approx(low, abs=1)
    assert own["change_upper_m2"] == pytest.approx(high, abs=1)
    database.close()


def test_change_needs_the_same_units_and_two_intervals() -> None:
    now = pd.DataFrame(
        {
            "target": "s", "units_of": "2025-08-01", "level": "commune", "code": ["1", "2", "3"],
            "name": "x", "indicator": "above_4", "season": "b", "unknown_percent": 0.0, "note": "",
            "map_m2": [10, 20, 30], "expected_m2": pd.array([100, None, 90], dtype="Int64"),
            "lower_m2": pd.array([70, None, 80], dtype="Int64"),
            "upper_m2": pd.array([140, None, 95], dtype="Int64"),
        }
    )  # fmt: skip
    before = now.assign(season="a", expected_m2=pd.array([60, 10, 40], dtype="Int64"))
    before["lower_m2"], before["upper_m2"] = before["expected_m2"] - 5, before["expected_m2"] + 40
    made = change.between(now, before.iloc[:2])
    assert made["change_m2"].tolist()[0] == 40
    assert made["change_lower_m2"].iloc[0] == 40 - 50  # hypot(30, 40)
    assert made["change_upper_m2"].iloc[0] == 40 + 41  # hypot(40, 5), and a whole metre more
    assert made["change_m2"].isna().tolist() == [False, True, True]
    assert made["season_before"].isna().tolist() == [False, False, True]
    other = change.between(now, before.assign(units_of="2025-01-01"))
    assert other["change_m2"].isna().all()
    assert other["map_m2_before"].tolist() == [10, 20, 30]


def test_the_interval_stands_on_what_the_products_say(folder: Path) -> None:
    season = counted(folder)
    assert (season.correlation().basis, season.correlation().range_m) == ("assumed", 5000)
    assert season.correlation(3).basis == "stated"
    for k, square in enumerate(season.squares):
        square.error_range_m = 1200.0 - k
    found = season.correlation()
    assert (found.basis, found.range_m) == ("estimated", 1200)
    assert "ước lượng từ mẫu để riêng" in tables.note(season.theme, found)
    assert "mặt nạ đất nông nghiệp: 2025" in tables.note(replace(season.theme, mask_version="2025"), found)


ROUNDED = 200


@settings(max_examples=ROUNDED, deadline=None)
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.lists(
            st.lists(st.one_of(st.just(0), st.integers(1, 5_000_000)), min_size=5, max_size=5),
            min_size=n, max_size=n,
        )
    )
)  # fmt: skip
def test_rounding_keeps_both_margins_and_moves_no_entry_far(values: list[list[int]]) -> None:
    high = np.array(values, np.int64)
    low = np.zeros_like(high)
    sums = Sums(len(high), (5,), 0)
    sums.high[0], sums.low[0] = high, low
    made = tables.Leaves.agreeing(sums).classes
    assert (made >= 0).all()
    assert (made[high == 0] == 0).all()
    assert (abs(made - high / 1e6) < 3).all()
    land = rounding.apportion(high[:, 2:].sum(axis=1), low[:, 0], 1)
    assert made[:, 2:].sum() == land.sum() == (2 * int(high[:, 2:].sum()) + 1_000_000) // 2_000_000
    # two themes divide the same land differently, and it stays the same land
    merged = Sums(len(high), (4,), 0)
    merged.high[0] = np.column_stack([high[:, :3], high[:, 3:].sum(axis=1)])
    merged.low[0] = low[:, :4]
    other = tables.Leaves.agreeing(merged).classes
    assert other[:, :2].tolist() == made[:, :2].tolist()
    off = abs(other[:, 2:].sum(axis=1) - made[:, 2:].sum(axis=1))
    assert off.max() <= 1
    # the national figure of a class does not hang on the units
    alone = Sums(1, (5,), 0)
    alone.high[0], alone.low[0] = high.sum(axis=0)[None], low[:1]
    assert abs(tables.Leaves.agreeing(alone).classes[0] - made.sum(axis=0)).max() <= 0
