from __future__ import annotations

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import SHARED

from pipeline.providers import ApiProvider, Provider, Refused, StaticProvider, locator, scene, surroundings
from pipeline.scenes import Scene

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
        (api("earth-search"), "https://api.example@evil.example/a.tif", False),
        (api("earth-search"), "https://x@api.example/a.tif", False),
        (api("earth-search"), "https://evil.example\\@api.example/a.tif", False),
        (api("earth-search"), "https://api.example/a.tif\n", False),
        (api("earth-search"), "https://[::1/a.tif", False),
        (api("earth-search", "s3://eodata"), "s3://eodata/../other/a.jp2", False),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search"), "/data/../etc/passwd", False),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search"), "/elsewhere/a.tif", False),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search", roots=("/elsewhere",)), "/elsewhere/a.tif", True),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search"), "https://any.example/a.tif", False),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search", hosts=("any.example",)), "https://any.example/a.tif", True),
        (StaticProvider(kind="static", catalog="/data/c.json", convention="earth-search"), "file://other/data/a.tif", False),
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


@pytest.mark.parametrize(
    ("platform", "identity", "told"),
    [
        ("Sentinel-2A", "x", "sentinel-2a"),
        ("sentinel-2c", "x", "sentinel-2c"),
        ("S2B", "x", "sentinel-2b"),
        (None, "S2C_48PXS_20250301_0_L2A", "sentinel-2c"),
        ("sentinel-2", "S2C_MSIL2A_20250301", "sentinel-2c"),
        (None, "x", None),
    ],
)
def test_platforms_are_told_in_one_way(platform: str | None, identity: str, told: str | None) -> None:
    one = record("planetary-computer", **{"s2:processing_baseline": "05.11", "platform": platform})
    assert read(one | {"id": identity}, "planetary-computer").platform == told


def radar(**p: Any) -> dict[str, Any]:
    one = record("planetary-computer", "sentinel-1-rtc", **{"proj:epsg": 32648, **p})
    return one | {"assets": {b: {"href": f"https://api.example/{b}.tif"} for b in ("vv", "vh")}}


@pytest.mark.parametrize(
    ("about", "orbit"),
    [
        ({"platform": "SENTINEL-1A", "sat:relative_orbit": 80}, "80"),
        # Orbit 1 of a cycle began at absolute orbit 73 (A) and 172 (C), modulo 175 (ESA).
        ({"platform": "SENTINEL-1A", "sat:absolute_orbit": 58252}, "80"),
        ({"platform": "sentinel-1c", "sat:absolute_orbit": 172}, "1"),
        ({"platform": "sentinel-1a", "sat:orbit_state": "Ascending"}, "ascending"),
        ({}, None),
    ],
)
def test_radar_scenes_keep_their_relative_orbit(about: dict[str, Any], orbit: str | None) -> None:
    assert read(radar(**about), "planetary-computer", RADAR).orbit == orbit


