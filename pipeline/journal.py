"""What a run does, written down as it goes: one JSON object a line, by which others follow and learn.

``status`` reads the last lines of a living run; `phusa forecast` learns from those of past runs; metrics
and logs are told the same events. A journal is never an input of a product.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.season import Season

#: One line of a journal.
Event = dict[str, Any]
Listener = Callable[[Event], None]

#: How a run ended. No ``end`` line at all: it was killed.
DONE, FAILED, BUDGET, INTERRUPTED = "done", "failed", "budget", "interrupted"


def folder(work: Path, season: Season) -> Path:
    """Where the journals of a season's runs lie, oldest first by name."""
    return work / "journals" / season.slug


class Journal:
    """The journal of one run; ``listeners`` hear each event too."""

    def __init__(self, work: Path, season: Season, listeners: Sequence[Listener] = ()) -> None:
        self.listeners = listeners
        place = folder(work, season)
        place.mkdir(parents=True, exist_ok=True)
        now = dt.datetime.now(dt.UTC)
        self.path = place / f"{now:%Y%m%dT%H%M%S.%fZ}-{os.getpid()}.jsonl"
        self._file = self.path.open("a", encoding="utf-8")
        self._start = time.monotonic()

    def tell(self, event: str, **facts: Any) -> None:
        """Write one line, with the time of day and the seconds since the run began."""
        line = {
            "event": event,
            "at": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
            "seconds": round(self.seconds, 3),
            **facts,
        }
        self._file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        self._file.flush()
        for listener in self.listeners:
            listener(line)

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return time.monotonic() - self._start

    def close(self) -> None:
        """Nothing more is told."""
        self._file.close()


def here() -> dict[str, Any]:
    """The machine and process that drive a run."""
    return {"host": socket.gethostname(), "pid": os.getpid()}


@dataclass
class Told:
    """A journal read back."""

    path: Path
    start: Event
    blocks: list[Event] = field(default_factory=list)
    tiles: list[Event] = field(default_factory=list)
    failed: list[Event] = field(default_factory=list)
    end: Event | None = None
    workers: list[Event] = field(default_factory=list)
    """When none was left, and when some were back."""

    @property
    def last(self) -> Event:
        """The latest line."""
        events = [self.start, *self.blocks, *self.tiles, *self.failed, *self.workers]
        events += [self.end] if self.end else []
        return max(events, key=lambda e: e["seconds"])

    @property
    def waiting(self) -> bool:
        """Whether the run waits for workers: none is left."""
        return bool(self.workers) and not self.workers[-1]["workers"]

    @property
    def network_bytes(self) -> int:
        """Bytes over the network of all worker processes; blocks of one process share its meter."""
        low: dict[str, int] = {}
        high: dict[str, int] = {}
        for block in self.blocks:
            process, (before, after) = block["process"], block["brought"]
            low[process] = min(before, low.get(process, before))
            high[process] = max(after, high.get(process, after))
        return sum(high[p] - low[p] for p in high)

    @property
    def local_bytes(self) -> int:
        """Bytes read from files of this file system, as estimated."""
        return sum(block["local_bytes"] for block in self.blocks)


def read(path: Path) -> Told | None:
    """A journal; None where it has no first line. A torn last line is left out: its writer was killed."""
    told: Told | None = None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        try:
            event = json.loads(line)
            kind = event["event"]
        except (ValueError, TypeError, KeyError):
            continue
        if kind == "start":
            told = Told(path, event)
        elif told is None:
            continue
        elif kind in ("block", "tile", "failed", "workers"):
            kept = {"block": told.blocks, "tile": told.tiles, "failed": told.failed, "workers": told.workers}
            kept[kind].append(event)
        elif kind == "end":
            told.end = event
    return told


def last(work: Path, season: Season) -> Told | None:
    """The latest journal of a season."""
    for path in sorted(folder(work, season).glob("*.jsonl"), reverse=True):
        if told := read(path):
            return told
    return None


def all_of(work: Path, season: Season | None = None) -> list[Told]:
    """Every journal of a region's runs, or of one season's, oldest first."""
    paths = sorted(work.glob(f"journals/{season.slug if season else '*'}/*.jsonl"), key=lambda p: p.name)
    return [told for path in paths if (told := read(path))]


def pace(told: Told) -> tuple[float | None, float | None]:
    """Blocks a minute of late, and seconds that remain at that pace; None where nothing is done yet.

    Of late: over the last 20 blocks or all there are, so that a slow start is forgotten.
    """
    times = [told.start["seconds"], *(block["seconds"] for block in told.blocks)][-21:]
    if len(times) < 2 or times[-1] <= times[0]:
        return None, None
    rate = (len(times) - 1) / (times[-1] - times[0])
    left = told.start["blocks"] - len(told.blocks) - len(told.failed)
    return 60 * rate, left / rate
