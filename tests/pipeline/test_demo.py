"""The simulated delta: its physics against published values, its files, and its scores."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import prosail
import pytest
import rasterio
import shapely
import yaml
from scipy.stats import spearmanr
from support import Phusa

from models.targets import Target
from pipeline import yamlfile
from pipeline.demo import Demo, build, crops, grid, leaves, optical, radar, scores, sky, soil
from pipeline.demo import world as w
from pipeline.demo.archive import LABEL
from pipeline.demo.land import FARMLAND, Cover
from pipeline.errors import InputError

ROOT = Path(__file__).parents[2]
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module", params=SEEDS)
def ground(request: pytest.FixtureRequest) -> w.World:
    return w.make(request.param, 240)


# --- physics -----------------------------------------------------------------------------------


def test_the_look_up_table_is_prosail() -> None:
    """Against the package's own spectra, at places between the table's nodes."""
    rng = np.random.default_rng(0)
    table = leaves.table(35)
    centres = [492, 560, 665, 704, 740, 783, 833, 865, 1614, 2202]
    for _ in range(20):
        lai, green, ground = rng.uniform(0.2, 6.5), rng.uniform(8, 55), rng.uniform(0.02, 0.5)
        direct = prosail.run_prosail(
            1.55, green, 2 + green / 5, 0.5 * max(0, 1 - green / 25), 0.012, 0.005, lai, 57.0, 0.05, 35.0, 0.0, 0.0,
            typelidf=2, rsoil0=np.full(2101, ground),
        )  # fmt: skip
        entry = table.entry(np.float32([lai]), np.float32([green]))
        for k, centre in enumerate(centres):
            if k in (3, 4, 6):  # on the red edge a band is not its centre, nor is a band 106 nm wide
                continue
            found = table.reflectance(k, entry, np.float32([ground]))[0]
            assert found == pytest.approx(direct[centre - 400], abs=0.02), (k, lai, green, ground)


def test_without_leaves_the_ground_is_seen() -> None:
    entry = leaves.table(25).entry(np.zeros(3, np.float32), np.full(3, 40, np.float32))
    bare = np.float32([0.05, 0.2, 0.5])
    for band in range(10):
        assert np.allclose(leaves.table(25).reflectance(band, entry, bare), bare, atol=1e-6)


def test_yields_are_those_of_maas_and_hoffman() -> None:
    """FAO Irrigation and Drainage Paper 29, table 4: ECe at which rice and maize yield 100, 90, 75, 50, 0 %."""
    table = {
        Cover.RICE: {100: 3.0, 90: 3.8, 75: 5.1, 50: 7.2, 0: 11.0},
        Cover.UPLAND: {100: 1.7, 90: 2.5, 75: 3.8, 50: 5.9, 0: 10.0},
    }
    for code, row in table.items():
        found = crops.yield_part(np.float32(list(row.values())), np.full(5, code, np.uint8))
        assert np.allclose(found, np.array(list(row)) / 100, atol=0.05)


def test_soil_darkens_with_water_and_brightens_with_crust() -> None:
    wet = np.linspace(0, 1, 11, dtype=np.float32)
    for band in range(10):
        falling = soil.reflectance(band, np.ones(11, np.float32), wet, np.zeros(11, np.float32))
        assert (np.diff(falling) < 0).all()
    dry, salts = np.full(5, 0.1, np.float32), np.float32([1, 6, 10, 20, 40])
    crusted = soil.crust(salts, dry)
    assert crusted[1] == 0 and (np.diff(crusted[1:]) > 0).all()
    seen = soil.reflectance(0, np.ones(5, np.float32), dry, crusted)
    assert (np.diff(seen[1:]) > 0).all()
    assert (soil.crust(salts, np.full(5, 0.9, np.float32)) == 0).all()


def test_the_sun_stands_where_it_should() -> None:
    """At the equinox the sun is over the equator: plain spherical trigonometry."""
    zenith, azimuth = sky.sun(dt.datetime(2025, 3, 20, 3, 20, tzinfo=dt.UTC))
    hour = np.radians(15 * (3 + 20 / 60 + sky.LONGITUDE / 15 - 12))
    expected = np.degrees(np.arccos(np.cos(np.radians(sky.LATITUDE)) * np.cos(hour)))
    assert zenith == pytest.approx(expected, abs=1)
    assert 90 < azimuth < 180  # a morning's sun in the south-east


def test_shadows_are_the_clouds_moved_away_from_the_sun() -> None:
    """The one shift that carries the clouds onto their shadows, by trying them all at some pixels."""
    date = dt.datetime(2025, 1, 15, 3, 20, tzinfo=dt.UTC)
    zenith, azimuth = (np.radians(v) for v in sky.sun(date))
    above = sky.make(np.random.default_rng(3), 400, date)
    assert 0.1 < above.cloud.mean() < 0.9
    rng = np.random.default_rng(0)
    rows, columns = rng.integers(140, 260, (2, 300))
    down, right = np.mgrid[-140:141, -140:141]
    off = np.zeros(down.shape)
    for row, column in zip(rows, columns, strict=True):
        off += np.abs(above.shadow[row, column] - above.cloud[row - down, column - right])
    assert (off < 1e-3).sum() == 1
    k = off.argmin()
    south, east = 10 * down.flat[k], 10 * right.flat[k]
    assert 690 * np.tan(zenith) < np.hypot(south, east) < 1610 * np.tan(zenith)
    assert np.arctan2(east, -south) % (2 * np.pi) == pytest.approx((azimuth + np.pi) % (2 * np.pi), abs=0.02)


def test_speckle_has_the_stated_number_of_looks(ground: w.World) -> None:
    date = w.dates(6)[2]
    seen = radar.see(ground, date, np.random.default_rng(5))
    rng = np.random.default_rng(5)
    clean = radar.backscatter(ground, w.day_of(date), optical.moisture(ground, date, rng))
    land = grid.aggregate(ground.land.cover == Cover.WATER, grid.FINE) == 0
    for k in range(2):
        ratio = (seen[k] / clean[k])[land]
        assert ratio.mean() == pytest.approx(1, abs=0.02)
        assert ratio.mean() ** 2 / ratio.var() == pytest.approx(radar.LOOKS, rel=0.08)


def test_the_water_cloud_model_by_hand() -> None:
    """Attema & Ulaby 1978: vegetation adds A V cos(1 - t), the ground comes through t = exp(-2 B V / cos)."""
    ground = w.make(1, 120)
    damp = np.full((120, 120), 0.3, np.float32)
    found = radar.backscatter(ground, 60.0, damp)
    plants, _ = optical.state(ground, 60.0, slice(0, 240))
    plain = np.isin(ground.land.cover, (Cover.RICE, Cover.ORCHARD, Cover.UPLAND)) & ~plants.flooded
    inside = grid.aggregate(plain, 2) == 1
    cosine = np.cos(np.radians(38))
    for k, (a, b, c, d) in enumerate(((0.035, 0.09, -13.5, 7.5), (0.0105, 0.11, -21.5, 6.0))):
        t = np.exp(-2 * b * plants.lai / cosine)
        fine = a * np.sqrt(plants.lai) * cosine * (1 - t) + t * 10 ** ((c + d * 0.3) / 10)
        expected = fine.reshape(120, 2, 120, 2).mean(axis=(1, 3))
        assert np.allclose(found[k][inside], expected[inside], rtol=1e-4)


def test_salt_falls_inland_and_behind_dikes_and_rises_beside_ponds(ground: w.World) -> None:
    farmland = np.isin(ground.land.cover, list(FARMLAND))
    ece = np.log(ground.soil.ece[farmland])
    land = ground.land
    assert spearmanr(ece[::37], land.inland[farmland][::37])[0] < -0.4
    # Against distance alone, shelter lowers and a pond's neighbourhood raises.
    inland = land.inland[farmland]
    terms = np.stack(
        [np.ones(len(ece)), inland, inland**2, land.sheltered[farmland], land.to_pond[farmland] < 40], axis=1
    )
    weights = np.linalg.lstsq(terms, ece, rcond=None)[0]
    assert weights[3] < 0
    assert weights[4] > 0


def test_degradation_is_the_stated_rule(ground: w.World) -> None:
    """The worst of salinity, erosion and fertility, written down again from docs/demo.md."""
    rows, columns = np.nonzero(ground.farmland)
    for row, column in list(zip(rows, columns, strict=True))[::53]:
        ece, loss, rich = (a[row, column] for a in (ground.salinity, ground.erosion, ground.fertility))
        by_salt = 1 + (ece >= 2) + (ece >= 4) + (ece >= 8)
        by_loss = 1 + (loss >= 5) + (loss >= 15) + (loss >= 50)
        by_soil = 1 if rich >= 0.5 else 2 if rich >= 0.35 else 3
        assert ground.degradation[row, column] == max(by_salt, by_loss, by_soil)
    assert len(np.unique(ground.degradation[ground.farmland > 0])) == 4


def test_the_rice_calendar_has_flooded_growing_and_bare_days(ground: w.World) -> None:
    rice = ground.land.cover == Cover.RICE
    flooded, cover = [], []
    for day in range(0, 150, 10):
        plants, _ = optical.state(ground, float(day), slice(0, ground.land.cover.shape[0]))
        flooded.append(plants.flooded[rice])
        cover.append(plants.lai[rice])
        assert not plants.flooded[~rice].any()
    assert np.mean(np.any(flooded, axis=0)) > 0.3
    assert np.mean(np.max(cover, axis=0) > 2.5) > 0.3
    assert np.mean(np.min(cover, axis=0) < 0.2) > 0.8


def test_pixels_at_borders_are_mixed(ground: w.World) -> None:
    code = ground.land.cover.reshape(240, 2, 240, 2)
    mixed = (code.max(axis=(1, 3)) != code.min(axis=(1, 3))).mean()
    assert 0.02 < mixed < 0.5


def test_the_scene_classification_errs_as_the_real_one_does() -> None:
    """Missed thin cloud and shadow; white salt called cloud under a clear sky, on date after date."""
    ground = w.make(2, 240)
    missed, shaded, salty = [], [], []
    for k, date in enumerate(w.dates(8)):
        rng = np.random.default_rng([2, 2, k])
        scene = optical.see(ground, date, rng)
        rng = np.random.default_rng([2, 2, k])
        optical.moisture(ground, date, rng)
        above = sky.make(rng, 240, date)
        cloud, shadow = grid.aggregate(above.cloud, 2), grid.aggregate(above.shadow, 2)
        thin = (cloud > 0.05) & (cloud < 0.25)
        missed.append((thin & ~np.isin(scene.scl, (3, 8, 9, 10))).sum() / max(1, thin.sum()))
        dark = (shadow > 0.4) & (cloud == 0)
        shaded.append((dark & (scene.scl != 3)).sum() / max(1, dark.sum()))
        salt = grid.aggregate(soil.crust(ground.soil.ece, np.float32(0.2) + 0 * ground.soil.ece), 4) > 0.5
        bare = grid.aggregate(np.isin(ground.land.cover, (Cover.RICE,)), 4) == 1
        clear = (cloud == 0) & (shadow == 0) & salt & bare
        if clear.sum() > 20:
            salty.append((np.isin(scene.scl, (8, 9)) & clear).sum() / clear.sum())
        sure = cloud > 0.9
        assert np.isin(scene.scl[sure], (8, 9)).all()
    assert 0.1 < np.mean(missed) < 0.9
    assert 0.05 < np.mean([s for s in shaded if s > 0]) < 0.6
    assert max(salty) > 0.2


# --- files -------------------------------------------------------------------------------------


def files(folder: Path) -> dict[str, str]:
    """Digests of all files but journals, which tell when things happened."""
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and "journals" not in p.parts)
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def test_every_file_says_that_it_is_simulated(original_demo: Demo) -> None:
    folder = original_demo.config.parent
    for path in sorted(folder.rglob("*.tif")):
        with rasterio.open(path) as file:
            assert file.tags()["PHUSA_SIMULATED"] == LABEL
            assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    for path in sorted(folder.rglob("*.json")):
        content = json.loads(path.read_text())
        if content.get("type") == "Feature":
            assert content["properties"]["phusa:simulated"] is True
        assert "SIMULATED" in json.dumps(content)
    for name in ("samples.csv", "reference.csv", "area.geojson", "demo.yaml"):
        assert "mô phỏng" in (folder / name).read_text(encoding="utf-8")
    assert geopandas.read_file(folder / "communes.gpkg")["simulated"].eq(LABEL).all()


def test_truth_is_float32_on_the_map_grid_and_nan_off_farmland(original_demo: Demo) -> None:
    with rasterio.open(original_demo.config.parent / "farmland.tif") as file:
        farmland, grid_transform = file.read(1), file.transform
    assert set(np.unique(farmland)) == {0, 1, 2, 3}
    for name in ("salinity", "degradation"):
        with rasterio.open(original_demo.truth / f"{name}.tif") as file:
            truth = file.read(1)
            assert file.dtypes == ("float32",)
            assert file.transform == grid_transform
            assert np.isnan(file.nodata)
            assert file.transform.c % 10 == 0 and file.transform.f % 10 == 0
        assert np.array_equal(np.isnan(truth), farmland == 0)


def test_large_images_have_overviews_and_tiles(tmp_path: Path) -> None:
    from pipeline.demo.archive import write_band

    write_band(
        tmp_path / "a.tif", np.ones((700, 600), np.uint16), rasterio.Affine(10, 0, 692800, 0, -10, 1130000), 0
    )
    with rasterio.open(tmp_path / "a.tif") as file:
        assert file.block_shapes == [(256, 256)]
        assert file.overviews(1) == [2, 4]
        assert file.compression is not None and file.compression.name in ("zstd", "deflate")


def test_the_archive_has_granules_baselines_and_partial_passes(original_demo: Demo) -> None:
    folder = original_demo.config.parent / "archive"
    items = [json.loads(p.read_text()) for p in sorted(folder.glob("S2A*/*.json"))]
    assert {i["properties"]["s2:processing_baseline"] for i in items} == {"03.01", "05.11"}
    takes: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        takes.setdefault(item["properties"]["s2:datatake_id"], []).append(item)
    partial = 0
    for pair in takes.values():
        west, east = sorted(pair, key=lambda i: i["id"])
        assert shapely.intersects(
            shapely.geometry.shape(west["geometry"]), shapely.geometry.shape(east["geometry"])
        )
        pixels = []
        for item in (west, east):
            with rasterio.open(folder / item["id"] / "red.tif") as file:
                pixels.append((file.read(1), file.transform))
            unseen = pixels[-1][0] == 0
            said = item["properties"]["s2:nodata_pixel_percentage"]
            assert 100 * unseen.mean() == pytest.approx(said, abs=0.1)
            partial += bool(unseen.any())
        (a, left), (b, right) = pixels
        shift = round((right.c - left.c) / 10)
        overlap = a.shape[1] - shift
        assert np.array_equal(a[:, shift:], b[:, :overlap])
    assert partial


def test_samples_come_as_a_laboratory_sends_them(original_demo: Demo) -> None:
    frame = pd.read_csv(original_demo.config.parent / "samples.csv")
    assert {"Số hiệu mẫu", "Kinh độ", "Vĩ độ", "Phương pháp EC", "Mức độ thoái hóa"} <= set(frame.columns)
    assert 0.1 < (frame["Phương pháp EC"] == "EC1:5").mean() < 0.6
    diluted = frame[frame["Phương pháp EC"] == "EC1:5"]
    assert (diluted["EC (dS/m)"] < diluted["ECe (dS/m)"]).all()
    assert diluted["Ghi chú"].str.startswith("ECe quy đổi từ EC1:5").all()
    polygons = frame.groupby("Khoanh đất")
    assert (polygons.size() >= 2).mean() > 0.9
    assert (polygons["Ngày lấy mẫu"].nunique() == 1).all()
    assert frame["Mức độ thoái hóa"].nunique() == 4
    # Noise: neither the truth itself nor far from it.
    world = original_demo.world
    x, y = grid_place(frame)
    column, row = (np.floor(v).astype(int) for v in ~world.transform * (x, y))
    ratio = np.log(frame["ECe (dS/m)"] / world.salinity[row, column])
    assert 0.03 < ratio.std() < 0.3


def grid_place(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    from pipeline.grid import transformer

    return transformer(4326, w.EPSG).transform(frame["Kinh độ"].to_numpy(), frame["Vĩ độ"].to_numpy())


def test_the_reference_sample_knows_its_inclusion_probabilities(original_demo: Demo) -> None:
    frame = pd.read_csv(original_demo.config.parent / "reference.csv")
    whole = (original_demo.world.farmland > 0).sum()
    # Horvitz-Thompson: the inverse probabilities add up to the number of pixels they stand for.
    assert (1 / frame["inclusion_probability"]).sum() == pytest.approx(whole, rel=1e-4)
    assert frame["stratum"].nunique() >= 4
    assert frame.groupby("stratum")["inclusion_probability"].nunique().eq(1).all()


def test_communes_share_the_area_and_keep_their_codes(original_demo: Demo) -> None:
    folder = original_demo.config.parent
    frame = geopandas.read_file(folder / "communes.gpkg")
    assert list(frame["code"]) == ["00011", "00012", "00013", "00014"]
    area = geopandas.read_file(folder / "area.geojson").geometry.union_all()
    assert frame.geometry.union_all().symmetric_difference(area).area < 1e-6 * area.area
    assert frame.geometry.area.sum() == pytest.approx(area.area, rel=1e-6)
    assert frame.crs.to_epsg() == 4326


def test_the_same_seed_gives_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    small = {"size": 64, "sites": 24, "reference_sites": 12, "optical_dates": 3, "radar_dates": 2}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        build(tmp_path / name, seed=seed, **small)  # type: ignore[arg-type]
    a, b, c = (files(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a if name.endswith((".tif", ".csv")))
    build(tmp_path / "c", seed=1, **small)  # type: ignore[arg-type]
    assert files(tmp_path / "c") == a


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, phusa: Phusa) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"'thesis\.txt', which no demonstration wrote"):
        build(tmp_path)
    answer = phusa("demo", "--out", tmp_path, "--json")
    assert answer.code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    answer = phusa("demo", "--out", tmp_path / "new", "--size-px", "130", "--json")
    assert (answer.code, answer.json["error"].split(":")[0]) == (2, "--size-px")


def test_the_tracked_config_is_the_written_one(original_demo: Demo) -> None:
    """configs/regions/demo.yaml serves DVC; the demonstration's own differs in its paths only."""
    tracked = yaml.safe_load((ROOT / "configs/regions/demo.yaml").read_text().replace("../../data/demo/", ""))
    written = yaml.safe_load(original_demo.config.read_text())
    for key in ("seasons", "features", "samples", "evaluate_on", "store"):
        assert written[key] == tracked[key]


