"""block and cube against NumPy, and what must not change a single bit: layout, threads, processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features import FeatureSpec, Index, block, cube
from features.kernel import STRIP

Stack = dict[str, NDArray[Any]]

NAMES = (
    "slope",
    "ndvi_p10",
    "ndvi_median",
    "ndvi_std",
    "vh_vv_p90",
    "swir16_mean",
    "ndvi_count",
    "vv_range",
    "vv_count",
    "elevation",
    "red_max",
)
SPEC = FeatureSpec.parse(NAMES)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's on all-NaN columns


def make(
    shape: tuple[int, int], optical: int = 6, radar: int = 4, seed: int = 0, unseen: float = 0.3
) -> Stack:
    """Random bands of all sensors, partly unseen; a date unseen in one band is unseen in all."""
    rng = np.random.default_rng(seed)
    found: Stack = {}
    hidden = rng.random((optical, *shape)) < unseen
    for band in ("red", "nir", "swir16"):
        found[band] = np.where(hidden, 0, rng.integers(1, 12000, hidden.shape)).astype(np.uint16)
    hidden = rng.random((radar, *shape)) < unseen
    for band in ("vv", "vh"):
        found[band] = np.where(hidden, np.nan, rng.gamma(2, 0.05, hidden.shape)).astype(np.float32)
    for band in ("elevation", "slope"):
        found[band] = np.where(rng.random(shape) < unseen / 3, np.nan, rng.uniform(0, 30, shape)).astype(
            np.float32
        )
    return found


def expected(stack: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    """The features of ``NAMES`` in float64 NumPy."""
    rho = {b: np.where(stack[b] == 0, np.nan, stack[b] / 10000.0) for b in ("red", "nir", "swir16")}
    vv, vh = (stack[b].astype(np.float64) for b in ("vv", "vh"))
    ndvi = (rho["nir"] - rho["red"]) / (rho["nir"] + rho["red"])
    ratio = vh / vv
    shape = stack["slope"].shape

    def over(function: Any, values: NDArray[Any], *more: Any) -> NDArray[Any]:
        return function(values, *more, axis=0) if len(values) else np.full(shape, np.nan)

    rows = [
        stack["slope"],
        over(np.nanpercentile, ndvi, 10),
        over(np.nanmedian, ndvi),
        over(np.nanstd, ndvi),
        over(np.nanpercentile, ratio, 90),
        over(np.nanmean, rho["swir16"]),
        np.isfinite(ndvi).sum(axis=0),
        over(np.nanmax, vv) - over(np.nanmin, vv),
        np.isfinite(vv).sum(axis=0),
        stack["elevation"],
        over(np.nanmax, rho["red"]),
    ]
    return np.stack([np.asarray(row, np.float64) for row in rows])


def check(found: NDArray[np.float32], stack: Mapping[str, NDArray[Any]]) -> None:
    assert found.dtype == np.float32
    assert not np.isinf(found).any()
    np.testing.assert_allclose(found, expected(stack), rtol=1e-5, atol=1e-6)


# --- values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "width", [1, 2, STRIP - 1, STRIP, STRIP + 1, 2 * STRIP - 1, 2 * STRIP, 2 * STRIP + 3]
)
def test_a_block_of_any_width_equals_numpy(width: int) -> None:
    stack = make((3, width), seed=width)
    check(block(stack, SPEC), stack)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    shape=st.tuples(st.integers(0, 4), st.integers(0, 9)),
    optical=st.integers(0, 8),
    radar=st.integers(0, 8),
    unseen=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_any_stack_equals_numpy(
    shape: tuple[int, int], optical: int, radar: int, unseen: float, seed: int
) -> None:
    stack = make(shape, optical, radar, seed, unseen)
    check(block(stack, SPEC), stack)


@pytest.mark.parametrize(("optical", "radar"), [(1, 1), (1, 30), (30, 1), (0, 5), (5, 0), (0, 0)])
def test_sensors_may_differ_in_dates_and_have_none(optical: int, radar: int) -> None:
    stack = make((4, 33), optical, radar)
    found = block(stack, SPEC)
    check(found, stack)
    if optical == 0:
        assert (found[NAMES.index("ndvi_count")] == 0).all()
        assert np.isnan(found[NAMES.index("ndvi_median")]).all()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_a_block_without_pixels_is_an_empty_cube(shape: tuple[int, int]) -> None:
    found = block(make(shape), SPEC)
    assert found.shape == (len(NAMES), *shape) and found.dtype == np.float32


def test_a_pixel_never_seen_is_nan_with_a_count_of_zero() -> None:
    stack = make((3, 7), unseen=0)
    for band in ("red", "nir", "swir16"):
        stack[band][:, 1, 2] = 0
    found = block(stack, SPEC)
    check(found, stack)
    gone = [NAMES.index(n) for n in ("ndvi_p10", "ndvi_median", "ndvi_std", "swir16_mean", "red_max")]
    assert np.isnan(found[gone, 1, 2]).all()
    assert found[NAMES.index("ndvi_count"), 1, 2] == 0
    assert np.isnan(found).sum() == len(gone)


def test_a_date_with_one_unseen_band_counts_for_the_other_bands() -> None:
    stack = make((1, 1), optical=3, unseen=0)
    stack["red"][1] = 0
    found = dict(zip(NAMES, block(stack, SPEC)[:, 0, 0], strict=True))
    assert found["ndvi_count"] == 2
    np.testing.assert_allclose(found["swir16_mean"], stack["swir16"].mean() / 10000, rtol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 9999, 10000, 10001, 65535])
def test_reflectance_is_the_stored_number_by_ten_thousand(number: int) -> None:
    stack = make((1, 2), optical=2, unseen=0)
    stack["red"][:] = number
    assert (block(stack, SPEC)[NAMES.index("red_max")] == np.float32(number) / np.float32(10000)).all()


def test_layers_alone_need_no_dates() -> None:
    layers = make((3, 4))
    found = block(
        {"slope": layers["slope"], "elevation": layers["elevation"]},
        FeatureSpec.parse(["elevation", "slope"]),
    )
    np.testing.assert_array_equal(found, np.stack([layers["elevation"], layers["slope"]]))


def test_a_formula_over_a_layer_is_computed_or_refused() -> None:
    """A stored spec may say 2 * slope; what it may not do is fail in the middle of a map."""
    text = '[{"name": "steep", "formula": "2 * slope", "statistic": null}]'
    try:
        spec = FeatureSpec.from_json(text)
    except ValueError:
        return
    np.testing.assert_allclose(block({"slope": np.full((1, 2), 3, np.float32)}, spec), 6)


def test_a_window_of_the_block_is_the_block_of_the_window() -> None:
    """1024 and 2048 blocks must give equal pixels, to the bit."""
    stack = make((20, 2 * STRIP + 40), seed=3)
    whole = block(stack, SPEC)
    rng = np.random.default_rng(0)
    for _ in range(12):
        y, x = np.sort(rng.integers(0, 21, 2)), np.sort(rng.integers(0, 2 * STRIP + 41, 2))
        window = np.s_[..., y[0] : y[1], x[0] : x[1]]
        part = block({band: values[window] for band, values in stack.items()}, SPEC)
        np.testing.assert_array_equal(part, whole[window])


def test_the_order_of_dates_and_wholly_unseen_dates_change_no_bit() -> None:
    stack = make((4, 300), seed=4)
    again = dict(stack)
    for band, values in stack.items():
        if values.ndim == 3:
            unseen = np.full_like(values[:1], 0 if values.dtype == np.uint16 else np.nan)
            again[band] = np.concatenate([unseen, values[::-1], unseen])
    np.testing.assert_array_equal(block(again, SPEC), block(stack, SPEC))


def test_the_order_of_features_is_that_of_the_spec() -> None:
    stack = make((3, 40))
    turned = block(stack, FeatureSpec.parse(NAMES[::-1]))
    np.testing.assert_array_equal(turned[::-1], block(stack, SPEC))


# --- how arrays come and go -------------------------------------------------------------------


def test_out_is_filled_whole_and_returned() -> None:
    out = np.full((len(NAMES), 5, 70), 777, np.float32)
    for seed in (1, 2):
        stack = make((5, 70), optical=seed, radar=3 - seed, seed=seed)
        assert block(stack, SPEC, out=out) is out
        check(out, stack)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((len(NAMES), 5, 6), np.float32),
        np.zeros((len(NAMES) - 1, 5, 7), np.float32),
        np.zeros((len(NAMES), 5, 7), np.float64),
        np.zeros((5, 7, len(NAMES)), np.float32).transpose(2, 0, 1),
        np.zeros((len(NAMES), 5, 14), np.float32)[:, :, ::2],
    ],
    ids=["width", "features", "float64", "transposed", "strided"],
)
def test_an_unfit_out_is_refused_and_left_as_it_was(out: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match=r"out is .*expected C-contiguous float32 \(11, 5, 7\)"):
        block(make((5, 7)), SPEC, out=out)
    assert (out == 0).all()


def _transposed(a: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(a.T).T


def _strided(a: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(np.repeat(a, 2, axis=-1), 3, axis=0)[::3, ..., ::2]


def _reversed(a: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(a[..., ::-1])[..., ::-1]


def _time_last(a: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 0, -1)), -1, 0)


@pytest.mark.parametrize("layout", [_transposed, _strided, _reversed, _time_last])
def test_arrays_of_any_layout_give_the_same_bits(layout: Any) -> None:
    stack = make((6, 75), seed=6)
    other = {band: layout(values) for band, values in stack.items()}
    assert not other["red"].flags.c_contiguous
    np.testing.assert_array_equal(block(other, SPEC), block(stack, SPEC))


def test_read_only_arrays_are_read_and_inputs_are_left_as_they_were() -> None:
    stack = make((4, 30), seed=7)
    before = {band: values.copy() for band, values in stack.items()}
    plain = block(stack, SPEC)
    for band, values in stack.items():
        np.testing.assert_array_equal(values, before[band])
        values.flags.writeable = False
    np.testing.assert_array_equal(block(stack, SPEC), plain)


def test_the_cube_does_not_share_memory_with_the_stack() -> None:
    stack = make((4, 30))
    found = block(stack, SPEC)
    assert not any(np.shares_memory(found, values) for values in stack.values())


def test_bands_beyond_the_spec_are_not_looked_at() -> None:
    stack = make((3, 9))
    more = stack | {"blue": np.zeros((1, 1, 1), np.float64), "notes": np.array("anything")}
    np.testing.assert_array_equal(block(more, SPEC), block(stack, SPEC))


def test_a_missing_band_is_named_with_what_the_stack_has() -> None:
    stack = make((3, 9))
    del stack["nir"], stack["vv"]
    with pytest.raises(ValueError, match=r"lacks band\(s\) \['nir', 'vv'\]; it has \['elevation', 'red'"):
        block(stack, SPEC)


@pytest.mark.parametrize(
    ("band", "values", "message"),
    [
        ("red", np.zeros((6, 3, 9), np.float32), "'red' is float32; expected uint16"),
        ("red", np.zeros((6, 3, 9), np.int16), "'red' is int16; expected uint16"),
        ("vv", np.zeros((4, 3, 9), np.float64), "'vv' is float64; expected float32"),
        ("slope", np.zeros((3, 9), np.uint8), "'slope' is uint8; expected float32"),
        ("red", np.zeros((3, 9), np.uint16), "'red' has 2 axes; expected 3"),
        ("slope", np.zeros((1, 3, 9), np.float32), "'slope' has 3 axes; expected 2"),
        ("nir", np.zeros((5, 3, 9), np.uint16), r"'nir' is \(5, 3, 9\) but 'red' is \(6, 3, 9\)"),
        ("vh", np.zeros((4, 3, 8), np.float32), r"'vh' is \(4, 3, 8\) but 'vv' is \(4, 3, 9\)"),
    ],
)
def test_an_unfit_band_is_refused_by_name(band: str, values: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        block(make((3, 9)) | {band: values}, SPEC)


def test_sensors_on_different_grids_are_refused() -> None:
    stack = make((3, 9)) | {band: np.zeros((4, 3, 10), np.float32) for band in ("vv", "vh")}
    with pytest.raises(ValueError, match=r"different grids: \[\(3, 9\), \(3, 10\)\]"):
        block(stack, SPEC)


# --- threads and processes --------------------------------------------------------------------


def test_threads_that_run_block_at_once_do_not_disturb_each_other() -> None:
    fresh = FeatureSpec.parse(
        ["mine_p25", "mine_std", "vv_p75", "slope"], {"mine": Index("mine", "nir - red", "soil", (-1, 1), "")}
    )
    work = [(make((40, 100 + k), optical=3 + k % 4, seed=k), (SPEC, fresh)[k % 2]) for k in range(24)]
    with ThreadPoolExecutor(8) as pool:  # the first to come compile ``fresh`` together
        together = list(pool.map(lambda w: block(*w), work))
    for (stack, spec), found in zip(work, together, strict=True):
        np.testing.assert_array_equal(found, block(stack, spec))


#: Says "ready", waits for a line, then compiles and runs; prints digests of the spec and the cube.
CHILD = """
    import hashlib, sys
    import numpy as np
    from features import FeatureSpec, block

    print("ready", flush=True)
    sys.stdin.readline()
    rng = np.random.default_rng(0)
    stack = {b: rng.integers(0, 12000, (5, 30, 300)).astype(np.uint16) for b in ("red", "nir")}
    stack["vv"] = rng.gamma(2, 0.05, (3, 30, 300)).astype(np.float32)
    spec = FeatureSpec.parse(["ndvi_p10", "ndvi_std", "vv_mean"])
    print(spec.digest, hashlib.sha256(block(stack, spec).tobytes()).hexdigest(), flush=True)
