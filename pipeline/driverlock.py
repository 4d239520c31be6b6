"""One driver a season: a lock in the work folder that tells who holds it, also from another machine.

The lock is a file made exclusively (atomic on local and network file systems alike), touched while its
holder lives. Its holder is dead where its process is gone from this machine, or where it was not touched
for ``STALE_S`` by the file server's own clock.

A holder that slept that long (a suspended process, a machine asleep) may wake up after another took over: it
asks ``check`` before each thing that others see. Who takes over marks the old token first and then looks at
the lock's age again; who wakes up touches the lock first and then looks for the mark: one of both sees the other.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import PhusaError
from pipeline.files import json_text
from pipeline.season import Season

#: How often a holder says that it lives, and the silence after which another machine's is taken for dead.
BEAT_S, STALE_S = 10.0, 90.0


@dataclass(frozen=True)
class Driver:
    """Who holds a lock."""

    host: str
    pid: int
    since: str
    """ISO 8601, UTC."""
    token: str
    machine: str
    """Tells this boot and process namespace from others: process numbers mean something within one only."""
    started: str
    """The process's start in kernel ticks: numbers of processes are used again."""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class HeldError(PhusaError):
    """Another driver holds the season."""

    def __init__(self, season: str, holder: Driver) -> None:
        super().__init__(
            f"season {season!r} is being worked on by {holder}; `phusa status` shows how far it is. "
            "Wait for it, or end it and run again"
        )
        self.holder = holder


class LostError(PhusaError):
    """Another driver took the season over while this one slept."""

    def __init__(self, path: Path, now: Driver | None) -> None:
        whose = f"held by {now}" if now else "gone"
        super().__init__(
            f"{path}: this driver slept and lost the season's lock, which is {whose}; it has stopped and "
            "stores nothing more. `phusa status` shows how far the season is"
        )


def lock_file(work: Path, season: Season) -> Path:
    """Where the lock of a season lies."""
    return work / "locks" / f"{season.slug}.json"


@dataclass(frozen=True)
class _Hold:
    """A lock of this process."""

    thread: int
    """Its holder: a driver's own steps may ask again."""
    token: str


_held: dict[Path, _Hold] = {}


@contextmanager
def hold(work: Path, season: Season) -> Iterator[None]:
    """Be the only driver of a season while the block runs. Raises HeldError naming the other one."""
    path = lock_file(work, season)
    if path in _held and _held[path].thread == threading.get_ident():
        yield
        return
    me = _me()
    _take(path, me, season)
    _held[path] = _Hold(threading.get_ident(), me.token)
    done = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, me.token, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        done.set()
        beat.join()
        del _held[path]
        if (now := _read(path)) and now.token == me.token:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def check(path: Path) -> None:
    """Raises LostError unless the lock ``path`` is still this process's own."""
    token = _held[path].token
    with suppress(OSError):
        if (now := _read(path)) and now.token == token:
            os.utime(path)
    for wait in (0.0, 0.2, 1.0):  # a network file system may stumble
        time.sleep(wait)
        if now := _read(path):
            break
    if now is None or now.token != token or _mark(path, token).exists():
        raise LostError(path, now if now and now.token != token else None)


def held(path: Path) -> bool:
    """Whether the lock ``path`` is still this process's own."""
    try:
        check(path)
    except LostError:
        return False
    return True


def holder(work: Path, season: Season) -> Driver | None:
    """The living driver of a season, if there is one."""
    path = lock_file(work, season)
    found = _read(path)
    return found if found and _lives(found, path) else None


def _take(path: Path, me: Driver, season: Season) -> None:
    for _ in range(100):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _create(path, json_text(asdict(me)))
        except FileNotFoundError:
            continue  # the last holder took the empty folder away
        except FileExistsError:
            other = _read(path)
        if other is None:  # gone meanwhile, or its maker died before it wrote
            if _age(path) > STALE_S:
                path.unlink(missing_ok=True)
            time.sleep(0.05)
        elif _lives(other, path):
            raise HeldError(season.name, other)
        else:
            _bury(path, other)
    raise PhusaError(f"the lock {path} can be neither read nor taken; look at it")


def _create(path: Path, text: str) -> None:
    """Make a file with its content at once, unless it exists: linked from beside, which is atomic."""
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
    finally:
        temporary.unlink(missing_ok=True)


def _bury(path: Path, dead: Driver) -> None:
    """Remove the lock of a dead driver. Only one process may: the one that makes the mark of its token."""
    mark = _mark(path, dead.token)
    try:
        _create(mark, "")
    except FileExistsError:
        if _age(mark) > STALE_S:  # whoever made it died as well
            mark.unlink(missing_ok=True)
        time.sleep(0.05)
        return
    try:
        if (now := _read(path)) and now.token == dead.token and not _lives(now, path):
            path.unlink(missing_ok=True)
    finally:
        mark.unlink(missing_ok=True)


def _mark(path: Path, token: str) -> Path:
    return path.with_name(f"{path.stem}.{token}.dead")


def _beat(path: Path, token: str, done: threading.Event) -> None:
    while not done.wait(BEAT_S):
        now = _read(path)
        if (
            now and now.token == token
        ):  # after a long sleep it may be another's, who must not look alive by us
            with suppress(OSError):
                os.utime(path)


def _read(path: Path) -> Driver | None:
    try:
        return Driver(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _lives(driver: Driver, path: Path) -> bool:
    if driver.machine == _machine():
        return _started(driver.pid) == driver.started
    return _age(path) <= STALE_S


def _age(path: Path) -> float:
    """Seconds since a file was touched, by the clock that stamps files there; 0 of a file that is gone."""
    probe = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except OSError:
        return 0.0
    finally:
        probe.unlink(missing_ok=True)


def _me() -> Driver:
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    pid = os.getpid()
    return Driver(socket.gethostname(), pid, now, uuid.uuid4().hex, _machine(), _started(pid))


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # not Linux
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process of this machine started, "" where it does not run."""
    try:
        fields = (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
