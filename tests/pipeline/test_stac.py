"""Records that other programs read."""

from __future__ import annotations

import json
from pathlib import Path

import pystac.validation
import pytest
from stac_validator.stac_validator import StacValidate
from support import Phusa

from pipeline.demo import Demo

SCHEMAS = Path(pystac.validation.__file__).parent / "jsonschemas"
KINDS = {"Feature": "item", "Collection": "collection", "Catalog": "catalog"}


@pytest.fixture(scope="module")
def schema_map() -> dict[str, str]:
    """STAC's own schemas from disk: the tests have no network. Extension schemas are not on disk."""
    spec = "https://schemas.stacspec.org/v1.1.0"
    found = {f"https://geojson.org/schema/{p.name}": str(p) for p in (SCHEMAS / "geojson").glob("*.json")}
    for path in (SCHEMAS / "stac-spec" / "v1.1.0").glob("*.json"):
        kind = path.stem if path.stem in KINDS.values() else "item"
        found[f"{spec}/{kind}-spec/json-schema/{path.name}"] = str(path)
    return found


@pytest.fixture
def records(demo: Demo, phusa: Phusa) -> list[Path]:
    answer = phusa("run", demo.config, "--season", demo.season, "--json")
    assert answer.code == 0, answer.err
    store = Path(answer.json["store"])
    return [store / "catalog.json", *sorted((store / "releases").rglob("*.json"))]


def test_stac_validator_accepts_catalogue_collection_and_items(
    records: list[Path], schema_map: dict[str, str]
) -> None:
    assert len(records) == 7
    for path in records:
        content = json.loads(path.read_text())
        kind = KINDS[content["type"]]
        # Core schemas only: the extensions' schemas can be had from the network alone.
        validator = StacValidate(str(path), core=True, schema_map=schema_map)
        assert validator.run(), validator.message
        assert validator.message[0]["schema"] and kind in str(validator.message[0]["schema"])
        spoiled = path.with_name("spoiled.json")
        spoiled.write_text(json.dumps(content | {"id": 5}))
        assert not StacValidate(str(spoiled), core=True, schema_map=schema_map).run()
        spoiled.unlink()


def test_an_item_leads_from_catalogue_to_pixels_and_says_what_they_mean(records: list[Path]) -> None:
    items = list(pystac.Catalog.from_file(str(records[0])).get_items(recursive=True))
    assert len(items) == 4
    for item in items:
        bands = item.assets["map"].to_dict()["bands"]
        assert bands[-1]["name"] == "reason"
        assert [c["name"] for c in bands[-1]["classification:classes"]][:2] == ["mapped", "outside"]
        assert item.properties["proj:code"] == "EPSG:32648"
        assert item.properties["start_datetime"] == "2024-12-01T00:00:00Z"
        if item.properties["phusa:target"] == "degradation":
            assert bands[0]["classification:classes"][0]["color_hint"] == "1A9641"
        else:
            assert bands[0]["unit"] == "dS/m"
            assert bands[0]["raster:scale"] == 0.01
