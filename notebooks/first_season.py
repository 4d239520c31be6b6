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
# # A first season, step by step
#
# The same functions that map the country, called by hand on the small SIMULATED coast. Nothing here says anything of real
# soil.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import rioxarray

from features import cube
from models.train import train
from pipeline import catalog, learning, runner
from pipeline.config import Config
from pipeline.demo import build
from pipeline.grid import tiles
from pipeline.load import load

demo = build(Path(tempfile.mkdtemp()), seed=5, size=128, sites=80, optical_dates=5, radar_dates=3)
config = Config.read(demo.config)
season = config.season(demo.season)

# %% [markdown]
# ## Images
# Every record is kept, or dropped with a reason.

# %%
scenes = catalog.search(config.sources, season, config.region.geometry)
{sensor: len(scenes.of(sensor)) for sensor in scenes.provider}, scenes.reasons

# %% [markdown]
# ## Features of one tile
# `load` gives labelled stacks, `cube` reduces them to one value a feature.

# %%
tile = tiles(config.region.geometry, config.region.grid.resolution_m)[0]
stack = load(scenes.kept, tile.geobox, config.features.bands, config.clouds.dilate_m)
features = cube(stack.datasets(), config.features)
features.sel(feature=["ndvi_p50", "si1_p50", "vh_mean"]).plot(col="feature", robust=True)

# %% [markdown]
# ## A model and its honest score
# Spatial folds leave out whole blocks; random ones leave out single sites, and flatter.

# %%
with runner.cluster("threads") as client:
    samples = learning.gather(config, client, config.samples)
target = config.target("salinity")
bundle = train(samples.table, target)
scores = learning.assess(samples.table, target)
{kind: round(scores[kind]["rmse"], 2) for kind in ("spatial", "random")}

# %% [markdown]
# ## The map beside the truth

# %%
layers = bundle.predict(features.values)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
truth = rioxarray.open_rasterio(demo.truth / "salinity.tif", masked=True)[0]
truth = truth.isel(x=slice(0, layers["estimate"].shape[1]))
for axis, values, title in ((axes[0], truth, "truth"), (axes[1], layers["estimate"], "estimate")):
    shown = axis.imshow(values, vmin=0, vmax=15, cmap="YlOrBr")
    axis.set_title(f"SIMULATED ECe, {title}")
figure.colorbar(shown, label="dS/m")
float(np.nanmedian(layers["estimate"]))
