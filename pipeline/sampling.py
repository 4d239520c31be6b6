"""Sites -> SampleTable: the features of each site's pixel, by the very code that maps."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import shapely
from distributed import Client
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from features.spec import FeatureSpec
from models.samples import PLACE_COLUMNS, SampleTable
from pipeline import runner
from pipeline.errors import InputError, PhusaError
from pipeline.files import aside
from pipeline.grid import lonlat_box, pixel, pixel_window, transformer
from pipeline.imports.rules import refusal
from pipeline.load import load
from pipeline.raster import LayerFile
from pipeline.scenes import Scene, Scenes
from pipeline.sensors import How
from pipeline.sites import Refusal, Site
from pipeline.stack import Loss

#: Sites of one square of this many pixels are read together: an image is stored in tiles of about
#: this size, so a smaller window would decode as much.
CELL_PX = 256
_META = b"phusa"


@dataclass(frozen=True)
class SiteTask:
    """Sites whose pixels are read in one window."""

    geobox: GeoBox
    pixels: tuple[tuple[int, int], ...]
    """(row, column) of each site in the window."""
    sites: tuple[Site, ...]
    scenes: tuple[Scene, ...]
    dilate_m: float
    until: dt.date
    """The season's last day, to which ages count."""
    layers: tuple[LayerFile, ...] = ()
    """The region's own layers."""
    how: How = How()  # noqa: RUF009 - a frozen value


@dataclass(frozen=True)
class SiteResult:
    """What a worker read at the sites of one window."""

    rows: NDArray[np.float32]
    """(site, feature)."""
    clear_dates: NDArray[np.int16]
    lost: NDArray[np.bool_]
    """Where a read was lost."""
    reads: int
    losses: tuple[Loss, ...]


@dataclass(frozen=True)
class Sampled:
    """Features at sites, and what could not be had."""

    table: SampleTable | None
    """None where no site is left."""
    refusals: list[Refusal]
    reads: int
    losses: list[Loss]
    sites: tuple[Site, ...] = ()
    """Those of the table."""


