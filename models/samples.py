"""SampleTable: what models learn from, one row a site and season."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from features.spec import FeatureSpec

#: Where a row comes from; target values (float, NaN = not measured) and features follow.
PLACE_COLUMNS = ("sample_id", "group", "season", "date", "lon", "lat", "epsg", "x", "y")


@dataclass(frozen=True)
class SampleTable:
    """Rows of ``PLACE_COLUMNS`` + target columns + one float32 column a feature of ``spec``.

    ``lon lat`` are WGS 84 degrees; ``x y`` metres in the UTM zone ``epsg``; ``group`` names what
    must stay in one fold (a survey polygon), the site itself where it is empty.
    Raises ValueError where a column is missing or no row is left.
    """

    frame: pd.DataFrame
    spec: FeatureSpec
    simulated: bool = False
    """Some features come from images that are not real; models say so of themselves and of their maps."""

    def __post_init__(self) -> None:
        missing = [c for c in (*PLACE_COLUMNS, *self.spec.names) if c not in self.frame]
        if missing:
            raise ValueError(f"sample table lacks column(s) {missing}")
        if self.frame.empty:
            raise ValueError("sample table has no row")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def X(self) -> NDArray[np.float32]:  # noqa: N802 - the field's name for it
        """Features (row, feature)."""
        return self.frame[list(self.spec.names)].to_numpy(np.float32)

    def measured(self, target: str) -> SampleTable:
        """The rows that have a value of ``target``. Raises ValueError where there is none."""
        if target not in self.frame:
            raise ValueError(f"sample table has no column {target!r}")
        return replace(self, frame=self.frame[self.frame[target].notna()].reset_index(drop=True))

    @property
    def to_learn_from(self) -> SampleTable:
        """Without the rows of a probability sample (column ``inclusion_probability``), which judge maps and are
        never trained on. Raises ValueError where no other is left."""
        if "inclusion_probability" not in self.frame:
            return self
        own = self.frame["inclusion_probability"].isna()
        if not own.any():
            raise ValueError(
                "all samples are of a reference sample (inclusion_probability); it is never trained on"
            )
        return replace(self, frame=self.frame[own].reset_index(drop=True))

    def take(self, rows: NDArray[np.intp]) -> SampleTable:
        """The rows numbered ``rows``, in that order."""
        return replace(self, frame=self.frame.iloc[rows].reset_index(drop=True))

    def select(self, names: Sequence[str]) -> SampleTable:
        """The same rows with the features ``names``, in that order. Raises ValueError for an unknown one."""
        known = {f.name: f for f in self.spec.features}
        if unknown := [n for n in names if n not in known]:
            raise ValueError(f"sample table lacks feature(s) {unknown}; it has {', '.join(known)}")
        if tuple(names) == self.spec.names:
            return self
        return replace(self, spec=FeatureSpec(tuple(known[n] for n in names)))

    def y(self, target: str) -> NDArray[np.float64]:
        """Values of ``target``, float64 (row,): class codes or a quantity in its unit; NaN where not measured."""
        return self.frame[target].to_numpy(np.float64)

    def error_variance(self, target: str, log: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variance of each sample's own error, and of the error that all samples share (row,), (row,).

        From the optional columns ``<target>_variance_own`` and ``_shared``, in squared units, or with ``log``
        ``<target>_log_variance_own`` and ``_shared``, of the logarithm; 0 where there is no such column.
        """
        kind = f"{target}_log_variance" if log else f"{target}_variance"
        own, shared = (
            self.frame[name].to_numpy(np.float64) if name in self.frame else np.zeros(len(self))
            for name in (f"{kind}_own", f"{kind}_shared")
        )
        return own, shared

    def row_digests(self, target: str) -> NDArray[np.uint64]:
        """First 64 bits of a SHA-256 (row,) of season, place and value of ``target``: which sample it is."""
        f = self.frame
        columns = zip(f.season.astype(str), f.epsg, f.x, f.y, self.y(target), strict=True)
        texts = [
            f"{season}|{epsg}|{float(x)!r}|{float(y)!r}|{float(value)!r}"
            for season, epsg, x, y, value in columns
        ]
        digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
        return np.frombuffer(digests, "<u8")

    @property
    def digest(self) -> str:
        """SHA-256 over rows and spec."""
        text = self.frame.to_csv(index=False, float_format="%.9g")
        return hashlib.sha256((self.spec.digest + text).encode()).hexdigest()
