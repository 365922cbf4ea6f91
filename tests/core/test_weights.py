"""Weights: exponential weights as a plain loop has them, in two memories that are trusted by what their means lose."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.records import HEAD, TAIL, TIERS
from stream_balance.core.weights import Weights, mean_of

ALL = np.array([True, True])


def losses_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # NaN where nothing was said
        found: np.ndarray = np.logaddexp(0, np.where(labels > 0, -logits, logits))
    return found


class Loop:
    """One tier's two memories, a row at a time; the trust in them moves after each block, as the service folds it."""

    def __init__(self, arms: int) -> None:
        self.total, self.trust = np.zeros((2, arms)), np.array([0.1, 0.9])

    def shares(self) -> np.ndarray:
        raised = np.exp(-0.5 * (self.total - self.total.min(axis=1, keepdims=True)))
        return (1 - 1e-3 * self.total.shape[1]) * raised / raised.sum(axis=1, keepdims=True) + 1e-3

    def served(self) -> np.ndarray:
        return self.trust @ self.shares()

    def mean(self, share: np.ndarray, said: np.ndarray) -> float:
        there = ~np.isnan(said)
        return float((share[there] @ said[there]) / share[there].sum())

    def learn(self, block: list[tuple[np.ndarray, int]]) -> None:
        shares, served = self.shares(), self.served()
        lost = [sum(losses_of(np.array(self.mean(share, said)), np.array(y)) for said, y in block) for share in shares]
        left = 0.9999 ** len(block)
        trusted = self.trust * np.exp(min(lost) - np.array(lost))
        for said, y in block:
            losses = losses_of(said, np.array(y))
            there = ~np.isnan(losses)
            losses[~there] = (served[there] @ losses[there]) / served[there].sum()
            self.total = self.total * np.array([[0.999], [0.9999]]) + losses
        self.trust = trusted / trusted.sum() * left + np.array([0.1, 0.9]) * (1 - left)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 40), st.floats(0, 0.5))
@examples(max_examples=40, deadline=None)
def test_weights_are_those_of_a_loop_over_rows(seed: int, arms: int, block: int, absent: float) -> None:
    rng = np.random.default_rng(seed)
    said, labels = rng.normal(-1, 2, size=(arms, 120)), rng.integers(0, 2, 120)
    said[rng.random(said.shape) < absent] = np.nan
    said[0] = np.where(np.isnan(said).all(axis=0), 0.5, said[0])  # somebody speaks
    tiers = rng.integers(0, 2, 120).astype(np.uint8)
    mixture, loops = Mixture(MixtureSettings(stack=False), arms), [Loop(arms) for _ in TIERS]
    for start in range(0, 120, block):
        part = slice(start, start + block)
        mixture.observe(said[:, part, None], labels[part], tiers[part].tobytes())
        for tier, loop in enumerate(loops):
            rows = [(said[:, i], labels[i]) for i in range(*part.indices(120)) if tiers[i] == tier]
            if rows:
                loop.learn(rows)
    for tier, loop in enumerate(loops):
        np.testing.assert_allclose(mixture.weights(tier), loop.served(), rtol=1e-9)
        assert mixture.weights(tier).sum() == pytest.approx(1.0)


