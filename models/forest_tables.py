"""LightGBM's model text -> the tables that ``models.forest_kernels`` predicts from."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import forest_kernels as kernels
from models.forest_kernels import RANKS, Tables

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2
_MISSING_FROM = np.array([3, 1, 2], np.uint8)  # by missing type; see Tables.missing_from


@dataclass(frozen=True)
class TreeModel:
    """A LightGBM model text, its trees end to end. Arrays are (nodes,) unless said otherwise."""

    features: int
    classes: int
    objective: str
    linear: bool
    leaves: NDArray[np.int64]
    """(trees,)"""
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    decision: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    value: NDArray[np.float64]
    """(leaves of all trees,)"""
    sets: dict[int, NDArray[np.uint32]]
    """Node -> bitset of the categories that go left."""

    @classmethod
    def parse(cls, text: str) -> TreeModel:
        head, *trees = text.split("\nend of trees", 1)[0].split("\nTree=")
        top = _lines(head)
        parts = [_lines(tree) for tree in trees]
        leaves = np.array([int(p["num_leaves"]) for p in parts], np.int64)
        nodes = int((leaves - 1).sum())

        def numbers(key: str, kind: type, count: int) -> NDArray[Any]:
            words = " ".join([p.get(key, "") for p in parts]).split()
            if len(words) != count:
                raise ValueError(f"model text holds {len(words)} of {count} values of {key}")
            return np.array(list(map(kind, words)), np.float64 if kind is float else np.int64)

        if not {"max_feature_idx", "num_class"} <= top.keys():
            raise ValueError("not the text of a LightGBM model")
        decision = numbers("decision_type", int, nodes)
        threshold = numbers("threshold", float, nodes)
        model = cls(
            features=int(top["max_feature_idx"]) + 1,
            classes=int(top.get("num_tree_per_iteration", top["num_class"])),
            objective=top.get("objective", "") + (" average_output" if "average_output" in top else ""),
            linear=any(p.get("is_linear") == "1" for p in parts),
            leaves=leaves,
            feature=numbers("split_feature", int, nodes),
            threshold=threshold,
            decision=decision,
            left=numbers("left_child", int, nodes),
            right=numbers("right_child", int, nodes),
            value=numbers("leaf_value", float, int(leaves.sum())),
            sets=_sets(parts, leaves, decision, threshold),
        )
        model._check()
        return model

    def _check(self) -> None:
        """Indices that the kernels follow must lie inside."""
        leaves = np.repeat(self.leaves, self.leaves - 1)
        inside = all(((c >= -leaves) & (c < leaves - 1)).all() for c in (self.left, self.right))
        if not inside or ((self.feature < 0) | (self.feature >= self.features)).any():
            raise ValueError("model text holds a tree that is none")


def _lines(part: str) -> dict[str, str]:
    return {key: value for key, _, value in (line.partition("=") for line in part.splitlines())}


def _sets(
    parts: list[dict[str, str]],
    leaves: NDArray[np.int64],
    decision: NDArray[np.int64],
    threshold: NDArray[np.float64],
) -> dict[int, NDArray[np.uint32]]:
    found: dict[int, NDArray[np.uint32]] = {}
    start = 0
    for part, count in zip(parts, leaves - 1, strict=True):
        if part["num_cat"] != "0":
            bounds = list(map(int, part["cat_boundaries"].split()))
            words = np.array(list(map(int, part["cat_threshold"].split())), np.uint32)
            for node in range(start, start + count):
                if decision[node] & _CATEGORICAL:
                    k = int(threshold[node])
                    found[node] = words[bounds[k] : bounds[k + 1]]
        start += count
    return found


def tabulate(models: list[TreeModel]) -> Tables:
    """The tables of all models, output after output."""
    model, leaves, outputs = _joined(models)
    node_start = np.concatenate([[0], np.cumsum(leaves - 1)])
    leaf_start = np.concatenate([[0], np.cumsum(leaves)])
    slot, order = np.zeros(len(model.left), np.int64), np.zeros(leaf_start[-1], np.int64)
    low, high = np.zeros((2, len(model.left)), np.int32)
    if not kernels.arrange(model.left, model.right, node_start, slot, low, high, order):
        raise ValueError("model text holds a tree that is none")
    binning, column, rank = _bin(model)
    place = slot + np.repeat(node_start[:-1], leaves - 1)
    columns, ranks = np.empty(len(place), np.int32), np.empty(len(place), np.uint8)
    columns[place], ranks[place] = column, rank
    return Tables(
        **binning,
        output_start=outputs,
        node_start=node_start,
        leaf_start=leaf_start,
        # one value ahead, for leaves count from 1
        leaf=np.concatenate([[0.0], model.value[order + np.repeat(leaf_start[:-1], leaves)]]),
        column=columns,
        rank=ranks,
        low=low,
        high=high,
    )


def _joined(models: list[TreeModel]) -> tuple[TreeModel, NDArray[np.int64], NDArray[np.int64]]:
    """All trees as one model, output after output; their leaves; where each output's trees begin.

    Within an output LightGBM's order of trees remains, for sums depend on it.
    """
    trees: list[NDArray[np.int64]] = []
    first_tree = 0
    for m in models:
        count = len(m.leaves) // m.classes * m.classes
        trees += [first_tree + np.arange(k, count, m.classes) for k in range(m.classes)]
        first_tree += len(m.leaves)
    order = np.concatenate(trees)
    leaves = np.concatenate([m.leaves for m in models])
    nodes, values = _members(leaves - 1, order), _members(leaves, order)
    sets: dict[int, NDArray[np.uint32]] = {}
    first_node = 0
    for m in models:
        sets |= {first_node + node: words for node, words in m.sets.items()}
        first_node += len(m.left)
    moved = np.empty(first_node, np.int64)
    moved[nodes] = np.arange(len(nodes))

    def joined(name: str, index: NDArray[np.int64]) -> NDArray[Any]:
        return np.concatenate([getattr(m, name) for m in models])[index]

    names = ("feature", "threshold", "decision", "left", "right")
    model = TreeModel(
        features=models[0].features,
        classes=len(trees),
        objective="",
        linear=False,
        leaves=leaves[order],
        **{name: joined(name, nodes) for name in names},
        value=joined("value", values),
        sets={int(moved[node]): words for node, words in sets.items()},
    )
    return model, model.leaves, np.concatenate([[0], np.cumsum([len(t) for t in trees])])


def _members(sizes: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of the members of groups that lie end to end, group after group in ``order``."""
    starts, sizes = (np.cumsum(sizes) - sizes)[order], sizes[order]
    return np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())


