"""``phusa qa``: what a reviewer reads before a season is released."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import production
from pipeline.cli.shell import Result, Told, command, open_configured
from pipeline.config import Config
from pipeline.files import json_text, write_aside
from pipeline.qa import report
from pipeline.stores import work_folder


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--season", required=True, help="Name of a season in the config.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for qa.json and qa.html; in the store if absent."
)
@command
def qa(config: Path, season: str, out: Path | None) -> Result:
    """Look for seams, drift, change and unknown ground in what `map` made. Exit 3 beyond the config's limits."""
    settings = Config.read(config)
    when = settings.season(season)
    with open_configured(settings) as store:
        made = report.make(settings, when, production.mapped(settings, when, store), store)
        folder = out or work_folder(store.path, store.region) / "qa" / when.slug
    write_aside(folder / "qa.json", json_text(made))
    write_aside(folder / "qa.html", report.html(made))
    files = {name: str((folder / f"qa.{name}").resolve()) for name in ("json", "html")}
    result = {"season": season, **files, "passed": made["passed"], "faults": made["faults"]}
    lines = [*made["faults"], files["html"]]
    return Told(result | ({} if made["passed"] else {"exit_code": 3}), lines)
