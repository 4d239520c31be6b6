"""Altered rows of releases, made what they were, where the truth is at hand.

What was released is sealed: the journal states the digest of a release's manifest, the manifest that of every
part. Here each part that differs is looked for where it may still be whole (files beside the COG, pgSTAC, the
rows that it was made into), and written back only if its digest is the sealed one; the database's guards
refuse anything else. What is nowhere to be found stays as it is, and the check names it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from pipeline import stac
from pipeline.files import sha256, write_aside
from pipeline.season import Season, slug
from pipeline.stores import journal as chain
from pipeline.stores import wkb
from pipeline.stores.journal import Entry, Standing

#: SQLSTATE of the guards.
_REFUSED = "PH005"
#: Digest of a product's row as manifests state it (schema/003, ``manifest_of``).
_RECORD = (
    "encode(sha256(convert_to(concat_ws(E'\\n', p.region, p.season, p.tile, p.target, p.key, p.sha256, "
    "p.item::text), 'UTF8')), 'hex')"
)


@dataclass(frozen=True)
class _Sealed:
    """A release as the journal and its manifest have it."""

    number: int
    region: str
    season: Season
    parts: Mapping[str, str]
    """Kind and name -> SHA-256."""

    def of(self, kind: str) -> dict[str, str]:
        """Name -> SHA-256 of one kind."""
        return {n.partition(" ")[2]: d for n, d in self.parts.items() if n.startswith(f"{kind} ")}


def mend(connection: psycopg.Connection) -> Iterator[str]:
    """Make rows what was released; tells what was done. The caller's transaction holds it all."""
    rows = connection.execute("SELECT seq, line, hash FROM phusa.journal ORDER BY seq").fetchall()
    entries = [Entry(*row) for row in rows]
    if chain.faults(entries, ""):
        return  # nothing is sealed by a journal that is altered itself
    told = chain.replay(entries)
    releases = connection.execute(
        "SELECT id, region, season, release, season_start, season_end, manifest FROM phusa.release ORDER BY id"
    ).fetchall()
    known = [(row, told[row[1:4]]) for row in releases if row[1:4] in told]
    for row, said in sorted(known, key=lambda r: r[1].state not in ("superseded", "withdrawn")):
        yield from _standing(connection, row[0], " ".join(row[1:4]), said)  # one only is official at a time
    for (number, region, season, release, start, end, manifest), said in known:
        whole = _manifest(connection, number, manifest, said.manifest)
        if whole is None:
            continue
        if whole != manifest:
            yield f"release {release} of {region} {season}: its manifest was put back"
        parts = {name: digest for digest, _, name in (line.partition("  ") for line in whole.splitlines())}
        sealed = _Sealed(number, region, Season(season, start, end), parts)
        for step in (_products, _strangers, _documents, _areas):
            for done in step(connection, sealed):
                yield f"release {release} of {region} {season}: {done}"


def _standing(connection: psycopg.Connection, number: int, name: str, said: Standing) -> Iterator[str]:
    changed = connection.execute(
        "UPDATE phusa.release SET state = %(state)s, submitted_by = %(maker)s, reviewed_by = %(judge)s WHERE id = %(id)s "
        "AND (state, submitted_by, reviewed_by) IS DISTINCT FROM (%(state)s, %(maker)s, %(judge)s)",
        {"id": number, "state": said.state, "maker": said.submitted_by, "judge": said.reviewed_by},
    )
    if changed.rowcount:
        yield f"release {name}: its state is again that of the journal"


def _manifest(connection: psycopg.Connection, number: int, manifest: str, digest: str) -> str | None:
    """The manifest that the journal states; reckoned from the parts if it was altered; None if they were too."""
    row = connection.execute("SELECT phusa.manifest_of(%s)", (number,)).fetchone()
    for candidate in (manifest, row[0] if row else None):
        if candidate and hashlib.sha256(candidate.encode()).hexdigest() == digest:
            if candidate != manifest:
                connection.execute(
                    "UPDATE phusa.release SET manifest = %s WHERE id = %s", (candidate, number)
                )
            return str(candidate)
    return None


# --- products ----------------------------------------------------------------------------------


