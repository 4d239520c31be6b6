"""The commands as users run them: the chain, a second run, faults and bad input."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
import rasterio
import yaml
from support import Answer, Phusa

from pipeline.cli import main
from pipeline.demo import Demo


def edit(demo: Demo, **changes: Any) -> None:
    """Set top-level keys of the demonstration's config; None takes one away."""
    content = yaml.safe_load(demo.config.read_text())
    content |= changes
    demo.config.write_text(
        yaml.safe_dump({k: v for k, v in content.items() if v is not None}, sort_keys=False)
    )


def quick(demo: Demo) -> None:
    """Few trees: what is tested here is the chain, not the scores."""
    for path in (demo.config.parent / "targets").glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        content["model"] |= {"trees": 20}
        content["folds"] |= {"count": 2}
        path.write_text(yaml.safe_dump(content, allow_unicode=True))


@pytest.fixture
def small(demo: Demo) -> Demo:
    quick(demo)
    return demo


def run(phusa: Phusa, demo: Demo, *more: object, command: str = "run") -> Answer:
    return phusa(command, demo.config, "--season", demo.season, "--json", *more)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def archive(demo: Demo, pattern: str) -> list[Path]:
    found = sorted((demo.config.parent / "archive").glob(pattern))
    assert found
    return found


# --- the chain ---------------------------------------------------------------------------------


