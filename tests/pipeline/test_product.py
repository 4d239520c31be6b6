from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.targets import Target
from pipeline import yamlfile
from pipeline.product import NODATA, REASONS, ProductBand, bands_of, encode

TARGETS = Path(__file__).parents[2] / "configs" / "targets"


def target(name: str) -> Target:
    return yamlfile.parse(Target, TARGETS / f"{name}.yaml")


def test_bands_are_those_of_the_contract() -> None:
    assert [b.name for b in bands_of(target("salinity"))] == [
        "estimate",
        "lower",
        "upper",
        "p4",
        "p8",
        "applicability",
        "clear_dates",
        "reason",
    ]
    assert [b.name for b in bands_of(target("degradation"))] == [
        "class", "risk", "p_none", "p_slight", "p_moderate", "p_heavy", "applicability",
        "clear_dates", "reason",
    ]  # fmt: skip


@given(arrays(np.float32, (3, 4), elements=st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))))
def test_stored_values_are_the_nearest_that_fit(values: np.ndarray) -> None:
    stored = encode({"v": values}, [ProductBand("v", 0.01)])[0]
    assert stored.dtype == np.int16
    assert np.array_equal(stored == NODATA, np.isnan(values))
    fits = np.abs(values) < 327
    assert np.allclose(stored[fits] * 0.01, values[fits], atol=0.0051)
    assert (stored[values > 328] == 32767).all()
    assert (stored[values < -328] == -32767).all()


@pytest.fixture(scope="module")
def maps(original_demo, tmp_path_factory):  # type: ignore[no-untyped-def]
    """The demonstration's published COGs by target and tile, made by a run of the command."""
    from click.testing import CliRunner

    from pipeline.cli import main

    folder = tmp_path_factory.mktemp("maps")
    import shutil

    shutil.copytree(original_demo.config.parent, folder / "demo")
    result = CliRunner().invoke(
        main, ["run", str(folder / "demo" / "demo.yaml"), "--season", original_demo.season, "--json"]
    )
    assert result.exit_code == 0, result.stderr
    return {tuple(Path(p).stem.split("_", 1)): Path(p) for p in json.loads(result.stdout)["products"]}


def test_a_product_says_what_it_holds(maps: dict[tuple[str, str], Path]) -> None:
    with rasterio.open(maps["48PXS", "degradation"]) as file:
        assert file.dtypes[0] == "int16"
        assert file.nodata == NODATA
        assert file.tags()["PHUSA_SIMULATED"].startswith("SIMULATED")
        assert file.tags()["PHUSA_UNCERTAINTY"].startswith("calibrated on ")
        assert file.tags()["PHUSA_STATUS"] == "unverified"
        classes = json.loads(file.tags(1)["CLASSES"])
        assert classes == {"1": "none", "2": "slight", "3": "moderate", "4": "heavy"}
        assert json.loads(file.tags(file.count)["CLASSES"]) == {str(k): v for k, v in REASONS.items()}
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_every_pixel_is_mapped_or_says_why(maps: dict[tuple[str, str], Path], original_demo) -> None:  # type: ignore[no-untyped-def]
    for (_, name), path in maps.items():
        with rasterio.open(path) as file:
            pixels, names = file.read(), list(file.descriptions)
        reason = pixels[names.index("reason")]
        values = pixels[: len(bands_of(target(name))) - 2]
        assert ((values == NODATA) == (reason != 0)).all()
        assert set(np.unique(reason)) <= {0, 1, 2, 3, 4}
        assert (reason == 0).any()
        assert (reason == 2).any()


def test_numbers_agree_with_each_other(maps: dict[tuple[str, str], Path]) -> None:
    with rasterio.open(maps["48PXS", "degradation"]) as file:
        pixels, names = file.read().astype(float), list(file.descriptions)
    seen = pixels[-1] == 0
    p = np.stack([pixels[names.index(f"p_{n}")] for n in ("none", "slight", "moderate", "heavy")]) * 1e-4
    assert np.allclose(p.sum(axis=0)[seen], 1, atol=3e-4)
    assert np.allclose(pixels[names.index("risk")][seen] * 1e-4, (p[2] + p[3])[seen], atol=3e-4)
    top = p.argmax(axis=0) + 1
    clear = np.sort(p, axis=0)[-1] - np.sort(p, axis=0)[-2] > 1e-3
    assert (top == pixels[0])[seen & clear].all()
    with rasterio.open(maps["48PXS", "salinity"]) as file:
        estimate, lower, upper = file.read([1, 2, 3]).astype(float)
        reason = file.read(file.count)
    assert (lower <= estimate)[reason == 0].all()
    assert (estimate <= upper)[reason == 0].all()


def test_the_map_lies_where_the_truth_lies(maps: dict[tuple[str, str], Path], original_demo) -> None:  # type: ignore[no-untyped-def]
    """At the sites that it was trained on, a map that does not follow the samples is a bug."""
    import pandas as pd

    from pipeline.grid import transformer

    truth = original_demo.world.salinity
    found = np.full(truth.shape, np.nan)
    for (_, name), path in maps.items():
        if name != "salinity":
            continue
        with rasterio.open(path) as file:
            value = np.where(file.read(file.count) == 0, file.read(1) * 0.01, np.nan)
            x0 = round((file.transform.c - original_demo.world.transform.c) / 10)
            y0 = round((original_demo.world.transform.f - file.transform.f) / 10)
        for (row, column), v in np.ndenumerate(value):
            y, x = row + y0, column + x0
            if 0 <= y < truth.shape[0] and 0 <= x < truth.shape[1] and not np.isnan(v):
                found[y, x] = v
    both = ~np.isnan(found) & ~np.isnan(truth)
    assert not (~np.isnan(found) & np.isnan(truth)).any()
    assert both.sum() > 0.6 * (~np.isnan(truth)).sum()
    sites = pd.read_csv(original_demo.config.parent / "samples.csv")
    x, y = transformer(4326, 32648).transform(sites["Kinh độ"].to_numpy(), sites["Vĩ độ"].to_numpy())
    columns, rows = (np.floor(v).astype(int) for v in ~original_demo.world.transform * (x, y))
    at, ece = found[rows, columns], sites["ECe (dS/m)"].to_numpy()
    seen = ~np.isnan(at)
    assert np.corrcoef(np.log(at[seen]), np.log(ece[seen]))[0, 1] > 0.8


def test_blocks_that_are_never_computed_are_nodata_in_every_band(tmp_path: Path) -> None:
    """An L-shaped area leaves whole blocks out; zero there would be read as a value."""
    import datetime as dt

    from affine import Affine
    from odc.geo.geobox import GeoBox

    from pipeline.product import OUTSIDE, Product, ProductId, TileWriter
    from pipeline.season import Season

    season, theme = Season("s", dt.date(2025, 1, 1), dt.date(2025, 2, 1)), target("salinity")
    geobox = GeoBox((700, 600), Affine(10, 0, 640000, 0, -10, 1100000), "EPSG:32648")
    writer = TileWriter(
        Product(ProductId("s", "48PXS", "salinity"), season, "r", geobox, theme, "k"), tmp_path / "s.tif"
    )
    writer.write((0, 0), np.ones((8, 100, 100), np.int16))
    writer.finish(tmp_path / "p.tif")
    with rasterio.open(tmp_path / "p.tif") as file:
        pixels = file.read()
    assert (pixels[:, :100, :100] == 1).all()
    rest = np.ones((700, 600), bool)
    rest[:100, :100] = False
    assert (pixels[:-1, rest] == NODATA).all()
    assert (pixels[-1, rest] == OUTSIDE).all()
