"""`phusa forecast`: what a season will cost, before anything of it is read."""

from __future__ import annotations

import os
from pathlib import Path

import click

from features.bands import BANDS
from pipeline import catalog, forecast, journal
from pipeline.cli.shell import Result, Told, command
from pipeline.config import Config
from pipeline.errors import InputError
from pipeline.forecast import Interval
from pipeline.plan import amounts
from pipeline.scenes import Scenes
from pipeline.stores import work_folder

_PATH = click.Path(path_type=Path)


@click.command("forecast")
@click.argument("config", type=_PATH)
@click.option("--season", required=True, help="Name of a season in the config.")
@click.option("--scenes", type=_PATH, help="Scene list made by `phusa scenes`; searched anew if absent.")
@click.option("--cores", type=click.IntRange(1), help="Worker threads in all; this machine's if absent.")
@click.option("--workers", type=click.IntRange(1), help="Worker processes; as many as cores if absent.")
@click.option(
    "--learn-from", type=_PATH, multiple=True,
    help="Stores of other regions whose past runs are learnt from too.",
)  # fmt: skip
@command
def forecast_(
    config: Path, season: str, scenes: Path | None, cores: int | None, workers: int | None,
    learn_from: tuple[Path, ...],
) -> Result:  # fmt: skip
    """Scenes, GB, core-hours, wall hours and money of a season, each with its 90 % interval.

    Only the catalogue is asked. Rates are learnt from the journals of past runs.
    """
    settings = Config.read(config)
    when = settings.season(season)
    sensors = sorted({BANDS[band] for band in settings.features.bands if band in BANDS})
    if scenes:
        found = Scenes.read(scenes)
        found.need(when, sensors)
    else:
        found = catalog.search(settings.sources, when, settings.region.geometry)
    told = [t for folder in _folders(settings, learn_from) for t in journal.all_of(folder)]
    learnt = forecast.learn(sorted(told, key=lambda t: t.path.name))
    amount = amounts(settings, when, found)
    threads = cores or len(os.sched_getaffinity(0))
    made = learnt.forecast(amount.work, threads, workers or threads)
    prices = settings.rates
    money = forecast.money(made, prices) if prices else None
    result = {
        "season": season,
        "scenes": {sensor: len(found.of(sensor)) for sensor in sorted(found.provider)},
        "tiles": amount.tiles,
        "blocks": amount.blocks,
        "reads": round(amount.work.reads),
        "cores": threads,
        "peak_gb_per_block": round(amount.peak_bytes / 1e9, 2),
        **forecast.as_json(made),
        "money": None if money is None or prices is None else {
            "currency": prices.currency, **forecast.figures(money)
        },
    }  # fmt: skip
    return Told(result, list(_lines(result, made, money, prices.currency if prices else "")))


def _folders(settings: Config, others: tuple[Path, ...]) -> list[Path]:
    """Work folders whose journals are read: the region's own, and those of all regions of other stores."""
    found = []
    if settings.store is not None:
        found.append(work_folder(settings.store.path, settings.region.name))
    for store in others:
        if not (store / "work").is_dir():
            raise InputError(f"--learn-from {store}: expected a store in which a region was mapped")
        found += sorted(p for p in (store / "work").iterdir() if p.is_dir())
    return list(dict.fromkeys(p.resolve() for p in found))


def _lines(result: Result, made: forecast.Forecast, money: Interval | None, currency: str) -> list[str]:
    scenes = ", ".join(f"{count} {sensor}" for sensor, count in result["scenes"].items())
    basis = (
        f"learnt from {made.learnt_from} runs" if made.learnt_from else "no run recorded yet: a wide prior"
    )
    rows = [
        ("core-hours", made.core_hours), (f"wall hours on {result['cores']} cores", made.wall_hours),
        ("GB over the network", made.network_gb), ("GB read in all", made.read_gb),
        ("GB on disk", made.disk_gb), *([(f"money, {currency}", money)] if money else []),
    ]  # fmt: skip
    return [
        f"season {result['season']}: {scenes}; {result['tiles']} tiles, {result['blocks']} blocks, {result['reads']} reads",
        f"a block may take {result['peak_gb_per_block']} GB of memory",
        *(f"{name:28} {v.expected:10.4g}   ({v.low:.3g} to {v.high:.3g})" for name, v in rows),
        f"intervals of 90 %, {basis}",
    ]
