"""Every kind of bad row of the fixture meets its rule, and no good row is lost or shifted by it."""

from __future__ import annotations

import csv
import datetime as dt
import io
from pathlib import Path
from typing import Any

import pytest
import shapely
import yaml

from models.targets import Target
from pipeline import sites, yamlfile
from pipeline.imports import rules
from pipeline.imports.land import Land
from pipeline.season import Season

HERE = Path(__file__).parent
CASES: dict[str, list[dict[str, Any]]] = yaml.safe_load((HERE / "bad_rows.yaml").read_text(encoding="utf-8"))
TARGETS = [
    yamlfile.parse(Target, HERE.parents[1] / "configs" / "targets" / f"{name}.yaml")
    for name in ("salinity", "degradation")
]
DELTA = Land.around(shapely.box(104.5, 8.5, 107, 11))
USUAL = "sample_id|date|lon|lat|ece|degradation"
GOOD = {
    "sample_id": ("first", "last"), "date": ("2025-02-01", "2025-02-03"), "lon": ("105.51", "105.52"),
    "lat": ("10.11", "10.12"), "ece": ("3.5", "4.5"), "degradation": ("slight", "none"), "x": ("600000", "600100"),
    "y": ("1110000", "1110100"), "crs": ("EPSG:32648", "EPSG:32648"), "depth": ("0-20", "0-20"),
    "gps": ("10.11 105.51 0 5", "10.12 105.52 0 5"), "_gps_precision": ("4", "5"), "Loại mẫu": ("Đất", "Đất"),
    "unit": ("dS/m", "dS/m"),
    "extract": ("1:5", "1:5"), "inclusion_probability": ("0.01", "0.02"), "texture": ("sét", "sét"),
}  # fmt: skip


SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))


def sheet(case: dict[str, Any]) -> str:
    """The case's row, between two good ones, as CSV."""
    header = case.get("header", USUAL).split("|")
    first, last = ([GOOD.get(h, ("", ""))[k] for h in header] for k in (0, 1))
    if {"x", "lon"} <= set(header):  # one place a row is enough
        first, last = (
            [("" if h in ("x", "y", "crs") else c) for h, c in zip(header, r, strict=True)]
            for r in (first, last)
        )
    elif "lon" in header:
        first, last = ([c.replace("32648", "4326") for c in r] for r in (first, last))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    lines = [header, first, *([case["before"].split("|")] if "before" in case else [])]
    writer.writerows(lines)
    cells = case["row"].split("|")
    if case["rule"] == "bad-quotes":
        out.write(",".join(cells) + "\n")
    else:
        writer.writerow(cells)
    writer.writerow(last)
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "case"),
    [pytest.param(kind, case, id=case["what"]) for kind, cases in CASES.items() for case in cases],
)
def test_a_bad_row_meets_its_rule_and_good_rows_stay(tmp_path: Path, kind: str, case: dict[str, Any]) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(sheet(case), encoding="utf-8")
    found = sites.read(path, SEASON, TARGETS, land=DELTA)
    rows = {o.row: o for o in found.outcomes}
    assert len(rows) == (4 if "before" in case else 3)
    bad = rows[4] if "before" in case else rows[3]
    if kind == "refused":
        assert bad.refused is not None
        assert bad.refused.rule == case["rule"]
        assert bad.refused.reason and bad.refused.reason_vi
    else:
        assert bad.refused is None
        assert case["rule"] in [m.rule for m in bad.mends]
    if "before" in case:
        said = {rows[3].refused.rule} if rows[3].refused else {m.rule for m in rows[3].mends}
        assert said == ({case["before_rule"]} if "before_rule" in case else set())
    good = {s.sample_id: s for s in found.sites if s.sample_id in ("first", "last")}
    assert set(good) == {"first", "last"}
    assert (good["first"].values["salinity"], good["last"].values["salinity"]) == (3.5, 4.5)
    statuses = [o.status for o in rows.values()]
    assert sum(statuses.count(s) for s in ("accepted", "mended", "refused")) == len(rows)


def test_there_are_sixty_kinds_and_every_rule_has_one() -> None:
    kinds = [
        (case.get("header", USUAL), case.get("before"), case["row"])
        for cases in CASES.values()
        for case in cases
    ]
    assert len(set(kinds)) == len(kinds) >= 60
    told = {kind: {case["rule"] for case in cases} for kind, cases in CASES.items()}
    # these need a workbook, a geometry, several seasons, a broken encoding or images: tested beside them
    elsewhere = {
        "bad-geometry", "narrow-polygon", "depth-became-date", "outside-every-season", "no-clear-date",
        "imagery-lost",
    }  # fmt: skip
    assert set(rules.REFUSALS) - told["refused"] == elsewhere
    assert set(rules.MENDS) - told["mended"] == {"polygon-mended", "broken-letters"}
