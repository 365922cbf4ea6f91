"""Telemetry: histograms add up, the loop's time is all accounted for, lag in seconds is that of a patient observer."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.telemetry import ACTIVITIES, Histogram, LagClock, Telemetry


@given(st.lists(st.floats(0, 100), max_size=50), st.sets(st.integers(1, 90), min_size=1, max_size=8))
def test_a_histogram_counts_each_value_at_the_first_bound_that_holds_it(values: list[float], bounds: set[int]) -> None:
    ordered = [float(bound) for bound in sorted(bounds)]
    histogram = Histogram(ordered)
    for value in values:
        histogram.observe(value)
    shown = histogram.snapshot()
    assert sum(shown["counts"]) == len(values)
    assert shown["sum"] == pytest.approx(sum(values))
    for index, bound in enumerate(ordered):
        assert sum(shown["counts"][: index + 1]) == sum(value <= bound for value in values)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 9)), min_size=1, max_size=60))
def test_lag_seconds_are_the_age_of_the_oldest_offset_not_yet_processed(steps: list[tuple[int, int, int]]) -> None:
    clock: LagClock[str] = LagClock()
    seen_at: list[float] = []  # by offset: when it was first seen to exist
    position, now_s = 0, 0.0
    for arrived, processed, passed in steps:
        now_s += passed
        seen_at += [now_s] * arrived
        position = min(len(seen_at), position + processed)
        expected = now_s - seen_at[position] if position < len(seen_at) else 0.0
        assert clock.observe("p", position=position, end=len(seen_at), now_s=now_s) == expected


def test_a_bounded_lag_clock_never_says_less_than_an_unbounded_one() -> None:
    small, whole = LagClock[str](points_max=4), LagClock[str]()
    for step in range(1, 300):
        position = step // 3
        bounded = small.observe("p", position=position, end=step, now_s=float(step))
        assert bounded >= whole.observe("p", position=position, end=step, now_s=float(step))
        assert len(small._points["p"]) <= 5
    assert small.observe("p", position=299, end=299, now_s=400.0) == 0.0


def test_the_loops_time_is_all_accounted_for() -> None:
    ticks = count()
    telemetry = Telemetry(wall=lambda: 0.0, clock=lambda: float(next(ticks)), cpu=lambda: 1.0)
    telemetry.enter("poll")  # 1 s of work
    telemetry.enter("flush")
    telemetry.enter("work")
    spent = {"poll": 1.0, "work": 2.0, "flush": 1.0, "checkpoint": 0.0, "wait": 0.0}
    assert telemetry.snapshot()["loop_seconds"] == spent
    assert set(ACTIVITIES) == set(telemetry.snapshot()["loop_seconds"])
    assert telemetry.snapshot()["loop_cpu_seconds"] == 0.0
