"""Rows of one place: duplicates, repeats and layers of depth become one value of the ground."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from pipeline.imports.places import Place
from pipeline.imports.rules import Finding, mend, refusal
from pipeline.imports.spellings import Layer

#: Repeats that differ by more than this factor contradict each other.
CONFLICT = 2.0
#: Extract of a mean of conductivities of several extracts.
MIXED = "mixed"
#: What a site's ``about`` calls the conductivity that was read, its unit and its extract.
MEASURED = ("measured_ec", "measured_unit", "measured_extract")
#: Shorter gaps between layers, cm, are the surveyor's tape.
GAP_CM = 5.0


@dataclass(frozen=True, eq=False)
class Draft:
    """A row that passed by itself."""

    number: int
    identity: str
    group: str
    place: Place
    day: str
    seasons: tuple[str, ...]
    layer: Layer | None
    values: dict[str, float]
    errors: dict[str, float]
    """Column of an error variance -> value."""
    classes: frozenset[str]
    """Names of the targets that are classes."""
    about: dict[str, str | float]
    mends: tuple[Finding, ...] = ()


@dataclass
class Settled:
    """Drafts that stay, and what became of the other rows."""

    kept: list[Draft] = field(default_factory=list)
    refused: dict[int, Finding] = field(default_factory=dict)
    """Row -> why it is out."""
    merged: dict[int, int] = field(default_factory=dict)
    """Row -> the row that it became part of."""
    mends: dict[int, tuple[Finding, ...]] = field(default_factory=dict)


def settle(drafts: Sequence[Draft], wanted: tuple[float, float]) -> Settled:
    """One draft for each place, day and sample; ``wanted`` is the depth in cm that is mapped."""
    found = Settled()
    alone = _distinct(drafts, found)
    spots: dict[tuple[float, float, str], list[Draft]] = {}
    for d in alone:
        spots.setdefault((round(d.place.lon, 6), round(d.place.lat, 6), d.day), []).append(d)
    for members in spots.values():
        whole = _repeats(members, found)
        found.kept += _layers(whole, wanted, found)
    found.kept.sort(key=lambda d: d.number)
    return found


def _distinct(drafts: Sequence[Draft], found: Settled) -> list[Draft]:
    """Without rows whose id belongs to another place."""
    first: dict[str, Draft] = {}
    alone = []
    for d in drafts:
        known = first.setdefault(d.identity, d)
        same_place = abs(known.place.lon - d.place.lon) < 1e-6 and abs(known.place.lat - d.place.lat) < 1e-6
        if known is not d and not same_place:
            found.refused[d.number] = refusal("duplicate-id", id=d.identity, row=known.number)
        else:
            alone.append(d)
    return alone


def _repeats(members: Sequence[Draft], found: Settled) -> list[Draft]:
    """Rows of the same layer: contradictions out, repeats of one id averaged, other ids left as they are."""
    by_layer: dict[tuple[float, float] | None, list[Draft]] = {}
    for d in members:
        by_layer.setdefault((d.layer.top, d.layer.bottom) if d.layer else None, []).append(d)
    whole = []
    for rows in by_layer.values():
        conflicts = _conflicts(rows)
        for number, finding in conflicts.items():
            found.refused[number] = finding
        rest = [d for d in rows if d.number not in conflicts]
        by_id: dict[str, list[Draft]] = {}
        for d in rest:
            by_id.setdefault(d.identity, []).append(d)
        whole += [_averaged(same, found) for same in by_id.values()]
    return whole


def _conflicts(rows: Sequence[Draft]) -> dict[int, Finding]:
    """Row -> why, for rows of one place and depth of which some target has two answers."""
    out: dict[int, Finding] = {}
    for name in sorted({n for d in rows for n in d.values}):
        having = [d for d in rows if name in d.values]
        low, high = min(having, key=lambda d: d.values[name]), max(having, key=lambda d: d.values[name])
        a, b = low.values[name], high.values[name]
        differ = (
            a != b
            if name in low.classes
            else (b > CONFLICT * a if a > 0 else b - a > 0.5 * max(abs(a), abs(b)))
        )
        if differ:
            for d in having:
                other = high if d.values[name] == a else low
                out[d.number] = refusal(
                    "conflicting-repeats",
                    target=name,
                    found=f"{d.values[name]:g}",
                    other=f"{other.values[name]:g}",
                    row=other.number,
                )
    return out


def _averaged(same: Sequence[Draft], found: Settled) -> Draft:
    """Repeats of one sample; a value that only one of them has is taken as it is."""
    first = same[0]
    if len(same) == 1:
        return first
    values: dict[str, float] = {}
    for name in {n: None for d in same for n in d.values}:
        having = [d.values[name] for d in same if name in d.values]
        values[name] = having[0] if name in first.classes else _middle(having)
    for d in same:
        shared = any(n in o.values for o in same if o is not d for n in d.values)
        row = first.number if d is not first else same[1].number
        if shared:
            found.mends[d.number] = (mend("repeat-averaged", row=row),)
        if d is not first:
            found.merged[d.number] = first.number
    errors = {n: v for d in reversed(same) for n, v in d.errors.items()}
    return replace(first, values=values, errors=errors, about=_measured(first, same, _middle))


def _middle(having: Sequence[float]) -> float:
    """Geometric mean; arithmetic where there is a 0."""
    if len(set(having)) == 1:
        return having[0]
    positive = min(having) > 0
    return math.exp(sum(map(math.log, having)) / len(having)) if positive else sum(having) / len(having)


def _measured(
    first: Draft, merged: Sequence[Draft], mean: Callable[[Sequence[float]], float]
) -> dict[str, str | float]:
    """What ``first`` says beside its values, with the mean of what was measured where all were measured alike."""
    about = dict(first.about)
    for value, unit, extract in (("ec", "ec_unit", "extract"), MEASURED):
        ways = {(d.about.get(extract), d.about.get(unit)) for d in merged}
        if len(ways) > 1:
            about = {k: v for k, v in about.items() if k not in (value, unit)} | {extract: MIXED}
        elif value in about:
            about[value] = mean([float(d.about[value]) for d in merged])
    return about


def _layers(members: Sequence[Draft], wanted: tuple[float, float], found: Settled) -> list[Draft]:
    """Layers of one place averaged by thickness over the wanted depth."""
    layered = sorted(
        (d for d in members if d.layer), key=lambda d: (d.layer.top, d.layer.bottom) if d.layer else (0, 0)
    )
    kept = [d for d in members if not d.layer]
    top, bottom = wanted
    shown = f"{top:g}-{bottom:g}"
    inside: list[Draft] = []
    for d in layered:
        assert d.layer is not None
        if d.layer.top >= bottom or d.layer.bottom <= top:
            found.refused[d.number] = refusal(
                "below-depth", top=d.layer.top, bottom=d.layer.bottom, wanted=shown
            )
        else:
            inside.append(d)
    ids = {d.identity for d in inside}
    distinct = len({(d.layer.top, d.layer.bottom) for d in inside if d.layer}) == len(inside)
    if len(inside) > 1 and not distinct and len(ids) > 1:
        # several samples of one place, each with layers of its own
        return kept + [
            x for i in sorted(ids) for x in _profile([d for d in inside if d.identity == i], wanted, found)
        ]
    return kept + _profile(inside, wanted, found)


def _profile(inside: list[Draft], wanted: tuple[float, float], found: Settled) -> list[Draft]:
    if not inside:
        return []
    reached, last = wanted[0], inside[0]
    for d in inside:
        assert d.layer is not None and last.layer is not None
        if d is not last and d.layer.top < last.layer.bottom:
            found.refused[d.number] = refusal(
                "depth-overlap", top=d.layer.top, bottom=d.layer.bottom, row=last.number
            )
            continue
        if d.layer.top - reached > GAP_CM:
            for row in inside:
                found.refused.setdefault(row.number, refusal("depth-gap", top=reached, bottom=d.layer.top))
            return []
        reached, last = d.layer.bottom, d
    inside = [d for d in inside if d.number not in found.refused]
    return [_weighted(inside, wanted, found)]


def _weighted(inside: list[Draft], wanted: tuple[float, float], found: Settled) -> Draft:
    first = inside[0]
    if len(inside) == 1:
        return first
    top, bottom = wanted
    thick = {d.number: min(d.layer.bottom, bottom) - max(d.layer.top, top) for d in inside if d.layer}
    values: dict[str, float] = {}
    for name in {n: None for d in inside for n in d.values}:
        having = [d for d in inside if name in d.values]
        weight = sum(thick[d.number] for d in having)
        mean = sum(thick[d.number] * d.values[name] for d in having) / weight
        values[name] = having[0].values[name] if name in first.classes else mean  # a class is of the topsoil
    shown = ", ".join(f"{d.layer.top:g}-{d.layer.bottom:g}" for d in inside if d.layer)
    for d in inside:
        finding = mend("depth-weighted", found=shown, wanted=f"{top:g}-{bottom:g}")
        found.mends[d.number] = (*found.mends.get(d.number, ()), finding)
        if d is not first:
            found.merged[d.number] = first.number
    errors = {n: max(d.errors.get(n, 0.0) for d in inside) for d in inside for n in d.errors}
    whole = Layer(first.layer.top, inside[-1].layer.bottom) if first.layer and inside[-1].layer else None

    def thickness_mean(measured: Sequence[float]) -> float:
        return sum(t * v for t, v in zip(thick.values(), measured, strict=True)) / sum(thick.values())

    about = _measured(first, inside, thickness_mean)
    return replace(first, values=values, errors=errors, layer=whole, about=about)
