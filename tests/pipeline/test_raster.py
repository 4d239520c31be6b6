from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from scipy.ndimage import map_coordinates

from pipeline.raster import read_onto

GRID = GeoBox((60, 50), Affine(10, 0, 640000, 0, -10, 1100000), "EPSG:32648")


@pytest.fixture
def degrees(tmp_path: Path) -> tuple[Path, np.ndarray, Affine]:
    """A raster in degrees around the grid, with a hole."""
    transform = Affine(0.0001, 0, 106.2785, 0, -0.0001, 9.9478)
    pixels = np.random.default_rng(0).random((120, 150)).astype(np.float32)
    pixels[50:53, 70:75] = -1
    path = tmp_path / "degrees.tif"
    profile = {"driver": "GTiff", "height": 120, "width": 150, "count": 1, "dtype": "float32", "nodata": -1}
    with rasterio.open(path, "w", **profile, crs="EPSG:4326", transform=transform) as file:
        file.write(pixels, 1)
    return path, pixels, transform


def places(transform: Affine) -> tuple[np.ndarray, np.ndarray]:
    """(row, column) in the raster of the grid's pixel centres; 0 is the first cell's centre."""
    x, y = np.meshgrid(640005 + 10 * np.arange(50), 1099995 - 10 * np.arange(60))
    lon, lat = Transformer.from_crs(32648, 4326, always_xy=True).transform(x, y)
    column, row = (lon - transform.c) / transform.a - 0.5, (lat - transform.f) / transform.e - 0.5
    return row, column


@pytest.mark.parametrize(("resampling", "order"), [("nearest", 0), ("bilinear", 1)])
def test_values_are_those_of_scipy_at_the_exact_places(
    degrees: tuple[Path, np.ndarray, Affine], resampling: str, order: int
) -> None:
    path, pixels, transform = degrees
    row, column = places(transform)
    found = read_onto(str(path), GRID, "float32", -9, resampling)
    expected = map_coordinates(pixels, [row, column], order=order, cval=np.nan)
    inner = (row > 0) & (column > 0) & (row < 119) & (column < 149)
    near_hole = map_coordinates((pixels == -1).astype(float), [row, column], order=1, mode="nearest") > 0
    sure = inner & ~near_hole
    assert sure.mean() > 0.5
    np.testing.assert_allclose(found[sure], expected[sure], atol=1e-6)
    outside = (row < -0.5) | (column < -0.5) | (row > 119.5) | (column > 149.5)
    assert outside.any()
    assert (found[outside] == -9).all()
    own = pixels[np.clip(np.rint(row), 0, 119).astype(int), np.clip(np.rint(column), 0, 149).astype(int)]
    assert ((found == -9) == (outside | (own == -1))).all()


def test_a_raster_elsewhere_is_all_nodata(degrees: tuple[Path, np.ndarray, Affine]) -> None:
    far = GRID.translate_pix(100_000, 0)
    assert (read_onto(str(degrees[0]), far, "float32", -9, "bilinear") == -9).all()


def test_whole_numbers_stay_whole(degrees: tuple[Path, np.ndarray, Affine]) -> None:
    path, pixels, transform = degrees
    codes = path.with_name("codes.tif")
    profile = {"driver": "GTiff", "height": 120, "width": 150, "count": 1, "dtype": "uint8"}
    with rasterio.open(codes, "w", **profile, crs="EPSG:4326", transform=transform) as file:
        file.write((pixels * 9).astype(np.uint8), 1)
    assert set(np.unique(read_onto(str(codes), GRID, "int32", -1, "nearest"))) <= set(range(-1, 10))


@pytest.mark.parametrize(
    ("dtype", "wanted"), [("uint8", [0, 0, 5, 255, 255]), ("uint16", [0, 0, 5, 261, 65535])]
)
@pytest.mark.parametrize("shift", [0, 3])
def test_numbers_beyond_a_type_do_not_come_round_again(
    tmp_path: Path, dtype: str, wanted: list[int], shift: int
) -> None:
    """A classification of 261 would else be vegetation, a reflectance of -5 bright."""
    path = tmp_path / "wide.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=4, width=5, count=1, dtype="int32", crs="EPSG:32648",
        transform=Affine(10, 0, 600_000, 0, -10, 1_200_000), nodata=90_000,
    ) as file:  # fmt: skip
        file.write(np.tile(np.array([-5, 90_000, 5, 261, 70_000], np.int32), (4, 1)), 1)
    grid = GeoBox((2, 5), Affine(10, 0, 600_000 + shift, 0, -10, 1_200_000 - shift), "EPSG:32648")
    assert read_onto(str(path), grid, dtype, 0, "nearest")[0].tolist() == wanted
