"""The commands as users run them: the chain, a second run, other stores and sources."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import psycopg
import pytest
import rasterio
import yaml
from chain import archive, edit, files, flip, run, trained
from support import Phusa

from pipeline.cli import main
from pipeline.demo import Demo
from pipeline.stores import schema


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
        "unpublished": [],
        "loss_percent": 0, "refused": False,
    }  # fmt: skip


def test_the_same_season_into_postgis(
    small: Demo, phusa: Phusa, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    with psycopg.connect(dsn, autocommit=True) as owner:
        schema.grant(owner, "reader", "docgia")
    monkeypatch.setenv("PHUSA_DSN", dsn.replace("phusa@", "docgia@"))
    refused = phusa("status", small.config, "--json")
    assert (refused.code, "`phusa db grant` gives roles" in refused.json["error"]) == (2, True)
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("DROP ROLE docgia")


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