def _products(connection: psycopg.Connection, sealed: _Sealed) -> Iterator[str]:
    pixels = sealed.of("pixels")
    for name, digest in sealed.of("record").items():
        files = {f: d for f, d in sealed.of("file").items() if f.startswith(f"{name}.")}
        row = connection.execute(
            "SELECT p.cog, p.item FROM phusa.product p JOIN phusa.release_product m ON m.product_id = p.id "
            f"WHERE m.release_id = %s AND {_RECORD} = %s AND encode(sha256(coalesce(tiles, '')), 'hex') = %s "
            "AND files = %s",
            (sealed.number, digest, pixels.get(name), Jsonb(files)),
        ).fetchone()
        if row is None or not Path(row[0]).is_file():
            with _unless_refused(connection):  # another release may have it otherwise
                done = _product(connection, sealed, name, digest, pixels.get(name, ""), files)
                if done:
                    yield f"{name}: {done}"
        elif _write_item(Path(row[0]).with_suffix(".json"), row[1], files):
            yield f"{name}: its item's file was put back"


def item_text(item: Mapping[str, Any]) -> str:
    """The file of an item: the same text from a new item and from one that the database has reordered."""
    return json.dumps(item, sort_keys=True, indent=1, ensure_ascii=False) + "\n"


def _write_item(path: Path, item: dict[str, Any], files: Mapping[str, str]) -> bool:
    """Write the file beside the COG from the row, if it is gone or damaged."""
    text = item_text(item)
    if hashlib.sha256(text.encode()).hexdigest() != files.get(path.name):
        return False
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_aside(path, text)
    return True


def _product(
    connection: psycopg.Connection,
    sealed: _Sealed,
    name: str,
    digest: str,
    pixels: str,
    files: dict[str, str],
) -> str:
    """Make a product's row, or its place in the release, what it was; "" where the truth is not at hand."""
    tile, _, target = name.partition("_")
    for item in _items(connection, sealed, name):
        properties = item.get("properties", {})
        row = (
            sealed.region, sealed.season.name, tile, target, properties.get("phusa:key"),
            item.get("assets", {}).get("map", {}).get("file:checksum", "")[len(stac.SHA256_HEAD) :],
        )  # fmt: skip
        found = connection.execute(
            "SELECT encode(sha256(convert_to(concat_ws(E'\\n', %s::text, %s::text, %s::text, %s::text, %s::text, "
            "%s::text, (%s::jsonb)::text), 'UTF8')), 'hex')",
            (*row, Jsonb(item)),
        ).fetchone()
        cog = _cog(connection, sealed, name, row[4] or "", row[5])
        if found == (digest,) and cog is not None and (tiles := _digests(cog, pixels)) is not None:
            return _write(connection, sealed, (*row, str(cog), Jsonb(item), Jsonb(files), tiles))
    return ""


def _items(connection: psycopg.Connection, sealed: _Sealed, name: str) -> Iterator[dict[str, Any]]:
    """Items that may be the product's: of rows, of files beside COGs, of pgSTAC."""
    tile, _, target = name.partition("_")
    yield from _each(connection.execute(
        "SELECT p.item FROM phusa.product p LEFT JOIN phusa.release_product m ON m.product_id = p.id "
        "AND m.release_id = %s WHERE p.region = %s AND p.season = %s AND (m.product_id IS NOT NULL OR "
        "(p.tile, p.target) = (%s, %s)) ORDER BY p.id",
        (sealed.number, sealed.region, sealed.season.name, tile, target),
    ))  # fmt: skip
    for folder in _folders(connection, sealed):
        for path in sorted(folder.glob(f"*/{name}.json")):
            try:
                item = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(item, dict):
                yield item
    plain = stac.collection_id(sealed.region, sealed.season)
    for shown in _each(connection.execute(
        "SELECT pgstac.get_item(id, collection) FROM pgstac.items WHERE collection IN (%s, %s)",
        (plain, f"{plain}-superseded"),
    )):  # fmt: skip
        properties = {k: v for k, v in shown["properties"].items() if k not in ("version", "deprecated")}
        if (properties.get("phusa:tile"), properties.get("phusa:target")) == (tile, target):
            yield shown | {
                "id": f"{sealed.season.slug}_{name}", "collection": plain, "links": [],
                "properties": properties | {"datetime": None},
            }  # fmt: skip


