"""What of a Sentinel-2 scene is clear, from its scene classification (SCL)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from features import bits
from features.bits import Bits

#: Cloud shadow, medium and high probability cloud, cirrus: grown by the dilation radius.
CLOUDY = (3, 8, 9, 10)
#: No data and saturated: unseen, but their surroundings are good.
UNSEEN = (0, 1)
#: Bare soil.
BARE = 5
#: Last of ESA's classes; what is above is no class, so nothing is known of it.
LAST = 11
#: Fewest dates that tell that a pixel is called cloud nearly always, and how often that is.
DATES, NEARLY_ALWAYS = 8, 0.9
#: Cloud of medium and high probability: what bright salt and sand are taken for.
BRIGHT = (8, 9)


def clear(scl: NDArray[np.uint8], radius: int, also: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """True where the ground is seen.

    ``scl`` (y, x) holds ESA's classes; cloud and shadow are grown by a disk of ``radius`` pixels, and so
    is what another opinion calls cloud (``also``).
    Water (6) stays clear: flooded rice is class 6. Callers pass a halo of ``radius`` and cut it off.
    """
    height, width = scl.shape
    found = Classes.of(scl, (height, width), (slice(0, height), slice(0, width)))
    return bits.unpack(found.clear(radius, None if also is None else bits.pack(also)), width)


@dataclass(frozen=True)
class Classes:
    """A scene classification on a grid, as masks of ``features.bits``."""

    width: int
    """Pixels of a row."""
    cloudy: Bits
    """``CLOUDY``, not grown."""
    hidden: Bits
    """Unseen, or of no class that there is."""
    seen: Bits
    """Of any class but 0."""
    bright: Bits
    """``BRIGHT``."""

    @classmethod
    def of(
        cls,
        scl: NDArray[np.uint8],
        shape: tuple[int, int],
        part: tuple[slice, slice],
        up: int = 1,
        skip: tuple[int, int] = (0, 0),
    ) -> Classes:
        """Of ESA's classes (y, x) that lie on ``part`` of a grid of ``shape`` as ``bits.planes`` tells."""
        return cls(shape[1], *bits.planes(scl, _FLAGS, 4, shape, part, up, skip))

    def clear(self, radius: int, also: Bits | None = None) -> Bits:
        """As the function ``clear``."""
        cloudy = self.cloudy if also is None else self.cloudy | also
        return bits.inverse(bits.grown(cloudy, radius, self.width) | self.hidden, self.width)


def _flags() -> NDArray[np.uint8]:
    codes = np.arange(256)
    hidden = np.isin(codes, UNSEEN) | (codes > LAST)
    kinds = [np.isin(codes, CLOUDY), hidden, codes > 0, np.isin(codes, BRIGHT)]
    octets: NDArray[np.uint8] = np.packbits(kinds, axis=0, bitorder="little")
    return np.asarray(octets[0])


_FLAGS = _flags()


def often(images: Sequence[Classes]) -> NDArray[np.bool_]:
    """Where most of some images, at least one, show cloud: ``NEARLY_ALWAYS`` of ``DATES`` or more looks, (y, x)."""
    seen, bright = np.stack([i.seen for i in images]), np.stack([i.bright for i in images])
    return bits.unpack(_often(seen, bright, DATES, NEARLY_ALWAYS), images[0].width)


@njit(nogil=True, cache=True)
def _often(seen, bright, least, share):  # type: ignore[no-untyped-def]
    dates, height, words = seen.shape
    one = np.uint64(1)
    out = np.zeros((height, words), np.uint64)
    # More looks without cloud than these, and it cannot be nearly always: most pixels end here.
    allowed = int(dates * (1 - share)) + 1
    missed = np.empty(allowed + 1, np.uint64)  # bit of word n: more than n looks without cloud
    for y in range(height):
        for k in range(words):
            left = np.uint64(0)
            missed[:] = np.uint64(0)
            for t in range(dates):
                left |= bright[t, y, k]
                miss = seen[t, y, k] & ~bright[t, y, k]
                for n in range(allowed, 0, -1):
                    missed[n] |= missed[n - 1] & miss
                missed[0] |= miss
            left &= ~missed[allowed]
            if not left:
                continue
            for x in range(64):
                if not (left >> np.uint64(x)) & one:
                    continue
                looks, cloud = 0, 0
                for t in range(dates):
                    looks += int((seen[t, y, k] >> np.uint64(x)) & one)
                    cloud += int((bright[t, y, k] >> np.uint64(x)) & one)
                if looks >= least and cloud >= share * looks:
                    out[y, k] |= one << np.uint64(x)
    return out


def steady(blue: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Dates on which a pixel that is called cloud nearly always shows its ground, (time, pixel).

    ``blue`` (time, pixel) is reflectance x 10000, 0 = unseen. Salt and sand keep their brightness, clouds do
    not: most of the dates lie within a tenth of their median (or 0.015), and those dates are the ground's.
    """
    values = np.where(blue > 0, blue.astype(np.float32), np.nan)
    seen = ~np.isnan(values)
    middle = _medians(values)
    near = np.abs(values - middle) <= np.maximum(0.1 * middle, 150)  # False where unseen
    return np.asarray(near & (near.sum(axis=0) >= np.maximum(0.6 * seen.sum(axis=0), DATES // 2)), np.bool_)


def _medians(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lower median along the first axis, NaN left out."""
    if not values.size:
        return np.full(values.shape[1:], np.nan, np.float32)
    ordered = np.sort(values, axis=0)  # NaN come last
    last = np.maximum((~np.isnan(values)).sum(axis=0) - 1, 0)
    middle: NDArray[np.float32] = ordered[last // 2, np.arange(values.shape[1])]
    return middle
