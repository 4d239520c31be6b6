"""Kernels of ``models.forest``: rows to codes, codes to leaves, leaves to sums.

Work goes by blocks of ``BLOCK`` rows, one byte a row and step, so that each loop over a block is a run
of plain byte comparisons, which compilers turn into the widest vectors that the machine has.
The idea to compare codes of a block of rows with one node after the other, whatever path each row takes,
is that of QuickScorer (Lucchese et al. 2015) and RapidScorer (Ye et al. 2018). Where these strike
unreachable leaves off a bit mask, here one byte a row holds the leaf it would reach going left ever
after: one byte serves trees of 2 to 255 leaves alike.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: Rows of a block: so many that a node's loop outlasts the store it must wait for, the node before.
BLOCK = 1024

#: Codes of a column: 0 to 255; ``code > rank`` goes right for ranks 0 to 254.
RANKS = 255

#: More leaves than this do not fit a byte beside 0; such trees are walked node by node.
SCANNED_LEAVES = 255

ZERO = np.float32(1e-35)  # LightGBM's kZeroThreshold
U8 = np.uint8
ONE = np.uint8(1)
_SEEN, _ZERO, _NAN = U8(0), U8(1), U8(2)


class Tables(NamedTuple):
    """A forest as plain arrays. One row a used feature, column, node, tree and output."""

    feature: NDArray[np.int64]
    edge_start: NDArray[np.int64]
    """(features,) where a feature's edges begin in ``edges``."""
    edge_step: NDArray[np.int64]
    """(features,) first step of the binary search; 0 without edges. Edges are padded to 2 * step - 1."""
    edges: NDArray[np.float32]
    """Rising thresholds of each feature, padded with infinity."""
    column_start: NDArray[np.int64]
    """(features + 1,) a feature's numerical columns."""
    first_rank: NDArray[np.int64]
    """(columns,) rank of the edge that is the column's rank 0."""
    missing_from: NDArray[np.uint8]
    """(columns,) state of a value from which on it is missing: 1 zero, 2 NaN, 3 never."""
    missing_code: NDArray[np.uint8]
    """(columns,) 0 sends a missing value left, 255 right."""
    set_start: NDArray[np.int64]
    """(features + 1,) a feature's categorical columns; they come after all numerical ones."""
    word_start: NDArray[np.int64]
    """(sets + 1,) words of each set of categories in ``words``."""
    words: NDArray[np.uint32]
    output_start: NDArray[np.int64]
    """(outputs + 1,) an output's trees."""
    node_start: NDArray[np.int64]
    """(trees + 1,) a tree's nodes, parents before children, left before right."""
    leaf_start: NDArray[np.int64]
    """(trees + 1,) leaf k = 1, 2... of a tree, counted from the left, is ``leaf[leaf_start + k]``."""
    leaf: NDArray[np.float64]
    column: NDArray[np.int32]
    rank: NDArray[np.uint8]
    low: NDArray[np.int32]
    """(nodes,) leftmost leaf under the node; in a walked tree the left child, or minus a leaf."""
    high: NDArray[np.int32]
    """(nodes,) leftmost leaf under the right child; in a walked tree the right child, or minus a leaf."""


@njit(nogil=True, cache=True)
def arrange(left, right, node_start, slot, low, high, order):  # type: ignore[no-untyped-def]
    """Order each tree from parents to children and left to right; see ``Tables`` for low and high.

    ``left``, ``right`` (nodes,): LightGBM's children, ~leaf where negative. ``slot`` (nodes,) becomes the
    place of each node in its tree, ``order`` (leaves,) LightGBM's leaf at each place from the left.
    Returns False where a tree is not one.
    """
    for t in range(node_start.shape[0] - 1):
        start, count = node_start[t], node_start[t + 1] - node_start[t]
        walked = count >= SCANNED_LEAVES
        child = np.empty(count + 2, np.int64)
        parent = np.empty(count + 2, np.int64)  # place of the parent if a right child, ~place if a left one
        child[0], parent[0] = (0 if count else -1), -1
        waiting, nodes, leaves = 1, 0, 0
        while waiting:
            waiting -= 1
            node, above = child[waiting], parent[waiting]
            if (node >= 0 and nodes >= count) or (node < 0 and leaves > count):
                return False
            if count and (nodes or leaves):
                if above >= 0:
                    high[start + above] = (nodes if node >= 0 else -leaves - 1) if walked else leaves + 1
                elif walked:
                    low[start + ~above] = nodes if node >= 0 else -leaves - 1
            if node < 0:
                order[start + t + leaves] = ~node
                leaves += 1
            else:
                slot[start + node] = nodes
                if not walked:
                    low[start + nodes] = leaves + 1
                child[waiting], parent[waiting] = right[start + node], nodes
                child[waiting + 1], parent[waiting + 1] = left[start + node], ~nodes
                waiting += 2
                nodes += 1
        if nodes != count or leaves != count + 1:
            return False
    return True


