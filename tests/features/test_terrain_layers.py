"""Terrain layers against analytic surfaces and formulas written out from the papers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import terrain


def surface(z: object, size: int = 41, step: float = 10) -> np.ndarray:
    """Heights z(x, y), x to the east, y to the north, row 0 the northernmost."""
    axis = (np.arange(size) - size // 2) * step
    x, y = np.meshgrid(axis, -axis)
    return np.asarray(z(x, y), np.float32)  # type: ignore[operator]


@given(st.floats(0, 359.9), st.floats(0.01, 2))
def test_a_plane_faces_the_way_it_falls(azimuth: float, rise: float) -> None:
    toward = np.radians(azimuth)
    plane = surface(lambda x, y: -rise * (np.sin(toward) * x + np.cos(toward) * y), 5)
    assert terrain.slope(plane, 10) == pytest.approx(np.degrees(np.arctan(rise)), rel=1e-4)
    turn = (terrain.aspect(plane) - azimuth + 180) % 360 - 180
    assert np.abs(turn).max() < 0.05
    northness, eastness = terrain.facing(plane)
    assert northness == pytest.approx(np.cos(toward), abs=1e-3)
    assert eastness == pytest.approx(np.sin(toward), abs=1e-3)


def test_a_flat_faces_nowhere() -> None:
    flat = np.full((9, 9), 3.0, np.float32)
    assert np.isnan(terrain.aspect(flat)).all()
    assert not np.any(terrain.facing(flat))
    assert not np.any(terrain.curvature(flat, 10))
    assert not np.any(terrain.slope(flat, 10))


def test_curvature_of_surfaces_that_are_known() -> None:
    """A ridge bends along its fall or across it; a dome both ways; a bowl has the other sign."""
    k = terrain.reach(10)
    assert k == 3
    inside = np.s_[: 41 - 2 * k, : 41 - 2 * k]
    axis = (np.arange(41) - 20)[k:-k] * 10.0
    x, y = np.meshgrid(axis, -axis)
    off = np.hypot(x, y) > 50  # the top itself is flat
    for sign in (1, -1):
        dome = surface(lambda x, y, s=sign: -s * 0.001 * (x**2 + y**2))
        profile, plan = terrain.curvature(dome, 10)
        assert profile[inside][off] == pytest.approx(-0.002 * sign, rel=1e-2)
        assert plan[inside][off] == pytest.approx(0.002 * sign, rel=1e-2)
        fold = surface(lambda x, y, s=sign: -s * 0.001 * x**2)
        profile, plan = terrain.curvature(fold, 10)
        assert profile[inside][np.abs(x) > 50] == pytest.approx(-0.002 * sign, rel=1e-2)
        assert plan[inside][np.abs(x) > 50] == pytest.approx(0, abs=1e-6)


def test_curvature_is_that_of_the_paper() -> None:
    """Zevenbergen & Thorne 1987, equations 9 to 15, at one pixel."""
    z = np.random.default_rng(2).normal(0, 5, (7, 7)).astype(np.float32)
    z1, z2, z3, z4, z5, z6, z7, z8, z9 = (float(v) for v in z[::3, ::3].ravel())
    length = 30.0
    d = ((z4 + z6) / 2 - z5) / length**2
    e = ((z2 + z8) / 2 - z5) / length**2
    f = (-z1 + z3 + z7 - z9) / (4 * length**2)
    g = (-z4 + z6) / (2 * length)
    h = (z2 - z8) / (2 * length)
    profile, plan = terrain.curvature(z, 10)
    assert profile.shape == plan.shape == (1, 1)
    assert profile[0, 0] == pytest.approx(2 * (d * g**2 + e * h**2 + f * g * h) / (g**2 + h**2), rel=1e-4)
    assert plan[0, 0] == pytest.approx(-2 * (d * h**2 + e * g**2 - f * g * h) / (g**2 + h**2), rel=1e-4)


def test_an_unknown_height_spoils_what_depends_on_it_and_no_more() -> None:
    z = surface(lambda x, y: 0.1 * x + 0.002 * y**2 + np.sin(x / 40))
    whole = terrain.layers(z, 10)
    z[20, 20] = np.nan
    spoilt = terrain.layers(z, 10)
    assert set(spoilt) == set(terrain.NAMES)
    for name, layer in spoilt.items():
        gone = np.argwhere(np.isnan(layer)) + terrain.reach(10) - 20
        step = 3 if "curvature" in name else 1
        assert sorted(map(tuple, gone)) == [(i, j) for i in (-step, 0, step) for j in (-step, 0, step)], name
        rest = ~np.isnan(layer)
        assert np.array_equal(layer[rest], whole[name][rest])


def test_wetness_is_that_of_beven_and_kirkby() -> None:
    area = np.array([[900.0, 90_000.0, np.nan]])
    slope = np.array([[45.0, 0.0, 10.0]], np.float32)
    index = terrain.wetness(area, slope, 30)
    assert index[0, 0] == pytest.approx(np.log(900 / 30 / 1), rel=1e-6)
    assert index[0, 1] == pytest.approx(np.log(90_000 / 30 / 0.001), rel=1e-6)
    assert np.isnan(index[0, 2])
