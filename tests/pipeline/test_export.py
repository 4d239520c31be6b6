"""Products in VN-2000."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from mapped import publish
from numpy.typing import NDArray
from rio_cogeo import cog_validate
from support import Phusa

from pipeline import export, vn2000
from pipeline.grid import Tile
from pipeline.product import NODATA

#: EPSG 6960 as the registry prints it: coordinate frame rotation, VN-2000 to WGS 84.
SHIFT = (
    "+proj=pipeline +step +proj=cart +ellps=WGS84 +step +proj=helmert +x=-191.90441429 +y=-39.30318279 "
    "+z=-111.45032835 +rx=-0.00928836 +ry=0.01975479 +rz=-0.00427372 +s=0.252906278 "
    "+convention=coordinate_frame +step +inv +proj=cart +ellps=WGS84"
)


def wgs84(code: int, x: Any, y: Any) -> tuple[Any, Any]:
    """VN-2000 metres to WGS 84 UTM 48N, step by step and by no ready operation."""
    projection = pyproj.CRS(code).coordinate_operation
    assert projection is not None
    given = {p.name: p.value for p in projection.params}
    plane = pyproj.Proj(
        proj="tmerc", lat_0=0, lon_0=given["Longitude of natural origin"], ellps="WGS84",
        k=given["Scale factor at natural origin"], x_0=given["False easting"], y_0=given["False northing"],
    )  # fmt: skip
    lon, lat = plane(x, y, inverse=True)
    lon, lat, _ = pyproj.Transformer.from_pipeline(SHIFT).transform(lon, lat, np.zeros_like(lon))
    return pyproj.Proj("EPSG:32648")(lon, lat)  # type: ignore[no-any-return]


def layers(tile: Tile) -> dict[str, NDArray[Any]]:
    """A plane, whose bilinear values are known anywhere, and classes in stripes."""
    rows, columns = tile.geobox.shape
    y, x = np.mgrid[:rows, :columns].astype(float)
    return {
        "estimate": 0.1 * x + 0.05 * y, "lower": 0.1 * x, "upper": 0.1 * x + 0.1 * y, "p4": x / columns,
        "p8": 0 * x, "applicability": (x // 8) % 2, "clear_dates": 0 * x + 5,
        "reason": np.where((x > 60) & (x < 90) & (y > 60) & (y < 90), 4, 0),
    }  # fmt: skip


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    return publish(folder, shapely.box(105.50, 10.00, 105.53, 10.02), "salinity", layers)[0]


@pytest.mark.parametrize("code", [3405, 5897, 9211])
def test_values_stand_where_the_pinned_operation_puts_them(
    code: int, product: Path, tmp_path: Path, phusa: Phusa
) -> None:
    answer = phusa("export", product, "--crs", f"EPSG:{code}", "--out", tmp_path / "x.tif", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["operation"] == "EPSG:6960"
    with rasterio.open(tmp_path / "x.tif") as file, rasterio.open(product) as source:
        assert file.crs.to_epsg() == code
        assert file.descriptions == source.descriptions and file.scales == source.scales
        assert file.transform.a == 10 and file.transform.c % 10 == 0
        pixels, full, names = file.read(), source.read(), list(file.descriptions)
        rows, columns = np.mgrid[: file.height, : file.width]
        x, y = wgs84(code, *(file.transform * (columns + 0.5, rows + 0.5)))
        column, row = ~source.transform * (x, y)
    reason = pixels[names.index("reason")]
    inside = (column >= 0) & (column < full.shape[2]) & (row >= 0) & (row < full.shape[1])
    # away from half pixels, where the tolerance of 0.01 px may fall on either side
    clear = (abs(column % 1 - 0.0) > 0.05) & (abs(row % 1) > 0.05) & (abs(column % 1 - 1) > 0.05)
    sure = inside & clear & (abs(row % 1 - 1) > 0.05)
    nearest = full[:, row[sure].astype(int), column[sure].astype(int)]
    assert sure.sum() > 20_000
    for name in ("applicability", "reason"):
        assert np.array_equal(pixels[names.index(name)][sure], nearest[names.index(name)]), name
    mapped = reason == 0
    assert (reason[~inside & clear] == 1).mean() > 0.99
    core = mapped & (column > 1) & (row > 1) & (column < full.shape[2] - 1) & (row < full.shape[1] - 1)
    expected = 0.1 * (column - 0.5) + 0.05 * (row - 0.5)
    hole = (abs(column - 75) < 17) & (abs(row - 75) < 17)  # beside the hole fewer pixels carry the mean
    outline = (
        sure
        & core
        & ~hole
        & (
            full[names.index("reason")][
                row.clip(0, full.shape[1] - 1).astype(int), column.clip(0, full.shape[2] - 1).astype(int)
            ]
            == 0
        )
    )
    deep = outline & inner(reason)
    assert deep.sum() > 10_000
    assert abs(pixels[0][deep] * 0.01 - expected[deep]).max() < 0.012
    for name in names:
        if name not in ("reason", "clear_dates"):
            assert (pixels[names.index(name)][~mapped] == NODATA).all()
            assert (pixels[names.index(name)][mapped] != NODATA).all()
    assert (pixels[1] <= pixels[0])[mapped].all() and (pixels[0] <= pixels[2])[mapped].all()


def inner(reason: NDArray[np.int16]) -> NDArray[np.bool_]:
    """Mapped pixels that lie two pixels or more from any other."""
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(reason == 0, np.ones((5, 5)), border_value=0))


def test_an_export_is_a_cog_that_names_its_operation(product: Path, tmp_path: Path) -> None:
    export.write(product, 3405, tmp_path / "x.tif")
    assert cog_validate(str(tmp_path / "x.tif"), strict=True)[0]
    with rasterio.open(tmp_path / "x.tif") as file, rasterio.open(product) as source:
        assert "EPSG:6960" in file.tags()["PHUSA_CRS_OPERATION"]
        assert file.tags()["PHUSA_KEY"] == source.tags()["PHUSA_KEY"]
        assert file.tags(file.count) == source.tags(file.count)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tif"]
    again = (tmp_path / "x.tif").read_bytes()
    export.write(product, 3405, tmp_path / "x.tif")
    assert (tmp_path / "x.tif").read_bytes() == again


def test_the_other_operation_would_be_off_by_most_of_a_metre() -> None:
    """What is pinned matters: PROJ offers both in the delta."""
    from pyproj.transformer import TransformerGroup

    x, y = 640_000.0, 1_100_000.0
    found = {
        t.description: t.transform(x, y) for t in TransformerGroup(32648, 3405, always_xy=True).transformers
    }
    pinned = vn2000.operation(32648, 3405).transform(x, y)
    others = [p for d, p in found.items() if "VN-2000 to WGS 84 (1)" in d]
    assert others and 0.7 < np.hypot(*(np.array(others[0]) - pinned)) < 0.9
    back = wgs84(3405, np.array([pinned[0]]), np.array([pinned[1]]))
    assert np.hypot(back[0] - x, back[1] - y) < 1e-3


@pytest.mark.parametrize("code", [6956, 6957, 6958, 6959])
def test_withdrawn_systems_are_refused(code: int, product: Path, tmp_path: Path, phusa: Phusa) -> None:
    answer = phusa("export", product, "--crs", f"EPSG:{code}", "--out", tmp_path / "x.tif")
    assert answer.code == 2
    assert "withdrew" in answer.err
    assert not (tmp_path / "x.tif").exists()


@pytest.mark.parametrize("text", ["EPSG:32648", "vn2000", "EPSG:4756", "", "EPSG:9219"])
def test_other_systems_are_refused(text: str, product: Path, tmp_path: Path, phusa: Phusa) -> None:
    answer = phusa("export", product, "--crs", text, "--out", tmp_path / "x.tif")
    assert answer.code == 2
    assert "expected EPSG:3405" in answer.err


def test_what_is_no_product_is_refused(product: Path, tmp_path: Path, phusa: Phusa) -> None:
    answer = phusa("export", product.with_suffix(".json"), "--crs", "3405", "--out", tmp_path / "x.tif")
    assert answer.code == 2
    assert "GeoTIFF" in answer.err