@njit(nogil=True, cache=True)
def predict(flat, row_step, feature_step, start, stop, tables, out):  # type: ignore[no-untyped-def]
    """Raw scores of rows ``start`` to ``stop`` into ``out`` (outputs, rows).

    Value f of row r is ``flat[r * row_step + f * feature_step]``: either memory order, one compilation.
    """
    columns = tables.first_rank.shape[0] + tables.word_start.shape[0] - 1
    codes = np.zeros((columns, BLOCK), np.uint8)
    values = np.zeros(BLOCK, np.float32)
    state = np.zeros(BLOCK, np.uint8)
    position = np.zeros(BLOCK, np.uint32)  # unsigned: no index of it can count from the end
    reached = np.empty((4, BLOCK), np.uint8)
    total = np.empty(BLOCK, np.float64)
    for first in range(start, stop, BLOCK):
        n = min(BLOCK, stop - first)
        for k in range(tables.feature.shape[0]):
            offset = first * row_step + tables.feature[k] * feature_step
            _gather(flat, offset, row_step, n, values)
            if tables.set_start[k] < tables.set_start[k + 1]:
                _encode_sets(values, k, tables, codes)
            if tables.column_start[k] < tables.column_start[k + 1]:
                _classify(values, state)
                _search(values, tables.edges[tables.edge_start[k] :], tables.edge_step[k], position)
                _encode(position, state, k, tables, codes)
        for output in range(out.shape[0]):
            total[:] = 0.0
            _add_trees(
                codes, tables, tables.output_start[output], tables.output_start[output + 1], reached, total
            )
            out[output, first - start : first - start + n] = total[:n]


@njit(nogil=True, cache=True)
def _gather(flat, offset, step, n, values):  # type: ignore[no-untyped-def]
    if step == 1:
        for i in range(n):
            values[i] = flat[offset + i]
    else:
        for i in range(n):
            values[i] = flat[offset + i * step]


@njit(nogil=True, cache=True)
def _classify(values, state):  # type: ignore[no-untyped-def]
    """What LightGBM takes for zero becomes zero: it does so with rows before any tree sees them."""
    for i in range(BLOCK):
        value = values[i]
        lacks = np.isnan(value)
        zero = abs(value) <= ZERO
        state[i] = _NAN if lacks else (_ZERO if zero else _SEEN)
        values[i] = np.float32(0) if lacks | zero else value


@njit(nogil=True, cache=True)
def _search(values, edges, step, position):  # type: ignore[no-untyped-def]
    """Number of edges below each value: binary search, step by step for all rows, without branches."""
    for i in range(BLOCK):
        position[i] = 0
    while step > 0:
        ahead, jump = edges[step - 1 :], np.uint32(step)
        for i in range(BLOCK):
            position[i] += jump if ahead[position[i]] < values[i] else np.uint32(0)
        step >>= 1


@njit(nogil=True, cache=True)
def _encode(position, state, k, tables, codes):  # type: ignore[no-untyped-def]
    """Numerical columns of a feature: values that go right at rank r have a code above r."""
    for j in range(tables.column_start[k], tables.column_start[k + 1]):
        code, first = codes[j], np.int32(tables.first_rank[j])
        missing_from, missing_code = tables.missing_from[j], tables.missing_code[j]
        for i in range(BLOCK):
            place = min(max(np.int32(position[i]) - first, np.int32(0)), np.int32(RANKS))
            code[i] = missing_code if state[i] >= missing_from else U8(place)


@njit(nogil=True, cache=True)
def _encode_sets(values, k, tables, codes):  # type: ignore[no-untyped-def]
    """Categorical columns of a feature: 0 where the category is in the set (left), 1 elsewhere."""
    numerical = tables.first_rank.shape[0]
    for j in range(tables.set_start[k], tables.set_start[k + 1]):
        words = tables.words[tables.word_start[j] : tables.word_start[j + 1]]
        bits = 32.0 * words.shape[0]
        for i in range(BLOCK):
            value = np.float64(values[i])
            inside = False
            if -1.0 < value < bits:  # LightGBM cuts the fraction off, so -0.5 is category 0
                category = np.uint64(np.int64(value))
                word = np.uint64(words[category >> np.uint64(5)])
                inside = (word >> (category & np.uint64(31))) & np.uint64(1) == 1
            codes[numerical + j, i] = U8(0) if inside else ONE


