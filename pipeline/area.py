"""The area that is mapped: a box, or the polygons of a file."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import shapely
from shapely.geometry.base import BaseGeometry

#: West, south, east, north in degrees.
Box = tuple[float, float, float, float]


def read_area(area: Box | Path) -> BaseGeometry:
    """Geometry of a lon/lat box or of the polygons in a vector file. Raises ValueError."""
    if isinstance(area, Path):
        geometry = _read_polygons(area)
        shown = str(area)
    else:
        west, south, east, north = area
        if not (west < east and south < north):
            raise ValueError(
                f"box {list(area)} is not [west, south, east, north] with west < east and south < north"
            )
        geometry, shown = shapely.box(*area), f"box {list(area)}"
    west, south, east, north = geometry.bounds
    if not (west >= -180 and east <= 180 and south >= -80 and north <= 84):
        raise ValueError(
            f"{shown} reaches {[round(v, 4) for v in geometry.bounds]}, outside the globe that UTM covers: "
            "longitudes -180 to 180, latitudes -80 to 84"
        )
    return geometry


def _read_polygons(path: Path) -> BaseGeometry:
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    if path.suffix.lower() not in (".geojson", ".json", ".gpkg"):
        raise ValueError(f"{path.name} is not .geojson or .gpkg")
    try:
        _own_format(path)
        frame = geopandas.read_file(path)
        frame = frame.set_crs(4326) if frame.crs is None else frame.to_crs(4326)
        geometry = shapely.make_valid(frame.geometry.union_all())
    except Exception as error:  # GDAL, PROJ and GEOS raise many kinds
        raise ValueError(f"{path.name} cannot be read as polygons: {error}") from None
    polygons = [g for g in shapely.get_parts(geometry) if g.geom_type in ("Polygon", "MultiPolygon")]
    if not polygons:
        raise ValueError(f"{path.name} holds no polygon")
    return shapely.unary_union(polygons)


def _own_format(path: Path) -> None:
    """GDAL would open other formats under these names too, and some point at other files."""
    if path.suffix.lower() == ".gpkg":
        with path.open("rb") as file:
            if file.read(16) != b"SQLite format 3\0":
                raise ValueError("not a GeoPackage")
    elif not isinstance(json.loads(path.read_text(encoding="utf-8-sig")), dict):
        raise ValueError("not GeoJSON")
