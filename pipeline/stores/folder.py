"""Folder store: COGs and STAC items that any reader of static catalogues understands.

    catalog.json                                        the one switch: what it links to is published
    drafts/<region>/<season>/<tile>_<target>.{tif,json} made, not yet published
    releases/<region>/<season>/<release>/               COGs and their companions, items, items.parquet,
                                                        collection.json, tables.gpkg, and SHA256SUMS of
                                                        them all, whose own digest catalog.json states
    releases/<region>/<season>/versions.json            its releases, oldest first

    releases/<region>/<season>/CURRENT                  its link in catalog.json, from which a lost or
                                                        damaged catalog.json is made again

    journals/releases.txt                               what happened to releases, by whom (``journal``)

A release is built aside and renamed; then catalog.json is replaced. COGs are hard-linked where the
file system can, so an unchanged product is stored once however often its season is published.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import companions, stac
from pipeline.errors import InputError, IntegrityError, QualityError
from pipeline.files import json_text, sha256, write_aside
from pipeline.product import Product, ProductId
from pipeline.season import Season, slug
from pipeline.stores.bucket import Bucket
from pipeline.stores.contract import Event, Record, Release, release_id, unfenced
from pipeline.stores.folderjournal import PREPARE, FolderJournal, person
from pipeline.stores.journal import Checkpoint, Entry, Standing, faults, replay
from pipeline.stores.releasefolder import (
    COLLECTION,
    SUMS,
    VERSIONS,
    ReleaseFolder,
    build,
    read_record,
    version_history,
)

CATALOG_ID = "phusa"
CURRENT = "CURRENT"
#: Where a link of catalog.json keeps the digest of its release.
_DIGEST = "phusa:sha256"


class FolderStore:
    """See the module's text."""

    def __init__(self, path: Path, region: str, review: bool = False, bucket: Bucket | None = None) -> None:
        if path.exists() and not path.is_dir():
            raise InputError(f"{path} is a file; a store is a folder")
        self.path, self.region, self.review_needed = path, region, review
        self.bucket = bucket
        self._journal = FolderJournal(path)

    def find(self, product: ProductId, key: str) -> Record | None:
        draft = read_record(self._drafts(product.season) / f"{product.name}.json")
        released = (r.record(product.name) for r in self._known(product.season))
        for record in (draft, *released):
            if record and record.id == product and record.key == key:
                return record
        return None

    def put(self, product: Product, cog: Path) -> Record:
        folder = self._drafts(product.season.name)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{product.id.name}.tif"
        digest = sha256(cog)
        record = path.with_suffix(".json")
        record.unlink(missing_ok=True)  # a COG without its record is no product
        os.replace(cog, path)
        item = companions.record(product, path, digest, f"./{path.name}")
        write_aside(record, json_text(item))
        return Record(product.id, product.key, digest, path, item)

    def publish(
        self,
        season: Season,
        records: Sequence[Record],
        areas: pd.DataFrame | None = None,
        documents: Mapping[str, str] | None = None,
        fence: Callable[[], None] = unfenced,
    ) -> Release:
        with self._lock():
            self._settle()
            release = release_id(records, areas)
            folder = self.path / "releases" / self.region / season.slug / release
            current = self._current(season.name)
            known = bool(current and current.folder == folder and not current.faults())
            if not known:
                build(
                    folder, self.region, season, records, areas, self._areas_before(season), documents or {}
                )
            fence()
            said = self._journal.standing(self.region, season.name, release)
            waits = self.review_needed and not self._reviewed(said)
            if waits and (said is None or said.state != "draft"):
                self._note("submit", season.name, folder)
            simulated = any(r.item["properties"].get("phusa:simulated") for r in records)
            if not waits and (not known or self._unlinked() or said is None or said.state != "official"):
                self._note(PREPARE, season.name, folder)
                self._switch(season, folder, simulated)
                self._note("publish", season.name, folder, reviewed_by=said.reviewed_by if said else None)
            if not waits:
                self._send(self._links())
            for record in records:
                self._drop_draft(record)
            placed = tuple(replace(r, path=folder / f"{r.id.name}.tif") for r in records)
            changed = said is None or said.state != "draft" if waits else not known
            return Release(release, season.name, placed, changed, "draft" if waits else "official")

    def _reviewed(self, said: Standing | None) -> bool:
        """Whether a release may become, or stays, official. Raises QualityError for who reviewed it."""
        if said is None or said.state in ("draft", "withdrawn"):
            return False
        if said.state == "reviewed" and said.reviewed_by == person():
            raise QualityError(f"{person()} reviewed the release; another person must publish it")
        return said.state == "official" or said.reviewed_by is not None

    def review(self, season: Season, accept: bool, remark: str) -> Release:
        with self._lock():
            self._settle()
            release, said = self._waiting(season)
            folder = self.path / "releases" / self.region / season.slug / release
            found = ReleaseFolder(folder, said.manifest)
            if accept and said.submitted_by == person():
                raise QualityError(f"{person()} submitted release {release}; another person must review it")
            if accept and (faults := found.faults()):
                raise IntegrityError("\n".join(faults))
            if accept:
                self._note("review", season.name, folder, remark=remark)
            else:
                self._note("reject", season.name, folder, reason=remark)
            state = "reviewed" if accept else "withdrawn"
            return Release(release, season.name, tuple(found.records()), True, state)

    def _waiting(self, season: Season) -> tuple[str, Standing]:
        said = replay(self._journal.entries())
        for (region, name, release), standing in reversed(said.items()):
            if (region, name, standing.state) == (self.region, season.name, "draft"):
                return release, standing
        raise InputError(f"no release of season {season.name!r} waits for review")

    def withdraw(self, season: Season, reason: str) -> Release:
        with self._lock():
            self._settle()
            current = self._current(season.name)
            if current is None:
                raise InputError(f"no release of season {season.name!r} is official")
            records = tuple(current.records())
            self._note(PREPARE, season.name, current.folder, reason=reason)
            current.folder.with_name(CURRENT).unlink(missing_ok=True)
            gone = str(current.folder.parent.relative_to(self.path))
            links = [x for x in self._links() if str(Path(x["href"]).parents[1]) != gone]
            self._write_catalog(links)
            self._note("withdraw", season.name, current.folder, reason=reason)
            return Release(current.folder.name, season.name, records, True, "withdrawn")

    def history(self) -> list[Event]:
        return self._journal.events(self.region)

    def journal(self) -> list[Entry]:
        return self._journal.entries()

    def _note(self, action: str, season: str, folder: Path, **more: Any) -> None:
        manifest = sha256(folder / SUMS)
        self._journal.append(action, folder.parts[-3], season, folder.name, manifest, **more)

    def _settle(self) -> None:
        """Write what a killed process could not: that the catalogue was replaced; and, in a store from
        before there was a journal, what is published."""
        said = self._journal.unfinished()
        if said:
            shown = self._shown().get((said["region"], slug(said["season"])))
            wanted = None if "reason" in said else (said["release"], said["manifest"])
            if shown == wanted:
                more = {k: said[k] for k in ("reason",) if k in said}
                self._journal.append(
                    "withdraw" if more else "publish",
                    *(said[k] for k in ("region", "season", "release", "manifest")),
                    **more,
                )
        elif not self._journal.path.exists():
            for release in self._releases():
                if records := release.records():
                    self._note("publish", records[0].id.season, release.folder, adopted=True)

    def _shown(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(region, season's slug) -> (release, digest of its list) that the catalogue links to."""
        return {(r.folder.parts[-3], r.folder.parts[-2]): (r.folder.name, r.digest) for r in self._releases()}

    def _areas_before(self, season: Season) -> pd.DataFrame | None:
        """Areas published for the newest season that starts before ``season``."""
        own = [r for r in self._releases() if r.folder.parents[1].name == self.region]
        found = [areas for r in own if (areas := r.areas()) is not None]
        earlier = [a for a in found if a["season_start"].iloc[0] < season.start.isoformat()]
        return max(earlier, key=lambda a: str(a["season_start"].iloc[0]), default=None)

    def published(self, season: Season) -> list[Record]:
        release = self._current(season.name)
        return release.records() if release else []

    def verify(self, checkpoint: Checkpoint | None = None) -> list[str]:
        entries, where = self._journal.entries(), str(self._journal.path)
        linked = list(self._releases())
        return [
            *self._unlinked(),
            *(fault for release in linked for fault in release.faults()),
            *self._bucket_faults(linked),
            *faults(entries, where),
            *(checkpoint.faults(entries, where) if checkpoint else []),
            *self._departures(replay(entries), {r.folder for r in linked}),
        ]

    def _departures(
        self, told: Mapping[tuple[str, str, str], Standing], linked: Collection[Path]
    ) -> Iterator[str]:
        """What the catalogue shows against what the journal says, and the releases that readers no longer see."""
        shown, where = self._shown(), self.path / "catalog.json"
        if shown and not told:
            yield f"{self._journal.path}: missing, and there are releases; publish any season again"
            return
        official = {k: s for k, s in told.items() if s.state == "official"}
        places = {
            (region, slug(season)): (release, s.manifest) for (region, season, release), s in official.items()
        }
        said = self._journal.unfinished()
        open_place = (said["region"], slug(said["season"])) if said else None
        for place in sorted(shown.keys() | places.keys()):
            if shown.get(place) != places.get(place) and place != open_place:
                has, wants = (where.get(place, ("nothing",))[0] for where in (shown, places))
                yield f"{where}: shows {has} of {' '.join(place)}, the journal has {wants} as official"
        for (region, season, release), standing in told.items():
            folder = self.path / "releases" / region / slug(season) / release
            if folder not in linked and standing.state != "withdrawn" and standing.submitted_by:
                yield from ReleaseFolder(folder, standing.manifest).faults()

    def close(self) -> None:
        """A folder needs no closing."""

    def _drafts(self, season: str) -> Path:
        return self.path / "drafts" / self.region / slug(season)

    def _current(self, season: str) -> ReleaseFolder | None:
        """The published release of a season."""
        start = self.path / "releases" / self.region / slug(season)
        return next((r for r in self._releases() if r.folder.parent == start), None)

    def _known(self, season: str) -> Iterator[ReleaseFolder]:
        """The releases of a season, the published one first: what was made once need not be made again."""
        current = self._current(season)
        if current:
            yield current
        for path in sorted((self.path / "releases" / self.region / slug(season)).glob(f"*/{SUMS}")):
            if current is None or path.parent != current.folder:
                yield ReleaseFolder(path.parent, sha256(path))

    def _releases(self) -> Iterator[ReleaseFolder]:
        """The published releases of all regions and seasons."""
        try:
            links = _links_of(self.path / "catalog.json")
        except (OSError, ValueError):  # ``verify`` tells it, and the next publication writes it anew
            links = self._pointers()
        for link in links:
            yield ReleaseFolder((self.path / link["href"]).parent, link.get(_DIGEST, ""))

    def _pointers(self) -> list[dict[str, str]]:
        found = []
        for path in sorted(self.path.glob(f"releases/*/*/{CURRENT}")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                found.append(_link_in(json.loads(path.read_text(encoding="utf-8"))))
        return found

    def _unlinked(self) -> list[str]:
        """Faults of catalog.json: damaged, or without a season that has releases."""
        path, pointers = self.path / "catalog.json", self._pointers()
        try:
            linked = {Path(link["href"]).parents[1] for link in _links_of(path)}
        except FileNotFoundError:
            return [f"{path}: missing, and there are releases; publish any season again"] if pointers else []
        except (OSError, ValueError) as error:
            return [f"{path}: not the catalogue of a store ({error}); publish any season again"]
        lost = sorted({Path(link["href"]).parents[1] for link in pointers} - linked)
        return [f"{path}: has no link to {self.path / season}; publish any season again" for season in lost]

    def _switch(self, season: Season, folder: Path, simulated: bool) -> None:
        """Replace catalog.json: the links it had, those it has lost, and that of the new release."""
        link = {
            "rel": "child",
            "href": f"./{(folder / COLLECTION).relative_to(self.path)}",
            "type": "application/json",
            "title": f"{'SIMULATED ' if simulated else ''}{self.region} {season}",
            _DIGEST: sha256(folder / SUMS),
        }
        by_season = {str(Path(x["href"]).parents[1]): x for x in (*self._links(), link)}
        self._write_catalog(by_season.values())
        write_aside(folder.with_name(CURRENT), json_text(link))
        write_aside(folder.with_name(VERSIONS), json_text(version_history(folder, season)))

    def _links(self) -> list[dict[str, str]]:
        """The links that catalog.json has, and those it has lost."""
        try:
            had = _links_of(self.path / "catalog.json")
        except (OSError, ValueError):
            had = []
        by_season = {str(Path(x["href"]).parents[1]): x for x in (*self._pointers(), *had)}
        return list(by_season.values())

    def _send(self, links: Sequence[dict[str, str]]) -> None:
        """Make the bucket hold the releases of ``links``, then the catalogue that shows them.

        Nothing is sent twice; a bucket that a kill left behind is brought along by the next publication.
        """
        if self.bucket is None:
            return
        for link in links:
            for path, digest in ReleaseFolder(
                (self.path / link["href"]).parent, link.get(_DIGEST, "")
            ).files():
                self.bucket.send(path, path.relative_to(self.path).as_posix(), digest)
        catalog = self.path / "catalog.json"
        self.bucket.send(catalog, catalog.name, sha256(catalog))

    def _bucket_faults(self, linked: Iterable[ReleaseFolder]) -> Iterator[str]:
        """What of the published releases the bucket lacks, or holds otherwise."""
        catalog = self.path / "catalog.json"
        if self.bucket is None or not catalog.is_file():
            return
        for release in linked:
            yield from self.bucket.faults(
                {path.relative_to(self.path).as_posix(): digest for path, digest in release.files()}
            )
        yield from self.bucket.faults({catalog.name: sha256(catalog)})

    def _write_catalog(self, links: Iterable[dict[str, str]]) -> None:
        catalog = {
            "type": "Catalog",
            "stac_version": stac.VERSION,
            "id": CATALOG_ID,
            "description": "Bản đồ đã công bố của Phù Sa. Published Phù Sa maps.",
            "links": [
                {"rel": "root", "href": "./catalog.json", "type": "application/json"},
                *sorted(links, key=lambda x: x["href"]),
            ],
        }
        write_aside(self.path / "catalog.json", json_text(catalog))

    def _drop_draft(self, record: Record) -> None:
        path = self._drafts(record.id.season) / f"{record.id.name}.json"
        draft = read_record(path)
        if draft is None or draft.key == record.key:  # else it is another run's
            path.unlink(missing_ok=True)
            for file in companions.files(record.item, path.with_suffix(".tif")):
                file.unlink(missing_ok=True)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One publisher at a time."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _links_of(path: Path) -> list[dict[str, str]]:
    """The links of catalog.json to releases. Raises OSError, or ValueError where it is no such catalogue."""
    try:
        links = json.loads(path.read_text(encoding="utf-8"))["links"]
        return [_link_in(link) for link in links if link["rel"] == "child"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _link_in(link: Any) -> dict[str, str]:
    """A link to a release, ``./releases/<region>/<season>/<release>/collection.json``."""
    found = {str(k): str(v) for k, v in link.items()}
    parts = Path(found["href"]).parts
    if len(parts) != 5 or parts[0] != "releases" or ".." in parts or parts[4] != COLLECTION:
        raise ValueError(f"{found['href']!r} is no release")
    return found
