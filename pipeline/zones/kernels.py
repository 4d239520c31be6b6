"""Kernels of zonal areas, in integers from the polygon's corner to the sum.

A corner is a whole number of ``STEPS`` to a cell. An edge is walked from its lower end to its upper, so
that the border of two zones is cut at the same points from both sides: what one zone gains of a cell is
what the other loses, to the last unit. Areas come from signed sums along the edges, as in font
rasterisers (R. Levien, font-rs, 2016), whose result is the exact area of the polygon in each cell.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Corners are rounded to this part of a cell: 0.3 mm for cells of 10 m.
STEPS = 1 << 15
#: A whole cell: twice its area in steps.
FULL = 2 * STEPS * STEPS
FULL_BITS = 31
#: Weights are whole numbers of this part of 1, as products store probabilities.
WEIGHT = 10_000

Ints = NDArray[np.int64]
Labels = NDArray[np.int32]


@njit(nogil=True, cache=True)
def _along(start: int, run: int, done: int, whole: int) -> int:
    """``start`` + ``run`` x ``done`` / ``whole``, rounded half up."""
    return start + (2 * run * done + whole) // (2 * whole)


@njit(nogil=True, cache=True)
def edge_events(
    x0: int,
    y0: int,
    x1: int,
    y1: int,
    sign: int,
    rows: int,
    columns: int,
    keys: Ints,
    area: Ints,
    cover: Ints,
    count: int,
) -> int:
    """Append what one edge adds to the cells it crosses; returns the new number of events.

    A cell gains ``area`` of its own, and all cells to its right gain ``cover``. Beyond the left border
    an edge counts in column 0 with its whole cover, beyond the right it does not count.
    """  # fmt: skip
    if y0 > y1:
        x0, y0, x1, y1, sign = x1, y1, x0, y0, -sign
    dx, dy = x1 - x0, y1 - y0
    for row in range(max(y0 // STEPS, 0), min((y1 - 1) // STEPS, rows - 1) + 1):
        ya, yb = max(y0, row * STEPS), min(y1, (row + 1) * STEPS)
        xa, xb = _along(x0, dx, ya - y0, dy), _along(x0, dx, yb - y0, dy)
        left, right = min(xa, xb), max(xa, xb)
        height, done = yb - ya, 0
        first = left // STEPS
        last = first if right == left else (right - 1) // STEPS
        if first < 0:
            upto = min(right, 0)
            part = height if right <= 0 else _along(0, height, upto - left, right - left)
            count = _event(row * columns, 2 * STEPS * part, part, sign, keys, area, cover, count)
            done, first = part, 0
            if right <= 0:
                continue
        for column in range(first, min(last, columns - 1) + 1):
            edge = (column + 1) * STEPS
            end = height if right <= edge else _along(0, height, edge - left, right - left)
            part = end - done
            inside = max(left, column * STEPS) + min(right, edge) - 2 * column * STEPS
            count = _event(
                row * columns + column, part * (2 * STEPS - inside), part, sign, keys, area, cover, count
            )
            done = end
    return count


@njit(nogil=True, cache=True)
def _event(
    key: int, own: int, height: int, sign: int, keys: Ints, area: Ints, cover: Ints, count: int
) -> int:
    keys[count] = key
    area[count] = sign * own
    cover[count] = sign * height * 2 * STEPS
    return count + 1


@njit(nogil=True, cache=True)
def _grown(table: Ints, used: int, more: int) -> Ints:
    """``table`` (row, column) with room for ``more`` rows after ``used``."""
    if used + more <= len(table):
        return table
    larger = np.empty((max(2 * len(table), used + more), table.shape[1]), np.int64)
    larger[:used] = table[:used]
    return larger


@njit(nogil=True, cache=True)
def coverage(
    xy: Ints, ring_start: Ints, ring_zone: Ints, ring_sign: Ints, rows: int, columns: int
) -> tuple[Ints, Ints]:
    """Cells of a grid that zones cover: wholly, as runs, and in part.

    ``xy`` (corner, 2): columns and rows in steps; rings ``ring_start[k]``..``ring_start[k + 1]`` are
    closed. ``ring_zone`` rises; ``ring_sign`` (ring,) turns each ring to + for shells, - for holes.
    Returns runs (run, 4): zone, row, first column, column after the last; and parts (part, 3): zone,
    row x ``columns`` + column, share of the cell in 1 .. FULL - 1.
    """
    runs, parts = np.empty((1024, 4), np.int64), np.empty((1024, 3), np.int64)
    n_runs = n_parts = ring = 0
    keys, area, cover = np.empty(1024, np.int64), np.empty(1024, np.int64), np.empty(1024, np.int64)
    while ring < len(ring_zone):
        zone, count = ring_zone[ring], 0
        while ring < len(ring_zone) and ring_zone[ring] == zone:
            for k in range(ring_start[ring], ring_start[ring + 1] - 1):
                x0, y0, x1, y1 = xy[k, 0], xy[k, 1], xy[k + 1, 0], xy[k + 1, 1]
                low, high = min(y0, y1), max(y0, y1)
                off = high <= 0 or low >= rows * STEPS or min(x0, x1) >= columns * STEPS
                if low == high or off:
                    continue
                seen = (min(high, rows * STEPS) - max(low, 0)) // STEPS + 2
                wide = min(max(x0, x1), columns * STEPS) - max(min(x0, x1), 0)
                need = count + 2 * seen + max(wide, 0) // STEPS + 2
                if need > len(keys):
                    keys, area, cover = _longer(keys, need), _longer(area, need), _longer(cover, need)
                count = edge_events(x0, y0, x1, y1, ring_sign[ring], rows, columns, keys, area, cover, count)
            ring += 1
        order = _sorted(keys[:count], columns)
        i = 0
        filled = 0
        row = -1
        while i < count:
            key = keys[order[i]]
            if key // columns != row:
                row, filled = key // columns, 0
            own = filled
            while i < count and keys[order[i]] == key:
                own += area[order[i]]
                filled += cover[order[i]]
                i += 1
            column = key - row * columns
            runs, parts = _grown(runs, n_runs, 2), _grown(parts, n_parts, 1)
            n_runs, n_parts = _put(zone, row, column, column + 1, own, columns, runs, n_runs, parts, n_parts)
            end = columns
            if i < count and keys[order[i]] // columns == row:
                end = keys[order[i]] - row * columns
            if filled > 0 and end > column + 1:
                if filled < FULL:
                    parts = _grown(parts, n_parts, end - column)
                n_runs, n_parts = _put(
                    zone, row, column + 1, end, filled, columns, runs, n_runs, parts, n_parts
                )
    return runs[:n_runs], parts[:n_parts]


@njit(nogil=True, cache=True)
def _sorted(keys: Ints, columns: int) -> Ints:
    """Order of row x ``columns`` + column: by counting rows, then by insertion among the few of a row."""
    if not len(keys):
        return np.empty(0, np.int64)
    first = keys.min() // columns
    place = np.zeros(keys.max() // columns - first + 2, np.int64)
    for k in range(len(keys)):
        place[keys[k] // columns - first + 1] += 1
    for row in range(1, len(place)):
        place[row] += place[row - 1]
    begin, order = place.copy(), np.empty(len(keys), np.int64)
    for k in range(len(keys)):
        row = keys[k] // columns - first
        i = place[row]
        place[row] += 1
        while i > begin[row] and keys[order[i - 1]] > keys[k]:
            order[i] = order[i - 1]
            i -= 1
        order[i] = k
    return order


@njit(nogil=True, cache=True)
def _longer(values: Ints, need: int) -> Ints:
    larger = np.empty(2 * need, np.int64)
    larger[: len(values)] = values
    return larger


@njit(nogil=True, cache=True)
def _put(
    zone: int,
    row: int,
    start: int,
    stop: int,
    share: int,
    columns: int,
    runs: Ints,
    n_runs: int,
    parts: Ints,
    n_parts: int,
) -> tuple[int, int]:
    """Store cells of one share: as a run (joined to the one before) if whole, else one by one."""  # fmt: skip
    if share >= FULL:
        before = n_runs - 1
        if before >= 0 and runs[before, 0] == zone and runs[before, 1] == row and runs[before, 3] == start:
            runs[before, 3] = stop
            return n_runs, n_parts
        runs[n_runs, 0], runs[n_runs, 1], runs[n_runs, 2], runs[n_runs, 3] = zone, row, start, stop
        return n_runs + 1, n_parts
    if share > 0:
        for column in range(start, stop):
            parts[n_parts, 0], parts[n_parts, 1] = zone, row * columns + column
            parts[n_parts, 2] = share
            n_parts += 1
    return n_runs, n_parts


@njit(nogil=True, cache=True)
def label_cells(runs: Ints, labels: Labels) -> Ints:
    """Fill ``labels`` (y, x) with the zone of each wholly covered cell, -1 where none.

    Returns (part, 3) zone, cell, FULL for cells that two zones or more cover wholly; their label is -2.
    """
    columns = labels.shape[1]
    labels[:] = -1
    double, used = np.empty((64, 3), np.int64), 0
    for k in range(len(runs)):
        zone, row = runs[k, 0], runs[k, 1]
        line = labels[row]
        for x in range(runs[k, 2], runs[k, 3]):
            before = np.int64(line[x])
            if before == -1:
                line[x] = zone
                continue
            double = _grown(double, used, 2)
            for owner in (before, zone):
                if owner >= 0:
                    double[used, 0], double[used, 1], double[used, 2] = owner, row * columns + x, FULL
                    used += 1
            line[x] = -2
    return double[:used]


@njit(nogil=True, cache=True)
def share_cells(parts: Ints, labels: Labels, unassigned: int, first: int) -> tuple[Ints, Ints, Ints]:
    """Shares of each cut cell over its zones, which sum to FULL; what no zone covers is ``unassigned``'s.

    ``parts`` (part, 3) zone, cell, share, sorted by cell; ``labels`` (y, x) become -2 - k in cut cell k.
    Where zones overlap, the zone ``first`` takes its share (none if -1) and the others split the rest in
    proportion. Returns (cell + 1,) starts, and zones and shares (entry,).
    """
    flat = labels.reshape(-1)
    starts, zones, shares = [0], [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    i, k = 0, 0
    while i < len(parts):
        cell = parts[i, 1]
        begin = len(zones)
        taken, others = np.int64(0), np.int64(0)
        if flat[cell] >= 0:
            zones.append(np.int64(flat[cell]))
            shares.append(np.int64(FULL))
        while i < len(parts) and parts[i, 1] == cell:
            zones.append(parts[i, 0])
            shares.append(parts[i, 2])
            i += 1
        for j in range(begin, len(zones)):
            if zones[j] == first:
                taken += shares[j]
            else:
                others += shares[j]
        room = FULL - min(taken, np.int64(FULL))
        if others > room:
            left, best = room, -1
            for j in range(begin, len(zones)):
                if zones[j] != first:
                    shares[j] = shares[j] * room // others
                    left -= shares[j]
                    if best < 0 or shares[j] > shares[best]:
                        best = j
            shares[best] += left
            kept = begin
            for j in range(begin, len(zones)):  # a sliver may have shrunk to nothing
                if shares[j] > 0:
                    zones[kept], shares[kept] = zones[j], shares[j]
                    kept += 1
            while len(zones) > kept:
                zones.pop()
                shares.pop()
        elif others < room:
            zones.append(np.int64(unassigned))
            shares.append(np.int64(room - others))
        flat[cell] = -2 - k
        starts.append(len(zones))
        k += 1
    return np.array(starts), np.array(zones), np.array(shares)


@njit(nogil=True, cache=True)
def runs_of(labels: Labels, unassigned: int, cut: int) -> Ints:
    """Runs of one label, (run, 4): row, first column, column after the last, label.

    Cells of no zone get ``unassigned``. Runs end at columns that are multiples of ``cut``.
    """
    rows, columns = labels.shape
    found, used = np.empty((1024, 4), np.int64), 0
    for y in range(rows):
        x = 0
        line = labels[y]
        while x < columns:
            start, label = x, line[x]
            stop = min(columns, (x // cut + 1) * cut)
            while x < stop and line[x] == label:
                x += 1
            found = _grown(found, used, 1)
            found[used, 0], found[used, 1], found[used, 2] = y, start, x
            found[used, 3] = unassigned if label == -1 else label
            used += 1
    return found[:used]


@njit(nogil=True, cache=True)
def tally_classes(
    runs: Ints,
    places: Ints,
    starts: Ints,
    part_places: Ints,
    shares: Ints,
    codes: NDArray[np.uint8],
    area: Ints,
    high: Ints,
    low: Ints,
) -> None:
    """Add the area of each class in each place.

    ``runs`` as ``runs_of`` gives them, ``places`` (run,) of those with label >= 0; ``starts``,
    ``part_places`` and ``shares`` of cut cells. ``codes`` (y, x), ``area`` (x,) of a cell in mm2.
    ``high`` and ``low`` (place, class): whole mm2, and 1 / FULL of them.
    """  # fmt: skip
    odd = np.zeros(high.shape[1], np.int64)  # two sums, lest each cell waits for the one before
    for k in range(len(runs)):
        y, x0, x1, label = runs[k, 0], runs[k, 1], runs[k, 2], runs[k, 3]
        if label >= 0:
            sums, line = high[places[k]], codes[y]
            for x in range(x0, x1 - 1, 2):
                sums[line[x]] += area[x]
                odd[line[x + 1]] += area[x + 1]
            if (x1 - x0) % 2:
                sums[line[x1 - 1]] += area[x1 - 1]
            for j in range(len(odd)):
                sums[j] += odd[j]
                odd[j] = 0
            continue
        for x in range(x0, x1):
            for j in range(starts[-2 - label], starts[-1 - label]):
                part = area[x] * shares[j]
                high[part_places[j], codes[y, x]] += part >> FULL_BITS
                low[part_places[j], codes[y, x]] += part & (FULL - 1)


@njit(nogil=True, cache=True)
def tally_weights(
    runs: Ints,
    places: Ints,
    starts: Ints,
    part_places: Ints,
    shares: Ints,
    weights: NDArray[np.int16],
    spread: NDArray[np.float64],
    area: Ints,
    high: Ints,
    low: Ints,
    spreads: NDArray[np.float64],
) -> None:
    """Add area x weight in each place; ``weights`` (y, x) are whole parts of WEIGHT, below 0 counts as 0.

    ``high`` and ``low`` (place,): whole mm2, and 1 / (FULL x WEIGHT) of them. ``spreads`` (place,) gains
    area in m2 x ``spread[weight]`` (WEIGHT + 1,), or nothing where that is empty.
    """  # fmt: skip
    base, wanted = FULL * WEIGHT, len(spread) > 0
    for k in range(len(runs)):
        y, x0, x1, label = runs[k, 0], runs[k, 1], runs[k, 2], runs[k, 3]
        if label >= 0:
            total, wide, line = 0, 0.0, weights[y]
            for x in range(x0, x1):
                total += area[x] * max(line[x], 0)
            if wanted:
                for x in range(x0, x1):
                    wide += area[x] * spread[max(line[x], 0)]
            place = places[k]
            high[place] += total // WEIGHT
            low[place] += total % WEIGHT * FULL
            if low[place] >= base:
                high[place] += 1
                low[place] -= base
            spreads[place] += wide * 1e-6
            continue
        for x in range(x0, x1):
            weight = max(weights[y, x], 0)
            for j in range(starts[-2 - label], starts[-1 - label]):
                part, place = area[x] * shares[j], part_places[j]
                whole = (part >> FULL_BITS) * weight
                rest = low[place] + whole % WEIGHT * FULL + (part & (FULL - 1)) * weight
                high[place] += whole // WEIGHT + rest // base
                low[place] = rest % base
                if wanted:
                    spreads[place] += area[x] * 1e-6 * shares[j] / FULL * spread[weight]


@njit(nogil=True, cache=True)
def alone(runs: Ints, parts: Ints, columns: int, cut: int) -> Ints:
    """Runs and parts of zones that may overlap, as ``runs_of`` gives them: part k is cut cell k."""
    found, used = np.empty((len(runs) + len(parts) + 16, 4), np.int64), 0
    for k in range(len(runs)):
        x = runs[k, 2]
        while x < runs[k, 3]:
            stop = min(runs[k, 3], (x // cut + 1) * cut)
            found = _grown(found, used, 1)
            found[used, 0], found[used, 1] = runs[k, 1], x
            found[used, 2], found[used, 3] = stop, runs[k, 0]
            used += 1
            x = stop
    for k in range(len(parts)):
        found = _grown(found, used, 1)
        row = parts[k, 1] // columns
        found[used, 0], found[used, 1] = row, parts[k, 1] - row * columns
        found[used, 2], found[used, 3] = found[used, 1] + 1, -2 - k
        used += 1
    return found[:used]


@njit(nogil=True, cache=True)
def number_keys(keys: Ints) -> tuple[Ints, Ints]:
    """Distinct keys (>= 0) in order of appearance, and the number of each key."""
    bits = 10
    while (1 << bits) < 2 * len(keys):
        bits += 1
    mask = (1 << bits) - 1
    table, index = np.full(1 << bits, -1, np.int64), np.empty(len(keys), np.int64)
    found, used = np.empty(len(keys), np.int64), 0
    for k in range(len(keys)):
        key = keys[k]
        slot = (key ^ (key >> 15)) * 0x9E3779B1 & mask
        while table[slot] >= 0 and found[table[slot]] != key:
            slot = (slot + 1) & mask
        if table[slot] < 0:
            table[slot] = used
            found[used] = key
            used += 1
        index[k] = table[slot]
    return found[:used].copy(), index
