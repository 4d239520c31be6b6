"""`phusa mosaic`: a published season as one map."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline import blocktable, mosaic
from pipeline.cli import shell
from pipeline.cli.shell import Result, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.stores import open_store, work_folder

_PATH = click.Path(path_type=Path)


@click.command("mosaic")
@click.argument("config", type=_PATH)
@click.option("--season", required=True, help="Name of a published season.")
@click.option("--out", type=_PATH, required=True, help="Folder for the mosaics and the table of blocks.")
@click.option(
    "--web-resolution-m", type=click.FloatRange(min=1), default=160, show_default=True,
    help="Pixel of the web map; the nearest level of the usual web tiles is taken.",
)  # fmt: skip
@command
def mosaic_(config: Path, season: str, out: Path, web_resolution_m: float) -> Result:
    """Seam-free mosaics of a published season: a VRT a UTM zone, a coarse web map, the table of blocks."""
    settings = Config.read(config)
    when = settings.season(season)
    if settings.store is None:
        raise InputError("the config has no store; add the key store")
    store = open_store(settings.store, settings.region.name, shell.dsn())
    try:
        records = store.published(when)
    finally:
        store.close()
    if not records:
        raise InputError(f"season {season!r} is not published; run `phusa publish` first")
    made: dict[str, dict[str, object]] = {}
    for target in sorted({r.id.target for r in records}):
        cogs = [r.path for r in records if r.id.target == target]
        name = f"{settings.region.name}_{when.slug}_{target}"
        web = out / f"{name}_web.tif"
        try:
            size = mosaic.web(cogs, web, web_resolution_m)
        except ValueError as error:
            raise InputError(f"--web-resolution-m {web_resolution_m:g}: {error}") from None
        made[target] = {
            "zones": [str(p.resolve()) for p in mosaic.zones(cogs, out, name)],
            "web": str(web.resolve()),
            "web_pixel_m": round(size, 3),
        }
    result: Result = {"season": season, "out": str(out.resolve()), "targets": made}
    table = blocktable.read(work_folder(settings.store.path, settings.region.name), when)
    if table is not None:
        blocktable.write(table, out / "blocks.gpkg")
        result["blocks"] = str((out / "blocks.gpkg").resolve())
    return result
