"""Smallest: what numpy's stable sort of everything would put first, ties included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.balance.smallest import smallest, smallest_of_each


def sorted_first(values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    places = np.argsort(values, axis=1, kind="stable")[:, :k]
    return places, np.take_along_axis(values, places, axis=1)


@given(
    rows=st.integers(1, 25), columns=st.integers(1, 1_500), k=st.integers(1, 12), coarse=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_it_is_the_start_of_a_stable_sort(rows: int, columns: int, k: int, coarse: bool, seed: int) -> None:
    values = np.random.default_rng(seed).random((rows, columns))
    if coarse:  # equal numbers within and across the folds
        values = np.floor(values * 7)
    k = min(k, columns)
    places, numbers = smallest_of_each(values, k)
    wanted, smallest_numbers = sorted_first(values, k)
    np.testing.assert_array_equal(places, wanted)
    np.testing.assert_array_equal(numbers, smallest_numbers)
    for row, expected in zip(values, wanted, strict=True):
        np.testing.assert_array_equal(smallest(row, k), expected)


@pytest.mark.parametrize("columns", [30, 1_000, 4_097])
def test_it_leaves_the_numbers_alone_and_needs_no_copy_of_its_own(columns: int) -> None:
    wide = np.random.default_rng(1).random((7, 2 * columns))  # enough for folds
    before, view = wide.copy(), wide[:, ::2]  # not contiguous
    np.testing.assert_array_equal(smallest_of_each(view, 4)[0], sorted_first(view, 4)[0])
    np.testing.assert_array_equal(wide, before)


def test_rows_with_ties_among_rows_without() -> None:
    rng = np.random.default_rng(2)
    values = rng.random((9, 2_000))
    values[::3] = np.floor(values[::3] * 5)
    places, numbers = smallest_of_each(values, 6)
    wanted, smallest_numbers = sorted_first(values, 6)
    np.testing.assert_array_equal(places, wanted)
    np.testing.assert_array_equal(numbers, smallest_numbers)


def test_fewer_numbers_than_asked_for() -> None:
    assert smallest(np.array([2.0, 1.0]), 5).tolist() == [1, 0]
    places, numbers = smallest_of_each(np.empty((0, 7)), 3)
    assert places.shape == numbers.shape == (0, 3)