@pytest.mark.parametrize(
    ("spoiled", "sensor", "reason"),
    [
        (radar() | {"collection": "sentinel-1-grd"}, RADAR, "collection 'sentinel-1-grd' is not one"),
        (radar(**{"proj:epsg": 4326}), RADAR, "not a UTM zone"),
        (radar(**{"proj:epsg": None}), RADAR, "not a UTM zone"),
        (radar(**{"sar:instrument_mode": "EW"}), RADAR, "mode 'EW' is not IW"),
        (radar(platform="sentinel-2a"), RADAR, "does not carry"),
        (record("planetary-computer", **{"s2:processing_baseline": "99.99"}), OPTICAL, "test production"),
        (
            record("planetary-computer", **{"s2:processing_baseline": "05.11", "proj:epsg": 32647}),
            OPTICAL,
            "wrong grid: its CRS is EPSG:32647, that of granule 48PXS is EPSG:32648",
        ),
        (
            record("planetary-computer", **{"s2:processing_baseline": "05.11", "s2:product_type": "S2MSI1C"}),
            OPTICAL,
            "not Level-2A",
        ),
    ],
)
def test_what_is_not_the_product_is_refused(spoiled: Any, sensor: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        read(spoiled, "planetary-computer", sensor)


def test_scales_and_offsets_of_no_known_product_are_refused() -> None:
    for layer, reason in (({"scale": 0.001}, "scale 0.001"), ({"offset": -0.7}, "offset -0.7")):
        one = record("copernicus", **{"processing:version": "05.11"})
        one["assets"]["B04_10m"] |= {"raster:bands": [layer]}
        with pytest.raises(Refused, match=reason):
            read(one, "copernicus")


def each(one: dict[str, Any], **about: Any) -> dict[str, Any]:
    """The record with more said of every asset."""
    return one | {"assets": {k: a | about for k, a in one["assets"].items()}}


def bare(one: dict[str, Any]) -> dict[str, Any]:
    return one | {"assets": {k: {"href": a["href"]} for k, a in one["assets"].items()}}


RAW = record("planetary-computer", **{"s2:processing_baseline": "05.11"})
CDSE = record("copernicus", **{"processing:version": "05.11"})
V1 = {"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True}


@pytest.mark.parametrize(
    ("one", "convention", "offset"),
    [
        # What scale and offset say is checked and never applied: numbers, texts, none; on the asset, in
        # raster:bands, in STAC 1.1 bands; on a band that has none.
        (bare(RAW), "planetary-computer", -1000),
        (each(RAW, **{"raster:bands": [{"scale": "0.0001", "offset": "-0.1"}]}), "planetary-computer", -1000),
        (each(RAW, **{"raster:bands": [{"scale": 1e-4, "offset": 0}]}), "planetary-computer", -1000),
        (each(RAW, **{"raster:bands": []}), "planetary-computer", -1000),
        (each(RAW, **{"raster:bands": None}), "planetary-computer", -1000),
        (each(CDSE, **{"raster:scale": 0.0001, "raster:offset": -0.1}), "copernicus", -1000),
        (each(CDSE, bands=[{"name": "B04", "raster:scale": 0.0001, "raster:offset": -0.1}]), "copernicus", -1000),
        (record("copernicus", **{"processing:version": "02.14"}), "copernicus", 0),
        (record("earth-search", **V1), "earth-search", 0),
        (record("earth-search", **(V1 | {"earthsearch:boa_offset_applied": "True"})), "earth-search", 0),
        (record("earth-search", "sentinel-2-c1-l2a", **V1), "earth-search", -1000),
        (record("earth-search", **{"s2:processing_baseline": "05.11"}), "earth-search", -1000),
        (record("earth-search", "sentinel-2-pre-c1-l2a", **{"s2:processing_baseline": "02.08"}), "earth-search", 0),
        (record("planetary-computer", **{"s2:processing_baseline": 5.11}), "planetary-computer", -1000),
        (record("planetary-computer", **{"s2:processing_baseline": 4.0}), "planetary-computer", -1000),
        (record("planetary-computer", **{"s2:processing_baseline": "03.01"}), "planetary-computer", 0),
        (record("planetary-computer", **{"s2:processing_baseline": "N0400"}), "planetary-computer", -1000),
        (record("planetary-computer", **{"s2:product_uri": "S2A_MSIL2A_20250101T032001_N0511_R018_T48PXS_x"}), "planetary-computer", -1000),
    ],
)  # fmt: skip
def test_what_a_record_says_beside_its_baseline_moves_nothing(
    one: dict[str, Any], convention: str, offset: int
) -> None:
    assert read(one, convention).offset == offset


def test_an_offset_on_the_classification_is_nobodys() -> None:
    one = copy.deepcopy(RAW)
    one["assets"]["SCL"]["raster:bands"] = [{"offset": -7, "scale": 3}]
    assert read(one, "planetary-computer").offset == -1000


@pytest.mark.parametrize(
    ("about", "epsg"),
    [
        ({"proj:code": "EPSG:32648"}, 32648),
        ({"proj:code": "epsg:32648"}, 32648),
        ({"proj:epsg": 32648.0}, 32648),
        ({"proj:epsg": 32648, "proj:code": None}, 32648),
        ({"proj:code": "IAU_2015:30100", "proj:epsg": None}, 32648),
        ({"proj:wkt2": "PROJCS[...]"}, 32648),
    ],
)
def test_the_reference_system_is_told_in_many_ways(about: dict[str, Any], epsg: int) -> None:
    one = record("planetary-computer", **{"s2:processing_baseline": "05.11", **about})
    assert read(one, "planetary-computer").epsg == epsg
    assert read(each(RAW, **about), "planetary-computer").epsg == epsg


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        ([10, 0, 600000, 0, -10, 1200000], 10),
        ([10, 0, 600000, 0, -10, 1200000, 0, 0, 1], 10),
        ([600000, 10, 0, 1200000, 0, -10], 10),  # GDAL's order
        (["10", 0, 600000, 0, "-10", 1200000], 10),
        ([120, 0, 600000, 0, -120, 1200000], 120),
        ([10, 0, 600000], None),
        ([None, 0, 0, 0, None, 0], None),
        ([10, 0, 600000, 0, -20, 1200000], None),
    ],
)
def test_the_pixel_size_that_a_record_claims(transform: list[Any], size: float | None) -> None:
    claimed = dict(read(each(RAW, **{"proj:transform": transform}), "planetary-computer").pixel_m)
    assert claimed.get("red") == size