# --- scores ------------------------------------------------------------------------------------


def theme(name: str) -> Target:
    return yamlfile.parse(Target, ROOT / "configs" / "targets" / f"{name}.yaml")


def test_agreement_is_lins() -> None:
    """By hand on five pairs: 2 s_xy / (s_x + s_y + (mean difference)^2), and 1 - SSE / SST."""
    from models.evaluate import agreement

    x, y = np.array([1.0, 2, 3, 4, 6]), np.array([1.5, 1.5, 3.5, 5, 5])
    found = agreement(x, y)
    s_x, s_y, s_xy = x.var(), y.var(), ((x - x.mean()) * (y - y.mean())).mean()
    assert found["concordance"] == pytest.approx(2 * s_xy / (s_x + s_y + (x.mean() - y.mean()) ** 2))
    assert found["r2"] == pytest.approx(1 - ((x - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert agreement(y, y) == {"r2": 1, "rmse": 0, "bias": 0, "concordance": 1}


def test_a_perfect_map_scores_one_and_a_constant_one_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = np.where(rng.random((40, 50)) < 0.2, np.nan, np.exp(rng.normal(1, 0.8, (40, 50))))
    seen = np.where(np.isnan(truth), 2.0, 0.0)
    perfect = {"estimate": truth, "lower": truth, "upper": truth, "reason": seen}
    told = scores.judge(theme("salinity"), perfect, truth)
    assert (told["r2"], told["coverage"], told["mapped_percent"]) == (1, 1, 100)
    flat = np.where(np.isnan(truth), np.nan, np.exp(np.nanmean(np.log(truth))))
    told = scores.judge(theme("salinity"), perfect | {"estimate": flat, "lower": flat, "upper": flat}, truth)
    assert abs(told["r2"]) < 1e-9
    assert abs(told["concordance"]) < 1e-9
    assert told["coverage"] == 0


def test_class_scores_by_hand() -> None:
    truth = np.array([[1.0, 1, 2, 3, np.nan, 4]])
    found = np.array([[1.0, 2, 2, 3, np.nan, np.nan]])
    layers = {"class": found, "reason": np.array([[0.0, 0, 0, 0, 2, 3]])}
    told = scores.judge(theme("degradation"), layers, truth)
    assert told["accuracy"] == 0.75
    assert told["kappa"] == pytest.approx((0.75 - 5 / 16) / (1 - 5 / 16))
    assert told["area_ha"]["slight"] == {"map": 0.02, "truth": 0.01}
    assert told["not_mapped"] == {"no_clear_date": 1}
    assert told["mapped_percent"] == 80


def test_reliability_and_applicability_are_held_against_the_truth() -> None:
    truth = np.array([[1.0, 5, 9, 9]])
    layers = {
        "estimate": np.array([[1.0, 5, 9, 1]]), "lower": np.array([[0.5, 4, 8, 0.5]]),
        "upper": np.array([[2.0, 6, 10, 2]]), "p4": np.array([[0.05, 0.95, 0.95, 0.05]]),
        "p8": np.array([[0.0, 0.0, 1.0, 1.0]]), "applicability": np.array([[1.0, 1, 1, 0]]),
        "reason": np.zeros((1, 4)),
    }  # fmt: skip
    told = scores.judge(theme("salinity"), layers, truth)
    inside, outside = told["applicability"]["inside"], told["applicability"]["outside"]
    assert inside == {"percent": 75, "coverage": 1, "rmse": 0}
    assert (outside["percent"], outside["coverage"]) == (25, 0)
    assert outside["rmse"] == pytest.approx(np.log(9))
    assert told["reliability"]["p4"] == [
        {"predicted": pytest.approx(0.05), "observed": 0.5, "pixels": 2},
        {"predicted": pytest.approx(0.95), "observed": 1, "pixels": 2},
    ]
    assert [p["observed"] for p in told["reliability"]["p8"]] == [0, 1]


# --- the command -------------------------------------------------------------------------------

QUICK = "seed: {seed}\nsize_px: 160\nsites: 120\nreference_sites: 40\noptical_dates: 5\nradar_dates: 2\nquick: true\n"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("settings") / "quick.yaml"
    path.write_text(QUICK.format(seed=4))
    return path


def test_the_command_maps_judges_and_draws(tmp_path: Path, quick: Path, phusa: Phusa) -> None:
    answer = phusa("demo", "--out", tmp_path / "demo", "--simulation", quick, "--json")
    assert answer.code == 0, answer.err
    told = answer.json
    assert {"store", "config", "season", "truth", "products", "scores", "pictures", "page"} <= told.keys()
    salinity, degradation = told["scores"]["salinity"], told["scores"]["degradation"]
    for found in (salinity, degradation):
        assert {"map", "cross_validation", "reference"} <= found.keys()
        assert {"random", "spatial"} <= found["cross_validation"].keys()
    assert salinity["map"]["scale"] == "log"
    assert -1 < salinity["map"]["r2"] < 0.95  # 0.99 would not be believed
    assert 0.2 < degradation["map"]["accuracy"] < 0.95
    assert salinity["cross_validation"]["spatial"]["log"].keys() == {"r2", "rmse", "bias", "concordance"}
    report = json.loads(next(Path(told["store"]).glob("work/*/samples/report.json")).read_text())
    assert report["rows"] == 120  # each row of the laboratory's file is read, or refused for want of a view
    assert set(report["by_rule"]) <= {"no-clear-date"}
    page = Path(told["page"]).read_text(encoding="utf-8")
    assert "SIMULATED – dữ liệu mô phỏng" in page
    names = {Path(p).name for p in told["pictures"]}
    assert {
        "degradation_risk.png",
        "salinity.png",
        "salinity_interval.png",
        "true_colour.png",
        "clear_dates.png",
    } <= names
    assert all(f'src="pictures/{name}"' in page for name in names)
    again = phusa("demo", "--out", tmp_path / "demo", "--simulation", quick, "--json")
    assert (again.json["computed"], again.json["skipped"]) == (0, len(told["products"]))
    assert again.json["scores"] == told["scores"]


def test_a_killed_run_started_again_gives_the_same_bytes(tmp_path: Path, quick: Path) -> None:
    out = tmp_path / "demo"
    program = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", program, "demo", "--out", out, "--simulation", quick, "--json"]
    seed = int(np.random.SeedSequence().generate_state(1)[0])  # other moments every time; told if it fails
    rng = np.random.default_rng(seed)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    killed = 0
    for after in (rng.integers(1, 80), rng.integers(80, 140)):  # files written so far
        run = subprocess.Popen(command, **quiet, start_new_session=True)
        while run.poll() is None and len(list(out.rglob("*.*"))) < after:
            time.sleep(0.01)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
            killed += 1
        run.wait()
    subprocess.run(command, check=True, capture_output=True)
    disturbed = files(out)
    out.rename(tmp_path / "disturbed")
    subprocess.run(command, check=True, capture_output=True)
    assert killed, seed
    assert disturbed == files(out), seed
