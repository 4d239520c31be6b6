"""The data dictionary: what every relation and column of the schema means, from the schema's own comments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

#: Between the Vietnamese and the English of a comment.
_BETWEEN = " | "
_KINDS = {"r": "table", "v": "view", "m": "view"}


@dataclass(frozen=True)
class Entry:
    """A relation (``column`` is "") or one of its columns."""

    relation: str
    column: str
    kind: str
    """``table`` or ``view``; the data type of a column."""
    vi: str
    en: str


def read(connection: psycopg.Connection) -> list[Entry]:
    """All relations of the schema and their columns, by name; "" where nothing is said."""
    rows = connection.execute(
        "SELECT c.relname, coalesce(a.attname, ''), c.relkind::text, "
        "       coalesce(format_type(a.atttypid, a.atttypmod), ''), "
        "       coalesce(col_description(c.oid, a.attnum), obj_description(c.oid, 'pg_class'), ''), "
        "       col_description(c.oid, a.attnum) IS NULL "
        "FROM pg_class c CROSS JOIN LATERAL ("
        "       SELECT NULL::name AS attname, NULL::oid AS atttypid, NULL::int AS atttypmod, 0::int2 AS attnum "
        "       UNION ALL SELECT attname, atttypid, atttypmod, attnum FROM pg_attribute "
        "       WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped) a "
        "WHERE c.relnamespace = 'phusa'::regnamespace AND c.relkind IN ('r', 'v', 'm') "
        "ORDER BY c.relname, a.attnum"
    ).fetchall()
    found = []
    for relation, column, kind, data_type, comment, silent in rows:
        vi, _, en = ("" if column and silent else comment).partition(_BETWEEN)
        found.append(Entry(relation, column, data_type if column else _KINDS[kind], vi, en))
    return found


def markdown(entries: list[Entry]) -> str:
    """The dictionary as a page in both languages."""
    lines = ["# Từ điển dữ liệu / Data dictionary", ""]
    for e in entries:
        if not e.column:
            lines += ["", f"## {e.relation} ({e.kind})", "", f"{e.vi} *{e.en}*", ""]
            lines += ["| cột / column | kiểu / type | ý nghĩa | meaning |", "| --- | --- | --- | --- |"]
        else:
            lines.append(f"| {e.column} | {e.kind} | {_cell(e.vi)} | {_cell(e.en)} |")
    return "\n".join(lines) + "\n"


def rows(entries: list[Entry]) -> list[dict[str, Any]]:
    """The dictionary as JSON-able rows."""
    return [vars(e) for e in entries]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
