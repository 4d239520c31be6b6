"""Tasks on threads, processes or a Dask cluster. A failure is a value: one task does not stop the rest."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import dask
from dask.utils import parse_timedelta
from distributed import Client, LocalCluster, Worker, as_completed, system
from distributed.diagnostics.plugin import SchedulerPlugin, WorkerPlugin

from pipeline.errors import InputError, PhusaError

log = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")

#: Tasks sent ahead for each worker thread: enough to keep it busy, few enough to bound memory.
AHEAD = 2
#: What Dask's own scheduler counts for us: bytes that tasks may need at their peak, worker by worker.
MEMORY = "phusa-memory"
#: Share of a machine's (or container's) memory that blocks may take together.
USABLE = 0.8
#: Dask's setting that says how long a scheduler without a worker is waited for: "90s", "10m", "24h".
WAIT, USUAL_WAIT = "phusa.wait-for-workers", "10m"
#: How long a scheduler has to answer first.
CONNECT = "10s"
#: Seconds without any result after which the workers are looked at, and those that a scheduler has to answer.
LOOK_S, ANSWER_S = 5.0, 30.0
#: Environment that opens the database; workers compute, and need none of it.
_CREDENTIALS = ("PHUSA_DSN", "PG", "POSTGRES_")
#: Environment that opens buckets: that of the store, and those of images where they lie in some.
_KEYS = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of a task: a result, or the error that took it."""

    task: T
    result: R | None
    error: str = ""

    def __bool__(self) -> bool:
        return not self.error


class WorkerSetup(WorkerPlugin):
    """Makes a worker of a foreign cluster one of ours, also one that joins later: without credentials of the
    database, and with its memory known to itself."""

    name = "phusa-setup"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Called on each worker."""
        for name in credentials():
            os.environ.pop(name, None)
        room = USABLE * (worker.memory_manager.memory_limit or system.MEMORY_LIMIT)
        for known in (worker.state.total_resources, worker.state.available_resources):
            known.setdefault(MEMORY, room)


class WorkerDeaf(WorkerPlugin):
    """Ctrl-C on a terminal reaches every process of it; workers leave it to the driver, which ends them."""

    name = "phusa-deaf"
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Called on each worker, in its main thread."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class WorkerRoom(SchedulerPlugin):
    """States the memory of each worker to the scheduler before it looks for work that the worker may do.

    A worker that states it by itself does so too late: where all workers were gone, what waits for their
    memory is only looked at as a worker joins.
    """

    name = "phusa-room"
    idempotent = True

    async def start(self, scheduler: Any) -> None:
        """Called as the first driver connects."""
        for address in scheduler.workers:
            self.add_worker(scheduler, address)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Called as a worker joins."""
        state = scheduler.workers[worker]
        if MEMORY not in state.resources:
            limit = state.memory_limit or system.MEMORY_LIMIT
            scheduler.add_resources(worker=worker, resources={MEMORY: USABLE * limit})


def credentials() -> list[str]:
    """Names of environment variables that open a database."""
    return [name for name in os.environ if name.startswith(_CREDENTIALS)]


@contextmanager
def _without_credentials(keys: bool) -> Iterator[None]:
    """Worker processes inherit the environment of the moment they start, and some start again later."""
    names = [*credentials(), *(name for name in _KEYS if name in os.environ and not keys)]
    taken = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(taken)


@contextmanager
def cluster(scheduler: str, keys: bool = True) -> Iterator[Client]:
    """A Dask client: ``threads`` or ``processes`` of this machine, or ``tcp://host:port``.

    Worker processes are spawned, and see no database credentials; ``keys`` of buckets only where images need
    them. Raises InputError where the
    scheduler is of another kind or does not answer.
    """
    settings = {
        "distributed.comm.timeouts.connect": CONNECT,
        "distributed.worker.daemon": False,
        "distributed.worker.multiprocessing-method": "spawn",
    }
    with dask.config.set(settings):
        if scheduler in ("threads", "processes"):
            own = scheduler == "processes"
            with _without_credentials(keys or not own), _local(own) as local, Client(local) as client:
                if own:
                    client.register_plugin(WorkerDeaf())
                yield client
        elif scheduler.startswith(("tcp://", "tls://")):
            try:
                client = Client(scheduler, timeout=CONNECT)
            except (OSError, ValueError, TimeoutError) as error:
                raise InputError(f"no Dask scheduler answers at {scheduler}: {error}") from None
            with client:
                _first_worker(client, scheduler)
                client.register_plugin(WorkerSetup())
                client.register_plugin(WorkerRoom())
                yield client
        else:
            raise InputError(f"unknown scheduler {scheduler!r}; known: threads, processes, tcp://host:port")


