"""A season's run on one page: where blocks stand, what became of the images, time by stage, cost and forecast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import jinja2
import numpy as np

from pipeline import blocktable, forecast, journal, ledger
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.forecast import Interval
from pipeline.journal import Told
from pipeline.prices import Prices
from pipeline.season import Season

_PAGE = "runreport.html.j2"
#: Longer side of a map on the page, in its own units.
_SIDE = 640
#: State -> colour, Vietnamese, English. Colours stay apart for the colour-blind (Okabe and Ito 2008).
STATES = {
    "stored": ("#009e73", "đã xong", "done"),
    "failed": ("#d55e00", "lỗi", "failed"),
    "budget": ("#e69f00", "hết ngân sách", "left by the budget"),
    "missing": ("#bbbbbb", "chưa làm", "not reached"),
}
#: Ends of runs in both languages.
_ENDS = {
    journal.DONE: ("hoàn thành", "done"),
    journal.FAILED: ("có khối lỗi", "some blocks failed"),
    journal.BUDGET: ("dừng vì hết ngân sách", "stopped by its budget"),
    journal.INTERRUPTED: ("bị ngắt", "interrupted"),
    "": ("đang chạy hoặc bị tắt đột ngột", "still going on, or killed"),
}
_STAGES = {
    "ready": ("chuẩn bị: biên dịch, nạp mô hình", "get ready: compile, load models"),
    "load": ("đọc ảnh", "load images"),
    "compute": ("đặc trưng và mô hình", "features and models"),
    "store": ("ghi khối", "store blocks"),
    "encode": ("mã hóa COG", "encode COGs"),
    "put": ("đăng ký vào kho", "register in the store"),
}


def page(config: Config, season: Season, work: Path, status: dict[str, Any]) -> str:
    """One HTML file, nothing beside it; ``status`` as ``production.status`` tells of the season.

    Raises InputError where the season was never mapped.
    """
    told = journal.all_of(work, season)
    if not told:
        raise InputError(f"season {season.name!r} has not been mapped: there is no run to report on")
    table = blocktable.read(work, season)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template(_PAGE).render(
        region=config.region.name, season=season, status=status,
        states=STATES, counts=_counts(table), maps=_maps(table),
        runs=[_run(t) for t in told[-10:]], stages=_stages(told), names=_STAGES,
        ledger=ledger.summary(work, season), costs=_costs(told[-1], config.rates), last=_run(told[-1]),
        failed=[{"block": f["block"], "error": f["error"]} for f in told[-1].failed][:20],
        worst=_worst(table), peak_gb=max((b["peak_bytes"] for b in told[-1].blocks), default=0) / 1e9,
        stated_gb=told[-1].start.get("peak_bytes", 0) / 1e9,
    )  # fmt: skip


def _counts(table: geopandas.GeoDataFrame | None) -> dict[str, int]:
    found = _per_block(table).groupby("state").size().to_dict() if table is not None and len(table) else {}
    return {state: int(found.get(state, 0)) for state in STATES}


def _per_block(table: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """One row a block, that of the target that is furthest behind."""
    ranks = {"failed": 0, "missing": 1, "budget": 2, "stored": 3}
    ranked = table.assign(rank=table.state.map(ranks)).sort_values(["rank", "target"])
    return ranked.groupby("block", as_index=False).first()


def _run(told: Told) -> dict[str, Any]:
    vi, en = _ENDS[told.end["state"] if told.end else ""]
    took = (told.end or told.last)["seconds"] - told.start["seconds"]
    return {
        "begun": told.start["at"][:19].replace("T", " "), "host": told.start["host"], "vi": vi, "en": en,
        "blocks": told.start["blocks"], "mapped": len(told.blocks), "failed": len(told.failed),
        "minutes": took / 60, "threads": told.start["threads"],
        "gb": (told.network_bytes + told.local_bytes) / 1e9, "products": len(told.tiles),
    }  # fmt: skip


def _stages(told: Sequence[Told]) -> list[dict[str, Any]]:
    """Wall and processor seconds by stage over all runs of the season, and each one's share of the wall."""
    sums: dict[str, list[float]] = {name: [0.0, 0.0] for name in _STAGES}
    for run in told:
        for event in (*run.blocks, *run.tiles):
            stages = event["stages"]
            parts = {name: pair for name, pair in stages.items() if name in sums}
            if "total" in stages:
                known = [stages.get(n, (0.0, 0.0)) for n in ("ready", "load", "store")]
                parts["compute"] = [stages["total"][k] - sum(v[k] for v in known) for k in (0, 1)]
            for name, (wall, cpu) in parts.items():
                sums[name][0] += wall
                sums[name][1] += cpu
    whole = sum(wall for wall, _ in sums.values()) or 1.0
    return [{"name": n, "wall": w, "cpu": c, "share": 100 * w / whole} for n, (w, c) in sums.items()]


