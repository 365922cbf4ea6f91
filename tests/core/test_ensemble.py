"""The ensemble: scored first, the arms of the service, and what it forgets."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from stream_balance.core.arms import make_model
from stream_balance.core.arms.window_booster import WindowBooster
from stream_balance.core.ensemble import BLOCK_ROWS, Ensemble
from stream_balance.core.gather import TAUGHT_ROWS
from stream_balance.core.lineup import DEFAULT_ARMS
from stream_balance.core.metrics_math import average_precision
from stream_balance.core.pipeline import Pipeline, row_as_search
from stream_balance.core.records import Columns, Floats, Samples
from stream_balance.core.settings import CoreSettings


def rows_of(n: int, seed: int, *, turned: float = 1.0, rate: float = 0.1) -> tuple[Floats, list[int]]:
    """Three numbers, of which the first two tell the class; `turned` = -1: the other way round."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < rate).astype(int)
    rows = rng.normal(size=(n, 3))
    rows[:, :2] += turned * 1.5 * labels[:, None]
    return rows, labels.tolist()


def columns_of(width: int = 3) -> Columns:
    columns = Columns()
    for i in range(width):
        columns.add(f"x{i}")
    return columns


def taught(ensemble: Ensemble, rows: Floats, labels: list[int], *, asked: bool = True) -> Floats:
    """What was said of each row before it was learned."""
    columns, found = columns_of(), []
    for row, label in zip(rows, labels, strict=True):
        if asked:
            found.append(ensemble.predict(row[None, :], columns).probability[0, 0])
        ensemble.learn(Samples.of(row, label), columns)
    return np.array(found)


def test_it_learns_the_same_whether_or_not_it_is_asked() -> None:
    rows, labels = rows_of(700, 1)
    one, other = Ensemble(seed=3), Ensemble(seed=3)
    taught(one, rows, labels)
    taught(other, rows, labels, asked=False)
    assert pickle.dumps(one.digest_state()) == pickle.dumps(other.digest_state())


def test_a_copy_goes_on_alike() -> None:
    rows, labels = rows_of(900, 2)
    one = Ensemble(seed=3)
    taught(one, rows[:500], labels[:500])
    other = pickle.loads(pickle.dumps(one))
    expected = taught(one, rows[500:], labels[500:])
    np.testing.assert_array_equal(taught(other, rows[500:], labels[500:]), expected)


def test_each_arm_learns_what_it_would_learn_alone() -> None:
    """Of the same rows, as many of them together."""
    rows, labels = rows_of(1_200, 4)
    ensemble, columns = Ensemble(seed=5), columns_of()
    blocks: list[Samples] = []
    learn = ensemble.models[0].learn

    def noted(samples: Samples, columns: Columns) -> None:
        blocks.append(samples)
        learn(samples, columns)

    ensemble.models[0].learn = noted  # type: ignore[method-assign]
    taught(ensemble, rows, labels)
    assert all(ensemble.mixture.running)
    assert [len(each) for each in (blocks[0], blocks[-1])] == [1, TAUGHT_ROWS]
    learned = np.concatenate([each.rows for each in blocks])
    assert 1_200 - TAUGHT_ROWS < len(learned) <= 1_200
    np.testing.assert_array_equal(learned, rows[: len(learned)])
    assert [label for each in blocks for label in each.labels] == labels[: len(learned)]
    alone = [make_model(pair.model, 2, 5, one_vs_rest=True) for pair in DEFAULT_ARMS]
    for block in blocks:
        for model in alone:
            model.learn(block, columns)
    for mine, other in zip(ensemble.models, alone, strict=True):
        assert pickle.dumps(mine.digest_state()) == pickle.dumps(other.digest_state())


