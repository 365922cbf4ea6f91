"""A row that comes alone takes a way of its own, in floats; it is told what it would be told among others."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from stream_balance.core.arms.learner import probabilities
from stream_balance.core.calibrate import Calibrator, CalibratorSettings
from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.odds import logits, unbend
from stream_balance.core.said import losses_at, odds_of, probability_of

ANY = st.one_of(st.floats(0.0, 1.0), st.sampled_from([0.0, 1.0, 5e-324, 1e-16, 1.0 - 1e-16, math.nan]))
CLIPPED = st.one_of(st.floats(-16.0, 16.0), st.sampled_from([-16.0, 16.0, 0.0, math.nan]))  # as `logits` gives them
ODDS = st.one_of(st.floats(-900.0, 900.0), st.sampled_from([-math.inf, math.inf, math.nan, 0.0]))


def pair(value: float) -> np.ndarray:
    """The row among others."""
    return np.array([[value], [0.3]])


def same(alone: float, among: np.ndarray) -> None:
    assert isinstance(alone, float)
    np.testing.assert_allclose(alone, among[0, 0], rtol=1e-9, atol=1e-300)


@given(ANY, st.floats(-8.0, 8.0))
def test_probabilities_become_log_odds(p: float, offset: float) -> None:
    same(logits(p), logits(pair(p)))
    same(odds_of(p), odds_of(pair(p)))
    same(unbend(p, [offset]), unbend(pair(p), [offset]))


@given(ODDS)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # an infinite one less itself
def test_log_odds_become_probabilities(odds: float) -> None:
    same(probabilities(np.array([[odds]])).item(), probabilities(pair(odds)))
    if math.isfinite(odds):
        same(probability_of(odds), probability_of(pair(odds)))


@given(st.floats(0.0, 1.0), st.sampled_from([0, 1]))
def test_what_was_served_has_a_loss(p: float, label: int) -> None:
    expected = losses_at(pair(p), [label, 0])[0]
    assert losses_at(p, [label]) == losses_at(np.array([[p]]), [label]) == pytest.approx([expected], rel=1e-9)


@given(st.integers(0, 10_000), st.lists(CLIPPED, min_size=1, max_size=8))
@examples(max_examples=30, deadline=None)
def test_calibrators_also_after_they_have_moved_and_were_kept(seed: int, asked: list[float]) -> None:
    rng = np.random.default_rng(seed)
    calibrator = Calibrator(CalibratorSettings())
    for _ in range(int(rng.integers(0, 12))):
        said, tiers = rng.normal(-3.0, 2.0, (40, 1)), bytes(rng.integers(0, 2, 40).tolist())
        calibrator.learn_many(said, tiers, (rng.random(40) < 1 / (1 + np.exp(1.0 - said[:, 0]))).astype(int).tolist())
        kept = pickle.loads(pickle.dumps(calibrator))
        for tier in range(2):
            among = calibrator.apply(np.array([*asked, 0.0])[:, None], bytes([tier] * (len(asked) + 1)))
            for place, each in enumerate(asked):
                alone = calibrator.apply(each, bytes([tier]))
                same(alone, among[place:])
                assert kept.apply(each, bytes([tier])) == alone


@given(st.integers(0, 10_000), st.lists(st.one_of(st.floats(-20.0, 20.0), st.just(math.nan)), min_size=3, max_size=3))
@examples(max_examples=60)
def test_mixtures(seed: int, said: list[float]) -> None:
    rng = np.random.default_rng(seed)
    for serve in ("mixture", "champion"):
        mixture = Mixture(MixtureSettings(serve=serve), 3)
        mixture.learn(rng.exponential(size=(3, 50)), bytes(rng.integers(0, 2, 50).tolist()))
        for _ in range(int(rng.integers(0, 4))):
            known = rng.normal(-2.0, 2.0, (3, 60, 1))
            mixture.observe(known, (rng.random(60) < 0.2).astype(int), bytes(rng.integers(0, 2, 60).tolist()))
        alone = np.array(said)[:, None, None]
        for tier in range(2):
            among = np.concatenate([alone, np.zeros((3, 1, 1))], axis=1)
            same(mixture.combine(said, bytes([tier])), mixture.combine(list(among), bytes([tier, 0])))
