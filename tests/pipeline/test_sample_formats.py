"""The same samples in every format, encoding, separator, header language and reference system."""

from __future__ import annotations

import datetime as dt
import unicodedata
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import openpyxl
import pyogrio
import pyproj
import pytest
import shapely
from pyproj.transformer import TransformerGroup

from models.chemistry import Readings, convert
from models.targets import Target
from pipeline import sites, vn2000, yamlfile
from pipeline.errors import InputError
from pipeline.imports import crs, headers, spellings
from pipeline.imports.land import Land
from pipeline.imports.rules import Refused
from pipeline.season import Season

CONFIGS = Path(__file__).parents[2] / "configs"
SALINITY, DEGRADATION = (
    yamlfile.parse(Target, CONFIGS / "targets" / f"{name}.yaml") for name in ("salinity", "degradation")
)
DRY = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
WET = Season("2025-wet", dt.date(2025, 5, 1), dt.date(2025, 11, 30))
DELTA = Land.around(shapely.box(104.5, 8.5, 107, 11))
VIETNAMESE = "Mã mẫu;Ngày lấy mẫu;Kinh độ;Vĩ độ;Khoanh đất;ECe (dS/m);Mức độ thoái hóa đất\n"
ROWS = "Đ1;03/02/2025;105,512345;10,123456;KĐ 1;3,5;Thoái hóa nhẹ\nĐ2;25/2/2025;105,62;10,2;KĐ 2;4;Không thoái hóa\n"


def imported(path: Path, *seasons: Season, **stated: Any) -> sites.Imported:
    return sites.read(path, seasons or [DRY], [SALINITY, DEGRADATION], sites.Stated(**stated), DELTA)


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def windows_1258(text: str) -> bytes:
    """As Windows writes Vietnamese: letters with marks of their own, tones behind them."""
    out = bytearray()
    for letter in text:
        try:
            out += letter.encode("cp1258")
        except UnicodeEncodeError:
            parts = unicodedata.normalize("NFD", letter)
            tone = next(c for c in parts if c in "\u0300\u0301\u0303\u0309\u0323")
            out += unicodedata.normalize("NFC", parts.replace(tone, "")).encode("cp1258") + tone.encode(
                "cp1258"
            )
    return bytes(out)


@pytest.mark.parametrize(
    ("encode", "told"),
    [
        (lambda t: t.encode(), "utf-8"),
        (lambda t: t.encode("utf-8-sig"), "utf-8-sig"),
        (windows_1258, "windows-1258"),
        (lambda t: t.encode("utf-16"), "utf-16"),
        (lambda t: t.encode("utf-16-le"), "utf-16-le"),
        (lambda t: unicodedata.normalize("NFD", t).encode(), "utf-8"),
        (lambda t: t.replace("\n", "\r\n").encode(), "utf-8"),
        (lambda t: t.replace(";", "\t").encode(), "utf-8"),
        (lambda t: ("sep=;\n" + t).encode(), "utf-8"),
        (lambda t: ("KẾT QUẢ PHÂN TÍCH ĐẤT NĂM 2025;;;;;;\n;;;;;;\n" + t).encode(), "utf-8"),
    ],
)
def test_vietnamese_text_is_read_in_any_encoding_and_separator(
    tmp_path: Path, encode: Any, told: str
) -> None:
    found = imported(write(tmp_path / "s.csv", encode(VIETNAMESE + ROWS)))
    assert [(s.sample_id, s.group, s.date) for s in found.sites] == [
        ("Đ1", "KĐ 1", "2025-02-03"), ("Đ2", "KĐ 2", "2025-02-25")
    ]  # fmt: skip
    assert [(s.lon, s.lat) for s in found.sites] == [(105.512345, 10.123456), (105.62, 10.2)]
    assert [dict(s.values) for s in found.sites] == [
        {"salinity": 3.5, "degradation": 2.0}, {"salinity": 4.0, "degradation": 1.0}
    ]  # fmt: skip
    assert found.about["encoding"] == told
    assert found.about["decimal_sign"] == ","
    assert not found.refusals


