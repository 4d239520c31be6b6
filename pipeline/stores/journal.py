"""The journal of a store: one line an event, each line stating the hash of the line before.

A line is one JSON object in UTF-8; its hash is the SHA-256 of exactly those bytes, in hex. ``seq`` counts
from 1, ``previous`` is the hash of the line before (64 zeros before the first). So any tool can follow the
chain. Who may rewrite a whole store may rewrite its chain too: a checkpoint kept elsewhere tells.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.files import json_text, write_aside

START = "0" * 64
_KIND = "phusa journal checkpoint"


@dataclass(frozen=True)
class Entry:
    """One line and the hash that is stored with it."""

    seq: int
    line: str
    hash: str

    @property
    def content(self) -> dict[str, Any]:
        """What the line says; nothing where it is no JSON object."""
        try:
            content = json.loads(self.line)
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


def digest(line: str) -> str:
    """Hash of a line."""
    return hashlib.sha256(line.encode()).hexdigest()


def entry(last: Entry | None, said: dict[str, Any], at: dt.datetime) -> Entry:
    """The line that follows ``last`` and says ``said``."""
    seq = last.seq + 1 if last else 1
    stamp = at.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    content = {"seq": seq, "previous": last.hash if last else START, "at": stamp, **said}
    line = json.dumps(content, ensure_ascii=False, sort_keys=True)
    return Entry(seq, line, digest(line))


def faults(entries: Sequence[Entry], where: str) -> list[str]:
    """One sentence for each line that is not as it was written, or not in its place."""
    found = []
    before = START
    for number, e in enumerate(entries, 1):
        name = f"{where}: entry {number}"
        if e.seq != number:
            found.append(f"{name} is missing; entry {e.seq} stands there")
            return found
        said = e.content
        if digest(e.line) != e.hash:
            found.append(f"{name} was altered: its SHA-256 is not {e.hash}")
        elif (said.get("seq"), said.get("previous")) != (number, before):
            found.append(f"{name} does not follow the entry before it")
        before = e.hash
    return found


@dataclass(frozen=True)
class Checkpoint:
    """How far a journal had come: keep it where the store's keepers cannot change it."""

    entries: int
    head: str
    """Hash of the last of them."""

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> Checkpoint:
        """The state of a journal now. Raises InputError where it is empty."""
        if not entries:
            raise InputError("the journal is empty: nothing was released yet")
        return cls(entries[-1].seq, entries[-1].hash)

    def write(self, path: Path) -> None:
        """JSON of kind, entries and head."""
        write_aside(path, json_text({"kind": _KIND, "entries": self.entries, "head": self.head}))

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """Raises InputError where the file is no checkpoint."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["kind"] == _KIND:
                return cls(int(content["entries"]), str(content["head"]))
        except (ValueError, KeyError, TypeError):
            pass
        raise InputError(f"{path} is no checkpoint; `phusa journal checkpoint` writes one")

    def faults(self, entries: Sequence[Entry], where: str) -> list[str]:
        """Nothing if the journal is the one of the checkpoint, perhaps grown."""
        if len(entries) < self.entries:
            return [
                f"{where}: has {len(entries)} entries, the checkpoint {self.entries}: its end was cut off"
            ]
        if self.entries and entries[self.entries - 1].hash != self.head:
            return [
                f"{where}: entry {self.entries} has the hash {entries[self.entries - 1].hash}, the checkpoint "
                f"{self.head}: it or an entry before it was rewritten"
            ]
        return []


@dataclass
class Standing:
    """What the journal says of one release."""

    state: str
    manifest: str
    submitted_by: str | None = None
    """Also who published it, where nobody submitted it before."""
    reviewed_by: str | None = None


def replay(entries: Iterable[Entry]) -> dict[tuple[str, str, str], Standing]:
    """(region, season, release) -> its state after all entries."""
    found: dict[tuple[str, str, str], Standing] = {}
    for e in entries:
        said = e.content
        # Samples are no release's, and of a spoiled entry ``faults`` tells.
        if said.get("action") == "import" or "release" not in said:
            continue
        key = (str(said.get("region")), str(said.get("season")), str(said.get("release")))
        manifest = str(said.get("manifest"))
        one = found.setdefault(key, Standing("draft", manifest))
        one.manifest = manifest
        match said.get("action"):
            case "submit":
                one.state, one.submitted_by, one.reviewed_by = "draft", str(said.get("by")), None
            case "review":
                one.state, one.reviewed_by = "reviewed", str(said.get("by"))
            case "reject" | "withdraw":
                one.state = "withdrawn"
            case "publish":
                for other, standing in found.items():
                    if other[:2] == key[:2] and standing.state == "official":
                        standing.state = "superseded"
                one.state, one.submitted_by = "official", one.submitted_by or str(said.get("by"))
    return found
