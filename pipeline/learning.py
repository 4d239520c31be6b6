"""From sample files to trained and judged models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from distributed import Client
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from features.bands import BANDS
from features.spec import FeatureSpec
from models import evaluate, train
from models.bundle import BundleError, ModelBundle
from models.folds import on_globe
from models.samples import SampleTable
from models.targets import Target
from pipeline import admission, catalog, looks, losses, sampling, sites
from pipeline.config import Config, SampleFile
from pipeline.errors import InputError
from pipeline.files import json_text, write_aside


@dataclass(frozen=True)
class Samples:
    """Imported samples: the table to train on (None where no row is left) and the report."""

    table: SampleTable | None
    report: dict[str, Any]
    loss_percent: float


def gather(
    config: Config, client: Client, files: Sequence[SampleFile], spec: FeatureSpec | None = None
) -> Samples:
    """Import sample files and read the features at their sites, each in its own season's images."""
    spec = spec or config.features
    accepted: list[sites.Site] = []
    refusals: list[sites.Refusal] = []
    for entry in files:
        good, bad = sites.read(entry.file, config.season(entry.season), config.targets, entry.columns)
        accepted, refusals = accepted + good, refusals + bad
    tables, reads, lost, simulated = [], 0, [], False
    unseen: set[tuple[str, int, str]] = set()
    for name in sorted({s.season for s in accepted}):
        here = [s for s in accepted if s.season == name]
        where = sampling.place(here, config.region.grid.resolution_m)
        found = catalog.search(_needed(config, spec), config.season(name), where)
        found = looks.refuse(found, where, config.clouds.dilate_m, client)
        simulated |= any(scene.simulated for scene in found.kept)
        sampled = sampling.sample(
            client,
            here,
            found,
            spec,
            config.region.grid.resolution_m,
            config.clouds.dilate_m,
            config.season(name).end,
        )
        unseen |= {(r.file, r.row, name) for r in sampled.refusals}
        refusals, reads = refusals + sampled.refusals, reads + sampled.reads
        lost += sampled.losses
        if sampled.table is not None:
            tables.append(sampled.table.frame)
    placed = {(r.file, r.row) for r in accepted}
    kept = [s for s in accepted if (s.file, s.row, s.season) not in unseen]
    # A row of another season's entry of the same file is no refused row.
    refusals = [r for r in refusals if r.rule != "outside-season" or (r.file, r.row) not in placed]
    percent = losses.percent(len(lost), reads)
    extra = {"simulated": simulated, "loss_percent": percent, "lost": losses.worst(lost)}
    table = SampleTable(pd.concat(tables, ignore_index=True), spec, simulated) if tables else None
    return Samples(table, sites.report(kept, refusals, extra), percent)


def _needed(config: Config, spec: FeatureSpec) -> list[Any]:
    """The sources whose bands the spec uses."""
    sensors = {BANDS[band] for band in spec.bands}
    return [s for s in config.sources if s.sensor in sensors]


#: Places of the mapped area that folds are matched to; more change little (Linnenbrink et al. 2024).
MAPPED_PLACES = 1000
#: Cells of the grid that they are taken from, at most.
MOST_CELLS = 200_000


def mapped_places(area: BaseGeometry) -> NDArray[np.float64]:
    """About ``MAPPED_PLACES`` of the area's places on a regular grid, float (place, 3), metres.

    ``area`` in WGS 84 degrees. Cells are square on the ground at its middle latitude.
    """
    west, south, east, north = area.bounds
    narrow = np.cos(np.radians((south + north) / 2))
    box = (north - south) * (east - west)
    # degrees of latitude; a thin area across a wide box gets fewer places than a grid that fills memory
    step = np.sqrt(max(area.area / MAPPED_PLACES, box / MOST_CELLS) * narrow)
    lat = np.arange(south + step / 2, north, step)
    lon = np.arange(west + step / narrow / 2, east, step / narrow)
    grid = np.stack(np.meshgrid(lon, lat), axis=-1).reshape(-1, 2)
    inside = grid[shapely.contains_xy(area, grid)]
    if not len(inside):  # an area thinner than its grid
        inside = np.array(area.representative_point().coords)
    return on_globe(inside[:, 0], inside[:, 1])


def fit(table: SampleTable, target: Target, area: BaseGeometry | None = None) -> ModelBundle:
    """Train, for a map of ``area`` (WGS 84) where given; a fault of the samples is an InputError."""
    try:
        return train.train(table, target, None if area is None else mapped_places(area))
    except ValueError as error:
        raise InputError(str(error)) from None


def assess(table: SampleTable, target: Target, area: BaseGeometry | None = None) -> dict[str, Any]:
    """Cross-validated scores of a target, for a map of ``area`` (WGS 84) where given."""
    try:
        return evaluate.cross_validate(table, target, None if area is None else mapped_places(area))
    except ValueError as error:
        raise InputError(str(error)) from None


@dataclass(frozen=True)
class Reference:
    """Samples that judge: none of them was trained on."""

    table: SampleTable
    refused: dict[str, int]
    """Rule -> number of rows left out."""


