"""What is counted of a product: its classes, its probabilities, and the reasons where it has no value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

from models.targets import Target
from pipeline.errors import InputError
from pipeline.grid import SQUARE_M
from pipeline.product import NODATA, REASONS
from pipeline.zones.kernels import WEIGHT

#: Classes of every theme before its own: 0 outside, then why mapped land has no value.
UNMAPPED = tuple(name for code, name in REASONS.items() if code)
OUTSIDE, MASKED = 0, 1
#: Land that should have a value and has none.
UNKNOWN = slice(MASKED + 1, len(UNMAPPED))
_NONE: tuple[float, ...] = ()
#: Salinity limits in dS/m (US Salinity Laboratory 1954; scheme USDA).
LIMITS = (2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Measure:
    """One figure of a theme: the area of some classes, and their probability."""

    name: str
    vi: str
    classes: tuple[int, ...]
    """Numbers in the class image."""
    plus: tuple[str, ...]
    minus: tuple[str, ...] = ()
    """Bands whose sum and difference is the probability; ``plus`` may hold "one"."""


@dataclass(frozen=True)
class Theme:
    """How one target's products are counted."""

    target: Target
    own: tuple[str, ...]
    """Names of the classes after UNMAPPED."""
    limits: tuple[float, ...]
    """A regression's classes lie between these; a value on a limit lies below it."""
    measures: tuple[Measure, ...]
    headline: str
    """The measure of bad land, "" where the target names none."""
    probable: tuple[str, ...]
    """Measures whose probability the products hold."""
    simulated: bool = False
    mask_version: str = ""
    """Of the farmland mask; "" where there is none."""

    @property
    def class_count(self) -> int:
        return len(UNMAPPED) + len(self.own)

    @property
    def missing(self) -> list[str]:
        """Bands that figures lack for their intervals."""
        have = set(self.probable)
        return sorted({b for m in self.measures if m.name not in have for b in (*m.plus, *m.minus)} - {"one"})


def theme_of(target: Target, bands: Sequence[str]) -> Theme:
    """The theme of products with ``bands``.

    Measures without their probability bands are kept; they have no interval, and ``missing`` names the
    bands. Raises InputError where the band of values or of reasons itself is absent.
    """
    value = "class" if target.kind == "class" else "estimate"
    for band in (value, "reason"):
        if band not in bands:
            raise InputError(f"products of {target.name} have no band {band}; found {', '.join(bands)}")
    if target.kind == "class":
        own, limits = tuple(c.name for c in target.classes), _NONE
        measures, headline = _class_measures(target, bands)
    else:
        limits = _limits(target, bands)
        own = tuple(f"from_{low}" for low in ("0", *(f"{t:g}" for t in limits)))
        measures, headline = _value_measures(target, limits)
    have = {*bands, "one"}
    probable = tuple(m.name for m in measures if have >= {*m.plus, *m.minus})
    return Theme(target, own, limits, measures, headline, probable)


def _class_measures(target: Target, bands: Sequence[str]) -> tuple[tuple[Measure, ...], str]:
    first = len(UNMAPPED)
    each = [Measure(c.name, c.title.vi, (first + k,), (f"p_{c.name}",)) for k, c in enumerate(target.classes)]
    if not target.bad_classes:
        return tuple(each), ""
    codes = tuple(first + k for k, c in enumerate(target.classes) if c.name in target.bad_classes)
    plus = ("risk",) if "risk" in bands else tuple(f"p_{name}" for name in target.bad_classes)
    titles = {c.name: c.title.vi for c in target.classes}
    title = " + ".join(titles[name] for name in target.bad_classes)
    return (Measure("bad", title, codes, plus), *each), "bad"


def _limits(target: Target, bands: Sequence[str]) -> tuple[float, ...]:
    found = sorted(float(b[1:]) for b in bands if b[:1] == "p" and _is_number(b[1:]))
    return tuple(found) or (LIMITS if target.unit == "dS/m" else ())


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdigit()


def _value_measures(target: Target, limits: tuple[float, ...]) -> tuple[tuple[Measure, ...], str]:
    first, unit = len(UNMAPPED), target.unit
    above = [
        Measure(
            f"above_{t:g}", f"trên {_vi(t)} {unit}", tuple(range(first + k + 1, first + len(limits) + 1)),
            (f"p{t:g}",),
        )
        for k, t in enumerate(limits)
    ]  # fmt: skip
    between = []
    for k in range(1, len(limits)):
        low, high = limits[k - 1], limits[k]
        between.append(
            Measure(
                f"from_{low:g}",
                f"trên {_vi(low)} đến {_vi(high)} {unit}",
                (first + k,),
                (f"p{low:g}",),
                (f"p{high:g}",),
            )
        )
    if limits:
        low = limits[0]
        between.insert(0, Measure("from_0", f"đến {_vi(low)} {unit}", (first,), ("one",), (f"p{low:g}",)))
    headline = "above_4" if 4.0 in limits and unit == "dS/m" else (above[0].name if above else "")
    return (*above, *between), headline


def _vi(value: float) -> str:
    return f"{value:g}".replace(".", ",")


