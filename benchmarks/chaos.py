"""Kills and faults at random moments: does a season still end at the bytes of an undisturbed run?

Usage: chaos.py [KILLS] [--seed N] [--no-links] [--folder F] (which keeps what was built for another time). A small simulated delta whose images come over HTTP from a
server that resets, truncates and refuses now and then. A Dask scheduler, two workers and the driver are
processes of their own; KILLS (24) times one of them is killed (SIGKILL), the driver also while it publishes.
Whatever was killed is started again, until a round is whole; then it begins anew with an empty store. Before
that, two workers in network namespaces of their own lose their link while they work (needs root; else it says so).

Looked at: after each kill, that what is published is whole or not there; after each round, every file
against the undisturbed run; how many blocks were made more than once; that a release exists once.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
from faults import Faults, serve

from pipeline import journal
from pipeline.stores.folder import FolderStore

PROGRAM = "from pipeline.cli import main; main()"
SETTINGS = (
    "seed: 5\nsize_px: 192\nsites: 80\nreference_sites: 8\noptical_dates: 6\nradar_dates: 3\nquick: true\n"
)
BLOCK_PX = 48
REGION, SEASON = "demo-simulated", "2025-dry"
#: Passing faults of the source; each is planted in turn on some file's next request.
PASSING = ["status 503", "status 429 0", "reset", "truncate", "wrong range"]
#: Dask notices a dead link within seconds here, not minutes.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(ROOT),
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "15s",
    "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "10s",
    "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "60s",
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "10",
}


@dataclass
class Land:
    """What is mapped, and where it goes."""

    folder: Path
    config: Path
    scenes: Path
    bundles: list[str]

    @property
    def store(self) -> Path:
        return self.config.parent / "store"

    @property
    def journals(self) -> list[journal.Told]:
        return journal.all_of(self.store / "work" / REGION)

    def command(self, scheduler: str) -> list[str]:
        return [sys.executable, "-c", PROGRAM, "run", str(self.config), "--season", SEASON, "--scenes", str(self.scenes),
                *self.bundles, "--scheduler", scheduler, "--json"]  # fmt: skip

    def digests(self) -> dict[str, str]:
        """Every file of the store; journals tell when things happened, which no two runs share."""
        files = [p for p in sorted(self.store.rglob("*")) if p.is_file() and "journals" not in p.parts]
        return {str(p.relative_to(self.store)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def phusa(*arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments), "--json"], capture_output=True, text=True, check=False,
        env=ENVIRONMENT,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)


def build(folder: Path) -> Land:
    bundles = [part for name in ("salinity", "degradation") for part in ("--bundle", str(folder / name))]
    out, settings = folder / "demo", folder / "quick.yaml"
    if (folder / "degradation").is_dir():
        return Land(folder, out / "demo.yaml", folder / "scenes.json", bundles)
    settings.write_text(SETTINGS)
    phusa("demo", "--simulation", settings, "--out", out, "--only-data")
    config = out / "demo.yaml"
    content = yaml.safe_load(config.read_text())
    content["region"]["grid"]["block_px"] = BLOCK_PX
    config.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    phusa("scenes", config, "--season", SEASON, "--out", folder / "scenes.json")
    phusa("samples", config, "--out", folder / "samples.parquet")
    for target in ("salinity", "degradation"):
        phusa(
            "train",
            config,
            "--target",
            target,
            "--samples",
            folder / "samples.parquet",
            "--out",
            folder / target,
        )
    return Land(folder, config, folder / "scenes.json", bundles)


def over_http(land: Land, server: Faults) -> None:
    """The scenes' files at the server's address."""
    text = land.scenes.read_text().replace(str(land.config.parent), server.address)
    land.scenes.write_text(re.sub(r"http://[0-9.]+:[0-9]+", server.address, text))


@dataclass
class Cluster:
    """A scheduler and two workers; whatever is killed is started again."""

    folder: Path
    host: str = "127.0.0.1"
    prefix: tuple[tuple[str, ...], ...] = ((), ())
    """What a worker's command begins with: how it enters its namespace."""
    port: int = 0
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        with socket.socket() as s:
            s.bind((self.host, 0))
            self.port = s.getsockname()[1]
        self._mend()
        self.keeper = threading.Thread(target=self._keep, daemon=True)
        self.keeper.start()

    def _keep(self) -> None:
        while not self.done.wait(0.5):
            self._mend()

    @property
    def address(self) -> str:
        return f"tcp://{self.host}:{self.port}"

    def _mend(self) -> None:
        """Start what does not run."""
        scheduler = [
            "-m",
            "distributed.cli.dask_scheduler",
            "--host",
            self.host,
            "--port",
            str(self.port),
            "--no-dashboard",
        ]
        worker = ["-m", "distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard",
                  "--death-timeout", "600", "--local-directory", str(self.folder)]  # fmt: skip
        wanted = {"scheduler": ((), scheduler)} | {
            f"worker {k}": (p, worker) for k, p in enumerate(self.prefix)
        }
        for name, (prefix, arguments) in wanted.items():
            if name not in self.processes or self.processes[name].poll() is not None:
                self.processes[name] = subprocess.Popen(
                    [*prefix, sys.executable, *arguments], env=ENVIRONMENT,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                if name == "scheduler":
                    self._answers()

    def _answers(self) -> None:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with socket.socket() as s:
                if s.connect_ex((self.host, self.port)) == 0:
                    return
            time.sleep(0.1)
        sys.exit("the scheduler does not come up")

    def close(self) -> None:
        self.done.set()
        self.keeper.join()
        for process in self.processes.values():
            process.kill()
            process.wait()


class Driver:
    """One attempt at the season."""

    def __init__(self, land: Land, scheduler: str, number: int) -> None:
        self.told = land.folder / f"driver-{number}.err"
        with self.told.open("wb") as err, (land.folder / f"driver-{number}.out").open("wb") as out:
            self.process = subprocess.Popen(land.command(scheduler), stdout=out, stderr=err, env=ENVIRONMENT)

    @property
    def all_mapped(self) -> bool:
        text = self.told.read_text()
        return any(
            " of " in x and x.split()[1] == x.split()[3] for x in text.splitlines() if x.startswith("map: ")
        )

    def ended(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def half_visible(land: Land) -> list[str]:
    """What a reader of the store would find amiss now."""
    store = FolderStore(land.store, REGION)
    if not (land.store / "catalog.json").exists():
        return []
    return store.verify()


@dataclass
class Tally:
    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    different: list[str] = field(default_factory=list)
    visible: list[str] = field(default_factory=list)
    twice: int = 0
    blocks: int = 0
    releases: set[int] = field(default_factory=set)


def one_round(
    land: Land, cluster: Cluster, rng: random.Random, tally: Tally, kills: int, whole_s: float, tail_s: float
) -> None:
    """From an empty store to a release: a worker or the scheduler is killed every few seconds, and of three
    drivers one at a random moment, one while it assembles and publishes."""
    shutil.rmtree(land.store, ignore_errors=True)
    number = 0
    while True:
        driver, begun = Driver(land, cluster.address, number), time.monotonic()
        fate = (
            rng.choice(["lives", "at a moment", "publishing"])
            if sum(tally.kills.values()) < kills
            else "lives"
        )
        moment, published_at = rng.uniform(0.3, 1.0) * whole_s, float("inf")
        wait = rng.uniform(0.02, 0.15) * whole_s
        number += 1
        while not driver.ended(0.05):
            now = time.monotonic() - begun
            if fate == "publishing" and published_at == float("inf") and driver.all_mapped:
                published_at = now + rng.uniform(0, tail_s)
            if (fate == "at a moment" and now > moment) or now > published_at:
                kill(driver.process, "publishing driver" if fate == "publishing" else "driver", land, tally)
                break
            if now > wait and sum(tally.kills.values()) < kills:
                victim = rng.choice(["worker 0", "worker 1", "worker 0", "worker 1", "scheduler"])
                kill(cluster.processes[victim], victim, land, tally)
                wait = now + rng.uniform(0.1, 0.3) * whole_s
            if now > 60 * whole_s:
                sys.exit("a driver hangs")
        tally.visible += half_visible(land)
        if driver.process.wait() == 0:
            return


def kill(process: subprocess.Popen[bytes], name: str, land: Land, tally: Tally) -> None:
    """SIGKILL, and a look at what readers see then."""
    process.send_signal(signal.SIGKILL)
    process.wait()
    tally.kills[name] += 1
    tally.visible += half_visible(land)
    say(f"kill {sum(tally.kills.values())}: {name}; half visible so far: {tally.visible}")


def finish(land: Land, reference: dict[str, str], tally: Tally) -> None:
    made = Counter(b["block"] for told in land.journals for b in told.blocks)
    tally.blocks += len(made)
    tally.twice += sum(made.values()) - len(made)
    now = land.digests()
    tally.different += sorted(k for k in reference.keys() | now.keys() if reference.get(k) != now.get(k))
    tally.releases.add(len(list(land.store.glob("releases/*/*/*/collection.json"))))
    tally.rounds += 1
    say(
        f"round {tally.rounds}: {len(now)} files, different so far: {tally.different}; {tally.twice} of {tally.blocks} blocks made again"
    )


def say(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


@contextmanager
def disturbing(server: Faults, folder: Path, rng: random.Random) -> Iterator[None]:
    """Plant a passing fault of the source every quarter of a second."""
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*.tif")]
    done = threading.Event()

    def plant() -> None:
        while not done.wait(0.25):
            with server.lock:
                server.planted = {
                    f: [rng.choice(PASSING)] for f in rng.sample(files, max(1, len(files) // 20))
                }

    thread = threading.Thread(target=plant, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        server.planted = {}


def sh(command: str) -> bool:
    return subprocess.run(command.split(), capture_output=True, check=False).returncode == 0


@contextmanager
def namespaces() -> Iterator[tuple[str, list[str], list[str]] | None]:
    """(address of this side, names of two namespaces, their links), or None where that is not permitted."""
    mark = f"ph{os.getpid() % 10000}"
    names, links = [f"{mark}n{k}" for k in (0, 1)], [f"{mark}v{k}" for k in (0, 1)]
    steps = [
        f"ip link add {mark}b type bridge",
        f"ip addr add 10.77.0.1/24 dev {mark}b",
        f"ip link set {mark}b up",
    ]
    for k in (0, 1):
        steps += [
            f"ip netns add {names[k]}", f"ip link add {links[k]} type veth peer name eth0 netns {names[k]}",
            f"ip link set {links[k]} master {mark}b up", f"ip netns exec {names[k]} ip addr add 10.77.0.{k + 2}/24 dev eth0",
            f"ip netns exec {names[k]} ip link set eth0 up", f"ip netns exec {names[k]} ip link set lo up",
        ]  # fmt: skip
    try:
        yield ("10.77.0.1", names, links) if all(sh(step) for step in steps) else None
    finally:
        for k in (0, 1):
            sh(f"ip link del {links[k]}")
            sh(f"ip netns del {names[k]}")
        sh(f"ip link del {mark}b")


def links_drop(land: Land, reference: dict[str, str], rng: random.Random) -> None:
    """Two workers in namespaces of their own; the link of one, then of the other, goes for a while."""
    with namespaces() as made:
        if made is None:
            print("links: network namespaces are not permitted here; not tried")
            return
        host, names, links = made
        shutil.rmtree(land.store, ignore_errors=True)
        prefix = tuple(("ip", "netns", "exec", name) for name in names)
        with serve(land.config.parent, host) as server:
            before = land.scenes.read_text()
            over_http(land, server)
            cluster = Cluster(land.folder / "dask", host, prefix)
            drops, codes = 0, []
            try:
                for number in range(8):
                    driver = Driver(land, cluster.address, 900 + number)
                    while not driver.ended(0.1):
                        if drops < 2 and "map: " in driver.told.read_text():
                            link = links[drops]
                            time.sleep(rng.uniform(0.2, 1.0))
                            sh(f"ip link set {link} down")
                            drops += 1
                            driver.ended(15)
                            sh(f"ip link set {link} up")
                    codes.append(driver.process.returncode)
                    if codes[-1] == 0:
                        break
            finally:
                cluster.close()
                land.scenes.write_text(before)
    now = land.digests()
    # Records say where the images were, and that is another address here: the pixels are compared.
    maps = [k for k in reference.keys() | now.keys() if k.endswith(".tif")]
    different = sorted(k for k in maps if reference.get(k) != now.get(k))
    made_blocks = Counter(b["block"] for told in land.journals for b in told.blocks)
    print(
        f"links: {drops} dropped for 15 s, drivers ended with {codes}; {len(different)} of {len(maps)} maps and blocks differ "
        f"{different[:5]}; {sum(made_blocks.values()) - len(made_blocks)} of {len(made_blocks)} blocks made again",
        flush=True,
    )
    if different or codes[-1]:
        sys.exit(1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kills", type=int, nargs="?", default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-links", action="store_true")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    rng, tally = random.Random(options.seed), Tally()
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        (folder / "dask").mkdir(parents=True, exist_ok=True)
        land = build(folder)
        cluster = Cluster(folder / "dask")
        with serve(land.config.parent) as server:
            over_http(land, server)
            try:
                if options.folder is None:
                    undisturbed(land, cluster)  # compiles kernels
                whole_s, tail_s = undisturbed(land, cluster)
                say(f"undisturbed: {whole_s:.1f} s, of which {tail_s:.1f} s after the last block")
                reference = land.digests()
                if not options.no_links:
                    links_drop(land, reference, rng)
                with disturbing(server, land.config.parent, rng):
                    while sum(tally.kills.values()) < options.kills:
                        one_round(land, cluster, rng, tally, options.kills, whole_s, tail_s)
                        finish(land, reference, tally)
                asked = sum(server.asked.values())
            finally:
                cluster.close()
        print(
            f"an undisturbed run takes {whole_s:.0f} s, of which {tail_s:.1f} s after the last block; {asked} requests served"
        )
        print(f"{sum(tally.kills.values())} kills in {tally.rounds} rounds: {dict(tally.kills)}")
        print(f"{len(reference)} files a round; different from the undisturbed run: {tally.different}")
        print(f"half visible after a kill: {tally.visible}; releases a round: {sorted(tally.releases)}")
        print(f"{tally.twice} of {tally.blocks} blocks made more than once: those in flight at a kill")
    sys.exit(1 if tally.different or tally.visible or tally.releases != {1} else 0)


def undisturbed(land: Land, cluster: Cluster) -> tuple[float, float]:
    """Seconds that a whole run takes, and those of them after the last block."""
    shutil.rmtree(land.store, ignore_errors=True)
    begun, driver = time.monotonic(), Driver(land, cluster.address, 999)
    while not driver.all_mapped and driver.process.poll() is None:
        time.sleep(0.02)
    mapped = time.monotonic()
    driver.process.wait()
    if driver.process.returncode:
        sys.exit(driver.told.read_text())
    return time.monotonic() - begun, time.monotonic() - mapped


if __name__ == "__main__":
    main()
