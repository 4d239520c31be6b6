"""What a block needs beside its inputs and its result: a strip, whatever the size of the block."""

from __future__ import annotations

import subprocess
import sys
import textwrap

CHILD = """
    from pathlib import Path
    import numpy as np
    from features import FeatureSpec, block

    def held(key):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

    spec = FeatureSpec.parse(["ndvi_p10", "ndvi_std", "ndvi_slope", "evi_mean", "ndvi_count@dry", "vv_p50"],
                             windows={"dry": "ndvi < 0.4"})
    days = np.datetime64("2025-01-01")
    dates = {"sentinel-2-l2a": days + 5 * np.arange(12), "sentinel-1-rtc": days + 6 * np.arange(6)}
    def make(size):
        stack = {b: np.full((12, size, size), 1000, np.uint16) for b in ("blue", "red", "nir")}
        return stack | {"vv": np.full((6, size, size), 0.1, np.float32)}

    block(make(8), spec, dates=dates)
    stack, out = make(1024), np.ones((6, 1024, 1024), np.float32)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak that compiling reached
    before = held("VmRSS")
    block(stack, spec, out, dates)
    print(held("VmHWM") - before)
"""


def test_a_block_needs_a_strip_beside_its_result() -> None:
    """An index over time alone would be 12 x 4 MB."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD)], capture_output=True, text=True, check=True
    )
    series, dates, bands = 3, 12, 4
    stated = max(272 * 4 * series * dates, 512 * 1024) + 272 * (4 * dates + 4 * bands + 400)
    assert int(done.stdout) <= stated + (1 << 20), "the allocator's own pages come on top"
