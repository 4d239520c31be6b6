"""FeatureSpec: which features, in which order, by which formulas. A trained bundle carries it."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from features import temporal
from features.bands import BANDS, LAYERS
from features.formula import Formula, parse
from features.indices import INDICES, Index


@dataclass(frozen=True)
class Feature:
    """One feature: a formula reduced over the season, or a layer that has no time."""

    name: str
    formula: str
    """Formula text over common band names; the band's own name for a plain band."""
    statistic: str | None
    """None for a layer without time."""

    @cached_property
    def parsed(self) -> Formula:
        return parse(self.formula)


@dataclass(frozen=True)
class FeatureSpec:
    """Ordered features. ``digest`` covers names and formulas: equal digests, equal arithmetic."""

    features: tuple[Feature, ...]

    def __post_init__(self) -> None:
        if not self.features:
            raise ValueError("no features given; expected at least one, such as ndvi_p50")
        for name in self.names:
            if self.names.count(name) > 1:
                raise ValueError(f"feature {name!r} is given {self.names.count(name)} times")
        for feature in self.features:
            layer = feature.parsed.bands[0] in LAYERS
            if layer != (feature.statistic is None):
                raise ValueError(f"feature {feature.name!r} needs {'no' if layer else 'a'} statistic")
            if feature.statistic is not None:
                temporal.statistic(feature.statistic)

    @classmethod
    def parse(cls, names: Iterable[str], indices: Mapping[str, Index] = INDICES) -> FeatureSpec:
        """Spec from names ``<index or band>_<statistic>`` or bare layer names.

        Raises ValueError naming the unknown part and what is known.
        """
        return cls(tuple(_feature(name, indices) for name in names))

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        """Inverse of ``to_json``; keeps the stored formulas even where the canon has changed."""
        return cls(tuple(Feature(**row) for row in json.loads(text)))

    def to_json(self) -> str:
        rows: list[dict[str, Any]] = [
            {"name": f.name, "formula": f.formula, "statistic": f.statistic} for f in self.features
        ]
        return json.dumps(rows)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Bands needed, in canonical order."""
        used = {band for feature in self.features for band in feature.parsed.bands}
        return tuple(band for band in BANDS if band in used)

    @cached_property
    def digest(self) -> str:
        rows = [[f.name, f.parsed.text, f.statistic] for f in self.features]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _feature(name: str, indices: Mapping[str, Index]) -> Feature:
    if name in LAYERS:
        return Feature(name, name, None)
    subject, underscore, statistic = name.rpartition("_")
    known = [*indices, *(band for band in BANDS if band not in LAYERS)]
    if not underscore:
        layers = ", ".join(sorted(LAYERS))
        raise ValueError(
            f"unknown feature {name!r}; expected <index or band>_<statistic>, such as ndvi_p50, "
            f"or a layer without time ({layers})"
        )
    try:
        temporal.statistic(statistic)
    except ValueError as error:
        raise ValueError(f"feature {name!r}: {error}") from None
    if subject in indices:
        return Feature(name, parse(indices[subject].formula).text, statistic)
    if subject in BANDS and subject not in LAYERS:
        return Feature(name, subject, statistic)
    near = difflib.get_close_matches(subject, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(
        f"unknown index or band {subject!r} in feature {name!r}; {hint}known: {', '.join(known)}"
    )
