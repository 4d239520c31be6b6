"""Masks of bits against the same work on plain NumPy masks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from features import bits, clouds

SIZES = st.tuples(st.integers(0, 20), st.sampled_from([0, 1, 7, 8, 63, 64, 65, 127, 128, 130, 200]))
EXAMPLES = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def mask(shape: tuple[int, int], seed: int, share: float = 0.5) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(shape) < share


def behind(packed: bits.Bits, width: int) -> NDArray[np.bool_]:
    """What lies behind a row's last pixel."""
    return bits.unpack(packed, packed.shape[1] * 64)[:, width:]


@EXAMPLES
@given(SIZES, st.integers(0, 9))
def test_packed_and_unpacked_is_the_mask(shape: tuple[int, int], seed: int) -> None:
    plain = mask(shape, seed)
    packed = bits.pack(plain)
    assert packed.shape == (shape[0], bits.words(shape[1])) and packed.dtype == np.uint64
    np.testing.assert_array_equal(bits.unpack(packed, shape[1]), plain)
    assert bits.count(packed) == plain.sum()
    other = bits.inverse(packed, shape[1])
    np.testing.assert_array_equal(bits.unpack(other, shape[1]), ~plain)
    assert not behind(packed, shape[1]).any() and not behind(other, shape[1]).any()


@EXAMPLES
@given(SIZES, st.integers(0, 9), st.integers(0, 80))
def test_a_cropped_mask_is_its_inside(shape: tuple[int, int], seed: int, halo: int) -> None:
    plain = mask((shape[0] + 2 * halo, shape[1] + 2 * halo), seed)
    found = bits.crop(bits.pack(plain), halo, plain.shape[1])
    inner = plain[halo : halo + shape[0], halo : halo + shape[1]]
    np.testing.assert_array_equal(found, bits.pack(inner))


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 6, 9, 63, 64, 70])
@pytest.mark.parametrize("shape", [(40, 50), (3, 270), (90, 128), (5, 4), (1, 1), (0, 3)])
def test_growing_is_dilation_by_a_disk(radius: int, shape: tuple[int, int]) -> None:
    plain = mask(shape, radius, 0.02)
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    expected = binary_dilation(plain, structure=x * x + y * y <= radius * radius)
    packed = bits.pack(plain)
    np.testing.assert_array_equal(bits.grown(packed, radius, shape[1]), bits.pack(expected))
    np.testing.assert_array_equal(packed, bits.pack(plain))  # it is left as it was


@EXAMPLES
@given(SIZES.filter(lambda s: s[0] and s[1]), st.integers(0, 9))
def test_the_span_is_that_of_the_pixels_that_hold(shape: tuple[int, int], seed: int) -> None:
    plain = mask(shape, seed, 0.05)
    plain[seed % shape[0], (7 * seed) % shape[1]] = True
    at = np.nonzero(plain)
    expected = tuple(slice(a.min(), a.max() + 1) for a in at)
    assert bits.span(bits.pack(plain), shape[1]) == expected


@EXAMPLES
@given(SIZES, st.integers(0, 9))
def test_a_tally_counts_what_holds(shape: tuple[int, int], seed: int) -> None:
    plain = mask(shape, seed)
    total = np.arange(plain.size, dtype=np.int16).reshape(shape)
    expected = total + plain
    bits.tally(bits.pack(plain), total)
    np.testing.assert_array_equal(total, expected)


@EXAMPLES
@given(SIZES, st.sampled_from([1, 2, 3]), st.integers(0, 5), st.integers(0, 5), st.integers(0, 9))
def test_planes_are_looked_up_class_by_class(
    shape: tuple[int, int], up: int, skip: int, edge: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    part = tuple(slice(min(edge, n), max(min(edge, n), n - edge)) for n in shape)
    size = [p.stop - p.start for p in part]
    skips = (skip % up, (skip + 1) % up)
    cells = [-(-(n + s) // up) for n, s in zip(size, skips, strict=True)]
    codes = rng.integers(0, 256, cells).astype(np.uint8)
    flags = rng.integers(0, 16, 256).astype(np.uint8)
    whole = np.zeros(shape, np.uint8)
    wide = codes.repeat(up, 0).repeat(up, 1)
    whole[part] = wide[skips[0] : skips[0] + size[0], skips[1] : skips[1] + size[1]]
    found = bits.planes(codes, flags, 4, shape, part, up, skips)  # type: ignore[arg-type]
    for k in range(4):
        np.testing.assert_array_equal(found[k], bits.pack((flags[whole] >> k & 1).astype(np.bool_)))


@pytest.mark.parametrize("dates", [8, 10, 12, 41])
def test_nearly_always_cloud_is_counted_pixel_by_pixel(dates: int) -> None:
    rng = np.random.default_rng(dates)
    codes = rng.choice(np.array([0, 4, 8, 9, 10], np.uint8), (dates, 30, 70), p=[0.1, 0.05, 0.4, 0.4, 0.05])
    codes[:, :5, :5] = 9
    codes[: dates // 10, 0, 0] = 4  # a tenth, and one more
    codes[: dates // 10 + 1, 0, 1] = 4
    codes[7:, 1, 1] = 0  # looked at too seldom
    codes[8:, 1, 2] = 0
    seen, cloud = (codes > 0).sum(axis=0), np.isin(codes, (8, 9)).sum(axis=0)
    expected = (seen >= 8) & (cloud >= 0.9 * seen)
    assert 0 < expected.sum() < expected.size
    whole = slice(0, 30), slice(0, 70)
    found = clouds.often([clouds.Classes.of(c, (30, 70), whole) for c in codes])
    np.testing.assert_array_equal(found, expected)
