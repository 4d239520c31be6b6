"""Quick-look maps as PNG: legend, scale bar, north arrow, titles in Vietnamese and English.

The same values give the same bytes: no date, no setting of the user's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle
from numpy.typing import NDArray

from models.targets import MapClass, Title
from pipeline.files import aside

SIMULATED = "SIMULATED – dữ liệu mô phỏng"
#: Longest side of a picture's map, in pixels of the picture; finer maps are thinned.
_LONGEST = 1400
_EMPTY = "#DADADA"
_NOT_MAPPED = "không lập bản đồ / not mapped"


@dataclass(frozen=True)
class Sheet:
    """What every picture of a map says."""

    title: Title
    transform: Affine
    """Of the map's pixels, in metres (UTM)."""
    footnote: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Scale:
    """Colours of a quantity. All colour maps here are readable by the colour-blind."""

    label: str
    colours: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] = ()


def quantity(path: Path, values: NDArray[Any], scale: Scale, sheet: Sheet) -> None:
    """Picture of a continuous layer (y, x), NaN = not mapped."""
    norm = (LogNorm if scale.log else Normalize)(scale.low, scale.high)
    with _page(path, sheet, values.shape) as (figure, axes):
        shown = axes.imshow(
            np.ma.masked_invalid(_thin(values)), cmap=scale.colours, norm=norm, extent=_extent(values, sheet),
            interpolation="nearest",
        )  # fmt: skip
        bar = figure.colorbar(shown, ax=axes, shrink=0.75, pad=0.02, extend=_ends(values, scale))
        bar.set_label(scale.label, fontsize=10)
        if scale.ticks:
            bar.set_ticks(list(scale.ticks), labels=[f"{t:g}" for t in scale.ticks])
            bar.minorticks_off()
        _legend(axes, [Patch(facecolor=_EMPTY, edgecolor="#888888", label=_NOT_MAPPED)])


def counts(path: Path, values: NDArray[Any], label: str, sheet: Sheet) -> None:
    """Picture of small whole numbers (y, x), NaN = not mapped."""
    top = int(np.nanmax(values)) if np.isfinite(values).any() else 1
    step = max(1, math.ceil((top + 1) / 10))
    edges = np.arange(0, top + step + 1, step) - 0.5
    norm = BoundaryNorm(edges, 256)
    with _page(path, sheet, values.shape) as (figure, axes):
        shown = axes.imshow(
            np.ma.masked_invalid(_thin(values)), cmap="cividis", norm=norm, extent=_extent(values, sheet),
            interpolation="nearest",
        )  # fmt: skip
        middles = (edges[:-1] + edges[1:]) / 2
        bar = figure.colorbar(shown, ax=axes, shrink=0.75, pad=0.02, spacing="uniform")
        names = [
            f"{int(a + 0.5)}" if step == 1 else f"{int(a + 0.5)}–{int(a + step - 0.5)}" for a in edges[:-1]
        ]
        bar.set_ticks(list(middles), labels=names)
        bar.minorticks_off()
        bar.set_label(label, fontsize=10)
        _legend(axes, [Patch(facecolor=_EMPTY, edgecolor="#888888", label=_NOT_MAPPED)])


def classes(path: Path, values: NDArray[Any], of: Sequence[MapClass], sheet: Sheet) -> None:
    """Picture of class codes (y, x), NaN = not mapped."""
    position = np.full(values.shape, np.nan)
    for k, each in enumerate(of):
        position[values == each.code] = k
    with _page(path, sheet, values.shape) as (_, axes):
        axes.imshow(
            np.ma.masked_invalid(_thin(position)), cmap=ListedColormap([c.colour for c in of]),
            norm=Normalize(-0.5, len(of) - 0.5), extent=_extent(values, sheet), interpolation="nearest",
        )  # fmt: skip
        boxes = [
            Patch(facecolor=c.colour, edgecolor="#555555", label=f"{c.title.vi} / {c.title.en}") for c in of
        ]
        _legend(axes, [*boxes, Patch(facecolor=_EMPTY, edgecolor="#888888", label=_NOT_MAPPED)])


def true_colour(path: Path, rgb: NDArray[Any], sheet: Sheet) -> None:
    """Picture of red, green and blue reflectance (3, y, x), NaN = unseen."""
    seen = rgb[:, np.isfinite(rgb).all(axis=0)]
    if not seen.size:
        raise ValueError("no pixel was seen in all of red, green and blue")
    low, high = np.percentile(seen, 1), np.percentile(seen, 99)
    shown = np.clip((rgb - low) / max(high - low, 1e-6), 0, 1) ** 0.8
    picture = np.where(np.isfinite(shown), shown, 0.85).transpose(1, 2, 0)
    with _page(path, sheet, rgb.shape[1:]) as (_, axes):
        axes.imshow(_thin(picture), extent=_extent(rgb[0], sheet), interpolation="nearest")


