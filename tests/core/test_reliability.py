"""Reliability: bins hold every row once, in order, and a calibrated stream lies on the diagonal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.reliability import reliability


@given(
    st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.1001, 0.5, 1.0]), st.booleans()), max_size=60), st.integers(1, 12)
)
def test_every_row_is_in_one_bin(rows: list[tuple[float, bool]], bins: int) -> None:
    probability = np.array([row[0] for row in rows])
    outcome = np.array([row[1] for row in rows], dtype=np.bool_)
    points = reliability(probability, outcome, bins)
    assert len(points) <= bins
    assert sum(point["rows"] for point in points) == len(rows)
    assert sum(point["rows"] * point["rate"] for point in points) == pytest.approx(outcome.sum())
    assert sum(point["rows"] * point["probability"] for point in points) == pytest.approx(probability.sum())
    means = [point["probability"] for point in points]
    assert means == sorted(set(means)), "equal probabilities share a bin"


def test_a_calibrated_stream_is_on_the_diagonal() -> None:
    rng = np.random.default_rng(5)
    probability = rng.beta(1, 20, size=50_000)
    points = reliability(probability, rng.random(50_000) < probability)
    assert len(points) == 10
    for point in points:
        error = (point["probability"] * (1 - point["probability"]) / point["rows"]) ** 0.5
        assert abs(point["rate"] - point["probability"]) < 4.5 * error
