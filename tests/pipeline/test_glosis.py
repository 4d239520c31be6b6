"""A sample table in GloSIS terms, and back."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import shapely

from features import FeatureSpec
from models.samples import SampleTable
from models.targets import Target
from pipeline import glosis, sampling, sites, yamlfile
from pipeline.errors import InputError
from pipeline.imports.land import Land
from pipeline.season import Season

CONFIGS = Path(__file__).parents[2] / "configs"
TARGETS = [yamlfile.parse(Target, CONFIGS / "targets" / f"{n}.yaml") for n in ("salinity", "degradation")]
SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
LAND = Land.around(shapely.box(105, 10, 106, 11))
SHEET = (
    "Mã mẫu,Ngày,Kinh độ,Vĩ độ,Khoanh đất,Độ sâu (cm),EC,Đơn vị,Phương pháp,degradation\n"
    "A,2025-02-01,105.5,10.2,K1,0-20,850,µS/cm,EC 1:5,slight\n"
    "B,2025-02-02,105.6,10.3,,0-20,4.2,dS/m,ECe,\n"
)


def table(path: Path) -> SampleTable:
    path.write_text(SHEET, encoding="utf-8")
    found = sites.read(path, SEASON, TARGETS, land=LAND).sites
    spec = FeatureSpec.parse(["ndvi_p50"])
    return sampling._table(found, {s: np.array([0.5], np.float32) for s in found}, spec)


@pytest.mark.parametrize("kind", ["csv", "xlsx", "gpkg"])
def test_a_table_goes_out_in_terms_of_glosis_and_comes_back(tmp_path: Path, kind: str) -> None:
    before = table(tmp_path / "s.csv")
    count = glosis.write(before, TARGETS, tmp_path / f"out.{kind}")
    assert count == 4  # EC of A, ECe of A and B, the class of A
    found = sites.read(tmp_path / f"out.{kind}", SEASON, TARGETS, land=LAND)
    assert not found.refusals
    after = {s.sample_id: s for s in found.sites}
    for row in before.frame.to_dict("records"):
        site = after[row["sample_id"]]
        assert (site.lon, site.lat, site.group, site.date) == (
            row["lon"],
            row["lat"],
            row["group"],
            row["date"],
        )
        assert site.values["salinity"] == pytest.approx(row["salinity"])
        assert (site.about["depth_top_cm"], site.about["depth_bottom_cm"]) == (0, 20)
    assert after["A"].values["degradation"] == 2.0


def test_each_observation_names_property_procedure_and_unit(tmp_path: Path) -> None:
    found = glosis.observations(table(tmp_path / "s.csv"), TARGETS).set_index(
        ["sampleId", "observedProperty"]
    )
    raw = found.loc[("A", "ec")]
    assert raw["result"] == 850 and raw["unitOfMeasure"] == "µS/cm"
    assert raw["procedureUri"].endswith("procedure#electricalConductivityProcedure-EC_ratio1-5")
    assert raw["propertyUri"].endswith("layerhorizon#electricalConductivityProperty")
    assert found.loc[("A", "ece"), "usedProcedure"] == "calculated from EC 1:5"
    assert found.loc[("B", "ece"), "procedureUri"].endswith("-ECe_sat")
    assert found.loc[("B", "ece"), "unitUri"] == "http://qudt.org/vocab/unit/DeciS-PER-M"
    assert found.loc[("A", "degradation"), "result"] == "slight"


def test_every_written_column_has_a_term() -> None:
    assert set(glosis.TERMS) >= {"sample_id", "date", "lon", "lat", "group", *sampling.ABOUT} - {
        "ec",
        "ec_unit",
        "extract",
    }
    assert set(glosis.UNITS) >= {"dS/m", "µS/cm", "mS/cm"}


def test_another_ending_and_an_empty_table_are_told(tmp_path: Path) -> None:
    before = table(tmp_path / "s.csv")
    with pytest.raises(InputError, match="ends in"):
        glosis.write(before, TARGETS, tmp_path / "out.dbf")
    with pytest.raises(InputError, match="no column"):
        glosis.observations(
            SampleTable(before.frame.drop(columns=["salinity", "degradation", "ec"]), before.spec), TARGETS
        )
