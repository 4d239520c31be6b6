"""How fast are areas by commune beside exactextract, are they equal, and what does a million parcels cost?

3,321 zones with winding borders over a region of 10,000 x 10,000 cells of 10 m; 8 layers: 5 of classes and
3 of probabilities. Both read from memory; one run, interleaved, medians of wall and of processor time.
exactextract gets its best call: all layers of a kind at once. BENCH_PEERS may name a folder that holds it.
Then a million parcels go from a GeoPackage through the tables to Parquet, in a process of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy.spatial import Voronoi
from support.memory import most_memory

from pipeline.grid import to_crs
from pipeline.zones import cells
from pipeline.zones.tally import Sums, tally

sys.path += [p for p in [os.environ.get("BENCH_PEERS")] if p]
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

SIDE, ZONES, REPEATS, PARCELS = 10_000, 3_321, 3, 1_000_000
X0, Y0 = 600_000, 1_100_000


def communes() -> NDArray[np.object_]:
    """Voronoi cells whose borders wind, over the whole square."""
    rng = np.random.default_rng(0)
    far = np.array([[-9, 0], [9, 0], [0, -9], [0, 9], [-9, -9], [9, 9], [-9, 9], [9, -9]]) * 1e6 + [X0, Y0]
    points = np.vstack([rng.random((ZONES, 2)) * SIDE * 10 + [X0, Y0], far])
    made = Voronoi(points)
    shapes = [shapely.Polygon(made.vertices[made.regions[made.point_region[k]]]) for k in range(ZONES)]
    square = shapely.box(X0, Y0, X0 + SIDE * 10, Y0 + SIDE * 10)
    shapes = shapely.intersection(shapely.segmentize(np.array(shapes), 20), shapely.buffer(square, 500))

    def wind(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        return xy + 40 * np.column_stack([np.sin(xy[:, 1] / 130), np.sin(xy[:, 0] / 110)])

    cut = shapely.intersection(shapely.make_valid(shapely.transform(shapes, wind)), square)
    return np.asarray(shapely.segmentize(cut, 20))


class Memory:
    """The layers as a source."""

    epsg, square, mapped = 32648, (X0 // 100_000, Y0 // 100_000), True
    window = (X0 // 10, X0 // 10 + SIDE, -(Y0 // 10 + SIDE), -Y0 // 10)

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        self.classes = [rng.integers(1, 7, (SIDE, SIDE), dtype=np.uint8) for _ in range(5)]
        self.chances = [rng.integers(0, 10_001, (SIDE, SIDE), dtype=np.int16) for _ in range(3)]

    def _cut(self, layers: list[Any], columns: tuple[int, int], rows: tuple[int, int]) -> list[Any]:
        left, top = self.window[0], self.window[2]
        return [a[rows[0] - top : rows[1] - top, columns[0] - left : columns[1] - left] for a in layers]

    def codes(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[Any]:
        return self._cut(self.classes, columns, rows)

    def weights(self, columns: tuple[int, int], rows: tuple[int, int]) -> list[Any]:
        return self._cut(self.chances, columns, rows)


def speed() -> None:
    shapes, source = communes(), Memory()
    lonlat = np.asarray(to_crs(shapes, 4326, 32648))
    print(
        f"{ZONES} zones of {shapely.get_num_coordinates(shapes).mean():.0f} corners, {SIDE**2 / 1e6:.0f} Mpx x 8 layers"
    )

    def ours(threads: int) -> Sums:
        return tally(lonlat, [source], 10, (7,) * 5, 3, detailed=False, threads=threads)

    runs: dict[str, Callable[[], Any]] = {
        "ours, 1 thread": lambda: ours(1), "ours, 2 threads": lambda: ours(2)
    }  # fmt: skip
    try:
        runs["exactextract"] = lambda: peer(shapes, source)
        import exactextract  # noqa: F401
    except ImportError:
        del runs["exactextract"]
        print("exactextract is absent: pip install it into the folder BENCH_PEERS")
    ours(1)  # compiles
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    result: Any = None
    for _ in range(REPEATS):
        for name, run in runs.items():
            wall, processor = time.perf_counter(), time.process_time()
            result = run()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    medians = {n: [statistics.median(c) for c in zip(*t, strict=True)] for n, t in times.items()}
    for name, (wall, processor) in medians.items():
        line = f"{name:16s} {wall:7.2f} s wall, {processor:7.2f} s processor"
        if "exactextract" in medians and name != "exactextract":
            theirs = medians["exactextract"]
            line += f"; {theirs[0] / wall:.1f} x in wall, {theirs[1] / processor:.1f} x in processor time"
        print(line)
    if "exactextract" in runs:
        compare(ours(1), shapes, source, result)


def peer(shapes: NDArray[np.object_], source: Memory, weights: NDArray[Any] | None = None) -> tuple[Any, Any]:
    from exactextract import exact_extract
    from exactextract.raster import NumPyRasterSource

    frame = geopandas.GeoDataFrame({"id": np.arange(len(shapes))}, geometry=shapes, crs=32648)
    where = {
        "xmin": X0,
        "xmax": X0 + SIDE * 10,
        "ymin": Y0,
        "ymax": Y0 + SIDE * 10,
        "srs_wkt": frame.crs.to_wkt(),
    }
    classes = [NumPyRasterSource(a, **where, name=f"c{k}") for k, a in enumerate(source.classes)]
    chances = [NumPyRasterSource(a, **where, name=f"p{k}") for k, a in enumerate(source.chances)]
    if weights is not None:
        area = NumPyRasterSource(weights, **where, name="area")
        return None, exact_extract(chances, frame, ["weighted_sum"], weights=area, output="pandas")
    return (
        exact_extract(classes, frame, ["unique", "frac", "count"], output="pandas"),
        exact_extract(chances, frame, ["sum", "count"], output="pandas"),
    )


def compare(sums: Sums, shapes: NDArray[np.object_], source: Memory, plain: tuple[Any, Any]) -> None:
    """Areas x probability with true cell areas on both sides; total areas by class by counts of cells."""
    top = -source.window[2]
    strips = (top - 1 - np.arange(SIDE)) // cells.STRIP
    rows = {k: cells.areas(32648, 10, int(k), source.window[0], SIDE) for k in np.unique(strips)}
    area = np.stack([rows[k] for k in strips]) * 1e-6
    _, theirs = peer(shapes, source, area)
    got, want = sums.weighted_m2()[:-1] * 10_000, theirs.filter(like="weighted_sum").to_numpy()
    away = np.abs(got / want - 1)
    print(
        f"area x probability by zone: largest relative difference {away.max():.1e}, median {np.median(away):.1e}"
    )
    small = plain[1]["p0_count"].to_numpy() * 100
    print(
        f"flat cells of 100 m2 would be wrong by up to {np.abs(small / sums.area_m2(0)[:-1].sum(axis=1) - 1).max():.1e}"
    )


def parcels() -> None:
    """A child process makes the files, another counts: its memory is the reading's own."""
    with tempfile.TemporaryDirectory() as folder:
        for step in ("make", "count"):
            subprocess.run([sys.executable, __file__, step, folder], check=True)


