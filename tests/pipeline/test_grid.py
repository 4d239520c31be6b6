from __future__ import annotations

import json

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from support import SHARED

from pipeline import grid
from pipeline.errors import InputError


@pytest.mark.parametrize(
    ("epsg", "x", "y", "name"),
    # From real Sentinel-2 records: granule name and the corner of its image.
    [
        (32659, 499980, 6400020, "59VND"),
        (32636, 699960, 300000, "36NYH"),
        (32720, 600000, 3300040, "20EPT"),
        (32601, 300000, 7400040, "01WCP"),
        (32612, 499980, 3300000, "12RWT"),
        (32648, 600000, 1200000, "48PXS"),
        (32707, 600000, 6500020, "07HFE"),
    ],
)
def test_squares_have_the_names_and_corners_of_granules(epsg: int, x: int, y: int, name: str) -> None:
    column, row = round(x / 1e5), round(y / 1e5) - 1
    assert grid.square_name(epsg, column, row) == name
    tile = grid._tile(
        epsg,
        column,
        row,
        shapely.box(column * 1e5 + 1e4, row * 1e5 + 1e4, column * 1e5 + 2e4, row * 1e5 + 2e4),
        10,
    )
    assert tile.anchor == (x, y)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared STAC records")
def test_every_recorded_granule_corner_is_an_anchor() -> None:
    checked = 0
    for path in SHARED.joinpath("stac_items").rglob("*.json"):
        item = json.loads(path.read_text())
        p = item.get("properties", {})
        asset = (item.get("assets") or {}).get("red") or (item.get("assets") or {}).get("B04") or {}
        code, transform, epsg = p.get("grid:code", ""), asset.get("proj:transform"), p.get("proj:epsg")
        if not (code.startswith("MGRS-") and transform and epsg):
            continue
        x, y = transform[2], transform[5]
        column, row = round(x / 1e5), round(y / 1e5) - 1
        assert grid.square_name(int(epsg), column, row) == code[5:].zfill(5), path
        assert (grid._down(column * 1e5), grid._up((row + 1) * 1e5, int(epsg))) == (x, y), path
        checked += 1
    assert checked > 15


def test_viet_nam_has_one_name_a_tile_in_its_two_zones() -> None:
    tiles = grid.tiles(shapely.box(102.1, 8.4, 109.6, 23.5), 10)
    assert len({t.name for t in tiles}) == len(tiles)
    assert {"48PXS", "48QWJ", "49PBP"} <= {t.name for t in tiles}


def test_the_equator_and_the_south_have_their_own_tiles() -> None:
    names = {t.name[:3] for t in grid.tiles(shapely.box(105.0, -0.02, 105.02, 0.02), 10)}
    assert names == {"48M", "48N"}


@settings(max_examples=25, deadline=None)
@given(
    lon=st.floats(101, 110), lat=st.floats(-3, 24), width=st.floats(0.002, 0.05), height=st.floats(0.002, 0.05),
    block=st.sampled_from([64, 100, 512]),
)  # fmt: skip
def test_blocks_cover_each_pixel_of_the_area_once(
    lon: float, lat: float, width: float, height: float, block: int
) -> None:
    area = shapely.box(lon, lat, lon + width, lat + height)
    for tile in grid.tiles(area, 10):
        seen = np.zeros(tile.geobox.shape.yx, int)
        for part in tile.blocks(block):
            (row, column), (rows, columns) = part.offset, part.geobox.shape
            seen[row : row + rows, column : column + columns] += 1
            assert part.geobox == tile.geobox[row : row + rows, column : column + columns]
            x, y = part.geobox.affine.c, part.geobox.affine.f
            # Borders inside a tile fall on multiples of the block from the granule's corner.
            assert column == 0 or (x - tile.anchor[0]) % (block * 10) == 0
            assert row == 0 or (tile.anchor[1] - y) % (block * 10) == 0
        assert seen.max() <= 1
        assert seen[~tile.outside(tile.geobox)].min(initial=1) == 1


def test_each_place_belongs_to_one_tile_across_the_zone_border() -> None:
    """Pixel counts of both zones' tiles add up to the area, with no strip counted twice."""
    area = shapely.box(107.98, 15.0, 108.02, 15.03)
    tiles = grid.tiles(area, 10)
    assert {t.epsg for t in tiles} == {32648, 32649}
    mapped = sum(int((~t.outside(t.geobox)).sum()) for t in tiles) * 100
    from pyproj import Geod

    true = abs(Geod(ellps="WGS84").geometry_area_perimeter(area)[0])
    # UTM stretches areas by up to 0.15 % at a zone's border.
    assert mapped == pytest.approx(true, rel=0.003)


@settings(max_examples=50, deadline=None)
@given(st.floats(102, 110), st.floats(8, 24))
def test_the_pixel_of_a_place_holds_it_and_lies_on_the_map_grid(lon: float, lat: float) -> None:
    epsg, column, row = grid.pixel(lon, lat, 10)
    box = grid.pixel_window(epsg, (column, column), (row, row), 10).boundingbox
    x, y = grid.transformer(4326, epsg).transform(lon, lat)
    assert box.left <= x <= box.right
    assert box.bottom <= y <= box.top
    assert box.left % 10 == box.top % 10 == 0


def test_an_area_between_pixel_centres_is_refused_and_a_sliver_makes_no_tile() -> None:
    with pytest.raises(InputError, match="holds no pixel of 10 m"):
        grid.tiles(shapely.box(105.50001, 10.20001, 105.500012, 10.200012), 10)
    # A hair over the edge of zone 48: no centre of zone 48's pixels lies east of it here.
    names = [t.name for t in grid.tiles(shapely.box(104.9985, 10.215, 105.00002, 10.22), 10)]
    assert len(names) == 1
    assert all(
        not t.outside(t.geobox).all() for t in grid.tiles(shapely.box(104.9985, 10.215, 105.00002, 10.22), 10)
    )