def test_what_it_says_is_nearly_what_the_service_says() -> None:
    """They differ in when calibrators and weights move: after 64 rows here, the weights after each row there."""
    rows, labels = rows_of(1_500, 6)
    settings = {"features": {"builtin": False, "state": False}, "arms": {"references": False},
                "balance": {"strategy": "auto"}}  # fmt: skip
    pipeline = Pipeline(CoreSettings.model_validate(settings), 7, ("no", "yes"), delay_rows=0)
    served = np.empty(len(rows))
    for i, (row, label) in enumerate(zip(rows.tolist(), labels, strict=True)):
        search = row_as_search(i, i * 1_000_000, {f"x{k}": value for k, value in enumerate(row)})
        served[i] = pipeline.push_row(search, label).probability[0, 0]
    said = taught(Ensemble(seed=7), rows, labels)
    half = len(rows) // 2
    assert np.corrcoef(np.log(served[half:]), np.log(said[half:]))[0, 1] > 0.99
    truth = np.array(labels[half:]) > 0
    assert average_precision(said[half:], truth) == pytest.approx(average_precision(served[half:], truth), abs=0.02)


@pytest.mark.parametrize("forgets", [True, False])
def test_after_a_change_that_hurts_the_older_rows_go(forgets: bool) -> None:
    before, after = rows_of(1_200, 8, rate=0.3), rows_of(400, 9, turned=-1.0, rate=0.3)
    ensemble = Ensemble(seed=1, forgets=forgets)
    taught(ensemble, *before, asked=False)
    taught(ensemble, *after, asked=False)
    assert ensemble._drift.counts["log_loss"] >= 1
    booster = ensemble.models[2]
    assert isinstance(booster, WindowBooster)
    booster._settle()
    kept = int(booster._current.sum())
    assert 400 - TAUGHT_ROWS < kept < 1_000 if forgets else 1_600 - TAUGHT_ROWS < kept <= 1_600


def test_an_arm_forgets_as_many_rows_as_it_has_learned_since_the_change() -> None:
    """Not as many as there were: it may have been paused."""
    rows, labels = rows_of(10 * BLOCK_ROWS, 10)
    ensemble, columns = Ensemble(seed=1), columns_of()
    asked: list[int] = []
    network = ensemble.models[1]
    network.forget = lambda latest, keep_min: asked.append(latest)  # type: ignore[attr-defined]
    for i, (row, label) in enumerate(zip(rows, labels, strict=True)):
        ensemble.mixture.running[1] = i // BLOCK_ROWS % 2 == 0
        ensemble.learn(Samples.of(row, label), columns)
    ensemble._forget(4 * BLOCK_ROWS)
    assert asked == [pytest.approx(2 * BLOCK_ROWS, abs=TAUGHT_ROWS)]


def test_rows_learned_together_were_all_scored_before_the_first() -> None:
    rows, labels = rows_of(400, 11)
    ensemble, columns = Ensemble(seed=1), columns_of()
    taught(ensemble, rows[:300], labels[:300])
    expected = ensemble.predict(rows[300:320], columns).probability
    samples = Samples(rows[300:320], labels[300:320], bytes(20), [1] * 20, [(0.0,)] * 20)
    ensemble._block, ensemble._block_rows = [], 0
    ensemble.learn(samples, columns)
    said, known = ensemble._block[0]
    np.testing.assert_array_equal(said.served, expected)
    assert known == labels[300:320]


def test_at_first_those_that_are_sure_early_weigh_little_and_the_rate_draws_once() -> None:
    ensemble = Ensemble()
    assert ensemble.mixture.weights(0).round(2).tolist() == [0.44, 0.06, 0.06, 0.44]
    said = ensemble.calibrator.apply(np.array([[-1.0]]), b"\0")[0, 0]
    assert said == pytest.approx(1.0 / (1.0 + np.e))


def test_all_its_calibrators_begin_anew_when_the_rate_has_fallen() -> None:
    ensemble = Ensemble(2, seed=1)
    taught(ensemble, *rows_of(3_000, seed=1, rate=0.2), asked=False)
    before = [each._quick[0][0].memory.seen for each in (*ensemble.calibrators, ensemble.calibrator)]
    assert min(before) > 2_800
    taught(ensemble, *rows_of(600, seed=2, rate=0.01), asked=False)
    after = [each._quick[0][0].memory.seen for each in (*ensemble.calibrators, ensemble.calibrator)]
    assert max(after) <= 600
