"""The simulated ground and what the satellites see of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]

SEASON = ("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
EPSG = 32648
#: Upper left corner: the coast lies on the border of squares 48PXS and 48PYS.
ORIGIN = (699_040.0, 1_130_000.0)
RESOLUTION = 10

#: Reflectance of crop, bare soil, salt crust and water in the ten Sentinel-2 bands (rounded from
#: typical library spectra; good for a demonstration, not for science).
BANDS = ("blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22")
_CROP = np.array([0.03, 0.07, 0.04, 0.11, 0.30, 0.38, 0.42, 0.44, 0.20, 0.09])
_SOIL = np.array([0.07, 0.10, 0.13, 0.16, 0.18, 0.20, 0.22, 0.24, 0.30, 0.27])
_SALT = np.array([0.26, 0.31, 0.35, 0.37, 0.38, 0.39, 0.41, 0.41, 0.34, 0.27])
_WATER = np.array([0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02, 0.01, 0.01, 0.005])

#: Rice: yield falls 12 % per dS/m beyond 3 dS/m (Maas & Hoffman 1977).
THRESHOLD, SLOPE = 3.0, 0.12
#: Degradation class limits on ECe, dS/m; a rule of this demonstration only.
LIMITS = (2.0, 4.0, 8.0)


@dataclass(frozen=True)
class World:
    """Noise-free ground on a ``size`` x ``size`` grid of 10 m."""

    salinity: Array
    """ECe, dS/m; NaN on water."""
    elevation: Array
    """m."""
    water: NDArray[np.bool_]
    transform: Affine

    @property
    def degradation(self) -> Array:
        """Class 1..4 by ``LIMITS``; NaN on water."""
        classes = np.digitize(self.salinity, LIMITS) + 1.0
        return np.where(np.isnan(self.salinity), np.nan, classes).astype(np.float32)


def make(seed: int, size: int) -> World:
    """A coast: the sea in the east, salinity falling inland and broken by dikes and fields."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    shore = 0.93 + 0.03 * np.sin(6 * y + rng.uniform(0, 6))
    canal = np.abs(y - 0.45 - 0.1 * np.sin(3 * x)) * size < 2
    water = (x > shore) | canal
    inland = np.clip(shore - x, 0, 1)
    texture = gaussian_filter(rng.normal(size=(size, size)), size / 24)
    texture /= texture.std()
    fields = rng.normal(size=(12, 12)).repeat(-(-size // 12), 0).repeat(-(-size // 12), 1)[:size, :size]
    salinity = np.exp(2.6 - 3.2 * inland + 0.25 * texture + 0.2 * fields)
    elevation = 1 + 6 * inland + 0.4 * texture
    return World(
        np.where(water, np.nan, salinity).astype(np.float32),
        elevation.astype(np.float32),
        water,
        Affine(RESOLUTION, 0, ORIGIN[0], 0, -RESOLUTION, ORIGIN[1]),
    )


def dates(count: int) -> list[dt.datetime]:
    """Overpasses through the season, about 10:20 local time."""
    _, start, end = SEASON
    step = (end - start) / (count + 1)
    first = dt.datetime.combine(start, dt.time(3, 20), dt.UTC)
    return [first + dt.timedelta(days=((k + 1) * step).days) for k in range(count)]


def optical(world: World, date: dt.datetime, rng: np.random.Generator) -> tuple[Array, NDArray[np.uint8]]:
    """Reflectance (band, y, x) with sensor noise and clouds, and the scene classification (y, x)."""
    salinity = np.nan_to_num(world.salinity)
    season = np.sin(np.pi * (date.timetuple().tm_yday + 30) % 180 / 180)
    stress = np.clip(1 - SLOPE * np.maximum(salinity - THRESHOLD, 0), 0.05, 1)
    cover = np.where(world.water, 0, (0.25 + 0.6 * season) * stress)
    crust = np.where(world.water, 0, np.clip(salinity / 25, 0, 0.8)) * (1 - cover)
    soil = np.where(world.water, 0, 1 - cover - crust)
    parts = ((_CROP, cover), (_SALT, crust), (_SOIL, soil), (_WATER, world.water))
    ground = sum(e[:, None, None] * np.asarray(f)[None] for e, f in parts)
    noisy = ground * (1 + 0.03 * rng.normal(size=ground.shape))
    cloud = gaussian_filter(rng.normal(size=salinity.shape), salinity.shape[0] / 16)
    cloudy = cloud > np.quantile(cloud, rng.uniform(0.6, 1.0))
    shadow = np.roll(cloudy, (6, -6), (0, 1)) & ~cloudy
    scene = np.where(cloudy, 0.6, np.where(shadow, noisy * 0.4, noisy))
    scl = np.select([cloudy, shadow, world.water, cover > 0.4], [9, 3, 6, 4], 5)
    return np.clip(scene, 0.0001, 1.5).astype(np.float32), scl.astype(np.uint8)


def radar(world: World, date: dt.datetime, rng: np.random.Generator) -> Array:
    """gamma0 power (vv, vh), with speckle of four looks."""
    salinity = np.nan_to_num(world.salinity)
    stress = np.clip(1 - SLOPE * np.maximum(salinity - THRESHOLD, 0), 0.05, 1)
    vv = np.where(world.water, 0.01, 0.06 + 0.05 * stress)
    vh = np.where(world.water, 0.001, 0.008 + 0.02 * stress)
    return (np.stack([vv, vh]) * rng.gamma(4, 1 / 4, (2, *vv.shape))).astype(np.float32)
