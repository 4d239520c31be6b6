"""The simulated geography: sea, river branches, canals, dikes, ponds, mangrove, villages and fields.

Drawn after the coast of the lower Mekong, not copied from any place on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from pipeline.demo.grid import DRAWN_M, FINE, FINE_M, Array, noise


class Cover(IntEnum):
    """What lies on a piece of ground."""

    WATER = 1
    POND = 2
    MANGROVE = 3
    BUILT = 4
    BANK = 5
    RICE = 6
    UPLAND = 7
    ORCHARD = 8


#: Classes of the farmland mask.
FARMLAND = {Cover.RICE: 1, Cover.UPLAND: 2, Cover.ORCHARD: 3}

#: Parcels are numbered compartment x 4096 + row x 64 + column.
_PARCELS, _COMPARTMENTS = 4096, 1024
_WIDTH_M, _LENGTH_M = 45.0, 150.0


@dataclass(frozen=True)
class Land:
    """Geography on the fine grid, arrays (y, x)."""

    cover: NDArray[np.uint8]
    parcel: NDArray[np.int32]
    """Number of the field."""
    compartment: NDArray[np.int32]
    """Number of the land between four primary canals."""
    elevation: Array
    """m above the sea."""
    inland: Array
    """Distance from the shore in parts of the world's width; negative at sea."""
    to_canal: Array
    """m to the nearest canal or river."""
    to_pond: Array
    """m to the nearest pond."""
    brackish: Array
    """Salt of canal water as a part of sea water, 0..1."""
    sheltered: Array
    """How far dike and sluice keep salt water out of the compartment, 0..1."""
    sandy: Array
    """1 on old beach ridges and on the hill, 0 on clay."""

    def of_parcel(self, values: Array) -> Array:
        """Values given a parcel, laid on the ground."""
        return values[self.parcel]

    def of_compartment(self, values: Array) -> Array:
        """Values given a compartment, laid on the ground."""
        return values[self.compartment]


def per_parcel(rng: np.random.Generator) -> Array:
    """One standard normal value a parcel."""
    return rng.standard_normal(_COMPARTMENTS * _PARCELS, np.float32)


def per_compartment(rng: np.random.Generator) -> Array:
    """One number in 0..1 a compartment."""
    return rng.random(_COMPARTMENTS, np.float32)


def make(rng: np.random.Generator, size: int) -> Land:
    """The geography of a world of ``size`` x ``size`` pixels."""
    n = size * FINE
    width_m = n * FINE_M
    scale = width_m / DRAWN_M
    y, x = (np.asarray(a, np.float32) for a in np.mgrid[0.5:n, 0.5:n] / n)
    shore = _shore(rng, y[:, :1])
    inland = shore - x
    river = _rivers(rng, x, y)
    u, v = _canal_coordinates(rng, x, y, n)
    canal_m, ditch_m, compartment = _canals(u, v, width_m)
    parcel = _parcels(rng, u, v, compartment, width_m)
    ridge, hill = _relief(rng, x, y, inland, n)
    elevation = 0.6 + 1.2 * np.clip(inland, 0, 1) + 2.5 * ridge + 150 * scale * hill
    elevation = elevation + 0.15 * noise(rng, n, 30)
    sea = inland <= 0
    to_river = _distance(river | sea)
    water = sea | river | (((canal_m < 12) | (ditch_m < 4)) & (hill < 0.05))
    cover = _cover(rng, _Site(inland, to_river, canal_m, ridge, hill, compartment, parcel), water, scale)
    pond = cover == Cover.POND
    gates = per_compartment(rng)
    sheltered = np.where(gates < 0.45, 0.6 + 0.4 * per_compartment(rng), 0.2 * gates).astype(np.float32)
    return Land(
        cover=cover,
        parcel=parcel,
        compartment=compartment,
        elevation=np.where(water, 0, np.where(pond, 0.3, elevation)).astype(np.float32),
        inland=inland,
        to_canal=np.minimum(to_river, canal_m).astype(np.float32),
        to_pond=_distance(pond),
        brackish=np.exp(-np.clip(inland, 0, 1) / 0.28).astype(np.float32),
        sheltered=sheltered[compartment],
        sandy=np.clip(np.maximum(ridge, 2 * hill), 0, 1).astype(np.float32),
    )


def _distance(what: NDArray[np.bool_]) -> Array:
    """m to the nearest cell of ``what``; far away where there is none."""
    if not what.any():
        return np.full(what.shape, 1e5, np.float32)
    return np.asarray(distance_transform_edt(~what) * FINE_M, np.float32)


def _shore(rng: np.random.Generator, y: Array) -> Array:
    phase = rng.uniform(0, 2 * np.pi, 3)
    wave = 0.020 * np.sin(5 * y + phase[0]) + 0.010 * np.sin(13 * y + phase[1])
    return np.asarray(0.91 + wave + 0.004 * np.sin(41 * y + phase[2]), np.float32)


def _rivers(rng: np.random.Generator, x: Array, y: Array) -> NDArray[np.bool_]:
    """A branch of the river, widening to its mouth, and a smaller one that leaves it."""
    phase = rng.uniform(0, 2 * np.pi, 2)
    along = x[:1]

    def main(t: Array) -> Array:
        return np.asarray(0.36 + 0.06 * np.sin(4.5 * t + phase[0]) + 0.015 * np.sin(15 * t + phase[1]))

    centre, half = main(along), 0.007 + 0.011 * along**3
    fork = 0.22
    t = np.clip((along - fork) / 0.45, 0, 1)
    leaving = main(np.float32(fork) + 0 * along) + 0.38 * t * t * (3 - 2 * t) + 0.01 * np.sin(19 * along)
    second = (np.abs(y - leaving) < 0.004 + 0.004 * along**3) & (x > fork)
    return np.asarray((np.abs(y - centre) < half) | second, np.bool_)


