"""Is the database still what was released? Everything is computed anew here, by nothing but built-in functions.

The journal is checked as a chain, releases against the journal, parts of a release against its manifest,
table rows, raster tiles, items and files against those parts. So whoever changed one thing must have changed
all that lead to it; and then a checkpoint that is kept elsewhere tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from pipeline.files import sha256
from pipeline.stores import journal as chain
from pipeline.stores import listing, samples, schema, wkb
from pipeline.stores.journal import Checkpoint, Entry

_WHERE = "phusa.journal"


def journal(connection: psycopg.Connection) -> list[Entry]:
    """All entries, oldest first."""
    rows = connection.execute("SELECT seq, line, hash FROM phusa.journal ORDER BY seq").fetchall()
    return [Entry(*row) for row in rows]


def faults(connection: psycopg.Connection, checkpoint: Checkpoint | None = None) -> list[str]:
    """One line for each thing that is missing or not as it was released; one state of the database is seen."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return seen(connection, checkpoint)


def seen(connection: psycopg.Connection, checkpoint: Checkpoint | None = None) -> list[str]:
    """``faults`` in the transaction that is open."""
    entries = journal(connection)
    releases = connection.execute("SELECT id FROM phusa.release ORDER BY id").fetchall()
    return [
        *chain.faults(entries, _WHERE),
        *(checkpoint.faults(entries, _WHERE) if checkpoint else []),
        *_states(connection, entries),
        *faults_of(connection, [number for (number,) in releases]),
        *_stray_areas(connection),
        *listing.faults(connection),
        *samples.faults(connection, entries),
        *_triggers(connection),
        *_functions(connection),
    ]


def faults_of(connection: psycopg.Connection, releases: Sequence[int]) -> list[str]:
    """What is not as submitted of the given releases: rows, documents, pixels and files."""
    found: list[str] = []
    for release in releases:
        found += _parts(connection, release)
        found += _areas(connection, release)
    products = connection.execute(
        "SELECT DISTINCT id, tile || '_' || target, cog, files, tiles, manifest ~ "
        "(encode(sha256(coalesce(tiles, '')), 'hex') || '  pixels ' || tile || '_' || target) "
        "FROM phusa.product p JOIN phusa.release_product ON product_id = p.id "
        "JOIN LATERAL (SELECT manifest FROM phusa.release r WHERE r.id = release_id) r ON true "
        "WHERE release_id = ANY(%s) ORDER BY id",
        (list(releases),),
    ).fetchall()
    for product, name, cog, files, tiles, listed in products:
        found += _files(Path(cog).parent, files)
        found += _tiles(connection, product, name, Path(cog), tiles or b"", listed)
    return found


# --- releases against the journal --------------------------------------------------------------


def _states(connection: psycopg.Connection, entries: Sequence[Entry]) -> Iterator[str]:
    told = chain.replay(entries)
    rows = connection.execute(
        "SELECT region, season, release, state, submitted_by, reviewed_by, "
        "encode(sha256(convert_to(manifest, 'UTF8')), 'hex'), "
        "EXISTS (SELECT FROM phusa.release_product m JOIN phusa.product p ON p.id = m.product_id WHERE m.release_id = r.id "
        "AND (left(item #>> '{properties,start_datetime}', 10), left(item #>> '{properties,end_datetime}', 10)) "
        "IS DISTINCT FROM (season_start::text, season_end::text)) FROM phusa.release r ORDER BY id"
    ).fetchall()
    for region, season, release, state, submitted_by, reviewed_by, manifest, other_days in rows:
        name = f"release {release} of {region} {season}"
        said = told.pop((region, season, release), None)
        if said is None:
            yield f"{name}: the journal does not know it"
            continue
        if said.state != state:
            yield f"{name}: is {state} in phusa.release, {said.state} by the journal"
        if said.submitted_by != submitted_by:
            yield f"{name}: submitted by {submitted_by} in phusa.release, {said.submitted_by} by the journal"
        if other_days:
            yield f"{name}: its season has other days in phusa.release than in its items"
        if said.state in ("reviewed", "official", "superseded") and said.reviewed_by != reviewed_by:
            yield f"{name}: reviewed by {reviewed_by} in phusa.release, {said.reviewed_by} by the journal"
        if said.manifest != manifest:
            yield f"{name}: its manifest was altered"
    for region, season, release in told:
        yield f"release {release} of {region} {season}: missing from phusa.release"


# --- parts against the manifest ----------------------------------------------------------------

_PARTS = """
WITH p AS (SELECT p.* FROM phusa.product p JOIN phusa.release_product m ON m.product_id = p.id
           WHERE m.release_id = %(release)s)
SELECT 'record ' || tile || '_' || target, encode(sha256(convert_to(
    concat_ws(E'\\n', region, season, tile, target, key, sha256, item::text), 'UTF8')), 'hex') FROM p
UNION ALL SELECT 'pixels ' || tile || '_' || target, encode(sha256(coalesce(tiles, '')), 'hex') FROM p
UNION ALL SELECT 'file ' || f.key, f.value FROM p, jsonb_each_text(p.files) f
UNION ALL SELECT 'document ' || name, encode(sha256(convert_to(content, 'UTF8')), 'hex')
FROM phusa.document WHERE release_id = %(release)s
"""


