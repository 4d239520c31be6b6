"""What changed between two seasons in the same units, with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

#: What names one figure of a season's tidy table.
KEY = ["target", "level", "code", "indicator"]
_WAS = {
    "season": "season_before", "map_m2": "map_m2_before", "expected_m2": "before_m2",
    "lower_m2": "before_lower_m2", "upper_m2": "before_upper_m2",
}  # fmt: skip


def between(now: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """One row a figure of ``now``, that of ``before`` beside it, and the change, in m2.

    Both as ``tables.tidy`` gives them, with a column ``season``. The errors of two seasons are taken as
    independent, so the variances add; they rather go together, which makes the interval too wide before it
    is too narrow. Where the units of the two seasons are of different days, or one has no interval, the
    change is absent (NA), never a guess.
    """
    was = before.rename(columns=_WAS)[[*KEY, "units_of", *_WAS.values()]].rename(
        columns={"units_of": "units_before"}
    )
    met = now.merge(was, on=KEY, how="left", validate="one_to_one")
    for name in ("expected_m2", "lower_m2", "upper_m2", *list(_WAS.values())[1:]):
        met[name] = met[name].astype("Int64")
    same = (met["units_of"] == met["units_before"]).to_numpy()
    change = (met["expected_m2"] - met["before_m2"]).where(same)
    down = _hypot(met["expected_m2"] - met["lower_m2"], met["before_upper_m2"] - met["before_m2"])
    up = _hypot(met["upper_m2"] - met["expected_m2"], met["before_m2"] - met["before_lower_m2"])
    found = met.assign(
        change_m2=change,
        change_lower_m2=(change - np.ceil(down)).astype("Int64"),
        change_upper_m2=(change + np.ceil(up)).astype("Int64"),
    )
    head = ["target", "level", "code", "name", "indicator", "season", "season_before", "units_of"]
    return found[[*head, *_FIGURES, "note"]]


_FIGURES = [
    "unknown_percent", "map_m2", "map_m2_before", "expected_m2", "lower_m2", "upper_m2", "before_m2",
    "before_lower_m2", "before_upper_m2", "change_m2", "change_lower_m2", "change_upper_m2",
]  # fmt: skip


def _hypot(a: pd.Series[int], b: pd.Series[int]) -> pd.Series[float]:
    far = np.hypot(a.to_numpy(np.float64, na_value=np.nan), b.to_numpy(np.float64, na_value=np.nan))
    return pd.Series(far, index=a.index).astype("Float64")


HEADINGS = {
    "target": "Chỉ tiêu", "level": "Cấp", "code": "Mã", "name": "Tên", "indicator": "Loại", "season": "Vụ",
    "season_before": "Vụ trước", "units_of": "Đơn vị hành chính ngày", "unknown_percent": "Chưa biết (%)",
    "map_m2": "Đếm trên bản đồ (m²)", "map_m2_before": "Đếm trên bản đồ, vụ trước (m²)",
    "expected_m2": "Kỳ vọng (m²)", "lower_m2": "cận dưới 95 % (m²)", "upper_m2": "cận trên 95 % (m²)",
    "before_m2": "Kỳ vọng, vụ trước (m²)", "before_lower_m2": "vụ trước, cận dưới 95 % (m²)",
    "before_upper_m2": "vụ trước, cận trên 95 % (m²)", "change_m2": "Thay đổi (m²)",
    "change_lower_m2": "Thay đổi, cận dưới 95 % (m²)", "change_upper_m2": "Thay đổi, cận trên 95 % (m²)",
    "note": "Ghi chú",
}  # fmt: skip
