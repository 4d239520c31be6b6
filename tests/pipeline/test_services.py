"""The database as other programs serve it: tipg's features, titiler's tiles, stac-fastapi's search; the dictionary."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import psycopg
import pystac
import pystac_client
import pytest
import rasterio
import shapely
from mapped import SEASON, products
from matplotlib.image import imread
from numpy.typing import NDArray
from pystac.validation import RegisteredValidator
from support import Phusa, free_port, wait_for

from pipeline.grid import Tile
from pipeline.stores import PostgisSettings, open_store, schema

AREA = shapely.box(105.42, 10.01, 105.46, 10.05)


def layers(tile: Tile) -> dict[str, NDArray[Any]]:
    """Classes in broad stripes, risk that rises to the east; a corner that is not mapped."""
    rows, columns = tile.geobox.shape
    y, x = np.mgrid[:rows, :columns]
    made = {"class": 1 + 4 * x // columns, "risk": x / columns, "clear_dates": 0 * x + 3}
    made |= {f"p_{c}": 0.25 + 0 * x for c in ("none", "slight", "moderate", "heavy")}
    return made | {"applicability": 0 * x + 1, "reason": np.where((y < 80) & (x < 80), 3, 0)}


@pytest.fixture
def released(dsn: str, tmp_path: Path) -> Path:
    """The COG of a season that is published in the test's own database."""
    store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store"), "delta", dsn)
    records = [store.put(product, cog) for product, cog in products(tmp_path, AREA, "degradation", layers)]
    path = store.publish(SEASON, records).records[0].path
    store.close()
    return path