@pytest.mark.parametrize(
    ("said", "orbit"), [(18, "18"), ("018", "18"), (18.0, "18"), ("18 ", "18"), (True, None)]
)
def test_one_orbit_has_one_name(said: Any, orbit: str | None) -> None:
    assert read(radar(**{"sat:relative_orbit": said}), "planetary-computer", RADAR).orbit == orbit


def test_the_grid_is_that_of_the_granule_where_the_record_is_silent() -> None:
    one = record("planetary-computer", **{"s2:processing_baseline": "05.11"})
    found = read(one, "planetary-computer")
    assert (found.granule, found.epsg) == ("48PXS", 32648)
    south = read(one | {"id": "S2A_23KPQ_20250101"}, "planetary-computer")
    assert south.epsg == 32723
    for code, asset in (
        ("EPSG:32648", {}),
        (None, {"proj:code": "EPSG:32648"}),
        (None, {"proj:epsg": "32648"}),
    ):
        one = record("planetary-computer", **{"s2:processing_baseline": "05.11", "proj:code": code})
        for a in one["assets"].values():
            a |= asset
        assert read(one | {"id": "x"}, "planetary-computer").epsg == 32648


def test_a_footprint_over_the_antimeridian_is_two_parts_of_one_day() -> None:
    ring = [[179.5, 10], [-179.5, 10], [-179.5, 11], [179.5, 11], [179.5, 10]]
    one = record("planetary-computer", **{"s2:processing_baseline": "05.11", "proj:epsg": 32601})
    one |= {"id": "S2A_01PAB_20250101", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    one["properties"]["datetime"] = "2025-01-01T23:00:00Z"
    found = read(one, "planetary-computer")
    assert found.geometry.area == pytest.approx(1)
    assert found.geometry.bounds == (-180, 10, 180, 11)
    assert str(found.day) == "2025-01-01"  # 177 degrees west is eleven hours and 48 minutes behind UTC


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a JSON value has parts."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(p for key, inner in pairs for p in places(inner, (*at, key)))]


WHOLE = [
    (record("earth-search", **{"s2:processing_baseline": "05.11", "proj:epsg": 32648, "platform": "s2a"}), OPTICAL),
    (record("copernicus", **{"processing:version": "05.11", "sat:relative_orbit": 18}), OPTICAL),
    (radar(platform="sentinel-1a", **{"sat:absolute_orbit": 5}), RADAR),
]  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_json_gives_a_scene_or_a_reason(data: st.DataObject) -> None:
    one, sensor = data.draw(st.sampled_from(WHOLE))
    one = copy.deepcopy(one)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from(places(one)))
        value = data.draw(JSON)
        if not at:
            one = value
            break
        inner = one
        for key in at[:-1]:
            inner = inner[key]
        inner[at[-1]] = value
    convention = data.draw(st.sampled_from(["earth-search", "planetary-computer", "copernicus"]))
    provider = api(convention)
    try:
        found = scene(one, sensor, provider, locator(provider))
    except Refused:
        return
    assert found.assets and found.day and found.geometry.area > 0
    assert json.loads(json.dumps(found.identity)) == found.identity
    assert found.identity.encode()


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
            stating = folder in ("earth_search_v1/sentinel-2-c1-l2a", "cdse_v1/sentinel-2-l2a")
            assert bool(found.files) == stating
            assert all(size > 0 for _, size, _ in found.files)
            raw = folder != "earth_search_v1/sentinel-2-l2a"
            assert found.offset == (-1000 if raw and float(found.baseline or 0) >= 4 else 0)
        else:
            assert dict(found.assets).keys() == {"vv", "vh"}
            assert found.nodata == -32768
            assert found.orbit and found.orbit.isdigit()


