"""What the canon is made of: an index, and a name that others give it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

#: The questions that an index is asked; radar is for VV and VH, own is for a region config's indices.
DOMAINS = ("vegetation", "water", "moisture", "soil", "salinity", "burn", "radar", "own")

#: Ranges that many indices share, for reflectance from 0 to 1.
ONE = (-1.0, 1.0)
SHARE = (0.0, 1.0)
POSITIVE = (0.0, inf)
ANY = (-inf, inf)


@dataclass(frozen=True)
class Index:
    """A spectral or radar index over surface reflectance (0-1) or gamma0 power (linear)."""

    name: str
    formula: str
    domain: str
    """One of ``DOMAINS``."""
    range: tuple[float, float]
    """Values a real surface can take: metadata, never clips."""
    citation: str
    """Author, year, and DOI where there is one."""
    title: str = ""


@dataclass(frozen=True)
class Alias:
    """Another name of an index: in some cases the canon gives the same name to a different one."""

    index: str
    """The name here."""
    paper: str
    """Who calls it so."""
