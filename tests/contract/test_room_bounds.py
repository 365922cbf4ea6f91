"""Bounds of single rooms, each reached on purpose: what is held stays within them however much comes."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stream_balance.core.balance import BalanceSettings, make_strategy
from stream_balance.core.balance.informed import Informed
from stream_balance.core.comparison import Comparison, ComparisonSettings
from stream_balance.core.mixture import Mixture, MixtureSettings
from stream_balance.core.rates import Rates, RateSettings
from stream_balance.core.records import Columns, Floats
from stream_balance.core.target import TargetControl, TargetSettings
from stream_balance.core.threshold import Threshold, ThresholdSettings
from stream_balance.core.training_rows import Moment, training_set
from stream_balance.testing import Sample, each_of, make_arrivals
from tests.contract.test_batch_equivalence import WIDTH, frozen, numeric
from tests.core.test_retrain import SETTINGS, refusal, run, started, window
from tests.core.test_target import QUICK, World, walked


def test_a_comparison_rests_on_its_latest_blocks() -> None:
    comparison, world = Comparison(ComparisonSettings(block_rows=20, blocks_max=10), answers=2), World(seed=1)
    for n in range(1, 31):
        comparison.add(world.rows(0.1, 0.1, 20))
        assert len(comparison._blocks) == min(n, 10)


def test_the_latest_decisions_on_arms_are_kept() -> None:
    settings = MixtureSettings(
        review_rows=10, pause_reviews=2, pause_outcomes=0, pause_rows=50, pause_rows_max=100, decisions_max=3
    )
    mixture = Mixture(settings, 2)
    for _ in range(100):
        losses = np.array([[0.1] * 10, [2.0 if mixture.running[1] else np.nan] * 10])
        mixture.learn(losses, bytes(10))
        assert len(mixture.decisions) == min(mixture.decided, 3)
    assert mixture.decided > 6
    assert [each.position for each in mixture.decisions][-1] > 500  # the latest ones


def test_a_target_rests_on_its_latest_blocks_and_keeps_its_latest_decisions() -> None:
    chosen: dict[str, Any] = QUICK | {"objective": "normalised_entropy", "decisions_max": 2, "blocks_max": 12}
    control, world = TargetControl(TargetSettings(**chosen), start=0.2), World(seed=4)
    for _ in range(3):
        walked(control, world, 15, 0.2, 2.5)
        control.alarm(version=0)
    assert control.steps >= 6
    assert len(control.decisions) == 2
    walked(control, world, 40, 0.2, 0.2)
    assert len(control._comparison._blocks) == 12


def test_rates_rest_on_their_latest_blocks() -> None:
    rates = Rates(RateSettings(block_rows=10, blocks_max=6))
    for row in range(2_000):
        rates.observe(row % 5 == 0)
        assert sum(rates.window_counts()) == min(10 * ((row + 1) // 10), 60)
    assert sum(rates.counts().total) == 2_000


def test_a_threshold_looks_at_its_latest_rows() -> None:
    threshold = Threshold(ThresholdSettings(rule="gmean_window", window_rows=300, refresh_rows=100))
    rng, largest = np.random.default_rng(6), 0
    for row in range(100):
        labels = (rng.random(20) < 0.1).astype(int)
        # The classes part higher up in the second half, and only the second half is remembered by then.
        middle = 0.3 if row < 50 else 0.6
        threshold.observe((middle + 0.2 * (labels - 0.5) + 0.05 * rng.random(20))[:, None], labels.tolist(), bytes(20))
        largest = max(largest, len(threshold._recent[0]))
    assert 300 <= largest <= 300 + 100
    assert 0.5 < threshold.value(0) <= 0.75


def test_a_request_holds_the_newest_rows_of_the_class() -> None:
    columns = Columns()
    for name in "abc":
        columns.add(name)
    found = window(900)
    recipe = SETTINGS.recipe().model_copy(update={"rows_max": 120})
    moment = Moment(1, 0, 0, found, columns, [0.8, 0.1, 0.1], (1,))
    wanted = training_set(moment, 1, recipe, "logistic", 3, b"")
    whole = training_set(moment, 1, SETTINGS.recipe(), "logistic", 3, b"")
    assert len(whole.rows) > len(wanted.rows) == 120
    np.testing.assert_array_equal(wanted.rows, whole.rows[-120:, : wanted.rows.shape[1]])


def test_the_latest_outcomes_of_trainings_are_kept() -> None:
    retrain, _ = started([refusal("c2st")], backoff_max=1, history_max=3)
    run(retrain, range(2_000))
    assert retrain.refusals["c2st"] > 3
    assert len(retrain.history) == 3


@pytest.mark.parametrize(("rows_max", "reaches_old"), [(10, False), (60, True)])
def test_neighbours_are_sought_among_the_newest_rows_of_the_class(rows_max: int, reaches_old: bool) -> None:
    # The fifty old rows of the class lie round the arrival, the ten newest far away from it.
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.normal(0, 0.1, (50, WIDTH)), rng.normal(9, 0.1, (10, WIDTH)), np.zeros((1, WIDTH))])
    samples = made(rows, np.ones(61, dtype=np.int64), "smote", neighbour_rows_max=rows_max)
    means = [sample.row.mean() for sample in samples if sample.origin == "interpolated"]
    assert len(means) > 3
    assert all(mean < 1 for mean in means) == reaches_old


def test_neighbours_of_any_class_are_sought_among_the_newest_rows() -> None:
    rows, labels = np.arange(61.0 * WIDTH).reshape(61, WIDTH), np.arange(61) % 2
    rates = Rates(RateSettings(warm_start_weight=1e-9))
    rates.observe_many([0] * 900 + [1] * 100)
    strategy = make_strategy(BalanceSettings(strategy="tomek", mixed_rows_max=12), rates)
    assert isinstance(strategy, Informed)
    strategy.draw(make_arrivals(rows[-1:], [0]), frozen(rows[:-1], labels[:-1]), numeric(), Random(1))
    ((_, reference),) = strategy._references.values()
    assert reference is not None
    assert (len(reference.rows), reference.labels.tolist()) == (12, [0, 1] * 6)


def made(rows: Floats, labels: npt.NDArray[np.int64], strategy: str, **chosen: object) -> list[Sample]:
    """What is learned of the last row; the others are in the window."""
    rates = Rates(RateSettings(block_rows=1_000, warm_start_weight=1e-9))
    rates.observe_many([0] * 900 + [1] * 100)
    settings = BalanceSettings.model_validate({"strategy": strategy, "target_share": 0.5, **chosen})
    arrivals = make_arrivals(rows[-1:], labels[-1:].tolist())
    return each_of(make_strategy(settings, rates).draw(arrivals, frozen(rows[:-1], labels[:-1]), numeric(), Random(1)))
