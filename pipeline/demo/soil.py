"""The simulated soil: salinity, fertility, erosion, the rule of degradation, and how bare soil looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.grid import Array, noise
from pipeline.demo.land import Cover, Land, per_compartment, per_parcel

#: Rain of a year, mm, and its erosivity by Nguyễn Trọng Hà (1996): R = 0.548257 P - 59.9.
RAIN_MM = 1800.0
EROSIVITY = 0.548257 * RAIN_MM - 59.9
#: ECe of clay that no sea salt reaches, dS/m.
FRESH = 0.45
#: Cover factor C of RUSLE; flooded rice hardly erodes.
_C = {Cover.RICE: 0.01, Cover.UPLAND: 0.30, Cover.ORCHARD: 0.10}

#: Upper limits of none, slight and moderate. A rule of this simulation only, no official one.
SALINITY_LIMITS = (2.0, 4.0, 8.0)
"""ECe, dS/m: the salinity classes of USDA."""
EROSION_LIMITS = (5.0, 15.0, 50.0)
"""t/ha a year."""
FERTILITY_LIMITS = (0.50, 0.35)
"""Lower limits of none and slight; poor soil alone is never worse than moderate."""


@dataclass(frozen=True)
class Soil:
    """Soil on the fine grid, arrays (y, x)."""

    ece: Array
    """Electrical conductivity of the saturated paste at the time of sampling, dS/m."""
    fertility: Array
    """0 (poor) to 1 (rich)."""
    brightness: Array
    """Reflectance of the dry soil, as a factor on the mean spectrum."""


def make(rng: np.random.Generator, land: Land) -> Soil:
    """Salt comes from the sea, from brackish canals and from ponds; dikes and rain keep it off."""
    n = land.cover.shape[0]
    far = np.clip(land.inland, 0, 1)
    marine = 11 * np.exp(-far / 0.07) + 7 * np.exp(-far / 0.32)
    canal = 8 * land.brackish * np.exp(-land.to_canal / 180)
    leached = np.exp(-0.25 * np.clip(land.elevation - 0.8, 0, 6))
    pond = 7 * np.exp(-land.to_pond / 45) * land.brackish
    salt = 0.2 + (marine + canal) * (1 - 0.65 * land.sheltered) * leached + pond
    compartment = land.of_compartment(np.float32(3.46) * (per_compartment(rng) - np.float32(0.5)))
    parcel = land.of_parcel(per_parcel(rng))
    vary = 0.22 * compartment + 0.20 * parcel + 0.28 * noise(rng, n, 25) + 0.12 * noise(rng, n, 160)
    ece = (FRESH + salt * np.exp(vary)).astype(np.float32)
    worn = 0.22 * land.sandy + 0.06 * np.log(np.clip(ece / 2, 0.5, 20))
    fertility = 0.64 - worn + 0.10 * noise(rng, n, 7) + 0.07 * land.of_parcel(per_parcel(rng))
    bright = 1 + 0.30 * land.sandy + 0.10 * noise(rng, n, 12) + 0.06 * land.of_parcel(per_parcel(rng))
    return Soil(
        ece, np.clip(fertility, 0, 1).astype(np.float32), np.clip(bright, 0.6, 1.6).astype(np.float32)
    )


def erosion(slope_percent: Array, cover: NDArray[np.uint8], sandy: Array) -> Array:
    """Soil loss in t/ha a year by RUSLE, A = R K LS C, on slopes of 60 m (Wischmeier & Smith 1978)."""
    steepness = 0.065 + 0.045 * slope_percent + 0.0065 * slope_percent**2
    ls = (60 / 22.13) ** 0.5 * steepness
    c = np.zeros(cover.shape, np.float32)
    for code, factor in _C.items():
        c[cover == code] = factor
    return np.asarray(EROSIVITY * (0.022 + 0.010 * sandy) * ls * c, np.float32)


def degradation(ece: Array, loss: Array, fertility: Array) -> NDArray[np.uint8]:
    """Class 1 (none) to 4 (heavy): the worst of salinity, erosion and fertility."""
    by_salt = np.digitize(ece, SALINITY_LIMITS)
    by_loss = np.digitize(loss, EROSION_LIMITS)
    by_fertility = np.digitize(-fertility, [-limit for limit in FERTILITY_LIMITS], right=True)
    return np.asarray(np.maximum.reduce([by_salt, by_loss, by_fertility]) + 1, np.uint8)


#: Reflectance of dry delta soil, salt crust, straw and roofs in the ten bands of Sentinel-2, rounded
#: from typical library spectra.
DRY = np.array([0.09, 0.13, 0.17, 0.20, 0.22, 0.24, 0.26, 0.28, 0.36, 0.33], np.float32)
CRUST = np.array([0.34, 0.40, 0.45, 0.47, 0.48, 0.49, 0.50, 0.50, 0.42, 0.34], np.float32)
STRAW = np.array([0.08, 0.13, 0.18, 0.22, 0.26, 0.29, 0.33, 0.36, 0.40, 0.28], np.float32)
ROOFS = np.array([0.16, 0.18, 0.21, 0.22, 0.23, 0.24, 0.26, 0.26, 0.28, 0.26], np.float32)
#: How strongly water darkens a band: reflectance falls as exp(-k x moisture) (after Lobell & Asner 2002).
_WETTING = np.array([0.9, 1.0, 1.1, 1.1, 1.2, 1.2, 1.2, 1.3, 2.2, 2.8], np.float32)


def crust(ece: Array, moisture: Array) -> Array:
    """Share of the bare surface under salt crust: it grows beyond 6 dS/m, on dry soil only."""
    dry = np.clip(1 - moisture / 0.6, 0, 1)
    return np.asarray(np.clip((ece - 6) / 22, 0, 0.85) * dry, np.float32)


def reflectance(band: int, brightness: Array, moisture: Array, crusted: Array) -> Array:
    """Bare soil in one band: darker when moist (0..1), brighter under salt crust."""
    soil = DRY[band] * brightness * np.exp(-_WETTING[band] * moisture)
    return np.asarray((1 - crusted) * soil + crusted * CRUST[band], np.float32)
