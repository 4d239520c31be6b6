"""The simulated crops: the rice calendar with its flooded days, and growth under salt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.demo.grid import Array
from pipeline.demo.land import Cover, Land, per_compartment, per_parcel
from pipeline.demo.soil import Soil

#: Threshold (dS/m) and loss of yield a dS/m beyond it (Maas & Hoffman 1977): rice, maize, orange.
TOLERANCE = {Cover.RICE: (3.0, 0.12), Cover.UPLAND: (1.7, 0.12), Cover.ORCHARD: (1.7, 0.16)}
_RICE_DAYS = 100.0
#: Days between two sowings where rice is grown twice in the dry season's time.
_SECOND = 118.0


@dataclass(frozen=True)
class Calendar:
    """Sowing of the rice, in days after the season's start, on the fine grid (y, x)."""

    sown: Array
    twice: NDArray[np.bool_]
    vigour: Array
    """What else than salt makes a crop good or bad, as a factor."""


@dataclass(frozen=True)
class Canopy:
    """State of the ground's cover on one day; arrays (y, x)."""

    lai: Array
    """Leaf area index, m2/m2."""
    green: Array
    """Chlorophyll a + b of the leaves, ug/cm2."""
    flooded: NDArray[np.bool_]
    straw: Array
    """Share of the soil under straw."""


def calendar(rng: np.random.Generator, land: Land, soil: Soil) -> Calendar:
    """Near the coast, without a sluice, rice is harvested when the dry season starts and land lies fallow."""
    shift = land.of_compartment(per_compartment(rng))
    own = land.of_parcel(per_parcel(rng))
    dry = -95 + 30 * shift + 3 * own
    watered = -20 + 45 * shift + 4 * own
    risky = (1 - land.sheltered) * np.exp(-np.clip(land.inland, 0, 1) / 0.25) > 0.22
    twice = ~risky & (land.of_compartment(per_compartment(rng)) < 0.6)
    vigour = np.exp(0.10 * land.of_parcel(per_parcel(rng))) * (0.65 + 0.5 * soil.fertility)
    return Calendar(np.where(risky, dry, watered).astype(np.float32), twice, vigour.astype(np.float32))


def salt_of_day(ece: Array, day: float) -> Array:
    """ECe on a day of the season: salt gathers from rains to the end of March."""
    return np.asarray(ece * np.float32(np.interp(day, [0, 105, 150], [0.65, 1.0, 1.05])), np.float32)


def yield_part(ece: Array, cover: NDArray[np.uint8]) -> Array:
    """Relative yield 0..1 (Maas & Hoffman 1977); 1 where nothing is grown."""
    part = np.ones(ece.shape, np.float32)
    for code, (threshold, loss) in TOLERANCE.items():
        grown = cover == code
        part[grown] = np.clip(1 - loss * (ece[grown] - threshold), 0, 1)
    return part


def canopy(cover: NDArray[np.uint8], dates: Calendar, ece: Array, day: float) -> Canopy:
    """The cover on ``day`` (after the season's start), under the salt ``ece`` of that day."""
    good = yield_part(ece, cover)
    age = day - dates.sown
    age = np.where(dates.twice & (age > _SECOND - 14), age - np.float32(_SECOND), age)
    rice = cover == Cover.RICE
    grown = 1 / (1 + np.exp(-(age - 38) / 7)) / (1 + np.exp((age - 90) / 4))
    standing = (age > 0) & (age < _RICE_DAYS)
    strength = (0.12 + 0.88 * good) * dates.vigour
    lai = np.where(rice & standing, 5.6 * grown * strength, 0)
    ripe = np.clip((age - 72) / 26, 0, 1)
    green = np.where(rice, 46 * (1 - 0.75 * ripe) * (0.45 + 0.55 * good), 40)
    upland, orchard = cover == Cover.UPLAND, cover == Cover.ORCHARD
    season = 0.55 + 0.45 * np.cos(2 * np.pi * (day - 20) / 130)
    lai = np.where(upland, 3.0 * season * strength, lai)
    lai = np.where(orchard, 3.6 * (0.45 + 0.55 * good) * dates.vigour, lai)
    green = np.where(upland | orchard, 44 * (0.55 + 0.45 * good), green)
    lai = np.where(cover == Cover.MANGROVE, 4.2, np.where(cover == Cover.BANK, 0.7, lai))
    lai = np.where(cover == Cover.BUILT, 0.35, lai)
    flooded = rice & (age > -12) & (age < 24) & (good > 0.05)
    after = age - np.float32(_RICE_DAYS)
    straw = np.where(rice & (after >= 0), 0.7 * np.exp(-np.clip(after, 0, 300) / 22), 0)
    return Canopy(
        np.clip(lai, 0, 7).astype(np.float32), green.astype(np.float32), flooded, straw.astype(np.float32)
    )
