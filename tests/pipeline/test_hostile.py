"""Files and servers that mean harm cost their own read: no hang, no memory, never another error."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import time
from pathlib import Path
from typing import Any

import boto3
import faults as fault_server
import numpy as np
import pytest
import rasterio
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from pipeline import integrity, jp2, raster, reads, remote, tiff, tiles
from pipeline.load import load
from pipeline.raster import open_raster
from pipeline.remote import Access, Fault, RemoteFile
from pipeline.scenes import Scene
from pipeline.sensors import SENSORS
from pipeline.stack import Stack

PLACE = rasterio.Affine(10, 0, 600_000, 0, -10, 1_200_000)
GRID = GeoBox((60, 50), PLACE * rasterio.Affine.translation(40, 70), "EPSG:32648")


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    raster.FACTS.clear()
    raster.TILES.clear()
    remote.HEADS.clear()
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(remote, "TIMEOUT", urllib3.Timeout(connect=1, read=1))


def write(path: Path, **how: Any) -> np.ndarray:
    pixels = np.random.default_rng(0).integers(0, 4000, (256, 256)).astype(np.uint16)
    profile = {"height": 256, "width": 256, "count": 1, "dtype": "uint16", "crs": "EPSG:32648", **how}
    with rasterio.open(path, "w", transform=PLACE, **profile) as file:
        file.write(pixels, 1)
    return pixels


TIFF = {"driver": "GTiff", "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
JP2 = {"driver": "JP2OpenJPEG", "QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 64, "BLOCKYSIZE": 64}


def read(url: str, access: Access | None = None) -> np.ndarray:
    found = open_raster(url, access)
    try:
        return found.read(GRID, "uint16", 0, "nearest")
    finally:
        found.close()


# --- files -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["tif", "jp2"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / f"a.{request.param}"
    write(path, **(TIFF if request.param == "tif" else JP2))
    return path


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_spoiled_file_is_a_fault_or_pixels(sound: Path, data: st.DataObject, tmp_path: Path) -> None:
    content = bytearray(sound.read_bytes())
    head = min(len(content), 600)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.one_of(st.integers(0, head - 4), st.integers(0, len(content) - 4)))
        value = data.draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0xFFFF, 12]))
        size = data.draw(st.sampled_from([1, 2, 4]))
        content[at : at + size] = struct.pack("<I", value)[:size]
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    path = tmp_path / "spoiled"
    path.write_bytes(bytes(content))
    started = time.monotonic()
    cause, shape = "", (60, 50)
    try:
        shape = read(str(path)).shape
    except Fault as fault:
        cause = fault.cause
    assert cause in ("", "unreadable", "truncated", "wrong grid")
    assert shape == (60, 50)
    assert time.monotonic() - started < 30


def ranges(content: bytes) -> Any:
    """As a remote file gives them: beyond its end is a fault."""

    def fetch(start: int, stop: int) -> bytes:
        if stop > len(content):
            raise Fault("truncated", "beyond the end")
        return content[start:stop]

    return fetch


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 299), st.integers(0, 255)), max_size=8), st.integers(0, 300))
def test_a_spoiled_jpeg_2000_header_is_refused_or_a_layout(changes: list[tuple[int, int]], cut: int) -> None:
    size = struct.pack(">HHHIIIIIIII", 0xFF51, 41, 0, 128, 64, 0, 0, 64, 64, 0, 0) + bytes(5)
    tiles = b"".join(struct.pack(">HHHIBBH", 0xFF90, 10, k, 100, 0, 1, 0xFF93) + bytes(86) for k in (0, 1))
    content = bytearray(b"\xff\x4f" + size + tiles + b"\xff\xd9" + bytes(50))
    assert jp2.layout(ranges(bytes(content)), len(content)).parts(0, 1) == [(145, 245)]
    for at, value in changes:
        if at < len(content):
            content[at] = value
    del content[len(content) - min(cut, len(content) - 2) :]
    try:
        found = jp2.layout(ranges(bytes(content)), len(content))
    except (ValueError, Fault):
        return
    assert all(0 <= a < b <= len(content) for parts in found.found.values() for a, b in parts)


def test_too_many_parts_are_refused_and_not_walked_over() -> None:
    size = struct.pack(">HHHIIIIIIII", 0xFF51, 41, 0, 64, 64, 0, 0, 64, 64, 0, 0) + bytes(5)
    part = struct.pack(">HHHIBBH", 0xFF90, 10, 0, 14, 0, 1, 0xFF93)
    content = b"\xff\x4f" + size + part * 5000
    with pytest.raises(ValueError, match=r"more than 4096 parts|has no length"):
        jp2.layout(ranges(content), len(content))


def tagged(*entries: tuple[int, int, int, int], after: int = 0, rest: bytes = b"") -> bytes:
    found = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    found += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", after)
    return found + rest


SIZE = ((256, 4, 1, 64), (257, 4, 1, 64), (322, 3, 1, 64), (323, 3, 1, 64), (324, 4, 1, 8), (325, 4, 1, 8))


def test_directories_that_run_in_a_circle_end() -> None:
    content = tagged(*SIZE, after=8)
    assert tiff.layout(ranges(content)).parts(0, 0) == [(8, 16)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (tagged((256, 4, 1, 64), (257, 4, 1, 64), (324, 4, 1 << 30, 8)), "claims"),
        (tagged(*SIZE[:4], (324, 4, 0x7FFFFFFF, 8), SIZE[5]), "claims"),
        (tagged(*SIZE[:4], (324, 4, 2, 0xFFFFFFF0), SIZE[5]), "beyond the end"),
        (tagged(*SIZE, after=0xFFFFFFF0), "beyond the end"),
        (tagged(*SIZE[:2], (322, 3, 1, 0), *SIZE[3:]), "no size"),
        (tagged((256, 4, 1, 64)), "no size"),
        (struct.pack("<2sHIH", b"II", 42, 8, 60_000) + bytes(8), "60000 entries"),
        (struct.pack("<2sHI", b"II", 42, 0), "beyond the end"),
        (b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60), "entries"),
    ],
)
def test_claims_without_measure_are_refused_before_anything_is_allocated(content: bytes, told: str) -> None:
    with pytest.raises((ValueError, Fault), match=told):
        tiff.layout(ranges(content))


@pytest.mark.parametrize("how", [{"tiled": True, "blockxsize": 16, "blockysize": 16}, {"blockysize": 1}])
def test_an_image_of_two_thousand_million_rows_is_refused(tmp_path: Path, how: dict[str, Any]) -> None:
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=100_000, width=100_000, count=1, dtype="uint8", SPARSE_OK=True,
        crs="EPSG:32648", transform=PLACE, **how,
    ):  # fmt: skip
        pass
    content = bytearray(path.read_bytes())
    for tag in (256, 257):
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content[at + 8 : at + 12] = struct.pack("<I", 0x7FFFFFFF)
    path.write_bytes(bytes(content))
    with pytest.raises(Fault):
        read(str(path))


# --- what a record states of its files ---------------------------------------------------------


def multihash(name: str, content: bytes) -> str:
    code = {"sha256": "12", "md5": "d501", "sha1": "11", "sha3_256": "16"}[name]
    digest = hashlib.new(name, content).hexdigest()
    return f"{code}{len(digest) // 2:02x}{digest}"


@pytest.mark.parametrize("name", ["sha256", "md5", "sha1", "sha3_256"])
def test_multihashes_are_read(name: str) -> None:
    assert integrity.multihash(multihash(name, b"x")) == (name, hashlib.new(name, b"x").hexdigest())


@pytest.mark.parametrize(
    "text", ["", "12", "1220", "zz", "1220ab", hashlib.md5(b"x").hexdigest(), "1e20" + "ab" * 32, "ff" * 40]
)  # fmt: skip
def test_what_is_no_multihash_that_can_be_computed_states_nothing(text: str) -> None:
    assert integrity.multihash(text) is None


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(), st.binary().map(bytes.hex)))
def test_any_text_is_a_multihash_or_none(text: str) -> None:
    found = integrity.multihash(text)
    assert found is None or text.endswith(found[1])


@pytest.mark.parametrize(
    ("asset", "found"),
    [
        ({}, (0, "")),
        ({"file:size": 12, "file:checksum": "D50110AB"}, (12, "d50110ab")),
        ({"file:size": True, "file:checksum": 7}, (0, "")),
        ({"file:size": -3, "file:checksum": "1" * 300}, (0, "")),
        ({"file:size": 1 << 60}, (0, "")),
        ({"file:size": "12"}, (0, "")),
    ],
)
def test_what_an_asset_states_of_its_file(asset: dict[str, Any], found: tuple[int, str]) -> None:
    assert integrity.stated(asset) == found


def one_scene(urls: dict[str, str], **about: Any) -> Scene:
    return Scene(
        "S2A_48PXS", "sentinel-2-l2a", "sentinel-2-l2a", "2025-01-02T03:20:00+00:00",
        "POLYGON((105 9,108 9,108 12,105 12,105 9))", tuple(urls.items()), 32648, granule="48PXS",
        baseline="05.11", **about,
    )  # fmt: skip


@pytest.mark.parametrize("over", ["http", "local"])
def test_a_file_that_is_not_the_stated_one_is_lost(tmp_path: Path, over: str) -> None:
    write(tmp_path / "red.tif", **TIFF)
    with rasterio.open(
        tmp_path / "scl.tif", "w", driver="GTiff", height=256, width=256, count=1, dtype="uint8", transform=PLACE,
        crs="EPSG:32648",
    ) as file:  # fmt: skip
        file.write(np.full((256, 256), 4, np.uint8), 1)
    content = (tmp_path / "red.tif").read_bytes()
    right, wrong = multihash("sha256", content), multihash("sha256", content + b"x")
    with fault_server.serve(tmp_path) as server:
        base = server.address if over == "http" else str(tmp_path)
        urls = {band: f"{base}/{band}.tif" for band in ("red", "scl")}
        for size, checksum, told in (
            (len(content), right, ""),
            (0, wrong, "sha256"),
            (len(content) + 1, right, f"has {len(content)} bytes; its record says {len(content) + 1}"),
            (0, "1e20" + "ab" * 32, ""),
        ):
            stack = load([one_scene(urls, files=(("red", size, checksum),))], GRID, ("red",), 0, "b")
            assert [loss.cause for loss in stack.losses] == (["checksum"] if told else [])
            assert (stack.arrays["red"] > 0).any() == (not told)
            assert told in "".join(loss.reason for loss in stack.losses)
            reasons = [e.reason for e in stack.ledger if e.band == "red"]
            assert reasons == (["checksum"] if told else [""])


def test_only_short_files_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = os.urandom(50_000)
    (tmp_path / "a").write_bytes(content)
    wrong = multihash("md5", b"")
    file = raster.LocalFile(str(tmp_path / "a"))
    with pytest.raises(Fault, match="md5"):
        integrity.check(file, "a", 0, wrong)
    integrity.check(file, "a", len(content), multihash("md5", content))
    monkeypatch.setattr(integrity, "MAX_SUMMED", 49_999)
    integrity.check(file, "a", 0, wrong)
    file.close()


# --- servers -----------------------------------------------------------------------------------


def test_a_file_replaced_while_it_is_read_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(os.urandom(200_000))
    with fault_server.serve(tmp_path) as server:
        server.marks["a"] = '"one"'
        file = RemoteFile(f"{server.address}/a", Access())
        file.fetch(100_000, 100_100)
        server.marks["a"] = '"two"'
        with pytest.raises(Fault, match="412: it was replaced") as fault:
            file.fetch(150_000, 150_100)
        assert fault.value.cause == "checksum"
        file.close()
        server.marks["a"] = 'W/"one"'  # a weak mark cannot be a condition
        file = RemoteFile(f"{server.address}/a", Access())
        server.marks["a"] = 'W/"two"'
        with pytest.raises(Fault, match="replaced while it was read"):
            file.fetch(150_000, 150_100)
        file.close()


def test_a_replaced_file_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that changes between its header and its pixels costs a second look and no loss."""
    pixels = write(tmp_path / "red.tif", **TIFF)
    monkeypatch.setattr(remote, "HEAD", 2000)
    with fault_server.serve(tmp_path) as server:
        server.marks["red.tif"] = ['"one"', '"two"']
        scene = one_scene({"red": f"{server.address}/red.tif"})
        stack = Stack(GRID, {}, {}, np.zeros(GRID.shape.yx, np.int16))
        reader = reads.Reader(stack, "b")
        job = reads.Job(scene, "red", GRID, SENSORS["sentinel-2-l2a"], 0)
        ((_, found),) = reader.read([job])
        assert stack.losses == []
        assert found is not None
        assert np.array_equal(found, pixels[70:130, 40:90])


