"""The house itself: floors, names, lock and what no file may say."""

from __future__ import annotations

import importlib.metadata
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[Path]:
    try:
        names = subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / n for n in names.splitlines() if (ROOT / n).is_file()]


def test_the_three_packages_belong_to_phusa() -> None:
    owners = importlib.metadata.packages_distributions()
    for name in ("pipeline", "features", "models"):
        module = __import__(name)
        assert Path(str(module.__file__)).is_relative_to(ROOT)
        assert set(owners.get(name, ["phusa"])) == {"phusa"}


def test_the_distribution_cannot_be_uploaded_by_accident() -> None:
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "pipeline",
        "features",
        "models",
    ]


def test_the_floors_hold() -> None:
    done = subprocess.run([BIN / "lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_lock_names_every_dependency_with_hashes_and_no_address() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.M))
    extras = PROJECT["project"]["optional-dependencies"]
    groups = [packages for name, packages in extras.items() if name != "bench"]
    wanted = [*PROJECT["project"]["dependencies"], *itertools.chain.from_iterable(groups)]
    for line in wanted:
        name = re.split(r"[\[<>=~! ]", line)[0].lower().replace("_", "-")
        assert name in locked, name
    assert all(
        "--hash=sha256:" in block
        for block in re.findall(r"^[a-z0-9-]+==.*?(?=^[a-z0-9]|\Z)", lock, re.M | re.S)
    )


def test_no_line_of_code_names_the_land_cover_target() -> None:
    for path in tracked():
        if path.suffix == ".py" and path.parts[len(ROOT.parts)] in ("pipeline", "features", "models"):
            text = path.read_text().lower()
            assert not re.search(r"land_?cover|cropland|grassland", text), path


def test_tests_have_no_init_files() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_no_secret_or_machine_path_is_committed() -> None:
    for path in tracked():
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".sql", ".lock") or path.name == "Makefile":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(home|Users)/[a-z]+/", text), path
            assert not re.search(r"(AKIA|ASIA)[A-Z0-9]{16}", text), path


def test_the_readme_names_commands_that_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"\bmake ([a-z]+)", readme))
    assert named
    assert named <= targets
    commands = set(re.findall(r"phusa ([a-z][a-z-]*)", readme))
    assert commands
    shown = subprocess.run([BIN / "phusa", "--help"], capture_output=True, text=True, check=True).stdout
    assert commands <= set(re.findall(r"^  ([a-z][a-z-]*) ", shown, re.M))
