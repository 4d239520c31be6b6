"""A run's events told to operators: JSON lines for log collectors, metrics for Prometheus."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    start_http_server,
    write_to_textfile,
)

from pipeline.errors import InputError
from pipeline.journal import Event, Listener

#: Least time between two writings of the metrics file.
EVERY_S = 5.0

disable_created_metrics()  # type: ignore[no-untyped-call]


@contextmanager
def json_lines(path: Path, region: str, season: str) -> Iterator[Listener]:
    """Append each event, and each message that is logged meanwhile, as one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:

        def tell(event: Event) -> None:
            line = {"level": _level(event), "region": region, "season": season, **event}
            file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
            file.flush()

        handler = _Handler(tell)
        logging.getLogger("pipeline").addHandler(handler)
        try:
            yield tell
        finally:
            logging.getLogger("pipeline").removeHandler(handler)


class _Handler(logging.Handler):
    """Messages of the driver's own process as events."""

    def __init__(self, tell: Listener) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        self._tell(
            {
                "event": "message",
                "at": f"{at}.{record.msecs:03.0f}+00:00",
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
            }
        )


def _level(event: Event) -> str:
    stopped = event["event"] == "end" and event.get("state") != "done"
    alone = event["event"] == "workers" and not event["workers"]
    return "error" if event["event"] == "failed" else "warning" if stopped or alone else "info"


class Meters:
    """Prometheus metrics of one run, labelled by region and season."""

    def __init__(self, region: str, season: str) -> None:
        self.registry = CollectorRegistry()
        self._labels = {"region": region, "season": season}
        self._blocks = self._gauge("phusa_blocks", "Blocks that the run has to map.")
        self._done = self._counter("phusa_blocks_mapped", "Blocks mapped.")
        self._workers = self._gauge(
            "phusa_workers", "Worker processes: those of the start, 0 while the run waits for some."
        )
        self._failed = self._counter("phusa_failures", "Blocks and products that failed by an error of ours.")
        self._products = self._counter("phusa_products_stored", "Products stored.")
        self._reads = self._counter("phusa_reads", "Reads of images, lost ones among them.")
        self._lost = self._counter("phusa_reads_lost", "Reads lost to faults.")
        self._local = self._counter("phusa_local_bytes", "Bytes read from files, estimated.")
        self._network = self._gauge("phusa_network_bytes", "Bytes brought over the network.")
        self._peak = self._gauge("phusa_worker_peak_bytes", "Most memory that a worker process held.")
        self._running = self._gauge("phusa_running", "1 while the run goes on.")
        self._ended = self._gauge("phusa_end_timestamp_seconds", "When the last run ended.")
        self._success = self._gauge("phusa_last_run_success", "1 where it made all that there was to make.")
        self._seconds = self._counter("phusa_stage_seconds", "Time of each stage.", ["stage", "clock"])
        self._low: dict[str, int] = {}
        self._high: dict[str, int] = {}

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, list(self._labels), registry=self.registry)

    def _counter(self, name: str, text: str, more: list[str] | None = None) -> Counter:
        return Counter(name, text, [*self._labels, *(more or [])], registry=self.registry)

    def hear(self, event: Event) -> None:
        """Count one event of a journal."""
        labels = self._labels
        match event["event"]:
            case "start":
                self._blocks.labels(**labels).set(event["blocks"])
                self._running.labels(**labels).set(1)
                self._workers.labels(**labels).set(event["workers"])
            case "workers":
                self._workers.labels(**labels).set(event["workers"])
            case "block":
                self._block(event)
            case "tile":
                self._products.labels(**labels).inc()
                self._stages(event["stages"])
            case "failed":
                self._failed.labels(**labels).inc()
            case "end":
                self._running.labels(**labels).set(0)
                self._ended.labels(**labels).set_to_current_time()
                self._success.labels(**labels).set(event["state"] == "done")

    def _block(self, event: Event) -> None:
        labels = self._labels
        self._done.labels(**labels).inc()
        self._reads.labels(**labels).inc(event["reads"])
        self._lost.labels(**labels).inc(event["lost"])
        self._local.labels(**labels).inc(event["local_bytes"])
        process, (before, after) = event["process"], event["brought"]
        self._low[process] = min(before, self._low.get(process, before))
        self._high[process] = max(after, self._high.get(process, after))
        self._network.labels(**labels).set(sum(self._high[p] - self._low[p] for p in self._high))
        peak = self._peak.labels(**labels)
        peak.set(max(event["peak_bytes"], peak._value.get()))
        self._stages(event["stages"])

    def _stages(self, stages: dict[str, Any]) -> None:
        for stage, (wall, cpu) in stages.items():
            self._seconds.labels(**self._labels, stage=stage, clock="wall").inc(wall)
            self._seconds.labels(**self._labels, stage=stage, clock="cpu").inc(cpu)


@contextmanager
def prometheus(meters: Meters, file: Path | None, port: int | None) -> Iterator[Listener]:
    """Keep ``file`` up to date, serve on ``port`` of this machine's own address, or both.

    Raises InputError where the port is taken.
    """
    server: Any = None
    if port:
        try:
            server, thread = start_http_server(port, "127.0.0.1", registry=meters.registry)
        except OSError as error:
            raise InputError(f"--metrics-port {port}: {error.strerror or error}") from None
    written = float("-inf")

    def hear(event: Event) -> None:
        nonlocal written
        meters.hear(event)
        if file and (event["event"] in ("start", "end") or time.monotonic() - written > EVERY_S):
            with suppress(OSError):  # a full disk beside must not end a run
                write_to_textfile(str(file), meters.registry)
            written = time.monotonic()

    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield hear
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
            thread.join(5)
