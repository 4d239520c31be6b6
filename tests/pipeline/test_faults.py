"""Faults planted in a real HTTP server: each is named where it costs pixels, and none is invented."""

from __future__ import annotations

import datetime as dt
import email.utils
import struct
import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import faults as fault_server
import numpy as np
import pytest
import rasterio
import urllib3
from faults import Faults
from hypothesis import example, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from pipeline import catalog, reads, remote, tiff
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.demo import world as w
from pipeline.load import load
from pipeline.raster import Raster, open_raster
from pipeline.reads import Job, Reader
from pipeline.remote import Access, Fault, RemoteFile, s3_address, s3_headers
from pipeline.scenes import Scene
from pipeline.sensors import SENSORS
from pipeline.stack import Stack


@pytest.fixture
def server(original_demo: Demo) -> Iterator[Faults]:
    with fault_server.serve(original_demo.config.parent) as faults:
        yield faults


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "WAIT_S", 0.01)
    monkeypatch.setattr(remote, "TIMEOUT", urllib3.Timeout(connect=1, read=1))


@pytest.fixture(scope="module")
def window(original_demo: Demo) -> GeoBox:
    side = original_demo.world.salinity.shape[0]
    return GeoBox((side, side), original_demo.world.transform, f"EPSG:{w.EPSG}")


def scenes(demo: Demo, address: str, sign: bool = False) -> list[Scene]:
    config = Config.read(demo.config)
    found = catalog.search(config.sources, config.season(demo.season), config.region.geometry).kept
    base = str(demo.config.parent)
    return [
        replace(s, sign=sign, assets=tuple((b, u.replace(base, address)) for b, u in s.assets))
        for s in found
        if s.sensor == "sentinel-2-l2a"
    ]


@pytest.fixture(scope="module")
def clean(original_demo: Demo, window: GeoBox) -> Stack:
    base = str(original_demo.config.parent)
    return load(scenes(original_demo, base), window, ("red", "nir"), 0, "b")


def victim(found: list[Scene]) -> Scene:
    return next(s for s in found if "48PXS" in s.id)


def equal(one: Stack, other: Stack) -> bool:
    return all(np.array_equal(one.arrays[b], other.arrays[b]) for b in one.arrays)


@pytest.mark.parametrize(
    "todo",
    [
        ["status 503"], ["status 500", "status 502"], ["status 429 0"], ["reset"], ["reset", "reset"], ["truncate"],
        ["wrong range"], ["hang"], ["redirect "], ["whole", ...], ["garbage"],
    ],
    ids=str,
)  # fmt: skip
def test_faults_that_pass_cost_nothing(
    server: Faults, original_demo: Demo, window: GeoBox, clean: Stack, todo: list[Any]
) -> None:
    found = scenes(original_demo, server.address)
    server.planted[f"{victim(found).id}/red.tif"] = todo
    stack = load(found, window, ("red", "nir"), 0, "b")
    assert stack.losses == []
    assert equal(stack, clean)
    assert stack.ledger == clean.ledger


