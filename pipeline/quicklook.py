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
from matplotlib.colorbar import Colorbar
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
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
    with _page(path, sheet, values) as page:
        shown = page.show(np.ma.masked_invalid(values), cmap=scale.colours, norm=norm)
        bar = page.bar(shown, scale.label, extend=_ends(values, scale))
        if scale.ticks:
            bar.set_ticks(list(scale.ticks), labels=[f"{t:g}" for t in scale.ticks])
            bar.minorticks_off()


def counts(path: Path, values: NDArray[Any], label: str, sheet: Sheet) -> None:
    """Picture of small whole numbers (y, x), NaN = not mapped."""
    top = int(np.nanmax(values)) if np.isfinite(values).any() else 1
    step = max(1, math.ceil((top + 1) / 10))
    edges = np.arange(0, top + step + 1, step) - 0.5
    with _page(path, sheet, values) as page:
        shown = page.show(np.ma.masked_invalid(values), cmap="cividis", norm=BoundaryNorm(edges, 256))
        bar = page.bar(shown, label, spacing="uniform")
        first = (edges[:-1] + 0.5).astype(int)
        names = [f"{a}" if step == 1 else f"{a}–{a + step - 1}" for a in first]
        bar.set_ticks(list((edges[:-1] + edges[1:]) / 2), labels=names)
        bar.minorticks_off()


def classes(path: Path, values: NDArray[Any], of: Sequence[MapClass], sheet: Sheet) -> None:
    """Picture of class codes (y, x), NaN = not mapped."""
    position = np.full(values.shape, np.nan)
    for k, each in enumerate(of):
        position[values == each.code] = k
    colours = ListedColormap([c.colour for c in of])
    with _page(path, sheet, values) as page:
        page.show(np.ma.masked_invalid(position), cmap=colours, norm=Normalize(-0.5, len(of) - 0.5))
        page.boxes += [_box(c.colour, f"{c.title.vi} / {c.title.en}") for c in of]


def true_colour(path: Path, rgb: NDArray[Any], sheet: Sheet) -> None:
    """Picture of red, green and blue reflectance (3, y, x), NaN = unseen."""
    seen = rgb[:, np.isfinite(rgb).all(axis=0)]
    if not seen.size:
        raise ValueError("no pixel was seen in all of red, green and blue")
    low, high = np.percentile(seen, 1), np.percentile(seen, 99)
    shown = np.clip((rgb - low) / max(high - low, 1e-6), 0, 1) ** 0.8
    alpha = np.isfinite(shown).all(axis=0).astype(float)
    with _page(path, sheet, rgb[0]) as page:
        page.show(np.concatenate([np.nan_to_num(shown), alpha[None]]).transpose(1, 2, 0))


@dataclass
class _Page:
    """A page while it is drawn; places are in inches from the lower left corner."""

    figure: Figure
    axes: Axes
    extent: tuple[float, float, float, float]
    boxes: list[Patch]

    def show(self, values: NDArray[Any], **how: Any) -> AxesImage:
        """Pixels (y, x) or (y, x, channel) on the map."""
        return self.axes.imshow(_thin(values), extent=self.extent, interpolation="nearest", **how)

    def bar(self, shown: AxesImage, label: str, **how: Any) -> Colorbar:
        """A colour bar right of the map."""
        x0, y0, width, height = self.axes.get_position().bounds
        place = self.figure.add_axes((x0 + width + 0.03, y0 + 0.12 * height, 0.025, 0.76 * height))
        bar = self.figure.colorbar(shown, cax=place, **how)
        bar.set_label(label, fontsize=10)
        return bar


#: Inches: map width, and the margins left, right, above and below it.
_MAP, _LEFT, _RIGHT, _ABOVE, _BELOW = 7.0, 0.8, 1.3, 0.85, 0.55
_LINE = 0.26


@contextmanager
def _page(path: Path, sheet: Sheet, values: NDArray[Any]) -> Iterator[_Page]:
    """A page with titles, scale bar, north arrow, legend and footnotes; written when the block ends."""
    plain: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    rows, columns = values.shape
    tall = _MAP * min(2.0, max(0.4, rows / columns))
    notes = [text for text in (SIMULATED if sheet.simulated else "", sheet.footnote) if text]
    with matplotlib.rc_context(plain):
        width, below = _LEFT + _MAP + _RIGHT, _BELOW + _LINE * (len(notes) + 2.9)
        height = below + tall + _ABOVE
        figure = Figure(figsize=(width, height), dpi=120)
        FigureCanvasAgg(figure)
        axes = figure.add_axes((_LEFT / width, below / height, _MAP / width, tall / height))
        axes.set_facecolor(_EMPTY)
        page = _Page(figure, axes, _extent(values, sheet), [])
        yield page
        _grid(axes)
        _scale_bar(axes)
        _north(axes, tall)
        middle = (_LEFT + _MAP / 2) / width
        top = below + tall
        vi, en = sheet.title.vi, sheet.title.en
        figure.text(
            middle, (top + 0.58) / height, vi, ha="center", va="center", fontsize=14, fontweight="bold"
        )
        figure.text(middle, (top + 0.26) / height, en, ha="center", va="center", fontsize=11, color="#333333")
        if not np.isfinite(values).all():
            page.boxes.append(_box(_EMPTY, _NOT_MAPPED))
        _legend(page, middle, (below - _BELOW) / height)
        for k, text in enumerate(reversed(notes)):
            colour = "#B00020" if text == SIMULATED else "#333333"
            figure.text(
                middle, (0.16 + _LINE * k) / height, text, ha="center", va="center", fontsize=10, color=colour
            )
        with aside(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _box(colour: str, label: str) -> Patch:
    return Patch(facecolor=colour, edgecolor="#666666", label=label)


def _legend(page: _Page, x: float, y: float) -> None:
    """Below the map, so that it hides none of it."""
    if page.boxes:
        page.figure.legend(
            handles=page.boxes, loc="upper center", bbox_to_anchor=(x, y), ncols=min(2, len(page.boxes)),
            fontsize=9.5, frameon=False, borderaxespad=0,
        )  # fmt: skip


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


def _north(axes: Axes, tall: float) -> None:
    """An arrow to grid north, B for bắc and N for north; as large on a flat map as on a square one."""
    at, high = axes.transAxes, _MAP / tall

    def y(down: float) -> float:
        return 1 - (1 - down) * high

    ground = Rectangle((0.925, y(0.865)), 0.06, 0.12 * high, facecolor="white", alpha=0.85, transform=at,
                       zorder=5, edgecolor="none")  # fmt: skip
    arrow = [(0.955, y(0.945)), (0.937, y(0.880)), (0.955, y(0.895)), (0.973, y(0.880))]
    axes.add_patch(ground)
    axes.add_patch(Polygon(arrow, closed=True, facecolor="black", transform=at, zorder=6))
    axes.text(0.955, y(0.948), "B / N", transform=at, ha="center", va="bottom", fontsize=9, fontweight="bold",
              zorder=6)  # fmt: skip
