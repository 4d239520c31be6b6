"""One contract, two stores."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import psycopg
import pyarrow.parquet
import pystac
import pytest
import rasterio
from products import GEOBOX, SEASON, areas, make, target

from pipeline.errors import InputError, PhusaError
from pipeline.product import bands_of
from pipeline.stores import FolderSettings, PostgisSettings, Store, open_store
from pipeline.stores.postgis import PostgisStore


@pytest.fixture(params=["folder", "postgis", "folder in a bucket", "postgis in a bucket"])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Opens the store under test, as a new process would."""
    kind, _, where = request.param.partition(" in a ")
    s3 = request.getfixturevalue(where) if where else {}
    if kind == "folder":
        return lambda: open_store(FolderSettings(kind="folder", path=tmp_path / "store", **s3), "delta")
    dsn = request.getfixturevalue("dsn")
    return lambda: open_store(PostgisSettings(kind="postgis", path=tmp_path / "store", **s3), "delta", dsn)


@pytest.fixture
def store(reopen: Callable[[], Store]) -> Iterator[Store]:
    opened = reopen()
    yield opened
    opened.close()


def test_a_draft_is_found_and_not_yet_published(store: Store, tmp_path: Path) -> None:
    product, cog = make(tmp_path)
    assert store.find(product.id, product.key) is None
    record = store.put(product, cog)
    found = store.find(product.id, product.key)
    assert found is not None
    assert (found.key, found.sha256) == (product.key, record.sha256)
    assert hashlib.sha256(found.path.read_bytes()).hexdigest() == record.sha256
    assert store.published(SEASON) == []
    assert store.find(product.id, "another key") is None


def test_publishing_shows_all_products_and_twice_changes_nothing(
    store: Store, reopen: Callable[[], Store], tmp_path: Path
) -> None:
    records = [store.put(*make(tmp_path, tile)) for tile in ("48PXS", "48PYS")]
    first = store.publish(SEASON, records)
    assert first.changed
    again = store.publish(SEASON, first.records)
    assert not again.changed
    assert again.id == first.id
    other = reopen()
    assert [r.id.tile for r in other.published(SEASON)] == ["48PXS", "48PYS"]
    assert other.verify() == []
    other.close()


def test_what_its_fence_refuses_is_not_published(store: Store, tmp_path: Path) -> None:
    store.publish(SEASON, [store.put(*make(tmp_path, fill=4))])
    before, history = store.published(SEASON), store.history()
    new = store.put(*make(tmp_path, fill=9))

    def fence() -> None:
        raise PhusaError("another driver took over")

    with pytest.raises(PhusaError, match="took over"):
        store.publish(SEASON, [new], fence=fence)
    assert store.published(SEASON) == before
    assert (store.history(), store.verify()) == (history, [])
    assert store.publish(SEASON, [new]).changed


def test_a_map_of_classes_opens_in_its_colours(store: Store, tmp_path: Path) -> None:
    made = [store.put(*make(tmp_path, name=n, fill=1)) for n in ("degradation", "salinity")]
    classes, values = (r.path for r in store.publish(SEASON, made).records)
    with rasterio.open(classes) as file:
        shown = file.colormap(1)
        assert file.colorinterp[0].name == "palette"
    expected = {c.code: c.colour for c in target("degradation").classes}
    for code, colour in expected.items():
        assert "#{:02x}{:02x}{:02x}".format(*shown[code][:3]) == colour.lower()
        assert shown[code][3] == 255
    assert store.verify() == []
    assert "Thoái hóa nặng (Heavy)" in classes.with_name(f"{classes.name}.aux.xml").read_text(
        encoding="utf-8"
    )
    with rasterio.open(values) as file, pytest.raises(ValueError, match="color"):
        file.colormap(1)


def test_a_new_release_replaces_the_old_one_whole(store: Store, tmp_path: Path) -> None:
    old = [store.put(*make(tmp_path, tile, fill=4)) for tile in ("48PXS", "48PYS")]
    store.publish(SEASON, old)
    new = store.put(*make(tmp_path, "48PXS", fill=9))
    assert [r.key for r in store.published(SEASON)] == [r.key for r in old]
    store.publish(SEASON, [new])
    assert [r.key for r in store.published(SEASON)] == [new.key]


def test_a_deleted_product_is_missing_and_can_be_made_again(store: Store, tmp_path: Path) -> None:
    release = store.publish(SEASON, [store.put(*make(tmp_path))])
    lost = release.records[0]
    content = lost.path.read_bytes()
    lost.path.unlink()
    assert store.find(lost.id, lost.key) is None
    assert store.verify()
    record = store.put(*make(tmp_path))
    again = store.publish(SEASON, [record])
    assert again.id == release.id
    assert again.records[0].path.read_bytes() == content
    assert store.verify() == []


