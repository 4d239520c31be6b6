"""Frozen scene lists, what changed since, fallbacks, and gaps in the pattern of orbits."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pyarrow.parquet
import pytest
from odc.geo.geobox import GeoBox
from support import Phusa, free_port

from pipeline import catalog, ledger
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.demo import world as w
from pipeline.errors import InputError
from pipeline.load import load
from pipeline.providers import ApiProvider
from pipeline.scenes import Dropped, Scenes
from pipeline.season import Season


def search(demo: Demo, config: Config | None = None) -> Scenes:
    config = config or Config.read(demo.config)
    return catalog.search(config.sources, config.season(demo.season), config.region.geometry)


def test_a_frozen_list_reads_back_as_it_was_and_any_gis_reads_it(original_demo: Demo, tmp_path: Path) -> None:
    found = search(original_demo)
    found = replace(found, dropped=(Dropped("ẩn", "dem", "no geometry"),))
    found.write(tmp_path / "s.parquet")
    assert Scenes.read(tmp_path / "s.parquet") == found
    frame = geopandas.read_parquet(tmp_path / "s.parquet")
    assert list(frame["id"]) == [s.id for s in found.kept]
    assert frame.crs.to_epsg() == 4326
    assert frame.geometry.iloc[0].equals_exact(found.kept[0].geometry, 1e-9)
    assert frame["proj:code"].iloc[-1] == "EPSG:32648"


def test_a_frozen_list_that_was_changed_is_refused(original_demo: Demo, tmp_path: Path) -> None:
    path = tmp_path / "s.parquet"
    search(original_demo).write(path)
    table = pyarrow.parquet.read_table(path)
    pyarrow.parquet.write_table(table.slice(1), path)
    with pytest.raises(InputError, match="its content is not what its digest says"):
        Scenes.read(path)
    pyarrow.parquet.write_table(table.replace_schema_metadata({}), path)
    with pytest.raises(InputError, match="is not a list of scenes"):
        Scenes.read(path)


def test_refresh_tells_what_was_added_went_and_was_processed_again(
    demo: Demo, phusa: Phusa, tmp_path: Path
) -> None:
    out = tmp_path / "s.parquet"
    command = ("scenes", demo.config, "--season", demo.season, "--out", out, "--json")
    assert "changes" not in phusa(*command).json
    archive = demo.config.parent / "archive"
    collection = archive / "sentinel-2-l2a.json"
    content = json.loads(collection.read_text())
    links = [link for link in content["links"] if link["rel"] == "item"]
    content["links"].remove(links[0])
    for link, change in (
        (links[1], {"s2:processing_baseline": "05.12"}),
        (links[2], {"datetime": "2025-01-29T03:20:00Z"}),
    ):
        item = json.loads((archive / link["href"]).read_text())
        item["properties"] |= change
        (archive / link["href"]).write_text(json.dumps(item))
    collection.write_text(json.dumps(content))
    changes = phusa(*command, "--refresh").json["changes"]
    names = [Path(link["href"]).stem for link in links]
    assert changes == {"added": [names[2]], "gone": [names[0], names[2]], "reprocessed": [names[1]]}
    assert phusa(*command, "--refresh").json["changes"] == {"added": [], "gone": [], "reprocessed": []}
    answer = phusa(
        "scenes", demo.config, "--season", demo.season, "--out", tmp_path / "none.json", "--refresh"
    )
    assert answer.code == 2


def test_a_catalogue_that_does_not_answer_is_stood_for_by_the_fallback(original_demo: Demo) -> None:
    config = Config.read(original_demo.config)
    dead = ApiProvider(kind="api", url=f"http://127.0.0.1:{free_port()}", convention="earth-search")
    sources = tuple(s.model_copy(update={"provider": dead, "fallback": s.provider}) for s in config.sources)
    found = search(original_demo, config.model_copy(update={"sources": sources}))
    assert found.digest == search(original_demo).digest
    assert set(found.provider.values()) == {config.sources[0].provider.address}
    sources = tuple(s.model_copy(update={"provider": dead, "fallback": dead}) for s in config.sources)
    with pytest.raises(InputError, match="and its fallback"):
        search(original_demo, config.model_copy(update={"sources": sources}))


def test_a_file_that_cannot_be_read_is_read_from_the_fallback(
    demo: Demo, original_demo: Demo, tmp_path: Path
) -> None:
    config, other = Config.read(demo.config), Config.read(original_demo.config)
    sources = tuple(
        s.model_copy(update={"fallback": o.provider})
        for s, o in zip(config.sources, other.sources, strict=True)
    )
    found = search(demo, config.model_copy(update={"sources": sources}))
    assert found.digest == search(demo).digest
    assert all(len(s.alternates) == 1 for s in found.kept)
    found.write(tmp_path / "s.parquet")
    found.write(tmp_path / "s.json")
    assert Scenes.read(tmp_path / "s.parquet") == found == Scenes.read(tmp_path / "s.json")
    hurt = found.of("sentinel-2-l2a")[0]
    radar = found.of("sentinel-1-rtc")[0]
    for path in (hurt.urls["red"], hurt.urls["scl"], radar.urls["vv"]):
        Path(path).unlink()
    side = demo.world.salinity.shape[0]
    window = GeoBox((side, side), demo.world.transform, f"EPSG:{w.EPSG}")
    stack = load(found.kept, window, ("red", "nir", "vv"), 60, "b")
    whole = load(search(original_demo).kept, window, ("red", "nir", "vv"), 60, "b")
    assert stack.losses == []
    assert all(np.array_equal(stack.arrays[b], whole.arrays[b], equal_nan=True) for b in whole.arrays)
    via = {(e.scene, e.band) for e in stack.ledger if "fallback" in e.detail}
    assert via == {(hurt.id, "red"), (hurt.id, "scl"), (radar.id, "vv")}


def test_gaps_in_the_pattern_of_orbits_are_shown(original_demo: Demo) -> None:
    one = replace(search(original_demo).of("sentinel-2-l2a")[0], orbit="18")
    start = dt.date(2025, 1, 3)
    days = [start + dt.timedelta(days=10 * k) for k in (0, 1, 2, 4, 5)]
    scenes = [replace(one, id=str(d), datetime=f"{d}T03:20:00+00:00") for d in days[:-1]]
    dropped = (Dropped("x", one.sensor, "too cloudy: 99 %", str(days[-1]), one.platform, "18"),)
    found = Scenes("s", {}, tuple(scenes), dropped)
    gaps = ledger.gaps(found, Season("s", start, days[-1] + dt.timedelta(days=5)))
    expected = [{"sensor": one.sensor, "platform": "sentinel-2a", "orbit": "18", "days": ["2025-02-02"]}]
    assert gaps == expected
    assert ledger.gaps(Scenes("s", {}, tuple(scenes[:2]), ()), Season("s", start, days[-1])) == []


def test_status_tells_what_became_of_every_read(demo: Demo, phusa: Phusa) -> None:
    archive = demo.config.parent / "archive"
    gone, spoiled, *_ = sorted(archive.glob("S2A_48PXS*/*.json"))
    (gone.parent / "red.tif").unlink()
    spoiled.write_text("{")
    other = sorted(archive.glob("S1*/*.json"))[0]
    other.write_text(other.read_text().replace('"sentinel-1a"', '"sentinel-1c"'))
    demo.config.write_text(f"max_loss_percent: 40\n{demo.config.read_text()}")
    answer = phusa("run", demo.config, "--season", demo.season, "--json")
    assert answer.code == 0, answer.err
    told = phusa("status", demo.config, "--json").json["seasons"][demo.season]
    counts = told["ledger"]
    assert counts["catalogued"] >= counts["found"] >= counts["read"] >= counts["used"] > 0
    assert counts["dropped"]["missing asset"] >= 1
    assert counts["catalogued"] == counts["used"] + sum(counts["dropped"].values())
    store = Path(phusa("status", demo.config, "--json").json["store"])
    tables = list(store.rglob("ledger/*/*.parquet"))
    rows = [row for path in tables for row in pyarrow.parquet.read_table(path).to_pylist()]
    assert len(rows) == counts["catalogued"]
    lost = [row for row in rows if row["reason"] == "missing asset"]
    assert {(r["band"], r["platform"], r["state"]) for r in lost} == {("red", "sentinel-2a", "catalogued")}
    assert all(r["detail"] for r in rows if r["reason"])
    assert told["guard"] == {"sound": 9, "refused": 0, "not judged": 0}
    steps = told["radar_steps"]
    assert {(s["first"], s["second"], *s["images"]) for s in steps} == {("sentinel-1a", "sentinel-1c", 1, 1)}
    assert {s["band"] for s in steps} == {"vv", "vh"}

    # A release says it too.
    release = Path(answer.json["products"][0]).parent
    assert json.loads((release / "RUN").read_text())["radar_steps"] == steps
    made = json.loads(Path(answer.json["products"][0]).with_suffix(".json").read_text())
    assert made["properties"]["phusa:radar_steps"] == steps
    released = json.loads((release / "LEDGER").read_text())
    [record] = [r for r in released if r["reason"] == "unreadable record"]
    assert record["scene"].endswith(spoiled.name)
    lost = [r for r in released if r["reason"] == "missing asset"]
    assert {(r["scene"], r["band"], r["blocks"] > 0) for r in lost} == {(gone.stem, "red", True)}
    assert all("no such file" in r["detail"] for r in lost)
