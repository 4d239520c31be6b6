"""What is stale or damaged is told, and the next run makes it good."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from chain import edit, files, flip, run, trained
from support import Phusa

from pipeline.demo import Demo


def test_whatever_is_damaged_is_told_by_verify_and_mended_by_a_run(small: Demo, phusa: Phusa) -> None:
    first = run(phusa, small).json
    store, release = small.config.parent / "store", Path(first["products"][0]).parent
    before = files(store / "releases")
    names = [p.name for p in release.iterdir()]
    assert {"collection.json", "items.parquet", "tables.gpkg", "SHA256SUMS"} < set(names)
    product = Path(first["products"][0])
    harms = [
        lambda: flip(product),
        lambda: flip(product.with_suffix(".json")),
        lambda: flip(release / "items.parquet"),
        lambda: flip(release / "SHA256SUMS"),
        lambda: (release / "tables.gpkg").unlink(),
        lambda: (release / "collection.json").unlink(),
        lambda: (store / "catalog.json").unlink(),
    ]
    for harm in harms:
        harm()
        assert phusa("verify", small.config, "--json").code == 5
        mended = run(phusa, small)
        assert mended.code == 0, mended.err
        assert files(store / "releases") == before
        assert phusa("verify", small.config, "--json").code == 0


def test_a_lost_or_damaged_catalogue_is_told_and_any_publication_mends_it(small: Demo, phusa: Phusa) -> None:
    content = yaml.safe_load(small.config.read_text())
    edit(small, seasons={"b": content["seasons"][small.season]} | content["seasons"])
    assert run(phusa, small).code == 0
    assert phusa("run", small.config, "--season", "b").code == 0
    path = small.config.parent / "store" / "catalog.json"
    good = path.read_text()
    without = json.loads(good)
    without["links"] = [link for link in without["links"] if "/b/" not in link["href"]]
    for text in ('{"links": [5]}', '{"links": [{"rel": "child"}]}', "[]", "{", "", json.dumps(without), None):
        path.unlink() if text is None else path.write_text(text)
        answer = phusa("verify", small.config, "--json")
        assert answer.code == 5, text
        assert "publish any season again" in answer.json["error"]
        assert run(phusa, small, command="publish").code == 0
        assert phusa("verify", small.config, "--json").code == 0
        assert path.read_text() == good
        seasons = phusa("status", small.config, "--json").json["seasons"]
        assert [seasons[s]["published"] for s in ("b", small.season)] == [4, 4]


def test_a_store_that_is_a_file_is_refused(small: Demo, phusa: Phusa) -> None:
    (small.config.parent / "store").write_text("x")
    for command in ("verify", "status"):
        answer = phusa(command, small.config, "--json")
        assert (answer.code, "is a file" in answer.json["error"]) == (2, True)


def test_what_was_mapped_by_other_inputs_is_not_published(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    bundles = trained(phusa, small, tmp_path)
    assert run(phusa, small, *bundles, command="map").code == 0
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert (status["published"], sorted(status["unpublished"])) == (0, sorted(status["done"]))
    original = small.config.read_text()
    content = yaml.safe_load(original)
    seasons = {small.season: content["seasons"][small.season] | {"end": "2025-03-31"}}
    changes: list[dict[str, Any]] = [
        {"seasons": seasons},
        {"region": content["region"] | {"area": [105.95, 9.99, 106.1, 10.01]}},
        {"clouds": {"dilate_m": 200}},
        {"targets": ["targets/salinity.yaml"]},
        {"features": content["features"][1:]},
    ]
    for change in changes:
        edit(small, **change)
        answer = run(phusa, small, command="publish")
        assert answer.code == 2, change
        assert "run `phusa map` again" in answer.json["error"]
        assert phusa("status", small.config, "--json").json["seasons"][small.season]["stale"]
        small.config.write_text(original)
    assert not phusa("status", small.config, "--json").json["seasons"][small.season]["stale"]
    assert run(phusa, small, command="publish").code == 0
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert (status["published"], status["unpublished"]) == (len(status["done"]), [])
    edit(small, clouds={"dilate_m": 20})
    assert run(phusa, small, *bundles, command="map").code == 0
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert (status["published"], sorted(status["unpublished"])) == (0, sorted(status["done"]))


def test_a_model_trained_after_the_map_asks_for_another_map(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    assert run(phusa, small).code == 0
    table = tmp_path / "t.parquet"
    assert phusa("samples", small.config, "--out", table).code == 0
    theme = small.config.parent / "targets" / "salinity.yaml"
    theme.write_text(theme.read_text().replace("trees: 20", "trees: 21"))
    assert phusa("train", small.config, "--target", "salinity", "--samples", table).code == 0
    assert run(phusa, small, command="publish").code == 2
    assert run(phusa, small, command="map").json["computed"] == 2
    assert run(phusa, small, command="publish").json["changed"]


def test_a_stored_model_of_other_features_is_refused(small: Demo, phusa: Phusa) -> None:
    assert run(phusa, small).code == 0
    edit(small, features=["ndvi_p50", "vv_mean"])
    answer = run(phusa, small, command="map")
    assert answer.code == 2
    assert "trained on other features" in answer.json["error"]


def test_a_model_of_another_radar_product_is_refused(small: Demo, phusa: Phusa) -> None:
    edit(small, features=["ndvi_p50", "vv_mean"])
    assert run(phusa, small).code == 0
    content = yaml.safe_load(small.config.read_text())
    radar = next(s for s in content["sources"] if s["sensor"] == "sentinel-1-rtc")
    radar["provider"]["collections"] = {"sentinel-1-rtc": ["another-processor"]}
    edit(small, sources=content["sources"])
    bundle = next((small.config.parent / "store" / "work").glob("*/bundles/salinity"))
    answer = run(phusa, small, "--bundle", bundle, command="map")
    assert answer.code == 2
    assert "one product a model, never mixed" in answer.json["error"]


def test_a_damaged_run_state_is_an_integrity_fault(small: Demo, phusa: Phusa) -> None:
    assert run(phusa, small).code == 0
    state = next((small.config.parent / "store" / "work").glob("*/runs/*.json"))
    for text in ("[]", "{", '{"season": 1}'):
        state.write_text(text)
        for command in ("status", "publish"):
            answer = (
                run(phusa, small, command="publish")
                if command == "publish"
                else phusa(command, small.config, "--json")
            )
            assert answer.code == 5, answer.out
            assert "run `phusa map` again" in answer.json["error"]
    assert run(phusa, small).code == 0


def test_scratch_of_killed_runs_goes_and_that_of_living_ones_stays(tmp_path: Path) -> None:
    from pipeline.files import scratch_folder

    scratch = tmp_path / "scratch"
    dead = scratch / "dead"
    dead.mkdir(parents=True)
    (scratch / "dead.lock").touch()
    (dead / "half.tif").touch()
    with scratch_folder(scratch) as living, scratch_folder(scratch) as other:
        assert living.is_dir()
        assert other.is_dir()
        assert not dead.exists()
    assert not scratch.exists()
