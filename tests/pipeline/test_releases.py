"""Releases and people: who may take which step, and what nobody can bend unseen."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import rasterio.warp
from products import SEASON, areas, make
from psycopg import sql

from pipeline.errors import InputError, IntegrityError, QualityError
from pipeline.stores import FolderSettings, folderjournal, integrity, official_on, open_store, rights, schema
from pipeline.stores import folder as folder_module
from pipeline.stores.folder import FolderStore
from pipeline.stores.journal import START, Checkpoint, digest
from pipeline.stores.postgis import PostgisStore

_numbers = itertools.count()
Enter = Callable[..., PostgisStore]


@pytest.fixture
def enter(dsn: str, tmp_path: Path) -> Iterator[Enter]:
    """Opens the store as a person with roles: ``enter("publisher")``; without any, as the cluster's superuser."""
    opened: list[PostgisStore] = []
    people: list[str] = []

    def open_as(*roles: str, **settings: Any) -> PostgisStore:
        address = dsn
        if roles:
            people.append(f"p{next(_numbers)}_{'_'.join(roles)}")
            with psycopg.connect(dsn, autocommit=True) as connection:
                for role in roles:
                    schema.grant(connection, role, people[-1])
            address = dsn.replace("phusa@", f"{people[-1]}@")
        opened.append(PostgisStore.open(tmp_path / "store", "delta", address, **settings))
        return opened[-1]

    yield open_as
    for store in opened:
        store.close()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for person in people:
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(person)))


def shown(store: PostgisStore | FolderStore) -> list[str]:
    return [r.key for r in store.published(SEASON)]


# --- the steps ---------------------------------------------------------------------------------


def test_a_release_needs_a_second_person(enter: Enter, tmp_path: Path) -> None:
    maker, judge, reader = enter("publisher", "reviewer"), enter("reviewer", "publisher"), enter("reader")
    record = maker.put(*make(tmp_path))
    first = maker.publish(SEASON, [record], areas())
    assert (first.state, first.changed) == ("draft", True)
    assert not maker.publish(SEASON, [record], areas()).changed
    assert shown(maker) == shown(reader) == []
    with pytest.raises(QualityError, match="another person must review it"):
        maker.review(SEASON, True, "")
    assert judge.review(SEASON, True, "looks right").state == "reviewed"
    with pytest.raises(QualityError, match="another person must publish it"):
        judge.publish(SEASON, [record], areas())
    assert shown(reader) == []
    official = maker.publish(SEASON, [record], areas())
    assert (official.state, official.changed) == ("official", True)
    assert not maker.publish(SEASON, [record], areas()).changed
    assert shown(reader) == [record.key]
    steps = [(e.action, e.person.partition("_")[2]) for e in reader.history()]
    assert steps == [
        ("submit", "publisher_reviewer"), ("review", "reviewer_publisher"), ("publish", "publisher_reviewer"),
    ]  # fmt: skip
    assert judge.verify() == maker.verify() == []
    with pytest.raises(InputError, match="the database refuses"):
        reader.verify()


def test_a_rejected_candidate_is_withdrawn_and_may_come_again(enter: Enter, tmp_path: Path) -> None:
    maker, judge = enter("publisher"), enter("reviewer")
    record = maker.put(*make(tmp_path))
    maker.publish(SEASON, [record])
    assert judge.review(SEASON, False, "seams at the orbit edge").state == "withdrawn"
    with pytest.raises(InputError, match="waits for review"):
        judge.review(SEASON, True, "")
    assert maker.publish(SEASON, [record]).state == "draft"
    judge.review(SEASON, True, "")
    assert maker.publish(SEASON, [record]).state == "official"
    assert maker.withdraw(SEASON, "wrong calibration").state == "withdrawn"
    assert shown(maker) == []
    count = maker.connection.execute("SELECT count(*) FROM pgstac.items").fetchone()
    assert count == (0,)
    assert maker.publish(SEASON, [record]).state == "draft"
    assert [e.remark for e in maker.history() if e.remark] == ["seams at the orbit edge", "wrong calibration"]
    assert judge.verify() == []


def test_a_new_candidate_replaces_the_one_that_waits(enter: Enter, tmp_path: Path) -> None:
    maker, judge = enter("publisher"), enter("reviewer")
    for fill in (4, 9):
        maker.publish(SEASON, [maker.put(*make(tmp_path, fill=fill))])
    states = maker.connection.execute("SELECT state FROM phusa.release ORDER BY id").fetchall()
    assert states == [("withdrawn",), ("draft",)]
    judge.review(SEASON, True, "")
    assert judge.verify() == []


