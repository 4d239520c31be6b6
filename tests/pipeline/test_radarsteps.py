"""Steps between satellites of one orbit are found where they are, and not where they are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psycopg
import pytest
import rasterio
from products import SEASON, make

from pipeline import catalog, radarsteps, runner
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.plan import plan
from pipeline.scenes import Scene
from pipeline.stores import FolderSettings, PostgisSettings, open_store

SCENE = Scene("x", "sentinel-1-rtc", "sentinel-1-rtc", "2025-01-01T00:00:00+00:00", "POINT EMPTY", (), 32648)


def season(step: float, seed: int = 0, version: str = "") -> list[tuple[Scene, dict]]:
    """Nine dates of each of two makers over nine windows: ground, speckle, and crops on half of it."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(-12, 2, (9, 900))
    found = []
    for k in range(18):
        second = k % 2 == 1
        scene = replace(SCENE, id=str(k), platform="sentinel-1c" if second and not version else "sentinel-1a")
        scene = replace(scene, processor=version if second else "")
        crops = np.where(np.arange(900) < 300, 4 * np.sin(k / 3), 0)
        noise = rng.normal(0, 0.8, ground.shape)
        values = ground + crops + noise + (step if second else 0)
        found.append((scene, {("vv", w): v.astype(np.float32) for w, v in enumerate(values)}))
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [-0.8, 0.4])
def test_a_step_is_found_and_measured(step: float, seed: int) -> None:
    [found] = radarsteps.compare("18", season(step, seed))
    assert found.matters
    assert (found.first, found.second) == ("sentinel-1a", "sentinel-1c")
    assert found.step_db == pytest.approx(step, abs=0.1)
    assert (found.images, found.windows) == ((9, 9), 9)


@pytest.mark.parametrize("seed", range(6))
def test_no_step_is_invented(seed: int) -> None:
    [found] = radarsteps.compare("18", season(0, seed))
    assert not found.matters
    assert abs(found.step_db) < 0.1


def test_versions_of_the_processor_are_told_apart() -> None:
    [found] = radarsteps.compare("18", season(0.6, version="003.80"))
    assert found.second == "sentinel-1a 003.80"
    assert found.matters


def test_where_too_little_is_seen_the_pair_is_named_and_nothing_said_of_it() -> None:
    few = [(s, {k: v for k, v in w.items() if k[1] < 5}) for s, w in season(1)]
    unseen = [(s, {k: np.full_like(v, np.nan) for k, v in w.items()}) for s, w in season(1)]
    for images, windows in ((few, 5), (unseen, 0)):
        [step] = radarsteps.compare("18", images)
        assert (step.first, step.second, step.windows) == ("sentinel-1a", "sentinel-1c", windows)
        assert step.told["step_db"] is step.told["p"] is step.told["matters"] is None
    assert radarsteps.compare("18", [p for p in season(1) if p[0].platform == "sentinel-1a"]) == []
    assert radarsteps.compare("18", []) == []


def test_a_seasons_images_are_compared_orbit_by_orbit(demo: Demo, tmp_path: Path) -> None:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry)
    radar = found.of("sentinel-1-rtc")
    with runner.cluster("threads") as client:
        assert radarsteps.report(found, config.region.geometry, client, tmp_path / "none.json") == []
        other = radar[0]
        with rasterio.open(other.urls["vv"]) as file:
            power, profile = file.read(1), file.profile
        louder = tmp_path / "vv.tif"
        with rasterio.open(louder, "w", **profile) as file:
            file.write(np.where(power > 0, power * np.float32(10**0.1), power), 1)
        twin = replace(
            other, id=other.id + "C", platform="sentinel-1c",
            assets=tuple((b, str(louder) if b == "vv" else u) for b, u in other.assets),
        )  # fmt: skip
        both = replace(found, kept=(other, twin))
        steps = radarsteps.report(both, config.region.geometry, client, tmp_path / "steps.json")
    told = {s.band: s for s in steps}
    assert told["vv"].step_db == pytest.approx(1, abs=0.01)
    assert told["vv"].matters and not told["vh"].matters
    assert told["vh"].step_db == 0
    written = radarsteps.read(tmp_path / "steps.json")
    assert written == json.loads((tmp_path / "steps.json").read_text())
    assert {s["band"]: s["matters"] for s in written} == {"vv": True, "vh": False}
    assert radarsteps.read(tmp_path / "absent.json") == []


def test_a_product_tells_the_steps_of_its_own_orbits(original_demo: Demo) -> None:
    config = Config.read(original_demo.config)
    found = catalog.search(config.sources, config.season(original_demo.season), config.region.geometry)
    own = found.of("sentinel-1-rtc")[0].orbit or ""
    steps = [
        radarsteps.Step(orbit, "vv", "sentinel-1a", "sentinel-1c", (3, 4), 9, 0.41, 0.004)
        for orbit in (own, "175")
    ]
    bundle = SimpleNamespace(target=config.targets[0], digest="d", card={}, spec=config.features)
    [tile, *_] = plan(config, config.season(original_demo.season), found, [bundle], (), steps)  # type: ignore[list-item]
    assert tile.products[0].provenance["radar_steps"] == [steps[0].told]
    plain = plan(config, config.season(original_demo.season), found, [bundle])[0].products[0]  # type: ignore[list-item]
    assert plain.key == tile.products[0].key
    assert "radar_steps" not in plain.provenance


def test_a_reader_of_either_store_sees_steps_and_losses(dsn: str, tmp_path: Path) -> None:
    told = radarsteps.Step("18", "vv", "sentinel-1a", "sentinel-1c", (3, 4), 9, 0.41, 0.004).told
    unsaid = radarsteps.Step("18", "vh", "sentinel-1a", "sentinel-1c", (3, 4), 2, None, None).told
    line = {"tile": "48PXS", "sensor": "sentinel-2-l2a", "scene": "x", "platform": "", "orbit": "18", "date": None,
            "band": "*", "state": "catalogued", "reason": "too cloudy", "blocks": 0, "share": 0.0, "detail": "99 %"}  # fmt: skip
    documents = {"RUN": json.dumps({"radar_steps": [told, unsaid]}), "LEDGER": json.dumps([line])}
    for settings in (
        FolderSettings(kind="folder", path=tmp_path / "folder"),
        PostgisSettings(kind="postgis", path=tmp_path / "store"),
    ):
        store = open_store(settings, "delta", dsn)
        put = store.put(*make(tmp_path, radar_steps=[told, unsaid]))
        released = store.publish(SEASON, [put], documents=documents)
        assert released.records[0].item["properties"]["phusa:radar_steps"] == [told, unsaid]
        page = released.records[0].path.with_suffix(".iso19115-3.xml").read_text()
        assert page.count("sentinel-1c differs from sentinel-1a by +0.41 dB (p = 0.004)") == 1
        if settings.kind == "folder":
            folder = released.records[0].path.parent
            assert {name: (folder / name).read_text() for name in documents} == documents
    with psycopg.connect(dsn) as connection:
        steps = connection.execute(
            "SELECT orbit, band, first, second, windows, step_db, p, matters FROM phusa.radar_step ORDER BY p"
        ).fetchall()
        seen = connection.execute("SELECT scene, reason, detail FROM phusa.ledger").fetchall()
    assert steps == [
        ("18", "vv", "sentinel-1a", "sentinel-1c", 9, 0.41, 0.004, True),
        ("18", "vh", "sentinel-1a", "sentinel-1c", 2, None, None, None),
    ]
    assert seen == [("x", "too cloudy", "99 %")]
