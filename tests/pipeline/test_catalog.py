from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import faults
import pytest
import requests
import shapely
from support import free_port

from pipeline import catalog
from pipeline.config import Config
from pipeline.demo import Demo
from pipeline.errors import InputError
from pipeline.providers import ApiProvider, StaticProvider
from pipeline.scenes import Scenes


def search(demo: Demo, config: Config | None = None) -> Scenes:
    config = config or Config.read(demo.config)
    return catalog.search(config.sources, config.season(demo.season), config.region.geometry)


def spoil(path: Path, **p: Any) -> None:
    item = json.loads(path.read_text())
    item["properties"] |= p
    path.write_text(json.dumps(item))


def items(demo: Demo, start: str) -> list[Path]:
    return sorted((demo.config.parent / "archive").glob(f"{start}*/*.json"))


def with_provider(demo: Demo, provider: Any) -> Config:
    config = Config.read(demo.config)
    sources = tuple(s.model_copy(update={"provider": provider}) for s in config.sources)
    return config.model_copy(update={"sources": sources})


def test_all_scenes_of_the_season_are_kept_and_told_the_same_way_twice(demo: Demo, tmp_path: Path) -> None:
    found = search(demo)
    assert {s: len(found.of(s)) for s in found.provider} == {
        "sentinel-2-l2a": 10,
        "sentinel-1-rtc": 3,
        "dem": 1,
    }
    assert found.dropped == ()
    assert all(s.simulated for s in found.kept)
    found.write(tmp_path / "a.json")
    assert Scenes.read(tmp_path / "a.json") == found
    assert search(demo).digest == found.digest


def test_dropped_records_are_kept_with_their_reasons(demo: Demo) -> None:
    paths = items(demo, "S2A")
    spoil(paths[0], **{"eo:cloud_cover": 99})
    spoil(paths[1], **{"s2:processing_baseline": None, "earthsearch:boa_offset_applied": None})
    config = Config.read(demo.config)
    sources = (config.sources[0].model_copy(update={"max_cloud_percent": 95.0}), *config.sources[1:])
    found = search(demo, config.model_copy(update={"sources": sources}))
    assert len(found.of("sentinel-2-l2a")) == 8
    assert found.reasons == {"no processing baseline": 1, "too cloudy": 1}


def test_of_an_image_processed_twice_the_newest_baseline_stays(demo: Demo) -> None:
    path = items(demo, "S2A")[0]
    item = json.loads(path.read_text())
    item["id"] += "_again"
    item["properties"]["s2:processing_baseline"] = "05.10"
    path.with_name("again.json").write_text(json.dumps(item))
    collection = demo.config.parent / "archive" / "sentinel-2-l2a.json"
    content = json.loads(collection.read_text())
    content["links"].append({"rel": "item", "href": f"./{path.parent.name}/again.json"})
    collection.write_text(json.dumps(content))
    found = search(demo)
    assert len(found.of("sentinel-2-l2a")) == 10
    assert [(d.id, d.reason.partition(":")[0]) for d in found.dropped] == [(path.stem, "processed again")]


def test_links_that_leave_the_catalogue_are_not_followed(demo: Demo) -> None:
    secret = demo.config.parent / "secret.json"
    secret.write_text("{}")
    for href in ("../secret.json", "http://127.0.0.1:1/x.json", "file:///etc/passwd"):
        path = demo.config.parent / "archive" / "catalog.json"
        content = json.loads(path.read_text())
        content["links"].append({"rel": "child", "href": href})
        path.write_text(json.dumps(content))
        with pytest.raises(InputError, match="leaves the catalogue"):
            search(demo)
        content["links"].pop()
        path.write_text(json.dumps(content))


