"""Advice: what it says of a race is so, whichever model comes first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from stream_balance.core.advice import Advice
from stream_balance.core.race import Answers
from stream_balance.core.verdict import Verdict


def advice(
    noises: Mapping[str, float], costs: Mapping[str, float] | None = None, bias: float = 0.0, knows: float = 1.0
) -> Advice:
    """Of answers to 8,000 rows whose log odds carry so much noise; `bias` shifts what `window_booster:none` says.
    All say `knows` times that.
    """
    rng, n = np.random.default_rng(4), 8_000
    truth, blur = rng.normal(-2.5, 1.5, n), rng.normal(0, 1, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.uint8)
    odds = [knows * (truth + noise * blur) + bias * (name == "window_booster:none") for name, noise in noises.items()]
    probability = (1 / (1 + np.exp(-np.array(odds)))).astype(np.float32)
    said = Answers(probability, probability >= 0.5, labels, np.zeros(n, np.uint8))
    return Advice(list(noises), [(costs or {}).get(name, 1.0) for name in noises], Verdict(said))


def test_what_is_worse_is_told_too_and_what_a_plain_model_is() -> None:
    words = advice({
        "plain_linear:none": 2.0, "linear:none": 0.5, "logistic:none": 0.5, "logistic:smote": 2.0,
        "logistic:near_miss": 2.5, "logistic:random_over": 0.5,
    }).words()  # fmt: skip
    assert "1 of 1 beats plain_linear:none, none of 3 beats logistic:none (2 are worse) in average precision" in words
    assert "plain_linear is linear without the balancing that it does by itself." in words


def test_a_model_is_measured_against_itself_and_the_best_row_is_what_to_run() -> None:
    words = advice({
        "plain_linear:none": 3.0, "plain_replay_mlp:none": 2.0, "window_booster:none": 0.5, "logistic:none": 1.0,
        "linear:none": 1.5, "replay_mlp:none": 2.0, "mixture": 0.8,
    }).words()  # fmt: skip
    assert words.startswith("Balancing helps: 1 of 1 beats plain_linear:none, none of 1 beats plain_replay_mlp:none in")
    assert words.endswith("Run the best, window_booster:none.")


def test_the_first_model_is_no_yardstick_for_another() -> None:
    noises = {"plain_linear:none": 3.0, "logistic:none": 0.5, "linear:none": 3.0, "logistic:smote": 1.5}
    found = advice(noises)
    assert [each is None for each in found.gains] == [True, True, False, False]
    assert found.words().startswith(
        "Balancing does not help beyond doubt: none of 1 beats plain_linear:none, none of 1"
    )
    assert found.words().endswith("Run the best, logistic:none.")


def test_one_model_and_its_strategies() -> None:
    found = advice(
        {"logistic:none": 2.0, "logistic:smote": 0.6, "logistic:adasyn": 1.0, "logistic:oob": 4.0, "auto": 0.9}
    )
    assert found.words().startswith(
        "Balancing helps: 2 of 3 beat logistic:none (1 is worse) in average precision by more than 3"
    )
    assert "Run the best, logistic:smote, +0." in found.words()
    assert "chance" not in found.words()


@pytest.mark.parametrize(
    ("cost", "bias", "run"), [(0.5, 0.0, "window_booster:none"), (0.9, 0.0, "mixture"), (0.5, 1.5, "mixture")]
)
def test_as_good_at_less_is_run_instead_but_not_for_a_worse_log_loss(cost: float, bias: float, run: str) -> None:
    costs = {"window_booster:none": cost, "logistic:none": 0.1}
    found = advice({"mixture": 0.6, "logistic:none": 2.0, "window_booster:none": 0.601 if bias else 0.6}, costs, bias)
    names = ["mixture", "logistic:none", "window_booster:none"]
    assert names[found.best()] == "mixture"
    assert names[found.choice()] == run
    assert found.words().startswith(
        "Nothing here balances. The best is" if run != "mixture" else "Nothing here balances. Run"
    )


def test_no_row_that_another_beats_in_both_figures_is_advised() -> None:
    rng = np.random.default_rng(0)
    names = ["plain_linear:none", "logistic:none", "linear:none", "logistic:smote", "mixture"]
    for _ in range(20):
        found = advice(
            dict(zip(names, rng.uniform(0.3, 2.0, 5), strict=True)), dict(zip(names, rng.uniform(0, 1, 5), strict=True))
        )
        run = found.choice()
        for other in range(5):
            gain = found._verdict.gain(run, other)
            assert any(each["value"] >= -each["error"] for each in gain.values()), (names[run], names[other])  # type: ignore[operator]


def test_of_equal_ones_that_cost_next_to_nothing_the_plain_one_is_run() -> None:
    costs = {"logistic:smote": 0.0, "logistic:none": 0.1}
    found = advice({"logistic:smote": 1.0, "logistic:none": 1.0}, costs)
    assert found.words().endswith("Run the best, logistic:none.")


def test_where_nothing_was_learned_nothing_is_advised() -> None:
    """As where labels come due only after the last search: every row is said alike."""
    noises = {"logistic:none": 0.0, "logistic:smote": 0.0, "mixture": 0.0}
    assert advice(noises, knows=0.0).words().startswith("No arm tells rows apart: nothing had been learned")
    assert "No arm" not in advice(noises, knows=0.01).words()


def of_tail(noises: Mapping[str, float], tail_share: float = 0.3) -> Advice:
    """Of answers that are noisy as `advice`'s; those of `tail_linear` say the rate in the head, and are tail-only."""
    rng, n = np.random.default_rng(5), 8_000
    truth, blur = rng.normal(-2.0, 1.5, n), rng.normal(0, 1, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.uint8)
    tiers = (rng.random(n) < tail_share).astype(np.uint8)
    odds = np.array([truth + noise * blur for noise in noises.values()])
    places = [place for place, name in enumerate(noises) if name.startswith("tail_")]
    odds[np.ix_(places, np.flatnonzero(tiers == 0))] = -1.5
    probability = (1 / (1 + np.exp(-odds))).astype(np.float32)
    verdict = Verdict(Answers(probability, probability >= 0.5, labels, tiers))
    return Advice(list(noises), [1.0] * len(noises), verdict, places)


def test_arms_of_the_tail_are_measured_there_and_are_not_what_to_run() -> None:
    noises = {"plain_linear:none": 2.0, "logistic:none": 2.0, "tail_linear:none": 0.3, "linear:none": 3.5}
    found = of_tail(noises)
    gain = found.gains[2]
    assert gain is not None
    assert gain == found._verdict.of_tail().gain(2, 0)
    assert gain != found._verdict.gain(2, 0)
    words = found.words()
    assert "1 of 1 beats plain_linear:none in the tail, none of 1 beats plain_linear:none (1 is worse) in" in words
    assert "tail_linear: such arms speak of tail items only, so their gain is over rows of the tail" in words
    assert list(noises)[found.best()] == list(noises)[found.choice()] != "tail_linear:none"


def test_arms_of_the_tail_without_a_tail_are_not_counted_as_worse() -> None:
    words = of_tail({"plain_linear:none": 1.0, "logistic:none": 2.0, "tail_linear:none": 0.3}, tail_share=0.0).words()
    assert words.startswith("tail_linear: such arms speak of tail items only, and no outcome came there")
    assert words.endswith("Run the best, plain_linear:none.")
