"""Class schemes from configs/legends."""

from __future__ import annotations

from pathlib import Path

from models.legends import Scheme
from pipeline import yamlfile
from pipeline.errors import InputError
from pipeline.shipped import CONFIGS

LEGENDS_FOLDER = CONFIGS / "legends"


def read(name: str, folder: Path = LEGENDS_FOLDER) -> Scheme:
    """The scheme ``name``. Raises InputError naming the schemes there are, or the file's fault."""
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise InputError(f"unknown legend {name!r}; known: {', '.join(known) or 'none'} (in {folder})")
    path = folder / f"{name}.yaml"
    scheme = yamlfile.parse(Scheme, path)
    if scheme.name != name:
        raise InputError(f"{path}: name: found {scheme.name!r}, expected that of the file, {name!r}")
    return scheme
