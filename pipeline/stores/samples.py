"""Soil samples into the database, in the terms of ISO 28258 and GloSIS."""

from __future__ import annotations

import numpy as np
import pandas as pd
import psycopg
from psycopg.types.json import Jsonb

from pipeline.errors import InputError
from pipeline.stores import address

#: WGS 84 degrees; centimetres below the surface; a GloSIS procedure code; the value in the procedure's unit.
COLUMNS = (
    "project", "code", "lon", "lat", "province", "licence", "sampled_on", "upper_cm", "lower_cm", "procedure",
    "value",
)  # fmt: skip


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
