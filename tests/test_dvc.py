"""The experiment of dvc.yaml: it runs once, its numbers and plots are tracked, experiments are compared."""

from __future__ import annotations

import csv
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
SALINITY = Path("configs") / "targets" / "salinity.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the project, committed, with a small world, few trees and no gate."""
    folder = tmp_path_factory.mktemp("project")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    simulation = {
        "seed": 3,
        "size_px": 128,
        "sites": 100,
        "reference_sites": 24,
        "optical_dates": 5,
        "radar_dates": 1,
    }
    (folder / "configs" / "demo.yaml").write_text(yaml.safe_dump(simulation))
    for path in (folder / "configs" / "targets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        content["model"] |= {"trees": 20}
        content["folds"] |= {"count": 2}
        content["gate"] = {"beats": []}  # no model beats the mean of a world so small
        path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    program = folder / ".venv" / "bin" / "phusa"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nfrom pipeline.cli import main\nmain()\n")
    program.chmod(0o755)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "A Researcher")
    git(folder, "config", "user.email", "researcher@example.vn")
    commit(folder, "the project")
    return folder


def git(project: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=True).stdout


def commit(project: Path, what: str) -> None:
    git(project, "add", "-A")
    git(project, "commit", "--quiet", "-m", what)


def dvc(project: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments], cwd=project, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(project)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def digest(project: Path, target: str) -> str:
    path = project / "data" / "experiments" / "models" / target / "bundle.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["digest"])


@pytest.mark.timeout(2400)  # fifteen processes, one after the other
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
    salinity = numbers["data/experiments/evaluation/salinity/metrics.json"]["data"]
    assert {"spatial", "matched", "random", "reference"} <= salinity.keys()
    assert {"rmse", "r2", "concordance", "coverage"} == salinity["spatial"].keys()
    plots = project / "data" / "experiments" / "evaluation" / "salinity" / "scores.csv"
    assert [line.split(",")[0] for line in plots.read_text().splitlines()] == [
        "answer",
        "spatial",
        "random",
        "reference",
    ]
    commit(project, "first run")


@pytest.mark.timeout(2400)
def test_an_experiment_with_another_setting_is_compared_with_the_first(project: Path) -> None:
    before = {target: digest(project, target) for target in ("salinity", "degradation")}
    ran = dvc(project, "exp", "run", "--name", "few-trees", "-S", f"{SALINITY.as_posix()}:model.trees=3")
    # One value of one target's booster touches that target only.
    assert "Running stage 'train@salinity'" in ran and "Running stage 'evaluate@salinity'" in ran, ran
    assert "Running stage 'train@degradation'" not in ran and "Running stage 'samples'" not in ran
    assert digest(project, "degradation") == before["degradation"]
    assert digest(project, "salinity") != before["salinity"]

    changed = json.loads(dvc(project, "metrics", "diff", "HEAD", "--json"))
    (name,) = changed
    assert name == "data/experiments/evaluation/salinity/metrics.json"
    assert {"old", "new", "diff"} <= changed[name]["spatial.rmse"].keys()
    settings = json.loads(dvc(project, "params", "diff", "HEAD", "--json"))
    assert settings[SALINITY.as_posix()]["model.trees"] == {"old": 20, "new": 3, "diff": -17}
    assert "few-trees" in dvc(project, "exp", "list", "--name-only")

    shown = json.loads(dvc(project, "plots", "diff", "HEAD", "--json", "-o", "shown"))
    drawn = shown["data"]
    assert any("predictions.csv" in n or "said and measured" in n for n in drawn)
    for words in ("reliability", "drivers", "scores", "folds", "said and found"):
        assert any(words in name for name in drawn), (words, list(drawn))
    assert all(parts for parts in drawn.values())


@pytest.mark.timeout(2400)
def test_the_same_settings_give_the_same_bundle_bit_for_bit(project: Path) -> None:
    git(project, "checkout", "--quiet", "--", "configs", "dvc.lock")
    wanted = {
        out["path"]: out["md5"]
        for out in yaml.safe_load((project / "dvc.lock").read_text())["stages"]["train@salinity"]["outs"]
    }
    dvc(project, "repro", "--force", "--single-item", "train@salinity")
    found = yaml.safe_load((project / "dvc.lock").read_text())["stages"]["train@salinity"]["outs"]
    assert {out["path"]: out["md5"] for out in found} == wanted


def test_plots_hold_what_was_said_of_rows_left_out(project: Path) -> None:
    folder = project / "data" / "experiments" / "evaluation" / "degradation"
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["observed"] for row in rows} <= {"none", "slight", "moderate", "heavy"}
    assert {row["fold"] for row in rows} == {"0", "1"}
    with (folder / "drivers.csv").open(encoding="utf-8") as file:
        assert sum(float(row["share"]) for row in csv.DictReader(file)) == pytest.approx(1, abs=1e-3)
