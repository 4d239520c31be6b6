"""A Dask scheduler and its workers as processes of their own, as operators start them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from support import free_port, wait_for_port


@dataclass
class Cluster:
    """What runs; killed at the end."""

    folder: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    """The scheduler, then its workers."""

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{program}", *arguments, "--no-dashboard"],
            env={**os.environ, **self.environment, "PYTHONPATH": os.pathsep.join(path)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def worker(self) -> subprocess.Popen[bytes]:
        """One more, of one thread."""
        return self.start("dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--memory-limit", "2GB",
                          "--local-directory", str(self.folder))  # fmt: skip


@contextmanager
def start(folder: Path, workers: int, environment: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A scheduler that listens, and ``workers`` on their way to it."""
    made = Cluster(folder, environment or {})
    try:
        made.start("dask_scheduler", "--host", "127.0.0.1", "--port", str(made.port))
        for _ in range(workers):
            made.worker()
        wait_for_port(made.port)
        yield made
    finally:
        for process in made.processes:
            process.kill()
        for process in made.processes:
            process.wait(20)
