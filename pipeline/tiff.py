"""Where in a (Big)TIFF file its directories and the tiles of its first image lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Reads (start, stop) of the file.
Fetch = Callable[[int, int], bytes]

#: Directories hold a few hundred kilobytes; all tags of a file together may hold this much.
_MAX_ENTRIES, _MAX_DIRECTORIES, _MAX_TAGS = 512, 64, 1 << 24
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_CODES = {3: "u2", 4: "u4", 16: "u8"}
#: Whole-number tags.
Tags = dict[int, NDArray[np.integer[Any]]]
_WIDTH, _HEIGHT, _STRIP_OFFSETS, _ROWS_PER_STRIP, _STRIP_COUNTS = 256, 257, 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_BITS, _COMPRESSION, _FILL_ORDER, _SAMPLES, _PREDICTOR, _FORMAT = 258, 259, 266, 277, 317, 339
#: (sample format, bits) -> numpy's name.
_KINDS = {
    (f, b): f"{'_uif'[f]}{b // 8}" for f in (1, 2, 3) for b in (8, 16, 32) if (f, b) not in ((3, 8), (3, 16))
}


@dataclass(frozen=True)
class Coding:
    """How the pixels of a tile are written down, where a tile holds one number a pixel."""

    dtype: str
    """NumPy's, with the file's byte order."""
    compression: int
    predictor: int


@dataclass(frozen=True)
class Layout:
    """Tiles (or strips) of the first image, row by row."""

    tile: tuple[int, int]
    """(height, width) in pixels."""
    shape: tuple[int, int]
    """(height, width) of the image."""
    offsets: NDArray[np.uint64]
    counts: NDArray[np.uint64]
    tiled: bool = True
    """False of strips, the last of which ends where the image ends."""
    coding: Coding | None = None
    """None where the numbers are kept in a way that is not described here."""

    @property
    def across(self) -> int:
        """Tiles in a row of them."""
        return -(-self.shape[1] // self.tile[1])

    def parts(self, row: int, column: int) -> list[tuple[int, int]]:
        """(start, stop) in the file of one tile; nothing where it was left out (no data there)."""
        k = row * self.across + column
        if k >= len(self.offsets) or not self.counts[k]:
            return []
        return [(int(self.offsets[k]), int(self.offsets[k]) + int(self.counts[k]))]


def is_tiff(start: bytes) -> bool:
    """Whether bytes begin as a TIFF or BigTIFF does."""
    return start[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def layout(fetch: Fetch) -> Layout:
    """Read every directory (so that whoever opens the file later finds it) and the first image's tiles.

    Raises ValueError where the file is not what the format allows.
    """
    head = fetch(0, 16)
    if not is_tiff(head):
        raise ValueError("it is not a TIFF file")
    order, big = ("<" if head[:2] == b"II" else ">"), head[2:4] in (b"+\0", b"\0+")
    at = struct.unpack(order + ("Q" if big else "I"), head[8:16] if big else head[4:8])[0]
    first: Tags | None = None
    room = _MAX_TAGS
    for _ in range(_MAX_DIRECTORIES):
        tags, at, room = _directory(fetch, at, order, big, room)
        first = first or tags
        if not at:
            break
    if not first or not {_WIDTH, _HEIGHT} <= first.keys():
        raise ValueError("its first TIFF directory has no size")
    return _layout(first, order)


def _layout(tags: Tags, order: str) -> Layout:
    width, height = _number(tags, _WIDTH, 0), _number(tags, _HEIGHT, 0)
    tiled = _TILE_OFFSETS in tags
    offsets, counts = (_TILE_OFFSETS, _TILE_COUNTS) if tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    if offsets not in tags or counts not in tags or len(tags[offsets]) != len(tags[counts]):
        raise ValueError("its TIFF directory does not say where the pixels lie")
    if tiled:
        tile = _number(tags, _TILE_HEIGHT, 0), _number(tags, _TILE_WIDTH, 0)
    else:
        tile = min(height, _number(tags, _ROWS_PER_STRIP, height)), width
    if min(tile) < 1:
        raise ValueError("its TIFF tiles have no size")
    where, length = tags[offsets].astype(np.uint64), tags[counts].astype(np.uint64)
    return Layout(tile, (height, width), where, length, tiled, _coding(tags, order))


def _coding(tags: Tags, order: str) -> Coding | None:
    kind = _KINDS.get((_number(tags, _FORMAT, 1), _number(tags, _BITS, 1)))
    if kind is None or _number(tags, _SAMPLES, 1) != 1 or _number(tags, _FILL_ORDER, 1) != 1:
        return None
    return Coding(order + kind, _number(tags, _COMPRESSION, 1), _number(tags, _PREDICTOR, 1))


def _number(tags: Tags, tag: int, default: int) -> int:
    return int(tags[tag][0]) if tag in tags else default


def _directory(fetch: Fetch, at: int, order: str, big: bool, room: int) -> tuple[Tags, int, int]:
    """The directory at ``at``, where the next one is (0: nowhere), and the bytes left for its tags."""
    size, inline = (20, 8) if big else (12, 4)
    n = struct.unpack(order + ("Q" if big else "H"), fetch(at, at + (8 if big else 2)))[0]
    if not 0 < n <= _MAX_ENTRIES:
        raise ValueError(f"a TIFF directory has {n} entries")
    at += 8 if big else 2
    entries = fetch(at, at + n * size + inline)
    tags: Tags = {}
    for k in range(n):
        entry = entries[k * size : (k + 1) * size]
        tag, kind = struct.unpack(order + "HH", entry[:4])
        count = struct.unpack(order + ("Q" if big else "I"), entry[4 : 4 + inline])[0]
        length = count * _SIZES.get(kind, 1)
        room -= length
        if room < 0:
            raise ValueError(f"TIFF tag {tag} claims {length} bytes")
        raw = entry[-inline:][:length]
        if length > inline:
            start = struct.unpack(order + ("Q" if big else "I"), entry[-inline:])[0]
            raw = fetch(start, start + length)
        if kind in _CODES and count:
            tags[tag] = np.frombuffer(raw, order + _CODES[kind])
    return tags, struct.unpack(order + ("Q" if big else "I"), entries[-inline:])[0], room
