"""The radiometric guard: do the pixels bear out what a record says of their offset?

A wrong offset moves every band by 0.1 reflectance (1000 in the stored numbers). Taken twice, dark
land falls to the clip at 1; not taken at all, nothing is dark any more, not even vegetation in the
visible or water in the short-wave infrared. Where a block has neither, the step against the other
dates of the same ground tells: haze, flood and harvest move bands differently, an offset all alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_VISIBLE = ("blue", "green", "red")
VEGETATION, BARE, WATER = 4, 5, 6
#: Offset of ESA's products, in stored numbers.
OFFSET = 1000
#: Band, ground that is dark in it, and the reflectance that the darkest twentieth of it never has.
#: Sparse vegetation shows its soil in the red, so blue is asked first.
_DARK = (
    ("blue", VEGETATION, "vegetation", 1000),
    ("red", VEGETATION, "vegetation", 1300),
    ("swir16", WATER, "water", 1000),
    ("swir22", WATER, "water", 1000),
)
#: Fewest pixels, and share of them at the clip, that speak against a scene.
ENOUGH, CLIPPED = 100, 0.5
#: Pixels along an axis that are looked at.
SIDE = 128
#: How far a step may be from the offset, and the bands' steps from one another.
STEP_SLACK = 300


def thin(shape: tuple[int, int]) -> tuple[slice, slice]:
    """The pixels looked at."""
    step = max(1, min(shape) // SIDE)
    return slice(None, None, step), slice(None, None, step)


def judge(bands: Mapping[str, NDArray[np.uint16]], scl: NDArray[np.uint8]) -> str:
    """What speaks against one scene, or "".

    ``bands``: name -> (y, x) harmonised reflectance x 10000, 0 = unseen; ``scl`` (y, x), 0 where not
    clear.
    """
    land = np.isin(scl, (VEGETATION, BARE))
    for name in (*_VISIBLE, "swir16", "swir22"):
        if name not in bands:
            continue
        seen = bands[name][land & (bands[name] > 0)]
        if len(seen) >= ENOUGH and float((seen == 1).mean()) > CLIPPED:
            share = 100 * float((seen == 1).mean())
            return f"{share:.0f} % of the land is at the clip of 1 in {name}: the offset was taken twice"
    for name, ground, what, bound in _DARK:
        if name not in bands or (name == "red" and "blue" in bands):
            continue
        seen = bands[name][(scl == ground) & (bands[name] > 0)]
        if len(seen) >= ENOUGH and (dark := float(np.percentile(seen, 5))) > bound:
            return (
                f"the darkest {what} has reflectance {dark / 10000:.3f} in {name}: "
                "the offset was not taken off"
            )
    return ""


def steps(series: Mapping[str, NDArray[np.uint16]], groups: Sequence[object]) -> dict[int, str]:
    """Index of a date -> the step of its group against the others', where that is an offset's.

    ``series``: band -> (time, y, x), 0 = unseen; ``groups`` says which dates were processed alike
    (baseline and offset). The largest group is believed; a band of the infrared is needed, since haze
    moves the visible ones together.
    """
    kinds = sorted(set(groups), key=lambda g: (-list(groups).count(g), str(g)))
    if len(kinds) < 2 or len(series) < 3 or not set(series) - set(_VISIBLE):
        return {}
    trusted = [t for t, g in enumerate(groups) if g == kinds[0]]
    found: dict[int, str] = {}
    for kind in kinds[1:]:
        mine = [t for t, g in enumerate(groups) if g == kind]
        if len(mine) >= len(trusted):
            continue
        moved = {name: _step(values, mine, trusted) for name, values in series.items()}
        known = {name: step for name, step in moved.items() if step is not None}
        values = np.array(list(known.values()))
        if len(known) < 3 or np.ptp(values) > STEP_SLACK:
            continue
        if abs(abs(float(np.median(values))) - OFFSET) <= STEP_SLACK:
            shown = ", ".join(f"{n} {v / 10000:+.3f}" for n, v in known.items())
            found |= dict.fromkeys(mine, f"step against {len(trusted)} dates processed otherwise: {shown}")
    return found


def _step(values: NDArray[np.uint16], mine: Sequence[int], others: Sequence[int]) -> float | None:
    """Median difference of two groups' medians over the calmer half of the pixels that both saw."""
    own, reference = (np.where(values[k] > 0, values[k].astype(np.float32), np.nan) for k in (mine, others))
    both = ~np.isnan(own).all(axis=0) & ~np.isnan(reference).all(axis=0)
    if both.sum() < ENOUGH:
        return None
    low, middle, high = _ranks(reference[:, both], (0.25, 0.5, 0.75))
    calm = high - low <= np.median(high - low)
    return float(np.median((_ranks(own[:, both], (0.5,))[0] - middle)[calm]))


def _ranks(values: NDArray[np.float32], parts: Sequence[float]) -> list[NDArray[np.float32]]:
    """Nearest-rank quantiles along the first axis, NaN left out (NumPy's own take minutes a block)."""
    ordered = np.sort(values, axis=0)  # NaN come last
    last = (~np.isnan(values)).sum(axis=0) - 1
    column = np.arange(values.shape[1])
    return [ordered[np.rint(part * last).astype(int), column] for part in parts]
