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
    """Features of the pixels ``ground`` (y, x) of ``stack``, a strip at a time, in buffers that are reused.

    Memory beside the stack: for each of ``STRIP_PIXELS`` pixels, its values of all dates and its features.
    """

    def __init__(self, stack: Stack, ground: NDArray[np.bool_]) -> None:
        self.stack, self.ground = stack, np.flatnonzero(ground)
        self._buffers: dict[str, NDArray[Any]] = {}

    def __iter__(self) -> Iterator[NDArray[np.intp]]:
        """Places of the pixels of each strip in the flattened block."""
        for start in range(0, len(self.ground), STRIP_PIXELS):
            yield self.ground[start : start + STRIP_PIXELS]

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
        np.take(rows, at, axis=1, out=out.reshape(len(rows), -1), mode="clip")  # clip: without a copy of out
        return out

    def _buffer(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        size = int(np.prod(shape))
        kept = self._buffers.get(name)
        if kept is None or kept.size < size:
            kept = self._buffers[name] = np.empty(size, kind)
        return kept[:size].reshape(shape)
