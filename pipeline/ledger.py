"""The acquisition ledger: what became of every read that a catalogue promised."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pyarrow
import pyarrow.parquet

from features.bands import OPTICAL, RADAR
from pipeline.files import aside
from pipeline.remote import Cause
from pipeline.scenes import Dropped, Scene, Scenes
from pipeline.season import Season

#: How far a read came: the record is known, the file answered, its pixels were read, they are in the result.
State = Literal["catalogued", "found", "read", "used"]
#: Why a read gave nothing though no fault took it.
Sky = Literal["cloud", "nodata", "duplicate", "other zone"]
#: Why a read was not used, "" where it was.
Reason = Literal[""] | Sky | Cause
USED: Final = "used"
CLOUD: Final = "cloud"
NODATA: Final = "nodata"
DUPLICATE: Final = "duplicate"
#: Why a block was not read at all: what the run might spend was spent.
BUDGET: Final = "budget"
#: A day on which a satellite passed and no record tells of an image.
GAP: Final = "gap"
#: Every reason that a line about a read, or a day without one, may have.
REASONS: tuple[str, ...] = (*get_args(Sky), *get_args(Cause), GAP)
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
    state: State
    reason: Reason
    detail: str
    share: float
    """Part of the block's pixels that it gave."""


def entry(
    scene: Scene,
    block: str,
    band: str,
    state: State,
    reason: Reason = "",
    detail: str = "",
    share: float = 0.0,
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
    """What became of the reads of a season's last run: one row a tile, scene, band and fate, blocks counted,
    with what was seen in one of them."""
    rows: list[dict[str, Any]] = []
    for path in sorted(folder(work, season).glob("*.parquet")):
        table = pyarrow.parquet.read_table(path)
        keys = ["sensor", "scene", "platform", "orbit", "date", "band", "state", "reason"]
        grouped = table.group_by(keys).aggregate([([], "count_all"), ("share", "mean"), ("detail", "min")])
        for row in grouped.sort_by([(key, "ascending") for key in keys]).to_pylist():
            told = {key: row[key] for key in keys} | {"date": row["date"].isoformat()}
            rows.append(
                {
                    "tile": path.stem, **told, "blocks": row["count_all"], "share": round(row["share_mean"], 6),
                    "detail": row["detail_min"],
                }
            )  # fmt: skip
    return rows


def unread(scenes: Scenes, season: Season) -> list[dict[str, Any]]:
    """Rows as ``released`` gives them, of what no block could read: records that the search dropped, each
    with the kind of its reason, and the gaps in the pattern of the orbits."""
    rows = []
    for one in scenes.dropped:
        kind = one.reason.partition(":")[0]
        rows.append(
            _whole(one.sensor, one.platform or "", one.orbit or "", one.datetime[:10])
            | {"scene": one.id, "state": "catalogued", "reason": kind, "detail": one.reason}
        )
    for gap in gaps(scenes, season):
        rows += [
            _whole(gap["sensor"], gap["platform"], gap["orbit"], day)
            | {
                "state": "absent",
                "reason": GAP,
                "detail": "the satellite passed; no record tells of an image",
            }
            for day in gap["days"]
        ]
    return rows


def _whole(sensor: str, platform: str, orbit: str, day: str) -> dict[str, Any]:
    """What a row about the whole region holds; no day where it is not known."""
    return {
        "tile": "", "sensor": sensor, "scene": "", "platform": platform, "orbit": orbit, "date": day or None,
        "band": "*", "state": "", "reason": "", "blocks": 0, "share": 0.0, "detail": "",
    }  # fmt: skip


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
    if phases[phase] < 0.8 * len(days):
        return []  # images that keep no pattern promise none
    expected = (dt.date.fromordinal(n) for n in range(season.start.toordinal(), season.end.toordinal() + 1))
    return [d for d in expected if d.toordinal() % cycle == phase and d not in days]
