"""Our way to River's ADWIN against its own."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st
from river.drift import ADWIN

from stream_balance.core.adwin import Adwin

ASKED = ("drift_detected", "width", "total", "variance", "estimation", "n_detections")


@given(
    levels=st.lists(st.tuples(st.floats(0, 1), st.integers(1, 400)), min_size=1, max_size=6),
    delta=st.sampled_from([0.002, 0.05, 0.5]),
    clock=st.integers(1, 64),
    pickled=st.booleans(),
)
def test_it_is_rivers_bit_for_bit(levels: list[tuple[float, int]], delta: float, clock: int, pickled: bool) -> None:
    ours, rivers = Adwin(delta, clock), ADWIN(delta=delta, clock=clock)
    for level, rows in levels:
        for row in range(rows):
            value = level if row % 3 else level / 2
            ours.update(value)
            rivers.update(value)
            assert [getattr(ours, each) for each in ASKED] == [getattr(rivers, each) for each in ASKED]
        if pickled:
            ours = pickle.loads(pickle.dumps(ours))


def test_a_drift_is_seen_in_what_the_test_above_compares() -> None:
    ours = Adwin(0.002, 32)
    alarms = 0
    for value in [0.0] * 500 + [1.0] * 500 + [0.0] * 500:
        ours.update(value)
        alarms += ours.drift_detected
    assert alarms >= 2
