"""How fast is a season's features pass beside plain NumPy? One run, interleaved, medians, one thread.

Work: 7 indices x 3 statistics over 20 dates of 512 x 512 pixels, a third of them unseen.
"""

from __future__ import annotations

import statistics
import time
import warnings

import numpy as np

from features import FeatureSpec, block

INDICES = ("ndvi", "gndvi", "ndre", "ndwi", "mndwi", "ndmi", "ndti")
PAIRS = {
    "ndvi": ("nir", "red"), "gndvi": ("nir", "green"), "ndre": ("nir", "rededge1"), "ndwi": ("green", "nir"),
    "mndwi": ("green", "swir16"), "ndmi": ("nir", "swir16"), "ndti": ("swir16", "swir22"),
}  # fmt: skip
REPEATS = 5


def make() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    bands = sorted({b for pair in PAIRS.values() for b in pair})
    stack = {b: rng.integers(1, 9000, (20, 512, 512)).astype(np.uint16) for b in bands}
    unseen = rng.random((20, 512, 512)) < 1 / 3
    for array in stack.values():
        array[unseen] = 0
    return stack


def by_numpy(stack: dict[str, np.ndarray]) -> np.ndarray:
    reflectance = {
        b: np.where(a == 0, np.nan, a / np.float32(10000)).astype(np.float32) for b, a in stack.items()
    }
    rows = []
    for a, b in PAIRS.values():
        index = (reflectance[a] - reflectance[b]) / (reflectance[a] + reflectance[b])
        rows += [np.nanmean(index, axis=0), np.nanstd(index, axis=0), np.nanmedian(index, axis=0)]
    return np.stack(rows)


def main() -> None:
    warnings.simplefilter("ignore")
    spec = FeatureSpec.parse([f"{i}_{s}" for i in INDICES for s in ("mean", "std", "p50")])
    stack = make()
    out = block(stack, spec)
    assert np.allclose(out, by_numpy(stack), atol=1e-5, equal_nan=True)
    times: dict[str, list[float]] = {"phusa": [], "numpy": []}
    for _ in range(REPEATS):
        for name, work in (("phusa", lambda: block(stack, spec, out)), ("numpy", lambda: by_numpy(stack))):
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"features: phusa {medians['phusa']:.2f} s, numpy {medians['numpy']:.2f} s, ratio {medians['numpy'] / medians['phusa']:.1f}"
    )


if __name__ == "__main__":
    main()
