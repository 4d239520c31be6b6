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
    DEM: (
        "elevation",
        "slope",
        "aspect",
        "northness",
        "eastness",
        "profile_curvature",
        "plan_curvature",
    ),
}

#: Common band name -> sensor name, in canonical order.
BANDS = MappingProxyType({band: sensor for sensor, bands in _BY_SENSOR.items() for band in bands})

#: Bands that have no time axis, shape (y, x).
LAYERS = frozenset(_BY_SENSOR[DEM])

#: What delivers the layers that are made once for a whole region, and its own rasters.
REGION = "region"
#: Layers that are made once for a region: a pixel's value depends on ground far from it.
REGION_LAYERS = ("twi", "distance_to_channels", "distance_to_coast")


def sensor_of(band: str) -> str:
    """The sensor that delivers a band; ``REGION`` for the layers of a region, whatever their names."""
    return BANDS.get(band, REGION)


def has_time(band: str) -> bool:
    """True where a band has a time axis."""
    return band in BANDS and band not in LAYERS
