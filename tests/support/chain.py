"""A whole season by the commands, on a small demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from support import Answer, Phusa

from pipeline.demo import Demo


def edit(demo: Demo, **changes: Any) -> None:
    """Set top-level keys of the demonstration's config; None takes one away."""
    content = yaml.safe_load(demo.config.read_text())
    content |= changes
    demo.config.write_text(
        yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False)
    )


def quick(demo: Demo) -> None:
    """Few trees: what is tested here is the chain, not the scores."""
    for path in (demo.config.parent / "targets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        content["model"] |= {"trees": 20}
        content["folds"] |= {"count": 2}
        path.write_text(yaml.safe_dump(content, allow_unicode=True))


def run(phusa: Phusa, demo: Demo, *more: object, command: str = "run") -> Answer:
    return phusa(command, demo.config, "--season", demo.season, "--json", *more)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def archive(demo: Demo, pattern: str) -> list[Path]:
    found = sorted((demo.config.parent / "archive").glob(pattern))
    assert found
    return found


def trained(phusa: Phusa, demo: Demo, folder: Path) -> list[object]:
    """Bundles of both targets, as options."""
    table = folder / "trained.parquet"
    assert phusa("samples", demo.config, "--out", table).code == 0
    options: list[object] = []
    for target in ("salinity", "degradation"):
        assert (
            phusa("train", demo.config, "--target", target, "--samples", table, "--out", folder / target).code
            == 0
        )
        options += ["--bundle", folder / target]
    return options


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
