"""The ground's fine grid, seeded smooth noise on it, and the way from it to pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline

Array = NDArray[np.float32]

EPSG = 32648
RESOLUTION = 10
#: The ground is drawn at 5 m, so that pixels at field borders are mixed.
FINE = 2
FINE_M = RESOLUTION / FINE
#: Size in metres that the geography was drawn for; other sizes are scale models of it.
DRAWN_M = 12_000.0


def noise(rng: np.random.Generator, size: int, cells: float) -> Array:
    """Smooth noise (y, x) of mean 0 and standard deviation 1 that waves about ``cells`` times."""
    knots = max(4, round(cells)) + 3
    spline = RectBivariateSpline(np.arange(knots), np.arange(knots), rng.normal(size=(knots, knots)))
    place = np.linspace(1, knots - 2, size)
    values = spline(place, place)
    return np.asarray((values - values.mean()) / values.std(), np.float32)


def aggregate(fine: NDArray[Any], factor: int) -> Array:
    """Means of ``factor`` x ``factor`` cells, (y, x)."""
    rows, columns = fine.shape
    parts = fine.reshape(rows // factor, factor, columns // factor, factor)
    return np.asarray(parts.mean(axis=(1, 3), dtype=np.float32))


def spread(coarse: NDArray[Any], factor: int) -> NDArray[Any]:
    """Each cell repeated ``factor`` times along both axes."""
    return coarse.repeat(factor, 0).repeat(factor, 1)
