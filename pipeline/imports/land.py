"""Where samples can come from: Viet Nam's land (with its islands) and the mapped region itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from pipeline.boundaries import ARCHIPELAGOS
from pipeline.shipped import CONFIGS

FILE = CONFIGS / "boundaries" / "land.geojson"
#: The outline is drawn to about 400 m, and mud flats grow: nearer than this to it is land.
NEAR_KM = 3.0
_KM_A_DEGREE = 111.2


@lru_cache(maxsize=1)
def _outlines() -> tuple[BaseGeometry, BaseGeometry]:
    """Viet Nam with its archipelagos, and its neighbours' land (WGS 84)."""
    features = json.loads(FILE.read_text(encoding="utf-8"))["features"]
    home, abroad = (shapely.geometry.shape(f["geometry"]) for f in features)
    home = shapely.union_all([home, *ARCHIPELAGOS.values()])
    for shape in (home, abroad):
        shapely.prepare(shape)
    return home, abroad


@dataclass(frozen=True)
class Land:
    """Ground on which a sample may lie."""

    region: BaseGeometry
    """The mapped region (WGS 84)."""
    country: BaseGeometry | None
    """Viet Nam, where the region meets it; a region elsewhere knows no abroad."""

    @classmethod
    def around(cls, region: BaseGeometry) -> Land:
        """The land of a region."""
        home, _ = _outlines()
        return cls(region, home if shapely.intersects(home, region) else None)

    def km_away(self, lon: float, lat: float) -> float:
        """Distance to the region and, where it lies in Viet Nam, to the country; 0 inside."""
        point = shapely.Point(lon, lat)
        shapes = [self.region] + ([self.country] if self.country is not None else [])
        narrow = float(np.cos(np.radians(lat)))
        return min(_km(shape, point, narrow) for shape in shapes)

    def fault(self, lon: float, lat: float) -> tuple[str, float] | None:
        """``in-the-sea`` or ``abroad`` with the distance in km; None where a sample may lie."""
        if self.country is None:
            return None
        away = self.km_away(lon, lat)
        if away <= NEAR_KM:
            return None
        _, neighbours = _outlines()
        west, south, east, north = neighbours.bounds
        inside = west <= lon <= east and south <= lat <= north
        sea = inside and not shapely.intersects(neighbours, shapely.Point(lon, lat))
        return ("in-the-sea" if sea else "abroad"), away

    def near(self, lon: float, lat: float) -> bool:
        """Whether a place is one where samples of this region come from, within 100 km."""
        return -180 <= lon <= 180 and -90 <= lat <= 90 and self.km_away(lon, lat) <= 100


def _km(shape: BaseGeometry, point: shapely.Point, narrow: float) -> float:
    if shapely.intersects(shape, point):
        return 0.0
    nearest = shapely.shortest_line(shape, point)
    (x0, y0), (x1, y1) = shapely.get_coordinates(nearest)
    return float(np.hypot((x1 - x0) * narrow, y1 - y0)) * _KM_A_DEGREE
