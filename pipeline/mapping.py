"""One block of one tile: load, compute features, predict. Runs on workers; needs no store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import geometry_mask
from shapely.geometry.base import BaseGeometry

from features.spec import FeatureSpec, ordered
from models import drift
from models.bundle import ModelBundle
from pipeline import product
from pipeline.ledger import Entry
from pipeline.load import load
from pipeline.raster import LayerFile, read_onto
from pipeline.scenes import Scene
from pipeline.sensors import How
from pipeline.stack import Loss, Stack
from pipeline.stages import stage
from pipeline.strips import Strips, put

#: Side of the internal tiles of the archives' images.
TILE_PX = 512

#: Every so-many-th pixel, down and right, is held against the training rows.
SAMPLE_STEP = 8


@dataclass(frozen=True)
class MaskFile:
    """A raster of land use and the classes that are mapped."""

    path: str
    classes: tuple[int, ...]


@dataclass(frozen=True)
class BlockTask:
    """All that a worker needs to know of one block, in small values."""

    name: str
    geobox: GeoBox
    offset: tuple[int, int]
    area: BaseGeometry
    """The mapped area inside the block, in the block's CRS."""
    scenes: tuple[Scene, ...]
    dilate_m: float
    until: dt.date
    """The season's last day, to which ages count."""
    mask: MaskFile | None = None
    targets: tuple[str, ...] = ()
    """Targets still to do here; the others are stored."""
    layers: tuple[LayerFile, ...] = ()
    """The region's own layers."""
    how: How = How()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True)
class BlockResult:
    """What a worker sends back."""

    arrays: dict[str, NDArray[Any]]
    """Target name -> stored int16 (band, y, x); or ``features`` -> float32 (feature, y, x)."""
    reads: int
    losses: tuple[Loss, ...]
    ground_px: int
    """Pixels inside the area and the mask."""
    failed_px: int
    """Those of them that a lost read took (from any target, or from any feature)."""
    ledger: tuple[Entry, ...] = ()
    features: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    """Target name -> mapped pixels of a sample in each bin of its model's features, (feature, bin)."""


def map_block(task: BlockTask, bundles: Sequence[ModelBundle]) -> BlockResult:
    """Predict every bundle's layers over one block, and say of each pixel why it is not mapped.

    Only the ground inside the area and the mask is read and computed, a strip of pixels at a time: pixels ->
    features -> layers -> stored integers. Bundles of one feature spec share its features.
    Memory: the stack of the ground's window, a ``Strips``, and the result.
    """
    bundles = [b for b in bundles if b.target.name in task.targets]
    reason = _unmapped(task)
    ground = reason == product.MAPPED
    part = window(ground)
    stack = _load(task, [b.spec for b in bundles], part)
    arrays: dict[str, NDArray[Any]] = {b.target.name: _blank(b, reason) for b in bundles}
    bounds = {b.target.name: drift.edges(b.applicability.rows) for b in bundles if b.applicability}
    counted = {name: np.zeros((len(edges), drift.BINS), np.int64) for name, edges in bounds.items()}
    failed = np.zeros(stack.geobox.shape.yx, np.bool_)
    specs = list(dict.fromkeys(b.spec for b in bundles))
    strips = Strips(stack, ground, part)
    for at, places in strips:
        sampled = _sampled(task, *np.divmod(places, ground.shape[1]))
        for spec in specs:
            cube = strips.features(at, spec, task.until)
            for bundle in (b for b in bundles if b.spec == spec):
                stored, name = _mapped(stack, bundle, cube, at), bundle.target.name
                put(arrays[name], places, stored)
                failed.reshape(-1)[at] |= stored[-1] == product.FAILED
                if bundle.applicability:
                    known = cube[:, sampled & (stored[-1] == product.MAPPED)]
                    used = list(bundle.applicability.used)
                    counted[name] += drift.counts(bounds[name], known.T[:, used])
    return replace(_result(stack, arrays, ground, failed), features=counted)