def test_text_that_was_read_in_the_wrong_encoding_once_is_turned_back(tmp_path: Path) -> None:
    text = (VIETNAMESE + ROWS).encode().decode("cp1252", "ignore")
    if text.encode("cp1252").decode("utf-8", "ignore") != VIETNAMESE + ROWS:  # some letters have no cp1252
        text = "Mã mẫu,lon,lat,ECe (dS/m)\nA1,105.5,10.2,3\n".encode().decode("cp1252")
    found = imported(write(tmp_path / "s.csv", text))
    assert found.sites
    assert "turned back" in found.about["encoding"]


def test_a_broken_letter_breaks_its_own_row_at_most(tmp_path: Path) -> None:
    raw = "Mã mẫu,Kinh độ,Vĩ độ,ECe (dS/m),Ghi chú\nA,105.5,10.2,3,đất\nB,105.6,10.2,4,?\n".encode()
    found = imported(write(tmp_path / "s.csv", raw.replace(b"?", b"\xff")))
    assert [s.sample_id for s in found.sites] == ["A", "B"]
    assert [m.rule for m in found.outcomes[1].mends] == ["broken-letters"]


def test_a_quote_that_never_closes_swallows_no_row(tmp_path: Path) -> None:
    text = 'sample_id,lon,lat,ece,note\na,105.5,10.2,3,"wet\nb,105.6,10.2,4,dry\nc,105.7,10.2,5,"say ""x"""\n'
    found = imported(write(tmp_path / "s.csv", text))
    assert [s.sample_id for s in found.sites] == ["b", "c"]
    assert [r.rule for r in found.refusals] == ["bad-quotes"]


@pytest.mark.parametrize(
    "header",
    [
        "Ma mau,Kinh do,Vi do,ECe (dS/m)", "SAMPLE ID,Longitude,Latitude,ECe [dS/m]", "sample_id,lng,lat,ece_ds_m",
        "Số hiệu mẫu,KINH ĐỘ (°),VĨ ĐỘ (°),ECe dS/m", "mã mẫu,kinh_độ,vĩ_độ,EC bão hòa (dS/m)", "Sample,Long,Lat,ECe (dS m-1)",
        "Ký hiệu mẫu,Kinh độ (E),Vĩ độ (N),ECe (dS.m⁻¹)", "sample no,X_lon,Y_lat,ECse (mS/cm)",
    ],
)  # fmt: skip
def test_headers_of_both_languages_with_and_without_marks(tmp_path: Path, header: str) -> None:
    found = imported(write(tmp_path / "s.csv", f"{header}\nA1,105.5,10.2,3\n"))
    assert [(s.sample_id, s.lon, s.lat, s.values["salinity"]) for s in found.sites] == [
        ("A1", 105.5, 10.2, 3.0)
    ]


@pytest.mark.parametrize(
    ("lon", "lat"),
    [
        ("105°30'15\"E", "10°12'36\"N"), ("105° 30' 15\" Đ", "10° 12' 36\" B"), ("E105°30'15\"", "N10°12'36\""),
        ("105 30 15", "10 12 36"), ("105:30:15", "10:12:36"), ("105d30m15s", "10d12m36s"), ("105º30’15”", "10º12’36”"),
        ("105°30,25'", "10°12,6'"), ("105độ30phút15giây", "10độ12phút36giây"), ("105.5041667E", "10.21N"),
        ("105°30'15'' Đông", "10°12'36'' Bắc"), ("105,5041667", "10,21"), ("105.5041667°", "+10.21°"),
        ("Kinh độ: 105°30'15\"", "Vĩ độ: 10°12'36\""), ("105⁰30′15″ E", "10⁰12′36″ N"), ("105-30-15", "10-12-36"),
        ("105°30'15\"E.", "10°12'36\"B."), ("105o30'15\"", "10o12'36\""),
    ],
)  # fmt: skip
def test_degrees_in_the_spellings_of_the_field(lon: str, lat: str) -> None:
    assert spellings.angle(lon).degrees == pytest.approx(105.5041667, abs=1e-6)
    assert spellings.angle(lat).degrees == pytest.approx(10.21, abs=1e-6)


