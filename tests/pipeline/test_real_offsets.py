"""The guard on real pixels, one scene alone: kept as it is; what shows a wrong offset is refused, what shows nothing is said."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from distributed import Client
from odc.geo.geobox import GeoBox
from support import SHARED

from pipeline import catalog, guard, looks, providers, runner
from pipeline.guard import Look
from pipeline.load import load
from pipeline.providers import StaticProvider
from pipeline.scenes import Scene, Scenes
from pipeline.season import Season

ARID = SHARED / "s2_l2a_cog_29RKH_arid"
needs_arid = pytest.mark.skipif(not ARID.exists(), reason="needs the shared arid scene")
needs_flanders = pytest.mark.skipif(not (SHARED / "flanders").exists(), reason="needs the shared patches")


def moved(look: Look, step: int, name: str = "") -> Look:
    """Every seen number ``step`` higher, as far as it goes."""
    bands = {
        n: np.where(v > 0, np.clip(v.astype(int) + step, 1, 65535), 0).astype(np.uint16)
        for n, v in look.bands.items()
    }
    return Look(name or look.scene, bands, look.scl)


# --- bright ground: nothing on it is dark --------------------------------------------------------


@pytest.fixture(scope="module")
def arid() -> Look:
    """The whole scene (baseline 02.14: no offset), decimated as it is shared, on the pixels of its classes."""
    with rasterio.open(ARID / "SCL.tif") as file:
        scl = file.read(1)
    bands = {}
    for name, file_name in zip(guard.EVIDENCE, ("B02", "B04", "B08", "B11", "B12"), strict=True):
        with rasterio.open(ARID / f"{file_name}.tif") as file:
            step = file.height // scl.shape[0]
            bands[name] = file.read(1)[::step, ::step].ravel()
    return Look("arid", bands, np.where(np.isin(scl, guard.GROUND), scl, 0).ravel())


@needs_arid
@pytest.mark.parametrize("step", [0, 1000, -1000])
def test_one_bright_scene_alone_cannot_be_judged_and_it_is_said(arid: Look, step: int) -> None:
    """Sand with the offset in its numbers is salt, and without it twice is red sand: neither is impossible."""
    [verdict] = guard.judge([moved(arid, step)]).values()
    assert verdict.state == "unknown"
    assert not verdict.against
    assert "100 % bare soil" in verdict.seen and "0 % vegetation" in verdict.seen
    assert "the darkest 2 % have reflectance" in verdict.seen


@needs_arid
@pytest.mark.parametrize(("step", "told"), [(1000, "not taken off"), (-1000, "taken twice")])
def test_a_bright_scene_is_judged_beside_others(arid: Look, step: int, told: str) -> None:
    """Other dates: its own pixels under other light and noise."""
    rng = np.random.default_rng(3)

    def date(k: int) -> Look:
        light = 1 + 0.03 * np.sin(k)
        bands = {n: (v * light + rng.normal(0, 40, v.shape)).clip(1) for n, v in arid.bands.items()}
        return Look(f"d{k}", {n: v.astype(np.uint16) for n, v in bands.items()}, arid.scl)

    season = [date(k) for k in range(4)]
    assert {v.against for v in guard.judge([*season, arid]).values()} == {""}
    found = guard.judge([*season, moved(arid, step, "liar")])
    assert found.pop("liar").against.startswith(
        f"the offset was {told}: against the other images the step is"
    )
    assert {v.against for v in found.values()} == {""}


@needs_arid
def test_files_that_are_coarser_than_their_record_says_are_a_wrong_grid() -> None:
    """A real record that claims 10 m, beside files of 100 to 200 m."""
    record = json.loads((ARID / "S2A_29RKH_20200219_0_L2A.json").read_text())
    record["properties"]["sentinel:processing_baseline"] = "02.14"
    for asset in record["assets"].values():
        asset["href"] = str(ARID / asset["href"].rpartition("/")[2])
    provider = StaticProvider(kind="static", catalog=str(ARID / "catalog.json"), convention="earth-search")
    scene = providers.scene(record, "sentinel-2-l2a", provider, providers.locator(provider))
    assert scene.offset == 0
    with rasterio.open(scene.urls["scl"]) as file:
        place = GeoBox((64, 64), file.transform * rasterio.Affine.scale(0.05), file.crs)
    stack = load([scene], place, ("red", "nir"), 0, "b")
    lost = {(loss.band, loss.cause) for loss in stack.losses}
    assert lost == {(band, "wrong grid") for band in ("scl", "red", "nir")}
    assert any("its record says" in loss.reason or "its pixels are" in loss.reason for loss in stack.losses)


# --- fields and towns ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flanders() -> list[Look]:
    """Every other real date of both patches, as the guard looks at it."""
    found = flemish()
    seen = []
    for patch in "ab":
        mine = tuple(s for s in found.kept if s.id.endswith(f"_{patch}"))
        place = shapely.union_all([s.geometry for s in mine])
        seen += [looks.look(task).look for task in looks._tasks(replace(found, kept=mine), place, 60)[::2]]
    return seen


def flemish() -> Scenes:
    provider = StaticProvider(
        kind="static", catalog=str(SHARED / "flanders/catalog.json"), convention="earth-search"
    )
    source: Any = SimpleNamespace(
        sensor="sentinel-2-l2a", provider=provider, fallback=None, max_cloud_percent=100.0
    )
    season = Season("all", dt.date(2015, 1, 1), dt.date(2020, 1, 1))
    return catalog.search([source], season, shapely.box(-180, -80, 180, 80))


def alone(look: Look, step: int = 0) -> str:
    return guard.judge([moved(look, step)])[look.scene].state


@needs_flanders
def test_every_true_scene_alone_is_kept(flanders: list[Look]) -> None:
    states = Counter(alone(look) for look in flanders)
    assert set(states) <= {"sound", "unknown"}
    assert states["sound"] > 30
    for look in flanders:
        [verdict] = guard.judge([look]).values()
        assert verdict.seen or verdict.state == "sound"


@needs_flanders
def test_one_scene_alone_whose_offset_is_wrong_is_refused_where_it_shows(flanders: list[Look]) -> None:
    """Where it is sound it shows land; taken twice shows on all of them, not taken off where crops are dense."""
    sound = [look for look in flanders if alone(look) == "sound"]
    assert {alone(look, -1000) for look in sound} == {"taken twice"}
    high = Counter(alone(look, 1000) for look in sound)
    assert set(high) == {"not taken off", "unknown"}
    assert high["not taken off"] > 0.6 * len(sound)
    for look in sound:
        [verdict] = guard.judge([moved(look, 1000)]).values()
        assert ("darkest vegetation" if verdict.against else "nothing on it tells") in verdict.seen


@needs_flanders
def test_what_could_not_be_judged_stands_in_scenes_and_ledger(client: Client) -> None:
    """A cloudy date alone: nothing clear to be asked."""
    found = flemish()
    for scene in (s for s in found.kept if s.id.endswith("_a")):
        part = looks.refuse(replace(found, kept=(scene,)), scene.geometry, 60, client)
        [judged] = part.kept
        assert not judged.refused
        lines = ledger_of(judged)
        if judged.unjudged and lines[0].share:
            assert part.guarded == {"sound": 0, "refused": 0, "not judged": 1}
            assert lines[0].detail == f"its offset could not be judged: {judged.unjudged}"
            return
    pytest.fail("every date shows enough")


def ledger_of(scene: Scene) -> list[Any]:
    with rasterio.open(Path(scene.urls["red"])) as file:
        grid = GeoBox(file.shape, file.transform, file.crs)
    return [e for e in load([scene], grid, ("red",), 60, "b").ledger if e.band == "scl"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with runner.cluster("threads") as client:
        yield client
