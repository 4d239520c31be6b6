"""Search: a season's scenes over a place, each kept or dropped with a reason."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urljoin, urlsplit

import pystac
import pystac_client
import requests
import shapely
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry.base import BaseGeometry
from urllib3.util import Retry

from features.bands import RADAR
from pipeline import providers
from pipeline.errors import InputError
from pipeline.providers import ApiProvider, Provider, Record, Refused, StaticProvider
from pipeline.scenes import Dropped, Scene, Scenes, image_key
from pipeline.season import Season
from pipeline.sensors import SENSORS

log = logging.getLogger(__name__)
#: Longest wait for an answer, and the wait that doubles before each further try.
TIMEOUT_S, WAIT_S = 60, 0.5
#: Items asked for at a time.
PAGE = 250
#: Deepest tree of links, and largest answer, that are followed.
MAX_DEPTH, MAX_JSON = 32, 64 << 20
#: Services refuse geometries of many thousand points.
MAX_SEARCH_POINTS = 400
COARSE_DEGREES = 0.05
#: Key of the stand-in for an item that could not be read; its value says why.
UNREADABLE = "phusa:unreadable"
#: What foreign JSON makes the libraries raise.
_TROUBLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    pystac.STACError,
    pystac.STACTypeError,
    requests.RequestException,
)


class Source(Protocol):
    """One source of the region config."""

    @property
    def sensor(self) -> str: ...
    @property
    def provider(self) -> Provider: ...
    @property
    def fallback(self) -> Provider | None: ...
    @property
    def max_cloud_percent(self) -> float: ...


def search(sources: Sequence[Source], season: Season, place: BaseGeometry) -> Scenes:
    """All scenes of ``season`` over ``place`` (WGS 84).

    Raises InputError where a catalogue is missing or broken, and where a sensor has no scene at all.
    """
    kept: list[Scene] = []
    dropped: list[Dropped] = []
    where: dict[str, str] = {}
    for source in sources:
        found, address = _found(source, season, place, dropped)
        if not found:
            raise InputError(_nothing(source, season, place, dropped))
        products = sorted({s.collection for s in found})
        if source.sensor == RADAR and len(products) > 1:
            raise InputError(
                f"{address} gives {source.sensor} of {len(products)} products: {', '.join(products)}; one "
                "product a model, never mixed: name one in the provider's collections"
            )
        where[source.sensor] = address
        kept += found
    kept.sort(key=lambda s: (s.sensor, s.datetime, s.id))
    return Scenes(season.name, where, tuple(kept), tuple(dropped))


def _found(
    source: Source, season: Season, place: BaseGeometry, dropped: list[Dropped]
) -> tuple[list[Scene], str]:
    """The scenes of one source, each with its copies at the fallback; images that only the fallback
    lists are taken from there. Where the first catalogue does not answer the fallback's stands for it."""
    address = source.provider.address
    other: list[Scene] = []
    lost: InputError | None = None
    try:
        found = _newest(list(_parse(source, source.provider, season, place, dropped)), dropped)
    except InputError as error:
        if source.fallback is None:
            raise
        found, lost = [], error
    if source.fallback:
        try:
            other = _newest(list(_parse(source, source.fallback, season, place, dropped)), dropped)
        except InputError as error:
            if lost:
                raise InputError(f"{lost}; and its fallback: {error}") from None
            log.warning("the fallback does not answer: %s", error)
        if lost:
            address = source.fallback.address
            log.warning("%s; its fallback is read", lost)
    return _with_copies(found, other), address


def _with_copies(found: list[Scene], other: list[Scene]) -> list[Scene]:
    copies: dict[tuple[str, ...], list[Scene]] = {}
    for scene in other:
        copies.setdefault(image_key(scene), []).append(scene)
    taken: set[Scene] = set()
    kept = []
    for scene in found:
        same = [s for s in copies.get(image_key(scene), ()) if _same_image(s, scene)]
        taken.update(same)
        kept.append(replace(scene, alternates=tuple(same)))
    return kept + [s for s in other if s not in taken]


def _nothing(source: Source, season: Season, place: BaseGeometry, dropped: list[Dropped]) -> str:
    own = [d for d in dropped if d.sensor == source.sensor]
    box = ", ".join(f"{v:.4f}" for v in place.bounds)
    why = f"; {len(own)} records dropped, the first because: {own[0].reason}" if own else ""
    return (
        f"no {source.sensor} scene for season {season.name!r} ({season.start} to {season.end}) over "
        f"[{box}] in {source.provider.address}{why}"
    )


