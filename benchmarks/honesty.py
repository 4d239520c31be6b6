"""Do our numbers tell the truth about the map? Simulated ground, where the truth is known; means over seeds.

Each seed is a region of 120 km: predictors are autocorrelated fields of several ranges that share hidden
causes, the log of salinity is a bent function of some of them plus an autocorrelated field that no
predictor knows. 200 samples lie in clusters of unequal size, as surveys do; each has an error of its own
of known variance, and all share one shift (a conversion formula). A tenth of the region is a stratum that
was never visited and whose predictors lie elsewhere: six of ten moved by 3 standard deviations.

(a) error said by folds matched to the map (kNNDM) and by random folds, against the map's true error;
(b) share of the soil's own values in the 90 % interval, inside the area of applicability;
(c) the same where the sample error is ignored;
(d) share of the unseen stratum, of seen ground (within 5 km of a sample), and of other ground of the same
    kind, that applicability flags;
(e) the map's true error after 50 more samples: planned, random, and at the existing clusters. Its worlds are
    those of planning.py.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
import pandas as pd
import planning
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from features import FeatureSpec
from models import ModelBundle, SampleTable, Target, folds, leftout
from models.knndm import choose
from models.settings import BoosterSettings, FoldSettings
from models.train import train

SIDE = 120  # pixels of 1 km
SPEC = FeatureSpec.parse(
    [
        "ndvi_p10",
        "ndvi_p50",
        "ndvi_p90",
        "swir16_mean",
        "swir22_mean",
        "red_p50",
        "nir_p50",
        "vv_mean",
        "vh_mean",
        "slope",
    ]
)
CAUSES = 6
CLUSTERS, SAMPLES = 25, 200
OWN_SD, COMMON_SD = 0.35, 0.1
DEGREE_M = np.pi / 180 * folds.EARTH_RADIUS_M
TARGET = Target.model_validate(
    {
        "name": "ece",
        "kind": "regression",
        "title": {"vi": "Độ mặn", "en": "Salinity"},
        "unit": "dS/m",
        "transform": "log",
        "model": BoosterSettings(trees=150, leaves=7, min_leaf=8),
        "folds": FoldSettings(count=10, block_m=5000),
    }
)


@dataclass(frozen=True)
class World:
    features: np.ndarray  # float32 (pixel, feature)
    truth: np.ndarray  # log salinity (pixel,)
    unseen: np.ndarray  # bool (pixel,)
    place: np.ndarray  # metres (pixel, 2)


def field(rng: np.random.Generator, reach: float) -> np.ndarray:
    """A smooth random field (y, x) of mean 0 and variance 1."""
    found = gaussian_filter(rng.normal(size=(SIDE, SIDE)), reach, mode="reflect")
    return (found - found.mean()) / found.std()


def make_world(rng: np.random.Generator) -> World:
    causes = np.stack([field(rng, reach) for reach in np.geomspace(2, 20, CAUSES)])
    mixing = rng.normal(size=(len(SPEC.names), CAUSES)) / np.sqrt(CAUSES)
    cube = np.tensordot(mixing, causes, 1) + 0.3 * rng.normal(size=(len(SPEC.names), SIDE, SIDE))
    signal = np.tanh(causes[0] + 0.5 * causes[1]) + 0.5 * causes[2] * (causes[3] > 0) + 0.4 * causes[4]
    truth = signal + 0.35 * field(rng, 3.0) + 0.15 * rng.normal(size=(SIDE, SIDE))
    marker = field(rng, 12)
    unseen = marker > np.quantile(marker, 0.9)
    moved = rng.permutation(np.repeat([-1.0, 1.0, 0.0, 0.0], 3)[: len(SPEC.names)])
    shift = 3.0 * moved * cube.std(axis=(1, 2))
    cube = np.where(unseen, cube + shift[:, None, None], cube)
    y, x = np.mgrid[:SIDE, :SIDE] * 1000.0
    return World(
        np.ascontiguousarray(cube.reshape(len(cube), -1).T.astype(np.float32)),
        truth.ravel(),
        unseen.ravel(),
        np.column_stack([x.ravel(), y.ravel()]),
    )


def survey(world: World, rng: np.random.Generator) -> np.ndarray:
    """Pixels visited: clusters around chance centres, large and small, on seen ground."""
    seen = np.flatnonzero(~world.unseen)
    centres = world.place[rng.choice(seen, CLUSTERS, replace=False)]
    sizes = rng.dirichlet(np.full(CLUSTERS, 2.0))
    distance = ((world.place[seen, None] - centres) ** 2).sum(axis=2)
    chance = (sizes * np.exp(-distance / (2 * 3000.0**2))).sum(axis=1)
    return rng.choice(seen, SAMPLES, replace=False, p=chance / chance.sum())


def measure(world: World, rows: np.ndarray, rng: np.random.Generator, known: bool) -> SampleTable:
    own = OWN_SD**2 * rng.uniform(0.5, 1.5, len(rows))
    noise = rng.normal(0, np.sqrt(own)) + rng.normal(0, COMMON_SD)
    frame = pd.DataFrame(world.features[rows], columns=list(SPEC.names))
    x, y = world.place[rows].T
    frame = frame.assign(
        sample_id=[str(k) for k in rows], group="", season="s", date="d", lon=x / DEGREE_M,
        lat=y / DEGREE_M, epsg=32648, x=x, y=y, ece=np.exp(world.truth[rows] + noise),
    )  # fmt: skip
    if known:
        frame = frame.assign(ece_log_variance_own=own, ece_log_variance_shared=COMMON_SD**2)
    return SampleTable(frame, SPEC)


def said(table: SampleTable, splits: folds.Folds) -> float:
    """Error of the map in log units as left-out samples tell it, their own error taken out."""
    left = leftout.quantity(table, TARGET, splits)
    own, common = table.error_variance(TARGET.name, True)
    return float(np.sqrt((left.residual**2).mean() - own.mean() + common.mean()))


def trial(seed: int) -> dict[str, float]:
    rng = np.random.default_rng(seed)
    world = make_world(rng)
    rows = survey(world, rng)
    draw = int(rng.integers(1 << 30))
    table = measure(world, rows, np.random.default_rng(draw), True)
    ignorant = measure(world, rows, np.random.default_rng(draw), False)
    seen = ~world.unseen
    where = folds.on_globe(*(world.place[rng.choice(np.flatnonzero(seen), 1000, replace=False)].T / DEGREE_M))
    bundle, naive = train(table, TARGET, where), train(ignorant, TARGET, where)
    found = bundle.distribution(world.features)
    error = np.log(found.median) - world.truth
    inside = bundle.predict_rows(world.features)["applicability"] == 1
    true = float(np.sqrt((error[seen] ** 2).mean()))
    z = np.exp(world.truth)
    visited = KDTree(world.place[rows]).query(world.place)[0] < 5000

    def covered(which: np.ndarray, model: ModelBundle) -> float:
        low, high = model.distribution(world.features).interval(0.9)
        return float(((low <= z) & (z <= high))[which].mean())

    return {
        "true map RMSE": true,
        "kNNDM / true": said(table, choose(table, TARGET.folds, where).splits) / true,
        "blocks / true": said(table, folds.spatial(table, 10, 5000, 1)) / true,
        "random / true": said(table, folds.random(table, 10, 1)) / true,
        "coverage inside": covered(inside, bundle),
        "coverage outside": covered(~inside, bundle),
        "coverage, error ignored": covered(inside, naive),
        "unseen flagged": float(1 - inside[world.unseen].mean()),
        "seen flagged": float(1 - inside[seen & visited].mean()),
        "same kind, not visited, flagged": float(1 - inside[seen & ~visited].mean()),
    }


def campaigns(seed: int) -> dict[str, float]:
    """RMSE after 50 more samples, as shares of that after 50 more at the existing clusters."""
    found = planning.errors(seed)
    at_clusters = found["at the clusters"]
    return {
        "planned / at clusters": found["planned"] / at_clusters,
        "planned / random": found["planned"] / found["random"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=30)
    seeds = range(parser.parse_args().seeds)
    trials = pd.DataFrame([trial(seed) | campaigns(seed) for seed in seeds])
    print(f"{len(trials)} seeds: mean, standard error of the mean, standard deviation between seeds")
    for name in trials:
        v = trials[name]
        print(f"  {name:32s} {v.mean():.3f}  +- {v.std() / np.sqrt(len(v)):.3f}  ({v.std():.3f})")


if __name__ == "__main__":
    main()
