"""Samples in the database: results are for everyone, places for those who may know them."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
import pytest
from psycopg import sql

from pipeline.errors import InputError, IntegrityError
from pipeline.stores import integrity, samples, schema
from pipeline.stores.postgis import PostgisStore

_numbers = itertools.count()
Enter = Callable[[str], psycopg.Connection]


@pytest.fixture
def enter(dsn: str) -> Iterator[Enter]:
    """A connection of a new person with a role."""
    opened: list[tuple[str, psycopg.Connection]] = []

    def open_as(role: str) -> psycopg.Connection:
        name = f"s{os.getpid()}_{next(_numbers)}"
        with psycopg.connect(dsn, autocommit=True) as connection:
            schema.grant(connection, role, name)
        opened.append((name, psycopg.connect(dsn.replace("phusa@", f"{name}@"), autocommit=True)))
        return opened[-1][1]

    yield open_as
    for name, connection in opened:
        connection.close()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def table(**changed: Any) -> pd.DataFrame:
    """Six open plots in Cà Mau, two restricted and one confidential in Bến Tre."""
    rows = []
    for n, (licence, province) in enumerate(
        [("open", "Cà Mau")] * 6 + [("restricted", "Bến Tre")] * 2 + [("confidential", "Bến Tre")]
    ):
        rows.append(
            {
                "project": "survey", "code": f"P{n}", "lon": 105.1234 + n / 100, "lat": 9.4321, "province": province,
                "licence": licence, "sampled_on": dt.date(2025, 3, 1), "upper_cm": 0, "lower_cm": 20,
                "procedure": "EC_ratio1-5", "value": 1.0 + n,
            }
        )  # fmt: skip
    return pd.DataFrame(rows).assign(**changed)


def test_places_follow_licence_and_province(dsn: str, enter: Enter) -> None:
    publisher, reader, local = enter("publisher"), enter("reader"), enter("reader")
    assert samples.write(publisher, table()) == 9
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("INSERT INTO phusa.province_right VALUES (%s, 'Bến Tre')", (local.info.user,))
        owner.execute("INSERT INTO phusa.province_right VALUES ('somebody else', '*')")
    ask = "SELECT code, coordinates, ST_X(place), ST_Y(place) FROM phusa.sample ORDER BY code"
    seen = {code: (how, x, y) for code, how, x, y in reader.execute(ask).fetchall()}
    assert seen["P0"] == ("exact", 105.1234, 9.4321)
    assert seen["P6"] == ("blurred", pytest.approx(105.15), pytest.approx(9.45))
    assert seen["P7"] == ("blurred", pytest.approx(105.15), pytest.approx(9.45))
    assert seen["P8"] == ("hidden", None, None)
    known = {code: x for code, _, x, _ in local.execute(ask).fetchall()}
    assert known["P8"] == pytest.approx(105.2034)
    count = "SELECT count(*) FROM phusa.plot"
    assert reader.execute(count).fetchone() == (6,)
    assert local.execute(count).fetchone() == (9,)
    assert publisher.execute(count).fetchone() == (6,)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT * FROM phusa.province_right")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("INSERT INTO phusa.province_right VALUES (session_user, '*')")


def test_a_place_does_not_leak_through_a_condition(dsn: str, enter: Enter) -> None:
    """A function of the reader's own sees no row before the view does."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        samples.write(owner, table())
    reader = enter("reader")
    reader.execute(
        "CREATE FUNCTION pg_temp.tell(p geometry) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS "
        "$$ BEGIN RAISE NOTICE 'seen %', ST_AsText(p); RETURN true; END $$"
    )
    heard: list[str] = []
    reader.add_notice_handler(lambda notice: heard.append(str(notice.message_primary)))
    reader.execute("SELECT count(*) FROM phusa.sample WHERE pg_temp.tell(place)")
    reader.execute("SELECT count(*) FROM phusa.plot WHERE pg_temp.tell(place)")
    assert len(heard) == 9 + 6
    assert not [text for text in heard if "105.18" in text or "105.19" in text or "105.20" in text]


def test_statistics_are_public_and_small_groups_tell_their_size_only(enter: Enter) -> None:
    samples.write(enter("publisher"), table())
    rows = (
        enter("reader")
        .execute("SELECT province, n, mean, p50 FROM phusa.sample_statistics ORDER BY province")
        .fetchall()
    )
    assert rows == [("Bến Tre", 3, None, None), ("Cà Mau", 6, 3.5, 3.5)]


def test_the_same_table_again_changes_nothing_and_a_correction_corrects(enter: Enter) -> None:
    publisher = enter("publisher")
    for value in (1.0, 1.0, 2.5):
        samples.write(publisher, table(value=value))
    rows = publisher.execute("SELECT count(*), min(value), max(value) FROM phusa.result").fetchall()
    assert rows == [(9, 2.5, 2.5)]
    samples.write(publisher, table(upper_cm=20, lower_cm=40))
    assert publisher.execute("SELECT count(*) FROM phusa.specimen").fetchone() == (18,)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"procedure": "EC_by_eye"}, "procedure EC_by_eye is not known"),
        ({"licence": "secret"}, "licence secret is not known"),
        ({"value": -1.0}, "beyond 0 to 250"),
        ({"lower_cm": 0}, "depth 0 to 0 cm is no layer"),
        ({"lon": 1051.2}, "not on the globe"),
        ({"code": " "}, "must be stated"),
        ({"code": "P1"}, "P1: of one plot two places"),
        ({"sampled_on": "31/2/2025"}, "31/2/2025"),
        ({"value": None}, "value is empty"),
    ],
)
def test_a_wrong_row_is_told_and_nothing_is_written(enter: Enter, changed: dict[str, Any], told: str) -> None:
    publisher = enter("publisher")
    with pytest.raises(InputError, match=told):
        samples.write(publisher, table(**changed))
    with pytest.raises(InputError, match="lack the column"):
        samples.write(publisher, table().drop(columns="licence"))
    assert publisher.execute("SELECT count(*) FROM phusa.specimen").fetchone() == (0,)


