"""Formula text: what is accepted, what it computes, and that nothing else ever gets through."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features import BANDS, FeatureSpec, Index, block
from features.formula import MAX_LENGTH, FormulaError, parse

Bands = Mapping[str, Any]

#: Five pixels of one date: plain, all equal, bright, dark, and one that only blue has not seen.
PIXELS = {
    "blue": [500, 2000, 9000, 1, 0],
    "green": [800, 2000, 9500, 1, 700],
    "red": [1000, 2000, 9900, 2, 900],
    "nir": [3000, 2000, 10000, 1, 2500],
}


def evaluate(formulas: list[str], pixels: Mapping[str, list[int]] = PIXELS) -> NDArray[np.float32]:
    """Values (formula, pixel) of formulas over one date: the mean of one value is the value."""
    indices = {f"q{k}": Index(f"q{k}", text, "soil", (0, 1), "") for k, text in enumerate(formulas)}
    spec = FeatureSpec.parse([f"{name}_mean" for name in indices], indices)
    stack = {band: np.array(values, np.uint16).reshape(1, 1, -1) for band, values in pixels.items()}
    return block(stack, spec)[:, 0]


def reflectance(pixels: Mapping[str, list[int]] = PIXELS) -> dict[str, NDArray[np.float64]]:
    found = {band: np.array(values, np.float64) / 10000 for band, values in pixels.items()}
    return {band: np.where(values == 0, np.nan, values) for band, values in found.items()}


# --- what is accepted -------------------------------------------------------------------------

#: Text -> the same written in NumPy: precedence, associativity and every operator and function.
DEFINED: dict[str, Callable[[Bands], Any]] = {
    "red": lambda b: b["red"],
    "+red": lambda b: b["red"],
    "--red": lambda b: b["red"],
    "-red ** 2": lambda b: -(b["red"] ** 2),
    "(-red) ** 2": lambda b: b["red"] ** 2,
    "red - nir - blue": lambda b: (b["red"] - b["nir"]) - b["blue"],
    "red - (nir - blue)": lambda b: b["red"] - (b["nir"] - b["blue"]),
    "red / nir / blue": lambda b: (b["red"] / b["nir"]) / b["blue"],
    "red / (nir / blue)": lambda b: b["red"] / (b["nir"] / b["blue"]),
    "red + nir * blue": lambda b: b["red"] + (b["nir"] * b["blue"]),
    "(red + nir) * blue": lambda b: (b["red"] + b["nir"]) * b["blue"],
    "red ** 2 ** 3": lambda b: b["red"] ** 8,
    "(red ** 2) ** 3": lambda b: b["red"] ** 6,
    "red ** 0.5": lambda b: np.sqrt(b["red"]),
    "red ** -1": lambda b: 1 / b["red"],
    "red ** nir": lambda b: b["red"] ** b["nir"],
    "2 ** red": lambda b: 2 ** b["red"],
    "sqrt(red)": lambda b: np.sqrt(b["red"]),
    "abs(blue - nir)": lambda b: np.abs(b["blue"] - b["nir"]),
    "exp(red)": lambda b: np.exp(b["red"]),
    "log(red)": lambda b: np.log(b["red"]),
    "min(red, max(nir, blue))": lambda b: np.minimum(b["red"], np.maximum(b["nir"], b["blue"])),
    "max(red, 0.15)": lambda b: np.maximum(b["red"], 0.15),
    "1_000 * red": lambda b: 1000 * b["red"],
    "0x10 * red": lambda b: 16 * b["red"],
    "1e-3 * red": lambda b: 0.001 * b["red"],
    ".5 * red": lambda b: 0.5 * b["red"],
    "1e-400 + red": lambda b: b["red"],
    "  red  ": lambda b: b["red"],
    "(red\n + nir)": lambda b: b["red"] + b["nir"],
    "sqrt(sqrt(sqrt(abs(red))))": lambda b: b["red"] ** 0.125,
}


@pytest.fixture(scope="module")
def defined() -> dict[str, NDArray[np.float32]]:
    return dict(zip(DEFINED, evaluate(list(DEFINED)), strict=True))


@pytest.mark.parametrize("text", DEFINED)
def test_a_formula_computes_what_numpy_computes(text: str, defined: dict[str, NDArray[np.float32]]) -> None:
    expected = np.asarray(DEFINED[text](reflectance()), np.float64)
    np.testing.assert_allclose(defined[text], expected, rtol=3e-6, atol=1e-7)


#: Zero denominators, negative radicands and overflow, plain and nested, for red 0.1 and nir 0.3.
UNDEFINED = [
    "1 / (red - red)",
    "(red - red) / (nir - nir)",
    "1 / (1 / (red - red))",
    "1 / (1 / (1 / (red - red)))",
    "red / (nir / (blue / (red - red)))",
    "-1 / (red - red)",
    "0 * (1 / (red - red))",
    "nir + 1 / (red - red)",
    "sqrt(red - nir)",
    "1 / sqrt(red - nir)",
    "sqrt(1 / (red - red))",
    "abs(sqrt(red - nir))",
    "sqrt(red - nir) ** 2",
    "(1 / (red - red)) ** 2",
    "(1 / (red - red)) ** 0",
    "(red - nir) ** 0.5",
    "(red - nir) ** -0.5",
    "(red - red) ** -1",
    "log(red - red)",
    "log(red - nir)",
    "exp(log(red - nir))",
    "1 / log(red - nir)",
    "exp(1000 * red)",
    "exp(exp(exp(100 * red)))",
    "red * 1e38 * 1e38",
    "red * 1e38 * 1000",
    "red ** -50",
    "min(1 / (red - red), nir)",
    "min(nir, 1 / (red - red))",
    "max(1 / (red - red), nir)",
    "max(nir, 1 / (red - red))",
]


@pytest.fixture(scope="module")
def undefined() -> dict[str, NDArray[np.float32]]:
    pixels = {"red": [1000, 1000], "nir": [3000, 0], "blue": [500, 500]}
    return dict(zip(UNDEFINED, evaluate(UNDEFINED, pixels), strict=True))


@pytest.mark.parametrize("text", UNDEFINED)
def test_what_is_undefined_is_nan_and_never_infinite(
    text: str, undefined: dict[str, NDArray[np.float32]]
) -> None:
    assert np.isnan(undefined[text]).all(), undefined[text]


def test_a_whole_power_of_a_negative_number_is_defined() -> None:
    """(-0.2) ** 3 is -0.008; only broken powers of negative numbers are undefined."""
    texts = [f"(red - nir) ** {power}" for power in ("3", "1", "-1", "4", "3.0", "+3")]
    found = evaluate(texts, {"red": [1000], "nir": [3000]})[:, 0]
    np.testing.assert_allclose(found, [-0.008, -0.2, -5.0, 0.0016, -0.008, -0.008], rtol=1e-5)


def test_an_unseen_band_makes_the_formula_unseen() -> None:
    found = evaluate(["red + 0 * blue", "min(red, blue)", "max(red, blue)", "red"])
    assert np.isnan(found[:3, 4]).all()
    assert found[3, 4] == np.float32(0.09)


def _tree(rng: random.Random, depth: int) -> tuple[str, Callable[[Bands], Any]]:
    """A random formula, and the same as float32 NumPy with its own guards."""
    if depth == 0 or rng.random() < 0.15:
        if rng.random() < 0.7:
            band = rng.choice(list(PIXELS))
            return band, lambda b: b[band]
        number = round(rng.uniform(0.1, 3), 2)
        return str(number), lambda b: np.float32(number)
    left, f = _tree(rng, depth - 1)
    right, g = _tree(rng, depth - 1)
    nan = np.float32(np.nan)
    made: dict[str, tuple[str, Callable[[Bands], Any]]] = {
        "+": (f"({left} + {right})", lambda b: f(b) + g(b)),
        "-": (f"({left} - {right})", lambda b: f(b) - g(b)),
        "*": (f"({left} * {right})", lambda b: f(b) * g(b)),
        "/": (f"({left} / {right})", lambda b: np.where(g(b) == 0, nan, f(b) / g(b))),
        "sqrt": (f"sqrt({left})", lambda b: np.sqrt(f(b))),
        "abs": (f"abs({left})", lambda b: np.abs(f(b))),
        "square": (f"({left}) ** 2", lambda b: f(b) * f(b)),
        "minus": (f"(-{left})", lambda b: -f(b)),
        "min": (f"min({left}, {right})", lambda b: np.minimum(f(b), g(b))),
        "max": (f"max({left}, {right})", lambda b: np.maximum(f(b), g(b))),
    }
    return made[rng.choice(list(made))]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_random_formulas_equal_numpy_in_float32_to_the_last_bit() -> None:
    rng = random.Random(20250101)
    trees = [_tree(rng, 4) for _ in range(60)]
    trees = [t for t in trees if set(re.findall("[a-z]+", t[0])) & set(PIXELS) and len(t[0]) < 700]
    pixels = {
        band: [rng.choice([0, 1, 2, 5000, rng.randint(1, 12000)]) for _ in range(300)] for band in PIXELS
    }
    seen = {band: np.array(v, np.float32) / np.float32(10000) for band, v in pixels.items()}
    seen = {band: np.where(v == 0, np.float32(np.nan), v) for band, v in seen.items()}
    found = evaluate([text for text, _ in trees], pixels)
    for row, (text, oracle) in zip(found, trees, strict=True):
        expected = np.broadcast_to(oracle(seen), row.shape)
        assert expected.dtype == np.float32
        # A formula that uses no unseen band of a date may still see a pixel: NaN only where it must be.
        np.testing.assert_array_equal(row, np.where(np.isfinite(expected), expected, np.nan), err_msg=text)


def test_bands_come_in_canonical_order_and_once() -> None:
    formula = parse("(swir16 - nir) / (nir + swir16 + red - red)")
    assert formula.bands == ("red", "nir", "swir16")
    assert formula.sensor == "sentinel-2-l2a"


@pytest.mark.parametrize("same", ["nir/red", "(nir)/(red)", " nir  /\tred ", "((nir) / red)  # ratio"])
def test_one_tree_has_one_canonical_text(same: str) -> None:
    assert parse(same).text == "nir / red"


def test_different_trees_have_different_texts() -> None:
    assert parse("nir - (red - blue)").text != parse("nir - red - blue").text


@pytest.mark.parametrize(("text", "sensor"), [("vh / vv", "sentinel-1-rtc"), ("slope", "dem")])
def test_radar_and_terrain_have_their_own_sensor(text: str, sensor: str) -> None:
    assert parse(text).sensor == sensor


# --- what is refused --------------------------------------------------------------------------

HOSTILE = [
    "red.real",
    "red.__class__.__mro__",
    "().__class__.__bases__",
    "foo(red)",
    "eval('1')",
    "exec('red = 1')",
    "print(red)",
    "exit()",
    "getattr(red, 'real')",
    "__import__('os')",
    "__import__",
    "__builtins__",
    "red.__init__()",
    "sqrt(red)(nir)",
    "red(nir)",
    "nir.sqrt(red)",
    "(lambda: red)()",
    "lambda: red",
    "lambda red: red",
    "red[0]",
    "red[0:1]",
    "red[:, nir]",
    "'red'",
    "'red' + red",
    "b'red'",
    "f'{red}'",
    "f'{print(red)}'",
    "True",
    "red + True",
    "red * False",
    "None + red",
    "... + red",
    "1j * red",
    "red + 2J",
    "max(red, nir, key=1)",
    "max(red, b=nir)",
    "sqrt(x=red)",
    "sqrt(**red)",
    "max(*red)",
    "max(*red, nir)",
    "sqrt()",
    "sqrt(red, nir)",
    "min(red)",
    "min(red, nir, blue)",
    "red if nir else blue",
    "red and nir",
    "red or nir",
    "not red",
    "~red",
    "red < nir",
    "red < nir < blue",
    "red is nir",
    "red in nir",
    "red % nir",
    "red // nir",
    "red @ nir",
    "red << 1",
    "red >> 1",
    "red | nir",
    "red & nir",
    "red ^ nir",
    "[red]",
    "(red, nir)",
    "red, nir",
    "{red}",
    "{red: nir}",
    "(x := red)",
    "[b for b in red]",
    "sum(b for b in red)",
    "{b: b for b in red}",
    "*red",
    "await red",
    "yield red",
    "(yield red)",
    "red; nir",
    "red\nnir",
    "red = 1",
    "import os",
    "del red",
    "sqrt",
    "sqrt + red",
    "max(sqrt, red)",
    "NIR",
    "b8",
    "nan * red",
    "inf * red",
    "ndvi",
    "time + red",
    "f32(red)",
    "values[0]",
    "red $ nir",
    "red +",
    "(red",
    "red)",
    "red nir",
    "2red",
    "",
    "   ",
    "# red",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_on_the_whitelist_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(FormulaError, match=r"column \d+"):
        parse(text)


def test_the_place_is_that_of_the_fault_and_not_of_the_formula() -> None:
    with pytest.raises(FormulaError, match=r"column 13: unknown band 'nirr'.*known: blue"):
        parse("red + 2.5 * nirr")
    with pytest.raises(FormulaError, match=r"column 7: unknown function 'tan'.*known: sqrt"):
        parse("red * tan(nir)")
    with pytest.raises(FormulaError, match=r"column 7: min takes 2 argument\(s\), found 1"):
        parse("red * min(nir)")


@pytest.mark.parametrize("text", ["1", "2.5 * 3", "sqrt(2)", "-1", "max(1, 2)"])
def test_a_formula_without_a_band_is_refused(text: str) -> None:
    with pytest.raises(FormulaError, match="uses no band"):
        parse(text)


@pytest.mark.parametrize("text", ["red + vv", "vv * slope", "nir / elevation"])
def test_a_formula_over_two_sensors_is_refused(text: str) -> None:
    with pytest.raises(FormulaError, match="mixes sensors"):
        parse(text)


def test_layers_without_time_are_not_combined() -> None:
    with pytest.raises(FormulaError, match="layer without time"):
        parse("slope * elevation")


@pytest.mark.parametrize("text", ["red\x00", "red + '\ud800'", "\ufeffred)", "r\u0435d"])
def test_odd_characters_are_refused(text: str) -> None:
    with pytest.raises(FormulaError):
        parse(text)


def test_huge_text_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(FormulaError, match=f"of 4000003 characters; at most {MAX_LENGTH}"):
        parse("red" + "+1" * 2_000_000)


@pytest.mark.parametrize(
    "text",
    ["(" * 300 + "red" + ")" * 300, "abs(" * 220 + "red" + ")" * 20, "[" * 900, "-" * 990 + "red"],
    ids=["brackets", "calls", "lists", "signs"],
)
def test_deep_nesting_is_refused_and_never_overflows_the_stack(text: str) -> None:
    with pytest.raises(FormulaError):
        parse(text)


def test_refused_text_is_never_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    touch = f"open({str(canary)!r}, 'w')"
    for text in (
        touch,
        f"red + {touch}",
        f"sqrt({touch})",
        f"(lambda: {touch})()",
        f"[{touch} for red in nir]",
        f"red[{touch}]",
        f"f'{{{touch}}}'",
        f"max(red, nir, key={touch})",
        f"__import__('pathlib').Path({str(canary)!r}).touch()",
    ):
        with pytest.raises(FormulaError):
            parse(text)
        with pytest.raises(ValueError):
            FeatureSpec.parse(["q_mean"], {"q": Index("q", text, "soil", (0, 1), "")})
        with pytest.raises(ValueError):
            FeatureSpec.parse([text])
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        "red * 1e400",
        "red * 100000000000000000000",
        "red + 1" + "0" * 600,
        "red ** 100000000000000000000",
        "red ** -100000000000000000000",
        "-" * 210 + "red",
        "+".join(["red"] * 205),
        "max(red, " * 95 + "red" + ")" * 95,
    ],
    ids=[
        "infinite",
        "over-64-bits",
        "600-digits",
        "huge-power",
        "huge-negative-power",
        "210-signs",
        "205-terms",
        "95-calls",
    ],
)
def test_what_the_check_accepts_also_compiles(text: str) -> None:
    """Refusing is right too; what is wrong is a fault of the compiler on some worker, hours later."""
    try:
        parse(text)
    except FormulaError:
        return
    found = evaluate([text], {"red": [3000]})
    assert found.dtype == np.float32
    assert not np.isinf(found).any()


def test_the_canonical_text_of_an_accepted_formula_is_accepted() -> None:
    """Spaces of the canonical text must not push a formula over the length limit it just passed."""
    text = "+".join(["(" + "*".join(["rededge1"] * 5) + ")"] * 20)
    assert len(text) <= MAX_LENGTH
    formula = parse(text)
    assert parse(formula.text) == formula


TOKENS = st.sampled_from(
    [*"+-*/(),.[]{}:='\"\n %@<>~!", "**", " ", "0", "7", "1e9", "2j", "red", "nir", "vv", "slope", "sqrt",
     "max", "lambda", "if", "else", "True", "None", "not", "in", "__import__", "eval", "f'", "\\", "é"]
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.lists(TOKENS, max_size=25).map("".join) | st.text(max_size=40))
def test_any_text_is_either_a_formula_over_bands_or_a_formula_error(text: str) -> None:
    try:
        formula = parse(text)
    except FormulaError:
        return
    assert parse(formula.text) == formula
    assert set(formula.bands) <= set(BANDS)
    words = set(re.findall(r"[A-Za-z_]\w*", re.sub(r"[\d.]+e[+-]?\d+|0[xob]\w+", "0", formula.text)))
    assert words <= {*BANDS, "sqrt", "abs", "exp", "log", "min", "max"}


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_parsing_the_canonical_text_changes_nothing(seed: int) -> None:
    text, _ = _tree(random.Random(seed), 4)
    used = set(re.findall("[a-z]+", text)) & set(BANDS)
    assume(used and len(text) <= MAX_LENGTH)
    formula = parse(text)
    assert parse(formula.text) == formula
    assert set(formula.bands) == used
