"""From sample files to trained and judged models."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from distributed import Client
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from features.bands import DEM, RADAR, REGION_LAYERS, sensor_of
from features.spec import FeatureSpec
from models import card, evaluate, search, train
from models.bundle import BundleError, ModelBundle
from models.folds import on_globe
from models.samples import SampleTable
from models.targets import Target
from pipeline import admission, catalog, layers, looks, losses, sampling, sites
from pipeline.config import Config, SampleFile
from pipeline.errors import InputError
from pipeline.files import json_text, write_aside
from pipeline.imports.land import Land
from pipeline.imports.rules import Finding
from pipeline.raster import LayerFile
from pipeline.stack import Loss
from pipeline.stores import work_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """Imported samples: the table to train on (None where no row is left) and the report."""

    table: SampleTable | None
    report: dict[str, Any]
    loss_percent: float
    sites: tuple[sites.Site, ...] = ()
    """Those of the table."""


def gather(
    config: Config, client: Client, files: Sequence[SampleFile], spec: FeatureSpec | None = None
) -> Samples:
    """Import sample files and read the features at their sites, each in its own season's images."""
    spec = spec or config.features
    imports = [import_file(config, entry) for entry in files]
    accepted = _each_once(imports)
    own = region_layers(config, spec)
    tables: list[SampleTable] = []
    seen: list[sites.Site] = []
    lost: list[Loss] = []
    reads, simulated = 0, False
    unseen: list[sites.Refusal] = []
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
            own,
            config.how,
        )
        unseen, reads, lost = unseen + sampled.refusals, reads + sampled.reads, lost + sampled.losses
        seen += sampled.sites
        if sampled.table is not None:
            tables.append(sampled.table)
    table = sampling.joined(tables, spec, simulated)
    outcomes = _seen(sites.together(imports), accepted, unseen)
    percent = losses.percent(len(lost), reads)
    extra = {"simulated": simulated, "loss_percent": percent, "lost": losses.worst(lost)}
    extra["unknown_layers"] = _unknown_layers(table, own) if table else []
    report = sites.report(outcomes, len(table) if table else 0, extra | {"files": [i.about for i in imports]})
    return Samples(table, report, percent, tuple(seen))


def _unknown_layers(table: SampleTable, own: Sequence[LayerFile]) -> list[dict[str, Any]]:
    """For each of the region's layers, the sites at which it is not known, and how many lie beyond it."""
    found = []
    for layer in own:
        if layer.name not in table.spec.names:
            continue
        missing = table.frame[table.frame[layer.name].isna()]
        if len(missing):
            away = int(layers.beyond(layer, missing["lon"].to_numpy(), missing["lat"].to_numpy()).sum())
            names = sorted(set(missing["sample_id"].astype(str)))
            found.append({"layer": layer.name, "sites": len(missing), "beyond": away, "samples": names})
            log.warning(
                "%s is not known at %d of %d sites, %d of them beyond it (terrain.collar_km)",
                layer.name, len(missing), len(table), away,
            )  # fmt: skip
    return found


def import_file(config: Config, entry: SampleFile) -> sites.Imported:
    """One sample file with what the config says of it; without a season, each row goes by its date."""
    seasons = [config.season(entry.season)] if entry.season else list(config.seasons.values())
    stated = sites.Stated(
        entry.columns, entry.crs, entry.units, entry.extract, entry.layer, entry.depth_cm, entry.edge_m
    )
    land = Land.around(config.region.geometry)
    return sites.read(entry.file, seasons, config.targets, stated, land)


def _each_once(imports: Sequence[sites.Imported]) -> list[sites.Site]:
    """All sites; a file that is named for several seasons gives a site to each season once."""
    found: dict[tuple[str, int, str, str], sites.Site] = {}
    for site in (s for i in imports for s in i.sites):
        found.setdefault((site.file, site.row, site.season, site.sample_id), site)
    return list(found.values())