def test_a_reader_imports_nothing(enter: Enter) -> None:
    with pytest.raises(InputError, match="the database refuses"):
        samples.write(enter("reader"), table())


def test_places_do_not_show_through_statistics_and_indexes(dsn: str, enter: Enter) -> None:
    """PostGIS answers anyone who asks for the extent of a column or the rows it reckons in a box."""
    many = [table(code=[f"{k}-{n}" for n in range(9)]) for k in range(60)]
    with psycopg.connect(dsn, autocommit=True) as owner:
        samples.write(owner, pd.concat(many))
        owner.execute("ANALYZE")
    reader = enter("reader")
    for question in (
        "SELECT ST_EstimatedExtent('phusa', 'plot', 'place')",
        "SELECT _postgis_stats('phusa.plot', 'place')",
        "SELECT _postgis_index_extent('phusa.plot', 'place')",
        "SELECT _postgis_selectivity('phusa.plot', 'place', ST_MakeEnvelope(105.19, 9.4, 105.2, 9.5, 4326))",
        "SELECT string_agg(most_common_vals::text || histogram_bounds::text, '') FROM pg_stats WHERE tablename = 'plot'",
    ):
        try:
            answer = reader.execute(question).fetchone()  # type: ignore[call-overload]
        except psycopg.Error:
            continue
        assert answer == (None,) or answer == (0.0,), question


def test_a_session_cannot_say_it_is_somebody_else(dsn: str, enter: Enter) -> None:
    with psycopg.connect(dsn, autocommit=True) as owner:
        samples.write(owner, table())
    reader = enter("reader")
    for trick in (
        "SET SESSION AUTHORIZATION phusa",
        "SET ROLE phusa_owner",
        "CREATE VIEW phusa.mine AS SELECT * FROM phusa.plot",
        "ALTER TABLE phusa.plot DISABLE ROW LEVEL SECURITY",
        "COPY phusa.plot TO '/tmp/plots'",
    ):
        with pytest.raises(psycopg.Error):
            reader.execute(trick)  # type: ignore[call-overload]
    reader.execute("CREATE TEMP VIEW mine AS SELECT * FROM phusa.plot")
    assert reader.execute("SELECT count(*) FROM mine").fetchone() == (6,)
    reader.execute("SET row_security = off")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute("SELECT * FROM phusa.plot")


def test_the_same_rows_again_write_nothing(dsn: str, enter: Enter) -> None:
    publisher = enter("publisher")
    versions = "SELECT array_agg(xmin::text ORDER BY ctid) FROM {}"
    seen = []
    for _ in range(2):
        samples.write(publisher, table())
        with psycopg.connect(dsn) as owner:
            seen.append(
                [
                    owner.execute(versions.format(f"phusa.{t}")).fetchone()
                    for t in ("plot", "specimen", "result")
                ]
            )  # type: ignore[call-overload]
    assert seen[0] == seen[1]


def test_verify_names_a_sample_that_a_superuser_altered(dsn: str, enter: Enter, tmp_path: Path) -> None:
    samples.write(enter("publisher"), table())
    store = PostgisStore.open(tmp_path, "delta", dsn)
    assert store.verify() == []
    assert store.history() == [] and len(store.journal()) == 1
    samples.write(enter("publisher"), table())
    assert len(store.journal()) == 1
    for harm, told in {
        "UPDATE phusa.result SET value = value + 1 WHERE value = 1": "sample P0 of survey: was altered",
        "UPDATE phusa.plot SET licence = 'open' WHERE code = 'P8'": "sample P8 of survey: was altered",
        "UPDATE phusa.plot SET place = ST_Translate(place, 1e-7, 0) WHERE code = 'P3'": "sample P3 of survey",
        "UPDATE phusa.specimen SET lower_cm = 21 WHERE upper_cm = 0": "sample P5 of survey",
        "DELETE FROM phusa.result WHERE value = 1": "sample P0 of survey",
        "WITH p AS (INSERT INTO phusa.plot (project, code, province, licence, place) SELECT 'x', 'x', province, licence, "
        "place FROM phusa.plot LIMIT 1 RETURNING *) SELECT FROM p": "sample x of x: was added",
        "DELETE FROM phusa.result; DELETE FROM phusa.specimen; DELETE FROM phusa.plot": "samples were removed",
        "UPDATE phusa.result SET value = 9 WHERE value = 1; UPDATE phusa.sample_seal SET seal = phusa.seal_of(p) "
        "FROM phusa.plot p WHERE p.id = plot_id": "phusa.sample_seal: is not what the journal says",
    }.items():
        with store.connection.transaction(force_rollback=True):
            for command in harm.split(";"):
                store.connection.execute(command)  # type: ignore[call-overload]
            found = integrity.seen(store.connection)
            assert any(told in fault for fault in found), (harm, found)
    store.connection.execute("DELETE FROM phusa.result")
    store.connection.execute("DELETE FROM phusa.specimen")
    store.connection.execute("DELETE FROM phusa.plot WHERE code = 'P0'")
    with pytest.raises(IntegrityError, match="seal_samples"):
        samples.write(enter("publisher"), table(project="next"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        enter("publisher").execute("SELECT phusa.seal_samples('x')")
    store.connection.execute("SELECT phusa.seal_samples('P0 was another field')")
    assert store.verify() == []
    assert store.journal()[-1].content["reason"] == "P0 was another field"
    samples.write(enter("publisher"), table())
    assert store.verify() == []
    store.close()
