"""The database's shape, as numbered SQL files that only ever run forward."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from pipeline.errors import InputError, IntegrityError
from pipeline.stores import rights

FOLDER = Path(__file__).parent


def migrations() -> list[tuple[int, str, str]]:
    """(number, name, SQL) of every migration, in order."""
    files = sorted(FOLDER.glob("[0-9][0-9][0-9]_*.sql"))
    return [(int(f.name[:3]), f.stem, f.read_text(encoding="utf-8")) for f in files]


def applied(connection: psycopg.Connection) -> dict[int, str]:
    """Number -> SHA-256 of the migrations that the database has; empty for a new one."""
    if connection.execute("SELECT to_regclass('phusa.migration')").fetchone() == (None,):
        return {}
    return dict(connection.execute("SELECT number, sha256 FROM phusa.migration").fetchall())


def pending(connection: psycopg.Connection) -> list[str]:
    """Names of the migrations that the database lacks.

    Raises IntegrityError where one was changed after it was applied, InputError where the database has
    one that this version of the program does not know.
    """
    have, known = applied(connection), migrations()
    newer = sorted(have.keys() - {number for number, _, _ in known})
    if newer:
        raise InputError(
            f"the database has migration {newer[-1]:03}, which this version does not know; update it"
        )
    for number, name, text in known:
        if number in have and have[number] != _digest(text):
            raise IntegrityError(f"migration {name} was changed after it was applied to this database")
    return [name for number, name, _ in known if number not in have]


def migrate(dsn: str) -> list[str]:
    """Bring a database to today's shape; returns the names of what was applied, pgSTAC's version included.

    Several at once wait for one another. Needs a superuser, for PostGIS and the roles. Raises as ``pending``.
    """
    done = []
    with _alone(dsn):
        with psycopg.connect(dsn) as connection:
            pending(connection)
            for extension in ("postgis", "postgis_raster", "btree_gist"):
                connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
        with PgstacDB(dsn=dsn) as database:  # commits by itself
            before = database.version
            after = Migrate(database).run_migration()
            if before != after:
                done.append(f"pgstac {after}")
        with psycopg.connect(dsn) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS phusa")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS phusa.migration "
                "(number int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz DEFAULT now())"
            )
            rights.make_roles(connection)
            have = applied(connection)
            for number, name, text in migrations():
                if number not in have:
                    connection.execute(text)
                    connection.execute(
                        "INSERT INTO phusa.migration VALUES (%s, %s, %s)", (number, name, _digest(text))
                    )
                    done.append(name)
            rights.apply(connection)
    return done


@contextmanager
def _alone(dsn: str) -> Iterator[None]:
    """One migrator at a time; the lock goes with its connection, also where that dies."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('phusa.migration'))")
        yield


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def grant(connection: psycopg.Connection, role: str, person: str) -> None:
    """Give a person's login a role; the login is made, without a password, where there is none.

    Raises InputError where the role is none of ours.
    """
    if f"phusa_{role}" not in rights.ROLES:
        raise InputError(
            f"no role {role!r}; known: {', '.join(r.removeprefix('phusa_') for r in rights.ROLES)}"
        )
    known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", (person,)).fetchone()
    if known is None:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(person)))
    connection.execute(
        sql.SQL("GRANT {} TO {}").format(sql.Identifier(f"phusa_{role}"), sql.Identifier(person))
    )
