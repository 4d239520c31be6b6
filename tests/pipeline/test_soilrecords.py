"""Accepted sites as rows of the database: what was measured, and nothing reckoned from it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from products import target

from pipeline import boundaries, sites, soilrecords
from pipeline.config import Config, SampleFile, ZoneSettings
from pipeline.demo import Demo
from pipeline.season import Season
from pipeline.sites import Site, Stated
from pipeline.soilrecords import Known, Procedure

KNOWN = Known(
    {
        "ECe_sat": Procedure("dS/m", 0, 250),
        "EC_ratio1-5": Procedure("dS/m", 0, 250),
        "pHH2O_ratio1-2.5": Procedure("pH", 0, 14),
    },
    frozenset({"open", "restricted", "confidential"}),
)
SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))


@pytest.fixture
def config(original_demo: Demo) -> Config:
    return Config.read(original_demo.config)


def site(**changed: Any) -> Site:
    return replace(
        Site("A1", "", "2025-dry", "2025-03-01", 105.1, 9.4, {"salinity": 4.0}, "/x/lab.csv", 2), **changed
    )


def told(config: Config, *given: Site, **stated: Any) -> tuple[list[dict[str, Any]], list[str]]:
    file = SampleFile(file=Path("/x/lab.csv"), **stated)
    rows, left = soilrecords.records(given, [file], config, KNOWN)
    return rows.to_dict("records"), [x.reason for x in left]


def test_a_conductivity_is_kept_in_its_extract_and_not_the_ece_reckoned_from_it(config: Config) -> None:
    about: dict[str, str | float] = {
        "measured_ec": 850.0,
        "measured_unit": "µS/cm",
        "measured_extract": "1:5",
    }
    rows, left = told(config, site(about=about))
    assert [(r["procedure"], r["value"]) for r in rows] == [("EC_ratio1-5", 0.85)] and left == []
    rows, left = told(
        config, site(about={"measured_ec": 4.0, "measured_unit": "dS/m", "measured_extract": "paste"})
    )
    assert [(r["procedure"], r["value"]) for r in rows] == [("ECe_sat", 4.0)] and left == []
    rows, left = told(config, site(about={"measured_extract": "mixed"}))
    assert rows == [] and "how it was measured is not known" in left[0]
    rows, left = told(config, site(about=about | {"measured_extract": "1:3"}))
    assert rows == [] and "how it was measured is not known" in left[0]


def test_columns_go_before_the_config_and_the_config_before_what_is_private(config: Config) -> None:
    (row,), _ = told(config, site())
    assert (row["project"], row["licence"], row["province"]) == ("lab", "confidential", "không rõ")
    assert (row["upper_cm"], row["lower_cm"], row["sampled_on"]) == (0, 30, "2025-03-01")
    stated: dict[str, Any] = {"project": "P", "licence": "open", "province": "Cà Mau", "depth_cm": (0, 20)}
    (row,), _ = told(config, site(), **stated)
    assert (row["project"], row["licence"], row["province"], row["lower_cm"]) == ("P", "open", "Cà Mau", 20)
    about: dict[str, str | float] = {
        "project": "Q", "licence": "restricted", "province": "Bến Tre", "depth_top_cm": 5.0, "depth_bottom_cm": 15.0,
    }  # fmt: skip
    (row,), _ = told(config, site(about=about), **stated)
    assert (row["project"], row["licence"], row["province"]) == ("Q", "restricted", "Bến Tre")
    assert (row["upper_cm"], row["lower_cm"]) == (5, 15)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"date": ""}, "no day of sampling"),
        ({"values": {"salinity": 300.0}}, "salinity: 300 dS/m is beyond 0 to 250"),
        ({"about": {"licence": "secret"}}, "licence secret is not known"),
        ({"about": {"depth_top_cm": 20.0, "depth_bottom_cm": 20.0}}, "depth 20 to 20 cm is no layer"),
    ],
)
def test_what_the_database_would_refuse_is_left_out_by_itself(
    config: Config, changed: dict[str, Any], reason: str
) -> None:
    rows, left = told(config, site(**changed), site(sample_id="A2", row=3))
    assert [r["code"] for r in rows] == ["A2"]
    assert len(left) == 1 and reason in left[0]


def test_other_targets_want_their_procedure_and_classes_are_no_results(config: Config) -> None:
    values = {"salinity": 4.0, "degradation": 2.0, "ph": 6.5}
    acid = target("salinity").model_copy(update={"name": "ph", "column": "ph", "unit": "pH"})
    more = config.model_copy(update={"targets": (*config.targets, acid)})
    rows, left = told(more, site(values=values))
    assert [r["procedure"] for r in rows] == ["ECe_sat"]
    assert len(left) == 1 and left[0].startswith("ph: how it was measured")
    rows, left = told(more, site(values=values), procedures={"ph": "pHH2O_ratio1-2.5"})
    assert [(r["procedure"], r["value"]) for r in rows] == [("ECe_sat", 4.0), ("pHH2O_ratio1-2.5", 6.5)]
    assert left == []
    _, left = told(more, site(values=values), procedures={"ph": "pH_by_taste"})
    assert left == ["ph: the database does not know the procedure pH_by_taste"]


def test_a_survey_polygon_is_one_plot_and_a_season_does_not_double_a_site(config: Config) -> None:
    points = [site(sample_id=f"K7#{n}", group="polygon K7", lon=105.1 + n / 1e4) for n in (1, 2, 3)]
    twice = [site(sample_id="A2", row=3), site(sample_id="A2", row=3, season="2025-wet")]
    odd = site(sample_id="B#1", row=4, group="polygon")
    rows, left = told(config, *points, *twice, odd)
    assert [r["code"] for r in rows] == ["K7", "A2", "B#1"] and left == []


def test_one_code_is_one_place_and_one_value(config: Config) -> None:
    rows, left = told(
        config, site(), site(row=3, lon=105.2), site(row=4, values={"salinity": 5.0}), site(row=5)
    )
    assert len(rows) == 1
    assert "lies elsewhere" in left[0] and "another value" in left[1] and len(left) == 2


def test_the_province_is_that_of_the_zones_on_the_day(config: Config, tmp_path: Path) -> None:
    units = geopandas.GeoDataFrame(
        {
            "level": "province", "code": ["95", "96", "96"], "name": ["Bạc Liêu", "Cà Mau", "Cà Mau mới"], "parent": "",
            "valid_from": ["2004-01-01", "2004-01-01", "2025-07-01"],
            "valid_to": ["2025-06-30", "2025-06-30", "9999-12-31"], "source": "x",
        },
        geometry=[shapely.box(105.3, 9, 106, 10), shapely.box(104, 8, 105.3, 10), shapely.box(104, 8, 106, 10)],
        crs=4326,
    )  # fmt: skip
    boundaries.store([units], tmp_path / "units.gpkg")
    zoned = config.model_copy(update={"zones": ZoneSettings(boundaries=tmp_path / "units.gpkg")})
    places = [
        (105.2, "2025-03-01"),
        (105.5, "2025-03-01"),
        (105.5, "2025-08-01"),
        (110.0, "2025-03-01"),
        (105.5, "1999-01-01"),
    ]
    rows, _ = told(zoned, *(site(sample_id=f"A{k}", row=k, lon=x, date=d) for k, (x, d) in enumerate(places)))
    assert [r["province"] for r in rows] == ["Cà Mau", "Bạc Liêu", "Cà Mau mới", "không rõ", "không rõ"]


def test_repeats_keep_the_mean_of_what_was_measured(tmp_path: Path) -> None:
    """Two readings of one sample: the conductivity that is kept is their mean too, not the first."""
    file = tmp_path / "lab.csv"
    head = "Mã mẫu,Ngày,Kinh độ,Vĩ độ,EC 1:5 (dS/m),Độ sâu (cm)\n"
    file.write_text(
        head + "A1,2025-03-01,105.1,9.4,1.0,0-20\nA1,2025-03-01,105.1,9.4,1.44,0-20\n", encoding="utf-8"
    )
    (found,) = sites.read(file, SEASON, [target("salinity")], Stated()).sites
    assert found.about["ec"] == found.about["measured_ec"] == pytest.approx(1.2)
    file.write_text(
        head + "A1,2025-03-01,105.1,9.4,1.0,0-10\nA1,2025-03-01,105.1,9.4,4.0,10-30\n", encoding="utf-8"
    )
    (found,) = sites.read(file, SEASON, [target("salinity")], Stated()).sites
    assert found.about["ec"] == found.about["measured_ec"] == pytest.approx(3.0)
    assert (found.about["depth_top_cm"], found.about["depth_bottom_cm"]) == (0, 30)


def test_the_reading_beside_a_laboratorys_own_ece_is_what_was_measured(
    config: Config, tmp_path: Path
) -> None:
    file = tmp_path / "lab.csv"
    head = "Mã mẫu,Ngày,Kinh độ,Vĩ độ,ece,EC (mS/cm),Phương pháp EC\n"
    lines = (
        "A1,2025-03-01,105.1,9.4,6.0,0.8,EC1:5",
        "A2,2025-03-01,105.2,9.4,6.0,,",
        "A3,2025-03-01,105.3,9.4,6.0,0.8,bằng mắt",
    )
    file.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    found = sites.read(file, SEASON, [target("salinity")], Stated()).sites
    assert [s.values["salinity"] for s in found] == [6.0] * 3
    rows, left = soilrecords.records(found, [SampleFile(file=file)], config, KNOWN)
    assert [(r.procedure, r.value) for r in rows.itertuples()] == [
        ("EC_ratio1-5", 0.8), ("ECe_sat", 6.0), ("ECe_sat", 6.0)
    ]  # fmt: skip
    assert left == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("Tỉnh Cà Mau", "Cà Mau"), ("CA MAU", "Cà Mau"), ("cà  mau", "Cà Mau"), ("Ca\u0300 Mau", "Cà Mau"),
        ("TP. Hồ Chí Minh", "Hồ Chí Minh"), ("TP HCM", "Hồ Chí Minh"), ("thanh pho can tho", "Cần Thơ"),
        ("Thừa Thiên - Huế", "Thừa Thiên Huế"), ("Kandal", "Kandal"), (" Ta Kev ", "Ta Kev"),
    ],
)  # fmt: skip
def test_a_province_is_spelt_as_the_law_has_it_for_rights_go_by_names(
    config: Config, given: str, kept: str
) -> None:
    (row,), _ = told(config, site(about={"province": given, "licence": " Open"}))
    assert (row["province"], row["licence"]) == (kept, "open")


def test_no_two_provinces_are_one_without_their_marks() -> None:
    names = set(boundaries.provinces()["name"])
    assert len({soilrecords._bare(name) for name in names}) == len(names)