def test_an_owner_may_ask_for_review_too(enter: Enter, tmp_path: Path) -> None:
    owner = enter(review=True)
    assert owner.publish(SEASON, [owner.put(*make(tmp_path))]).state == "draft"
    enter("reviewer").review(SEASON, True, "")
    again = [r for r in [owner.find(make(tmp_path)[0].id, make(tmp_path)[0].key)] if r]
    assert owner.publish(SEASON, again).state == "official"


def test_what_is_altered_does_not_pass_review(enter: Enter, tmp_path: Path) -> None:
    maker, judge = enter("publisher"), enter("reviewer")
    record = maker.put(*make(tmp_path))
    maker.publish(SEASON, [record])
    record.path.write_bytes(record.path.read_bytes()[:-1] + b"!")
    with pytest.raises(IntegrityError, match="SHA-256"):
        judge.review(SEASON, True, "")


def test_people_without_a_role_are_told(dsn: str, enter: Enter, tmp_path: Path) -> None:
    enter("reader")
    stranger = f"stranger{next(_numbers)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {stranger} LOGIN")
        with pytest.raises(InputError, match="phusa db grant"):
            PostgisStore.open(tmp_path, "delta", dsn.replace("phusa@", f"{stranger}@"))
        connection.execute(f"DROP ROLE {stranger}")
    with pytest.raises(InputError, match="the database refuses"):
        enter("reader").put(*make(tmp_path))


# --- rights ------------------------------------------------------------------------------------

VERBS = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")


def relations(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'phusa'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f') "
        "ORDER BY 1"
    ).fetchall()
    return [name for (name,) in rows]


def test_every_relation_has_its_rights_stated_and_no_others(dsn: str) -> None:
    """Role x table x verb, read from the catalogue: a table that nobody thought of fails here."""
    with psycopg.connect(dsn) as connection:
        found = relations(connection)
        assert set(found) == set(rights.RELATIONS), "state who may do what with it in stores/rights.py"
        for name, role, verb in itertools.product(found, rights.ROLES, VERBS):
            stated = rights.RELATIONS[name].get(role, "").split(", ")
            has = connection.execute(
                "SELECT has_table_privilege(%s, %s, %s)", (role, f"phusa.{name}", verb)
            ).fetchone() == (True,)  # fmt: skip
            if role == rights.OWNER:
                assert has, (name, role, verb)
            else:
                assert has == (verb in stated), (name, role, verb)
                if verb in ("SELECT", "INSERT", "UPDATE", "REFERENCES"):  # may be of single columns
                    part = connection.execute(
                        "SELECT has_any_column_privilege(%s, %s, %s)", (role, f"phusa.{name}", verb)
                    ).fetchone()
                    assert part == (any(s.split(" ")[0] == verb for s in stated),), (name, role, verb)


def test_every_function_has_its_callers_stated_and_a_fixed_search_path(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(
            "SELECT proname, oid, prosecdef, coalesce(array_to_string(proconfig, ' '), '') FROM pg_proc "
            "WHERE pronamespace = 'phusa'::regnamespace"
        ).fetchall()
        for name, oid, definer, config in rows:
            if definer:
                assert "search_path=" in config, name
                assert config.endswith("pg_temp"), name
            for role in (rights.PUBLISHER, rights.REVIEWER, rights.READER):
                row = connection.execute(
                    "SELECT has_function_privilege(%s, %s, 'EXECUTE')", (role, oid)
                ).fetchone()
                assert row == (role in rights.FUNCTIONS.get(name, ()),), (name, role)


@pytest.mark.parametrize("role", ["publisher", "reviewer", "reader"])
def test_no_person_can_change_an_official_release_or_the_journal(
    enter: Enter, tmp_path: Path, role: str
) -> None:
    """Every verb is tried on every table, and in pgSTAC; nothing may differ afterwards."""
    owner = enter()
    owner.publish(SEASON, [owner.put(*make(tmp_path))], areas())
    tables = [n for n in relations(owner.connection) if n != "root"]
    person = enter(role).connection
    tried = 0
    for name in (*(f"phusa.{n}" for n in tables), "pgstac.items", "pgstac.collections"):
        columns = [
            c for (c,) in owner.connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped", (name,)
            )
        ]  # fmt: skip
        attempts = [
            f"DELETE FROM {name}",
            f"TRUNCATE {name}",
            f"ALTER TABLE {name} DISABLE TRIGGER ALL",
            f"DROP TABLE {name}",
        ]
        attempts += [f"UPDATE {name} SET {c} = {c}" for c in columns]
        attempts += [f"INSERT INTO {name} SELECT * FROM {name}"]
        for attempt in attempts:
            try:
                with person.transaction():
                    changed = person.execute(attempt).rowcount
                assert changed == 0, attempt
            except psycopg.Error:
                tried += 1
    assert tried > 100
    for trick in (
        "SELECT phusa.note('publish', r) FROM phusa.release r",
        "SELECT phusa.list_items(1)",
        "SET ROLE phusa_owner",
        "SET session_replication_role = replica",
        "CREATE FUNCTION phusa.refuse() RETURNS trigger LANGUAGE sql AS ''",
    ):
        with pytest.raises(psycopg.Error):
            person.execute(trick)
    assert owner.verify() == []


