"""Which code this is."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("features", "models", "pipeline")


def number() -> str:
    """Version of the installed distribution."""
    try:
        return version("phusa")
    except PackageNotFoundError:  # run from a folder of sources
        return "0"


@cache
def digest() -> str:
    """SHA-256 over the program's own source files, names and contents; the same wherever it is installed.

    What comes with it as files (``shipped``) lies elsewhere in a checkout, and is not among them.
    """
    root = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    code = (p for name in PACKAGES for p in (root / name).rglob("*.py"))
    for path in sorted(p for p in code if "configs" not in p.relative_to(root).parts):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return found.hexdigest()
