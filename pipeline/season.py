"""Season: a named span of days, the time half of every product."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Season:
    """``name`` with first and last day, both included; may cross New Year."""

    name: str
    start: dt.date
    end: dt.date

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"season {self.name!r} ends {self.end} before it starts {self.start}")

    def __str__(self) -> str:
        return self.name

    def __contains__(self, day: object) -> bool:
        return isinstance(day, dt.date) and self.start <= day <= self.end

    @property
    def interval(self) -> str:
        """RFC 3339 interval for a STAC search, a day wider on both sides.

        Scenes belong by solar day, and a morning pass over Viet Nam is the day before in UTC.
        """
        day = dt.timedelta(days=1)
        return f"{self.start - day}T00:00:00Z/{self.end + day}T23:59:59.999Z"

    @property
    def slug(self) -> str:
        """The name as a file name."""
        return slug(self.name)


def slug(name: str) -> str:
    """A season's name as a file name; names that differ stay different."""
    plain = re.sub(r"[^\w.-]", "_", name)
    if plain == name and plain.strip("."):
        return plain
    return f"{plain.strip('.')}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"