def small_lead(seed: int, *, slow: float) -> np.ndarray:
    """Weight of the better of two arms, block by block: one row in fifty is positive, and both know little."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-4.2, 0.8, 60_000)
    labels = (rng.random(60_000) < 1 / (1 + np.exp(-truth))).astype(int)
    said = np.array([truth, -4.0 + rng.normal(0, 0.4, 60_000)])
    weights, found = Weights([0.0, 0.0], (0.999, slow), eagerness=0.5, floor=1e-3), []
    for start in range(0, 60_000, 64):
        part = slice(start, start + 64)
        weights.trust(said[:, part, None], labels[part])
        weights.learn(losses_of(said[:, part], labels[part]), ALL)
        found.append(weights.share[0])
    return np.array(found[len(found) // 2 :])


@pytest.mark.parametrize("seed", range(3))
def test_where_few_rows_tell_anything_the_slow_memory_keeps_chance_out(seed: int) -> None:
    quick, both = small_lead(seed, slow=0.999), small_lead(seed, slow=0.9999)
    assert both.mean() > 0.97
    assert (both < 0.9).mean() < 0.1
    assert (quick < 0.9).mean() > 2 * (both < 0.9).mean() + 0.02


def said_and_labels(rows: int, better: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of two arms one knows a little more than nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-1.0, 0.4, rows)
    said = np.full((2, rows, 1), -1.0)
    said[better, :, 0] = truth
    return said, (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(int)


def test_after_an_alarm_the_quick_memory_counts_alone_until_the_slow_one_has_proved_better() -> None:
    mixture = Mixture(MixtureSettings(stack=False, pause_below=0.0), 2)
    quick, slow = (Weights([0.0, 0.0], (each, each), eagerness=0.5, floor=1e-3) for each in (0.999, 0.9999))

    def run(said: np.ndarray, labels: np.ndarray) -> None:
        for start in range(0, len(labels), 50):
            part = slice(start, start + 50)
            mixture.observe(said[:, part], labels[part], bytes([HEAD]) * 50)
            for each in (quick, slow):
                each.learn(losses_of(said[:, part, 0], labels[part]), ALL)

    run(*said_and_labels(6_000, better=0, seed=0))
    run(*said_and_labels(600, better=1, seed=1))
    assert abs(quick.share[0] - slow.share[0]) > 0.2
    before = mixture.combine([1.0, 0.0], bytes([HEAD]))
    assert abs(mixture.weights(HEAD)[0] - quick.share[0]) > 0.1
    mixture.alarm()
    np.testing.assert_allclose(mixture.weights(HEAD), quick.share, rtol=1e-9)
    np.testing.assert_allclose(mixture.weights(TAIL), [0.5, 0.5])
    assert mixture.combine([1.0, 0.0], bytes([HEAD])) == pytest.approx(quick.share[0])
    assert mixture.combine([1.0, 0.0], bytes([HEAD])) != before
    run(*said_and_labels(30_000, better=1, seed=2))
    assert abs(mixture.weights(HEAD)[0] - slow.share[0]) < 0.05


def test_the_digest_tells_whom_is_trusted() -> None:
    mixture = Mixture(MixtureSettings(stack=False), 2)
    before = repr(mixture.digest_state())
    mixture.alarm()  # both memories say the same: only the trust in them changes
    assert repr(mixture.digest_state()) != before


def test_a_memory_that_is_not_trusted_at_all_may_be_better_by_any_margin() -> None:
    """A whole backlog at once, after an alarm: what is lost beside the best underflows."""
    weights = Weights([0.0, 0.0], (0.9, 0.9999), eagerness=0.5, floor=1e-3)
    said = np.repeat([[[10.0]], [[-10.0]]], 5_000, axis=1)
    weights.learn(losses_of(said[:, :2_000, 0], np.zeros(2_000)), ALL)
    weights.learn(losses_of(said[:, :100, 0], np.ones(100)), ALL)
    weights.alarm()
    weights.trust(said, np.zeros(5_000, dtype=int))
    weights.learn(losses_of(said[:, :, 0], np.zeros(5_000)), ALL)
    assert weights.share.sum() == pytest.approx(1.0)
    assert weights.share[1] > 0.99


def test_an_arm_that_rests_keeps_its_distance_from_the_best_in_both_memories() -> None:
    weights = Weights([0.0, 0.0], (0.999, 0.9999), eagerness=0.5, floor=1e-3)
    weights.learn(np.array([[0.1] * 100, [0.12] * 100]), ALL)
    before = weights.share
    weights.rest(1)
    weights.learn(np.array([[0.1] * 5_000, [np.nan] * 5_000]), np.array([True, False]))
    np.testing.assert_allclose(weights.share, before, rtol=1e-6)


def test_nobody_speaks_of_a_row() -> None:
    said = np.array([[[1.0], [np.nan]], [[3.0], [np.nan]]])
    found = mean_of(said, np.full((2, 2), 0.5))
    assert found[0, 0] == 2.0
    assert np.isnan(found[1, 0])
    weights = Weights([0.0, 0.0], (0.999, 0.9999), eagerness=0.5, floor=1e-3)
    charged = weights.learn(np.array([[1.0, np.nan], [2.0, np.nan]]), ALL)
    assert charged[0] == 1.5
    assert np.isnan(charged[1])


def test_an_arm_with_a_handicap_counts_little_until_rows_tell() -> None:
    weights = Weights([0.0, 4.0], (0.999, 0.9999), eagerness=0.5, floor=1e-3)
    assert weights.share[1] == pytest.approx(math.exp(-2.0) / (1.0 + math.exp(-2.0)), abs=2e-3)
    running = np.array([True, True])
    weights.learn(np.array([[0.06] * 300, [0.04] * 300]), running)  # it has saved six nats
    assert weights.share[1] > 0.6
