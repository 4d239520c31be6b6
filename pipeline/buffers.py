"""Large arrays of one block, whose memory is kept for the next block of the same process.

A stack is the largest thing that a worker holds. Giving its memory back and asking for it anew costs more than
filling it where the machine is a virtual one: its host takes free pages away and brings them slowly.
"""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

#: Smaller arrays are not worth keeping, in bytes.
LEAST = 4 << 20
#: A kept buffer serves what takes at least this part of it.
_PART = 0.9


class Buffers:
    """Arrays on memory that is used again once nothing refers to them: an array, a view or a slice of it
    each hold what they lie on. Memory: at most 1/0.9 of the most that was in use at one time."""

    def __init__(self) -> None:
        self._kept: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    def full(self, shape: Sequence[int], value: float, dtype: DTypeLike) -> NDArray[Any]:
        """As ``numpy.full``."""
        out = self.empty(shape, dtype)
        out[...] = value
        return out

    def empty(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """As ``numpy.empty``."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < LEAST:
            return np.empty(shape, dtype)
        return self._memory(size)[:size].view(dtype).reshape(shape)

    def _memory(self, size: int) -> NDArray[np.uint8]:
        with self._lock:
            free = [k for k in range(len(self._kept)) if sys.getrefcount(self._kept[k]) <= _UNUSED]
            fit = [k for k in free if size <= len(self._kept[k]) <= size / _PART]
            if fit:
                return self._kept[min(fit, key=lambda k: len(self._kept[k]))]
            # What lies idle makes room, so that blocks of other shapes add nothing to the most ever used.
            need = size
            for k in sorted(free, key=lambda k: len(self._kept[k]), reverse=True):
                if need <= 0:
                    break
                need -= len(self._kept[k])
                self._kept[k] = np.empty(0, np.uint8)
            self._kept = [kept for kept in self._kept if len(kept)]
            made = np.empty(size, np.uint8)
            self._kept.append(made)
            return made


_ALONE = [np.empty(0, np.uint8)]
#: References to a kept buffer that nothing lies on, counted as ``Buffers`` counts them.
_UNUSED = sys.getrefcount(_ALONE[0])
#: This process's.
BUFFERS = Buffers()
