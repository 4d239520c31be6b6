"""The database's shape, as numbered SQL files that only ever run forward."""

from __future__ import annotations

import hashlib
from pathlib import Path

import psycopg
from pypgstac.db import PgstacDB
from pypgstac.migrate import Migrate

from pipeline.errors import IntegrityError

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


def migrate(dsn: str) -> list[str]:
    """Bring a database to today's shape; returns the names of what was applied, pgSTAC's version included.

    Raises IntegrityError where a migration that was applied is no longer the one shipped.
    """
    done = []
    with psycopg.connect(dsn) as connection:
        for extension in ("postgis", "postgis_raster", "btree_gist"):
            connection.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    with PgstacDB(dsn=dsn) as database:  # commits by itself
        before = database.version
        after = Migrate(database).run_migration()
        if before != after:
            done.append(f"pgstac {after}")
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(hashtext('phusa.migration'))")
        connection.execute("CREATE SCHEMA IF NOT EXISTS phusa")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS phusa.migration "
            "(number int PRIMARY KEY, name text NOT NULL, sha256 text NOT NULL, applied_at timestamptz DEFAULT now())"
        )
        have = applied(connection)
        for number, name, sql in migrations():
            digest = hashlib.sha256(sql.encode()).hexdigest()
            if number in have:
                if have[number] != digest:
                    raise IntegrityError(
                        f"migration {name} was changed after it was applied to this database"
                    )
                continue
            connection.execute(sql)
            connection.execute("INSERT INTO phusa.migration VALUES (%s, %s, %s)", (number, name, digest))
            done.append(name)
    return done
