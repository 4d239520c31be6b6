"""What does ``load`` cost over decoding the same internal tiles? One run, interleaved, medians.

3 x 3 blocks of 2048 px across two overlapping granules, 12 dates x 10 bands + SCL, DEFLATE COGs with
internal tiles of 1024 px, cloud grown by 60 m (so SCL is read with a halo). From local files, and over
HTTP with 50 ms before every answer. "gdal" is the floor of what others can reach: plain rasterio opens
each file once and decodes each internal tile that some block needs once, into a buffer that it keeps,
on as many threads; "tiles" does the same with our own decoder. ``--dates 3 --block 1024`` makes it small;
``--threads 1`` is how workers run that are processes.
Needed bytes are the pixels of the files that some block asks for, each counted once. odc-stac and
stackstac load the same windows beside it, where they are installed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import os
import socket
import socketserver
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from support.memory import most_memory

from features.bands import BANDS, OPTICAL
from pipeline import raster
from pipeline.facts import GDAL
from pipeline.grid import to_crs
from pipeline.load import load
from pipeline.scenes import Scene
from pipeline.sensors import SCL

EPSG, TILE, LATENCY_S, THREADS, REPEATS = 32648, 1024, 0.05, 2, 3
NAMES = tuple(b for b, sensor in BANDS.items() if sensor == OPTICAL)
TEN = ("blue", "green", "red", "nir")
X0, Y0 = 600_000.0, 1_200_000.0
#: Dates whose bands are distinct; the others are the same files under another day. Clouds are each day's own:
#: what is called cloud nearly always would be looked at once more.
DISTINCT = 3


def write(path: Path, pixels: np.ndarray, left: int, step: int) -> None:
    transform = Affine(10 * step, 0, X0 + 10 * left, 0, -10 * step, Y0)
    with rasterio.open(
        path, "w", driver="COG", height=pixels.shape[0], width=pixels.shape[1], count=1, dtype=pixels.dtype,
        nodata=0, crs=f"EPSG:{EPSG}", transform=transform, compress="deflate", predictor="yes",
        blocksize=TILE, overviews="none", num_threads=THREADS,
    ) as file:  # fmt: skip
        file.write(pixels, 1)


def ground(side: int, rng: np.random.Generator) -> np.ndarray:
    """Fields of 16 pixels with noise: DEFLATE makes about half of it, as of real images."""
    fields = rng.integers(600, 3500, (side // 16 + 1, side // 16 + 1)).repeat(16, 0).repeat(16, 1)
    noise = rng.normal(0, 25, (side, side))
    return np.maximum(fields[:side, :side] + noise, 1).astype(np.uint16)


def archive(folder: Path, block: int, dates: int) -> list[Scene]:
    """Granule b begins 4 pixels behind granule a's last internal tile but one."""
    side = 5 * block // 2
    scenes = []
    for k in range(dates):
        day = dt.datetime(2025, 1, 2, 3, 20, tzinfo=dt.UTC) + dt.timedelta(days=10 * k)
        for name, left in (("48PXS", 0), ("48PYS", 2 * block + 4)):
            assets = []
            for j, band in enumerate((*NAMES, SCL)):
                path = folder / f"{name}_{k if band == SCL else k % DISTINCT}_{band}.tif"
                step = 1 if band in TEN else 2
                if not path.exists():
                    rng = np.random.default_rng([j, left])
                    clouds = np.random.default_rng([j, left, k])
                    pixels = classes(side // 2, clouds) if band == SCL else ground(side // step, rng) + raw(k)
                    write(path, pixels.repeat(3, 0)[: 3 * block // step], left, step)
                own = folder / f"{name}_day{k}_{band}.tif"  # what is kept of one date must not serve another
                if not own.exists():
                    own.hardlink_to(path)
                assets.append((band, str(own)))
            box = shapely.box(X0 + 10 * left, Y0 - 30 * block, X0 + 10 * (left + side), Y0)
            outline = to_crs(box, 4326, EPSG)
            scenes.append(
                Scene(
                    f"S2A_{name}_{k}", OPTICAL, OPTICAL, day.isoformat(), outline.wkt, tuple(assets), EPSG,
                    offset=-raw(k), platform="sentinel-2a", granule=name, baseline="05.11",
                )
            )  # fmt: skip
    return scenes


def raw(k: int) -> int:
    """What the numbers of a date carry: the guard would see through another claim."""
    return 1000 if k % DISTINCT == 1 else 0


def classes(side: int, rng: np.random.Generator) -> np.ndarray:
    """Bare ground with a fifth of cloud in pieces of 64 pixels."""
    cloud = rng.random((side // 64 + 1, side // 64 + 1)) < 0.2
    return np.where(cloud.repeat(64, 0).repeat(64, 1)[:side, :side], 9, 7).astype(np.uint8)


def blocks(block: int) -> list[GeoBox]:
    whole = GeoBox((3 * block, 3 * block), Affine(10, 0, X0, 0, -10, Y0), f"EPSG:{EPSG}")
    cuts = [slice(k * block, (k + 1) * block) for k in range(3)]
    return [whole[rows, columns] for rows in cuts for columns in cuts]


def load_all(scenes: list[Scene], windows: list[GeoBox], threads: int) -> float:
    """Seconds, of one thread, in which there was no block left to begin: nine blocks never end together."""
    raster.FACTS.clear()
    raster.TILES.clear()
    ended: dict[int, float] = {}

    def one(window: GeoBox) -> Any:
        stack = load(scenes, window, NAMES, 60)
        ended[threading.get_ident()] = time.perf_counter()
        return stack

    with ThreadPoolExecutor(threads) as pool:
        for stack in pool.map(one, windows):
            assert not stack.losses, stack.losses[:2]
    return sum(max(ended.values()) - end for end in ended.values())


Window4 = tuple[int, int, int, int]


@contextmanager
def noted(windows: list[tuple[str, Window4]], decoded: list[int]) -> Iterator[None]:
    """Note which windows are asked for, and the bytes of every tile that is decoded."""
    asked, tile = raster.Raster.window, raster.Raster._decode

    def window(self: raster.Raster, left: int, top: int, right: int, bottom: int, shared: bool) -> Any:
        windows.append((self.url, (left, top, right, bottom)))
        return asked(self, left, top, right, bottom, shared)

    def decode(self: raster.Raster, row: int, column: int, out: Any = None) -> Any:
        pixels = tile(self, row, column, out)
        decoded.append(pixels.nbytes)
        return pixels

    raster.Raster.window, raster.Raster._decode = window, decode  # type: ignore[method-assign]
    try:
        yield
    finally:
        raster.Raster.window, raster.Raster._decode = asked, tile  # type: ignore[method-assign]


Needed = dict[str, set[tuple[int, int]]]


def needed(windows: list[tuple[str, Window4]]) -> tuple[Needed, int]:
    """Internal tiles by file, and the bytes of the pixels asked for, each counted once."""
    pixels: dict[str, np.ndarray] = {}
    found: Needed = {}
    total = 0
    for url, (left, top, right, bottom) in windows:
        if url not in pixels:
            with rasterio.open(url) as file:
                pixels[url] = np.zeros(file.shape, np.bool_)
        part = pixels[url][top:bottom, left:right]
        total += int(part.size - np.count_nonzero(part)) * (1 if url.endswith(f"_{SCL}.tif") else 2)
        part[...] = True
        rows = range(top // TILE, (bottom - 1) // TILE + 1)
        columns = range(left // TILE, (right - 1) // TILE + 1)
        found.setdefault(url, set()).update((r, c) for r in rows for c in columns)
    return found, total


def by_gdal(tiles: Needed, threads: int) -> None:
    buffers = threading.local()

    def one(url: str) -> None:
        with rasterio.Env(**GDAL), rasterio.open(url) as file:
            for row, column in sorted(tiles[url]):
                y, x = row * TILE, column * TILE
                shape = min(TILE, file.height - y), min(TILE, file.width - x)
                kept = buffers.__dict__.setdefault((shape, file.dtypes[0]), np.empty(shape, file.dtypes[0]))
                file.read(1, window=Window(x, y, shape[1], shape[0]), out=kept)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, sorted(tiles)))


def by_tiles(tiles: Needed, threads: int) -> None:
    def one(url: str) -> None:
        file = raster.open_raster(url)
        for row, column in sorted(tiles[url]):
            file._decode(row, column)
        file.close()

    raster.FACTS.clear()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(one, sorted(tiles)))


def serve(folder: str, ports: Any) -> None:
    """Ranges of files, each answer after the latency. It shares the cores of what is measured, so it does no more
    than it must."""

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while line := self.rfile.readline():
                name = line.split()[1].rsplit(b"/", 1)[1].decode()
                asked = b""
                while (header := self.rfile.readline()) not in (b"\r\n", b""):
                    if header.lower().startswith(b"range:"):
                        asked = header.split(b"=")[1]
                first, last = map(int, asked.split(b"-"))
                time.sleep(LATENCY_S)
                with (Path(folder) / name).open("rb") as file:
                    self.answer(file, first, last)

        def answer(self, file: BinaryIO, first: int, last: int) -> None:
            about = os.fstat(file.fileno())
            last = min(last, about.st_size - 1)
            head = (
                "HTTP/1.1 206 Partial Content", f"Content-Range: bytes {first}-{last}/{about.st_size}",
                f"Content-Length: {last + 1 - first}",
                f'ETag: "{about.st_mtime_ns:x}-{about.st_size:x}"',  # as S3, Azure and nginx do
            )  # fmt: skip
            self.connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode(), socket.MSG_MORE)
            while first <= last:
                first += os.sendfile(self.connection.fileno(), file.fileno(), first, last + 1 - first)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads, request_queue_size = True, 128

    server = Server(("127.0.0.1", 0), Handler)
    ports.put(server.server_address[1])
    server.serve_forever()


def peak(scenes: list[Scene], window: GeoBox, answer: Any) -> None:
    """In a process of its own: most memory before and with one block, and the bytes of its stack."""
    load(scenes, window[:64, :64], NAMES, 60)
    before = most_memory()
    stack = load(scenes, window, NAMES, 60)
    answer.put((before, most_memory(), sum(a.nbytes for a in stack.arrays.values())))


def items_of(scenes: list[Scene]) -> list[Any]:
    import pystac

    items = []
    for s in scenes:
        outline = shapely.geometry.mapping(s.geometry)
        day, about = dt.datetime.fromisoformat(s.datetime), {"proj:epsg": EPSG}
        item = pystac.Item(s.id, outline, list(s.geometry.bounds), day, about)
        for band, url in s.assets:
            item.add_asset(band, pystac.Asset(url, media_type=pystac.MediaType.COG, roles=["data"]))
        items.append(item)
    return items


def by_odc(scenes: list[Scene], windows: list[GeoBox], threads: int) -> None:
    import odc.stac

    items = items_of(scenes)
    options: dict[str, Any] = {
        "bands": [*NAMES, SCL], "groupby": "solar_day", "dtype": "uint16", "nodata": 0,
    }  # fmt: skip
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda w: odc.stac.load(items, geobox=w, **options), windows))


def by_stackstac(scenes: list[Scene], windows: list[GeoBox], threads: int) -> None:
    import dask
    import stackstac

    items = items_of(scenes)
    with dask.config.set(scheduler="threads", num_workers=threads):
        for w in windows:
            box = w.boundingbox
            for band in (*NAMES, SCL):  # all at once would need every band of every granule in memory
                stackstac.stack(
                    items, assets=[band], epsg=EPSG, resolution=10, bounds=box.bbox, dtype=np.dtype("uint16"),
                    fill_value=np.uint16(0), rescale=False, chunksize=2048,
                ).compute()  # fmt: skip


def timed(work: Any, *arguments: Any) -> tuple[float, float, float]:
    """(seconds, seconds of processor in this process, seconds in which a thread had nothing left to begin)."""
    start, used = time.perf_counter(), time.process_time()
    idle = work(*arguments) or 0.0
    return time.perf_counter() - start, time.process_time() - used, idle


def show(name: str, wall: float, cpu: float, idle: float, floor: list[float], threads: int) -> None:
    ratios = f"{wall / floor[0]:5.2f} x gdal, {cpu / floor[1]:5.2f} x by processor"
    told = f", {(wall - idle / threads) / floor[0]:5.2f} x while all threads have a block" if idle else ""
    print(f"{name:9} {wall:7.2f} s  {cpu:7.2f} s of processor  {ratios}{told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=12)
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--threads", type=int, default=THREADS)
    arguments = parser.parse_args()
    threads = arguments.threads
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        scenes, windows = archive(Path(folder), arguments.block, arguments.dates), blocks(arguments.block)
        ports = spawn.Queue()
        server = spawn.Process(target=serve, args=(folder, ports), daemon=True)
        server.start()
        base = f"http://127.0.0.1:{ports.get()}"
        remote = [
            Scene(**{**s.__dict__, "assets": tuple((b, f"{base}/{Path(u).name}") for b, u in s.assets)})
            for s in scenes
        ]
        asked: list[tuple[str, Window4]] = []
        decoded: list[int] = []
        with noted(asked, decoded):
            load_all(scenes, windows, threads)
        tiles, wanted = needed(asked)
        works: dict[str, tuple[Any, ...]] = {
            "gdal": (by_gdal, tiles, threads),
            "tiles": (by_tiles, tiles, threads),
            "local": (load_all, scenes, windows, threads),
            "http": (load_all, remote, windows, threads),
        }
        times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in works}
        for _ in range(arguments.repeats):
            for name, work in works.items():
                times[name].append(timed(*work))
        print(f"{len(asked)} reads, {sum(map(len, tiles.values()))} tiles, {threads} threads")
        floor = [statistics.median(t[k] for t in times["gdal"]) for k in (0, 1)]
        for name, runs in times.items():
            show(name, *(statistics.median(t[k] for t in runs) for k in (0, 1, 2)), floor, threads)
        print(f"bytes decoded / needed  {sum(decoded) / wanted:.3f}  ({sum(decoded) / 1e9:.2f} GB)")
        answer = spawn.Queue()
        worker = spawn.Process(target=peak, args=(remote, windows[4], answer))
        worker.start()
        before, after, held = answer.get()
        worker.join()
        print(
            f"peak memory of a worker {after / 1e9:.2f} GB, {(after - before) / 1e9:.2f} GB of it for a block "
            f"whose stack is {held / 1e9:.2f} GB"
        )
        for name, peer in (("odc-stac", by_odc), ("stackstac", by_stackstac)):
            try:
                show(name, *timed(peer, scenes, windows, threads), floor, threads)
            except ImportError:
                print(f"{name} is not installed")
        server.terminate()


if __name__ == "__main__":
    sys.exit(main())
