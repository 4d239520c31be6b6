"""What every store does: keep drafts, find finished work, and publish a season all at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from pipeline import companions
from pipeline.files import sha256
from pipeline.product import Product, ProductId
from pipeline.season import Season


@dataclass(frozen=True)
class Record:
    """A stored product."""

    id: ProductId
    key: str
    sha256: str
    path: Path
    """Its COG."""
    item: dict[str, Any]
    """Its STAC item."""

    @property
    def intact(self) -> bool:
        """Whether the COG and all that comes with it are, byte for byte, what was stored. Reads every file."""
        stated = companions.files(self.item, self.path) | {self.path: self.sha256}
        try:
            return all(sha256(path) == digest for path, digest in stated.items())
        except OSError:
            return False

    @property
    def lost_reads(self) -> int:
        """Reads that a fault took when the product was made."""
        return int(self.item["properties"].get("phusa:lost_reads", 0))


@dataclass(frozen=True)
class Release:
    """A published season."""

    id: str
    """Digest of its content: publishing the same products again is the same release."""
    season: str
    records: tuple[Record, ...]
    changed: bool
    """False where it was published before."""


class Store(Protocol):
    """Products of one region by (season, tile, target). Readers see published products only."""

    path: Path
    region: str

    def find(self, product: ProductId, key: str) -> Record | None:
        """The draft or published product made from the inputs of ``key``, if its COG is still there."""

    def put(self, product: Product, cog: Path) -> Record:
        """Take over ``cog`` as the draft of ``product``; an older draft of the same id is replaced."""

    def publish(
        self, season: Season, records: Sequence[Record], areas: pd.DataFrame | None = None
    ) -> Release:
        """Make ``records`` and their ``areas`` by unit the published content of ``season``: all, or none.

        What was damaged of a season that is published already is made good.
        """

    def published(self, season: Season) -> list[Record]:
        """What readers see of ``season``."""

    def verify(self) -> list[str]:
        """One line for each published thing that is missing or not what its record says."""

    def close(self) -> None:
        """Let go of connections."""


def work_folder(path: Path, region: str) -> Path:
    """Where a region's run states, trained models, sample tables and scene lists are kept."""
    return path / "work" / region


def release_id(records: Sequence[Record], areas: pd.DataFrame | None = None) -> str:
    """Digest of what a release holds."""
    lines = sorted(f"{r.id.name} {r.key} {r.sha256}" for r in records)
    if areas is not None:
        lines.append(areas.to_csv(index=False, lineterminator="\n"))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
