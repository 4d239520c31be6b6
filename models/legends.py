"""Named class schemes of a measured quantity. The same value has other words in other schemes, so a class
never travels without the name of its scheme and the standing of its source."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from models.settings import Settings
from models.targets import MapClass, Name, Title

#: Code of what was not measured.
NODATA = 0


class SchemeClass(MapClass):
    """One class, up to but not including ``below``; the last has no upper end."""

    below: float | None = None


class Scheme(Settings):
    """Classes of ``quantity`` in ``unit``, from least to most."""

    name: Name
    title: Title
    quantity: Name
    unit: str = Field(min_length=1)
    status: Literal["verified", "unverified"]
    """Whether the thresholds were read in a verified source; every class map prints it."""
    source: str = Field(min_length=1)
    article: str = ""
    """Article of the law or standard, where there is one."""
    applies: Title | None = None
    """On which soils, where not on all."""
    classes: tuple[SchemeClass, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _rising(self) -> Scheme:
        *bounds, last = [c.below for c in self.classes]
        if last is not None:
            raise ValueError(f"the last class ends below {last:g}; expected no upper end")
        if None in bounds:
            raise ValueError(f"class {self.classes[bounds.index(None)].name!r} needs its upper end, below")
        if not np.isfinite(self.bounds).all() or (np.diff(self.bounds) <= 0).any():
            raise ValueError(f"upper ends are {bounds}; expected finite and rising")
        for key in ("code", "name"):
            values = [getattr(c, key) for c in self.classes]
            if len(set(values)) < len(values):
                raise ValueError(f"two classes share a {key}: {values}")
        return self

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Upper ends (class - 1,), which are the lower ends of the next."""
        return np.array([c.below for c in self.classes[:-1]], np.float64)

    def classify(self, values: ArrayLike) -> NDArray[np.uint8]:
        """Class codes of values in ``unit``, any shape; a bound belongs to the class above it, NaN is
        ``NODATA``."""
        v = np.asarray(values, np.float64)
        codes = np.array([c.code for c in self.classes], np.uint8)
        found = codes[np.searchsorted(self.bounds, v, side="right")]
        return np.where(np.isnan(v), np.uint8(NODATA), found)

    def of(self, value: float) -> SchemeClass:
        """The class of one value. Raises ValueError for NaN."""
        if np.isnan(value):
            raise ValueError("NaN has no class")
        return self.classes[int(np.searchsorted(self.bounds, value, side="right"))]
