"""Dual-pol measures against the papers' formulas in float64 NumPy."""

from __future__ import annotations

import numpy as np

from features import INDICES, FeatureSpec, block, indices_of

MEASURES = ("mc", "hc", "dprvic", "vv_db", "vh_db")


def test_measures_are_those_of_the_papers() -> None:
    rng = np.random.default_rng(0)
    vv = rng.gamma(2, 0.1, 2000).astype(np.float32)
    vh = (vv * rng.uniform(0.01, 1.2, 2000)).astype(np.float32)
    vv[:5], vh[5:10] = np.nan, 0
    found = dict(zip(MEASURES, indices_of({"vv": vv, "vh": vh}, MEASURES), strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        q = np.minimum(vh.astype(float) / vv, 1)
        q[5:10] = 0
        p = np.stack([1 / (1 + q), q / (1 + q)])
        expected = {
            "mc": (1 - q) / (1 + q),
            "hc": -(p * np.log2(p)).sum(axis=0),
            "dprvic": 1 - (1 - q) / (1 + q) * p[0],
            "vv_db": 10 * np.log10(vv.astype(float)),
            "vh_db": np.where(vh > 0, 10 * np.log10(vh.astype(float)), np.nan),
        }
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=3e-6, err_msg=name)
        low, high = INDICES[name].range
        known = found[name][~np.isnan(found[name])]
        assert (known >= low).all() and (known <= high + 1e-6).all()


def test_decibels_of_the_mean_are_not_the_mean_of_decibels() -> None:
    stack = {"vv": np.array([0.01, 1.0], np.float32).reshape(2, 1, 1)}
    made = block(stack, FeatureSpec.parse(["vv_meandb", "vv_db_mean"]))[:, 0, 0]
    np.testing.assert_allclose(made, [10 * np.log10(0.505), -10], rtol=1e-5)
