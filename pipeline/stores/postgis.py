"""PostGIS store: pixels that answer SQL, items in pgSTAC, one transaction a publication.

COGs lie in files below ``path``, named by their content, so nothing published is ever overwritten.
Drafts are rows of no release: no view, and not pgSTAC, shows them. The steps of a release are the
functions of schema/003: the database decides who may take them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import psycopg
from psycopg.types.json import Jsonb

from pipeline import companions, stac
from pipeline.errors import InputError, IntegrityError
from pipeline.files import sha256, write_aside
from pipeline.product import Product, ProductId
from pipeline.season import Season, slug
from pipeline.stores import address, integrity, mending, mirrors, repairs, schema, wkb
from pipeline.stores.bucket import Bucket
from pipeline.stores.contract import Event, Record, Release, release_id, unfenced
from pipeline.stores.journal import Checkpoint, Entry, faults

Pixels = Literal["in_database", "out_of_database"]

_COLUMNS = "season, tile, target, key, sha256, cog, item"


_WHOLE = "octet_length(tiles) = 32 * (SELECT count(*) FROM phusa.raster WHERE product_id = product.id)"
_SAME = "(region, season, tile, target, key, sha256) = (%s, %s, %s, %s, %s, %s)"


class PostgisStore:
    """See the module's text."""

    def __init__(
        self,
        path: Path,
        region: str,
        connection: psycopg.Connection,
        review: bool = False,
        pixels: Pixels = "in_database",
        bucket: Bucket | None = None,
    ) -> None:
        self.path, self.region, self.connection = path, region, connection
        self.pixels, self.bucket = pixels, bucket
        owner = connection.execute("SELECT pg_has_role(session_user, 'phusa_owner', 'MEMBER')").fetchone()
        if bucket:
            bucket.store = mirrors.identity(connection)
        #: Only owners may publish what nobody reviewed; the database holds to that.
        self.review_needed = review or owner != (True,)

    @classmethod
    def open(
        cls, path: Path, region: str, dsn: str | None, review: bool = False, pixels: Pixels = "in_database",
        bucket: Bucket | None = None,
    ) -> PostgisStore:  # fmt: skip
        """Raises InputError where PHUSA_DSN is absent, the server does not answer or lacks the schema."""
        connection = address.connect(dsn)
        try:
            if schema.pending(connection):
                raise InputError("the database has not the schema of this version; run `phusa db init`")
            return cls(path, region, connection, review, pixels, bucket)
        except psycopg.errors.InsufficientPrivilege:
            connection.close()
            raise InputError("the database's user has no role of phusa; `phusa db grant` gives one") from None
        except BaseException:
            connection.close()
            raise

    # --- drafts ------------------------------------------------------------------------------

    def find(self, product: ProductId, key: str) -> Record | None:
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM phusa.product WHERE region = %s AND season = %s AND tile = %s "
            f"AND target = %s AND key = %s AND {_WHOLE} ORDER BY phusa.submitted(id) DESC, id DESC",
            (self.region, product.season, product.tile, product.target, key),
        ).fetchall()
        return next((r for r in map(_record, rows) if _whole(r)), None)

    def put(self, product: Product, cog: Path) -> Record:
        digest = sha256(cog)
        name = f"{product.key[:12]}-{digest[:12]}"
        path = (
            self.path / "products" / self.region / slug(product.season.name) / name / f"{product.id.name}.tif"
        )
        place = (self.region, product.season.name, product.id.tile, product.id.target)
        run = self.connection.execute
        with self._told():
            run("INSERT INTO phusa.root VALUES (%s) ON CONFLICT DO NOTHING", (str(self.path),))
            if self.bucket:  # before any object is there, so that orphans are looked for
                mirrors.know(self.connection, self.bucket, self.region, self.path)
            with self.connection.transaction():
                run(f"SELECT pg_advisory_xact_lock_shared({repairs.FILES_LOCK})")
                # Who stores the same product at the same moment sees this one's row.
                run("SELECT pg_advisory_xact_lock(hashtext('phusa.put ' || %s))", ("/".join(place),))
                row = run(
                    f"SELECT id, item, files FROM phusa.product WHERE {_SAME}", (*place, product.key, digest)
                ).fetchone()
                known = Record(product.id, product.key, digest, path, row[1]) if row else None
                if known and known.intact:
                    cog.unlink()
                else:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(cog, path)
                    item = companions.record(product, path, digest, self._address(path))
                record = known or Record(product.id, product.key, digest, path, item)
                if row is None or f"{product.id.name}.json" in row[2]:
                    write_aside(path.with_suffix(".json"), mending.item_text(record.item))
                self._send(record)
                if row:  # its lost file or pixels were made again
                    self._restore_pixels(row[0], path)
                number = row[0] if row else self._insert(place, record)
                replaced = run(
                    "DELETE FROM phusa.product WHERE (region, season, tile, target) = (%s, %s, %s, %s) AND id <> %s "
                    "AND NOT phusa.submitted(id) RETURNING cog, files",
                    (*place, number),
                ).fetchall()
        for old, files in replaced:
            remove_folder(Path(old).parent)
            if self.bucket:
                names = (Path(old).with_name(name) for name in files)
                self.bucket.remove(path.relative_to(self.path).as_posix() for path in names)
        return record

    def _insert(self, place: tuple[str, ...], record: Record) -> int:
        files = {p.name: digest for p, digest in _files(record).items()}
        row = self.connection.execute(
            "INSERT INTO phusa.product (region, season, tile, target, key, sha256, cog, item, files) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (*place, record.key, record.sha256, str(record.path), Jsonb(record.item), Jsonb(files)),
        ).fetchone()
        assert row is not None
        digests = []
        with (
            self.connection.cursor() as cursor,
            cursor.copy("COPY phusa.raster (product_id, number, rast) FROM STDIN") as copy,
        ):
            for number, tile in enumerate(self._tiles(record.path), 1):
                digests.append(hashlib.sha256(tile).digest())
                copy.write(f"{row[0]}\t{number}\t{tile.hex()}\n")  # hex needs no escaping
        self.connection.execute(
            "UPDATE phusa.product SET tiles = %s WHERE id = %s", (b"".join(digests), row[0])
        )
        return int(row[0])

    def _tiles(self, cog: Path) -> Iterator[bytes]:
        return wkb.tiles(cog, self.pixels == "in_database")

    def _restore_pixels(self, product: int, cog: Path) -> None:
        """Put back the raster tiles that are gone; the database takes those only that it had."""
        have = self.connection.execute(
            "SELECT number FROM phusa.raster WHERE product_id = %s", (product,)
        ).fetchall()
        row = self.connection.execute(
            "SELECT octet_length(tiles) / 32 FROM phusa.product WHERE id = %s", (product,)
        ).fetchone()
        if row == (len(have),):
            return
        numbers = {number for (number,) in have}
        for number, tile in enumerate(self._tiles(cog), 1):
            if number not in numbers:
                self.connection.execute(
                    "INSERT INTO phusa.raster (product_id, number, rast) VALUES (%s, %s, ST_RastFromHexWKB(%s))",
                    (product, number, tile.hex()),
                )

    # --- releases ----------------------------------------------------------------------------

    def publish(
        self,
        season: Season,
        records: Sequence[Record],
        areas: pd.DataFrame | None = None,
        documents: Mapping[str, str] | None = None,
        fence: Callable[[], None] = unfenced,
    ) -> Release:
        release = release_id(records, areas)
        if self.bucket:  # also what was made before the store had one
            with self._told():
                mirrors.know(self.connection, self.bucket, self.region, self.path)
            for record in records:
                self._send(record)
        with self._told(), self.connection.transaction():
            before = self._state(season, release)
            number = self._submit(season, release, records, areas, documents or {})
            state, reviewed = self._state(season, release) or ("", None)
            if state in ("draft", "reviewed", "superseded") and (reviewed or not self.review_needed):
                self.connection.execute("SELECT phusa.publish(%s)", (number,))
                state = "official"
            relisted = before == (state, reviewed) == ("official", reviewed) and self._unlisted(records)
            if relisted:
                self.connection.execute("SELECT phusa.relist(%s)", (number,))
            fence()
        changed = relisted or before is None or before[0] != state
        return Release(release, season.name, tuple(records), changed, state)

    def _state(self, season: Season, release: str) -> tuple[str, str | None] | None:
        return self.connection.execute(
            "SELECT state, reviewed_by FROM phusa.release WHERE (region, season, release) = (%s, %s, %s)",
            (self.region, season.name, release),
        ).fetchone()

    def _submit(
        self,
        season: Season,
        release: str,
        records: Sequence[Record],
        areas: pd.DataFrame | None,
        documents: Mapping[str, str],
    ) -> int:
        place = self.region, season.name
        numbers = []
        for r in records:
            row = self.connection.execute(
                f"SELECT id FROM phusa.product WHERE {_SAME}",
                (*place, r.id.tile, r.id.target, r.key, r.sha256),
            ).fetchone()
            if row is None:  # the transaction is rolled back: nothing becomes visible
                raise InputError(
                    f"product {r.id.name} of season {season.name!r} is not in the database; map it again"
                )
            numbers.append(row[0])
        texts = dict(documents)
        texts["collection.json"] = json.dumps(stac.collection(self.region, season, [r.item for r in records]))
        if areas is not None:
            texts["areas.json"] = _areas(place, season, release, areas)
        row = self.connection.execute(
            "SELECT phusa.submit(%s, %s, %s, %s, %s, %s, %s)",
            (*place, season.start, season.end, release, numbers, Jsonb(texts)),
        ).fetchone()
        assert row is not None
        return int(row[0])

    def _unlisted(self, records: Sequence[Record]) -> bool:
        """Whether pgSTAC lacks an item of what is published."""
        row = self.connection.execute(
            "SELECT count(*) FROM pgstac.items WHERE (collection, id) IN "
            "(SELECT * FROM unnest(%s::text[], %s::text[]))",
            ([r.item["collection"] for r in records], [r.item["id"] for r in records]),
        ).fetchone()
        return row is None or row[0] < len(records)

    def review(self, season: Season, accept: bool, remark: str) -> Release:
        number, release = self._one(season, "('draft')", "waits for review")
        if accept:
            altered = integrity.faults_of(self.connection, [number])
            if altered:
                raise IntegrityError("\n".join(altered))
        with self._told():
            self.connection.execute("SELECT phusa.review(%s, %s, %s)", (number, accept, remark))
        state = "reviewed" if accept else "withdrawn"
        return Release(release, season.name, tuple(self._records(number)), True, state)

    def withdraw(self, season: Season, reason: str) -> Release:
        number, release = self._one(season, "('official')", "is official")
        with self._told():
            self.connection.execute("SELECT phusa.withdraw(%s, %s)", (number, reason))
        return Release(release, season.name, tuple(self._records(number)), True, "withdrawn")

    def _one(self, season: Season, states: str, what: str) -> tuple[int, str]:
        with self._told():
            row = self.connection.execute(
                f"SELECT id, release FROM phusa.release WHERE region = %s AND season = %s AND state IN {states}",
                (self.region, season.name),
            ).fetchone()
        if row is None:
            raise InputError(f"no release of season {season.name!r} {what}")
        return row

    def _records(self, release: int) -> list[Record]:
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM phusa.product JOIN phusa.release_product ON product_id = id "
            "WHERE release_id = %s ORDER BY tile, target",
            (release,),
        ).fetchall()
        return [_record(row) for row in rows]

    def published(self, season: Season) -> list[Record]:
        rows = self.connection.execute(
            f"SELECT {_COLUMNS} FROM phusa.published WHERE region = %s AND season = %s ORDER BY tile, target",
            (self.region, season.name),
        ).fetchall()
        return [_record(row) for row in rows]

    def history(self) -> list[Event]:
        if spoiled := faults(self.journal(), "phusa.journal"):
            raise IntegrityError("\n".join(spoiled))
        rows = self.connection.execute(
            "SELECT at, person, action, season, release, coalesce(remark, '') FROM phusa.history "
            "WHERE region = %s ORDER BY seq",
            (self.region,),
        ).fetchall()
        return [Event(*row) for row in rows]

    def journal(self) -> list[Entry]:
        with self._told():
            return integrity.journal(self.connection)

    def verify(self, checkpoint: Checkpoint | None = None) -> list[str]:
        with self._told():
            return [*integrity.faults(self.connection, checkpoint), *self._bucket_faults()]

    def _address(self, path: Path) -> str:
        """Where readers find a file: in the bucket, if there is one."""
        return self.bucket.url(path.relative_to(self.path).as_posix()) if self.bucket else str(path)

    def _send(self, record: Record) -> None:
        """Put a product's files into the bucket before any row names them."""
        if self.bucket:
            for path, digest in _files(record).items():
                self.bucket.send(path, path.relative_to(self.path).as_posix(), digest)

    def _bucket_faults(self) -> Iterator[str]:
        """What of the released products the bucket lacks, or holds otherwise."""
        if self.bucket:
            objects = mirrors.objects(self.connection, self.path, self.region, released=True)
            yield from self.bucket.faults(objects)

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Refusals by the database as our own errors."""
        try:
            yield
        except psycopg.Error as error:
            meant = address.told(error)
            if meant is None:
                raise
            raise meant from None


def _areas(place: tuple[str, str], season: Season, release: str, areas: pd.DataFrame) -> str:
    """Rows of phusa.release_area as a JSON array; the released copy of the table's rows."""
    head = {"region": place[0], "season": place[1], "season_start": season.start, "release": release}
    rows = (
        head
        | {name: None if pd.isna(value) else value for name, value in zip(areas.columns, row, strict=True)}
        for row in areas.itertuples(index=False, name=None)
    )
    return json.dumps(
        list(rows), ensure_ascii=False, default=lambda v: v.item() if isinstance(v, np.generic) else str(v)
    )


def _files(record: Record) -> dict[Path, str]:
    """Every file of a product -> SHA-256: COG, companions, and the item itself, from which a lost row is made again."""
    item = record.path.with_suffix(".json")
    return companions.files(record.item, record.path) | ({item: sha256(item)} if item.is_file() else {})


def remove_folder(folder: Path) -> None:
    """Remove a product's files; what cannot be removed is left to ``phusa db check --repair``."""
    with suppress(OSError):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _record(row: Sequence[Any]) -> Record:
    season, tile, target, key, digest, cog, item = row
    return Record(ProductId(season, tile, target), key, digest, Path(cog), item)


def _whole(record: Record) -> bool:
    try:
        return bool(record.path.stat().st_size == record.item["assets"]["map"]["file:size"])
    except OSError:
        return False
