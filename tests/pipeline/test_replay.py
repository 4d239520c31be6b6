"""A product made again from its frozen inputs, and what is told where it cannot be, or is not the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import rasterio
from support import Phusa

from models.bundle import ModelBundle
from pipeline.files import sha256


@pytest.fixture
def region(quick_region: Path, tmp_path: Path) -> Path:
    """A copy of the store that a test may spoil; the images stay where they were."""
    shutil.copytree(quick_region / "store", tmp_path / "store")
    return tmp_path / "store"


def product(store: Path) -> Path:
    return sorted(p for p in store.glob("releases/*/*/*/*.tif"))[0]


def test_a_product_is_made_again_byte_for_byte(region: Path, phusa: Phusa) -> None:
    cog = product(region)
    for path in (cog, cog.with_suffix(".json"), cog.with_name(f"{cog.stem}.provenance")):
        answer = phusa("replay", path, "--json")
        assert answer.code == 0, answer.err
        assert answer.json["same_code"] is True
        assert answer.json["product"] == str(cog)
    item = json.loads(cog.with_suffix(".json").read_text(encoding="utf-8"))
    assert item["assets"]["map"]["file:checksum"] == f"1220{answer.json['sha256']}"
    for name in ("scenes_digest", "code", "config", "bundle"):
        assert len(item["properties"][f"phusa:{name}"]) == 64
    assert not (region / "provenance" / "scratch").exists()


def test_one_changed_pixel_is_told(region: Path, phusa: Phusa) -> None:
    cog = product(region)
    with rasterio.open(cog, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        pixels = file.read(1)
        pixels[40, 40] += 1
        file.write(pixels, 1)
    answer = phusa("replay", cog, "--json")
    assert answer.code == 5
    assert "the file's SHA-256" in answer.err and "made again" not in answer.err


def test_a_product_whose_record_was_changed_with_it_is_told(region: Path, phusa: Phusa) -> None:
    cog = product(region)
    cog.write_bytes(cog.read_bytes() + b"\0")
    recipe = cog.with_name(f"{cog.stem}.provenance")
    content = json.loads(recipe.read_text(encoding="utf-8")) | {"sha256": sha256(cog)}
    recipe.write_text(json.dumps(content), encoding="utf-8")
    answer = phusa("replay", cog)
    assert answer.code == 5
    assert "made again, its SHA-256 is" in answer.err


def test_a_changed_model_is_told(region: Path, phusa: Phusa) -> None:
    text = next((region / "provenance" / "bundles").rglob("estimate.txt"))
    text.write_text(text.read_text().replace("shrinkage=", "shrinkage=0"))
    answer = phusa("replay", product(region))
    assert answer.code == 5
    assert "estimate.txt was changed" in answer.err


def test_another_model_in_the_place_of_the_first_is_told(region: Path, phusa: Phusa) -> None:
    folder = next((region / "provenance" / "bundles").iterdir())
    bundle = ModelBundle.load(folder)
    replace(bundle, card=dict(bundle.card) | {"note": "other"}).save(folder)
    answer = phusa("replay", product(region))
    assert answer.code == 5
    assert folder.name in answer.err and "was changed" in answer.err


@pytest.mark.parametrize(
    ("kind", "what"), [("bundles", "trained model"), ("scenes", "list of images"), ("areas", "mapped area")]
)
def test_an_input_that_is_gone_is_named(kind: str, what: str, region: Path, phusa: Phusa) -> None:
    folder = region / "provenance" / kind
    for path in folder.iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    answer = phusa("replay", product(region))
    assert answer.code == 2
    assert what in answer.err and str(folder) in answer.err


def test_images_that_are_gone_are_named(region: Path, phusa: Phusa) -> None:
    """Scene lists name files; without them nothing can be compared, and a mapped guess would be worse."""
    for path in (region / "provenance" / "scenes").iterdir():
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("/archive/", "/no-archive/"), encoding="utf-8")
    answer = phusa("replay", product(region))
    assert answer.code == 2
    assert "reads of images" in answer.err


def test_changed_settings_are_told(region: Path, phusa: Phusa) -> None:
    cog = product(region)
    recipe = cog.with_name(f"{cog.stem}.provenance")
    content = json.loads(recipe.read_text(encoding="utf-8"))
    content["setup"]["settings"]["clouds"]["dilate_m"] = 0
    recipe.write_text(json.dumps(content), encoding="utf-8")
    answer = phusa("replay", cog)
    assert answer.code == 5
    content["setup"]["settings"]["algorithm"] = "0"
    recipe.write_text(json.dumps(content), encoding="utf-8")
    answer = phusa("replay", cog)
    assert answer.code == 2
    assert "code that the product was made by is gone" in answer.err


def test_a_file_of_no_store_has_no_record(tmp_path: Path, phusa: Phusa) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(b"x")
    answer = phusa("replay", path)
    assert answer.code == 2
    assert "provenance" in answer.err
