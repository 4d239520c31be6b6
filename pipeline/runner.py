"""Tasks on threads, processes or a Dask cluster. A failure is a value: one task does not stop the rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dask
from distributed import Client, LocalCluster, as_completed

from pipeline.errors import InputError

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

#: Tasks sent ahead for each worker thread: enough to keep it busy, few enough to bound memory.
AHEAD = 2


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of a task: a result, or the error that took it."""

    task: T
    result: R | None
    error: str = ""

    def __bool__(self) -> bool:
        return not self.error


@contextmanager
def cluster(scheduler: str) -> Iterator[Client]:
    """A Dask client: ``threads`` or ``processes`` of this machine, or ``tcp://host:port``.

    Raises InputError where the scheduler is of another kind or does not answer.
    """
    with dask.config.set({"distributed.comm.timeouts.connect": "10s", "distributed.worker.daemon": False}):
        if scheduler in ("threads", "processes"):
            with _local(scheduler == "processes") as local, Client(local) as client:
                yield client
        elif scheduler.startswith(("tcp://", "tls://")):
            try:
                client = Client(scheduler, timeout="10s")
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(f"no Dask scheduler answers at {scheduler}: {error}") from None
            with client:
                if not client.ncores():
                    client.wait_for_workers(1, timeout=60)
                yield client
        else:
            raise InputError(f"unknown scheduler {scheduler!r}; known: threads, processes, tcp://host:port")


def _local(processes: bool) -> LocalCluster:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return LocalCluster(
        n_workers=cores if processes else 1,
        threads_per_worker=1 if processes else cores,
        processes=processes,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        memory_limit=0,
    )


def execute(
    client: Client, function: Callable[..., R], tasks: Sequence[T], *shared: Any
) -> Iterator[Outcome[T, R]]:
    """Outcomes of ``function(task, *shared)`` as they come; ``shared`` is sent to each worker once.

    Driver memory: the results in flight, at most ``AHEAD`` a worker thread.
    """
    common = [client.scatter(value, broadcast=True, hash=False) for value in shared]
    waiting = iter(tasks)
    owner: dict[Any, T] = {}
    running = as_completed([])

    def send() -> None:
        for task in waiting:
            future = client.submit(function, task, *common, pure=False)
            owner[future] = task
            running.add(future)
            return

    for _ in range(AHEAD * max(1, sum(client.ncores().values()))):
        send()
    for future in running:
        task = owner.pop(future)
        error = future.exception()
        if error is None:
            yield Outcome(task, future.result())
        else:
            log.debug("task failed", exc_info=error)
            yield Outcome(task, None, f"{type(error).__name__}: {error}")
        future.release()
        send()