class ProductSquare:
    """The products of one square as ``tally`` reads them; see ``tally.Source``."""

    def __init__(self, path: Path, theme: Theme) -> None:
        self.path, self.theme, self.mapped = path, theme, True
        with rasterio.open(path) as file:
            self.bands = {name: k for k, name in enumerate(file.descriptions, 1)}
            self.scales = file.scales
            resolution = file.transform.a
            self.epsg = int(file.crs.to_epsg())
            column, row = round(file.transform.c / resolution), -round(file.transform.f / resolution)
            self.window = column, column + file.width, row, row + file.height
            self.value = "class" if theme.target.kind == "class" else "estimate"
            self.simulated = "PHUSA_SIMULATED" in file.tags()
            told = file.tags().get("PHUSA_ERROR_RANGE_M")
            self.error_range_m = float(told) if told else None
            tags = file.tags(self.bands["class"]) if "class" in self.bands else {}
        self.resolution_m = round(resolution)
        per = SQUARE_M // self.resolution_m
        self.square = column // per, -(row + 1) // per
        self.codes_table = _code_table(theme, self.scales, self.bands, tags)

    def codes(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[NDArray[np.uint8]]:
        reason = self._read("reason", columns, rows)
        return [self._classes(self._read(self.value, columns, rows), reason)]

    def classes_at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Class of the pixels at places in the square's CRS, (place,)."""
        with rasterio.open(self.path) as file:
            numbers = [self.bands[self.value], self.bands["reason"]]
            inside = (x >= file.bounds.left) & (x < file.bounds.right)
            inside &= (y > file.bounds.bottom) & (y <= file.bounds.top)
            found = np.zeros(len(x), np.uint8)
            places = zip(x[inside], y[inside], strict=True)
            pixels = np.array(list(file.sample(places, numbers)), np.int16).reshape(-1, 2)
        found[inside] = self._classes(pixels[:, 0], pixels[:, 1])
        return found

    def _classes(self, stored: NDArray[np.int16], reason: NDArray[np.int16]) -> NDArray[np.uint8]:
        codes = self.codes_table[stored.astype(np.int32) - NODATA]
        unmapped = reason != 0
        # A pixel without a reason and without a value is unknown land, not nothing.
        codes[unmapped] = np.clip(reason[unmapped], 1, len(UNMAPPED)).astype(np.uint8) - 1
        return np.asarray(codes, np.uint8)

    def weights(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[NDArray[np.int16]]:
        measures = [m for m in self.theme.measures if m.name in self.theme.probable]
        needed = sorted({b for m in measures for b in (*m.plus, *m.minus)} - {"one"})
        if not needed:
            return []
        read = {name: self._probability(name, columns, rows) for name in needed}
        known = self._read("reason", columns, rows) == 0
        read["one"] = np.full(known.shape, WEIGHT, np.int16)
        found = []
        for m in measures:
            total = sum((read[b].astype(np.int32) for b in m.plus), np.int32(0))
            total = total - sum((read[b].astype(np.int32) for b in m.minus), np.int32(0))
            found.append(np.where(known, np.clip(total, 0, WEIGHT), 0).astype(np.int16))
        return found

    def _probability(self, band: str, columns: tuple[int, int], rows: tuple[int, int]) -> NDArray[np.int16]:
        stored, scale = self._read(band, columns, rows), self.scales[self.bands[band] - 1]
        parts = stored if np.isclose(scale * WEIGHT, 1) else np.rint(stored * (scale * WEIGHT))
        return np.where(stored == NODATA, 0, np.clip(parts, 0, WEIGHT)).astype(np.int16)

    def _read(self, band: str, columns: tuple[int, int], rows: tuple[int, int]) -> NDArray[np.int16]:
        """Pixels of one band; what lies beyond the file is outside."""
        left, right, top, bottom = self.window
        fill = REASON_OUTSIDE if band == "reason" else NODATA
        out = np.full((rows[1] - rows[0], columns[1] - columns[0]), fill, np.int16)
        c0, c1, r0, r1 = (
            max(left, columns[0]),
            min(right, columns[1]),
            max(top, rows[0]),
            min(bottom, rows[1]),
        )
        if c0 < c1 and r0 < r1:
            with rasterio.open(self.path) as file:
                pixels = file.read(self.bands[band], window=Window(c0 - left, r0 - top, c1 - c0, r1 - r0))
            out[r0 - rows[0] : r1 - rows[0], c0 - columns[0] : c1 - columns[0]] = pixels
        return out


REASON_OUTSIDE = next(code for code, name in REASONS.items() if name == "outside")


def _code_table(
    theme: Theme, scales: Sequence[float], bands: Mapping[str, int], tags: Mapping[str, str]
) -> NDArray[np.uint8]:
    """Stored value - NODATA -> class number; a value of no class is unknown ground."""
    unknown = UNMAPPED.index("unknown_ground")
    table = np.full(1 << 16, unknown, np.uint8)
    if theme.target.kind == "class":
        known = {c.name: c.code for c in theme.target.classes}
        if "CLASSES" in tags:
            known = {name: int(code) for code, name in json.loads(tags["CLASSES"]).items()}
        for k, name in enumerate(theme.own):
            if name in known:
                table[known[name] - NODATA] = len(UNMAPPED) + k
        return table
    stored = np.arange(NODATA + 1, 1 - NODATA - 1)
    # Compared in stored integers, so that 2.00 dS/m is not above 2 whatever 200 x 0.01 gives.
    edges = np.round(np.asarray(theme.limits) / scales[bands["estimate"] - 1], 6)
    table[stored - NODATA] = len(UNMAPPED) + np.searchsorted(edges, stored, side="left")
    return table


class NothingMapped:
    """A square that zones reach and no product does; see ``tally.Source``."""

    def __init__(self, epsg: int, square: tuple[int, int]) -> None:
        self.epsg, self.square, self.mapped = epsg, square, False
        self.window = (1 << 40, -(1 << 40), 1 << 40, -(1 << 40))

    def codes(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[NDArray[np.uint8]]:
        return [np.zeros((rows[1] - rows[0], columns[1] - columns[0]), np.uint8)]

    def weights(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[NDArray[np.int16]]:
        return []