@pytest.mark.parametrize("how", [TIFF, TIFF | {"compress": "zstd"}, JP2], ids=["deflate", "zstd", "jp2"])
@pytest.mark.parametrize("mark", ['"one"', 'W/"one"', ""], ids=["strong", "weak", "none"])
def test_blocks_that_come_back_to_a_file_ask_for_their_tiles_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any], mark: str
) -> None:
    """Of a file whose version has a mark neither size nor headers are asked for twice."""
    monkeypatch.setattr(remote, "HEAD", 2000)
    monkeypatch.setattr(remote, "GAP", 0)
    name = "a.jp2" if how == JP2 else "a.tif"
    pixels = write(tmp_path / name, **how)
    asked = []
    with fault_server.serve(tmp_path) as server:
        server.marks[name] = mark
        for row, column in ((0, 0), (0, 64), (64, 0), (128, 192)):
            before = server.asked[f"/{name}"]
            place = GeoBox((64, 64), PLACE * rasterio.Affine.translation(column, row), "EPSG:32648")
            found = open_raster(f"{server.address}/{name}")
            assert np.array_equal(
                found.read(place, "uint16", 0, "nearest"), pixels[row : row + 64, column : column + 64]
            )
            found.close()
            asked.append(server.asked[f"/{name}"] - before)
    assert all(n == 1 for n in asked[1:]) == bool(mark)
    assert asked[0] > 1


