"""A file of this machine, read by byte ranges as a remote one is."""

from __future__ import annotations

import os

from pipeline.remote import Fault


class LocalFile:
    """A file of this machine, read as a remote one is."""

    #: Nothing of it was brought.
    whole = False

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise Fault("missing asset", "no such file") from None
        except OSError as error:
            raise Fault("unreadable", f"{error.strerror or error}") from None
        about = os.fstat(self._fd)
        self.size = about.st_size
        self.mark = f"{about.st_dev}:{about.st_ino}:{about.st_size}:{about.st_mtime_ns}"

    def fetch(self, start: int, stop: int) -> bytes:
        """Bytes start..stop of the file. Raises Fault."""
        try:
            content = os.pread(self._fd, stop - start, start) if stop <= self.size else b""
        except OSError as error:
            raise Fault("unreadable", f"{error.strerror or error}") from None
        if len(content) != stop - start:
            raise Fault("truncated", f"bytes {start}-{stop} are wanted of a file of {self.size}")
        return content

    def prefetch(self, ranges: object) -> bool:
        """All of it is here."""
        return False

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
