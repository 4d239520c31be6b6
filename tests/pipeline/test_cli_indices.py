"""``phusa indices`` as people and programs run it, and the indices that a config adds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from features import INDICES, block
from features.formula import parse
from pipeline.cli import main
from pipeline.config import Config
from pipeline.errors import InputError


def phusa(*words: object) -> Result:
    return CliRunner().invoke(main, ["indices", *map(str, words)])


def told(*words: object) -> dict[str, Any]:
    answer = phusa(*words, "--json")
    assert answer.exit_code == 0, answer.output
    found: dict[str, Any] = json.loads(
        answer.stdout, parse_constant=lambda c: pytest.fail(f"{c} is not JSON")
    )
    return found


def names(*words: object) -> list[str]:
    found = told(*words)
    assert found["count"] == len(found["indices"])
    return [row["name"] for row in found["indices"]]


# --- listing -----------------------------------------------------------------------------------


def test_all_indices_are_listed_for_people_and_programs() -> None:
    assert names() == list(INDICES)
    lines = phusa().stdout.splitlines()
    assert len(lines) == len(INDICES) + 1
    assert lines[0].split()[:2] == ["ndvi", "vegetation"]


def test_filters_narrow_together() -> None:
    assert names("--domain", "salinity") == [n for n, i in INDICES.items() if i.domain == "salinity"]
    both = names("--band", "red", "--band", "swir22")
    assert both == [n for n, i in INDICES.items() if {"red", "swir22"} <= set(parse(i.formula).bands)]
    assert names("--search", "TILLAGE", "--domain", "soil") == ["ndti", "sndti"]
    assert set(names("--search", "Lacaux")) == {"ndponi", "ri"}
    assert names("--search", "nothing like it") == []


def test_one_index_is_explained() -> None:
    found = told("CRSI")
    assert found["formula"] == INDICES["crsi"].formula and found["range"] == [0.0, 1.0]
    assert found["bands"] == ["blue", "green", "red", "nir"] and found["domain"] == "salinity"
    assert "doi:10.1016/j.rse.2015.08.026" in found["citation"]
    assert [alias["name"] for alias in found["aliases"]] == ["csri"]
    text = phusa("si7").stdout
    assert "blue / red" in text and "alias     s1 (Abbas & Khan 2007" in text and "unbounded" in text


def test_an_alias_leads_to_its_index_and_a_shared_name_says_so() -> None:
    assert told("nbr2")["name"] == "ndti"
    assert told("ndsi")["name"] == "ndsi"
    assert told("ndsi")["name_elsewhere_means"][0]["index"] == "mndwi"
    assert "but si is si10 in Khan et al. 2005" in phusa("si").stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ndvii"], "did you mean 'ndvi'"),
        (["--domain", "forest"], "salinity"),
        (["--band", "nirr"], "nir08"),
        (["ndvi", "--domain", "soil"], "not both"),
    ],
)
def test_what_is_unknown_is_exit_2_with_what_is_known(words: list[str], expected: str) -> None:
    answer = phusa(*words, "--json")
    assert answer.exit_code == 2
    assert json.loads(answer.stdout)["exit_code"] == 2
    assert expected in answer.stderr


# --- a config's own indices --------------------------------------------------------------------


def write(folder: Path, **changes: Any) -> Path:
    content = {
        "region": {"name": "r", "area": [105.0, 10.0, 105.1, 10.1]},
        "sources": [{"sensor": "sentinel-2-l2a", "provider": "earth-search"}],
        "seasons": {"2025-dry": {"start": "2024-12-01", "end": "2025-04-30"}},
        "features": ["ndvi_p50"],
    } | changes
    path = folder / "region.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return path


def test_an_index_of_the_config_is_a_feature_like_any_other(tmp_path: Path) -> None:
    own = {"shrimp_pond": {"formula": "(green - swir22) / (red + 0.1)", "range": [-1, 5], "domain": "water"}}
    path = write(tmp_path, indices=own, features=["shrimp_pond_max", "ndvi_p50"])
    spec = Config.read(path).features
    green, red, swir22, nir = (np.full((1, 1, 1), v, np.uint16) for v in (1500, 900, 200, 3000))
    found = block({"green": green, "red": red, "swir22": swir22, "nir": nir}, spec)
    assert found[0, 0, 0] == pytest.approx((0.15 - 0.02) / (0.09 + 0.1), rel=1e-6)
    assert spec.to_json() == type(spec).from_json(spec.to_json()).to_json()  # the bundle carries the formula
    listed = told("--config", path, "--domain", "water", "--search", "shrimp")["indices"]
    assert [row["range"] for row in listed] == [[-1.0, 5.0]]
    assert told("shrimp_pond", "--config", path)["formula"] == own["shrimp_pond"]["formula"]


@pytest.mark.parametrize(
    ("name", "index", "expected"),
    [
        ("mine", {"formula": "(nir - rad) / nir"}, ["indices.mine.formula", "column 8", "unknown band 'rad'"]),
        ("mine", {"formula": "(nir - red) / * nir"}, ["indices.mine.formula", "does not parse at column 15"]),
        ("mine", {"formula": "__import__('os')"}, ["indices.mine.formula", "column 1", "unknown function"]),
        ("mine", {"formula": "nir / vv"}, ["indices.mine.formula", "mixes sensors"]),
        ("mine", {"formula": "slope"}, ["indices.mine.formula", "a layer without time"]),
        ("mine", {"formula": 3}, ["indices.mine.formula", "valid string"]),
        ("mine", {}, ["indices.mine.formula", "missing"]),
        ("mine", {"formula": "nir", "rang": [0, 1]}, ["indices.mine.rang", "unknown key", "formula"]),
        ("mine", {"formula": "nir", "range": [1, 0]}, ["indices.mine.range", "low < high"]),
        ("mine", {"formula": "nir", "domain": "forest"}, ["indices.mine.domain", "salinity"]),
        ("mine", "nir / red", ["indices.mine"]),
        ("ndvi", {"formula": "nir"}, ["indices.ndvi", "the canon's (nir - red) / (nir + red)"]),
        ("nbr2", {"formula": "nir"}, ["indices.nbr2", "another name of ndti"]),
        ("red", {"formula": "nir"}, ["indices.red", "a band's name"]),
        ("Mine!", {"formula": "nir"}, ["indices.Mine!", "pattern"]),
    ],
)  # fmt: skip
def test_a_faulty_index_is_refused_with_its_place(
    tmp_path: Path, name: str, index: Any, expected: list[str]
) -> None:
    path = write(tmp_path, indices={name: index}, features=["ndvi_p50"])
    with pytest.raises(InputError) as caught:
        Config.read(path)
    assert all(part in str(caught.value) for part in [str(path), *expected]), str(caught.value)


def test_an_unknown_feature_names_the_configs_indices_too(tmp_path: Path) -> None:
    path = write(tmp_path, indices={"pond": {"formula": "green / nir"}}, features=["pnd_max"])
    with pytest.raises(InputError, match="did you mean 'pond'"):
        Config.read(path)
