"""How far off is the forecast? Recorded runs of simulated deltas of several sizes and numbers of dates.

Usage: forecast.py [FOLDER]. Each run is a process of its own with one trained pair of models; each is
forecast from the journals of the others, and the largest from those of the smaller ones. Journals that
FOLDER holds already are used again.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from pipeline import forecast, journal
from pipeline.journal import Told

#: (pixels a side, optical dates, radar dates, pixels a block), smallest first.
WORLDS = [
    (256, 6, 4, 128),
    (256, 14, 8, 128),
    (384, 8, 6, 192),
    (512, 6, 6, 128),
    (512, 12, 8, 256),
    (768, 12, 10, 256),
]
PROGRAM = "from pipeline.cli import main; main()"


def phusa(*arguments: object) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def world(folder: Path, size: int, optical: int, radar: int, block: int) -> Path:
    out = folder / f"{size}-{optical}-{block}"
    settings = folder / f"{out.name}.yaml"
    settings.write_text(
        f"seed: 3\nsize_px: {size}\nsites: 120\nreference_sites: 8\noptical_dates: {optical}\n"
        f"radar_dates: {radar}\nquick: true\n"
    )
    config = out / "demo.yaml"
    if not config.is_file():
        phusa("demo", "--simulation", settings, "--out", out, "--only-data")
    content = yaml.safe_load(config.read_text())
    content["region"]["grid"]["block_px"] = block
    config.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return config


def record(folder: Path) -> list[Told]:
    configs = [world(folder, *w) for w in WORLDS]
    season = "2025-dry"
    table = folder / "samples.parquet"
    if not table.is_file():
        phusa("samples", configs[0], "--out", table)
    bundles: list[object] = []
    for target in ("salinity", "degradation"):
        bundles += ["--bundle", folder / target]
        if not (folder / target).is_dir():
            phusa("train", configs[0], "--target", target, "--samples", table, "--out", folder / target)
    found = []
    for config in configs:
        works = config.parent / "store" / "work"
        if not any(journal.all_of(work) for work in works.glob("*")):
            phusa("map", config, "--season", season, *bundles)
        found.append(next(told for work in works.glob("*") for told in journal.all_of(work)))
    return found


def line(what: str, told: Told, others: list[Told]) -> list[float]:
    taken = forecast.taken_of(told)
    said = forecast.learn(others).forecast(taken.work, taken.threads, taken.processes)
    values = [
        ("core s", taken.core_s, said.core_hours.times(3600)), ("wall s", taken.wall_s, said.wall_hours.times(3600)),
        ("MB read", taken.bytes / 1e6, said.read_gb.times(1000)), ("MB disk", taken.disk / 1e6, said.disk_gb.times(1000)),
    ]  # fmt: skip
    shown = [
        f"{name} {actual:.3g}, said {v.expected:.3g} ({100 * (v.expected / actual - 1):+.0f} %, "
        f"{'in' if v.low <= actual <= v.high else 'OUT OF'} its limits)"
        for name, actual, v in values
    ]
    print(f"{what}: " + "; ".join(shown))
    return [abs(v.expected / actual - 1) for _, actual, v in values]


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        told = record(Path(sys.argv[1] if len(sys.argv) > 1 else temporary))
    errors = [
        line(f"world {w}", t, [o for o in told if o is not t]) for w, t in zip(WORLDS, told, strict=True)
    ]
    line("the largest from the smaller", told[-1], told[:-1])
    line("the largest from no run", told[-1], [])
    for name, column in zip(("core", "wall", "read", "disk"), zip(*errors, strict=True), strict=True):
        print(
            f"{name}: mean error {100 * sum(column) / len(column):.0f} %, largest {100 * max(column):.0f} % (goal 20)"
        )


if __name__ == "__main__":
    main()
