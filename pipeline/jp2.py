"""Where in a JPEG 2000 file its headers and the parts of its tiles lie (ISO/IEC 15444-1)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

#: Reads (start, stop) of the file.
Fetch = Callable[[int, int], bytes]

START = (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
#: Sentinel-2 has 121 tiles of one part; every part beyond the first bytes costs a request.
_MAX_BOXES, _MAX_MARKERS, _MAX_PARTS = 64, 1024, 4096
_SOC, _SIZ, _SOT, _SOD, _EOC = 0xFF4F, 0xFF51, 0xFF90, 0xFF93, 0xFFD9
#: Most bytes before the first tile.
_MAX_HEAD = 1 << 20
#: Bytes of a tile-part's start that are brought at once: most headers are shorter.
_HEADER = 512


@dataclass(frozen=True)
class Layout:
    """Where the parts of every tile lie."""

    tile: tuple[int, int]
    """(height, width) in pixels."""
    shape: tuple[int, int]
    """(height, width) of the image."""
    found: dict[int, list[tuple[int, int]]]
    """Tile, counted row by row -> (start, stop) of its parts."""

    def parts(self, row: int, column: int) -> list[tuple[int, int]]:
        """(start, stop) in the file of the parts of one tile."""
        return self.found.get(row * -(-self.shape[1] // self.tile[1]) + column, [])


def layout(fetch: Fetch, size: int) -> Layout:
    """Read the headers of the file and of every tile-part (a decoder walks over them all).

    Raises ValueError where the file is not what the format allows.
    """
    at = _codestream(fetch, size)
    if _word(fetch, at) != _SOC or _word(fetch, at + 2) != _SIZ:
        raise ValueError("its JPEG 2000 codestream has no size")
    width, height, x, y, tile_width, tile_height, tile_x, tile_y = struct.unpack(
        ">8I", fetch(at + 8, at + 40)
    )
    if min(tile_width, tile_height) < 1 or x or y or tile_x or tile_y or not (width and height):
        raise ValueError("its JPEG 2000 tiles do not begin at its corner")
    at = _skip(fetch, at + 2, _SOT)
    if at > _MAX_HEAD:
        raise ValueError(f"its JPEG 2000 headers take {at} bytes")
    fetch(0, at)  # a decoder reads all of it
    parts: dict[int, list[tuple[int, int]]] = {}
    for _ in range(_MAX_PARTS):
        if at + 12 > size or _word(fetch, at, _HEADER, size) != _SOT:
            break
        _, index, length = struct.unpack(">HHI", fetch(at + 2, at + 10))
        _skip(fetch, at, _SOD)
        stop = min(size, at + length) if length else size
        parts.setdefault(index, []).append((at, stop))
        if stop <= at + 12:
            raise ValueError("a JPEG 2000 tile has no length")
        at = stop
    else:
        raise ValueError(f"its JPEG 2000 tiles have more than {_MAX_PARTS} parts")
    return Layout((tile_height, tile_width), (height, width), parts)


def _codestream(fetch: Fetch, size: int) -> int:
    """Where it begins: at once, or in the box ``jp2c``."""
    if fetch(0, 4) == START[1]:
        return 0
    at = 0
    for _ in range(_MAX_BOXES):
        if at + 16 > size:
            break
        length, kind, long = struct.unpack(">I4sQ", fetch(at, at + 16))
        if kind == b"jp2c":
            return at + (16 if length == 1 else 8)
        step = long if length == 1 else length
        if step < 8:
            break
        at += step
    raise ValueError("it has no JPEG 2000 codestream")


def _skip(fetch: Fetch, at: int, wanted: int) -> int:
    """Where the marker ``wanted`` is, over the segments from ``at`` on."""
    for _ in range(_MAX_MARKERS):
        marker = _word(fetch, at)
        if marker == wanted:
            return at
        if marker >> 8 != 0xFF or marker in (_SOD, _EOC):
            break
        at += 2 + _word(fetch, at + 2)
    raise ValueError("its JPEG 2000 headers are broken")


def _word(fetch: Fetch, at: int, ahead: int = 2, size: int = 0) -> int:
    """The 16-bit number at ``at``; ``ahead`` bytes are brought with it."""
    content = fetch(at, min(at + ahead, size) if size else at + ahead)
    return int(struct.unpack(">H", content[:2])[0])
