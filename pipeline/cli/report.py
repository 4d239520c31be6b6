"""`phusa report`: a season's run on one page."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import blocktable, production, runreport
from pipeline.cli import shell
from pipeline.cli.shell import Result, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.files import write_aside
from pipeline.stores import open_store, work_folder

_PATH = click.Path(path_type=Path)


@click.command("report")
@click.argument("config", type=_PATH)
@click.option("--season", required=True, help="Name of a season in the config.")
@click.option("--out", type=_PATH, required=True, help="HTML file; nothing else is needed to read it.")
@click.option("--blocks", type=_PATH, help="The table of blocks too: .gpkg or .parquet.")
@command
def report(config: Path, season: str, out: Path, blocks: Path | None) -> Result:
    """Map of block states, ledger, time by stage, and cost against forecast, as one HTML page."""
    settings = Config.read(config)
    when = settings.season(season)
    if settings.store is None:
        raise InputError("the config has no store; add the key store")
    if blocks and blocks.suffix not in (".gpkg", ".parquet"):
        raise InputError(f"--blocks {blocks}: expected a name that ends in .gpkg or .parquet")
    work = work_folder(settings.store.path, settings.region.name)
    table = blocktable.read(work, when) if blocks else None
    if blocks and table is None:
        raise InputError(f"season {season!r} has no table of blocks yet: no run of it has ended")
    store = open_store(settings.store, settings.region.name, shell.dsn())
    try:
        text = runreport.page(settings, when, work, production.status(settings, store)[when.name])
    finally:
        store.close()
    write_aside(out, text)
    result: Result = {"season": season, "out": str(out.resolve())}
    if blocks and table is not None:
        blocktable.write(table, blocks)
        result |= {"blocks": str(blocks.resolve()), "states": table.groupby("state").size().to_dict()}
    return result
