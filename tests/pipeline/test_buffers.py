"""Buffers are used again once nothing refers to them, and never while something does."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.buffers import LEAST, Buffers

MB = 1 << 20


def test_memory_is_used_again_when_every_view_is_gone() -> None:
    buffers = Buffers()
    first = buffers.full((4, 1024, 1024), 0, np.uint16)
    place = first.ctypes.data
    view = first[1, ::2]
    view[...] = 7
    del first
    other = buffers.full((4, 1024, 1024), 3, np.uint16)
    assert other.ctypes.data != place
    assert (view == 7).all()
    del view
    again = buffers.full((2, 1024, 1024), np.nan, np.float32)
    assert again.ctypes.data == place
    assert np.isnan(again).all()
    assert (other == 3).all()


def test_small_arrays_are_plain() -> None:
    buffers = Buffers()
    small = buffers.full((2, 3), 5, np.int16)
    assert small.tolist() == [[5] * 3] * 2
    assert not buffers._kept
    assert buffers.full((0, 3), 5, np.int16).shape == (0, 3)


sizes = st.integers(LEAST // MB, 9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(sizes, st.integers(0, 3)), max_size=25))
def test_what_is_held_stays_and_no_more_is_kept_than_was_in_use(steps: list[tuple[int, int]]) -> None:
    """Each step asks for so many MB and then holds the last few arrays only."""
    buffers = Buffers()
    held: list[tuple[int, np.ndarray]] = []
    most = 0
    for number, (megabytes, holding) in enumerate(steps):
        held.append((number % 251, buffers.full((megabytes, MB), number % 251, np.uint8)))
        most = max(most, sum(array.nbytes for _, array in held))
        assert all((array[::4096] == value).all() for value, array in held)
        assert sum(len(kept) for kept in buffers._kept) <= most / 0.9
        held = held[len(held) - holding :] if holding else []
