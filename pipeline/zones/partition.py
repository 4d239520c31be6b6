"""Which zone owns what of each cell: a partition of a strip of the grid, in whole units of a cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from pipeline.zones import kernels
from pipeline.zones.kernels import STEPS, Ints

#: Place of zones that no caller asked to see more closely.
_UNCUT = 1 << 40


@dataclass(frozen=True, eq=False)
class Rings:
    """Polygons on a grid: corners in steps of a cell, ready for the kernel."""

    xy: Ints
    start: Ints
    zone: Ints
    sign: Ints

    def shifted(self, columns: int, rows: int) -> Rings:
        """The same, counted from the cell (row, column) given."""
        return Rings(self.xy - np.array([columns, rows]) * STEPS, self.start, self.zone, self.sign)


def rings(polygons: NDArray[np.object_], transform: Affine) -> Rings:
    """Rings of valid polygons (zone,) in the CRS of a grid; zones that are empty have none."""
    parts, zone = shapely.get_parts(polygons, return_index=True)
    flat, owner = shapely.get_rings(parts, return_index=True)
    xy, index = shapely.get_coordinates(flat, return_index=True)
    shell = np.ones(len(flat), np.bool_)
    shell[1:] = owner[1:] != owner[:-1]
    start = np.searchsorted(index, np.arange(len(flat) + 1))
    column, row = ~transform @ xy.T if len(xy) else (xy[:, 0], xy[:, 1])
    steps = np.rint(np.column_stack([column, row]) * STEPS).astype(np.int64)
    return Rings(steps, start, zone[owner], _signs(steps, start, shell))


def _signs(xy: Ints, start: Ints, shell: NDArray[np.bool_]) -> Ints:
    """What makes each ring's walk positive for shells and negative for holes: +1 or -1."""
    if not len(start) - 1:
        return np.zeros(0, np.int64)
    local = (xy - np.repeat(xy[start[:-1]], np.diff(start), axis=0)).astype(np.float64)
    cross = np.zeros(len(xy))
    cross[:-1] = local[:-1, 0] * local[1:, 1] - local[1:, 0] * local[:-1, 1]
    cross[start[1:] - 1] = 0
    twice = np.add.reduceat(cross, start[:-1])
    # Rows grow downward: a ring that runs down its left side, so that cells to the right are inside,
    # has a negative sum; the kernel counts an edge as + where the row grows.
    return np.where((twice < 0) == shell, 1, -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Partition:
    """Cells of a strip by place. A place is a zone, or a zone's part in one coarse cell of the strip."""

    runs: Ints
    """(run, 4) row, first column, column after the last, zone, or -2 - k for cut cell k."""
    starts: Ints
    zones: Ints
    shares: Ints
    """Of the cut cells' entries."""


def divide(
    own: Rings, shape: tuple[int, int], unassigned: int, first: int = -1, cut: int = _UNCUT
) -> Partition:
    """Every cell of ``shape`` divided over the zones of ``own``; shares of a cell sum to FULL.

    What no zone covers goes to the zone number ``unassigned``. Where zones overlap, zone ``first`` is
    served first and the others split the rest in proportion. Runs end at multiples of ``cut`` columns.
    """
    runs, parts = kernels.coverage(own.xy, own.start, own.zone, own.sign, *shape)
    labels = np.empty(shape, np.int32)
    parts = np.concatenate([parts, kernels.label_cells(runs, labels)])
    parts = parts[np.lexsort((parts[:, 0], parts[:, 1]))]
    starts, zones, shares = kernels.share_cells(parts, labels, unassigned, first)
    return Partition(kernels.runs_of(labels, unassigned, cut), starts, zones, shares)


def separate(own: Rings, shape: tuple[int, int], cut: int = _UNCUT) -> Partition:
    """Each zone for itself, as if no other were there: parcels, dikes, projects that may overlap."""
    runs, parts = kernels.coverage(own.xy, own.start, own.zone, own.sign, *shape)
    starts = np.arange(len(parts) + 1)
    return Partition(kernels.alone(runs, parts, shape[1], cut), starts, parts[:, 0], parts[:, 2])
