"""A private PostgreSQL for the benchmarks of the database, and products that look like real ones."""

from __future__ import annotations

import datetime as dt
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox

from models.targets import Target
from pipeline import yamlfile
from pipeline.product import Product, ProductId, TileWriter, bands_of, encode
from pipeline.season import Season

ROOT = Path(__file__).resolve().parents[2]
SEASON = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
BLOCK = 2048


def binaries() -> Path:
    homes = sorted(Path("/usr/lib/postgresql").glob("*/lib/postgis_raster-3.so"))
    if not homes:
        raise SystemExit("PostgreSQL with PostGIS is missing: .ci/system test installs it")
    return homes[-1].parents[1] / "bin"


@dataclass
class Server:
    """A cluster that can be stopped at once and started again."""

    folder: Path
    port: int
    durable: bool
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"postgresql://phusa@127.0.0.1:{self.port}"

    def start(self) -> None:
        options = ["-c", "max_wal_size=4GB", "-c", "shared_buffers=256MB", "-c", "max_connections=40"]
        options += [] if self.durable else ["-c", "fsync=off"]
        self.process = subprocess.Popen(
            [binaries() / "postgres", "-D", self.folder / "data", "-p", str(self.port), "-k", self.folder,
             "-c", "listen_addresses=127.0.0.1", *options],
            cwd=self.folder, stderr=subprocess.DEVNULL, **_user(),
        )  # fmt: skip
        for _ in range(600):
            try:
                psycopg.connect(f"{self.address}/postgres").close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise SystemExit("the server does not start")

    def stop(self, signal: int) -> None:
        assert self.process is not None
        self.process.send_signal(signal)
        self.process.wait(60)


@contextmanager
def server(durable: bool = True) -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="phusa-bench-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
    subprocess.run(
        [binaries() / "initdb", "-D", folder / "data", "-U", "phusa", "-A", "trust", "-E", "UTF8"],
        check=True, capture_output=True, cwd=folder, **_user(),
    )  # fmt: skip
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        found = Server(folder, s.getsockname()[1], durable)
    found.start()
    try:
        yield found
    finally:
        if found.process and found.process.poll() is None:
            found.stop(2)
        shutil.rmtree(folder, ignore_errors=True)


def _user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    return {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid} if os.geteuid() == 0 else {}


def product(
    folder: Path, target: str, size: int, seed: int, tile: str = "48PXS", season: Season = SEASON
) -> tuple[Product, Path]:
    """A tile of smooth fields with noise of some steps, a third of it masked, as on a map of farmland.

    One block is made and rolled over the tile; the COG is compressed fast, since its making is not measured.
    """
    theme = yamlfile.parse(Target, ROOT / "configs" / "targets" / f"{target}.yaml")
    geobox = GeoBox((size, size), Affine(10, 0, 600000, 0, -10, 1200000), "EPSG:32648")
    made = Product(ProductId(season.name, tile, target), season, "bench", geobox, theme, f"{seed:064x}")
    bands = bands_of(theme)
    block = encode(_layers(theme, [b.name for b in bands], seed), bands)
    writer = TileWriter(made, folder / "scratch.tif")
    for top in range(0, size, BLOCK):
        for left in range(0, size, BLOCK):
            part = np.roll(block, (top // 7, left // 11), (1, 2))
            writer.write((top, left), part[:, : size - top, : size - left])
    cog = folder / f"{tile}_{target}_{seed}.made.tif"
    rasterio.shutil.copy(
        writer.scratch, cog, driver="COG", COMPRESS="ZSTD", LEVEL="1", PREDICTOR="YES", BLOCKSIZE="512",
        OVERVIEW_RESAMPLING="NEAREST", NUM_THREADS="2",
    )  # fmt: skip
    writer.scratch.unlink()
    return made, cog


def _layers(theme: Target, names: list[str], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:BLOCK, :BLOCK] / 700.0
    field = 0.5 + 0.25 * np.sin(x + seed) * np.cos(1.3 * y) + 0.25 * np.sin(3.1 * x) * np.cos(2.7 * y + seed)
    masked = np.sin(9 * x) * np.cos(8 * y) > 0.3
    layers = {}
    for k, name in enumerate(names):
        noise = rng.normal(0, 0.01, field.shape)
        if name == "reason":
            layer = np.where(masked, 2.0, 0.0)
        elif name == "class":
            codes = np.asarray([c.code for c in theme.classes], float)
            layer = codes[np.clip((field + noise) * len(codes), 0, len(codes) - 1).astype(int)]
        elif name in ("applicability", "clear_dates"):
            layer = np.floor(12 * field) if name == "clear_dates" else (field > 0.1) * 1.0
        else:
            scale = 1.0 if name.startswith(("p", "risk")) else 12.0
            layer = np.clip(field * (1 - 0.08 * k) + noise, 0, 1) * scale
        layers[name] = layer if name == "reason" else np.where(masked, np.nan, layer)
    return layers
