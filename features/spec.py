"""FeatureSpec: which features, in which order, by which formulas. A trained bundle carries it."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from features import temporal
from features.bands import BANDS, LAYERS, REGION, REGION_LAYERS, has_time
from features.formula import Formula, FormulaError, Rule, parse, rule
from features.indices import ALIASES, INDICES, Index
from features.temporal import Statistic

_WINDOW_NAME = _LAYER_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Feature:
    """One feature: a formula reduced over the season, or a layer that has no time."""

    name: str
    formula: str
    """Formula text over common band names; the band's own name for a plain band."""
    statistic: str | None
    """None for a layer without time."""
    window: str | None = None
    """Rule text over bands: only dates on which it holds are used. None: all dates."""
    other: str | None = None
    """Formula text of the index that picks the date, for ``atmax...`` and ``atmin...``."""

    @cached_property
    def parsed(self) -> Formula:
        """The checked formula. Raises FormulaError."""
        if self.statistic is None and self.formula not in BANDS:
            return _region_layer(self.formula)
        return parse(self.formula)

    @cached_property
    def rule(self) -> Rule | None:
        """The checked rule of the window; None without one. Raises FormulaError."""
        return None if self.window is None else rule(self.window)

    @cached_property
    def reduction(self) -> Statistic:
        """What is made of the values; layers have none."""
        assert self.statistic is not None
        return temporal.statistic(self.statistic)

    @property
    def series(self) -> tuple[tuple[str, str | None], ...]:
        """(formula, window) of the values, and of those that pick the date where another index does."""
        window = self.rule.text if self.rule else None
        texts = [self.parsed.text] if self.other is None else [self.parsed.text, parse(self.other).text]
        return tuple((text, window) for text in texts)

    @cached_property
    def bands(self) -> frozenset[str]:
        """All bands that the feature asks."""
        used = {*self.parsed.bands, *(self.rule.bands if self.rule else ())}
        return frozenset(used | set(parse(self.other).bands if self.other else ()))

    @property
    def timed(self) -> bool:
        """True where the dates must be known."""
        return self.statistic is not None and (self.reduction.timed or bool(self.rule and self.rule.dated))

    def check(self) -> None:
        """Raises ValueError where the parts do not fit each other."""
        layer = not has_time(self.parsed.bands[0])
        if layer != (self.statistic is None):
            raise ValueError(f"feature {self.name!r} needs {'no' if layer else 'a'} statistic")
        if layer:
            if self.window is not None:
                raise ValueError(f"feature {self.name!r} has a window, but {self.formula} has no time")
            return
        if (self.reduction.other is None) != (self.other is None):
            raise ValueError(f"feature {self.name!r}: {self.statistic} and another index go together")
        sensors = {
            "the other index": parse(self.other).sensor if self.other else None,
            "the window": self.rule.sensor if self.rule else None,
        }
        for what, sensor in sensors.items():
            if sensor not in (None, self.parsed.sensor):
                raise ValueError(
                    f"feature {self.name!r} is made from {self.parsed.sensor}, but {what} from {sensor}: "
                    "their dates do not match; expected one sensor"
                )


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
            feature.check()

    @classmethod
    def parse(
        cls,
        names: Iterable[str],
        indices: Mapping[str, Index] = INDICES,
        windows: Mapping[str, str] | None = None,
        layers: Iterable[str] = (),
    ) -> FeatureSpec:
        """Spec from names ``<index or band>_<statistic>``, or the same ``@<window>``, or bare layer names.

        ``windows`` maps names to rule text, such as ``{"bare": "ndvi < 0.3 and mndwi < 0"}``; ``layers``
        names rasters of the region's own.
        Raises ValueError naming the unknown part and what is known.
        """
        rules = {name: _window(name, text, indices) for name, text in (windows or {}).items()}
        timeless = {*LAYERS, *REGION_LAYERS, *layers}
        return cls(tuple(_feature(name, indices, rules, timeless) for name in names))

    @classmethod
    def from_json(cls, text: str) -> FeatureSpec:
        """Inverse of ``to_json``; keeps the stored formulas even where the canon has changed."""
        return cls(tuple(Feature(**row) for row in json.loads(text)))

    def to_json(self) -> str:
        """JSON text that ``from_json`` reads back to an equal spec."""
        rows: list[dict[str, Any]] = [
            {"name": f.name, "formula": f.formula, "statistic": f.statistic}
            | ({"window": f.window} if f.window is not None else {})
            | ({"other": f.other} if f.other is not None else {})
            for f in self.features
        ]
        return json.dumps(rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Feature names, in the order of the rows of a cube."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def bands(self) -> tuple[str, ...]:
        """Bands needed, in canonical order, then the region's layers."""
        used = {band for feature in self.features for band in feature.bands}
        return ordered(used)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names, formulas, windows and statistics."""
        rows = []
        for f in self.features:
            # Plain features digest as they did before there were windows.
            more = [[text, window] for text, window in f.series] if f.window or f.other else []
            rows.append([f.name, f.parsed.text, f.statistic, *more])
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _window(name: str, text: str, indices: Mapping[str, Index]) -> str:
    """Canonical text of a named rule, over bands alone."""
    if not _WINDOW_NAME.fullmatch(name):
        raise ValueError(f"window {name!r}: expected a name of lower-case letters, digits and _")
    try:
        return rule(text, {key: index.formula for key, index in indices.items()}).text
    except FormulaError as error:
        raise ValueError(f"window {name!r}: {error}") from None


def ordered(bands: Iterable[str]) -> tuple[str, ...]:
    """Bands in canonical order, then layers of a region by name."""
    used = set(bands)
    return (*(band for band in BANDS if band in used), *sorted(used.difference(BANDS)))


def _region_layer(name: str) -> Formula:
    if not _LAYER_NAME.fullmatch(name):
        raise FormulaError(f"layer {name!r}: expected a name of lower-case letters, digits and _")
    return Formula(name, (name,), REGION)


def _feature(
    name: str, indices: Mapping[str, Index], windows: Mapping[str, str], timeless: Collection[str]
) -> Feature:
    if name in timeless:
        return Feature(name, name, None)
    whole, at, window = name.partition("@")
    if at and window not in windows:
        known = ", ".join(windows) or "none"
        raise ValueError(f"unknown window {window!r} in feature {name!r}; known: {known}")
    subject, underscore, statistic = whole.rpartition("_")
    if not underscore:
        layers = ", ".join(sorted(timeless))
        raise ValueError(
            f"unknown feature {name!r}; expected <index or band>_<statistic>, such as ndvi_p50, "
            f"or a layer without time ({layers})"
        )
    try:
        other = temporal.statistic(statistic).other
    except ValueError as error:
        raise ValueError(f"feature {name!r}: {error}") from None
    return Feature(
        name,
        _formula(subject, name, indices),
        statistic,
        windows[window] if at else None,
        None if other is None else _formula(other, name, indices),
    )


def _formula(subject: str, feature: str, indices: Mapping[str, Index]) -> str:
    try:
        return formula_of(subject, indices)
    except FormulaError:
        raise
    except ValueError as error:
        raise ValueError(
            str(error).replace(repr(subject), f"{subject!r} in feature {feature!r}", 1)
        ) from None


def formula_of(subject: str, indices: Mapping[str, Index] = INDICES) -> str:
    """Formula text of an index or a band with dates. Raises ValueError for an unknown name."""
    if subject in indices:
        return parse(indices[subject].formula).text
    if subject in BANDS and subject not in LAYERS:
        return subject
    meant = [f"{alias.index} ({alias.paper})" for alias in ALIASES.get(subject, ())]
    if meant:
        raise ValueError(f"{subject!r} is a name of {' or '.join(meant)}; expected the name used here")
    known = [*indices, *(band for band in BANDS if band not in LAYERS)]
    near = difflib.get_close_matches(subject, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ValueError(f"unknown index or band {subject!r}; {hint}known: {', '.join(known)}")
