"""Tiles as one map, without seams, also across the edge of two UTM zones."""

from __future__ import annotations

from pathlib import Path

import mapped
import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from rasterio.warp import transform as warp_points
from support import Phusa

from pipeline import mosaic
from pipeline.errors import IntegrityError
from pipeline.grid import Tile, to_crs
from pipeline.product import NODATA

#: Astride longitude 108, the edge of zones 48 and 49, and astride the edge of two 100 km squares.
EDGE = shapely.box(107.985, 12.64, 108.015, 12.67)


def ramp(tile: Tile) -> dict[str, np.ndarray]:
    """EC that grows by 1 dS/m with each 0.01 degree of longitude: any misplaced pixel shows."""
    rows, columns = tile.geobox.shape
    a = tile.geobox.affine
    x, y = np.meshgrid(a.c + a.a * (np.arange(columns) + 0.5), a.f + a.e * (np.arange(rows) + 0.5))
    lon, _ = pyproj.Transformer.from_crs(tile.epsg, 4326, always_xy=True).transform(x, y)
    value = 100 * (lon - 107.9)
    return {"estimate": value, "lower": value - 1, "upper": value + 1, "applicability": np.ones_like(value),
            "clear_dates": np.full_like(value, 7), "reason": np.zeros(value.shape, np.int16)}  # fmt: skip


@pytest.fixture(scope="module")
def cogs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return mapped.publish(tmp_path_factory.mktemp("edge"), EDGE, "salinity", ramp)


def test_each_zone_is_one_map_of_its_tiles(cogs: list[Path], tmp_path: Path) -> None:
    made = mosaic.zones(cogs, tmp_path, "delta")
    assert [p.name for p in made] == ["delta_32648.vrt", "delta_32649.vrt"]
    filled = 0
    for path in made:
        with rasterio.open(path) as whole:
            assert whole.descriptions[0] == "estimate"
            assert whole.nodata == NODATA
            pixels = whole.read()
            scale = whole.scales[0]
            for cog in cogs:
                with rasterio.open(cog) as tile:
                    if tile.crs != whole.crs:
                        continue
                    window = whole.window(*tile.bounds).round_offsets().round_lengths()
                    assert scale == tile.scales[0]
                    assert whole.tags(whole.count)["CLASSES"] == tile.tags(tile.count)["CLASSES"]
                    assert np.array_equal(whole.read(window=window), tile.read())
                    filled += int((tile.read(1) != NODATA).sum())
            mapped_px = int((pixels[0] != NODATA).sum())
            filled -= mapped_px
    assert filled == 0  # every mapped pixel once


def test_zones_own_the_ground_once(cogs: list[Path]) -> None:
    """Pixels of both zones together cover the area, and no place twice."""
    area = 0.0
    lons: dict[int, np.ndarray] = {}
    for cog in cogs:
        with rasterio.open(cog) as file:
            rows, columns = np.nonzero(file.read(1) != NODATA)
            x, y = file.transform * (columns + 0.5, rows + 0.5)
            lon, _ = pyproj.Transformer.from_crs(file.crs, 4326, always_xy=True).transform(x, y)
            lons.setdefault(file.crs.to_epsg(), np.empty(0))
            lons[file.crs.to_epsg()] = np.append(lons[file.crs.to_epsg()], lon)
            area += 100.0 * len(rows)
    assert lons[32648].max() < 108 <= lons[32649].min()
    # The grids' cells are 0.03 % larger or smaller than the ground at their edges.
    assert area == pytest.approx(to_crs(EDGE, 32648).area, rel=2e-3)


def test_the_web_map_takes_each_cell_from_its_owner(cogs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "web.tif"
    size = mosaic.web(cogs, path, 40)
    assert size == pytest.approx(38.2185, abs=1e-3)  # level 12
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 3857
        assert (file.transform.c + np.pi * 6378137) / size == pytest.approx(
            round((file.transform.c + np.pi * 6378137) / size), abs=1e-6
        )
        stored = file.read(1)
        rows, columns = np.nonzero(stored != NODATA)
        x, y = file.transform * (columns + 0.5, rows + 0.5)
        lon, lat = (np.array(v) for v in warp_points(3857, 4326, x, y))
        inside = shapely.contains_xy(EDGE.buffer(-0.0004), lon, lat)
        value = stored[rows, columns] * file.scales[0]
        assert inside.sum() > 3000
        assert np.abs(value - 100 * (lon - 107.9))[inside].max() < 0.06  # half a cell is 0.02, a step 0.01
        every = np.ones(stored.shape, bool)
        yy, xx = np.nonzero(every)
        lon, lat = (np.array(v) for v in warp_points(3857, 4326, *(file.transform * (xx + 0.5, yy + 0.5))))
        within = shapely.contains_xy(EDGE.buffer(-0.0004), lon, lat)
        assert (stored[yy, xx][within] != NODATA).all()  # no seam
        assert set(np.unique(file.read(file.count))) <= {NODATA, 0, 1}


def test_a_finer_web_map_than_can_be_is_refused(
    cogs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosaic, "MOST_PX", 50)
    with pytest.raises(ValueError, match="coarser"):
        mosaic.web(cogs, tmp_path / "w.tif", 10)
    assert not list(tmp_path.iterdir())


def test_products_that_overlap_are_refused(cogs: list[Path], tmp_path: Path) -> None:
    again = tmp_path / "again.tif"
    again.write_bytes(cogs[0].read_bytes())
    with pytest.raises(IntegrityError, match="overlap"):
        mosaic.zones([*cogs, again], tmp_path, "delta")


def test_the_command(tmp_path: Path, phusa: Phusa) -> None:
    config = mapped.config(tmp_path, EDGE.bounds, ("salinity",))
    answer = phusa("mosaic", config, "--season", mapped.SEASON.name, "--out", tmp_path / "m", "--json")
    assert answer.code == 2
    assert "is not published" in answer.json["error"]
    mapped.publish(tmp_path, EDGE, "salinity", ramp)
    answer = phusa("mosaic", config, "--season", mapped.SEASON.name, "--out", tmp_path / "m", "--json")
    assert answer.code == 0, answer.err
    made = answer.json["targets"]["salinity"]
    assert len(made["zones"]) == 2
    assert made["web_pixel_m"] == pytest.approx(152.874)
    with rasterio.open(made["web"]) as file:
        assert (file.read(1) != NODATA).any()
