"""Balancing follows the rate of the stream as it is now: soon after a jump the samples have the target's share again.

River's samplers count from the beginning of time; on these streams they are off by 20 to 40 points.
"""

from __future__ import annotations

import numpy as np
import pytest
from river import base, imblearn
from streams import core

from stream_balance.core.digest import Digest
from stream_balance.core.panel import Panel
from stream_balance.core.pipeline import Pipeline, random_stream, row_as_search
from stream_balance.core.records import Columns, Examples
from stream_balance.testing import make_scored

SEEDS = range(10)
BATCH = 40  # rows that mature together
BEFORE, SETTLED, END = 2_400, 1_000, 3_000  # rows before the jump; measured from there to there after it
LOW, HIGH = 0.01, 0.1
TARGET = 0.5
COPIES_MAX = 50
POINTS = 0.05
OVER = ["random_over", "smote", "neighbour_over", "adasyn", "oob"]  # copying stops at COPIES_MAX
OTHERS = [
    "random_under", "neighbour_under", "tomek", "near_miss", "hard_mining", "uob",
    "smote_under", "adasyn_under", "smote_enn", "smote_tomek", "class_weight", "gan",
]  # fmt: skip
STRATEGIES = [*OVER, *OTHERS]
# All copies fall on the few rare rows in danger, so at 1 % the bound on copies of a row cuts far below the target.
IN_DANGER = ["borderline_smote", "borderline_smote_2", "borderline_under"]
# What they look at is a decayed mean, which follows a jump more slowly than the rates do.
SLOWER = {"neighbour_under": 0.08, "smote_enn": 0.08}
JUMPS = [(LOW, HIGH), (HIGH, LOW)]
CASES = [*((name, *jump) for name in STRATEGIES for jump in JUMPS), *((name, *JUMPS[0]) for name in IN_DANGER)]


class Counter(base.Classifier):
    """A classifier that only counts what it is given."""

    def __init__(self) -> None:
        self.learned = [0, 0]

    def learn_one(self, x: dict[str, float], y: int) -> None:
        self.learned[y] += 1

    def predict_proba_one(self, x: dict[str, float]) -> dict[int, float]:
        return {}


def settings_of(strategy: str) -> dict[str, object]:
    """The model plays no part in what it is given, so it is the cheapest one."""
    balance = {"strategy": strategy, "target_share": TARGET, "copies_max": COPIES_MAX}
    return {"balance": balance, "model": {"name": f"{__name__}:Counter"}}


def share_and_target(strategy: str, before: float, after: float, seed: int) -> tuple[float, float]:
    """Share of positives among the samples of the rows measured, and the mean of what it was aimed at there."""
    rng = np.random.default_rng(seed)
    settings = core(**settings_of(strategy), arms={"references": False})
    arm = Panel(settings, 2, seed, lambda room: random_stream(seed, room))
    columns, trail = Columns(), Digest()
    for name in ("a", "b"):
        columns.add(name)
    marks, targets = [], []
    items = ("i",) * BATCH
    for start in range(0, BEFORE + END, BATCH):
        if start >= BEFORE + SETTLED:
            targets.append(arm.target_share())
        if start == BEFORE + SETTLED:
            marks.append(arm.by_class())
        labels = (rng.random(BATCH) < (before if start < BEFORE else after)).astype(int)
        values = rng.normal(size=(BATCH, 2)) + labels[:, None]
        scored = make_scored(f"s{start}", ts=start, items=items, values=values.tolist())
        arm.learn(Examples(scored, tuple(labels.tolist()), (False,) * BATCH, (0.0,) * BATCH), columns, trail)
    negatives, positives = np.subtract(arm.by_class(), marks[0])
    return float(positives / (negatives + positives)), float(np.mean(targets))


def target_after_clamps(strategy: str, rate: float) -> float:
    """What the true rate would lead to: copying stops at `copies_max`, where under-sampling does not help."""
    needed = TARGET / (1 - TARGET) * (1 - rate) / rate
    times = min(needed, COPIES_MAX) if strategy in OVER else needed
    return times * rate / (times * rate + 1 - rate)


@pytest.mark.parametrize(("strategy", "before", "after"), CASES)
def test_the_share_of_positives_is_the_targets_soon_after_a_jump(strategy: str, before: float, after: float) -> None:
    found = np.array([share_and_target(strategy, before, after, seed) for seed in SEEDS])
    share, target = found.mean(axis=0)
    print(f"{strategy} {before} -> {after}: share {share:.3f}, target {target:.3f}")
    points = SLOWER.get(strategy, POINTS)
    assert abs(share - target) <= points
    assert abs(share - target_after_clamps(strategy, after)) <= points


@pytest.mark.parametrize(("before", "after"), JUMPS)
def test_rivers_sampler_misses_it(before: float, after: float) -> None:
    """The same measure of River's own under-sampler, which is what the promise above is compared with."""
    missed = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        counter = Counter()
        sampler = imblearn.RandomUnderSampler(counter, {0: 1 - TARGET, 1: TARGET}, seed=seed)
        for row in range(BEFORE + END):
            if row == BEFORE + SETTLED:
                counter.learned = [0, 0]
            sampler.learn_one({}, int(rng.random() < (before if row < BEFORE else after)))
        missed.append(abs(counter.learned[1] / sum(counter.learned) - TARGET))
    print(f"River's RandomUnderSampler {before} -> {after}: off by {np.mean(missed):.3f}")
    assert np.mean(missed) > 3 * POINTS


@pytest.mark.parametrize("strategy", ["random_over", "random_under", "smote", "smote_under"])
def test_the_report_has_the_share_and_the_target(strategy: str) -> None:
    rng = np.random.default_rng(1)
    pipeline = Pipeline(core(**settings_of(strategy)), 1, ("no", "yes"), delay_rows=0)
    assert pipeline.report(digest=False).training.positive_share is None
    for i in range(3_000):
        label = int(rng.random() < HIGH)
        pipeline.push_row(row_as_search(i, i, {"a": float(rng.normal()), "b": float(label)}), label)
    training = pipeline.report(digest=False).training
    assert training.target_share == pytest.approx(TARGET)
    assert training.positive_share == pytest.approx(TARGET, abs=2 * POINTS)  # of the last thousand samples or so
    assert sum(training.by_class.values()) == sum(training.samples.model_dump().values())


def test_arms_that_balance_by_themselves_are_not_said_to_miss_what_they_aim_at() -> None:
    rng = np.random.default_rng(2)
    arms = {"pairs": ("linear:none", "replay_mlp:none", "logistic:none"), "references": False}
    pipeline = Pipeline(core(arms=arms), 1, ("no", "yes"), delay_rows=0)
    for i in range(1_500):
        pipeline.push_row(row_as_search(i, i, {"a": float(rng.normal())}), int(rng.random() < 0.03))
    training = pipeline.report(digest=False).training
    assert training.target_share is not None
    assert training.target_share > 0.1
    assert training.positive_share == pytest.approx(training.target_share, abs=0.02)
