"""The simulated ground: geography, soil and crops, and the noise-free truth on the map grid."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.demo import crops, land, soil
from pipeline.demo.crops import Calendar
from pipeline.demo.grid import EPSG, FINE, RESOLUTION, Array, aggregate, noise
from pipeline.demo.land import FARMLAND, Cover, Land
from pipeline.demo.leaves import BANDS
from pipeline.demo.soil import Soil

__all__ = ["BANDS", "EPSG", "RESOLUTION", "SEASON", "World", "dates", "day_of", "make", "origin"]

SEASON = ("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
#: The world lies on the border of squares 48PXS and 48PYS; this part of it in the western one.
_WEST = 0.6
_BORDER_X, _TOP_Y = 700_000.0, 1_130_000.0
#: Height of roofs and trees that a surface model shows as ground, m.
_RAISED = {Cover.MANGROVE: 6.0, Cover.ORCHARD: 3.0, Cover.BUILT: 3.0}


def origin(size: int) -> tuple[float, float]:
    """Upper left corner (x, y) of a world of ``size`` pixels, on the 20 m grid."""
    return _BORDER_X - int(_WEST * size) // 2 * 2 * RESOLUTION, _TOP_Y


@dataclass(frozen=True, eq=False)
class World:
    """Noise-free ground: fields at 5 m, and the truth on ``size`` x ``size`` pixels of 10 m."""

    seed: int
    size: int
    land: Land
    soil: Soil
    calendar: Calendar

    @property
    def transform(self) -> Affine:
        x, y = origin(self.size)
        return Affine(RESOLUTION, 0, x, 0, -RESOLUTION, y)

    @cached_property
    def farmland(self) -> NDArray[np.uint8]:
        """Class of the farmland mask that most of the pixel has, 0 off farmland; (y, x)."""
        shares = [aggregate(self.land.cover == code, FINE) for code in FARMLAND]
        best = np.argmax(shares, axis=0)
        code = np.array(list(FARMLAND.values()), np.uint8)[best]
        return np.where(np.sum(shares, axis=0) > 0.5, code, np.uint8(0)).astype(np.uint8)

    @cached_property
    def salinity(self) -> Array:
        """ECe at the time of sampling, dS/m: mean of the pixel's farmland; NaN off farmland."""
        return self._on_farmland(self.soil.ece)

    @cached_property
    def fertility(self) -> Array:
        """0 (poor) to 1 (rich); NaN off farmland."""
        return self._on_farmland(self.soil.fertility)

    @cached_property
    def erosion(self) -> Array:
        """Soil loss, t/ha a year; NaN off farmland."""
        ground = gaussian_filter(aggregate(self.land.elevation, FINE), 2.0)
        down, across = np.gradient(ground, RESOLUTION)
        percent = (100 * np.hypot(down, across)).astype(np.float32)
        cover = np.zeros(self.farmland.shape, np.uint8)
        for code, number in FARMLAND.items():
            cover[self.farmland == number] = code
        loss = soil.erosion(percent, cover, aggregate(self.land.sandy, FINE))
        return np.where(self.farmland > 0, loss, np.float32(np.nan))

    @cached_property
    def degradation(self) -> Array:
        """Class 1 (none) to 4 (heavy) by ``soil.degradation``; NaN off farmland."""
        classes = soil.degradation(self.salinity, self.erosion, self.fertility)
        return np.where(self.farmland > 0, classes, np.nan).astype(np.float32)

    @property
    def water(self) -> NDArray[np.bool_]:
        """Off the farmland."""
        return np.asarray(self.farmland == 0)

    @cached_property
    def elevation(self) -> Array:
        """What a surface model shows, m: ground, roofs and trees, with the errors of GLO-30."""
        rng = np.random.default_rng([self.seed, 4])
        raised = np.zeros(self.land.cover.shape, np.float32)
        for code, height in _RAISED.items():
            raised[self.land.cover == code] = height
        seen = gaussian_filter(aggregate(self.land.elevation + raised, FINE), 1.2)
        error = 0.3 * noise(rng, self.size, 30) + gaussian_filter(rng.normal(0, 0.8, seen.shape), 1.2)
        return np.asarray(seen + error, np.float32)

    def _on_farmland(self, fine: Array) -> Array:
        grown = np.isin(self.land.cover, list(FARMLAND))
        share = aggregate(grown, FINE)
        total = aggregate(np.where(grown, fine, np.float32(0)), FINE)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.farmland > 0, total / share, np.nan).astype(np.float32)


def make(seed: int, size: int) -> World:
    """The world of a seed. A smaller world is a scale model: its fields keep their size."""
    if size < 64 or size % 4:
        raise ValueError(f"size is {size}; expected a multiple of 4 that is at least 64")
    geography = land.make(np.random.default_rng([seed, 5]), size)
    ground = soil.make(np.random.default_rng([seed, 6]), geography)
    return World(
        seed,
        size,
        geography,
        ground,
        crops.calendar(np.random.default_rng([seed, 7]), geography, ground),
    )


def dates(count: int) -> list[dt.datetime]:
    """Overpasses through the season, about 10:20 local time."""
    _, start, end = SEASON
    step = (end - start) / (count + 1)
    first = dt.datetime.combine(start, dt.time(3, 20), dt.UTC)
    return [first + dt.timedelta(days=((k + 1) * step).days) for k in range(count)]


def day_of(date: dt.datetime) -> float:
    """Days after the season's start."""
    return float((date.date() - SEASON[1]).days)