@pytest.mark.parametrize("mark", ['"one"', 'W/"one"'])
def test_a_file_replaced_between_blocks_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    """Its head is known from the block before, and is not believed once a range comes with another mark."""
    monkeypatch.setattr(remote, "HEAD", 2000)
    monkeypatch.setattr(raster, "TILES", tiles.Shelf(0, lambda pixels: 1))
    write(tmp_path / "red.tif", **TIFF)
    with fault_server.serve(tmp_path) as server:
        server.marks["red.tif"] = mark
        scene = one_scene({"red": f"{server.address}/red.tif"})
        job = reads.Job(scene, "red", GRID, SENSORS["sentinel-2-l2a"], 0)
        stack = Stack(GRID, {}, {}, np.zeros(GRID.shape.yx, np.int16))
        list(reads.Reader(stack, "b").read([job]))
        again = np.arange(256 * 256, dtype=np.uint16).reshape(256, 256)  # other tiles at other places
        with rasterio.open(tmp_path / "red.tif", "w", **TIFF, height=256, width=256, count=1, dtype="uint16",
                           crs="EPSG:32648", transform=PLACE) as file:  # fmt: skip
            file.write(again, 1)
        server.marks["red.tif"] = mark.replace("one", "two")
        for _ in range(2):
            [(_, found)] = reads.Reader(stack, "b").read([job])
            assert found is not None and np.array_equal(found, again[70:130, 40:90])
            [(_, found)] = reads.windows(scene, "red", [GRID], SENSORS["sentinel-2-l2a"])
            assert np.array_equal(found, again[70:130, 40:90])
            server.marks["red.tif"] = mark.replace("one", "three")
        assert stack.losses == []


