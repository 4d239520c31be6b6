"""How good are the maps of the simulated delta, and do cross-validation and reference sample say so?

Usage: demo_seeds.py [--picture FILE] [SEED...] (1 to 5 if none is named). Prints two Markdown tables;
docs/demo.md holds them, and the picture of the reliability curves against the truth.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

PROGRAM = "from pipeline.cli import main; main()"


def scored(seed: int) -> tuple[dict[str, Any], float]:
    """Scores of a whole run of the demonstration, and its seconds."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "demo", "--out", str(Path(folder) / "demo"), "--seed", str(seed), "--json"],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        return json.loads(done.stdout)["scores"], time.monotonic() - start


def accuracy_row(scores: dict[str, Any], seconds: float) -> list[str]:
    salt, classes = scores["salinity"], scores["degradation"]
    folds = salt["cross_validation"]
    logs = [salt["map"], salt["reference"]["log"], folds["spatial"]["log"], folds["random"]["log"]]
    cells = [f"{v['r2']:.2f}" for v in logs] + [f"{v['rmse']:.2f}" for v in logs]
    cells.append(f"{salt['map']['concordance']:.2f}")
    found = classes["cross_validation"]
    answers = (classes["map"], classes["reference"], found["spatial"], found["random"])
    return [*cells, *(f"{v['accuracy']:.2f}" for v in answers), f"{seconds:.0f} s"]


def trust_row(scores: dict[str, Any]) -> list[str]:
    whole = scores["salinity"]["map"]
    inside, outside = (whole["applicability"][k] for k in ("inside", "outside"))
    folds = scores["salinity"]["cross_validation"]["spatial"]

    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    return [
        shown(whole["coverage"]), shown(folds["coverage"]), f"{outside['percent']:.1f}",
        shown(inside["coverage"]), shown(outside["coverage"]), shown(inside["rmse"]), shown(outside["rmse"]),
        *(f"{miscalibration(curve):.3f}" for curve in curves(scores).values()),
    ]  # fmt: skip


def curves(scores: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Reliability curves of the map against the truth."""
    salt, classes = (scores[name]["map"]["reliability"] for name in ("salinity", "degradation"))
    return {"ECe > 4 dS/m": salt["p4"], "ECe > 8 dS/m": salt["p8"], "degraded": classes["risk"]}


def miscalibration(curve: list[dict[str, float]]) -> float:
    """Mean distance of said and true, by number of pixels."""
    weights = [p["pixels"] for p in curve]
    return float(np.average([abs(p["observed"] - p["predicted"]) for p in curve], weights=weights))


def draw(path: Path, found: dict[int, dict[str, Any]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.8), layout="constrained")
    for axis, name in zip(figure.subplots(1, 3), curves(next(iter(found.values()))), strict=True):
        axis.plot([0, 1], [0, 1], color="grey", linestyle="--", linewidth=1)
        for seed, scores in found.items():
            points = [p for p in curves(scores)[name] if p["pixels"] >= 200]
            axis.plot(
                [p["predicted"] for p in points], [p["observed"] for p in points], marker="o", markersize=4,
                linewidth=1, label=f"seed {seed}",
            )  # fmt: skip
        axis.set(title=f"SIMULATED: {name}", xlabel="probability on the map", xlim=(0, 1), ylim=(0, 1))
        axis.set_aspect("equal")
    figure.axes[0].set_ylabel("true share of those pixels")
    figure.axes[0].legend(fontsize=8)
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="*", default=[1, 2, 3, 4, 5])
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    found: dict[int, dict[str, Any]] = {}
    print("seed | R2 map | reference | spatial | random | RMSE map | reference | spatial | random | concordance map | "
          "accuracy map | reference | spatial | random | time")  # fmt: skip
    print("|".join(["---"] * 15))
    for seed in options.seeds or [1, 2, 3, 4, 5]:
        found[seed], seconds = scored(seed)
        print(" | ".join([str(seed), *accuracy_row(found[seed], seconds)]), flush=True)
    print("\nseed | coverage map | coverage spatial folds | % outside | coverage inside | outside | RMSE inside | "
          "outside | miscalibration ECe > 4 | ECe > 8 | degraded")  # fmt: skip
    print("|".join(["---"] * 11))
    for seed, scores in found.items():
        print(" | ".join([str(seed), *trust_row(scores)]))
    if options.picture:
        draw(options.picture, found)


if __name__ == "__main__":
    main()