def _parts(connection: psycopg.Connection, release: int) -> Iterator[str]:
    row = connection.execute(
        "SELECT region || ' ' || season || ' ' || release, manifest FROM phusa.release WHERE id = %s",
        (release,),
    ).fetchone()
    assert row is not None
    have: dict[str, str] = {}
    for name, digest in connection.execute(_PARTS, {"release": release}).fetchall():
        if name in have:
            yield f"{row[0]}: {name} is in the database twice"
        have[name] = digest
    for line in row[1].splitlines():
        digest, _, name = line.partition("  ")
        if name not in have:
            yield f"{row[0]}: {name} is missing from the database"
        elif have.pop(name) != digest:
            yield f"{row[0]}: {name} was altered in the database"
    for name in sorted(have):
        yield f"{row[0]}: {name} was added after it was submitted"


def _areas(connection: psycopg.Connection, release: int) -> Iterator[str]:
    """Rows of the areas table against the released document; where that was altered, it is what is named."""
    whole = connection.execute(
        "SELECT FROM phusa.document d JOIN phusa.release r ON r.id = d.release_id WHERE r.id = %s AND d.name = 'areas.json' "
        "AND position(encode(sha256(convert_to(d.content, 'UTF8')), 'hex') || '  document areas.json' IN r.manifest) > 0",
        (release,),
    ).fetchone()
    if whole is None:
        return
    rows = connection.execute(
        """
        WITH sealed AS (
            SELECT a.* FROM phusa.document d, json_populate_recordset(NULL::phusa.release_area, d.content::json) a
            WHERE d.release_id = %(release)s AND d.name = 'areas.json'),
        stored AS (
            SELECT a.* FROM phusa.release_area a JOIN phusa.release r USING (region, season, release)
            WHERE r.id = %(release)s)
        SELECT 'is not as released', x.* FROM (SELECT * FROM stored EXCEPT SELECT * FROM sealed) x
        UNION ALL
        SELECT 'is missing', x.* FROM (SELECT * FROM sealed EXCEPT SELECT * FROM stored) x
        WHERE NOT EXISTS (SELECT FROM stored s WHERE (s.target, s.level, s.code, s.indicator)
                          = (x.target, x.level, x.code, x.indicator))
        """,
        {"release": release},
    )
    names = [column.name for column in rows.description or ()]
    for row in rows.fetchall():
        said = dict(zip(names, row, strict=True))
        place = " ".join(
            str(said[k]) for k in ("region", "season", "release", "target", "level", "code", "indicator")
        )
        yield f"area {place}: {row[0]}"


def _stray_areas(connection: psycopg.Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT DISTINCT region, season, release FROM phusa.release_area a WHERE NOT EXISTS (SELECT FROM phusa.release r "
        "WHERE (r.region, r.season, r.release) = (a.region, a.season, a.release)) ORDER BY 1, 2, 3"
    ).fetchall()
    for region, season, release in rows:
        yield f"areas of {region} {season} {release}: no such release"


# --- pixels and files --------------------------------------------------------------------------


def _tiles(
    connection: psycopg.Connection, product: int, name: str, cog: Path, tiles: bytes, listed: bool
) -> Iterator[str]:
    expected = [tiles[k : k + 32] for k in range(0, len(tiles), 32)]
    if not listed and cog.is_file():  # the list itself was altered: the file, if it is whole, knows better
        offline = connection.execute(
            "SELECT bool_or(ST_BandPath(rast) IS NOT NULL) FROM phusa.raster WHERE product_id = %s",
            (product,),
        ).fetchone()
        expected = [hashlib.sha256(t).digest() for t in wkb.tiles(cog, offline != (True,))]
    have: dict[int, bytes] = dict(
        connection.execute(
            "SELECT number, sha256(rast::bytea) FROM phusa.raster WHERE product_id = %s", (product,)
        ).fetchall()
    )
    if not have and expected:
        yield f"{cog}: the database holds none of its pixels"
        return
    for number, digest in enumerate(expected, 1):
        if number not in have:
            yield f"{cog}: raster tile {number} of {name} (product {product}) is missing from the database"
        elif have[number] != digest:
            yield f"{cog}: raster tile {number} of {name} (product {product}) was altered in the database"
    for number in sorted(set(have) - set(range(1, len(expected) + 1))):
        yield f"{cog}: raster tile {number} of {name} (product {product}) was added to the database"


def _files(folder: Path, files: dict[str, str]) -> Iterator[str]:
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            yield f"{path}: missing"
        elif sha256(path) != digest:
            yield f"{path}: its SHA-256 is not {digest}, which the database states"


# --- the guards ----------------------------------------------------------------------------------


def _triggers(connection: psycopg.Connection) -> Iterator[str]:
    """Guards that somebody switched off or removed."""
    rows = connection.execute(
        "SELECT name, (SELECT count(*) FROM pg_trigger WHERE tgrelid = to_regclass('phusa.' || name) "
        "AND tgname IN ('keep', 'keep_all') AND tgenabled = 'O' AND tgqual IS NULL "
        "AND tgfoid IN (SELECT oid FROM pg_proc WHERE pronamespace = 'phusa'::regnamespace)) "
        "FROM unnest(%s::text[]) AS name",
        (["product", "raster", "release", "release_product", "document", "release_area", "journal"],),
    ).fetchall()
    for name, on in rows:
        if on < 2:
            yield f"phusa.{name}: its guard (trigger keep or keep_all) is switched off"


def _functions(connection: psycopg.Connection) -> Iterator[str]:
    """Functions, the guards' among them, that somebody replaced or removed."""
    have: dict[str, str] = dict(
        connection.execute(
            "SELECT proname::text, prosrc FROM pg_proc WHERE pronamespace = 'phusa'::regnamespace"
        ).fetchall()
    )
    for name, body in schema.functions().items():
        if name not in have:
            yield f"function phusa.{name}: is missing"
        elif have[name] != body:
            yield f"function phusa.{name}: is not the one of the migrations"