def test_a_head_is_believed_for_some_minutes_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a", **TIFF)
    with fault_server.serve(tmp_path) as server:
        server.marks["a"] = '"one"'
        open_raster(f"{server.address}/a").close()
        first = server.asked["/a"]
        open_raster(f"{server.address}/a").close()
        assert server.asked["/a"] == first
        monkeypatch.setattr(remote, "HEAD_S", 0)
        open_raster(f"{server.address}/a").close()
        assert server.asked["/a"] == first + 1


def test_a_longer_file_that_came_whole_is_held_to_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(integrity, "MAX_SUMMED", 0)
    monkeypatch.setattr(remote, "GAP", 1 << 20)
    write(tmp_path / "red.tif", **TIFF)
    content = (tmp_path / "red.tif").read_bytes()
    whole = GeoBox((256, 256), PLACE, "EPSG:32648")
    with fault_server.serve(tmp_path) as server:
        for checksum, place, told in (
            (multihash("md5", content), whole, []),
            (multihash("md5", b"x"), whole, ["checksum"]),
            (multihash("md5", b"x"), GRID[:5, :5], []),  # most of it never came
        ):
            scene = one_scene({"red": f"{server.address}/red.tif"}, files=(("red", 0, checksum),))
            stack = Stack(place, {}, {}, np.zeros(place.shape.yx, np.int16))
            list(
                reads.Reader(stack, "b").read([reads.Job(scene, "red", place, SENSORS["sentinel-2-l2a"], 0)])
            )
            assert [loss.cause for loss in stack.losses] == told


