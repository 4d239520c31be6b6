"""Soil texture: names of the USDA classes in English and Vietnamese, the triangle, water of the paste."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Group = Literal["coarse", "medium", "fine"]


@dataclass(frozen=True)
class Texture:
    """A USDA class, or one of FAO's finer ones."""

    name: str
    vi: str
    group: Group
    codes: tuple[str, ...]
    """Abbreviations in use: USDA's, then those of FAO's R package soilassessment."""


TEXTURES = (
    Texture("sand", "cát", "coarse", ("S", "Sa")),
    Texture("coarse sand", "cát thô", "coarse", ("CS", "CoSa")),
    Texture("medium sand", "cát trung bình", "coarse", ("MS",)),
    Texture("fine sand", "cát mịn", "coarse", ("FS",)),
    Texture("loamy sand", "cát pha thịt", "coarse", ("LS", "LoSa")),
    Texture("sandy loam", "thịt pha cát", "coarse", ("SL", "SaLo")),
    Texture("loam", "thịt", "medium", ("L", "Lo")),
    Texture("silt loam", "thịt pha limon", "medium", ("SiL", "SiLo")),
    Texture("silt", "limon", "medium", ("Si",)),
    Texture("sandy clay loam", "thịt pha sét cát", "medium", ("SCL", "SaClLo")),
    Texture("clay loam", "thịt pha sét", "medium", ("CL", "ClLo")),
    Texture("silty clay loam", "thịt pha sét limon", "medium", ("SiCL", "SiClLo")),
    Texture("sandy clay", "sét pha cát", "fine", ("SC", "SaCl")),
    Texture("silty clay", "sét pha limon", "fine", ("SiC", "SiCl")),
    Texture("clay", "sét", "fine", ("C", "Cl")),
    Texture("heavy clay", "sét nặng", "fine", ("HC", "HCl")),
)
#: Where only the group is known: "thành phần cơ giới nhẹ" and so on.
GROUPS: dict[str, Group] = {
    "coarse": "coarse", "medium": "medium", "fine": "fine",
    "cát pha": "coarse", "thịt trung bình": "medium", "sét nhẹ": "fine", "sét trung bình": "fine",
    "clayey": "fine", "loamy": "medium", "sandy": "coarse",
    "cơ giới nhẹ": "coarse", "cơ giới trung bình": "medium", "cơ giới nặng": "fine",
}  # fmt: skip


def _plain(text: str) -> str:
    """One spelling for a name: composed letters, small, single spaces, without "đất" before it."""
    name = " ".join(unicodedata.normalize("NFC", text).casefold().replace("_", " ").replace("-", " ").split())
    return name.removeprefix("đất ").removeprefix("thành phần ").strip()


_BY_NAME = {_plain(n): t for t in TEXTURES for n in (t.name, t.vi)}
#: Abbreviations keep their capitals: SiCL is silty clay loam, SiCl silty clay.
_BY_CODE = {c: t for t in TEXTURES for c in t.codes}


def parse(text: str) -> Texture | Group:
    """The texture of a class name, abbreviation or Vietnamese name, or its group where only that is said.

    Raises ValueError listing the names there are.
    """
    name = _plain(text)
    found = _BY_CODE.get(text.strip()) or _BY_NAME.get(name) or GROUPS.get(name)
    if found is None:
        known = ", ".join([*(f"{t.name} ({t.vi})" for t in TEXTURES), *GROUPS])
        raise ValueError(f"unknown texture {text!r}; known: {known}")
    return found


def classify(sand: ArrayLike, silt: ArrayLike, clay: ArrayLike) -> NDArray[np.str_]:
    """USDA class names from mass percent of particles, any shape (Soil Survey Manual 2017, chapter 3).

    Silt is 2 to 50 µm. NaN gives "". Raises ValueError where a sum is not 99 to 101.
    """
    s, z, c = np.broadcast_arrays(*(np.asarray(v, np.float64) for v in (sand, silt, clay)))
    total = s + z + c
    if (np.abs(total - 100) > 1).any() or (np.fmin(np.fmin(s, z), c) < 0).any():
        worst = total.flat[int(np.nanargmax(np.abs(total - 100)))]
        raise ValueError(f"sand, silt and clay add up to {worst:g}; expected 100 percent, none negative")
    rules = [
        ("", np.isnan(total)),
        ("sand", z + 1.5 * c < 15),
        ("loamy sand", z + 2 * c < 30),
        ("silt", (z >= 80) & (c < 12)),
        ("silt loam", (z >= 50) & (c < 27)),
        ("sandy loam", (c < 7) | ((c < 20) & (s > 52))),
        ("loam", (c < 27) & (z >= 28) & (s <= 52)),
        ("sandy clay loam", (c < 35) & (z < 28) & (s > 45)),
        ("sandy clay", (c >= 35) & (s > 45)),
        ("silty clay", (c >= 40) & (z >= 40)),
        ("clay", c >= 40),
        ("silty clay loam", s <= 20),
        ("clay loam", c >= 27),
    ]
    return np.asarray(np.select([r for _, r in rules], [n for n, _ in rules], "clay loam"))


#: Upper ends of humus classes, mass percent, below which each column of the table stands.
_HUMUS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
#: Water of the saturated paste, g per 100 g soil, by texture and humus (FAO 2006, Guidelines for soil
#: description, 4th edition, table of the water content of the saturation extract).
_WATER = {
    "coarse sand": (5, 6, 8, 13, 21, 35),
    "medium sand": (8, 9, 11, 16, 24, 38),
    "fine sand": (10, 11, 13, 18, 26, 40),
    "loamy sand": (14, 15, 17, 22, 30, 45),
    "silt loam, clay below 10": (17, 18, 20, 25, 34, 49),
    "silt": (19, 20, 22, 27, 36, 51),
    "sandy loam": (22, 23, 26, 31, 39, 55),
    "loam": (25, 26, 29, 34, 42, 58),
    "silt loam": (28, 29, 32, 37, 46, 62),
    "sandy clay loam": (32, 33, 36, 41, 50, 67),
    "clay loam": (44, 46, 48, 53, 63, 80),
    "sandy clay": (51, 53, 55, 60, 70, 88),
    "clay": (63, 65, 68, 73, 83, 102),
    "heavy clay": (105, 107, 110, 116, 126, 147),
}
_SAME_WATER = {"sand": "medium sand", "silty clay loam": "clay loam", "silty clay": "clay"}


def paste_water(texture: str, humus: float, clay: float = float("nan")) -> float:
    """Water of the saturated paste, g per 100 g soil, of a class of ``TEXTURES`` by name.

    ``humus`` and ``clay`` in mass percent. NaN where the table has no row for it: humus unknown or 15 and
    more, and sandy or silt loam without clay, which FAO splits at 10 percent. Clay above 60 is heavy.
    """
    row = _SAME_WATER.get(texture, texture)
    if texture in ("sandy loam", "silt loam"):
        if np.isnan(clay):
            return float("nan")
        if clay < 10:
            row = "loamy sand" if texture == "sandy loam" else "silt loam, clay below 10"
    if row == "clay" and clay > 60:
        row = "heavy clay"
    if row not in _WATER or not 0 <= humus < _HUMUS[-1]:
        return float("nan")
    return float(_WATER[row][int(np.searchsorted(_HUMUS, humus, side="right"))])
