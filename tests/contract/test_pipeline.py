"""The pipeline as a whole: three classes, one class, its digest, reports on the way, disorder, a frozen model."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streams import TABLE, WINDOW_S, core, in_order, labels_of, pushed, pushed_rows, shop, table_rows

from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, Purchase, Scored
from stream_balance.core.report import Decisions, Scope
from stream_balance.edge.codec import Codec
from stream_balance.edge.wire import WireSettings
from stream_balance.errors import SettingsError

WIRE = WireSettings(classes=("basket", "bought"))
THREE = ("none", *WIRE.classes)
MULTICLASS: list[dict[str, Any]] = [
    {"name": "naive_bayes"},
    {"name": "hoeffding_adaptive_tree"},
    {"name": "logistic", "one_vs_rest": True},
]
STRATEGIES = ["none", "random_over", "random_under", "smote", "smote_under"]


def as_bytes(events: list[Event]) -> list[bytes]:
    codec = Codec(WIRE)
    return [
        codec.encode_purchase(event) if isinstance(event, Purchase) else codec.encode_search(event) for event in events
    ]


def check_conservation(pipeline: Pipeline) -> None:
    examples = pipeline.report(digest=False).examples
    assert examples.in_ == examples.held + examples.matured + sum(examples.dropped.values())


# -- three classes


@pytest.fixture(scope="module")
def three_class_log() -> list[bytes]:
    return as_bytes(shop(400, seed=5, rate=0.15, signal=1.5, classes=3))


def from_the_wire(pipeline: Pipeline, log: list[bytes]) -> list[Scored]:
    codec = Codec(WIRE)
    return [scored for line in log for scored in pipeline.push(codec.decode(line), line)]


@pytest.mark.parametrize("model", MULTICLASS, ids=lambda model: model["name"])
def test_three_classes_go_from_bytes_to_figures_by_class(three_class_log: list[bytes], model: dict[str, Any]) -> None:
    pipeline = Pipeline(core(model=model), 1, THREE)
    scored = from_the_wire(pipeline, three_class_log)
    check_conservation(pipeline)
    assert pipeline.report(digest=False).examples.held > 0
    pipeline.run_out()
    check_conservation(pipeline)
    report = pipeline.report(digest=False)
    expected = labels_of([Codec(WIRE).decode(line) for line in three_class_log])
    by_class = [list(expected.values()).count(label) for label in range(3)]
    assert report.examples.matured == len(expected)
    assert report.examples.positive == by_class[1] + by_class[2]
    lifetime = report.metrics.lifetime
    assert lifetime.per_class is not None
    assert [lifetime.per_class[name].rows for name in THREE] == by_class
    assert {each.shape[1] for each in (one.probability for one in scored)} == {2}
    assert all((one.probability >= 0).all() and (one.probability.sum(axis=1) <= 1 + 1e-9).all() for one in scored)
    assert report.training.by_class.keys() == set(THREE)
    check_figures_of_three(lifetime)
    assert report.threshold is None
    assert report.metrics.raw.macro is not None
    assert report.metrics.raw.macro.roc_auc is not None
    assert report.metrics.raw.roc_auc is None


def check_figures_of_three(scope: Scope) -> None:
    """What is defined for many classes is there, what is defined for two is null."""
    assert scope.per_class is not None
    assert scope.macro is not None
    assert all(each.roc_auc is not None and each.average_precision is not None for each in scope.per_class.values())
    assert all(each.recall is not None for each in scope.per_class.values())
    assert scope.macro.roc_auc is not None
    assert scope.macro.gmean is not None
    assert scope.macro.log_loss == scope.log_loss
    for name in ("roc_auc", "average_precision", "brier", "ece", "mean_probability_over_rate", "at_half", "at_tuned"):
        assert getattr(scope, name) is None, name


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_three_classes_are_balanced_by_every_strategy(three_class_log: list[bytes], strategy: str) -> None:
    settings = core(balance={"strategy": strategy, "target_share": 0.5}, model={"name": "naive_bayes"})
    pipeline = Pipeline(settings, 1, THREE)
    from_the_wire(pipeline, three_class_log)
    pipeline.run_out()
    training = pipeline.report(digest=False).training
    shares = np.array(list(training.by_class.values())) / sum(training.by_class.values())
    if strategy == "none":
        assert sum(training.by_class.values()) == pipeline.examples_in
    else:
        np.testing.assert_allclose(shares, 1 / 3, atol=0.08)


@pytest.mark.parametrize("name", ["logistic", "river_logistic", "linear_svm"])
def test_a_model_for_two_classes_is_refused_for_three(name: str) -> None:
    with pytest.raises(SettingsError, match="naive_bayes"):
        Pipeline(core(model={"name": name}), 1, THREE)


# -- one class


@pytest.mark.parametrize("classes", [("no", "yes"), THREE])
def test_with_one_class_only_what_is_undefined_is_null_not_zero(classes: tuple[str, ...]) -> None:
    model = "logistic" if len(classes) == 2 else "naive_bayes"
    pipeline = Pipeline(core(model={"name": model}), 1, classes)
    events = [event for event in shop(150, seed=2) if not isinstance(event, Purchase)]
    pushed(pipeline, events)
    pipeline.run_out()
    report = pipeline.report()
    assert report.examples.matured == 6 * 150
    assert report.examples.positive == 0
    for scope in (report.metrics.lifetime, report.metrics.window, report.metrics.faded):
        assert scope.rows
        assert scope.positives == 0
        assert scope.log_loss is not None
        assert scope.roc_auc is None
        assert scope.average_precision is None
        assert scope.normalised_entropy is None
        assert scope.mean_probability_over_rate is None
        for decisions in (scope.at_half, scope.at_tuned) if len(classes) == 2 else ():
            check_one_class(decisions)
    assert report.metrics.raw.roc_auc is None
    assert report.ranking.searches == 0
    assert report.ranking.mrr is None
    assert report.training.positive_share == 0


def check_one_class(decisions: Decisions | None) -> None:
    assert decisions is not None
    assert decisions.majority_accuracy == 1
    for name in ("recall", "gmean", "balanced_accuracy", "mcc", "kappa"):
        assert getattr(decisions, name) is None, name


def test_before_the_first_event_everything_is_null_or_nothing() -> None:
    report = Pipeline(core(), 1, ("no", "bought")).report()
    assert report.examples.in_ == 0
    assert report.metrics.lifetime.rows == 0
    assert report.metrics.lifetime.log_loss is None
    assert report.training.per_impression is None
    assert report.training.positive_share is None


# -- the digest, and what does not change it


def run(events: list[Event], **rooms: Any) -> Pipeline:
    pipeline = Pipeline(core(**rooms), 3, ("no", "bought"))
    pushed(pipeline, events)
    return pipeline


@pytest.mark.parametrize("model", ["logistic", "river_logistic", "hoeffding_adaptive_tree", "naive_bayes"])
def test_the_same_events_give_the_same_digest_and_report(model: str) -> None:
    events = shop(250, seed=6, signal=1.0)
    one, two = (run(events, model={"name": model}) for _ in range(2))
    assert one.report().document() == two.report().document()
    one.run_out()
    assert one.state_digest() != two.state_digest()
    two.run_out()
    assert one.state_digest() == two.state_digest()


def test_another_seed_or_event_gives_another_digest() -> None:
    events = shop(250, seed=6, signal=1.0)
    digest = run(events).state_digest()
    other_seed = Pipeline(core(), 4, ("no", "bought"))
    pushed(other_seed, events)
    assert other_seed.state_digest() != digest
    assert run(events[:-1]).state_digest() != digest


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_reports_on_the_way_change_nothing(strategy: str) -> None:
    events = shop(250, seed=7, signal=1.0)
    settings = core(balance={"strategy": strategy}, threshold={"rule": "gmean_window"})
    asked, left_alone = (Pipeline(settings, 3, ("no", "bought")) for _ in range(2))
    for i, event in enumerate(events):
        asked.push(event)
        left_alone.push(event)
        if i % 25 == 0:
            asked.report(digest=i % 50 == 0)
    assert asked.state_digest() == left_alone.state_digest()
    assert asked.report().document() == left_alone.report().document()


def test_reports_on_the_way_change_nothing_for_rows() -> None:
    asked, left_alone = (Pipeline(core(**TABLE), 3, ("no", "yes"), delay_rows=20) for _ in range(2))
    for part in range(5):
        rows = table_rows(200, seed=part)
        pushed_rows(asked, rows)
        pushed_rows(left_alone, rows)
        asked.report()
    assert asked.state_digest() == left_alone.state_digest()


# -- disorder


def shuffled_within(events: list[Event], disorder_s: float, seed: int) -> list[Event]:
    """Each event comes at most so much later than it happened."""
    rng = random.Random(seed)
    arrival = {event.event_id: event.ts_us + rng.uniform(0, 0.999 * disorder_s * 1e6) for event in events}
    return sorted(events, key=lambda event: (arrival[event.event_id], event.event_id))


def coarse(events: list[Event]) -> list[Event]:
    """The log with times in steps of five seconds, so that many are equal."""
    return in_order(replace(event, ts_us=event.ts_us // 5_000_000 * 5_000_000) for event in events)


@pytest.mark.parametrize("seed", range(3))
def test_a_log_in_disorder_within_the_bound_equals_the_sorted_log(seed: int) -> None:
    events = coarse(shop(250, seed=seed, signal=1.0))
    disorder = shuffled_within(events, 60.0, seed)
    assert [event.event_id for event in disorder] != [event.event_id for event in events]
    tidy, untidy = (run(log, order={"disorder_max_s": 60.0}) for log in (events, disorder))
    for pipeline in (tidy, untidy):
        pipeline.run_out()
    assert untidy.reorder.late == 0
    assert untidy.state_digest() == tidy.state_digest()
    assert untidy.report().document() == tidy.report().document()
    assert tidy.report(digest=False).examples.positive == sum(label > 0 for label in labels_of(events).values())


def test_disorder_beyond_the_bound_is_counted_and_nothing_is_lost() -> None:
    events = shop(250, seed=1)
    pipeline = run(shuffled_within(events, 200.0, 1), order={"disorder_max_s": 20.0})
    pipeline.run_out()
    check_conservation(pipeline)
    examples = pipeline.report(digest=False).examples
    assert examples.late > 0
    assert examples.matured == 6 * 250
    assert examples.positive <= sum(label > 0 for label in labels_of(events).values())


def test_events_that_come_twice_count_once() -> None:
    events = shop(250, seed=1, signal=1.0)
    once = run(events)
    twice = run([again for event in events for again in (event, event)])
    for pipeline in (once, twice):
        pipeline.run_out()
    assert twice.report(digest=False).examples.duplicates == len(events)
    assert twice.report(digest=False).metrics == once.report(digest=False).metrics
    assert twice.report(digest=False).training == once.report(digest=False).training


# -- a frozen model


@pytest.mark.parametrize("model", ["logistic", "river_logistic", "hoeffding_adaptive_tree", "naive_bayes"])
def test_a_frozen_pipeline_learns_nothing_more(model: str) -> None:
    events = shop(300, seed=9, signal=1.0)
    limit = len(events) // 2
    pipeline = run(events[: limit + 1], freeze_after_events=limit, model={"name": model})
    assert pipeline.frozen
    arm, columns = pipeline.panel, pipeline.featurizer.columns
    probe = np.random.default_rng(0).normal(size=(20, len(columns)))
    probe[:, columns.nominal_indices] = 0.0

    def answers() -> list[bytes]:
        said = arm.score(probe, bytes(20), columns)
        return [said.figures.tobytes(), said.said]

    before, version, learned = answers(), arm.version, arm.samples()
    scored = pushed(pipeline, events[limit + 1 :])
    pipeline.run_out()
    assert answers() == before
    assert (arm.version, arm.samples()) == (version, learned)
    assert {each.model_version for each in scored} == {version}
    assert not np.isnan(np.concatenate([each.raw for each in scored])).any()


@pytest.mark.parametrize("limit", [0, 150])
def test_a_frozen_pipeline_measures_only_what_it_scored_since(limit: int) -> None:
    events = shop(200, seed=9, signal=1.0)
    pipeline = run(events, freeze_after_events=limit)
    pipeline.run_out()
    report = pipeline.report(digest=False)
    since = [event for event in events[limit:] if not isinstance(event, Purchase)]
    assert report.examples.matured == 6 * 200
    assert report.metrics.lifetime.rows == 6 * len(since)
    check_conservation(pipeline)


# -- bounds


def test_what_is_held_beyond_the_bound_is_dropped_and_counted() -> None:
    pipeline = run(shop(250, seed=1), join={"window_s": WINDOW_S, "held_max": 100})
    check_conservation(pipeline)
    pipeline.run_out()
    examples = pipeline.report(digest=False).examples
    assert examples.dropped["overflow"] > 0
    assert examples.held == 0
    check_conservation(pipeline)


@pytest.mark.parametrize("delay_rows", [0, 5, 1_000])
def test_rows_of_a_table_are_conserved(delay_rows: int) -> None:
    pipeline = Pipeline(core(**TABLE), 3, ("no", "yes"), delay_rows=delay_rows)
    pushed_rows(pipeline, table_rows(300))
    check_conservation(pipeline)
    assert pipeline.report(digest=False).examples.held == min(delay_rows, 300)