@pytest.mark.parametrize(
    ("what", "cause", "told"),
    [
        ("status 404", "missing asset", "HTTP status 404"),
        ("status 403", "HTTP status", "HTTP status 403"),
        ("status 503", "HTTP status", r"HTTP status 503 \(5 times\)"),
        ("status 429 3600", "budget", "HTTP status 429; it would have to wait 3600 s"),
        ("reset", "connection", r"\(5 times\)"),
        ("truncate", "connection", r"\(5 times\)"),
        ("wrong range", "truncated", r"were asked for|unreadable"),
        ("garbage", "unreadable", "neither GeoTIFF nor JPEG 2000"),
        ("redirect http://localhost:1/x.tif", "redirect", "not the provider's"),
        ("redirect ", "redirect", "more than 3 redirects"),
    ],
)
def test_faults_that_stay_are_named_and_cost_their_own_read_only(
    server: Faults, original_demo: Demo, window: GeoBox, clean: Stack, what: str, cause: str, told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(remote, "HEAD", 600)  # so that pixels are fetched by a range of their own
    found = scenes(original_demo, server.address)
    hurt = victim(found)
    server.planted[f"{hurt.id}/red.tif"] = [what, ...]
    stack = load(found, window, ("red", "nir"), 0, "b")
    assert [(loss.scene, loss.band, loss.where, loss.cause) for loss in stack.losses] == [
        (hurt.id, "red", "b", cause)
    ]
    with pytest.raises(AssertionError, match=told):
        raise AssertionError(stack.losses[0].reason)
    dropped = [
        (e.scene, e.band, e.reason) for e in stack.ledger if e.reason not in ("", "cloud", "duplicate")
    ]
    assert dropped == [(hurt.id, "red", cause)]
    assert np.array_equal(stack.arrays["nir"], clean.arrays["nir"])
    assert stack.reads == clean.reads


def test_what_failed_once_is_read_when_the_fault_is_over(
    server: Faults, original_demo: Demo, window: GeoBox, clean: Stack
) -> None:
    """GDAL would remember the failed open for the life of the process."""
    found = scenes(original_demo, server.address)
    server.planted[".tif"] = ["status 404", ...]
    assert len(load(found, window, ("red", "nir"), 0, "b").losses) == len(found) * 3
    server.planted.clear()
    again = load(found, window, ("red", "nir"), 0, "b")
    assert again.losses == []
    assert equal(again, clean)


def test_an_expired_signature_is_made_anew(
    server: Faults, original_demo: Demo, window: GeoBox, clean: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = {"value": "old"}
    monkeypatch.setattr(remote.planetary_computer, "sign_url", lambda url: f"{url}?token={tokens['value']}")
    monkeypatch.setattr(remote, "_forget_token", lambda url: tokens.update(value="new"))
    found = scenes(original_demo, server.address, sign=True)
    server.planted[".tif"] = ["signature", ...]
    stack = load(found, window, ("red", "nir"), 0, "b")
    assert stack.losses == []
    assert equal(stack, clean)
    tokens["value"] = "old"
    monkeypatch.setattr(remote, "_forget_token", lambda url: None)
    lost = load(found, window, ("red",), 0, "b").losses
    assert {loss.cause for loss in lost if loss.band == "scl"} == {"signature"}


def test_the_tokens_of_an_account_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {
        "https://sas.example/token/sentinel2l2a01/sentinel2-l2": 1,
        "https://sas.example/token/other/x": 2,
    }
    monkeypatch.setattr(remote.planetary_computer.sas, "TOKEN_CACHE", tokens)
    remote._forget_token("https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/a.tif")
    assert list(tokens.values()) == [2]


@pytest.mark.parametrize("lie", ["coarse", "claim", "place"])
def test_files_that_are_not_what_the_record_says_are_a_wrong_grid(
    demo: Demo, window: GeoBox, lie: str
) -> None:
    found = scenes(demo, str(demo.config.parent))
    hurt = victim(found)
    path = Path(hurt.urls["red"])
    with rasterio.open(path) as file:
        profile, pixels = file.profile, file.read()
    if lie == "claim":
        found = [replace(s, pixel_m=(("red", 120.0),)) if s == hurt else s for s in found]
    else:
        move = rasterio.Affine.translation(50_000, 0) if lie == "place" else rasterio.Affine.identity()
        scale = rasterio.Affine.scale(12) if lie == "coarse" else rasterio.Affine.identity()
        profile |= {"driver": "GTiff", "transform": move * profile["transform"] * scale}
        with rasterio.open(path, "w", **profile) as file:
            file.write(pixels)
    stack = load(found, window, ("red", "nir"), 0, "b")
    assert [(loss.scene, loss.band, loss.cause) for loss in stack.losses] == [(hurt.id, "red", "wrong grid")]


def test_huge_claims_are_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = tmp_path / "huge.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=400_000, height=400_000, count=1, dtype="uint16", tiled=True,
        blockxsize=65_536, blockysize=65_536, SPARSE_OK=True, crs="EPSG:32648",
    ):  # fmt: skip
        pass
    with pytest.raises(Fault, match="internal tiles of 65536 x 65536 pixels are too large"):
        open_raster(str(path))


@settings(max_examples=200, deadline=None)
@example([(50, 0)], 0)  # a tag that has no values
@given(st.lists(st.tuples(st.integers(4, 300), st.integers(0, 255)), max_size=6), st.integers(0, 400))
def test_a_spoiled_directory_is_a_value_error_or_a_layout(changes: list[tuple[int, int]], cut: int) -> None:
    tags = [
        (256, 3, 1, 64),
        (257, 3, 1, 64),
        (322, 3, 1, 32),
        (323, 3, 1, 32),
        (324, 4, 4, 90),
        (325, 4, 4, 106),
    ]
    content = bytearray(struct.pack("<2sHIH", b"II", 42, 8, len(tags)))
    content += b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    content += bytes(90 - len(content)) + struct.pack("<8I", 122, 222, 322, 422, 100, 100, 100, 100)
    content += bytes(400)
    sound = tiff.layout(lambda a, b: _part(bytes(content), a, b))
    assert [sound.parts(0, k) for k in (0, 1)] == [[(122, 222)], [(222, 322)]]
    for at, value in changes:
        content[at] = value
    data = bytes(content[: len(content) - cut])
    try:
        found = tiff.layout(lambda a, b: _part(data, a, b))
    except ValueError:
        return
    assert all(a < b for row in range(2) for column in range(2) for a, b in found.parts(row, column))


def _part(data: bytes, start: int, stop: int) -> bytes:
    if stop > len(data):
        raise ValueError("beyond the end")
    return data[start:stop]


def test_ranges_that_lie_beyond_the_file_are_a_fault(server: Faults) -> None:
    file = RemoteFile(f"{server.address}/area.geojson", Access())
    with pytest.raises(Fault, match="are wanted of a file of"):
        file.fetch(0, 10_000_000)
    file.close()
    with pytest.raises(Fault, match="HTTP status 404"):
        RemoteFile(f"{server.address}/none", Access())


@pytest.mark.parametrize(
    ("place", "location", "there"),
    [
        ("http://a.org/x", "/y", "http://a.org/y"),
        ("http://a.org/x", "https://a.org/y", "https://a.org/y"),
        ("https://a.org/x", "http://a.org/y", None),
        ("http://a.org/x", "http://a.org:8080/y", None),
        ("http://a.org:90/x", "https://a.org:91/y", None),
        ("https://a.org/x", "https://b.org/y", None),
        ("https://a.org/x", "file:///etc/passwd", None),
        ("https://a.org/x", "//b.org/y", None),
    ],
)
def test_redirects_stay_with_the_provider(place: str, location: str, there: str | None) -> None:
    if there:
        assert remote._redirected(place, location) == there
    else:
        with pytest.raises(Fault, match="not the provider's"):
            remote._redirected(place, location)


def test_retry_after_may_be_a_date() -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    assert 90 < remote._seconds(email.utils.format_datetime(soon, usegmt=True)) <= 100
    assert [remote._seconds(t) for t in ("7", "", None, "soon", "-3")] == [7, 0, 0, 0, 0]


def test_s3_requests_are_signed_as_amazon_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worked example of "Signature Calculations for the Authorization Header", GET Object."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA" + "IOSFODNN7EXAMPLE")  # in parts: the project holds no key
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    place = "https://examplebucket.s3.amazonaws.com/test.txt"
    headers = s3_headers(place, "bytes=0-9", dt.datetime(2013, 5, 24, tzinfo=dt.UTC))
    assert headers["Authorization"].endswith(
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert s3_headers(place, "bytes=0-9", dt.datetime(2013, 5, 24, tzinfo=dt.UTC)) == {}
    assert s3_address("s3://eodata/a b.jp2", "eodata.example") == "https://eodata.example/eodata/a%20b.jp2"
    monkeypatch.setenv("AWS_HTTPS", "NO")
    monkeypatch.setenv("AWS_S3_ENDPOINT", "127.0.0.1:9000")
    assert s3_address("s3://eodata/a.jp2", "eodata.example") == "http://127.0.0.1:9000/eodata/a.jp2"


def test_a_provider_is_never_asked_by_more_than_it_allows(server: Faults, original_demo: Demo) -> None:
    from concurrent.futures import ThreadPoolExecutor

    busy, most = [0], [0]
    original = server.next

    def count(path: str) -> str:
        with server.lock:
            busy[0] += 1
            most[0] = max(most[0], busy[0])
        import time

        time.sleep(0.02)
        with server.lock:
            busy[0] -= 1
        return original(path)

    server.next = count  # type: ignore[method-assign]
    url = f"{server.address}/area.geojson"
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: remote.get(url, 0, 10, Access(connections=3)), range(24)))
    assert most[0] == 3


