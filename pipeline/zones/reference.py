"""Areas adjusted by a reference sample: by province and nation, where the sample is large enough.

This estimator and the map's own are never mixed: its table says ``adjusted`` and stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import shapely
from numpy.typing import NDArray

from models import area
from pipeline.errors import InputError
from pipeline.grid import SQUARE_M, transformer, utm_of
from pipeline.zones.tables import Leaves, Unit
from pipeline.zones.themes import UNMAPPED, ProductSquare, Theme

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """A probability sample stratified by map class."""

    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    true: Ints
    """Class, counted from 0 in the theme's own order."""


def read(path: Path, theme: Theme) -> Sample:
    """A CSV with lon, lat and the target's column (class names or codes, or values). Raises InputError."""
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from None
    column = theme.target.value_column
    if absent := [c for c in ("lon", "lat", column) if c not in frame.columns]:
        raise InputError(f"{path} has no column {absent[0]!r}; found {', '.join(frame.columns)}")
    true = []
    for row, text in enumerate(frame[column], 2):
        try:
            value = theme.target.read(text)
        except ValueError as error:
            raise InputError(f"{path}: line {row}: {error}") from None
        if theme.target.kind == "class":
            true.append([c.code for c in theme.target.classes].index(int(value)))
        else:
            true.append(int(np.searchsorted(theme.limits, value, side="left")))
    places = frame[["lon", "lat"]].apply(pd.to_numeric, errors="coerce")
    if places.isna().to_numpy().any():
        row = int(places.isna().any(axis=1).to_numpy().argmax()) + 2
        raise InputError(f"{path}: line {row}: lon and lat are no numbers")
    return Sample(places["lon"].to_numpy(), places["lat"].to_numpy(), np.array(true, np.int64))


def mapped(sample: Sample, squares: Sequence[ProductSquare]) -> Ints:
    """Map class at each place, counted from 0, or -1 where the map has no value."""
    known = {(s.epsg, s.square): s for s in squares}
    found = np.full(len(sample.true), -1, np.int64)
    zone = np.array([utm_of(lon, lat) for lon, lat in zip(sample.lon, sample.lat, strict=True)])
    for (epsg, (i, j)), square in known.items():
        x, y = transformer(4326, epsg).transform(sample.lon, sample.lat)
        here = (zone == epsg) & (x // SQUARE_M == i) & (y // SQUARE_M == j)
        found[here] = square.classes_at(x[here], y[here]).astype(np.int64) - len(UNMAPPED)
    return np.maximum(found, -1)


def adjusted(
    theme: Theme,
    sample: Sample,
    on_map: Ints,
    leaves: Leaves,
    units: Sequence[Unit],
    polygons: geopandas.GeoDataFrame,
) -> tuple[pd.DataFrame, list[str]]:
    """Adjusted area of each class by unit (Olofsson et al. 2014), with 95 % intervals, and what was left out.

    Units with a stratum of fewer than two samples have no estimate, and are named with the reason.
    """  # fmt: skip
    tree = shapely.STRtree(np.asarray(polygons.geometry.array))
    home = np.full(len(sample.true), len(polygons), np.int64)
    point, zone = tree.query(shapely.points(sample.lon, sample.lat), predicate="intersects")
    home[point[::-1]] = zone[::-1]
    rows: list[dict[str, Any]] = []
    refused = []
    k = len(theme.own)
    for unit in units:
        chosen = np.isin(home, unit.zones) & (on_map >= 0)
        counts = np.zeros((k, k), np.int64)
        np.add.at(counts, (on_map[chosen], sample.true[chosen]), 1)
        strata = leaves.classes[unit.zones][:, len(UNMAPPED) :].sum(axis=0)
        try:
            made = area.stratified(counts, strata)
        except ValueError as error:
            refused.append(f"{unit.level} {unit.code} {unit.name}: {error}")
            continue
        low, high = made.interval("area", 0.95)
        for c, name in enumerate(theme.own):
            rows.append(
                {
                    "level": unit.level, "code": unit.code, "name": unit.name, "class": name,
                    "samples": int(chosen.sum()), "adjusted_m2": round(float(made.area[c])),
                    "lower_m2": int(np.floor(low[c])), "upper_m2": int(np.ceil(high[c])),
                }
            )  # fmt: skip
    return pd.DataFrame(rows), refused
