from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from odc.geo.geobox import GeoBox
from scipy.ndimage import binary_dilation

import features
from features import FeatureSpec, terrain
from pipeline import catalog
from pipeline.buffers import BUFFERS
from pipeline.config import Config
from pipeline.demo import Demo, build
from pipeline.demo import world as w
from pipeline.grid import tiles
from pipeline.load import load
from pipeline.scenes import Scene
from pipeline.stack import Stack

BANDS = ("blue", "red", "nir", "swir16", "vv", "vh", "elevation", "slope")


def scenes(demo: Demo) -> tuple[Scene, ...]:
    config = Config.read(demo.config)
    return catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept


@pytest.fixture(scope="module")
def window(original_demo: Demo) -> GeoBox:
    """The demonstration's whole grid."""
    side = original_demo.world.salinity.shape[0]
    return GeoBox((side, side), original_demo.world.transform, f"EPSG:{w.EPSG}")


@pytest.fixture(scope="module")
def stack(original_demo: Demo, window: GeoBox) -> Stack:
    return load(scenes(original_demo), window, BANDS, 60)


def read(scene: Scene, band: str) -> np.ndarray:
    with rasterio.open(scene.urls[band]) as file:
        return file.read(1)


def test_granules_of_one_pass_are_one_date(stack: Stack) -> None:
    assert {b: a.shape[0] for b, a in stack.arrays.items() if a.ndim == 3} == {
        "blue": 5, "red": 5, "nir": 5, "swir16": 5, "vv": 3, "vh": 3,
    }  # fmt: skip
    assert stack.dates["sentinel-2-l2a"].dtype == "datetime64[D]"
    assert stack.reads == 10 * 5 + 3 * 2 + 1
    assert stack.losses == []


