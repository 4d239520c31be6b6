"""What a season will cost, before anything of it is read: from its records, and from what past runs took.

Model. The processor time of a run is linear in its amounts of work (``work.Work``), stage by stage:
loading in reads and in bytes before compression, computing in blocks, in what features are made of and
in what comes out, storing in what comes out, encoding in COGs and their pixels. Rates are non-negative least
squares (Lawson and Hanson 1974) over the blocks of past runs; the first of each process is left out. Each
worker process adds its start-up: what it took to compile and load, which its own blocks tell apart
(``stages.READY``), and what its first block took over the rates beside that; the median over past runs, since
only the first on a machine compiles all. Bytes read and stored are ratios. Wall time is processor time over
threads, by the ratio that past runs had.

Interval. Each past run is predicted from the others; the logarithms of actual over predicted have some
mean and spread. The mean corrects the forecast, the spread gives 90 % limits by Student's t, with a
prior worth of one run behind it: with few runs limits stay wide. With none, rates are those of
``benchmarks/forecast.py`` on a server of 2026 and limits a factor of three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import t as student

from pipeline.journal import BUDGET, DONE, Told
from pipeline.prices import Prices
from pipeline.stages import READY, TOTAL
from pipeline.work import Work, total

#: Factor between the expected value and either limit where nothing is known.
PRIOR_FACTOR = 3.0
#: Spread of the logarithm that one run of the prior has, once there are records of this machine.
PRIOR_SPREAD = 0.15
#: Share of the interval.
LEVEL = 0.90
#: A journal of fewer blocks than this teaches nothing.
LEAST_BLOCKS = 3
#: Ends of runs that teach: what was begun was finished, and is all in the journal.
ENDS = (DONE, BUDGET)
#: Latest runs that are learnt from.
RUNS = 20


@dataclass(frozen=True)
class Rates:
    """What one unit of work takes."""

    load_read: float = 0.002
    """Processor seconds a read."""
    load_mb: float = 0.007
    """Processor seconds a MB before compression."""
    compute_block: float = 0.05
    compute_stack: float = 0.005
    """Processor seconds a million of ground x dates x bands."""
    compute_out: float = 0.15
    """Processor seconds a million of pixels x product bands."""
    store_out: float = 0.02
    encode_product: float = 0.1
    encode_mpx: float = 0.16
    startup: float = 0.5
    """Processor seconds that a worker process's first block takes more than others, once a run."""
    ready: float = 3.0
    """Processor seconds that a worker process takes to compile and load, once a run."""
    read_mb: float = 0.75
    """Bytes read for each byte before compression."""
    disk_out: float = 0.9
    """Bytes on disk for each pixel x product band: stored blocks and the COG."""
    idle: float = 1.25
    """Wall seconds x threads for each processor second."""


@dataclass(frozen=True)
class Interval:
    """An expected amount and its 90 % limits."""

    low: float
    expected: float
    high: float

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.expected + other.expected, self.high + other.high)

    def times(self, factor: float) -> Interval:
        """Scaled."""
        return Interval(self.low * factor, self.expected * factor, self.high * factor)


@dataclass(frozen=True)
class Forecast:
    """What a run will take."""

    core_hours: Interval
    wall_hours: Interval
    read_gb: Interval
    network_gb: Interval
    disk_gb: Interval
    learnt_from: int
    """Past runs; 0 is the prior alone."""


@dataclass(frozen=True)
class Taken:
    """What a past run took, and what it was made of."""

    work: Work
    processes: int
    threads: int
    core_s: float
    ready_s: float
    """What of it was spent on compiling and loading."""
    wall_s: float
    bytes: float
    disk: float

    def so_ready(self, rates: Rates) -> Rates:
        """Rates as if it had been known how much this run had to compile: work is judged apart from it."""
        return replace(rates, ready=self.ready_s / self.processes)


