"""Back-off: waits grow, stay within their bounds, and begin small again after a success."""

from __future__ import annotations

import random

import pytest

from stream_balance.edge.backoff import Backoff


def test_waits_double_up_to_the_bound_and_are_at_least_half_of_it() -> None:
    backoff = Backoff(min_s=0.1, max_s=5.0, rng=random.Random(1))
    for n in range(12):
        bound_s = min(5.0, 0.1 * 2**n)
        assert bound_s / 2 <= backoff.next_s() <= bound_s


def test_after_a_success_the_next_wait_is_small_again() -> None:
    backoff = Backoff(min_s=0.1, max_s=5.0, rng=random.Random(1))
    for _ in range(10):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_two_clients_do_not_come_back_in_step() -> None:
    waits = {Backoff(min_s=1.0, max_s=5.0, rng=random.Random(seed)).next_s() for seed in range(20)}
    assert len(waits) == 20


@pytest.mark.parametrize(("min_s", "max_s"), [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0)])
def test_bounds_that_make_no_sense_are_refused(min_s: float, max_s: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < min_s <= max_s"):
        Backoff(min_s=min_s, max_s=max_s, rng=random.Random(0))
