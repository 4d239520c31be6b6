"""What Sentinel-2 sees of the simulated ground."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.demo import crops, leaves, sky, soil
from pipeline.demo.grid import FINE, Array, aggregate, noise, spread
from pipeline.demo.land import Cover
from pipeline.demo.leaves import BANDS
from pipeline.demo.world import World, day_of

TEN_METRES = ("blue", "green", "red", "nir")
#: Fine rows worked on at a time, so that a strip stays in the processor's cache.
_STRIP = 48
#: Clear and muddy water in the ten bands (rounded from typical estuary spectra).
_CLEAR = np.array([0.035, 0.040, 0.025, 0.020, 0.015, 0.015, 0.012, 0.010, 0.006, 0.004], np.float32)
_MUD = np.array([0.075, 0.110, 0.125, 0.115, 0.075, 0.070, 0.055, 0.050, 0.012, 0.008], np.float32)
#: Grain of the ground, and noise of the instrument, as parts of the signal.
_GRAIN, _NOISE = 0.04, 0.008
T = TypeVar("T")


@dataclass(frozen=True)
class Scene:
    """One pass: reflectance by band at the band's own resolution, and the scene classification at 20 m."""

    reflectance: dict[str, Array]
    scl: NDArray[np.uint8]


def see(world: World, date: dt.datetime, rng: np.random.Generator) -> Scene:
    """A Sentinel-2 pass over the world. No pixel is missing: orbit edges are cut where files are written."""
    zenith, _ = sky.sun(date)
    table = leaves.table(5 * round(zenith / 5))
    wet = moisture(world, date, rng)
    ground = _ground(world, day_of(date), wet, table)
    above = sky.make(rng, world.size, date)
    seen: dict[str, Array] = {}
    for k, band in enumerate(BANDS):
        factor = 1 if band in TEN_METRES else 2
        layer = sky.through(above, k, ground[band], factor)
        layer *= 1 + _NOISE * rng.standard_normal(layer.shape, np.float32)
        seen[band] = np.clip(layer, 0.0001, 1.5)
    at20 = {b: v if b not in TEN_METRES else aggregate(v, 2) for b, v in seen.items()}
    return Scene(seen, sky.classify(rng, above, at20))


def moisture(world: World, date: dt.datetime, rng: np.random.Generator) -> Array:
    """Topsoil moisture 0..1 at 10 m: falls through the season, rises after rain and beside canals."""
    rain = 0.35 if rng.random() < 0.15 else 0.0
    dry = 0.45 - 0.25 * day_of(date) / 150
    patches = 0.10 * noise(rng, world.size, 20) + 0.05 * noise(rng, world.size, 100)
    near = 0.2 * np.exp(-aggregate(world.land.to_canal, FINE) / 60)
    raised = 0.1 * aggregate(world.land.sandy, FINE)
    return np.clip(dry + rain + patches + near - raised, 0.02, 1).astype(np.float32)


def rows_of(value: T, rows: slice) -> T:
    """A dataclass of arrays (y, x), some rows of it."""
    parts = {f.name: getattr(value, f.name)[rows] for f in fields(value)}  # type: ignore[arg-type]
    return type(value)(**parts)


def state(world: World, day: float, rows: slice) -> tuple[crops.Canopy, Array]:
    """Canopy and the day's ECe on some fine rows."""
    ece = crops.salt_of_day(world.soil.ece[rows], day)
    return crops.canopy(world.land.cover[rows], rows_of(world.calendar, rows), ece, day), ece


def _ground(world: World, day: float, wet: Array, table: leaves.Table) -> dict[str, Array]:
    """Reflectance of the ground by band, mixed within the band's pixels."""
    n, size = world.land.cover.shape[0], world.size
    grain = np.random.default_rng([world.seed, 8]).standard_normal((n, n), np.float32)
    shapes = {b: (size, size) if b in TEN_METRES else (size // 2, size // 2) for b in BANDS}
    out = {b: np.empty(shapes[b], np.float32) for b in BANDS}
    for top in range(0, n, _STRIP):
        rows = slice(top, min(n, top + _STRIP))
        strip = _strip(world, day, rows, wet, table, 1 + _GRAIN * grain[rows])
        for band, fine in strip:
            factor = FINE if band in TEN_METRES else 2 * FINE
            out[band][rows.start // factor : rows.stop // factor] = aggregate(fine, factor)
    return out


def _strip(world: World, day: float, rows: slice, wet: Array, table: leaves.Table, grain: Array) -> Any:
    """Yields (band, reflectance of the fine cells) of some rows."""
    cover = world.land.cover[rows]
    plants, ece = state(world, day, rows)
    damp = spread(wet[rows.start // FINE : rows.stop // FINE], FINE)
    entry = table.entry(plants.lai, plants.green)
    crusted = soil.crust(ece, damp) * (1 - plants.straw)
    bright = world.soil.brightness[rows]
    muddy = np.where(cover == Cover.POND, 0.35, world.land.brackish[rows] * 0.3 + 0.45).astype(np.float32)
    muddy = np.where(plants.flooded, np.float32(0.8), muddy)
    built, water = cover == Cover.BUILT, (cover == Cover.WATER) | (cover == Cover.POND)
    tidal = cover == Cover.MANGROVE
    for k, band in enumerate(BANDS):
        ground = soil.reflectance(k, bright, damp, crusted)
        ground += plants.straw * (soil.STRAW[k] - ground)
        lake = _CLEAR[k] + muddy * (_MUD[k] - _CLEAR[k])
        ground = np.where(built, soil.ROOFS[k], ground)
        # A flooded field shows some wet clods above the water.
        ground = np.where(plants.flooded | tidal, 0.85 * lake + 0.15 * ground, ground)
        mixed = table.reflectance(k, entry, ground)
        yield band, np.where(water, lake, mixed * grain).astype(np.float32)
