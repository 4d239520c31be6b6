"""Notebooks import the packages and define nothing; each runs from top to bottom."""

from __future__ import annotations

import ast
from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
PAIRS = sorted(FOLDER.glob("*.py"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.stem)
def test_a_notebook_runs_and_matches_its_pair(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    book = jupytext.read(path)
    pair = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert [c.source for c in pair.cells] == [c.source for c in book.cells]
    assert not any(c.get("outputs") for c in pair.cells), "commit notebooks without their outputs"
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()


@pytest.mark.parametrize("path", PAIRS, ids=lambda p: p.stem)
def test_a_notebook_defines_nothing(path: Path) -> None:
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert not [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, kinds)]