@pytest.mark.parametrize(
    "text",
    ["10°12'N, 105°30'E", "105°30'Đ 10°12'B", "10.2 105.5 0 0", "10.2,105.5", "10,2; 105,5", "(10.2, 105.5)"],
)
def test_both_degrees_in_one_cell(tmp_path: Path, text: str) -> None:
    found = imported(write(tmp_path / "s.csv", f"Mã mẫu|Tọa độ|ece\nA|{text}|3\n"))
    assert [(s.lon, s.lat) for s in found.sites] == [(pytest.approx(105.5), pytest.approx(10.2))]


@pytest.mark.parametrize(
    "text",
    [
        "2025-02-03", "03/02/2025", "3/2/2025", "3-2-2025", "03.02.2025", "3/2/25", "2025/02/03", "20250203",
        "2025-02-03T07:30:00.000+07:00", "2025-02-03 07:30", "03/02/2025 07:30", "ngày 3 tháng 2 năm 2025",
        "3 tháng 2, 2025", "3-Feb-2025", "3-Feb-25", "Feb 3, 2025", "3 February 2025", "45691",
    ],
)  # fmt: skip
def test_days_in_the_spellings_of_the_field(text: str) -> None:
    assert spellings.day(text).day == dt.date(2025, 2, 3)


# --- reference systems -----------------------------------------------------------------------------


def test_vn2000_goes_by_operation_6960_and_not_by_the_one_of_the_delta() -> None:
    codes = [4756, *vn2000.SYSTEMS]
    assert len(codes) == 21
    for code in codes:
        system = crs.parse(f"EPSG:{code}")
        middle = system.area_of_use
        assert middle is not None
        lon = (middle.west + middle.east) / 2
        x, y = pyproj.Transformer.from_crs(4756, code, always_xy=True).transform(lon, 10.0)
        group = TransformerGroup(code, 4326, always_xy=True).transformers
        pinned = next(t for t in group if "VN-2000 to WGS 84 (2)" in t.description)
        assert crs.to_wgs84(system, x, y) == pytest.approx(pinned.transform(x, y), abs=1e-10)
        other = next((t for t in group if "VN-2000 to WGS 84 (1)" in t.description), None)
        if other is not None:
            assert crs.to_wgs84(system, x, y) != pytest.approx(other.transform(x, y), abs=1e-7)


def test_vn2000_read_as_wgs84_would_be_about_225_m_off() -> None:
    lon, lat = crs.to_wgs84(crs.parse("VN-2000"), 106.0, 10.0)
    off = pyproj.Geod(ellps="WGS84").inv(106.0, 10.0, lon, lat)[2]
    assert 150 < off < 300


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("9210", 9210), ("EPSG:9210", 9210), ("epsg 9210", 9210), ("urn:ogc:def:crs:EPSG::9210", 9210), ("EPSG: 3405", 3405),
        ("VN-2000 / TM-3 105-45", 9210), ("VN2000 KTT 105°45'", 9210), ("VN-2000 105.75", 9210), ("VN 2000 105 45", 9210),
        ("VN-2000, múi chiếu 3°, kinh tuyến trục 107°45'", 5899), ("VN2000 108-30", 9218), ("VN-2000/UTM zone 48N", 3405),
        ("VN2000 UTM 49", 3406), ("VN-2000 múi 3 độ KTT 105", 5897), ("VN-2000 / TM-3 zone 482", 5897), ("WGS84", 4326),
        ("WGS 84 / UTM zone 48N", 32648), ("wgs-84", 4326), ("VN-2000", 4756), ("Hệ tọa độ VN-2000", 4756), ("4326.0", 4326),
    ],
)  # fmt: skip
def test_reference_systems_in_the_words_of_surveyors(text: str, code: int) -> None:
    assert crs.parse(text).to_epsg() == code


@pytest.mark.parametrize("code", [6956, 6957, 6958, 6959])
def test_withdrawn_systems_are_refused(code: int) -> None:
    for text in (f"EPSG:{code}", str(code), pyproj.CRS.from_epsg(code).to_wkt()):
        with pytest.raises(Refused, match="withdrawn"):
            crs.parse(text)


