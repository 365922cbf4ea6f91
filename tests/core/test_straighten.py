"""Straightener: isotonic regression on a history of bins, against scikit-learn's on all rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression, isotonic_regression

from stream_balance.core.memory import Memory
from stream_balance.core.odds import logits as odds
from stream_balance.core.straighten import BINS, Straightener, isotonic

SEEDS = st.integers(0, 2**31)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 1e6)), min_size=1, max_size=30))
def test_it_is_the_isotonic_regression_of_scikit_learn(places: list[tuple[float, float]]) -> None:
    rates, weights = np.array(places).T
    np.testing.assert_allclose(isotonic(rates, weights), isotonic_regression(rates, sample_weight=weights), atol=1e-6)


@given(SEEDS, st.sampled_from(["normal", "few", "far"]))
@settings(max_examples=40, deadline=None)
def test_bins_are_bounded_in_order_and_lose_no_row(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    straightener, rows, outcomes = Straightener(Memory(), prior=2.0), 0, 0
    for _ in range(20):
        n = int(rng.integers(1, 100))
        said = rng.normal(-3, 2, n)
        if kind == "few":
            said = np.round(said)
        if kind == "far":
            said[rng.random(n) < 0.05] = -16.0
        labels = rng.random(n) < 0.1
        straightener.learn(said, labels)
        rows, outcomes = rows + n, outcomes + int(labels.sum())
        _, places, held, positive = straightener.state()
        assert isinstance(places, np.ndarray)
        assert isinstance(held, np.ndarray)
        assert isinstance(positive, np.ndarray)
        assert len(places) == len(held) == len(positive) <= BINS
        assert (np.diff(places) > 0).all()
        assert (held > 0).all()
        assert (positive <= held + 1e-9).all()
        assert held.sum() == pytest.approx(rows)
        assert positive.sum() == pytest.approx(outcomes)


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_what_it_makes_of_scores_rises_and_is_the_same_one_by_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    straightener = Straightener(Memory(rows=10_000, youth=2.0), prior=2.0)
    for _ in range(int(rng.integers(0, 30))):
        said = rng.normal(rng.uniform(-6, 2), rng.uniform(0, 3), 64)
        straightener.learn(said, rng.random(64) < rng.random())  # may well fall where the scores rise
    asked = np.linspace(-40, 40, 2_001)
    made = asked + straightener.shift(asked)
    assert (np.diff(made) > 0).all()
    slopes = np.diff(made)[[0, -1]] / np.diff(asked)[[0, -1]]
    np.testing.assert_allclose(slopes, straightener._beyond)
    assert (slopes <= 1e-9 + (0.1 if len(straightener._rows) else 1.0)).all()
    curve = straightener.curve()
    np.testing.assert_allclose([curve(each) for each in asked.tolist()], made - asked, atol=1e-9)
    assert np.isnan(straightener.shift(np.array([np.nan]))[0])


@pytest.mark.parametrize(("rate", "below"), [(0.02, 0.01), (0.3, 0.25), (0.5, 0.75), (0.95, 0.75)])
def test_beyond_the_bins_it_falls_no_further_where_that_kind_is_common(rate: float, below: float) -> None:
    """So far, at most, are log odds said below the lowest bin's that are 3 below it; above the highest bin the same of
    the rate of the other kind.
    """
    rng = np.random.default_rng(1)
    for side in (1, -1):
        straightener = Straightener(Memory(rows=20_000), prior=2.0)
        said = rng.normal(odds(rate), 1.0, 20_000)
        for start in range(0, len(said), 500):
            rows = said[start : start + 500]
            labels = rng.random(len(rows)) < 1 / (1 + np.exp(-rows))
            straightener.learn(side * rows, labels if side > 0 else ~labels)
        outermost = straightener._places[0 if side > 0 else -1]
        asked = outermost - side * np.array([0.0, 3.0])
        made = asked + straightener.shift(asked)
        assert 0.0 < side * (made[0] - made[1]) <= below


def test_the_ends_change_little_when_neither_kind_is_rarer_for_long() -> None:
    """The share of outcomes wanders about a half: no end turns from steep to flat."""
    rng = np.random.default_rng(3)
    straightener, ends = Straightener(Memory(rows=2_000, youth=2.0), prior=2.0), []
    for _ in range(400):
        said = rng.normal(0.0, 1.0, 64)
        straightener.learn(said, rng.random(64) < 1 / (1 + np.exp(-said)))
        ends.append(np.array([-3.5, 3.5]) + straightener.shift(np.array([-3.5, 3.5])))
    assert np.abs(np.diff(ends[100:], axis=0)).max() < 0.4


def test_a_step_is_found_as_an_isotonic_regression_of_all_rows_finds_it() -> None:
    rng = np.random.default_rng(5)
    said = rng.normal(-3, 1, 60_000)
    said[rng.random(len(said)) < 0.02] = -16.0  # some swear that nothing comes, and are like all others
    truth = np.where(said > -2.5, 0.2, 0.03)
    truth[said == -16.0] = truth.mean()
    labels = rng.random(len(said)) < truth
    straightener = Straightener(Memory(), prior=2.0)
    for start in range(0, len(said), 64):
        straightener.learn(said[start : start + 64], labels[start : start + 64])
    asked = np.array([-16.0, -4.5, -3.0, -2.0, -1.0])
    found = 1 / (1 + np.exp(-(asked + straightener.shift(asked))))
    oracle = IsotonicRegression(out_of_bounds="clip").fit(said, labels).predict(asked)
    # Pools are tilted, and what lies far out is only partly believed.
    np.testing.assert_allclose(odds(found[1:]), odds(oracle[1:]), atol=0.5)
    assert 0.001 < found[0] < 0.03