def test_jpeg_2000_is_read_over_http_and_s3_and_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (256, 256)).astype(np.uint16)
    place = rasterio.Affine(10, 0, 500_000, 0, -10, 1_000_000)
    (tmp_path / "eodata").mkdir()
    with rasterio.open(
        tmp_path / "eodata" / "a.jp2", "w", driver="JP2OpenJPEG", height=256, width=256, count=1, dtype="uint16",
        crs="EPSG:32648", transform=place, QUALITY=100, REVERSIBLE="YES", BLOCKXSIZE=64, BLOCKYSIZE=64,
    ) as file:  # fmt: skip
        file.write(pixels, 1)
    part = GeoBox((60, 50), place * rasterio.Affine.translation(40, 70), "EPSG:32648")

    def read(url: str) -> np.ndarray:
        raster = open_raster(url, Access(s3_endpoint="eodata.example"))
        try:
            return raster.read(part, "uint16", 0, "nearest")
        finally:
            raster.close()

    with fault_server.serve(tmp_path) as server:
        monkeypatch.setenv("AWS_S3_ENDPOINT", server.address.removeprefix("http://"))
        monkeypatch.setenv("AWS_HTTPS", "NO")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
        for url in (
            f"{server.address}/eodata/a.jp2",
            "s3://eodata/a.jp2",
            str(tmp_path / "eodata" / "a.jp2"),
        ):
            assert np.array_equal(read(url), pixels[70:130, 40:90])
        server.planted["a.jp2"] = ["status 404", ...]
        with pytest.raises(Fault, match="HTTP status 404"):
            read("s3://eodata/a.jp2")
        server.planted.clear()
        assert np.array_equal(read("s3://eodata/a.jp2"), pixels[70:130, 40:90])