@pytest.mark.parametrize(
    ("header", "row", "stated"),
    [
        ("id,x,y,crs,ece", "a,{x},{y},EPSG:9210,3", {}),
        ("id,X (m),Y (m),He toa do,ece", "a,{y},{x},VN2000 KTT 105°45',3", {}),
        ("id,x,y,ece", "a,{x},{y},3", {"crs": "VN-2000 105°45'"}),
        ("id,Tọa độ X VN-2000 105°45',Tọa độ Y,ece", "a,{y},{x},3", {}),
        ("id,x,y,crs,Kinh tuyến trục,ece", "a,{x},{y},VN-2000,105°45',3", {}),
    ],
)
def test_vn2000_metres_however_they_are_stated(
    tmp_path: Path, header: str, row: str, stated: dict[str, str]
) -> None:
    x, y = 473_000.0, 1_129_000.0
    text = f"{header}\n{row.format(x=x, y=y)}\n"
    (site,) = imported(write(tmp_path / "s.csv", text), **stated).sites
    pinned = next(
        t for t in TransformerGroup(9210, 4326, always_xy=True).transformers if "(2)" in t.description
    )
    assert (site.lon, site.lat) == pytest.approx(pinned.transform(x, y), abs=1e-9)


def test_a_title_above_the_header_states_the_reference_system(tmp_path: Path) -> None:
    text = "Bảng tọa độ hệ VN-2000 KTT 105°45';;;\nid;x;y;ece\na;473000;1129000;3\n"
    found = imported(write(tmp_path / "s.csv", text))
    assert found.about["crs_from"] == "title"
    assert found.sites[0].lon == pytest.approx(105.5058, abs=1e-3)


# --- workbooks -------------------------------------------------------------------------------------