def test_an_answer_that_drips_is_a_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(4000))
    monkeypatch.setattr(remote, "TIMEOUT", urllib3.Timeout(connect=1, read=0.3))
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    with fault_server.serve(tmp_path) as server:
        server.planted["a"] = ["drip", ...]
        with pytest.raises(Fault, match="less than 10000 a second") as fault:
            remote.get(f"{server.address}/a", 0, 4000, Access())
        assert fault.value.cause == "timeout"


def test_a_compressed_answer_is_not_blown_up(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(bytes(1 << 24)))
    with fault_server.serve(tmp_path) as server:
        server.encodings["a"] = "gzip"
        body = remote.get(f"{server.address}/a", 0, 1000, Access()).body
        assert body == (tmp_path / "a").read_bytes()[:1000]


# --- a real S3 ---------------------------------------------------------------------------------


def test_jpeg_2000_is_read_from_s3_with_keys_and_four_connections(
    bucket: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = boto3.client("s3", endpoint_url=bucket["endpoint"], region_name="us-east-1")
    pixels = write(tmp_path / "a.jp2", **JP2)
    key = "Sentinel-2/MSI/L2A/S2A MSI/B04_10m.jp2"
    client.put_object(Bucket="eodata", Key=key, Body=(tmp_path / "a.jp2").read_bytes())
    monkeypatch.setenv("AWS_S3_ENDPOINT", bucket["endpoint"].removeprefix("http://"))
    monkeypatch.setenv("AWS_HTTPS", "NO")
    access = Access(s3_endpoint="eodata.dataspace.copernicus.eu", connections=4)
    url = f"s3://eodata/{key}"
    assert np.array_equal(read(url, access), pixels[70:130, 40:90])
    found = RemoteFile(url, access)
    assert found.mark.startswith('"')  # so a replaced product is noticed
    found.close()
    with pytest.raises(Fault, match="HTTP status 404") as fault:
        read("s3://eodata/none.jp2", access)
    assert fault.value.cause == "missing asset"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(Fault, match="HTTP status 403"):
        read(url, access)
