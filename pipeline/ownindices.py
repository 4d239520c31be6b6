"""A region's own indices: formulas that researchers add in the config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from features.bands import BANDS, LAYERS
from features.formula import parse
from features.indices import ALIASES, ANY, INDICES, Index
from models.settings import Settings


def _free(name: str) -> str:
    """A name that nothing else has: a feature's name must mean one thing everywhere."""
    if name in BANDS:
        raise ValueError("is a band's name; choose another")
    if name in INDICES:
        raise ValueError(f"is the canon's {INDICES[name].formula}; choose another name")
    if name in ALIASES:
        meant = " or ".join(dict.fromkeys(alias.index for alias in ALIASES[name]))
        raise ValueError(f"is known as another name of {meant}; choose another name")
    return name


def _formula(text: str) -> str:
    if LAYERS.intersection(parse(text).bands):
        raise ValueError("a layer without time is a feature by its bare name, not an index")
    return text


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if not bounds[0] < bounds[1]:
        raise ValueError(f"range {list(bounds)} is not [low, high] with low < high")
    return bounds


Name = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$", max_length=40), AfterValidator(_free)
]


class OwnIndex(Settings):
    """One index over common band names; its name is its key."""

    formula: Annotated[str, AfterValidator(_formula)]
    range: Annotated[tuple[float, float], AfterValidator(_rising)] = ANY
    domain: Literal["vegetation", "water", "moisture", "soil", "salinity", "burn", "radar", "own"] = "own"
    citation: str = ""
    title: str = ""


def named(own: Mapping[str, OwnIndex]) -> dict[str, Index]:
    """Name -> ``Index``, as the canon has them."""
    return {
        name: Index(name, index.formula, index.domain, index.range, index.citation, index.title)
        for name, index in own.items()
    }