def _first_worker(client: Client, scheduler: str) -> None:
    if workers(client):
        return
    log.warning("the Dask scheduler %s has no worker yet; waiting up to %.0f s", scheduler, patience())
    try:
        client.wait_for_workers(1, timeout=patience())
    except TimeoutError:
        raise PhusaError(
            f"the Dask scheduler {scheduler} has had no worker for {patience():.0f} s; "
            "start some and run the same command again"
        ) from None


def patience() -> float:
    """Seconds that a scheduler without a worker is waited for."""
    return float(parse_timedelta(dask.config.get(WAIT, USUAL_WAIT)))


def _local(processes: bool) -> LocalCluster:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = cores if processes else 1
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1 if processes else cores,
        processes=processes,
        dashboard_address=None,
        silence_logs=logging.CRITICAL,
        memory_limit=0,
        # One pool of memory for all: ``slots`` shares it out, whichever worker takes a block.
        resources={MEMORY: USABLE * system.MEMORY_LIMIT},
    )


def slots(client: Client, peak_bytes: float) -> int:
    """How many tasks of ``peak_bytes`` may run at a time: by threads, and by the memory of each worker.

    Raises InputError where not one fits.
    """
    threads = [(int(w["nthreads"]), _room(w)) for w in workers(client)]
    if not threads:
        raise PhusaError("the Dask scheduler has no worker; start some and run again")
    if peak_bytes <= 0:
        return sum(n for n, _ in threads)
    most = max(memory for _, memory in threads)
    if peak_bytes > most:
        raise InputError(
            f"a block may need {peak_bytes / 1e9:.1f} GB and a worker has {most / 1e9:.1f} GB for blocks; "
            "lower region.grid.block_px, or give workers more memory"
        )
    if isinstance(client.cluster, LocalCluster):
        return min(sum(n for n, _ in threads), int(most // peak_bytes))
    return sum(min(n, int(memory // peak_bytes)) for n, memory in threads)


def workers(client: Client) -> list[Mapping[str, Any]]:
    """What the scheduler knows of each worker, asked of itself.

    Not ``client.scheduler_info``: every few seconds the client notes totals without workers in the place that
    it answers from. Raises OSError where there is no answer.
    """
    scheduler = client.scheduler
    if scheduler is None:
        return []
    told = client.sync(scheduler.identity, n_workers=-1, callback_timeout=ANSWER_S)
    return list(told["workers"].values())


def _room(worker: Mapping[str, Any]) -> float:
    """Bytes that blocks may take on a worker."""
    return float(worker["resources"].get(MEMORY, "inf"))


class _Watch:
    """Looks after the workers while nothing comes back: says when none is left, waits, and gives up."""

    def __init__(self, client: Client, tell: Callable[[int], None]) -> None:
        self.client, self.tell = client, tell
        self.since: float | None = None
        """When there was none first."""

    def look(self, peak_bytes: float) -> bool:
        """Whether somebody with room for ``peak_bytes`` is there; PhusaError where nobody has been for too long."""
        now = time.monotonic()
        if able := self._able(peak_bytes):
            self.back(able)
        elif self.since is None:
            log.warning("no worker is left that could go on; waiting up to %.0f s for one", patience())
            self.since = now
            self.tell(0)
        elif now - self.since > patience():
            raise PhusaError(
                f"no worker with room for a block ({peak_bytes / 1e9:.1f} GB) has been there for "
                f"{now - self.since:.0f} s; what was finished is stored: start workers and run the same command again"
            )
        return bool(able)

    def heard(self) -> None:
        """Something came back."""
        if self.since is not None:
            self.back(max(1, self._able(0)))

    def back(self, workers: int) -> None:
        """Somebody is there."""
        if self.since is not None:
            log.warning("workers are there again: %d", workers)
            self.since = None
            self.tell(workers)

    def _able(self, peak_bytes: float) -> int:
        """Workers that could take such a task; 0 where the scheduler does not answer."""
        try:
            return sum(_room(worker) >= peak_bytes for worker in workers(self.client))
        except (OSError, CancelledError):
            return 0


def _unheard(workers: int) -> None:
    """Nobody asked to be told."""


def flight(client: Client, peak_bytes: float) -> int:
    """How many tasks of ``peak_bytes`` are sent at a time: some ahead, unless memory allows no more at once."""
    at_once, threads = slots(client, peak_bytes), slots(client, 0)
    return at_once if at_once < threads else AHEAD * threads


@dataclass(frozen=True)
class Call(Generic[T]):
    """A function to be called on a worker for a task."""

    task: T
    function: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    peak_bytes: float = 0
    """Memory that the call may need."""


class Flow(Generic[T, R]):
    """Calls on their way through a client, at most ``limit()`` at a time; iterate for their outcomes.

    The limit is asked again as time goes on: workers join and leave. Calls may be added while outcomes are read; ``stop`` sends no more of the waiting ones. Driver
    memory: the results of what is in flight. ``tell`` hears of 0 when no worker is left, and how many
    there are when some are back.
    """

    def __init__(
        self, client: Client, limit: Callable[[], int], tell: Callable[[int], None] = _unheard
    ) -> None:
        self.client, self._ask = client, limit
        self.limit, self._asked = max(1, limit()), time.monotonic()
        self.waiting: deque[Call[T]] = deque()
        self._owner: dict[Any, Call[T]] = {}
        self._running = as_completed([], loop=client.loop)
        self._watch = _Watch(client, tell)

    def add(self, call: Call[T], first: bool = False) -> None:
        """Let a call wait its turn; ``first``: before all that wait."""
        self.waiting.appendleft(call) if first else self.waiting.append(call)

    def stop(self) -> list[Call[T]]:
        """Send no more of what waits, and tell what that was; what is in flight goes on to its end."""
        left = list(self.waiting)
        self.waiting.clear()
        return left

    def __iter__(self) -> Iterator[Outcome[T, R]]:
        while self._send():
            if not self._back():
                continue  # there may be room for more
            try:
                future = next(self._running)
            except (StopIteration, CancelledError):
                raise self._gone() from None
            yield self._outcome(future)

    def _back(self) -> bool:
        """Whether something came back, or nothing will; False when it is time to send more."""
        while not self._running.has_ready() and not self._running.is_empty():
            if self._look():
                return False
            with self._running.thread_condition:
                self._running.thread_condition.wait(0.1)
        self._watch.heard()
        self._look()
        return True

    def _look(self) -> bool:
        """Now and then: who is there, and how much may be in flight. True where that grew."""
        if time.monotonic() - self._asked < LOOK_S or self.client.status != "running":
            return False
        had, self._asked = self.limit, time.monotonic()
        if self._watch.look(max((call.peak_bytes for call in self._owner.values()), default=0)):
            # What goes away in this very moment, the next look tells.
            with suppress(OSError, PhusaError, CancelledError):
                self.limit = max(1, self._ask())
        return self.limit > had

    def _send(self) -> bool:
        """Fill the flight; False where nothing is in the air."""
        while self.waiting and len(self._owner) < self.limit:
            call = self.waiting.popleft()
            limits = {"resources": {MEMORY: call.peak_bytes}} if call.peak_bytes else {}
            future = self.client.submit(call.function, call.task, *call.arguments, pure=False, **limits)
            self._owner[future] = call
            self._running.add(future)
        return bool(self._owner)

    def _outcome(self, future: Any) -> Outcome[T, R]:
        task = self._owner.pop(future).task
        try:
            if future.cancelled() or self.client.status != "running":
                raise self._gone()
            error = future.exception()
            result = None if error else future.result()
        except (CancelledError, OSError):  # the scheduler went away, and with it what it knew
            raise self._gone() from None
        with suppress(Exception):
            future.release()
        if error is None:
            return Outcome(task, result)
        log.debug("task failed", exc_info=error)
        return Outcome(task, None, f"{type(error).__name__}: {error}")

    @staticmethod
    def _gone() -> PhusaError:
        return PhusaError(
            "the Dask scheduler is gone; what was finished is stored: start it and run the same command again"
        )


def execute(
    client: Client, function: Callable[..., R], tasks: Sequence[T], *shared: Any
) -> Iterator[Outcome[T, R]]:
    """Outcomes of ``function(task, *shared)`` as they come; ``shared`` is sent to each worker once.

    Driver memory: the results in flight, at most ``AHEAD`` a worker thread.
    """
    if not tasks:
        return iter(())
    common = tuple(client.scatter(value, broadcast=True, hash=False) for value in shared)
    flow: Flow[T, R] = Flow(client, lambda: flight(client, 0))
    for task in tasks:
        flow.add(Call(task, function, common))
    return iter(flow)
