"""Sentinel-1: statistics in power per relative orbit, then combined; decibels last.

Backscatter depends on the angle of view, so dates of different orbits are not one series: their
spread would be read as change. Each orbit's statistics are made by themselves and combined as the
mean weighted by the pixel's seen dates in each orbit; counts and Mann-Kendall's S add up, min and max
are those over all orbits, the longest run is the longest of any, and the age that of the newest date.
Mann-Kendall's p is that of the summed S and variance (the seasonal test of Hirsch & Slack 1984).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from features import kernel, temporal
from features.spec import Feature, FeatureSpec

#: Pixels combined at a time, so that the orbits' own results stay small.
CHUNK = 1 << 16

Stack = Mapping[str, NDArray[Any]]
Dates = Mapping[str, NDArray[np.datetime64]]
Orbits = Mapping[str, NDArray[np.integer[Any]]]


def run(
    spec: FeatureSpec,
    stack: Stack,
    out: NDArray[np.float32],
    dates: Dates,
    orbits: Orbits,
    until: np.datetime64 | None,
) -> None:
    """Fill the rows of ``out`` (feature, y, x) whose features have a time axis.

    Memory of a sensor with several orbits: its rows of the block for 65,536 pixels, once an orbit.
    """
    several = {sensor for sensor, numbers in orbits.items() if len(np.unique(numbers)) > 1}
    kernel.run(spec, stack, out, dates, until, skip=several)
    for sensor in sorted(several):
        _by_orbit(spec, sensor, stack, out, dates.get(sensor), orbits[sensor], until)
    for row, feature in enumerate(spec.features):
        if feature.statistic is not None and feature.reduction.decibel:
            _to_decibel(out[row])


def _to_decibel(power: NDArray[np.float32]) -> None:
    power[~(power > 0)] = np.nan
    np.log10(power, out=power)
    power *= np.float32(10)


def _by_orbit(
    spec: FeatureSpec,
    sensor: str,
    stack: Stack,
    out: NDArray[np.float32],
    dates: NDArray[np.datetime64] | None,
    orbits: NDArray[np.integer[Any]],
    until: np.datetime64 | None,
) -> None:
    mine = {row: f for row, f in enumerate(spec.features) if f.parsed.sensor == sensor and f.statistic}
    if not mine:
        return
    if until is None and dates is not None:
        until = dates.max()
    parts = {f: _parts(f) for f in mine.values()}
    made = list(dict.fromkeys(part for several in parts.values() for part in several))
    place = {part: k for k, part in enumerate(made)}
    inner = FeatureSpec(tuple(made))
    height, width = out.shape[1:]
    step = max(1, CHUNK // max(width, 1))
    groups = [np.flatnonzero(orbits == number) for number in np.unique(orbits)]
    values = np.empty((len(groups), len(made), min(step, height), width), np.float32)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        found = values[:, :, : rows.stop - top]
        for k, group in enumerate(groups):
            window = {band: stack[band][group, rows] for band in inner.bands}
            when = {} if dates is None else {sensor: dates[group]}
            result = np.empty(found.shape[1:], np.float32)
            kernel.run(inner, window, result, when, until)
            found[k] = result
        for row, feature in mine.items():
            out[row, rows] = _combine(feature, [found[:, place[part]] for part in parts[feature]])


def _parts(feature: Feature) -> list[Feature]:
    """What is made of each orbit for ``feature``: first its own values, last their count."""
    if feature.reduction.kind == temporal.MK_P:
        statistics = ["mks", "mkvar"]
    else:
        statistics = [str(feature.statistic).removesuffix("db")]
    made = []
    for statistic in dict.fromkeys([*statistics, "count"]):
        other = feature.other if statistic == feature.statistic else None
        name = f"{statistic} of {feature.formula} at {other} in {feature.window}"
        made.append(Feature(name, feature.formula, statistic, feature.window, other))
    return made


def _combine(feature: Feature, parts: list[NDArray[np.float32]]) -> NDArray[Any]:
    """One (y, x) from the orbits' (orbit, y, x), by the rules that the module states."""
    kind, value, *_ = feature.reduction
    values, counts = parts[0], parts[-1]
    if kind == temporal.COUNT:
        return np.asarray(counts.sum(axis=0))
    if kind == temporal.AGE or (kind == temporal.PERCENTILE and value == 0):
        return np.asarray(np.fmin.reduce(values, axis=0))
    if kind in (temporal.RUN_BELOW, temporal.RUN_ABOVE) or (kind == temporal.PERCENTILE and value == 1):
        return np.asarray(np.fmax.reduce(values, axis=0))
    if kind in (temporal.MK_S, temporal.MK_VARIANCE):
        return _sum(values)
    if kind == temporal.MK_P:
        score, variance = _sum(parts[0]), _sum(parts[1])
        z = np.maximum(np.abs(score) - 1, 0) / np.sqrt(np.where(variance > 0, variance, np.inf))
        return np.asarray(erfc(z / np.sqrt(2)))
    weights = np.where(np.isnan(values), 0, counts).astype(np.float64)
    total = weights.sum(axis=0)
    mean = np.nansum(weights * values, axis=0) / np.where(total > 0, total, np.nan)
    return np.asarray(mean)


def _sum(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum over orbits, NaN where none has a value."""
    seen = ~np.isnan(values).all(axis=0)
    return np.where(seen, np.nansum(values, axis=0, dtype=np.float64), np.nan)
