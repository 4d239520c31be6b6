"""Scenes: the images of a season as small values, saved so that they are a reproducible input."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import shapely
from pydantic import TypeAdapter, ValidationError
from shapely.geometry.base import BaseGeometry

from pipeline.errors import InputError
from pipeline.files import write_aside
from pipeline.season import Season
from pipeline.sensors import SENSORS

FORMAT = "phusa-scenes-1"
#: What may have to be added to the delivered numbers of Sentinel-2.
OFFSETS = (0, -1000)


@dataclass(frozen=True)
class Scene:
    """One image of one sensor, told in one way whatever the provider."""

    id: str
    sensor: str
    collection: str
    datetime: str
    """Acquisition, ISO 8601, UTC."""
    footprint: str
    """WKT, WGS 84."""
    assets: tuple[tuple[str, str], ...]
    """(common band name, address)."""
    epsg: int | None
    offset: int = 0
    """Added to the delivered numbers of Sentinel-2 to give reflectance x 10000."""
    nodata: float | None = None
    platform: str | None = None
    orbit: str | None = None
    """Relative orbit or orbit direction: Sentinel-1 images are alike only within one."""
    granule: str | None = None
    baseline: str | None = None
    cloud_percent: float | None = None
    sign: bool = False
    """Addresses need the provider's short-lived token."""
    simulated: bool = False
    """Not a real image; every product made from it says so."""

    @cached_property
    def geometry(self) -> BaseGeometry:
        return shapely.from_wkt(self.footprint)

    @property
    def urls(self) -> dict[str, str]:
        return dict(self.assets)

    @cached_property
    def day(self) -> dt.date:
        """Solar day at the scene's centre: one pass of the satellite never spans two."""
        moment = dt.datetime.fromisoformat(self.datetime)
        return (moment + dt.timedelta(hours=self.geometry.centroid.x / 15)).date()

    @property
    def pass_key(self) -> tuple[str, str, str]:
        """Scenes with one key are one date: granules and datastrips of one pass."""
        return (str(self.day), self.platform or "", self.orbit or "")

    @property
    def identity(self) -> str:
        """What makes the pixels what they are; not where the copies lie."""
        parts = (
            self.sensor, self.collection, self.id, self.datetime, self.baseline, self.offset,
            self.epsg, None if self.nodata is None else float(self.nodata), self.platform, self.orbit,
            self.footprint,
        )  # fmt: skip
        return "|".join(map(str, parts))

    def check(self) -> None:
        """Raises ValueError where a part cannot be used: for scenes that come from a file."""
        if self.sensor not in SENSORS:
            raise ValueError(f"scene {self.id!r} is of unknown sensor {self.sensor!r}")
        if self.offset not in OFFSETS:
            raise ValueError(f"scene {self.id!r} has offset {self.offset}; expected one of {OFFSETS}")
        try:
            unusable = self.geometry.is_empty or not self.geometry.is_valid or not self.day
        except (ValueError, OverflowError, shapely.errors.GEOSException) as error:
            raise ValueError(f"scene {self.id!r}: {error}") from None
        if unusable:
            raise ValueError(f"scene {self.id!r} has an empty footprint, or one that is no polygon")


@dataclass(frozen=True)
class Dropped:
    """A record that was found and not used, and why."""

    id: str
    sensor: str
    reason: str


@dataclass(frozen=True)
class Scenes:
    """All scenes kept for one season, and every record that was not."""

    season: str
    provider: dict[str, str]
    """Sensor -> where its records came from."""
    kept: tuple[Scene, ...]
    dropped: tuple[Dropped, ...]

    def of(self, sensor: str) -> list[Scene]:
        return [scene for scene in self.kept if scene.sensor == sensor]

    def meeting(self, place: BaseGeometry) -> tuple[Scene, ...]:
        """Scenes whose footprint meets a WGS 84 geometry."""
        shapely.prepare(place)
        return tuple(scene for scene in self.kept if shapely.intersects(place, scene.geometry))

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were dropped for each kind of reason (the text before the colon)."""
        return dict(sorted(Counter(d.reason.partition(":")[0] for d in self.dropped).items()))

    @property
    def digest(self) -> str:
        return digest(self.kept)

    def write(self, path: Path) -> None:
        content = {"format": FORMAT, **asdict(self)}
        write_aside(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Scenes:
        """Raises InputError where the file is not one that ``write`` made, naming what is wrong in it."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ValueError(f"format is not {FORMAT}")
            found = TypeAdapter(cls).validate_json(json.dumps(content), strict=True)
            for scene in found.kept:
                scene.check()
            identities = Counter(scene.identity for scene in found.kept)
            if identities and max(identities.values()) > 1:
                raise ValueError(
                    f"a scene is listed twice: {max(identities, key=identities.__getitem__)[:200]}"
                )
            return found
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            told = f"{'.'.join(map(str, fault['loc']))}: found {fault['input']!r:.100}; {fault['msg']}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            told = str(error)
        raise InputError(f"{path} is not a list of scenes made by `phusa scenes`: {told}")

    def need(self, season: Season, sensors: Iterable[str]) -> None:
        """Raises InputError where a scene is not of ``season``, or a sensor has none."""
        if self.season != season.name:
            raise InputError(f"the list of scenes is of season {self.season!r}, not {season.name!r}")
        for scene in self.kept:
            if not SENSORS[scene.sensor].timeless and scene.day not in season:
                raise InputError(
                    f"scene {scene.id!r} in the list is of {scene.day}, not in season {season.name!r} "
                    f"({season.start} to {season.end}); search again with `phusa scenes`"
                )
        for sensor in sensors:
            if not self.of(sensor):
                raise InputError(
                    f"no {sensor} scene for season {self.season!r} in the list; search again with `phusa scenes`"
                )


def digest(scenes: Iterable[Scene]) -> str:
    """SHA-256 over what the scenes are, in any order."""
    return hashlib.sha256("\n".join(sorted(s.identity for s in scenes)).encode()).hexdigest()
