"""Rates: shares that follow the stream, and what is trained on them after a jump."""

from __future__ import annotations

import pickle
import statistics
from random import Random

import numpy as np
import pytest

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.rates import Rates, RateSettings, RateWatch

SEEDS = 20
TOLERANCE = 0.05


def trained_share(strategy_name: str, target: float, before: float, after: float, seed: int) -> tuple[float, float]:
    """Positive share of the samples trained in rows 1,000-3,000 after the jump, and the target after clamps."""
    rng = Random(seed)
    rates = Rates(RateSettings())
    strategy = make_strategy(BalanceSettings(strategy=strategy_name, target_share=target), rates)
    samples, targets = [0, 0], []
    for row in range(-4_000, 3_000):
        label = int(rng.random() < (before if row < 0 else after))
        plan = strategy.plan(label, 0, rng)
        rates.observe(label)
        if row >= 1_000:
            samples[label] += plan.copies + plan.synthetic
            targets.append(strategy.target_share_after_clamps())
    return samples[1] / sum(samples), statistics.fmean(targets)


@pytest.mark.parametrize("strategy", ["random_over", "random_under", "smote", "smote_under"])
@pytest.mark.parametrize(
    ("before", "after", "target"),
    [(0.01, 0.1, 0.5), (0.1, 0.01, 0.5), (0.02, 0.05, 0.5), (0.05, 0.02, 0.2), (0.03, 0.3, 0.5), (0.004, 0.02, 0.3)],
)
def test_after_a_jump_the_target_is_trained(strategy: str, before: float, after: float, target: float) -> None:
    runs = [trained_share(strategy, target, before, after, seed) for seed in range(SEEDS)]
    share, aimed = (statistics.fmean(column) for column in zip(*runs, strict=True))
    odds = after / (1 - after)
    reachable = min(target, odds * 50 / (1 + odds * 50)) if strategy in {"random_over", "smote"} else target
    assert share == pytest.approx(aimed, abs=TOLERANCE)
    assert share == pytest.approx(reachable, abs=TOLERANCE)  # the target by the true rate, not by the estimated one


def test_at_rest_the_share_is_the_rate() -> None:
    rng = Random(1)
    rates = Rates(RateSettings())
    rates.observe_many([int(rng.random() < 0.02) for _ in range(20_000)])
    assert rates.shares()[1] == pytest.approx(0.02, rel=0.3)
    assert sum(rates.window_counts()) > 3_000


def test_a_gradual_change_is_followed() -> None:
    rng = Random(2)
    rates = Rates(RateSettings())
    rates.observe_many([int(rng.random() < 0.01 + 0.09 * row / 20_000) for row in range(20_000)])
    assert rates.shares()[1] == pytest.approx(0.1, rel=0.25)


def test_before_any_example_the_first_guess_holds() -> None:
    assert Rates(RateSettings(), classes=3).shares() == [0.98, 0.01, 0.01]


def test_one_class_only_leaves_the_other_small_and_not_zero() -> None:
    rates = Rates(RateSettings())
    rates.observe_many([0] * 10_000)
    assert 0 < rates.shares()[1] < 0.001


def test_shares_change_at_block_ends_only_and_totals_at_once() -> None:
    rates = Rates(RateSettings(block_rows=4))
    rates.observe_many([1, 1, 1])
    assert (rates.version, rates.shares()[1], rates.counts().total) == (0, 0.02, (0, 3))
    rates.observe(0)
    assert rates.version == 1
    assert rates.shares()[1] > 0.02


def test_three_classes_are_told_apart() -> None:
    rng = Random(3)
    rates = Rates(RateSettings(), classes=3)
    rates.observe_many(rng.choices([0, 1, 2], [0.9, 0.08, 0.02], k=5_000))
    rates.observe_many(rng.choices([0, 1, 2], [0.5, 0.1, 0.4], k=2_000))
    np.testing.assert_allclose(rates.shares(), [0.5, 0.1, 0.4], atol=0.04)


def test_pickled_rates_go_on_as_before() -> None:
    rates = Rates(RateSettings())
    rates.observe_many([0, 0, 1] * 500)
    other = pickle.loads(pickle.dumps(rates))
    for each in (rates, other):
        each.observe_many([1, 0] * 99)
    assert repr(rates.digest_state()) == repr(other.digest_state())


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.3])
def test_at_rest_nothing_has_certainly_changed(rate: float) -> None:
    labels = (np.random.default_rng(4).random(300_000) < rate).astype(int).tolist()
    watch = RateWatch(classes=2)
    assert all(watch.changed(labels[start : start + 20]) is None for start in range(0, len(labels), 20))


@pytest.mark.parametrize("together", [1, 20, 300])
@pytest.mark.parametrize(("before", "after"), [(0.2, 0.01), (0.1, 0.02), (0.01, 0.1)])
def test_a_change_is_told_once_and_when_it_was(before: float, after: float, together: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        labels = [*(rng.random(3_000) < before).astype(int), *(rng.random(3_000) < after).astype(int)]
        watch, told = RateWatch(classes=2), []
        for start in range(0, len(labels), together):
            upto = min(start + together, len(labels))
            since = watch.changed(labels[start:upto])
            if since is not None:
                told.append((upto, upto - since))
        ((at, began),) = told
        assert at <= 3_000 + 900
        assert abs(began - 3_000) <= 192  # three blocks


def test_a_block_alone_however_odd_cuts_nothing() -> None:
    rates = Rates(RateSettings())
    size = RateSettings().block_rows
    rates.observe_many([int(row % 50 == 0) for row in range(40 * size)])
    rates.observe_many([1] * size)
    assert sum(rates.window_counts()) == 41 * size
    rates.observe_many([1] * size)
    assert sum(rates.window_counts()) == 2 * size
