"""After the maps are made: scores against the truth, pictures, and one page with both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from odc.geo.geobox import GeoBox

from pipeline.config import Config
from pipeline.demo import pictures, scores
from pipeline.demo.archive import LABEL
from pipeline.demo.world import EPSG
from pipeline.errors import InputError
from pipeline.files import json_text, write_aside
from pipeline.scenes import Scenes

_PAGE = "page.html.j2"


def finish(
    out: Path,
    config: Config,
    season: str,
    found: Scenes,
    products: Sequence[Path],
    estimates: Mapping[str, Any],
) -> dict[str, Any]:
    """Judge the maps of a run, draw them, and write ``scores.json``, ``pictures`` and ``index.html``.

    ``estimates`` holds what cross-validation and the reference sample say of each target; the scores
    against the truth are put beside them under the key ``map``.
    """
    judged: dict[str, Any] = {}
    maps: dict[str, scores.Layers] = {}
    if not config.targets:
        raise InputError("the config has no targets; add the key targets")
    for target in config.targets:
        truth, transform = scores.read_truth(out / "truth" / f"{target.name}.tif")
        mine = [p for p in products if p.stem.endswith(f"_{target.name}")]
        layers = scores.mosaic(mine, transform, truth.shape)
        maps[target.name] = layers
        judged[target.name] = {"map": scores.judge(target, layers, truth), **estimates[target.name]}
        geobox = GeoBox(truth.shape, transform, f"EPSG:{EPSG}")
    write_aside(out / "scores.json", json_text({"label": LABEL, **judged}))
    drawn = pictures.draw(out / "pictures", config, season, found, maps, geobox)
    write_aside(out / "index.html", page(config, season, judged, drawn))
    return {
        "scores": judged,
        "pictures": [str(p.resolve()) for p in drawn.values()],
        "page": str((out / "index.html").resolve()),
    }


def page(config: Config, season: str, judged: Mapping[str, Any], drawn: Mapping[str, Path]) -> str:
    """One static HTML page; whatever it shows is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True,
        lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    return environment.get_template(_PAGE).render(
        region=config.region.name,
        season=season,
        targets=config.targets,
        scores=judged,
        tables={t.name: table(t.kind, judged[t.name]) for t in config.targets},
        pictures={name: f"{path.parent.name}/{path.name}" for name, path in drawn.items()},
    )


#: Which number answers what; one row of the page's table each.
_ROWS = (
    ("map", None, "Bản đồ so với sự thật (mọi điểm ảnh)", "Map against the truth (every pixel)"),
    ("reference", None, "Mẫu đối chứng theo tầng", "Stratified reference sample"),
    ("cross_validation", "spatial", "Kiểm chứng chéo theo khối không gian", "Spatially blocked cross-validation"),
    ("cross_validation", "random", "Kiểm chứng chéo ngẫu nhiên", "Random cross-validation"),
)  # fmt: skip


def table(kind: str, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the score table: name in both languages, then the numbers of the target's kind."""
    rows = []
    for key, part, vi, en in _ROWS:
        values = found.get(key) if part is None else found.get(key, {}).get(part)
        if not values:
            continue
        if kind == "class":
            numbers = {"accuracy": values["accuracy"], "n": values.get("n", values.get("pixels"))}
        else:
            on_log = values if "concordance" in values else values.get("log", values)
            numbers = {name: on_log.get(name) for name in ("r2", "rmse", "concordance")} | {
                "coverage": values["coverage"],
                "n": values.get("n", values.get("pixels")),
            }
        rows.append({"vi": vi, "en": en, **numbers})
    return rows
