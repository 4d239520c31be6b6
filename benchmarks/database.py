"""Publishing into PostGIS against `raster2pgsql | psql`, and readers while a publication runs.

Usage: database.py [SIZE_PX [REPEATS]]. One tile (10980 px unless told), salinity and degradation with all
bands, into a private server with its usual durability. `phusa` does more than its rival in that time: it
writes companions, digests, STAC items and the journal; pixels alone are told apart.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import psycopg
import rasterio.warp
from support import private_postgres as private

from pipeline.product import Product
from pipeline.season import Season
from pipeline.stores import schema, wkb
from pipeline.stores.postgis import PostgisStore

TARGETS = ("salinity", "degradation")
READERS = 8
Made = list[tuple[Product, Path]]
COMMUNES = 3321


def timed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def rival(address: str, cogs: list[Path]) -> None:
    # Our schema holds a table named raster, which a user named phusa would find before the type.
    environment = os.environ | {"PGOPTIONS": "-c search_path=public"}
    for number, cog in enumerate(cogs):
        command = f"set -o pipefail; raster2pgsql -s 32648 -t 256x256 -I -Y {cog} rival{number} | psql -q -v ON_ERROR_STOP=1 -d {address}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(done.stderr)


def pixels(address: str, cogs: list[Path]) -> None:
    """Our tiles, into a table as ours is and nothing else."""
    with psycopg.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bare (LIKE phusa.raster INCLUDING ALL)")
        for number, cog in enumerate(cogs):
            with cursor.copy("COPY bare (product_id, number, rast) FROM STDIN") as copy:
                for tile, content in enumerate(wkb.tiles(cog), 1):
                    copy.write(f"{number}\t{tile}\t{content.hex()}\n")


def publish(address: str, folder: Path, made: Made, season: Season) -> None:
    store = PostgisStore.open(folder / "store", "bench", address)
    records = [store.put(product, cog) for product, cog in made]
    store.publish(season, records, areas(season))
    store.close()


def of_season(maps: Made, season: Season) -> Made:
    """Copies of the maps as those of another season; a store takes the files over."""
    found = []
    for product, cog in maps:
        copy = cog.with_name(f"{season.slug}.{cog.name}")
        shutil.copyfile(cog, copy)
        found.append((replace(product, id=replace(product.id, season=season.name), season=season), copy))
    return found


def areas(season: Season) -> pd.DataFrame:
    rows = [
        {
            "target": "salinity", "units_of": season.end, "mask_version": "", "level": "commune", "code": f"{n:05}",
            "name": f"Xã {n}", "indicator": indicator, "land_m2": 10**8, "mapped_m2": 9 * 10**7, "unknown_m2": 10**7,
            "unknown_percent": 10.0, "map_m2": n, "expected_m2": n, "lower_m2": 0, "upper_m2": 2 * n, "note": "SIMULATED",
        }
        for n in range(COMMUNES) for indicator in ("over_2", "over_4", "over_8")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def readers(address: str, until: Callable[[], bool]) -> dict[str, list[float]]:
    """Milliseconds of each query of eight readers, while ``until`` is false."""
    found: dict[str, list[float]] = {"point": [], "commune": []}
    lon, lat = rasterio.warp.transform("EPSG:32648", "EPSG:4326", [605000, 650000], [1195000, 1150000])

    def read(seed: int) -> None:
        rng = random.Random(seed)
        with psycopg.connect(address, autocommit=True) as connection:
            while not until():
                kind = rng.choice(("point", "commune"))
                start = time.perf_counter()
                if kind == "point":
                    place = rng.uniform(lon[0], lon[1]), rng.uniform(lat[1], lat[0])
                    connection.execute(
                        "SELECT phusa.value('bench', '2025-dry', 'salinity', 'estimate', %s, %s)", place
                    ).fetchone()
                else:
                    connection.execute(
                        "SELECT indicator, map_m2, lower_m2, upper_m2 FROM phusa.area WHERE region = 'bench' AND "
                        "season = '2025-dry' AND target = 'salinity' AND level = 'commune' AND code = %s",
                        (f"{rng.randrange(COMMUNES):05}",),
                    ).fetchall()
                found[kind].append(1000 * (time.perf_counter() - start))
                time.sleep(0.02)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(READERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def tell(when: str, found: dict[str, list[float]]) -> None:
    for kind, times in found.items():
        cuts = statistics.quantiles(times, n=20)
        print(
            f"  {kind} query, {READERS} readers, {when}: p50 {cuts[9]:.1f} ms, p95 {cuts[18]:.1f} ms of {len(times)}"
        )


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10980
    repeats = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    for program, package in (("raster2pgsql", "postgis"), ("psql", "postgresql-client")):
        if not shutil.which(program):
            sys.exit(
                f"{program} is missing, the rival of this benchmark: the system package {package} has it"
            )
    with tempfile.TemporaryDirectory() as name, private.server() as server:
        folder = Path(name)
        folder.chmod(0o755)
        with psycopg.connect(f"{server.address}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        address = f"{server.address}/bench"
        schema.migrate(address)
        maps = [private.product(folder, target, size, seed=1) for target in TARGETS]
        cogs = [cog for _, cog in maps]
        print(
            f"one tile of {size} px, {' and '.join(TARGETS)}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
        )
        seconds: dict[str, list[float]] = {"phusa": [], "pixels": [], "rival": []}
        with psycopg.connect(address, autocommit=True) as connection:
            for k in range(repeats):
                season = Season(f"2025-{k}", private.SEASON.start, private.SEASON.end)
                made = of_season(maps, season)
                connection.execute("CHECKPOINT")
                seconds["phusa"].append(timed(lambda m=made, s=season: publish(address, folder, m, s)))  # type: ignore[misc]
                connection.execute("DROP TABLE IF EXISTS bare")
                connection.execute("CHECKPOINT")
                seconds["pixels"].append(timed(lambda: pixels(address, cogs)))
                connection.execute("DROP TABLE IF EXISTS rival0, rival1")
                connection.execute("CHECKPOINT")
                seconds["rival"].append(timed(lambda: rival(address, cogs)))
            sizes = connection.execute(
                "SELECT pg_total_relation_size('bare'), pg_total_relation_size('rival0') + pg_total_relation_size('rival1')"
            ).fetchone()
            connection.execute("DROP TABLE bare, rival0, rival1")
        assert sizes
        medians = {k: statistics.median(v) for k, v in seconds.items()}
        print(
            f"  phusa, whole publication {medians['phusa']:.1f} s; its pixels alone {medians['pixels']:.1f} s; "
            f"raster2pgsql | psql {medians['rival']:.1f} s (medians of {repeats}, interleaved)"
        )
        print(
            f"  ratios: whole {medians['rival'] / medians['phusa']:.2f}, pixels {medians['rival'] / medians['pixels']:.2f}; "
            f"on disk {sizes[0] / 1e6:.0f} MB against {sizes[1] / 1e6:.0f} MB, {sizes[0] / sizes[1]:.2f}"
        )
        publish(address, folder, of_season(maps, private.SEASON), private.SEASON)
        end = time.monotonic() + 10
        tell("quiet", readers(address, lambda: time.monotonic() > end))
        season = Season("2026-dry", private.SEASON.start, private.SEASON.end)
        made = of_season(maps, season)
        writer = multiprocessing.get_context("fork").Process(
            target=publish, args=(address, folder, made, season)
        )
        writer.start()
        tell("while a publication runs", readers(address, lambda: not writer.is_alive()))
        writer.join()
        if writer.exitcode:
            sys.exit("the publication failed")


if __name__ == "__main__":
    main()
