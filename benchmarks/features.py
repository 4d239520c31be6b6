"""How fast are features beside the best ready libraries, and how far from the memory's own speed?

One process, one thread, interleaved, medians; buffers reused; peers get their inputs in the form they
like best. Processor time is used, so that what else runs on the machine weighs less. Needs spyndex,
bottleneck, pymannkendall, dask. `python benchmarks/features.py [indices|median|trend|season|compile ...]`
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# This file must not hide the package of the same name, neither here nor from the other benchmarks: where
# one of them imports ``features`` and finds this file, it gets the package.
HERE = Path(__file__).resolve().parent
sys.path[:] = [*(place for place in sys.path if Path(place).resolve() != HERE), str(HERE)]
if __name__ == "features":
    del sys.modules["features"]
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1")

import re
import subprocess
import tempfile
import textwrap
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from support.race import race

from features import FeatureSpec, Index, block, indices_of

OPTICAL = "sentinel-2-l2a"
LETTERS = {
    "B": "blue", "G": "green", "R": "red", "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3",
    "N": "nir", "N2": "nir08", "S1": "swir16", "S2": "swir22",
}  # fmt: skip
BANDS = tuple(LETTERS.values())
#: Of Awesome Spectral Indices; the first 15 and the first 40 are raced.
CANDIDATES = [
    "NDVI",
    "EVI",
    "SAVI",
    "NDMI",
    "MNDWI",
    "MSAVI",
    "BI",
    "NDWI",
    "NBR",
    "GNDVI",
    "NDREI",
    "CIRE",
    "OSAVI",
    "EVI2",
    "BITM",
    "AFRI1600",
    "AFRI2100",
    "ARI",
    "ARI2",
    "ATSAVI",
    "BCC",
    "BNDVI",
    "BWDRVI",
    "CIG",
    "CVI",
    "DSI",
    "DSWI1",
    "DSWI2",
    "DSWI3",
    "DSWI4",
    "DSWI5",
    "DVI",
    "ExG",
    "ExGR",
    "ExR",
    "GARI",
    "GBNDVI",
    "GCC",
    "GEMI",
    "GLI",
    "GRNDVI",
    "GRVI",
    "GVMI",
    "IAVI",
    "IKAW",
    "IPVI",
    "IRECI",
    "MCARI",
    "MGRVI",
    "MNLI",
    "MRBVI",
    "NDTI",
]
DRY = ["ndvi", "evi", "savi", "msavi", "gndvi", "ndre", "ndwi", "mndwi", "ndmi", "ndti", "bsi", "bi"]
SEASON = [
    *(f"{i}_{s}" for i in DRY for s in ("mean", "std", "p10", "p50", "p90")),
    *(f"{b}_p50" for b in LETTERS.values()),
]


def say(what: str, found: dict[str, float], goal: float) -> None:
    """Print the ratio of the peer, the last of ``found``, to each of ours."""
    *ours, peer = found
    for name in ours:
        print(
            f"{what}: {name} {found[name]:.4f} s, {peer} {found[peer]:.4f} s, "
            f"ratio {found[peer] / found[name]:.1f} (goal {goal:g})",
            flush=True,
        )


def copy_speed() -> float:
    """Bytes read and written a second by a plain copy far larger than the cache."""
    source, target = np.ones(1 << 26, np.float32), np.zeros(1 << 26, np.float32)
    return 2 * source.nbytes / race({"copy": lambda: np.copyto(target, source)})["copy"]


def roofline(what: str, moved: int, seconds: float) -> None:
    speed = copy_speed()
    print(
        f"{what}: {moved / 1e9:.2f} GB in and out in {seconds:.4f} s = {moved / seconds / 1e9:.1f} GB/s, "
        f"{100 * moved / seconds / speed:.0f} % of a plain copy's {speed / 1e9:.1f} GB/s"
    )


def digital(
    dates: tuple[int, ...], size: int, unseen: float, bands: tuple[str, ...] = BANDS
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    hidden = rng.random((*dates, size, size), np.float32) < unseen
    found = {b: rng.integers(100, 9000, hidden.shape, dtype=np.uint16) for b in bands}
    for band in found.values():
        band[hidden] = 0
    return found


def reflectance(number: Any) -> Any:
    value = number.astype(np.float32)
    value *= np.float32(1e-4)
    value[number == 0] = np.nan
    return value


def indices() -> None:
    import spyndex

    constants = {k: c.default for k, c in spyndex.constants.items() if isinstance(c.default, int | float)}

    def usable(name: str) -> bool:
        return name in spyndex.indices and set(spyndex.indices[name].bands) <= {*LETTERS, *constants}

    stack = digital((), 4096, 0.05)
    known = [name for name in CANDIDATES if usable(name)]
    for names in (known[:15], known[:40]):
        ours = {}
        for name in names:
            text = spyndex.indices[name].formula
            for word, value in [*constants.items(), *LETTERS.items()]:
                text = re.sub(rf"\b{word}\b", str(value), text)
            ours[name.lower()] = Index(name.lower(), text, "soil", (0, 1), "")
        need = {b for n in names for b in spyndex.indices[n].bands}

        def peer(names: list[str] = names, need: set[str] = need) -> Any:
            values: dict[str, Any] = {k: reflectance(stack[b]) for k, b in LETTERS.items() if k in need}
            return spyndex.computeIndex(names, values | {k: v for k, v in constants.items() if k in need})

        out, small = (np.zeros((len(names), 4096, 4096), kind) for kind in (np.float32, np.int16))
        indices_of(stack, ours, out, ours), indices_of(stack, ours, small, ours)
        goal = 12 if len(names) == 15 else 10
        found = race(
            {
                "phusa": lambda out=out, ours=ours: indices_of(stack, ours, out, ours),
                "phusa to int16": lambda small=small, ours=ours: indices_of(stack, ours, small, ours),
                "spyndex": peer,
            }
        )
        say(f"{len(names)} indices, uint16 4096 x 4096", found, goal)
        used = sum(LETTERS[b] in stack for b in need if b in LETTERS)
        roofline("  float32", 4096 * 4096 * (2 * used + 4 * len(names)), found["phusa"])


def median() -> None:
    import bottleneck

    stack = digital((20,), 1024, 0.3, ("swir16",))
    values = reflectance(stack["swir16"])
    spec = FeatureSpec.parse(["swir16_median"])
    out = block(stack, spec)
    assert np.allclose(out[0], bottleneck.nanmedian(values, axis=0), atol=1e-6, equal_nan=True)
    found = race(
        {"phusa": lambda: block(stack, spec, out), "bottleneck": lambda: bottleneck.nanmedian(values, axis=0)}
    )
    say("median of 20 dates", found, 15)
    power = FeatureSpec.parse(["vv_median"])
    radar = {"vv": values}
    block(radar, power, out)
    found = race(
        {
            "phusa": lambda: block(radar, power, out),
            "bottleneck": lambda: bottleneck.nanmedian(values, axis=0),
        }
    )
    say("median of 20 dates, float32 with NaN", found, 15)


def trend() -> None:
    import pymannkendall

    rng = np.random.default_rng(0)
    values = np.round(rng.normal(0.3, 0.1, (20, 512, 512)), 2).astype(np.float32)  # two digits: many ties
    values[rng.random(values.shape) < 0.2] = np.nan
    dates = {"sentinel-1-rtc": np.datetime64("2025-01-01") + 6 * np.arange(20)}
    spec = FeatureSpec.parse(["vv_sen", "vv_mks", "vv_mkp"])
    out = block({"vv": values}, spec, dates=dates)
    some = [values[:, 7, x][~np.isnan(values[:, 7, x])] for x in range(256)]
    found = race(
        {
            "phusa": lambda: block({"vv": values}, spec, out, dates),
            "pymannkendall": lambda: [pymannkendall.original_test(s) for s in some],
        }
    )
    found["pymannkendall"] *= 512 * 512 / len(some)
    say("Theil-Sen and Mann-Kendall with ties, 20 dates", found, 300)


def _season_work(who: str, size: int) -> Callable[[], Any]:
    stack = digital((24,), size, 0.3)
    if who == "phusa":
        spec = FeatureSpec.parse(SEASON)
        out = block({b: a[:, :4, :4] for b, a in stack.items()}, spec)
        out = np.zeros((len(SEASON), size, size), np.float32)
        return lambda: block(stack, spec, out)
    import dask
    import xarray as xr

    from features import INDICES

    xr.set_options(use_bottleneck=True, use_numbagg=False)
    where = {"time": -1, "y": 512, "x": 512}
    lazy = xr.Dataset({b: (("time", "y", "x"), a) for b, a in stack.items()}).chunk(where)
    bands = {b: (lazy[b] * np.float32(1e-4)).where(lazy[b] > 0) for b in lazy}
    sqrt = np.sqrt
    series = {i: eval(INDICES[i].formula, {"sqrt": sqrt}, bands) for i in DRY}
    reduce: dict[str, Callable[[Any], Any]] = {
        "mean": lambda a: a.mean("time"),
        "std": lambda a: a.std("time"),
        "p10": lambda a: a.quantile(0.1, "time").drop_vars("quantile"),
        "p50": lambda a: a.median("time"),
        "p90": lambda a: a.quantile(0.9, "time").drop_vars("quantile"),
    }

    def work() -> Any:
        layers = {}
        for name in SEASON:
            subject, statistic = name.split("_")
            layers[name] = reduce[statistic](series[subject] if subject in series else bands[subject])
        with dask.config.set(scheduler="synchronous"):
            return xr.Dataset(layers).compute()

    return work


def season() -> None:
    ours, peer = _season_work("phusa", 512), _season_work("xarray", 512)
    made, theirs = ours(), peer()
    for k, name in enumerate(SEASON):
        assert np.allclose(made[k], theirs[name], atol=2e-3, rtol=1e-3, equal_nan=True) or name.startswith(
            "evi"
        ), name
    found = race({"phusa": ours, "xarray + dask + bottleneck": peer})
    say("12 indices x 5 statistics + 10 bands, 24 dates, 512 x 512", found, 20)
    roofline("  season", 512 * 512 * (24 * 10 * 2 + len(SEASON) * 4), found["phusa"])
    result = len(SEASON) * 4 * 1024**2
    peaks = {who: int(_child("--peak", who)) for who in ("phusa", "xarray")}
    rest = {who: max(peak - result, 1 << 20) for who, peak in peaks.items()}
    print(
        f"peak memory beside the stack, 1024 x 1024 (the result is {result / 1e6:.0f} MB of it): "
        f"phusa {peaks['phusa'] / 1e6:.0f} MB, xarray {peaks['xarray'] / 1e6:.0f} MB, ratio "
        f"{peaks['xarray'] / peaks['phusa']:.1f}; beside stack and result {rest['phusa'] / 1e6:.0f} and "
        f"{rest['xarray'] / 1e6:.0f} MB, ratio {rest['xarray'] / rest['phusa']:.0f} (goal 10)"
    )


def _memory(key: str) -> int:
    """Bytes that this process holds (VmRSS) or has held at most (VmHWM)."""
    (line,) = (text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(key))
    return int(line.split()[1]) * 1024


def peak(who: str) -> None:
    """Print the bytes by which the season's work raises what this process holds."""
    work = _season_work(who, 1024)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _memory("VmRSS")
    work()
    print(_memory("VmHWM") - before)


def _child(*arguments: str, **environment: str) -> str:
    command = [sys.executable, *arguments] if arguments[0] == "-c" else [sys.executable, __file__, *arguments]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def compile_time() -> None:
    code = f"""
        import time
        import numpy as np
        from features import FeatureSpec, block
        spec = FeatureSpec.parse({SEASON[:60]!r})
        stack = {{b: np.ones((24, 8, 8), np.uint16) for b in spec.bands}}
        start = time.process_time()
        block(stack, spec)
        print(time.process_time() - start)
    """
    with tempfile.TemporaryDirectory() as cache:
        for state, goal in (("cold", 20), ("warm, new process", 1), ("warm, new process", 1)):
            seconds = float(_child("-c", textwrap.dedent(code), PHUSA_CACHE_DIR=cache))
            print(f"first block of a 60-feature spec, {state}: {seconds:.2f} s (goal {goal})")


def main() -> None:
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if sys.argv[1:2] == ["--peak"]:
        peak(sys.argv[2])
        return
    parts = {"indices": indices, "median": median, "trend": trend, "season": season, "compile": compile_time}
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
