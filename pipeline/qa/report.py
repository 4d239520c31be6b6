"""The report that a reviewer reads before a season is released, as JSON and as one HTML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from models import drift
from pipeline import provenance
from pipeline.config import Config, QualitySettings
from pipeline.errors import InputError, QualityError
from pipeline.provenance import Vault
from pipeline.qa import ground, seams
from pipeline.season import Season
from pipeline.stores import Record, Store

_TEMPLATE = Path(__file__).with_name("report.html")


def make(config: Config, season: Season, records: Sequence[Record], store: Store) -> dict[str, Any]:
    """The report on a season's products; ``faults`` has one line for each limit that is passed."""
    if not records:
        raise InputError(f"season {season.name!r} has no products; run `phusa map` first")
    targets = []
    before = _season_before(config, season, store)
    for name in sorted({r.id.target for r in records}):
        own = [r for r in records if r.id.target == name]
        targets.append(_of_target(config, name, own, before, store))
    faults = [fault for t in targets for fault in _faults(t, config.quality)]
    return {
        "region": config.region.name,
        "season": season.name,
        "season_before": before[0] if before else None,
        "simulated": any(r.item["properties"].get("phusa:simulated") for r in records),
        "products": {r.id.name: r.sha256 for r in sorted(records, key=lambda r: r.id)},
        "limits": config.quality.model_dump(mode="json"),
        "targets": targets,
        "faults": faults,
        "passed": not faults,
    }


def refuse(report: dict[str, Any]) -> None:
    """Raises QualityError where a limit is passed."""
    if report["faults"]:
        raise QualityError(
            f"season {report['season']!r} passes {len(report['faults'])} limits of quality: "
            + "; ".join(report["faults"])
        )


def _season_before(
    config: Config, season: Season, store: Store
) -> tuple[str, dict[tuple[str, str], Record]] | None:
    """The newest published season that ended before this one began, and its products by tile and target."""
    earlier = [s for s in config.seasons.values() if s.end < season.start]
    for other in sorted(earlier, key=lambda s: s.end, reverse=True):
        found = store.published(other)
        if found:
            return other.name, {(r.id.tile, r.id.target): r for r in found}
    return None


def _of_target(
    config: Config,
    name: str,
    records: Sequence[Record],
    before: tuple[str, dict[tuple[str, str], Record]] | None,
    store: Store,
) -> dict[str, Any]:
    target = config.target(name)
    vault = Vault(store.path)
    recipes = [provenance.read(r.path) for r in records]
    maps = [_map(recipe, r, vault) for recipe, r in zip(recipes, records, strict=True)]
    old = before[1] if before else {}
    pairs = [(old[r.id.tile, name].path, r.path) for r in records if (r.id.tile, name) in old]
    return {
        "target": name,
        "title": target.title.model_dump(),
        "seams": seams.look(maps),
        "drift": _drift(recipes, vault),
        "change": ground.change(target, pairs) if pairs else None,
        "ground": ground.unknown(r.path for r in records),
    }


def _map(recipe: dict[str, Any], record: Record, vault: Vault) -> seams.Map:
    setup = recipe["setup"]
    x, y = setup["anchor"]
    scenes = vault.scenes(recipe["provenance"]["scenes_digest"]).kept
    return seams.Map(record.path, setup["tile"], setup["epsg"], (x, y), setup["block_px"], scenes)


def _drift(recipes: Sequence[dict[str, Any]], vault: Vault) -> list[dict[str, Any]]:
    """Stability index of each feature that the model's applicability uses, worst first."""
    mapped: dict[str, Any] = {}
    for recipe in recipes:
        if "feature_counts" in recipe:
            name = recipe["provenance"]["bundle"]
            mapped[name] = mapped.get(name, 0) + np.array(recipe["feature_counts"], np.int64)
    rows = []
    for name, counts in sorted(mapped.items()):
        bundle = vault.bundle(name)
        if bundle.applicability is None:
            continue
        training = bundle.applicability.rows
        trained = drift.counts(drift.edges(training), training)
        for k, a, b in zip(bundle.applicability.used, trained, counts, strict=True):
            index = drift.stability(a, b)
            rows.append({
                "feature": bundle.spec.names[k], "index": None if math.isnan(index) else index,
                "trained": a.tolist(), "mapped": b.tolist(),
            })  # fmt: skip
    return sorted(rows, key=lambda r: -(r["index"] or 0))


def _faults(found: dict[str, Any], limits: QualitySettings) -> list[str]:
    """One line for each limit that a target passes: what was found, what is allowed."""
    name, faults = found["target"], []
    if limits.seam_score is not None:
        faults += [
            f"{name}: {s['kind']} edge at {s['where']}, band {s['band']}: step {s['worst_step']:.3g} {s['unit']} "
            f"({s['worst_score']:.1f} standard deviations, allowed {limits.seam_score:g})"
            for s in found["seams"]
            if s["worst_score"] > limits.seam_score
        ]
    if limits.drift is not None:
        faults += [
            f"{name}: feature {d['feature']} drifted from training by {d['index']:.2f} (allowed {limits.drift:g})"
            for d in found["drift"]
            if (d["index"] or 0) > limits.drift
        ]
    change = found["change"]
    if limits.change_percent is not None and change and change["changed_percent"] > limits.change_percent:
        faults.append(
            f"{name}: {change['changed_percent']:.1f} % of the ground changed since the season before "
            f"(allowed {limits.change_percent:g} %)"
        )
    share = found["ground"]["unknown_percent"]
    if limits.unknown_percent is not None and share > limits.unknown_percent:
        faults.append(
            f"{name}: {share:.1f} % of the ground is unknown to the model (allowed {limits.unknown_percent:g} %)"
        )
    return faults


def html(report: dict[str, Any]) -> str:
    """The report as one HTML file, Vietnamese with English beside it, that needs no other file."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(r=report) + "\n"
