"""Is a demonstration that was killed again and again the same as an undisturbed one?

Usage: demo_kills.py [KILLS]. Runs a small one whole, then one that is killed (SIGKILL) at random moments
and started again, and compares every file.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = (
    "seed: 5\nsize_px: 128\nsites: 80\nreference_sites: 20\noptical_dates: 4\nradar_dates: 2\nquick: true\n"
)


def command(folder: Path) -> list[str]:
    program = "from pipeline.cli import main; main()"
    return [sys.executable, "-c", program, "demo", "--simulation", str(folder / "quick.yaml"), "--json"]


def digests(folder: Path) -> dict[str, str]:
    # Journals tell when things happened, which no two runs share.
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and "journals" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def disturbed(settings: Path, out: Path, whole: float, kills: int, rng: random.Random) -> list[float]:
    """Start and kill ``kills`` times, each after a random part of ``whole`` seconds; then let it end."""
    moments = []
    for _ in range(kills):
        run = subprocess.Popen(
            [*command(settings), "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        moments.append(rng.uniform(0.05, 1) * whole)
        try:
            run.wait(moments[-1])
        except subprocess.TimeoutExpired:
            run.kill()
            run.wait()
    subprocess.run([*command(settings), "--out", str(out)], check=True, capture_output=True)
    return moments


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "quick.yaml").write_text(SETTINGS)
        out = folder / "demo"  # the same for both: scene lists hold addresses
        start = time.monotonic()
        subprocess.run([*command(folder), "--out", str(out)], check=True, capture_output=True)
        seconds = time.monotonic() - start
        first = digests(out)
        shutil.rmtree(out)
        moments = disturbed(folder, out, seconds, kills, random.Random(1))
        second = digests(out)
    different = sorted(k for k in first.keys() | second.keys() if first.get(k) != second.get(k))
    shown = ", ".join(f"{m:.1f}" for m in moments)
    print(f"an undisturbed run takes {seconds:.1f} s; killed after {shown} s")
    print(f"{len(first)} files, {len(different)} different: {different}")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
