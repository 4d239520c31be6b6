"""What the stored integers of a product are, band by band, for its records."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio

from pipeline.product import NODATA


@dataclass(frozen=True)
class BandStatistics:
    """Of the known pixels of one band, as stored (before scale)."""

    minimum: int | None
    """None, as all but ``count``, where no pixel is known."""
    maximum: int | None
    mean: float | None
    stddev: float | None
    """Of all known pixels (ddof 0)."""
    count: int
    pixels: int
    histogram: dict[int, int]
    """Stored number -> pixels."""

    @property
    def valid_percent(self) -> float:
        """Share of known pixels."""
        return 100 * self.count / self.pixels if self.pixels else 0.0


def of_product(cog: Path) -> list[BandStatistics]:
    """Statistics of each band of an int16 COG, exact: sums are taken over whole numbers."""
    with rasterio.open(cog) as file:
        counts = np.zeros((file.count, 1 << 16), np.int64)
        for _, window in file.block_windows(1):
            pixels = file.read(window=window)
            for band, own in zip(pixels, counts, strict=True):
                own += np.bincount(band.ravel().view(np.uint16), minlength=1 << 16)
        size = file.width * file.height
    return [_of_counts(own, size) for own in counts]


def _of_counts(counts: np.ndarray, pixels: int) -> BandStatistics:
    """From the pixels of each bit pattern of an int16."""
    histogram = {
        int(v): int(n)
        for v, n in zip(np.arange(1 << 16).astype(np.uint16).view(np.int16), counts, strict=True)
        if n and v != NODATA
    }
    known = sum(histogram.values())
    if not known:
        return BandStatistics(None, None, None, None, 0, pixels, {})
    total = sum(v * n for v, n in histogram.items())
    squares = sum(v * v * n for v, n in histogram.items())
    variance = (known * squares - total * total) / (known * known)  # whole numbers: no digit is lost
    return BandStatistics(
        min(histogram),
        max(histogram),
        total / known,
        math.sqrt(variance),
        known,
        pixels,
        dict(sorted(histogram.items())),
    )