@dataclass(frozen=True)
class Learnt:
    """Rates, and how far they were off in past runs."""

    rates: Rates = Rates()
    runs: int = 0
    core: tuple[float, float] = (0.0, 0.0)
    """Mean and spread of log(actual / predicted); likewise the rest."""
    wall: tuple[float, float] = (0.0, 0.0)
    read: tuple[float, float] = (0.0, 0.0)
    disk: tuple[float, float] = (0.0, 0.0)

    def forecast(self, amount: Work, threads: int, processes: int) -> Forecast:
        """What ``amount`` will take on ``threads`` in ``processes`` worker processes."""
        core = self._limits(core_seconds(self.rates, amount, processes), self.core)
        wall = self._limits(wall_seconds(self.rates, amount, threads, processes), self.wall)
        read = self._limits(self.rates.read_mb * amount.raw_mb * 1e6, self.read)
        remote = amount.remote_mb / amount.raw_mb if amount.raw_mb else 0.0
        disk = self._limits(self.rates.disk_out * amount.out_mpx * 1e6, self.disk)
        return Forecast(
            core.times(1 / 3600), wall.times(1 / 3600), read.times(1e-9), read.times(remote * 1e-9),
            disk.times(1e-9), self.runs,
        )  # fmt: skip

    def _limits(self, value: float, error: tuple[float, float]) -> Interval:
        if not self.runs:
            return Interval(value / PRIOR_FACTOR, value, value * PRIOR_FACTOR)
        middle = value * math.exp(error[0])
        factor = math.exp(
            float(student.ppf((1 + LEVEL) / 2, self.runs)) * error[1] * math.sqrt(1 + 1 / self.runs)
        )
        return Interval(middle / factor, middle, middle * factor)


def core_seconds(rates: Rates, amount: Work, processes: int) -> float:
    """Processor seconds by the model."""
    r, w = rates, amount
    load = r.load_read * w.reads + r.load_mb * w.raw_mb
    compute = r.compute_block * w.blocks + r.compute_stack * w.stack_mpx + r.compute_out * w.out_mpx
    encode = r.encode_product * w.products + r.encode_mpx * w.cog_mpx
    return load + compute + r.store_out * w.out_mpx + encode + (r.startup + r.ready) * processes


def wall_seconds(rates: Rates, amount: Work, threads: int, processes: int) -> float:
    """Wall seconds by the model."""
    return rates.idle * core_seconds(rates, amount, processes) / max(1, threads)


def learn(journals: Sequence[Told]) -> Learnt:
    """Rates and errors from the journals of past runs; the prior where none can be used."""
    usable = [t for t in journals if t.end and t.end["state"] in ENDS and len(t.blocks) >= LEAST_BLOCKS]
    usable = usable[-RUNS:]
    if not usable:
        return Learnt()
    taken = [taken_of(told) for told in usable]
    rates = _fit(usable, taken)
    alone = len(usable) == 1
    held_out = [
        rates if alone else _fit([*usable[:k], *usable[k + 1 :]], [*taken[:k], *taken[k + 1 :]])
        for k in range(len(usable))
    ]
    pairs = list(zip(taken, held_out, strict=True))

    def errors(
        actual: Callable[[Taken], float], said: Callable[[Taken, Rates], float]
    ) -> tuple[float, float]:
        return _spread(
            [math.log(actual(t) / said(t, r)) for t, r in pairs if actual(t) > 0 and said(t, r) > 0]
        )

    return Learnt(
        rates, len(usable),
        core=errors(lambda t: t.core_s, lambda t, r: core_seconds(t.so_ready(r), t.work, t.processes)),
        wall=errors(lambda t: t.wall_s, lambda t, r: wall_seconds(t.so_ready(r), t.work, t.threads, t.processes)),
        read=errors(lambda t: t.bytes, lambda t, r: r.read_mb * t.work.raw_mb * 1e6),
        disk=errors(lambda t: t.disk, lambda t, r: r.disk_out * t.work.out_mpx * 1e6),
    )  # fmt: skip


def _spread(logs: Sequence[float]) -> tuple[float, float]:
    """Mean, drawn towards 0 by one run of the prior, and spread with that run's added."""
    mean = sum(logs) / (len(logs) + 1)
    square = PRIOR_SPREAD**2 + sum((v - mean) ** 2 for v in logs)
    return mean, math.sqrt(square / (len(logs) + 1))


def _work(event: dict[str, Any]) -> Work:
    names = {f.name for f in fields(Work)}
    return Work(**{k: v for k, v in event["work"].items() if k in names})