"""


def start(cache: Path, **environment: str) -> subprocess.Popen[str]:
    keep = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=keep | {"PHUSA_CACHE_DIR": str(cache)} | environment,
    )


def answers(children: list[subprocess.Popen[str]]) -> list[str]:
    """Let all go once all are ready, and collect what they print."""
    for child in children:
        assert child.stdout
        if child.stdout.readline() != "ready\n":
            raise AssertionError(child.communicate()[1])
    found = []
    for child in children:
        assert child.stdin
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        found.append(out.strip())
    return found


@pytest.fixture(scope="module")
def truth() -> str:
    """What ``CHILD`` must print, computed in this process."""
    rng = np.random.default_rng(0)
    stack: Stack = {b: rng.integers(0, 12000, (5, 30, 300)).astype(np.uint16) for b in ("red", "nir")}
    stack["vv"] = rng.gamma(2, 0.05, (3, 30, 300)).astype(np.float32)
    spec = FeatureSpec.parse(["ndvi_p10", "ndvi_std", "vv_mean"])
    return f"{spec.digest} {hashlib.sha256(block(stack, spec).tobytes()).hexdigest()}"


def test_three_fresh_processes_that_compile_at_once_agree_to_the_bit(tmp_path: Path, truth: str) -> None:
    children = [start(tmp_path, PYTHONHASHSEED=str(seed)) for seed in (1, 2, 3)]
    assert answers(children) == [truth] * 3
    kernels = tmp_path / "phusa" / "kernels"
    assert len(list(kernels.glob("phusa_kernel_*.py"))) == 1
    assert list(kernels.glob("*.tmp")) == []


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.stat().st_size) for p in files}


def test_a_second_process_reuses_the_cache_and_mends_a_torn_file(tmp_path: Path, truth: str) -> None:
    assert answers([start(tmp_path)]) == [truth]
    first = listing(tmp_path)
    assert any(name.endswith(".nbi") for name in first) and any(name.endswith(".nbc") for name in first)
    assert answers([start(tmp_path)]) == [truth]
    compiled = {name: stamp for name, stamp in listing(tmp_path).items() if not name.endswith(".pyc")}
    assert compiled == {name: stamp for name, stamp in first.items() if not name.endswith(".pyc")}

    (source,) = (tmp_path / "phusa" / "kernels").glob("phusa_kernel_*.py")
    whole = source.read_text()
    source.write_text(whole[: len(whole) // 2])
    assert answers([start(tmp_path)]) == [truth]
    assert source.read_text() == whole


def test_a_cache_that_cannot_be_written_changes_no_result(tmp_path: Path, truth: str) -> None:
    file = tmp_path / "not-a-folder"
    file.write_text("mine")
    assert answers([start(file, TMPDIR=str(tmp_path))]) == [truth]
    assert file.read_text() == "mine"


# --- cube -------------------------------------------------------------------------------------


def datasets(stack: Stack) -> dict[str, xr.Dataset]:
    """One labelled Dataset a sensor; each has its own dates."""
    height, width = stack["slope"].shape
    where = {"y": 1_100_000.0 - 10 * np.arange(height), "x": 600_000.0 + 10 * np.arange(width)}
    sensors = {
        "sentinel-2-l2a": ("red", "nir", "swir16"),
        "sentinel-1-rtc": ("vv", "vh"),
        "dem": ("elevation", "slope"),
    }
    found = {}
    for start_day, (sensor, bands) in enumerate(sensors.items()):
        coords: dict[str, Any] = dict(where)
        dims = ("y", "x")
        if sensor != "dem":
            dims = ("time", "y", "x")
            dates = np.datetime64("2025-01-01") + start_day + 5 * np.arange(len(stack[bands[0]]))
            coords["time"] = dates.astype("datetime64[ns]")
        found[sensor] = xr.Dataset({b: (dims, stack[b]) for b in bands}, coords)
    return found


@pytest.mark.parametrize(("optical", "radar"), [(6, 4), (1, 1), (0, 3)])
def test_a_labelled_cube_has_the_values_of_the_block(optical: int, radar: int) -> None:
    stack = make((11, 23), optical, radar)
    sets = datasets(stack)
    found = cube(sets, SPEC)
    assert found.dims == ("feature", "y", "x") and found.dtype == np.float32
    assert found.feature.values.tolist() == list(NAMES)
    np.testing.assert_array_equal(found.values, block(stack, SPEC))
    np.testing.assert_array_equal(found.x, sets["dem"].x)
    np.testing.assert_array_equal(found.y, sets["dem"].y)


@pytest.mark.parametrize(
    "chunks", [{"time": -1, "y": 4, "x": 10}, {"time": 2, "y": 11, "x": 7}, {"time": 1, "y": 6, "x": 9}]
)
def test_a_lazy_cube_has_the_values_of_the_block(chunks: dict[str, int]) -> None:
    stack = make((11, 23), seed=2)
    lazy = {
        k: ds.chunk({d: n for d, n in chunks.items() if d in ds.dims}) for k, ds in datasets(stack).items()
    }
    found = cube(lazy, SPEC)
    assert isinstance(found.data, dask.array.Array)
    assert found.dtype == np.float32 and found.shape == (len(NAMES), 11, 23)
    computed = found.compute(scheduler="threads")
    assert computed.dtype == np.float32
    np.testing.assert_array_equal(computed.values, block(stack, SPEC))


def test_a_lazy_cube_computes_nothing_until_asked() -> None:
    def explode(*_: Any, **__: Any) -> Any:
        raise AssertionError("computed")

    data = dask.array.map_blocks(
        explode, chunks=((2,), (3,), (4,)), dtype=np.uint16, meta=np.empty((0, 0, 0), np.uint16)
    )
    stack = xr.Dataset(dict.fromkeys(("red", "nir"), (("time", "y", "x"), data)))
    found = cube(stack, FeatureSpec.parse(["ndvi_p50"]))
    assert found.shape == (1, 3, 4)
    with pytest.raises(AssertionError, match="computed"):
        found.compute(scheduler="synchronous")


def test_one_dataset_of_one_sensor_is_enough() -> None:
    stack = make((5, 8))
    spec = FeatureSpec.parse(["ndvi_p10", "swir16_mean"])
    found = cube(datasets(stack)["sentinel-2-l2a"], spec)
    np.testing.assert_array_equal(found.values, block(stack, spec))


def test_the_order_of_dimensions_does_not_matter() -> None:
    stack = make((5, 8), seed=5)
    turned = {k: ds.transpose("x", ..., "y") for k, ds in datasets(stack).items()}
    np.testing.assert_array_equal(cube(turned, SPEC).values, block(stack, SPEC))


def test_a_cube_refuses_what_the_block_refuses() -> None:
    sets = datasets(make((5, 8)))
    with pytest.raises(ValueError, match=r"lacks band\(s\) \['vv', 'vh'\]"):
        cube({k: v for k, v in sets.items() if k != "sentinel-1-rtc"}, SPEC)
    with pytest.raises(ValueError, match="'red' is float64; expected uint16"):
        cube(sets | {"sentinel-2-l2a": sets["sentinel-2-l2a"].astype(np.float64)}, SPEC)


def test_sensors_whose_coordinates_differ_are_refused() -> None:
    sets = datasets(make((5, 8)))
    moved = sets["sentinel-1-rtc"].assign_coords(x=sets["sentinel-1-rtc"].x + 5)
    with pytest.raises(ValueError):
        cube(sets | {"sentinel-1-rtc": moved}, SPEC)


def test_a_cube_takes_its_dates_and_orbits_from_the_coordinates() -> None:
    stack = make((6, 9), seed=9)
    sets = datasets(stack)
    orbits = np.array([3, 8, 3, 3])
    sets["sentinel-1-rtc"] = sets["sentinel-1-rtc"].assign_coords(orbit=("time", orbits))
    spec = FeatureSpec.parse(["ndvi_slope", "ndvi_age", "vv_std", "vv_mks"])
    dates = {k: sets[k].time.values.astype("datetime64[D]") for k in ("sentinel-2-l2a", "sentinel-1-rtc")}
    until = np.datetime64("2025-06-01")
    expected = block(stack, spec, None, dates, {"sentinel-1-rtc": orbits}, until)
    np.testing.assert_array_equal(cube(sets, spec, until).values, expected)
    lazy = {k: ds.chunk({"y": 4, "x": 5}) for k, ds in sets.items()}
    np.testing.assert_array_equal(cube(lazy, spec, until).compute().values, expected)
    with pytest.raises(ValueError, match="'ndvi_slope' needs the dates"):
        cube({k: ds.drop_vars("time", errors="ignore") for k, ds in sets.items()}, spec)
