"""Window: the latest rows of each class and tier, against a plain list."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from stream_balance.core.window import Window, WindowSettings


def filled(labels: list[int], size_max: int = 3) -> Window:
    window = Window(WindowSettings(size_max=size_max))
    for ts_us, label in enumerate(labels):
        window.add(np.array([float(ts_us)]), label, ts_us % 2, ts_us)
    return window


def test_each_class_and_tier_keeps_its_own_latest_rows() -> None:
    window = filled([0, 1, 0, 0, 0, 0, 0, 0, 1])
    assert window.rows(0, 0).ravel().tolist() == [2, 4, 6]
    assert window.rows(0, 1).ravel().tolist() == [3, 5, 7]
    assert window.rows(1).ravel().tolist() == [1, 8]
    assert window.counts() == {0: (3, 3), 1: (1, 1)}
    assert window.evicted_by_count == 1


def test_rows_of_both_tiers_come_in_the_order_they_were_added() -> None:
    window = filled([0] * 7, size_max=100)
    assert window.rows(0).ravel().tolist() == list(range(7))
    assert window.rows(0, latest_max=3).ravel().tolist() == [4, 5, 6]
    assert window.rows(0, 1, latest_max=2).ravel().tolist() == [3, 5]


def test_rows_grow_old_by_the_newest_of_all() -> None:
    window = Window(WindowSettings(age_max_s=10))
    window.add(np.array([1.0]), 1, 0, 0)
    window.add(np.array([2.0]), 1, 0, 5_000_000)
    window.add(np.array([3.0]), 0, 0, 10_000_001)
    assert window.rows(1).ravel().tolist() == [2]
    assert window.evicted_by_age == 1


def test_new_columns_are_absent_in_older_rows_and_missing_ones_in_newer() -> None:
    window = Window(WindowSettings(size_max=4))
    window.add(np.array([1.0]), 0, 0, 0)
    window.add(np.array([2.0, 3.0]), 0, 0, 1)
    window.add(np.array([4.0]), 0, 0, 2)
    np.testing.assert_array_equal(window.rows(0), [[1, np.nan], [2, 3], [4, np.nan]])


def test_a_class_never_seen_has_no_rows() -> None:
    window = filled([0, 0])
    assert (window.size(5), window.rows(5).shape, window.rows(5, 1).shape) == (0, (0, 0), (0, 0))
    assert Window(WindowSettings()).counts() == {}


def test_the_window_keeps_copies() -> None:
    window = Window(WindowSettings())
    row = np.array([1.0])
    window.add(row, 0, 0, 0)
    row[0] = 9
    window.rows(0)[0, 0] = 9
    assert window.rows(0).tolist() == [[1]]


@pytest.mark.parametrize("seed", range(6))
def test_searches_at_once_equal_rows_one_by_one_and_a_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    settings = WindowSettings(size_max=int(rng.integers(1, 200)), age_max_s=float(rng.choice([50.0, 1e6])))
    one, many = Window(settings), Window(settings)
    kept: list[tuple[int, int, int, float]] = []
    for ts_us in range(0, 100_000_000, 1_000_000):
        n = int(rng.integers(1, 30))
        values = rng.normal(size=(n, int(rng.integers(1, 4))))
        labels = (rng.random(n) < rng.choice([0.0, 0.2])).astype(int).tolist()
        tiers = bytes(rng.integers(0, 2, n).tolist())
        many.add_many(values, labels, tiers, ts_us)
        for row, label, tier in zip(values, labels, tiers, strict=True):
            one.add(row, label, tier, ts_us)
            kept.append((label, tier, ts_us, row[0]))
    oldest = kept[-1][2] - settings.age_max_s * 1e6
    for label in (0, 1):
        for tier in (0, 1):
            newest = [row for row in kept if row[:2] == (label, tier)][-settings.size_max :]
            expected = [value for *_, ts_us, value in newest if ts_us >= oldest]
            assert one.rows(label, tier)[:, 0].tolist() == expected
            np.testing.assert_array_equal(many.rows(label, tier), one.rows(label, tier))
            np.testing.assert_array_equal(many.latest(label, tier, 7), one.rows(label, tier, 7))
    np.testing.assert_array_equal(many.rows(0), one.rows(0))
    assert many.counts() == one.counts()


def test_a_pickled_window_goes_on_as_before() -> None:
    window = filled([0, 1] * 9)
    other = pickle.loads(pickle.dumps(window))
    for each in (window, other):
        each.add(np.array([99.0]), 0, 0, 99)
    np.testing.assert_array_equal(window.rows(0), other.rows(0))
    assert repr(window.digest_state()) == repr(other.digest_state())


@given(st.integers(0, 10_000), st.integers(0, 80), st.integers(1, 12))
@examples(max_examples=60, deadline=None)
def test_what_is_older_than_a_change_is_forgotten_but_the_last_of_each_class(seed: int, kept: int, least: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, p=[0.8, 0.15, 0.05], size=70).tolist()
    window, other = filled(labels, size_max=100), filled(labels, size_max=100)
    gone = window.forget(kept, least)
    for label in range(3):
        mine = [i for i, each in enumerate(labels) if each == label]
        expected = [i for i in mine if i >= 70 - kept or i in mine[-least:]]
        assert window.rows(label).ravel().tolist() == expected
        gone -= len(mine) - len(expected)
    assert gone == 0
    for each in (window, other):  # and it goes on as any window
        each.add(np.array([70.0]), 1, 0, 70)
        assert each.rows(1)[-1] == 70.0
        assert each.added == 71
    again = pickle.loads(pickle.dumps(window))
    assert repr(again.digest_state()) == repr(window.digest_state())
