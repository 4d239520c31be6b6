"""What a task's steps take: wall and processor seconds of each, in the thread that runs it.

What a process does only once (kernels compiled or read from the cache, models loaded) is a stage of its own,
``READY``, and counts in no other: a run of hours has as much of it as a run of seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from numba.core import event

#: Stage -> (wall seconds, processor seconds).
Account = dict[str, tuple[float, float]]

#: The whole task, and what of it only the first tasks of a process do.
TOTAL, READY = "total", "ready"
_COMPILING = "numba:compiler_lock"


class _Open(threading.local):
    account: Account | None = None
    depth = 0
    """Of ``READY`` steps in one another."""
    since = (0.0, 0.0)


_open = _Open()


@contextmanager
def measured() -> Iterator[Account]:
    """An account that ``stage`` fills while the block runs; ``TOTAL`` is the block itself, ``READY`` within."""
    _listen()
    before, _open.account = _open.account, {READY: (0.0, 0.0)}
    account = _open.account
    begun = _now()
    try:
        yield account
    finally:
        account[TOTAL] = _since(begun)
        _open.account = before


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the block to a stage, if anybody measures; what of it was ``READY`` is left out."""
    account = _open.account
    if account is None:
        yield
        return
    begun, before = _now(), account[READY]
    try:
        yield
    finally:
        took, ready = _since(begun), account[READY]
        had = account.get(name, (0.0, 0.0))
        account[name] = (
            had[0] + took[0] - (ready[0] - before[0]), had[1] + took[1] - (ready[1] - before[1]),
        )  # fmt: skip


@contextmanager
def getting_ready() -> Iterator[None]:
    """The block is ``READY`` time, if anybody measures."""
    _begin()
    try:
        yield
    finally:
        _end()


def _begin() -> None:
    if _open.account is not None:
        if not _open.depth:
            _open.since = _now()
        _open.depth += 1


def _end() -> None:
    if _open.account is not None and _open.depth:
        _open.depth -= 1
        if not _open.depth:
            took, had = _since(_open.since), _open.account[READY]
            _open.account[READY] = had[0] + took[0], had[1] + took[1]


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.thread_time()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    wall, cpu = _now()
    return wall - begun[0], cpu - begun[1]


class _Compiling(event.Listener):
    """Hears numba, in the thread that compiles or reads what was compiled."""

    def on_start(self, event: object) -> None:
        _begin()

    def on_end(self, event: object) -> None:
        _end()


@lru_cache(maxsize=1)
def _listen() -> None:
    """Once a process."""
    event.register(_COMPILING, _Compiling())  # type: ignore[no-untyped-call]


class _Meter:
    """Bytes that this process brought over the network."""

    def __init__(self) -> None:
        self.lock, self.bytes = threading.Lock(), 0


_meter = _Meter()


def bring(count: int) -> None:
    """Count bytes that came over the network."""
    with _meter.lock:
        _meter.bytes += count


def brought() -> int:
    """Bytes that came over the network since this process began."""
    return _meter.bytes