def _costs(told: Told, rates: Prices | None) -> list[dict[str, Any]]:
    """What the last run took beside what was forecast for it as it began."""
    said = told.start.get("forecast")
    if said is None or not told.blocks:
        return []
    taken = forecast.taken_of(told)
    parts = [
        ("core_hours", "giờ lõi", "core-hours", taken.core_s / 3600),
        ("wall_hours", "giờ đồng hồ", "wall hours", taken.wall_s / 3600),
        ("read_gb", "GB đã đọc", "GB read", taken.bytes / 1e9),
        ("disk_gb", "GB trên đĩa", "GB on disk", taken.disk / 1e9),
    ]
    rows = [
        {"vi": vi, "en": en, "actual": actual, "expected": said[n]["expected"], "low": said[n]["low"], "high": said[n]["high"]}
        for n, vi, en, actual in parts
    ]  # fmt: skip
    if rates is not None:
        amounts = {
            n: Interval(**said[n]) for n in ("core_hours", "wall_hours", "read_gb", "network_gb", "disk_gb")
        }
        money = forecast.money(forecast.Forecast(**amounts, learnt_from=said["learnt_from"]), rates)
        paid = rates.core_hour * taken.core_s / 3600 + rates.disk_gb * taken.disk / 1e9
        paid += rates.network_gb * told.network_bytes / 1e9
        rows.append({"vi": f"tiền, {rates.currency}", "en": f"money, {rates.currency}", "actual": paid,
                     "expected": money.expected, "low": money.low, "high": money.high})  # fmt: skip
    for row in rows:
        row["inside"] = row["low"] <= row["actual"] <= row["high"]
    return rows


def _worst(table: geopandas.GeoDataFrame | None) -> list[dict[str, Any]]:
    """The blocks with most loss, then with fewest clear dates."""
    if table is None or not len(table):
        return []
    known = table[table.state == "stored"].dropna(subset=["reads"])
    order = known.sort_values(["loss_percent", "clear_dates", "block"], ascending=[False, True, True])
    columns = ["block", "target", "clear_dates", "loss_percent", "ground_px", "mapped_px"]
    return list(order.head(10)[columns].to_dict("records"))


def _maps(table: geopandas.GeoDataFrame | None) -> list[dict[str, Any]]:
    """Two maps as SVG shapes: the state of each block, and its clear dates."""
    if table is None or not len(table):
        return []
    per_block = _per_block(table)
    place = _Frame(geopandas.GeoSeries(table.geometry).total_bounds)
    dates = per_block.clear_dates.to_numpy(float)
    most = float(np.nanmax(dates)) if np.isfinite(dates).any() else 0.0
    states, clear = [], []
    for row in per_block.itertuples():
        shape = place.path(row.geometry)
        vi, en = STATES[row.state][1:]
        states.append({"d": shape, "fill": STATES[row.state][0], "title": f"{row.block}: {vi} · {en}"})
        known = np.isfinite(row.clear_dates)
        title = f"{row.block}: {row.clear_dates:.1f}" if known else row.block
        clear.append(
            {"d": shape, "fill": _ramp(row.clear_dates / most if known and most else None), "title": title}
        )
    size = {"width": place.width, "height": place.height, "most": most}
    return [
        {"vi": "Trạng thái từng khối", "en": "State of each block", "shapes": states, "kind": "states", **size},
        {"vi": "Số ngày quang mây trung bình", "en": "Mean number of clear dates", "shapes": clear, "kind": "dates", **size},
    ]  # fmt: skip


def _ramp(value: float | None) -> str:
    """Light to dark blue; grey where nothing is known."""
    if value is None:
        return "#bbbbbb"
    light, dark = np.array([239, 243, 255]), np.array([8, 48, 107])
    red, green, blue = (int(v) for v in np.rint(light + value * (dark - light)))
    return f"#{red:02x}{green:02x}{blue:02x}"


class _Frame:
    """Degrees to the units of a map whose longer side is ``_SIDE``, shapes kept true at its middle latitude."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.west, south, east, self.north = (float(v) for v in bounds)
        self.narrow = float(np.cos(np.radians((south + self.north) / 2)))
        wide, tall = max(1e-9, (east - self.west) * self.narrow), max(1e-9, self.north - south)
        self.scale = _SIDE / max(wide, tall)
        self.width, self.height = round(wide * self.scale, 1), round(tall * self.scale, 1)

    def path(self, shape: Any) -> str:
        """An SVG path of an outline."""
        if shape.geom_type != "Polygon":
            return "".join(self.path(part) for part in shape.geoms)
        points = (
            f"{(x - self.west) * self.narrow * self.scale:.1f},{(self.north - y) * self.scale:.1f}"
            for x, y in shape.exterior.coords
        )
        return "M" + "L".join(points) + "Z"
