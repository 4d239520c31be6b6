"""A model's card for readers: a page in Vietnamese and English, JSON, and a STAC item with the MLM extension.

Machine Learning Model extension 1.4 (https://github.com/stac-extensions/mlm). The same bundle gives the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import shapely
from shapely.geometry.base import BaseGeometry

from models.bundle import STRIP_PIXELS, ModelBundle
from pipeline.files import json_text

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
EXTENSIONS = [MLM, "https://stac-extensions.github.io/file/v2.1.0/schema.json"]
_PAGE = "modelcard.html.j2"
#: Side of a diagram on the page, in its own units.
_SIDE = 300


def files(bundle: ModelBundle, area: BaseGeometry) -> dict[str, str]:
    """File name -> text of what lies beside a bundle; the same whether it was just made or loaded."""
    bundle = replace(bundle, card=json.loads(json.dumps(dict(bundle.card), sort_keys=True)))
    return {
        "card.html": page(bundle),
        "card.json": json_text(content(bundle)),
        "item.json": json_text(item(bundle, area)),
    }


def content(bundle: ModelBundle) -> dict[str, Any]:
    """The card as JSON: what the bundle's own card holds, with target, features and digest."""
    target = bundle.target
    return {
        "digest": bundle.digest,
        "target": target.dump(),
        "features": {f.name: f.formula for f in bundle.spec.features},
        **{name: value for name, value in bundle.card.items() if name != "rows"},
    }


def item(bundle: ModelBundle, area: BaseGeometry) -> dict[str, Any]:
    """STAC item of the model, for a map of ``area`` (WGS 84)."""
    target, card = bundle.target, bundle.card
    outline = shapely.transform(area.envelope, lambda xy: xy.round(7))
    label = "SIMULATED " if card.get("simulated") else ""
    task = "classification" if target.kind == "class" else "regression"
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS,
        "id": f"phusa-{target.name}-{bundle.digest[:12]}",
        "geometry": shapely.geometry.mapping(outline),
        "bbox": list(outline.bounds),
        "properties": {
            "title": f"{label}{target.title.vi} ({target.title.en})",
            "description": " ".join(limit["en"] for limit in card.get("limits", [])),
            **_span(card),
            "bands": [{"name": band} for band in bundle.spec.bands],
            "mlm:name": f"phusa-{target.name.replace('_', '-')}-model",
            "mlm:architecture": "Gradient-boosted decision trees",
            "mlm:tasks": [task],
            "mlm:framework": "LightGBM",
            "mlm:framework_version": str(card.get("lightgbm", "")),
            "mlm:pretrained": True,
            "mlm:pretrained_source": f"{card.get('samples')} soil samples, SHA-256 {card.get('samples_digest')}",
            "mlm:total_parameters": _leaves(bundle),
            "mlm:memory_size": bundle.nbytes,
            "mlm:batch_size_suggestion": STRIP_PIXELS,
            "mlm:accelerator": "amd64",
            "mlm:accelerator_constrained": False,
            "mlm:hyperparameters": _settings(bundle),
            "mlm:input": [_input(bundle)],
            "mlm:output": [_output(bundle, task)],
            "phusa:digest": bundle.digest,
            "phusa:status": target.status,
            "phusa:simulated": bool(card.get("simulated")),
            "phusa:scores": card.get("scores", {}),
        },
        "links": [],
        "assets": _assets(bundle),
    }


def _span(card: Any) -> dict[str, Any]:
    """When the samples were taken; STAC asks for a date, so an unknown one is the oldest that it can be."""
    first, last = card.get("data", {}).get("first_date"), card.get("data", {}).get("last_date")
    if not first:
        return {"datetime": "2015-06-23T00:00:00Z"}  # launch of Sentinel-2A: no sample can be older
    return {
        "datetime": None,
        "start_datetime": f"{first}T00:00:00Z",
        "end_datetime": f"{last}T23:59:59Z",
    }


def _leaves(bundle: ModelBundle) -> int:
    return sum(
        int(line.partition("=")[2])
        for text in bundle.boosters.values()
        for line in text.splitlines()
        if line.startswith("num_leaves=")
    )


def _settings(bundle: ModelBundle) -> dict[str, Any]:
    recipe = bundle.card.get("recipe", {}).get("model") or bundle.target.model.model_dump(mode="json")
    return {name: value for name, value in recipe.items() if value != {}}


def _input(bundle: ModelBundle) -> dict[str, Any]:
    features = [
        {"name": f.name, "format": "phusa", "expression": f.formula if f.statistic is None else f"{f.statistic} of {f.formula}"}
        for f in bundle.spec.features
    ]  # fmt: skip
    return {
        "name": "features of a season",
        "description": "One value a feature and pixel, of the season's dates on which it was seen; NaN where not.",
        "bands": list(bundle.spec.bands),
        "input": {
            "shape": [-1, len(features)], "dim_order": ["batch", "feature"], "data_type": "float32",
        },
        "value_scaling": None,
        "resize_type": None,
        "pre_processing_function": {"format": "phusa-features", "expression": features},
    }  # fmt: skip


def _output(bundle: ModelBundle, task: str) -> dict[str, Any]:
    classes = [
        {"value": c.code, "name": c.name, "description": c.title.en, "color_hint": c.colour.lstrip("#").upper()}
        for c in bundle.target.classes
    ]  # fmt: skip
    layers = bundle.target.layers
    return {
        "name": "layers of the map",
        "description": ", ".join(layers),
        "tasks": [task],
        "bands": [],
        "result": {"shape": [-1, len(layers)], "dim_order": ["batch", "layer"], "data_type": "float32"},
        "classification:classes": classes,
        "post_processing_function": None,
    }


def _assets(bundle: ModelBundle) -> dict[str, Any]:
    boosters = {
        f"booster-{name}": {
            "href": f"./{name}.txt", "type": "text/plain", "title": f"LightGBM model {name}",
            "roles": ["mlm:weights", "mlm:model"], "mlm:artifact_type": "lightgbm.Booster.save_model",
            "file:size": len(text.encode()),
            "file:checksum": "1220" + bundle.card["digests"]["boosters"][name],
        }
        for name, text in sorted(bundle.boosters.items())
    }  # fmt: skip
    return {
        "model": {
            "href": "./bundle.json", "type": "application/json", "title": "Phù Sa bundle",
            "roles": ["mlm:model"], "mlm:artifact_type": "phusa.ModelBundle",
        },
        **boosters,
        "card": {"href": "./card.html", "type": "text/html", "title": "Model card", "roles": ["metadata", "overview"]},
        "card-json": {"href": "./card.json", "type": "application/json", "title": "Model card", "roles": ["metadata"]},
    }  # fmt: skip


def page(bundle: ModelBundle) -> str:
    """One self-contained HTML page; whatever it shows is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    card: dict[str, Any] = json.loads(json_text(dict(bundle.card)))
    return environment.get_template(_PAGE).render(
        card=card, target=bundle.target, digest=bundle.digest, features=bundle.spec.features, side=_SIDE,
    )  # fmt: skip