def test_a_publisher_may_change_drafts_only(enter: Enter, tmp_path: Path) -> None:
    maker = enter("publisher")
    for fill in (4, 9):  # the second draft replaces the first, rows and file
        record = maker.put(*make(tmp_path, fill=fill))
    count = maker.connection.execute(
        "SELECT count(*), count(DISTINCT product_id) FROM phusa.raster"
    ).fetchone()
    assert count == (4, 1)
    assert len(list((tmp_path / "store").rglob("*.tif"))) == 1
    maker.publish(SEASON, [record])
    for harm in (
        "DELETE FROM phusa.product",
        "DELETE FROM phusa.raster",
        "UPDATE phusa.product SET tiles = ''",
    ):
        with pytest.raises(psycopg.Error):
            maker.connection.execute(harm)


# --- what was official when --------------------------------------------------------------------


def test_the_map_of_a_past_day_is_a_query(enter: Enter, tmp_path: Path) -> None:
    store = enter()
    moments = []

    def mark() -> None:
        row = store.connection.execute("SELECT clock_timestamp()").fetchone()
        assert row
        moments.append(row[0])

    mark()
    for fill in (4, 9):
        store.publish(SEASON, [store.put(*make(tmp_path, fill=fill))])
        mark()
    store.withdraw(SEASON, "to be checked")
    mark()
    (lon,), (lat,) = rasterio.warp.transform("EPSG:32648", "EPSG:4326", [640505], [1099495])
    ask = "SELECT phusa.value_on('delta', %s, 'salinity', 'estimate', %s, %s, %s)"
    values = [store.connection.execute(ask, (SEASON.name, lon, lat, m)).fetchone() for m in moments]
    assert values == [(None,), (4.0,), (9.0,), (None,)]
    rows = [
        store.connection.execute("SELECT count(*), min(key) FROM phusa.published_on(%s)", (m,)).fetchone()
        for m in moments
    ]
    assert [r[0] for r in rows if r] == [0, 1, 1, 0]
    releases = [official_on(store.history(), m).get(SEASON.name) for m in moments]
    assert releases[0] is releases[3] is None
    assert len({*releases}) == 3
    periods = store.connection.execute(
        "SELECT season_start, official_until IS NULL, official_from < coalesce(official_until, 'infinity') "
        "FROM phusa.release_period ORDER BY official_from"
    ).fetchall()
    assert periods == [(SEASON.start, False, True)] * 2


def test_an_older_release_may_come_back(enter: Enter, tmp_path: Path) -> None:
    store = enter()
    old = store.put(*make(tmp_path, fill=4))
    store.publish(SEASON, [old])
    store.publish(SEASON, [store.put(*make(tmp_path, fill=9))])
    assert store.find(old.id, old.key) is not None
    assert store.publish(SEASON, [old]).changed
    assert shown(store) == [old.key]
    assert store.verify() == []


# --- tampering ---------------------------------------------------------------------------------

