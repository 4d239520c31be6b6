"""Windows: dates chosen pixel by pixel by a rule, and how rules are read, stored and refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from features import INDICES, Feature, FeatureSpec, block
from features.formula import FormulaError, rule

OPTICAL, RADAR = "sentinel-2-l2a", "sentinel-1-rtc"
WINDOWS = {
    "bare": "ndvi < 0.3 and mndwi < 0",
    "not_bare": "not (ndvi < 0.3 and mndwi < 0)",
    "march": "60 <= doy <= 90",
    "flooded": "vv < 0.05 or vh / vv >= 1",
}
NAMES = (
    "swir16_p50@bare", "swir16_count@bare", "swir16_age@bare", "red_mean@bare", "swir16_count@not_bare",
    "ndvi_max@march", "red_atmaxndvi@bare", "swir16_count", "vh_mean@flooded", "vh_count@flooded", "vh_count",
)  # fmt: skip
SPEC = FeatureSpec.parse(NAMES, windows=WINDOWS)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def stack() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(5)
    found: dict[str, Any] = {
        b: rng.integers(0, 6000, (9, 4, 70)).astype(np.uint16) for b in ("green", "red", "nir", "swir16")
    }
    found["nir"][rng.random(found["nir"].shape) < 0.2] = 0
    for band in ("vv", "vh"):
        power = rng.gamma(2, 0.03, (5, 4, 70)).astype(np.float32)
        power[rng.random(power.shape) < 0.2] = np.nan
        found[band] = power
    return found


@pytest.fixture(scope="module")
def dates() -> dict[str, NDArray[np.datetime64]]:
    return {
        OPTICAL: np.datetime64("2025-01-20") + 12 * np.arange(9),
        RADAR: np.datetime64("2025-01-01") + 12 * np.arange(5),
    }


def test_only_dates_on_which_the_rule_holds_are_used(stack: dict[str, Any], dates: dict[str, Any]) -> None:
    found = dict(zip(NAMES, block(stack, SPEC, dates=dates), strict=True))
    rho = {b: np.where(stack[b] == 0, np.nan, stack[b] / 1e4) for b in ("green", "red", "nir", "swir16")}
    ndvi = (rho["nir"] - rho["red"]) / (rho["nir"] + rho["red"])
    mndwi = (rho["green"] - rho["swir16"]) / (rho["green"] + rho["swir16"])
    known = ~np.isnan(ndvi) & ~np.isnan(mndwi)
    bare = known & (ndvi < 0.3) & (mndwi < 0)
    assert 0.05 < bare.mean() < 0.95
    swir = np.where(bare, rho["swir16"], np.nan)
    days = dates[OPTICAL].astype(int)[:, None, None]
    used = ~np.isnan(swir)
    doy = days - np.datetime64("2024-12-31").astype(int)
    judge = np.where(bare & ~np.isnan(rho["red"]), ndvi, -np.inf)
    at = np.take_along_axis(rho["red"], judge.argmax(axis=0)[None], 0)[0]
    vv, vh = stack["vv"].astype(float), stack["vh"].astype(float)
    flooded = ~np.isnan(vv) & ~np.isnan(vh) & ((vv < np.float32(0.05)) | (vh / vv >= 1))
    expected = {
        "swir16_p50@bare": np.nanmedian(swir, axis=0),
        "swir16_count@bare": used.sum(axis=0),
        "swir16_age@bare": np.where(
            used.any(axis=0), days[-1] - np.where(used, days, -1).max(axis=0), np.nan
        ),
        "red_mean@bare": np.nanmean(np.where(bare, rho["red"], np.nan), axis=0),
        "swir16_count@not_bare": (known & ~bare & ~np.isnan(rho["swir16"])).sum(axis=0),
        "ndvi_max@march": np.nanmax(np.where((doy >= 60) & (doy <= 90), ndvi, np.nan), axis=0),
        "red_atmaxndvi@bare": np.where(np.isfinite(judge).any(axis=0), at, np.nan),
        "swir16_count": (~np.isnan(rho["swir16"])).sum(axis=0),
        "vh_mean@flooded": np.nanmean(np.where(flooded, vh, np.nan), axis=0),
        "vh_count@flooded": flooded.sum(axis=0),
        "vh_count": (~np.isnan(vh)).sum(axis=0),
    }
    for name in NAMES:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_rule_is_kept_in_bands_alone_and_travels_as_json() -> None:
    stored = SPEC.to_json()
    assert "ndvi" not in json.loads(stored)[0]["window"]
    again = FeatureSpec.from_json(stored)
    assert again == SPEC and again.digest == SPEC.digest
    assert SPEC.bands == ("green", "red", "nir", "swir16", "vv", "vh")
    other = FeatureSpec.parse(NAMES, windows=WINDOWS | {"bare": "ndvi < 0.31 and mndwi < 0"})
    assert other.digest != SPEC.digest


def test_specs_without_windows_are_stored_and_digested_as_they_always_were() -> None:
    spec = FeatureSpec.parse(["ndvi_p50", "slope", "vv_mean"])
    assert json.loads(spec.to_json())[0] == {
        "name": "ndvi_p50", "formula": "(nir - red) / (nir + red)", "statistic": "p50"
    }  # fmt: skip
    assert spec.digest == "978035cbb4f76ffc1a4c0415ec983764fa5a2c94984562b26efcf8b86a378174"


def test_unknown_and_unfit_windows_are_refused() -> None:
    with pytest.raises(
        ValueError, match="unknown window 'bar' in feature 'red_p50@bar'; known: bare, not_bare"
    ):
        FeatureSpec.parse(["red_p50@bar"], windows=WINDOWS)
    with pytest.raises(ValueError, match=r"unknown window 'bare' .*known: none"):
        FeatureSpec.parse(["red_p50@bare"])
    with pytest.raises(ValueError, match="made from sentinel-2-l2a, but the window from sentinel-1-rtc"):
        FeatureSpec.parse(["red_p50@flooded"], windows=WINDOWS)
    with pytest.raises(ValueError, match="window 'Bare': expected a name"):
        FeatureSpec.parse(["red_p50"], windows={"Bare": "red < 1"})
    with pytest.raises(ValueError, match="window 'dry': formula 'nvi < 1', column 1: unknown band 'nvi'"):
        FeatureSpec.parse(["red_p50"], windows={"dry": "nvi < 1"})
    with pytest.raises(ValueError, match="'slope' has a window"):
        FeatureSpec((Feature("slope", "slope", None, "red < 1"),))
    with pytest.raises(ValueError, match="go together"):
        FeatureSpec((Feature("red_atmaxndvi", "red", "atmaxndvi"),))


def test_a_rule_on_the_day_of_the_year_asks_for_dates(stack: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'ndvi_max@march' needs the dates"):
        block(stack, FeatureSpec.parse(["ndvi_max@march"], windows=WINDOWS))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("ndvi", 1),
        ("ndvi < 0.3 and mndwi", 16),
        ("ndvi == 0.3", 1),
        ("ndvi < nvii", 8),
        ("ndvi < 0.3 and exec('x') < 1", 16),
        ("1 < 2", 1),
        ("ndvi if red else nir", 1),
        ("(ndvi < 0.3) + 1 < 2", 2),
        ("ndvi.real < 1", 1),
        ("not ndvi", 5),
        ("[red < 1]", 1),
        ("red <", 6),
    ],
)
def test_a_wrong_rule_is_refused_with_its_place(text: str, place: int) -> None:
    with pytest.raises(FormulaError, match=f"column {place}"):
        rule(text, {name: index.formula for name, index in INDICES.items()})


@pytest.mark.parametrize("text", ["red < vv", "red < 1 and vh < 1", "slope < 3"])
def test_a_rule_is_about_the_dates_of_one_sensor(text: str) -> None:
    with pytest.raises(FormulaError, match=r"mixes sensors|without time"):
        rule(text)


def test_a_rule_has_one_canonical_text() -> None:
    formulas = {"ndvi": INDICES["ndvi"].formula}
    assert rule("ndvi<0.3", formulas).text == rule("( (nir - red)/(red*0+nir+red-red*0) < .3)").text.replace(
        "red * 0 + nir + red - red * 0", "nir + red"
    )
    assert rule(rule("ndvi < 0.3 and not red > 1", formulas).text) == rule(
        "ndvi < 0.3 and not red > 1", formulas
    )
