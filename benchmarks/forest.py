"""How fast is exact inference beside LightGBM, ONNX Runtime and Treelite? One run, interleaved, medians.

Models: 500 trees x 31 leaves on 40 features, and 300 x 63 leaves x 4 classes; a twentieth of the values
is NaN. Ours predicts all rows (4 million, or the number given); the others a share of them, as they would
take an hour: rates are compared. ``BENCH_PEERS`` may name a folder with onnxruntime, onnxmltools,
treelite and tl2cgen; those that are absent are left out, which is said.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np

from models.forest import Forest

sys.path += [p for p in [os.environ.get("BENCH_PEERS")] if p]  # behind our own packages

FEATURES = 40
REPEATS = 3
SHARE = 200
CASES = {
    "500 trees x 31 leaves": ({"objective": "regression", "num_leaves": 31}, 500),
    "300 x 63 x 4 classes": ({"objective": "multiclass", "num_class": 4, "num_leaves": 63}, 300),
}
Predict = Callable[[np.ndarray], Any]


def make(rows: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, FEATURES), np.float32)
    X[rng.random(X.shape, np.float32) < 0.05] = np.nan
    return X


def fit(parameters: dict[str, Any], trees: int) -> lightgbm.Booster:
    X = make(20_000, 0)
    signal = (
        np.nan_to_num(X[:, :10]) @ np.random.default_rng(1).normal(size=10) + np.nan_to_num(X[:, 11]) ** 2
    )
    y = np.digitize(signal, np.quantile(signal, [0.25, 0.5, 0.75])) if "num_class" in parameters else signal
    return lightgbm.train(parameters | {"verbosity": -1}, lightgbm.Dataset(X, y), trees)


def by_onnxruntime(booster: lightgbm.Booster, threads: int) -> Predict:
    import onnxmltools
    import onnxruntime
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = onnxmltools.convert_lightgbm(
        booster, initial_types=[("X", FloatTensorType([None, FEATURES]))], zipmap=False
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda X: session.run(None, {"X": X})


def by_treelite(booster: lightgbm.Booster, threads: int) -> Predict:
    import treelite

    model = treelite.frontend.from_lightgbm(booster)
    return lambda X: treelite.gtil.predict(model, X, nthread=threads, pred_margin=True)


def by_tl2cgen(booster: lightgbm.Booster, threads: int) -> Predict:
    import tl2cgen

    predictor = tl2cgen.Predictor(compiled(booster), nthread=threads)
    return lambda X: predictor.predict(tl2cgen.DMatrix(X), pred_margin=True)


@cache
def compiled(booster: lightgbm.Booster) -> Path:
    """C code of tl2cgen through gcc, which takes minutes."""
    import tl2cgen
    import treelite

    library = Path(tempfile.mkdtemp()) / "model.so"
    model = treelite.frontend.from_lightgbm(booster)
    tl2cgen.export_lib(model, "gcc", library, params={"parallel_comp": 8}, nthread=2)
    return library


def peers(booster: lightgbm.Booster, threads: int) -> dict[str, Predict]:
    found: dict[str, Predict] = {
        "LightGBM": lambda X: booster.predict(X, raw_score=True, num_threads=threads)
    }
    for name, prepare in {
        "ONNX Runtime": by_onnxruntime,
        "Treelite GTIL": by_treelite,
        "tl2cgen": by_tl2cgen,
    }.items():
        try:
            found[name] = prepare(booster, threads)
        except Exception as error:  # a peer that does not run is no reason to stop
            print(f"  {name} left out: {type(error).__name__}: {str(error)[:100]}")
    return found


def rate(predict: Predict, X: np.ndarray) -> float:
    start = time.perf_counter()
    predict(X)
    return len(X) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=int, nargs="?", default=4_000_000)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    X = make(arguments.rows, 2)
    few = X[: max(1000, len(X) // SHARE)]
    for name, (parameters, trees) in CASES.items():
        booster = fit(parameters, trees)
        Forest.from_booster(booster)  # compiles
        start = time.perf_counter()
        forest = Forest.from_booster(booster)
        built = time.perf_counter() - start
        same = np.array_equal(forest.predict_raw(few), booster.predict(few, raw_score=True))
        print(f"{name}: built in {built:.2f} s, {forest.nbytes / 1e6:.1f} MB, same as LightGBM: {same}")
        out = np.empty((len(X), *forest.predict_raw(few[:1]).shape[1:]))
        for threads in arguments.threads:
            others = peers(booster, threads)
            rates: dict[str, list[float]] = {key: [] for key in ("phusa", *others)}
            for _ in range(REPEATS):
                rates["phusa"].append(rate(partial(forest.predict_raw, out=out, threads=threads), X))
                for key, predict in others.items():
                    rates[key].append(rate(predict, few))
            medians = {key: statistics.median(values) for key, values in rates.items()}
            for key, median in medians.items():
                ratio = "" if key == "phusa" else f", ratio {medians['phusa'] / median:.1f}"
                print(f"  {threads} thread(s), {key}: {median:,.0f} rows/s{ratio}")


if __name__ == "__main__":
    main()
