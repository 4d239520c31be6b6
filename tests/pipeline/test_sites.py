from __future__ import annotations

import datetime as dt
import unicodedata
from pathlib import Path

import pytest

from models.targets import Target
from pipeline import sites, yamlfile
from pipeline.errors import InputError
from pipeline.season import Season

SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
TARGETS = Path(__file__).parents[2] / "configs" / "targets"
SALINITY = yamlfile.parse(Target, TARGETS / "salinity.yaml")
DEGRADATION = yamlfile.parse(Target, TARGETS / "degradation.yaml")
HEADER = "sample_id,date,lon,lat,ece,degradation\n"


def read(path: Path, text: str | bytes, **columns: str) -> tuple[list[sites.Site], list[sites.Refusal]]:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    found = sites.read(path, SEASON, [SALINITY, DEGRADATION], sites.Stated(columns))
    return found.sites, found.refusals


@pytest.mark.parametrize(
    ("row", "rule", "told"),
    [
        ("a,2025-02-01,,10,3,none", "no-place", "lon is ''"),
        ("a,2025-02-01,x,10,3,none", "bad-place", "lon is 'x'"),
        ("a,2025-02-01,inf,10,3,none", "bad-place", "expected a finite number"),
        ("a,2025-02-01,10,105,3,none", "outside-globe", "latitudes -80..84"),
        ("a,2025-02-01,305,10,3,none", "outside-globe", "longitudes -180..180"),
        ("a,2025-02-01,1_05,10,3,none", "bad-place", "lon is '1_05'"),
        ("a,2025-02-01Tgarbage,105,10,3,none", "bad-date", "date is '2025-02-01Tgarbage'"),
        ("a,2025-02-01,105,10,3,None", "bad-value", "class 'None' is not one of"),
        ("a,soon,105,10,3,none", "bad-date", "date is 'soon'"),
        (
            "a,2023-02-01,105,10,3,none",
            "outside-season",
            "not in season '2025-dry' (2024-12-01 to 2025-04-30)",
        ),
        ("a,2025-02-01,105,10,much,none", "bad-value", "ece: 'much' is not a number"),
        ("a,2025-02-01,105,10,0,none", "bad-value", "not above 0"),
        ("a,2025-02-01,105,10,nan,none", "bad-value", "'nan' is not a number"),
        ("a,2025-02-01,105,10,1e999,none", "bad-value", "not a finite number"),
        (
            "a,2025-02-01,105,10,3,awful",
            "bad-value",
            "class 'awful' is not one of none, slight, moderate, heavy",
        ),
        ("a,2025-02-01,105,10,,", "no-value", "no value of ece, degradation"),
        ("good,2025-02-01,105,10,3,none", "duplicate-id", "stands in row 2 too"),
    ],
)
def test_a_bad_row_is_refused_by_a_rule_and_good_rows_stay(
    tmp_path: Path, row: str, rule: str, told: str
) -> None:
    text = HEADER + "good,2025-02-01,105.5,10.5,3.5,slight\n" + row + "\nlast,2025-02-02,105.6,10.5,,4\n"
    good, bad = read(tmp_path / "s.csv", text)
    assert [s.sample_id for s in good] == ["good", "last"]
    assert good[0].values == {"salinity": 3.5, "degradation": 2.0}
    assert good[1].values == {"degradation": 4.0}
    assert [(r.rule, r.row) for r in bad] == [(rule, 3)]
    assert told in bad[0].reason


def test_places_in_another_reference_system_are_carried_over(tmp_path: Path) -> None:
    text = "sample_id,x,y,crs,ece\na,640005,1099995,EPSG:32648,2\nb,1,2,EPSG:nope,2\nc,1,2,EPSG:4978,2\nd,1,2,EPSG:5773,2\n"
    good, bad = read(tmp_path / "s.csv", text)
    assert [r.rule for r in bad] == ["unknown-crs"] * 3
    assert good[0].lon == pytest.approx(106.2769, abs=1e-3)
    assert good[0].lat == pytest.approx(9.9484, abs=1e-3)
    assert bad[0].rule == "unknown-crs"


def test_odd_headers_are_mapped_and_a_byte_order_mark_is_no_part_of_them(tmp_path: Path) -> None:
    text = "\ufeffMã mẫu,KinhDo,ViDo,EC\nA1,105.5,10.5,4\n"
    good, _ = read(
        tmp_path / "s.csv", text, **{"Mã mẫu": "sample_id", "KinhDo": "lon", "ViDo": "lat", "EC": "ece"}
    )
    assert (good[0].sample_id, good[0].lon, good[0].date) == ("A1", 105.5, "")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no row below the header"),
        (b"\n\n", "no row below the header"),
        (b"lon,lat,lon,ece\n1,2,3,4\n", "two of them are 'lon'"),
        (b"sample_id,lon,lat,ece\n", "no row below the header"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "binary file"),
        (b"a,b\n1,2\n", "expected lon and lat, or x, y and crs"),
        (b"lon,lat\n1,2\n", "expected one of ece, degradation"),
        (b'lon,lat,ece\n1,2,"3\n', "not a CSV table"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        read(tmp_path / "s.csv", content)


def test_a_row_of_too_many_or_few_cells_is_refused_and_shifts_no_other(tmp_path: Path) -> None:
    text = HEADER + "a,2025-02-01,105,10,3,none,more\nb,2025-02-01,105,10\nc,2025-02-01,105,10,3,none\n"
    good, bad = read(tmp_path / "s.csv", text)
    assert [s.sample_id for s in good] == ["c"]
    assert [(r.rule, r.row, r.reason) for r in bad] == [
        ("cell-count", 2, "7 cells, the header has 6"),
        ("cell-count", 3, "4 cells, the header has 6"),
    ]


def test_rows_are_numbered_by_the_line_they_start_on(tmp_path: Path) -> None:
    text = HEADER + '"a\nb",2025-02-01,105,10,3,none\n\nc,2025-02-01,x,10,3,none\n'
    good, bad = read(tmp_path / "s.csv", text)
    assert [(s.sample_id, s.row) for s in good] == [("a\nb", 2)]
    assert [r.row for r in bad] == [5]


def test_a_mapped_column_that_the_file_lacks_or_has_twice_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"samples\.columns in the config names 'EC'"):
        read(tmp_path / "s.csv", "lon,lat,ece\n1,2,3\n", EC="ece")
    with pytest.raises(InputError, match="two of them are 'ece'"):
        read(tmp_path / "s.csv", "lon,lat,ece,EC\n1,2,3,4\n", EC="ece")


def test_letters_written_apart_are_the_same_letters(tmp_path: Path) -> None:
    """As macOS writes them."""
    apart = unicodedata.normalize("NFD", "kinh độ,vĩ độ,ece\n105.5,10.5,4\n")
    good, _ = read(tmp_path / "s.csv", apart, **{"kinh độ": "lon", "vĩ độ": "lat"})
    assert (good[0].lon, good[0].lat) == (105.5, 10.5)


def test_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such sample file"):
        sites.read(tmp_path / "no.csv", SEASON, [SALINITY])
