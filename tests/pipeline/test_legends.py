"""The shipped class schemes against the table of published bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import legends
from pipeline.errors import InputError

#: ECe in dS/m, from FAO's and USDA's tables.
BOUNDS = {
    "fao": [0.75, 2, 4, 8, 15],
    "usda": [2, 4, 8, 16],
    "cansis": [2, 4, 8, 16],
    "vietnam_theses": [2, 4, 8, 16],
    "crop_tolerance": [4, 8, 15],
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_those_published(name: str) -> None:
    scheme = legends.read(name)
    assert scheme.bounds.tolist() == BOUNDS[name]
    assert (scheme.quantity, scheme.unit) == ("ece", "dS/m")
    assert len({c.colour for c in scheme.classes}) == len(scheme.classes)
    assert len({c.title.vi for c in scheme.classes}) == len(scheme.classes)


def test_every_file_is_in_this_table() -> None:
    assert {p.stem for p in legends.LEGENDS_FOLDER.glob("*.yaml")} == set(BOUNDS)


def test_one_value_has_other_words_in_other_schemes() -> None:
    assert legends.read("fao").of(5).name == "strong"
    assert legends.read("usda").of(5).name == "moderate"


def test_only_what_was_read_in_its_source_is_verified() -> None:
    verified = {name for name in BOUNDS if legends.read(name).status == "verified"}
    assert verified == {"fao", "usda"}


def test_an_unknown_or_misnamed_legend_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown legend 'feo'; known: cansis, crop_tolerance, fao"):
        legends.read("feo")
    text = (legends.LEGENDS_FOLDER / "fao.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="found 'fao', expected that of the file, 'mine'"):
        legends.read("mine", tmp_path)
    (tmp_path / "mine.yaml").write_text(text.replace("below: 2,", "below: 0.5,"), encoding="utf-8")
    with pytest.raises(InputError, match="rising"):
        legends.read("mine", tmp_path)
