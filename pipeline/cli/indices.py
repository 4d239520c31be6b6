"""``phusa indices``: the canon listed, filtered and explained."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path

import click

from features.bands import BANDS, LAYERS
from features.formula import parse
from features.indices import ALIASES, DOMAINS, INDICES, Index, find
from pipeline.cli.shell import Result, Told, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.ownindices import named


@click.command()
@click.argument("name", required=False)
@click.option("--domain", type=click.Choice(DOMAINS), help="Only indices that ask this of the ground.")
@click.option(
    "--band", "bands", multiple=True, type=click.Choice([b for b in BANDS if b not in LAYERS]),
    help="Only indices that use this band; give it again for one more.",
)  # fmt: skip
@click.option("--search", help="Only indices with this text in name, title, formula, citation or aliases.")
@click.option(
    "--config", type=click.Path(path_type=Path), help="Region config whose own indices are shown too."
)
@command
def indices(
    name: str | None, domain: str | None, bands: tuple[str, ...], search: str | None, config: Path | None
) -> Result:
    """List the spectral indices, or explain one: formula, range, bands, citation, other names."""
    known = dict(INDICES) | (named(Config.read(config).indices) if config else {})
    if name is not None:
        if domain or bands or search:
            raise InputError(f"give an index's name ({name}) or filters, not both")
        return _explained(name.lower(), known)
    found = [
        index
        for index in known.values()
        if (not domain or index.domain == domain)
        and set(bands) <= set(parse(index.formula).bands)
        and (not search or search.lower() in _text(index))
    ]
    rows = [_described(index) for index in found]
    width = max((len(index.name) for index in found), default=0)
    lines = [f"{i.name:<{width}}  {i.domain:<10}  {i.title or i.formula}" for i in found]
    total = f"{len(found)} of {len(known)} indices; `phusa indices NAME` explains one"
    return Told({"count": len(found), "indices": rows}, [*lines, total])


def _explained(name: str, known: Mapping[str, Index]) -> Result:
    try:
        index = find(name, known)
    except ValueError as error:
        raise InputError(f"{error} (`phusa indices` lists all)") from None
    result = _described(index)
    others = [{"index": a.index, "paper": a.paper} for a in ALIASES.get(name, ()) if a.index != index.name]
    result["name_elsewhere_means"] = others
    low, high = result["range"]
    lines = [
        f"{index.name}: {index.title}" if index.title else index.name,
        f"  formula   {index.formula}",
        f"  bands     {', '.join(result['bands'])}",
        f"  domain    {index.domain}",
        f"  range     {'unbounded' if low is None else low} to {'unbounded' if high is None else high}",
        f"  citation  {index.citation or 'none'}",
        *(f"  alias     {alias['name']} ({alias['paper']})" for alias in result["aliases"]),
        *(f"  but {name} is {other['index']} in {other['paper']}" for other in others),
    ]
    return Told(result, lines)


def _described(index: Index) -> Result:
    low, high = (bound if isfinite(bound) else None for bound in index.range)
    return {
        "name": index.name,
        "title": index.title,
        "domain": index.domain,
        "formula": index.formula,
        "bands": list(parse(index.formula).bands),
        "range": [low, high],
        "citation": index.citation,
        "aliases": [{"name": alias, "paper": paper} for alias, paper in _aliases(index.name)],
    }


def _aliases(name: str) -> list[tuple[str, str]]:
    return [(alias, a.paper) for alias, meant in ALIASES.items() for a in meant if a.index == name]


def _text(index: Index) -> str:
    names = (f"{alias} {paper}" for alias, paper in _aliases(index.name))
    return " ".join([index.name, index.title, index.formula, index.citation, *names]).lower()