def test_a_workbook_with_a_title_typed_cells_and_one_of_text(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    notes = book.active
    notes.title = "Ghi chú"
    notes.append(["Phòng thí nghiệm X"])
    sheet = book.create_sheet("Kết quả")
    sheet.append(["KẾT QUẢ PHÂN TÍCH", None, None])
    sheet.append([])
    sheet.append(["Số hiệu mẫu", "Ngày lấy mẫu", "Kinh độ", "Vĩ độ", "ECe (dS/m)", "Độ sâu (cm)"])
    sheet.append([1, dt.datetime(2025, 2, 3), 105.5, 10.2, 3.5, "0-20"])
    sheet.append(["A-2", "13/2/2025", "105°36'", "10°12'B", "4,25", "0-20"])
    sheet.append(["A-3", 45691, 105.7, 10.2, "#DIV/0!", "0-20"])
    sheet.append(["A-4", dt.datetime(2025, 2, 3), 105.8, 10.2, 1.234, dt.datetime(2025, 10, 20)])
    sheet.append([None, None, None, None, None, None])
    sheet.append(["A-5", dt.date(2025, 2, 4), 105.9, 10.2, 1.234, "0-30"])
    book.save(tmp_path / "lab.xlsx")
    found = imported(tmp_path / "lab.xlsx")
    assert [(s.sample_id, s.date, round(s.lon, 6), s.values["salinity"]) for s in found.sites] == [
        ("1", "2025-02-03", 105.5, 3.5), ("A-2", "2025-02-13", 105.6, 4.25), ("A-5", "2025-02-04", 105.9, 1.234)
    ]  # fmt: skip
    assert [(r.row, r.rule) for r in found.refusals] == [(6, "broken-cell"), (7, "depth-became-date")]
    assert found.about["sheet"] == "Kết quả"


def test_a_file_of_no_known_kind_is_told(tmp_path: Path) -> None:
    for content, told in (
        (b"\xd0\xcf\x11\xe0" + b"\0" * 600, "old .xls"),
        (b"PK\3\4 no", "not an XLSX"),
        (b"\0\1\2", "binary"),
    ):
        with pytest.raises(InputError, match=told):
            imported(write(tmp_path / "s.csv", content))


# --- field forms -----------------------------------------------------------------------------------


def test_a_kobo_export_with_groups_and_choices(tmp_path: Path) -> None:
    header = (
        "start;end;today;site/sample_id;site/gps;site/_gps_latitude;site/_gps_longitude;site/_gps_altitude;"
        "site/_gps_precision;site/crops;site/crops/rice;site/crops/lat;lab/EC 1:5 (µS/cm);_id;_uuid;_submission_time;_index"
    )
    row = "2025-02-03T07:30:00.000+07:00;2025-02-03T07:40:00.000+07:00;2025-02-03;K1;10.2 105.5 2 4;10.2;105.5;2;4;rice lat;1;1;850;7;u;2025-03-01T00:00:00;1"
    for separator in (";", ","):
        found = imported(write(tmp_path / "k.csv", f"{header}\n{row}\n".replace(";", separator)))
        (site,) = found.sites
        assert (site.sample_id, site.date, site.lon, site.lat) == ("K1", "2025-02-03", 105.5, 10.2)
        assert site.values["salinity"] == pytest.approx(
            float(convert(Readings([850.0], "uS/cm", "1:5")).ece[0])
        )


def test_an_odk_export(tmp_path: Path) -> None:
    text = (
        "SubmissionDate,meta-instanceID,site-sample_id,site-day,site-gps-Latitude,site-gps-Longitude,site-gps-Altitude,"
        "site-gps-Accuracy,lab-ece,KEY\n2025-03-01T00:00:00Z,uuid:1,O1,2025-02-03,10.2,105.5,1,4.2,3,uuid:1\n"
    )
    (site,) = imported(write(tmp_path / "o.csv", text)).sites
    assert (site.sample_id, site.date, site.lon, site.lat, site.values["salinity"]) == (
        "O1",
        "2025-02-03",
        105.5,
        10.2,
        3.0,
    )


# --- GeoPackages -----------------------------------------------------------------------------------


def package(path: Path, shapes: list[Any], code: int | None, **columns: list[Any]) -> Path:
    pyogrio.write_dataframe(geopandas.GeoDataFrame(columns, geometry=shapes, crs=code), path, driver="GPKG")
    return path


def test_points_in_vn2000(tmp_path: Path) -> None:
    file = package(
        tmp_path / "p.gpkg",
        [shapely.Point(473_000, 1_129_000), None],
        9210,
        **{"Mã mẫu": ["a", "b"], "ece": [3.0, 4.0]},
    )
    found = imported(file)
    assert [s.sample_id for s in found.sites] == ["a"]
    assert found.sites[0].lon == pytest.approx(105.5058, abs=1e-3)
    assert [r.rule for r in found.refusals] == ["no-place"]
    assert [
        r.rule
        for r in imported(
            package(tmp_path / "n.gpkg", [shapely.Point(473_000, 1_129_000)], None, ece=[3.0])
        ).refusals
    ] == ["no-crs"]


def test_a_survey_polygon_gives_points_inside_its_edge_and_is_one_fold(tmp_path: Path) -> None:
    square = shapely.box(600_000, 1_110_000, 600_200, 1_110_200)
    bow = shapely.Polygon(
        [(601_000, 1_110_000), (601_300, 1_110_300), (601_300, 1_110_000), (601_000, 1_110_300)]
    )
    strip = shapely.box(602_000, 1_110_000, 602_020, 1_110_400)
    line = shapely.LineString([(0, 0), (1, 1)])
    file = package(
        tmp_path / "k.gpkg",
        [square, bow, strip, line],
        32648,
        khoanh_dat=["K1", "K2", "K3", "K4"],
        ece=[3.0, 4.0, 5.0, 6.0],
    )
    found = imported(file, edge_m=15)
    assert [r.rule for r in found.refusals] == ["narrow-polygon", "bad-geometry"]
    assert [m.rule for m in found.outcomes[1].mends] == ["polygon-mended"]
    first = [s for s in found.sites if s.group == "K1"]
    assert 4 <= len(first) <= 9
    x, y = pyproj.Transformer.from_crs(4326, 32648, always_xy=True).transform(
        [s.lon for s in first], [s.lat for s in first]
    )
    inner = shapely.buffer(square, -14.99)
    assert shapely.contains_xy(inner, x, y).all()
    assert len({(round(a), round(b)) for a, b in zip(x, y, strict=True)}) == len(first)
    assert {s.group for s in found.sites} == {"K1", "K2"}
    assert len({s.sample_id for s in found.sites}) == len(found.sites)
    assert [dict(s.values) for s in first] == [{"salinity": 3.0}] * len(first)


def test_a_polygon_without_a_name_is_a_group_of_its_own(tmp_path: Path) -> None:
    file = package(
        tmp_path / "k.gpkg", [shapely.box(600_000, 1_110_000, 600_200, 1_110_200)], 32648, ece=[3.0]
    )
    assert {s.group for s in imported(file).sites} == {"polygon row-1"}


def test_layers_are_named_where_there_are_two(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame({"ece": [3.0]}, geometry=[shapely.Point(105.5, 10.2)], crs=4326)
    for name in ("one", "two"):
        pyogrio.write_dataframe(frame, tmp_path / "p.gpkg", layer=name, driver="GPKG")
    with pytest.raises(InputError, match="one, two"):
        imported(tmp_path / "p.gpkg")
    assert len(imported(tmp_path / "p.gpkg", layer="two").sites) == 1


# --- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "cell", "unit"),
    [
        ("EC 1:5 (µS/cm)", "850", "uS/cm"), ("EC1:5 (mS/cm)", "0.85", "mS/cm"), ("EC_1_5_dS_m", "0.85", "dS/m"),
        ("Độ dẫn điện 1:5 (mmhos/cm)", "0.85", "mmho/cm"), ("EC 1/5 (μS cm-1)", "850", "uS/cm"), ("EC (1:5, mS/cm)", "0.85", "mS/cm"),
    ],
)  # fmt: skip
def test_conductivity_of_an_extract_becomes_ece_with_its_error(
    tmp_path: Path, header: str, cell: str, unit: str
) -> None:
    text = f"id|lon|lat|texture|{header}\na|105.5|10.2|sét|{cell}\nb|105.6|10.2|sét|{cell}\n"
    first, _ = imported(write(tmp_path / "s.csv", text)).sites
    expected = convert(Readings([float(cell)] * 2, unit, "1:5", texture="sét"))
    assert first.values["salinity"] == pytest.approx(expected.ece[0])
    assert first.errors["salinity_log_variance_own"] == pytest.approx(expected.own[0])
    assert first.errors["salinity_log_variance_shared"] == pytest.approx(expected.shared[0])
    assert expected.shared[0] > 0.01


def test_paste_and_suspension_stand_in_one_column_by_their_method(tmp_path: Path) -> None:
    text = "id,lon,lat,EC,Đơn vị,Phương pháp\na,105.5,10.2,4,dS/m,ECe\nb,105.6,10.2,600,µS/cm,EC 1:5\nc,105.7,10.2,600,µS/cm,\n"
    found = imported(write(tmp_path / "s.csv", text))
    by_id = {s.sample_id: s for s in found.sites}
    assert by_id["a"].values["salinity"] == 4.0
    assert by_id["a"].errors["salinity_log_variance_shared"] == 0
    assert 2 < by_id["b"].values["salinity"] < 8
    assert [r.rule for r in found.refusals] == ["no-extract"]


def test_a_unit_is_never_guessed_from_numbers(tmp_path: Path) -> None:
    text = "id,lon,lat,EC\n" + "".join(
        f"s{k},105.{k},10.2,{v}\n" for k, v in enumerate((29, 488, 678, 1900), 1)
    )
    assert {r.rule for r in imported(write(tmp_path / "s.csv", text)).refusals} == {"no-unit"}
    # mapping the header names the quantity; its numbers show that it is in another unit than the target's
    doubted = imported(tmp_path / "s.csv", columns={"EC": "ece"})
    assert [r.rule for r in doubted.refusals] == ["no-unit"] * 4
    stated = imported(tmp_path / "s.csv", units={"EC": "uS/cm"}, extract="1:5")
    assert len(stated.sites) == 4
    # one odd number among good ones is that row's own fault
    good = "id,lon,lat,ece\n" + "".join(
        f"s{k},105.{k:02d},10.2,{v}\n" for k, v in enumerate([3] * 20 + [4800])
    )
    assert [r.rule for r in imported(write(tmp_path / "g.csv", good)).refusals] == ["impossible-value"]


def test_a_unit_column_speaks_for_its_own_row(tmp_path: Path) -> None:
    text = "Mẫu,lat,lon,ece,Đơn vị\nM1,10.5,105.5,1200,µS/cm\nM2,10.5,105.6,4,dS/m\nM3,10.5,105.7,4,\n"
    found = imported(write(tmp_path / "s.csv", text))
    assert [(s.sample_id, s.values["salinity"]) for s in found.sites] == [("M1", 1.2), ("M2", 4.0)]
    assert [r.rule for r in found.refusals] == ["no-unit"]
    organisation = imported(
        write(tmp_path / "o.csv", "id,lat,lon,ece,Đơn vị\nM1,10.5,105.5,3,Viện Thổ nhưỡng\n")
    )
    assert len(organisation.sites) == 1
    assert "Đơn vị" in organisation.about["ignored_columns"]


def test_layers_are_weighted_by_thickness_to_the_depth_that_is_mapped(tmp_path: Path) -> None:
    text = "id,lon,lat,Từ (cm),Đến (cm),ece\np,105.5,10.2,0,10,2\np,105.5,10.2,10,20,4\np,105.5,10.2,20,60,9\np,105.5,10.2,60,90,20\n"
    found = imported(write(tmp_path / "s.csv", text.replace("Từ", "Do sau tu").replace("Đến", "Do sau den")))
    assert [s.values["salinity"] for s in found.sites] == [pytest.approx((2 * 10 + 4 * 10 + 9 * 10) / 30)]
    assert [r.rule for r in found.refusals] == ["below-depth"]
    assert [o.status for o in found.outcomes] == ["mended", "mended", "mended", "refused"]
    deep = imported(tmp_path / "s.csv", depth_cm=(0, 20))
    assert [s.values["salinity"] for s in deep.sites] == [pytest.approx(3.0)]


def test_values_of_one_sample_in_two_rows_meet(tmp_path: Path) -> None:
    text = "sample_id,lon,lat,ece,degradation\na,105.5,10.2,3,\na,105.5,10.2,,slight\n"
    (site,) = imported(write(tmp_path / "s.csv", text)).sites
    assert dict(site.values) == {"salinity": 3.0, "degradation": 2.0}


def test_rows_go_to_the_season_of_their_date(tmp_path: Path) -> None:
    text = "id,date,lon,lat,ece\na,2025-02-01,105.5,10.2,3\nb,2025-06-01,105.6,10.2,3\nc,2023-06-01,105.7,10.2,3\n"
    found = imported(write(tmp_path / "s.csv", text), DRY, WET)
    assert [(s.sample_id, s.season) for s in found.sites] == [("a", "2025-dry"), ("b", "2025-wet")]
    assert [r.rule for r in found.refusals] == ["outside-every-season"]


def test_a_region_elsewhere_knows_no_abroad_and_still_mends_swapped_places(tmp_path: Path) -> None:
    land = Land.around(shapely.box(2.5, 50.8, 4.0, 51.4))
    file = write(tmp_path / "s.csv", "id,lon,lat,ece\na,3.1,51.0,3\nb,51.0,3.1,3\nc,12,45,3\n")
    found = sites.read(file, DRY, [SALINITY], land=land)
    assert [(s.sample_id, s.lon) for s in found.sites] == [("a", 3.1), ("b", 3.1), ("c", 12.0)]
    assert found.outcomes[1].mends[0].rule == "swapped-lonlat"


def test_islands_are_home() -> None:
    for lon, lat in ((103.96, 10.2), (106.6, 8.68), (112.3, 16.8), (114.3, 10.4), (108.95, 10.53)):
        assert DELTA.fault(lon, lat) is None


def test_headers_say_unit_and_extract() -> None:
    assert headers.split("Độ dẫn điện EC (1:5) (mS/cm)")[1:] == ("mS/cm", "1:5")
    assert headers.split("EC 1/2,5 (mS/cm ở 25 °C)")[1:] == ("mS/cm", "1:2.5")
    assert headers.split("Độ sâu (m)") == ("Độ sâu", "m", "")
    assert np.isclose(spellings.factor("µS/cm", "dS/m"), 1e-3)
