"""Stack: recursive Newton steps against the optimum of all rows at once; what it brings, and that it brings no harm."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.optimize import minimize

from stream_balance.core.calibrate import Calibrator, CalibratorSettings
from stream_balance.core.digest import Digest
from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.said import losses_of
from stream_balance.core.stack import AWAY_MAX, Stack, Sum, corrected

PRECISION = 20.0


def softmax(odds: np.ndarray) -> np.ndarray:
    """Of classes 0..C-1, (n, C), from log odds against class 0, (n, C-1)."""
    whole = np.concatenate([np.zeros((len(odds), 1)), odds], axis=1)
    found: np.ndarray = np.exp(whole - whole.max(axis=1, keepdims=True))
    found /= found.sum(axis=1, keepdims=True)
    return found


def drawn(rng: np.random.Generator, odds: np.ndarray) -> np.ndarray:
    found: np.ndarray = (softmax(odds).cumsum(axis=1) < rng.random((len(odds), 1))).sum(axis=1)
    return found


@pytest.mark.parametrize("decay", [0.9995, 0.99995])
@pytest.mark.parametrize("classes", [2, 3])
def test_it_comes_to_the_optimum_of_the_decayed_loss(classes: int, decay: float) -> None:
    rng, rows = np.random.default_rng(classes), 30_016
    mean = rng.normal(-2.0, 1.0, (rows, classes - 1)) - 2.0 * np.sin(np.arange(rows) / 6_000.0)[:, None]
    away = rng.normal(0.0, 1.0, (3, rows, classes - 1))
    away[2, ::3] = np.nan  # says nothing of every third row
    there, present = ~np.isnan(away[:, :, 0]), np.nan_to_num(away)
    labels = drawn(rng, mean + np.tensordot([0.6, -0.3, 0.2], present, axes=1))
    total = Sum(3, decay, PRECISION)
    for start in range(0, rows, 64):
        part = slice(start, start + 64)
        total.learn(mean[part], present[:, part], there[:, part], labels[part])
    fading = np.repeat(decay ** (64.0 * np.arange(rows // 64 - 1, -1, -1)), 64)

    def objective(theta: np.ndarray) -> float:
        lost = -np.log(softmax(mean + np.tensordot(theta, present, axes=1))[np.arange(rows), labels])
        return float(fading @ lost + PRECISION / 2 * (theta**2).sum())

    best = minimize(objective, np.zeros(3))
    np.testing.assert_allclose(total.theta, best.x, atol=0.02)
    assert objective(total.theta) < best.fun + 0.1
    p = softmax(total.said(mean, present))[:, 1:]
    whole = (present * p).sum(axis=2)
    exact = np.einsum("inc,jnc,nc,n->ij", present, present, p, fading, optimize=True) - (whole * fading) @ whole.T
    np.testing.assert_allclose(total._h, exact + PRECISION * np.eye(3), rtol=0.1, atol=0.05 * exact.max())


def test_without_outcomes_that_tell_it_goes_back_to_the_mean() -> None:
    """The prior pulls as the rows are forgotten."""
    total, quiet = Sum(2, 0.99, PRECISION), np.zeros((64, 1))
    total.theta = np.array([2.0, -2.0])
    for _ in range(300):  # what is said of these rows does not depend on the arms
        total.learn(quiet, np.zeros((2, 64, 1)), np.ones((2, 64), dtype=bool), np.arange(64) % 2)
    np.testing.assert_allclose(total.theta, 0.0, atol=0.05)


def learned(arms: np.ndarray, labels: np.ndarray, decay: float = 1.0 - 1e-9) -> Sum:
    """A sum that has learned these distances (arms, n) from a mean of -1."""
    total, rows = Sum(len(arms), decay, PRECISION), len(labels)
    for start in range(0, rows, 64):
        part = slice(start, start + 64)
        there = np.ones((len(arms), len(labels[part])), dtype=bool)
        total.learn(np.full((len(labels[part]), 1), -1.0), arms[:, part, None], there, labels[part])
    return total


def loss_of(total: Sum, arms: np.ndarray, labels: np.ndarray) -> float:
    odds = np.tensordot(total.theta, arms, axes=1) - 1.0
    return float(losses_of(odds[None, :, None], labels).sum())


def test_a_coefficient_is_worth_what_the_loss_rises_without_it_and_the_others_take_over() -> None:
    rng, rows = np.random.default_rng(5), 20_000
    arms = rng.normal(0.0, 1.0, (3, rows))
    arms[2] = 0.8 * arms[0] + 0.6 * arms[2]  # a part of the first
    labels = drawn(rng, (-1.0 + 0.3 * arms[0] + 0.2 * arms[1])[:, None])
    every, without = learned(arms, labels), learned(arms[1:], labels)
    risen = loss_of(without, arms[1:], labels) - loss_of(every, arms, labels)
    worth = every.worth() * rows
    assert worth[0] == pytest.approx(risen, rel=0.15)
    assert worth[0] > 20.0
    assert worth[1] > 20.0
    assert worth[2] < 5.0
    every.drop(0)
    assert every.theta[0] == 0.0
    np.testing.assert_allclose(every.theta[1:], without.theta, atol=0.02)
    assert every.worth()[2] * rows > 20.0  # what two knew, the one that is left knows alone


def test_a_sum_that_is_young_knows_what_an_arm_is_worth_in_a_row() -> None:
    rng = np.random.default_rng(6)
    arms = rng.normal(0.0, 1.0, (1, 60_000))
    labels = drawn(rng, (-1.0 + 0.5 * arms[0])[:, None])
    for decay in (0.9995, 0.99995):
        young, old = (learned(arms[:, :rows], labels[:rows], decay).worth()[0] for rows in (3_008, 60_000))
        assert young == pytest.approx(old, rel=0.25)


def test_an_arm_that_breaks_counts_as_no_further_away_than_it_ever_was() -> None:
    rng = np.random.default_rng(7)
    stack, mean = Stack(2, [0.9995, 0.99995], PRECISION), rng.normal(-3.0, 1.0, (20_000, 1))
    away = rng.normal(0.0, 0.5, (2, 20_000, 1))
    stack.learn(mean, mean + away, drawn(rng, mean + 0.8 * away[0]))
    broken = np.array([[[-3.0 + 50.0]], [[-3.0]]])
    served = corrected(np.array([[-3.0]]), broken, stack.table[None]).item()
    assert 0.5 < served + 3.0 < 0.8 * AWAY_MAX * 0.5 + 0.3


def test_an_arm_that_never_speaks_of_a_tier_keeps_its_guess_for_good() -> None:
    """Faded with every row, its distances were 0 over 0 after some 15 million."""
    stack, silent = Stack(2, [0.5, 0.9], PRECISION), np.array([[[0.5]] * 64, [[np.nan]] * 64])
    for _ in range(200):
        stack.learn(np.zeros((64, 1)), silent, np.arange(64) % 2)
    assert stack.table[3] == AWAY_MAX
    assert np.isfinite(stack.table).all()


def test_after_an_alarm_the_mean_is_served_until_the_sums_have_proved_better() -> None:
    rng = np.random.default_rng(8)
    mixture, signal = Mixture(MixtureSettings(), 2), rng.normal(0.0, 1.0, (2, 30_000))
    labels = (rng.random(30_000) < 1 / (1 + np.exp(3.0 - signal.sum(axis=0)))).astype(int)
    said = (signal - 2.7)[:, :, None]
    for start in range(0, 20_000, 50):
        mixture.observe(said[:, start : start + 50], labels[start : start + 50], bytes(50))
    assert mixture.coefficients(0).sum() > 0.5
    mixture.alarm()
    asked = said[:, 20_000:20_020]
    w = mixture.weights(0)
    np.testing.assert_allclose(mixture.combine(asked, bytes(20)), np.tensordot(w, asked, axes=1) / w.sum(), rtol=1e-9)
    assert mixture.coefficients(0).tolist() == [0.0, 0.0]
    for start in range(20_000, 30_000, 50):
        mixture.observe(said[:, start : start + 50], labels[start : start + 50], bytes(50))
    assert mixture.coefficients(0).sum() > 0.5


def test_all_are_weighed_as_they_were_before_they_learned_the_rows() -> None:
    """Noise that a sum fits after the fact is no reason to trust it."""
    rng = np.random.default_rng(9)
    stack = Stack(8, [0.99], precision=0.1)
    for _ in range(200):
        mean = np.full((12, 1), -1.0)
        stack.learn(mean, mean + rng.normal(0.0, 1.0, (8, 12, 1)), drawn(rng, mean))
    assert stack._trust.weights[0] > 0.99


def test_each_tier_learns_from_its_own_rows_and_the_digest_tells_them_apart() -> None:
    rng = np.random.default_rng(10)
    mixtures = [Mixture(MixtureSettings(), 2) for _ in range(2)]
    for _ in range(200):
        first, second = rng.normal(0.0, 1.0, (2, 60))
        tiers = rng.integers(0, 2, 60)
        sign = np.where(tiers == 0, 1.0, -1.0)
        labels = (rng.random(60) < 1 / (1 + np.exp(1.0 - sign * (first - second)))).astype(int)
        said = np.array([first, second])[:, :, None] - 1.0
        for mixture in mixtures:
            mixture.observe(said, labels, bytes(tiers.tolist()))
    head, tail = mixtures[0].coefficients(0), mixtures[0].coefficients(1)
    assert head[0] - head[1] > 0.5  # the first says what comes of the head, the second says the opposite
    assert tail[1] - tail[0] > 0.5
    assert state_of(mixtures[0]) == state_of(mixtures[1])
    for change in ("theta", "_h", "_spoken"):
        other = pickle.loads(pickle.dumps(mixtures[0]))
        getattr(other._stacks[1]._sums[1], change)[...] *= 1.0 + 1e-9
        assert state_of(other) != state_of(mixtures[0])


def test_it_has_a_sum_for_each_decay_of_the_settings() -> None:
    mixture = Mixture(MixtureSettings(stack_decay=0.99, stack_slow_decay=0.9999), 3)
    assert [[each.keep(1) for each in stack._sums] for stack in mixture._stacks] == [[0.99, 0.9999]] * 2
    off = Mixture(MixtureSettings(stack=False), 3)
    alone = Mixture(MixtureSettings(serve="champion"), 3)
    assert off._stacks == alone._stacks == Mixture(MixtureSettings(), 1)._stacks == []
    assert off.coefficients(0).tolist() == [0.0] * 3


def test_a_long_block_is_learned_in_parts() -> None:
    rng = np.random.default_rng(11)
    mean, away = rng.normal(-2.0, 1.0, (1_000, 1)), rng.normal(0.0, 1.0, (2, 1_000, 1))
    labels = drawn(rng, mean + away[0])
    whole, parts = Stack(2, [0.9995], PRECISION), Stack(2, [0.9995], PRECISION)
    whole.learn(mean, mean + away, labels)
    for start in range(0, 1_000, 256):
        part = slice(start, start + 256)
        parts.learn(mean[part], (mean + away)[:, part], labels[part])
    np.testing.assert_array_equal(whole.table, parts.table)


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 3))
@examples(max_examples=40, deadline=None)
def test_what_is_served_is_the_formula_row_by_row(seed: int, arms: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = Mixture(MixtureSettings(), arms)
    for _ in range(6):
        said = rng.normal(-1.0, 2.0, (arms, 40, classes - 1))
        said[rng.integers(arms), rng.random(40) < 0.3] = np.nan
        mixture.observe(said, rng.integers(0, classes, 40), bytes(rng.integers(0, 2, 40).tolist()))
    said, tiers = rng.normal(-1.0, 2.0, (arms, 30, classes - 1)), bytes(rng.integers(0, 2, 30).tolist())
    said[rng.integers(arms), rng.random(30) < 0.3] = np.nan
    served = mixture.combine(said, tiers)
    for row, tier in enumerate(tiers):
        mine, weights = said[:, row], mixture.weights(tier)
        speak = ~np.isnan(mine[:, 0])
        mean = weights[speak] @ mine[speak] / weights[speak].sum()
        limits = mixture._tables[tier][arms:]
        away = np.clip(mine - mean, -limits[:, None], limits[:, None])
        np.testing.assert_allclose(served[row], mean + mixture.coefficients(tier)[speak] @ away[speak], rtol=1e-9)
    again = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(again.combine(said, tiers), mixture.combine(said, tiers))


def state_of(mixture: Mixture) -> str:
    found = Digest()
    found.add(mixture.digest_state())
    return found.hex()


def run(arms: np.ndarray, labels: np.ndarray, **settings: object) -> np.ndarray:
    """Log-loss by row of what is served, the last calibration included, for arms (arms, n)."""
    mixture, calibrator = Mixture(MixtureSettings.model_validate(settings), len(arms)), Calibrator(CalibratorSettings())
    served = np.empty_like(arms[0])
    for start in range(0, len(labels), 50):
        part = slice(start, start + 50)
        said, tiers = arms[:, part, None], bytes(len(labels[part]))
        mixed = mixture.combine(said, tiers)
        served[part] = calibrator.apply(mixed, tiers)[:, 0]
        calibrator.learn_many(mixed, tiers, labels[part].tolist())
        mixture.observe(said, labels[part], tiers)
    return -np.log(np.where(labels > 0, served, 1.0 - served))


@pytest.mark.parametrize("seed", range(3))
def test_arms_that_know_different_things_are_better_together(seed: int) -> None:
    rng, rows = np.random.default_rng(seed), 40_000
    first, second = rng.normal(0.0, 1.0, (2, rows))
    labels = (rng.random(rows) < 1 / (1 + np.exp(4.0 - first - second))).astype(int)
    arms = np.array([first - 3.6, second - 3.6])  # each knows one of both
    alone = losses_of(arms[:, :, None], labels).mean(axis=1).min()
    plain, stacked = run(arms, labels, stack=False).mean(), run(arms, labels).mean()
    whole = losses_of((first + second - 4.0)[None, :, None], labels).mean()
    assert stacked < plain < alone
    assert stacked - whole < 0.5 * (plain - whole)


@pytest.mark.parametrize("seed", range(3))
def test_where_one_arm_knows_all_it_costs_next_to_nothing(seed: int) -> None:
    rng, rows = np.random.default_rng(seed), 40_000
    truth = rng.normal(-4.5, 1.2, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(int)
    arms = truth + np.array([[0.0], [1.0], [1.5]]) * rng.normal(size=(3, rows))
    plain, stacked = run(arms, labels, stack=False), run(arms, labels)
    assert (stacked - plain).sum() < 0.01 * plain.sum()


def test_an_arm_that_the_stack_owes_much_is_not_paused_and_one_of_noise_is() -> None:
    rng, rows = np.random.default_rng(3), 40_000
    signal, hidden = rng.normal(0.0, 1.5, rows), rng.normal(0.0, 0.7, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(3.0 - signal - hidden))).astype(int)
    arms = np.array([signal - 2.8, hidden - 2.0, rng.normal(-3.0, 1.0, rows)])
    mixture = Mixture(MixtureSettings(), 3)
    paused = np.zeros(3)
    for start in range(0, rows, 50):
        part = slice(start, start + 50)
        said = np.where(np.array(mixture.running)[:, None], arms[:, part], np.nan)[:, :, None]
        mixture.observe(said, labels[part], bytes(50))
        paused += [not each for each in mixture.running]
    assert mixture.weights(0)[1] < 0.01
    assert mixture._stacks[0].worth()[1] > 0.005
    assert paused[0] == 0.0
    assert paused[1] < 0.2 * rows / 50  # before its coefficient was known
    assert paused[2] > 0.3 * rows / 50


def test_no_coefficient_is_beyond_its_bound() -> None:
    rng = np.random.default_rng(4)
    for sign in (1.0, -1.0):
        each = Sum(2, decay=0.999, precision=1e-3)
        for _ in range(60):
            labels = rng.integers(0, 2, 64)
            away = np.stack([sign * 0.05 * (2.0 * labels - 1.0), rng.normal(size=64)])[:, :, None]
            each.learn(np.zeros((64, 1)), away, np.ones((2, 64), dtype=bool), labels)
            assert np.abs(each.theta).max() <= 5.0
        assert each.theta[0] == sign * 5.0
