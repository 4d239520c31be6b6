"""The simulated field survey: soil samples as a laboratory sends them, a reference sample, communes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from pipeline.demo import soil
from pipeline.demo import world as w
from pipeline.demo.archive import LABEL
from pipeline.demo.grid import DRAWN_M, FINE
from pipeline.files import aside
from pipeline.grid import to_crs, transformer

#: Header of the laboratory's file -> our name, as the region config maps it.
COLUMNS = {
    "Số hiệu mẫu": "sample_id",
    "Ngày lấy mẫu": "date",
    "Kinh độ": "lon",
    "Vĩ độ": "lat",
    "Khoanh đất": "group",
    "ECe (dS/m)": "ece",
    "Mức độ thoái hóa": "degradation",
}
CLASSES = ("Không thoái hóa", "Thoái hóa nhẹ", "Thoái hóa trung bình", "Thoái hóa nặng")
_NAMES = ("none", "slight", "moderate", "heavy")
#: Laboratory noise (log scale), and how far a soil departs from the formula between EC1:5 and ECe.
_NOISE, _DEPARTURE = 0.08, 0.15
#: ECe = a EC1:5 + b (Sonmez et al. 2008): clay, and coarse soil.
_SONMEZ = {"sét": (8.22, -0.33), "cát pha": (7.36, -0.24)}
_SITES_A_POLYGON = 4


@dataclass(frozen=True)
class Measured:
    """What the laboratory and the surveyor found at some pixels; one entry a site."""

    ece: NDArray[np.float64]
    codes: NDArray[np.intp]
    """Degradation class, 0 to 3."""


def measure(rng: np.random.Generator, ground: w.World, places: NDArray[np.intp]) -> Measured:
    """Noisy values at flat pixel numbers; the class follows from what was measured, not from the truth."""
    ece = ground.salinity.ravel()[places] * np.exp(_NOISE * rng.normal(size=len(places)))
    loss = ground.erosion.ravel()[places] * np.exp(0.25 * rng.normal(size=len(places)))
    fertility = ground.fertility.ravel()[places] + 0.03 * rng.normal(size=len(places))
    classes = soil.degradation(*(a.astype(np.float32) for a in (ece, loss, fertility)))
    return Measured(ece.astype(np.float64), classes.astype(np.intp) - 1)


def write_samples(path: Path, ground: w.World, count: int) -> None:
    """Soil samples as a laboratory sends them: clustered by village, several a survey polygon.

    About a third was measured as EC1:5; their ECe is the laboratory's own conversion by the formula of
    the texture, and says so.
    """
    rng = np.random.default_rng([ground.seed, 3])
    places, polygons = _clustered(rng, ground, count)
    found = measure(rng, ground, places)
    count = len(places)
    sandy = ground.land.sandy[::FINE, ::FINE].ravel()[places] > 0.5
    texture = np.where(sandy, "cát pha", "sét")
    diluted = rng.random(count) < 0.3
    slope, shift = (np.array([_SONMEZ[t][k] for t in texture]) for k in (0, 1))
    ec5 = (found.ece * np.exp(_DEPARTURE * rng.normal(size=count)) - shift) / slope
    ec5 = np.maximum(ec5.round(3), 0.06)
    stated = np.where(diluted, np.maximum(ec5 * slope + shift, 0.1), found.ece)
    place = _lonlat(ground, places)
    frame = pd.DataFrame(
        {
            "Số hiệu mẫu": [f"S{k:03d}" for k in range(count)],
            "Ngày lấy mẫu": _days(rng, polygons),
            "Kinh độ": place[0],
            "Vĩ độ": place[1],
            "Khoanh đất": [f"KĐ-{p:03d}" for p in polygons],
            "Tầng đất (cm)": "0-20",
            "Thành phần cơ giới": texture,
            "Phương pháp EC": np.where(diluted, "EC1:5", "ECe"),
            "EC (dS/m)": np.where(diluted, ec5, found.ece).round(3),
            "ECe (dS/m)": stated.round(3),
            "Mức độ thoái hóa": [CLASSES[k] for k in found.codes],
            "Phòng thí nghiệm": "Phòng thí nghiệm mô phỏng",
            "Ghi chú": np.where(diluted, f"ECe quy đổi từ EC1:5; {LABEL}", LABEL),
        }
    )
    _write_csv(path, frame)


def write_reference(path: Path, ground: w.World, count: int) -> None:
    """A stratified random sample of farmland with each site's inclusion probability.

    Strata: kind of farmland, near the coast and inland. Half of the sites are shared out equally,
    half by area, so that small strata are seen too.
    """
    rng = np.random.default_rng([ground.seed, 9])
    farmland = ground.farmland.ravel()
    coastal = ground.land.inland[::FINE, ::FINE].ravel() < 0.3
    stratum = np.where(farmland > 0, farmland * 2 - coastal, 0)
    present, sizes = np.unique(stratum[stratum > 0], return_counts=True)
    wanted = 0.5 * count / len(present) + 0.5 * count * sizes / sizes.sum()
    numbers = np.minimum(np.maximum(2, np.round(wanted)), sizes).astype(int)
    places, strata, chances = [], [], []
    for code, size, number in zip(present, sizes, numbers, strict=True):
        places.append(rng.choice(np.flatnonzero(stratum == code), number, replace=False))
        strata += [
            f"{('rice', 'upland', 'orchard')[(code - 1) // 2]}-{'coast' if code % 2 else 'inland'}"
        ] * number
        chances += [number / size] * number
    where = np.concatenate(places)
    found = measure(rng, ground, where)
    frame = pd.DataFrame(
        {
            "sample_id": [f"R{k:03d}" for k in range(len(where))],
            "date": _days(rng, np.arange(len(where))),
            **dict(zip(("lon", "lat"), _lonlat(ground, where), strict=True)),
            "ece": found.ece.round(3),
            "degradation": [_NAMES[k] for k in found.codes],
            "stratum": strata,
            "inclusion_probability": np.array(chances).round(9),
            "note": LABEL,
        }
    )
    _write_csv(path, frame)


def _clustered(
    rng: np.random.Generator, ground: w.World, count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(pixel numbers, polygon numbers) of sites in polygons around a few villages, of every class."""
    farmland = np.flatnonzero(ground.farmland.ravel() > 0)
    parcels = ground.land.parcel[::FINE, ::FINE].ravel()[farmland]
    _, sizes = np.unique(parcels, return_counts=True)
    # A pixel in the middle of each polygon's list stands for its place.
    order = np.argsort(parcels, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    middle = farmland[order[starts + sizes // 2]]
    large = np.flatnonzero(sizes >= 2 * _SITES_A_POLYGON)
    row, column = np.unravel_index(middle[large], ground.farmland.shape)
    villages = rng.choice(len(large), max(3, count // 14))
    reach = 0.05 * ground.size * min(1.0, ground.size * w.RESOLUTION / DRAWN_M) + 12
    near = np.min([np.hypot(row - row[v], column - column[v]) for v in villages], axis=0) / reach
    weight = np.exp(-(near**2)) + 1e-3
    needed = min(len(large), -(-count // _SITES_A_POLYGON))
    drawn = rng.choice(len(large), len(large), replace=False, p=weight / weight.sum())
    # An earlier map tells the surveyors where each class is to be found: two polygons of each at least.
    known = ground.degradation.ravel()[middle[large]][drawn]
    first = np.concatenate([np.flatnonzero(known == c)[:2] for c in np.unique(known)])
    chosen = np.concatenate([drawn[np.sort(first)], np.delete(drawn, first)])[:needed]
    places, polygons = [], []
    for number, c in enumerate(chosen):
        members = farmland[order[starts[large[c]] : starts[large[c]] + sizes[large[c]]]]
        places.append(rng.choice(members, _SITES_A_POLYGON, replace=False))
        polygons += [number] * _SITES_A_POLYGON
    return np.concatenate(places)[:count], np.array(polygons, np.intp)[:count]


def _days(rng: np.random.Generator, groups: NDArray[np.intp]) -> list[str]:
    """Dates of the field campaign, 1 to 28 March; a polygon is sampled in one day."""
    day = rng.integers(1, 29, int(groups.max()) + 1)
    return [f"2025-03-{day[g]:02d}" for g in groups]


def _lonlat(ground: w.World, places: NDArray[np.intp]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Longitude and latitude of the pixels' middles."""
    rows, columns = np.unravel_index(places, ground.farmland.shape)
    t = ground.transform
    lon, lat = transformer(w.EPSG, 4326).transform(t.c + t.a * (columns + 0.5), t.f + t.e * (rows + 0.5))
    return lon.round(7), lat.round(7)


def _write_csv(path: Path, frame: pd.DataFrame) -> None:
    with aside(path) as temporary:
        frame.to_csv(temporary, index=False)


def outline(ground: w.World) -> BaseGeometry:
    """The world's square in WGS 84."""
    t, side = ground.transform, ground.size * w.RESOLUTION
    square = to_crs(shapely.box(t.c, t.f - side, t.c + side, t.f), 4326, w.EPSG)
    return shapely.transform(square, lambda xy: xy.round(8))


#: Codes are texts: leading zeros count.
COMMUNES = (
    ("00011", "Bãi Bồi (mô phỏng)"),
    ("00012", "Cửa Biển (mô phỏng)"),
    ("00013", "Gò Cát (mô phỏng)"),
    ("00014", "Phù Sa (mô phỏng)"),
)


def communes(ground: w.World) -> geopandas.GeoDataFrame:
    """Four communes that share the world without gap or overlap, in WGS 84."""
    rng = np.random.default_rng([ground.seed, 10])
    west, south, east, north = outline(ground).bounds
    bends = np.linspace(0, 1, 7)

    def across() -> NDArray[np.float64]:
        return np.clip(0.5 + 0.03 * rng.normal(size=7), 0.4, 0.6)

    down = shapely.LineString(
        [
            (west + (east - west) * x, north + (south - north) * y)
            for x, y in zip(across(), np.linspace(-0.1, 1.1, 7), strict=True)
        ]
    )
    over = shapely.LineString(
        [
            (west + (east - west) * x, north + (south - north) * y)
            for x, y in zip(1.2 * bends - 0.1, across(), strict=True)
        ]
    )
    parts = shapely.get_parts(
        shapely.polygonize([shapely.unary_union([outline(ground).boundary, down, over])])
    )
    ordered = sorted(parts, key=lambda p: (-round(p.centroid.y, 3), p.centroid.x))
    rows = [
        {"code": code, "name": name, "province_code": "00", "simulated": LABEL} for code, name in COMMUNES
    ]
    return geopandas.GeoDataFrame(rows, geometry=ordered, crs=4326)


def write_communes(path: Path, ground: w.World) -> None:
    # GeoPackage stamps the time of writing; a fixed one keeps the same content the same bytes.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{w.SEASON[2]}T00:00:00.000Z"})
    try:
        with aside(path) as temporary:
            pyogrio.write_dataframe(communes(ground), temporary, layer="communes", driver="GPKG")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