def test_asset_addresses_of_other_kinds_are_refused(demo: Demo) -> None:
    for path in items(demo, "S1A"):
        item = json.loads(path.read_text())
        item["assets"]["vv"]["href"] = "/vsicurl/http://127.0.0.1:1/vv.tif"
        path.write_text(json.dumps(item))
    with pytest.raises(InputError, match="asset address of a kind that is not allowed"):
        search(demo)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "cannot be read"),
        ("{}", "cannot be read"),
        ("[1]", "cannot be read"),
        ("\x00\x01", "cannot be read"),
    ],
)
def test_a_broken_catalogue_is_one_clear_message(demo: Demo, content: str, told: str) -> None:
    (demo.config.parent / "archive" / "catalog.json").write_text(content)
    with pytest.raises(InputError, match=told):
        search(demo)


def test_an_empty_catalogue_and_a_place_without_images_say_so(demo: Demo) -> None:
    config = Config.read(demo.config)
    far = config.model_copy(
        update={"region": config.region.model_copy(update={"area": (0.0, 0.0, 0.1, 0.1)})}
    )
    with pytest.raises(InputError, match=r"no sentinel-2-l2a scene for season '2025-dry'"):
        search(demo, far)
    path = demo.config.parent / "archive" / "catalog.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"links": []}))
    with pytest.raises(InputError, match="no sentinel-2-l2a scene"):
        search(demo)


def test_an_api_gives_the_same_scenes_as_the_files_it_serves(
    original_demo: Demo, stac_api: str, file_server: str
) -> None:
    found = search(
        original_demo,
        with_provider(original_demo, ApiProvider(kind="api", url=stac_api, convention="earth-search")),
    )
    local = search(original_demo)
    assert found.digest == local.digest
    assert [dict(s.assets).keys() for s in found.kept] == [dict(s.assets).keys() for s in local.kept]
    assert all(url.startswith(file_server) for s in found.kept for _, url in s.assets)


def test_an_api_is_read_to_its_last_page(
    original_demo: Demo, stac_api: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "PAGE", 3)
    provider = ApiProvider(kind="api", url=stac_api, convention="earth-search", hosts=("127.0.0.1",))
    assert (
        search(original_demo, with_provider(original_demo, provider)).digest == search(original_demo).digest
    )


def test_links_of_an_api_that_lead_elsewhere_are_not_followed() -> None:
    check = catalog._only_at("https://api.example/v1")
    check(requests.Request("GET", "https://api.example/v1/search?token=2"))
    with pytest.raises(ValueError, match="a link leaves the service: http://169"):
        check(requests.Request("GET", "http://169.254.169.254/latest"))


def test_a_redirected_catalogue_is_not_followed(original_demo: Demo) -> None:
    with faults.serve(original_demo.config.parent) as server:
        server.planted["catalog.json"] = ["redirect http://127.0.0.1:1/catalog.json"]
        provider = StaticProvider(
            kind="static", catalog=f"{server.address}/archive/catalog.json", convention="earth-search"
        )
        with pytest.raises(InputError, match="is redirected to"):
            search(original_demo, with_provider(original_demo, provider))


def test_one_hostile_record_costs_itself_only(demo: Demo) -> None:
    paths = items(demo, "S2A")
    for path, part in zip(
        paths, ({"assets": 3}, {"properties": [1]}, {"id": None}, {"geometry": {"type": 7}}), strict=False
    ):
        path.write_text(json.dumps(json.loads(path.read_text()) | part))
    found = search(demo)
    assert len(found.of("sentinel-2-l2a")) == 6
    assert len(found.dropped) == 4


def test_a_catalogue_that_holds_itself_ends(demo: Demo) -> None:
    path = demo.config.parent / "archive" / "catalog.json"
    content = json.loads(path.read_text())
    content["links"].append({"rel": "child", "href": "./catalog.json"})
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="lies below itself"):
        search(demo)


def test_a_catalogue_over_http_gives_the_same_scenes(original_demo: Demo, file_server: str) -> None:
    provider = StaticProvider(
        kind="static", catalog=f"{file_server}/archive/catalog.json", convention="earth-search"
    )
    assert (
        search(original_demo, with_provider(original_demo, provider)).digest == search(original_demo).digest
    )


