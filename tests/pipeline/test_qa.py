"""What a reviewer is told: planted seams are found, and none where there is none; drift, change, unknown ground."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import yaml
from mapped import publish, target
from numpy.typing import NDArray
from rasterio.features import geometry_mask
from scipy.ndimage import gaussian_filter
from support import Phusa

from models import drift
from pipeline.grid import Tile, tiles, to_crs, transformer
from pipeline.qa import ground, seams
from pipeline.scenes import Scene

#: Land: broad forms of some dS/m, and the noise of single pixels.
SEEDS = range(6)
PLANTED = 0.6
ASKED = 6.0


def land(seed: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    broad = gaussian_filter(rng.normal(size=shape), 25)
    return 6 + 2 * broad / broad.std() + rng.normal(0, 0.5, shape)


# --- the statistic -----------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_a_planted_step_is_told_and_its_clean_twin_is_not(seed: int) -> None:
    profiles = land(seed, (400, 400))[:, 100:132]
    clean = seams.step(profiles)
    profiles[:, 16:] += PLANTED
    planted = seams.step(profiles)
    assert planted.pairs == 400
    assert planted.score > ASKED > 5 > clean.score
    assert planted.step - clean.step == pytest.approx(PLANTED)


def test_the_statistic_by_hand() -> None:
    rng = np.random.default_rng(1)
    profiles = rng.normal(size=(100, 32))
    found = seams.step(profiles, scale=0)
    steps = np.diff(profiles, axis=1).mean(axis=0)
    beside = np.r_[
        steps[:14], steps[17:]
    ]  # the edge is between columns 15 and 16; its neighbours share a pixel
    assert found.step == pytest.approx(steps[15] - beside.mean())
    assert found.spread == pytest.approx(beside.std(ddof=1))
    # lines through 3 pixels on each side, by least squares
    at, x = 15, np.arange(3)
    left, right = profiles[:, at - x].mean(axis=0), profiles[:, at + 1 + x].mean(axis=0)
    expected = np.polyval(np.polyfit(x, right, 1), -0.5) - np.polyval(np.polyfit(x, left, 1), -0.5)
    wide = seams.step(profiles, reach=3, scale=0)
    others = [
        np.polyval(np.polyfit(x, profiles[:, k + 1 + x].mean(axis=0), 1), -0.5)
        - np.polyval(np.polyfit(x, profiles[:, k - x].mean(axis=0), 1), -0.5)
        for k in range(2, 29)
        if abs(k - at) >= 6
    ]
    assert wide.step == pytest.approx(expected - np.mean(others))
    assert wide.spread == pytest.approx(np.std(others, ddof=1))


def test_gradients_and_gaps_are_no_steps() -> None:
    slope = np.tile(np.arange(32.0) * 5, (200, 1)) + np.random.default_rng(2).normal(size=(200, 32))
    assert seams.step(slope).score < 4
    slope[:150, 15] = np.nan
    assert seams.step(slope).pairs == 0  # 50 pairs are too few
    assert seams.step(np.full((200, 32), np.nan)).score == 0
    assert seams.step(np.zeros((200, 32)), scale=1).score == 0


def test_a_step_in_a_flat_map_is_finite() -> None:
    flat = np.zeros((200, 32))
    flat[:, 16:] = 3
    assert math.isfinite(seams.step(flat, scale=1).score)
    assert seams.step(flat, scale=1).score > 50


# --- in products -------------------------------------------------------------------------------

Plant = Callable[[Tile, NDArray[np.float64]], NDArray[np.float64]]


def made(folder: Path, area: Any, plant: Plant, seed: int = 3, block_px: int = 128) -> list[seams.Map]:
    """Products of land that goes on over tiles and zones, with something planted."""

    def layers(tile: Tile) -> dict[str, NDArray[Any]]:
        rows, columns = tile.geobox.shape
        y, x = np.mgrid[:rows, :columns] + 0.5
        easting, northing = tile.geobox.affine * (x, y)
        lon, lat = transformer(tile.epsg, 4326).transform(easting, northing)
        values = 6 + np.sin(lon * 900) + np.cos(lat * 700)
        values = values + np.random.default_rng(seed).normal(0, 0.5, values.shape)
        values = plant(tile, values)
        same = dict.fromkeys(("estimate", "lower", "upper"), values)
        return same | {"p4": values / 20, "p8": values / 30, "applicability": 0 * x + 1, "reason": 0 * x}

    paths = publish(folder, area, "salinity", layers)
    by_name = {t.name: t for t in tiles(area, 10)}
    maps = []
    for path in paths:
        tile = by_name[path.name.split("_")[0]]
        maps.append(seams.Map(path, tile.name, tile.epsg, tile.anchor, block_px))
    return maps


def worst(maps: list[seams.Map], kind: str) -> float:
    found = [r["worst_score"] for r in seams.look(maps) if r["kind"] == kind]
    assert found, f"no edge of kind {kind} was looked at"
    return max(found)


def nothing(tile: Tile, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values


BLOCKS = shapely.box(105.45, 10.00, 105.49, 10.04)


def test_a_block_that_differs_is_found_at_its_own_edges(tmp_path: Path) -> None:
    clean = made(tmp_path / "clean", BLOCKS, nothing)
    tile = tiles(BLOCKS, 10)[0]
    blocks = [b for b in tile.blocks(128) if b.geobox.shape == (128, 128)]
    block = blocks[0]

    def plant(_: Tile, values: NDArray[np.float64]) -> NDArray[np.float64]:
        top, left = block.offset
        values[top : top + 128, left : left + 128] += PLANTED
        return values

    assert worst(clean, "block") < ASKED
    spoiled = made(tmp_path / "spoiled", BLOCKS, plant)
    rows = [r for r in seams.look(spoiled) if r["kind"] == "block" and r["band"] == "estimate"]
    assert rows[0]["worst_score"] > ASKED
    assert abs(rows[0]["worst_step"]) == pytest.approx(PLANTED, abs=0.25)
    edges = {block.offset[1], block.offset[1] + 128, block.offset[0], block.offset[0] + 128}
    assert int(rows[0]["where"].split()[2].rstrip(",")) in edges
    # cut anywhere else, the same map has no seam to show
    shifted = [seams.Map(m.cog, m.tile, m.epsg, (m.anchor[0] + 330, m.anchor[1] - 330), 128) for m in spoiled]
    assert worst(shifted, "block") < ASKED


ZONES = shapely.box(107.985, 12.00, 108.015, 12.02)  # UTM 48N | 49N


def crossing() -> Any:
    """A small area over the border of two 100 km squares of zone 48N."""
    lon, lat = transformer(32648, 4326).transform(700_000, 1_150_000)
    return shapely.box(lon - 0.012, lat - 0.012, lon + 0.012, lat + 0.012)


@pytest.mark.parametrize(("kind", "area"), [("granule", crossing()), ("zone", ZONES)])
def test_a_tile_that_differs_is_found(kind: str, area: Any, tmp_path: Path) -> None:
    names = sorted(t.name for t in tiles(area, 10))
    assert len(names) == 2

    def plant(tile: Tile, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values + PLANTED * (tile.name == names[0])

    assert worst(made(tmp_path / "clean", area, nothing), kind) < ASKED
    assert worst(made(tmp_path / "spoiled", area, plant), kind) > ASKED


def scene(orbit: str, outline: Any, sensor: str = "sentinel-1-rtc") -> Scene:
    return Scene(f"{sensor}{orbit}", sensor, "c", "2025-01-01T00:00:00Z", outline.wkt, (), 32648, orbit=orbit)


def test_an_orbit_that_differs_is_found_along_its_slanted_edge(tmp_path: Path) -> None:
    west, south, _, north = BLOCKS.bounds
    all_, part = (
        BLOCKS.buffer(0.1),
        shapely.Polygon(
            [
                (west - 1, south - 1),
                (west + 0.015, south - 1),
                (west + 0.028, north + 1),
                (west - 1, north + 1),
            ]
        ),
    )
    scenes = (scene("18", all_), scene("91", part))

    def plant(tile: Tile, values: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = ~geometry_mask([to_crs(part, tile.epsg)], values.shape, tile.geobox.affine)
        return values + PLANTED * inside

    def with_scenes(maps: list[seams.Map]) -> list[seams.Map]:
        return [seams.Map(m.cog, m.tile, m.epsg, m.anchor, 4096, scenes) for m in maps]

    assert worst(with_scenes(made(tmp_path / "clean", BLOCKS, nothing)), "orbit") < ASKED
    spoiled = with_scenes(made(tmp_path / "spoiled", BLOCKS, plant))
    row = next(r for r in seams.look(spoiled) if r["kind"] == "orbit" and r["band"] == "estimate")
    assert row["worst_score"] > ASKED
    # from the set of one orbit to that of both, where the value is higher
    assert row["worst_step"] == pytest.approx(PLANTED, abs=0.2)


# --- drift, change, unknown ground -------------------------------------------------------------


def test_stability_index_by_hand_and_at_its_ends() -> None:
    a, b = np.array([10.0, 20, 30]), np.array([30.0, 20, 10])
    p, q = (a + 0.5) / 61.5, (b + 0.5) / 61.5
    assert drift.stability(a, b) == pytest.approx(sum((q - p) * np.log(q / p)))
    assert drift.stability(a, 7 * a) < 1e-3
    assert math.isnan(drift.stability(a, 0 * a))
    assert math.isfinite(drift.stability([100, 0], [0, 100]))
    with pytest.raises(ValueError, match="expected the same"):
        drift.stability([1, 2], [1, 2, 3])


def test_bins_are_the_deciles_of_the_training_rows() -> None:
    rows = np.random.default_rng(5).normal(size=(1000, 3))
    bounds = drift.edges(rows)
    assert (drift.counts(bounds, rows) == 100).all()
    rows[:7, 1] = np.nan
    assert drift.counts(bounds, rows)[1].sum() == 993
    moved = drift.counts(bounds, rows + np.array([0, 0, 1.5]))
    trained = drift.counts(bounds, np.nan_to_num(rows))
    index = [drift.stability(a, b) for a, b in zip(trained, moved, strict=True)]
    assert index[0] < 0.1 and index[2] > 0.25


def classes(codes: NDArray[np.int64], reason: NDArray[np.int64]) -> Callable[[Tile], dict[str, NDArray[Any]]]:
    def layers(tile: Tile) -> dict[str, NDArray[Any]]:
        shape = tile.geobox.shape.yx
        return {
            "class": np.resize(codes, shape),
            "reason": np.resize(reason, shape),
            "applicability": np.resize(codes != 4, shape).astype(float),
        }

    return layers


def test_change_of_classes_is_a_confusion_matrix_where_both_are_mapped(tmp_path: Path) -> None:
    area = shapely.box(105.45, 10.00, 105.46, 10.01)
    rng = np.random.default_rng(9)
    shape = tiles(area, 10)[0].geobox.shape.yx
    old, new = rng.integers(1, 5, (2, *shape))
    gaps = rng.integers(0, 2, (2, *shape)) * 4
    paths = [
        publish(tmp_path / str(k), area, "degradation", classes(v, g))[0]
        for k, (v, g) in enumerate(((old, gaps[0]), (new, gaps[1])))
    ]
    found = ground.change(target("degradation"), [(paths[0], paths[1])])
    assert found is not None
    both = np.ones(shape, bool)
    for path in paths:
        with rasterio.open(path) as file:
            both &= file.read(file.count) == 0
    expected = [[int(((old == i) & (new == j) & both).sum()) for j in range(1, 5)] for i in range(1, 5)]
    assert found["from_to"] == expected
    assert found["changed_percent"] == pytest.approx(100 * (old != new)[both].mean())
    told = ground.unknown([paths[0]])
    with rasterio.open(paths[0]) as file:
        inside, codes = file.read(file.count) != 1, file.read(file.count)
        beyond = (codes == 0) & (file.read(file.descriptions.index("applicability") + 1) == 0)
    assert told["ground_px"] == inside.sum()
    assert told["unknown_percent"] == pytest.approx(100 * ((codes == 4) | beyond).sum() / inside.sum())


def test_change_of_values_is_told_by_the_old_interval(tmp_path: Path) -> None:
    area = shapely.box(105.45, 10.00, 105.46, 10.01)

    def layers(add: float) -> Callable[[Tile], dict[str, NDArray[Any]]]:
        def of(tile: Tile) -> dict[str, NDArray[Any]]:
            one = np.ones(tile.geobox.shape.yx)
            half = np.arange(one.size).reshape(one.shape) % 2
            return {"estimate": 5 * one + add * half, "lower": 4 * one, "upper": 6 * one, "reason": 0 * one}

        return of

    older, newer = (
        publish(tmp_path / str(k), area, "salinity", layers(a))[0] for k, a in enumerate((0.0, 1.5))
    )
    found = ground.change(target("salinity"), [(older, newer)])
    assert found is not None
    assert found["changed_percent"] == pytest.approx(50, abs=0.5)
    assert found["mean_difference"] == pytest.approx(0.75, abs=0.01)
    assert found["root_mean_square"] == pytest.approx(1.5 / math.sqrt(2), abs=0.01)
    assert ground.change(target("salinity"), []) is None


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def region(quick_region: Path, tmp_path: Path) -> Path:
    """A copy of a mapped region; returns its config."""
    shutil.copytree(quick_region, tmp_path / "region")
    return tmp_path / "region" / "demo.yaml"


def limit(config: Path, **limits: float) -> None:
    content = yaml.safe_load(config.read_text(encoding="utf-8")) | {"quality": limits}
    config.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


def test_without_limits_all_is_told_and_nothing_refused(region: Path, phusa: Phusa, tmp_path: Path) -> None:
    answer = phusa("qa", region, "--season", "2025-dry", "--out", tmp_path / "out", "--json")
    assert answer.code == 0, answer.err
    assert answer.json["passed"] is True
    made = json.loads((tmp_path / "out" / "qa.json").read_text(encoding="utf-8"))
    assert made["limits"] == dict.fromkeys(("seam_score", "drift", "change_percent", "unknown_percent"))
    told = made["targets"][0]
    assert {d["feature"] for d in told["drift"]} <= {"ndvi_p50", "slope"} and told["drift"]
    assert all(sum(d["mapped"]) > 100 and d["index"] >= 0 for d in told["drift"])
    assert told["seams"] and told["change"] is None
    page = (tmp_path / "out" / "qa.html").read_text(encoding="utf-8")
    assert "Kiểm tra chất lượng" in page and "Quality report" in page and "SIMULATED" in page
    assert "http" not in page.replace("https://", "http").split("<body>")[0]


@pytest.mark.parametrize(
    ("limits", "told"),
    [({"seam_score": 0.001}, "edge at"), ({"drift": 0.0001}, "drifted from training"),
     ({"unknown_percent": 0}, "unknown to the model")],
)  # fmt: skip
def test_beyond_a_limit_nothing_is_published(
    limits: dict[str, float], told: str, region: Path, phusa: Phusa, tmp_path: Path
) -> None:
    limit(region, **limits)
    before = (region.parent / "store" / "catalog.json").read_bytes()
    answer = phusa("qa", region, "--season", "2025-dry", "--json")
    assert answer.code == 3, answer.err
    assert any(told in fault for fault in answer.json["faults"])
    answer = phusa("publish", region, "--season", "2025-dry")
    assert answer.code == 3
    assert told in answer.err
    assert (region.parent / "store" / "catalog.json").read_bytes() == before


def test_within_limits_is_published(region: Path, phusa: Phusa) -> None:
    limit(region, seam_score=1000, drift=100, change_percent=100, unknown_percent=100)
    assert phusa("qa", region, "--season", "2025-dry").code == 0
    assert phusa("publish", region, "--season", "2025-dry").code == 0


def test_a_limit_that_cannot_be_is_refused(region: Path, phusa: Phusa) -> None:
    limit(region, unknown_percent=101)
    answer = phusa("qa", region, "--season", "2025-dry")
    assert answer.code == 2
    assert "unknown_percent" in answer.err