@njit(nogil=True, cache=True)
def _add_trees(codes, tables, tree, last, reached, total):  # type: ignore[no-untyped-def]
    """Add trees in LightGBM's order: floating-point sums depend on it. By four, to load sums less often."""
    node_start, leaf_start, leaf = tables.node_start, tables.leaf_start, tables.leaf
    while tree < last:
        if node_start[tree + 1] - node_start[tree] >= SCANNED_LEAVES:
            _walk(codes, tables, tree, total)
            tree += 1
            continue
        count = 1
        while count < 4 and tree + count < last and _is_scanned(node_start, tree + count):
            count += 1
        for k in range(count):
            _scan(codes, tables, node_start[tree + k], node_start[tree + k + 1], reached[k])
        if count == 4:
            _add4(
                reached,
                leaf[leaf_start[tree] :],
                leaf[leaf_start[tree + 1] :],
                leaf[leaf_start[tree + 2] :],
                leaf[leaf_start[tree + 3] :],
                total,
            )
        else:
            for k in range(count):
                _add(reached[k], leaf[leaf_start[tree + k] :], total)
        tree += count


@njit(nogil=True, cache=True)
def _is_scanned(node_start, tree):  # type: ignore[no-untyped-def]
    return node_start[tree + 1] - node_start[tree] < SCANNED_LEAVES


@njit(nogil=True, cache=True)
def _scan(codes, tables, start, stop, reached):  # type: ignore[no-untyped-def]
    """Leaf (1, 2... from the left) that each row of the block reaches.

    Rows start at leaf 1, as if they went left for ever. A row at a node's leftmost leaf is at that node,
    for parents come first; going right moves it to the right child's leftmost leaf, which is higher.
    ``max`` with 1 instead of a plain choice keeps compilers from masked stores, which processors
    cannot forward to the next node's load.
    """
    for i in range(BLOCK):
        reached[i] = ONE
    for node in range(start, stop):
        code, rank = codes[tables.column[node]], tables.rank[node]
        low, high = U8(tables.low[node]), U8(tables.high[node])
        for i in range(BLOCK):
            reached[i] = max(reached[i], high if (reached[i] == low) & (code[i] > rank) else ONE)


@njit(nogil=True, cache=True)
def _walk(codes, tables, tree, total):  # type: ignore[no-untyped-def]
    start, leaf = tables.node_start[tree], tables.leaf[tables.leaf_start[tree] :]
    for i in range(BLOCK):
        node = np.int64(0)
        while node >= 0:
            at = start + node
            right = codes[tables.column[at], i] > tables.rank[at]
            node = np.int64(tables.high[at] if right else tables.low[at])
        total[i] += leaf[-node]


@njit(nogil=True, cache=True, inline="never")
def _add(reached, leaf, total):  # type: ignore[no-untyped-def]
    for i in range(BLOCK):
        total[i] += leaf[reached[i]]


@njit(nogil=True, cache=True, inline="never")
def _add4(reached, one, two, three, four, total):  # type: ignore[no-untyped-def]
    a, b, c, d = reached[0], reached[1], reached[2], reached[3]
    for i in range(BLOCK):
        total[i] = total[i] + one[a[i]] + two[b[i]] + three[c[i]] + four[d[i]]


@njit(nogil=True, cache=True)
def softmax(scores):  # type: ignore[no-untyped-def]
    """Softmax of each row of ``scores`` (row, class), as LightGBM computes it, in place.

    By the C library's ``exp`` and in LightGBM's order, so with the same bits where it uses that library;
    NumPy's own vectorised ``exp`` may differ in the last bit.
    """
    for i in range(scores.shape[0]):
        row = scores[i]
        top = row[0]
        for k in range(1, row.shape[0]):
            top = max(row[k], top)
        total = 0.0
        for k in range(row.shape[0]):
            row[k] = math.exp(row[k] - top)
            total += row[k]
        for k in range(row.shape[0]):
            row[k] /= total


def frozen(tables: Tables) -> Tables:
    """Read-only views: arrays off another process may be so, and numba compiles for either kind anew."""
    views: list[NDArray[Any]] = [array.view() for array in tables]
    for view in views:
        view.flags.writeable = False
    return Tables(*views)