def _seen(
    outcomes: Sequence[sites.Outcome], accepted: Sequence[sites.Site], unseen: Sequence[sites.Refusal]
) -> list[sites.Outcome]:
    """Rows none of whose sites the satellites saw are refused too."""
    had, lost = (Counter((r.file, r.row) for r in rows) for rows in (accepted, unseen))
    why = {(r.file, r.row): r for r in unseen}
    found = []
    for o in outcomes:
        key = (o.file, o.into or o.row)
        if not o.refused and key in why and lost[key] >= had[key]:
            o = replace(o, refused=Finding(why[key].rule, why[key].reason, why[key].reason_vi))
        found.append(o)
    return found


def region_layers(config: Config, spec: FeatureSpec) -> tuple[LayerFile, ...]:
    """The region's layers, the very files that its maps are made with."""
    heights = [s for s in config.sources if s.sensor == DEM and set(spec.bands) & set(REGION_LAYERS)]
    season = next(iter(config.seasons.values()))  # elevation has none
    found = catalog.search(heights, season, config.region.geometry)
    work = work_folder(config.store.path, config.region.name) if config.store else None
    return layers.prepare(config, found, [spec], work)


def _needed(config: Config, spec: FeatureSpec) -> list[Any]:
    """The sources whose bands the spec uses."""
    sensors = {sensor_of(band) for band in spec.bands}
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


def to_learn_from(table: SampleTable) -> SampleTable:
    """The table without its reference samples. Raises InputError where it has no other."""
    try:
        return table.to_learn_from
    except ValueError as error:
        raise InputError(str(error)) from None


def fit(
    table: SampleTable, target: Target, area: BaseGeometry | None = None, radar: str | None = None
) -> ModelBundle:
    """Train, for a map of ``area`` (WGS 84) where given; a fault of the samples is an InputError.

    ``radar``: the Sentinel-1 product of the samples' features, which the card keeps where they have any.
    """
    try:
        made = train.train(table, target, None if area is None else mapped_places(area))
    except ValueError as error:
        raise InputError(str(error)) from None
    if radar is None or all(sensor_of(band) != RADAR for band in made.spec.bands):
        return made
    return replace(made, card={**made.card, "radar": radar})


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


#: Scores that experiments are compared by.
METRICS = ("rmse", "r2", "concordance", "coverage", "accuracy", "kappa", "brier")


def metrics(scores: dict[str, Any]) -> dict[str, Any]:
    """Few numbers of each answer, for comparing experiments; of the logarithm where the model learns it."""
    answers = {**scores["cross_validation"], "reference": scores.get("reference")}
    found = {}
    for name in ("spatial", "matched", "random", "season", "reference"):
        told = answers.get(name)
        if told:
            whole = told | told.get("log", {})
            found[name] = {key: whole[key] for key in METRICS if whole.get(key) is not None}
    return found


def plots(bundle: ModelBundle, table: SampleTable) -> dict[str, str]:
    """CSV texts for plots, by file name: what was said of left-out rows, how reliable that is, and drivers."""
    target = bundle.target
    table = table.measured(target.name)
    splits = search.blocked(table, target)
    rows = evaluate.left_out(table, target, splits, search.nested(table, target, splits))
    names = {c.code: c.name for c in target.classes}
    shown = rows.rename(columns={"class": "estimate"})
    if target.kind == "class":
        shown = shown.assign(observed=rows["observed"].map(names), estimate=rows["class"].map(names))
    curve = pd.DataFrame(card.reliability(rows, target))
    return {
        "predictions.csv": shown.to_csv(index=False, float_format="%.6g"),
        "reliability.csv": curve.to_csv(index=False, float_format="%.6g"),
        "drivers.csv": pd.DataFrame(card.drivers(bundle, table)).to_csv(index=False, float_format="%.6g"),
        "folds.csv": rows[["lon", "lat", "fold"]].to_csv(index=False, float_format="%.6f"),
    }


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
        learnt = bundle.card.get("radar")
        if learnt and learnt != config.radar_product:
            raise InputError(
                f"the bundle of {bundle.target.name!r} learnt from the radar product {learnt}; the config's "
                f"is {config.radar_product}: one product a model, never mixed"
            )
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
    table = to_learn_from(gathered.table)
    bundles = []
    for target in config.targets:
        bundle = admission.admit(fit(table, target, config.region.geometry, config.radar_product), table)
        admission.save(bundle, bundle_folder(work, target.name), config.region.geometry)
        bundles.append(bundle)
    return bundles, table, gathered.report
