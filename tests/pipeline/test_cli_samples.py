"""`phusa samples` on files as they come, `next-samples`, `export-samples`; reference samples are never learnt from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import geopandas
import pandas as pd
import psycopg
import pytest
import yaml
from support import Phusa

from pipeline.demo import Demo
from pipeline.grid import transformer
from pipeline.sampling import read_table
from pipeline.stores import schema


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


def of_database(demo: Demo) -> Path:
    """The demonstration with a database for its store, and a survey of thirty sites in two provinces."""
    content = yaml.safe_load(demo.config.read_text())
    survey = demo.config.parent / "survey.csv"
    content["samples"] = [{**content["samples"][0], "file": "survey.csv", "project": "Khảo sát 2025"}]
    content["store"] = {"kind": "postgis", "path": "pg"}
    demo.config.write_text(yaml.safe_dump(content, allow_unicode=True))
    sheet = pd.read_csv(demo.config.parent / "samples.csv", dtype=str, keep_default_na=False).head(30)
    sheet["Tỉnh"] = ["Cà Mau"] * 20 + ["Bến Tre"] * 10
    sheet["Giấy phép"] = ["open"] * 10 + ["restricted"] * 10 + [""] * 9 + ["secret"]
    sheet.loc[0, ["ECe (dS/m)", "EC (dS/m)", "Phương pháp EC"]] = ""
    sheet.loc[1, ["ECe (dS/m)", "EC (dS/m)"]] = "251"  # more than there is
    sheet.to_csv(survey, index=False)
    return survey


@pytest.fixture
def people(dsn: str) -> Iterator[dict[str, str]]:
    """Role -> the database's address for somebody who has it."""
    names = {"reader": "docgia", "publisher": "congbo"}
    with psycopg.connect(dsn, autocommit=True) as owner:
        for role, person in names.items():
            schema.grant(owner, role, person)
        yield {role: dsn.replace("phusa@", f"{person}@") for role, person in names.items()}
        owner.execute("DROP ROLE docgia, congbo")


def test_accepted_sites_go_into_the_database(
    demo: Demo,
    phusa: Phusa,
    tmp_path: Path,
    dsn: str,
    people: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = pd.read_csv(of_database(demo), keep_default_na=False).set_index("Số hiệu mẫu")
    names = list(given.index)
    table, report = tmp_path / "t.parquet", tmp_path / "r.json"
    command = ("samples", demo.config, "--out", table, "--report", report, "--json")
    monkeypatch.setenv("PHUSA_DSN", people["reader"])
    answer = phusa(*command)
    assert (answer.code, "may not import samples" in answer.json["error"]) == (2, True)
    assert not table.exists()
    answer = phusa(*command, "--table-only")
    assert answer.code == 0 and "database" not in answer.json
    monkeypatch.setenv("PHUSA_DSN", people["publisher"])
    answer = phusa(*command)
    assert answer.code == 0, answer.err
    assert len(read_table(table)) == answer.json["sites"]
    refused = {r["sample_id"] for r in json.loads(report.read_text(encoding="utf-8"))["refusals"]}
    told = answer.json["database"]
    assert told["left_out"] == len(told["reasons"]) == 1
    assert told["reasons"][0]["sample_id"] == names[29]
    assert (
        "licence secret is not known; known: confidential, open, restricted" in told["reasons"][0]["reason"]
    )
    assert names[1] in refused and names[0] not in refused  # its class is known, which is no result
    with psycopg.connect(dsn) as owner:
        rows = owner.execute(
            "SELECT code, province, licence, ST_X(place), ST_Y(place), procedure, value, unit, upper_cm, lower_cm, "
            "sampled_on::text, project FROM phusa.sample ORDER BY code"
        ).fetchall()
        kept = owner.execute("SELECT array_agg(xmin::text ORDER BY ctid) FROM phusa.result").fetchone()
    assert [row[0] for row in rows] == sorted(set(names) - refused - {names[0], names[29]})
    assert told["results"] == len(rows)
    for code, province, licence, lon, lat, procedure, value, unit, *depth, day, project in rows:
        site = given.loc[code]
        assert (province, licence) == (site["Tỉnh"], site["Giấy phép"] or "confidential")
        assert (lon, lat) == pytest.approx((float(site["Kinh độ"]), float(site["Vĩ độ"])), abs=1e-6)
        way = {"ECe": "ECe_sat", "EC1:5": "EC_ratio1-5"}[site["Phương pháp EC"]]
        assert (procedure, unit, project) == (way, "dS/m", "Khảo sát 2025")
        assert value == pytest.approx(float(site["EC (dS/m)"]))
        assert (depth, day) == ([0, 20], site["Ngày lấy mẫu"])
    by_licence = pd.Series([row[2] for row in rows]).value_counts()
    with psycopg.connect(people["reader"], autocommit=True) as reader:
        seen = dict(reader.execute("SELECT coordinates, count(*) FROM phusa.sample GROUP BY 1").fetchall())
        assert seen == {"exact": by_licence["open"], "blurred": by_licence["restricted"],
                        "hidden": by_licence["confidential"]}  # fmt: skip
        assert reader.execute("SELECT count(*) FROM phusa.plot").fetchone() == (by_licence["open"],)
        methods = reader.execute("SELECT * FROM phusa.samples_by_method").fetchall()
        assert sum(row[3] for row in methods) == len(rows)
        assert {row[:3] for row in methods} == {("Eleccond", row[5], "dS/m") for row in rows}
    monkeypatch.setenv("PHUSA_DSN", dsn)
    assert phusa(*command).json["database"] == told
    with psycopg.connect(dsn) as owner:
        assert (
            kept == owner.execute("SELECT array_agg(xmin::text ORDER BY ctid) FROM phusa.result").fetchone()
        )
    monkeypatch.delenv("PHUSA_DSN")
    assert "PHUSA_DSN is not set" in phusa(*command).json["error"]
