"""``phusa export-samples``: a sample table in the terms of GloSIS and ISO 28258."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import glosis
from pipeline.cli.shell import Result, command
from pipeline.config import Config
from pipeline.sampling import read_table

_PATH = click.Path(path_type=Path)


@click.command("export-samples")
@click.argument("config", type=_PATH)
@click.option("--samples", "table", type=_PATH, required=True, help="Table made by `phusa samples`.")
@click.option("--out", type=_PATH, required=True, help="File to write: .csv, .xlsx or .gpkg.")
@command
def export_samples(config: Path, table: Path, out: Path) -> Result:
    """Write soil observations, one a row, with property, procedure and unit of GloSIS (ISO 28258)."""
    count = glosis.write(read_table(table), Config.read(config).targets, out)
    return {"out": str(out.resolve()), "observations": count}
