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
from pipeline.stack import Loss, Stack
from pipeline.stages import stage

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
    layers: tuple[LayerFile, ...] = ()
    """The region's own layers."""
    targets: tuple[str, ...] = ()
    """Targets still to do here; the others are stored."""


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
    """Predict every bundle's layers over one block, and say of each pixel why it is not mapped."""
    bundles = [b for b in bundles if b.target.name in task.targets]
    stack = _load(task, [b.spec for b in bundles])
    arrays: dict[str, NDArray[Any]] = {}
    counted: dict[str, NDArray[np.int64]] = {}
    failed = np.zeros(task.geobox.shape.yx, np.bool_)
    for bundle in bundles:
        cube = stack.features(bundle.spec, task.until)
        reason = reasons(task, stack, bundle, cube)
        cube[:, reason != product.MAPPED] = np.nan
        failed |= reason == product.FAILED
        if bundle.applicability is not None:
            bounds, used = drift.edges(bundle.applicability.rows), list(bundle.applicability.used)
            counted[bundle.target.name] = drift.counts(bounds, _sampled(task, cube)[:, used])
        layers: dict[str, NDArray[Any]] = dict(bundle.predict(cube))
        layers |= {"clear_dates": stack.clear_dates, "reason": reason}
        arrays[bundle.target.name] = product.encode(layers, product.bands_of(bundle.target))
    ground = ~(_outside(task) | _masked(task))
    return replace(_result(stack, arrays, ground, failed), features=counted)


def _sampled(task: BlockTask, cube: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (pixel, feature) of every so-many-th pixel, counted in the tile: blocks do not matter."""
    top, left = (-offset % SAMPLE_STEP for offset in task.offset)
    return cube[:, top::SAMPLE_STEP, left::SAMPLE_STEP].reshape(len(cube), -1).T


def feature_block(task: BlockTask, spec: FeatureSpec) -> BlockResult:
    """The features themselves over one block; NaN outside the area and the mask."""
    stack = _load(task, [spec])
    cube = stack.features(spec, task.until)
    ground = ~(_outside(task) | _masked(task))
    failed = ground & stack.lost & np.isnan(cube).any(axis=0)
    cube[:, ~ground] = np.nan
    return _result(stack, {"features": cube}, ground, failed)


def _result(
    stack: Stack, arrays: dict[str, NDArray[Any]], ground: NDArray[np.bool_], failed: NDArray[np.bool_]
) -> BlockResult:
    counts = int(ground.sum()), int(failed.sum())
    return BlockResult(arrays, stack.reads, tuple(stack.losses), *counts, tuple(stack.ledger))


def _load(task: BlockTask, specs: Sequence[FeatureSpec]) -> Stack:
    bands = ordered(band for spec in specs for band in spec.bands)
    with stage("load"):
        return load(task.scenes, task.geobox, bands, task.dilate_m, task.name, task.layers)


def reasons(
    task: BlockTask, stack: Stack, bundle: ModelBundle, cube: NDArray[np.float32]
) -> NDArray[np.int16]:
    """Reason code of each pixel, (y, x).

    The first that holds of: outside, masked, failed (not mapped, and a read was lost there), no clear
    date, and unknown ground: seen, but without a feature that the model cannot do without.
    """
    unseen = (stack.clear_dates == 0) | np.isnan(cube).all(axis=0)
    known = bundle.known(cube.reshape(len(cube), -1).T).reshape(cube.shape[1:]) & ~unseen
    reason = np.where(unseen, product.NO_CLEAR_DATE, product.UNKNOWN_GROUND)
    reason = np.where(stack.lost, product.FAILED, reason)
    reason = np.where(known, product.MAPPED, reason)
    reason = np.where(_masked(task), product.MASKED, reason)
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