def test_a_geotiff_in_a_bucket_is_read(original_demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    path = next((original_demo.config.parent / "archive").glob("S2A*/red.tif"))
    with fault_server.serve(path.parents[1]) as server, rasterio.open(path) as file:
        monkeypatch.setenv("AWS_S3_ENDPOINT", server.address.removeprefix("http://"))
        monkeypatch.setenv("AWS_HTTPS", "NO")
        raster = open_raster(f"s3://{path.parent.name}/red.tif")
        grid = GeoBox(file.shape, file.transform, file.crs)
        assert np.array_equal(raster.read(grid, "uint16", 0, "nearest"), file.read(1))
        raster.close()


def test_what_is_sent_for_early_is_asked_for_once(
    server: Faults, original_demo: Demo, window: GeoBox, clean: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scenes(original_demo, server.address)
    remote.HEADS.clear()
    early, sent = [], Reader.send_for
    monkeypatch.setattr(Reader, "send_for", lambda self, jobs: early.append(jobs) or sent(self, jobs))
    assert equal(load(found, window, ("red", "nir"), 0, "b"), clean)
    assert early
    with_it = dict(server.asked)
    remote.HEADS.clear()
    server.asked.clear()
    monkeypatch.setattr(Reader, "send_for", lambda self, jobs: None)
    assert equal(load(found, window, ("red", "nir"), 0, "b"), clean)
    assert with_it == dict(server.asked)


def test_what_was_sent_for_and_is_not_wanted_is_closed(
    server: Faults, original_demo: Demo, window: GeoBox, clean: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = scenes(original_demo, server.address)
    underway, prepare = [], reads._prepare

    def kept(job: Job, fresh: bool = False) -> Raster:
        underway.append(prepare(job, fresh))
        return underway[-1]

    monkeypatch.setattr(reads, "_prepare", kept)
    reader = Reader(clean, "b")
    reader.send_for([Job(s, "red", window, SENSORS["sentinel-2-l2a"], 0) for s in found])
    assert 1 < len(reader._sent) <= reads.AHEAD
    flights = list(reader._sent.values())
    reader.call_off()
    wait(flights, timeout=60)
    assert not reader._sent
    end = time.monotonic() + 60
    while any(r.source._parts for r in underway) and time.monotonic() < end:  # type: ignore[union-attr]
        time.sleep(0.01)
    assert all(r.source._parts == [] for r in underway)  # type: ignore[union-attr]