HARMS = {
    "UPDATE phusa.product SET key = 'x'": "record 48PXS_salinity was altered",
    "UPDATE phusa.product SET item = jsonb_set(item, '{properties,title}', '\"x\"')": "record 48PXS_salinity",
    "UPDATE phusa.raster SET rast = ST_SetValue(rast, 1, 1, 1, 7) WHERE number = 2": "raster tile 2 of 48PXS_salinity",
    "DELETE FROM phusa.raster WHERE number = 3": "raster tile 3 of 48PXS_salinity",
    "INSERT INTO phusa.raster SELECT product_id, rast, 99 FROM phusa.raster LIMIT 1": "raster tile 99",
    "WITH r AS (UPDATE phusa.raster SET rast = ST_SetValue(rast, 1, 1, 1, 7) WHERE number = 2 RETURNING rast) "
    "UPDATE phusa.product SET tiles = overlay(tiles PLACING sha256((SELECT rast FROM r)::bytea) FROM 33 FOR 32)":
        "raster tile 2 of 48PXS_salinity",
    "UPDATE phusa.product SET files = jsonb_set(files, '{48PXS_salinity.tif}', '\"00\"')": "file 48PXS_salinity.tif was altered",
    "UPDATE phusa.release_area SET map_m2 = 99 WHERE code = '26740'": "commune 26740 over_4: is not as released",
    "DELETE FROM phusa.release_area WHERE code = '26740'": "commune 26740 over_4: is missing",
    "UPDATE phusa.document SET content = replace(content, 'Biển', 'Bien')": "document areas.json was altered",
    "DELETE FROM phusa.document WHERE name = 'collection.json'": "document collection.json is missing",
    "UPDATE phusa.release SET state = 'superseded'": "is superseded in phusa.release, official by the journal",
    "UPDATE phusa.release SET reviewed_by = 'somebody'": "reviewed by somebody",
    "UPDATE phusa.release SET manifest = manifest || 'x'": "its manifest was altered",
    "DELETE FROM phusa.release_product": "record 48PXS_salinity is missing",
    "UPDATE phusa.journal SET line = replace(line, 'delta', 'north') WHERE seq = 1": "entry 1 was altered",
    "UPDATE phusa.journal SET line = replace(line, 'delta', 'north') WHERE seq = 2": "entry 2 was altered",
    "DELETE FROM phusa.journal WHERE seq = 1": "entry 1 is missing",
    "DELETE FROM phusa.journal": "the journal does not know it",
    "UPDATE pgstac.items SET content = jsonb_set(content, '{properties,title}', '\"x\"')": "its item in pgSTAC was altered",
    "DELETE FROM pgstac.items": "pgSTAC lacks its item",
    "UPDATE pgstac.collections SET content = content || '{\"title\": \"x\"}'": "is not in pgSTAC as released",
    "ALTER TABLE phusa.raster DISABLE TRIGGER keep": "phusa.raster: its guard",
    "DROP TRIGGER keep_all ON phusa.journal": "phusa.journal: its guard",
    "CREATE OR REPLACE FUNCTION phusa.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$":
        "function phusa.refuse: is not the one of the migrations",
    "DROP FUNCTION phusa.value_on": "function phusa.value_on: is missing",
    "UPDATE phusa.release SET season_end = '2030-01-01'": "its season has other days",
    "UPDATE phusa.release SET submitted_by = 'somebody'": "submitted by somebody in phusa.release",
    "UPDATE phusa.product SET cog = '/elsewhere/48PXS_salinity.tif'": "/elsewhere/48PXS_salinity.tif: missing",
    "INSERT INTO phusa.product (region, season, tile, target, key, sha256, cog, item, files, tiles) SELECT region, season, "
    "tile, target, 'x', sha256, cog, item, files, tiles FROM phusa.product; INSERT INTO phusa.release_product "
    "SELECT r.id, p.id FROM phusa.release r, phusa.product p WHERE p.key = 'x'": "record 48PXS_salinity is in the database twice",
    "UPDATE phusa.document SET content = 'x' WHERE name = 'collection.json'": "document collection.json was altered",
    "UPDATE phusa.document SET content = '[1' WHERE name = 'areas.json'": "document areas.json was altered",
    "UPDATE phusa.product SET item = '{}', tiles = NULL, files = '{}', cog = ''": "record 48PXS_salinity was altered",
    "UPDATE phusa.journal SET line = 'x'": "entry 1 was altered",
    "INSERT INTO phusa.document SELECT id, 'NEWS', 'x' FROM phusa.release": "document NEWS was added",
    "INSERT INTO phusa.release_area SELECT (json_populate_record(a, '{\"code\": \"9\"}')).* FROM phusa.release_area a LIMIT 1":
        "9 over_4: is not as released",
    "UPDATE pgstac.items SET content = jsonb_set(content, '{links}', '[{\"rel\": \"x\"}]')": "its item in pgSTAC was altered",
}  # fmt: skip


def bend(store: PostgisStore, harm: str) -> None:
    """As a superuser who goes past the guards."""
    with store.connection.transaction():
        store.connection.execute("SET LOCAL session_replication_role = replica")
        store.connection.execute(harm)  # type: ignore[call-overload]


