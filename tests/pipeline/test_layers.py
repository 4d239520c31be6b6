"""Layers that are made once for a region: wetness, distances, and the region's own rasters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from support import Phusa

from features import FeatureSpec, terrain
from pipeline import catalog, layers
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.errors import InputError
from pipeline.load import load

GRID = GeoBox((40, 50), Affine(30, 0, 600_000, 0, -30, 1_000_000), "EPSG:32648")


def drained(z: np.ndarray) -> np.ndarray:
    """Cells that drain through each, by steepest descent, written out; ``z`` has no pit."""
    rows, columns = z.shape
    count = np.ones(z.shape)
    for index in np.argsort(-z, axis=None):
        i, j = divmod(int(index), columns)
        falls = [
            ((z[i, j] - z[i + a, j + b]) / np.hypot(a, b), (i + a, j + b))
            for a in (-1, 0, 1)
            for b in (-1, 0, 1)
            if (a or b) and 0 <= i + a < rows and 0 <= j + b < columns
        ]
        fall, target = max(falls, key=lambda f: f[0])
        if fall > 0:
            count[target] += count[i, j]
    return count


def test_a_valley_gathers_the_water_of_its_sides() -> None:
    x, y = np.meshgrid(np.arange(41.0), np.arange(30.0))
    valley = (3 * np.abs(x - 20) - y).astype(np.float32)
    area = layers.upslope(valley, 30)
    # the sides fall toward the middle along their rows
    assert area[:, 20] == pytest.approx(900 * 41 * np.arange(1, 31))
    assert area[5, :20] == pytest.approx(900 * np.arange(1, 21))
    assert area[29, 20] == area.max()


def test_water_runs_as_steepest_descent_has_it() -> None:
    rng = np.random.default_rng(4)
    x, y = np.meshgrid(np.arange(60.0), np.arange(50.0))
    z = (2 * x + 3 * y + rng.uniform(0, 0.9, x.shape)).astype(np.float32)
    area = layers.upslope(z, 30) / 900
    assert np.array_equal(area, drained(z))


def test_depressions_are_filled_and_the_unknown_stays_unknown() -> None:
    z = np.add.outer(np.arange(20.0), np.zeros(20)).astype(np.float32)
    z[8:11, 8:11] -= 50  # a hole in the slope
    z[0, 0] = z[15, 3] = np.nan
    area = layers.upslope(z, 10)
    assert np.isnan(area[0, 0]) and np.isnan(area[15, 3])
    known = ~np.isnan(area)
    assert known.sum() == 398
    # every drop leaves at an edge of what is known
    ends = np.zeros_like(known)
    ends[[0, -1]] = ends[:, [0, -1]] = True
    ends[14:17, 2:5] = ends[:2, :2] = True
    assert area[ends & known].sum() >= 100 * known.sum()
    assert area[ends & known].max() >= 100 * 9


def test_distances_are_those_to_the_nearest_place() -> None:
    rng = np.random.default_rng(1)
    places = np.column_stack([rng.uniform(599_000, 602_000, 40), rng.uniform(998_000, 1_001_000, 40)])
    found = layers.distance(places, GRID, "places")
    assert found.shape == (40, 50) and found.dtype == np.float32
    for i, j in ((0, 0), (39, 49), (17, 23)):
        x, y = 600_000 + 30 * (j + 0.5), 1_000_000 - 30 * (i + 0.5)
        assert found[i, j] == pytest.approx(np.hypot(*(places - (x, y)).T).min(), rel=1e-6)
    with pytest.raises(InputError, match="nothing in or near"):
        layers.distance(places[:0], GRID, "rivers.geojson")


def test_a_coast_may_be_a_line_a_polygon_or_a_raster(tmp_path: Path) -> None:
    import geopandas

    line = shapely.LineString([(600_300, 1_002_000), (600_300, 997_000)])
    land = shapely.box(600_300, 990_000, 700_000, 1_010_000)
    expected = np.abs(600_000 + 30 * (np.arange(50) + 0.5) - 600_300)
    for name, shape in (("line", line), ("land", land)):
        path = tmp_path / f"{name}.geojson"
        geopandas.GeoSeries([shape], crs=32648).to_crs(4326).to_file(path)
        found = layers.distance(layers._points(path, GRID), GRID, name)
        assert np.abs(found - expected).max() < 5  # the line bends a little between the systems
    sea = np.zeros((1, 40, 50), np.uint8)
    sea[0, :, 9] = 1
    path = tmp_path / "sea.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=40, width=50, count=1, dtype="uint8", crs="EPSG:32648",
        transform=GRID.affine,
    ) as file:  # fmt: skip
        file.write(sea)
    found = layers.distance(layers._points(path, GRID), GRID, "sea")
    assert found[:, 9].max() == 0
    assert found[5, 12] == 90


@pytest.fixture
def region(demo: Demo) -> Demo:
    """The demonstration with layers of all kinds in its config."""
    folder, side = demo.config.parent, demo.world.salinity.shape[0]
    t = demo.world.transform
    codes = (np.add.outer(np.arange(side), np.arange(side)) // 40).astype(np.uint8)
    rain = np.add.outer(np.zeros(side // 5), np.arange(side // 5)).astype(np.float32)
    for name, values, scale in (("soil", codes, 1), ("rain", rain, 5)):
        with rasterio.open(
            folder / f"{name}.tif", "w", driver="GTiff", height=len(values), width=len(values), count=1,
            dtype=str(values.dtype), crs="EPSG:32648", transform=t * Affine.scale(scale), nodata=None,
        ) as file:  # fmt: skip
            file.write(values, 1)
    west = GeoBox((side, side), t, "EPSG:32648").extent.to_crs("EPSG:4326").boundingbox.left
    coast = {"type": "LineString", "coordinates": [[west, 8], [west, 12]]}
    (folder / "coast.geojson").write_text(json.dumps(coast))
    names = "[twi, distance_to_channels, distance_to_coast, soil, rain, aspect, plan_curvature, ndvi_p50]"
    text = demo.config.read_text()
    text = text[: text.index("features:")] + f"features: {names}\n" + text[text.index("targets:") :]
    extra = (
        "layers: {soil: {path: soil.tif, kind: class}, rain: {path: rain.tif, kind: value}}\n"
        "terrain: {coast: coast.geojson, channels_km2: 0.02, collar_km: 1}\n"
    )
    demo.config.write_text(text + extra)
    return demo


def test_blocks_and_sites_read_the_same_layers(region: Demo, tmp_path: Path) -> None:
    config = Config.read(region.config)
    found = catalog.search(config.sources, config.season(region.season), config.region.geometry)
    files = layers.prepare(config, found, [config.features], tmp_path)
    assert {f.name for f in files} == {"twi", "distance_to_channels", "distance_to_coast", "soil", "rain"}
    made = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tif")}
    assert layers.prepare(config, found, [config.features], tmp_path) == files
    assert made == {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.tif")}  # made once
    side = region.world.salinity.shape[0]
    whole = GeoBox((side, side), region.world.transform, "EPSG:32648")
    names = config.features.bands
    stack = load([s for s in found.kept if s.sensor == "dem"], whole, names[:0], 0, "", ())
    assert stack.arrays == {}
    timeless = [n for n in names if n not in ("red", "nir")]
    full = load([s for s in found.kept if s.sensor == "dem"], whole, timeless, 0, "", files).arrays
    part = load(
        [s for s in found.kept if s.sensor == "dem"], whole[33:90, 20:61], timeless, 0, "", files
    ).arrays
    for name in timeless:
        assert full[name].dtype == np.float32
        assert np.array_equal(part[name], full[name][33:90, 20:61], equal_nan=True), name
        assert np.isfinite(full[name]).mean() > 0.9, name
    expected = (np.add.outer(np.arange(side), np.arange(side)) // 40).astype(np.float32)
    assert np.array_equal(full["soil"], expected)
    assert full["rain"][5, 52] == pytest.approx((52.5 - 2.5) / 5, abs=1e-5)
    assert full["distance_to_coast"][:, 0].max() < 200
    assert full["distance_to_coast"][side // 2, side - 1] == pytest.approx(10 * side, abs=150)
    channels = full["distance_to_channels"] < 15
    assert np.nanmean(full["twi"][channels]) > np.nanmean(full["twi"][~channels])


def test_features_and_samples_use_region_layers(region: Demo, phusa: Phusa, tmp_path: Path) -> None:
    with rasterio.open(region.config.parent / "rain.tif") as file:
        profile, rain = file.profile, file.read(1)[:, : file.width // 2]
        edge = file.transform.c + file.transform.a * rain.shape[1]
    with rasterio.open(
        region.config.parent / "rain.tif", "w", **(profile | {"width": rain.shape[1]})
    ) as file:
        file.write(rain, 1)
    season = ("--season", region.season)
    answer = phusa("features", region.config, *season, "--out", tmp_path / "out", "--json")
    assert answer.code == 0, answer.err
    with rasterio.open(json.loads(answer.out)["files"][0]) as file:
        assert file.descriptions[:3] == ("twi", "distance_to_channels", "distance_to_coast")
        assert np.isfinite(file.read(1)).any()
        pixels = file.read()
        inverse, crs = ~file.transform, file.crs
    table, page = tmp_path / "table.parquet", tmp_path / "report.json"
    answer = phusa("samples", region.config, "--out", table, "--report", page, "--json")
    assert answer.code == 0
    from pipeline.sampling import read_table

    frame = read_table(table).frame
    at = frame[frame.epsg == crs.to_epsg()]
    columns = inverse.a * at.x.to_numpy() + inverse.c
    rows = inverse.e * at.y.to_numpy() + inverse.f
    inside = (columns >= 0) & (rows >= 0) & (columns < pixels.shape[2]) & (rows < pixels.shape[1])
    for k, name in enumerate(("twi", "distance_to_channels", "distance_to_coast", "soil")):
        there = pixels[k, rows[inside].astype(int), columns[inside].astype(int)]
        sampled = at[name].to_numpy(np.float32)[inside]
        same = (there == sampled) | np.isnan(there)  # outside the mask a map has no value
        assert same.all(), name
    beyond = frame[frame.x > edge]
    assert len(beyond)
    names = sorted(set(beyond.sample_id))
    told = [{"layer": "rain", "sites": len(beyond), "beyond": len(beyond), "samples": names}]
    assert answer.json["unknown_layers"] == json.loads(page.read_text())["unknown_layers"]
    assert [x for x in answer.json["unknown_layers"] if x["layer"] == "rain"] == told
    assert all(x["beyond"] == 0 for x in answer.json["unknown_layers"] if x["layer"] != "rain")
    assert f"rain is not known at {len(beyond)} of {len(frame)} sites" in answer.err
    assert names[0] in page.with_suffix(".html").read_text().split("<h2>")[0]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("coast: coast.geojson, ", "", "terrain.coast"),
        ("soil: {path", "soil2: {path", "unknown feature 'soil'"),
        ("kind: class", "kind: codes", "kind"),
        ("soil: {path", "ndvi: {path", "taken"),
        ("soil: {path", "twi: {path", "taken"),
        ("path: soil.tif", "path: samples.csv", "cannot be read as a GeoTIFF"),
        ("coast: coast.geojson", "coast: nowhere.geojson", "no such file"),
    ],
)
def test_a_config_is_told_what_its_layers_lack(region: Demo, old: str, new: str, told: str) -> None:
    region.config.write_text(region.config.read_text().replace(old, new))
    with pytest.raises(InputError, match=told):
        Config.read(region.config)


def test_a_layer_that_changed_is_another_layer(region: Demo, tmp_path: Path) -> None:
    def digests() -> dict[str, str]:
        config = Config.read(region.config)
        found = catalog.search(config.sources, config.season(region.season), config.region.geometry)
        return {f.name: f.digest for f in layers.prepare(config, found, [config.features], tmp_path)}

    before, settings = digests(), layers.settings(Config.read(region.config))
    with rasterio.open(region.config.parent / "soil.tif", "r+") as file:
        file.write(file.read(1) + 1, 1)
    after = digests()
    assert {n for n in before if before[n] != after[n]} == {"soil"}
    assert layers.settings(Config.read(region.config)) != settings
    region.config.write_text(region.config.read_text().replace("channels_km2: 0.02", "channels_km2: 0.03"))
    assert {n for n, d in digests().items() if d != after[n]} == {
        "twi", "distance_to_channels", "distance_to_coast",
    }  # fmt: skip


def test_a_layer_name_is_a_feature_of_the_region_only() -> None:
    spec = FeatureSpec.parse(["soil", "ndvi_p50", "twi"], layers=["soil"])
    assert spec.bands == ("red", "nir", "soil", "twi")
    assert FeatureSpec.from_json(spec.to_json()).digest == spec.digest
    with pytest.raises(ValueError, match="unknown feature 'soil'"):
        FeatureSpec.parse(["soil"])
    assert terrain.NAMES[0] == "slope"
