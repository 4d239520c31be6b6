"""What Sentinel-1 sees of the simulated ground: the water-cloud model (Attema & Ulaby 1978)."""

from __future__ import annotations

import datetime as dt

import numpy as np

from pipeline.demo.grid import FINE, Array, aggregate, spread
from pipeline.demo.land import Cover
from pipeline.demo.optical import moisture, state
from pipeline.demo.world import World, day_of

#: Equivalent number of looks of a Sentinel-1 IW ground-range product (ESA); speckle is gamma distributed.
LOOKS = 4.4
_COSINE = float(np.cos(np.radians(38)))
#: Water-cloud model, gamma0 power: A, B (vegetation), and soil in dB = C + D x moisture; (vv, vh).
_A, _B = (0.035, 0.0105), (0.09, 0.11)
_C, _D = (-13.5, -21.5), (7.5, 6.0)
#: Power of smooth water, wind-roughened open water, houses.
_FLOOD, _OPEN, _HOUSES = (0.008, 0.0012), (0.018, 0.0015), (0.45, 0.085)


def see(world: World, date: dt.datetime, rng: np.random.Generator) -> Array:
    """gamma0 power (vv, vh) at 10 m, with speckle of ``LOOKS`` looks."""
    wet = moisture(world, date, rng)
    power = backscatter(world, day_of(date), wet)
    wind = float(rng.uniform(0.5, 1.8))
    sea = aggregate(world.land.cover == Cover.WATER, FINE)
    power += sea * (wind - 1) * np.array(_OPEN, np.float32)[:, None, None]
    speckle = rng.standard_gamma(LOOKS, power.shape, np.float32) / np.float32(LOOKS)
    return np.asarray(power * speckle, np.float32)


def backscatter(world: World, day: float, wet: Array) -> Array:
    """Noise-free gamma0 power (vv, vh) at 10 m."""
    n = world.land.cover.shape[0]
    out = np.empty((2, world.size, world.size), np.float32)
    for top in range(0, n, 64):
        rows = slice(top, min(n, top + 64))
        part = slice(rows.start // FINE, rows.stop // FINE)
        cover = world.land.cover[rows]
        plants, _ = state(world, day, rows)
        damp = spread(wet[part], FINE)
        for k in range(2):
            ground = 10 ** ((_C[k] + _D[k] * damp) / 10)
            ground = np.where(plants.flooded | (cover == Cover.MANGROVE), _FLOOD[k], ground)
            through = np.exp(-2 * _B[k] * plants.lai / _COSINE)
            power = _A[k] * plants.lai**0.5 * _COSINE * (1 - through) + through * ground
            # Stems over water throw the beam back twice.
            power += np.where(plants.flooded, 0.012 * plants.lai * (1 - 0.6 * k) * through, 0)
            power = np.where(cover == Cover.BUILT, _HOUSES[k], power)
            power = np.where((cover == Cover.WATER) | (cover == Cover.POND), _OPEN[k], power)
            out[k, part] = aggregate(power, FINE)
    return out