def test_a_changed_file_is_told_by_verify(store: Store, tmp_path: Path) -> None:
    record = store.publish(SEASON, [store.put(*make(tmp_path))]).records[0]
    content = bytearray(record.path.read_bytes())
    content[len(content) // 2] ^= 1
    record.path.write_bytes(content)
    assert any("SHA-256" in fault for fault in store.verify())


def test_a_store_of_another_region_is_untouched(
    store: Store, reopen: Callable[[], Store], tmp_path: Path
) -> None:
    store.publish(SEASON, [store.put(*make(tmp_path))])
    other = reopen()
    other.region = "north"
    product, cog = make(tmp_path, fill=2)
    other.publish(SEASON, [other.put(product, cog)])
    assert [r.key for r in store.published(SEASON)] != [r.key for r in other.published(SEASON)]
    assert len(store.published(SEASON)) == len(other.published(SEASON)) == 1
    other.close()


def test_folder_is_a_static_catalogue_with_tables(tmp_path: Path) -> None:
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store"), "delta")
    made = [store.put(*make(tmp_path, "48PXS", n, fill=1)) for n in ("salinity", "degradation")]
    folder = store.publish(SEASON, made).records[0].path.parent
    items = list(pystac.Catalog.from_file(str(tmp_path / "store" / "catalog.json")).get_items(recursive=True))
    assert len(items) == 2
    assert all(Path(i.assets["map"].get_absolute_href() or "").is_file() for i in items)
    assert pyarrow.parquet.read_table(folder / "items.parquet").num_rows == 2
    table = geopandas.read_file(folder / "tables.gpkg")
    assert list(table.target) == ["salinity", "degradation"]
    # 300 rows of 270 mapped and 10 outside pixels of 100 m2
    assert np.allclose(table.mapped_km2, 300 * 270 * 1e-4)
    assert np.allclose(table.outside_km2, 300 * 10 * 1e-4)


def test_folder_without_its_catalogue_switch_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publication that dies before the switch leaves the old release visible and whole."""
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store"), "delta")
    old = store.put(*make(tmp_path, fill=4))
    store.publish(SEASON, [old])
    new = store.put(*make(tmp_path, fill=9))

    def die(*_: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "_switch", die)
        with pytest.raises(OSError, match="no space"):
            store.publish(SEASON, [new])
    assert [r.key for r in store.published(SEASON)] == [old.key]
    assert store.verify() == []
    assert store.publish(SEASON, [new]).changed
    assert [r.key for r in store.published(SEASON)] == [new.key]


# --- PostGIS alone -----------------------------------------------------------------------------


@pytest.fixture
def database(dsn: str, tmp_path: Path) -> Iterator[PostgisStore]:
    opened = PostgisStore.open(tmp_path / "store", "delta", dsn)
    yield opened
    opened.close()


def test_pixels_answer_st_value_as_the_cog_does(database: PostgisStore, tmp_path: Path) -> None:
    record = database.put(*make(tmp_path))
    database.publish(SEASON, [record])
    with rasterio.open(record.path) as file:
        pixels = file.read()
    rng = np.random.default_rng(0)
    for _ in range(25):
        row, column = int(rng.integers(300)), int(rng.integers(280))
        x, y = GEOBOX.affine * (column + 0.5, row + 0.5)
        for band in (1, 4, 5):
            value = database.connection.execute(
                "SELECT ST_Value(rast, %s, ST_SetSRID(ST_MakePoint(%s, %s), 32648)) FROM phusa.map "
                "WHERE ST_ConvexHull(rast) && ST_SetSRID(ST_MakePoint(%s, %s), 32648)",
                (band, x, y, x, y),
            ).fetchall()
            stored = int(pixels[band - 1, row, column])
            assert [v[0] for v in value if v[0] is not None] == ([] if stored == -32768 else [stored])


def test_value_gives_the_layer_in_its_unit(database: PostgisStore, tmp_path: Path) -> None:
    database.publish(SEASON, [database.put(*make(tmp_path, fill=4.25))])
    lon, lat = rasterio.warp.transform("EPSG:32648", "EPSG:4326", [640505], [1099495])
    ask = "SELECT phusa.value('delta', %s, 'salinity', %s, %s, %s)"
    run = database.connection.execute
    assert run(ask, (SEASON.name, "estimate", lon[0], lat[0])).fetchone() == (4.25,)
    assert run(ask, (SEASON.name, "reason", lon[0], lat[0])).fetchone() == (0.0,)
    assert run(ask, (SEASON.name, "estimate", 0.0, 0.0)).fetchone() == (None,)


def test_tile_metadata_is_what_postgis_understands(database: PostgisStore, tmp_path: Path) -> None:
    database.put(*make(tmp_path))
    rows = database.connection.execute(
        "SELECT ST_NumBands(rast), ST_SRID(rast), ST_ScaleX(rast), ST_ScaleY(rast), ST_BandPixelType(rast, 1), "
        "ST_BandNoDataValue(rast, 1), sum(ST_Width(rast) * ST_Height(rast)) OVER () FROM phusa.raster"
    ).fetchall()
    assert {row[:6] for row in rows} == {
        (len(bands_of(target("salinity"))), 32648, 10.0, -10.0, "16BSI", -32768.0)
    }
    assert rows[0][6] == 300 * 280


def test_items_reach_pgstac_with_the_publication_only(database: PostgisStore, tmp_path: Path) -> None:
    records = [database.put(*make(tmp_path, tile)) for tile in ("48PXS", "48PYS")]
    count = "SELECT count(*) FROM pgstac.items"
    assert database.connection.execute(count).fetchone() == (0,)
    database.publish(SEASON, records)
    assert database.connection.execute(count).fetchone() == (2,)
    database.connection.execute("SET search_path TO pgstac, public")
    found = database.connection.execute("SELECT pgstac.search('{}')").fetchone()
    assert found is not None
    assert {f["properties"]["phusa:tile"] for f in found[0]["features"]} == {"48PXS", "48PYS"}
    database.publish(SEASON, records[:1])
    collection = records[0].item["collection"]
    for name, items in ((collection, 1), (f"{collection}-superseded", 2)):
        assert database.connection.execute(f"{count} WHERE collection = %s", (name,)).fetchone() == (items,)


STEPS = ("release", "release_product", "document", "release_area", "journal")


@pytest.mark.parametrize("step", [*STEPS, "pgstac.items", "pgstac.collections"])
def test_a_fault_in_a_publication_leaves_nothing_visible(
    database: PostgisStore, tmp_path: Path, step: str
) -> None:
    """The server refuses the write of each table in turn, as a full disk would."""
    old = database.put(*make(tmp_path, fill=4))
    database.publish(SEASON, [old], areas())
    new = database.put(*make(tmp_path, fill=9))
    run = database.connection.execute
    table = step if "." in step else f"phusa.{step}"
    run("CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$")  # fmt: skip
    run(f"CREATE TRIGGER full_disk AFTER INSERT OR UPDATE ON {table} EXECUTE FUNCTION public.full_disk()")
    before = [
        run(f"SELECT count(*) FROM {t}").fetchone() for t in (*(f"phusa.{t}" for t in STEPS), "pgstac.items")
    ]
    with pytest.raises(psycopg.errors.DiskFull):
        database.publish(SEASON, [new], areas())
    assert [r.key for r in database.published(SEASON)] == [old.key]
    rows = run("SELECT content -> 'properties' ->> 'phusa:key' FROM pgstac.items").fetchall()
    assert rows == [(old.key,)]
    assert before == [
        run(f"SELECT count(*) FROM {t}").fetchone() for t in (*(f"phusa.{t}" for t in STEPS), "pgstac.items")
    ]
    run(f"DROP TRIGGER full_disk ON {table}")
    assert database.verify() == []
    assert database.publish(SEASON, [new], areas()).changed
    assert database.verify() == []


def test_two_publishers_do_not_collide(database: PostgisStore, dsn: str, tmp_path: Path) -> None:
    """The second waits for the first, then sees its work."""
    records = [database.put(*make(tmp_path, tile)) for tile in ("48PXS", "48PYS")]
    other = PostgisStore.open(tmp_path / "store", "delta", dsn)
    with database.connection.transaction():
        database.publish(SEASON, records)
        other.connection.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.publish(SEASON, records)
    other.connection.execute("RESET lock_timeout")
    assert not other.publish(SEASON, records).changed
    other.close()


def test_the_same_product_from_two_machines_is_one(
    database: PostgisStore, dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second waits where the first has its file but not its row yet, and takes the first's."""
    product, cog = make(tmp_path)
    twin = cog.with_name("twin.tif")
    twin.write_bytes(cog.read_bytes())
    insert = PostgisStore._insert
    second: list[threading.Thread] = []

    def slowly(self: PostgisStore, *what: Any) -> int:
        if not second:
            other = PostgisStore.open(tmp_path / "store", "delta", dsn)
            second.append(threading.Thread(target=other.put, args=(product, twin)))
            second[0].start()
            second[0].join(0.5)
            assert second[0].is_alive()
        return insert(self, *what)

    monkeypatch.setattr(PostgisStore, "_insert", slowly)
    record = database.put(product, cog)
    second[0].join()
    assert not twin.exists() and record.intact
    assert database.connection.execute("SELECT count(*) FROM phusa.product").fetchone() == (1,)
    database.publish(SEASON, [record])
    assert database.verify() == []


def test_database_faults_are_told_in_one_sentence(tmp_path: Path, postgres: str) -> None:
    settings = PostgisSettings(kind="postgis", path=tmp_path)
    with pytest.raises(InputError, match="PHUSA_DSN is not set"):
        open_store(settings, "delta", None)
    with pytest.raises(InputError, match="no database answers"):
        open_store(settings, "delta", "postgresql://nobody:secret@127.0.0.1:1/x")
    with pytest.raises(InputError, match="phusa db init"):
        open_store(settings, "delta", f"{postgres}/postgres")


def test_migrating_again_does_nothing(dsn: str) -> None:
    from pipeline.stores import schema

    assert schema.migrate(dsn) == []
