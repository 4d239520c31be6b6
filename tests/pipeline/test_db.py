"""``phusa db``: migrations forward from any version, orphans and repair, roles, backup and restore."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from products import SEASON, areas, make
from psycopg.types.json import Jsonb
from support import Phusa

from pipeline import companions, stac
from pipeline.errors import InputError, IntegrityError
from pipeline.files import sha256
from pipeline.product import ProductId
from pipeline.season import Season
from pipeline.stores import address, integrity, repairs, rights, samples, schema, wkb
from pipeline.stores.contract import Record, release_id
from pipeline.stores.journal import Checkpoint
from pipeline.stores.postgis import PostgisStore


@pytest.fixture
def database(dsn: str, tmp_path: Path) -> Iterator[PostgisStore]:
    opened = PostgisStore.open(tmp_path / "store", "delta", dsn)
    yield opened
    opened.close()


def bend(store: PostgisStore, harm: str) -> None:
    with store.connection.transaction():
        store.connection.execute("SET LOCAL session_replication_role = replica")
        store.connection.execute(harm)  # type: ignore[call-overload]


# --- repair ------------------------------------------------------------------------------------

REPAIRABLE = (
    "DELETE FROM phusa.raster",
    "DELETE FROM phusa.raster WHERE number = 2",
    "UPDATE phusa.raster SET rast = ST_SetValue(rast, 1, 1, 1, 7) WHERE number = 2",
    "DELETE FROM pgstac.items",
    "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,title}', '\"x\"')",
)


#: Rows that go back to what the journal's seals say; what is LOST is nowhere else than in a backup.
MENDED = (
    "DELETE FROM phusa.document WHERE name IN ('collection.json', 'areas.json')",
    "UPDATE phusa.product SET key = 'x'",
    "UPDATE phusa.product SET item = jsonb_set(item, '{properties,title}', '\"x\"')",
    "UPDATE phusa.product SET item = '{}', key = 'x', files = '{}', tiles = '', cog = '/x.tif', tile = 'x', season = 'x'",
    "UPDATE phusa.product SET files = jsonb_set(files, '{48PXS_salinity.tif}', '\"00\"')",
    "UPDATE phusa.product SET cog = '/nowhere.tif'",
    "WITH r AS (UPDATE phusa.raster SET rast = ST_SetValue(rast, 1, 1, 1, 7) WHERE number = 2 RETURNING rast, product_id) "
    "UPDATE phusa.product SET tiles = overlay(tiles PLACING sha256((SELECT rast::bytea FROM r LIMIT 1)) FROM 33 FOR 32)",
    "INSERT INTO phusa.raster SELECT product_id, rast, 99 FROM phusa.raster LIMIT 1",
    "DELETE FROM phusa.product; DELETE FROM phusa.raster",
    "DELETE FROM phusa.product; DELETE FROM phusa.raster; DELETE FROM phusa.release_product",
    "DELETE FROM phusa.release_product",
    "INSERT INTO phusa.product (region, season, tile, target, key, sha256, cog, item, files, tiles) SELECT region, season, "
    "tile, target, 'x', sha256, cog, item, files, tiles FROM phusa.product LIMIT 1; INSERT INTO phusa.release_product "
    "SELECT r.id, p.id FROM phusa.release r, phusa.product p WHERE p.key = 'x' AND r.state = 'official'",
    "UPDATE phusa.release_area SET map_m2 = 99 WHERE code = '26740'",
    "DELETE FROM phusa.release_area",
    'INSERT INTO phusa.release_area SELECT (json_populate_record(a, \'{"code": "99"}\')).* FROM phusa.release_area a LIMIT 1',
    'INSERT INTO phusa.release_area SELECT (json_populate_record(a, \'{"release": "99"}\')).* FROM phusa.release_area a LIMIT 1',
    "UPDATE phusa.document SET content = '{}' WHERE name = 'collection.json'",
    "INSERT INTO phusa.document SELECT id, 'NEWS', 'x' FROM phusa.release",
    "UPDATE phusa.release SET state = CASE state WHEN 'official' THEN 'superseded' ELSE 'official' END",
    "UPDATE phusa.release SET reviewed_by = 'somebody'",
    "UPDATE phusa.release SET submitted_by = 'somebody'",
    "UPDATE phusa.release SET manifest = manifest || 'x'",
    "UPDATE pgstac.items SET content = jsonb_set(content, '{links}', '[]')",
    'UPDATE pgstac.collections SET content = content || \'{"title": "x"}\'',
)
LOST = {
    "UPDATE phusa.document SET content = 'x' WHERE name = 'RUN'": "document RUN was altered",
    "UPDATE phusa.release SET season_start = '1999-01-01'": "its season has other days",
    "UPDATE phusa.journal SET line = replace(line, 'delta', 'north') WHERE seq = 1": "entry 1 was altered",
    "DELETE FROM phusa.journal WHERE seq = 1": "entry 1 is missing",
}


def test_altered_rows_are_made_what_was_released_or_named(dsn: str, phusa: Phusa, tmp_path: Path) -> None:
    """Two releases share the season; whatever a superuser did to their rows, all is as before afterwards."""
    store = PostgisStore.open(tmp_path / "store", "delta", dsn)
    for fill in (4, 9):
        store.publish(SEASON, [store.put(*make(tmp_path, fill=fill))], areas(), {"RUN": '{"code": "1"}'})

    def rows() -> list[Any]:
        wanted = (
            "SELECT region, season, tile, target, key, sha256, cog, item::text, files, tiles FROM phusa.product ORDER BY key",
            "SELECT * FROM phusa.release ORDER BY id",
            "SELECT * FROM phusa.release_area ORDER BY release, code",
            "SELECT * FROM phusa.document ORDER BY 1, 2",
            "SELECT p.key, number, rast::bytea FROM phusa.raster JOIN phusa.product p ON p.id = product_id ORDER BY 1, 2",
            "SELECT r.release, p.key FROM phusa.release_product JOIN phusa.release r ON r.id = release_id "
            "JOIN phusa.product p ON p.id = product_id ORDER BY 1, 2",
            "SELECT collection, id, pgstac.get_item(id, collection) FROM pgstac.items ORDER BY 1, 2",
        )
        return [store.connection.execute(text).fetchall() for text in wanted]

    before = rows()
    for harm in MENDED:
        bend(store, harm)
        assert rows() != before or "collections" in harm, harm
        assert phusa("db", "check").code == 5, harm
        repaired = phusa("db", "check", "--repair", "--json")
        assert repaired.code == 0, (harm, repaired.err)
        if "'x', sha256" in harm:
            store.connection.execute("DELETE FROM phusa.product WHERE key = 'x'")  # a draft now
        assert rows() == before, harm
    for path in (tmp_path / "store").rglob("*.json"):
        path.write_text("{}")
        assert phusa("db", "check").code == 5
        assert phusa("db", "check", "--repair").code == 0
        path.unlink()
    assert phusa("db", "check", "--repair").code == 0
    assert store.verify() == []
    bend(store, "UPDATE phusa.journal SET line = line || ' ' WHERE seq = 1")
    bend(
        store, "UPDATE phusa.product SET files = '{}', cog = '/x.tif'"
    )  # nothing is mended, and nothing swept
    assert phusa("db", "check", "--repair").code == 5
    assert len(list((tmp_path / "store").rglob("*.tif"))) == 2
    bend(store, "UPDATE phusa.journal SET line = rtrim(line) WHERE seq = 1")
    assert phusa("db", "check", "--repair").code == 0
    assert rows() == before
    for harm, told in LOST.items():
        with store.connection.transaction(force_rollback=True):
            store.connection.execute("SET LOCAL session_replication_role = replica")
            store.connection.execute(harm)  # type: ignore[call-overload]
            store.connection.execute("SET LOCAL session_replication_role = origin")
            repairs.repair(store.connection)
            assert any(told in fault for fault in integrity.seen(store.connection)), harm
    assert store.verify() == []
    store.close()


def test_what_was_mended_is_told_beside_what_was_not(dsn: str, phusa: Phusa, tmp_path: Path) -> None:
    store = PostgisStore.open(tmp_path / "store", "delta", dsn)
    store.publish(SEASON, [store.put(*make(tmp_path))], None, {"RUN": "{}"})
    bend(store, "UPDATE phusa.document SET content = 'x' WHERE name = 'RUN'")
    bend(store, "UPDATE phusa.release SET submitted_by = 'somebody'")
    answer = phusa("db", "check", "--repair", "--json")
    assert answer.code == 5
    assert any("state is again that of the journal" in line for line in answer.json["repaired"])
    assert len(answer.json["faults"]) == 1 and "document RUN was altered" in answer.json["faults"][0]
    assert all(line in answer.err for line in (*answer.json["repaired"], *answer.json["faults"]))
    assert phusa("db", "check", "--repair", "--json").json["repaired"] == []
    store.close()


def test_a_spoiled_journal_tells_no_history(dsn: str, tmp_path: Path) -> None:
    store = PostgisStore.open(tmp_path / "store", "delta", dsn)
    store.publish(SEASON, [store.put(*make(tmp_path))])
    bend(store, "UPDATE phusa.journal SET line = 'garbage' WHERE seq = 1")
    with pytest.raises(IntegrityError, match="entry 1 was altered"):
        store.history()
    assert not any("None" in fault for fault in store.verify())
    store.close()


@pytest.mark.parametrize("pixels", ["in_database", "out_of_database"])
def test_check_repairs_what_it_can(dsn: str, phusa: Phusa, tmp_path: Path, pixels: Any) -> None:
    store = PostgisStore.open(tmp_path / "store", "delta", dsn, pixels=pixels)
    store.publish(SEASON, [store.put(*make(tmp_path))], areas())
    for harm in REPAIRABLE:
        if pixels == "out_of_database" and "SetValue" in harm:
            continue  # there is no pixel to set
        bend(store, harm)
        assert phusa("db", "check").code == 5, harm
        repaired = phusa("db", "check", "--repair", "--json")
        assert repaired.code == 0, (harm, repaired.err)
        assert repaired.json["repaired"]
        assert store.verify() == []
    store.close()


@pytest.mark.parametrize("harm", ["DELETE FROM phusa.raster", "DELETE FROM phusa.raster WHERE number = 2"])
def test_lost_pixels_come_back_when_the_tile_is_mapped_again(
    database: PostgisStore, tmp_path: Path, harm: str
) -> None:
    record = database.put(*make(tmp_path))
    database.publish(SEASON, [record])
    bend(database, harm)
    assert database.find(record.id, record.key) is None
    database.put(*make(tmp_path))
    assert database.verify() == []


def test_a_product_that_was_mapped_again_takes_the_place_of_its_altered_row(
    database: PostgisStore, tmp_path: Path
) -> None:
    """As a run does that no longer finds it by its key: what was released stays one product."""
    record = database.put(*make(tmp_path))
    database.publish(SEASON, [record])
    bend(database, "UPDATE phusa.product SET key = 'x'")
    assert database.find(record.id, record.key) is None
    again = database.put(*make(tmp_path))
    database.publish(SEASON, [again])
    assert any("record 48PXS_salinity" in fault for fault in database.verify())
    assert repairs.repair(database.connection)
    assert database.verify() == [] and repairs.orphans(database.connection) == []
    assert [r.key for r in database.published(SEASON)] == [record.key]
    assert record.intact


def test_what_a_killed_process_left_is_told_and_swept(
    database: PostgisStore, phusa: Phusa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose row was never committed, and a draft whose file is gone; what is good stays."""
    database.publish(SEASON, [database.put(*make(tmp_path))])
    with monkeypatch.context() as patch:
        patch.setattr(PostgisStore, "_insert", lambda *_: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            database.put(*make(tmp_path, "48PYS"))
    lost = database.put(*make(tmp_path, "48PWS"))
    lost.path.unlink()
    told = phusa("db", "check", "--json")
    assert told.code == 5
    assert "48PYS_salinity.tif: no product" in told.json["error"]
    assert f"{lost.path}: missing, a draft's file" in told.json["error"]
    assert phusa("db", "check", "--repair").code == 0
    assert phusa("db", "check").code == 0
    assert [p.name for p in (tmp_path / "store").rglob("*.tif")] == ["48PXS_salinity.tif"]
    assert database.verify() == []


def test_a_sweep_waits_for_a_file_on_its_way_into_the_database(
    database: PostgisStore, dsn: str, tmp_path: Path
) -> None:
    with database.connection.transaction():
        database.put(*make(tmp_path))
        with psycopg.connect(dsn, autocommit=True) as other:
            other.execute("SET lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                repairs.repair(other)
    with psycopg.connect(dsn, autocommit=True) as other:
        assert repairs.repair(other) == []
        assert repairs.orphans(other) == []


# --- pixels out of the database ----------------------------------------------------------------


def test_pixels_outside_the_database_answer_the_same_sql(dsn: str, tmp_path: Path) -> None:
    store = PostgisStore.open(tmp_path / "store", "delta", dsn, pixels="out_of_database")
    record = store.put(*make(tmp_path, fill=4.25))
    store.publish(SEASON, [record])
    assert store.verify() == []
    for path in (tmp_path, *tmp_path.parents):  # the server runs as another user here
        if path.owner() == Path.home().owner():
            with contextlib.suppress(PermissionError):
                path.chmod(path.stat().st_mode | 0o055)
    record.path.chmod(0o644)
    store.connection.execute("SET postgis.enable_outdb_rasters = true")
    store.connection.execute("SET postgis.gdal_enabled_drivers = 'GTiff'")
    row = store.connection.execute(
        "SELECT ST_Value(rast, 1, ST_SetSRID(ST_MakePoint(640505, 1099495), 32648)), ST_BandPath(rast, 1), "
        "pg_column_size(rast) < 10000 FROM phusa.map WHERE ST_ConvexHull(rast) && ST_SetSRID(ST_MakePoint(640505, 1099495), 32648)"
    ).fetchone()
    assert row == (425.0, str(record.path), True)
    store.close()


# --- migrations --------------------------------------------------------------------------------


@pytest.fixture
def empty(postgres: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """Address of a database without any schema."""
    name = f"empty{os.getpid()}{abs(hash(request.node.name)) % 10**6}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{postgres}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def upto(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Only the first migrations exist."""
    known = schema.migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [m for m in known if m[0] <= number])


def test_a_database_with_maps_of_the_first_schema_comes_along(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two publications of version 2, the second replacing the first; a draft; areas."""
    with monkeypatch.context() as patch:
        upto(patch, 2)
        patch.setattr(rights, "apply", lambda connection: None)
        schema.migrate(empty)
    with psycopg.connect(empty) as connection:
        old, new, draft = (_as_version_2(connection, tmp_path, fill) for fill in (4, 9, 1))
        _publish_as_version_2(connection, old, "2025-06-01T00:00Z")
        _publish_as_version_2(connection, new, "2025-07-01T00:00Z")
        release = release_id([new])
        columns = ", ".join(areas().columns)
        with connection.cursor() as cursor:
            for row in areas().astype(object).where(areas().notna(), None).itertuples(index=False, name=None):
                cursor.execute(
                    f"INSERT INTO phusa.area (region, season, season_start, release, {columns}) "
                    f"VALUES (%s, %s, %s, %s, {', '.join(['%s'] * len(row))})",
                    ("delta", SEASON.name, SEASON.start, release, *row),
                )
    assert schema.migrate(empty)[0] == "003_releases"
    assert schema.migrate(empty) == []
    store = PostgisStore.open(tmp_path / "store", "delta", empty)
    assert store.verify() == []
    assert [r.key for r in store.published(SEASON)] == [new.key]
    assert store.find(draft.id, draft.key) is not None
    run = store.connection.execute
    assert run("SELECT count(*) FROM phusa.area").fetchone() == (2,)
    on = "SELECT key FROM phusa.published_on(%s)"
    assert run(on, ("2025-05-01",)).fetchone() is None
    assert run(on, ("2025-06-15",)).fetchone() == (old.key,)
    assert run(on, ("2025-08-01",)).fetchone() == (new.key,)
    assert store.publish(SEASON, [old]).changed
    assert store.verify() == []
    store.close()


def _as_version_2(connection: psycopg.Connection, tmp_path: Path, fill: float) -> Record:
    product, cog = make(tmp_path, fill=fill)
    path = tmp_path / "store" / "products" / "delta" / "s" / f"{fill}" / f"{product.id.name}.tif"
    path.parent.mkdir(parents=True)
    cog.rename(path)
    digest = sha256(path)
    record = Record(
        product.id, product.key, digest, path, companions.record(product, path, digest, str(path))
    )
    row = connection.execute(
        "INSERT INTO phusa.product (region, season, tile, target, key, sha256, cog, item) "
        "VALUES ('delta', %s, '48PXS', 'salinity', %s, %s, %s, %s) RETURNING id",
        (SEASON.name, record.key, digest, str(path), Jsonb(record.item)),
    ).fetchone()
    assert row
    with connection.cursor() as cursor, cursor.copy("COPY phusa.raster FROM STDIN") as copy:
        for tile in wkb.tiles(path):
            copy.write_row((row[0], tile.hex()))
    return record


def _publish_as_version_2(connection: psycopg.Connection, record: Record, when: str) -> None:
    run = connection.execute
    run("UPDATE phusa.product SET state = 'superseded' WHERE state = 'published'")
    run(
        "WITH p AS (UPDATE phusa.product SET state = 'published' WHERE key = %s RETURNING id) INSERT INTO phusa.release "
        "SELECT 'delta', %s, %s, array_agg(id), %s FROM p",
        (record.key, SEASON.name, release_id([record]), when),
    )
    run("SET LOCAL search_path TO pgstac, public")
    collection = stac.collection("delta", SEASON, [record.item])
    run("SELECT pgstac.upsert_collection(%s)", (Jsonb(collection),))
    run("SELECT pgstac.upsert_items(%s)", (Jsonb([record.item]),))


def test_a_database_that_grew_through_every_version_comes_along(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each version since releases are kept, a season is published twice and samples are imported."""
    numbers = [number for number, _, _ in schema.migrations() if number >= 3]
    told = 0
    for number in numbers:
        with monkeypatch.context() as patch:
            upto(patch, number)
            schema.migrate(empty)
        season = Season(f"s{number}", SEASON.start, SEASON.end)
        with psycopg.connect(empty, autocommit=True) as connection:
            store = PostgisStore(tmp_path / "store", "delta", connection)
            for fill in (4, 9):
                product, cog = make(tmp_path, fill=fill)
                identity = ProductId(season.name, product.id.tile, product.id.target)
                record = store.put(replace(product, id=identity, season=season), cog)
                store.publish(season, [record], areas())
            if number >= 4:
                row = {
                    "project": "p", "code": f"c{number}", "lon": 105.1, "lat": 9.4, "province": "Cà Mau", "licence": "open",
                    "sampled_on": "2025-03-01", "upper_cm": 0, "lower_cm": 20, "procedure": "ECe_sat", "value": 3,
                }  # fmt: skip
                connection.execute("SELECT phusa.import_samples(%s)", (Jsonb([row]),))
                told += 1
    store = PostgisStore.open(tmp_path / "store", "delta", empty)
    assert store.verify() == []
    for number in numbers:
        season = Season(f"s{number}", SEASON.start, SEASON.end)
        (now,) = store.published(season)
        assert store.connection.execute(
            "SELECT count(*), max(content #>> '{properties,version}') FROM pgstac.items WHERE collection LIKE %s",
            (f"phusa-delta-{season.slug}%",),
        ).fetchone() == (2, "2")
        assert store.find(now.id, now.key) is not None
    assert store.connection.execute("SELECT count(*) FROM phusa.sample").fetchone() == (told,)
    assert repairs.repair(store.connection) == []
    store.close()


def test_several_migrators_wait_for_one_another(empty: str) -> None:
    done: list[list[str]] = []
    threads = [threading.Thread(target=lambda: done.append(schema.migrate(empty))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = [name for _, name, _ in schema.migrations()]
    assert sorted(map(len, done)) == [0, 0, len(names) + 1]
    assert max(done, key=len)[1:] == names


def test_a_changed_or_unknown_migration_is_refused(dsn: str, phusa: Phusa) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("UPDATE phusa.migration SET sha256 = 'x' WHERE number = 2")
    for command in ("init", "migrate", "check"):
        answer = phusa("db", command, "--json")
        assert (answer.code, "002_areas was changed" in answer.json["error"]) == (5, True)
    with psycopg.connect(dsn) as connection:
        connection.execute("DELETE FROM phusa.migration WHERE number = 2")
        connection.execute("INSERT INTO phusa.migration VALUES (999, '999_future', 'x')")
    answer = phusa("db", "migrate", "--json")
    assert (answer.code, "migration 999" in answer.json["error"]) == (2, True)


def test_migrate_needs_what_init_makes(empty: str, phusa: Phusa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHUSA_DSN", empty)
    for command in ("migrate", "check"):
        answer = phusa("db", command, "--json")
        assert (answer.code, "run `phusa db init`" in answer.json["error"]) == (2, True)


# --- people and addresses ----------------------------------------------------------------------


def test_grant_gives_roles_and_makes_logins(dsn: str, phusa: Phusa) -> None:
    name = f"an{os.getpid()}"
    for role in ("reader", "reviewer"):
        assert phusa("db", "grant", role, name).code == 0
    assert phusa("db", "grant", "emperor", name).code == 2
    for many in ("phusa_reader", "pg_read_all_data", "pgstac_read"):
        answer = phusa("db", "grant", "owner", many, "--json")
        assert (answer.code, "no person's login" in answer.json["error"]) == (2, True)
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT rolcanlogin, pg_has_role(%s, 'phusa_reviewer', 'MEMBER'), pg_has_role(%s, 'phusa_publisher', 'MEMBER') "
            "FROM pg_roles WHERE rolname = %s",
            (name, name, name),
        ).fetchone()
        assert row == (True, True, False)
        connection.execute(f"DROP ROLE {name}")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://an:s3cret%21@127.0.0.1:1/x",
        "postgresql://an:p@s3cret!@127.0.0.1:1/x",
        "host=127.0.0.1 port=1 user=an password=s3cret!",
        "host=127.0.0.1 port=1 user=an password='s3cret! and more'",
        "postgresql//an:s3cret!@127.0.0.1:1/x",
        "postgresql://an:s3cret!@127.0.0.1:1/x?nonsense=1",
        "postgresql://127.0.0.1:1/x?user=an&password=s3cret!",
    ],
)
@pytest.mark.parametrize(
    "command", [("db", "init"), ("db", "migrate"), ("db", "check"), ("db", "grant", "reader", "an")]
)
def test_a_password_is_never_shown(
    phusa: Phusa, monkeypatch: pytest.MonkeyPatch, dsn: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PHUSA_DSN", dsn)
    answer = phusa(*command, "--json")
    assert answer.code == 2
    assert "s3cret" not in answer.out + answer.err
    assert "PHUSA_DSN" in answer.json["error"]


def test_a_refusal_of_the_database_says_who_may() -> None:
    error = psycopg.errors.InsufficientPrivilege("permission denied for table product")
    assert isinstance(address.told(error), InputError)
    assert address.told(psycopg.OperationalError("the server went away")) is None


# --- backup ------------------------------------------------------------------------------------


def test_a_dump_restored_into_an_empty_cluster_verifies(
    database: PostgisStore, dsn: str, tmp_path: Path, other_cluster: str, binaries: Path
) -> None:
    """The commands of docs/database.md."""
    database.publish(SEASON, [database.put(*make(tmp_path))], areas())
    database.publish(SEASON, [database.put(*make(tmp_path, fill=9))], areas())
    row = {
        "project": "p", "code": "c", "lon": 105.1, "lat": 9.4, "province": "Cà Mau", "licence": "confidential",
        "sampled_on": "2025-03-01", "upper_cm": 0, "lower_cm": 20, "procedure": "ECe_sat", "value": 3.1,
    }  # fmt: skip
    samples.write(database.connection, pd.DataFrame([row]))
    kept = Checkpoint.of(database.journal())
    roles, dump = tmp_path / "roles.sql", tmp_path / "phusa.dump"

    def run(program: str, *arguments: object) -> None:
        done = subprocess.run([binaries / program, *map(str, arguments)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    run("pg_dumpall", "--roles-only", "--no-role-passwords", "-f", roles, "-d", dsn)
    run("pg_dump", "--format=custom", "-f", dump, "-d", dsn)
    subprocess.run(  # the superuser who runs it is there already
        [binaries / "psql", "-q", "-f", roles, "-d", f"{other_cluster}/postgres"],
        capture_output=True,
        check=True,
    )
    run("psql", "-q", "-c", "CREATE DATABASE restored", "-d", f"{other_cluster}/postgres")
    run("pg_restore", "--exit-on-error", "-d", f"{other_cluster}/restored", dump)
    restored = PostgisStore.open(tmp_path / "store", "delta", f"{other_cluster}/restored")
    assert restored.verify(kept) == []
    assert integrity.journal(restored.connection) == database.journal()
    assert schema.migrate(f"{other_cluster}/restored") == []
    samples.write(restored.connection, pd.DataFrame([row | {"value": 3.2}]))
    assert restored.publish(SEASON, [restored.put(*make(tmp_path, fill=4))], areas()).changed
    assert restored.verify(kept) == []
    assert restored.publish(SEASON, [restored.put(*make(tmp_path, fill=2))], areas()).changed
    assert restored.verify(kept) == []
    restored.close()
