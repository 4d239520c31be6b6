"""``phusa export``: a product in VN-2000."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import export as vn2000
from pipeline.cli.shell import Result, command


@click.command()
@click.argument("product", type=click.Path(path_type=Path))
@click.option("--crs", required=True, help="VN-2000 system: EPSG:3405, 3406, 5896 to 5899, 9205 to 9218.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File for the COG.")
@command
def export(product: Path, crs: str, out: Path) -> Result:
    """Write PRODUCT (a COG) in VN-2000, by the pinned transformation EPSG:6960."""
    return vn2000.write(product, vn2000.vn2000(crs), out)
