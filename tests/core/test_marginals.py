"""Marginals: mean probabilities become the rates, whatever the maps made of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core.marginals import Marginals


@given(st.integers(0, 2**31), st.integers(3, 5))
def test_the_means_of_bent_probabilities_come_to_the_rates(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet([4.0, *[0.6] * (classes - 1)], 6_000)
    labels = np.array([rng.choice(classes, p=each) for each in truth])
    bent = truth * rng.uniform(0.3, 3.0, classes)
    marginals = Marginals(classes, decay=0.99995, precision=2.0, youth=2.0)
    total = np.zeros(classes)
    for start in range(0, len(labels), 50):
        said = bent[start : start + 50] * marginals.factors
        said /= said.sum(axis=1, keepdims=True)
        total += said.sum(axis=0) * (start >= 2_000)
        marginals.learn(said, labels[start : start + 50])
    seen = np.bincount(labels[2_000:], minlength=classes)
    np.testing.assert_allclose(total, seen, atol=40 + 0.05 * len(labels) / classes)


def test_what_is_right_is_left_as_it_is() -> None:
    marginals = Marginals(3, decay=0.99995, precision=2.0, youth=2.0)
    for _ in range(100):
        marginals.learn(np.tile([0.8, 0.15, 0.05], (100, 1)), np.repeat([0, 1, 2], [80, 15, 5]))
    assert marginals.factors == pytest.approx(1.0, abs=1e-6)
