"""The canon against spyndex, and against the papers' formulas written out again here in float64 NumPy."""

from __future__ import annotations

import itertools
import re
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spyndex
from numpy.typing import NDArray

from features import ALIASES, BANDS, INDICES, FeatureSpec, block
from features.formula import parse
from features.indices import DOMAINS, find

Bands = dict[str, NDArray[np.float64]]

N = 4000
#: spyndex's letters.
LETTERS = {
    "B": "blue", "G": "green", "R": "red", "RE1": "rededge1", "RE2": "rededge2", "RE3": "rededge3",
    "N": "nir", "N2": "nir08", "S1": "swir16", "S2": "swir22",
}  # fmt: skip


def _weak(b: Bands) -> NDArray[np.float64]:
    """VH held at most VV, as the measures of GRD ask."""
    return np.minimum(b["VH"], b["VV"])


#: From the cited papers: what spyndex lacks, calls by another name, or means otherwise by the same name.
PLAIN: dict[str, Callable[[Bands], Any]] = {
    "ndti": lambda b: (b["S1"] - b["S2"]) / (b["S1"] + b["S2"]),
    "bsi": lambda b: ((b["S1"] + b["R"]) - (b["N"] + b["B"])) / ((b["S1"] + b["R"]) + (b["N"] + b["B"])),
    "bi": lambda b: np.hypot(b["R"], b["N"]),
    "ndre": lambda b: (b["N"] - b["RE1"]) / (b["N"] + b["RE1"]),
    "vh_vv": lambda b: b["VH"] / b["VV"],
    "rvi": lambda b: 4 * b["VH"] / (b["VV"] + b["VH"]),
    "mc": lambda b: (b["VV"] - _weak(b)) / (b["VV"] + _weak(b)),
    "hc": lambda b: -sum(p * np.log2(p) for p in (b["VV"] / (b["VV"] + _weak(b)), _weak(b) / (b["VV"] + _weak(b)))),
    "dprvic": lambda b: _weak(b) / b["VV"] * (_weak(b) / b["VV"] + 3) / (_weak(b) / b["VV"] + 1) ** 2,
    "vv_db": lambda b: 10 * np.log10(b["VV"]),
    "vh_db": lambda b: 10 * np.log10(b["VH"]),
    "ndsi": lambda b: (b["R"] - b["N"]) / (b["R"] + b["N"]),
    "si1": lambda b: np.sqrt(b["G"] * b["R"]),
    "si2": lambda b: np.sqrt(b["G"] * b["G"] + b["R"] * b["R"] + b["N"] * b["N"]),
    "si3": lambda b: np.hypot(b["G"], b["R"]),
    "si4": lambda b: b["S1"] / b["S2"],
    "si7": lambda b: b["B"] / b["R"],
    "si8": lambda b: (b["B"] - b["R"]) / (b["B"] + b["R"]),
    "si9": lambda b: b["G"] * b["R"] / b["B"],
    "si10": lambda b: np.sqrt(b["B"] * b["R"]),
    "si11": lambda b: b["B"] * b["R"] / b["G"],
    "si12": lambda b: b["R"] * b["N"] / b["G"],
    "si13": lambda b: np.sqrt(b["R"] * b["N"]),
    "si14": lambda b: b["R"] / b["N"] * 100,
    "crsi": lambda b: np.sqrt((b["N"] * b["R"] - b["G"] * b["B"]) / (b["N"] * b["R"] + b["G"] * b["B"])),
    "cosri": lambda b: (b["B"] + b["G"]) / (b["R"] + b["N"]) * ((b["N"] - b["R"]) / (b["N"] + b["R"])),
    "vssi": lambda b: 2 * b["G"] - 5 * (b["R"] + b["N"]),
    "nsi": lambda b: (b["S1"] - b["S2"]) / (b["S1"] - b["N"]),
    "siaster": lambda b: (b["S1"] - b["N"]) / (b["S1"] + b["S2"]),
    "sit": lambda b: b["N"] / b["S1"],
    "sssi1": lambda b: b["S1"] - b["S2"],
    "sssi2": lambda b: (b["S1"] * b["S2"] - b["S2"] * b["S2"]) / b["S1"],
}  # fmt: skip

#: Here -> spyndex, where the lower-case name was taken.
RENAMED = {"rvi740": "RVI", "barei": "BaI", "triwi": "TWI"}

WAVELENGTHS = {
    "lambdaG": 559.8, "lambdaR": 664.6, "lambdaN": 832.8, "lambdaN2": 864.7, "lambdaS1": 1613.7, "lambdaS2": 2202.4,
}  # fmt: skip
#: Constants of the cited papers; spyndex has one default a letter for all indices.
PUBLISHED = {
    "SAVI": {"L": 0.5}, "GSAVI": {"L": 0.5}, "MNLI": {"L": 0.5}, "IBI": {"L": 0.5}, "SNDTI": {"L": 0.6},
    "NDPI": {"alpha": 0.74}, "sNIRvNDPI": {"alpha": 0.74}, "WCI1": {"epsilon": 1e-10}, "WCI2": {"epsilon": 1e-10},
}  # fmt: skip

