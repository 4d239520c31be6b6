"""How far off is the forecast? Seasons of one region, each forecast from those before it, and only then run.

Usage: forecast.py [FOLDER]. One set of local COGs (2560 px, 24 dates) is cut into seasons of several sizes and
numbers of dates, large enough that work dominates start-up. Of each, `phusa forecast` is asked first and `phusa map`
run then, each a process of its own, with one pair of models and two worker processes. The first is forecast from
nothing, the second from one run, and so on; after that, each is forecast from all others. What FOLDER holds
already is used again. About six minutes on two cores.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

# benchmarks/features.py must not hide the package of the same name: this folder comes last.
HERE = Path(__file__).resolve().parent
sys.path[:] = [*(place for place in sys.path if Path(place).resolve() != HERE), str(HERE)]
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS"), "1")

import json
import subprocess
import tempfile
import time

import yaml
from support.season import EPSG, NORTH, SPEC, WEST, blocks, build, bundles

from pipeline import forecast, journal
from pipeline.grid import transformer
from pipeline.journal import Told
from pipeline.scenes import Scene, Scenes

SIZE, DATES, BLOCK = 2560, 24, 512
#: (columns, rows, dates) of each season, in the order in which they are run.
SEASONS = [
    (1280, 1280, 12), (1536, 1024, 24), (2048, 1536, 8), (1280, 2048, 16), (2560, 1536, 24), (1792, 1792, 12),
    (2560, 2560, 16), (2048, 2048, 24),
]  # fmt: skip
PROGRAM = "from pipeline.cli import main; main()"
#: Forecasts from fewer runs than this are shown, and count in no mean.
LEARNT = 2
GOAL = 20


def phusa(*arguments: object) -> dict:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, arguments), "--json"], capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


class Region:
    """One region whose seasons are run one after another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        images = folder / "images"
        images.mkdir(parents=True, exist_ok=True)
        self.scenes, self.mask = build(images, SIZE, DATES)
        self.bundles = [folder / name for name in ("salinity", "degradation")]
        if not self.bundles[-1].is_dir():
            for bundle in bundles(blocks(self.scenes, self.mask, SIZE, BLOCK)[0]):
                bundle.save(folder / bundle.target.name)
                content = bundle.target.model_dump(mode="json", exclude_defaults=True)
                (folder / f"{bundle.target.name}.yaml").write_text(yaml.safe_dump(content))

    def season(self, number: int) -> tuple[str, Path, Path]:
        """Name, config and scenes of a season."""
        columns, rows, dates = SEASONS[number]
        name = f"s{number}"
        to_lonlat = transformer(EPSG, 4326).transform
        corners = [to_lonlat(WEST + 10 * x, NORTH - 10 * y) for x in (0, columns) for y in (0, rows)]
        lon, lat = (sorted(v) for v in zip(*corners, strict=True))
        content = {
            "region": {"name": "recorded", "area": [lon[1], lat[1], lon[2], lat[2]], "grid": {"block_px": BLOCK},
                       "mask": {"path": self.mask.path, "classes": list(self.mask.classes), "version": "1"}},
            "sources": [{"sensor": "sentinel-2-l2a", "provider": "earth-search"},
                        {"sensor": "sentinel-1-rtc", "provider": "planetary-computer"}],
            "seasons": {name: {"start": "2024-12-01", "end": "2025-04-30"}},
            "features": list(SPEC.names),
            "targets": ["salinity.yaml", "degradation.yaml"],
            "store": {"kind": "folder", "path": "store"},
        }  # fmt: skip
        config, listed = self.folder / f"{name}.yaml", self.folder / f"{name}.json"
        config.write_text(yaml.safe_dump(content))
        kept = tuple(
            _some(self.scenes, "sentinel-2-l2a", dates) + _some(self.scenes, "sentinel-1-rtc", dates // 2)
        )
        Scenes(name, {s.sensor: "files" for s in kept}, kept, ()).write(listed)
        return name, config, listed

    def told(self, name: str) -> Told | None:
        works = self.folder / "store" / "work" / "recorded"
        return next((t for t in journal.all_of(works) if t.path.parent.name == name and t.end), None)


def _some(scenes: list[Scene], sensor: str, count: int) -> list[Scene]:
    """Dates spread over the season."""
    mine = [s for s in scenes if s.sensor == sensor]
    return [mine[k * len(mine) // count] for k in range(count)]


def record(region: Region) -> tuple[list[Told], list[list[float]]]:
    """The runs, and how far off `phusa forecast` was before each."""
    found, errors = [], []
    for number in range(len(SEASONS)):
        name, config, listed = region.season(number)
        told, kept = region.told(name), region.folder / f"{name}.said.json"
        if told is None or not kept.is_file():
            kept.write_text(
                json.dumps(phusa("forecast", config, "--season", name, "--scenes", listed, "--cores", 2))
            )
            named = [part for b in region.bundles for part in ("--bundle", b)]
            phusa("map", config, "--season", name, "--scenes", listed, *named, "--scheduler", "processes")
            told = region.told(name)
        assert told is not None
        found.append(told)
        said = json.loads(kept.read_text())
        errors.append(line(f"{number + 1}. {SEASONS[number]}, from {said['learnt_from']} runs", told, said))
    return found, errors


def line(what: str, told: Told, said: dict) -> list[float]:
    """Print and return the errors."""
    taken = forecast.taken_of(told)
    values = [
        ("core s", taken.core_s, "core_hours", 3600), ("wall s", taken.wall_s, "wall_hours", 3600),
        ("MB read", taken.bytes / 1e6, "read_gb", 1000), ("MB disk", taken.disk / 1e6, "disk_gb", 1000),
    ]  # fmt: skip
    shown, errors = [], []
    for name, actual, key, unit in values:
        low, expected, high = (said[key][k] * unit for k in ("low", "expected", "high"))
        errors.append(expected / actual - 1)
        inside = "in" if low <= actual <= high else "OUT OF"
        shown.append(
            f"{name} {actual:.1f}, said {expected:.1f} ({100 * errors[-1]:+.0f} %, {inside} its limits)"
        )
    print(f"{what}: " + "; ".join(shown), flush=True)
    return errors


def summary(what: str, errors: list[list[float]]) -> None:
    for name, column in zip(("core", "wall", "read", "disk"), zip(*errors, strict=True), strict=True):
        sizes = [100 * abs(v) for v in column]
        print(
            f"{what}, {name}: mean error {sum(sizes) / len(sizes):.0f} %, largest {max(sizes):.0f} % (goal {GOAL})"
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        begun = time.monotonic()
        region = Region(Path(sys.argv[1] if len(sys.argv) > 1 else temporary).resolve())
        print(f"images and models: {time.monotonic() - begun:.0f} s", flush=True)
        told, errors = record(region)
    ready = [sum(e["stages"]["ready"][1] for e in (*t.blocks, *t.tiles)) for t in told]
    print("of it compiling and loading, s: " + ", ".join(f"{v:.1f}" for v in ready))
    before = errors[LEARNT:]
    others = []
    for k, t in enumerate(told):
        taken = forecast.taken_of(t)
        learnt = forecast.learn([*told[:k], *told[k + 1 :]])
        made = learnt.forecast(taken.work, taken.threads, taken.processes)
        others.append(line(f"{SEASONS[k]} from all others", t, forecast.as_json(made)))
    summary(f"each before it was run, from {LEARNT} and more runs", before)
    summary("each from all others", others)
    print(f"{time.monotonic() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
