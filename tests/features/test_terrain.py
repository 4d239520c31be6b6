"""Slope against planes worked out by hand and a plain loop of Horn (1981)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from features import terrain


def horn(z: NDArray[np.float32], resolution: float) -> NDArray[np.float64]:
    """Horn 1981, pixel by pixel, with the letters of the paper's window: a b c / d e f / g h i."""
    found = np.full((z.shape[0] - 2, z.shape[1] - 2), np.nan)
    for y, x in np.ndindex(found.shape):
        (a, b, c), (d, e, f), (g, h, i) = z[y : y + 3, x : x + 3].tolist()
        if any(math.isnan(v) for v in (a, b, c, d, e, f, g, h, i)):
            continue
        east = ((c + 2 * f + i) - (a + 2 * d + g)) / (8 * resolution)
        south = ((g + 2 * h + i) - (a + 2 * b + c)) / (8 * resolution)
        found[y, x] = math.degrees(math.atan(math.sqrt(east**2 + south**2)))
    return found


def plane(
    east: float, south: float, resolution: float, shape: tuple[int, int] = (7, 9)
) -> NDArray[np.float32]:
    """Heights that rise by ``east`` and ``south`` metres a metre."""
    y, x = np.indices(shape)
    return (100 + resolution * (east * x + south * y)).astype(np.float32)


@pytest.mark.parametrize(
    ("east", "south", "degrees"),
    [
        (0, 0, 0),
        (1, 0, 45),
        (0, 1, 45),
        (-1, 0, 45),
        (0, -1, 45),
        (0.6, 0.8, 45),
        (1, 1, 54.735610317245346),
        (math.tan(math.radians(30)), 0, 30),
        (0.01, 0, 0.5729386976834859),
    ],
)
@pytest.mark.parametrize("resolution", [10, 30, 0.5])
def test_a_plane_has_the_slope_worked_out_by_hand(
    east: float, south: float, degrees: float, resolution: float
) -> None:
    found = terrain.slope(plane(east, south, resolution), resolution)
    assert found.shape == (5, 7) and found.dtype == np.float32
    np.testing.assert_allclose(found, degrees, rtol=1e-3, atol=1e-5)


def test_rough_ground_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(2)
    z = rng.normal(50, 20, (23, 31)).astype(np.float32)
    z[rng.random(z.shape) < 0.03] = np.nan
    found = terrain.slope(z, 10)
    np.testing.assert_allclose(found, horn(z, 10), rtol=1e-6)
    assert 0 < np.isnan(found).sum() < found.size


@pytest.mark.parametrize(("row", "column"), [(3, 3), (1, 1), (0, 0), (6, 6)])
def test_one_unknown_height_makes_all_nine_around_it_unknown(row: int, column: int) -> None:
    z = np.zeros((7, 7), np.float32)
    z[row, column] = np.nan
    whole = np.zeros((7, 7), bool)
    whole[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2] = True
    np.testing.assert_array_equal(np.isnan(terrain.slope(z, 10)), whole[1:-1, 1:-1])


@pytest.mark.parametrize("shape", [(2, 2), (2, 9), (9, 2), (3, 2), (2, 3)])
def test_ground_without_an_inner_pixel_has_no_slope(shape: tuple[int, int]) -> None:
    assert terrain.slope(np.zeros(shape, np.float32), 10).shape == (shape[0] - 2, shape[1] - 2)


def test_a_gentle_rise_high_up_is_not_lost_to_rounding() -> None:
    """One float32 step at 3,000 m vanishes where the eight heights are summed in float32."""
    z = np.full((5, 5), 3000, np.float32)
    z[2, 3] = np.nextafter(np.float32(3000), np.float32(4000))
    found = terrain.slope(z, 10)
    np.testing.assert_allclose(found, horn(z, 10), rtol=1e-6)
    assert found[1, 1] > 0


def test_a_cliff_is_below_ninety_degrees() -> None:
    z = np.zeros((5, 5), np.float32)
    z[:, 3:] = 8000
    found = terrain.slope(z, 1)
    assert 89 < found.max() <= 90


def test_turning_the_ground_turns_the_slope() -> None:
    z = np.random.default_rng(3).normal(0, 5, (8, 11)).astype(np.float32)
    np.testing.assert_allclose(terrain.slope(np.rot90(z), 10), np.rot90(terrain.slope(z, 10)), rtol=1e-6)


def test_a_block_with_a_halo_of_one_equals_the_whole() -> None:
    z = np.random.default_rng(4).normal(0, 5, (40, 40)).astype(np.float32)
    whole = terrain.slope(z, 10)
    np.testing.assert_array_equal(terrain.slope(z[9:31, 4:26], 10), whole[9:29, 4:24])


def test_the_heights_are_left_as_they_were() -> None:
    z = np.random.default_rng(6).normal(0, 5, (6, 6)).astype(np.float32)
    before = z.copy()
    terrain.slope(z[::-1, ::2], 10)
    np.testing.assert_array_equal(z, before)
