"""Memory: what is left of the past hangs on how much has come, not on how it was cut into blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.memory import Memory, rarer

BLOCKS = st.lists(st.lists(st.booleans(), min_size=1, max_size=80), min_size=1, max_size=20)
LENGTHS = st.floats(1.5, 1e6) | st.just(math.inf)


@given(BLOCKS, LENGTHS)
def test_rows_count_whatever_the_blocks(blocks: list[list[bool]], rows: float) -> None:
    memory = Memory(rows=rows)
    kept = math.prod(memory.keep(np.array(block)) for block in blocks)
    assert kept == pytest.approx(math.exp(-sum(map(len, blocks)) / rows))
    assert memory.seen == sum(map(len, blocks))


@given(st.integers(1, 50), st.integers(1, 2_000), LENGTHS, st.booleans())
def test_as_many_outcomes_leave_as_much_at_every_rate(rare: int, common: int, length: float, turned: bool) -> None:
    outcomes = np.arange(rare + common + rare) < rare  # at least as many others
    kept = Memory(outcomes=length).keep(~outcomes if turned else outcomes)
    assert kept == pytest.approx(math.exp(-rare / length))
    assert rarer(outcomes) == rarer(~outcomes) == rare


@given(BLOCKS, st.floats(0.1, 10.0))
def test_the_young_remember_a_part_of_all_rows(blocks: list[list[bool]], youth: float) -> None:
    """A weight of 1 for each row: together n / (1 + youth), up to a block."""
    memory, weight = Memory(youth=youth), 0.0
    for block in blocks:
        weight = weight * memory.keep(np.array(block)) + len(block)
    assert weight == pytest.approx(memory.seen / (1.0 + youth), abs=max(map(len, blocks)))


def test_what_forgets_nothing_keeps_all() -> None:
    assert Memory().keep(np.array([True, False])) == 1.0
