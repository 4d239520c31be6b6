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
# # The simulated delta: what is in it, and how far a map of it can be trusted
#
# Everything here is SIMULATED (dữ liệu mô phỏng). `phusa demo` does the same on a world of 12 km with more dates and more
# samples; this one is small, so that the notebook runs in a minute.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from features import cube
from models.train import train
from pipeline import catalog, learning, runner
from pipeline.config import Config
from pipeline.demo import build, leaves, optical, scores, soil
from pipeline.demo.world import dates
from pipeline.grid import tiles
from pipeline.load import load

folder = Path(tempfile.mkdtemp())
demo = build(folder, seed=3, size=200, sites=160, optical_dates=6, radar_dates=3, reference_sites=40)
world = demo.world

# %% [markdown]
# ## The ground and its truth
# Salt comes from the sea, from brackish canals and from ponds; dikes keep it off. Degradation is the worst of salinity,
# erosion and fertility (docs/demo.md states the limits).

# %%
figure, axes = plt.subplots(1, 3, figsize=(12, 4), constrained_layout=True)
axes[0].imshow(world.land.cover, cmap="tab10", vmin=0, vmax=9, interpolation="nearest")
axes[0].set_title("SIMULATED land cover")
shown = axes[1].imshow(np.log2(world.salinity), cmap="viridis")
figure.colorbar(shown, ax=axes[1], label="log2 ECe (dS/m)")
axes[1].set_title("SIMULATED salinity")
axes[2].imshow(world.degradation, cmap="cividis", vmin=1, vmax=4)
axes[2].set_title("SIMULATED degradation")

# %% [markdown]
# ## Spectra: crops under salt, and bare soil
# PROSAIL gives the canopy over the soil; salt thins the crop and whitens what is bare.

# %%
figure, axis = plt.subplots(figsize=(7, 4))
for ece, lai, green in ((1, 4.5, 45), (6, 2.5, 35), (12, 0.2, 20)):
    crust = soil.crust(np.float32([ece]), np.float32([0.1]))
    ground = [soil.reflectance(k, np.float32([1]), np.float32([0.1]), crust)[0] for k in range(10)]
    table = leaves.table(35)
    entry = table.entry(np.float32([lai]), np.float32([green]))
    seen = [table.reflectance(k, entry, np.float32([ground[k]]))[0] for k in range(10)]
    axis.plot(leaves.BANDS, seen, marker="o", label=f"ECe {ece} dS/m, LAI {lai}")
axis.set_ylabel("reflectance")
axis.tick_params(axis="x", rotation=45)
axis.legend()
axis.set_title("SIMULATED rice")

# %% [markdown]
# ## One pass of Sentinel-2 and its scene classification
# Thin cloud and parts of shadows are missed, white salt is called cloud: the errors of the real classification.

# %%
scene = optical.see(world, dates(6)[1], np.random.default_rng([3, 2, 1]))
rgb = np.stack([scene.reflectance[band] for band in ("red", "green", "blue")], axis=-1)
figure, axes = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
axes[0].imshow(np.clip(rgb / 0.25, 0, 1))
axes[0].set_title("SIMULATED true colour")
axes[1].imshow(scene.scl, cmap="tab20", vmin=0, vmax=12, interpolation="nearest")
axes[1].set_title("SIMULATED SCL")

# %% [markdown]
# ## Samples, as a laboratory sends them
# Clustered by village, several a survey polygon, a third of them measured as EC1:5.

# %%
samples = pd.read_csv(folder / "samples.csv")
samples.head(), samples["Phương pháp EC"].value_counts().to_dict()

# %% [markdown]
# ## A map of one tile, against the truth
# What cross-validation says stands beside what is true. Neither flatters: part of the salt leaves no sign that a satellite
# could see.

# %%
config = Config.read(demo.config)
season, target = config.season(demo.season), config.target("salinity")
found = catalog.search(config.sources, season, config.region.geometry)
with runner.cluster("threads") as client:
    gathered = learning.gather(config, client, config.samples)
model = train(gathered.table, target)
tile = tiles(config.region.geometry, 10)[0]
stack = load(found.kept, tile.geobox, config.features.bands, config.clouds.dilate_m)
layers = model.predict(cube(stack.datasets(), config.features).values)
truth, transform = scores.read_truth(demo.truth / "salinity.tif")
left = round((tile.geobox.affine.c - transform.c) / 10)
top = round((transform.f - tile.geobox.affine.f) / 10)
rows, columns = tile.geobox.shape
here = truth[max(0, top) : top + rows, max(0, left) : left + columns]
inside = {
    name: np.asarray(v)[max(0, -top) :, max(0, -left) :][: here.shape[0], : here.shape[1]]
    for name, v in layers.items()
}
judged = scores.judge(target, {**inside, "reason": np.zeros(here.shape)}, here)
folds = learning.assess(gathered.table, target)
{
    "map against truth": {name: round(judged[name], 2) for name in ("r2", "rmse", "concordance", "coverage")},
    "spatial folds": round(folds["spatial"]["log"]["r2"], 2),
    "random folds": round(folds["random"]["log"]["r2"], 2),
}
