"""``phusa replay``: a published product made again and compared."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import runner
from pipeline.cli.shell import Result, command
from pipeline.provenance import Vault
from pipeline.replay import replay as make_again


@click.command()
@click.argument("product", type=click.Path(path_type=Path))
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    help="Store that holds its inputs; the one it lies in if absent.",
)
@click.option("--scratch", type=click.Path(path_type=Path), help="Folder to work in; in the store if absent.")
@click.option(
    "--scheduler", default="threads", show_default=True,
    help="threads, processes, or tcp://host:port of a Dask scheduler.",
)  # fmt: skip
@command
def replay(product: Path, store: Path | None, scratch: Path | None, scheduler: str) -> Result:
    """Make PRODUCT (its COG, item or provenance record) again from its frozen scenes, settings and model.

    Exit 5 where it or an input is not what it was, 2 where an input is gone.
    """
    vault = Vault(store) if store else Vault.of(product)
    with runner.cluster(scheduler) as client:
        found = make_again(product, vault, client, scratch or vault.folder / "scratch")
    return {"product": str(found.cog.resolve()), "sha256": found.sha256, "same_code": found.same_code}
