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
# # Add an index, train again, and ask whether it helped
#
# An index of your own is a line of the region config. Whether a model is better for it is told by a paired test on the same
# folds, not by two scores side by side. The small SIMULATED coast is built once and shared by the notebooks; nothing here says
# anything of real soil.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import yaml

from features import cube
from models.card import drivers
from models.champion import compare
from models.train import train
from pipeline import catalog, learning, runner
from pipeline.config import Config
from pipeline.demo import build
from pipeline.grid import tiles
from pipeline.load import load

home = Path(tempfile.gettempdir()) / "phusa-notebook-world"
demo = build(home, seed=5, size=160, sites=200, optical_dates=5, radar_dates=2)
before = Config.read(demo.config)

# %% [markdown]
# ## The config with one index more
# Salt-stressed rice is short of water in its leaves and bright in its red edge at once: their product may tell what neither does.

# %%
text = yaml.safe_load(demo.config.read_text(encoding="utf-8"))
text["indices"] = {
    "salt_stress": {
        "formula": "(rededge1 / rededge3) * (swir16 / nir)",
        "range": [0, 10],
        "domain": "salinity",
        "citation": "our field notes",
    }
}
text["features"] += ["salt_stress_p50"]
changed = demo.config.with_name("with-index.yaml")
changed.write_text(yaml.safe_dump(text, sort_keys=False, allow_unicode=True), encoding="utf-8")
after = Config.read(changed)
[f.formula for f in after.features.features if f.name == "salt_stress_p50"]

# %% [markdown]
# ## How it looks on a tile

# %%
season = after.season(demo.season)
scenes = catalog.search(after.sources, season, after.region.geometry)
tile = tiles(after.region.geometry, 10)[0]
stack = load(scenes.kept, tile.geobox, after.features.bands, after.clouds.dilate_m)
shown = cube(stack.datasets(), after.features).sel(feature=["ndvi_p50", "salt_stress_p50"])
figure, axes = plt.subplots(1, 2, figsize=(9, 4), constrained_layout=True)
for axis, layer in zip(axes, shown, strict=True):
    layer.plot.imshow(ax=axis, robust=True)
    axis.set_title(f"SIMULATED {layer.feature.values!s}")
    axis.set_aspect("equal")
    axis.set_axis_off()

# %% [markdown]
# ## Train both ways on the same samples
# The samples are read once, with the features of the larger config; the old model takes those that it knows.

# %%
with runner.cluster("threads") as client:
    samples = learning.gather(after, client, after.samples).table
target = after.target("salinity")
old = train(samples.select(before.features.names), target)
new = train(samples, target)

# %% [markdown]
# ## Did it help?
# Each fold's training rows teach both; the losses are compared row by row. `better` asks for p below the gate's level, because
# a few folds differ by luck. `phusa train` asks the same before it replaces a model.

# %%
test = compare(old, new, samples)
pd.Series({k: test[k] for k in ("difference", "interval", "p_better", "folds", "rows", "better")})

# %% [markdown]
# ## What drives the new model

# %%
drivers(new, samples.measured("salinity"))[:5]