def test_verify_names_whatever_a_superuser_altered(enter: Enter, tmp_path: Path) -> None:
    store = enter()
    store.publish(SEASON, [store.put(*make(tmp_path))], areas())
    for harm, told in HARMS.items():
        with store.connection.transaction(force_rollback=True):
            bend(store, harm)
            found = integrity.seen(store.connection)
            assert any(told in fault for fault in found), (harm, found)
    assert store.verify() == []


def rewrite(store: PostgisStore, drop: int = 0) -> None:
    """Forge a whole history: the remark of the first entry, and every hash after it."""
    entries = store.journal()
    before = START
    forged = []
    for e in entries[: len(entries) - drop]:
        content = e.content | {"previous": before, "by": "somebody else"}
        line = json.dumps(content)
        before = digest(line)
        forged.append((e.seq, line, before))
    bend(store, "DELETE FROM phusa.journal")
    bend(store, "UPDATE phusa.release SET submitted_by = 'somebody else'")
    with store.connection.transaction(), store.connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.executemany("INSERT INTO phusa.journal VALUES (%s, %s, %s)", forged)


def test_a_forged_history_is_told_by_a_checkpoint_kept_elsewhere(enter: Enter, tmp_path: Path) -> None:
    store = enter()
    store.publish(SEASON, [store.put(*make(tmp_path))], areas())
    checkpoint = tmp_path / "checkpoint.json"
    Checkpoint.of(store.journal()).write(checkpoint)
    kept = Checkpoint.read(checkpoint)
    store.withdraw(SEASON, "x")
    store.publish(SEASON, list(store.publish(SEASON, [store.put(*make(tmp_path, fill=9))]).records))
    assert store.verify(kept) == []
    rewrite(store)
    assert store.verify() == []
    assert any("rewritten" in fault for fault in store.verify(kept))


def test_a_journal_that_was_cut_off_is_told_by_a_checkpoint(enter: Enter, tmp_path: Path) -> None:
    store = enter()
    store.publish(SEASON, [store.put(*make(tmp_path))])
    store.withdraw(SEASON, "x")
    kept = Checkpoint.of(store.journal())
    bend(store, "DELETE FROM phusa.journal WHERE seq = 3")
    bend(store, "UPDATE phusa.release SET state = 'official'")
    with store.connection.transaction():
        store.connection.execute("SELECT phusa.relist(id) FROM phusa.release")
    assert store.verify() == []
    assert any("cut off" in fault for fault in store.verify(kept))


def test_any_tool_can_follow_the_chain(enter: Enter, tmp_path: Path) -> None:
    """As docs/database.md defines it, with nothing of ours."""
    store = enter()
    store.publish(SEASON, [store.put(*make(tmp_path))])
    before = "0" * 64
    rows = store.connection.execute("SELECT line, hash FROM phusa.journal ORDER BY seq").fetchall()
    assert len(rows) == 2
    for line, stored in rows:
        assert json.loads(line)["previous"] == before
        before = hashlib.sha256(line.encode("utf-8")).hexdigest()
        assert before == stored


def test_guards_refuse_even_the_owner(enter: Enter, tmp_path: Path) -> None:
    store = enter()
    store.publish(SEASON, [store.put(*make(tmp_path))], areas())
    free = ("SET state", "SET reviewed_by", "SET submitted_by", "SET cog", "pgstac", "TRIGGER", "FUNCTION")
    harms = [
        harm for harm in HARMS if not any(word in harm for word in free)
    ]  # others go on, or are not ours
    assert len(harms) == 25
    for harm in harms:
        with pytest.raises(psycopg.Error, match="refused"), store.connection.transaction():
            store.connection.execute(harm)  # type: ignore[call-overload]
    assert store.verify() == []


