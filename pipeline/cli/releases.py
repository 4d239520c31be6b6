"""Releases and people: ``phusa review``, ``withdraw``, ``history``, ``verify`` and ``journal``."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import click

from pipeline.cli.shell import Result, Told, command, open_configured
from pipeline.config import Config
from pipeline.errors import InputError, IntegrityError
from pipeline.stores import Release, Store, official_on
from pipeline.stores.journal import Checkpoint

_PATH = click.Path(path_type=Path)
_config = click.argument("config", type=_PATH)
_season = click.option("--season", required=True, help="Name of a season in the config.")


@click.command()
@_config
@_season
@click.option("--reject", is_flag=True, help="Withdraw the candidate; --remark says why.")
@click.option("--remark", default="", help="Kept in the journal.")
@command
def review(config: Path, season: str, reject: bool, remark: str) -> Result:
    """Accept, or reject, the maps that wait for review. Not for who submitted them.

    The candidate is checked first against what was submitted. `publish` then makes it official.
    """
    if reject and not remark:
        raise InputError("--reject needs --remark: the publisher must know why")
    settings = Config.read(config)
    with open_configured(settings) as store:
        release = store.review(settings.season(season), not reject, remark)
    return _told(store, release)


@click.command()
@_config
@_season
@click.option("--reason", required=True, help="Kept in the journal.")
@command
def withdraw(config: Path, season: str, reason: str) -> Result:
    """Take a season's official maps back. They stay in the store, and readers see none."""
    if not reason.strip():
        raise InputError("--reason is empty; readers will ask why the maps are gone")
    settings = Config.read(config)
    with open_configured(settings) as store:
        release = store.withdraw(settings.season(season), reason)
    return _told(store, release)


@click.command()
@_config
@click.option(
    "--on", "moment", help="A date or moment, such as 2026-03-01 or 2026-03-01T07:00+07:00; UTC if no zone."
)
@command
def history(config: Path, moment: str | None) -> Result:
    """What happened to the region's releases; with --on, which was official at that moment.

    A date means its end.
    """
    settings = Config.read(config)
    when = _moment(moment) if moment else None
    with open_configured(settings) as store:
        events = store.history()
    if when:
        official = official_on(events, when)
        return {"store": str(store.path), "on": when.isoformat(), "official": official}
    lines = [
        f"{e.at:%Y-%m-%d %H:%M:%S} {e.person} {e.action} {e.season} {e.release} {e.remark}".rstrip()
        for e in events
    ]
    told = [vars(e) | {"at": e.at.isoformat()} for e in events]
    return Told({"store": str(store.path), "events": told}, lines)


@click.command()
@_config
@click.option("--checkpoint", type=_PATH, help="File of `phusa journal checkpoint` that was kept elsewhere.")
@command
def verify(config: Path, checkpoint: Path | None) -> Result:
    """Check that everything released, and the journal, is as it was released."""
    settings = Config.read(config)
    known = Checkpoint.read(checkpoint) if checkpoint else None
    with open_configured(settings) as store:
        faults = store.verify(known)
    if faults:
        raise IntegrityError("\n".join(faults))
    return {"store": str(store.path), "faults": []}


@click.group()
def journal() -> None:
    """The store's hash-chained journal of releases."""


@journal.command()
@_config
@command
def show(config: Path) -> Result:
    """The entries as they are stored, with their hashes."""
    with open_configured(Config.read(config)) as store:
        entries = store.journal()
    lines = [f"{e.hash}  {e.line}" for e in entries]
    return Told({"entries": [{"hash": e.hash, "line": e.line} for e in entries]}, lines)


@journal.command()
@_config
@click.option(
    "--out", type=_PATH, required=True, help="File to keep where the store's keepers cannot change it."
)
@command
def checkpoint(config: Path, out: Path) -> Result:
    """Write down how far the journal has come, for `phusa verify --checkpoint`."""
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: its folder is not there; is the disk mounted that is to keep it?")
    with open_configured(Config.read(config)) as store:
        entries, faults = store.journal(), store.verify()
    if faults:
        raise IntegrityError("\n".join(faults))
    made = Checkpoint.of(entries)
    made.write(out)
    return {"out": str(out.resolve()), "entries": made.entries, "head": made.head}


def _told(store: Store, release: Release) -> Result:
    return {
        "store": str(store.path),
        "season": release.season,
        "release": release.id,
        "state": release.state,
        "products": [str(r.path) for r in release.records],
    }


def _moment(text: str) -> dt.datetime:
    """A moment; of a date its last microsecond. Raises InputError."""
    try:
        when = dt.datetime.fromisoformat(text)
        if len(text) == 10:
            when = dt.datetime.combine(when.date(), dt.time.max)
    except ValueError:
        raise InputError(f"--on: found {text!r}, expected a date such as 2026-03-01, or a moment") from None
    return when if when.tzinfo else when.replace(tzinfo=dt.UTC)
