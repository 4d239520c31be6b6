"""How much imagery a result lacks, and the gate that refuses too much of it.

Loss counts reads (scene, band, block) that were catalogued and needed and that a fault took; never
cloud, no data, or a date that was not flown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.errors import LossError
from pipeline.load import Loss
from pipeline.stores.contract import Record


def percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def of_records(records: Iterable[Record]) -> float:
    """What stored products lack, in percent: lost reads of all reads, or the ground that they took of all
    ground, whichever is more (one lost elevation model is one read, and takes a whole tile)."""
    counts: dict[str, tuple[int, ...]] = {}
    for record in records:  # a tile's targets share their reads
        p = record.item["properties"]
        names = ("lost_reads", "reads", "failed_px", "ground_px")
        counts[record.id.tile] = tuple(int(p.get(f"phusa:{name}", 0)) for name in names)
    lost, reads, failed, ground = (
        (sum(column) for column in zip(*counts.values(), strict=True)) if counts else (0,) * 4
    )
    return max(percent(lost, reads), percent(failed, ground))


def worst(losses: Sequence[Loss]) -> dict[str, int]:
    """Lost reads by scene and reason, the most frequent ten."""
    return dict(Counter(f"{loss.scene}: {loss.reason}" for loss in losses).most_common(10))


def refuse(share: float, allowed: float, lost: dict[str, int]) -> None:
    """Raises LossError where more was lost than the config allows."""
    if share > allowed:
        shown = "; ".join(f"{n} reads of {what}" for what, n in list(lost.items())[:3])
        raise LossError(
            f"{share:.1f} % of the reads or of the ground were lost, max_loss_percent is {allowed:g}: {shown}"
        )