def _parse(
    source: Source, provider: Provider, season: Season, place: BaseGeometry, dropped: list[Dropped]
) -> Iterator[Scene]:
    locate = providers.locator(provider)
    seen: set[str] = set()
    for record in _records(source, provider, season, place):
        scene = None
        if (same := _same_record(record)) in seen:
            continue  # pages overlap where a catalogue grows while it is read
        seen.add(same)
        try:
            if UNREADABLE in record:
                raise Refused(f"unreadable record: {record[UNREADABLE]}")
            scene = providers.scene(record, source.sensor, provider, locate)
            if not SENSORS[source.sensor].timeless and scene.day not in season:
                continue
            if not scene.geometry.intersects(place):
                _check_footprint(scene, place)
                continue
            if (scene.cloud_percent or 0) > source.max_cloud_percent:
                raise Refused(
                    f"too cloudy: {scene.cloud_percent:.0f} % is above {source.max_cloud_percent:g} %"
                )
            yield scene
        except Refused as refusal:
            identity = str(record.get("id")) if isinstance(record, Mapping) else ""
            dropped.append(
                _dropped(scene, str(refusal)) if scene else Dropped(identity, source.sensor, str(refusal))
            )


def _check_footprint(scene: Scene, place: BaseGeometry) -> None:
    """Raises Refused where an image whose granule may be here claims to have been taken elsewhere."""
    if scene.granule is None:
        return
    own = providers.surroundings(scene.granule)
    if own.intersects(place) and not own.intersects(scene.geometry):
        box = ", ".join(f"{v:.2f}" for v in scene.geometry.bounds)
        raise Refused(f"wrong grid: its footprint [{box}] lies elsewhere than its granule {scene.granule}")


def _same_record(record: Record) -> str:
    """What is alike in two copies of one record."""
    parts = {k: v for k, v in record.items() if k != "links"} if isinstance(record, Mapping) else record
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _dropped(scene: Scene, reason: str) -> Dropped:
    return Dropped(scene.id, scene.sensor, reason, str(scene.day), scene.platform, scene.orbit)


def _newest(scenes: list[Scene], dropped: list[Dropped]) -> list[Scene]:
    """One scene an image: where an image was processed twice, the newest baseline stays."""
    kept: dict[tuple[str, ...], list[Scene]] = {}
    for scene in sorted(scenes, key=lambda s: (float(s.baseline or 0), s.collection, s.id)):
        same = kept.setdefault(image_key(scene), [])
        for older in [s for s in same if _same_image(s, scene)]:
            same.remove(older)
            reason = f"processed again: {scene.id} has baseline {scene.baseline}"
            dropped.append(_dropped(older, reason))
        same.append(scene)
    return [scene for same in kept.values() for scene in same]


def _same_image(a: Scene, b: Scene) -> bool:
    """Two processings of one image cover the same ground; two datastrips of a granule hardly overlap."""
    shared = a.geometry.intersection(b.geometry).area
    return bool(shared > 0.5 * min(a.geometry.area, b.geometry.area))


def _records(source: Source, provider: Provider, season: Season, place: BaseGeometry) -> Iterator[Record]:
    """STAC items as JSON with absolute asset addresses."""
    collections = provider.collections_of(source.sensor)
    if isinstance(provider, StaticProvider):
        yield from _static(provider, collections)
    else:
        interval = None if SENSORS[source.sensor].timeless else season.interval
        yield from _api(provider, collections, interval, place)


def _api(
    provider: ApiProvider, collections: Iterable[str], interval: str | None, place: BaseGeometry
) -> Iterator[Record]:
    try:
        how = StacApiIO(max_retries=_again(), timeout=TIMEOUT_S, request_modifier=_only_at(provider.url))
        client = pystac_client.Client.open(provider.url, stac_io=how)
        offered = {c.id for c in client.get_collections()}
        asked = [c for c in collections if c in offered]
        if not asked:
            raise InputError(
                f"{provider.url} has none of the collections {list(collections)}; "
                f"it has {sorted(offered)[:20]}"
            )
        found = client.search(
            collections=asked,
            datetime=interval,
            intersects=json.loads(shapely.to_geojson(_coarse(place))),
            limit=PAGE,
        )
        for record in _paged(found):
            yield _absolute(record, None)
    except (pystac_client.exceptions.APIError, *_TROUBLE) as error:
        raise InputError(f"the STAC API {provider.url} does not answer as one: {_short(error)}") from None


def _paged(found: pystac_client.ItemSearch) -> Iterator[dict[str, Any]]:
    """The records of all pages. Raises ValueError where they run in a circle."""
    seen: set[str] = set()
    for page in found.pages_as_dicts():
        records = _objects(page.get("features"))
        keys = {_same_record(record) for record in records}
        if keys and keys <= seen:
            raise ValueError("its pages of records repeat")
        seen |= keys
        yield from records


def _again() -> Retry:
    """What may pass is asked again, as long as the server's Retry-After says."""
    return Retry(
        6, connect=2, backoff_factor=WAIT_S, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None,
        retry_after_max=TIMEOUT_S,
    )  # fmt: skip


def _only_at(url: str) -> Callable[[requests.Request], None]:
    """A check of every request to a STAC API: links of its answers do not lead elsewhere."""
    home = urlsplit(url)

    def check(request: requests.Request) -> None:
        there = urlsplit(str(request.url))
        if there.hostname != home.hostname:
            raise ValueError(f"a link leaves the service: {there.scheme}://{there.netloc}")

    return check


