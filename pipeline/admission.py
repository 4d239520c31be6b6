"""Which trained models are let in: those that pass their target's gate and are better than the one in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from shapely.geometry.base import BaseGeometry

from features.spec import FeatureSpec
from models import card, gate, judge
from models import champion as champions
from models.bundle import BundleError, ModelBundle
from models.samples import SampleTable
from models.targets import Target
from pipeline import modelcard
from pipeline.errors import InputError, QualityError


def admit(bundle: ModelBundle, table: SampleTable) -> ModelBundle:
    """The bundle with what it is worth in its card. Raises QualityError where its target's gate is missed,
    with every number that was found and wanted."""
    try:
        judged = judge.judge(bundle, table)
    except ValueError as error:
        raise InputError(str(error)) from None
    if reasons := gate.missed(bundle.target.gate, judged.scores):
        raise QualityError(f"the model of {bundle.target.name!r} is refused: " + "; ".join(reasons))
    return card.complete(bundle, table, judged)


def challenge(
    bundle: ModelBundle, table: SampleTable, folder: Path | None, named: bool, force: bool
) -> ModelBundle:
    """The bundle to write in the champion's place: the new one, with the comparison in its card.

    The champion itself where the new one is the same; a new one that no sample tells from it is written
    without a word. ``folder`` may hold no champion unless it is ``named``. Raises QualityError where the new
    one is not better, unless ``force``.
    """
    rival = _read(folder, named)
    if rival is None:
        return bundle
    if _plain(rival).digest == bundle.digest:
        return rival
    try:
        found = champions.compare(rival, bundle, table)
    except ValueError as error:
        if force:
            return _recorded(bundle, {"forced": True, "champion": rival.digest, "why": str(error)})
        raise InputError(f"{folder}: {error}; name another --out, or replace it with --force") from None
    if found["same"] and found["champion_rows"] == found["rows"]:
        return bundle
    if not found["better"] and not force:
        raise QualityError(
            f"the model of {bundle.target.name!r} is not better than that in {folder}: mean difference of the "
            f"{found['loss']} over {found['folds']} folds is {found['difference']:.3g} "
            f"(p = {found['p_better']:.2g}); wanted below 0 with p under {bundle.target.gate.significance:g}; "
            "it stays, unless --force"
        )
    return _recorded(bundle, {"forced": not found["better"], **found})


def save(bundle: ModelBundle, folder: Path, area: BaseGeometry) -> None:
    """Write the bundle with its card as a page, as JSON and as a STAC item of the mapped ``area`` (WGS 84)."""
    try:
        bundle.save(folder, modelcard.files(bundle, area))
    except (ValueError, OSError) as error:
        raise InputError(str(error)) from None


def usable(folder: Path, target: Target, features: FeatureSpec) -> Path | None:
    """``folder`` where it holds a model that the config's target may still be mapped with.

    One of another definition or of other features is refused by ``map`` anyway: keeping it would only
    stand in the way.
    """
    found = _read(folder, False)
    fits = found is not None and found.target == target and found.made_from(features)
    return folder if fits else None


def _read(folder: Path | None, named: bool) -> ModelBundle | None:
    if folder is None:
        return None
    try:
        return ModelBundle.load(folder)
    except BundleError as error:
        if named:
            raise InputError(str(error)) from None
        return None


def _recorded(bundle: ModelBundle, comparison: dict[str, Any]) -> ModelBundle:
    """With what became of the model before it, in the card and among its limits."""
    content = {**bundle.card, "champion": comparison}
    return replace(bundle, card=content | {"limits": card.limits(bundle.target, content)})


def _plain(bundle: ModelBundle) -> ModelBundle:
    """Without the record of the model that it replaced."""
    content = {k: v for k, v in bundle.card.items() if k != "champion"}
    return replace(bundle, card=content | {"limits": card.limits(bundle.target, content)})
