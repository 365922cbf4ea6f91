"""Arms of the tail: they learn as much from rare items as from popular ones, and speak of rare ones only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stream_balance.core.arms.linear import Linear
from stream_balance.core.arms.replay_mlp import BATCH_ROWS, EVERY, ReplayMLP
from stream_balance.core.arms.tail import TailLinear, TailReplayMLP
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Columns, Samples
from tests.contract.streams import core, pushed, shop

COLUMNS = Columns()
COLUMNS.add("x")
PAIRS = ("linear:none", "tail_linear:none", "tail_replay_mlp:none")


def taught(arm: Any, rows: int, seed: int, *, rate: float = 0.2, classes: int = 2) -> tuple[float, float]:
    """One row in ten is of the tail, where x tells the opposite. Mean probability over rate there, second half; and the
    slope of the log odds of class 1 in x."""
    rng = np.random.default_rng(seed)
    tiers = (rng.random(rows) < 0.1).astype(np.uint8)
    labels = (rng.random(rows) < rate).astype(int) * rng.integers(1, classes, rows)
    x = rng.normal(size=(rows, 1)) + np.where(tiers == 1, -1.0, 1.0)[:, None] * (labels > 0)[:, None]
    said, came = [], []
    for start in range(0, rows, 20):
        part = slice(start, start + 20)
        if start > rows // 2:
            tail = tiers[part] == 1
            odds = np.exp(arm.logits(x[part][tail]))
            said += (odds / (1 + odds.sum(axis=1, keepdims=True))).sum(axis=1).tolist()
            came += (labels[part][tail] > 0).tolist()
        offsets = [(0.0,) * (classes - 1)] * 20
        arm.learn(
            Samples(x[part], labels[part].tolist(), bytes(20), [1] * 20, offsets, tiers=tiers[part].tobytes()), COLUMNS
        )
    low, high = arm.logits(np.array([[-1.0], [1.0]]))[:, 0].tolist()
    return sum(said) / max(sum(came), 1), high - low


@pytest.mark.parametrize("classes", [2, 3])
def test_the_tail_has_as_much_say_as_the_head(classes: int) -> None:
    for usual, tail in ((Linear, TailLinear), (ReplayMLP, TailReplayMLP)):
        slopes = [taught(kind(classes), 6_000, seed=1, classes=classes)[1] for kind in (usual, tail)]
        assert slopes[0] > 0.8  # the head has its way
        assert abs(slopes[1]) < 0.7 * slopes[0]  # neither has


@pytest.mark.parametrize("kind", [TailLinear, TailReplayMLP])
def test_what_they_say_is_of_the_stream_as_it_is(kind: Any) -> None:
    assert 0.8 < taught(kind(), 8_000, seed=2, rate=0.05)[0] < 1.25


def test_before_there_is_a_tail_the_head_counts_in_full() -> None:
    rng = np.random.default_rng(2)
    x, labels = rng.normal(size=(500, 1)), rng.integers(0, 2, 500).tolist()
    arms = Linear(), TailLinear()
    for arm in arms:
        arm.learn(Samples(x, labels, bytes(500), [1] * 500, [(0.0,)] * 500), COLUMNS)
    np.testing.assert_array_equal(arms[0].weights, arms[1].weights)


def test_half_of_the_observed_rows_in_a_batch_are_of_the_tail() -> None:
    arm = TailReplayMLP()
    taught(arm, 2_000, seed=3)
    ring, classes = arm._ring, arm.classes
    for label in range(classes):
        head, tail = (int((ring == label + classes * kind).sum()) for kind in (0, 2))
        assert abs(head - tail) <= 1
        assert head + tail == arm._planned[label]
    assert len(ring) == BATCH_ROWS
    arm.forget(200, 10)
    assert (arm._added[[0, 1, 4, 5]] >= 10).all()
    alone = TailReplayMLP()
    rows = np.random.default_rng(0).normal(size=(40, 1))
    alone.learn(Samples(rows, [0, 1] * 20, bytes(40), [1] * 40, [(0.0,)] * 40), COLUMNS)  # without tiers: all head
    assert alone.networks.steps == 40 // EVERY


def test_the_first_champion_is_one_that_speaks_of_the_head_too() -> None:
    pairs = ("tail_linear:none", "tail_replay_mlp:none", "linear:none")
    champions = [
        Pipeline(core(arms={"pairs": each}, mixture={"serve": "champion"}), 7, ("none", "bought")).report().mixture
        for each in (pairs, pairs[::-1], pairs[:2])
    ]
    assert [each.champion for each in champions if each] == ["linear:none", "linear:none", "tail_linear:none"]


def test_beside_other_arms_they_say_nothing_of_the_head() -> None:
    rooms: dict[str, Any] = {"arms": {"pairs": PAIRS}, "tiers": {"first": 100, "every": 100}}
    pipeline = Pipeline(core(**rooms), 7, ("none", "bought"))
    scored = pushed(pipeline, shop(160, seed=3, rate=0.08, signal=1.5))
    for each in scored[-20:]:
        words = pipeline.panel._layout.read([each]).words[:3, :, 0]
        head = np.frombuffer(each.tiers, dtype=np.uint8) == 0
        assert np.isnan(words[1:, head]).all()
        assert not np.isnan(words[:, ~head]).any()
        assert not np.isnan(each.probability).any()
    report = pipeline.report(digest=False)
    assert [arm.role for arm in report.arms] == ["arm"] * 3 + ["reference"] * 3
