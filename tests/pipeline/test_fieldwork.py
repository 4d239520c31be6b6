"""Next samples as GPX, GeoPackage and XLSForm; the form's export comes back with no mapping by hand."""

from __future__ import annotations

import csv
import datetime as dt
from pathlib import Path
from xml.etree import ElementTree

import geopandas
import numpy as np
import openpyxl
import pytest
import rasterio
import shapely
from pyxform.xls2xform import convert
from rasterio.transform import from_origin

from models.chemistry import Readings
from models.chemistry import convert as to_ece
from models.targets import Target
from pipeline import fieldwork, sites, xlsform, yamlfile
from pipeline.errors import InputError
from pipeline.grid import transformer
from pipeline.imports.land import Land
from pipeline.product import NODATA
from pipeline.season import Season

CONFIGS = Path(__file__).parents[2] / "configs"
TARGETS = [yamlfile.parse(Target, CONFIGS / "targets" / f"{n}.yaml") for n in ("salinity", "degradation")]
AREA = shapely.box(105.5, 10.0, 105.7, 10.2)
DAY = dt.date(2025, 4, 30)
NONE = np.empty(0)


def points(count: int = 12) -> geopandas.GeoDataFrame:
    return fieldwork.pick(fieldwork.of_area(AREA, None, (), 300, 1), NONE, NONE, count, "N")


def product(path: Path) -> Path:
    """A salinity product of 100 x 100 pixels: the east half unsure, the south unmapped."""
    layers = {
        "lower": np.full((100, 100), 100),
        "upper": np.full((100, 100), 200),
        "applicability": np.ones((100, 100)),
    }
    layers["upper"][:, 50:] = 2000
    for values in layers.values():
        values[80:] = NODATA
    about = {"driver": "GTiff", "height": 100, "width": 100, "count": 3, "dtype": "int16", "nodata": NODATA,
             "crs": "EPSG:32648", "transform": from_origin(600_000, 1_111_000, 10, 10)}  # fmt: skip
    with rasterio.open(path, "w", **about) as file:
        for k, (name, values) in enumerate(layers.items(), start=1):
            file.write(values.astype(np.int16), k)
            file.set_band_description(k, name)
        file.scales = (0.01, 0.01, 1.0)
    return path


def test_places_come_from_mapped_pixels_with_their_width(tmp_path: Path) -> None:
    ground = fieldwork.of_map([product(tmp_path / "p.tif")], TARGETS[0], 500, 3)
    x, y = transformer(4326, 32648).transform(ground.lon, ground.lat)
    assert len(x) == 500
    assert y.min() > 1_111_000 - 800
    assert ground.width is not None and ground.gap is not None
    east = x > 600_500
    assert np.allclose(ground.width[east], np.log(20)) and np.allclose(ground.width[~east], np.log(2))
    assert (ground.gap == 0).all()
    again = fieldwork.of_map([tmp_path / "p.tif"], TARGETS[0], 500, 3)
    assert (again.lon == ground.lon).all()
    assert not np.array_equal(fieldwork.of_map([tmp_path / "p.tif"], TARGETS[0], 500, 4).lon, ground.lon)
    chosen = fieldwork.pick(ground, NONE, NONE, 12, "N")
    cx, _ = transformer(4326, 32648).transform(chosen.lon.to_numpy(), chosen.lat.to_numpy())
    assert (cx > 600_500).sum() > 6  # more where the map is unsure


def test_roads_and_forbidden_ground_bound_the_choice(tmp_path: Path) -> None:
    ground = fieldwork.of_area(AREA, None, (), 400, 1)
    road = shapely.LineString([(105.5, 10.1), (105.7, 10.1)])
    park = shapely.box(105.6, 9.9, 105.8, 10.3)
    for name, shape in (("road", road), ("park", park)):
        geopandas.GeoDataFrame(geometry=[shape], crs=4326).to_file(tmp_path / f"{name}.gpkg")
    found = fieldwork.reachable(ground, tmp_path / "road.gpkg", 1500, tmp_path / "park.gpkg")
    chosen = fieldwork.pick(found, NONE, NONE, 5, "N")
    away = np.abs(chosen.lat - 10.1) * 110_600
    assert (away < 1510).all() and (chosen.lon < 105.6).all()
    with pytest.raises(InputError, match="reachable places"):
        fieldwork.pick(found, NONE, NONE, 300, "N")


def test_samples_that_exist_keep_new_ones_away() -> None:
    ground = fieldwork.of_area(AREA, None, (), 400, 1)
    west = shapely.get_coordinates(shapely.points(np.random.default_rng(0).uniform(0, 1, (60, 2))))
    chosen = fieldwork.pick(ground, 105.5 + 0.1 * west[:, 0], 10 + 0.2 * west[:, 1], 8, "N")
    assert (chosen.lon > 105.6).sum() >= 7


