"""What does ``load`` cost over decoding the same internal tiles? One run, interleaved, medians.

3 x 3 blocks of 2048 px across two overlapping granules, 12 dates x 10 bands + SCL, DEFLATE COGs with
internal tiles of 1024 px, cloud grown by 60 m (so SCL is read with a halo). From local files, and over
HTTP with 50 ms before every answer. "Decode" reads with plain rasterio, one open file at a time, just the
internal tiles that ``load`` touched, on as many threads. ``--dates 3 --block 1024`` makes it small.
odc-stac loads the same windows beside it; stackstac too where it is installed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from features.bands import BANDS, OPTICAL
from pipeline import raster
from pipeline.grid import to_crs
from pipeline.load import load
from pipeline.scenes import Scene
from pipeline.sensors import SCL

EPSG, TILE, LATENCY_S, THREADS, REPEATS = 32648, 1024, 0.05, 2, 3
NAMES = tuple(b for b, sensor in BANDS.items() if sensor == OPTICAL)
TEN = ("blue", "green", "red", "nir")
X0, Y0 = 600_000.0, 1_200_000.0
#: Dates whose files are distinct; the others are the same files under another day.
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
                path = folder / f"{name}_{k % DISTINCT}_{band}.tif"
                step = 1 if band in TEN else 2
                if not path.exists():
                    rng = np.random.default_rng([j, left])
                    pixels = classes(side // 2, rng) if band == SCL else ground(side // step, rng) + raw(k)
                    write(path, pixels.repeat(3, 0)[: 3 * block // step], left, step)
                assets.append((band, str(path)))
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


def load_all(scenes: list[Scene], windows: list[GeoBox], threads: int = THREADS) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for stack in pool.map(lambda w: load(scenes, w, NAMES, 60), windows):
            assert not stack.losses, stack.losses[:2]
    return time.perf_counter() - start


Touched = list[tuple[str, tuple[int, int, int, int]]]


@contextmanager
def noted(touched: Touched) -> Iterator[None]:
    """Note what every read decodes."""
    original = raster.Raster.window

    def window(self: raster.Raster, left: int, top: int, right: int, bottom: int, shared: bool) -> Any:
        touched.append((self.url, (left, top, right, bottom)))
        return original(self, left, top, right, bottom, shared)

    raster.Raster.window = window  # type: ignore[method-assign]
    try:
        yield
    finally:
        raster.Raster.window = original  # type: ignore[method-assign]


def tiles(window: tuple[int, int, int, int], height: int, width: int) -> Window:
    left, top, right, bottom = window
    left, top = left // TILE * TILE, top // TILE * TILE
    right, bottom = min(width, -(-right // TILE) * TILE), min(height, -(-bottom // TILE) * TILE)
    return Window(left, top, right - left, bottom - top)


def decode(touched: Touched) -> tuple[float, int, int]:
    """(seconds, bytes decoded, bytes asked for)."""
    buffers = threading.local()

    def one(entry: tuple[str, tuple[int, int, int, int]]) -> tuple[int, int]:
        with rasterio.Env(**raster.GDAL), rasterio.open(entry[0]) as file:
            window = tiles(entry[1], file.height, file.width)
            shape, size = (window.height, window.width), np.dtype(file.dtypes[0]).itemsize
            kept = buffers.__dict__.setdefault((shape, size), np.empty(shape, file.dtypes[0]))
            file.read(1, window=window, out=kept)
            left, top, right, bottom = entry[1]
            return kept.nbytes, (right - left) * (bottom - top) * size

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(one, touched))
    return time.perf_counter() - start, sum(s[0] for s in sizes), sum(s[1] for s in sizes)


def serve(folder: str, ports: Any) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            time.sleep(LATENCY_S)
            path = Path(folder) / Path(self.path).name
            size = path.stat().st_size
            first, last = (int(v) for v in self.headers["Range"].removeprefix("bytes=").split("-"))
            last = min(last, size - 1)
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
            self.send_header("Content-Length", str(last + 1 - first))
            self.end_headers()
            self.wfile.flush()
            with path.open("rb") as file:
                done = first
                while done <= last:
                    done += os.sendfile(self.connection.fileno(), file.fileno(), done, last + 1 - done)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    ports.put(server.server_address[1])
    server.serve_forever()


def peak(scenes: list[Scene], window: GeoBox, answer: Any) -> None:
    load(scenes, window[:64, :64], NAMES, 60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stack = load(scenes, window, NAMES, 60)
    held = sum(a.nbytes for a in stack.arrays.values())
    answer.put((before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, held))


def by_odc(scenes: list[Scene], windows: list[GeoBox]) -> float:
    import odc.stac
    import pystac

    items = []
    for s in scenes:
        item = pystac.Item(
            s.id,
            shapely.geometry.mapping(s.geometry),
            list(s.geometry.bounds),
            dt.datetime.fromisoformat(s.datetime),
            {"proj:epsg": EPSG},
        )
        for band, url in s.assets:
            item.add_asset(band, pystac.Asset(url, media_type=pystac.MediaType.COG, roles=["data"]))
        items.append(item)
    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        options: dict[str, Any] = {
            "bands": [*NAMES, SCL],
            "groupby": "solar_day",
            "dtype": "uint16",
            "nodata": 0,
        }
        list(pool.map(lambda w: odc.stac.load(items, geobox=w, **options), windows))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dates", type=int, default=12)
    parser.add_argument("--block", type=int, default=2048)
    arguments = parser.parse_args()
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
        touched: Touched = []
        with noted(touched):
            load_all(scenes, windows)
        times: dict[str, list[float]] = {"decode": [], "local": [], "http": []}
        decoded = asked = 0
        for _ in range(REPEATS):
            seconds, decoded, asked = decode(touched)
            times["decode"].append(seconds)
            times["local"].append(load_all(scenes, windows))
            times["http"].append(load_all(remote, windows))
        middle = {name: statistics.median(values) for name, values in times.items()}
        print(f"{len(touched)} reads, {decoded / 1e9:.2f} GB decoded on {THREADS} threads")
        for name, seconds in middle.items():
            print(f"{name:8} {seconds:7.2f} s  {seconds / middle['decode']:.2f} x decode")
        print(f"bytes decoded / needed  {decoded / asked:.3f}")
        answer = spawn.Queue()
        worker = spawn.Process(target=peak, args=(remote, windows[4], answer))
        worker.start()
        before, after, held = answer.get()
        worker.join()
        print(
            f"peak memory of a worker {after / 1e6:.2f} GB, {(after - before) / 1e6:.2f} GB of it for a block whose stack is {held / 1e9:.2f} GB"
        )
        seconds = by_odc(scenes, windows)
        print(
            f"odc-stac {seconds:7.2f} s  {seconds / middle['decode']:.2f} x decode (no mask, every granule whole)"
        )
        try:
            import stackstac  # noqa: F401
        except ImportError:
            print("stackstac is not installed")
        server.terminate()


if __name__ == "__main__":
    sys.exit(main())
