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
from typing import Any, Final

import shapely
from pydantic import TypeAdapter, ValidationError
from shapely.geometry.base import BaseGeometry

from features.bands import OPTICAL, RADAR
from pipeline import frozen
from pipeline.errors import InputError
from pipeline.files import aside, json_text, write_aside
from pipeline.season import Season
from pipeline.sensors import SENSORS

FORMAT = "phusa-scenes-1"
#: Why scenes are refused whose pixels do not bear out their record.
GUARD: Final = "radiometric guard"
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
    """Relative orbit, or orbit direction: Sentinel-1 images are alike only within one."""
    granule: str | None = None
    baseline: str | None = None
    cloud_percent: float | None = None
    sign: bool = False
    """Addresses need the provider's short-lived token."""
    simulated: bool = False
    """Not a real image; every product made from it says so."""
    pixel_m: tuple[tuple[str, float], ...] = ()
    """(band, pixel size that the record claims), in units of its CRS."""
    files: tuple[tuple[str, int, str], ...] = ()
    """(band, bytes of its file or 0, its multihash or ""), as the record states them."""
    cloud_url: str = ""
    """Address of the provider's cloud probability in percent, where it has one."""
    s3_endpoint: str = ""
    connections: int = 0
    """Most connections at a time that its provider allows; 0 is no limit."""
    alternates: tuple[Scene, ...] = ()
    """The same image from the source's fallback, read where this one's files cannot be."""
    processor: str = ""
    """Version of what made a Sentinel-1 image, where the record tells it."""
    refused: str = ""
    """What its pixels say against its offset: then it is not used, and what is needed of it is lost."""
    unjudged: str = ""
    """Why its pixels could not be asked about its offset, "" where they were, or where nobody looked."""

    @cached_property
    def geometry(self) -> BaseGeometry:
        """Footprint in WGS 84."""
        return shapely.from_wkt(self.footprint)

    @property
    def urls(self) -> dict[str, str]:
        """Common band name -> address."""
        return dict(self.assets)

    @cached_property
    def day(self) -> dt.date:
        """Solar day at the scene's centre: one pass of the satellite never spans two."""
        moment = dt.datetime.fromisoformat(self.datetime)
        return (moment + dt.timedelta(hours=self._longitude / 15)).date()

    @property
    def _longitude(self) -> float:
        """Of the centre; of a scene cut at longitude 180 that of its UTM zone, or of its larger part."""
        west, _, east, _ = self.geometry.bounds
        if east - west <= 180:
            return float(self.geometry.centroid.x)
        if self.epsg and self.epsg // 100 in (326, 327):
            return self.epsg % 100 * 6 - 183.0
        return float(max(shapely.get_parts(self.geometry), key=lambda g: g.area).centroid.x)

    @property
    def pass_key(self) -> tuple[str, str, str]:
        """Scenes with one key are one date: granules and datastrips of one pass."""
        orbit = self.orbit or "" if self.sensor == RADAR else ""
        return (str(self.day), self.platform or "", orbit)

    @property
    def identity(self) -> str:
        """What makes the pixels what they are; not where the copies lie."""
        parts = (
            self.sensor, self.collection, self.id, self.datetime, self.baseline, self.offset,
            self.epsg, None if self.nodata is None else float(self.nodata), self.platform, self.orbit,
            self.footprint, *(["refused"] if self.refused else []),
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
    datetime: str = ""
    platform: str | None = None
    orbit: str | None = None


@dataclass(frozen=True)
class Scenes:
    """All scenes kept for one season, and every record that was not."""

    season: str
    provider: dict[str, str]
    """Sensor -> where its records came from."""
    kept: tuple[Scene, ...]
    dropped: tuple[Dropped, ...]

    def of(self, sensor: str) -> list[Scene]:
        """The kept scenes of one sensor."""
        return [scene for scene in self.kept if scene.sensor == sensor]

    def meeting(self, place: BaseGeometry) -> tuple[Scene, ...]:
        """Scenes whose footprint meets a WGS 84 geometry."""
        shapely.prepare(place)
        return tuple(scene for scene in self.kept if shapely.intersects(place, scene.geometry))

    @property
    def in_buckets(self) -> bool:
        """Whether a file of any lies in an S3 bucket, which may ask for keys."""
        scenes = (s for scene in self.kept for s in (scene, *scene.alternates))
        return any(address.startswith("s3://") for s in scenes for _, address in s.assets)

    @property
    def reasons(self) -> dict[str, int]:
        """How many records were dropped for each kind of reason (the text before the colon)."""
        counts = Counter(d.reason.partition(":")[0] for d in self.dropped)
        counts.update(GUARD for scene in self.kept if scene.refused)
        return dict(sorted(counts.items()))

    @property
    def guarded(self) -> dict[str, int]:
        """Optical scenes whose offset the guard found sound, found wrong, and could not judge."""
        mine = self.of(OPTICAL)
        refused, unjudged = sum(bool(s.refused) for s in mine), sum(bool(s.unjudged) for s in mine)
        return {"sound": len(mine) - refused - unjudged, "refused": refused, "not judged": unjudged}

    @property
    def digest(self) -> str:
        """SHA-256 over what the kept scenes are."""
        return digest(self.kept)

    def since(self, old: Scenes) -> dict[str, list[str]]:
        """Ids of the images that were added, that went, and that were processed again since ``old``."""
        before, now = _by_image(old.kept), _by_image(self.kept)
        again = [
            k for k in now if k in before and {s.identity for s in now[k]} != {s.identity for s in before[k]}
        ]
        return {
            "added": sorted(s.id for k in now.keys() - before.keys() for s in now[k]),
            "gone": sorted(s.id for k in before.keys() - now.keys() for s in before[k]),
            "reprocessed": sorted(s.id for k in again for s in now[k]),
        }

    def write(self, path: Path) -> None:
        """As stac-geoparquet where the name ends so, else as JSON."""
        if path.suffix == ".parquet":
            with aside(path) as temporary:
                frozen.write(self, temporary)
            return
        content = {"format": FORMAT, **asdict(self)}
        write_aside(path, json_text(content))

    @classmethod
    def read(cls, path: Path) -> Scenes:
        """Raises InputError where the file is not one that ``write`` made, naming what is wrong in it."""
        try:
            content = _content(path)
            if content.pop("format") != FORMAT:
                raise ValueError(f"format is not {FORMAT}")
            found = TypeAdapter(cls).validate_json(json.dumps(content), strict=True)
            for scene in found.kept:
                scene.check()
                for other in scene.alternates:
                    other.check()
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


def _content(path: Path) -> dict[str, Any]:
    return (
        frozen.read(path) if path.suffix == ".parquet" else dict(json.loads(path.read_text(encoding="utf-8")))
    )


def image_key(scene: Scene) -> tuple[str, ...]:
    """What one image is known by, whoever processed and delivers it."""
    if scene.granule:
        return (scene.sensor, scene.platform or "", scene.granule, str(scene.day))
    return (scene.sensor, scene.id)


def _by_image(scenes: Iterable[Scene]) -> dict[tuple[str, ...], list[Scene]]:
    found: dict[tuple[str, ...], list[Scene]] = {}
    for scene in scenes:
        found.setdefault(image_key(scene), []).append(scene)
    return found


def digest(scenes: Iterable[Scene]) -> str:
    """SHA-256 over what the scenes are, in any order."""
    return hashlib.sha256("\n".join(sorted(s.identity for s in scenes)).encode()).hexdigest()
