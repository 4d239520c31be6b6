# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Read the uncertainty
#
# A pixel of a quantity holds a whole distribution. This notebook reads it: interval, exceedance, applicability, reliability, and
# what drives one pixel. The small SIMULATED coast is built once and shared by the notebooks; nothing here says anything of real
# soil.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from features import cube
from models.card import reliability
from models.explain import explain
from models.judge import judge
from models.train import train
from pipeline import catalog, learning, runner
from pipeline.config import Config
from pipeline.demo import build
from pipeline.grid import tiles
from pipeline.load import load

home = Path(tempfile.gettempdir()) / "phusa-notebook-world"
demo = build(home, seed=5, size=160, sites=200, optical_dates=5, radar_dates=2)
config = Config.read(demo.config)
season, target = config.season(demo.season), config.target("salinity")
with runner.cluster("threads") as client:
    samples = learning.gather(config, client, config.samples).table
bundle = train(samples, target)

# %% [markdown]
# ## The map: estimate, width of the 90 % interval, chance of more than 4 dS/m, and where no score vouches

# %%
scenes = catalog.search(config.sources, season, config.region.geometry)
tile = tiles(config.region.geometry, 10)[0]
stack = load(scenes.kept, tile.geobox, config.features.bands, config.clouds.dilate_m)
features = cube(stack.datasets(), config.features).values
layers = bundle.predict(features)
panels = {
    "estimate (median), dS/m": (layers["estimate"], "YlOrBr", 0, 12),
    "upper / lower": (layers["upper"] / layers["lower"], "Purples", 1, 15),
    "P(ECe > 4 dS/m)": (layers["p4"], "RdYlBu_r", 0, 1),
    "inside applicability": (layers["applicability"], "PiYG", 0, 1),
}
figure, axes = plt.subplots(2, 2, figsize=(9, 8), constrained_layout=True)
for axis, (name, (values, colours, low, high)) in zip(axes.flat, panels.items(), strict=True):
    shown = axis.imshow(values, cmap=colours, vmin=low, vmax=high)
    axis.set_title(f"SIMULATED {name}")
    axis.set_axis_off()
    figure.colorbar(shown, ax=axis, shrink=0.8)

# %% [markdown]
# ## Can the interval be believed?
# Each sample is told by a model that has not seen its block. Points on the diagonal: as often below a quantile as was said.

# %%
judged = judge(bundle, samples)
curve = pd.DataFrame(reliability(judged.rows, target))
figure, axis = plt.subplots(figsize=(4.5, 4.5), constrained_layout=True)
axis.plot([0, 1], [0, 1], color="grey", linestyle="--")
axis.errorbar(
    curve.predicted,
    curve.observed,
    yerr=[curve.observed - curve.lower, curve.upper - curve.observed],
    fmt="o",
)
axis.set(xlabel="said", ylabel="came", title="SIMULATED reliability")
judged.scores["spatial"]["coverage"], judged.scores["applicability"]

# %% [markdown]
# ## Sums need means, not medians
# The estimate is the median. The mean of an area is read from the distributions.

# %%
known = np.isfinite(layers["estimate"])
distribution = bundle.distribution(features[:, known].T.copy())
float(distribution.median.mean()), float(distribution.mean.mean())

# %% [markdown]
# ## Why does one pixel say what it says?
# TreeSHAP: what each feature adds to the expected logarithm; all of them add up to the score.

# %%
place = np.argwhere(known)[known.sum() // 2]
told = explain(bundle, features[:, place[0], place[1]][None].copy())
parts = pd.Series(told.contributions[0], index=bundle.spec.names).sort_values(key=abs, ascending=False)
figure, axis = plt.subplots(figsize=(6, 3), constrained_layout=True)
parts[:8][::-1].plot.barh(ax=axis, color=np.where(parts[:8][::-1] > 0, "tab:blue", "tab:brown"))
axis.set(title=f"SIMULATED ln ECe: {told.expected[0]:.2f} expected, {told.score[0]:.2f} here")
