"""``phusa review``, ``withdraw``, ``history``, ``journal`` and ``verify --checkpoint``."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from products import make
from support import Phusa

from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.product import ProductId
from pipeline.stores import Store, folder, folderjournal, open_store


@pytest.fixture(params=["folder", "postgis"])
def waiting(demo: Demo, request: pytest.FixtureRequest, tmp_path: Path) -> Demo:
    """A region whose store asks for review, and a map that waits for it."""
    dsn = request.getfixturevalue("dsn") if request.param == "postgis" else None
    settings = yaml.safe_load(demo.config.read_text())
    settings["store"] = {"kind": request.param, "path": "store", "review": True}
    demo.config.write_text(yaml.safe_dump(settings, allow_unicode=True))
    config = Config.read(demo.config)
    assert config.store is not None
    store: Store = open_store(config.store, config.region.name, dsn)
    season = config.season(demo.season)
    product, cog = make(tmp_path)
    place = ProductId(season.name, product.id.tile, product.id.target)
    made = replace(product, id=place, season=season, region=config.region.name)
    assert store.publish(season, [store.put(made, cog)]).state == "draft"
    store.close()
    return demo


def test_the_steps_of_a_release(waiting: Demo, phusa: Phusa, tmp_path: Path) -> None:
    config, season = waiting.config, ("--season", waiting.season)
    own = phusa("review", config, *season, "--json")
    assert (own.code, "another person must review it" in own.json["error"]) == (3, True)
    assert phusa("review", config, *season, "--reject").code == 2
    assert phusa("withdraw", config, *season, "--reason", "x").code == 2
    assert phusa("review", config, "--season", "2099", "--json").code == 2
    rejected = phusa("review", config, *season, "--reject", "--remark", "lệch ở rìa ảnh", "--json")
    assert (rejected.code, rejected.json["state"]) == (0, "withdrawn")
    told = phusa("history", config)
    assert [line.split()[3] for line in told.out.splitlines()] == ["submit", "reject"]
    assert "lệch ở rìa ảnh" in told.out
    on = phusa("history", config, "--on", f"{dt.date.today() + dt.timedelta(1)}", "--json")
    assert on.json["official"] == {}
    assert phusa("history", config, "--on", "soon").code == 2
    kept = tmp_path / "kept.json"
    elsewhere = phusa(
        "journal", "checkpoint", config, "--out", tmp_path / "unmounted" / "kept.json", "--json"
    )
    assert (elsewhere.code, "is the disk mounted" in elsewhere.json["error"]) == (2, True)
    assert not (tmp_path / "unmounted").exists()
    written = phusa("journal", "checkpoint", config, "--out", kept, "--json")
    assert (written.code, written.json["entries"]) == (0, 2)
    shown = phusa("journal", "show", config, "--json").json["entries"]
    assert json.loads(shown[1]["line"])["previous"] == shown[0]["hash"]
    assert shown[1]["hash"] == written.json["head"]
    assert phusa("verify", config, "--checkpoint", kept).code == 0
    kept.write_text(kept.read_text().replace(written.json["head"], "0" * 64))
    forged = phusa("verify", config, "--checkpoint", kept, "--json")
    assert (forged.code, "rewritten" in forged.json["error"]) == (5, True)
    kept.write_text("{}")
    assert phusa("verify", config, "--checkpoint", kept).code == 2


@pytest.mark.parametrize("waiting", ["folder"], indirect=True)  # of the database: test_releases.py
def test_a_second_person_and_official_days(
    waiting: Demo, phusa: Phusa, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, season = waiting.config, ("--season", waiting.season)
    settings = Config.read(config)
    assert settings.store is not None

    def become(name: str) -> None:
        for module in (folder, folderjournal):
            monkeypatch.setattr(module, "person", lambda: name)

    become("binh")
    reviewed = phusa("review", config, *season, "--remark", "đạt", "--json")
    assert (reviewed.code, reviewed.json["state"]) == (0, "reviewed")
    monkeypatch.undo()
    store = open_store(settings.store, settings.region.name)
    when = settings.season(waiting.season)
    records = [r for r in [store.find(*_only(Path(p))) for p in reviewed.json["products"]] if r]
    release = store.publish(when, records)
    assert release.state == "official"
    tomorrow = f"{dt.date.today() + dt.timedelta(1)}"
    assert phusa("history", config, "--on", tomorrow, "--json").json["official"] == {
        waiting.season: release.id
    }
    assert phusa("history", config, "--on", "2020-01-01", "--json").json["official"] == {}
    assert (
        phusa("withdraw", config, *season, "--reason", "sai hiệu chuẩn", "--json").json["state"]
        == "withdrawn"
    )
    assert phusa("history", config, "--on", tomorrow, "--json").json["official"] == {}
    assert phusa("verify", config).code == 0


def _only(cog: Path) -> tuple[ProductId, str]:
    properties = json.loads(cog.with_suffix(".json").read_text(encoding="utf-8"))["properties"]
    place = ProductId(properties["phusa:season"], properties["phusa:tile"], properties["phusa:target"])
    return place, properties["phusa:key"]