def _canal_coordinates(rng: np.random.Generator, x: Array, y: Array, n: int) -> tuple[Array, Array]:
    """Coordinates in parts of the width along the canals' two directions, a little bent."""
    angle = rng.uniform(0.1, 0.35)
    bent = 0.006 * noise(rng, n, 4)
    u = np.cos(angle) * x + np.sin(angle) * y + bent
    v = -np.sin(angle) * x + np.cos(angle) * y + 0.006 * noise(rng, n, 4)
    return np.asarray(u + 0.02, np.float32), np.asarray(v + 0.42, np.float32)


def _canals(u: Array, v: Array, width_m: float) -> tuple[Array, Array, NDArray[np.int32]]:
    """m to the middle of the nearest primary and secondary canal, and the compartment's number."""
    spacing = max(0.11, 500 / width_m)
    i, j = np.floor(u / spacing), np.floor(v / spacing)
    compartment = (i * 32 + j).astype(np.int32)
    return _lines(u, v, spacing, width_m), _lines(u, v, spacing / 3, width_m), compartment


def _lines(u: Array, v: Array, spacing: float, width_m: float) -> Array:
    """m to the nearest line of a square net."""
    near = np.minimum(
        np.abs(u / spacing - np.round(u / spacing)), np.abs(v / spacing - np.round(v / spacing))
    )
    return np.asarray(near * spacing * width_m, np.float32)


def _parcels(
    rng: np.random.Generator, u: Array, v: Array, compartment: NDArray[np.int32], width_m: float
) -> NDArray[np.int32]:
    """Long fields, along or across their compartment."""
    across = per_compartment(rng)[compartment] < 0.5
    first, second = np.where(across, u, v) * width_m, np.where(across, v, u) * width_m
    row = np.floor(first / _WIDTH_M).astype(np.int32) % 64
    column = np.floor(second / _LENGTH_M).astype(np.int32) % 64
    return np.asarray(compartment * _PARCELS + row * 64 + column, np.int32)


def _relief(rng: np.random.Generator, x: Array, y: Array, inland: Array, n: int) -> tuple[Array, Array]:
    """Old beach ridges that run along the coast, and one hill inland; each 0..1."""
    bent = inland + 0.008 * noise(rng, n, 5)
    ridge = np.exp(-(((bent - 0.27) / 0.007) ** 2)) + np.exp(-(((bent - 0.50) / 0.009) ** 2))
    cx, cy = rng.uniform(0.12, 0.2), rng.uniform(0.1, 0.2)
    away = np.hypot(x - cx, y - cy) / 0.075 * (1 + 0.16 * noise(rng, n, 9))
    rough = 1 + 0.25 * noise(rng, n, 14)
    return ridge.astype(np.float32), (np.exp(-(away**2)) * np.clip(rough, 0.2, 2)).astype(np.float32)


@dataclass(frozen=True)
class _Site:
    """What decides on the cover of a piece of ground."""

    inland: Array
    to_river: Array
    canal_m: Array
    ridge: Array
    hill: Array
    compartment: NDArray[np.int32]
    parcel: NDArray[np.int32]


def _cover(rng: np.random.Generator, at: _Site, water: NDArray[np.bool_], scale: float) -> NDArray[np.uint8]:
    """Cover (y, x); what comes later in the list is drawn over what comes before."""
    lot = per_parcel(rng)[at.parcel]
    count = np.bincount(at.compartment.ravel(), minlength=_COMPARTMENTS)
    middle = np.bincount(at.compartment.ravel(), at.inland.ravel(), _COMPARTMENTS) / np.maximum(count, 1)
    ponds = per_compartment(rng) < 0.8 * np.clip((0.22 - middle) / 0.16, 0, 1)
    edge = noise(rng, at.inland.shape[0], 25)
    cover = np.full(water.shape, Cover.RICE, np.uint8)
    layers = (
        (Cover.ORCHARD, (at.to_river < 350 * scale) & (at.inland > 0.15) & (lot > 0.1)),
        (Cover.ORCHARD, lot > 2.0),
        (Cover.POND, ponds[at.compartment] & (lot > -0.7)),
        (Cover.POND, (at.inland < 0.40) & (lot < -1.7)),
        (Cover.UPLAND, (at.ridge > 0.35) | (at.hill > 0.04)),
        (Cover.ORCHARD, (at.hill > 0.04) & (lot > 0.7)),
        (Cover.BUILT, (at.ridge > 0.35) & (lot > 0.3)),
        (Cover.BUILT, (at.canal_m < 55) & (lot > 0.55) & (at.hill < 0.04)),
        (Cover.BANK, at.canal_m < 20),
        (Cover.MANGROVE, at.inland < 0.022 + 0.010 * edge),
        (Cover.MANGROVE, (at.to_river < 90 * scale + 20 * edge) & (at.inland < 0.14)),
    )
    for code, where in layers:
        cover[where] = code
    cover[water] = Cover.WATER
    return cover
