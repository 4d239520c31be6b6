"""The journal of a folder store: ``journals/releases.txt``, a line an entry, its hash and the entry, as ``sha256sum``
writes hashes and names. Only ever appended to; a line that a killed process left unfinished does not count.

A file store cannot know people but by the names that the operating system gives them; whoever may write
the folder may write the journal. Checkpoints tell, see ``journal``.
"""

from __future__ import annotations

import datetime as dt
import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.stores.contract import Event
from pipeline.stores.journal import Entry, Standing, entry, replay

NAME = "journals/releases.txt"
#: Written before readers' catalogue is replaced; what ends it is written after.
PREPARE = "prepare"


@dataclass(frozen=True)
class FolderJournal:
    """The journal of the store in ``folder``."""

    folder: Path

    @property
    def path(self) -> Path:
        """Its file."""
        return self.folder / NAME

    def entries(self) -> list[Entry]:
        """All of them, oldest first; none where there is no journal."""
        try:
            text = self.path.read_bytes().decode("utf-8", errors="replace")
        except FileNotFoundError:
            return []
        found: list[Entry] = []
        for line in text[: text.rfind("\n") + 1].splitlines():
            digest, _, said = line.partition("  ")
            one = Entry(0, said, digest)
            seq = one.content.get("seq")
            found.append(Entry(seq if isinstance(seq, int) else len(found) + 1, said, digest))
        return found

    def append(self, action: str, region: str, season: str, release: str, manifest: str, **more: Any) -> None:
        """Add an entry by the person who runs this process, now. The caller holds the store's lock."""
        known = self.entries()
        said = {
            "by": person(), "action": action, "region": region, "season": season, "release": release,
            "manifest": manifest, **more,
        }  # fmt: skip
        made = entry(known[-1] if known else None, said, dt.datetime.now(dt.UTC))
        self.path.parent.mkdir(exist_ok=True)
        with self.path.open("ab+") as file:
            text = self.path.read_bytes()
            file.truncate(text.rfind(b"\n") + 1)
            file.write(f"{made.hash}  {made.line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def standing(self, region: str, season: str, release: str) -> Standing | None:
        """What it says of a release."""
        return replay(self.entries()).get((region, season, release))

    def unfinished(self) -> dict[str, Any]:
        """The last entry if it announces what did not end, or has not yet; else empty."""
        known = self.entries()
        said = known[-1].content if known else {}
        return said if said.get("action") == PREPARE else {}

    def events(self, region: str) -> list[Event]:
        """Steps of a region's releases."""
        return [
            Event(
                dt.datetime.fromisoformat(s["at"]), s["by"], s["action"], s["season"], s["release"],
                str(s.get("reason") or s.get("remark") or ""),
            )
            for s in (e.content for e in self.entries())
            if s.get("region") == region and s.get("action") != PREPARE
        ]  # fmt: skip


def person() -> str:
    """Login name of who runs this process, as the operating system knows it."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
