"""Target: it steps where the evidence asks for it, within its bounds, and stands still where there is none."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from stream_balance.core.comparison import Rows
from stream_balance.core.panel import Panel
from stream_balance.core.pipeline import Pipeline, random_stream
from stream_balance.core.target import TargetControl, TargetSettings
from stream_balance.errors import SettingsError
from tests.contract.streams import core, pushed, shop

QUICK: dict[str, Any] = {"block_rows": 200, "blocks_min": 10, "blocks_max": 20}
OBJECTIVES = ["average_precision", "gmean", "normalised_entropy", "ndcg_at_10"]


class World:
    """A stream whose served answers carry noise `ours`, and those of `none` noise `theirs`."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.search = 0

    def rows(self, ours: float, theirs: float, n: int = 200) -> Rows:
        rng = self.rng
        truth = rng.normal(-2.0, 1.5, n)
        labels = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.intp)
        odds = np.stack([truth + rng.normal(0, noise, n) for noise in (ours, theirs)])
        losses = np.logaddexp(0, np.where(labels > 0, -odds, odds))
        searches = self.search + np.arange(n) // 20
        self.search += n // 20
        return Rows(odds, losses, labels, bytes(n), searches)


def walked(control: TargetControl, world: World, blocks: int, ours: float, theirs: float, rare_rows: int = 500) -> None:
    for version in range(blocks):
        control.add(world.rows(ours, theirs), np.full(200, 10**6 + version), 0, 1)
        if control.is_due():
            control.decide(rare_rows, version)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_it_steps_up_where_balancing_helps_and_down_where_it_harms(objective: str) -> None:
    for ours, theirs, reason in ((0.2, 2.5, "helps"), (2.5, 0.2, "harms")):
        control = TargetControl(TargetSettings(objective=objective, **QUICK), start=0.2)
        walked(control, World(seed=1), 60, ours, theirs)
        shares = [control.decisions[0].before, *(each.after for each in control.decisions)]
        assert control.steps == len(control.decisions) >= 2
        assert {each.reason for each in control.decisions} == {reason}
        assert shares == sorted(shares, reverse=reason == "harms")
        for before, after in pairwise(shares):  # one bounded step
            odds = after / (1 - after) / (before / (1 - before))
            assert max(odds, 1 / odds) <= 1.5 + 1e-9
        gaps = np.diff([each.position for each in control.decisions])
        assert (gaps >= QUICK["blocks_min"] * 200).all()


def test_the_bounds_end_the_walk() -> None:
    control = TargetControl(TargetSettings(objective="normalised_entropy", share_max=0.3, **QUICK), start=0.2)
    walked(control, World(seed=2), 120, 0.2, 2.5)
    assert control.target == 0.3
    down = TargetControl(TargetSettings(objective="normalised_entropy", share_min=0.15, **QUICK), start=0.2)
    walked(down, World(seed=2), 120, 2.5, 0.2)
    assert down.target == 0.15


def test_it_stands_still_where_both_are_as_good() -> None:
    steps = 0
    for seed in range(20):
        control = TargetControl(TargetSettings(objective="normalised_entropy", **QUICK), start=0.2)
        walked(control, World(seed), 40, 0.7, 0.7)
        steps += control.steps
    print(f"steps without reason: {steps} in 20 walks of 31 looks")
    assert steps <= 4


def test_few_rare_rows_hold_it_down_and_say_so_once() -> None:
    control = TargetControl(TargetSettings(objective="normalised_entropy", **QUICK), start=0.2)
    walked(control, World(seed=3), 30, 0.2, 2.5, rare_rows=10)
    assert control.target == 0.2
    assert [each.reason for each in control.decisions] == ["few_rows"]


def test_a_drift_alarm_takes_it_back_to_the_start() -> None:
    control = TargetControl(TargetSettings(objective="normalised_entropy", **QUICK), start=0.2)
    walked(control, World(seed=4), 15, 0.2, 2.5)
    assert control.target > 0.2
    assert control.alarm(version=0) == 0.2
    assert (control.target, control.decisions[-1].reason) == (0.2, "drift")
    assert control.alarm(version=0) is None
    assert not control.is_due()


def test_rows_scored_before_the_step_do_not_count() -> None:
    control = TargetControl(TargetSettings(objective="normalised_entropy", **QUICK), start=0.2)
    world = World(seed=5)
    control.alarm(version=1_000)
    for _ in range(30):
        control.add(world.rows(0.2, 2.5), np.full(200, 999), 0, 1)
    assert not control.is_due()


def test_the_arms_aim_where_the_control_says_and_the_report_tells() -> None:
    target = {"objective": "normalised_entropy", "block_rows": 64, "blocks_min": 8, "rare_rows_min": 1, "errors": 0.01}
    pipeline = Pipeline(core(target=target), 3, ("none", "bought"))
    aimed = [0.2]
    for event in shop(330, seed=5, rate=0.08, signal=1.5):
        pushed(pipeline, [event])
        share = pipeline.panel.members[0].strategy.target
        aimed += [share] if share != aimed[-1] else []
    figures = pipeline.report().target
    assert figures is not None
    assert figures.steps > 0
    assert [each.after for each in figures.decisions if each.before != each.after] == aimed[1:]
    assert figures.share == aimed[-1]


@pytest.mark.parametrize("rooms", [{"balance": {"strategy": "none"}}, {"arms": {"references": False}}])
def test_without_anything_to_compare_with_it_is_refused(rooms: dict[str, Any]) -> None:
    settings = core(target={"objective": "gmean"}, **rooms)
    with pytest.raises(SettingsError, match="needs arms that balance"):
        Panel(settings, 2, 0, lambda room: random_stream(0, room))