def test_receivers_and_gis_load_the_points(tmp_path: Path) -> None:
    made = points()
    for k in (1, 2):
        fieldwork.write_gpx(made, tmp_path / f"{k}.gpx", "Vĩnh Long 2025")
        fieldwork.write_geopackage(made, tmp_path / f"{k}.gpkg", DAY)
    for kind in ("gpx", "gpkg"):
        assert (tmp_path / f"1.{kind}").read_bytes() == (tmp_path / f"2.{kind}").read_bytes()
    waypoints = geopandas.read_file(tmp_path / "1.gpx", layer="waypoints")
    table = geopandas.read_file(tmp_path / "1.gpkg")
    assert list(waypoints["name"]) == list(table["name"]) == list(made["name"])
    assert np.allclose(waypoints.geometry.x, made.lon) and np.allclose(table.geometry.y, made.lat)
    assert ElementTree.parse(tmp_path / "1.gpx").getroot().get("version") == "1.1"


def form(path: Path) -> Path:
    xlsform.write(points(), TARGETS, path, ("Lấy mẫu đất", "Soil sampling"), DAY)
    return path


def test_the_form_is_valid_and_speaks_both_languages(tmp_path: Path) -> None:
    found = convert(form(tmp_path / "f.xlsx"), warnings=(warnings := []))
    assert not [w for w in warnings if "Google" not in w], warnings
    assert "Độ dẫn điện đo được" in found.xform and "Measured conductivity" in found.xform
    assert form(tmp_path / "g.xlsx").read_bytes() == (tmp_path / "f.xlsx").read_bytes()


ANSWERS: list[dict[str, str]] = [
    {"sample_id": "N001", "date": "2025-02-03", "gps": "10.1234567 105.6123456 2.0 4.5", "depth_top": "0", "depth_bottom": "20",
     "texture": "silty_clay", "cover": "rice fallow", "ec": "850", "unit": "uS_cm", "extract": "EC_ratio1-5", "degradation": "slight"},
    {"sample_id": "N002", "date": "2025-02-04", "gps": "10.15 105.65 0 3", "depth_top": "0", "depth_bottom": "20",
     "texture": "clay", "cover": "rice", "ec": "4.2", "unit": "dS_m", "extract": "ECe_sat", "degradation": "moderate"},
]  # fmt: skip


def exported(survey: list[dict[str, str]], style: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows as KoBo (with groups or without) and ODK Central export a form."""
    header, columns, groups = [], [], []
    for q in survey:
        kind = q["type"].split()[0]
        if kind == "begin_group":
            groups.append(q["name"])
        elif kind == "end_group":
            groups.pop()
        else:
            above = {
                "kobo": "/".join(groups) + "/" if groups else "",
                "flat": "",
                "odk": "".join(g + "-" for g in groups),
            }[style]
            values = [a.get(q["name"], "") for a in ANSWERS]
            header.append(above + q["name"])
            columns.append(values)
            if kind == "geopoint":
                parts = [v.split() for v in values]
                for k, part in enumerate(("latitude", "longitude", "altitude", "precision")):
                    odk = f"{above}{q['name']}-{'Accuracy' if part == 'precision' else part.title()}"
                    header.append(odk if style == "odk" else f"{above}_{q['name']}_{part}")
                    columns.append([p[k] for p in parts])
                if style == "odk":
                    del header[-5], columns[-5]
            if kind == "select_multiple" and style != "odk":
                for option in ("rice", "fallow"):
                    header.append(f"{above}{q['name']}/{option}")
                    columns.append([str(int(option in v.split())) for v in values])
    more = {
        "_id": ["1", "2"],
        "_uuid": ["a", "b"],
        "_submission_time": ["2025-03-01T00:00:00"] * 2,
        "_index": ["1", "2"],
    }
    return [*header, *more], [list(r) for r in zip(*columns, *more.values(), strict=True)]


@pytest.mark.parametrize("style", ["kobo", "flat", "odk"])
@pytest.mark.parametrize("kind", ["csv", "semicolon", "xlsx"])
def test_the_forms_export_comes_back_with_no_mapping_by_hand(tmp_path: Path, style: str, kind: str) -> None:
    sheet = openpyxl.load_workbook(form(tmp_path / "f.xlsx"))["survey"]
    names, *rows = sheet.iter_rows(values_only=True)
    survey = [{str(n): str(v or "") for n, v in zip(names, row, strict=True)} for row in rows]
    header, lines = exported(survey, style)
    path = tmp_path / f"export.{kind}"
    if kind == "xlsx":
        book = openpyxl.Workbook()
        for line in [header, *lines]:
            book.active.append(line)
        book.save(path)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file, delimiter="," if kind == "csv" else ";").writerows([header, *lines])
    season = Season("2025-dry", dt.date(2024, 12, 1), DAY)
    found = sites.read(path, season, TARGETS, land=Land.around(AREA))
    assert [r.reason for r in found.refusals] == []
    first, second = found.sites
    assert (first.sample_id, first.date, first.lon, first.lat) == (
        "N001",
        "2025-02-03",
        105.6123456,
        10.1234567,
    )
    ece = to_ece(Readings([850.0], "uS/cm", "1:5", texture="silty clay"))
    assert first.values == {"salinity": pytest.approx(float(ece.ece[0])), "degradation": 2.0}
    assert second.values == {"salinity": 4.2, "degradation": 3.0}
    assert first.about["depth_bottom_cm"] == 20.0
