"""The conventions by which providers' STAC records become ``Scene`` values (docs/imagery.md).

The offset is decided by the record and its processing baseline, never by its date: baselines from
04.00 on add 1000 to every number, reprocessed old images included, and some providers take it off.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, Protocol

import shapely
from shapely.geometry.base import BaseGeometry

from features.bands import DEM, OPTICAL, RADAR
from pipeline import integrity
from pipeline.grid import cut_at_180
from pipeline.scenes import Scene
from pipeline.sensors import CLOUD, SCL, SENSORS

Convention = Literal["earth-search", "planetary-computer", "copernicus"]
Record = Mapping[str, Any]

#: First baseline whose numbers carry the offset of +1000.
OFFSET_BASELINE = 4.0
OFFSET = -1000
#: Baseline of test productions, which keep no rule.
_TEST_BASELINE = "99.99"

COLLECTIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "earth-search": {
        OPTICAL: ("sentinel-2-l2a", "sentinel-2-c1-l2a", "sentinel-2-pre-c1-l2a", "sentinel-s2-l2a-cogs"),
        RADAR: ("sentinel-1-rtc",),
        DEM: ("cop-dem-glo-30",),
    },
    "planetary-computer": {
        OPTICAL: ("sentinel-2-l2a",),
        RADAR: ("sentinel-1-rtc",),
        DEM: ("cop-dem-glo-30",),
    },
    "copernicus": {
        OPTICAL: ("sentinel-2-l2a",),
        RADAR: ("sentinel-1-rtc",),
        DEM: ("cop-dem-glo-30", "cop-dem-glo-30-dged-cog"),
    },
}
#: Collections of Earth Search whose pixels keep the offset, whatever a flag says.
_UNTOUCHED = ("sentinel-2-c1-l2a", "sentinel-2-pre-c1-l2a")

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
#: Bands of latitude of the MGRS, and more than a granule's side in degrees.
_BANDS, _GRANULE_DEGREES = "CDEFGHJKLMNPQRSTUVWX", 1.2
_TEN_METRES = {"blue", "green", "red", "nir"}
_NUMERAL = re.compile(r"\s*[-+]?\d{1,20}(\.\d{0,20})?([eE][-+]?\d{1,3})?\s*", re.ASCII)
#: Absolute orbit of each Sentinel-1 at which relative orbit 1 began, modulo 175 (ESA).
_S1_ORBIT = {"sentinel-1a": 73, "sentinel-1b": 27, "sentinel-1c": 172}


class Refused(ValueError):
    """A record cannot be used; the message is the reason that is kept with it."""


class Offering(Protocol):
    """What of a provider the reading of its records depends on."""

    @property
    def convention(self) -> Convention: ...
    @property
    def sign(self) -> bool: ...
    @property
    def s3_endpoint(self) -> str: ...
    @property
    def connections(self) -> int: ...
    def collections_of(self, sensor: str) -> tuple[str, ...]: ...


def scene(record: Record, sensor: str, provider: Offering, locate: Callable[[str], str]) -> Scene:
    """The Scene of a STAC item (its JSON), by the provider's convention.

    ``locate`` turns an asset's href into an address that may be opened, or raises Refused.
    Raises Refused with the reason where the record lacks what is needed or contradicts itself; no
    JSON makes it raise anything else.
    """
    p, assets = _parts(record)
    identity, collection = _identity(record), record.get("collection")
    _check_kind(p, collection, sensor, provider)
    footprint = _footprint(record.get("geometry"))
    found = _assets(assets, sensor, provider.convention, locate)
    used = [assets[key] for key, _ in found.values()]
    granule = _granule(p, identity) if sensor == OPTICAL else None
    epsg = _check_epsg(_epsg(p, used), granule, sensor)
    platform = _platform(p, identity, sensor)
    if sensor == OPTICAL:
        _check_scaling([assets[key] for band, (key, _) in found.items() if band != SCL])
    baseline = _baseline(p, identity) if sensor == OPTICAL else None
    return Scene(
        id=identity,
        sensor=sensor,
        collection=str(collection),
        datetime=_utc(p.get("datetime") or p.get("start_datetime")),
        footprint=footprint,
        assets=tuple((band, url) for band, (_, url) in found.items()),
        epsg=epsg,
        offset=_offset(p, str(collection), provider.convention, baseline) if sensor == OPTICAL else 0,
        nodata=_nodata(sensor, used),
        platform=platform,
        orbit=_orbit(p, identity, platform),
        granule=granule,
        baseline=baseline,
        cloud_percent=_cloud(p),
        sign=provider.sign,
        simulated=p.get("phusa:simulated") is True,
        pixel_m=_pixel_sizes(p, {band: assets[key] for band, (key, _) in found.items()}),
        files=_files({band: assets[key] for band, (key, _) in found.items()}),
        cloud_url=_second_opinion(assets, provider.convention, locate) if sensor == OPTICAL else "",
        s3_endpoint=provider.s3_endpoint,
        connections=provider.connections,
        processor=_processor(p) if sensor == RADAR else "",
    )


def _parts(record: Any) -> tuple[Record, dict[str, Record]]:
    """Properties, and the assets that are objects with an href."""
    if not isinstance(record, Mapping):
        raise Refused("the record is not a JSON object")
    p, assets = record.get("properties") or {}, record.get("assets") or {}
    if not isinstance(p, Mapping) or not isinstance(assets, Mapping):
        raise Refused("its properties or assets are not JSON objects")
    whole = {
        str(k): a for k, a in assets.items() if isinstance(a, Mapping) and isinstance(a.get("href"), str)
    }
    return p, {k: a for k, a in whole.items() if a["href"]}


def _identity(record: Record) -> str:
    text = record.get("id")
    if not isinstance(text, str) or not text or not text.isprintable():
        raise Refused(f"its id is no printable text: {text!a:.80}")
    return text


def _check_kind(p: Record, collection: Any, sensor: str, provider: Offering) -> None:
    """One product a sensor: what is of another collection or level is not it."""
    known = provider.collections_of(sensor)
    if collection not in known:
        raise Refused(f"collection {collection!a:.80} is not one that holds {sensor}: {', '.join(known)}")
    level = _first(p, "s2:product_type", "product:type")
    if sensor == OPTICAL and str(level).upper() in ("S2MSI1C", "S2MSI_L3__MCQ"):
        raise Refused(f"product type {level} is not Level-2A")
    mode = p.get("sar:instrument_mode")
    if sensor == RADAR and mode not in (None, "IW"):
        raise Refused(f"instrument mode {mode!a:.20} is not IW")


def _assets(
    assets: Mapping[str, Record], sensor: str, convention: str, locate: Callable[[str], str]
) -> dict[str, tuple[str, str]]:
    """Band -> (asset key, address)."""
    wanted = {OPTICAL: (*SENSORS[OPTICAL].bands, SCL), RADAR: ("vv", "vh"), DEM: ("elevation",)}[sensor]
    keys = {band: next((k for k in _keys(band, convention) if k in assets), None) for band in wanted}
    absent = [band for band, key in keys.items() if key is None]
    if SCL in absent or len(absent) == len(wanted):
        raise Refused(
            f"no asset for {', '.join(absent)} by convention {convention}: it has {', '.join(sorted(assets))[:300]}"
        )
    found = {band: (key, locate(assets[key]["href"])) for band, key in keys.items() if key}
    return found


def _processor(p: Record) -> str:
    """Version of Sentinel-1's processor, as ``003.71``."""
    value = _first(p, "processing:version", "s1:processor_version", "s1:ipf_version")
    return str(value)[:40] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _second_opinion(assets: Mapping[str, Record], convention: str, locate: Callable[[str], str]) -> str:
    """Address of the provider's cloud probability, "" where it is not kept beside the bands."""
    for key in (CLOUD, "CLD_20m") if convention != "planetary-computer" else ():
        if key in assets:
            try:
                return locate(assets[key]["href"])
            except Refused:  # Earth Search v1 keeps it in a bucket that the reader pays for
                return ""
    return ""


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
    if convention == "earth-search" and collection not in _UNTOUCHED and str(flag).lower() == "true":
        return 0
    if baseline is None:
        raise Refused("no processing baseline: the offset cannot be known")
    return OFFSET if float(baseline) >= OFFSET_BASELINE else 0