def make(folder: Path) -> None:
    import mapped

    box = shapely.box(106.0, 9.6, 106.35, 9.95)

    def layers(tile: Any) -> dict[str, Any]:
        rng = np.random.default_rng(3)
        value = rng.uniform(0.5, 20, tile.geobox.shape.yx)
        chances = {f"p{t}": np.clip(0.5 + (value - t) / 20, 0, 1) for t in (2, 4, 8, 16)}
        return {"estimate": value, "reason": np.zeros(value.shape), **chances}

    mapped.publish(folder, box, "salinity", layers, (2, 4, 8, 16))
    rng, n = np.random.default_rng(4), PARCELS
    x, y = 106.0 + rng.uniform(0, 0.349, n), 9.6 + rng.uniform(0, 0.349, n)
    turn = rng.uniform(0, 1.5, n)
    corner = np.array([[0, 0], [1, 0.1], [1.1, 1], [0.1, 0.9], [0, 0]]) * 0.0004
    cos, sin = np.cos(turn)[:, None], np.sin(turn)[:, None]
    xy = np.stack(
        [
            x[:, None] + cos * corner[:, 0] - sin * corner[:, 1],
            y[:, None] + sin * corner[:, 0] + cos * corner[:, 1],
        ],
        -1,
    )
    frame = geopandas.GeoDataFrame(
        {"parcel": np.arange(n), "sheet": "7", "commune": "00123"}, geometry=shapely.polygons(xy), crs=4326
    )
    frame.to_file(folder / "parcels.gpkg")


def count(folder: Path) -> None:
    import mapped

    from pipeline.zones import files, report, tables
    from pipeline.zones.errors import Correlation

    season = report.Counted.of(mapped.target("salinity"), sorted((folder / "store").rglob("*_salinity.tif")))
    key = ["parcel", "sheet", "commune"]
    small = geopandas.read_file(folder / "parcels.gpkg", rows=100)
    small.to_file(folder / "small.gpkg")
    for file, suffix in (
        (folder / "small.gpkg", ".parquet"),
        (folder / "parcels.gpkg", ".parquet"),
        (folder / "parcels.gpkg", ".csv"),
    ):
        wall, processor = time.perf_counter(), time.process_time()
        chunks = report.by_feature(season, file, key, Correlation(5000), threads=2)
        rows = files.write(chunks, folder / f"out{suffix}", tables.all_headings(season.theme), "2025-04-30")
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        if rows > 100:
            peak = most_memory() / 1e6
            print(
                f"{rows} parcels to {suffix}: {wall:.0f} s wall, {processor:.0f} s processor, "
                f"{rows / wall:.0f} a second, at most {peak:.0f} MB in memory"
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        {"make": make, "count": count}[sys.argv[1]](Path(sys.argv[2]))
    else:
        speed()
        parcels()