# --- folder ------------------------------------------------------------------------------------


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Another login name, as the operating system would tell it."""

    def be(name: str) -> None:
        for module in (folder_module, folderjournal):
            monkeypatch.setattr(module, "person", lambda: name)

    return be


def test_a_folder_store_with_review(tmp_path: Path, become: Callable[[str], None]) -> None:
    settings = FolderSettings(kind="folder", path=tmp_path / "store", review=True)
    store = open_store(settings, "delta")
    become("an")
    record = store.put(*make(tmp_path))
    draft = store.publish(SEASON, [record])
    assert (draft.state, draft.changed) == ("draft", True)
    assert not store.publish(SEASON, draft.records).changed
    assert store.published(SEASON) == []
    with pytest.raises(QualityError, match="another person must review it"):
        store.review(SEASON, True, "")
    become("binh")
    store.review(SEASON, True, "đạt")
    with pytest.raises(QualityError, match="another person must publish it"):
        store.publish(SEASON, draft.records)
    become("an")
    done = store.publish(SEASON, draft.records)
    assert (done.state, done.changed) == ("official", True)
    assert not store.publish(SEASON, done.records).changed
    assert store.verify() == []
    before = dt.datetime.now(dt.UTC)
    store.withdraw(SEASON, "sai hiệu chuẩn")
    assert store.published(SEASON) == []
    assert official_on(store.history(), before) == {SEASON.name: done.id}
    assert official_on(store.history(), dt.datetime.now(dt.UTC)) == {}
    assert [(e.person, e.action) for e in store.history()] == [
        ("an", "submit"), ("binh", "review"), ("an", "publish"), ("an", "withdraw"),
    ]  # fmt: skip
    assert store.verify() == []


def test_a_folder_journal_tells_what_was_altered(tmp_path: Path) -> None:
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store"), "delta")
    store.publish(SEASON, [store.put(*make(tmp_path, fill=4))])
    kept = Checkpoint.of(store.journal())
    catalog = (tmp_path / "store" / "catalog.json").read_bytes()
    old = store.published(SEASON)[0].path
    store.publish(SEASON, [store.put(*make(tmp_path, fill=9))])
    journal = tmp_path / "store" / "journals" / "releases.txt"
    text = journal.read_bytes()
    assert store.verify(kept) == []

    def told(with_checkpoint: Checkpoint | None = None) -> str:
        return "\n".join(store.verify(with_checkpoint))

    (tmp_path / "store" / "catalog.json").write_bytes(catalog)  # the release before, shown again
    assert "the journal has" in told()
    store.publish(SEASON, [store.put(*make(tmp_path, fill=9))])
    assert told() == ""
    journal.write_bytes(text.replace(b'"by": "', b'"by": "x', 1))
    assert "entry 1 was altered" in told()
    journal.write_bytes(b"\n".join(text.splitlines()[1:]) + b"\n")
    assert "entry 1 is missing" in told()
    journal.write_bytes(b"\n".join(text.splitlines()[:2]) + b"\n")
    assert "the journal has" in told()
    journal.write_bytes(text + b"0000  {half a li")  # a killed writer's
    assert told() == ""
    journal.unlink()
    assert "releases.txt: missing" in told()
    assert "cut off" in told(kept)
    journal.write_bytes(text)
    old.unlink()
    assert f"{old}: missing" in told()


@pytest.mark.parametrize("step", ["_switch", "_note"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_folder_publication_may_die_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store"), "delta")
    store.publish(SEASON, [store.put(*make(tmp_path, fill=4))])
    new = store.put(*make(tmp_path, fill=9))
    real = getattr(FolderStore, step)
    for count in (1, 2):  # the first or the second time that it is called
        calls = itertools.count(1)

        def die(self: FolderStore, *said: Any, _calls: Any = calls, _count: int = count, **more: Any) -> None:
            last = next(_calls) == _count
            if not (last and when == "before"):
                real(self, *said, **more)
            if last:
                raise OSError("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(FolderStore, step, die)
            with contextlib.suppress(OSError):
                store.publish(SEASON, [new])
        assert store.verify() == []
        assert len(shown(store)) == 1
    done = store.publish(SEASON, [store.put(*make(tmp_path, fill=9))])
    assert shown(store) == [done.records[0].key]
    assert [e.action for e in store.history()] == ["publish", "publish"]
    assert store.verify() == []


def test_a_folder_store_from_before_the_journal_gets_one(tmp_path: Path) -> None:
    store = open_store(FolderSettings(kind="folder", path=tmp_path / "store"), "delta")
    release = store.publish(SEASON, [store.put(*make(tmp_path))])
    (tmp_path / "store" / "journals" / "releases.txt").unlink()
    assert "publish any season again" in "".join(store.verify())
    assert not store.publish(SEASON, release.records).changed
    assert store.verify() == []
    assert [e.action for e in store.history()] == ["publish"]


def test_a_checkpoint_must_be_one(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    for text in ("", "[]", "{}", '{"kind": "x", "entries": 1, "head": "0"}'):
        path.write_text(text)
        with pytest.raises(InputError, match="is no checkpoint"):
            Checkpoint.read(path)
    with pytest.raises(InputError, match="empty"):
        Checkpoint.of([])
