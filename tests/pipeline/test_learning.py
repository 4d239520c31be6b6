"""The places that stand for the mapped area."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from scipy.spatial import KDTree

from models.folds import EARTH_RADIUS_M, on_globe
from pipeline.learning import MAPPED_PLACES, mapped_places

L_SHAPED = shapely.Polygon([(105, 9), (107, 9), (107, 9.5), (105.5, 9.5), (105.5, 11), (105, 11)])


@pytest.mark.parametrize(
    "area", [shapely.box(105, 20, 106, 22), shapely.box(105.0, 9.0, 105.02, 9.01), L_SHAPED]
)
def test_places_lie_in_the_area_evenly_and_are_about_as_many_as_wanted(area: shapely.Geometry) -> None:
    found = mapped_places(area)
    assert len(found) == pytest.approx(MAPPED_PLACES, rel=0.1)
    lat = np.degrees(np.arcsin(found[:, 2] / EARTH_RADIUS_M))
    lon = np.degrees(np.arctan2(found[:, 1], found[:, 0]))
    assert shapely.contains_xy(area.buffer(1e-9), lon, lat).all()
    nearest = KDTree(found).query(found, k=2)[0][:, 1]
    assert nearest.max() < 1.05 * nearest.min()  # a square grid on the ground


def test_a_thin_area_still_has_a_place() -> None:
    area = shapely.LineString([(105, 10), (106, 11)]).buffer(1e-7)
    assert len(mapped_places(area)) >= 1
    point = shapely.box(105, 10, 105 + 1e-9, 10 + 1e-9)
    assert np.abs(mapped_places(point) - on_globe([105], [10])).max() < 1
