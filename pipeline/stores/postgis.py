"""PostGIS store: pixels that answer SQL, items in pgSTAC, one transaction a publication.

COGs lie in files below ``path``, named by their content, so nothing published is ever overwritten.
Drafts are rows in state ``draft``: no view, and not pgSTAC, shows them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg
from psycopg.types.json import Jsonb

from pipeline import companions, stac
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.product import Product, ProductId
from pipeline.season import Season, slug
from pipeline.stores import schema, wkb
from pipeline.stores.contract import Record, Release, release_id

_COLUMNS = "season, tile, target, key, sha256, cog, item"


class PostgisStore:
    """See the module's text."""

    def __init__(self, path: Path, region: str, connection: psycopg.Connection) -> None:
        self.path, self.region, self.connection = path, region, connection

    @classmethod
    def open(cls, path: Path, region: str, dsn: str | None) -> PostgisStore:
        """Raises InputError where PHUSA_DSN is absent, the server does not answer or lacks the schema."""
        if not dsn:
            raise InputError("the store is postgis, and PHUSA_DSN is not set: give it the database's address")
        try:
            connection = psycopg.connect(dsn, connect_timeout=10, autocommit=True)
        except psycopg.Error as error:
            raise InputError(f"no database answers at PHUSA_DSN: {' '.join(str(error).split())}") from None
        newest = max(number for number, _, _ in schema.migrations())
        have = schema.applied(connection)
        if newest not in have:
            connection.close()
            raise InputError("the database has not the schema of this version; run `phusa db init`")
        return cls(path, region, connection)

    def find(self, product: ProductId, key: str) -> Record | None:
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM phusa.product WHERE region = %s AND season = %s AND tile = %s "
            "AND target = %s AND key = %s AND state IN ('draft', 'published') "
            "AND EXISTS (SELECT FROM phusa.raster WHERE product_id = product.id) ORDER BY state, id DESC",
            (self.region, product.season, product.tile, product.target, key),
        ).fetchall()
        return next((r for r in map(_record, rows) if _whole(r)), None)

    def put(self, product: Product, cog: Path) -> Record:
        digest = sha256(cog)
        name = f"{product.key[:12]}-{digest[:12]}"
        path = (
            self.path / "products" / self.region / slug(product.season.name) / name / f"{product.id.name}.tif"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(cog, path)
        item = companions.record(product, path, digest, str(path))
        place = (self.region, product.season.name, product.id.tile, product.id.target)
        with self.connection.transaction():
            published = self.connection.execute(
                "SELECT id FROM phusa.product WHERE (region, season, tile, target, key, sha256) = (%s, %s, %s, %s, %s, %s) "
                "AND state = 'published'",
                (*place, product.key, digest),
            ).fetchone()
            self.connection.execute(
                "DELETE FROM phusa.product WHERE (region, season, tile, target) = (%s, %s, %s, %s) AND state = 'draft'",
                place,
            )
            if published:  # its lost file or pixels were made again
                self._write_pixels(published[0], path)
            else:
                self._insert(place, product.key, digest, path, item)
        return Record(product.id, product.key, digest, path, item)

    def _insert(
        self, place: tuple[str, ...], key: str, digest: str, path: Path, item: dict[str, Any]
    ) -> None:
        row = self.connection.execute(
            "INSERT INTO phusa.product (region, season, tile, target, key, sha256, cog, item) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (region, season, tile, target, key, sha256) "
            "DO UPDATE SET state = 'draft', cog = excluded.cog, item = excluded.item RETURNING id",
            (*place, key, digest, str(path), Jsonb(item)),
        ).fetchone()
        assert row is not None
        self._write_pixels(row[0], path)

    def _write_pixels(self, product: int, path: Path) -> None:
        self.connection.execute("DELETE FROM phusa.raster WHERE product_id = %s", (product,))
        with self.connection.cursor() as cursor, cursor.copy("COPY phusa.raster FROM STDIN") as copy:
            for tile in wkb.tiles(path):
                copy.write_row((product, tile))

    def publish(
        self, season: Season, records: Sequence[Record], areas: pd.DataFrame | None = None
    ) -> Release:
        release = release_id(records, areas)
        with self.connection.transaction():
            self.connection.execute("SELECT pg_advisory_xact_lock(hashtext('phusa.publish'))")
            before = {(r.id, r.key, r.sha256) for r in self.published(season)}
            changed = before != {(r.id, r.key, r.sha256) for r in records}
            if changed:
                self._switch(season, records, release)
            unlisted = changed or self._unlisted(records)
            if unlisted:
                self._to_pgstac(season, records)
            counted = self._write_areas(season, release, areas)
        return Release(release, season.name, tuple(records), unlisted or counted)

    def _write_areas(self, season: Season, release: str, areas: pd.DataFrame | None) -> bool:
        """Replace a season's areas by those of ``release``; False where it is them already."""
        place = self.region, season.name
        stored = self.connection.execute(
            "SELECT DISTINCT release FROM phusa.area WHERE region = %s AND season = %s", place
        ).fetchall()
        if stored == ([(release,)] if areas is not None and len(areas) else []):
            return False
        self.connection.execute("DELETE FROM phusa.area WHERE region = %s AND season = %s", place)
        if areas is None:
            return True
        head = ", ".join(("region", "season", "season_start", "release", *areas.columns))
        with (
            self.connection.cursor() as cursor,
            cursor.copy(f"COPY phusa.area ({head}) FROM STDIN") as copy,
        ):
            for row in areas.itertuples(index=False, name=None):
                copy.write_row((*place, season.start, release, *(None if pd.isna(v) else v for v in row)))
        return True

    def _unlisted(self, records: Sequence[Record]) -> bool:
        """Whether pgSTAC lacks an item of what is published."""
        row = self.connection.execute(
            "SELECT count(*) FROM pgstac.items WHERE (collection, id) IN "
            "(SELECT * FROM unnest(%s::text[], %s::text[]))",
            ([r.item["collection"] for r in records], [r.item["id"] for r in records]),
        ).fetchone()
        return row is None or row[0] < len(records)

    def _switch(self, season: Season, records: Sequence[Record], release: str) -> None:
        run = self.connection.execute
        run(
            "UPDATE phusa.product SET state = 'superseded' WHERE region = %s AND season = %s AND state = 'published'",
            (self.region, season.name),
        )
        numbers = []
        for r in records:
            row = run(
                "UPDATE phusa.product SET state = 'published' WHERE (region, season, tile, target, key, sha256) = "
                "(%s, %s, %s, %s, %s, %s) RETURNING id",
                (self.region, season.name, r.id.tile, r.id.target, r.key, r.sha256),
            ).fetchone()
            if row is None:  # the transaction is rolled back: nothing becomes visible
                raise InputError(
                    f"product {r.id.name} of season {season.name!r} is not in the database; map it again"
                )
            numbers.append(row[0])
        run(
            "INSERT INTO phusa.release (region, season, release, products) VALUES (%s, %s, %s, %s)",
            (self.region, season.name, release, numbers),
        )

    def _to_pgstac(self, season: Season, records: Sequence[Record]) -> None:
        """By pgSTAC's own SQL, inside our transaction; pypgstac's loader would commit by itself."""
        run = self.connection.execute
        run("SET LOCAL search_path TO pgstac, public")
        items = [r.item for r in records]
        collection = stac.collection(self.region, season, items)
        run("SELECT pgstac.upsert_collection(%s)", (Jsonb(collection),))
        run(
            "DELETE FROM pgstac.items WHERE collection = %s AND NOT id = ANY(%s)",
            (collection["id"], [i["id"] for i in items]),
        )
        run("SELECT pgstac.upsert_items(%s)", (Jsonb(items),))

    def published(self, season: Season) -> list[Record]:
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM phusa.published WHERE region = %s AND season = %s ORDER BY tile, target",
            (self.region, season.name),
        ).fetchall()
        return [_record(row) for row in rows]

    def verify(self) -> list[str]:
        rows = self.connection.execute(
            "SELECT p.cog, p.sha256, EXISTS (SELECT FROM phusa.raster r WHERE r.product_id = p.id), "
            "EXISTS (SELECT FROM pgstac.items i WHERE i.id = p.item ->> 'id' AND i.collection = p.item ->> 'collection') "
            "FROM phusa.published p WHERE region = %s ORDER BY p.id",
            (self.region,),
        ).fetchall()
        return [fault for row in rows for fault in _faults(*row)]

    def close(self) -> None:
        self.connection.close()


def _record(row: Sequence[Any]) -> Record:
    season, tile, target, key, digest, cog, item = row
    return Record(ProductId(season, tile, target), key, digest, Path(cog), item)


def _whole(record: Record) -> bool:
    try:
        return bool(record.path.stat().st_size == record.item["assets"]["map"]["file:size"])
    except OSError:
        return False


def _faults(cog: str, digest: str, pixels: bool, item: bool) -> list[str]:
    found = []
    if not Path(cog).is_file():
        found.append(f"{cog}: missing")
    elif sha256(Path(cog)) != digest:
        found.append(f"{cog}: its SHA-256 is not {digest}, which the database states")
    if not pixels:
        found.append(f"{cog}: the database holds none of its pixels")
    if not item:
        found.append(f"{cog}: pgSTAC lacks its item")
    return found
