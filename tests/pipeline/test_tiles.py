"""Tiles decoded here are GDAL's pixels, and what blocks share does not change them."""

from __future__ import annotations

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from features import bits
from pipeline import pixels, raster, tiles
from pipeline.raster import open_raster
from pipeline.remote import Fault
from pipeline.tiff import Coding
from pipeline.tiles import Shelf, decoded, decodes

PLACE = Affine(10, 0, 600_000, 0, -10, 1_200_000)
SHAPE = (211, 173)


@pytest.fixture(autouse=True)
def empty_shelves() -> None:
    raster.FACTS.clear()
    raster.TILES.clear()


def write(path: Path, dtype: str, **how: Any) -> np.ndarray:
    rng = np.random.default_rng(7)
    kind = np.dtype(dtype)
    values = rng.normal(0, 40, SHAPE) if kind.kind == "f" else rng.integers(0, 120, SHAPE)
    content = values.astype(kind)
    content[40:80, 30:60] = 0
    profile = {"driver": "GTiff", "height": SHAPE[0], "width": SHAPE[1], "count": 1, "dtype": dtype, **how}
    with rasterio.open(path, "w", crs="EPSG:32648", transform=PLACE, **profile) as file:
        file.write(content, 1)
    return content


TILED = {"tiled": True, "blockxsize": 64, "blockysize": 48}
KINDS = [
    (dtype, {"compress": compress, "predictor": predictor, "endianness": order, **form})
    for dtype, predictors in (("uint8", (1, 2)), ("uint16", (1, 2)), ("int16", (1, 2)), ("float32", (1, 3)))
    for predictor in predictors
    for compress in ("deflate", "none", "lzw")
    for order in ("little", "big")
    for form in (TILED, {"blockysize": 32}, {"blockysize": 7})
    if compress != "none" or predictor == 1
]


@pytest.mark.parametrize(("dtype", "how"), KINDS, ids=str)
def test_pixels_are_gdals(tmp_path: Path, dtype: str, how: dict[str, Any]) -> None:
    content = write(tmp_path / "a.tif", dtype, **how)
    found = open_raster(str(tmp_path / "a.tif"))
    assert (found.facts.coding is not None) == (how["compress"] != "lzw")
    for window in ((0, 0, 173, 211), (5, 9, 6, 10), (60, 40, 140, 111), (100, 200, 173, 211)):
        left, top, right, bottom = window
        for shared in (False, True):
            assert np.array_equal(found.window(*window, shared), content[top:bottom, left:right])
    found.close()


def test_what_is_not_known_is_left_to_gdal(tmp_path: Path) -> None:
    """Two bands in one tile, and tiles that were left out."""
    path = tmp_path / "a.tif"
    content = np.random.default_rng(0).integers(0, 99, (2, 128, 128)).astype(np.uint16)
    profile = {"driver": "GTiff", "height": 128, "width": 128, "dtype": "uint16", "compress": "deflate"}
    with rasterio.open(path, "w", count=2, tiled=True, blockxsize=64, blockysize=64, **profile) as file:
        file.write(content)
    found = open_raster(str(path))
    assert found.facts.coding is None
    assert np.array_equal(found.window(10, 20, 90, 80, False), content[0, 20:80, 10:90])
    found.close()
    profile |= {"count": 1, "nodata": 7, "SPARSE_OK": True, "tiled": True, "blockxsize": 64, "blockysize": 64}
    with rasterio.open(path, "w", **profile) as file:
        file.write(content[0, :64, :64], 1, window=rasterio.windows.Window(0, 0, 64, 64))
    found = open_raster(str(path))
    expected = np.full((128, 128), 7)
    expected[:64, :64] = content[0, :64, :64]
    assert found.facts.coding is not None
    assert np.array_equal(found.window(0, 0, 128, 128, False), expected)
    found.close()


@pytest.mark.parametrize("library", ["libdeflate", "zlib"])
def test_a_bomb_and_a_stump_are_refused(monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    if library == "zlib":
        monkeypatch.setattr(tiles, "deflate", None)
    elif tiles.deflate is None:
        pytest.skip("libdeflate is not installed")
    coding, shape = Coding("<u2", 8, 1), (16, 16)
    sound = np.arange(256, dtype="<u2").reshape(shape)
    assert np.array_equal(decoded(zlib.compress(sound.tobytes()), coding, shape), sound)
    bomb = zlib.compress(bytes(100 << 20))
    for spoiled in (
        bomb, zlib.compress(bytes(510)), zlib.compress(bytes(514)), b"", b"\0" * 20,
        zlib.compress(sound.tobytes())[:-1], zlib.compress(sound.tobytes())[:-1] + b"x",
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"DEFLATE data are|bytes holds"):
            decoded(spoiled, coding, shape)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([1, 8]), st.sampled_from([1, 2, 3]))