@contextmanager
def _page(path: Path, sheet: Sheet, shape: tuple[int, ...]) -> Iterator[tuple[Figure, Axes]]:
    """A page with title, scale bar, north arrow and footnote; written when the block ends."""
    plain: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    with matplotlib.rc_context(plain):
        ratio = min(2.0, max(0.5, shape[0] / shape[1]))
        figure = Figure(figsize=(9, 1.9 + 6.7 * ratio), dpi=120, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_facecolor(_EMPTY)
        yield figure, axes
        _grid(axes)
        _scale_bar(axes)
        _north(axes)
        figure.suptitle(sheet.title.vi, fontsize=14, fontweight="bold")
        axes.set_title(sheet.title.en, fontsize=11, color="#333333")
        # A long note on one line would be cut at the page's edge.
        note = "\n".join(t for t in (SIMULATED if sheet.simulated else "", sheet.footnote) if t)
        if note:
            figure.supxlabel(note, fontsize=9, color="#B00020" if sheet.simulated else "#333333")
        with aside(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _thin(values: NDArray[Any]) -> NDArray[Any]:
    """Every so-many-th pixel, so that no side is longer than the picture can show."""
    step = max(1, math.ceil(max(values.shape[:2]) / _LONGEST))
    return values[::step, ::step]


def _extent(values: NDArray[Any], sheet: Sheet) -> tuple[float, float, float, float]:
    rows, columns = values.shape
    west, north = sheet.transform * (0, 0)
    east, south = sheet.transform * (columns, rows)
    return west / 1000, east / 1000, south / 1000, north / 1000


def _ends(values: NDArray[Any], scale: Scale) -> str:
    """Which ends of the colour bar stand for values beyond it."""
    with np.errstate(invalid="ignore"):
        below, above = bool((values < scale.low).any()), bool((values > scale.high).any())
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get((below, above), "neither")


def _grid(axes: Axes) -> None:
    axes.set_xlabel("E (km, UTM)", fontsize=8)
    axes.set_ylabel("N (km, UTM)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.ticklabel_format(useOffset=False, style="plain")
    axes.locator_params(nbins=6)


def _scale_bar(axes: Axes) -> None:
    """A bar of a round length, about a fifth of the map's width, on a light ground."""
    west, east = axes.get_xlim()
    south, north = axes.get_ylim()
    width, height = east - west, north - south
    power = 10 ** math.floor(math.log10(width / 5))
    length = max(m * power for m in (1, 2, 5) if m * power <= width / 4)
    x, y = west + 0.035 * width, south + 0.035 * height
    axes.add_patch(
        Rectangle((x - 0.02 * width, y - 0.02 * height), length + 0.04 * width, 0.075 * height,
                  facecolor="white", alpha=0.85, edgecolor="none", zorder=5)
    )  # fmt: skip
    for k, colour in enumerate(("black", "white")):
        axes.add_patch(
            Rectangle((x + k * length / 2, y), length / 2, 0.011 * height, facecolor=colour, edgecolor="black",
                      linewidth=0.8, zorder=6)
        )  # fmt: skip
    text = f"{length:g} km" if length >= 1 else f"{1000 * length:g} m"
    axes.text(x + length / 2, y + 0.018 * height, text, ha="center", va="bottom", fontsize=9, zorder=6)


def _north(axes: Axes) -> None:
    """An arrow to grid north, B for bắc and N for north."""
    at = axes.transAxes
    axes.add_patch(
        Rectangle(
            (0.925, 0.865),
            0.06,
            0.12,
            facecolor="white",
            alpha=0.85,
            transform=at,
            zorder=5,
            edgecolor="none",
        )
    )
    arrow = [(0.955, 0.945), (0.937, 0.880), (0.955, 0.895), (0.973, 0.880)]
    axes.add_patch(Polygon(arrow, closed=True, facecolor="black", transform=at, zorder=6))
    axes.text(
        0.955, 0.948, "B / N", transform=at, ha="center", va="bottom", fontsize=9, fontweight="bold", zorder=6
    )


def _legend(axes: Axes, boxes: Sequence[Patch]) -> None:
    """Below the map, so that it hides none of it."""
    axes.legend(
        handles=list(boxes), loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=2 if len(boxes) > 1 else 1,
        fontsize=9, frameon=False,
    )  # fmt: skip
