"""Scenes whose records lie of the offset are told from sound ones, strange as those may look."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pipeline import guard
from pipeline.guard import BARE, VEGETATION, WATER, Look

N = 6000
#: Reflectance x 10000 of each ground, as Sentinel-2 sees it.
SPECTRA = {
    VEGETATION: {"blue": 280, "red": 320, "nir": 3600, "swir16": 1700, "swir22": 800},
    BARE: {"blue": 1000, "red": 1800, "nir": 2700, "swir16": 3400, "swir22": 2900},
    WATER: {"blue": 600, "red": 500, "nir": 200, "swir16": 60, "swir22": 40},
}
DESERT = {"blue": 1400, "red": 3000, "nir": 3800, "swir16": 5200, "swir22": 4700}
Change = Callable[[dict[str, np.ndarray], np.ndarray], None]


def ground(parts: dict[int, float]) -> np.ndarray:
    counts = [round(N * share) for share in parts.values()]
    return np.repeat(np.array(list(parts), np.uint8), counts)


LAND = ground({VEGETATION: 0.5, BARE: 0.3, WATER: 0.2})


def look(name: str, scl: np.ndarray = LAND, change: Change | None = None, seed: int | None = None) -> Look:
    """One date: the ground's spectra, each pixel with a face of its own, growth and noise."""
    place = np.random.default_rng(1).normal(1, 0.12, len(scl))
    rng = np.random.default_rng(sum(map(ord, name)) if seed is None else seed)
    bands = {}
    for band in guard.EVIDENCE:
        base = np.array([SPECTRA[int(c)][band] for c in scl]) * place * rng.uniform(0.92, 1.08)
        bands[band] = base + rng.normal(0, 25, len(scl))
    if change:
        change(bands, scl)
    return Look(name, {b: np.clip(v, 1, 65535).astype(np.uint16) for b, v in bands.items()}, scl)