@pytest.fixture
def reader(dsn: str) -> str:
    """Address of the test's database for somebody who may only read."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        schema.grant(connection, "reader", "citizen")
    return dsn.replace("phusa@", "citizen@")


@contextmanager
def served(app: str, address: str, *options: str, **environment: str) -> Iterator[str]:
    port, where = free_port(), psycopg.conninfo.conninfo_to_dict(address)
    env = os.environ | {
        "PGHOST": str(where["host"]), "PGPORT": str(where["port"]), "PGUSER": str(where["user"]),
        "PGPASSWORD": "x", "PGDATABASE": str(where["dbname"]), "DATABASE_URL": address, **environment,
    }  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", app, *options, "--port", str(port), "--log-level", "error"], env=env
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/", server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.loads(answer.read())


def test_tipg_lists_the_views_and_returns_features_to_a_reader(released: Path, reader: str) -> None:
    with served(
        "tipg.main:app", reader, TIPG_DB_SCHEMAS='["phusa"]', TIPG_DB_ONLY_SPATIAL_TABLES="FALSE"
    ) as api:
        found = {c["id"] for c in get(f"{api}/collections?limit=100")["collections"]}
        assert {"phusa.latest_official", "phusa.latest_official_risk", "phusa.exceedance_on_farmland",
                "phusa.samples_by_method", "phusa.ledger"} <= found  # fmt: skip
        made = get(f"{api}/collections/phusa.latest_official_risk/items?f=geojson")
    assert made["numberMatched"] == 1
    feature = made["features"][0]
    assert feature["properties"]["season"] == SEASON.name
    assert feature["properties"]["target"] == "degradation"
    assert feature["properties"]["status"] == "unverified"
    with rasterio.open(released) as file:
        risk = file.read(2, masked=True)
    assert feature["properties"]["mean_risk"] == pytest.approx(risk.mean() * 1e-4, abs=1e-4)
    assert shapely.geometry.shape(feature["geometry"]).intersects(AREA)


def test_titiler_renders_a_released_item_in_its_colours(released: Path, reader: str, tmp_path: Path) -> None:
    item = f"{SEASON.slug}_{released.stem}"
    colours = {1: "#1A9641", 2: "#F2D74E", 3: "#F08A24", 4: "#B2182B"}
    query = f"assets=map%7Cbidx%3D1&colormap={quote(json.dumps(colours))}"
    with served("titiler.pgstac.main:app", reader) as tiler:
        address = f"{tiler}/collections/phusa-delta-{SEASON.slug}/items/{item}"
        with urllib.request.urlopen(f"{address}/preview.png?{query}&max_size=256", timeout=60) as answer:
            content = answer.read()
        with urllib.request.urlopen(
            f"{address}/tiles/WebMercatorQuad/12/3247/1933.png?{query}", timeout=60
        ) as answer:
            tile = answer.read()
    where = os.environ.get("PHUSA_PICTURES")
    if where:
        Path(where, "titiler.png").write_bytes(content)
        Path(where, "titiler-tile.png").write_bytes(tile)
    picture = (imread(io.BytesIO(content)) * 255).round().astype(int)
    shown = {tuple(p[:3]) for p in picture.reshape(-1, 4) if p[3] == 255}
    expected = {tuple(bytes.fromhex(c[1:])) for c in colours.values()}
    assert shown == expected
    middle = picture[picture.shape[0] // 2]
    order = [tuple(p[:3]) for p in middle if p[3] == 255]
    assert list(dict.fromkeys(order)) == [tuple(bytes.fromhex(c[1:])) for c in colours.values()]
    assert (picture[2, 2, 3], picture[-3, 40, 3]) == (0, 255)  # the corner that is not mapped
    assert imread(io.BytesIO(tile)).shape[:2] == (256, 256)


def test_stac_fastapi_is_searched_by_pystac_client(released: Path, reader: str) -> None:
    command = ("stac_fastapi.pgstac.app:create_app", reader, "--factory")
    with served(*command, ENABLE_TRANSACTIONS_EXTENSIONS="FALSE") as api:
        client = pystac_client.Client.open(api)
        found = list(client.search(bbox=AREA.bounds, datetime="2025-01", max_items=5).items())
        nowhere = list(client.search(bbox=[107, 12, 107.1, 12.1]).items())
    assert [i.id for i in found] == [f"{SEASON.slug}_{released.stem}"] and nowhere == []
    asset = found[0].assets["map"]
    assert Path(asset.href) == released
    assert asset.to_dict()["bands"][0]["classification:classes"][0]["color_hint"] == "1A9641"


def test_versions_lead_to_one_another_in_the_api(
    released: Path, dsn: str, reader: str, tmp_path: Path
) -> None:
    """A season published three times: the second without a second tile, the third the first once more."""
    store = open_store(PostgisSettings(kind="postgis", path=tmp_path / "store"), "delta", dsn)
    first = store.published(SEASON)

    def darker(tile: Tile) -> dict[str, NDArray[Any]]:
        return layers(tile) | {"risk": 0 * layers(tile)["risk"]}

    store.publish(SEASON, [store.put(p, cog) for p, cog in products(tmp_path, AREA, "degradation", darker)])
    assert store.verify() == []
    plain, old = f"phusa-delta-{SEASON.slug}", f"phusa-delta-{SEASON.slug}-superseded"
    with served(
        "stac_fastapi.pgstac.app:create_app", reader, "--factory", ENABLE_TRANSACTIONS_EXTENSIONS="FALSE"
    ) as api:
        client = pystac_client.Client.open(api)
        (now,) = client.search(collections=[plain]).items()
        (before,) = client.search(collections=[old]).items()
        assert (now.properties["version"], before.properties["version"]) == ("2", "1")
        assert before.properties["deprecated"] is True and "deprecated" not in now.properties
        assert before.id == f"{now.id}_v1"
        assert get(now.get_links("predecessor-version")[0].href)["id"] == before.id
        for rel in ("successor-version", "latest-version"):
            assert get(before.get_links(rel)[0].href)["id"] == now.id
        assert not now.get_links("latest-version") and not before.get_links("predecessor-version")
        assert Path(before.assets["map"].href).read_bytes() == first[0].path.read_bytes()
        told = get(f"{api}/collections/{plain}")
        assert told["version"] == "2"
        history = next(link["href"] for link in told["links"] if link["rel"] == "version-history")
        assert [i["id"] for i in get(history)["features"]] == [before.id]
        assert get(f"{api}/collections/{old}")["deprecated"] is True
        validator = RegisteredValidator.get_validator()
        for kind, address in (
            (pystac.STACObjectType.COLLECTION, f"{api}/collections/{plain}"),
            (pystac.STACObjectType.COLLECTION, f"{api}/collections/{old}"),
            (pystac.STACObjectType.ITEM, f"{api}/collections/{plain}/items/{now.id}"),
            (pystac.STACObjectType.ITEM, f"{api}/collections/{old}/items/{before.id}"),
        ):
            validator.validate_core(get(address), kind, "1.1.0")
    store.publish(SEASON, first)
    assert store.verify() == []
    rows = store.connection.execute(  # type: ignore[attr-defined]
        "SELECT id, collection = %s, content #>> '{properties,version}', content -> 'links' FROM pgstac.items ORDER BY id",
        (plain,),
    ).fetchall()
    assert [row[:3] for row in rows] == [(now.id, True, "1"), (f"{now.id}_v2", False, "2")]
    assert [link["rel"] for link in rows[0][3]] == ["successor-version"]
    assert [link["rel"] for link in rows[1][3]] == ["latest-version", "predecessor-version"]
    store.withdraw(SEASON, "x")
    assert store.verify() == []
    left = store.connection.execute("SELECT id FROM pgstac.items").fetchall()  # type: ignore[attr-defined]
    assert left == [(f"{now.id}_v2",)]
    store.close()


def test_every_relation_and_column_is_told_in_both_languages(dsn: str, phusa: Phusa, tmp_path: Path) -> None:
    answer = phusa("db", "dictionary", "--out", tmp_path / "d.md", "--json")
    assert answer.code == 0, answer.err
    entries = answer.json["entries"]
    silent = [f"{e['relation']}.{e['column']}" for e in entries if not (e["vi"] and e["en"])]
    assert silent == [], "say in stores/schema what it means: Vietnamese | English"
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'phusa'"
        ).fetchone()
    assert row is not None
    assert len([e for e in entries if e["column"]]) == row[0]
    page = (tmp_path / "d.md").read_text(encoding="utf-8")
    assert "## latest_official_risk (view)" in page
    assert (
        "| mean_risk | double precision | Xác suất nguy cơ trung bình, 0 đến 1 | Mean probability of risk, 0 to 1 |"
        in page
    )
