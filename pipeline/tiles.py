"""Internal tiles of GeoTIFF files, decoded here, and those that neighbouring blocks share.

Most images are DEFLATE tiles of one band. libdeflate inflates those two to three times as fast as the
zlib in rasterio's GDAL, and checks the sum at the end of each; every other kind is left to GDAL.
"""

from __future__ import annotations

import random
import threading
import zlib
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels import from_differences, from_planes
from pipeline.tiff import Coding

try:
    import deflate
except ImportError:  # no wheel for this platform: zlib gives the same bytes at half the speed
    deflate = None
_SPOILED = (zlib.error, deflate.DeflateError) if deflate else (zlib.error,)

Value = TypeVar("Value")

_NONE, _DEFLATE, _OLD_DEFLATE = 1, 8, 32946
_DIFFERENCES, _FLOATING = 2, 3


def decodes(coding: Coding | None) -> bool:
    """Whether ``decoded`` knows how these tiles are written."""
    if coding is None or coding.compression not in (_NONE, _DEFLATE, _OLD_DEFLATE):
        return False
    kind = np.dtype(coding.dtype)
    predictors = (1, _FLOATING) if kind.kind == "f" else (1, _DIFFERENCES)
    return coding.predictor in (predictors if coding.compression != _NONE else (1,))


def decoded(
    content: bytes, coding: Coding, shape: tuple[int, int], out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Pixels (y, x) of one tile in the machine's byte order, written into ``out`` if that is given.

    Nothing is allocated beyond the tile's own size, whatever ``content`` would inflate to. Raises
    ValueError where it is not exactly a tile.
    """
    kind = np.dtype(coding.dtype)
    own = kind.newbyteorder("=")
    size = shape[0] * shape[1] * kind.itemsize
    raw = content if coding.compression == _NONE else _inflated(content, size)
    if len(raw) != size:
        raise ValueError(f"a tile of {size} bytes holds {len(raw)}")
    if out is None:
        out = np.empty(shape, own)
    whole = out.view(f"u{kind.itemsize}")
    if coding.predictor == _FLOATING:
        from_planes(np.frombuffer(raw, np.uint8).reshape(shape[0], -1), whole)
        return out
    numbers = np.frombuffer(raw, kind).reshape(shape).astype(own, copy=False)
    if coding.predictor == _DIFFERENCES:
        from_differences(numbers.view(whole.dtype), whole)
    else:
        out[...] = numbers
    return out


def _inflated(content: bytes, size: int) -> Any:
    try:
        if deflate is not None:
            return deflate.zlib_decompress(content, size)
        inflate = zlib.decompressobj()
        raw = inflate.decompress(content, size + 1)
    except _SPOILED as error:
        raise ValueError(f"its DEFLATE data are spoiled: {error}") from None
    if len(raw) > size or not inflate.eof:
        raise ValueError(f"its DEFLATE data are not the {size} bytes of a tile")
    return raw


class Shelf(Generic[Value]):
    """Values made once and shared by all threads, up to a total weight.

    Blocks come back to a tile after a row of other blocks: what is dropped for want of room is drawn by
    lot, since dropping the oldest would drop each tile just before it is wanted again.
    """

    def __init__(self, limit: int, weigh: Callable[[Value], int]) -> None:
        self.limit, self.weigh, self.held = limit, weigh, 0
        self._values: dict[Hashable, Value] = {}
        self._making: dict[Hashable, Future[Value]] = {}
        self._lock = threading.Lock()
        self._lot = random.Random(0)  # noqa: S311 (nothing hangs on it but time)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._values

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._values.clear()
            self.held = 0

    def peek(self, key: Hashable) -> Value | None:
        """The value of ``key`` if it is there."""
        return self._values.get(key)

    def drop(self, key: Hashable) -> None:
        """Forget one value."""
        with self._lock:
            if key in self._values:
                self.held -= self.weigh(self._values.pop(key))

    def put(self, key: Hashable, value: Value) -> None:
        """Keep ``value`` in the place of what was there."""
        self.drop(key)
        self._keep(key, value)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of ``key``; of threads that want it at once, one makes it. Failures are not kept."""
        with self._lock:
            if key in self._values:
                return self._values[key]
            other = self._making.get(key)
            if other is None:
                mine = self._making[key] = Future()
        if other is not None:
            return make() if other.exception() else other.result()
        try:
            value = make()
        except BaseException as error:
            self._end(key, mine, error)
            raise
        self._keep(key, value)
        self._end(key, mine, value)
        return value

    def _end(self, key: Hashable, mine: Future[Value], what: Value | BaseException) -> None:
        with self._lock:
            del self._making[key]
        if isinstance(what, BaseException):
            mine.set_exception(what)
        else:
            mine.set_result(what)

    def _keep(self, key: Hashable, value: Value) -> None:
        weight = self.weigh(value)
        if weight > self.limit:
            return
        with self._lock:
            while self.held + weight > self.limit:
                old = list(self._values)[self._lot.randrange(len(self._values))]
                self.held -= self.weigh(self._values.pop(old))
            self._values[key] = value
            self.held += weight
