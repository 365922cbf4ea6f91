"""Memory: what is left of the past hangs on how much has come, not on how it was cut into blocks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.memory import RAREST_MAX, Memory, Outcomes

BLOCKS = st.lists(st.lists(st.booleans(), min_size=1, max_size=80), min_size=1, max_size=20)
LENGTHS = st.floats(1.5, 1e6) | st.just(math.inf)


def kept(memory: Memory, outcomes: Outcomes, block: int) -> float:
    return math.prod(memory.keep(outcomes[start : start + block]) for start in range(0, len(outcomes), block))


@given(BLOCKS, LENGTHS)
def test_rows_count_whatever_the_blocks(blocks: list[list[bool]], rows: float) -> None:
    memory = Memory(rows=rows)
    assert math.prod(memory.keep(np.array(block)) for block in blocks) == pytest.approx(
        math.exp(-sum(map(len, blocks)) / rows)
    )
    assert memory.seen == sum(map(len, blocks))


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.01, 0.05, 0.3, 0.5, 0.98, 1.0])
@pytest.mark.parametrize("block", [1, 2, 7, 64, 5_000])
def test_outcomes_of_the_rarer_kind_count_whatever_the_blocks(rate: float, block: int) -> None:
    outcomes = np.random.default_rng(2).random(20_000) < rate
    rarer = min(outcomes.mean(), 1.0 - outcomes.mean(), RAREST_MAX) * len(outcomes)
    found = -1_000.0 * math.log(kept(Memory(outcomes=1_000.0), outcomes, block))
    assert found == pytest.approx(rarer, rel=0.05, abs=0.5)


def test_what_was_rare_and_becomes_common_counts_until_the_other_is_the_rarer() -> None:
    memory, draw = Memory(outcomes=1_000.0), np.random.default_rng(4)
    kept(memory, draw.random(300_000) < 0.01, 64)
    kept(memory, draw.random(60_000) < 0.99, 64)  # for a time more rows count as rare than are
    found = -1_000.0 * math.log(kept(memory, draw.random(20_000) < 0.99, 64))
    assert found == pytest.approx(200.0, rel=0.2)


@given(BLOCKS, st.floats(0.1, 10.0))
def test_the_young_remember_a_part_of_all_rows(blocks: list[list[bool]], youth: float) -> None:
    """A weight of 1 for each row: together n / (1 + youth), up to a block."""
    memory, weight = Memory(youth=youth), 0.0
    for block in blocks:
        weight = weight * memory.keep(np.array(block)) + len(block)
    assert weight == pytest.approx(memory.seen / (1.0 + youth), abs=max(map(len, blocks)))


def test_what_forgets_nothing_keeps_all() -> None:
    assert Memory().keep(np.array([True, False])) == 1.0


def test_what_differs_in_what_comes_next_differs_in_its_state() -> None:
    one, other = Memory(outcomes=100.0), Memory(outcomes=100.0)
    one.keep(np.array([True, False, False]))
    other.keep(np.array([False, False, False]))
    assert one.state() != other.state()
    assert one.keep(np.array([True] * 2)) != other.keep(np.array([True] * 2))
