"""Files that are whole or not there: written aside, then renamed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """A hidden path beside ``path`` that becomes ``path`` when the block ends without an error."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder, expected the name of a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def json_text(content: Any) -> str:
    """JSON as all our files have it: indented, letters as they are, NaN and infinity (JSON has neither) as null."""
    return json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False, default=str) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_aside(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with aside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A new folder below ``parent``, removed at the end; those of processes that were killed too.

    A lock tells a living process's folder from a dead one's.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for lock in parent.glob("*.lock"):
        with lock.open("w") as file:
            if _try_lock(file):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)
    folder = parent / uuid.uuid4().hex
    lock = folder.with_suffix(".lock")
    with lock.open("w") as file:
        _try_lock(file)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # another process uses it
                parent.rmdir()


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
