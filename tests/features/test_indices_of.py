"""Indices of one date: the same values as through a season of that date, in float32 and in int16."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features import INDICES, FeatureSpec, Index, block, indices_of
from features.expression import Graph
from features.formula import parse
from features.kernel import LARGE, STRIP, source
from features.network import comparators, padded

MINE = {
    "far": Index("far", "1000 * (red - nir)", "soil", (-1, 1), ""),
    "log_red": Index("log_red", "log(red)", "soil", (-1, 1), ""),
}
NAMES = ("ndvi", "crsi", "evi", "red", "far", "log_red")
ALL = dict(INDICES) | MINE


@pytest.fixture(scope="module")
def stack() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(1)
    found: dict[str, Any] = {
        b: rng.integers(0, 10001, (7, STRIP + 9)).astype(np.uint16) for b in ("blue", "green", "red", "nir")
    }
    found["red"][:, :20] = 0
    found["vv"] = rng.gamma(2, 0.1, (7, STRIP + 9)).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def computed(stack: dict[str, Any]) -> NDArray[np.float32]:
    return indices_of(stack, NAMES, indices=ALL)


def test_values_are_those_of_a_season_of_one_date(
    stack: dict[str, Any], computed: NDArray[np.float32]
) -> None:
    spec = FeatureSpec.parse([f"{name}_mean" for name in NAMES], ALL)
    one = {band: values[None] for band, values in stack.items()}
    np.testing.assert_array_equal(computed, block(one, spec))
    assert np.isnan(computed[:, :, :20]).all() and not np.isinf(computed).any()


def test_any_number_of_axes_will_do(stack: dict[str, Any], computed: NDArray[np.float32]) -> None:
    flat = {band: values.reshape(-1) for band, values in stack.items()}
    np.testing.assert_array_equal(indices_of(flat, NAMES, indices=ALL), computed.reshape(len(NAMES), -1))
    dated = {band: np.stack([values, values]) for band, values in stack.items()}
    np.testing.assert_array_equal(indices_of(dated, NAMES, indices=ALL)[:, 1], computed)


def test_int16_holds_ten_thousandths(stack: dict[str, Any], computed: NDArray[np.float32]) -> None:
    out = np.zeros(computed.shape, np.int16)
    assert indices_of(stack, NAMES, out, ALL) is out
    held = np.clip(np.rint(computed * np.float32(10000)), -32767, 32767)
    np.testing.assert_array_equal(out, np.where(np.isnan(computed), -32768, held).astype(np.int16))
    assert (out[NAMES.index("far")] == 32767).any() and (out[NAMES.index("far")] == -32767).any()


def test_composites_in_reflectance_are_read_as_they_are(
    stack: dict[str, Any], computed: NDArray[np.float32]
) -> None:
    rho = {b: np.where(v == 0, np.nan, v / np.float32(1e4)).astype(np.float32) for b, v in stack.items()}
    np.testing.assert_array_equal(indices_of(rho, NAMES, indices=ALL), computed)


def test_bands_of_two_sensors_may_be_asked_together(stack: dict[str, Any]) -> None:
    found = indices_of(stack, ["vv", "ndvi", "vv"])
    np.testing.assert_array_equal(found[0], stack["vv"])
    np.testing.assert_array_equal(found[2], stack["vv"])
    np.testing.assert_array_equal(found[1], indices_of(stack, ["ndvi"])[0])


def test_unfit_arguments_are_refused(stack: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown index or band 'nvdi'; did you mean 'nmdi'"):
        indices_of(stack, ["nvdi"])
    with pytest.raises(ValueError, match=r"lacks band\(s\) \['swir16'\]"):
        indices_of(stack, ["mndwi"])
    with pytest.raises(ValueError, match="no indices given"):
        indices_of(stack, [])
    with pytest.raises(ValueError, match=r"'red' is float64 .*expected uint16 or float32"):
        indices_of(stack | {"red": stack["red"].astype(float)}, ["red"])
    with pytest.raises(ValueError, match=r"out is float64 .*expected C-contiguous float32 or int16"):
        indices_of(stack, ["red"], np.zeros((1, 7, STRIP + 9)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'slope'"):
        indices_of(stack, ["slope"])


def test_every_stored_number_becomes_its_exact_reflectance() -> None:
    numbers = np.arange(65536, dtype=np.uint16)
    expected = numbers.astype(np.float32) / np.float32(10000)
    expected[0] = np.nan
    np.testing.assert_array_equal(indices_of({"red": numbers}, ["red"])[0], expected)


def test_common_subexpressions_are_computed_once() -> None:
    graph = Graph()
    texts = ["(nir - red) / (nir + red)", "1.5 * (nir - red) / (red + nir + 0.5)", "(nir - red) ** 2"]
    lines = graph.lines([graph.value(t) for t in texts], ["a", "b", "c"])
    code = "\n".join(lines)
    assert code.count("nir - red") == 1 and code.count("nir + red") + code.count("red + nir") == 1


def test_a_high_power_stays_short() -> None:
    graph = Graph()
    text = parse("((red ** 64) ** 64) ** 64").text
    assert len(graph.lines([graph.value(text)], ["a"])) < 30


def test_a_kernel_does_not_depend_on_the_number_of_dates() -> None:
    text = source(FeatureSpec.parse(["ndvi_p50", "ndvi_mean"]))
    assert "dates, pixels = stack[0].shape" in text
    assert text.count("divide((nir - red), (nir + red))") == 1


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 12, 20, 24, 32, 33, 64, 96])
def test_a_network_sorts_all_zeros_and_ones(rows: int) -> None:
    """Knuth's 0-1 principle, on every step from zeros to ones and on random columns."""
    rng = np.random.default_rng(rows)
    columns = np.concatenate([np.tri(rows, dtype=int), rng.integers(0, 2, (400, rows))]).T.copy()
    for a, b in comparators(rows):
        columns[a], columns[b] = np.minimum(columns[a], columns[b]), np.maximum(columns[a], columns[b])
    assert (np.diff(columns, axis=0) >= 0).all()
    assert padded(rows) >= rows


@pytest.mark.parametrize(("kind", "shift"), [(np.float32, 0), (np.float32, 3), (np.int16, 0), (np.int16, 5)])
def test_results_larger_than_the_caches_are_those_of_their_parts(kind: type, shift: int) -> None:
    names, (height, width) = ["ndvi", "ndwi", "red"], (LARGE // (6 * 1999) + 2, 1999)
    rng = np.random.default_rng(4)
    stack = {b: rng.integers(0, 9000, (height, width)).astype(np.uint16) for b in ("green", "red", "nir")}
    size = len(names) * height * width
    place = np.full(size + 64, 7, kind)
    out = place[shift : shift + size].reshape(len(names), height, width)
    assert out.nbytes > LARGE
    indices_of(stack, names, out)
    for top in range(0, height, 400):
        part = {b: a[top : top + 400].copy() for b, a in stack.items()}
        small = np.zeros((len(names), len(part["red"]), width), kind)
        np.testing.assert_array_equal(out[:, top : top + 400], indices_of(part, names, small))
    assert (place[:shift] == 7).all() and (place[shift + size :] == 7).all()
