"""The S3 buckets in which a PostGIS store's files lie too: what is missing there, damaged, or nobody's.

The database knows its buckets, so that ``phusa db check`` needs no config. Swept is only what lies below
``products/<region>/`` of a store's own prefix, is no product's, and was not sent by another database.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import psycopg

from pipeline.errors import PhusaError
from pipeline.files import sha256
from pipeline.stores.bucket import Bucket


def identity(connection: psycopg.Connection) -> str:
    """What tells this database from others, and goes with its dumps: the moment it was made."""
    row = connection.execute(
        "SELECT encode(sha256(convert_to(extract(epoch FROM applied_at)::text, 'UTF8')), 'hex') "
        "FROM phusa.migration ORDER BY number LIMIT 1"
    ).fetchone()
    assert row is not None
    return str(row[0])


def know(connection: psycopg.Connection, bucket: Bucket, region: str, path: Path) -> None:
    """Let the database know that objects of ``region`` will lie in ``bucket``, as files lie below ``path``."""
    connection.execute("INSERT INTO phusa.root VALUES (%s) ON CONFLICT DO NOTHING", (str(path),))
    connection.execute(
        "INSERT INTO phusa.bucket VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
        (bucket.address, bucket.endpoint, region, str(path)),
    )


def objects(connection: psycopg.Connection, path: Path, region: str, released: bool) -> dict[str, str]:
    """Key in the bucket -> SHA-256 of each file below ``path`` of a region's products; or of the released ones."""
    rows = connection.execute(
        "SELECT cog, files FROM phusa.product WHERE region = %s AND (phusa.submitted(id) OR NOT %s)",
        (region, released),
    ).fetchall()
    found: dict[str, str] = {}
    for cog, files in rows:
        folder = Path(cog).parent
        if folder.is_relative_to(path):
            found |= {(folder / name).relative_to(path).as_posix(): digest for name, digest in files.items()}
    return found


def sealed(connection: psycopg.Connection) -> dict[str, set[str]]:
    """Name of each file that was ever submitted for a release -> its SHA-256, or several, as manifests state them."""
    rows = connection.execute(
        "SELECT substr(l, 72), left(l, 64) FROM phusa.release, string_to_table(manifest, E'\\n') l "
        "WHERE substr(l, 65, 7) = '  file '"
    ).fetchall()
    found: dict[str, set[str]] = {}
    for name, digest in rows:
        found.setdefault(name, set()).add(digest)
    return found


def of_releases(files: Mapping[str, str], seals: Mapping[str, set[str]]) -> set[str]:
    """Names, of one folder's files (name -> SHA-256), of what was submitted for a release.

    They are nobody's orphans, also where a product's row was altered or lost. Styles are alike in many
    products; which product a folder holds its item tells, or, of older ones, its COG.
    """
    kept = set()
    for name, digest in files.items():
        product = name.partition(".")[0]
        mark = next((m for m in (f"{product}.json", f"{product}.tif") if m in files), "")
        if files.get(mark) in seals.get(mark, ()) and digest in seals.get(name, ()):
            kept.add(name)
    return kept


def orphans(connection: psycopg.Connection) -> Iterator[str]:
    """One line for each object that is no product's; the caller holds the lock of files."""
    for bucket, region, _ in _known(connection):
        try:
            yield from (
                f"{bucket.url(key)}: no product in the database has this object"
                for key in _strays(connection, bucket, region)
            )
        except PhusaError as error:
            yield f"{error}; its objects were not checked"


def sweep(connection: psycopg.Connection) -> list[str]:
    """Remove those; tells what was done."""
    done = []
    for bucket, region, _ in _known(connection):
        try:
            for key in _strays(connection, bucket, region):
                bucket.remove([key])
                done.append(f"{bucket.url(key)}: removed")
        except PhusaError:  # told by the check that follows
            continue
    return done


def faults(connection: psycopg.Connection) -> Iterator[str]:
    """One line for each released object that is missing or damaged; reads them all."""
    for bucket, region, path in _known(connection):
        try:
            yield from bucket.faults(objects(connection, path, region, released=True))
        except PhusaError as error:
            yield f"{error}; its objects were not read"


def send_again(connection: psycopg.Connection) -> list[str]:
    """Send lost and damaged objects anew, from files that are whole; tells what was done."""
    done = []
    for bucket, region, path in _known(connection):
        known = objects(connection, path, region, released=True)
        try:
            for key, _ in bucket.damaged(known):
                if (path / key).is_file() and sha256(path / key) == known[key]:
                    bucket.put(path / key, key, known[key])
                    done.append(f"{bucket.url(key)}: sent again")
        except PhusaError:
            continue
    return done


def _strays(connection: psycopg.Connection, bucket: Bucket, region: str) -> list[str]:
    """What no product has, under whichever folder it was stored."""
    folders = {p for b, r, p in _known(connection) if (b.address, r) == (bucket.address, region)}
    known = {key for folder in folders for key in objects(connection, folder, region, released=False)}
    seals, found = sealed(connection), []
    every = sorted(bucket.keys(f"products/{region}"), key=lambda key: key.rpartition("/"))
    by_folder = itertools.groupby(every, lambda key: key.rpartition("/")[0])
    for folder, members in by_folder:
        keys = list(members)
        if known.issuperset(keys):
            continue
        marks = {key.rpartition("/")[2]: bucket.marks(key) for key in keys}
        kept = of_releases({name: digest for name, (digest, _) in marks.items()}, seals)
        found += [
            f"{folder}/{name}"
            for name, (_, sender) in marks.items()
            if f"{folder}/{name}" not in known and name not in kept and sender in ("", bucket.store)
        ]
    return found


def _known(connection: psycopg.Connection) -> Iterator[tuple[Bucket, str, Path]]:
    store = identity(connection)
    rows = connection.execute(
        "SELECT address, endpoint, region, path FROM phusa.bucket ORDER BY 1, 2, 3, 4"
    ).fetchall()
    for address, endpoint, region, path in rows:
        yield Bucket(address, endpoint or None, store), region, Path(path)