#: Of the catalogue, what Sentinel-2 could feed and the canon leaves out; docs/indices.md says why.
LEFT_OUT = {
    *("ARVI", "SARVI", "BAIM"),
    *("ATSAVI", "TSAVI", "WDVI", "SAVI2", "NDWIns", "NIRvH2", "NIRvP", "RWI"),
    *("NDVI4RE", "RVI4RE", "SAVI4RE", "NDTI4RE", "SNDTI4RE", "STI4RE"),
}
SKIPPED = {"kernel", "radar", "snow", "clouds"}
FED = {
    name
    for name, entry in spyndex.indices.items()
    if set(entry.bands) <= set(LETTERS) | set(spyndex.constants) and entry.application_domain not in SKIPPED
}
SPYNDEX = {name.lower(): name for name in FED - set(RENAMED.values())} | RENAMED

#: Where float32 holds what it computes on the way: a sum of normalized differences is not near zero.
WELL_CONDITIONED: dict[str, Callable[[Bands], Any]] = {
    "hc": lambda b: b["VH"] / b["VV"] > 1e-30,
    "trrvi": lambda b: b["N"] / (b["N"] + b["R"]) > 0.05,
    "nddi": lambda b: np.abs((b["N"] - b["R"]) / (b["N"] + b["R"]) + (b["G"] - b["N"]) / (b["G"] + b["N"])) > 0.05,
    "vibi": lambda b: np.abs((b["N"] - b["R"]) / (b["N"] + b["R"]) + (b["S1"] - b["N"]) / (b["S1"] + b["N"])) > 0.05,
    "embi": lambda b: (b["S1"] - b["S2"] - b["N"]) / (b["S1"] + b["S2"] + b["N"]) + (b["G"] - b["S1"]) / (b["G"] + b["S1"]) > -1.95,
}  # fmt: skip


def by_spyndex(name: str, bands: Bands) -> Any:
    needed = spyndex.indices[name].bands
    constants = {c: v.default for c, v in spyndex.constants.items()} | WAVELENGTHS | PUBLISHED.get(name, {})
    given = {b: bands[b] if b in bands else constants[b] for b in needed}
    return spyndex.computeIndex(name, params=given)


def oracle(name: str, bands: Bands) -> NDArray[np.float64]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = PLAIN[name](bands) if name in PLAIN else by_spyndex(SPYNDEX[name], bands)
    return np.asarray(value, np.float64)


def sharp_at(name: str, bands: Bands, expected: NDArray[np.float64], allowed: NDArray[np.float64]) -> Any:
    """Where the oracle's value is one that float32 can be held to."""
    with np.errstate(all="ignore"):
        good = WELL_CONDITIONED.get(name, lambda b: True)(bands)
    return good & (allowed < 1e-3 * np.maximum(1, np.abs(expected))) & (np.abs(expected) < 1e30)


def letters(name: str) -> list[str]:
    there = {band: letter for letter, band in LETTERS.items()} | {"vv": "VV", "vh": "VH"}
    return [there[band] for band in parse(INDICES[name].formula).bands]


def allowance(name: str, bands: Bands) -> NDArray[np.float64]:
    """What float32 may err: as if each band were off by 2e-6 of itself, and two digits of its own."""
    exact = oracle(name, bands)
    moved = [oracle(name, bands | {k: bands[k] * (1 + 2e-6)}) for k in letters(name)]
    with np.errstate(invalid="ignore"):
        return 1e-6 + 2e-6 * np.abs(exact) + sum(np.abs(value - exact) for value in moved)


def as_bands(stack: dict[str, NDArray[Any]]) -> Bands:
    optical = {k: stack[name][0, 0] / np.float64(10000) for k, name in LETTERS.items()}
    bands = {k: np.where(v == 0, np.nan, v) for k, v in optical.items()}
    return bands | {k: stack[k.lower()][0, 0].astype(np.float64) for k in ("VV", "VH")}


