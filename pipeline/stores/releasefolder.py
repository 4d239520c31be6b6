"""A release of the folder store on disk: read as published, and built aside.

<target COGs and companions>, <tile>_<target>.json (items), items.parquet, collection.json, tables.gpkg
SHA256SUMS of them all
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import pandas as pd
import pyogrio
import shapely
import stac_geoparquet.arrow

from pipeline import companions, stac
from pipeline.files import json_text, sha256
from pipeline.product import ProductId, summary
from pipeline.season import Season
from pipeline.stores.contract import Record
from pipeline.zones import change

SUMS = "SHA256SUMS"
VERSIONS = "versions.json"
COLLECTION = "collection.json"
TABLES = "tables.gpkg"
#: Its layer with one row a unit and indicator.
AREAS = "areas"


@dataclass(frozen=True)
class ReleaseFolder:
    """A release on disk, and the digest of its SHA256SUMS that catalog.json states."""

    folder: Path
    digest: str

    def records(self) -> list[Record]:
        """Its products; without those of which ``record`` gives none."""
        names = (Path(name).stem for name in self._sums() if name.endswith(".tif"))
        return [record for name in names if (record := self.record(name))]

    def record(self, name: str) -> Record | None:
        """A product whose record is as published and whose COG is there at its full size."""
        path = self.folder / f"{name}.json"
        return read_record(path) if _is(path, self._sums().get(path.name, "")) else None

    def areas(self) -> pd.DataFrame | None:
        """Its areas by unit; None where it has none, or they are not as published."""
        tables = self.folder / TABLES
        if not _is(tables, self._sums().get(TABLES, "")) or AREAS not in dict(pyogrio.list_layers(tables)):
            return None
        found = pyogrio.read_dataframe(tables, layer=AREAS, read_geometry=False)
        return found if len(found) else None

    def files(self) -> Iterator[tuple[Path, str]]:
        """Its files and their SHA-256, the list of them last."""
        yield from ((self.folder / name, digest) for name, digest in self._sums().items())
        if self.digest:
            yield self.folder / SUMS, self.digest

    def faults(self) -> list[str]:
        """One line for each file that is missing or not as published."""
        try:
            sums = self._sums(strict=True)
        except ValueError as error:
            return [f"{self.folder / SUMS}: {error}"]
        return [fault for name, digest in sums.items() if (fault := _fault(self.folder / name, digest))]

    def _sums(self, strict: bool = False) -> dict[str, str]:
        """File name -> SHA-256; none where the list itself is not as published, or ValueError if strict."""
        path = self.folder / SUMS
        if _is(path, self.digest):
            lines = path.read_text(encoding="utf-8").splitlines()
            return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if strict:
            raise ValueError("missing" if not path.exists() else "changed since catalog.json was written")
        return {}


def _is(path: Path, digest: str) -> bool:
    try:
        return sha256(path) == digest
    except OSError:
        return False


def _fault(path: Path, digest: str) -> str:
    if not path.is_file():
        return f"{path}: missing"
    return "" if _is(path, digest) else f"{path}: its SHA-256 is not {digest}, as published"


def read_record(path: Path) -> Record | None:
    """The record at ``path`` if it is whole, and its COG is there and has the size it should."""
    try:
        item = json.loads(path.read_text(encoding="utf-8"))
        p, asset = item["properties"], item["assets"]["map"]
        found = ProductId(p["phusa:season"], p["phusa:tile"], p["phusa:target"])
        cog = path.with_suffix(".tif")
        if cog.stat().st_size != asset["file:size"]:
            return None
        return Record(found, p["phusa:key"], asset["file:checksum"][4:], cog, item)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build(
    folder: Path,
    region: str,
    season: Season,
    records: Sequence[Record],
    areas: pd.DataFrame | None,
    before: pd.DataFrame | None,
    documents: Mapping[str, str],
) -> None:
    """Write a release aside and put it in place; what is missing of an older copy is made good."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    older = folder.with_name(f".{folder.name}.old")
    for leftover in (temporary, older):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    number, older_release = _version(folder)
    items = []
    for record in records:
        for path in companions.files(record.item, record.path):
            _link(path, temporary / path.name)
        known = older_release is not None and older_release.record(record.id.name) is not None
        address = f"../{older_release.folder.name}/{record.id.name}.json" if older_release and known else None
        item = stac.released(record.item | {"links": _links()}, number, address)
        items.append(item)
        _write_json(temporary / f"{record.id.name}.json", item)
    names = [record.id.name for record in records]
    _write_json(temporary / COLLECTION, _collection(region, season, items, names, number))
    stac_geoparquet.arrow.to_parquet(
        stac_geoparquet.arrow.parse_stac_items_to_arrow(items), temporary / "items.parquet"
    )
    _write_tables(temporary, season, records, areas, before)
    for name, text in documents.items():
        (temporary / name).write_text(text, encoding="utf-8")
    _write_sums(temporary)
    if folder.exists():
        folder.rename(older)
    temporary.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _versions(season: Path) -> dict[int, Path]:
    """Number -> folder of a season's releases, by the collection that each holds."""
    found = {}
    for path in season.glob(f"*/{COLLECTION}"):
        with suppress(OSError, ValueError, KeyError, TypeError):
            found[int(json.loads(path.read_text(encoding="utf-8"))["version"])] = path.parent
    return found


