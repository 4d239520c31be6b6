"""Every reason that the ledger knows, planted once: named where it was, and nowhere else."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faults as fault_server
import numpy as np
import pytest
import rasterio
import urllib3
from faults import Faults
from odc.geo.geobox import GeoBox

from pipeline import catalog, ledger, remote
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.demo import world as w
from pipeline.ledger import Entry
from pipeline.load import load
from pipeline.scenes import Dropped, Scene, Scenes
from pipeline.season import Season

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"
BANDS = ("red", "nir", "vv")
BLOCK = "48PXS/0-0"
#: (scene, band, state, reason): a line that the clean twin has not.
Line = tuple[str, str, str, str]


@dataclass
class Plant:
    """What a case may spoil: the records, the files, the server, and what our side allows."""

    scenes: list[Scene]
    folder: Path
    server: Faults
    patch: pytest.MonkeyPatch

    @property
    def optical(self) -> Scene:
        """One that the clean twin uses."""
        return next(s for s in self.scenes if s.sensor == OPTICAL and "48PXS" in s.id)

    @property
    def radar(self) -> Scene:
        return next(s for s in self.scenes if s.sensor == RADAR)

    def swap(self, old: Scene, **changes: Any) -> None:
        self.scenes[self.scenes.index(old)] = replace(old, **changes)

    def file(self, scene: Scene, band: str) -> Path:
        return self.folder / scene.urls[band].removeprefix(f"{self.server.address}/")

    def fill(self, scene: Scene, band: str, value: int) -> None:
        path = self.file(scene, band)
        with rasterio.open(path) as file:
            profile, pixels = file.profile, file.read(1)
        with rasterio.open(path, "w", **(profile | {"driver": "GTiff"})) as file:
            file.write(np.full_like(pixels, value), 1)


def answering(what: str, **ours: Any) -> Callable[[Plant], set[Line]]:
    """The server answers so about one optical and one radar file; ``ours`` are limits of this side."""

    def plant(p: Plant) -> set[Line]:
        for name, value in ours.items():
            p.patch.setattr(remote, name, value)
        for scene, band in ((p.optical, "red"), (p.radar, "vv")):
            p.server.planted[f"{scene.id}/{band}.tif"] = [what, ...]
        return {(p.optical.id, "red", "", ""), (p.radar.id, "vv", "", "")}

    return plant


def claiming(**changes: Any) -> Callable[[Plant], set[Line]]:
    """One optical and one radar record say so."""

    def plant(p: Plant) -> set[Line]:
        lines = {(p.optical.id, "red", "", ""), (p.radar.id, "vv", "", "")}
        for scene in (p.optical, p.radar):
            p.swap(scene, **changes)
        return lines

    return plant


def covered(value: int) -> Callable[[Plant], set[Line]]:
    """The whole scene is of one class."""

    def plant(p: Plant) -> set[Line]:
        p.fill(p.optical, "scl", value)
        return {(p.optical.id, band, "", "") for band in ("red", "nir")}

    return plant


def empty(p: Plant) -> set[Line]:
    p.fill(p.radar, "vv", -32768)
    return covered(0)(p) | {(p.radar.id, "vv", "", "")}


def again(p: Plant) -> set[Line]:
    """The same ground of the same pass once more."""
    twins = [replace(s, id=f"{s.id}_again") for s in (p.optical, p.radar)]
    p.scenes += twins
    return {(twins[0].id, "red", "", ""), (twins[0].id, "nir", "", ""), (twins[1].id, "vv", "", "")}


def elsewhere(p: Plant) -> set[Line]:
    p.scenes.append(replace(p.optical, id="beside", epsg=32649))
    return {("beside", "*", "", "")}


def unsigned(p: Plant) -> set[Line]:
    p.patch.setattr(remote.planetary_computer, "sign_url", lambda url: f"{url}?token=old")
    p.patch.setattr(remote, "_forget_token", lambda url: None)
    lines = claiming(sign=True)(p)
    for scene, band, _, _ in lines:
        p.server.planted[f"{scene}/{band}.tif"] = ["signature", ...]
    return lines


def refused(p: Plant) -> set[Line]:
    scene = p.optical
    p.swap(scene, refused="the offset was taken twice: seen")
    return {(scene.id, band, "", "") for band in ("red", "nir")}


HASTY = {"TIMEOUT": urllib3.Timeout(connect=1, read=1), "ATTEMPTS": 2}
#: Reason -> how it is planted, how far such a read comes.
CASES: dict[str, tuple[Callable[[Plant], set[Line]], str]] = {
    "cloud": (covered(9), "catalogued"),
    "nodata": (empty, "catalogued read"),
    "duplicate": (again, "catalogued read"),
    "other zone": (elsewhere, "catalogued"),
    "missing asset": (answering("status 404"), "catalogued"),
    "checksum": (claiming(files=(("red", 77, ""), ("vv", 77, ""))), "found"),
    "HTTP status": (answering("status 503"), "found"),
    "signature": (unsigned, "found"),
    "timeout": (answering("hang", **HASTY), "found"),
    "connection": (answering("reset"), "found"),
    "truncated": (answering("wrong range", HEAD=600), "found"),
    "redirect": (answering("redirect http://localhost:1/x.tif"), "found"),
    "no ranges": (answering("whole", MAX_WHOLE=300), "found"),
    "unreadable": (answering("garbage"), "found"),
    "wrong grid": (claiming(pixel_m=(("red", 120.0), ("vv", 120.0))), "found"),
    "budget": (answering("status 429 3600"), "found"),
    "radiometric guard": (refused, "found"),
}


@pytest.fixture
def served(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    folder = demo.config.parent
    with fault_server.serve(folder) as server:
        scenes = [
            replace(
                s, orbit="18", assets=tuple((b, u.replace(str(folder), server.address)) for b, u in s.assets)
            )
            for s in found
            if s.sensor in (OPTICAL, RADAR)
        ]
        yield Plant(scenes, folder, server, monkeypatch)


@pytest.fixture(scope="module")
def clean(original_demo: Demo) -> list[Entry]:
    """The ledger of the same images, unspoiled, from files of this machine."""
    config = Config.read(original_demo.config)
    found = catalog.search(config.sources, config.season(original_demo.season), config.region.geometry).kept
    scenes = [replace(s, orbit="18") for s in found if s.sensor in (OPTICAL, RADAR)]
    return load(scenes, window(original_demo), BANDS, 0, BLOCK).ledger


def window(demo: Demo) -> GeoBox:
    side = demo.world.salinity.shape[0]
    return GeoBox((side, side), demo.world.transform, f"EPSG:{w.EPSG}")


def dropped(entries: list[Entry]) -> dict[tuple[str, str], Entry]:
    """(scene, band) -> the line of what was not used; each read has one line."""
    found = {(e.scene, e.band): e for e in entries if e.reason}
    assert len(found) == sum(bool(e.reason) for e in entries)
    return found


@pytest.mark.parametrize("reason", CASES)
def test_a_planted_reason_is_named_where_it_is_and_no_other_is(
    served: Plant, original_demo: Demo, clean: list[Entry], reason: str
) -> None:
    plant, states = CASES[reason]
    planted = {line[:2] for line in plant(served)}
    entries = load(served.scenes, window(original_demo), BANDS, 0, BLOCK).ledger
    before, after = dropped(clean), dropped(entries)
    told = {key for key in after if key not in before or after[key] != before[key]}
    # The first granule gives nothing here, so its neighbour fills more: only its shares may change.
    assert told == planted
    by_id = {s.id: s for s in served.scenes}
    for key in planted:
        line = after[key]
        scene = by_id[line.scene]
        assert (line.reason, line.block, line.orbit, line.date) == (reason, BLOCK, "18", scene.day)
        assert line.platform == scene.platform and line.sensor == scene.sensor
        assert line.detail and line.share == 0
    assert {after[key].state for key in planted} == set(states.split())
    kept = {(e.scene, e.band) for e in clean if e.state == "used"} - planted
    assert kept <= {(e.scene, e.band) for e in entries if e.state == "used"}


def test_nothing_is_invented_where_nothing_is_planted(
    served: Plant, original_demo: Demo, clean: list[Entry]
) -> None:
    """Over the network the same lines; and of the sky only what the classification itself shows."""
    assert load(served.scenes, window(original_demo), BANDS, 0, BLOCK).ledger == clean
    reasons = {e.reason for e in clean}
    assert reasons <= {"", "cloud", "duplicate"}
    for line in (e for e in clean if e.reason == "cloud"):
        scene = next(s for s in served.scenes if s.id == line.scene)
        with rasterio.open(served.file(scene, "scl")) as file:
            assert np.isin(file.read(1), (0, 1, 3, 8, 9, 10)).all()


def test_every_reason_of_the_code_has_its_case_and_its_place_in_the_docs() -> None:
    assert {*CASES, ledger.GAP} == set(ledger.REASONS)
    text = (Path(__file__).parents[2] / "docs" / "imagery.md").read_text(encoding="utf-8")
    assert all(f"`{reason}`" in text for reason in ledger.REASONS)


def test_a_gap_is_named_by_orbit_and_day_and_a_dropped_record_by_its_reason(original_demo: Demo) -> None:
    config = Config.read(original_demo.config)
    found = catalog.search(config.sources, config.season(original_demo.season), config.region.geometry)
    one, start = replace(found.of(OPTICAL)[0], orbit="18"), dt.date(2025, 1, 3)
    days = [start + dt.timedelta(days=10 * k) for k in range(6)]
    season = Season("s", start, days[-1])
    images = [replace(one, id=str(d), datetime=f"{d}T03:20:00+00:00") for d in days]
    assert ledger.unread(Scenes("s", {}, tuple(images), ()), season) == []
    cloudy = Dropped("x", OPTICAL, "too cloudy: 99 % is above 80 %", str(days[1]), one.platform, "18")
    nameless = Dropped("y", OPTICAL, "no usable geometry: there is none")
    rows = ledger.unread(Scenes("s", {}, (images[0], *images[3:]), (cloudy, nameless)), season)
    assert json.loads(json.dumps(rows)) == rows
    keys = ("sensor", "scene", "orbit", "date", "band", "state", "reason")
    assert [tuple(row[k] for k in keys) for row in rows] == [
        (OPTICAL, "x", "18", str(days[1]), "*", "catalogued", "too cloudy"),
        (OPTICAL, "y", "", None, "*", "catalogued", "no usable geometry"),
        (OPTICAL, "", "18", str(days[2]), "*", "absent", ledger.GAP),
    ]