def add(**steps: float) -> Change:
    def change(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
        for band, step in steps.items():
            bands[band] += step

    return change


def each(step: float) -> Change:
    return add(**dict.fromkeys(guard.EVIDENCE, step))


def times(factor: float) -> Change:
    def change(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
        for band in bands:
            bands[band] *= factor

    return change


def burnt(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
    scar = {"blue": 350, "red": 450, "nir": 800, "swir16": 1500, "swir22": 1400}
    for band, value in scar.items():
        bands[band][scl == VEGETATION] = value


def snow(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
    for band, value in {"blue": 8500, "red": 8600, "nir": 8000, "swir16": 900, "swir22": 700}.items():
        bands[band][scl != WATER] = value


def flood(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
    for band in bands:
        bands[band][scl == VEGETATION] = SPECTRA[WATER][band]


def glint(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    shine = rng.uniform(900, 1600, len(scl))
    for band in bands:
        bands[band] += np.where(scl == WATER, shine, 0)


def mist(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
    """A veil that lets most through and is white in every band."""
    for band in bands:
        bands[band] *= 0.88
        bands[band] += 0.12 * 4500


STRANGE = {
    "haze": add(blue=700, red=450, nir=150, swir16=30, swir22=10),
    "thick haze": add(blue=1300, red=950, nir=350, swir16=60, swir22=30),
    "mist": mist, "snow": snow, "glint": glint, "burnt": burnt, "flood": flood,
    "dark": times(0.3), "darker": times(0.12), "shade": times(0.5), "bright": times(1.4),
    "overcorrected": add(blue=-260, red=-150),
}  # fmt: skip


def states(looks: list[Look]) -> dict[str, str]:
    return {name: v.against.split(":")[0] for name, v in guard.judge(looks).items()}


def season(n: int = 7, scl: np.ndarray = LAND, change: Change | None = None) -> list[Look]:
    return [look(f"d{k}", scl, change) for k in range(n)]


def test_a_sound_season_is_believed() -> None:
    assert set(states(season()).values()) == {""}
    assert set(states(season(1)).values()) == {""}


@pytest.mark.parametrize(("step", "told"), [(1000, "not taken off"), (-1000, "taken twice")])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_a_whole_season_that_lies(step: float, told: str, n: int) -> None:
    assert states(season(n, change=each(step))) == {f"d{k}": f"the offset was {told}" for k in range(n)}


@pytest.mark.parametrize(("step", "told"), [(1000, "not taken off"), (-1000, "taken twice")])
@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("liars", [1, 2, 5])
def test_some_of_a_season_that_lie(step: float, told: str, n: int, liars: int) -> None:
    """One of many, half of them, and most of them."""
    looks = [*season(n), *(look(f"liar{k}", change=each(step)) for k in range(liars))]
    found = states(looks)
    assert {name for name, against in found.items() if against} == {f"liar{k}" for k in range(liars)}
    assert set(found.values()) == {"", f"the offset was {told}"}


@pytest.mark.parametrize("name", STRANGE)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_a_strange_scene_is_no_liar(name: str, n: int) -> None:
    """Alone, beside one other, and in a season."""
    assert set(states([*season(n), look("strange", change=STRANGE[name])]).values()) == {""}


@pytest.mark.parametrize("name", sorted(set(STRANGE) - {"snow", "thick haze", "flood", "burnt"}))
@pytest.mark.parametrize(("step", "told"), [(1000, "not taken off"), (-1000, "taken twice")])
def test_a_lie_is_seen_among_strange_scenes(name: str, step: float, told: str) -> None:
    looks = [*season(5), look("strange", change=STRANGE[name]), look("liar", change=each(step))]
    found = states(looks)
    assert found.pop("liar") == f"the offset was {told}"
    assert set(found.values()) == {""}


@pytest.mark.parametrize("name", STRANGE)
def test_a_whole_season_of_strange_scenes_is_no_lie(name: str) -> None:
    assert set(states(season(4, change=STRANGE[name])).values()) == {""}


@pytest.mark.parametrize("change", [None, glint, add(blue=500, red=800, nir=600), times(0.05)])
def test_water_alone_convicts_nobody(change: Change | None) -> None:
    sea = ground({WATER: 1.0})
    assert set(states(season(4, sea, change)).values()) == {""}
    assert set(states([*season(3, sea), look("other", sea, change)]).values()) == {""}
    assert set(states([*season(3, sea), look("lie", sea, each(1000))]).values()) == {""}


def test_a_desert_convicts_only_by_its_steps() -> None:
    """Nothing in it is dark, so a season of it cannot be judged; one scene against the others can."""

    def sand(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
        rng = np.random.default_rng(5)
        for band in bands:
            bands[band] = DESERT[band] * rng.normal(1, 0.1, len(scl))

    bare = ground({BARE: 1.0})
    bright = season(5, bare, sand)
    assert set(states(bright).values()) == {""}
    for step, told in ((1000, "not taken off"), (-1000, "taken twice")):
        moved = {b: (v.astype(int) + step).clip(1).astype(np.uint16) for b, v in bright[0].bands.items()}
        found = states([*bright, Look("liar", moved, bare)])
        assert found.pop("liar") == f"the offset was {told}"
        assert set(found.values()) == {""}


def test_sparse_plants_on_bright_soil_are_no_lie() -> None:
    """Classed as vegetation, but their soil shows."""

    def sparse(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
        for band in bands:
            bands[band] = 0.4 * np.array(SPECTRA[VEGETATION][band]) + 0.6 * DESERT[band] + 0 * bands[band]

    assert set(states(season(4, ground({VEGETATION: 1.0}), sparse)).values()) == {""}


def test_growth_and_harvest_hide_no_lie() -> None:
    def grown(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
        bands["nir"][scl == VEGETATION] += 900
        bands["red"] -= 60

    def grown_lie(bands: dict[str, np.ndarray], scl: np.ndarray) -> None:
        grown(bands, scl)
        each(1000)(bands, scl)

    found = guard.judge([*season(5), look("grown", change=grown), look("liar", change=grown_lie)])
    assert {name for name, v in found.items() if v.against} == {"liar"}
    assert "+0.0" in found["liar"].against or "+0.1" in found["liar"].against  # the steps that were seen


def test_little_or_nothing_seen_says_nothing() -> None:
    few = LAND.copy()
    few[50:] = 0
    none = np.zeros(N, np.uint8)
    lie = look("cloudy lie", change=each(1000))
    assert states([Look("few", lie.bands, few), Look("none", lie.bands, none), *season(3)])["none"] == ""
    assert states([Look("few", lie.bands, few)]) == {"few": ""}
    assert states([Look("empty", {}, none)]) == {"empty": ""}
    part = {b: v for b, v in lie.bands.items() if b in ("nir", "swir16")}
    assert states([Look("infrared only", part, LAND)]) == {"infrared only": ""}


def test_the_order_of_scenes_changes_nothing() -> None:
    looks = [*season(4), look("liar", change=each(1000)), look("hazy", change=STRANGE["haze"])]
    assert guard.judge(looks) == guard.judge(looks[::-1])
