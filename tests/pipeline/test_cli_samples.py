"""`phusa samples` on files as they come, `next-samples`, `export-samples`; reference samples are never learnt from."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import pandas as pd
import yaml
from support import Phusa

from pipeline.demo import Demo
from pipeline.grid import transformer
from pipeline.sampling import read_table


def laboratory_sheet(demo: Demo, path: Path) -> Path:
    """Twelve of the demonstration's sites as a Vietnamese laboratory sends them, a few of them spoilt."""
    given = pd.read_csv(demo.config.parent / "samples.csv").head(12)
    x, y = transformer(4326, 32648).transform(given["Kinh độ"], given["Vĩ độ"])
    sheet = pd.DataFrame(
        {
            "Mã mẫu": given["Số hiệu mẫu"],
            "Ngày lấy mẫu": pd.to_datetime(given["Ngày lấy mẫu"]).dt.strftime("%d/%m/%Y"),
            "Tọa độ X (m)": [f"{v:.2f}".replace(".", ",") for v in y],
            "Tọa độ Y (m)": [f"{v:.2f}".replace(".", ",") for v in x],
            "Hệ tọa độ": "WGS 84 / UTM 48N",
            "EC 1:5 (µS/cm)": (given["ECe (dS/m)"] * 120).round(1).astype(str).str.replace(".", ","),
        }
    )
    sheet.loc[3, "EC 1:5 (µS/cm)"] = "<5"
    sheet.loc[5, "Hệ tọa độ"] = "EPSG:6957"
    path.write_bytes(sheet.to_csv(index=False, sep=";").encode("utf-16"))
    return path


def test_a_laboratory_sheet_becomes_a_table_with_its_error_and_goes_out_again(
    demo: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    sheet = laboratory_sheet(demo, tmp_path / "lab.csv")
    content = yaml.safe_load(demo.config.read_text())
    content["seasons"]["2025-wet"] = {"start": "2025-05-01", "end": "2025-11-30"}
    demo.config.write_text(yaml.safe_dump(content, allow_unicode=True))
    table, report = tmp_path / "t.parquet", tmp_path / "r.json"
    answer = phusa("samples", demo.config, sheet, "--out", table, "--report", report, "--json")
    assert answer.code == 0, answer.err
    told = json.loads(report.read_text(encoding="utf-8"))
    assert told["rows"] == 12 == told["accepted"] + told["mended"] + told["refused"]
    assert {r["rule"] for r in told["refusals"]} - {"no-clear-date"} == {"below-detection", "deprecated-crs"}
    assert all(r["reason"] and r["reason_vi"] for r in told["refusals"])
    assert told["mended_by_rule"].keys() == {"ece-converted", "swapped-xy"}
    page = Path(answer.json["page"]).read_text(encoding="utf-8")
    assert "Từ chối" in page and "deprecated-crs" in page and "utf-16" in page
    rows = read_table(table)
    own, shared = rows.error_variance("salinity", log=True)
    assert (own > 0).all() and (shared > 0.01).all()
    assert set(rows.frame["season"]) == {"2025-dry"}

    out = phusa("export-samples", demo.config, "--samples", table, "--out", tmp_path / "o.csv", "--json")
    assert out.json["observations"] == 2 * len(rows)
    back = phusa("samples", demo.config, tmp_path / "o.csv", "--out", tmp_path / "b.parquet", "--json")
    assert back.json["refused"] == 0 and back.json["sites"] == len(rows)

    places = phusa(
        "next-samples", demo.config, "--season", "2025-dry", "--first", "--count", 4, "--samples", table,
        "--out", tmp_path / "next", "--json",
    )  # fmt: skip
    assert places.code == 0, places.err
    found = [Path(f) for f in places.json["files"]]
    assert [f.suffix for f in found] == [".gpx", ".gpkg", ".xlsx"] and all(f.is_file() for f in found)
    assert len(geopandas.read_file(found[1])) == 4
    unmapped = phusa(
        "next-samples", demo.config, "--season", "2025-dry", "--target", "salinity", "--out", tmp_path / "n"
    )
    assert unmapped.code == 2 and "no published product" in unmapped.err


def test_a_reference_sample_is_imported_and_never_learnt_from(
    demo: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    table = tmp_path / "t.parquet"
    answer = phusa("samples", demo.config, demo.config.parent / "reference.csv", "--out", table, "--json")
    assert answer.code == 0, answer.err
    assert read_table(table).frame["inclusion_probability"].between(0, 1).all()
    trained = phusa("train", demo.config, "--target", "salinity", "--samples", table, "--out", tmp_path / "m")
    assert trained.code == 2 and "never trained on" in trained.err
    assert not (tmp_path / "m").exists()