def taken_of(told: Told) -> Taken:
    """What a run took, by its journal."""
    assert told.end is not None
    ready = sum(_cpu(e, READY) for e in (*told.blocks, *told.tiles))
    core = sum(_cpu(b, TOTAL) for b in told.blocks)
    core += sum(_cpu(t, "encode") + _cpu(t, READY) for t in told.tiles)
    return Taken(
        total(_work(b) for b in told.blocks)
        + Work(products=len(told.tiles), cog_mpx=sum(t["out_mpx"] for t in told.tiles)),
        len({b["process"] for b in told.blocks}),
        int(told.start["threads"]),
        core,
        ready,
        float(told.end["seconds"] - told.start["seconds"]),
        told.network_bytes + told.local_bytes,
        sum(b["stored_bytes"] for b in told.blocks) + sum(t["stored_bytes"] for t in told.tiles),
    )


def _cpu(event: dict[str, Any], stage: str) -> float:
    return float(event["stages"].get(stage, (0.0, 0.0))[1])


def _fit(journals: Sequence[Told], taken: Sequence[Taken]) -> Rates:
    first, rest = _parted(journals)
    works = np.array([astuple(_work(b)) for b in rest])
    column = {f.name: works[:, k] for k, f in enumerate(fields(Work))}

    def seconds(stage: str) -> NDArray[np.float64]:
        return np.array([_cpu(b, stage) for b in rest])

    load, store = seconds("load"), seconds("store")
    by_load = _nnls([column["reads"], column["raw_mb"]], load)
    computed = seconds(TOTAL) - load - store - seconds(READY)
    by_compute = _nnls([column["blocks"], column["stack_mpx"], column["out_mpx"]], computed)
    out = float(column["out_mpx"].sum())
    tiles = [t for told in journals for t in told.tiles]
    each = np.array([[1.0, t["out_mpx"]] for t in tiles]).reshape(-1, 2)
    by_encode = _nnls(list(each.T), np.array([_cpu(t, "encode") for t in tiles])) if tiles else [0.0, 0.0]
    rates = Rates(
        load_read=by_load[0], load_mb=by_load[1],
        compute_block=by_compute[0], compute_stack=by_compute[1], compute_out=by_compute[2],
        store_out=float(store.sum()) / max(out, 1e-9), startup=0.0, ready=0.0,
        encode_product=by_encode[0],
        encode_mpx=by_encode[1],
        read_mb=sum(t.bytes for t in taken) / max(1e6 * sum(t.work.raw_mb for t in taken), 1.0),
        disk_out=sum(t.disk for t in taken) / max(1e6 * sum(t.work.out_mpx for t in taken), 1.0),
    )  # fmt: skip
    over = [_cpu(b, TOTAL) - _cpu(b, READY) - core_seconds(rates, _work(b), 0) for b in first]
    rates = replace(
        rates, startup=max(0.0, float(np.median(over)) if over else 0.0),
        ready=float(np.median([t.ready_s / t.processes for t in taken])),
    )  # fmt: skip
    said = sum(core_seconds(t.so_ready(rates), t.work, t.processes) for t in taken)
    return replace(rates, idle=sum(t.wall_s * t.threads for t in taken) / max(said, 1e-9))


def _parted(journals: Sequence[Told]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The first block of each process of each run, and the others; all where each process did only one."""
    first: list[dict[str, Any]] = []
    rest: list[dict[str, Any]] = []
    for told in journals:
        met: set[str] = set()
        for block in told.blocks:
            (rest if block["process"] in met else first).append(block)
            met.add(block["process"])
    return (first, rest) if len(rest) >= LEAST_BLOCKS else ([], [*first, *rest])


def _nnls(columns: Sequence[NDArray[np.float64]], values: NDArray[np.float64]) -> list[float]:
    """Non-negative rates; columns are scaled to like size first."""
    scale = np.array([max(float(c.max()), 1e-12) for c in columns])
    found, _ = nnls(np.stack(columns, axis=1) / scale, values)
    return [float(v) for v in found / scale]


def money(made: Forecast, prices: Prices) -> Interval:
    """What a forecast costs."""
    return (
        made.core_hours.times(prices.core_hour)
        + made.network_gb.times(prices.network_gb)
        + made.disk_gb.times(prices.disk_gb)
    )


def figures(value: Interval) -> dict[str, float]:
    """An interval for JSON, to four figures."""
    return {name: float(f"{number:.4g}") for name, number in asdict(value).items()}


def as_json(made: Forecast) -> dict[str, Any]:
    """A forecast for JSON."""
    values = ((f.name, getattr(made, f.name)) for f in fields(made))
    return {name: figures(v) if isinstance(v, Interval) else v for name, v in values}