def test_any_bytes_are_a_tile_or_a_value_error(content: bytes, compression: int, predictor: int) -> None:
    coding = Coding("<f4" if predictor == 3 else "<u2", compression, predictor)
    assert decodes(coding) == (compression == 8 or predictor == 1)
    if not decodes(coding):
        return
    try:
        assert decoded(content, coding, (4, 5)).shape == (4, 5)
    except ValueError:
        assert compression == 8 or len(content) != 4 * 5 * np.dtype(coding.dtype).itemsize


def test_a_tile_that_claims_too_much_is_not_fetched(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", "uint16", compress="deflate", **TILED)
    found = open_raster(str(tmp_path / "a.tif"))
    layout = found.facts.layout
    assert layout is not None
    found.facts = replace(found.facts, layout=replace(layout, counts=np.full(15, 1 << 32, np.uint64)))
    with pytest.raises(Fault, match="claims more than"):
        found.window(0, 0, 64, 48, False)
    found.close()


def test_neighbouring_windows_decode_a_tile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write(
        tmp_path / "a.tif", "uint16", compress="deflate", tiled=True, blockxsize=128, blockysize=128
    )
    done: list[int] = []
    monkeypatch.setattr(raster, "decoded", lambda *a: done.append(1) or decoded(*a))
    grid = GeoBox(SHAPE, PLACE, "EPSG:32648")
    for y in range(0, 211, 64):
        for x in range(0, 173, 64):
            found = open_raster(str(tmp_path / "a.tif"))
            part = grid[y : min(211, y + 64), x : min(173, x + 64)]
            assert np.array_equal(found.read(part, "uint16", 0, "nearest"), content[y : y + 64, x : x + 64])
            found.close()
    assert len(done) == 4


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for fill in (3, 4):
        with rasterio.open(
            path, "w", driver="GTiff", height=256, width=256, count=1, dtype="uint16", compress="deflate",
            crs="EPSG:32648", transform=PLACE,
        ) as file:  # fmt: skip
            file.write(np.full((256, 256), fill, np.uint16), 1)
        found = open_raster(str(path))
        assert (found.window(3, 3, 9, 9, True) == fill).all()
        found.close()


def test_a_shelf_holds_no_more_than_it_may_and_makes_each_value_once() -> None:
    shelf: Shelf[bytes] = Shelf(100, len)
    made: list[int] = []

    def make(k: int) -> bytes:
        made.append(k)
        threading.Event().wait(0.01)
        return bytes([k]) * 10

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda k: shelf.get(k % 8, lambda: make(k % 8)), range(64)))
    assert [value[0] for value in found] == [k % 8 for k in range(64)]
    assert sorted(made) == list(range(8))
    for k in range(8, 60):
        shelf.get(k, lambda k=k: bytes([k]) * 10)  # type: ignore[misc]
        assert shelf.held <= 100
    assert shelf.get(99, lambda: bytes(101)) == bytes(101)
    assert 99 not in shelf
    with pytest.raises(KeyError):
        shelf.get(100, lambda: {}[1])
    assert shelf.get(100, lambda: b"x") == b"x"


@settings(max_examples=200, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(0, 4),
    st.sampled_from([0, -1000]),
    st.booleans(),
    st.integers(0, 99),
)
def test_filling_is_what_numpy_says(up: int, y: int, x: int, offset: int, fresh: bool, seed: int) -> None:
    y, x = y % up, x % up
    rng = np.random.default_rng(seed)
    source = (rng.integers(0, 3000, (4, 5)) * (rng.random((4, 5)) < 0.7)).astype(np.uint16)
    wide = source.repeat(up, 0).repeat(up, 1)[y:, x:].astype(int)
    top, left = (int(n) for n in rng.integers(0, 70, 2))
    around = (top, 2), (left, 9)
    need = rng.random(wide.shape) < 0.6
    before = np.zeros(wide.shape, int) if fresh else rng.integers(0, 2, wide.shape) * 77
    value = np.where(wide == 0, 0, np.maximum(wide + offset, 1)) * need
    plane = np.pad(before, around, constant_values=5).astype(np.uint16)
    octets = bits.pack(np.pad(need, around, constant_values=True)).view(np.uint8)
    part = (top, top + len(wide)), (left, left + wide.shape[1])
    seen = pixels.fill(plane, *part, fresh, source, up, y, x, offset, octets)
    expected = np.pad(np.where(before == 0, value, before), around, constant_values=5)
    assert np.array_equal(plane, expected)
    assert seen == np.count_nonzero(value)
    out = np.empty(wide.shape, np.uint16)
    pixels.replicate(source, up, y, x, out)
    assert np.array_equal(out, wide)
