"""Marginals: mean probabilities become the rates, whatever the maps made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.marginals import Marginals
from stream_balance.core.memory import Memory


@given(st.integers(0, 2**31), st.integers(3, 5))
def test_the_means_of_bent_probabilities_come_to_the_rates(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet([4.0, *[0.6] * (classes - 1)], 6_000)
    labels = np.array([rng.choice(classes, p=each) for each in truth])
    bent = truth * rng.uniform(0.3, 3.0, classes)
    marginals = Marginals(classes, Memory(outcomes=10_000, youth=2.0))
    total = np.zeros(classes)
    for start in range(0, len(labels), 50):
        said = bent[start : start + 50] * marginals.factors
        said /= said.sum(axis=1, keepdims=True)
        total += said.sum(axis=0) * (start >= 2_000)
        marginals.learn(said, labels[start : start + 50])
    seen = np.bincount(labels[2_000:], minlength=classes)
    np.testing.assert_allclose(total, seen, atol=40 + 0.05 * len(labels) / classes)


@pytest.mark.parametrize("block", [1, 20, 64, 1_000, 10_000])
def test_it_settles_whatever_the_size_of_blocks_and_costs_little_where_all_is_right(block: int) -> None:
    rng = np.random.default_rng(block)
    truth = np.exp(np.concatenate([np.zeros((40_000, 1)), rng.normal([-1.0, -5.0], 1.5, (40_000, 2))], axis=1))
    truth /= truth.sum(axis=1, keepdims=True)
    labels = (rng.random((40_000, 1)) > truth.cumsum(axis=1)).sum(axis=1).clip(0, 2)
    marginals, losses, best = Marginals(3, Memory(outcomes=10_000, youth=2.0)), [], []
    for start in range(0, len(labels), block):
        rows, mine = truth[start : start + block], labels[start : start + block]
        said = rows * marginals.factors
        said /= said.sum(axis=1, keepdims=True)
        losses.append(-np.log(said[np.arange(len(mine)), mine]))
        best.append(-np.log(rows[np.arange(len(mine)), mine]))
        marginals.learn(said, mine)
    lost = np.concatenate(losses) - np.concatenate(best)
    assert lost[:640].mean() < 0.05
    assert lost[20_000:].mean() < 0.002


def test_what_is_right_is_left_as_it_is() -> None:
    marginals = Marginals(3, Memory(outcomes=10_000, youth=2.0))
    for _ in range(100):
        marginals.learn(np.tile([0.8, 0.15, 0.05], (100, 1)), np.repeat([0, 1, 2], [80, 15, 5]))
    assert marginals.factors == pytest.approx(1.0, abs=1e-6)
