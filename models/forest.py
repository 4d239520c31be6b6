"""Forest: the trees of LightGBM boosters as tables, predicting with the same bits as LightGBM, but faster.

Each feature is binned once to the thresholds that the trees themselves use, so a comparison with a
threshold becomes one of small integers; missing values, default directions and categories become codes
too. The kernels are in ``models.forest_kernels``, with the source of the method.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import lightgbm
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from models import forest_kernels as kernels
from models.forest_kernels import BLOCK, Tables
from models.forest_tables import TreeModel, tabulate

log = logging.getLogger(__name__)

#: Rows given to a kernel at a time: bounds its memory and lets threads share the work evenly.
CHUNK = 16 * BLOCK


@dataclass(frozen=True)
class ForestGroup:
    """Several boosters over the same features: a block of rows is binned once for all of them.

    Safe in threads; pickles as plain arrays.
    """

    features: int
    """Number of features a row must have."""
    classes: tuple[int, ...]
    """Number of outputs of each booster; 1 gives a vector."""
    objectives: tuple[str, ...]
    """LightGBM's objective of each booster, such as ``multiclass num_class:4``; empty if its own."""
    tables: Tables | None
    fallback: tuple[lightgbm.Booster, ...] = ()
    """The boosters themselves where LightGBM must predict."""

    @classmethod
    def from_boosters(cls, boosters: Sequence[lightgbm.Booster | str]) -> ForestGroup:
        """From boosters, or their model texts. Uses the iterations that ``Booster.predict`` would.

        Where one has linear trees, LightGBM predicts all; that is logged as a warning. Raises ValueError
        where there is none, where they have not the same number of features, or a text is not whole.
        """
        texts = [b if isinstance(b, str) else b.model_to_string() for b in boosters]
        models = [TreeModel.parse(text) for text in texts]
        if len({m.features for m in models}) != 1:
            raise ValueError(f"boosters must share their features; found {[m.features for m in models]}")
        shape = (models[0].features, tuple(m.classes for m in models), tuple(m.objective for m in models))
        linear = [k for k, m in enumerate(models) if m.linear]
        if linear:
            log.warning("LightGBM itself predicts, and slowly: booster %d has linear trees", linear[0])
            return cls(*shape, None, tuple(lightgbm.Booster(model_str=text) for text in texts))
        return cls(*shape, tabulate(models))

    @property
    def exact(self) -> bool:
        """True where the tables predict; False where LightGBM does."""
        return self.tables is not None

    @property
    def nbytes(self) -> int:
        """Memory of the tables in bytes. A call adds per thread about 1 KiB a column (a feature has one
        for each default direction and 255 thresholds, a categorical split one for each set of
        categories) and 128 KiB an output."""
        return sum(array.nbytes for array in self.tables) if self.tables is not None else 0

    def predict_raw(
        self, X: NDArray[np.float32], out: Sequence[NDArray[np.float64]] | None = None, threads: int = 1
    ) -> list[NDArray[np.float64]]:
        """Raw score of each booster, with the bits of ``booster.predict(X, raw_score=True)``.

        ``X`` float32 (row, feature) in either memory order; NaN is missing. Gives float64 (row,) or
        (row, class) in the objective's raw unit (a sum, also for boosting rf, as in LightGBM), in ``out``
        where given. ``threads`` share the rows. Raises ValueError for another shape or dtype.
        """
        self._check(X, threads)
        shapes: list[tuple[int, ...]] = [(len(X),) if k == 1 else (len(X), k) for k in self.classes]
        outs = [np.empty(shape) for shape in shapes] if out is None else list(out)
        _check_out(outs, shapes)
        if len(X) and self.tables is not None:
            self._run(X, [o.reshape(len(X), -1) if o.ndim == 1 else o for o in outs], threads)
        elif len(X):
            for booster, o in zip(self.fallback, outs, strict=True):
                o[...] = np.asarray(booster.predict(X, raw_score=True, num_threads=threads)).reshape(o.shape)
        return outs

    def _run(self, X: NDArray[np.float32], outs: list[NDArray[np.float64]], threads: int) -> None:
        assert self.tables is not None
        tables, memory = kernels.frozen(self.tables), _flat(X)
        ends = np.cumsum([0, *self.classes])

        def chunk(start: int) -> None:
            stop = min(start + size, len(X))
            scores = np.empty((ends[-1], stop - start))
            kernels.predict(*memory, start, stop, tables, scores)
            for out, (first, last) in zip(outs, pairwise(ends), strict=True):
                out[start:stop] = scores[first:last].T

        # every thread gets work, in whole blocks
        size = min(CHUNK, -(-len(X) // (threads * BLOCK)) * BLOCK)
        starts = range(0, len(X), size)
        if threads == 1 or len(starts) == 1:
            for start in starts:
                chunk(start)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(chunk, starts))

    def _check(self, X: NDArray[np.float32], threads: int) -> None:
        if not isinstance(X, np.ndarray) or X.dtype != np.float32:
            raise ValueError(f"X is {getattr(X, 'dtype', type(X).__name__)}; expected a float32 array")
        if X.ndim != 2 or X.shape[1] != self.features:
            raise ValueError(f"X is {X.shape}; expected (rows, {self.features})")
        if threads < 1:
            raise ValueError(f"threads is {threads}; expected 1 or more")


@dataclass(frozen=True)
class Forest:
    """One booster as tables; see ``ForestGroup`` for what holds of it."""

    group: ForestGroup

    @classmethod
    def from_booster(cls, booster: lightgbm.Booster | str) -> Forest:
        """From a booster or its model text; see ``ForestGroup.from_boosters``."""
        return cls(ForestGroup.from_boosters([booster]))

    @staticmethod
    def share(boosters: Sequence[lightgbm.Booster | str]) -> ForestGroup:
        """Several boosters over the same features that are predicted together."""
        return ForestGroup.from_boosters(boosters)

    @property
    def exact(self) -> bool:
        """True where the tables predict; False where LightGBM does."""
        return self.group.exact

    @property
    def nbytes(self) -> int:
        """Memory in bytes; see ``ForestGroup.nbytes``."""
        return self.group.nbytes

    def predict_raw(
        self, X: NDArray[np.float32], out: NDArray[np.float64] | None = None, threads: int = 1
    ) -> NDArray[np.float64]:
        """Raw score float64 (row,) or (row, class) of ``X``; see ``ForestGroup.predict_raw``."""
        return self.group.predict_raw(X, None if out is None else [out], threads)[0]


def _flat(X: NDArray[np.float32]) -> tuple[NDArray[np.float32], int, int]:
    """The memory of X as one read-only vector, with the steps from row to row and feature to feature."""
    if min(X.strides) < 0 or any(s % X.itemsize for s in X.strides) or not X.flags.aligned:
        X = np.ascontiguousarray(X)
    row, feature = (s // X.itemsize for s in X.strides)
    size = 1 + (X.shape[0] - 1) * row + (X.shape[1] - 1) * feature
    return as_strided(X, (size,), (X.itemsize,), writeable=False), row, feature


def _check_out(outs: list[NDArray[np.float64]], shapes: list[tuple[int, ...]]) -> None:
    if len(outs) != len(shapes):
        raise ValueError(f"out has {len(outs)} arrays; expected {len(shapes)}")
    for out, shape in zip(outs, shapes, strict=True):
        if not isinstance(out, np.ndarray) or out.dtype != np.float64 or not out.flags.writeable:
            raise ValueError("out must be a writeable float64 array")
        if out.shape != shape:
            raise ValueError(f"out is {out.shape}; expected {shape}")
