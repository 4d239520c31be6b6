"""Soil samples into the database, in the terms of ISO 28258 and GloSIS."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import psycopg
from psycopg.types.json import Jsonb

from pipeline.errors import InputError
from pipeline.soilrecords import COLUMNS, Known, Procedure
from pipeline.stores import address, schema
from pipeline.stores.journal import Entry


def connect(dsn: str | None) -> psycopg.Connection:
    """A connection of somebody who may import samples.

    Raises InputError where no database answers, it lacks the schema, or the person may not.
    """
    connection = address.connect(dsn)
    try:
        if schema.pending(connection):
            raise InputError("the database has not the schema of this version; run `phusa db init`")
        may = connection.execute(
            "SELECT has_function_privilege('phusa.import_samples(jsonb)', 'EXECUTE')"
        ).fetchone()
    except psycopg.errors.InsufficientPrivilege:
        may = None
    except BaseException:
        connection.close()
        raise
    if may != (True,):
        connection.close()
        raise InputError(
            "the database's user may not import samples; `phusa db grant publisher` gives the right, and "
            "--table-only leaves the database alone"
        )
    return connection


def known(connection: psycopg.Connection) -> Known:
    """The procedures and licences of the database."""
    rows = connection.execute("SELECT procedure, unit, lowest, highest FROM phusa.observation").fetchall()
    licences = connection.execute("SELECT name FROM phusa.licence").fetchall()
    return Known({name: Procedure(*way) for name, *way in rows}, frozenset(name for (name,) in licences))


def write(connection: psycopg.Connection, rows: pd.DataFrame) -> int:
    """Write ``COLUMNS``, one row a measurement; one that is there already takes the new value.

    All or none. Returns the number of rows. Raises InputError where a column or a cell is missing, or the
    database does not know a procedure or licence or finds a value beyond the procedure's range.
    """
    missing = [name for name in COLUMNS if name not in rows]
    if missing:
        raise InputError(f"samples lack the column(s) {', '.join(missing)}")
    table = rows[list(COLUMNS)]
    if table.isna().any(axis=None):
        row, column = np.argwhere(table.isna().to_numpy())[0]
        raise InputError(f"samples, row {table.index[row]}: {COLUMNS[column]} is empty")
    records = table.astype({"sampled_on": str}).astype(object).to_dict("records")
    try:
        with connection.transaction():
            found = connection.execute("SELECT phusa.import_samples(%s)", (Jsonb(records),)).fetchone()
    except psycopg.Error as error:
        meant = address.told(error)
        if meant is None and not isinstance(error, psycopg.DataError | psycopg.IntegrityError):
            raise
        raise meant or InputError(f"samples: {error.diag.message_primary}") from None
    assert found is not None
    return int(found[0])


def faults(connection: psycopg.Connection, entries: Sequence[Entry]) -> Iterator[str]:
    """One line for each plot that is not as it was imported, or sealed by an owner; nothing for who is no owner."""
    owner = connection.execute("SELECT pg_has_role(session_user, 'phusa_owner', 'MEMBER')").fetchone()
    if owner != (True,):
        return
    rows = connection.execute(
        "SELECT p.project, p.code, k.seal, sha256(convert_to(concat_ws(E'\\n', p.project, p.code, p.province, p.licence, "
        "encode(p.place::bytea, 'hex'), (SELECT string_agg(concat_ws(E'\\t', s.sampled_on - date '2000-01-01', "
        "encode(float8send(s.upper_cm), 'hex'), encode(float8send(s.lower_cm), 'hex'), r.procedure, "
        "encode(float8send(r.value), 'hex')), E'\\n' ORDER BY s.sampled_on, s.upper_cm, s.lower_cm, r.procedure COLLATE \"C\") "
        "FROM phusa.specimen s LEFT JOIN phusa.result r ON r.specimen_id = s.id WHERE s.plot_id = p.id)), 'UTF8')) "
        "FROM phusa.plot p LEFT JOIN phusa.sample_seal k ON k.plot_id = p.id "
        'ORDER BY p.project COLLATE "C", p.code COLLATE "C"'
    ).fetchall()
    for project, code, stored, found in rows:
        if stored is None:
            yield f"sample {code} of {project}: was added past the import"
        elif stored != found:
            yield f"sample {code} of {project}: was altered in the database"
    told = next((e.content for e in reversed(entries) if e.content.get("action") == "import"), {})
    seals = b"".join(stored for _, _, stored, _ in rows if stored is not None)
    if told.get("samples") != (hashlib.sha256(seals).hexdigest() if seals else None):
        yield "phusa.sample_seal: is not what the journal says; samples were removed, or sealed, past the import"
