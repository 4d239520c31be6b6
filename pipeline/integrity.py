"""Is a file the one that its record tells of? STAC's file extension: ``file:size``, ``file:checksum``."""

from __future__ import annotations

import hashlib
import re
from typing import Any, Protocol

from pipeline.remote import Fault
from pipeline.tiles import Shelf

#: Multihash codes (multiformats) that Python computes; others, BLAKE3 among them, cannot be checked.
_CODES = {
    0x11: "sha1", 0x12: "sha256", 0x13: "sha512", 0x14: "sha3_512", 0x15: "sha3_384", 0x16: "sha3_256",
    0xD5: "md5",
}  # fmt: skip
#: Longest file that is read whole for its checksum alone.
MAX_SUMMED = 4 << 20
#: Digests of files that were read whole, by algorithm, address and mark.
_SUMS: Shelf[str] = Shelf(4096, lambda _: 1)


class File(Protocol):
    """What of a file the check wants."""

    @property
    def size(self) -> int: ...
    @property
    def mark(self) -> str: ...
    @property
    def whole(self) -> bool: ...
    def fetch(self, start: int, stop: int) -> bytes: ...


def check(file: File, url: str, size: int, checksum: str) -> None:
    """Raises Fault ``checksum`` where the file is not as stated; 0 and "" state nothing.

    Every file's size is compared; the digest, once a process, of those up to MAX_SUMMED bytes and of those
    that are here whole.
    """
    if size and file.size != size:
        raise Fault("checksum", f"it has {file.size} bytes; its record says {size}")
    known = multihash(checksum)
    if known is None or not (file.size <= MAX_SUMMED or file.whole):
        return
    algorithm, stated = known
    key = (algorithm, url, file.mark, file.size)

    def summed() -> str:
        content = file.fetch(0, file.size)
        return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()

    found = _SUMS.get(key, summed) if file.mark else summed()
    if found != stated:
        raise Fault("checksum", f"its {algorithm} is {found[:16]}...; its record says {stated[:16]}...")


def multihash(text: str) -> tuple[str, str] | None:
    """(algorithm, hexadecimal digest) of a multihash in hexadecimal, None where it cannot be checked."""
    if not re.fullmatch(r"(?:[0-9a-f]{2})+", text):
        return None
    content = bytes.fromhex(text)
    code, rest = _varint(content)
    length, digest = _varint(rest)
    name = _CODES.get(code, "")
    if not name or len(digest) != length or hashlib.new(name, usedforsecurity=False).digest_size != length:
        return None
    return name, digest.hex()


def _varint(content: bytes) -> tuple[int, bytes]:
    """Unsigned LEB128, and what follows it; -1 where it does not end."""
    value = 0
    for k, octet in enumerate(content[:9]):
        value |= (octet & 127) << (7 * k)
        if octet < 128:
            return value, content[k + 1 :]
    return -1, b""


def stated(asset: Any) -> tuple[int, str]:
    """(bytes, multihash) that a STAC asset states, 0 and "" where it does not."""
    size, checksum = asset.get("file:size"), asset.get("file:checksum")
    whole = isinstance(size, int) and not isinstance(size, bool) and 0 < size < 1 << 50
    return (size if whole else 0), (
        checksum.lower() if isinstance(checksum, str) and len(checksum) < 300 else ""
    )
