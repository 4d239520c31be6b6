"""``block`` and ``cube``: the only way features are made, in training and in mapping alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from features import kernel, sar
from features.bands import BANDS, OPTICAL, has_time, sensor_of
from features.formula import parse
from features.indices import INDICES, Index
from features.spec import FeatureSpec, formula_of

Stack = Mapping[str, NDArray[Any]]


def block(
    stack: Stack,
    spec: FeatureSpec,
    out: NDArray[np.float32] | None = None,
    dates: Mapping[str, NDArray[np.datetime64]] | None = None,
    orbits: Mapping[str, NDArray[np.integer[Any]]] | None = None,
    until: np.datetime64 | None = None,
) -> NDArray[np.float32]:
    """Features of one block of pixels.

    Parameters
    ----------
    stack
        Band name -> array. Sentinel-2 (time, y, x) uint16 reflectance x 10000, 0 = unseen.
        Sentinel-1 (time, y, x) float32 gamma0 power, NaN = unseen. Layers without time (y, x)
        float32, NaN = unknown. Sensors may differ in the number of dates.
    out
        Optional C-contiguous float32 (feature, y, x) to fill; overwritten whole.
    dates
        Sensor name -> datetime64[D] of the stack's dates, in any order; needed by statistics of time
        (slopes, Mann-Kendall, harmonics, runs, ages) and by windows that ask the day of the year.
    orbits
        Sensor name -> number of each date's relative orbit: that sensor's statistics are made
        per orbit and then combined (see ``sar``). Without it all dates are one series.
    until
        The day to which ages count; the sensor's last date where it is not given.

    Returns float32 (feature, y, x), NaN where a feature has no seen value.
    Raises ValueError for a missing band, a wrong dtype, shapes that do not match, missing dates.

    Memory: beside ``out``, 4 bytes for each date of each series (a formula in a window) times 272 pixels, or
    512 KiB where that is less, and 4 bytes for each date and band and 400 bytes, times 272 pixels, however large
    the block; Theil-Sen slopes add 512 bytes a pair of dates; arrays that are not C-contiguous are copied.
    With several orbits, see ``sar``.
    """
    shape = _check(stack, spec)
    dates = _check_dates(stack, spec, dates or {}, "dates")
    orbits = _check_dates(stack, spec, orbits or {}, "orbits")
    expected = (len(spec.features), *shape)
    if out is None:
        out = np.empty(expected, np.float32)
    elif out.shape != expected or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}; expected C-contiguous float32 {expected}")
    sar.run(spec, stack, out, dates, orbits, until)
    for row, feature in enumerate(spec.features):
        if feature.statistic is None:
            out[row] = stack[feature.formula]
    return out


def indices_of(
    stack: Stack,
    names: Iterable[str],
    out: NDArray[np.float32] | NDArray[np.int16] | None = None,
    indices: Mapping[str, Index] = INDICES,
) -> NDArray[Any]:
    """Indices of one date, or of each date of a stack: values, no statistics.

    Parameters
    ----------
    stack
        Band name -> array, all of one shape, such as (y, x). Sentinel-2 as uint16 reflectance x 10000,
        0 = unseen, or (composites) float32 reflectance, NaN = unseen; Sentinel-1 as float32 power.
    names
        Names of ``indices`` or of bands.
    out
        Optional C-contiguous (index, y, x) to fill: float32, or int16 for ten-thousandths, rounded and
        held within -32767 and 32767, with -32768 for NaN.

    Returns float32 (index, y, x) or ``out``; NaN where a band is unseen or the formula undefined.
    Memory: beside ``out``, 512 KiB; arrays that are not C-contiguous are copied.
    Raises ValueError for an unknown name, a missing band, a wrong dtype or shapes that do not match.
    """
    formulas = [parse(formula_of(name, indices)) for name in names]
    if not formulas:
        raise ValueError("no indices given; expected at least one, such as ndvi")
    bands = [band for band in BANDS if any(band in formula.bands for formula in formulas)]
    missing = [band for band in bands if band not in stack]
    if missing:
        raise ValueError(f"stack lacks band(s) {missing}; it has {sorted(stack)}")
    shape = stack[bands[0]].shape
    for band in bands:
        allowed = ("uint16", "float32") if BANDS[band] == OPTICAL else ("float32",)
        if str(stack[band].dtype) not in allowed or stack[band].shape != shape:
            raise ValueError(
                f"band {band!r} is {stack[band].dtype} {stack[band].shape}; "
                f"expected {' or '.join(allowed)} {shape}"
            )
    expected = (len(formulas), *shape)
    if out is None:
        out = np.empty(expected, np.float32)
    elif out.shape != expected or out.dtype not in (np.float32, np.int16) or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}; expected C-contiguous float32 or int16 {expected}")
    for key in dict.fromkeys((f.sensor, str(stack[f.bands[0]].dtype)) for f in formulas):
        rows = [k for k, f in enumerate(formulas) if (f.sensor, str(stack[f.bands[0]].dtype)) == key]
        whole = len(rows) == len(formulas)
        part = out if whole else np.empty((len(rows), *shape), out.dtype)
        kernel.run_indices([formulas[k] for k in rows], stack, part)
        if not whole:
            out[rows] = part
    return out


def cube(
    stack: xr.Dataset | Mapping[str, xr.Dataset], spec: FeatureSpec, until: np.datetime64 | None = None
) -> xr.DataArray:
    """Features of labelled stacks, lazy where the stacks are Dask arrays.

    ``stack`` is one Dataset, or one a sensor (sensors differ in dates), with dims (time, y, x).
    Dates are those of the coordinate ``time``; a coordinate ``orbit`` along it is the relative orbit.
    Returns float32 (feature, y, x) with the stack's y and x, the values of ``block``.
    """
    sets = (
        list(stack.values()) if isinstance(stack, Mapping) and not isinstance(stack, xr.Dataset) else [stack]
    )
    arrays = {str(name): array for part in sets for name, array in part.items()}
    missing = [band for band in spec.bands if band not in arrays]
    if missing:
        raise ValueError(f"stack lacks band(s) {missing}; it has {sorted(arrays)}")
    dates = _along_time(arrays, spec, "time")
    orbits = _along_time(arrays, spec, "orbit")
    core = [[f"time_{BANDS[b]}"] if has_time(b) else [] for b in spec.bands]
    inputs = [
        arrays[b].drop_vars(["time", "orbit"], errors="ignore").rename(time=f"time_{BANDS[b]}")
        if has_time(b)
        else arrays[b]
        for b in spec.bands
    ]

    def run(*parts: NDArray[Any]) -> NDArray[np.float32]:
        # apply_ufunc puts the core dimension last; kernels want dates first and contiguous.
        ready = [np.moveaxis(p, -1, 0) if has_time(b) else p for b, p in zip(spec.bands, parts, strict=True)]
        made = block(dict(zip(spec.bands, ready, strict=True)), spec, None, dates, orbits, until)
        return np.moveaxis(made, 0, -1)

    result = xr.apply_ufunc(
        run,
        *inputs,
        input_core_dims=core,
        output_core_dims=[["feature"]],
        dask="parallelized",
        output_dtypes=[np.float32],
        dask_gufunc_kwargs={"output_sizes": {"feature": len(spec.names)}, "allow_rechunk": True},
        keep_attrs=False,
    )
    return result.transpose("feature", "y", "x").assign_coords(feature=list(spec.names))  # type: ignore[no-any-return]


def _along_time(arrays: Mapping[str, xr.DataArray], spec: FeatureSpec, name: str) -> dict[str, NDArray[Any]]:
    """Sensor -> the coordinate ``name`` of its bands, where they have it along time."""
    return {
        sensor_of(b): arrays[b][name].values
        for b in spec.bands
        if name in arrays[b].coords and arrays[b][name].dims == ("time",)
    }


def _check_dates(
    stack: Stack, spec: FeatureSpec, given: Mapping[str, NDArray[Any]], what: str
) -> dict[str, NDArray[Any]]:
    """What is ``given`` for the sensors of ``spec``, one entry a date."""
    lengths = {BANDS[b]: len(stack[b]) for b in spec.bands if has_time(b)}
    found = {sensor: np.asarray(values) for sensor, values in given.items() if sensor in lengths}
    for sensor, values in found.items():
        kind = "M" if what == "dates" else "iu"
        if values.shape != (lengths[sensor],) or (values.dtype.kind not in kind and values.size):
            raise ValueError(
                f"{what}[{sensor!r}] is {values.dtype} {values.shape}; "
                f"expected {'datetime64[D]' if what == 'dates' else 'whole numbers'} ({lengths[sensor]},)"
            )
        if what == "dates" and np.isnat(values).any():
            raise ValueError(f"dates[{sensor!r}] holds NaT; expected a date for each time step")
    for feature in spec.features:
        if what == "dates" and feature.timed and feature.parsed.sensor not in found:
            raise ValueError(
                f"feature {feature.name!r} needs the dates of {feature.parsed.sensor}; "
                f"dates has {sorted(given) or 'none'}"
            )
    return found


def _check(stack: Stack, spec: FeatureSpec) -> tuple[int, int]:
    """The (y, x) shape that all needed bands share."""
    missing = [band for band in spec.bands if band not in stack]
    if missing:
        raise ValueError(f"stack lacks band(s) {missing}; it has {sorted(stack)}")
    first: dict[str, tuple[str, tuple[int, ...]]] = {}
    for band in spec.bands:
        array, sensor = stack[band], sensor_of(band)
        wanted = np.dtype(np.uint16 if sensor == OPTICAL else np.float32)
        if array.dtype != wanted:
            raise ValueError(f"band {band!r} is {array.dtype}; expected {wanted}")
        dimensions = 3 if has_time(band) else 2
        if array.ndim != dimensions:
            raise ValueError(f"band {band!r} has {array.ndim} axes; expected {dimensions}")
        other, shape = first.setdefault(sensor, (band, array.shape))
        if shape != array.shape:
            raise ValueError(f"band {band!r} is {array.shape} but {other!r} is {shape}")
    grids = {shape[-2:] for _, shape in first.values()}
    if len(grids) > 1:
        raise ValueError(f"sensors lie on different grids: {sorted(grids)}")
    return grids.pop()  # type: ignore[return-value]
