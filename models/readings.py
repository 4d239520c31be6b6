"""Conductivities as laboratories write them, in any unit, extract and texture name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from models import textures

Floats = NDArray[np.float64]

#: dS/m in one of each unit.
UNITS = {"dS/m": 1.0, "mS/cm": 1.0, "mmho/cm": 1.0, "µS/cm": 1e-3, "uS/cm": 1e-3, "umho/cm": 1e-3,
         "mS/m": 1e-2, "S/m": 10.0}  # fmt: skip
PASTE = "paste"
_PASTE_NAMES = {PASTE, "ece", "ece_sat", "saturated paste", "saturation extract", "bão hòa", "bão hoà"}


def to_ds_m(value: ArrayLike, unit: str) -> Floats:
    """Conductivity in dS/m. Raises ValueError for an unknown unit: it is never guessed from the values."""
    spelled = unit.strip().replace("\u03bc", "\u00b5")  # two letters look the same
    if spelled not in UNITS:
        raise ValueError(f"unknown unit {unit!r}; known: {', '.join(UNITS)}")
    return np.asarray(value, np.float64) * UNITS[spelled]


def to_25c(ec: ArrayLike, temperature: ArrayLike) -> Floats:
    """Conductivity at 25 °C from that at ``temperature`` (°C); NaN: the meter had corrected it already.

    Sheets & Hendrickx 1995 as corrected by Corwin & Lesch 2005 (doi:10.1016/j.compag.2004.10.005), which
    Ma et al. 2011 (doi:10.1007/s11119-009-9156-7) found the best; divided by its own 0.9994 at 25 °C, so
    that 25 °C changes nothing. Raises ValueError outside 3 to 47 °C, where that comparison ends.
    """
    t = np.asarray(temperature, np.float64)
    odd = np.flatnonzero((t < 3) | (t > 47))
    if len(odd):
        raise ValueError(
            f"row {odd[0]}: temperature is {t.flat[odd[0]]:g} °C; expected 3 to 47, or NaN where corrected"
        )
    return np.asarray(np.asarray(ec, np.float64) * np.where(np.isnan(t), 1, _at(t) / _at(np.float64(25))))


def _at(t: Any) -> Any:
    return 0.4470 + 1.4034 * np.exp(-t / 26.815)


def from_tds(tds_mg_l: ArrayLike) -> Floats:
    """Conductivity in dS/m of total dissolved salts in mg/l: /640 to 3200 mg/l, /800 above (soilassessment,
    after USSL Handbook 60); the step at 3200 is the rule's own."""
    tds = np.asarray(tds_mg_l, np.float64)
    return np.where(tds <= 3200, tds / 640, tds / 800)


def to_tss(ec: ArrayLike) -> Floats:
    """Total soluble salts in meq/l, ten times the conductivity in dS/m (USSL Handbook 60)."""
    return 10 * np.asarray(ec, np.float64)


#: "1:5", "1/2,5", "EC1:5" and GloSIS's "EC_ratio1-2.5".
_SUSPENSION = re.compile(r"(?:ec)?[ _]?(?:ratio)? ?1 ?[:/-] ?(\d+(?:\.\d+)?)")


def parse_extract(text: str) -> str:
    """One spelling of an extract: ``paste``, ``1:<water parts>``, or another name as given (``in-situ``)."""
    name = " ".join(unicodedata.normalize("NFC", text).replace(",", ".").casefold().split())
    if name in _PASTE_NAMES:
        return PASTE
    found = _SUSPENSION.fullmatch(name)
    return f"1:{float(found[1]):g}" if found and float(found[1]) > 0 else name


def parts(extract: str) -> float:
    """Parts of water to one of soil; NaN for what is no suspension."""
    return float(extract[2:]) if extract.startswith("1:") else float("nan")


@dataclass(frozen=True, eq=False)
class Readings:
    """Conductivities as the laboratory wrote them (row,); each field a value for all rows or one a row.

    ``clay`` and ``humus`` (organic matter) are mass percent. NaN and "" mean not known; NaN in ``ec``, not
    measured. Raises ValueError naming the row for a value that is not above 0, an unknown unit or texture.
    """

    ec: Any
    unit: Any
    extract: Any
    texture: Any = ""
    temperature: Any = np.nan
    """°C of the reading; NaN where the meter corrected to 25 °C."""
    clay: Any = np.nan
    humus: Any = np.nan
    method: Any = ""
    """What the laboratory calls its procedure; kept, not read."""

    def __post_init__(self) -> None:
        numbers = ("ec", "temperature", "clay", "humus")
        given = self.columns
        columns = [
            np.atleast_1d(np.asarray(v, np.float64) if name in numbers else _texts(v))
            for name, v in given.items()
        ]
        for name, column in zip(given, np.broadcast_arrays(*columns), strict=True):
            object.__setattr__(self, name, column)
        bad = np.flatnonzero((self.ec <= 0) | np.isinf(self.ec))
        if len(bad):
            raise ValueError(
                f"row {bad[0]}: conductivity is {self.ec[bad[0]]:g}; expected above 0 (for one below "
                "detection, give the limit and say so)"
            )
        self.ec_25  # noqa: B018 - units and temperatures are checked now, not at the first conversion
        self.groups  # noqa: B018

    def __len__(self) -> int:
        return len(self.ec)

    @property
    def columns(self) -> dict[str, Any]:
        """Field name -> what was measured."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def ec_25(self) -> Floats:
        """dS/m at 25 °C (row,)."""
        factor = _each(self.unit, lambda u: float(to_ds_m(1, u)), "unit", np.float64)
        return to_25c(self.ec * factor, self.temperature)

    @cached_property
    def extracts(self) -> NDArray[np.str_]:
        return _each(self.extract, parse_extract, "extract", np.str_)

    @cached_property
    def names(self) -> NDArray[np.str_]:
        """USDA class (row,); "" where not known or only its group."""
        return _each(self.texture, lambda t: getattr(_texture(t), "name", ""), "texture", np.str_)

    @cached_property
    def groups(self) -> NDArray[np.str_]:
        """coarse, medium, fine, or "" where not known (row,)."""

        def group(text: str) -> str:
            found = _texture(text)
            return found if isinstance(found, str) else found.group

        return _each(self.texture, group, "texture", np.str_)


def _texture(text: str) -> textures.Texture | str:
    return textures.parse(text) if text else ""


def _texts(values: Any) -> NDArray[np.object_]:
    array = np.asarray(values, object)
    return np.asarray(np.where(pd.isna(array), "", array), object)


def _each(column: NDArray[Any], read: Callable[[str], Any], what: str, dtype: Any) -> NDArray[Any]:
    """``read`` of every text, each distinct one once. Raises ValueError naming the row."""
    codes, distinct = pd.factorize(column)
    found = []
    for k, text in enumerate(distinct):
        try:
            found.append(read(str(text)))
        except ValueError as error:
            raise ValueError(f"row {int((codes == k).argmax())}: {what}: {error}") from None
    return np.asarray(found, dtype)[codes]
