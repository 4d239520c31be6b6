"""What products say of the ground: how much of it is unknown, and what changed since the season before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray

from models.targets import Target
from pipeline.product import MAPPED, NODATA, REASONS, UNKNOWN_GROUND


def unknown(cogs: Iterable[Path]) -> dict[str, Any]:
    """Shares of the ground (all but outside and masked) by reason, and of that unknown to the model.

    Unknown is what was not mapped for it, and what was mapped outside the model's applicability.
    """
    pixels = np.zeros(len(REASONS), np.int64)
    beyond = 0
    for cog in cogs:
        with rasterio.open(cog) as file:
            bands = [file.descriptions.index(n) + 1 for n in ("reason", "applicability")]
            for _, window in file.block_windows(1):
                reason, inside = file.read(bands, window=window)
                pixels += np.bincount(reason.ravel(), minlength=len(REASONS))
                beyond += int(((reason == MAPPED) & (inside == 0)).sum())
    ground = int(pixels.sum() - pixels[1] - pixels[2])
    share = 100 / ground if ground else 0.0
    return {
        "ground_px": ground,
        "unknown_percent": share * (int(pixels[UNKNOWN_GROUND]) + beyond),
        "outside_applicability_percent": share * beyond,
        **{
            f"{name}_percent": share * int(pixels[code])
            for code, name in REASONS.items()
            if code not in (1, 2)
        },
    }


def change(target: Target, pairs: Sequence[tuple[Path, Path]]) -> dict[str, Any] | None:
    """Change of a target between two seasons from (older, newer) COGs of the same tiles, where both are mapped.

    Classes: the confusion matrix in pixels, and the share that changed. Values: mean difference, its root
    mean square, and the share whose new estimate lies outside the old interval. None where nothing is
    mapped in both.
    """
    if target.kind == "class":
        return _classes(target, pairs)
    return _values(target, pairs)


def _both(older: Path, newer: Path, names: Sequence[str]) -> Iterable[tuple[NDArray[Any], NDArray[Any]]]:
    """Bands (band, pixel) of both where both are mapped, window by window."""
    with rasterio.open(older) as a, rasterio.open(newer) as b:
        if (a.transform, a.shape, a.crs) != (b.transform, b.shape, b.crs):
            return
        first, second = ([f.descriptions.index(n) + 1 for n in (*names, "reason")] for f in (a, b))
        for _, window in b.block_windows(1):
            p, q = a.read(first, window=window), b.read(second, window=window)
            known = (p[-1] == MAPPED) & (q[-1] == MAPPED)
            known &= (p[:-1] != NODATA).all(axis=0) & (q[:-1] != NODATA).all(axis=0)
            if known.any():
                yield p[:-1, known], q[:-1, known]


def _classes(target: Target, pairs: Sequence[tuple[Path, Path]]) -> dict[str, Any] | None:
    codes = np.array(sorted(c.code for c in target.classes))
    matrix = np.zeros((len(codes), len(codes)), np.int64)
    for older, newer in pairs:
        for p, q in _both(older, newer, ["class"]):
            at = np.searchsorted(codes, p[0]) * len(codes) + np.searchsorted(codes, q[0])
            matrix += np.bincount(at, minlength=matrix.size).reshape(matrix.shape)
    total = int(matrix.sum())
    if not total:
        return None
    names = {c.code: c.name for c in target.classes}
    return {
        "pixels": total,
        "changed_percent": 100 * (total - int(np.trace(matrix))) / total,
        "classes": [names[int(c)] for c in codes],
        "from_to": matrix.tolist(),
    }


def _values(target: Target, pairs: Sequence[tuple[Path, Path]]) -> dict[str, Any] | None:
    total = left = difference = squares = 0
    for older, newer in pairs:
        for p, q in _both(older, newer, ["estimate", "lower", "upper"]):
            change = q[0].astype(np.int64) - p[0]
            total += change.size
            difference += int(change.sum())
            squares += int((change * change).sum())
            left += int(((q[0] < p[1]) | (q[0] > p[2])).sum())
    if not total:
        return None
    return {
        "pixels": total,
        "changed_percent": 100 * left / total,
        "mean_difference": target.scale * difference / total,
        "root_mean_square": target.scale * float(np.sqrt(squares / total)),
        "unit": target.unit,
    }
