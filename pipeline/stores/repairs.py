"""What killed publications leave behind, and how damage is made good."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg

from pipeline.files import sha256
from pipeline.stores import listing, mending, mirrors, wkb

#: Held shared while files become rows, and alone by who sweeps files without rows.
FILES_LOCK = "hashtext('phusa.files')"


def orphans(connection: psycopg.Connection) -> list[str]:
    """One line for each file without a row, and each draft without its file."""
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({FILES_LOCK})")
        return [
            *(f"{path}: no product in the database has this file" for path in _strays(connection)),
            *(f"{cog}: missing, a draft's file" for _, cog in _lost_drafts(connection)),
            *mirrors.orphans(connection),
        ]


def repair(connection: psycopg.Connection) -> list[str]:
    """Remove orphans, put back pixels from whole files and items from releases; tells what was done.

    The database's guards stay on: a tile of a release can only become what it was.
    """
    with connection.transaction():
        connection.execute(f"SELECT pg_advisory_xact_lock({FILES_LOCK})")
        done = list(mending.mend(connection))  # first: who sweeps must know what is whose
        for number, cog in _lost_drafts(connection):
            connection.execute("DELETE FROM phusa.product WHERE id = %s", (number,))
            done.append(f"{cog}: the draft without this file was removed")
        for path in list(_strays(connection)):
            path.unlink()
            done.append(f"{path}: removed")
        for root in _roots(connection):
            _remove_empty(root)
        done += [*mirrors.sweep(connection), *_lone_areas(connection)]
        done += [*_pixels(connection), *_items(connection)]
    return done + mirrors.send_again(connection)


def _roots(connection: psycopg.Connection) -> list[Path]:
    rows = connection.execute("SELECT path FROM phusa.root ORDER BY path").fetchall()
    return [Path(path) / "products" for (path,) in rows]


def _strays(connection: psycopg.Connection) -> Iterator[Path]:
    rows = connection.execute("SELECT cog, files FROM phusa.product").fetchall()
    known = {Path(cog).parent / name for cog, files in rows for name in files}
    seals = mirrors.sealed(connection)
    for root in _roots(connection):
        files = sorted((p for p in root.rglob("*") if p.is_file()), key=lambda p: (p.parent, p.name))
        for _, members in itertools.groupby(files, lambda path: path.parent):
            own = list(members)
            if not known.issuperset(own):
                kept = mirrors.of_releases({p.name: sha256(p) for p in own}, seals)
                yield from (p for p in own if p not in known and p.name not in kept)


def _lost_drafts(connection: psycopg.Connection) -> list[tuple[int, str]]:
    rows = connection.execute(
        "SELECT id, cog FROM phusa.product WHERE NOT phusa.submitted(id) ORDER BY id"
    ).fetchall()
    return [(number, cog) for number, cog in rows if not Path(cog).is_file()]


def _remove_empty(root: Path) -> None:
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            folder.rmdir()


def _pixels(connection: psycopg.Connection) -> Iterator[str]:
    """Raster tiles that are gone or altered, from products whose COG is whole."""
    rows = connection.execute(
        "SELECT id, cog, sha256, tiles FROM phusa.product p WHERE tiles IS DISTINCT FROM "
        "(SELECT string_agg(sha256(rast::bytea), '' ORDER BY number) FROM phusa.raster WHERE product_id = p.id) ORDER BY id"
    ).fetchall()
    for product, cog, digest, tiles in rows:
        path = Path(cog)
        extra = connection.execute(
            "DELETE FROM phusa.raster WHERE product_id = %s AND NOT number BETWEEN 1 AND %s",
            (product, len(tiles or b"") // 32),
        ).rowcount
        if extra:
            yield f"{cog}: {extra} raster tiles that were added are gone"
        if path.is_file() and sha256(path) == digest:
            number = _restore(connection, product, path, tiles or b"")
            if number:
                yield f"{cog}: {number} raster tiles were put back"


def _restore(connection: psycopg.Connection, product: int, cog: Path, digests: bytes) -> int:
    have: dict[int, bytes] = dict(
        connection.execute(
            "SELECT number, sha256(rast::bytea) FROM phusa.raster WHERE product_id = %s", (product,)
        ).fetchall()
    )
    restored = 0
    for pixels in (True, False):
        for number, tile in enumerate(wkb.tiles(cog, pixels), 1):
            expected = digests[32 * number - 32 : 32 * number]
            if have.get(number) != expected and hashlib.sha256(tile).digest() == expected:
                connection.execute(
                    "INSERT INTO phusa.raster (product_id, number, rast) VALUES (%s, %s, ST_RastFromHexWKB(%s)) "
                    "ON CONFLICT (product_id, number) DO UPDATE SET rast = excluded.rast",
                    (product, number, tile.hex()),
                )
                restored += 1
    return restored


def _lone_areas(connection: psycopg.Connection) -> Iterator[str]:
    """Areas of releases that never were."""
    rows = connection.execute(
        "DELETE FROM phusa.release_area a WHERE NOT EXISTS (SELECT FROM phusa.release r WHERE "
        "(r.region, r.season, r.release) = (a.region, a.season, a.release)) RETURNING region, season, release"
    ).fetchall()
    yield from (f"areas of {' '.join(row)}: removed" for row in sorted(set(rows)))


def _items(connection: psycopg.Connection) -> Iterator[str]:
    """pgSTAC, so that it shows what it should and nothing else of ours."""
    wrong = _shown_wrongly(connection)
    if not wrong:
        return
    seasons = connection.execute(
        "SELECT max(id) FROM phusa.release GROUP BY region, season ORDER BY 1"
    ).fetchall()
    for release in seasons:
        with (
            suppress(psycopg.DataError),
            connection.transaction(),
        ):  # a record beyond use, which the check names
            connection.execute("SELECT phusa.relist(%s)", release)
    yield from (f"{name}: pgSTAC shows it as released" for name in sorted(wrong - _shown_wrongly(connection)))


def _shown_wrongly(connection: psycopg.Connection) -> set[str]:
    return {fault.partition(": ")[0] for fault in listing.faults(connection)}