def windows(
    sites: Sequence[Site], resolution_m: int
) -> list[tuple[GeoBox, tuple[tuple[int, int], ...], tuple[Site, ...]]]:
    """Windows of the map grid that hold the sites' pixels, at most ``CELL_PX`` square each."""
    cells: dict[tuple[int, int, int], list[tuple[int, int, Site]]] = {}
    for site in sites:
        epsg, column, row = pixel(site.lon, site.lat, resolution_m)
        cells.setdefault((epsg, column // CELL_PX, row // CELL_PX), []).append((column, row, site))
    found = []
    for (epsg, _, _), members in sorted(cells.items(), key=lambda c: c[0]):
        columns = min(m[0] for m in members), max(m[0] for m in members)
        rows = min(m[1] for m in members), max(m[1] for m in members)
        places = tuple((m[1] - rows[0], m[0] - columns[0]) for m in members)
        geobox = pixel_window(epsg, columns, rows, resolution_m)
        found.append((geobox, places, tuple(m[2] for m in members)))
    return found


def place(sites: Sequence[Site], resolution_m: int) -> BaseGeometry:
    """Where to search images for the sites: their windows, or the hull of very many."""
    boxes = [lonlat_box(geobox) for geobox, _, _ in windows(sites, resolution_m)]
    union = shapely.unary_union(boxes)
    return union if len(boxes) <= 100 else shapely.convex_hull(union)


def sample(
    client: Client,
    sites: Sequence[Site],
    scenes: Scenes,
    spec: FeatureSpec,
    resolution_m: int,
    dilate_m: float,
    until: dt.date,
    layers: tuple[LayerFile, ...] = (),
    how: How = How(),  # noqa: B008 - a frozen value
) -> Sampled:
    """Features of ``spec`` at ``sites``. Sites that no image saw clearly are refused.

    Raises PhusaError where a window failed by an error of ours.
    """
    tasks = [
        SiteTask(geobox, places, members, scenes.meeting(lonlat_box(geobox)), dilate_m, until, layers, how)
        for geobox, places, members in windows(sites, resolution_m)
    ]
    found: dict[Site, NDArray[np.float32]] = {}
    refusals: list[Refusal] = []
    reads = 0
    losses: list[Loss] = []
    for outcome in runner.execute(client, sample_window, tasks, spec):
        if outcome.result is None:
            raise PhusaError(f"reading features at {outcome.task.sites[0].sample_id} failed: {outcome.error}")
        reads += outcome.result.reads
        losses += outcome.result.losses
        for k, site in enumerate(outcome.task.sites):
            if outcome.result.clear_dates[k] and not np.isnan(outcome.result.rows[k]).all():
                found[site] = outcome.result.rows[k]
            else:
                refusals.append(_unseen(site, bool(outcome.result.lost[k])))
    kept = [s for s in sites if s in found]
    refusals.sort(key=lambda r: (r.file, r.row))
    table = _table(kept, found, spec) if kept else None
    return Sampled(table, refusals, reads, losses, tuple(kept))


def _unseen(site: Site, lost: bool) -> Refusal:
    found = refusal("imagery-lost") if lost else refusal("no-clear-date", season=site.season)
    return Refusal(site.file, site.row, site.sample_id, found.rule, found.reason, found.reason_vi)


def sample_window(task: SiteTask, spec: FeatureSpec) -> SiteResult:
    """Features of the sites of one window; runs on workers."""
    where = task.sites[0].sample_id
    stack = load(task.scenes, task.geobox, spec.bands, task.dilate_m, where, task.layers, task.how)
    cube = stack.features(spec, task.until)
    rows, columns = np.array(task.pixels).T
    clear = stack.clear_dates[rows, columns]
    values, lost = cube[:, rows, columns].T.copy(), stack.lost[rows, columns]
    return SiteResult(values, clear, lost, stack.reads, tuple(stack.losses))


def _table(sites: Sequence[Site], values: dict[Site, NDArray[np.float32]], spec: FeatureSpec) -> SampleTable:
    names = sorted({name for s in sites for name in s.values})
    rows = []
    for s in sites:
        epsg, _, _ = pixel(s.lon, s.lat, 10)
        x, y = transformer(4326, epsg).transform(s.lon, s.lat)
        where = (
            s.sample_id,
            s.group,
            s.season,
            s.date,
            round(s.lon, 8),
            round(s.lat, 8),
            epsg,
            round(x, 2),
            round(y, 2),
        )
        rows.append((*where, *(s.values.get(n, np.nan) for n in names)))
    frame = pd.DataFrame(rows, columns=[*PLACE_COLUMNS, *names])
    errors = sorted({name for s in sites for name in s.errors})
    aside = [name for name in ABOUT if any(name in s.about for s in sites)]
    more: dict[str, list[Any]] = {n: [s.errors.get(n, 0.0) for s in sites] for n in errors}
    more |= {n: [s.about.get(n) for s in sites] for n in aside}
    cube = pd.DataFrame(np.stack([values[s] for s in sites]), columns=list(spec.names))
    return SampleTable(pd.concat([frame, pd.DataFrame(more, index=frame.index), cube], axis=1), spec)


#: What a sample file says beside value and place; a column each, where any row has it.
ABOUT = (
    "depth_top_cm", "depth_bottom_cm", "ec", "ec_unit", "extract", "laboratory", "stratum", "inclusion_probability",
)  # fmt: skip


def joined(tables: Sequence[SampleTable], spec: FeatureSpec, simulated: bool) -> SampleTable | None:
    """The tables of several seasons in one; None where there is none. An error that one lacks is 0 there."""
    if not tables:
        return None
    frame = pd.concat([t.frame for t in tables], ignore_index=True)
    errors = [
        c
        for c in map(str, frame.columns)
        if c.endswith(("_variance_own", "_variance_shared")) and c not in spec.names
    ]
    return SampleTable(frame.fillna(dict.fromkeys(errors, 0.0)), spec, simulated)


def write_table(table: SampleTable, path: Path) -> None:
    """Parquet with the FeatureSpec in its metadata, and whether the images are simulated."""
    arrow = pyarrow.Table.from_pandas(table.frame, preserve_index=False)
    about = {"spec": json.loads(table.spec.to_json()), "simulated": table.simulated}
    arrow = arrow.replace_schema_metadata({_META: json.dumps(about).encode()})
    with aside(path) as temporary:
        pyarrow.parquet.write_table(arrow, temporary)


def read_table(path: Path) -> SampleTable:
    """Raises InputError where the file is not one that ``write_table`` made."""
    try:
        arrow = pyarrow.parquet.read_table(path)
        about = json.loads((arrow.schema.metadata or {})[_META])
        spec = FeatureSpec.from_json(json.dumps(about["spec"]))
        frame = arrow.replace_schema_metadata(None).to_pandas()
        return SampleTable(frame, spec, about["simulated"] is True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such sample table; make one with `phusa samples`") from None
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path} is not a sample table made by `phusa samples`: {error}") from None
