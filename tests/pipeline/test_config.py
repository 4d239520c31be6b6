from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from support import Phusa

from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.providers import ApiProvider

ROOT = Path(__file__).parents[2]


def base() -> dict[str, Any]:
    return {
        "region": {
            "name": "r",
            "area": [105.0, 10.0, 105.1, 10.1],
            "grid": {"crs": "utm", "resolution_m": 10},
        },
        "sources": [{"sensor": "sentinel-2-l2a", "provider": "earth-search", "max_cloud_percent": 80}],
        "seasons": {"2025-dry": {"start": "2024-12-01", "end": "2025-04-30"}},
        "features": ["ndvi_p50"],
        "store": {"kind": "folder", "path": "store"},
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def change(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The config with one dotted key set (a number is a place in a list)."""
    *path, last = [int(k) if k.isdigit() else k for k in key.split(".")]
    node: Any = content
    for part in path:
        node = node[part]
    node[last] = value
    return content


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = Config.read(write(tmp_path / "c.yaml", base()))
    assert config.store is not None
    assert config.store.path == tmp_path / "store"
    assert isinstance(config.sources[0].provider, ApiProvider)


def test_the_projects_own_configs_are_valid() -> None:
    for path in (ROOT / "configs" / "regions").glob("*.yaml"):
        if path.name != "demo.yaml":  # its files are made by `phusa demo`; test_dvc reads it then
            Config.read(path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("regoin", {}, "regoin: unknown key; allowed: region, sources"),
        ("region.gird", {}, "region.gird: unknown key; allowed: name, area, grid, mask"),
        ("region.grid.crs", "EPSG:4326", "region.grid.crs: found 'EPSG:4326'; Input should be 'utm'"),
        ("region.grid.resolution_m", 7, "region.grid.resolution_m: found '7'; Input should be 10 or 20"),
        ("region.grid.block_px", "big", "region.grid.block_px: found 'big'"),
        ("region.area", [105.1, 10.0, 105.0, 10.1], "west < east"),
        ("region.area", [105.0, 10.0, 205.0, 10.1], "outside the globe"),
        ("region.area", "nowhere.geojson", "no such file"),
        ("region.area", [1, 2, 3], "region.area: found [1, 2, 3]; expected [west, south, east, north]"),
        ("region.area", [105.0, 10.0, 105.1, float("nan")], "expected [west, south, east, north]"),
        ("region.area", [105.0, 10.0, 105.1, True], "which is no number"),
        ("region.mask", {"path": "c.yaml", "classes": [1]}, "c.yaml cannot be read as a GeoTIFF"),
        ("region.area", "~nobody-here/a.geojson", "region.area: "),
        ("store.path", "~nobody-here/x", "no such user"),
        ("store.path", "a\0b", "expected a path"),
        ("store.path", "", "store.path: found ''; expected a path"),
        ("seasons.2025-dry.start", 1733011200, "expected a day such as 2025-04-30"),
        ("seasons.2025-dry.start", "0001-01-01", "expected a day such as 2025-04-30"),
        ("max_loss_percent", True, "max_loss_percent is true, which is no number"),
        ("seasons", {" ": {"start": "2024-12-01", "end": "2025-04-30"}}, "is no season name"),
        ("region.mask", {"path": "nowhere.tif", "classes": [1]}, "region.mask.path"),
        (
            "sources.0.sensor",
            "sentinel-3",
            "sources.0.sensor: found 'sentinel-3'; Input should be 'sentinel-2-l2a'",
        ),
        (
            "sources.0.provider",
            "earthsearch",
            "sources.0.provider: found 'earthsearch'; unknown provider; known: earth-search",
        ),
        ("sources.0.provider", {"kind": "ftp"}, "'static', 'api'"),
        (
            "sources.0.provider",
            {"kind": "static", "catalog": "c.json", "convention": "esa"},
            "convention: found 'esa'",
        ),
        (
            "sources.0.provider",
            {"kind": "api", "url": "file:///etc", "convention": "earth-search"},
            "url: found 'file:///etc'",
        ),
        ("sources.0.max_cloud", 5, "allowed: sensor, provider, fallback, max_cloud_percent"),
        ("sources.0.max_cloud_percent", 180, "sources.0.max_cloud_percent: found '180'"),
        ("sources", [], "sources"),
        ("seasons.2025-dry.end", "2024-01-01", "ends 2024-01-01 before it starts 2024-12-01"),
        ("seasons.2025-dry.end", "soon", "found 'soon'"),
        ("seasons", {}, "seasons"),
        ("features", ["ndvii_p50"], "did you mean 'ndvi'"),
        ("features", ["ndvi_p500"], "unknown statistic 'p500'"),
        ("features", ["ndvi_p50@bare"], "unknown window 'bare' in feature 'ndvi_p50@bare'; known: none"),
        ("windows", {"bare": "ndvii < 0.3"}, "window 'bare'"),
        ("windows", {"bare": {"rule": "ndvi < 0.3"}}, "windows.bare"),
        ("features", ["ndvi_p50", "ndvi_p50"], "given 2 times"),
        ("features", ["vv_mean"], "feature vv_mean needs sensor sentinel-1-rtc"),
        ("features", [], "no features given"),
        ("features", "ndvi_p50", "expected a list of feature names"),
        ("targets", ["nowhere.yaml"], "nowhere.yaml: no such file"),
        (
            "samples",
            [{"file": "s.csv", "season": "1999"}],
            "season '1999' of s.csv is unknown; known: 2025-dry",
        ),
        ("store", {"kind": "floppy"}, "'folder', 'postgis'"),
        (
            "store",
            {"kind": "folder", "path": "x", "dsn": "postgresql://u:p@h/d"},
            "store.dsn: unknown key; allowed: path",
        ),
        ("max_loss_percent", -1, "max_loss_percent: found '-1'"),
    ],
)
def test_a_fault_names_file_key_and_what_is_allowed(
    tmp_path: Path, phusa: Phusa, key: str, value: Any, told: str
) -> None:
    path = write(tmp_path / "c.yaml", change(base(), key, value))
    with pytest.raises(InputError) as caught:
        Config.read(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    answer = phusa("scenes", path, "--season", "2025-dry", "--out", tmp_path / "s.json", "--json")
    assert answer.code == 2
    assert answer.json["exit_code"] == 2
    assert "Traceback" not in answer.err
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "expected keys region"),
        ("- a\n- b\n", "expected keys region"),
        ("a: [1\n", "not valid YAML"),
        ("a: 1\na: 2\n", "key 'a' is given twice"),
        ("? [1, 2]\n: 3\n", "a key must be plain text"),
        ("a: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
        ("a: &x [*x]\n", "config"),
        ("region: \0\n", "binary file"),
    ],
)
def test_text_that_is_no_config_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = write(tmp_path / "config.yaml", content)
    with pytest.raises(InputError) as caught:
        Config.read(path)
    assert told in str(caught.value)


def test_a_binary_file_a_folder_and_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_bytes(bytes(range(256)))
    for path, told in (
        (tmp_path / "b.yaml", "binary file"),
        (tmp_path, "directory"),
        (tmp_path / "no.yaml", "no such file"),
    ):
        with pytest.raises(InputError, match=told):
            Config.read(path)


def test_season_names_are_any_text_even_where_yaml_sees_something_else(tmp_path: Path) -> None:
    content = base()
    text = yaml.safe_dump({k: v for k, v in content.items() if k != "seasons"})
    text += "seasons:\n  2018: {start: 2018-01-01, end: 2018-02-01}\n  no: {start: 2018-01-01, end: 2018-02-01}\n  2018-01-01: {start: 2018-01-01, end: 2018-02-01}\n"
    assert list(Config.read(write(tmp_path / "c.yaml", text)).seasons) == ["2018", "no", "2018-01-01"]


def test_an_area_file_of_another_format_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "area.geojson").write_text("<OGRVRTDataSource><OGRVRTLayer name='x'/></OGRVRTDataSource>")
    (tmp_path / "area.gpkg").write_text("<OGRVRTDataSource><OGRVRTLayer name='x'/></OGRVRTDataSource>")
    for name in ("area.geojson", "area.gpkg"):
        with pytest.raises(InputError, match=f"{name} cannot be read as polygons"):
            Config.read(write(tmp_path / "c.yaml", change(base(), "region.area", name)))


@pytest.mark.parametrize(("classes", "good"), [([1, 255], True), ([0], True), ([-1], False), ([300], False)])
def test_mask_classes_are_those_that_its_file_can_hold(
    tmp_path: Path, classes: list[int], good: bool
) -> None:
    with rasterio.open(
        tmp_path / "m.tif", "w", driver="GTiff", width=4, height=4, count=1, dtype="uint8",
        crs="EPSG:32648", transform=Affine(10, 0, 640000, 0, -10, 1100000),
    ) as file:  # fmt: skip
        file.write(np.ones((4, 4), np.uint8), 1)
    path = write(tmp_path / "c.yaml", change(base(), "region.mask", {"path": "m.tif", "classes": classes}))
    if good:
        assert Config.read(path).region.mask
    else:
        with pytest.raises(InputError, match=rf"region\.mask: class {classes[0]} cannot stand in m\.tif"):
            Config.read(path)


def test_one_fault_is_one_line_without_the_libraries_own_words(tmp_path: Path) -> None:
    provider = {"kind": "static", "catalog": "c.json", "convention": "esa"}
    path = write(tmp_path / "c.yaml", change(base(), "sources.0.provider", provider))
    with pytest.raises(InputError) as caught:
        Config.read(path)
    assert str(caught.value).startswith(f"{path}: sources.0.provider.convention: found 'esa'")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lon", "season", "ndvi_p50", "sample_id"])
def test_a_target_cannot_have_the_name_of_another_column(tmp_path: Path, name: str) -> None:
    theme = {
        "name": name, "kind": "regression", "unit": "dS/m", "title": {"vi": "Độ mặn", "en": "Salinity"},
    }  # fmt: skip
    write(tmp_path / "t.yaml", theme)
    with pytest.raises(InputError, match="the name of another column"):
        Config.read(write(tmp_path / "c.yaml", base() | {"targets": ["t.yaml"]}))


def test_windows_are_named_rules_that_features_use(tmp_path: Path) -> None:
    content = base() | {
        "windows": {"bare": "ndvi < 0.3 and mndwi < 0"},
        "features": ["swir16_p50@bare", "ndvi_count@bare"],
    }
    config = Config.read(write(tmp_path / "c.yaml", content))
    assert config.features.bands == ("green", "red", "nir", "swir16")
    assert config.features.features[0].window is not None
