"""How a product is drawn: one legend a group of bands, for QGIS (QML) and for map servers (SLD 1.0).

Both programs apply a band's scale before they colour it (QGIS always, GeoServer by default), so breaks are
in the band's unit. Labels are Vietnamese, then English.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from models.targets import Target, Title
from pipeline.product import REASONS, ProductBand
from pipeline.statistics import BandStatistics

#: Reason code -> its name for readers, and colour.
REASON_TITLES = {
    0: (Title(vi="Đã lập bản đồ", en="Mapped"), "#2C7FB8"),
    1: (Title(vi="Ngoài vùng", en="Outside the area"), "#FFFFFF"),
    2: (Title(vi="Không thuộc đất được lập bản đồ", en="Masked"), "#DADADA"),
    3: (Title(vi="Không có ngày quang mây", en="No clear date"), "#969696"),
    4: (Title(vi="Nền đất mô hình chưa biết", en="Unknown ground"), "#7B3294"),
    5: (Title(vi="Mất ảnh do lỗi đọc", en="Failed"), "#D7191C"),
}
APPLICABILITY_TITLES = {
    0: (Title(vi="Ngoài phạm vi áp dụng của mô hình", en="Outside the area of applicability"), "#7B3294"),
    1: (Title(vi="Trong phạm vi áp dụng của mô hình", en="Inside the area of applicability"), "#B8E186"),
}
#: Colour maps that the colour-blind can read, of values and of probabilities.
_VALUES, _PROBABILITIES, _COUNTS = "viridis", "magma_r", "cividis"


@dataclass(frozen=True)
class Entry:
    """One colour of a legend."""

    value: float
    colour: str
    label: str


@dataclass(frozen=True)
class Legend:
    """How a group of bands is drawn; ``band`` (from 1) is the first of the group."""

    group: str
    band: int
    title: str
    kind: Literal["codes", "ramp"]
    """``codes`` have a colour each; between the entries of a ``ramp`` colours are interpolated."""
    entries: tuple[Entry, ...]


def both(title: Title) -> str:
    """A title in both languages."""
    return f"{title.vi} ({title.en})"


def coded(target: Target, band: ProductBand) -> dict[int, tuple[Title, str]]:
    """Code -> title and colour of a band of codes; empty for a band of values."""
    if band.name == "applicability":
        return APPLICABILITY_TITLES
    if band.classes is REASONS:
        return REASON_TITLES
    if band.classes is not None:
        return {c.code: (c.title, c.colour) for c in target.classes}
    return {}


def legends(
    target: Target, bands: Sequence[ProductBand], statistics: Sequence[BandStatistics]
) -> list[Legend]:
    """Legends of a product, the main one first. ``statistics`` give a ramp its ends where the target has no
    thresholds."""
    found: dict[str, Legend] = {}
    for number, (band, known) in enumerate(zip(bands, statistics, strict=True), 1):
        group = _group(target, band)
        if group in found:
            continue
        codes = coded(target, band)
        if codes:
            entries = tuple(Entry(code, colour, both(title)) for code, (title, colour) in codes.items())
            found[group] = Legend(group, number, _title(target, group), "codes", entries)
        else:
            found[group] = Legend(
                group, number, _title(target, group), "ramp", _ramp(target, group, band, known)
            )
    return list(found.values())


def _group(target: Target, band: ProductBand) -> str:
    if band.name in ("class", "applicability", "clear_dates", "reason"):
        return band.name
    return "probability" if target.kind == "class" or band.name in target.exceedances else "value"


def _title(target: Target, group: str) -> str:
    named = {
        "applicability": Title(vi="Phạm vi áp dụng", en="Area of applicability"),
        "clear_dates": Title(vi="Số ngày quang mây", en="Clear dates"),
        "reason": Title(vi="Lý do không lập bản đồ", en="Why a pixel is not mapped"),
        "probability": Title(vi="Xác suất", en="Probability"),
    }
    if group in ("class", "value"):
        return f"{both(target.title)}{f', {target.unit}' if target.unit else ''}"
    return f"{target.title.vi}: {named[group].vi} ({target.title.en}: {named[group].en})"


def _ramp(target: Target, group: str, band: ProductBand, known: BandStatistics) -> tuple[Entry, ...]:
    if group == "probability":
        return _stops([0, 0.25, 0.5, 0.75, 1], _PROBABILITIES, "")
    if group == "clear_dates":
        top = max(known.maximum or 1, 1)
        return _stops([0, top / 2, top], _COUNTS, "")
    return _stops(_breaks(target, band, known), _VALUES, target.unit)


def _breaks(target: Target, band: ProductBand, known: BandStatistics) -> list[float]:
    """Stops of a quantity: around its thresholds, so that one legend holds for every tile and season."""
    first, last = (target.thresholds[0], target.thresholds[-1]) if target.thresholds else (0.0, 0.0)
    if first > 0:
        return sorted({0.0, first / 2, *target.thresholds, 2 * last})
    low, high = (band.scale * (v or 0) for v in (known.minimum, known.maximum))
    high = max(high, low + band.scale)
    return sorted({low, *(t for t in target.thresholds if low < t < high), (low + high) / 2, high})


def _stops(values: Sequence[float], colours: str, unit: str) -> tuple[Entry, ...]:
    import matplotlib  # here, since it complains of homes that cannot be written, and most commands draw nothing

    shades = matplotlib.colormaps[colours]
    last = max(len(values) - 1, 1)
    return tuple(
        Entry(
            float(v),
            matplotlib.colors.to_hex(shades(k / last)).upper(),
            f"{v:.10g}{f' {unit}' if unit else ''}",
        )
        for k, v in enumerate(values)
    )


def qml(legend: Legend) -> str:
    """The legend as a layer style of QGIS 3."""
    root = ET.Element("qgis", version="3.28.0", styleCategories="Symbology")
    pipe = ET.SubElement(root, "pipe")
    style = ET.SubElement(
        pipe, "rasterrenderer", band=str(legend.band), opacity="1", alphaBand="-1", nodataColor="",
        type="paletted" if legend.kind == "codes" else "singlebandpseudocolor",
    )  # fmt: skip
    ET.SubElement(style, "rasterTransparency")
    if legend.kind == "codes":
        palette = ET.SubElement(style, "colorPalette")
        for e in legend.entries:
            ET.SubElement(
                palette, "paletteEntry", value=f"{e.value:g}", color=e.colour.lower(), label=e.label, alpha="255"
            )  # fmt: skip
    else:
        low, high = legend.entries[0].value, legend.entries[-1].value
        style.set("classificationMin", repr(low))
        style.set("classificationMax", repr(high))
        shader = ET.SubElement(
            ET.SubElement(style, "rastershader"), "colorrampshader", colorRampType="INTERPOLATED",
            classificationMode="1", clip="0", minimumValue=repr(low), maximumValue=repr(high), labelPrecision="4",
        )  # fmt: skip
        for e in legend.entries:
            ET.SubElement(
                shader, "item", value=repr(e.value), color=e.colour.lower(), label=e.label, alpha="255"
            )
    ET.SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0", gamma="1")
    ET.SubElement(pipe, "huesaturation", saturation="0", grayscaleMode="0", colorizeOn="0")
    ET.SubElement(pipe, "rasterresampler", maxOversampling="2")
    ET.SubElement(root, "blendMode").text = "0"
    ET.indent(root)
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        + ET.tostring(root, encoding="unicode")
        + "\n"
    )


_SLD, _OGC = "http://www.opengis.net/sld", "http://www.opengis.net/ogc"


def sld(legend: Legend, layer: str) -> str:
    """The legend as SLD 1.0. Its ``type`` of a colour map is GeoServer's and QGIS's own; others may ignore it."""
    root = ET.Element("StyledLayerDescriptor", version="1.0.0", attrib={"xmlns": _SLD, "xmlns:ogc": _OGC})
    named = ET.SubElement(root, "NamedLayer")
    ET.SubElement(named, "Name").text = layer
    style = ET.SubElement(named, "UserStyle")
    ET.SubElement(style, "Name").text = f"{layer}.{legend.group}"
    ET.SubElement(style, "Title").text = legend.title
    rule = ET.SubElement(ET.SubElement(style, "FeatureTypeStyle"), "Rule")
    symbol = ET.SubElement(rule, "RasterSymbolizer")
    channel = ET.SubElement(ET.SubElement(symbol, "ChannelSelection"), "GrayChannel")
    ET.SubElement(channel, "SourceChannelName").text = str(legend.band)
    colours = ET.SubElement(symbol, "ColorMap", type="values" if legend.kind == "codes" else "ramp")
    for e in legend.entries:
        ET.SubElement(
            colours, "ColorMapEntry", color=e.colour, quantity=f"{e.value:.10g}", label=e.label, opacity="1"
        )
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"