def test_a_server_that_does_not_answer_or_is_no_stac_api(original_demo: Demo, file_server: str) -> None:
    for url in (f"http://127.0.0.1:{free_port()}", file_server):
        config = with_provider(original_demo, ApiProvider(kind="api", url=url, convention="earth-search"))
        with pytest.raises(InputError, match="does not answer as one"):
            search(original_demo, config)


def test_a_scene_list_of_another_program_is_refused(tmp_path: Path) -> None:
    for content in ("", "{}", '{"format": "phusa-scenes-1"}', "[]"):
        (tmp_path / "s.json").write_text(content)
        with pytest.raises(InputError, match="is not a list of scenes"):
            Scenes.read(tmp_path / "s.json")


def test_the_day_of_a_scene_is_the_solar_day_so_a_pass_is_one_date() -> None:
    from pipeline.scenes import Scene

    def at(moment: str) -> Scene:
        return Scene("a", "sentinel-1-rtc", "c", moment, shapely.box(105, 10, 106, 11).wkt, (), 32648)

    # 23:05 and 22:58 UTC are about 06:00 local, on either side of a UTC midnight they would part.
    assert at("2025-01-01T22:58:00+00:00").day == at("2025-01-02T00:01:00+00:00").day


def test_a_catalogue_lies_in_any_folder(original_demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "a#b?c%20d Đồng bằng"
    shutil.copytree(original_demo.config.parent, folder)
    config = Config.read(folder / "demo.yaml")
    found = catalog.search(config.sources, config.season("2025-dry"), config.region.geometry)
    assert found.digest == search(original_demo).digest
    assert all(Path(url).is_file() for scene in found.kept for url in scene.urls.values())


def test_one_bad_record_is_dropped_by_name_and_the_others_stay(demo: Demo) -> None:
    whole = search(demo)
    victims = items(demo, "S2")[:4]
    texts = ["{", "[]", None, '{"type": "Feature", "id": "odd", "properties": null, "assets": {"nir": {}}}']
    for path, text in zip(victims, texts, strict=True):
        path.unlink() if text is None else path.write_text(text)
    found = search(demo)
    assert len(found.kept) == len(whole.kept) - 4
    told = {Path(d.id).name: d.reason for d in found.dropped}
    for path in victims[:3]:
        assert told[path.name].startswith("unreadable record: ")
    assert "odd" in told


@pytest.mark.parametrize("change", [{"datetime": None}, {"datetime": "yesterday"}])
def test_a_record_without_a_usable_date_is_dropped(demo: Demo, change: dict[str, Any]) -> None:
    victim = items(demo, "S2")[0]
    spoil(victim, **change)
    found = search(demo)
    assert [d.id for d in found.dropped] == [json.loads(victim.read_text())["id"]]
    assert "datetime" in found.dropped[0].reason


def test_a_footprint_that_lies_elsewhere_than_its_granule_is_told(demo: Demo) -> None:
    """Latitude before longitude, or another place: such an image would be missing without a word."""
    path = items(demo, "S2A_48PXS")[0]
    item = json.loads(path.read_text())
    item["geometry"] = json.loads(shapely.to_geojson(shapely.box(9, 50, 10, 51)))
    path.write_text(json.dumps(item))
    found = search(demo)
    assert [d.id for d in found.dropped] == [item["id"]]
    assert found.dropped[0].reason.startswith("wrong grid: its footprint [9.00, 50.00, 10.00, 51.00] lies")


def test_a_list_of_items_is_a_catalogue(original_demo: Demo, tmp_path: Path) -> None:
    """As a search answers, saved to a file."""
    archive, features = original_demo.config.parent / "archive", []
    for path in sorted(archive.glob("*/*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = str(path.parent / asset["href"])
        features.append(item)
    saved = tmp_path / "found.json"
    saved.write_text(json.dumps({"type": "FeatureCollection", "features": [*features, features[0], 3]}))
    provider = StaticProvider(
        kind="static", catalog=str(saved), convention="earth-search", roots=(str(archive),)
    )
    found = search(original_demo, with_provider(original_demo, provider))
    assert found.digest == search(original_demo).digest
    assert found.dropped == ()  # the same record twice is one record


def test_a_catalogue_over_http_is_asked_again_where_it_is_busy(
    original_demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "WAIT_S", 0.01)
    with faults.serve(original_demo.config.parent) as server:
        server.planted["sentinel-2-l2a.json"] = ["status 503 0", "status 429 0"]
        server.planted[".json"] = ["status 502 0"]
        provider = StaticProvider(
            kind="static", catalog=f"{server.address}/archive/catalog.json", convention="earth-search"
        )
        found = search(original_demo, with_provider(original_demo, provider))
    assert found.digest == search(original_demo).digest
    assert found.dropped == ()


class Pages:
    """A search whose pages are these lists of ids."""

    def __init__(self, *pages: list[str]) -> None:
        self.pages = pages

    def pages_as_dicts(self) -> Any:
        yield from ({"features": [{"id": name} for name in page]} for page in self.pages)


def test_pages_that_run_in_a_circle_end() -> None:
    whole = Pages(["a", "b"], ["b", "c"], ["d"])
    assert [r["id"] for r in catalog._paged(whole)] == ["a", "b", "b", "c", "d"]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="repeat"):
        list(catalog._paged(Pages(["a", "b"], ["c"], ["a", "b"])))  # type: ignore[arg-type]


@contextmanager
def busy_api(features: list[Any], trouble: list[int], elsewhere: str = "") -> Iterator[str]:
    """A STAC API with two items a page that first answers each search as ``trouble`` says; its links to a
    next page go ``elsewhere``."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            here = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[index]
            root = {"rel": "root", "href": here}
            if self.path.startswith("/collections"):
                known = sorted({f["collection"] for f in features})
                extent = {
                    "spatial": {"bbox": [[-180, -90, 180, 90]]},
                    "temporal": {"interval": [[None, None]]},
                }
                about = {"type": "Collection", "stac_version": "1.0.0", "description": "x", "license": "x"}
                return self.say({"collections": [about | {"id": c, "extent": extent, "links": []} for c in known],
                                 "links": [root]})  # fmt: skip
            classes = ["core", "item-search", "ogcapi-features", "collections"]
            conforms = [f"https://api.stacspec.org/v1.0.0/{c}" for c in classes]
            return self.say({
                "type": "Catalog", "id": "x", "stac_version": "1.0.0", "description": "x", "conformsTo": conforms,
                "links": [root, {"rel": "search", "href": f"{here}/search", "method": "POST"},
                          {"rel": "data", "href": f"{here}/collections"}],
            })  # fmt: skip

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if trouble:
                return self.say({}, trouble.pop(0))
            mine = [f for f in features if f["collection"] in asked["collections"]]
            at = int(asked.get("token", 0))
            here = elsewhere or f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[index]
            more = {"rel": "next", "href": f"{here}/search", "method": "POST", "body": {"token": at + 2},
                    "merge": True}  # fmt: skip
            links = [more] if at + 2 < len(mine) else []
            return self.say({"type": "FeatureCollection", "features": mine[at : at + 2], "links": links})

        def say(self, content: Any, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Content-Type", "application/json")
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_a_busy_api_is_asked_again_for_every_page(
    original_demo: Demo, file_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "WAIT_S", 0.01)
    archive, features = original_demo.config.parent / "archive", []
    for path in sorted(archive.glob("*/*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            asset["href"] = f"{file_server}/archive/{path.parent.name}/{Path(asset['href']).name}"
        features.append(item)
    with busy_api(features, [503, 429, 502]) as url:
        provider = ApiProvider(kind="api", url=url, convention="earth-search")
        found = search(original_demo, with_provider(original_demo, provider))
    assert found.digest == search(original_demo).digest
    assert found.dropped == ()
    for trouble, elsewhere in (([400], ""), ([503] * 9, ""), ([], "http://localhost:1")):
        with busy_api(features, trouble, elsewhere) as url:
            provider = ApiProvider(kind="api", url=url, convention="earth-search")
            config = with_provider(original_demo, provider)
            with pytest.raises(InputError, match="does not answer as one"):
                search(original_demo, config)
