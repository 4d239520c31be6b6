"""Several ways of one thing, measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any


def race(work: dict[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """Median processor seconds of each, run in turns."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(repeats):
        for name, run in work.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}
