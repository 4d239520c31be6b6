"""Stack: the pixels of one window with their dates, and what became of every read of them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import xr_coords

import features
from features.bands import sensor_of
from features.spec import FeatureSpec
from pipeline.ledger import Entry
from pipeline.remote import Cause


@dataclass(frozen=True)
class Loss:
    """A read that was catalogued and needed, and that a fault took."""

    scene: str
    band: str
    where: str
    reason: str
    cause: Cause = "unreadable"
    """The kind of fault, as the ledger counts it."""


@dataclass
class Stack:
    """Pixels of one window: ``arrays`` as ``features.block`` wants them."""

    geobox: GeoBox
    arrays: dict[str, NDArray[Any]]
    dates: dict[str, NDArray[np.datetime64]]
    clear_dates: NDArray[np.int16]
    """Dates on which the pixel was seen, (y, x): by Sentinel-2 where it is loaded, else Sentinel-1."""
    reads: int = 0
    losses: list[Loss] = field(default_factory=list)
    ledger: list[Entry] = field(default_factory=list)
    """What became of every band of every scene here."""
    orbits: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """Sensor name -> relative orbit of each date; -1 ascending and -2 descending where only that is
    known, 0 where nothing is."""
    lost: NDArray[np.bool_] = field(init=False)
    """Where a read was lost, (y, x): inside the footprints of the scenes that ``losses`` names."""

    def __post_init__(self) -> None:
        self.lost = np.zeros(self.geobox.shape.yx, np.bool_)

    def features(self, spec: FeatureSpec, until: dt.date) -> NDArray[np.float32]:
        """Features of the window, float32 (feature, y, x); ages count to ``until``."""
        return features.block(
            self.arrays, spec, dates=self.dates, orbits=self.orbits, until=np.datetime64(until, "D")
        )

    def datasets(self) -> dict[str, xr.Dataset]:
        """One labelled Dataset a sensor, dims (time, y, x), for ``features.cube`` and notebooks."""
        found: dict[str, xr.Dataset] = {}
        for sensor in {sensor_of(b) for b in self.arrays}:
            dims = ("time", "y", "x") if sensor in self.dates else ("y", "x")
            mine = {b: (dims, a) for b, a in self.arrays.items() if sensor_of(b) == sensor}
            coords: dict[Any, Any] = dict(xr_coords(self.geobox))
            if "time" in dims:
                coords["time"] = ("time", self.dates[sensor].astype("datetime64[ns]"))
            if sensor in self.orbits:
                coords["orbit"] = ("time", self.orbits[sensor])
            found[sensor] = xr.Dataset(mine, coords)
        return found
