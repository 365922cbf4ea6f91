"""Mixture: the weighted mean is what is served; pauses by rows; champions that only proof unseats."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest

from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.errors import SettingsError


def losses_of(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.logaddexp(0, np.where(labels > 0, -logits, logits))
    return found


def test_what_is_served_is_the_weighted_mean_of_log_odds_of_those_that_speak() -> None:
    mixture = Mixture(MixtureSettings(), 3)
    mixture.learn(np.array([[0.5], [1.0], [4.0]]), b"\1")
    logits = np.array([[[1.0], [1.0], [np.nan]], [[2.0], [np.nan], [np.nan]], [[6.0], [2.0], [np.nan]]])
    said = mixture.combine(logits, b"\1\1\0")[:, 0]
    w = mixture.weights(1)
    assert said[0] == pytest.approx(w @ [1.0, 2.0, 6.0])
    assert said[1] == pytest.approx((w[0] * 1.0 + w[2] * 2.0) / (w[0] + w[2]))
    assert np.isnan(said[2])


def test_the_mixture_is_nearly_as_good_as_the_best_of_either_half() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(-2, 1.5, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-truth))).astype(int)
    wrong = rng.normal(-2, 1.5, 20_000)
    first = np.arange(20_000) < 10_000
    arms = np.array([np.where(first, truth, wrong), np.where(first, wrong, truth)])
    mixture, served = Mixture(MixtureSettings(stack=False), 2), np.empty(20_000)
    losses = losses_of(arms, labels)
    for start in range(0, 20_000, 10):
        part = slice(start, start + 10)
        served[part] = mixture.combine(arms[:, part, None], bytes(10))[:, 0]
        mixture.observe(arms[:, part, None], labels[part], bytes(10))
    best = losses.min(axis=0).mean()
    assert losses_of(served, labels).mean() < losses_of(truth, labels).mean() + 0.05
    assert losses_of(served, labels).mean() > best  # an oracle is better


def test_a_losing_arm_is_paused_for_longer_each_time_and_an_alarm_wakes_it() -> None:
    mixture = Mixture(
        MixtureSettings(review_rows=10, pause_reviews=2, pause_outcomes=0, pause_rows=50, pause_rows_max=100), 2
    )
    trace = []
    for _ in range(60):
        losses = np.array([[0.1] * 10, [2.0 if mixture.running[1] else np.nan] * 10])
        mixture.learn(losses, bytes(10))
        trace.append(mixture.running[1])
    spans, since = [], 0
    for before, now in pairwise(trace):
        since += 1
        if before != now:
            spans.append((before, since))
            since = 0
    assert [length for running, length in spans if not running][:4] == [5, 10, 10, 10]  # reviews of 10 rows
    assert all(length <= 3 for running, length in spans if running)
    told = [(each.action, each.reason) for each in mixture.decisions]
    assert told[:4] == [("paused", "light"), ("resumed", "retry")] * 2
    assert all(each.weight is not None and each.weight < 0.01 for each in mixture.decisions if each.action == "paused")
    was_paused = not mixture.running[1]
    mixture.alarm()
    assert mixture.running == [True, True]
    assert (mixture.decisions[-1].reason == "drift") == was_paused
    assert mixture.decided == len(told) + was_paused


def test_when_the_loss_rises_out_of_the_ordinary_all_run_at_the_next_review() -> None:
    rng = np.random.default_rng(4)
    mixture = Mixture(MixtureSettings(review_rows=100, pause_outcomes=0, pause_rows=50_000), 2)

    def run(level: float, reviews: int) -> None:
        for _ in range(reviews):
            lost = rng.exponential(level, 100)
            mixture.learn(np.array([lost, lost + 1.0 if mixture.running[1] else np.full(100, np.nan)]), bytes(100))

    run(0.1, 60)
    assert mixture.running == [True, False]
    assert mixture.decided == 1
    run(0.2, 1)
    assert mixture.running == [True, True]
    assert (mixture.decisions[-1].action, mixture.decisions[-1].reason) == ("resumed", "rose")


def test_no_arm_rests_before_enough_outcomes_since_the_start_or_a_change() -> None:
    rng = np.random.default_rng(5)
    mixture = Mixture(MixtureSettings(review_rows=100, pause_outcomes=100, wake_sigmas=1e9), 2)

    def outcomes_until_a_rest() -> int:
        seen = 0
        while all(mixture.running):
            truth = rng.normal(-3.0, 1.0, 100)
            labels = (rng.random(100) < 1 / (1 + np.exp(-truth))).astype(int)
            said = np.array([truth, np.full(100, 2.0)])[:, :, None]
            mixture.observe(said, labels, bytes(100))
            seen += int(labels.sum())
        return seen

    first = outcomes_until_a_rest()
    assert 100 <= first < 140  # at the next review, of some six outcomes
    mixture.alarm()
    assert 100 <= outcomes_until_a_rest() < 140


def test_the_best_arm_is_never_paused_and_a_paused_one_can_come_back() -> None:
    settings = MixtureSettings(
        review_rows=10, pause_reviews=2, pause_outcomes=0, pause_rows=50, pause_rows_max=100, discount=0.99
    )
    mixture = Mixture(settings, 2)
    for step in range(400):
        bad = 1 if step < 100 else 0
        losses = np.full((2, 10), 0.05)
        losses[bad] = 1.0
        losses[[not each for each in mixture.running]] = np.nan
        mixture.learn(losses, bytes(10))
        assert any(mixture.running)
    assert mixture.weights(0)[1] > 0.9


def champion_run(seed: int, lead: float, rows: int = 60_000) -> Mixture:
    """Two arms that err by as much, independently; the second one less by `lead` (in the logit's error)."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(-3.5, 1.2, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-truth))).astype(int)
    arms = truth + rng.normal(size=(2, rows)) * np.array([[0.6], [0.6 - lead]])
    mixture = Mixture(MixtureSettings(serve="champion"), 2)
    losses = losses_of(arms, labels)
    for start in range(0, rows, 500):
        mixture.learn(losses[:, start : start + 500], bytes(500))
    return mixture


def test_a_better_challenger_takes_over_and_an_equal_one_hardly_ever() -> None:
    """False switches: at most 2 of 60 streams of 60,000 rows, 60 looks each."""
    better = [champion_run(seed, 0.5) for seed in range(10)]
    assert [each.champion for each in better].count(1) >= 9
    assert all(each.decisions[0].lead > 4.0 for each in better if each.switches)  # type: ignore[operator]
    equal = [champion_run(seed, 0.0) for seed in range(60)]
    assert sum(each.switches > 0 for each in equal) <= 2


def test_identical_arms_never_change_places_and_the_champion_alone_is_served() -> None:
    mixture = Mixture(MixtureSettings(serve="champion"), 2)
    losses = np.random.default_rng(0).exponential(size=20_000)
    mixture.learn(np.array([losses, losses]), bytes(20_000))
    for start in range(0, 20_000, 100):
        mixture.learn(np.array([losses, losses])[:, start : start + 100], bytes(100))
    assert mixture.switches == 0
    said = mixture.combine(np.array([[[1.0], [np.nan]], [[5.0], [5.0]]]), b"\0\0")[:, 0]
    assert said == pytest.approx([1.0, 5.0], abs=1e-9)


@pytest.mark.parametrize("better", [False, True])
def test_an_arm_that_is_silent_in_the_head_never_becomes_champion(better: bool) -> None:
    """However much better it is in the tail; one that speaks everywhere and is better takes over beside it."""
    rng = np.random.default_rng(3)
    mixture = Mixture(MixtureSettings(serve="champion", review_rows=100), 3)
    for _ in range(300):
        tiers = rng.random(100) < 0.3
        losses = rng.exponential(size=(3, 100))
        losses[1] *= 0.5 if better else 1.0
        losses[2] = np.where(tiers, 0.01 * losses[2], np.nan)
        losses[[not each for each in mixture.running]] = np.nan
        mixture.learn(losses, tiers.tobytes())
    assert mixture.champion == int(better)
    logits = np.array([[[1.0], [1.5]], [[2.0], [2.5]], [[np.nan], [9.0]]])
    assert mixture.combine(logits, b"\0\1") == pytest.approx(logits[int(better)], abs=1e-9)


def test_who_is_the_first_champion_can_be_told() -> None:
    mixture = Mixture(MixtureSettings(serve="champion"), 3, champion=1)
    logits = np.array([[[np.nan], [9.0]], [[2.0], [2.5]], [[1.0], [1.5]]])
    assert mixture.combine(logits, b"\0\1") == pytest.approx(logits[1], abs=1e-9)


def test_a_saved_mixture_goes_on_the_same() -> None:
    rng = np.random.default_rng(2)
    mixture = Mixture(MixtureSettings(review_rows=50), 3)
    mixture.learn(rng.exponential(size=(3, 333)), bytes(333))
    other = pickle.loads(pickle.dumps(mixture))
    for each, again in ((mixture, np.random.default_rng(3)), (other, np.random.default_rng(3))):
        each.learn(again.exponential(size=(3, 200)), bytes(200))
    assert repr(mixture.digest_state()) == repr(other.digest_state())


def test_a_mixture_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one arm"):
        Mixture(MixtureSettings(), 0)
    with pytest.raises(SettingsError, match=r"mixture.floor: 0.06 .* 20 arms .* below 1/20"):
        Mixture(MixtureSettings(floor=0.06), 20)