def shared_records() -> list[tuple[str, Any]]:
    found = []
    for path in sorted((SHARED / "stac_items").glob("*/**/*.json")):
        content = json.loads(path.read_text())
        if "collections" not in path.parts:
            found += [(str(path), r) for r in content.get("features", [content])]
    return found


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared STAC records")
def test_every_real_record_is_a_scene_or_refused_with_a_reason() -> None:
    reasons = {"scene": 0}
    for path, one in shared_records():
        for convention in ("earth-search", "planetary-computer", "copernicus"):
            for sensor in (OPTICAL, RADAR, "dem"):
                try:
                    found = read(one, convention, sensor)
                except Refused as refusal:
                    reason = str(refusal).split(" ")[0]
                    reasons[reason] = reasons.get(reason, 0) + 1
                    continue
                reasons["scene"] += 1
                assert isinstance(found, Scene)
                assert found.collection in Path(path).as_posix() or "search_responses" in path
                assert found.platform in {f"sentinel-{n}" for n in ("1a", "1c", "2a", "2b", "2c")}
                if sensor == OPTICAL:
                    assert found.orbit and found.orbit.isdigit()
                    sizes = dict(found.pixel_m)
                    assert all(sizes[b] == 10 for b in ("blue", "green", "red", "nir") if b in sizes)
                    assert sizes.get("scl", 20) == 20
    assert reasons["scene"] > 60
    assert set(reasons) == {"scene", "collection", "no"}


def test_a_granule_lies_in_its_surroundings() -> None:
    for name, lon, lat in (
        ("48PXS", 106.4, 10.4),
        ("01KAB", 179.9, -17),
        ("60UWX", -179.8, 55),
        ("33XVH", 13, 79),
    ):
        assert surroundings(name).contains(shapely.Point(lon, lat)), name
        assert not surroundings(name).contains(shapely.Point(lat, lon)), name


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared STAC records")
def test_every_real_footprint_lies_where_its_granule_does() -> None:
    count = 0
    for _, one in shared_records():
        for convention in ("earth-search", "planetary-computer", "copernicus"):
            with suppress(Refused):
                found = read(one, convention)
                assert surroundings(found.granule).contains(found.geometry)
                count += 1
    assert count > 40


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared STAC records")
def test_a_real_record_without_what_others_say_too_is_the_same_image() -> None:
    """Raster and projection fields are checked, and nothing hangs on them."""
    for path, one in shared_records():
        if "/cdse_v1/sentinel-2-l2a/" in path:
            convention = "copernicus"
        elif "/planetary_computer/sentinel-2-l2a/" in path:
            convention = "planetary-computer"
        elif "/earth_search_v1/sentinel-2-" in path and "l1c" not in path:
            convention = "earth-search"
        else:
            continue
        whole, less = read(one, convention), copy.deepcopy(one)
        for part in (less["properties"], *less["assets"].values()):
            for name in [n for n in part if n.startswith(("raster:", "proj:", "bands", "eo:bands", "file:"))]:
                del part[name]
        found = read(less, convention)
        assert (found.offset, found.epsg, found.granule, found.platform, found.orbit, found.assets) == (
            whole.offset, whole.epsg, whole.granule, whole.platform, whole.orbit, whole.assets,
        )  # fmt: skip
