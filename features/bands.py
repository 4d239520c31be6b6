"""The common band names and the sensor that delivers each: the vocabulary of formulas and stacks."""

from __future__ import annotations

from types import MappingProxyType

OPTICAL = "sentinel-2-l2a"
RADAR = "sentinel-1-rtc"
DEM = "dem"

_BY_SENSOR = {
    OPTICAL: (
        "blue",
        "green",
        "red",
        "rededge1",
        "rededge2",
        "rededge3",
        "nir",
        "nir08",
        "swir16",
        "swir22",
    ),
    RADAR: ("vv", "vh"),
    # Layers without time: a feature is the bare name.
    DEM: ("elevation", "slope"),
}

#: Common band name -> sensor name, in canonical order.
BANDS = MappingProxyType({band: sensor for sensor, bands in _BY_SENSOR.items() for band in bands})

#: Bands that have no time axis, shape (y, x).
LAYERS = frozenset(_BY_SENSOR[DEM])
