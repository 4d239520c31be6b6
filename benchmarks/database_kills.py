"""Do kills during publication leave half a release, or anything at all?

Usage: database_kills.py [KILLS]. Publishes new maps again and again, and kills, at random moments and in turn, the
client (SIGKILL), its backend (pg_terminate_backend) and the server (immediate stop). After each: is a whole
release visible, is everything as released? At the end, after repair: is anything left?
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psycopg
from support import private_postgres as private

from pipeline.product import Product
from pipeline.stores import repairs, schema
from pipeline.stores.postgis import PostgisStore

WAYS = ("client", "backend", "server")
TARGETS = ("salinity", "degradation")
Made = list[tuple[Product, Path]]


def keyed(maps: Made, name: str) -> Made:
    """The same pixels as if made from other inputs: new rows, new files."""
    key = hashlib.sha256(name.encode()).hexdigest()
    return [(replace(product, key=key), cog) for product, cog in maps]


def publish(address: str, folder: Path, made: Made) -> None:
    """As `phusa map` and `phusa publish` do; the COGs are copied, since a store takes them over."""
    store = PostgisStore.open(folder / "store", "bench", address)
    records = []
    for product, cog in made:
        copy = folder / f"{os.getpid()}.{cog.name}"
        shutil.copyfile(cog, copy)
        records.append(store.put(product, copy))
    store.publish(private.SEASON, records)
    store.close()


def child(address: str, folder: Path, made: Made) -> int:
    """Its process id."""
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        code = 1
        try:
            publish(address, folder, made)
            code = 0
        finally:
            os._exit(code)
    return pid


def kill(way: str, pid: int, server: private.Server) -> None:
    if way == "client":
        os.kill(pid, signal.SIGKILL)
    elif way == "backend":
        with psycopg.connect(f"{server.address}/postgres", autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'phusa'"
            )
    else:
        server.stop(signal.SIGQUIT)
        server.start()
    os.waitpid(pid, 0)


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as name, private.server() as server:
        folder = Path(name)
        with psycopg.connect(f"{server.address}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        address = f"{server.address}/bench"
        schema.migrate(address)
        maps = [private.product(folder, target, 768, seed=1) for target in TARGETS]
        for n in range(2):  # the first one is slow: it imports and opens
            start = time.monotonic()
            publish(address, folder, keyed(maps, f"undisturbed {n}"))
            seconds = time.monotonic() - start
        halves = harmed = landed = 0
        before = {keyed(maps, "undisturbed 1")[0][0].key}
        for n in range(kills):
            made = keyed(maps, f"killed {n}")
            pid = child(address, folder, made)
            time.sleep(rng.uniform(0, 1.2) * seconds)
            kill(WAYS[n % 3], pid, server)
            store = PostgisStore.open(folder / "store", "bench", address)
            shown = store.published(private.SEASON)
            keys = {r.key for r in shown}
            done = keys == {made[0][0].key}
            halves += len(shown) != len(TARGETS) or not (done or keys == before)
            harmed += bool(store.verify())
            landed += done
            before = keys
            store.close()
        with psycopg.connect(address, autocommit=True) as connection:
            left = len(repairs.orphans(connection))
            repaired = repairs.repair(connection)
            after = len(repairs.orphans(connection))
        store = PostgisStore.open(folder / "store", "bench", address)
        faults = store.verify()
        store.close()
    print(
        f"a publication takes {seconds:.1f} s; {kills} kills ({', '.join(WAYS)} in turn), {landed} after it was done"
    )
    print(f"half releases {halves}, integrity faults after a kill {harmed}, faults at the end {len(faults)}")
    print(f"orphans left by the kills {left}, after repair {after} ({len(repaired)} things done)")
    sys.exit(1 if halves or harmed or faults or after else 0)


if __name__ == "__main__":
    main()
