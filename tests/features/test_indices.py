"""The canon against the plain formulas, written out again here in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features import BANDS, INDICES, FeatureSpec, block
from features.formula import parse

N = 4000

#: From the cited papers, with B blue, G green, R red, E red edge 1, N near infrared, S1 and S2 short wave.
PLAIN: dict[str, Callable[[dict[str, Any]], Any]] = {
    "ndvi": lambda b: (b["N"] - b["R"]) / (b["N"] + b["R"]),
    "evi": lambda b: 2.5 * (b["N"] - b["R"]) / (b["N"] + 6 * b["R"] - 7.5 * b["B"] + 1),
    "savi": lambda b: (b["N"] - b["R"]) / (b["N"] + b["R"] + 0.5) * (1 + 0.5),
    "msavi": lambda b: (2 * b["N"] + 1 - np.sqrt((2 * b["N"] + 1) ** 2 - 8 * (b["N"] - b["R"]))) / 2,
    "gndvi": lambda b: (b["N"] - b["G"]) / (b["N"] + b["G"]),
    "ndre": lambda b: (b["N"] - b["E"]) / (b["N"] + b["E"]),
    "ndwi": lambda b: (b["G"] - b["N"]) / (b["G"] + b["N"]),
    "mndwi": lambda b: (b["G"] - b["S1"]) / (b["G"] + b["S1"]),
    "ndmi": lambda b: (b["N"] - b["S1"]) / (b["N"] + b["S1"]),
    "ndti": lambda b: (b["S1"] - b["S2"]) / (b["S1"] + b["S2"]),
    "bsi": lambda b: (b["S1"] + b["R"] - b["N"] - b["B"]) / (b["S1"] + b["R"] + b["N"] + b["B"]),
    "bi": lambda b: np.sqrt(b["R"] * b["R"] + b["N"] * b["N"]),
    "si1": lambda b: np.sqrt(b["G"] * b["R"]),
    "si2": lambda b: np.sqrt(b["G"] * b["G"] + b["R"] * b["R"] + b["N"] * b["N"]),
    "si3": lambda b: np.sqrt(b["G"] * b["G"] + b["R"] * b["R"]),
    "crsi": lambda b: np.sqrt((b["R"] * b["N"] - b["G"] * b["B"]) / (b["R"] * b["N"] + b["G"] * b["B"])),
    "vssi": lambda b: 2 * b["G"] - 5 * (b["R"] + b["N"]),
    "vh_vv": lambda b: b["VH"] / b["VV"],
    "rvi": lambda b: 4 * b["VH"] / (b["VV"] + b["VH"]),
}

#: Where float32 can be held to six digits: far from a zero denominator or radicand.
WELL_CONDITIONED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "evi": lambda b: np.abs(b["N"] + 6 * b["R"] - 7.5 * b["B"] + 1) > 0.2,
    "crsi": lambda b: np.abs(b["R"] * b["N"] - b["G"] * b["B"]) > 0.02 * (b["R"] * b["N"] + b["G"] * b["B"]),
}
LETTERS = {"B": "blue", "G": "green", "R": "red", "E": "rededge1", "N": "nir", "S1": "swir16", "S2": "swir22"}


@pytest.fixture(scope="module")
def stack() -> dict[str, NDArray[Any]]:
    """One date of random bands: reflectance 0.0001 to 1, a tenth unseen in each; power, a tenth NaN."""
    rng = np.random.default_rng(11)
    found: dict[str, NDArray[Any]] = {}
    for band in LETTERS.values():
        values = rng.integers(1, 10001, (1, 1, N)).astype(np.uint16)
        values[rng.random(values.shape) < 0.1] = 0
        found[band] = values
    for band in ("vv", "vh"):
        power = rng.gamma(2, 0.05, (1, 1, N)).astype(np.float32)
        power[rng.random(power.shape) < 0.1] = np.nan
        found[band] = power
    return found


@pytest.fixture(scope="module")
def plain(stack: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    optical = {k: stack[name][0, 0] / np.float64(10000) for k, name in LETTERS.items()}
    bands = {k: np.where(v == 0, np.nan, v) for k, v in optical.items()}
    return bands | {k: stack[k.lower()][0, 0].astype(np.float64) for k in ("VV", "VH")}


@pytest.fixture(scope="module")
def computed(stack: dict[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    spec = FeatureSpec.parse([f"{name}_mean" for name in INDICES])
    return dict(zip(INDICES, block(stack, spec)[:, 0], strict=True))


def test_every_index_has_a_plain_formula_here() -> None:
    assert set(PLAIN) == set(INDICES)


@pytest.mark.filterwarnings("ignore:invalid value encountered in sqrt")
@pytest.mark.parametrize("name", INDICES)
def test_an_index_equals_its_plain_formula(
    name: str, computed: dict[str, NDArray[np.float32]], plain: dict[str, NDArray[np.float64]]
) -> None:
    expected = PLAIN[name](plain)
    good = WELL_CONDITIONED.get(name, lambda b: np.ones(N, bool))(plain)
    assert good.sum() > N / 2
    np.testing.assert_allclose(computed[name][good], expected[good], rtol=1e-5, atol=2e-6)
    # The rest is near a zero denominator or radicand: any value there, but a number or NaN.
    assert not np.isinf(computed[name]).any()


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_seen_only_where_all_of_its_bands_are(
    name: str, computed: dict[str, NDArray[np.float32]], stack: dict[str, NDArray[Any]]
) -> None:
    bands = [stack[b][0, 0] for b in parse(INDICES[name].formula).bands]
    unseen = np.any([b == 0 if b.dtype == np.uint16 else np.isnan(b) for b in bands], axis=0)
    assert 0 < unseen.sum() < N
    assert np.isnan(computed[name][unseen]).all()
    if name != "crsi":  # its radicand is negative for a third of all pixels
        assert np.isfinite(computed[name][~unseen]).all()


@pytest.mark.parametrize("name", INDICES)
def test_values_of_reflectance_up_to_one_lie_in_the_stated_range(
    name: str, computed: dict[str, NDArray[np.float32]]
) -> None:
    low, high = INDICES[name].range
    values = computed[name][~np.isnan(computed[name])]
    assert (values >= low - 1e-6).all() and (values <= high + 1e-6).all()


def test_zero_denominators_and_negative_radicands_of_the_canon_are_nan() -> None:
    spec = FeatureSpec.parse(["crsi_mean", "vh_vv_mean", "rvi_mean"])
    optical = {"blue": [3000], "green": [3000], "red": [100], "nir": [100]}
    stack: dict[str, NDArray[Any]] = {b: np.array(v, np.uint16).reshape(1, 1, 1) for b, v in optical.items()}
    for vv, vh in ((0.0, 0.0), (0.0, 0.1)):
        stack |= {"vv": np.full((1, 1, 1), vv, np.float32), "vh": np.full((1, 1, 1), vh, np.float32)}
        crsi, ratio, rvi = block(stack, spec)[:, 0, 0]
        assert np.isnan(crsi) and np.isnan(ratio)
        assert np.isnan(rvi) if vh == 0 else rvi == 4


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_described(name: str) -> None:
    index = INDICES[name]
    assert index.name == name == name.lower()
    assert index.domain in {"vegetation", "water", "soil", "salinity", "moisture", "radar"}
    assert index.citation
    assert index.range[0] < index.range[1]
    assert name not in BANDS


def test_no_index_is_an_alias_of_another() -> None:
    texts = [parse(index.formula).text for index in INDICES.values()]
    assert len(set(texts)) == len(texts)


def test_the_canon_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        INDICES["mine"] = INDICES["ndvi"]  # type: ignore[index]
    with pytest.raises(AttributeError):
        INDICES["ndvi"].formula = "red"  # type: ignore[misc]