def compute(stack: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    spec = FeatureSpec.parse([f"{name}_mean" for name in INDICES])
    return dict(zip(INDICES, block(stack, spec)[:, 0], strict=True))


@pytest.fixture(scope="module")
def stack() -> dict[str, NDArray[Any]]:
    """One date of random bands: reflectance 0.0001 to 1, a tenth unseen in each; power, a tenth NaN."""
    rng = np.random.default_rng(11)
    found: dict[str, NDArray[Any]] = {}
    for band in LETTERS.values():
        values = rng.integers(1, 10001, (1, 1, N)).astype(np.uint16)
        values[rng.random(values.shape) < 0.05] = 0
        found[band] = values
    for band in ("vv", "vh"):
        power = rng.gamma(2, 0.05, (1, 1, N)).astype(np.float32)
        power[rng.random(power.shape) < 0.1] = np.nan
        found[band] = power
    return found


@pytest.fixture(scope="module")
def plain(stack: dict[str, NDArray[Any]]) -> Bands:
    return as_bands(stack)


@pytest.fixture(scope="module")
def computed(stack: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    return compute(stack)


@pytest.fixture(scope="module")
def edges() -> dict[str, NDArray[Any]]:
    """Few values in all bands, so that bands are often equal, at the ends of uint16, or unseen."""
    rng = np.random.default_rng(12)
    found: dict[str, NDArray[Any]] = {
        band: rng.choice(np.array([0, 1, 2, 600, 1000, 5000, 10000, 65535], np.uint16), (1, 1, N))
        for band in LETTERS.values()
    }
    equal = np.arange(1, 401, dtype=np.uint16)  # and all bands alike, at every brightness
    for values in found.values():
        values[0, 0, :400] = equal * 25
    for band in ("vv", "vh"):
        found[band] = rng.choice(np.array([0, 1e-30, 0.1, 3e30, np.nan], np.float32), (1, 1, N))
    return found


def test_every_index_has_one_oracle() -> None:
    assert set(PLAIN) <= set(INDICES)
    assert set(INDICES) - set(PLAIN) <= set(SPYNDEX)
    assert len(INDICES) >= 150


@pytest.mark.parametrize("name", INDICES)
def test_an_index_equals_its_oracle(
    name: str, computed: dict[str, NDArray[np.float32]], plain: Bands
) -> None:
    expected, allowed, value = oracle(name, plain), allowance(name, plain), computed[name]
    assert not np.isinf(value).any()
    sharp = sharp_at(name, plain, expected, allowed)
    seen = np.isfinite(expected)
    assert sharp[seen].mean() > 0.85
    assert (np.abs(value - expected)[sharp] <= allowed[sharp]).all()
    # A root of less than zero in the paper's formula is NaN here too.
    assert np.isnan(value[~seen]).mean() > 0.99


@pytest.mark.parametrize("name", INDICES)
def test_edge_values_give_the_oracles_number_or_nan_never_infinity(
    name: str, edges: dict[str, NDArray[Any]], at_edges: dict[str, NDArray[np.float32]]
) -> None:
    bands, value = as_bands(edges), at_edges[name]
    assert not np.isinf(value).any()
    unseen = np.any([np.isnan(bands[k]) for k in letters(name)], axis=0)
    assert np.isnan(value[unseen]).all()
    expected, allowed = oracle(name, bands), allowance(name, bands)
    sharp = sharp_at(name, bands, expected, allowed)
    assert sharp.sum() > 100
    assert (np.abs(value - expected)[sharp] <= allowed[sharp]).all()


@pytest.fixture(scope="module")
def at_edges(edges: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    return compute(edges)


@pytest.mark.parametrize(
    ("name", "equal"),
    [
        ("nsi", ("swir16", "nir")),
        ("mvi", ("swir16", "green")),
        ("mtci", ("rededge1", "red")),
        ("s2rep", ("rededge2", "rededge1")),
        ("mcariosavi", ("nir", "red")),
        ("tcariosavi705", ("rededge2", "rededge1")),
    ],
)
def test_a_denominator_of_zero_is_nan(
    name: str,
    equal: tuple[str, str],
    edges: dict[str, NDArray[Any]],
    at_edges: dict[str, NDArray[np.float32]],
) -> None:
    zero = (edges[equal[0]] == edges[equal[1]])[0, 0]
    assert zero.sum() > 100
    assert np.isnan(at_edges[name][zero]).all()


@pytest.mark.parametrize("name", ["crsi", "avi", "tvi"])
def test_a_root_of_less_than_zero_is_nan(
    name: str, computed: dict[str, NDArray[np.float32]], plain: Bands
) -> None:
    r, n, g, b = (plain[k] for k in "RNGB")
    below = {"crsi": r * n < g * b, "avi": (n < r) & (r < 1), "tvi": (n - r) / (n + r) < -0.5001}[name]
    assert below.sum() > N / 10
    assert np.isnan(computed[name][below]).all()


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_seen_only_where_all_of_its_bands_are(
    name: str, computed: dict[str, NDArray[np.float32]], plain: Bands
) -> None:
    unseen = np.any([np.isnan(plain[k]) for k in letters(name)], axis=0)
    assert 0 < unseen.sum() < N
    assert np.isnan(computed[name][unseen]).all()
    if name not in ("crsi", "avi", "tvi"):  # their radicands are negative in places
        assert np.isfinite(computed[name][~unseen]).mean() > 0.99


@pytest.mark.parametrize("name", INDICES)
def test_values_of_reflectance_up_to_one_lie_in_the_stated_range(
    name: str, computed: dict[str, NDArray[np.float32]]
) -> None:
    low, high = INDICES[name].range
    values = computed[name][~np.isnan(computed[name])]
    assert (values >= low - 1e-5 * max(1, abs(low))).all()
    assert (values <= high + 1e-5 * max(1, abs(high))).all()


@pytest.mark.parametrize("name", INDICES)
def test_a_bounded_range_holds_at_the_corners_of_reflectance(name: str) -> None:
    keys = letters(name)
    corners = np.array(list(itertools.product([1e-4, 0.5, 1.0], repeat=len(keys)))).T
    values = oracle(name, dict(zip(keys, corners, strict=True)))
    values = values[np.isfinite(values)]
    low, high = INDICES[name].range
    assert (values >= low - 1e-9).all() and (values <= high + 1e-9).all()


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_described(name: str) -> None:
    index = INDICES[name]
    assert index.name == name == name.lower()
    assert index.domain in DOMAINS and index.domain != "own"
    assert (index.domain == "radar") == (parse(index.formula).sensor == "sentinel-1-rtc")
    assert re.search(r"\b(19|20)\d\d\b", index.citation) and index.title
    assert index.range[0] < index.range[1]
    assert name not in BANDS
    assert FeatureSpec.parse([f"{name}_p50"]).features[0].parsed == parse(index.formula)


def test_no_two_names_have_one_formula(computed: dict[str, NDArray[np.float32]]) -> None:
    texts = [parse(index.formula).text for index in INDICES.values()]
    assert len(set(texts)) == len(texts)
    rows = {name: np.nan_to_num(values, nan=-9e9).astype(np.float64) for name, values in computed.items()}
    for a, b in itertools.combinations(rows, 2):
        assert not np.allclose(rows[a][:200], rows[b][:200], rtol=1e-6, atol=1e-9), (a, b)


def test_every_entry_of_the_catalogue_that_sentinel_2_can_feed_is_here_or_left_out_with_a_reason() -> None:
    assert LEFT_OUT <= FED
    for name in FED - LEFT_OUT:
        ours = next(ours for ours, theirs in SPYNDEX.items() if theirs == name)
        assert (ours in INDICES and ours not in PLAIN) or name.lower() in ALIASES or ours in ALIASES, name


@pytest.mark.parametrize("name", [n for n in ALIASES if n in SPYNDEX and SPYNDEX[n] not in LEFT_OUT])
def test_an_alias_of_the_catalogue_is_the_same_arithmetic(name: str, plain: Bands) -> None:
    meant = [oracle(alias.index, plain) for alias in ALIASES[name]]
    if name in INDICES and name not in PLAIN:  # the catalogue's own meaning has the name here
        return
    expected = by_spyndex(SPYNDEX[name], plain)
    assert any(np.allclose(expected, value, rtol=1e-9, equal_nan=True) for value in meant)


def test_arvi_of_the_paper_is_iavi_here(plain: Bands) -> None:
    """spyndex 0.12 has the blue-red difference with the wrong sign; Kaufman & Tanré 1992, gamma = 1, has not."""
    b, r, n = (plain[k] for k in "BRN")
    both = r - 1.0 * (b - r)
    assert find("arvi").name == "iavi"
    np.testing.assert_allclose(oracle("iavi", plain), (n - both) / (n + both), rtol=1e-9)


def test_colliding_names_are_told_apart() -> None:
    assert {a.index for a in ALIASES["ndsi"]} == {"mndwi"} and find("ndsi").domain == "salinity"
    assert [find(f"s{i}").name for i in range(1, 7)] == ["si7", "si8", "si9", "si10", "si11", "si12"]
    assert find("nbr2").name == find("si6").name == "ndti" and find("si5").name == "ndmi"
    for name, meant in ALIASES.items():
        assert name == name.lower() and meant
        assert all(a.index in INDICES and a.index != name and a.paper for a in meant)
    with pytest.raises(ValueError, match="unknown index 'ndvii'; did you mean 'ndvi'"):
        find("ndvii")


def test_the_canon_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        INDICES["mine"] = INDICES["ndvi"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        INDICES["ndvi"].formula = "red"  # type: ignore[misc]


def test_the_page_of_indices_is_true() -> None:
    """``python docs/indices.py`` writes it anew."""
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "indices.md").read_text(encoding="utf-8")
    assert page == runpy.run_path(str(docs / "indices.py"))["page"]()
    assert all(re.search(rf"\b{name}\b", page) for name in LEFT_OUT)
