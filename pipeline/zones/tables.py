"""Tables of areas by unit: whole square metres that add up, each with its interval and unknown share.

Two estimators, never mixed in one column. ``map``: cells counted by their mapped class; adds up, and is
biased where the map is. ``expected``: area x probability; adds up too, and carries the interval
(``errors``), which is of the true area, on the land that has a value. The third, adjusted by reference
samples (``models.area``), has a table of its own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.correlation import Correlation
from pipeline.zones import errors
from pipeline.zones.kernels import FULL, Ints
from pipeline.zones.rounding import MM2, apportion, controlled
from pipeline.zones.tally import BASE, Places, Sums
from pipeline.zones.themes import MASKED, OUTSIDE, UNKNOWN, UNMAPPED, Theme

Floats = NDArray[np.float64]
#: Level of the row of what lies in no zone.
UNASSIGNED = "unassigned"
_BASIS_VI = {"stated": "do người dùng nêu", "estimated": "ước lượng từ mẫu để riêng", "assumed": "giả định"}
LEVELS_VI = {
    "commune": "xã", "province": "tỉnh", "region": "vùng", "nation": "toàn bộ", UNASSIGNED: "chưa thuộc đơn vị nào",
    "zone": "thửa/vùng",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Leaves:
    """Whole square metres by zone; the last zone is what none covers."""

    classes: Ints
    """(zone, class)"""
    expected: Ints
    """(zone, measure with a probability)"""

    @classmethod
    def agreeing(cls, sums: Sums) -> Leaves:
        """Rounded so that the zones of a class sum to its rounded total, and the classes of a zone to its own.

        What is outside, masked and land is rounded before the land is divided: these do not depend on the
        theme, so a unit has one area of land in the tables of every theme.
        """
        classes = _agreeing(sums.high[0], sums.low[0])
        expected = [
            apportion(sums.weight_high[:, k], sums.weight_low[:, k], BASE) for k in range(sums.weighted)
        ]
        empty = np.zeros((sums.zones, 0), np.int64)
        return cls(classes, np.column_stack(expected) if expected else empty)

    @classmethod
    def each(cls, sums: Sums) -> Leaves:
        """Each zone rounded for itself, its classes so that they sum to its rounded area."""
        whole, rest = sums.high[0] // MM2, sums.high[0] % MM2
        more = (rest.sum(axis=1) + MM2 // 2) // MM2
        place = np.argsort(np.argsort(-rest, axis=1, kind="stable"), axis=1, kind="stable")
        return cls(whole + (place < more[:, None]), (sums.weight_high + MM2 // 2) // MM2)


def _agreeing(high: Ints, low: Ints) -> Ints:
    unseen = [apportion(high[:, k], low[:, k], FULL) for k in (OUTSIDE, MASKED)]
    high, low = high[:, MASKED + 1 :], low[:, MASKED + 1 :]
    return np.column_stack([*unseen, _divided(high, low, apportion(*_carried(high, low), FULL))])


def _divided(high: Ints, low: Ints, zones: Ints) -> Ints:
    """Classes (zone, class) that sum to ``zones``, and to their own rounded totals."""
    totals = apportion(*_carried(high.T, low.T), FULL, int(zones.sum()))
    return controlled(high, low, FULL, zones, totals)


def _carried(high: Ints, low: Ints) -> tuple[Ints, Ints]:
    """Sums over the last axis, the low part below FULL again."""
    more = low.sum(axis=-1)
    return high.sum(axis=-1) + more // FULL, more % FULL


@dataclass(frozen=True, eq=False)
class Unit:
    """A row to be: a zone or a sum of zones."""

    level: str
    code: str
    name: str
    zones: Ints


def rows(
    theme: Theme, sums: Sums, leaves: Leaves, units: Sequence[Unit], correlation: Correlation
) -> pd.DataFrame:
    """One row a unit; areas in m2, shares in percent, intervals of 95 %. Missing intervals are absent (NA)."""
    classes, expected = _summed(leaves.classes, units), _summed(leaves.expected, units)
    spread2 = _variances(sums, units, correlation)
    mapped = classes[:, len(UNMAPPED) :].sum(axis=1)
    unknown = classes[:, UNKNOWN].sum(axis=1)
    table: dict[str, Any] = {
        "level": [u.level for u in units],
        "code": [u.code for u in units],
        "name": [u.name for u in units],
        "land_m2": mapped + unknown,
        "mapped_m2": mapped,
        "unknown_m2": unknown,
        "unknown_percent": _percent(unknown, mapped + unknown),
        "masked_m2": classes[:, MASKED],
        "outside_m2": classes[:, OUTSIDE],
    }
    bounds = {}
    for measure in theme.measures:
        table[f"{measure.name}_map_m2"] = classes[:, list(measure.classes)].sum(axis=1)
        lower = upper = middle = pd.array([pd.NA] * len(units), dtype="Int64")
        if measure.name in theme.probable:
            k = theme.probable.index(measure.name)
            low, high = errors.interval(expected[:, k], spread2[:, k], mapped)
            # Bounds widen to whole m2; the expected area is one of them already.
            lower, upper, middle = (
                pd.array(v.astype(np.int64), dtype="Int64")
                for v in (np.floor(low), np.minimum(np.ceil(high), mapped), expected[:, k])
            )
            bounds[measure.name] = expected[:, k], low, high
        for name, values in (("expected", middle), ("lower", lower), ("upper", upper)):
            table[f"{measure.name}_{name}_m2"] = values
    if theme.headline in bounds:
        for name, area in zip(("", "_lower", "_upper"), bounds[theme.headline], strict=True):
            table[f"headline{name}_percent"] = _percent(area, mapped)
    made = pd.DataFrame(table).assign(note=note(theme, correlation))
    head = [c for c in made.columns if c.startswith("headline")]
    first = [*made.columns[:3], *head]  # what planners look for stands beside the name
    return made[[*first, *(c for c in made.columns if c not in first)]]


def note(theme: Theme, correlation: Correlation) -> str:
    """What every row of a table must say of itself."""
    nugget = f", nugget {_vi(correlation.nugget)}" if correlation.nugget else ""
    parts = [
        "SIMULATED - dữ liệu mô phỏng" if theme.simulated else "",
        "ngưỡng phân loại chưa được xác minh" if theme.target.status == "unverified" else "",
        f"mặt nạ đất nông nghiệp: {theme.mask_version}" if theme.mask_version else "",
        f"khoảng 95 %: sai số tương quan exp(-d / {_vi(round(correlation.range_m / 1000, 2))} km){nugget}"
        f" ({_BASIS_VI[correlation.basis]})"
        if theme.probable
        else f"không có khoảng tin cậy: bản đồ thiếu lớp {', '.join(theme.missing)}",
    ]
    return "; ".join(p for p in parts if p)


def _vi(value: float) -> str:
    return f"{value:g}".replace(".", ",")


def _percent(part: Any, whole: Ints) -> Floats:
    return np.where(whole > 0, 100 * np.asarray(part) / np.maximum(whole, 1), np.nan).round(4)


def _variances(sums: Sums, units: Sequence[Unit], correlation: Correlation) -> Floats:
    """(unit, layer) in m4."""
    if not sums.places:
        return np.zeros((len(units), sums.weighted))
    places = Places(*(np.concatenate([getattr(p, name) for p in sums.places]) for name in _PLACE))
    order = np.argsort(places.zone, kind="stable")
    places = places.of(order)
    first = np.searchsorted(places.zone, np.arange(sums.zones + 1))
    by_zone = errors.variances(places, first, correlation)
    found = np.zeros((len(units), sums.weighted))
    for k, unit in enumerate(units):
        if len(unit.zones) == 1:
            found[k] = by_zone[unit.zones[0]]
        elif len(unit.zones):
            chosen = np.concatenate([np.arange(first[z], first[z + 1]) for z in unit.zones])
            found[k] = errors.variance(places.of(chosen), correlation)
    return found


def _summed(values: Ints, units: Sequence[Unit]) -> Ints:
    """Values (zone, column) summed over the zones of each unit."""
    if all(len(u.zones) == 1 for u in units):
        return values[np.array([u.zones[0] for u in units], np.int64)]
    return np.array([values[u.zones].sum(axis=0) for u in units])


_PLACE = ("zone", "middle", "size", "spread")


def ranking(
    table: pd.DataFrame, middle: Floats, correlation: Correlation, draws: int = 1000, seed: int = 1
) -> pd.DataFrame:
    """Units by how much bad land they are expected to hold, with the uncertainty of their rank.

    ``middle`` (unit, 3): metres from the Earth's centre. Draws of the units' shares follow their intervals;
    those of near units go together by ``correlation``. Adds rank, its 90 % interval, and the probability of
    being among the first tenth.
    """
    share = table["headline_percent"].to_numpy(np.float64)
    known = ~np.isnan(share)
    area = np.where(known, share / 100 * table["mapped_m2"].to_numpy(np.float64), 0)
    width = (table["headline_upper_percent"] - table["headline_lower_percent"]).to_numpy(np.float64)
    sd = np.nan_to_num(width) / 100 * table["mapped_m2"].to_numpy(np.float64) / (2 * 1.959964)
    far = np.linalg.norm(middle[:, None] - middle[None], axis=2)
    rho = (1 - correlation.nugget) * np.exp(-far / correlation.range_m) + 1e-9 * np.eye(len(area))
    np.fill_diagonal(rho, 1 + 1e-9)
    noise = np.random.default_rng(seed).standard_normal((draws, len(area))) @ np.linalg.cholesky(rho).T
    drawn = np.clip(area + sd * noise, 0, table["mapped_m2"].to_numpy(np.float64))
    ranks = _ranks(drawn)
    low, high = np.percentile(ranks, [5, 95], axis=0, method="nearest").astype(np.int64)
    first = max(1, round(len(area) / 10))
    made = table.assign(
        rank=_ranks(area[None])[0], rank_lower=low, rank_upper=high,
        in_first_tenth_percent=(100 * (ranks <= first).mean(axis=0)).round(1),
    )  # fmt: skip
    return made.sort_values(["rank", "code"], kind="stable").reset_index(drop=True)


def _ranks(values: Floats) -> Ints:
    """1 for the largest of each row; ties keep their order."""
    order = np.argsort(-values, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, values.shape[1] + 1)[None].repeat(len(values), 0), axis=1)
    return ranks


def tidy(theme: Theme, table: pd.DataFrame, units_of: dt.date, mask_version: str) -> pd.DataFrame:
    """One row a unit and measure, as the stores keep it."""
    same = ["level", "code", "name", "land_m2", "mapped_m2", "unknown_m2", "unknown_percent"]
    found = []
    for measure in theme.measures:
        part = pd.DataFrame(table[same])
        part.insert(0, "target", theme.target.name)
        part.insert(1, "units_of", units_of.isoformat())
        part.insert(2, "mask_version", mask_version)
        part.insert(6, "indicator", measure.name)
        part["note"] = table["note"]
        for kind in ("map", "expected", "lower", "upper"):
            part[f"{kind}_m2"] = table[f"{measure.name}_{kind}_m2"]
        found.append(part)
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def for_readers(table: pd.DataFrame) -> pd.DataFrame:
    """The same with the words of its cells in Vietnamese."""
    return table.assign(level=table["level"].map(LEVELS_VI)) if "level" in table else table


def all_headings(theme: Theme) -> dict[str, str]:
    """Column -> its heading for Vietnamese readers, with the unit."""
    fixed = {
        "level": "Cấp", "code": "Mã", "name": "Tên", "land_m2": "Đất nông nghiệp (m²)",
        "mapped_m2": "Đã đánh giá (m²)", "unknown_m2": "Chưa biết (m²)", "unknown_percent": "Chưa biết (%)",
        "masked_m2": "Ngoài đất nông nghiệp (m²)", "outside_m2": "Ngoài vùng lập bản đồ (m²)",
        "note": "Ghi chú", "rank": "Thứ tự ưu tiên", "rank_lower": "Thứ tự, cận dưới 90 %", "rank_upper": "Thứ tự, cận trên 90 %",
        "in_first_tenth_percent": "Xác suất thuộc 10 % đầu (%)",
    }  # fmt: skip
    titles = {m.name: m.vi for m in theme.measures}
    kinds = {
        "map": "đếm trên bản đồ (m²)", "expected": "kỳ vọng (m²)", "lower": "cận dưới 95 % (m²)",
        "upper": "cận trên 95 % (m²)",
    }  # fmt: skip
    for name, title in titles.items():
        fixed |= {f"{name}_{kind}_m2": f"{_capital(theme, name, title)}: {vi}" for kind, vi in kinds.items()}
    if theme.headline:
        title = _capital(theme, theme.headline, titles[theme.headline])
        fixed |= {
            "headline_percent": f"Tỷ lệ đất: {title} (%)",
            "headline_lower_percent": f"Tỷ lệ đất: {title}, cận dưới 95 % (%)",
            "headline_upper_percent": f"Tỷ lệ đất: {title}, cận trên 95 % (%)",
        }
    return fixed


def _capital(theme: Theme, name: str, title: str) -> str:
    return title if theme.target.kind == "class" else f"{theme.target.title.vi} {title}"
