"""The sensors: which bands each delivers, and how its pixels come to the map grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from features.bands import BANDS, DEM, OPTICAL, RADAR

SensorName = Literal["sentinel-2-l2a", "sentinel-1-rtc", "dem"]

#: Scene classification of Sentinel-2; read with every scene, never a feature.
SCL = "scl"
#: Cloud probability in percent, a second opinion where the provider has it; never a feature.
CLOUD = "cloud"


@dataclass(frozen=True)
class Sensor:
    """How to read one sensor."""

    name: str
    dtype: str
    nodata: float
    """Value of unseen pixels in the loaded array."""
    resampling: str
    """Nearest keeps Sentinel-2 on its own pixels (20 m bands replicate); others are interpolated."""
    timeless: bool = False

    @property
    def bands(self) -> tuple[str, ...]:
        """Common names of its bands, in canonical order."""
        return tuple(b for b, sensor in BANDS.items() if sensor == self.name)


@dataclass(frozen=True)
class How:
    """What is done to pixels as they are read, beside growing clouds."""

    cloud_percent: float = 65
    """Pixels whose cloud probability, where the provider has one, is at least this are cloud."""
    lee_radius: int = 0
    """Pixels around each that Lee's filter of radar power looks at; 0 leaves speckle alone."""
    radar_looks: float = 4.4


SENSORS = MappingProxyType(
    {
        sensor.name: sensor
        for sensor in (
            Sensor(OPTICAL, "uint16", 0, "nearest"),
            Sensor(RADAR, "float32", float("nan"), "bilinear"),
            Sensor(DEM, "float32", float("nan"), "bilinear", timeless=True),
        )
    }
)
#: Scene classification and probability of cloud come with Sentinel-2 and hold small numbers.
CLASSES = replace(SENSORS[OPTICAL], dtype="uint8")
