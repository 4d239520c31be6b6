"""The clear mask against arrays drawn by hand and a plain loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from features import clouds

#: Drawn by hand: . is a plant (4), C a cloud (9), 0 no data, 1 saturated, W water (6), S shadow (3).
CODES = {".": 4, "C": 9, "S": 3, "W": 6, "0": 0, "1": 1}


def scl(*rows: str) -> NDArray[np.uint8]:
    return np.array([[CODES[letter] for letter in row] for row in rows], np.uint8)


def mask(*rows: str) -> NDArray[np.bool_]:
    """# is not clear."""
    return np.array([[letter != "#" for letter in row] for row in rows])


ONE_CLOUD = scl(".....", ".....", "..C..", ".....", ".....")


@pytest.mark.parametrize(
    ("radius", "drawn"),
    [
        (0, mask(".....", ".....", "..#..", ".....", ".....")),
        (1, mask(".....", "..#..", ".###.", "..#..", ".....")),
        (2, mask("..#..", ".###.", "#####", ".###.", "..#..")),
        (3, mask("#####", "#####", "#####", "#####", "#####")),
    ],
)
def test_a_cloud_grows_by_a_disk(radius: int, drawn: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(clouds.clear(ONE_CLOUD, radius), drawn)


def test_a_cloud_in_the_corner_grows_inside_the_array_only() -> None:
    found = clouds.clear(scl("C....", ".....", ".....", ".....", "....S"), 1)
    np.testing.assert_array_equal(found, mask("##...", "#....", ".....", "....#", "...##"))


def test_no_data_and_saturated_pixels_do_not_grow() -> None:
    found = clouds.clear(scl(".....", ".0...", ".....", "...1.", "....."), 2)
    np.testing.assert_array_equal(found, mask(".....", ".#...", ".....", "...#.", "....."))


def test_a_cloud_beside_no_data_covers_only_its_own_disk() -> None:
    found = clouds.clear(scl("00...", "00...", "..C..", ".....", "....."), 1)
    np.testing.assert_array_equal(found, mask("##...", "###..", ".###.", "..#..", "....."))


def test_flooded_rice_stays_clear_beside_a_cloud() -> None:
    found = clouds.clear(scl("WWWWW", "WWWWW", "WWCWW", "WWWWW", "WWWWW"), 1)
    np.testing.assert_array_equal(found, mask(".....", "..#..", ".###.", "..#..", "....."))


@pytest.mark.parametrize("code", range(12))
def test_each_class_is_clear_unseen_or_cloudy(code: int) -> None:
    image = ONE_CLOUD.copy()
    image[2, 2] = code
    hidden = (~clouds.clear(image, 1)).sum()
    # 0 no data, 1 saturated; 3 shadow, 8 and 9 cloud, 10 cirrus; the others are ground, water and snow.
    assert hidden == (1 if code in (0, 1) else 5 if code in (3, 8, 9, 10) else 0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0), (1, 1), (1, 7)])
@pytest.mark.parametrize("radius", [0, 3])
def test_an_array_of_any_size_has_a_mask_of_that_size(shape: tuple[int, int], radius: int) -> None:
    found = clouds.clear(np.full(shape, 4, np.uint8), radius)
    assert found.shape == shape and found.dtype == np.bool_ and found.all()


def test_all_cloud_is_nowhere_clear_and_the_scene_is_left_as_it_was() -> None:
    image = np.full((5, 5), 8, np.uint8)
    assert not clouds.clear(image, 2).any()
    assert (image == 8).all()


def _plain(image: NDArray[np.uint8], radius: int) -> NDArray[np.bool_]:
    found = np.ones(image.shape, bool)
    for y, x in np.ndindex(image.shape):
        if image[y, x] in (0, 1):
            found[y, x] = False
        if image[y, x] in (3, 8, 9, 10):
            for v, u in np.ndindex(image.shape):
                if (v - y) ** 2 + (u - x) ** 2 <= radius**2:
                    found[v, u] = False
    return found


CLASSES = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=st.integers(0, 11)
)


@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(CLASSES, st.integers(0, 4))
def test_the_mask_equals_a_plain_loop(image: NDArray[np.uint8], radius: int) -> None:
    np.testing.assert_array_equal(clouds.clear(image, radius), _plain(image, radius))


def test_a_block_read_with_its_halo_equals_the_whole_scene() -> None:
    image = np.random.default_rng(5).choice([4, 5, 6, 0, 3, 9], (60, 60), p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
    image, radius = image.astype(np.uint8), 3
    whole = clouds.clear(image, radius)
    part = clouds.clear(image[20 - radius : 40 + radius, 10 - radius : 30 + radius], radius)
    np.testing.assert_array_equal(part[radius:-radius, radius:-radius], whole[20:40, 10:30])


def test_what_is_no_class_is_not_clear() -> None:
    scl = np.array([[2, 4, 5, 6, 7, 11, 12, 99, 255, 0, 1]], np.uint8)
    assert clouds.clear(scl, 0).tolist() == [[True] * 6 + [False] * 5]
