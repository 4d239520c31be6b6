"""How much imagery a result lacks, and the gate that refuses too much of it.

Loss counts reads (scene, band, block) that were catalogued and needed and that a fault took; never
cloud, no data, or a date that was not flown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pipeline.errors import LossError
from pipeline.stack import Loss
from pipeline.stores.contract import Record


def percent(part: int, whole: int) -> float:
    """``part`` of ``whole`` in percent; 0 of nothing."""
    return 100 * part / whole if whole else 0.0


def of_records(records: Iterable[Record]) -> float:
    """Share of reads, in percent, that stored products lack; a tile's targets share their reads."""
    counts: dict[str, tuple[int, int]] = {}
    for record in records:
        p = record.item["properties"]
        counts[record.id.tile] = (int(p.get("phusa:lost_reads", 0)), int(p.get("phusa:reads", 0)))
    return percent(sum(v[0] for v in counts.values()), sum(v[1] for v in counts.values()))


def refuse_ground(failed_px: int, ground_px: int, what: str) -> None:
    """Raises LossError where lost reads took most of the ground: one lost elevation model is one read of
    hundreds, and leaves a whole tile without a slope."""
    if 2 * failed_px > ground_px:
        raise LossError(
            f"{what}: {percent(failed_px, ground_px):.0f} % of the ground cannot be mapped for few lost reads"
        )


def refuse_records(records: Sequence[Record], allowed: float) -> None:
    """Raises LossError where stored products lack too many reads, or too much ground."""
    lost = {f"tile {r.id.tile}": r.lost_reads for r in records if r.lost_reads}  # its targets share them
    refuse(of_records(records), allowed, lost)
    for record in records:
        p = record.item["properties"]
        refuse_ground(int(p.get("phusa:failed_px", 0)), int(p.get("phusa:ground_px", 0)), record.id.name)


def worst(losses: Sequence[Loss]) -> dict[str, int]:
    """Lost reads by scene and reason, the most frequent ten."""
    return dict(Counter(f"{loss.scene}: {loss.reason}" for loss in losses).most_common(10))


def refuse(share: float, allowed: float, lost: dict[str, int]) -> None:
    """Raises LossError where more was lost than the config allows."""
    if share > allowed:
        shown = "; ".join(f"{n} reads of {what}" for what, n in list(lost.items())[:3])
        raise LossError(f"{share:.1f} % of the reads were lost, max_loss_percent is {allowed:g}: {shown}")
