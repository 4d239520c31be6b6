"""The experiment of dvc.yaml: it runs, its numbers are tracked, and a second run finds nothing to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
COPIED = ("pipeline", "features", "models", "configs")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with a small world and few trees."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(
        "[core]\nno_scm = true\nanalytics = false\ncheck_update = false\n"
    )
    simulation = {
        "seed": 3,
        "size_px": 128,
        "sites": 100,
        "reference_sites": 24,
        "optical_dates": 5,
        "radar_dates": 1,
    }
    (tmp_path / "configs" / "demo.yaml").write_text(yaml.safe_dump(simulation))
    for path in (tmp_path / "configs" / "targets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["model"] |= {"trees": 20}
        content["folds"] |= {"count": 2}
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    program = tmp_path / ".venv" / "bin" / "phusa"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nfrom pipeline.cli import main\nmain()\n")
    program.chmod(0o755)
    return tmp_path


def dvc(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(project)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(1500)  # fifteen processes, one after the other
def test_the_experiment_runs_once(project: Path) -> None:
    first = dvc(project, "repro")
    for stage in (
        "simulate",
        "scenes",
        "samples",
        "train@salinity",
        "train@degradation",
        "evaluate@salinity",
        "evaluate@degradation",
    ):
        assert f"Running stage '{stage}'" in first
    again = dvc(project, "repro")
    assert "Running stage" not in again
    assert "up to date" in again
    numbers = json.loads(dvc(project, "metrics", "show", "--json"))[""]["data"]
    assert len(numbers) == 2
    plots = project / "data" / "experiments" / "evaluation" / "salinity" / "scores.csv"
    assert [line.split(",")[0] for line in plots.read_text().splitlines()] == [
        "answer",
        "spatial",
        "random",
        "reference",
    ]
    # One value of one target's booster touches that target only.
    path = project / "configs" / "targets" / "salinity.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("trees: 20", "trees: 21"), encoding="utf-8")
    status = json.loads(dvc(project, "status", "--json"))
    assert {"train@salinity"} <= status.keys()
    assert not {"train@degradation", "evaluate@degradation", "samples", "scenes"} & status.keys()
