"""Encoding: mixed columns as standardised numbers and slots, as a plain weighted mean and variance say."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from stream_balance.core.arms.encoding import Encoder, SharedEncoder
from stream_balance.core.records import Columns


def columns_of(*nominal: bool) -> Columns:
    columns = Columns()
    for i, each in enumerate(nominal):
        columns.add(f"c{i}", nominal=each)
    return columns


@pytest.mark.parametrize("block", [1, 7, 60])
@pytest.mark.parametrize("absent", [0.0, 0.3])
def test_moments_are_the_decayed_mean_and_variance(block: int, absent: float) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal([5.0, 1e9, 0.0], [2.0, 10.0, 1e-3], size=(300, 3))
    rows[rng.random(rows.shape) < absent] = np.nan
    encoder = Encoder(decay=0.99, clip=100.0)
    for start in range(0, 300, block):
        encoder.learn(rows[start : start + block], columns_of(False, False, False))
    weights = 0.99 ** np.arange(299, -1, -1.0)
    expected = np.empty_like(rows[-20:])
    for i, x in enumerate(rows.T):
        there = ~np.isnan(x)
        mean = np.average(x[there], weights=weights[there])
        deviation = np.sqrt(np.average((x[there] - mean) ** 2, weights=weights[there]))
        expected[:, i] = np.nan_to_num((rows[-20:, i] - mean) / deviation)
    np.testing.assert_allclose(encoder.encode(rows[-20:])[:, :3], expected, rtol=1e-5, atol=1e-7)


def test_what_is_absent_is_average_and_says_so() -> None:
    encoder = Encoder()
    encoder.learn(np.array([[1.0, 2.0], [3.0, np.nan], [2.0, 6.0]]), columns_of(False, False))
    assert encoder.width == 3  # the second column was absent once
    found = encoder.encode(np.array([[np.nan, np.nan], [2.0, 4.0]]))
    assert found[0].tolist() == [0.0, 0.0, 1.0]
    assert found[1, 2] == 0.0


def test_levels_have_slots_up_to_a_bound_and_then_share() -> None:
    encoder = Encoder(levels_max=3)
    columns = columns_of(True)
    encoder.learn(np.array([[4.0], [0.0], [np.nan], [9.0]]), columns)
    encoder.learn(np.array([[2.0]]), columns)
    assert encoder.width == 3
    rows = encoder.encode(np.array([[4.0], [0.0], [9.0], [2.0], [np.nan], [7.0], [50.0]]))
    assert rows.sum(axis=1).tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert rows[:3].tolist() == np.eye(3).tolist()


def test_columns_that_come_later_leave_the_others_where_they_are() -> None:
    encoder, columns = Encoder(), columns_of(False)
    encoder.learn(np.array([[1.0], [2.0]]), columns)
    before = encoder.encode(np.array([[1.5], [2.0]]))
    columns.add("brand", nominal=True), columns.add("late")
    encoder.learn(np.array([[np.nan, 0.0, 3.0], [np.nan, 1.0, 5.0]]), columns)
    rows = encoder.encode(np.array([[1.5, 0.0, 4.0], [2.0, np.nan, np.nan]]))
    np.testing.assert_allclose(rows[:, 0], before[:, 0], atol=1e-3)
    narrow = encoder.encode(np.array([[1.5]]))
    assert narrow.shape == (1, encoder.width)


def test_a_constant_column_says_nothing_and_an_outlier_is_clipped() -> None:
    encoder = Encoder()
    encoder.learn(np.array([[7.0, 0.0], [7.0, 1.0]]), columns_of(False, False))
    assert encoder.encode(np.array([[7.0, 1e12], [8.0, -1e12]])).tolist() == [[0.0, 4.0], [0.0, -4.0]]


def test_a_shared_encoder_is_each_models_own() -> None:
    rng, columns, own, shared = np.random.default_rng(4), columns_of(False, True), Encoder(), SharedEncoder()
    for size in (1, 5, 3, 8):
        rows = np.column_stack([rng.normal(size=size), rng.integers(0, 3, size)])
        rows[rng.random(rows.shape) < 0.1] = np.nan
        own.learn(rows, columns)
        for _ in range(3):  # as many models learn them
            shared.learn(rows, columns)
            assert shared.encode(rows).tolist() == own.encode(rows).tolist()
        shared = pickle.loads(pickle.dumps(shared))
        assert shared.digest_state()[1].tolist() == own.digest_state()[1].tolist()  # type: ignore[index]


def test_the_first_absent_value_of_a_whole_table_is_its_mean() -> None:
    encoder = Encoder()
    encoder.learn(np.random.default_rng(1).normal(size=(50, 3)), columns_of(False, False, False))
    for rows in (np.array([[0.5, np.nan, 0.5]]), np.array([[0.5, np.nan, 0.5], [np.nan, 0.5, 0.5]])):
        encoded = encoder.encode(rows)
        assert np.array_equal(encoded == 0.0, np.isnan(rows))
