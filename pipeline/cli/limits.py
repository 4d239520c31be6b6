"""Options of the commands that map a season: what a run may spend, and where it tells how it goes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pipeline import telling
from pipeline.drive import Budget
from pipeline.journal import Listener


class _Amount(click.FloatRange):
    """A number above 0; "nan" passes for one in every range."""

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> Any:
        number = super().convert(value, param, context)
        if not math.isfinite(number):
            self.fail(f"{value} is no number of hours or GB.", param, context)
        return number


_ABOVE_0 = _Amount(min=0, min_open=True)


@dataclass(frozen=True)
class Limits:
    """What the options say."""

    budget: Budget
    log_json: Path | None = None
    metrics: Path | None = None
    metrics_port: int | None = None

    @contextmanager
    def listeners(self, region: str, season: str) -> Iterator[list[Listener]]:
        """Those who hear a run's events, closed at the end."""
        with ExitStack() as stack:
            found: list[Listener] = []
            if self.log_json:
                found.append(stack.enter_context(telling.json_lines(self.log_json, region, season)))
            if self.metrics or self.metrics_port:
                meters = telling.Meters(region, season)
                found.append(stack.enter_context(telling.prometheus(meters, self.metrics, self.metrics_port)))
            yield found


def limits(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options, as one argument ``limits``."""

    @click.option(
        "--budget-hours", type=_ABOVE_0,
        help="Stop before this many hours have passed; the next run goes on from there.",
    )  # fmt: skip
    @click.option(
        "--budget-gb", type=_ABOVE_0,
        help="Stop before this many GB are read from the sources; the next run goes on from there.",
    )  # fmt: skip
    @click.option(
        "--log-json", type=click.Path(path_type=Path), help="Append what happens to a file of JSON lines."
    )
    @click.option(
        "--metrics", type=click.Path(path_type=Path),
        help="Keep a file of Prometheus metrics up to date (*.prom, for the node exporter's text collector).",
    )  # fmt: skip
    @click.option(
        "--metrics-port",
        type=click.IntRange(1, 65535),
        help="Serve the metrics on this port of this machine.",
    )
    @functools.wraps(function)
    def run(
        *, budget_hours: float | None, budget_gb: float | None, log_json: Path | None, metrics: Path | None,
        metrics_port: int | None, **options: Any,
    ) -> Any:  # fmt: skip
        given = Limits(Budget(budget_hours, budget_gb), log_json, metrics, metrics_port)
        return function(**options, limits=given)

    return run
