"""Do planned samples help a map more than more of the same, and no less than random ones?

Simulated land of 10 x 10 km, 100 samples in 6 clusters; then 50 more: planned, at the same clusters, or
random. Error is that of the map against the noise-free truth. ``--seeds`` worlds; means with their spread.
"""

from __future__ import annotations

import argparse
from typing import Any

import lightgbm
import numpy as np
from scipy.ndimage import gaussian_filter

from models.next_samples import Places, Samples, plan
from models.settings import BoosterSettings

SIDE, CELL_M, NOISE = 100, 100.0, 0.25
START, MORE, CLUSTERS, SPREAD_M = 100, 50, 6, 600.0
CANDIDATES, REPEATS = 1500, 5


class World:
    """Eight features and a target that depends on them, on one thing unseen, and on place."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        fields = [self.field(s) for s in (3, 5, 8, 12, 18, 4, 10, 25)]
        coast = np.tile(np.linspace(-1.7, 1.7, SIDE), SIDE)
        fields[4] = 0.6 * fields[4] + 0.8 * coast
        self.X = np.stack(fields, axis=1)
        f = self.X.T
        self.truth = f[4] + 0.8 * np.tanh(1.5 * f[2]) + 0.6 * f[0] * (f[3] > 0) + 0.25 * f[7] ** 2
        self.truth += 0.4 * self.field(8) - 0.4 * np.maximum(f[1], 0)
        y, x = np.divmod(np.arange(SIDE * SIDE), SIDE)
        self.xy = np.stack([x, y], axis=1) * CELL_M
        self.centres = self.xy[self.rng.choice(len(self.xy), CLUSTERS, replace=False)]

    def field(self, scale: float) -> np.ndarray:
        smooth = gaussian_filter(self.rng.normal(size=(SIDE, SIDE)), scale).ravel()
        return (smooth - smooth.mean()) / smooth.std()

    def measure(self, rows: np.ndarray) -> np.ndarray:
        return self.truth[rows] + self.rng.normal(0, NOISE, len(rows))

    def clustered(self, count: int) -> np.ndarray:
        near = self.centres[self.rng.integers(CLUSTERS, size=20 * count)]
        near = near + self.rng.normal(0, SPREAD_M, near.shape)
        column, row = (near / CELL_M).round().astype(int).T
        inside = (np.minimum(column, row) >= 0) & (np.maximum(column, row) < SIDE)
        return (row * SIDE + column)[inside][:count]


def boost(X: np.ndarray, y: np.ndarray, trees: int = 200, **more: Any) -> lightgbm.Booster:
    settings = BoosterSettings(min_leaf=8).parameters() | {"objective": "regression"} | more
    return lightgbm.train(settings, lightgbm.Dataset(X, y), trees)


def errors(seed: int) -> dict[str, float]:
    """RMSE of the map after each kind of campaign."""
    world = World(seed)
    X, old = world.X, world.clustered(START)
    y = world.measure(old)

    def rmse(model: lightgbm.Booster) -> float:
        return float(np.sqrt(np.mean((model.predict(X) - world.truth) ** 2)))

    def after(new: np.ndarray) -> float:
        rows = np.concatenate([old, new])
        return rmse(boost(X[rows], np.concatenate([y, world.measure(new)])))

    model = boost(X[old], y)
    low, high = (boost(X[old], y, 100, objective="quantile", alpha=a).predict(X) for a in (0.05, 0.95))
    width = np.maximum(high - low, 0)
    some = np.sort(world.rng.choice(len(X), CANDIDATES, replace=False))
    known = Samples(world.xy[old], X[old])
    importance = model.feature_importance("gain")
    on_ground = plan(Places(world.xy[some]), Samples(world.xy[old]), MORE)
    covering = plan(Places(world.xy[some], X[some]), known, MORE, importance)
    planned = plan(Places(world.xy[some], X[some], width[some]), known, MORE, importance)
    return {
        "before": rmse(model),
        "at the clusters": float(np.mean([after(world.clustered(MORE)) for _ in range(REPEATS)])),
        "random": float(np.mean([after(world.rng.choice(len(X), MORE)) for _ in range(REPEATS)])),
        "planned by place": after(some[on_ground.rows]),
        "planned, no width": after(some[covering.rows]),
        "planned": after(some[planned.rows]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    found = [errors(seed) for seed in range(parser.parse_args().seeds)]
    table = {name: np.array([f[name] for f in found]) for name in found[0]}
    print(f"{len(found)} worlds; RMSE of the map against the noise-free truth, mean and standard deviation")
    for name, values in table.items():
        ratio = values / table["at the clusters"]
        print(f"  {name:18} {values.mean():.3f} +- {values.std(ddof=1):.3f}"
              f"   of that at the clusters: {ratio.mean():.3f} +- {ratio.std(ddof=1):.3f}")  # fmt: skip
    planned, random = table["planned"], table["random"]
    gain = 1 - planned / table["at the clusters"]
    print(
        f"planned below the clusters by {100 * gain.mean():.1f} % (goal 15), worst world {100 * gain.min():.1f} %"
    )
    print(f"planned / random {np.mean(planned / random):.3f} +- {np.std(planned / random, ddof=1):.3f} (goal 1 or less), "
          f"better in {int((planned < random).sum())} of {len(found)}")  # fmt: skip


if __name__ == "__main__":
    main()
