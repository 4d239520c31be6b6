"""Published formulas that turn the conductivity of an extract into that of the saturated paste."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from models import textures
from models.readings import PASTE, Floats, Readings, parse_extract, parts


class Converter(Protocol):
    """A way from readings to ECe; a laboratory's own calibration can be one."""

    @property
    def id(self) -> str: ...
    @property
    def study(self) -> str:
        """Converters of one study have one vote together."""

    @property
    def source(self) -> str: ...
    @property
    def calibrated(self) -> tuple[float, float] | None:
        """ECe that its calibration is known to span, dS/m."""

    @property
    def log_sd(self) -> float | None:
        """Standard deviation of ln ECe about it, where known."""

    def __call__(self, readings: Readings) -> Floats:
        """ECe in dS/m (row,); NaN where it does not apply."""


@dataclass(frozen=True)
class Formula:
    """ECe = ``factor`` * EC ** ``power`` + ``offset``, in dS/m at 25 °C, for one extract."""

    study: str
    extract: str
    factor: float
    offset: float = 0.0
    power: float = 1.0
    texture: textures.Group | None = None
    source: str = ""
    calibrated: tuple[float, float] | None = None
    log_sd: float | None = None

    @property
    def id(self) -> str:
        return " ".join([self.study, self.extract, *([self.texture] if self.texture else [])])

    def __call__(self, readings: Readings) -> Floats:
        here = readings.extracts == parse_extract(self.extract)
        if self.texture:
            here &= np.isin(readings.groups, ("", self.texture))
        return np.where(here, self.factor * readings.ec_25**self.power + self.offset, np.nan)


@dataclass(frozen=True)
class FaoDilution:
    """ECe = EC(1:n) * 100 n / water of the paste, where texture and humus give that water (FAO 2006)."""

    study: str = "FAO 2006"
    source: str = "FAO 2006, Guidelines for soil description, 4th edition; the salt is taken as all dissolved"
    calibrated: tuple[float, float] | None = None
    log_sd: float | None = None

    @property
    def id(self) -> str:
        return self.study

    def __call__(self, readings: Readings) -> Floats:
        rows = zip(readings.names, readings.humus, readings.clay, strict=True)
        water = np.array([textures.paste_water(str(n), float(h), float(c)) for n, h, c in rows])
        water_parts = np.array([parts(e) for e in readings.extracts])
        return np.asarray(readings.ec_25 * 100 * water_parts / water)


def _by_texture(study: str, extract: str, lines: Sequence[tuple[float, float]], **more: Any) -> list[Formula]:
    groups: tuple[textures.Group, ...] = ("coarse", "medium", "fine")
    return [Formula(study, extract, *line, texture=g, **more) for g, line in zip(groups, lines, strict=True)]


_SONMEZ: dict[str, Any] = {
    # Slopes fall from coarse to fine (less water in the paste of sand; Kargas et al. 2018; the table of
    # doi:10.1371/journal.pone.0198290). R's soilassessment has the names of these textures turned round.
    "source": "Sonmez et al. 2008, doi:10.1016/j.geoderma.2007.12.005",
    "calibrated": (0.0, 16.0),  # sand, loam and clay wetted with water of 0.02 to 16 dS/m
}
_HOGG: dict[str, Any] = {"source": "Hogg & Henry 1984, as in doi:10.1371/journal.pone.0198290"}
_HOGG_2: dict[str, Any] = {"source": "Hogg & Henry 1984, as in soilassessment with its textures turned back"}
_KARGAS: dict[str, Any] = {"source": "Kargas et al. 2018, doi:10.3390/w10111589"}
_LANDON: dict[str, Any] = {"source": "Landon 1991, Booker tropical soil manual, as in soilassessment"}
_OZCAN: dict[str, Any] = {"source": "Ozcan et al. 2006, as in soilassessment"}

#: All that are known and read in a source, in dS/m; "as in soilassessment": read in that R package's code.
FORMULAS: tuple[Converter, ...] = (
    Formula("saturated paste", PASTE, 1.0, source="the quantity itself", calibrated=(0, np.inf), log_sd=0.0),
    *_by_texture("Sonmez 2008", "1:1", [(2.72, -1.27), (2.15, -0.44), (2.03, -0.41)], **_SONMEZ),
    *_by_texture("Sonmez 2008", "1:2.5", [(4.3, 0.17), (3.84, 0.35), (3.68, 0.22)], **_SONMEZ),
    *_by_texture("Sonmez 2008", "1:5", [(8.22, -0.33), (7.58, 0.06), (7.36, -0.24)], **_SONMEZ),
    *_by_texture("Hogg 1984 suspension", "1:1", [(3.01, -0.06), (3.01, -0.77), (2.66, -0.97)], **_HOGG),
    *_by_texture("Hogg 1984 suspension", "1:2", [(3.58, 0.10), (3.23, -0.67), (3.12, -0.59)], **_HOGG_2),
    *_by_texture("Hogg 1984 extract", "1:2", [(2.79, 0.71), (2.35, -0.36), (2.16, 0.03)], **_HOGG),
    Formula("Kargas 2018", "1:1", 1.83, 0.117, **_KARGAS),
    Formula("Kargas 2018", "1:5", 6.53, -0.108, **_KARGAS),
    Formula("Landon 1991", "1:1", 2.2, **_LANDON),
    Formula("Landon 1991", "1:3", 3.81, **_LANDON),
    Formula("Landon 1991", "1:5", 6.4, **_LANDON),
    Formula("Ozcan 2006", "1:1", 1.93, -0.57, **_OZCAN),
    Formula("Ozcan 2006", "1:2.5", 3.3, -0.2, **_OZCAN),
    Formula("Ozcan 2006", "1:5", 5.97, -1.17, **_OZCAN),
    Formula("Zhang 2005", "1:1", 1.79, 1.46, source="Zhang et al. 2005, as in soilassessment"),
    Formula("Shahid", "1:2.5", 4.77, source="Shahid et al., as in soilassessment"),
    Formula("Chi 2010", "1:5", 11.68, -5.77, source="Chi & Wang 2010, as in soilassessment"),
    Formula("Park", "1:5", 8.7, source="Park et al., as in soilassessment"),
    Formula("Aboukila 2017", "1:5", 11.74, -6.15, source="Aboukila 2017, as in soilassessment"),
    Formula("Khorsandi 2011", "1:5", 5.4, -0.61, source="Khorsandi & Yazdi 2011, as in soilassessment"),
    Formula("Halder", "1:5", 4.834, 0.437, source="Halder et al., as in soilassessment"),
    Formula("He 2013", "1:5", float(np.exp(1.78)), power=0.7,
            source="He et al. 2013, doi:10.4141/cjss2012-080, as in soilassessment"),
    Formula("Klaustermeier 2016", "1:5", 10**0.766, power=1.256,
            source="Klaustermeier et al. 2016, as in soilassessment"),
    FaoDilution(),
)  # fmt: skip