def _check_scaling(spectral: list[Record]) -> None:
    """Raises Refused where scale or offset are such as no Level-2A product has."""
    for asset in spectral:
        for layer in (asset, *_layers(asset)):
            scale = _first(layer, "raster:scale", "scale")
            offset = _first(layer, "raster:offset", "offset")
            if scale is not None and not _near(scale, 0.0001):
                raise Refused(f"scale {scale!a:.30} is not 0.0001, that of Level-2A")
            if offset is not None and not (_near(offset, 0) or _near(offset, -0.1)):
                raise Refused(f"offset {offset!a:.30} is not one of Level-2A: 0 or -0.1")


def _near(value: Any, wanted: float) -> bool:
    number = _number(value)
    return number is not None and math.isclose(number, wanted, abs_tol=1e-9)


def _layers(asset: Record) -> list[Record]:
    found = [layer for name in ("raster:bands", "bands") for layer in _list(asset.get(name))]
    return [layer for layer in found if isinstance(layer, Mapping)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _nodata(sensor: str, used: list[Record]) -> float | None:
    if sensor == OPTICAL:
        return 0
    stated = [_number(layer.get("nodata")) for asset in used for layer in (*_layers(asset), asset)]
    known = [value for value in stated if value is not None]
    return known[0] if known else (-32768 if sensor == RADAR else None)


def _baseline(p: Record, identity: str) -> str | None:
    """As ``05.11``."""
    names = ("s2", "sentinel", "sentinel2")
    value = _first(p, *(f"{name}:processing_baseline" for name in names), "processing:version")
    texts = (p.get("s2:product_uri"), p.get("s2:product_title"), p.get("sentinel:product_id"), identity)
    if value is None:
        match = next((m for t in texts if (m := re.search(r"_N(\d\d)(\d\d)_", str(t)))), None)
        if match is None:
            return None
    else:
        match = re.fullmatch(r"(\d{1,2})\.(\d{1,2})|N(?=\d{4}$)(\d\d)(\d\d)", str(value), re.ASCII)
        if match is None or isinstance(value, bool):
            raise Refused(f"processing baseline {value!a:.40} is not a number such as 05.11")
    whole, part = (group for group in match.groups() if group is not None)
    baseline = f"{int(whole):02d}.{part:0<2}"
    if baseline == _TEST_BASELINE:
        raise Refused(f"processing baseline {baseline} is a test production: the offset cannot be known")
    return baseline


def _epsg(p: Record, used: list[Record]) -> int | None:
    for about in (*used, p):
        code = _first(about, "proj:code", "proj:epsg")
        match = re.fullmatch(r"(?:EPSG:)?(\d{4,5})(?:\.0)?", str(code), re.ASCII | re.IGNORECASE)
        if match:
            return int(match[1])
    return None


def _check_epsg(epsg: int | None, granule: str | None, sensor: str) -> int | None:
    """The record's CRS, which a granule's name implies as well."""
    if sensor == RADAR and (epsg is None or not _is_utm(epsg)):
        raise Refused(f"its CRS is {epsg}, not a UTM zone: gamma0 RTC lies on a map grid")
    if sensor != OPTICAL or granule is None:
        return epsg
    own = (32600 if granule[2] >= "N" else 32700) + int(granule[:2])
    if epsg not in (None, own):
        raise Refused(f"wrong grid: its CRS is EPSG:{epsg}, that of granule {granule} is EPSG:{own}")
    return own


def surroundings(granule: str) -> BaseGeometry:
    """The zone and band of latitude of a granule's name, WGS 84, grown by what a granule may reach beyond."""
    west, band = int(granule[:2]) * 6 - 186, _BANDS.index(granule[2])
    south = band * 8 - 80
    north = south + (12 if granule[2] == "X" else 8)
    high = min(89.0, max(abs(south), abs(north)) + _GRANULE_DEGREES)
    wide = _GRANULE_DEGREES / math.cos(math.radians(high))
    return cut_at_180(
        shapely.box(west - wide, south - _GRANULE_DEGREES, west + 6 + wide, north + _GRANULE_DEGREES)
    )


def _is_utm(epsg: int) -> bool:
    return epsg // 100 in (326, 327) and 1 <= epsg % 100 <= 60


def _pixel_sizes(p: Record, assets: Mapping[str, Record]) -> tuple[tuple[str, float], ...]:
    """(band, pixel size) as the record claims it, in units of its CRS."""
    found = []
    for band, asset in assets.items():
        size = _pixel_size(_list(asset.get("proj:transform") or p.get("proj:transform")))
        if size:
            found.append((band, size))
    return tuple(found)


def _pixel_size(transform: list[Any]) -> float | None:
    """Of square pixels whose rows run west to east; some records keep GDAL's order of the six numbers."""
    numbers = [_number(value) for value in transform[:6]]
    if len(transform) in (6, 9):
        for width, height in (numbers[0::4], numbers[1::4]):
            if width and height and math.isclose(abs(width), abs(height), rel_tol=1e-6):
                return abs(width)
    return None


def _files(assets: Mapping[str, Record]) -> tuple[tuple[str, int, str], ...]:
    """(band, bytes, multihash) of the assets that state one of them."""
    known = ((band, *integrity.stated(asset)) for band, asset in assets.items())
    return tuple((band, size, checksum) for band, size, checksum in known if size or checksum)


def _granule(p: Record, identity: str) -> str | None:
    parts = [
        f"{p[f'{k}:utm_zone']}{p.get(f'{k}:latitude_band')}{p.get(f'{k}:grid_square')}"
        for k in ("mgrs", "sentinel")
        if f"{k}:utm_zone" in p
    ]
    for text in (_first(p, "s2:mgrs_tile", "grid:code", "s2:tile"), *parts):
        match = re.search(r"(?<!\d)(\d{1,2})([C-HJ-NP-X][A-Z]{2})$", str(text), re.ASCII)
        if match and 1 <= int(match[1]) <= 60:
            return f"{int(match[1]):02d}{match[2]}"
    match = re.search(r"_T?(\d{1,2})([C-HJ-NP-X][A-Z]{2})(?:_|$)", identity, re.ASCII)
    return f"{int(match[1]):02d}{match[2]}" if match and 1 <= int(match[1]) <= 60 else None


def _platform(p: Record, identity: str, sensor: str) -> str | None:
    """As ``sentinel-2c``; the record's own words, else its name."""
    mission = {OPTICAL: "2", RADAR: "1"}.get(sensor)
    value = _first(p, "platform", "eo:platform")
    text = str(value or "").strip().lower()
    if mission is None:
        return text or None
    match = re.fullmatch(r"s(?:entinel)?[-_ ]?([12])[-_ ]?([a-d])", text)
    if match is None and text in ("", f"sentinel-{mission}", f"sentinel {mission}"):
        match = re.match(rf"s({mission})([a-d])_", identity.lower())
        if match is None:
            return None
    if match is None or match[1] != mission:
        raise Refused(f"platform {value!a:.40} does not carry {sensor}")
    return f"sentinel-{match[1]}{match[2]}"


def _orbit(p: Record, identity: str, platform: str | None) -> str | None:
    """Relative orbit; of Sentinel-1 at least the direction."""
    value = _first(p, "sat:relative_orbit", "s2:relative_orbit_number")
    if value is None:
        names = (p.get("s2:product_uri"), p.get("s2:product_title"), p.get("sentinel:product_id"), identity)
        match = next((m for t in names if (m := re.search(r"_R(\d{3})_", str(t)))), None)
        value = int(match[1]) if match else _from_absolute(p.get("sat:absolute_orbit"), platform)
    if value is None:
        value = _first(p, "sat:orbit_state", "s2:orbit_direction")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip().lower()[:20]
    if isinstance(value, bool) or not isinstance(value, int | str) or not text:
        return None
    return str(int(text)) if text.isascii() and text.isdigit() else text


def _from_absolute(absolute: Any, platform: str | None) -> int | None:
    start = _S1_ORBIT.get(platform or "")
    if start is None or not isinstance(absolute, int):
        return None
    return (absolute - start) % 175 + 1


def _cloud(p: Record) -> float | None:
    return _number(p.get("eo:cloud_cover"))


def _number(value: Any) -> float | None:
    """A finite number, also one that a record keeps as text."""
    if isinstance(value, str) and _NUMERAL.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _footprint(geometry: Any) -> str:
    """WKT of the polygons; one that crosses longitude 180 is cut there."""
    if not isinstance(geometry, Mapping):
        raise Refused("no usable geometry: there is none")
    try:
        shape = shapely.force_2d(shapely.from_geojson(json.dumps(geometry)))
        west, south, east, north = shape.bounds
        inside = -360 <= west <= east <= 360 and -90 <= south <= north <= 90
        shape = _polygons(cut_at_180(shape) if inside else shape)
    except (TypeError, ValueError, RecursionError, shapely.errors.GEOSException) as error:
        raise Refused(f"no usable geometry: {str(error)[:100]}") from None
    if not inside or shape.is_empty or not shape.area > 0:
        raise Refused("no usable geometry: it is empty, or not on the globe")
    return str(shapely.to_wkt(shape, rounding_precision=7))


def _polygons(shape: BaseGeometry) -> BaseGeometry:
    parts = [g for g in shapely.get_parts(shapely.make_valid(shape)) if g.geom_type.endswith("Polygon")]
    return shapely.union_all(parts)


def _utc(text: Any) -> str:
    if not text:
        raise Refused("no datetime")
    try:
        moment = dt.datetime.fromisoformat(str(text))
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        if not 1970 < moment.year < 2200:
            raise ValueError
        return moment.astimezone(dt.UTC).isoformat()
    except (ValueError, OverflowError):
        raise Refused(f"datetime {str(text)[:40]!a} is not ISO 8601") from None


def _first(p: Record, *names: str) -> Any:
    return next((p[name] for name in names if p.get(name) is not None), None)
