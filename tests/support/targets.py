"""Targets and tables of samples whose features are noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from features.spec import FeatureSpec
from models.samples import SampleTable
from models.targets import Target

SPEC = FeatureSpec.parse(["ndvi_p50", "swir16_mean", "slope"])
TITLE = {"vi": "Độ mặn", "en": "Salinity"}


def noise(n: int, seed: int, side_m: float, **columns: Any) -> SampleTable:
    """``n`` rows in a square, with noise for features and what ``columns`` says."""
    rng = np.random.default_rng(seed)
    made: dict[str, Any] = {name: rng.normal(size=n).astype(np.float32) for name in SPEC.names}
    made |= {"x": rng.uniform(0, side_m, n), "y": rng.uniform(0, side_m, n)}
    made |= {"lon": 105.0, "lat": 10.0, "epsg": 32648, "group": ""}
    made |= {"season": "2025-dry", "date": "2025-02-01", "sample_id": "s"}
    return SampleTable(pd.DataFrame(made | columns), SPEC)


def regression(**more: Any) -> Target:
    """A target in dS/m with what ``more`` says of it."""
    kind: dict[str, Any] = {
        "name": "ece",
        "kind": "regression",
        "title": TITLE,
        "unit": "dS/m",
    }
    return Target.model_validate(kind | more)


def classified(*codes: int, **more: Any) -> Target:
    """A target of classes with what ``more`` says of it."""
    classes = [
        {"code": c, "name": f"c{c}", "title": TITLE, "colour": "#000000"} for c in codes or (30, 10, 20)
    ]
    kind: dict[str, Any] = {
        "name": "land",
        "kind": "class",
        "title": TITLE,
        "classes": classes,
    }
    return Target.model_validate(kind | more)