def test_pixels_are_the_files_own_and_clouds_are_grown(original_demo: Demo, stack: Stack) -> None:
    """Against plain rasterio, NumPy and scipy: twenty-metre bands replicate, nothing is interpolated."""
    mine = sorted(
        (s for s in scenes(original_demo) if s.sensor == "sentinel-2-l2a"), key=lambda s: (s.day, s.id)
    )
    side = original_demo.world.salinity.shape[0]
    disk = np.hypot(*np.mgrid[-6:7, -6:7]) <= 6
    for band, step in (("red", 1), ("swir16", 2)):
        expected = np.zeros((5, side, side), np.uint16)
        for k, scene in enumerate(mine):
            first = 0 if "48PXS" in scene.id else int(0.3 * side) // 2 * 2
            pixels = read(scene, band).repeat(step, 0).repeat(step, 1)
            scl = read(scene, "scl").repeat(2, 0).repeat(2, 1)
            cloudy = binary_dilation(np.isin(scl, (3, 8, 9, 10)), structure=disk)
            seen = np.where(cloudy | (scl == 0), 0, pixels)
            part = expected[k // 2, :, first : first + seen.shape[1]]
            part[...] = np.where(part == 0, seen, part)
        # Where a granule ends inside the other one, its neighbour's clouds are not known to it.
        assert np.array_equal(stack.arrays[band], expected)


def test_radar_and_terrain_are_the_files_own(original_demo: Demo, stack: Stack, window: GeoBox) -> None:
    mine = sorted((s for s in scenes(original_demo) if s.sensor == "sentinel-1-rtc"), key=lambda s: s.day)
    for k, scene in enumerate(mine):
        power = read(scene, "vv")
        seen = power != -32768
        assert np.array_equal(stack.arrays["vv"][k], np.where(seen, power, np.nan), equal_nan=True)
        assert seen.all() == (k % 2 == 0)  # descending passes are partial
    height = original_demo.world.elevation
    assert np.array_equal(stack.arrays["elevation"], height)
    inner = terrain.slope(height, 10)
    assert np.array_equal(stack.arrays["slope"][1:-1, 1:-1], inner)


def test_blocks_of_any_size_give_equal_pixels(original_demo: Demo, window: GeoBox, stack: Stack) -> None:
    found = scenes(original_demo)
    for rows, columns in ((slice(0, 53), slice(0, 160)), (slice(53, 160), slice(7, 101))):
        part = load(found, window[rows, columns], BANDS, 60)
        for band in BANDS:
            assert np.array_equal(
                part.arrays[band], stack.arrays[band][..., rows, columns], equal_nan=True
            ), band
        assert np.array_equal(part.clear_dates, stack.clear_dates[rows, columns])


def test_every_convention_shows_one_surface(
    original_demo: Demo, tmp_path: Path, window: GeoBox, stack: Stack
) -> None:
    """Raw numbers of baselines before and after 04.00, and numbers without the offset."""
    other = build(
        tmp_path, seed=7, size=160, sites=5, optical_dates=5, radar_dates=1, convention="planetary-computer"
    )
    found = [s for s in scenes(other) if s.sensor == "sentinel-2-l2a"]
    assert {s.offset for s in found} == {0, -1000}
    raw = load(found, window, BANDS[:4], 60)
    for band in BANDS[:4]:
        assert np.array_equal(raw.arrays[band], stack.arrays[band])


def test_a_seen_value_never_becomes_zero(original_demo: Demo, window: GeoBox) -> None:
    """Dark water under an offset stays at 1: 0 would say that it was not seen."""
    found = [replace(s, offset=-1000) for s in scenes(original_demo) if s.sensor == "sentinel-2-l2a"]
    dark = load(found, window, ["nir"], 0)
    bright = load([replace(s, offset=0) for s in found], window, ["nir"], 0)
    assert np.array_equal(dark.arrays["nir"] > 0, bright.arrays["nir"] > 0)
    assert (dark.arrays["nir"][bright.arrays["nir"] > 0] == 1).any()


def test_a_place_beyond_the_footprint_is_unseen(original_demo: Demo, window: GeoBox) -> None:
    part = load(scenes(original_demo), window.pad(20)[:40, :40], ("red", "vv"), 60)
    assert (part.arrays["red"][:, :20] == 0).all()
    assert np.isnan(part.arrays["vv"][:, :, :20]).all()
    assert (part.clear_dates[:20] == 0).all()
    far = load(scenes(original_demo), window.translate_pix(5000, 0), ("red", "vv"), 60)
    assert far.arrays["red"].shape[0] == 0
    assert far.reads == 0


@pytest.mark.parametrize(
    "fault", ["missing", "corrupt header", "corrupt pixels", "vrt", "float", "other place"]
)
def test_a_bad_file_costs_its_own_reads_only(demo: Demo, window: GeoBox, fault: str) -> None:
    found = scenes(demo)
    victim = next(s for s in found if s.sensor == "sentinel-2-l2a" and "48PXS" in s.id)
    path = Path(victim.urls["red"])
    whole = load(found, window, ("red", "nir"), 0)
    if fault == "missing":
        path.unlink()
    elif fault == "corrupt header":
        path.write_bytes(b"\0" * 500)
    elif fault == "corrupt pixels":
        content = bytearray(path.read_bytes())
        content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
        path.write_bytes(bytes(content))
    elif fault == "vrt":
        path.write_text(
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="UInt16" band="1"/></VRTDataset>'
        )
    else:
        with rasterio.open(path) as file:
            profile, pixels = file.profile, file.read()
        profile |= (
            {"driver": "GTiff", "dtype": "float32"}
            if fault == "float"
            else {"driver": "GTiff", "crs": "EPSG:32649"}
        )
        with rasterio.open(path, "w", **{k: v for k, v in profile.items() if k != "tiled"}) as file:
            file.write(pixels.astype(profile["dtype"]))
    stack = load(found, window, ("red", "nir"), 0, "48PXS/0-0")
    assert [(loss.scene, loss.band, loss.where) for loss in stack.losses] == [(victim.id, "red", "48PXS/0-0")]
    assert stack.losses[0].reason
    assert stack.reads == whole.reads
    assert np.array_equal(stack.arrays["nir"], whole.arrays["nir"])


def test_without_its_scene_classification_a_whole_scene_is_lost(demo: Demo, window: GeoBox) -> None:
    found = scenes(demo)
    victim = next(s for s in found if s.sensor == "sentinel-2-l2a")
    Path(victim.urls["scl"]).unlink()
    stack = load(found, window, ("red", "nir"), 0)
    assert sorted(loss.band for loss in stack.losses) == ["nir", "red", "scl"]
    assert stack.reads == 10 * 3


def test_the_kernels_take_what_is_loaded(stack: Stack) -> None:
    spec = FeatureSpec.parse(["ndvi_p50", "vh_vv_mean", "elevation", "slope", "swir16_count"])
    cube = features.block(stack.arrays, spec, orbits=stack.orbits)
    assert np.array_equal(features.cube(stack.datasets(), spec).values, cube, equal_nan=True)
    assert np.array_equal(~np.isnan(cube[0]), stack.clear_dates > 0)


def test_scenes_of_the_other_utm_zone_are_left_to_their_own_tiles(
    original_demo: Demo, window: GeoBox
) -> None:
    found = [replace(s, epsg=32649) for s in scenes(original_demo) if s.sensor == "sentinel-2-l2a"]
    assert load(found, window, ["red"], 0).arrays["red"].shape[0] == 0


def test_twenty_metre_maps_average_ten_metre_bands(original_demo: Demo, window: GeoBox) -> None:
    config = Config.read(original_demo.config)
    tile = tiles(config.region.geometry, 20)[0]
    assert tile.geobox.resolution.x == 20
    half = window.zoom_out(2)
    stack = load(scenes(original_demo), half, ("red", "swir16"), 0)
    fine = load(scenes(original_demo), window, ("red",), 0).arrays["red"].astype(float)
    blocks = fine.reshape(5, 80, 2, 80, 2)
    seen = (blocks > 0).all(axis=(2, 4)) & (stack.arrays["red"] > 0)
    inner = np.zeros_like(seen)
    inner[:, 2:-2, 2:20] = True  # away from the granules' own edges
    expected = blocks.mean(axis=(2, 4))
    difference = np.abs(stack.arrays["red"] - expected)[seen & inner]
    assert difference.max() <= 1


def test_http_reads_give_the_same_pixels(
    original_demo: Demo, file_server: str, window: GeoBox, stack: Stack
) -> None:
    base = str(original_demo.config.parent)
    remote = [
        replace(s, assets=tuple((b, u.replace(base, file_server)) for b, u in s.assets))
        for s in scenes(original_demo)
    ]
    assert json.dumps(remote[0].assets).count("http://") == len(remote[0].assets)
    over_http = load(remote, window, ("red", "vv"), 60)
    assert over_http.losses == []
    for band in ("red", "vv"):
        assert np.array_equal(over_http.arrays[band], stack.arrays[band], equal_nan=True)


def test_pixels_from_another_reference_system_do_not_depend_on_the_block(
    original_demo: Demo, window: GeoBox, tmp_path: Path
) -> None:
    """GDAL's usual approximation moves pixels by up to an eighth, differently in each window."""
    radar = next(s for s in scenes(original_demo) if s.sensor == "sentinel-1-rtc")
    assets = []
    for band in ("vv", "vh"):
        with rasterio.open(radar.urls[band]) as file:
            box = GeoBox.from_bbox(window.pad(8).extent.to_crs("EPSG:32649").boundingbox, resolution=10)
            out = np.full(box.shape.yx, -32768, np.float32)
            rasterio.warp.reproject(
                rasterio.band(file, 1), out, dst_crs="EPSG:32649", dst_transform=box.affine, dst_nodata=-32768,
                init_dest_nodata=True,
            )  # fmt: skip
        path = tmp_path / f"{band}.tif"
        profile = {
            "driver": "GTiff",
            "height": out.shape[0],
            "width": out.shape[1],
            "count": 1,
            "dtype": "float32",
        }
        with rasterio.open(
            path, "w", **profile, crs="EPSG:32649", transform=box.affine, nodata=-32768
        ) as file:
            file.write(out, 1)
        assets.append((band, str(path)))
    moved = [replace(radar, epsg=32649, assets=tuple(assets))]
    whole = load(moved, window, ("vv", "vh"), 0)
    assert whole.losses == []
    assert np.isfinite(whole.arrays["vv"]).mean() > 0.9
    for size in (33, 64):
        for y in range(0, 160, size):
            for x in range(0, 160, size):
                part = load(moved, window[y : min(160, y + size), x : min(160, x + size)], ("vv", "vh"), 0)
                for band in ("vv", "vh"):
                    expected = whole.arrays[band][:, y : y + size, x : x + size]
                    assert np.array_equal(part.arrays[band], expected, equal_nan=True)


def test_what_memory_held_before_is_never_seen(
    demo: Demo, window: GeoBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dates under cloud, lost bands and pixels beyond a granule: the memory of an earlier block shows through nowhere."""
    found = list(scenes(demo))
    optical = [k for k, s in enumerate(found) if s.sensor == "sentinel-2-l2a"]
    for k, band in ((optical[0], "red"), (optical[3], "blue"), (optical[4], "scl")):
        Path(found[k].urls[band]).unlink()
    places = (window.pad(40), window[:50, :30], window[90:, 100:])
    clean = [load(found, place, BANDS, 60) for place in places]
    monkeypatch.setattr(BUFFERS, "empty", lambda shape, dtype: np.full(shape, 77, dtype))
    for place, expected in zip(places, clean, strict=True):
        stack = load(found, place, BANDS, 60)
        assert {loss.band for loss in stack.losses} >= {"red", "blue"}
        for band in BANDS:
            assert np.array_equal(stack.arrays[band], expected.arrays[band], equal_nan=True), band
    assert any((expected.arrays["red"][t] == 0).all() for expected in clean for t in range(5))
