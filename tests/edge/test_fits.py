"""Fits in a child process give the scores of fits in this one, and a dead child costs the newest trees only."""

from __future__ import annotations

import numpy as np

from stream_balance.core.arms.window_booster import WindowBooster
from stream_balance.core.records import Columns, Samples
from stream_balance.edge.fits import KIND, WORKER, ChildFits
from stream_balance.edge.trainer import Trainer, Worker, WorkerSettings


def learned(arm: WindowBooster, rows: int = 2_600) -> np.ndarray:
    """What the arm says of the rows once it has learned them."""
    rng, columns = np.random.default_rng(0), Columns()
    for i in range(3):
        columns.add(f"x{i}")
    X = rng.normal(size=(rows, 3))
    labels = (rng.random(rows) < 1 / (1 + np.exp(2 - X[:, 0] * X[:, 1]))).astype(int).tolist()
    for start in range(0, rows, 20):
        block = labels[start : start + 20]
        arm.learn(Samples(X[start : start + 20], block, bytes(20), [1] * 20, [(0.0,)] * 20), columns)
    return arm.predict(X, columns).probability


def test_scores_are_those_of_fits_in_process() -> None:
    with Trainer({KIND: WORKER}) as trainer:
        arm = WindowBooster(seed=4, fits=ChildFits(trainer))
        np.testing.assert_array_equal(learned(arm), learned(WindowBooster(seed=4)))
        assert arm.fitted == trainer.tallies[KIND].trained == 5
        assert trainer.tallies[KIND].cpu_s > 0


def test_a_child_that_fails_is_a_refusal_and_the_arm_goes_on() -> None:
    worker = Worker("tests.edge.children:crashes", settings=WorkerSettings(retries_max=0))
    with Trainer({KIND: worker}) as trainer:
        arm = WindowBooster(seed=4, fits=ChildFits(trainer))
        assert np.isnan(learned(arm, 300)).all()  # it never had trees
        assert arm.refused == 2
        assert trainer.tallies[KIND].refused == {"crash": 2}
