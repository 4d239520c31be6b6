"""What a task's steps take: wall and processor seconds of each, in the thread that runs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: Stage -> (wall seconds, processor seconds).
Account = dict[str, tuple[float, float]]


class _Open(threading.local):
    account: Account | None = None


_open = _Open()


@contextmanager
def measured() -> Iterator[Account]:
    """An account that ``stage`` fills while the block runs; ``total`` is the block itself."""
    before, _open.account = _open.account, {}
    account = _open.account
    try:
        with stage("total"):
            yield account
    finally:
        _open.account = before


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the time of the block to a stage, if anybody measures."""
    account = _open.account
    if account is None:
        yield
        return
    wall, cpu = time.perf_counter(), time.thread_time()
    try:
        yield
    finally:
        had = account.get(name, (0.0, 0.0))
        account[name] = had[0] + time.perf_counter() - wall, had[1] + time.thread_time() - cpu


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