def test_step_by_step_gives_the_same_maps_as_run(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    whole = run(phusa, small)
    assert whole.code == 0, whole.err
    maps = {Path(p).name: Path(p).read_bytes() for p in whole.json["products"]}
    edit(small, store={"kind": "folder", "path": "other"})

    scenes = tmp_path / "scenes.json"
    assert run(phusa, small, "--out", scenes, command="scenes").json["scenes"]["sentinel-2-l2a"] == 10
    table, report = tmp_path / "samples.parquet", tmp_path / "report.json"
    samples = phusa(
        "samples",
        small.config,
        small.config.parent / "samples.csv",
        "--out",
        table,
        "--report",
        report,
        "--json",
    )
    assert samples.code == 0, samples.err
    assert samples.json["accepted"] + samples.json["refused"] == 90
    assert json.loads(report.read_text())["accepted"] == samples.json["accepted"]
    bundles = []
    for target in ("salinity", "degradation"):
        made = phusa(
            "train",
            small.config,
            "--target",
            target,
            "--samples",
            table,
            "--out",
            tmp_path / target,
            "--json",
        )
        assert made.code == 0, made.err
        bundles += ["--bundle", tmp_path / target]
        judged = phusa(
            "evaluate",
            small.config,
            "--target",
            target,
            "--samples",
            table,
            "--out",
            tmp_path / "e",
            "--bundle",
            tmp_path / target,
            "--json",
        )
        assert judged.code == 0, judged.err
        assert judged.json["cross_validation"] == whole.json["scores"][target]["cross_validation"]
        assert judged.json["reference"] == whole.json["scores"][target]["reference"]
    mapped = run(phusa, small, "--scenes", scenes, *bundles, command="map")
    assert mapped.code == 0, mapped.err
    assert mapped.json["computed"] == 4
    published = run(phusa, small, command="publish")
    assert {Path(p).name: Path(p).read_bytes() for p in published.json["products"]} == maps
    assert published.json["release"] == whole.json["release"]


def test_a_second_run_finds_all_done_and_a_deleted_product_comes_back(small: Demo, phusa: Phusa) -> None:
    first = run(phusa, small).json
    before = files(small.config.parent / "store" / "releases")
    again = run(phusa, small).json
    assert (again["computed"], again["skipped"], again["changed"]) == (0, 4, False)
    assert files(small.config.parent / "store" / "releases") == before

    lost = Path(first["products"][1])
    lost.unlink()
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert (len(status["done"]), status["missing"]) == (3, [lost.stem])
    assert phusa("verify", small.config, "--json").code == 5
    healed = run(phusa, small).json
    assert (healed["computed"], healed["skipped"]) == (1, 3)
    assert files(small.config.parent / "store" / "releases") == before
    assert phusa("verify", small.config, "--json").json["faults"] == []
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert (len(status["done"]), status["missing"], status["failed"], status["published"]) == (4, [], [], 4)


def test_status_before_any_run_is_honest(small: Demo, phusa: Phusa) -> None:
    assert phusa("status", small.config, "--json").json["seasons"][small.season] == {
        "planned": False, "stale": False, "done": [], "missing": [], "failed": [], "published": 0,
        "loss_percent": 0, "refused": False,
    }  # fmt: skip


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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


def test_the_same_season_into_postgis(small: Demo, phusa: Phusa, dsn: str) -> None:
    edit(small, store={"kind": "postgis", "path": "pg"})
    first = run(phusa, small)
    assert first.code == 0, first.err
    with psycopg.connect(dsn) as connection:
        shown = connection.execute("SELECT tile, target FROM phusa.published ORDER BY 1, 2").fetchall()
        assert shown == [
            ("48PXS", "degradation"),
            ("48PXS", "salinity"),
            ("48PYS", "degradation"),
            ("48PYS", "salinity"),
        ]
        items = connection.execute("SELECT count(*) FROM pgstac.items").fetchone()
        assert items == (4,)
    again = run(phusa, small).json
    assert (again["computed"], again["skipped"], again["changed"]) == (0, 4, False)
    lost = Path(first.json["products"][0])
    content = lost.read_bytes()

    def sql(text: str) -> None:
        with psycopg.connect(dsn) as connection:
            connection.execute("SET session_replication_role = replica")  # past the guards, as superusers can
            connection.execute(text)  # type: ignore[call-overload]

    for harm, computed in (
        (lost.unlink, 1),
        (lambda: flip(lost), 1),
        (lambda: sql("DELETE FROM phusa.raster"), 4),
        (lambda: sql("DELETE FROM pgstac.items"), 0),
    ):
        harm()
        assert phusa("verify", small.config, "--json").code == 5
        again = run(phusa, small)
        assert again.code == 0, again.err
        assert again.json["computed"] == computed
        assert lost.read_bytes() == content
        assert phusa("verify", small.config, "--json").code == 0


def test_pixels_from_an_api_over_http_make_the_same_maps(small: Demo, phusa: Phusa, stac_api: str) -> None:
    local = run(phusa, small)
    content = yaml.safe_load(small.config.read_text())
    for source in content["sources"]:
        source["provider"] = {"kind": "api", "url": stac_api, "convention": "earth-search"}
    edit(small, sources=content["sources"], store={"kind": "folder", "path": "other"})
    remote = run(phusa, small)
    assert remote.code == 0, remote.err
    assert remote.json["scenes_digest"] == local.json["scenes_digest"]
    assert [Path(p).read_bytes() for p in remote.json["products"]] == [
        Path(p).read_bytes() for p in local.json["products"]
    ]


def test_maps_of_a_model_of_simulated_images_say_so_even_of_real_scenes(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    bundles = trained(phusa, small, tmp_path)
    for path in archive(small, "*/*.json"):
        item = json.loads(path.read_text())
        if item["properties"].pop("phusa:simulated", None):
            path.write_text(json.dumps(item))
    made = run(phusa, small, *bundles)
    assert made.code == 0, made.err
    cog = Path(made.json["products"][0])
    assert json.loads(cog.with_suffix(".json").read_text())["properties"]["phusa:simulated"] is True
    with rasterio.open(cog) as file:
        assert "SIMULATED" in file.tags()["PHUSA_SIMULATED"]
    assert "SIMULATED" in (small.config.parent / "store" / "catalog.json").read_text()


def test_targets_may_be_absent_for_scenes_and_features(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    edit(small, targets=None, samples=None, evaluate_on=None, store=None)
    assert run(phusa, small, "--out", tmp_path / "s.json", command="scenes").code == 0
    assert run(phusa, small, "--out", tmp_path / "f", command="features").code == 0
    assert run(phusa, small).code == 2


# --- faults ------------------------------------------------------------------------------------


def test_loss_beyond_the_limit_publishes_nothing(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    bundles = trained(phusa, small, tmp_path)
    for path in archive(small, "S2A*/nir.tif")[:6]:
        path.write_bytes(b"II*\0broken")
    for command in ("map", "run"):
        answer = run(phusa, small, *bundles, command=command)
        assert answer.code == 4
        assert "max_loss_percent is 5" in answer.json["error"]
        assert "nir" in answer.err
    out = tmp_path / "features"
    assert run(phusa, small, "--out", out, command="features").code == 4
    # what was refused, and why, is told; no pixel of it is left
    assert {p.name for p in out.rglob("*")} == {"ledger.parquet", "ledger.json"}
    assert run(phusa, small, command="publish").code == 4
    assert not (small.config.parent / "store" / "catalog.json").exists()


def test_loss_within_the_limit_is_published_and_told_and_mended_later(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    bundles = trained(phusa, small, tmp_path)
    victim = archive(small, "S2A_48PXS*/nir.tif")[0]
    content = victim.read_bytes()
    victim.unlink()
    lossy = run(phusa, small, *bundles)
    assert lossy.code == 0, lossy.err
    assert 0 < lossy.json["loss_percent"] <= 5
    assert any(victim.parent.name in key for key in lossy.json["lost"])
    item = json.loads(Path(lossy.json["products"][0]).with_suffix(".json").read_text())
    assert item["properties"]["phusa:lost_reads"] > 0
    victim.write_bytes(content)
    whole = run(phusa, small, *bundles)
    assert whole.json["loss_percent"] == 0
    assert whole.json["computed"] > 0
    assert run(phusa, small, *bundles).json["computed"] == 0


def test_few_lost_reads_that_take_all_ground_publish_nothing(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    """One elevation model is one read of hundreds, and without it no pixel has a slope."""
    bundles = trained(phusa, small, tmp_path)
    for path in archive(small, "DEM*/data.tif"):
        path.unlink()
    for command in ("map", "run", "publish"):
        answer = run(phusa, small, *(bundles if command != "publish" else ()), command=command)
        assert answer.code == 4, answer.out
        assert "of the ground cannot be mapped" in answer.json["error"]
    assert run(phusa, small, "--out", tmp_path / "f", command="features").code == 4


def test_a_failed_block_fails_its_tile_only(
    small: Demo, phusa: Phusa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline import mapping

    bundles = trained(phusa, small, tmp_path)
    real = mapping.map_block

    def faulty(task: mapping.BlockTask, models: Any) -> mapping.BlockResult:
        if task.name.startswith("48PYS"):
            raise RuntimeError("a fault of ours")
        return real(task, models)

    with monkeypatch.context() as patch:
        patch.setattr(mapping, "map_block", faulty)
        answer = run(phusa, small, *bundles)
    assert answer.code == 1
    assert {Path(p).name for p in answer.json["products"]} == {"48PXS_salinity.tif", "48PXS_degradation.tif"}
    assert {f["tile"] for f in answer.json["failed"]} == {"48PYS"}
    status = phusa("status", small.config, "--json").json["seasons"][small.season]
    assert [f["product"] for f in status["failed"]] == ["48PYS_salinity", "48PYS_degradation"]
    assert "a fault of ours" in status["failed"][0]["error"]
    assert run(phusa, small, command="publish").code == 1
    rest = run(phusa, small, *bundles)
    assert (rest.code, rest.json["computed"], rest.json["skipped"]) == (0, 2, 2)


def trained(phusa: Phusa, demo: Demo, folder: Path) -> list[object]:
    """Bundles of both targets, as options."""
    table = folder / "trained.parquet"
    assert phusa("samples", demo.config, "--out", table).code == 0
    options: list[object] = []
    for target in ("salinity", "degradation"):
        assert (
            phusa("train", demo.config, "--target", target, "--samples", table, "--out", folder / target).code
            == 0
        )
        options += ["--bundle", folder / target]
    return options


# --- bad input ---------------------------------------------------------------------------------


def test_bad_input_is_exit_2_with_one_message_and_nothing_half_written(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    config, season = small.config, ("--season", small.season)
    binary = tmp_path / "binary"
    binary.write_bytes(bytes(range(256)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    out = tmp_path / "out"
    table = tmp_path / "good.parquet"
    assert phusa("samples", config, "--out", table).code == 0
    cases: list[tuple[str, tuple[object, ...]]] = [
        ("unknown season 'wet'; known: 2025-dry", ("scenes", config, "--season", "wet", "--out", out)),
        ("no such file", ("scenes", tmp_path / "no.yaml", *season, "--out", out)),
        ("binary file", ("scenes", binary, *season, "--out", out)),
        ("unknown target 'salt'; known: salinity, degradation", ("train", config, "--target", "salt", "--samples", table, "--out", out)),
        ("is not a sample table", ("train", config, "--target", "salinity", "--samples", binary, "--out", out)),
        ("no such sample table", ("train", config, "--target", "salinity", "--samples", tmp_path / "no", "--out", out)),
        ("holds something that is not a bundle", ("train", config, "--target", "salinity", "--samples", table, "--out", tmp_path / "full")),
        ("no bundle at", ("map", config, *season)),
        ("is not a list of scenes", ("features", config, *season, "--out", out, "--scenes", binary)),
        ("Missing option '--season'", ("map", config)),
        ("No such option", ("map", config, *season, "--colour", "red")),
        ("unknown scheduler 'dusk'", ("features", config, *season, "--out", out, "--scheduler", "dusk")),
        ("has not been mapped", ("publish", config, *season)),
        ("no such sample file", ("samples", config, tmp_path / "no.csv", "--out", out)),
        ("binary file", ("samples", config, binary, "--out", out)),
    ]  # fmt: skip
    for told, arguments in cases:
        answer = phusa(*arguments, "--json")
        assert answer.code == 2, (arguments, answer.err)
        assert told in answer.json["error"]
        assert "Traceback" not in answer.err
        assert not out.exists(), arguments
    assert (tmp_path / "full" / "thesis.txt").read_text() == "years of work"


def test_a_sample_file_with_no_usable_row_leaves_a_report_and_no_table(
    small: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    samples = tmp_path / "bad.csv"
    samples.write_text("sample_id,date,lon,lat,ece\na,2025-02-01,999,10,3\nb,2025-02-01,105,10,-3\n")
    answer = phusa(
        "samples", small.config, samples, "--out", tmp_path / "t", "--report", tmp_path / "r.json", "--json"
    )
    assert answer.code == 2
    assert "no usable row: {'bad-value': 1, 'outside-globe': 1}" in answer.json["error"]
    assert not (tmp_path / "t").exists()
    assert [r["row"] for r in json.loads((tmp_path / "r.json").read_text())["refusals"]] == [2, 3]


def test_an_area_off_the_images_names_the_place(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    content = yaml.safe_load(small.config.read_text())
    edit(small, region=content["region"] | {"area": [110.0, 10.0, 110.1, 10.1]})
    answer = run(phusa, small, "--out", tmp_path / "s.json", command="scenes")
    assert answer.code == 2
    assert "over [110.0000, 10.0000, 110.1000, 10.1000]" in answer.json["error"]
    assert not (tmp_path / "s.json").exists()


def test_a_scene_list_that_cannot_serve_is_refused(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    path = tmp_path / "scenes.json"
    assert run(phusa, small, "--out", path, command="scenes").code == 0
    good = json.loads(path.read_text())
    radar = [s for s in good["kept"] if s["sensor"] == "sentinel-1-rtc"]
    first, rest = good["kept"][0], good["kept"][1:]
    cases: list[tuple[str, dict[str, Any]]] = [
        ("no sentinel-1-rtc scene", {"kept": [s for s in good["kept"] if s not in radar]}),
        ("no dem scene", {"kept": []}),
        ("unknown sensor 'sentinel-9'", {"kept": [first | {"sensor": "sentinel-9"}, *rest]}),
        ("is not a list of scenes", {"kept": [first | {"footprint": "POLYGON(("}, *rest]}),
        ("empty footprint", {"kept": [first | {"footprint": "POLYGON EMPTY"}, *rest]}),
        ("is not a list of scenes", {"kept": [first | {"datetime": "soon"}, *rest]}),
        ("is not a list of scenes", {"kept": [first | {"assets": 5}, *rest]}),
        ("of season 'wet', not '2025-dry'", {"season": "wet"}),
        (
            "not in season '2025-dry'",
            {"kept": [*rest, good["kept"][-1] | {"id": "old", "datetime": "2020-01-01T00:00:00+00:00"}]},
        ),
        ("offset 1000000000", {"kept": [first | {"offset": 1000000000}, *rest]}),
        ("offset", {"kept": [first | {"offset": 0.5}, *rest]}),
        ("epsg", {"kept": [first | {"epsg": "32648"}, *rest]}),
        ("id", {"kept": [first | {"id": 5}, *rest]}),
        ("listed twice", {"kept": [first, first, *rest]}),
        ("provider", {"provider": None}),
    ]
    for told, change in cases:
        path.write_text(json.dumps(good | change))
        for command in ("features", "run"):
            more = ("--out", tmp_path / "f") if command == "features" else ()
            answer = run(phusa, small, "--scenes", path, *more, command=command)
            assert answer.code == 2, (change, answer.err)
            assert told in answer.json["error"]
    assert not (tmp_path / "f").exists()


def test_samples_of_an_unknown_season_are_refused(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    for season in ("nope", small.season):
        answer = phusa("samples", small.config, "--season", season, "--out", tmp_path / "t", "--json")
        assert answer.code == 2
    assert not (tmp_path / "t").exists()


def test_a_missing_catalogue_says_how_to_get_one(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    (small.config.parent / "archive" / "catalog.json").unlink()
    answer = run(phusa, small, "--out", tmp_path / "s.json", command="scenes")
    assert answer.code == 2
    assert "no catalogue at" in answer.json["error"]
    assert "earth-search" in answer.json["error"]


def test_a_changed_bundle_is_refused(small: Demo, phusa: Phusa, tmp_path: Path) -> None:
    bundles = trained(phusa, small, tmp_path)
    path = tmp_path / "salinity" / "estimate.txt"
    path.write_text(path.read_text().replace("leaf_value=", "leaf_value=9", 1))
    answer = run(phusa, small, *bundles, command="map")
    assert answer.code == 2
    assert "was changed since it was trained" in answer.json["error"]


def test_a_real_process_prints_one_object_and_exits_with_the_code(small: Demo, tmp_path: Path) -> None:
    command = [
        Path(sys.executable).parent / "phusa",
        "scenes",
        small.config,
        "--out",
        tmp_path / "s.json",
        "--json",
    ]
    good = subprocess.run([*command, "--season", small.season], capture_output=True, text=True, check=False)
    assert good.returncode == 0
    assert json.loads(good.stdout)["out"] == str(tmp_path / "s.json")
    bad = subprocess.run([*command, "--season", "x"], capture_output=True, text=True, check=False)
    assert bad.returncode == 2
    assert json.loads(bad.stdout)["exit_code"] == 2
    usage = subprocess.run(
        [*command[:1], "scenes", "--no-such-option"], capture_output=True, text=True, check=False
    )
    assert usage.returncode == 2
    assert "Traceback" not in usage.stderr


def test_a_result_that_cannot_be_written_is_told(small: Demo) -> None:
    command = [Path(sys.executable).parent / "phusa", "status", small.config]
    with Path("/dev/full").open("w") as full:
        end = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert end.returncode == 1
    assert end.stderr == "phusa: the result cannot be written: No space left on device\n"


def test_sigterm_ends_a_run_with_its_message_and_no_scratch(small: Demo) -> None:
    command = [Path(sys.executable).parent / "phusa", "run", small.config, "--season", small.season, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "map: " not in (line := process.stderr.readline()):
        assert line, "ended before it mapped"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "interrupted" in json.loads(out)["error"]
    assert not list((small.config.parent / "store" / "work").glob("*/scratch/*"))


def test_every_command_has_help(phusa: Phusa) -> None:
    def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for name, command in group.commands.items():
            yield (*path, name)
            if isinstance(command, click.Group):
                yield from walk(command, (*path, name))

    known = set(walk(main, ()))
    contract = "demo scenes samples train evaluate features map publish run status verify zones indices db"
    assert {(name,) for name in contract.split()} <= known
    for path in sorted(known):
        answer = phusa(*path, "--help")
        assert answer.code == 0, path
        assert "Usage:" in answer.out


def test_db_init_needs_an_address_and_may_run_twice(
    phusa: Phusa, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert phusa("db", "init", "--json").json == {"applied": []}
    monkeypatch.setenv("PHUSA_DSN", "postgresql://u:secret@127.0.0.1:1/x")
    answer = phusa("db", "init", "--json")
    assert answer.code == 2
    assert "secret" not in answer.out + answer.err
    monkeypatch.delenv("PHUSA_DSN")
    assert phusa("db", "init", "--json").code == 2