def _coarse(place: BaseGeometry) -> BaseGeometry:
    """A place in few points for a search; what it adds at the edges is sorted out on our side."""
    if shapely.get_num_coordinates(place) <= MAX_SEARCH_POINTS:
        return place
    return place.buffer(COARSE_DEGREES).simplify(COARSE_DEGREES / 2)


def _static(provider: StaticProvider, collections: tuple[str, ...]) -> Iterator[Record]:
    root = provider.catalog
    if urlsplit(root).scheme not in ("http", "https"):
        if not Path(root).is_file():
            raise InputError(
                f"no catalogue at {root}. Bring the data there, or give the source another provider: "
                "a path to your own catalog.json, or earth-search, planetary-computer or copernicus "
                "for the public archives (docs/remote-sensing.md)"
            )
        root = Path(root).resolve().as_uri()  # as a plain path, # and ? would cut it short
    try:
        yield from _walk(_Reader(root), root, collections, ())
    except _TROUBLE as error:
        raise InputError(f"the catalogue {provider.catalog} cannot be read: {_short(error)}") from None


def _walk(
    reader: _Reader, href: str, collections: tuple[str, ...], above: tuple[str, ...], home: str = ""
) -> Iterator[Record]:
    """Items below a node, without opening collections that are not asked for.

    ``home`` is the collection that the node lies in; an item that names none is of it.
    """
    node = json.loads(reader.read(href))
    if isinstance(node, dict) and node.get("type") == "FeatureCollection":
        for record in _objects(node.get("features")):
            if home or record.get("collection") in collections:
                yield _absolute({"collection": home} | record, href)
        return
    if not isinstance(node, dict) or "stac_version" not in node or "links" not in node:
        raise ValueError(f"{href} is neither a catalogue nor a collection")
    if href in above or len(above) > MAX_DEPTH:
        raise ValueError(f"{href} lies below itself, or too deep")
    if node.get("type") == "Collection" or "extent" in node:
        if node.get("id") not in collections:
            return
        home = str(node["id"])
    for link in _objects(node["links"]):
        target = urljoin(href, str(link.get("href")))
        if link.get("rel") == "child":
            yield from _walk(reader, target, collections, (*above, href), home)
        elif link.get("rel") == "item":
            record = {"collection": home} | _item(reader, target)
            if home or UNREADABLE in record or record["collection"] in collections:
                yield _absolute(record, target)


def _item(reader: _Reader, href: str) -> dict[str, Any]:
    """An item's JSON as it is: one that cannot be read must not end the search, so it is a record of that."""
    try:
        record = json.loads(reader.read(href))
        if not isinstance(record, dict):
            raise ValueError("not a JSON object")
        return record
    except _TROUBLE as error:
        return {"id": href, UNREADABLE: _short(error)}


def _absolute(record: dict[str, Any], base: str | None) -> dict[str, Any]:
    """The record with its relative asset addresses made absolute."""
    links, assets = record.get("links"), record.get("assets")
    own = base or next((str(link.get("href")) for link in _objects(links) if link.get("rel") == "self"), "")
    for asset in _objects(list(assets.values()) if isinstance(assets, dict) else None):
        href = asset.get("href")
        if not isinstance(href, str) or not href or ":" in href.split("/")[0] or href.startswith("/"):
            continue
        remote = urlsplit(own).scheme in ("http", "https")
        asset["href"] = urljoin(own, href) if remote else str((_path(own).parent / href).resolve())
    return record


def _objects(values: Any) -> list[dict[str, Any]]:
    """Those members of a foreign list that are JSON objects."""
    return [v for v in values if isinstance(v, dict)] if isinstance(values, list) else []


def _path(url: str) -> Path:
    """The local path of a file URL."""
    return Path(unquote(urlsplit(url).path))


class _Reader:
    """Reads only where the catalogue lives: its own host, or files below its own folder."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.session = requests.Session()
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=_again()))

    def read(self, href: str) -> str:
        home, there = urlsplit(self.root), urlsplit(href)
        if (there.scheme, there.netloc) != (home.scheme, home.netloc):
            raise ValueError(f"a link leaves the catalogue: {href}")
        if home.scheme == "file":
            path = _path(href)
            if not path.resolve().is_relative_to(_path(self.root).parent):
                raise ValueError(f"a link leaves the catalogue's folder: {href}")
            return path.read_text(encoding="utf-8")
        with self.session.get(href, timeout=TIMEOUT_S, allow_redirects=False, stream=True) as answer:
            answer.raise_for_status()
            if answer.is_redirect:
                raise ValueError(f"{href} is redirected to {answer.headers['Location']}; name that address")
            body = bytearray()
            for part in answer.iter_content(1 << 20):
                body += part
                if len(body) > MAX_JSON:
                    raise ValueError(f"{href} is larger than {MAX_JSON} bytes")
        return body.decode("utf-8")


def _short(error: BaseException) -> str:
    """The first cause in one line: libraries wrap it in words of their own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
