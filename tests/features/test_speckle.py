"""Lee's filter against a plain loop of its paper."""

from __future__ import annotations

import numpy as np
import pytest

from features.speckle import lee


def plain(z: np.ndarray, radius: int, looks: float) -> np.ndarray:
    out = np.full(z.shape, np.nan)
    for i, j in np.ndindex(z.shape):
        window = z[max(0, i - radius) : i + radius + 1, max(0, j - radius) : j + radius + 1]
        window = window[~np.isnan(window)].astype(float)
        if np.isnan(z[i, j]):
            continue
        m, v = window.mean(), window.var()
        w = max(0.0, 1 - (m * m / looks) / v) if v > 1e-18 else 0.0
        out[i, j] = m + w * (float(z[i, j]) - m)
    return out


@pytest.mark.parametrize("radius", [1, 3])
def test_it_is_lee(radius: int) -> None:
    rng = np.random.default_rng(0)
    z = (rng.gamma(4.4, 0.05 / 4.4, (23, 31)) * np.where(np.arange(31) > 15, 6, 1)).astype(np.float32)
    z[rng.random(z.shape) < 0.2] = np.nan
    np.testing.assert_allclose(lee(z, radius, 4.4), plain(z, radius, 4.4), rtol=2e-5)


def test_speckle_goes_and_edges_and_points_stay() -> None:
    rng = np.random.default_rng(1)
    field = rng.gamma(4.4, 0.1 / 4.4, (60, 60)).astype(np.float32)
    smooth = lee(field, 3, 4.4)
    assert smooth.std() < field.std() / 3
    assert smooth.mean() == pytest.approx(field.mean(), rel=0.02)  # radiometry is kept
    field[30, 30] = 10
    assert lee(field, 3, 4.4)[30, 30] > 9


def test_the_unseen_stays_unseen_and_the_same_stays_the_same() -> None:
    even = np.full((9, 9), 0.25, np.float32)
    even[4, 4] = np.nan
    found = lee(even, 2, 4.4)
    assert np.isnan(found[4, 4])
    assert (found[~np.isnan(found)] == np.float32(0.25)).all()
    assert np.isnan(lee(np.full((4, 4), np.nan, np.float32), 1, 4.4)).all()
    assert lee(np.empty((0, 5), np.float32), 1, 4.4).shape == (0, 5)


def test_windows_of_any_size_agree() -> None:
    z = np.random.default_rng(2).gamma(4.4, 0.02, (50, 64)).astype(np.float32)
    whole = lee(z, 3, 4.4)
    assert np.array_equal(lee(z[7:40, 11:50], 3, 4.4)[3:-3, 3:-3], whole[10:37, 14:47])


@pytest.mark.parametrize(("radius", "looks"), [(0, 4.4), (3, 0), (3, float("nan"))])
def test_what_cannot_be_is_refused(radius: int, looks: float) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        lee(np.ones((3, 3), np.float32), radius, looks)
