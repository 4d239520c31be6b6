"""The whole demonstration on disk: archive, truth, samples, mask, communes and a region config."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
import yaml

from pipeline import yamlfile
from pipeline.demo import archive, survey
from pipeline.demo import world as w
from pipeline.demo.settings import Simulation
from pipeline.errors import InputError
from pipeline.files import write_aside
from pipeline.shipped import CONFIGS

#: The region config of the demonstration; its paths lead into ``HOME``.
REGION = CONFIGS / "regions" / "demo.yaml"
HOME = "../../data/demo/"
#: Says what a folder was made of; a folder without it is not ours to write to.
MARK = "simulation.json"


@dataclass(frozen=True)
class Demo:
    """Where the parts of a demonstration lie."""

    config: Path
    season: str
    truth: Path
    world: w.World


def build(
    out: Path, seed: int = 1, size: int = 256, sites: int = 160, optical_dates: int = 8, radar_dates: int = 6,
    convention: Literal["earth-search", "planetary-computer"] = "earth-search",
    store: dict[str, Any] | None = None, reference_sites: int = 80,
) -> Demo:  # fmt: skip
    """Write a demonstration below ``out``; the same arguments give the same files."""
    simulation = Simulation(
        seed=seed, size_px=size, sites=sites, reference_sites=reference_sites, optical_dates=optical_dates,
        radar_dates=radar_dates, convention=convention,
    )  # fmt: skip
    return write(out, simulation, store)


def write(out: Path, simulation: Simulation, store: dict[str, Any] | None = None) -> Demo:
    """Write what is not there yet of a demonstration; ``store`` replaces the config's own.

    Killed and called again, it gives the bytes of an undisturbed call. Raises InputError where
    ``out`` holds something that no demonstration wrote.
    """
    _claim(out, simulation)
    ground = w.make(simulation.seed, simulation.size_px)
    archive.write(out / "archive", ground, simulation)
    for name in ("salinity", "degradation"):
        archive.write_band(out / "truth" / f"{name}.tif", getattr(ground, name), ground.transform, np.nan)
    archive.write_band(out / "farmland.tif", ground.farmland, ground.transform, 255)
    survey.write_samples(out / "samples.csv", ground, simulation.sites)
    survey.write_reference(out / "reference.csv", ground, simulation.reference_sites)
    survey.write_communes(out / "communes.gpkg", ground)
    write_aside(out / "area.geojson", _area(ground))
    config = out / "demo.yaml"
    write_aside(config, _config(out, simulation, store))
    return Demo(config, w.SEASON[0], out / "truth", ground)


def _claim(out: Path, simulation: Simulation) -> None:
    """Mark the folder as this simulation's; what another one left there is removed first."""
    mark = out / MARK
    text = json.dumps(
        {"label": archive.LABEL, **simulation.model_dump(), "made_by": _version()},
        indent=1,
        ensure_ascii=False,
    )
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; expected a folder for the demonstration")
    inside = sorted(out.iterdir()) if out.exists() else []
    if inside and not mark.is_file() and any(not _temporary(p) for p in inside):
        raise InputError(
            f"{out} holds {inside[0].name!r}, which no demonstration wrote; expected a new or empty folder"
        )
    if mark.is_file() and mark.read_text(encoding="utf-8") != text:
        for path in inside:
            if path != mark:
                _remove(path)
        mark.unlink()
    # A killed run leaves half-written files; none of them has a name that is read.
    for pattern in (".*.tmp*", "store/work/*/scratch/*"):
        for path in sorted(out.rglob(pattern)) if out.exists() else []:
            _remove(path)
    write_aside(mark, text)


def _temporary(path: Path) -> bool:
    return path.name.startswith(".") and ".tmp" in path.name


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _version() -> str:
    """Digest of the simulation's own code."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _area(ground: w.World) -> str:
    shape = shapely.geometry.mapping(survey.outline(ground))
    feature = {"type": "Feature", "properties": {"name": archive.LABEL}, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature]}, ensure_ascii=False) + "\n"


def _config(out: Path, simulation: Simulation, store: dict[str, Any] | None) -> str:
    """The tracked region config with its paths led into ``out``, and its targets beside it."""
    settings = _moved(yamlfile.read(REGION))
    for source in settings["sources"]:
        source["provider"]["convention"] = simulation.convention
    if simulation.size_px < SMALL_PX:
        settings["region"]["grid"]["block_px"] = 128
    targets = []
    for entry in settings["targets"]:
        name = Path(entry).name
        write_aside(out / "targets" / name, _target(REGION.parent / entry, simulation))
        targets.append(f"targets/{name}")
    settings |= {"targets": targets, "store": store or settings["store"]}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return f"# {archive.LABEL}: made by `phusa demo --seed {simulation.seed}`\n{text}"


#: Worlds smaller than this are cut into several blocks too.
SMALL_PX = 512


def _target(path: Path, simulation: Simulation) -> str:
    """A target file without a gate, and with little to train in a quick world.

    A demonstration shows what a model is worth, good or not: its truth judges the map.
    """
    content = yamlfile.read(path)
    content["gate"] = {"beats": []}
    if simulation.quick:
        content["model"] |= {"trees": 20}
        content["folds"] |= {"count": 2}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _moved(value: Any) -> Any:
    """The same settings with paths relative to the demonstration's own folder."""
    if isinstance(value, dict):
        return {key: _moved(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_moved(entry) for entry in value]
    return value.removeprefix(HOME) if isinstance(value, str) else value
