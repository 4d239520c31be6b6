"""The table of docs/scale.md: a season of a province, a region and the country on three kinds of machine.

Usage: scale.py [--measure | --decode-s S --map-s S --compressed-mb MB ...]. The defaults are what benchmarks/season.py
and ``--measure`` (storing and encoding one made-up tile of 2048 px, half of it farmland) measured (docs/scale.md says when and where); give others to see what they change.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy.ndimage import gaussian_filter

ROOT = Path(__file__).resolve().parents[1]
sys.path[:] = [str(ROOT), *(p for p in sys.path if Path(p or ".").resolve() != ROOT / "benchmarks")]

from models.targets import Target
from pipeline import blocks, yamlfile
from pipeline.product import Product, ProductId, TileWriter, encode
from pipeline.season import Season

KM2_PER_MPX = 100.0


@dataclass(frozen=True)
class Area:
    name: str
    km2: float


@dataclass(frozen=True)
class Machine:
    name: str
    cores: int
    mb_s: float
    """What its network brings, MB a second."""


AREAS = [Area("tỉnh · a province (3,300 km²)", 3_300), Area("vùng · the Mekong delta (40,600 km²)", 40_600),
         Area("cả nước · the country (331,000 km²)", 331_000)]  # fmt: skip
MACHINES = [Machine("2 cores, office line 100 Mbit/s", 2, 12.5), Machine("16 cores, server line 1 Gbit/s", 16, 125),
            Machine("20 workers of one core beside the images", 20, 1200)]  # fmt: skip


def measure(side: int = 2048) -> None:
    """Processor seconds and bytes a million of pixels x bands, of a block's file and of a COG."""
    target = yamlfile.parse(Target, ROOT / "configs" / "targets" / "salinity.yaml")
    season = Season("2025-dry", dt.date(2024, 12, 1), dt.date(2025, 4, 30))
    geobox = GeoBox((side, side), Affine(10, 0, 600000, 0, -10, 1100000), "EPSG:32648")
    product = Product(ProductId(season.name, "48PXS", target.name), season, "r", geobox, target, "0" * 64)
    rng = np.random.default_rng(0)
    land = gaussian_filter(rng.normal(size=(side, side)), 6) * 40 + 4
    farm = gaussian_filter(rng.normal(size=(side, side)), 12) > 0
    layers = {
        b.name: np.where(farm, land + 0.2 * rng.normal(size=(side, side)), np.nan) for b in product.bands
    }
    layers |= {
        n: np.where(farm, 1 / (1 + np.exp(-v)), np.nan) for n, v in layers.items() if n.startswith("p")
    }
    layers |= {"applicability": np.where(farm, land > 2, np.nan), "clear_dates": np.round(np.abs(land))}
    layers["reason"] = np.where(farm, 0, 2)
    stored = encode(layers, product.bands)
    with tempfile.TemporaryDirectory() as name:
        block, cog = Path(name) / "block.tif", Path(name) / "cog.tif"
        begun = time.process_time()
        blocks.write(block, stored)
        written = time.process_time()
        writer = TileWriter(product, Path(name) / "scratch.tif")
        writer.write((0, 0), stored)
        writer.finish(cog)
        ended = time.process_time()
        mpx = stored.size / 1e6
        print(f"store {(written - begun) / mpx:.4f} s and {block.stat().st_size / stored.size:.2f} bytes; "
              f"encode {(ended - written) / mpx:.3f} s and {cog.stat().st_size / stored.size:.2f} bytes")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--map-s", type=float, default=0.0333, help="processor seconds a km2 of the map step, 40 %% farmland")
    add("--decode-s", type=float, default=0.0129, help="of these, what decoding alone takes")
    add(
        "--compressed-mb",
        type=float,
        default=2.62,
        help="MB of COGs a km2: 24 dates of 10 bands and SCL, 12 of S1",
    )
    add("--encode-s", type=float, default=0.095, help="processor seconds a million of pixels x bands")
    add("--store-s", type=float, default=0.0053, help="likewise, to store a block")
    add("--disk-b", type=float, default=0.97, help="bytes on disk a pixel x band: stored blocks and the COG")
    add("--layers", type=int, default=17, help="bands of both targets' products")
    add("--busy", type=float, default=0.9, help="share of the wall time in which cores compute")
    add("--worker-gb", type=float, default=1.4, help="memory that a worker states for a block of 1024 px")
    add("--core-hour", type=float, default=0.04, help="USD")
    add("--disk-gb", type=float, default=0.25, help="USD a GB and year")
    add("--measure", action="store_true")
    given = parser.parse_args()
    if given.measure:
        return measure()
    print(
        "| area | machine | core-h | of it decoding | wall h, cores | wall h, network | wall h | GB read | GB memory | GB disk | USD | limit |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for area in AREAS:
        mpx_bands = area.km2 / KM2_PER_MPX * given.layers
        core_s = area.km2 * given.map_s + mpx_bands * (given.encode_s + given.store_s)
        read_gb = area.km2 * given.compressed_mb / 1000
        disk_gb = mpx_bands * given.disk_b / 1000
        for machine in MACHINES:
            by_cores = core_s / 3600 / machine.cores / given.busy
            by_network = read_gb * 1000 / machine.mb_s / 3600
            money = core_s / 3600 * given.core_hour + disk_gb * given.disk_gb
            print(
                f"| {area.name} | {machine.name} | {core_s / 3600:.2f} | {area.km2 * given.decode_s / 3600:.2f} | {by_cores:.2f} "
                f"| {by_network:.2f} | **{max(by_cores, by_network):.2f}** | {read_gb:.0f} | {given.worker_gb * machine.cores:.0f} "
                f"| {disk_gb:.1f} | {money:.2f} | {'network' if by_network > by_cores else 'cores'} |"
            )
    return None


if __name__ == "__main__":
    main()
