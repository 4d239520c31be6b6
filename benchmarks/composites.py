"""How fast is a season's geomedian beside hdstats? One run, interleaved, medians of 7, one thread each.

Work: 20 dates x 6 bands of 256 x 256 pixels, a third unseen, dates that brighten and dim all bands together and
some cloud left over. Both get the same tolerance (hdstats' eps is the step at which it stops) and their own
favourite layout; the error is the distance to the limit, by iterating in float64 on a sample of pixels.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.signal

from features.composites import geomedian

for name in ("cwt", "ricker", "morlet2"):  # hdstats imports what SciPy no longer has
    if not hasattr(scipy.signal, name):
        setattr(scipy.signal, name, None)
from hdstats import nangeomedian_pcm  # noqa: E402

DATES, BANDS, SIDE, REPEATS = 20, 6, 256, 7
TOLERANCES = (1.0, 0.1, 0.01)  # of reflectance x 10000


def make() -> np.ndarray:
    """(band, time, y, x) uint16."""
    rng = np.random.default_rng(0)
    shape = (1, DATES, SIDE, SIDE)
    season = np.cumsum(rng.normal(0, 200, (1, DATES, 1, 1)), axis=1) * rng.uniform(0.5, 1.5, (BANDS, 1, 1, 1))
    values = 2500 + 300 * np.arange(BANDS)[:, None, None, None] + season + rng.normal(0, 150, shape)
    values = values + rng.normal(0, 60, (BANDS, *shape[1:]))
    values = np.where(rng.random(shape) < 0.06, values + 3000, values)
    return np.where(rng.random(shape) < 0.35, 0, np.clip(np.rint(values), 1, 65535)).astype(np.uint16)


def limit(stack: np.ndarray) -> np.ndarray:
    """The geomedian of a few pixels by very many float64 steps (band, pixel)."""
    v = stack.reshape(BANDS, DATES, -1).astype(float)
    seen = (v > 0).all(axis=0)
    y = (v * seen).sum(axis=1) / seen.sum(axis=0)
    for _ in range(20_000):
        distance = np.sqrt(((v - y[:, None]) ** 2).sum(axis=0))
        w = seen / np.maximum(distance, 1e-9)
        y = (w * v).sum(axis=1) / w.sum(axis=0)
    return y


def interleave(work: dict[str, Callable[[], Any]]) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for run in work.values():
        run()
    for _ in range(REPEATS):
        for name, run in work.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    stack = make()
    named = {f"band{k}": np.ascontiguousarray(band) for k, band in enumerate(stack)}
    cube = np.where(stack == 0, np.nan, stack / np.float32(10000)).astype(np.float32)
    cube = np.ascontiguousarray(cube.transpose(2, 3, 0, 1))
    sample = np.s_[:, :16, :16]
    truth = limit(stack[:, :, :16, :16]).reshape(BANDS, 16, 16)
    for tolerance in TOLERANCES:
        eps = tolerance / 1e4
        took = interleave(
            {
                "phusa": lambda tolerance=tolerance: geomedian(named, tolerance),
                "hdstats": lambda eps=eps: nangeomedian_pcm(cube, maxiters=1000, eps=eps, num_threads=1),
            }
        )
        ours = geomedian(named, tolerance).values[sample]
        theirs = (
            nangeomedian_pcm(cube, maxiters=1000, eps=eps, num_threads=1).transpose(2, 0, 1)[sample] * 1e4
        )
        errors = [np.nanmax(np.linalg.norm(values - truth, axis=0)) for values in (ours, theirs)]
        speed = {name: SIDE * SIDE / seconds / 1e6 for name, seconds in took.items()}
        print(
            f"geomedian, tolerance {tolerance:g}: phusa {speed['phusa']:.2f} Mpx/s (error {errors[0]:.3f}), "
            f"hdstats {speed['hdstats']:.3f} Mpx/s (error {errors[1]:.3f}), "
            f"ratio {took['hdstats'] / took['phusa']:.1f}"
        )


if __name__ == "__main__":
    main()
