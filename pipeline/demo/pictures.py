"""Pictures of the demonstration's maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

import features
from features.spec import FeatureSpec
from models.targets import Target, Title
from pipeline import quicklook
from pipeline.config import Config
from pipeline.demo.scores import Layers
from pipeline.load import load
from pipeline.quicklook import Scale, Sheet
from pipeline.scenes import Scenes

#: Rows loaded at a time for the true-colour picture: bounds the memory.
_ROWS = 256
_ECE = (0.5, 1, 2, 4, 8, 16, 32)


def draw(
    folder: Path, config: Config, season: str, found: Scenes, maps: Mapping[str, Layers], geobox: GeoBox
) -> dict[str, Path]:
    """Write the pictures and return name -> file, in the order of the page.

    ``maps`` holds each target's layers on ``geobox``.
    """
    made: dict[str, Path] = {}
    simulated = any(s.simulated for s in found.kept)

    def sheet(vi: str, en: str, footnote: str = "") -> Sheet:
        return Sheet(Title(vi=vi, en=en), geobox.affine, footnote, simulated)

    for target in config.targets:
        layers = maps[target.name]
        if target.kind == "class":
            _class_pictures(folder, target, layers, season, sheet, made)
        else:
            _quantity_pictures(folder, target, layers, season, sheet, made)
    made["true_colour"] = folder / "true_colour.png"
    quicklook.true_colour(
        made["true_colour"],
        median_colour(found, geobox, config.clouds.dilate_m),
        sheet(
            f"Ảnh màu thực, trung vị mùa {season}",
            f"True colour, median of season {season}",
            "Sentinel-2 mô phỏng / simulated Sentinel-2" if simulated else "Sentinel-2",
        ),
    )
    some = maps[config.targets[0].name]
    made["clear_dates"] = folder / "clear_dates.png"
    quicklook.counts(
        made["clear_dates"], some["clear_dates"], "số ngày / dates",
        sheet(f"Số ngày quang mây, mùa {season}", f"Dates with a clear view, season {season}"),
    )  # fmt: skip
    return made


def _class_pictures(
    folder: Path, target: Target, layers: Layers, season: str, sheet: Any, made: dict[str, Path]
) -> None:
    unverified = "" if target.status == "verified" else "ngưỡng chưa kiểm chứng / thresholds unverified"
    if "risk" in layers:
        bad = ", ".join(c.title.vi.lower() for c in target.classes if c.name in target.bad_classes)
        path = made[f"{target.name}_risk"] = folder / f"{target.name}_risk.png"
        quicklook.quantity(
            path, layers["risk"], Scale("xác suất / probability", "magma_r", 0, 1),
            sheet(f"Nguy cơ: {target.title.vi.lower()}, mùa {season}",
                  f"Risk: {target.title.en.lower()}, season {season}", f"xác suất của: {bad}"),
        )  # fmt: skip
    path = made[f"{target.name}_class"] = folder / f"{target.name}_class.png"
    quicklook.classes(
        path, layers["class"], target.classes,
        sheet(f"{target.title.vi}, mùa {season}", f"{target.title.en}, season {season}", unverified),
    )  # fmt: skip


def _quantity_pictures(
    folder: Path, target: Target, layers: Layers, season: str, sheet: Any, made: dict[str, Path]
) -> None:
    path = made[target.name] = folder / f"{target.name}.png"
    quicklook.quantity(
        path, layers["estimate"], _scale(target, layers["estimate"], target.unit, "viridis"),
        sheet(f"{target.title.vi}, mùa {season}", f"{target.title.en}, season {season}"),
    )  # fmt: skip
    path = made[f"{target.name}_interval"] = folder / f"{target.name}_interval.png"
    width = layers["upper"] - layers["lower"]
    percent = f"{100 * target.interval:g} %"
    quicklook.quantity(
        path, width, _scale(target, width, target.unit, "cividis"),
        sheet(f"{target.title.vi}: độ rộng khoảng {percent}, mùa {season}",
              f"{target.title.en}: width of the {percent} interval, season {season}"),
    )  # fmt: skip


def _scale(target: Target, values: NDArray[Any], label: str, colours: str) -> Scale:
    """A log scale for a quantity that is learnt as a log, with round limits around the values."""
    if target.transform == "log":
        low, high = np.nanpercentile(values, [1, 99])
        ticks = tuple(t for t in _ECE if low / 2 <= t <= high * 2)
        if len(ticks) > 1:
            return Scale(label, colours, ticks[0], ticks[-1], log=True, ticks=ticks)
    low, high = np.nanpercentile(values, [1, 99])
    return Scale(label, colours, float(low), float(max(high, low + 1e-6)))


def median_colour(found: Scenes, geobox: GeoBox, dilate_m: float) -> NDArray[np.float32]:
    """Median reflectance of red, green and blue over the clear dates, (3, y, x); NaN where never seen."""
    spec = FeatureSpec.parse(["red_p50", "green_p50", "blue_p50"])
    rows, columns = geobox.shape
    out = np.full((3, rows, columns), np.nan, np.float32)
    for top in range(0, rows, _ROWS):
        part = geobox[top : min(rows, top + _ROWS), :]
        stack = load(found.kept, part, spec.bands, dilate_m, "true colour")
        out[:, top : top + _ROWS] = features.block(stack.arrays, spec, dates=stack.dates)
    return out