def reference(config: Config, client: Client, spec: FeatureSpec, trained_on: SampleTable) -> Reference | None:
    """The config's ``evaluate_on`` samples with the features of ``spec``; None where it has none.

    A site that was trained on in the same season is left out and counted. Raises InputError where
    none is usable.
    """
    if config.evaluate_on is None:
        return None
    gathered = gather(config, client, [config.evaluate_on], spec)
    losses.refuse(gathered.loss_percent, config.max_loss_percent, gathered.report["lost"])
    refused = dict(gathered.report["by_rule"])
    unseen = _unseen(gathered.table, trained_on) if gathered.table else None
    if gathered.table and (unseen is None or len(unseen) < len(gathered.table)):
        refused["training-site"] = len(gathered.table) - (len(unseen) if unseen else 0)
    if unseen is None:
        raise InputError(f"{config.evaluate_on.file}: no usable row to evaluate on: {refused}")
    return Reference(unseen, refused)


def assess_reference(bundle: ModelBundle, samples: Reference) -> dict[str, Any]:
    """Scores of a bundle on reference samples."""
    try:
        return evaluate.on_reference(bundle, samples.table) | {"refused": samples.refused}
    except ValueError as error:
        raise InputError(f"reference samples: {error}") from None


def score_table(scores: dict[str, Any]) -> str:
    """CSV with the headline score of each answer and its 95 % interval, for plots."""
    answers = {name: scores["cross_validation"][name] for name in ("spatial", "random")}
    if "reference" in scores:
        answers["reference"] = scores["reference"]
    lines = ["answer,score_of,score,low,high"]
    for name, found in answers.items():
        headline, (low, high) = found["interval_of"], found["interval"]
        lines.append(f"{name},{headline},{found[headline]:.6g},{low:.6g},{high:.6g}")
    return "\n".join(lines) + "\n"


def _unseen(reference: SampleTable, trained_on: SampleTable) -> SampleTable | None:
    """The reference rows whose place and season took no part in training; None where none is left."""
    keys = ["season", "epsg", "x", "y"]
    merged = reference.frame.merge(
        trained_on.frame[keys].drop_duplicates(), on=keys, how="left", indicator=True
    )
    kept = np.flatnonzero(merged["_merge"].to_numpy() == "left_only")
    return reference.take(kept) if len(kept) else None


def load_bundle(folder: Path) -> ModelBundle:
    """A trained model. Raises InputError where the folder holds none, or one that was changed."""
    try:
        return ModelBundle.load(folder)
    except BundleError as error:
        raise InputError(f"{error}; make one with `phusa train`, or name one with --bundle") from None


def bundles_for(config: Config, folders: Sequence[Path], work: Path) -> list[ModelBundle]:
    """One bundle for each target of the config: the named ones, else those that ``train`` left in the store."""
    if not config.targets:
        raise InputError("the config has no targets; add the key targets")
    named = [load_bundle(folder) for folder in folders]
    by_target = {b.target.name: b for b in named}
    if len(by_target) < len(named):
        raise InputError(f"two bundles are of one target: {[b.target.name for b in named]}")
    unknown = set(by_target) - {t.name for t in config.targets}
    if unknown:
        raise InputError(f"bundle of target {sorted(unknown)[0]!r}, which is not among the config's targets")
    bundles = [by_target.get(t.name) or load_bundle(bundle_folder(work, t.name)) for t in config.targets]
    for bundle in bundles:
        if bundle.target != config.target(bundle.target.name):
            raise InputError(
                f"the bundle of {bundle.target.name!r} was trained for another definition of that target "
                "than the config's; train it again"
            )
        try:
            config.need(bundle.spec)
        except ValueError as error:
            raise InputError(f"bundle of {bundle.target.name!r}: {error}") from None
        # A named bundle brings its own features; the store's must be the config's, or it is an old one.
        if bundle.target.name not in by_target and not bundle.made_from(config.features):
            raise InputError(
                f"the bundle of {bundle.target.name!r} in the store was trained on other features than the "
                "config's; train it again, or name it with --bundle to use it as it is"
            )
    return bundles


def bundle_folder(work: Path, target: str) -> Path:
    """Where the store keeps the trained model of a target."""
    return work / "bundles" / target


def train_all(
    config: Config, client: Client, work: Path
) -> tuple[list[ModelBundle], SampleTable, dict[str, Any]]:
    """Samples and bundles of every target, from the config's sample files."""
    if not config.samples:
        raise InputError("the config names no samples to train on, and no --bundle is given")
    gathered = gather(config, client, config.samples)
    losses.refuse(gathered.loss_percent, config.max_loss_percent, gathered.report["lost"])
    if gathered.table is None:
        raise InputError(f"no usable sample row: {gathered.report['by_rule']}")
    sampling.write_table(gathered.table, work / "samples" / "samples.parquet")
    write_aside(work / "samples" / "report.json", json_text(gathered.report))
    bundles = []
    for target in config.targets:
        bundle = admission.admit(fit(gathered.table, target, config.region.geometry), gathered.table)
        bundle.save(bundle_folder(work, target.name))
        bundles.append(bundle)
    return bundles, gathered.table, gathered.report
