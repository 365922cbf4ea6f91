"""Stack: recursive Newton steps against the optimum of all rows at once; what it brings, and that it brings no harm."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from scipy.optimize import minimize

from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.said import losses_of
from stream_balance.core.stack import Stack

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


@pytest.mark.parametrize("classes", [2, 3])
def test_without_forgetting_it_comes_to_the_optimum_over_all_rows(classes: int) -> None:
    rng, rows = np.random.default_rng(classes), 30_000
    mean = rng.normal(-2.0, 1.0, (rows, classes - 1))
    centre = mean.mean()
    away = rng.normal(0.0, 1.0, (3, rows, classes - 1))
    away[2, ::3] = np.nan  # says nothing of every third row
    present = np.nan_to_num(away)
    true = np.array([0.9, 0.6, -0.3, 0.2])
    labels = drawn(rng, centre + true[0] * (mean - centre) + np.tensordot(true[1:], present, axes=1))
    stack = Stack(3, [1.0], precision=PRECISION)
    for start in range(0, rows, 64):
        part = slice(start, start + 64)
        stack.learn(mean[part], mean[part] + away[:, part], labels[part])

    def objective(theta: np.ndarray) -> float:
        odds = theta[4] + centre + theta[0] * (mean - centre) + np.tensordot(theta[1:4], present, axes=1)
        lost = -np.log(softmax(odds)[np.arange(rows), labels]).sum()
        return float(lost + PRECISION / 2 * ((theta - start) ** 2).sum())

    start = np.array([1.0, 0.0, 0.0, 0.0, 0.0])
    best = minimize(objective, start).x
    assert stack._trust.weights[1] > 0.99
    np.testing.assert_allclose([*stack._sums[0].theta[1:], stack._sums[0].theta[0]], best, atol=0.02)
    np.testing.assert_allclose(best, [*true, 0.0], atol=0.1)


def test_a_coefficient_is_worth_what_the_loss_would_rise_without_it() -> None:
    rng, rows = np.random.default_rng(5), 20_000
    mean, away = rng.normal(-1.0, 1.0, (rows, 1)), rng.normal(0.0, 1.0, (2, rows, 1))
    labels = drawn(rng, mean + 0.2 * away[0])
    decay = 1.0 - 1e-9  # nothing is forgotten of these rows
    both, first_only = Stack(2, [decay], PRECISION), Stack(1, [decay], PRECISION)
    for start in range(0, rows, 64):
        part = slice(start, start + 64)
        both.learn(mean[part], mean[part] + away[:, part], labels[part])
        first_only.learn(mean[part], mean[part] + away[1:, part], labels[part])
    without = losses_of(first_only.corrected(mean, mean + away[1:])[None], labels).sum()
    risen = without - losses_of(both.corrected(mean, mean + away)[None], labels).sum()
    worth = both.worth() / 1e-9
    assert worth[0] == pytest.approx(both._trust.weights[1] * risen, rel=0.15)
    assert worth[0] > 20.0
    assert worth[1] < 5.0


@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(2, 3))
@examples(max_examples=40, deadline=None)
def test_where_all_speak_the_shares_say_the_same(seed: int, arms: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    mixture = Mixture(MixtureSettings(), arms)
    for _ in range(6):
        said = rng.normal(-1.0, 2.0, (arms, 40, classes - 1))
        said[rng.integers(arms), rng.random(40) < 0.3] = np.nan
        mixture.observe(said, rng.integers(0, classes, 40), bytes(rng.integers(0, 2, 40).tolist()))
    said, tiers = rng.normal(-1.0, 2.0, (arms, 30, classes - 1)), bytes(rng.integers(0, 2, 30).tolist())
    quick = mixture.combine(said, tiers)
    np.testing.assert_allclose(quick, mixture._of_some(said, tiers), rtol=1e-9, atol=1e-9)
    said[0, 0] = np.nan  # one row without an arm does not touch the others
    np.testing.assert_allclose(mixture.combine(said, tiers)[1:], quick[1:], rtol=1e-9, atol=1e-9)
    again = pickle.loads(pickle.dumps(mixture))
    np.testing.assert_array_equal(again.combine(said, tiers), mixture.combine(said, tiers))


def run(arms: np.ndarray, labels: np.ndarray, **settings: object) -> np.ndarray:
    """Log-loss by row of what is served, for arms (arms, n)."""
    mixture, served = Mixture(MixtureSettings.model_validate(settings), len(arms)), np.empty_like(arms[0])
    for start in range(0, len(labels), 50):
        part = slice(start, start + 50)
        said, tiers = arms[:, part, None], bytes(len(labels[part]))
        served[part] = mixture.combine(said, tiers)[:, 0]
        mixture.observe(said, labels[part], tiers)
    return losses_of(served[None, :, None], labels)[0]


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
    assert paused[2] > 0.5 * rows / 50