def _sampled(task: BlockTask, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pixels are every so-many-th, counted in the tile: blocks do not matter."""
    down, right = task.offset
    found: NDArray[np.bool_] = ((rows + down) % SAMPLE_STEP == 0) & ((columns + right) % SAMPLE_STEP == 0)
    return found


def feature_block(task: BlockTask, spec: FeatureSpec) -> BlockResult:
    """The features themselves over one block; NaN outside the area and the mask."""
    ground = ground_of(task)
    part = window(ground)
    stack = _load(task, [spec], part)
    cube = np.full((len(spec.names), *ground.shape), np.nan, np.float32)
    failed = np.zeros(stack.geobox.shape.yx, np.bool_)
    strips = Strips(stack, ground, part)
    for at, places in strips:
        made = strips.features(at, spec, task.until)
        put(cube, places, made)
        failed.reshape(-1)[at] = stack.lost.reshape(-1)[at] & np.isnan(made).any(axis=0)
    return _result(stack, {"features": cube}, ground, failed)


def _result(
    stack: Stack, arrays: dict[str, NDArray[Any]], ground: NDArray[np.bool_], failed: NDArray[np.bool_]
) -> BlockResult:
    counts = int(ground.sum()), int(failed.sum())
    return BlockResult(arrays, stack.reads, tuple(stack.losses), *counts, tuple(stack.ledger))


def _load(task: BlockTask, specs: Sequence[FeatureSpec], part: tuple[slice, slice]) -> Stack:
    """The stack of a part of the block; without scenes where nothing of the block is mapped."""
    bands = ordered(band for spec in specs for band in spec.bands)
    geobox = task.geobox[part]
    with stage("load"):
        if not geobox.shape.x:
            return Stack(geobox, {}, {}, np.zeros(geobox.shape.yx, np.int16))
        return load(task.scenes, geobox, bands, task.dilate_m, task.name, task.layers, task.how)


def window(ground: NDArray[np.bool_], tile_px: int = TILE_PX) -> tuple[slice, slice]:
    """The part of a block that holds all ground, in whole internal tiles of the images: no others are decoded."""
    edges = []
    for axis in (1, 0):
        found = np.flatnonzero(ground.any(axis=axis))
        first, last = (found[0], found[-1]) if found.size else (0, -1)
        edges.append(
            slice(
                first // tile_px * tile_px, min(-(-(last + 1) // tile_px) * tile_px, ground.shape[1 - axis])
            )
        )
    return edges[0], edges[1]


def ground_of(task: BlockTask) -> NDArray[np.bool_]:
    """Pixels inside the area and the mask, (y, x)."""
    found: NDArray[np.bool_] = _unmapped(task) == product.MAPPED
    return found


def _blank(bundle: ModelBundle, reason: NDArray[np.int16]) -> NDArray[np.int16]:
    """The product of a block where nothing is mapped yet."""
    count = len(product.bands_of(bundle.target))
    stored = np.full((count, *reason.shape), product.NODATA, np.int16)
    stored[-1] = reason
    return stored


def _mapped(
    stack: Stack, bundle: ModelBundle, cube: NDArray[np.float32], at: NDArray[np.intp]
) -> NDArray[np.int16]:
    """Stored int16 (band, pixel) of the pixels ``at`` of the ground, with features ``cube`` (feature, pixel)."""
    reason = _judged(stack, bundle, cube, at)
    mapped = reason == product.MAPPED
    bands = product.bands_of(bundle.target)
    stored = np.full((len(bands), len(at)), product.NODATA, np.int16)
    layers = bundle.predict_rows(cube.T if mapped.all() else cube.T[mapped])
    stored[:-2, mapped] = product.encode(layers, bands[:-2])
    stored[-2:] = stack.clear_dates.reshape(-1)[at], reason
    return stored


def _judged(
    stack: Stack, bundle: ModelBundle, cube: NDArray[np.float32], at: NDArray[np.intp]
) -> NDArray[np.int16]:
    """Reason code of the pixels ``at`` of the ground, with features ``cube`` (feature, pixel).

    The first that holds of: failed (not mapped, and a read was lost there), no clear date, and unknown
    ground: seen, but without a feature that the model cannot do without.
    """
    clear = stack.clear_dates.reshape(-1)[at] > 0
    known = bundle.known(cube.T) & clear
    if known.all():
        return np.full(len(at), product.MAPPED, np.int16)
    unseen = ~clear | np.isnan(cube).all(axis=0)
    reason = np.where(unseen, product.NO_CLEAR_DATE, product.UNKNOWN_GROUND)
    reason = np.where(stack.lost.reshape(-1)[at], product.FAILED, reason)
    return np.where(known, product.MAPPED, reason).astype(np.int16)


def reasons(
    task: BlockTask, stack: Stack, bundle: ModelBundle, cube: NDArray[np.float32]
) -> NDArray[np.int16]:
    """Reason code of each pixel of the block, (y, x), with the features ``cube`` (feature, y, x) of all.

    Outside and masked come first, then what the pixel itself says.
    """
    reason = _unmapped(task)
    ground = np.flatnonzero(reason == product.MAPPED)
    pixels = cube.reshape(len(cube), -1)[:, ground]
    reason.reshape(-1)[ground] = _judged(stack, bundle, pixels, ground)
    return reason


def _unmapped(task: BlockTask) -> NDArray[np.int16]:
    """``OUTSIDE`` or ``MASKED``, and ``MAPPED`` for the ground that is to be mapped, (y, x)."""
    reason = np.where(_masked(task), product.MASKED, product.MAPPED)
    return np.where(_outside(task), product.OUTSIDE, reason).astype(np.int16)


def _outside(task: BlockTask) -> NDArray[np.bool_]:
    if task.area.is_empty:
        return np.ones(task.geobox.shape.yx, np.bool_)
    return np.asarray(geometry_mask([task.area], task.geobox.shape.yx, task.geobox.affine), np.bool_)


def _masked(task: BlockTask) -> NDArray[np.bool_]:
    if task.mask is None:
        return np.zeros(task.geobox.shape.yx, np.bool_)
    # -1 cannot be a class of the file's own: beyond its edge nothing is known, so nothing is mapped.
    classes = read_onto(task.mask.path, task.geobox, "int32", -1, "nearest")
    return ~np.isin(classes, task.mask.classes)
