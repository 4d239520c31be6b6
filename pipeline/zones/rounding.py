"""Exact areas in whole square metres that agree along zones and along classes at once.

Rounded zone by zone, classes would not sum to the nation's; rounded class by class, a commune's land would
differ by a metre between the tables of two themes. Controlled rounding (Cox and Ernst 1982) keeps both
margins: every entry is its floor or the metre above, and which of them is a flow through a network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_flow

Ints = NDArray[np.int64]
MM2 = 1_000_000


def apportion(high: Ints, low: Ints, base: int, total: int | None = None) -> Ints:
    """Areas of high + low / base mm2 (entry,) as whole m2 by largest remainder; ties go to earlier ones.

    They sum to ``total``, which has to be at least their floors' sum, else to their rounded exact sum.
    """
    whole, rest = high // MM2, high % MM2
    if total is None:
        exact = sum(int(r) for r in rest) * base + sum(int(v) for v in low)
        more = (2 * exact + MM2 * base) // (2 * MM2 * base)
    else:
        more = total - int(whole.sum())
    order = np.argsort(-(rest + low / base), kind="stable")
    whole = whole.copy()
    whole[order[:more]] += 1
    return np.asarray(whole, np.int64)


def controlled(high: Ints, low: Ints, base: int, rows: Ints, columns: Ints) -> Ints:
    """Areas (zone, class) in whole m2 whose sums are ``rows`` (zone,) and ``columns`` (class,).

    What is nothing stays nothing. Where no such table is (zones that share no class with the rest can be
    in that state), the columns hold, and a row is a metre off.
    """
    whole = high // MM2
    rest = np.where((high > 0) | (low > 0), high % MM2 + low / base, -1.0)
    row, column = rows - whole.sum(axis=1), columns - whole.sum(axis=0)
    for most in (1, 2):
        sent = _sent(rest >= 0, row, column, most)
        whole, row, column = whole + sent, row - sent.sum(axis=1), column - sent.sum(axis=0)
    for k in np.flatnonzero(column > 0):
        order = np.argsort(-rest[:, k], kind="stable")
        order = order[rest[order, k] >= 0]
        np.add.at(whole[:, k], np.resize(order, int(column[k])), 1)
    return np.asarray(whole, np.int64)


def _sent(some: NDArray[np.bool_], row: Ints, column: Ints, most: int) -> Ints:
    """Whole metres (zone, class) that a greatest flow from ``row`` to ``column`` puts on entries with area."""
    zones, classes = some.shape
    i, k = np.nonzero(some)
    source, sink = zones + classes, zones + classes + 1
    start = np.concatenate([np.full(zones, source), i, zones + np.arange(classes)])
    end = np.concatenate([np.arange(zones), zones + k, np.full(classes, sink)])
    capacity = np.concatenate([np.maximum(row, 0), np.full(len(i), most), np.maximum(column, 0)])
    network = coo_array((capacity.astype(np.int32), (start, end)), shape=(sink + 1, sink + 1)).tocsr()
    flow = maximum_flow(network, source, sink).flow
    return np.asarray(flow[:zones, zones:source].toarray(), np.int64)
