"""The acquisition ledger: what became of every read that a catalogue promised."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from features.bands import OPTICAL, RADAR
from pipeline.files import aside
from pipeline.scenes import Dropped, Scene, Scenes
from pipeline.season import Season

#: What a read can end as, besides the kinds of fault.
USED, CLOUD, NODATA, DUPLICATE = "used", "cloud", "nodata", "duplicate"
#: Why a block was not read at all: what the run might spend was spent.
BUDGET = "budget"
#: Days after which one satellite passes the same orbit again.
_CYCLE_DAYS = {OPTICAL: 10, RADAR: 12}


@dataclass(frozen=True)
class Entry:
    """One band of one scene in one block."""

    block: str
    sensor: str
    scene: str
    platform: str
    orbit: str
    date: dt.date
    band: str
    state: str
    """How far it came: catalogued, found (the file answered), read, used."""
    reason: str
    """Why it was not used, "" where it was: cloud, nodata, duplicate, or the kind of fault."""
    detail: str
    share: float
    """Part of the block's pixels that it gave."""


def entry(
    scene: Scene, block: str, band: str, state: str, reason: str = "", detail: str = "", share: float = 0.0
) -> Entry:
    """A line about one band of ``scene`` in one block."""
    return Entry(
        block, scene.sensor, scene.id, scene.platform or "", scene.orbit or "", scene.day, band, state, reason,
        detail, round(share, 6),
    )  # fmt: skip


def write(entries: Iterable[Entry], path: Path) -> None:
    """A parquet table, one row an entry."""
    rows = sorted(entries, key=lambda e: (e.block, e.sensor, e.date, e.scene, e.band))
    kinds = {"date": pyarrow.date32(), "share": pyarrow.float64()}
    schema = pyarrow.schema([(f.name, kinds.get(f.name, pyarrow.string())) for f in fields(Entry)])
    table = pyarrow.Table.from_pylist([asdict(e) for e in rows], schema=schema)
    with aside(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)


def folder(work: Path, season: Season) -> Path:
    """Where a season's tables lie, one a tile: ``<tile>.parquet``."""
    return work / "ledger" / season.slug


def summary(work: Path, season: Season) -> dict[str, Any]:
    """Reads of a season's last run: catalogued, found, read, used, and dropped by reason."""
    return sums(folder(work, season).glob("*.parquet"))


def sums(paths: Iterable[Path]) -> dict[str, Any]:
    """Reads of all ``paths``: catalogued, found, read, used, and dropped by reason."""
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for path in paths:
        table = pyarrow.parquet.read_table(path, columns=["state", "reason"])
        for pair in table.group_by(["state", "reason"]).aggregate([([], "count_all")]).to_pylist():
            counts[pair["state"]] += pair["count_all"]
            if pair["reason"]:
                dropped[pair["reason"]] += pair["count_all"]
    order = ("catalogued", "found", "read", USED)
    reached = {name: sum(counts[later] for later in order[k:]) for k, name in enumerate(order)}
    return {**reached, "dropped": dict(sorted(dropped.items()))}


def released(work: Path, season: Season) -> list[dict[str, Any]]:
    """What became of the reads of a season's last run: one row a tile, scene, band and fate, blocks counted."""
    rows = []
    for path in sorted(folder(work, season).glob("*.parquet")):
        table = pyarrow.parquet.read_table(path)
        keys = ["sensor", "scene", "platform", "orbit", "date", "band", "state", "reason"]
        grouped = table.group_by(keys).aggregate([([], "count_all"), ("share", "mean")])
        for row in grouped.sort_by([(key, "ascending") for key in keys]).to_pylist():
            told = {key: row[key] for key in keys} | {"date": row["date"].isoformat()}
            rows.append(
                {"tile": path.stem, **told, "blocks": row["count_all"], "share": round(row["share_mean"], 6)}
            )
    return rows


def gaps(scenes: Scenes, season: Season) -> list[dict[str, Any]]:
    """Days on which a satellite passes over and no record tells of an image.

    A satellite repeats its orbit exactly (Sentinel-2 after 10 days, Sentinel-1 after 12): from the
    days that are known of one platform and orbit follow the others of the season.
    """
    known: dict[tuple[str, str, str], set[dt.date]] = {}
    everyone: tuple[Scene | Dropped, ...] = (*scenes.kept, *scenes.dropped)
    for one in everyone:
        if one.sensor in _CYCLE_DAYS and one.platform and one.orbit and one.datetime:
            day = one.day if isinstance(one, Scene) else dt.date.fromisoformat(one.datetime[:10])
            known.setdefault((one.sensor, one.platform, one.orbit), set()).add(day)
    found = []
    for (sensor, platform, orbit), days in sorted(known.items()):
        missing = _missing(sorted(days), _CYCLE_DAYS[sensor], season)
        if missing:
            found.append(
                {"sensor": sensor, "platform": platform, "orbit": orbit, "days": [str(d) for d in missing]}
            )
    return found


def _missing(days: Sequence[dt.date], cycle: int, season: Season) -> list[dt.date]:
    """Days of the pattern that has most of the known days, inside the season, without an image."""
    if len(days) < 3:
        return []
    phases = Counter(day.toordinal() % cycle for day in days)
    phase = max(sorted(phases), key=lambda p: phases[p])
    expected = (dt.date.fromordinal(n) for n in range(season.start.toordinal(), season.end.toordinal() + 1))
    return [d for d in expected if d.toordinal() % cycle == phase and d not in days]
