"""``phusa db``: the PostGIS database whose address is in PHUSA_DSN."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli import shell
from pipeline.cli.shell import Result, Told, command
from pipeline.errors import InputError, IntegrityError
from pipeline.files import write_aside

if TYPE_CHECKING:
    import psycopg


@click.group()
def db() -> None:
    """The PostGIS database whose address is in PHUSA_DSN."""


@db.command()
@command
def init() -> Result:
    """Bring a database, new or old, to this version's schema: PostGIS, pgSTAC, roles, our own tables.

    Needs a superuser. What is there already stays.
    """
    with told() as address:
        from pipeline.stores import schema

        return {"applied": schema.migrate(address)}


@db.command()
@command
def migrate() -> Result:
    """Bring a database that `init` made to this version's schema."""
    with _connected() as connection:
        from pipeline.stores import schema

        if not schema.applied(connection):
            raise InputError("the database has no schema of phusa; run `phusa db init`")
    with told() as address:
        return {"applied": schema.migrate(address)}


@db.command()
@click.option("--repair", is_flag=True, help="Remove orphans and make good what can be; needs an owner.")
@command
def check(repair: bool) -> Result:
    """Check all regions: schema, journal, releases, pixels, files, and what killed publications left.

    Exit 5 where something is wrong, or still is after --repair.
    """
    with _connected() as connection:
        from pipeline.stores import integrity, mirrors, repairs, schema

        if not schema.applied(connection):
            raise InputError("the database has no schema of phusa; run `phusa db init`")
        pending = schema.pending(connection)
        if pending:
            raise InputError(f"the database lacks {', '.join(pending)}; run `phusa db migrate`")
        repaired = repairs.repair(connection) if repair else []
        faults = [*repairs.orphans(connection), *integrity.faults(connection), *mirrors.faults(connection)]
    if faults:
        mended = [f"repaired: {line}" for line in repaired]
        raise IntegrityError("\n".join([*mended, *faults]), repaired=repaired, faults=faults)
    return {"repaired": repaired, "faults": []}


@db.command()
@click.argument("role", type=click.Choice(["owner", "publisher", "reviewer", "reader"]))
@click.argument("person")
@command
def grant(role: str, person: str) -> Result:
    """Give PERSON's login a ROLE; the login is made where there is none, and has no password yet."""
    with _connected() as connection:
        from pipeline.stores import schema

        schema.grant(connection, role, person)
    return {"role": f"phusa_{role}", "person": person}


@db.command()
@click.option("--out", type=click.Path(path_type=Path), help="Markdown file, both languages.")
@command
def dictionary(out: Path | None) -> Result:
    """What every table, view and column means, from the schema's own comments."""
    with _connected() as connection:
        from pipeline.stores import dictionary as words

        entries = words.read(connection)
    if out:
        write_aside(out, words.markdown(entries))
    where = {"out": str(out.resolve())} if out else {}
    lines = [f"{e.relation}{'.' if e.column else ''}{e.column}: {e.vi} / {e.en}" for e in entries]
    return Told({**where, "entries": words.rows(entries)}, [str(out.resolve())] if out else lines)


@contextmanager
def _connected() -> Iterator[psycopg.Connection]:
    with told() as dsn:
        from pipeline.stores import address

        connection = address.connect(dsn)
        try:
            yield connection
        finally:
            connection.close()


@contextmanager
def told() -> Iterator[str]:
    """The database's address; its errors in one sentence, without the password."""
    dsn = shell.dsn()
    if not dsn:
        raise InputError("PHUSA_DSN is not set: give it the database's address")
    try:
        import psycopg

        from pipeline.stores import address
    except ImportError as error:
        raise InputError(f"the database needs the extra postgis: {error}") from None
    try:
        yield dsn
    except psycopg.Error as error:
        raise address.told(error) or InputError(
            f"the database at PHUSA_DSN: {address.masked(str(error), dsn)}"
        ) from None
