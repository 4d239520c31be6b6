"""The simulated sky: clouds, their shadows, haze, and a scene classification that errs as the real one."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from pipeline.demo.grid import RESOLUTION, Array, aggregate, noise

#: Cloud and haze in the ten bands: reflectance of a thick cloud, and light that haze adds.
CLOUD = np.array([0.62, 0.62, 0.64, 0.65, 0.65, 0.66, 0.66, 0.66, 0.42, 0.32], np.float32)
HAZE = np.array([1.00, 0.75, 0.53, 0.47, 0.42, 0.38, 0.33, 0.31, 0.05, 0.02], np.float32)
#: Light that reaches the ground under a thick cloud, by band: the sky's blue light remains.
SHADE = np.array([0.45, 0.40, 0.35, 0.33, 0.31, 0.29, 0.27, 0.26, 0.20, 0.18], np.float32)
LATITUDE, LONGITUDE = 10.2, 106.9


@dataclass(frozen=True)
class Sky:
    """What lies between the ground and the satellite; arrays (y, x) of 10 m pixels."""

    cloud: Array
    """Opacity of cloud, 0..1."""
    shadow: Array
    """Part of the direct light that cloud takes, 0..1."""
    haze: Array
    """Reflectance that haze adds in the blue band."""
    gain: NDArray[np.float32]
    """Error of the atmospheric correction, a factor a band."""


def sun(date: dt.datetime) -> tuple[float, float]:
    """Zenith and azimuth (clockwise from north) of the sun in degrees, to about one degree (Cooper 1969)."""
    declination = math.radians(23.45 * math.sin(2 * math.pi * (284 + date.timetuple().tm_yday) / 365))
    hour = math.radians(15 * (date.hour + date.minute / 60 + LONGITUDE / 15 - 12))
    latitude = math.radians(LATITUDE)
    height = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(
        declination
    ) * math.cos(hour)
    east = -math.cos(declination) * math.sin(hour)
    north = math.cos(latitude) * math.sin(declination) - math.sin(latitude) * math.cos(
        declination
    ) * math.cos(hour)
    return math.degrees(math.acos(height)), math.degrees(math.atan2(east, north)) % 360


def make(rng: np.random.Generator, size: int, date: dt.datetime) -> Sky:
    """A sky of its own for each date: from clear to mostly cloudy."""
    zenith, azimuth = sun(date)
    reach = rng.uniform(700, 1600) * math.tan(math.radians(zenith)) / RESOLUTION
    # Shadows fall away from the sun.
    down = round(reach * math.cos(math.radians(azimuth)))
    right = round(-reach * math.sin(math.radians(azimuth)))
    margin = max(abs(down), abs(right))
    field = _clouds(rng, size + 2 * margin, cover=float(rng.beta(0.9, 2.2)))
    inner = slice(margin, margin + size)
    cloud = field[inner, inner]
    shadow = field[
        margin - down : margin - down + size,
        margin - right : margin - right + size,
    ]
    base = rng.exponential(0.006) + (0.03 if rng.random() < 0.2 else 0)
    haze = base * np.clip(1 + 0.6 * noise(rng, size, 3), 0, None) - 0.003
    return Sky(
        cloud.copy(),
        np.clip(shadow, 0, 1).copy(),
        haze.astype(np.float32),
        rng.normal(1, 0.02, len(CLOUD)).astype(np.float32),
    )


def _clouds(rng: np.random.Generator, size: int, cover: float) -> Array:
    """Opacity 0..1 that is above 0 on about ``cover`` of the sky, with soft edges."""
    billows = noise(rng, size, 5) + 0.6 * noise(rng, size, 16) + 0.3 * noise(rng, size, 50)
    limit = np.quantile(billows, 1 - min(0.92, cover))
    if cover < 0.03:
        return np.zeros((size, size), np.float32)
    return np.asarray(np.clip((billows - limit) / 0.6, 0, 1), np.float32)


def through(sky: Sky, band: int, ground: Array, factor: int) -> Array:
    """What the satellite's product shows of ``ground`` in one band of ``factor`` x 10 m pixels."""
    cloud, shadow, haze = (aggregate(a, factor) for a in (sky.cloud, sky.shadow, sky.haze))
    lit = ground * (1 - shadow * (1 - SHADE[band]))
    veiled = lit * sky.gain[band] + HAZE[band] * haze
    return np.asarray((1 - cloud) * veiled + cloud * CLOUD[band], np.float32)


def classify(rng: np.random.Generator, sky: Sky, bands: dict[str, Array]) -> NDArray[np.uint8]:
    """SCL at 20 m, with the errors that Sen2Cor's has.

    ``bands`` holds reflectance at 20 m as delivered. Thin cloud is missed or called unclassified, cloud
    edges and parts of shadows are missed, dark water is called shadow here and there, and whatever is
    white is called cloud: salt crusts and roofs on every date.
    """
    cloud, shadow = aggregate(sky.cloud, 2), aggregate(sky.shadow, 2)
    blue, red, nir, swir = (bands[b] for b in ("blue", "red", "nir08", "swir16"))
    ndvi = (nir - red) / np.maximum(nir + red, 1e-3)
    white = (blue + red) / 2
    wave = gaussian_filter(rng.normal(size=cloud.shape), 2.0)
    wave /= wave.std()
    rules = (
        (cloud > 0.55 + 0.08 * wave, 9),
        (cloud > 0.28 + 0.08 * wave, 8),
        ((cloud > 0.12) & (wave > -0.3), 10),
        ((cloud > 0.05) & (wave > 0.8), 7),
        ((white > 0.25) & (swir > 0.25) & (ndvi < 0.25), 9),
        ((white > 0.20) & (swir > 0.25) & (ndvi < 0.25), 8),
        ((shadow > 0.25) & (wave > -0.8), 3),
        ((shadow > 0.25) & (wave > -1.3), 2),
        ((nir < 0.10) & (swir < 0.08) & (wave > 2.2), 3),
        ((nir < 0.12) & (swir < 0.09), 6),
        (ndvi > 0.38, 4),
        ((swir > 0.06) & (wave > -2.4), 5),
    )
    return np.select([where for where, _ in rules], [code for _, code in rules], 7).astype(np.uint8)
