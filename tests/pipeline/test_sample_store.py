"""Samples in the database: results are for everyone, places for those who may know them."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import psycopg
import pytest
from psycopg import sql

from pipeline.errors import InputError
from pipeline.stores import samples, schema

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
        ({"lower_cm": 0}, "lower_cm|check"),
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
