"""Real points, an honest score: soil EC of coastal Odisha (India, 2024) from the Landsat bands beside the points.

    python benchmarks/odisha.py [folder of the data]

Data: garimajain2002/coastal_salinity_index (CC0-1.0), which states no unit of EC and no extract: the importer
refuses every row, as it should. Scores on the logarithm do not depend on the unit, so that the question of how
well the bands tell EC can be asked all the same. The published composite raster is empty at every point (its
pixels lie 44 km away), so that the bands are those which the authors read at the points themselves, columns b1
to b6, Landsat Collection 2 numbers. Skips where the data are not at hand.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import rasterio
import shapely

from features import FeatureSpec, block
from models import evaluate
from models.folds import on_globe
from models.samples import SampleTable
from models.settings import BoosterSettings, FoldSettings
from models.targets import Target
from pipeline import sites, yamlfile
from pipeline.grid import to_crs, utm_of
from pipeline.season import Season

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parents[1] / "shared" / "data" / "soil_ec_odisha_india_2024"
#: Bands beside the points, in the order of their columns b1 to b6.
BANDS = ("blue", "green", "red", "nir", "swir16", "swir22")
FEATURES = [f"{n}_mean" for n in (*BANDS, "ndvi", "ndmi", "mndwi", "bsi", "si1", "si3", "crsi")]
SEEDS = 5


def refused(file: Path) -> dict[str, int]:
    """What the importer says of the file as it is, and with the unit and the extract stated as a guess would."""
    salinity = yamlfile.parse(Target, HERE.parent / "configs" / "targets" / "salinity.yaml")
    season = Season("2024-dry", dt.date(2023, 12, 1), dt.date(2024, 4, 30))
    answers = {}
    for name, stated in (
        ("as it is", sites.Stated()),
        ("EC mapped to ece", sites.Stated(columns={"EC": "ece"})),
        ("unit stated, no extract", sites.Stated(units={"EC": "uS/cm"})),
        ("unit and extract stated", sites.Stated(units={"EC": "uS/cm"}, extract="1:5")),
    ):
        found = sites.read(file, season, [salinity], stated)
        rules = pd.Series([r.rule for r in found.refusals]).value_counts().to_dict()
        print(f"{name:>24}: {len(found.outcomes)} rows, {len(found.sites)} sites, refused {rules}")
        answers[name] = len(found.sites)
    return answers


def covered(points: Path, composite: Path) -> int:
    """Points at which the published composite holds a pixel."""
    frame = geopandas.read_file(points)
    with rasterio.open(composite) as file:
        pixels = np.array(list(file.sample(zip(frame.geometry.x, frame.geometry.y, strict=True), [1])))
    return int((np.nan_to_num(pixels) > 0).sum())


def table(points: Path) -> SampleTable:
    """Points with the indices of their bands, EC as given."""
    frame = geopandas.read_file(points).to_crs(4326)
    lon, lat = frame.geometry.x.to_numpy(), frame.geometry.y.to_numpy()
    epsg = utm_of(float(lon.mean()), float(lat.mean()))
    xy = shapely.get_coordinates(to_crs(shapely.points(lon, lat), epsg))
    rows = pd.DataFrame(
        {"sample_id": frame["Name"], "group": "", "season": "2024-dry", "date": "", "lon": lon, "lat": lat,
         "epsg": epsg, "x": xy[:, 0], "y": xy[:, 1], "ec": frame["EC"].astype(float)}
    )  # fmt: skip
    # Collection 2: reflectance = 0.0000275 DN - 0.2
    reflectance = np.stack([frame[f"b{k}_Bands"].to_numpy() * 0.0000275 - 0.2 for k in range(1, 7)])
    seen = np.nan_to_num(np.clip(np.rint(reflectance * 10_000), 1, 65_535), nan=0)  # 0: not seen
    stack = seen.astype(np.uint16)
    spec = FeatureSpec.parse(FEATURES)
    found = block({name: band[None, None] for name, band in zip(BANDS, stack, strict=True)}, spec)
    cube = pd.DataFrame(found[:, 0].T, columns=list(spec.names))
    return SampleTable(pd.concat([rows, cube], axis=1), spec)


def target(block_m: float, seed: int) -> Target:
    return Target(
        name="ec", kind="regression", title={"vi": "EC", "en": "EC"}, unit="as given", transform="log",
        model=BoosterSettings(trees=200, leaves=7, learning_rate=0.05, min_leaf=8, seed=seed),
        folds=FoldSettings(count=5, block_m=block_m, seed=seed),
    )  # fmt: skip


def main(folder: Path) -> None:
    if not folder.is_dir():
        print(f"{folder} is not here: nothing to score")
        return
    refused(folder / "soil_points_ec.gpkg")
    points = folder / "soil_points_ec.gpkg"
    found = covered(points, folder / "landsat_2021_JSP_Composite_AllBands.tif")
    samples = table(points)
    print(f"\nthe composite raster holds a pixel at {found} of {len(samples)} points")
    log = np.log(samples.y("ec"))
    print(f"{len(samples)} points; sd of ln EC {log.std():.3f}: the RMSE of always saying the mean")
    west, south, east, north = (
        f(samples.frame[c]) for f, c in ((min, "lon"), (min, "lat"), (max, "lon"), (max, "lat"))
    )
    grid = np.stack(np.meshgrid(np.linspace(west, east, 32), np.linspace(south, north, 32)), -1).reshape(
        -1, 2
    )
    places = on_globe(grid[:, 0], grid[:, 1])
    print(f"{'folds':>22} {'R2 of ln EC':>24} {'RMSE of ln EC':>24} {'coverage of 90 %':>17}")
    for block_m in (2000.0, 5000.0):
        runs = [
            evaluate.cross_validate(samples, target(block_m, seed), places) for seed in range(1, SEEDS + 1)
        ]
        for name in ("random", "matched", "spatial"):
            r2, rmse = (np.array([r[name]["log"][k] for r in runs]) for k in ("r2", "rmse"))
            inside = np.median([r[name]["coverage"] for r in runs])
            shown = f"{name} {block_m / 1000:g} km" if name == "spatial" else name
            if name == "spatial" or block_m == 2000.0:
                print(f"{shown:>22} {_span(r2):>24} {_span(rmse):>24} {inside:>17.2f}")
    first = runs[0]["clustering"]
    print(
        f"samples {first['between_samples_m']:.0f} m apart, mapped places {first['to_mapped_places_m']:.0f} m from one (medians)"
    )


def _span(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
