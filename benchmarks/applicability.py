"""What does applicability cost beside the forest that it judges? One run, interleaved, medians, one thread.

500 clustered training rows, 40 features that share 12 hidden causes and have noise of their own; the forest
is 500 trees x 31 leaves. Pixels come as a map's do, neighbours together and features apart in memory.
``index`` is the dissimilarity of each pixel, ``inside`` only whether it is within the threshold, which is what
a map stores. A plain k-d tree (SciPy) gives the same index.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial

import lightgbm
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from models.applicability import Applicability
from models.forest import Forest

FEATURES, CAUSES, ROWS = 40, 12, 500
REPEATS = 5


def make(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (row, feature), features apart in memory, and clustered training rows among them."""
    rng = np.random.default_rng(0)
    reaches = np.geomspace(3, 60, CAUSES)
    causes = np.stack([gaussian_filter(rng.normal(size=(side, side)), reach) for reach in reaches])
    causes /= causes.std(axis=(1, 2), keepdims=True)
    mixing = rng.normal(size=(FEATURES, CAUSES)) / np.sqrt(CAUSES)
    cube = np.tensordot(mixing, causes, 1)
    cube = (cube + 0.5 * rng.normal(size=cube.shape)).astype(np.float32)
    place = rng.integers(0, side, (ROWS // 20, 1, 2)) + rng.integers(-15, 15, (ROWS // 20, 20, 2))
    y, x = np.clip(place.reshape(-1, 2), 0, side - 1).T
    return cube.reshape(FEATURES, -1).T, np.ascontiguousarray(cube[:, y, x].T)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", type=int, nargs="?", default=1000)
    X, train = make(parser.parse_args().side)
    rng = np.random.default_rng(1)
    many = np.repeat(train, 40, axis=0)  # so that each tree has all its leaves
    many += 0.2 * rng.standard_normal(many.shape, np.float32)
    y = np.tanh(many[:, :8]).sum(axis=1) + many[:, 8] * many[:, 9]
    settings = {"objective": "regression", "num_leaves": 31, "num_threads": 1, "verbosity": -1}
    booster = lightgbm.train(settings, lightgbm.Dataset(many, y), 500)
    forest = Forest.from_booster(booster)
    for name, importance in {
        "importance is the forest's gain": booster.feature_importance("gain"),
        "all features count alike (worst)": np.ones(FEATURES),
    }.items():
        found = Applicability.fit(train, importance, np.arange(ROWS) // 50)
        mean, factor, used = np.array(found.mean), np.array(found.factor), list(found.used)
        tree = KDTree((train[:, used] - mean) * factor)

        def by_tree(X: np.ndarray) -> np.ndarray:
            return tree.query((X[:, used] - mean) * factor)[0] / found.scale  # noqa: B023

        few = X[: len(X) // 100]
        np.testing.assert_allclose(found.dissimilarity(few), by_tree(few), atol=1e-9)
        np.testing.assert_array_equal(found.inside(X), found.dissimilarity(X) <= found.threshold)
        work = {
            "forest": partial(forest.predict_raw, X),
            "inside": partial(found.inside, X),
            "index": partial(found.dissimilarity, X),
            "SciPy k-d tree": partial(by_tree, few),
        }
        spent: dict[str, list[float]] = {key: [] for key in work}
        for _ in range(REPEATS):
            for key, run in work.items():
                start = time.perf_counter()
                run()
                rows = len(few) if key.startswith("SciPy") else len(X)
                spent[key].append((time.perf_counter() - start) / rows)
        cost = {key: statistics.median(values) for key, values in spent.items()}
        print(f"{name}: {found.inside(X).mean():.0%} of the pixels inside")
        for key, seconds in cost.items():
            print(f"  {key}: {1 / seconds:,.0f} rows/s, {seconds / cost['forest']:.2f} of the forest's cost")


if __name__ == "__main__":
    main()
