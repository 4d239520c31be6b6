from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from support import SHARED

from pipeline.providers import ApiProvider, Provider, Refused, StaticProvider, locator, scene

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"


def api(convention: str, *hosts: str) -> ApiProvider:
    return ApiProvider(kind="api", url="https://api.example/v1", convention=convention, hosts=hosts)  # type: ignore[arg-type]


def read(record: Any, convention: str, sensor: str = OPTICAL) -> Any:
    return scene(record, sensor, api(convention), lambda href: href)


def record(convention: str, collection: str = "sentinel-2-l2a", **p: Any) -> dict[str, Any]:
    names = {
        "earth-search": ["blue", "green", "red", "rededge1", "rededge2", "rededge3", "nir", "nir08", "swir16", "swir22", "scl"],
        "planetary-computer": ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", "SCL"],
        "copernicus": ["B02_10m", "B03_10m", "B04_10m", "B05_20m", "B06_20m", "B07_20m", "B08_10m", "B8A_20m", "B11_20m", "B12_20m", "SCL_20m"],
    }[convention]  # fmt: skip
    square = [[105, 10], [106, 10], [106, 11], [105, 11], [105, 10]]
    return {
        "type": "Feature", "id": "S2A_48PXS_20250101", "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [square]},
        "properties": {"datetime": "2025-01-01T03:20:00Z", **p},
        "assets": {n: {"href": f"https://api.example/{n}.tif", "raster:bands": [{"offset": -0.1}]} for n in names},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("convention", "collection", "about", "offset"),
    [
        # Earth Search v1 took the offset off; what raster:bands says does not count.
        ("earth-search", "sentinel-2-l2a", {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True}, 0),
        ("earth-search", "sentinel-2-l2a", {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": False}, -1000),
        ("earth-search", "sentinel-2-l2a", {"s2:processing_baseline": "03.01", "earthsearch:boa_offset_applied": False}, 0),
        ("earth-search", "sentinel-s2-l2a-cogs", {"sentinel:processing_baseline": "05.11", "sentinel:boa_offset_applied": True}, 0),
        ("earth-search", "sentinel-2-c1-l2a", {"s2:processing_baseline": "05.00"}, -1000),
        # Old images that were processed again carry it too: the baseline decides, never the date.
        ("planetary-computer", "sentinel-2-l2a", {"s2:processing_baseline": "05.00", "datetime": "2016-01-01T00:00:00Z"}, -1000),
        ("planetary-computer", "sentinel-2-l2a", {"s2:processing_baseline": "03.00", "datetime": "2022-06-01T00:00:00Z"}, 0),
        ("planetary-computer", "sentinel-2-l2a", {"s2:processing_baseline": "04.00"}, -1000),
        ("copernicus", "sentinel-2-l2a", {"processing:version": "05.11"}, -1000),
        ("copernicus", "sentinel-2-l2a", {"processing:version": "02.14"}, 0),
    ],
)  # fmt: skip
def test_the_offset_follows_provider_and_baseline(
    convention: str, collection: str, about: dict[str, Any], offset: int
) -> None:
    found = read(record(convention, collection, **about), convention)
    assert found.offset == offset
    assert [band for band, _ in found.assets] == [
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
        "scl",
    ]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda r: r["properties"].pop("s2:processing_baseline"), "no processing baseline"),
        (
            lambda r: r["properties"].update({"s2:processing_baseline": "new"}),
            "baseline 'new' is not a number",
        ),
        (lambda r: r["assets"].pop("SCL"), "no asset for scl"),
        (lambda r: r["assets"].clear(), "no asset for blue"),
        (lambda r: r.pop("geometry"), "no usable geometry"),
        (
            lambda r: r.update(
                geometry={"type": "Polygon", "coordinates": [[[0, 0], [0, 0], [0, 0], [0, 0]]]}
            ),
            "no usable geometry",
        ),
        (lambda r: r.update(geometry={"type": "Nonsense"}), "no usable geometry"),
        (lambda r: r["properties"].pop("datetime"), "no datetime"),
        (lambda r: r["properties"].update(datetime="yesterday"), "'yesterday' is not ISO 8601"),
        (lambda r: r.update(properties=None), "no datetime"),
    ],
)
def test_a_record_that_lacks_what_is_needed_is_refused_with_the_reason(spoil: Any, reason: str) -> None:
    spoiled = copy.deepcopy(record("planetary-computer", **{"s2:processing_baseline": "05.11"}))
    spoil(spoiled)
    with pytest.raises(Refused, match=reason):
        read(spoiled, "planetary-computer")


@pytest.mark.parametrize(
    ("provider", "href", "allowed"),
    [
        (api("earth-search"), "https://api.example/a.tif", True),
        (api("earth-search"), "http://api.example:9000/a.tif", True),
        (api("earth-search"), "https://evil.example/a.tif", False),
        (api("earth-search", "*.blob.example"), "https://x.blob.example/a.tif?sig=1", True),
        (api("earth-search", "*.blob.example"), "https://xblob.example/a.tif", False),
        (api("earth-search", "s3://eodata"), "s3://eodata/a.jp2", True),
        (api("earth-search", "s3://eodata"), "s3://eodata2/a.jp2", False),
        (api("earth-search"), "/etc/passwd", False),
        (api("earth-search"), "file:///etc/passwd", False),
        (api("earth-search"), "/vsicurl/http://evil.example/a.tif", False),
        (api("earth-search"), "ftp://api.example/a.tif", False),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search"), "/data/a.tif", True),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search"), "/vsizip//data/a.zip/a.tif", False),
        (StaticProvider(kind="static", catalog="http://h/c.json", convention="earth-search"), "/data/a.tif", False),
    ],
)  # fmt: skip
def test_pixels_come_only_from_where_the_provider_keeps_them(
    provider: Provider, href: str, allowed: bool
) -> None:
    if allowed:
        assert locator(provider)(href) == href
    else:
        with pytest.raises(Refused, match="asset"):
            locator(provider)(href)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared STAC records")
@pytest.mark.parametrize(
    ("folder", "convention", "sensor"),
    [
        ("earth_search_v1/sentinel-2-l2a", "earth-search", OPTICAL),
        ("earth_search_v1/sentinel-2-c1-l2a", "earth-search", OPTICAL),
        ("planetary_computer/sentinel-2-l2a", "planetary-computer", OPTICAL),
        ("planetary_computer/sentinel-1-rtc", "planetary-computer", RADAR),
        ("cdse_v1/sentinel-2-l2a", "copernicus", OPTICAL),
    ],
)
def test_real_records_parse(folder: str, convention: str, sensor: str) -> None:
    paths = sorted((SHARED / "stac_items" / folder).glob("*.json"))
    assert paths
    for path in paths:
        found = read(json.loads(path.read_text()), convention, sensor)
        assert found.epsg is not None and 32601 <= found.epsg <= 32760
        assert found.platform and found.platform.startswith("sentinel-")
        if sensor == OPTICAL:
            assert len(found.assets) == 11
            assert found.granule and found.granule in path.name
            raw = folder != "earth_search_v1/sentinel-2-l2a"
            assert found.offset == (-1000 if raw and float(found.baseline or 0) >= 4 else 0)
        else:
            assert dict(found.assets).keys() == {"vv", "vh"}
            assert found.nodata == -32768
            assert found.orbit and found.orbit.isdigit()
