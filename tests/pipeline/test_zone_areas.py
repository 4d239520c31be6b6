"""Areas by zone: exact in each cell, and nothing lost or counted twice."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.grid import to_crs, transformer
from pipeline.zones import cells, kernels
from pipeline.zones.kernels import FULL
from pipeline.zones.partition import divide, rings
from pipeline.zones.tally import Sums, tally

GRID = Affine(10, 0, 600_000, 0, -10, 1_100_000)
SHAPE = (24, 30)
GEOD = pyproj.Geod(ellps="WGS84")


def covered(shapes: Sequence[shapely.Geometry], shape: tuple[int, int] = SHAPE) -> NDArray[np.float64]:
    """Share of each cell, (zone, y, x)."""
    own = rings(np.array(shapes, np.object_), GRID)
    runs, parts = kernels.coverage(own.xy, own.start, own.zone, own.sign, *shape)
    found = np.zeros((len(shapes), *shape))
    for zone, row, start, stop in runs:
        found[zone, row, start:stop] += 1
    for zone, cell, share in parts:
        found[zone].ravel()[cell] += share / FULL
    return found


def wanted(shape: shapely.Geometry) -> NDArray[np.float64]:
    """The same by GEOS, cell by cell."""
    x, y = 600_000 + 10 * np.arange(SHAPE[1]), 1_100_000 - 10 * np.arange(SHAPE[0])
    boxes = shapely.box(x[None], y[:, None] - 10, x[None] + 10, y[:, None])
    return shapely.area(shapely.intersection(boxes, shape)) / 100


corner = st.tuples(st.floats(599_900, 600_400), st.floats(1_099_660, 1_100_100))


@settings(max_examples=60, deadline=None)
@given(st.lists(corner, min_size=3, max_size=9), st.floats(2, 60))
def test_coverage_is_that_of_geos(corners: list[tuple[float, float]], hole: float) -> None:
    hull = shapely.convex_hull(shapely.multipoints(corners))
    shape = shapely.difference(hull, shapely.buffer(shapely.centroid(hull), hole))
    star = shapely.make_valid(shapely.Polygon(corners))
    both = [
        shapely.union_all([p for p in shapely.get_parts(s) if p.geom_type in ("Polygon", "MultiPolygon")])
        for s in (shape, star)
    ]
    for got, each in zip(covered(both), both, strict=True):
        np.testing.assert_allclose(got, wanted(each), atol=2e-4)
        assert abs(got.sum() - wanted(each).sum()) < 2e-3 * (1 + shapely.get_num_coordinates(each))


def test_cells_along_straight_borders_are_exact() -> None:
    box = shapely.box(600_012.5, 1_099_955, 600_047.5, 1_099_975)
    got = covered([box, shapely.reverse(box), shapely.Polygon()])
    want = np.zeros(SHAPE)
    want[2, 1:5], want[3, 1:5], want[4, 1:5] = 0.5, 1, 0.5
    want[:, 1] *= 0.75
    want[:, 4] *= 0.75
    np.testing.assert_array_equal(got, [want, want, np.zeros(SHAPE)])


def strips_of(edges: Sequence[float], wave: float) -> list[shapely.Geometry]:
    """Neighbouring zones with wavy common borders, west to east over the grid and beyond it."""
    y = np.linspace(1_099_700, 1_100_050, 23)
    lines = [np.column_stack([x + wave * np.sin(y / 17 + x), y]) for x in edges]
    return [shapely.Polygon([*a, *b[::-1]]) for a, b in itertools.pairwise(lines)]


@settings(max_examples=40, deadline=None)
@example([600110.0, 600097.8649423816], 14.0)  # a sliver shrinks to nothing where zones overlap
@given(st.lists(st.floats(600_020, 600_280), min_size=2, max_size=5, unique=True), st.floats(0, 15))
def test_shares_of_each_cell_sum_to_one(edges: list[float], wave: float) -> None:
    shapes = strips_of([599_900, *sorted(edges), 600_400], 0) + strips_of(sorted(edges), wave)
    made = divide(rings(np.array(shapes, np.object_), GRID), SHAPE, len(shapes))
    cut = np.add.reduceat(made.shares, made.starts[:-1]) if len(made.shares) else np.zeros(0)
    assert (cut == FULL).all()
    assert (made.shares > 0).all()
    seen = np.zeros(SHAPE, int)
    for row, start, stop, _ in made.runs:
        seen[row, start:stop] += 1
    assert (seen == 1).all()


def test_neighbours_leave_nothing_between_them() -> None:
    shapes = strips_of([599_900, 600_033.3, 600_150.1, 600_400], 11)
    made = divide(rings(np.array(shapes, np.object_), GRID), SHAPE, 3)
    assert 3 not in made.zones
    assert 3 not in made.runs[:, 3]


class Pixels:
    """A source with one class and one weight image over a window; what lies beyond is outside."""

    mapped = True

    def __init__(
        self, epsg: int, square: tuple[int, int], window: tuple[int, int, int, int], seed: int = 1
    ) -> None:
        self.epsg, self.square, self.window = epsg, square, window
        rng = np.random.default_rng(seed)
        shape = window[3] - window[2], window[1] - window[0]
        self.classes = rng.integers(1, 4, shape).astype(np.uint8)
        self.chance = rng.integers(0, 10_001, shape).astype(np.int16)

    def _cut(self, image: NDArray, fill: int, columns: tuple[int, int], rows: tuple[int, int]) -> NDArray:
        left, right, top, bottom = self.window
        padded = np.full((rows[1] - rows[0], columns[1] - columns[0]), fill, image.dtype)
        c0, c1 = max(left, columns[0]), min(right, columns[1])
        r0, r1 = max(top, rows[0]), min(bottom, rows[1])
        if c0 < c1 and r0 < r1:
            inner = image[r0 - top : r1 - top, c0 - left : c1 - left]
            padded[r0 - rows[0] : r1 - rows[0], c0 - columns[0] : c1 - columns[0]] = inner
        return padded

    def codes(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[NDArray]:
        return [self._cut(self.classes, 0, columns, rows)]

    def weights(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[NDArray]:
        return [self._cut(self.chance, -1, columns, rows)]


def total(sums: Sums, classes: slice = slice(1, None)) -> Fraction:
    return sum((sum(row[classes]) for row in sums.area(0)), Fraction(0))


PIXELS = Pixels(32648, (6, 10), (60_000, 60_300, -110_000, -109_300))


def lonlat(shapes: Sequence[shapely.Geometry], epsg: int = 32648) -> NDArray[np.object_]:
    return np.asarray(to_crs(np.array(shapes, np.object_), 4326, epsg))


def quarters(x: float, wave: float = 0.0) -> NDArray[np.object_]:
    """West part, east part with a common border at ``x``, and a third zone south of both."""
    y = np.linspace(1_095_000, 1_099_000, 41)
    line = np.column_stack([x + wave * np.sin(y / 300), y])
    line[[0, -1], 0] = [601_500, 601_500]
    west = shapely.Polygon([(600_200, 1_095_000), *line, (600_200, 1_099_000)])
    east = shapely.Polygon([(602_800, 1_095_000), *line, (602_800, 1_099_000)])
    south = shapely.Polygon(
        [(600_200, 1_095_000), (601_500, 1_095_000), (602_800, 1_095_000), (601_500, 1_093_500)]
    )
    return lonlat([west, east, south])


@settings(max_examples=12, deadline=None)
@given(st.floats(600_900, 602_100), st.floats(0, 80))
def test_sums_are_the_maps_own_to_the_last_unit(x: float, wave: float) -> None:
    sums = tally(quarters(x, wave), [PIXELS], 10, (4,), 1)
    want = Fraction(0)
    for row in range(-110_000, -109_300):
        if row == -110_000 or row % cells.STRIP == 0:
            area = cells.areas(32648, 10, -(row // cells.STRIP) - 1, 60_000, 300)
        want += int(area.sum())
    assert total(sums) == want
    none = tally(quarters(x, wave)[:0], [PIXELS], 10, (4,), 1)
    assert total(none) == want
    weighted = [sum((row[0] for row in s.weighted_area()), Fraction(0)) for s in (sums, none)]
    assert weighted[0] == weighted[1]
    for k in range(1, 4):
        assert sum(row[k] for row in sums.area(0)) == sum(row[k] for row in none.area(0))


@settings(max_examples=12, deadline=None)
@given(st.floats(600_900, 602_100), st.floats(600_900, 602_100), st.floats(0, 80))
def test_a_moved_border_moves_area_between_its_sides_and_nowhere_else(
    a: float, b: float, wave: float
) -> None:
    before, after = (tally(quarters(x, wave), [PIXELS], 10, (4,), 1) for x in (a, b))
    for old, new in ((before.area(0), after.area(0)), (before.weighted_area(), after.weighted_area())):
        for k in range(len(old[0])):
            assert old[2][k] == new[2][k]
            assert old[3][k] == new[3][k]
            assert old[0][k] + old[1][k] == new[0][k] + new[1][k]
    assert sum(after.area(0)[0]) >= sum(before.area(0)[0]) or a > b


def test_threads_and_detail_change_nothing() -> None:
    one = tally(quarters(601_234.5), [PIXELS], 10, (4,), 1)
    two = tally(quarters(601_234.5), [PIXELS], 10, (4,), 1, detailed=False, threads=3)
    assert one.area(0) == two.area(0)
    assert one.weighted_area() == two.weighted_area()
    assert one.places
    assert not two.places


def test_areas_are_those_of_the_ellipsoid() -> None:
    for epsg, x, y in ((32648, 250_005, 1_000_005), (32648, 820_015, 2_300_005), (32649, 180_005, 1_700_005)):
        corners = np.array([[x - 500, y - 500], [x + 500, y - 500], [x + 500, y + 500], [x - 500, y + 500]])
        lon, lat = transformer(epsg, 4326).transform(*corners.T)
        want = abs(GEOD.polygon_area_perimeter(lon, lat)[0]) / 10_000 * 1e6
        got = cells.areas(epsg, 10, y // 10 // cells.STRIP, x // 10, 1)[0]
        assert got == pytest.approx(want, rel=3e-8)
    with pytest.raises(ValueError, match="at most 60 m"):
        cells.areas(32648, 100, 0, 0, 1)


def across_the_meridian(east: float) -> shapely.Geometry:
    return shapely.Polygon([(107.985, 12.01), (east, 12.012), (east - 0.004, 12.03), (107.99, 12.028)])


def test_what_lies_on_the_zone_border_is_counted_once() -> None:
    """Both UTM zones have pixels beyond 108 E; a zone across it has its own area, and neighbours add up."""
    sources = []
    for epsg in (32648, 32649):
        x, y = transformer(4326, epsg).transform(108, 12.02)
        square = int(x // 100_000), int(y // 100_000)
        column, row = int(x // 10), -int(y // 10)
        sources.append(Pixels(epsg, square, (column - 300, column + 300, row - 300, row + 300)))
    shape = across_the_meridian(108.02)
    whole = tally(np.array([shape]), sources, 10, (4,), 1)
    want = abs(GEOD.geometry_area_perimeter(shapely.segmentize(shape, 1e-4))[0])
    assert float(sum(whole.area(0)[0])) * 1e-6 == pytest.approx(want, rel=1e-6)
    assert whole.area(0)[0][0] == 0  # nothing of it is outside
    left, right = (shapely.intersection(shape, shapely.box(a, 0, a + 1, 20)) for a in (107, 108))
    halves = tally(np.array([left, right]), sources, 10, (4,), 1)
    got = halves.area(0)
    for k in range(4):
        assert float(got[0][k] + got[1][k]) == pytest.approx(float(whole.area(0)[0][k]), abs=2e3)  # mm2
    assert total(whole) == total(halves)


def test_overlapping_zones_split_the_ground_or_are_each_whole() -> None:
    a, b = lonlat(
        [
            shapely.box(600_500, 1_095_000, 601_500, 1_096_000),
            shapely.box(601_000, 1_095_000, 602_000, 1_096_000),
        ]
    )
    shared = tally(np.array([a, b]), [PIXELS], 10, (4,), 1).area_m2(0).sum(axis=1)
    each = tally(np.array([a, b]), [PIXELS], 10, (4,), 1, overlapping=True).area_m2(0).sum(axis=1)
    assert shared[0] == pytest.approx(each[0] * 0.75, rel=1e-5)
    assert shared[:2].sum() == pytest.approx(each[:2].sum() * 0.75, rel=1e-5)
    assert each[2] == 0
    assert shared[2] > 0


def test_the_oracle_of_zonal_statistics_agrees() -> None:
    exactextract = pytest.importorskip("exactextract")
    source = pytest.importorskip("exactextract.raster").NumPyRasterSource
    import geopandas

    shapes = [to_crs(s, 32648) for s in quarters(601_300, 60)]
    frame = geopandas.GeoDataFrame({"id": range(3)}, geometry=shapes, crs=32648)
    extent = {"xmin": 600_000, "xmax": 603_000, "ymin": 1_093_000, "ymax": 1_100_000}
    area = np.concatenate(
        [
            np.repeat(cells.areas(32648, 10, k, 60_000, 300)[None], n, axis=0)
            for k, n in ((214, 432), (213, 268))
        ]
    )
    values = source(PIXELS.chance.astype(float), **extent, srs_wkt=frame.crs.to_wkt())
    weights = source(area * 1e-6, **extent, srs_wkt=frame.crs.to_wkt())
    want = exactextract.exact_extract(values, frame, ["weighted_sum"], weights=weights, output="pandas")
    got = tally(quarters(601_300, 60), [PIXELS], 10, (4,), 1).weighted_m2()[:3, 0] * 10_000
    np.testing.assert_allclose(got, want.iloc[:, -1], rtol=1e-6)
