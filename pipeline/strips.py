"""Strips: the pixels of a block that are mapped, some at a time, so that the rest cost nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import features
from features.spec import FeatureSpec
from pipeline.stack import Stack

#: Pixels of a strip. A season of them, its features and scores stay near the core, whatever a block's size.
STRIP_PIXELS = 1 << 15


class Strips:
    """Features of the pixels of the ground, a strip at a time, in buffers that are reused.

    ``ground`` (y, x) is that of a block, and ``stack`` holds the ``part`` of it where there is any.
    Memory beside the stack: for each of ``STRIP_PIXELS`` pixels, its values of all dates and its features.
    """

    def __init__(self, stack: Stack, ground: NDArray[np.bool_], part: tuple[slice, slice]) -> None:
        self.stack, self.part = stack, part
        self.width, self.places = ground.shape[1], np.flatnonzero(ground)
        self._buffers: dict[str, NDArray[Any]] = {}

    def __iter__(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Places of the pixels of each strip: in the flattened stack, and in the flattened block."""
        top, left = (edge.start for edge in self.part)
        for start in range(0, len(self.places), STRIP_PIXELS):
            places = self.places[start : start + STRIP_PIXELS]
            rows, columns = np.divmod(places, self.width)
            yield (rows - top) * self.stack.geobox.shape.x + columns - left, places

    def features(self, at: NDArray[np.intp], spec: FeatureSpec, until: dt.date) -> NDArray[np.float32]:
        """Features (feature, pixel) of the pixels ``at``, in a buffer that the next call overwrites."""
        stack = self.stack
        pixels = {band: self._taken(band, at) for band in spec.bands}
        out = self._buffer("features", (len(spec.names), 1, len(at)), np.dtype(np.float32))
        features.block(pixels, spec, out, stack.dates, stack.orbits, np.datetime64(until, "D"))
        return out[:, 0]

    def _taken(self, band: str, at: NDArray[np.intp]) -> NDArray[Any]:
        array = self.stack.arrays[band]
        rows = array.reshape(1 if array.ndim == 2 else len(array), -1)  # a layer has no dates
        shape = (1, len(at)) if array.ndim == 2 else (len(array), 1, len(at))
        out = self._buffer(band, shape, array.dtype)
        picked = out.reshape(len(rows), -1)
        if _unbroken(at):
            np.copyto(picked, rows[:, at[0] : at[-1] + 1])
        else:
            np.take(rows, at, axis=1, out=picked, mode="clip")  # clip: without a copy of out
        return out

    def _buffer(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        size = int(np.prod(shape))
        kept = self._buffers.get(name)
        if kept is None or kept.size < size:
            kept = self._buffers[name] = np.empty(size, kind)
        return kept[:size].reshape(shape)


def put(whole: NDArray[Any], places: NDArray[np.intp], values: NDArray[Any]) -> None:
    """Set the pixels ``places`` of a flattened block in ``whole`` (band, y, x) to ``values`` (band, pixel)."""
    where = slice(places[0], places[-1] + 1) if _unbroken(places) else places
    for row, mine in zip(whole.reshape(len(whole), -1), values, strict=True):
        row[where] = mine  # row by row: five times as fast as all at once


def _unbroken(at: NDArray[np.intp]) -> bool:
    return bool(at[-1] - at[0] == len(at) - 1)