def _bin(model: TreeModel) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64], NDArray[np.int64]]:
    """Columns of codes, and each node's column and rank in it.

    A feature has a numerical column for each way in which its nodes treat missing values, and for each
    255 of its edges; and a categorical column for each set of categories.
    """
    used = np.unique(model.feature)
    numerical = (model.decision & _CATEGORICAL) == 0
    edges = _Edges(model, used, numerical)
    missing = np.where(numerical, (model.decision >> 2) & 3, 0)
    left = np.where(missing == _MISSING_NONE, 0, (model.decision & _DEFAULT_LEFT) >> 1)
    part, rank = np.divmod(edges.position, RANKS)
    keys = np.stack([model.feature, missing, left, part])[:, numerical]
    kinds, column_of = np.unique(keys, axis=1, return_inverse=True)
    column = np.empty(len(numerical), np.int64)
    column[numerical] = column_of.ravel()
    set_feature: list[int] = []
    words: list[NDArray[np.uint32]] = []
    known: dict[tuple[int, bytes], int] = {}
    for node, bits in sorted(model.sets.items(), key=lambda item: int(model.feature[item[0]])):
        key = (int(model.feature[node]), bits.tobytes())
        if key not in known:
            known[key] = kinds.shape[1] + len(words)
            set_feature.append(key[0])
            words.append(bits)
        column[node], rank[node] = known[key], 0
    binning = {
        "feature": used,
        **edges.tables,
        "column_start": np.searchsorted(kinds[0], [*used, model.features]),
        "first_rank": kinds[3] * RANKS,
        "missing_from": _MISSING_FROM[kinds[1]],
        "missing_code": np.where(kinds[2] == 1, 0, RANKS).astype(np.uint8),
        "set_start": np.searchsorted(np.array(set_feature, np.int64), [*used, model.features]),
        "word_start": np.concatenate([[0], np.cumsum([len(w) for w in words])]).astype(np.int64),
        "words": np.concatenate([np.empty(0, np.uint32), *words]),
    }
    return binning, column, rank


class _Edges:
    """The thresholds of each feature, as float32, and each node's position among them."""

    def __init__(self, model: TreeModel, used: NDArray[np.int64], numerical: NDArray[np.bool_]) -> None:
        self.position = np.zeros(len(numerical), np.int64)
        nodes = np.flatnonzero(numerical)
        nodes = nodes[np.argsort(model.feature[nodes], kind="stable")]
        thresholds = _float32_below(model.threshold)
        bounds = np.searchsorted(model.feature[nodes], [*used, model.features])
        padded, steps = [np.empty(0, np.float32)], []
        for first, last in pairwise(bounds):
            mine = nodes[first:last]
            edges, self.position[mine] = np.unique(thresholds[mine], return_inverse=True)
            step = 1 << len(edges).bit_length() - 1 if len(edges) else 0
            padded.append(np.append(edges, np.full(max(2 * step - 1, 0) - len(edges), np.inf, np.float32)))
            steps.append(step)
        starts = np.cumsum([0, *map(len, padded[1:])])[:-1]
        self.tables = {
            "edge_start": starts.astype(np.int64),
            "edge_step": np.array(steps, np.int64),
            "edges": np.concatenate(padded),
        }


def _float32_below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Largest float32 not above each threshold: x <= threshold holds for the same float32 x."""
    with np.errstate(over="ignore"):
        near = threshold.astype(np.float32)
    above = near.astype(np.float64) > threshold
    near[above] = np.nextafter(near[above], np.float32(-np.inf))
    return near
