"""Does pgSTAC show what is official, and what that replaced? Reckoned anew here, not by the database's functions.

Official items stand in the season's collection. Those of superseded releases stand in one beside it, so that
nobody finds an old map who asks for the season's: ``<collection>-superseded``, deprecated, with ``_v<version>``
behind their ids. Links of the version extension go between them, relative to the root of the API.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import psycopg

Key = tuple[str, str]


def faults(connection: psycopg.Connection) -> Iterator[str]:
    """One line for each item or collection that is missing, altered, or nobody's."""
    expected = _expected(connection)
    ours = {collection for collection, _ in expected} | {
        name + ending
        for (name,) in connection.execute(
            "SELECT DISTINCT coalesce(item ->> 'collection', '') FROM phusa.product"
        )
        for ending in ("", "-superseded")
    }
    shown: dict[Key, Any] = {
        (collection, name): item
        for collection, name, item in connection.execute(
            "SELECT collection, id, pgstac.get_item(id, collection) FROM pgstac.items WHERE collection = ANY(%s)",
            (sorted(ours),),
        )
    }
    for collection, name in sorted(expected.keys() | shown.keys()):
        key, where = (collection, name), f"{collection}/{name}"
        if key not in expected:
            yield f"{where}: pgSTAC shows an item that no official release has"
        elif key not in shown:
            yield f"{where}: pgSTAC lacks its item"
        elif _bare(shown[key]) != _bare(expected[key]):
            yield f"{where}: its item in pgSTAC was altered"
    yield from _collections(connection)


def _expected(connection: psycopg.Connection) -> dict[Key, dict[str, Any]]:
    """(collection, id) -> the item that pgSTAC should give."""
    rows = connection.execute(
        "SELECT r.region, r.season, r.version, r.state, p.tile, p.target, p.item FROM (SELECT *, "
        "row_number() OVER (PARTITION BY region, season ORDER BY id) AS version FROM phusa.release) r "
        "JOIN phusa.release_product m ON m.release_id = r.id JOIN phusa.product p ON p.id = m.product_id "
        "WHERE r.state IN ('official', 'superseded') ORDER BY r.version"
    ).fetchall()
    lines: dict[tuple[str, ...], list[tuple[int, bool, Key, dict[str, Any]]]] = defaultdict(list)
    for region, season, version, state, tile, target, item in rows:
        if not {"collection", "id", "properties", "links"} <= item.keys():
            continue  # altered beyond use, and named for that
        now = state == "official"
        key = (item["collection"] + "-superseded" * (not now), item["id"] + f"_v{version}" * (not now))
        lines[region, season, tile, target].append((version, now, key, item))
    found = {}
    for line in lines.values():
        latest = next((key for _, now, key, _ in line if now), None)
        for n, (version, now, key, item) in enumerate(line):
            links = {
                "latest-version": None if now else latest,
                "predecessor-version": line[n - 1][2] if n else None,
                "successor-version": line[n + 1][2] if n + 1 < len(line) else None,
            }
            found[key] = item | {
                "collection": key[0],
                "id": key[1],
                "properties": item["properties"] | _shown_also(item["properties"], version, now),
                "links": item["links"] + [_link(rel, to) for rel, to in links.items() if to],
            }
    return found


def _shown_also(properties: dict[str, Any], version: int, now: bool) -> dict[str, Any]:
    """What only pgSTAC's copy says. It drops nulls, and STAC wants a ``datetime``."""
    moment = properties.get("datetime") or properties.get("start_datetime")
    return {"version": str(version), "datetime": moment} | ({} if now else {"deprecated": True})


def _link(rel: str, to: Key) -> dict[str, str]:
    href = f"collections/{to[0]}/items/{to[1]}"
    return {"rel": rel, "href": href, "type": "application/geo+json"}


def _collections(connection: psycopg.Connection) -> Iterator[str]:
    rows = connection.execute(
        "SELECT r.region || ' ' || r.season, d.content, r.version FROM phusa.document d JOIN (SELECT *, row_number() OVER "
        "(PARTITION BY region, season ORDER BY id) AS version FROM phusa.release) r ON r.id = d.release_id "
        "WHERE d.name = 'collection.json' AND r.state = 'official' ORDER BY r.id"
    ).fetchall()
    shown: dict[str, Any] = dict(connection.execute("SELECT id, content FROM pgstac.collections").fetchall())
    for name, content, version in rows:
        try:
            said = json.loads(content) | {"version": str(version)}
            given = shown.get(said["id"], {}) | {"links": said["links"]}
        except (ValueError, TypeError, KeyError):  # altered beyond use, and named for that
            said, given = {"id": name}, {}
        if _bare(given) != _bare(said):
            yield f"collection {said['id']}: is not in pgSTAC as released"


def _bare(value: Any) -> Any:
    """A record as pgSTAC gives it back: without nulls."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if v is not None}
    return [_bare(v) for v in value] if isinstance(value, list) else value
