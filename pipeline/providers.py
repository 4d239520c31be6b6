"""Providers, and the conventions by which their STAC records become ``Scene`` values.

The offset is decided by the record and its processing baseline, never by its date: baselines from
04.00 on add 1000 to every number, reprocessed old images included, and some providers take it off.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import shapely
from pydantic import Field, StringConstraints

from features.bands import DEM, OPTICAL, RADAR
from models.settings import Settings
from pipeline.scenes import Scene
from pipeline.sensors import SCL, SENSORS, SensorName

Convention = Literal["earth-search", "planetary-computer", "copernicus"]
Record = Mapping[str, Any]

#: First baseline whose numbers carry the offset of +1000.
OFFSET_BASELINE = 4.0
OFFSET = -1000


class _Provider(Settings):
    convention: Convention
    collections: dict[SensorName, tuple[str, ...]] = Field(default_factory=dict)
    """Collections to ask for a sensor; the convention's own where absent."""
    hosts: tuple[str, ...] = ()
    """Hosts (``*.`` for any below) or ``s3://bucket`` that pixels may come from."""
    sign: bool = False

    def collections_of(self, sensor: str) -> tuple[str, ...]:
        named: Mapping[Any, tuple[str, ...]] = self.collections
        return named.get(sensor) or COLLECTIONS[self.convention].get(sensor, ())


class StaticProvider(_Provider):
    """A tree of JSON files that starts at ``catalog``: a path (relative to the config) or http(s) URL."""

    kind: Literal["static"]
    catalog: str = Field(min_length=1)

    @property
    def address(self) -> str:
        return self.catalog


class ApiProvider(_Provider):
    """A STAC API."""

    kind: Literal["api"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+")]

    @property
    def address(self) -> str:
        return self.url


Provider = StaticProvider | ApiProvider

COLLECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "earth-search": {
        OPTICAL: ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-s2-l2a-cogs"),
        RADAR: ("sentinel-1-rtc",),
        DEM: ("cop-dem-glo-30",),
    },
    "planetary-computer": {
        OPTICAL: ("sentinel-2-l2a",),
        RADAR: ("sentinel-1-rtc",),
        DEM: ("cop-dem-glo-30",),
    },
    "copernicus": {OPTICAL: ("sentinel-2-l2a",), RADAR: ("sentinel-1-rtc",), DEM: ("cop-dem-glo-30",)},
}

_ESA = {
    "blue": "B02",
    "green": "B03",
    "red": "B04",
    "rededge1": "B05",
    "rededge2": "B06",
    "rededge3": "B07",
    "nir": "B08",
    "nir08": "B8A",
    "swir16": "B11",
    "swir22": "B12",
    SCL: "SCL",
}
_TEN_METRES = {"blue", "green", "red", "nir"}


class Refused(ValueError):
    """A record cannot be used; the message is the reason that is kept with it."""


def scene(record: Record, sensor: str, provider: Provider, locate: Callable[[str], str]) -> Scene:
    """The Scene of a STAC item (its JSON), by the provider's convention.

    ``locate`` turns an asset's href into an address that may be opened, or raises Refused.
    Raises Refused with the reason where the record lacks what is needed or contradicts itself.
    """
    p: Record = record.get("properties") or {}
    identity, collection = str(record.get("id")), str(record.get("collection"))
    footprint = _footprint(record)
    moment = p.get("datetime") or p.get("start_datetime")
    if not moment:
        raise Refused("no datetime")
    bands = tuple(_assets(record, sensor, provider.convention, locate))
    if sensor == OPTICAL:
        baseline = _baseline(p, record)
        offset = _offset(p, collection, provider.convention, baseline)
        nodata: float | None = 0
    else:
        baseline, offset, nodata = None, 0, -32768 if sensor == RADAR else None
    return Scene(
        id=identity,
        sensor=sensor,
        collection=collection,
        datetime=_utc(str(moment)),
        footprint=footprint,
        assets=bands,
        epsg=_epsg(p, record),
        offset=offset,
        nodata=nodata,
        platform=_platform(p),
        orbit=_orbit(p) if sensor == RADAR else None,
        granule=_granule(p, identity) if sensor == OPTICAL else None,
        baseline=baseline,
        cloud_percent=_cloud(p),
        sign=provider.sign,
        simulated=p.get("phusa:simulated") is True,
    )


def _assets(
    record: Record, sensor: str, convention: str, locate: Callable[[str], str]
) -> list[tuple[str, str]]:
    assets = record.get("assets") or {}
    wanted = (*SENSORS[sensor].bands, SCL) if sensor == OPTICAL else ("vv", "vh")
    if sensor == DEM:
        wanted = ("elevation",)
    found, absent = [], []
    for band in wanted:
        key = next((k for k in _keys(band, convention) if k in assets), None)
        href = assets[key].get("href") if key else None
        if href:
            found.append((band, locate(str(href))))
        else:
            absent.append(band)
    if SCL in absent or not found:
        raise Refused(
            f"no asset for {', '.join(absent)} by convention {convention}: it has {', '.join(sorted(assets))}"
        )
    return found