def _each(rows: Iterable[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    yield from (item for (item,) in list(rows) if item)


def _folders(connection: psycopg.Connection, sealed: _Sealed) -> list[Path]:
    rows = connection.execute("SELECT path FROM phusa.root ORDER BY path").fetchall()
    return [Path(path) / "products" / sealed.region / slug(sealed.season.name) for (path,) in rows]


def _cog(connection: psycopg.Connection, sealed: _Sealed, name: str, key: str, digest: str) -> Path | None:
    """The product's COG, if it is whole and where ``put`` lays it, or a row says it is."""
    rows = connection.execute(
        "SELECT cog FROM phusa.product WHERE sha256 = %s ORDER BY id", (digest,)
    ).fetchall()
    laid = [f / f"{key[:12]}-{digest[:12]}" / f"{name}.tif" for f in _folders(connection, sealed)]
    for path in (*laid, *(Path(cog) for (cog,) in rows)):
        if path.name == f"{name}.tif" and path.is_file() and sha256(path) == digest:
            return path
    return None


def _digests(cog: Path, pixels: str) -> bytes | None:
    """The list of digests of a COG's raster tiles, if it is the sealed one; in the database or out of it."""
    for inside in (True, False):
        tiles = b"".join(hashlib.sha256(tile).digest() for tile in wkb.tiles(cog, inside))
        if hashlib.sha256(tiles).hexdigest() == pixels:
            return tiles
    return None


_FIELDS = "region, season, tile, target, key, sha256, cog, item, files, tiles"


def _write(connection: psycopg.Connection, sealed: _Sealed, row: tuple[Any, ...]) -> str:
    """Over the row that stands for it; where there is none, a new one under the old number, or a new number."""
    tile, target = row[2:4]
    run = connection.execute
    marks = ", ".join(["%s"] * len(row))
    same = run(
        "SELECT id FROM phusa.product WHERE (region, season, tile, target, key, sha256) = (%s, %s, %s, %s, %s, %s)",
        row[:6],
    ).fetchone()
    altered = run(
        "SELECT p.id FROM phusa.release_product m JOIN phusa.product p ON p.id = m.product_id "
        f"WHERE m.release_id = %s AND ((p.tile, p.target) = (%s, %s) OR NOT {_RECORD} = ANY(%s)) "
        "ORDER BY (p.tile, p.target) = (%s, %s) DESC LIMIT 1",
        (sealed.number, tile, target, list(sealed.of("record").values()), tile, target),
    ).fetchone()
    known = same or altered
    if known:
        run(f"UPDATE phusa.product SET ({_FIELDS}) = ROW({marks}) WHERE id = %s", (*row, known[0]))
        number, done = known[0], "its row was put back"
    else:
        lost = run(
            "SELECT product_id FROM phusa.release_product m WHERE release_id = %s AND NOT EXISTS "
            "(SELECT FROM phusa.product WHERE id = product_id)",
            (sealed.number,),
        ).fetchall()
        if len(lost) == 1:
            run(
                f"INSERT INTO phusa.product (id, {_FIELDS}) OVERRIDING SYSTEM VALUE VALUES (%s, {marks})",
                (*lost[0], *row),
            )
            number = lost[0][0]
        else:
            made = run(f"INSERT INTO phusa.product ({_FIELDS}) VALUES ({marks}) RETURNING id", row).fetchone()
            assert made is not None
            number = made[0]
        done = "its lost row was made again"
    run("INSERT INTO phusa.release_product VALUES (%s, %s) ON CONFLICT DO NOTHING", (sealed.number, number))
    return done


def _strangers(connection: psycopg.Connection, sealed: _Sealed) -> Iterator[str]:
    """Products and documents that were added to a release once it was sealed."""
    names = list(sealed.of("document"))
    rows = connection.execute(
        "DELETE FROM phusa.document WHERE release_id = %s AND NOT name = ANY(%s) RETURNING name",
        (sealed.number, names),
    ).fetchall()
    yield from (f"document {name}, which was added, was removed" for (name,) in rows)
    rows = connection.execute(
        "SELECT p.id, p.tile || '_' || p.target FROM phusa.release_product m JOIN phusa.product p ON p.id = m.product_id "
        f"WHERE m.release_id = %s AND NOT {_RECORD} = ANY(%s)",
        (sealed.number, list(sealed.of("record").values())),
    ).fetchall()
    for number, name in rows:
        with _unless_refused(connection):  # an altered row that nothing mends
            connection.execute(
                "DELETE FROM phusa.release_product WHERE (release_id, product_id) = (%s, %s)",
                (sealed.number, number),
            )
            yield f"{name}, which was added, was removed"


@contextmanager
def _unless_refused(connection: psycopg.Connection) -> Iterator[None]:
    """What the guards refuse is undone, and goes on."""
    try:
        with connection.transaction():
            yield
    except psycopg.Error as error:
        if error.sqlstate != _REFUSED:
            raise


# --- documents and areas -------------------------------------------------------------------------


def _documents(connection: psycopg.Connection, sealed: _Sealed) -> Iterator[str]:
    have: dict[str, str] = dict(
        connection.execute(
            "SELECT name, content FROM phusa.document WHERE release_id = %s", (sealed.number,)
        ).fetchall()
    )
    for name, digest in sealed.of("document").items():
        if name in have and hashlib.sha256(have[name].encode()).hexdigest() == digest:
            continue
        for text in _texts(connection, sealed, name):
            if hashlib.sha256(text.encode()).hexdigest() == digest:
                connection.execute(
                    "INSERT INTO phusa.document VALUES (%s, %s, %s) "
                    "ON CONFLICT (release_id, name) DO UPDATE SET content = excluded.content",
                    (sealed.number, name, text),
                )
                yield f"document {name} was put back"
                break


def _texts(connection: psycopg.Connection, sealed: _Sealed, name: str) -> Iterator[str]:
    """What a document may have said, from what was made of it or what it was made of."""
    if name == "collection.json":
        items = _each(connection.execute(
            "SELECT item FROM phusa.product JOIN phusa.release_product ON product_id = id WHERE release_id = %s",
            (sealed.number,),
        ))  # fmt: skip
        yield json.dumps(stac.collection(sealed.region, sealed.season, list(items)))
    elif name == "areas.json":
        cursor = connection.execute(
            "SELECT a.* FROM phusa.release_area a JOIN phusa.release r USING (region, season, release) "
            "WHERE r.id = %s ORDER BY a.ctid",
            (sealed.number,),
        )
        columns = [c.name for c in cursor.description or ()]
        rows = [dict(zip(columns, row, strict=True)) for row in cursor]
        yield json.dumps(rows, ensure_ascii=False, default=str)


def _areas(connection: psycopg.Connection, sealed: _Sealed) -> Iterator[str]:
    """Rows of areas, from the sealed document."""
    if "document areas.json" not in sealed.parts:
        return
    whole = connection.execute(
        "SELECT FROM phusa.document WHERE release_id = %s AND name = 'areas.json' "
        "AND encode(sha256(convert_to(content, 'UTF8')), 'hex') = %s",
        (sealed.number, sealed.parts["document areas.json"]),
    ).fetchone()
    if whole is None:
        return
    told = (
        "SELECT s.* FROM phusa.document d, json_populate_recordset(NULL::phusa.release_area, d.content::json) s "
        "WHERE d.release_id = %(release)s AND d.name = 'areas.json'"
    )
    stored = (
        "SELECT a.* FROM phusa.release_area a JOIN phusa.release r USING (region, season, release) "
        "WHERE r.id = %(release)s"
    )
    key = "region, season, release, target, level, code, indicator"
    gone = connection.execute(
        f"DELETE FROM phusa.release_area WHERE ({key}) IN (SELECT {key} FROM ({stored} EXCEPT {told}) x)",
        {"release": sealed.number},
    ).rowcount
    back = connection.execute(
        f"INSERT INTO phusa.release_area SELECT * FROM ({told} EXCEPT {stored}) x", {"release": sealed.number}
    ).rowcount
    if gone or back:
        yield f"{back} rows of areas were put back, {gone} removed"
