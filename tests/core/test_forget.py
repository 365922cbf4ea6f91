"""Forgetting at a drift alarm: what arms keep of the rows from before the change, and what that does to answers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from stream_balance.core.arm import MARK_ROWS
from stream_balance.core.arms.replay_mlp import ReplayMLP
from stream_balance.core.arms.window_booster import WindowBooster
from stream_balance.core.digest import Digest
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Columns, Samples
from tests.contract.streams import TABLE, core, pushed_rows, table_rows

COLUMNS = Columns()
COLUMNS.add("x")


def taught(arm: Any, n: int, rate: float, sign: float, seed: int, *, made: bool = False) -> None:
    """n rows whose x tells the class, in the direction of `sign`."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rate).astype(int)
    rows = (sign * (2.0 * labels - 1.0) + rng.normal(size=n))[:, None]
    for start in range(0, n, 20):
        part = slice(start, start + 20)
        k = len(labels[part])
        arm.learn(Samples(rows[part], labels[part].tolist(), bytes([made]) * k, [1] * k, [(0.0,)] * k), COLUMNS)


def hexed(state: object) -> str:
    digest = Digest()
    digest.add(state)
    return digest.hex()


def test_replay_draws_from_what_came_after_the_change_and_from_the_last_rare_rows() -> None:
    arm = ReplayMLP(networks=1)
    taught(arm, 2_000, 0.05, 1.0, seed=0)
    taught(arm, 200, 0.5, 1.0, seed=1, made=True)
    taught(arm, 400, 0.05, -1.0, seed=2)
    positives = int(arm._added[1])
    arm.forget(400, 50)
    young = arm._numbers >= 2_200
    start, kept = arm._common_rows, arm._added.tolist()
    assert kept[0] == young[: kept[0]].sum()
    assert kept[1] == max(50, young[start : start + kept[1]].sum())
    assert positives > kept[1] >= 50
    assert kept[2] == kept[3] == 0  # made rows were all older
    taught(arm, 400, 0.05, -1.0, seed=3)
    assert arm._added[0] > kept[0]


@pytest.mark.parametrize("kind", [ReplayMLP, WindowBooster])
def test_an_arm_that_forgets_is_right_sooner_and_goes_on_from_a_pickle(kind: Any) -> None:
    forgets, keeps = kind(seed=1), kind(seed=1)
    for arm in (forgets, keeps):
        taught(arm, 3_000, 0.2, 1.0, seed=0)
        taught(arm, 200, 0.2, -1.0, seed=1)
    forgets.forget(200, 5)
    again = pickle.loads(pickle.dumps(forgets))
    for arm in (forgets, again, keeps):
        taught(arm, 250, 0.2, -1.0, seed=2)
    assert hexed(again.digest_state()) == hexed(forgets.digest_state())
    low, high = (np.array([[x]]) for x in (-1.5, 1.5))  # positives are low now
    lead = [float(arm.logits(low)[0, 0] - arm.logits(high)[0, 0]) for arm in (forgets, keeps)]
    assert lead[0] > max(lead[1], 0.0)


def test_a_booster_that_forgets_asks_for_fits_as_often_as_at_first() -> None:
    arm = WindowBooster()
    taught(arm, 8_400, 0.2, 1.0, seed=0)
    fits = arm.fitted
    arm.forget(400, 20)
    taught(arm, 1_000, 0.2, -1.0, seed=1)
    assert arm.fitted >= fits + 2  # 1,000 rows are one fit otherwise
    assert arm.request is None or arm.request.enters_at > arm.learned
    fits, before = arm.fitted, hexed(arm.digest_state())
    arm.forget(100_000, 20)  # nothing is so old
    assert hexed(arm.digest_state()) == before
    taught(arm, 8_000, 0.2, -1.0, seed=2)
    assert 6 <= arm.fitted - fits <= 10


def test_the_pipeline_forgets_at_an_alarm_of_a_worse_loss_and_says_so() -> None:
    rows = table_rows(2_500, seed=1)
    turned = [(features, 1 - label) for features, label in table_rows(600, seed=2)]
    pairs = {"arms": {"pairs": ["replay_mlp:none", "logistic:smote_under"], "references": False}}
    kept = {}
    for forget_on in ("loss_rose", "never"):
        rooms: dict[str, Any] = {**TABLE, **pairs, "drift": {"forget_on": forget_on, "keep_min": 20}}
        pipeline = Pipeline(core(**rooms), 7, ("none", "bought"), delay_rows=0)
        pushed_rows(pipeline, rows)
        again: Pipeline = pickle.loads(pickle.dumps(pipeline))
        for each in (pipeline, again):
            pushed_rows(each, turned)
        assert again.state_digest() == pipeline.state_digest()
        window = pipeline.panel.window
        kept[forget_on] = window.size(0) + window.size(1)
        alarms = [alarm for alarm in pipeline.report().drift.alarms if alarm.forgotten]
        assert sum(alarm.forgotten for alarm in alarms) == window.forgotten
        assert all(alarm.rose and alarm.kind == "log_loss" for alarm in alarms)
        assert bool(alarms) == (forget_on == "loss_rose")
        assert window.size(0) >= 20 <= window.size(1)
    assert kept["never"] == 3_100
    assert kept["loss_rose"] < 2_000


def test_a_paused_arm_forgets_by_the_rows_of_the_stream() -> None:
    pairs = {"arms": {"pairs": ["linear:none", "replay_mlp:none"], "references": False}}
    pipeline = Pipeline(core(**TABLE, **pairs), 7, ("none", "bought"), delay_rows=0)
    pushed_rows(pipeline, table_rows(1_000, seed=1))
    pipeline.run_out()
    mixture = pipeline.panel.standings.mixture
    mixture.running[1], mixture._resume_at[1] = False, 10**9
    pushed_rows(pipeline, table_rows(600, seed=2))
    model = pipeline.panel.members[1].model
    assert isinstance(model, ReplayMLP)
    assert model.learned == 1_000
    pipeline.panel.forget(500, 20)
    assert model._added[0] <= MARK_ROWS  # of the thousand, those behind its last mark
    assert model._added[1] == 20
