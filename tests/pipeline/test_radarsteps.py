"""Steps between satellites of one orbit are found where they are, and not where they are not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio

from pipeline import catalog, radarsteps, runner
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.scenes import Scene

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


def test_too_little_says_nothing() -> None:
    few = [(s, {k: v for k, v in w.items() if k[1] < 5}) for s, w in season(1)]
    assert radarsteps.compare("18", few) == []
    unseen = [(s, {k: np.full_like(v, np.nan) for k, v in w.items()}) for s, w in season(1)]
    assert radarsteps.compare("18", unseen) == []
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
