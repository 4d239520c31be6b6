"""Who may do what in the database: stated once, granted by it, and tested against the catalogue."""

from __future__ import annotations

import psycopg
from psycopg import sql

OWNER, PUBLISHER, REVIEWER, READER = ROLES = (
    "phusa_owner",
    "phusa_publisher",
    "phusa_reviewer",
    "phusa_reader",
)

_STAFF = {PUBLISHER: "SELECT", REVIEWER: "SELECT"}
_ALL = {**_STAFF, READER: "SELECT"}
_DRAFTS = {PUBLISHER: "SELECT, INSERT, DELETE", REVIEWER: "SELECT"}  # the triggers keep them to drafts

#: Relation -> role -> verbs. The owner has them all and is left out; triggers bind the owner too.
RELATIONS: dict[str, dict[str, str]] = {
    "migration": _ALL,
    "root": {PUBLISHER: "SELECT, INSERT", REVIEWER: "SELECT"},
    "bucket": {PUBLISHER: "SELECT, INSERT", REVIEWER: "SELECT"},
    "product": {**_DRAFTS, PUBLISHER: f"{_DRAFTS[PUBLISHER]}, UPDATE (tiles)"},
    "raster": _DRAFTS,
    "release": _STAFF,
    "release_product": _STAFF,
    "release_area": _STAFF,
    "document": _STAFF,
    "journal": _ALL,
    "published": _ALL,
    "map": _ALL,
    "area": _ALL,
    "area_change": _ALL,
    "area_now": _ALL,
    "history": _ALL,
    "release_period": _ALL,
    "licence": _ALL,
    "province_right": {},
    "observation": _ALL,
    "plot": _ALL,  # rows by policy: whom their licence or province lets see them
    "sample_seal": {},
    "specimen": _ALL,
    "result": _ALL,
    "sample": _ALL,
    "sample_statistics": _ALL,
    "run": _ALL,
    "ledger": _ALL,
    "radar_step": _ALL,
    "latest_official": _ALL,
    "latest_official_risk": _ALL,
    "exceedance_on_farmland": _ALL,
    "samples_by_method": _ALL,
}

#: Function -> who may call it; one that is not named here is for the owner and the triggers only.
FUNCTIONS: dict[str, tuple[str, ...]] = {
    "submit": (PUBLISHER,),
    "review": (REVIEWER,),
    "publish": (PUBLISHER,),
    "relist": (PUBLISHER, REVIEWER),
    "withdraw": (PUBLISHER, REVIEWER),
    "submitted": (PUBLISHER, REVIEWER),
    "import_samples": (PUBLISHER,),
    "may_locate": (PUBLISHER, REVIEWER, READER),
    "published_on": (PUBLISHER, REVIEWER, READER),
    "value": (PUBLISHER, REVIEWER, READER),
    "value_on": (PUBLISHER, REVIEWER, READER),
}


def make_roles(connection: psycopg.Connection) -> None:
    """The four roles of the cluster, without logins; those that are there already stay."""
    for role in ROLES:
        connection.execute(
            f"DO $$ BEGIN CREATE ROLE {role} NOLOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$"
        )


def apply(connection: psycopg.Connection) -> None:
    """Make ``phusa_owner`` the owner of all, and let the rights be exactly those stated here."""
    for kind, name in _objects(connection):
        connection.execute(sql.SQL("ALTER {} {} OWNER TO phusa_owner").format(sql.SQL(kind), sql.SQL(name)))
        connection.execute(
            sql.SQL("REVOKE ALL ON {} {} FROM PUBLIC, phusa_publisher, phusa_reviewer, phusa_reader").format(
                sql.SQL("FUNCTION" if kind == "FUNCTION" else "TABLE"), sql.SQL(name)
            )
        )
    run = connection.execute
    run("ALTER SCHEMA phusa OWNER TO phusa_owner")
    run("GRANT USAGE ON SCHEMA phusa TO phusa_publisher, phusa_reviewer, phusa_reader")
    run("GRANT pgstac_admin TO phusa_owner")
    for role in (PUBLISHER, REVIEWER, READER):
        run(f"GRANT pgstac_read TO {role}")
    for relation, granted in RELATIONS.items():
        if run("SELECT to_regclass(%s)", (f"phusa.{relation}",)).fetchone() != (None,):
            for role, verbs in granted.items():
                run(f"GRANT {verbs} ON phusa.{relation} TO {role}")
    for function, callers in FUNCTIONS.items():
        for (signature,) in run(
            "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'phusa'::regnamespace AND proname = %s",
            (function,),
        ).fetchall():
            run(f"GRANT EXECUTE ON FUNCTION {signature} TO {', '.join(callers)}")


def _objects(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """(kind, name) of our tables, views and functions."""
    return connection.execute(
        "SELECT CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END, oid::regclass::text "
        "FROM pg_class WHERE relnamespace = 'phusa'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') "
        "UNION ALL SELECT 'FUNCTION', oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'phusa'::regnamespace "
        "ORDER BY 1, 2"
    ).fetchall()