def _keys(band: str, convention: str) -> tuple[str, ...]:
    """Asset keys under which a convention may keep a band, the best first."""
    if band in ("vv", "vh"):
        return (band, band.upper())
    if band == "elevation":
        return ("data", "elevation", "dem")
    esa = _ESA[band]
    if convention == "copernicus":
        return (f"{esa}_{10 if band in _TEN_METRES else 20}m",)
    if convention == "earth-search":  # v0 has ESA's names, v1 and c1 the common ones
        return (band, esa)
    return (esa,)


def _offset(p: Record, collection: str, convention: str, baseline: str | None) -> int:
    """What to add to the delivered numbers.

    Earth Search's ``raster:bands`` still says -0.1 after the offset was taken off: only its flag
    counts there. Elsewhere, and where the flag is absent or false, the baseline decides.
    """
    flag = _first(p, "earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
    if convention == "earth-search" and collection != "sentinel-2-c1-l2a" and flag is True:
        return 0
    if baseline is None:
        raise Refused("no processing baseline: the offset cannot be known")
    return OFFSET if float(baseline) >= OFFSET_BASELINE else 0


def _baseline(p: Record, record: Record) -> str | None:
    names = (
        "s2:processing_baseline",
        "sentinel:processing_baseline",
        "sentinel2:processing_baseline",
        "processing:version",
    )
    value = _first(p, *names)
    if value is None:
        for text in (p.get("s2:product_uri"), p.get("sentinel:product_id"), record.get("id")):
            match = re.search(r"_N(\d\d)(\d\d)_", str(text))
            if match:
                return f"{match[1]}.{match[2]}"
        return None
    if not re.fullmatch(r"\d{1,2}\.\d{1,2}", str(value)):
        raise Refused(f"processing baseline {value!r} is not a number such as 05.11")
    return str(value)


def _epsg(p: Record, record: Record) -> int | None:
    assets = (record.get("assets") or {}).values()
    code = _first(p, "proj:epsg", "proj:code") or next(
        (a[k] for a in assets for k in ("proj:epsg", "proj:code") if a.get(k)), None
    )
    match = re.fullmatch(r"(?:EPSG:)?(\d{4,5})", str(code))
    return int(match[1]) if match else None


def _granule(p: Record, identity: str) -> str | None:
    text = _first(p, "s2:mgrs_tile", "grid:code")
    if text is None and "sentinel:utm_zone" in p:
        text = f"{p['sentinel:utm_zone']}{p.get('sentinel:latitude_band')}{p.get('sentinel:grid_square')}"
    match = re.search(r"(\d{1,2})([C-X][A-Z]{2})$", str(text)) or re.search(
        r"_T?(\d{1,2})([C-X][A-Z]{2})_", identity
    )
    return f"{int(match[1]):02d}{match[2]}" if match else None


def _platform(p: Record) -> str | None:
    value = _first(p, "platform", "eo:platform")
    return str(value).lower() if value else None


def _orbit(p: Record) -> str | None:
    value = _first(p, "sat:relative_orbit", "sat:orbit_state")
    return str(value).lower() if value is not None else None


def _cloud(p: Record) -> float | None:
    value = p.get("eo:cloud_cover")
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None  # type: ignore[arg-type]


def _footprint(record: Record) -> str:
    try:
        geometry = shapely.from_geojson(json.dumps(record["geometry"]))
    except (KeyError, TypeError, shapely.errors.GEOSException) as error:
        raise Refused(f"no usable geometry: {error}") from None
    if geometry is None or geometry.is_empty or geometry.area == 0:
        raise Refused("no usable geometry: it is empty")
    return str(shapely.to_wkt(shapely.make_valid(geometry), rounding_precision=7))


def _utc(text: str) -> str:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"datetime {text!r} is not ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.astimezone(dt.UTC).isoformat()


def _first(p: Record, *names: str) -> Any:
    return next((p[name] for name in names if p.get(name) is not None), None)


def locator(provider: Provider) -> Callable[[str], str]:
    """A check of asset addresses: http(s) and s3 on the provider's own hosts, and local files only
    for a catalogue that is itself local. Raises Refused for anything else, ``/vsi...`` included."""
    home = urlsplit(provider.address)
    local = home.scheme not in ("http", "https")

    def locate(href: str) -> str:
        url = urlsplit(href)
        if url.scheme in ("http", "https"):
            if local or _host_allowed(url.hostname or "", home.hostname or "", provider.hosts):
                return href
            raise Refused(f"asset on a host that is not the provider's: {url.hostname}")
        if url.scheme == "s3":
            if local or any(href.startswith(h.rstrip("/") + "/") for h in provider.hosts):
                return href
            raise Refused(f"asset in a bucket that is not the provider's: s3://{url.netloc}")
        path = Path(url.path if url.scheme == "file" else href)
        if not local or url.scheme not in ("", "file") or str(path).startswith("/vsi"):
            raise Refused(f"asset address of a kind that is not allowed: {href[:80]}")
        return str(path)

    return locate


def _host_allowed(host: str, home: str, hosts: tuple[str, ...]) -> bool:
    below = any(h.startswith("*.") and host.endswith(h[1:]) for h in hosts)
    return host == home or host in hosts or below
