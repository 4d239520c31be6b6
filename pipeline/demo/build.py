"""The whole demonstration on disk: archive, truth, samples, mask and a region config."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import rasterio
import shapely
import yaml
from numpy.typing import NDArray

from pipeline.demo import archive
from pipeline.demo import world as w
from pipeline.grid import to_crs, transformer

TARGETS = Path(__file__).resolve().parents[2] / "configs" / "targets"
FEATURES = [
    "ndvi_p10", "ndvi_p50", "ndvi_p90", "si1_p50", "bsi_p50", "ndmi_p50",
    "swir16_p50", "vv_mean", "vh_mean", "vh_vv_mean", "elevation", "slope",
]  # fmt: skip
_CLASSES = ("none", "slight", "moderate", "heavy")


@dataclass(frozen=True)
class Demo:
    """Where the parts of a demonstration lie."""

    config: Path
    season: str
    truth: Path
    world: w.World


def build(
    out: Path, seed: int = 1, size: int = 256, sites: int = 160, optical_dates: int = 8,
    radar_dates: int = 6, convention: str = "earth-search", store: dict[str, Any] | None = None,
) -> Demo:  # fmt: skip
    """Write a demonstration below ``out``; the same arguments give the same files."""
    ground = w.make(seed, size)
    catalog = archive.write(out / "archive", ground, seed, optical_dates, radar_dates, convention)
    _write_raster(out / "truth" / "salinity.tif", ground.salinity, np.nan)
    _write_raster(out / "truth" / "degradation.tif", ground.degradation, np.nan)
    _write_raster(out / "farmland.tif", np.where(ground.water, 0, 1).astype(np.uint8), 255)
    rng = np.random.default_rng([seed, 3])
    places = rng.permutation(np.flatnonzero(~ground.water))
    _write_samples(out / "samples.csv", ground, rng, places[:sites], "S")
    _write_samples(out / "reference.csv", ground, rng, places[sites : sites + sites // 2], "R")
    _write_area(out / "area.geojson", size)
    for name in ("salinity", "degradation"):
        (out / "targets").mkdir(exist_ok=True)
        shutil.copyfile(TARGETS / f"{name}.yaml", out / "targets" / f"{name}.yaml")
    config = out / "demo.yaml"
    settings = _settings(catalog.relative_to(out), convention, store or {"kind": "folder", "path": "store"})
    head = f"# {archive.LABEL}: made by `phusa demo --seed {seed}`\n"
    config.write_text(head + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return Demo(config, w.SEASON[0], out / "truth", ground)


def _settings(catalog: Path, convention: str, store: dict[str, Any]) -> dict[str, Any]:
    name, start, end = w.SEASON
    provider = {"kind": "static", "catalog": str(catalog), "convention": convention}
    return {
        "region": {
            "name": "demo-simulated",
            "area": "area.geojson",
            "grid": {"crs": "utm", "resolution_m": 10, "block_px": 128},
            "mask": {"path": "farmland.tif", "classes": [1], "version": "simulated"},
        },
        "sources": [
            {"sensor": s, "provider": dict(provider)} for s in ("sentinel-2-l2a", "sentinel-1-rtc", "dem")
        ],
        "seasons": {name: {"start": start, "end": end}},
        "features": FEATURES,
        "targets": ["targets/salinity.yaml", "targets/degradation.yaml"],
        "samples": [{"file": "samples.csv", "season": name}],
        "evaluate_on": {"file": "reference.csv", "season": name},
        "store": store,
    }


def _write_raster(path: Path, pixels: NDArray[Any], nodata: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "COG", "height": pixels.shape[0], "width": pixels.shape[1], "count": 1, "dtype": pixels.dtype,
        "nodata": nodata, "crs": f"EPSG:{w.EPSG}",
        "transform": rasterio.Affine(w.RESOLUTION, 0, w.ORIGIN[0], 0, -w.RESOLUTION, w.ORIGIN[1]),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels, 1)
        file.update_tags(PHUSA_SIMULATED=archive.LABEL)


def _write_samples(
    path: Path, ground: w.World, rng: np.random.Generator, places: NDArray[np.intp], prefix: str
) -> None:
    """Sites on land with laboratory noise of 10 %."""
    rows, columns = np.unravel_index(places, ground.water.shape)
    count = len(places)
    t = ground.transform
    x, y = t.c + t.a * (columns + 0.5), t.f + t.e * (rows + 0.5)
    lon, lat = transformer(w.EPSG, 4326).transform(x, y)
    ece = ground.salinity[rows, columns] * np.exp(0.1 * rng.normal(size=count))
    frame = pd.DataFrame(
        {
            "sample_id": [f"{prefix}{k:03d}" for k in range(count)],
            "date": str(w.dates(3)[1].date()),
            "lon": lon.round(7),
            "lat": lat.round(7),
            "ece": ece.round(3),
            "degradation": [_CLASSES[k] for k in np.digitize(ece, w.LIMITS)],
            "note": archive.LABEL,
        }
    )
    frame.to_csv(path, index=False)


def _write_area(path: Path, size: int) -> None:
    x, y = w.ORIGIN
    side = size * w.RESOLUTION
    area = to_crs(shapely.box(x, y - side, x + side, y), 4326, w.EPSG)
    feature = {
        "type": "Feature",
        "properties": {"name": archive.LABEL},
        "geometry": shapely.geometry.mapping(area),
    }
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": [feature]}, ensure_ascii=False), encoding="utf-8"
    )
