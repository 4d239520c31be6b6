"""The chain on real Sentinel-1 and Sentinel-2 pixels with real field labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from support import SHARED, Phusa

CONFIG = Path(__file__).parents[2] / "configs" / "regions" / "flanders.yaml"
DATA = SHARED / "flanders"


def local_config(folder: Path, data: Path) -> Path:
    """The region config with a store of the test's own and the data at ``data``."""
    content = yaml.safe_load(CONFIG.read_text())
    for source in content["sources"]:
        source["provider"]["catalog"] = str(data / "catalog.json")
    for entry in (*content["samples"], content["evaluate_on"]):
        entry["file"] = str(data / "labels.csv")
    content["targets"] = [str(CONFIG.parents[1] / "targets" / "land_cover.yaml")]
    content["store"]["path"] = str(folder / "store")
    path = folder / "flanders.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_without_the_data_the_missing_catalogue_is_named(phusa: Phusa, tmp_path: Path) -> None:
    config = local_config(tmp_path, tmp_path / "nowhere")
    answer = phusa("run", config, "--season", "2019", "--json")
    assert answer.code == 2
    assert f"no catalogue at {tmp_path / 'nowhere' / 'catalog.json'}" in answer.json["error"]
    assert "docs/" in answer.json["error"]


@pytest.mark.skipif(not DATA.exists(), reason="needs the shared Flanders data")
def test_trained_on_one_patch_and_season_it_maps_another(phusa: Phusa, tmp_path: Path) -> None:
    answer = phusa("run", local_config(tmp_path, DATA), "--season", "2019", "--json")
    assert answer.code == 0, answer.err
    result = answer.json
    reference = result["scores"]["land_cover"]["reference"]
    assert reference["n"] == 400
    assert reference["refused"] == {"outside-season": 400}
    low, high = reference["interval"]
    # Seen: 0.905 [0.873, 0.937]. A broken offset, mask or date rule shows as a collapse, not as noise.
    assert 0.85 < low < reference["accuracy"] < high
    scores = result["scores"]["land_cover"]["cross_validation"]
    assert {"spatial", "random", "optimism"} <= scores.keys()

    (product,) = (Path(p) for p in result["products"])
    assert product.name == "31UES_land_cover.tif"
    with rasterio.open(product) as file:
        classes, reason = file.read(1), file.read(file.count)
        assert json.loads(file.tags(1)["CLASSES"]) == {"1": "cropland", "2": "grassland"}
        assert "PHUSA_SIMULATED" not in file.tags()
        index = [file.index(x, y) for x, y in labels()]
        truth = [c for *_, c in rows()]
    assert (reason == 0).mean() > 0.9
    # What evaluate says of the sites is what the map shows at them.
    shown = np.array([classes[i] for i in index])
    assert float((shown == np.array(truth)).mean()) == pytest.approx(reference["accuracy"])


def rows() -> list[tuple[float, float, int]]:
    lines = (DATA / "labels.csv").read_text().splitlines()[1:]
    cells = [line.split(",") for line in lines if line.startswith("b-")]
    return [(float(c[2]), float(c[3]), {"cropland": 1, "grassland": 2}[c[5]]) for c in cells]


def labels() -> list[tuple[float, float]]:
    return [(x, y) for x, y, _ in rows()]