def _version(folder: Path) -> tuple[int, ReleaseFolder | None]:
    """Number of a release among its season's, and the release before it.

    One that is made good keeps its number, also where its collection is lost: it is the one that is missing.
    """
    others = _versions(folder.parent)
    own = next((n for n, path in others.items() if path == folder), None)
    free = (n for n in range(1, len(others) + 2) if n not in others)
    number = own or (next(free) if folder.exists() else max(others, default=0) + 1)
    before = others.get(number - 1)
    return number, ReleaseFolder(before, sha256(before / SUMS)) if before and (
        before / SUMS
    ).is_file() else None


def version_history(folder: Path, season: Season) -> dict[str, Any]:
    """The catalogue of a season's releases, oldest first; ``folder`` is the one that is published."""
    kind = "application/json"
    return {
        "type": "Catalog",
        "stac_version": stac.VERSION,
        "id": f"{folder.parent.parent.name}-{season.slug}-versions",
        "description": f"Các lần công bố của mùa {season}. Releases of season {season}, oldest first.",
        "links": [
            {"rel": "root", "href": "../../../catalog.json", "type": kind},
            {"rel": "latest-version", "href": f"./{folder.name}/{COLLECTION}", "type": kind},
            *(
                {"rel": "child", "href": f"./{path.name}/{COLLECTION}", "type": kind, "title": str(n)}
                for n, path in sorted(_versions(folder.parent).items())
            ),
        ],
    }


def _links() -> list[dict[str, str]]:
    kind = "application/json"
    return [
        {"rel": "version-history", "href": f"../{VERSIONS}", "type": kind},
        {"rel": "root", "href": "../../../../catalog.json", "type": kind},
        {"rel": "parent", "href": "./collection.json", "type": kind},
        {"rel": "collection", "href": "./collection.json", "type": kind},
    ]


def _collection(
    region: str, season: Season, items: list[dict[str, Any]], names: list[str], number: int
) -> dict[str, Any]:
    collection = stac.collection(region, season, items) | {"version": str(number)}
    collection["links"] = [
        {"rel": "root", "href": "../../../../catalog.json", "type": "application/json"},
        {"rel": "parent", "href": "../../../../catalog.json", "type": "application/json"},
        *({"rel": "item", "href": f"./{n}.json", "type": "application/geo+json"} for n in names),
    ]
    return collection


def _write_tables(
    folder: Path,
    season: Season,
    records: Sequence[Record],
    areas: pd.DataFrame | None,
    before: pd.DataFrame | None,
) -> None:
    """GeoPackage with one row a product: where it is, what is mapped of it, and what is not.

    Its table ``areas`` has one row a unit and indicator; ``area_change`` sets it beside ``before``, the
    areas of an earlier season as they were when this one was published.
    """
    rows = [
        {
            "season": r.id.season, "tile": r.id.tile, "target": r.id.target, "file": f"{r.id.name}.tif",
            "key": r.key, "sha256": r.sha256, "lost_reads": r.lost_reads,
            "simulated": bool(r.item["properties"].get("phusa:simulated")),
            **summary(folder / f"{r.id.name}.tif"),
        }
        for r in records
    ]  # fmt: skip
    shapes = [shapely.geometry.shape(r.item["geometry"]) for r in records]
    frame = geopandas.GeoDataFrame(rows, geometry=shapes, crs=4326)
    # GeoPackage stamps the time of writing; a fixed one keeps the same content the same bytes.
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{season.end}T00:00:00.000Z"})
    try:
        pyogrio.write_dataframe(frame, folder / TABLES, layer="products", driver="GPKG")
        if areas is not None:
            told = areas.assign(season=season.name, season_start=season.start.isoformat())
            _append(told, folder / TABLES, AREAS)
            if before is not None:
                _append(change.between(told, before), folder / TABLES, "area_change")
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def _append(table: pd.DataFrame, path: Path, layer: str) -> None:
    pyogrio.write_dataframe(table, path, layer=layer, driver="GPKG", append=True)


def _write_sums(folder: Path) -> None:
    """As ``sha256sum`` writes and checks it."""
    lines = [f"{sha256(path)}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json_text(content), encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # other device, or a file system without hard links
        shutil.copyfile(source, target)
