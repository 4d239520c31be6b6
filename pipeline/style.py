"""Colours of a product for GDAL and QGIS, in the sidecar that both read: int16 GeoTIFF has no palette."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from pipeline.files import write_aside


def write(item: dict[str, Any], cog: Path) -> bool:
    """``<cog>.aux.xml`` from a product's STAC item: palette and names of each band of coloured classes.

    Nothing is written, and False returned, where no band has colours.
    """
    root = ET.Element("PAMDataset")
    for number, band in enumerate(item["assets"]["map"]["bands"], 1):
        classes = band.get("classification:classes", [])
        if any("color_hint" in c for c in classes):
            root.append(_band(number, {c["value"]: c for c in classes}))
    if len(root):
        ET.indent(root)
        write_aside(sidecar(cog), ET.tostring(root, encoding="unicode") + "\n")
    return len(root) > 0


def sidecar(cog: Path) -> Path:
    """Where GDAL looks for what a COG cannot hold."""
    return cog.with_name(f"{cog.name}.aux.xml")


def _band(number: int, classes: dict[int, dict[str, Any]]) -> ET.Element:
    """Entry k of palette and names is of code k; a code that is no class is transparent."""
    band = ET.Element("PAMRasterBand", band=str(number))
    ET.SubElement(band, "ColorInterp").text = "Palette"
    table, names = ET.SubElement(band, "ColorTable"), ET.Element("CategoryNames")
    for code in range(max(classes) + 1):
        known = classes.get(code, {})
        colour = bytes.fromhex(known.get("color_hint", "000000"))
        alpha = "255" if "color_hint" in known else "0"
        ET.SubElement(table, "Entry", c1=str(colour[0]), c2=str(colour[1]), c3=str(colour[2]), c4=alpha)
        ET.SubElement(names, "Category").text = known.get("title", known.get("name", ""))
    band.append(names)
    return band
