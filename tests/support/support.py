"""Helpers that test modules import."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed import Worker

#: Real data beside the checkout; tests that need it skip where it is not.
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        return value


Phusa = Callable[..., Answer]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    """Until the server behind ``url`` answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            pytest.fail(f"the server of {url} ended with {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"nothing answers at {url}")


def wait_for_port(port: int, seconds: float = 90) -> None:
    """Until something listens there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    pytest.fail(f"nothing listens on port {port}")


def halve(task: int, by: int) -> float:
    """A task that workers of another process can import."""
    return task / by


def whoami(task: int) -> int:
    """The process that did the task."""
    time.sleep(0.05)
    return os.getpid()


def environment_of_worker() -> tuple[int, dict[str, str]]:
    """The worker's process and what its environment holds."""
    return os.getpid(), dict(os.environ)


def resources_of_worker(dask_worker: Worker) -> list[dict[str, float]]:
    """What the worker says that it has, and what of it is free."""
    state = dask_worker.state
    return [dict(state.total_resources), dict(state.available_resources)]


#: Tasks of this process that run now.
running: list[int] = []


def count_running(task: int) -> int:
    """The most tasks that ran beside this one, itself among them."""
    running.append(task)
    most = 0
    for _ in range(20):
        most = max(most, len(running))
        time.sleep(0.005)
    running.remove(task)
    return most
