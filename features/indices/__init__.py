"""The canon: one line an index, one name a formula. A file a domain; ``aliases`` holds what others call them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from features.indices import aliases, burn, moisture, radar, salinity, soil, vegetation, water
from features.indices.entry import ANY, DOMAINS, Alias, Index

__all__ = ["ALIASES", "ANY", "DOMAINS", "INDICES", "Alias", "Index", "find"]

_FILES = (vegetation, water, moisture, soil, salinity, burn, radar)

#: Lower-case name -> Index. No two have the same formula.
INDICES: MappingProxyType[str, Index] = MappingProxyType(
    {index.name: index for file in _FILES for index in file.CANON}
)

#: What others write, in lower case -> which indices they mean by it. A key may also be a name of the
#: canon: Khan's NDSI is ``ndsi``, the NDSI of snow is ``mndwi``.
ALIASES: MappingProxyType[str, tuple[Alias, ...]] = MappingProxyType(
    {name: tuple(a for n, a in aliases.NAMES if n == name) for name, _ in aliases.NAMES}
)


def find(name: str, indices: Mapping[str, Index] = INDICES) -> Index:
    """The index called ``name``, or the one that an alias with one meaning stands for.

    Raises ValueError for an unknown name, with the nearest known one, and for an alias with several meanings.
    """
    if name in indices:
        return indices[name]
    meant = ALIASES.get(name, ())
    if len({alias.index for alias in meant}) == 1:
        return INDICES[meant[0].index]
    if meant:
        senses = "; ".join(f"{alias.index} ({alias.paper})" for alias in meant)
        raise ValueError(f"index {name!r} means several things: {senses}")
    near = difflib.get_close_matches(name, [*indices, *ALIASES], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown index {name!r}{hint}")
