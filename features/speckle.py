"""Speckle of radar images, smoothed where the ground is alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def lee(power: NDArray[np.float32], radius: int, looks: float) -> NDArray[np.float32]:
    """Power (y, x) after the filter of Lee (1980), NaN = unseen; ``radius`` pixels at the edges lack neighbours.

    Each pixel becomes m + w (z - m): z its power, m the mean of the seen pixels in the square of
    2 ``radius`` + 1 around it, w = 1 - Cu^2 / Ci^2, at least 0. Ci is the window's coefficient of
    variation, Cu^2 = 1 / ``looks`` that of speckle alone. Sums are made in one order for every pixel, so
    windows of any size give equal values. Callers pass a halo of ``radius`` and cut it off.

    Raises ValueError for a radius below 1 or looks that are not above 0.
    """
    if radius < 1 or not looks > 0:
        raise ValueError(f"radius is {radius}, looks {looks}; expected at least 1, and above 0")
    z = power.astype(np.float64)
    seen = np.isfinite(z)
    known = np.where(seen, z, 0)
    count = _sums(seen.astype(np.float64), radius)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _sums(known, radius) / count
        spread = np.maximum(_sums(known * known, radius) / count - mean * mean, 0)
        weight = np.where(spread > 0, np.maximum(1 - mean * mean / looks / spread, 0), 0)
    return np.where(seen, mean + weight * (z - mean), np.nan).astype(np.float32)


def _sums(values: NDArray[np.float64], radius: int) -> NDArray[np.float64]:
    """Sums over squares, nothing beyond the edges. Running sums would depend on where the array begins."""
    for axis in (0, 1):
        width = [(radius, radius) if k == axis else (0, 0) for k in (0, 1)]
        padded = np.pad(values, width)
        length = values.shape[axis]
        total = np.zeros_like(values)
        for k in range(2 * radius + 1):
            total += padded[k : k + length] if axis == 0 else padded[:, k : k + length]
        values = total
    return values
