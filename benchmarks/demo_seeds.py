"""How good are the maps of the simulated delta, and do cross-validation and reference sample say so?

Usage: demo_seeds.py [SEED...] (1 to 5 if none is named). Prints a Markdown table; docs/demo.md holds one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROGRAM = "from pipeline.cli import main; main()"


def row(seed: str, scores: dict[str, Any], seconds: float) -> str:
    salt, classes = scores["salinity"], scores["degradation"]
    folds = salt["cross_validation"]
    logs = [salt["map"], salt["reference"]["log"], folds["spatial"]["log"], folds["random"]["log"]]
    cells = [f"{v['r2']:.2f}" for v in logs]
    cells += [f"{salt['map'][k]:.2f}" for k in ("rmse", "concordance", "coverage")]
    found = classes["cross_validation"]
    answers = (classes["map"], classes["reference"], found["spatial"], found["random"])
    cells += [f"{v['accuracy']:.2f}" for v in answers]
    return " | ".join([seed, *cells, f"{seconds:.0f} s"])


def main() -> None:
    print("seed | R2 map | R2 reference | R2 spatial | R2 random | RMSE map | concordance map | coverage map | "
          "accuracy map | reference | spatial | random | time")  # fmt: skip
    print("|".join(["---"] * 13))
    for seed in sys.argv[1:] or [str(k) for k in range(1, 6)]:
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, "demo", "--out", str(Path(folder) / "demo"), "--seed", seed, "--json"],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            print(row(seed, json.loads(done.stdout)["scores"], time.monotonic() - start), flush=True)


if __name__ == "__main__":
    main()
