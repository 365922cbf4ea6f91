"""Without balancing, what the learner says is what bare River says, bit for bit: the pipeline adds nothing to it.

One difference is by design: until a sample was learned ours abstains (NaN), where River's logistic regression, with
all weights 0, says .5.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from river import compose, evaluate, linear_model, metrics, naive_bayes, optim, preprocessing, stream
from sklearn.metrics import roc_auc_score
from streams import TABLE, WINDOW_S, Row, core, in_order, labels_of, pushed, pushed_rows, shop, table_rows

from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, Purchase, Search

NO_BALANCE = {"balance": {"strategy": "none"}}
DELAYS = [0, 1, 7, 250]
ROWS = table_rows(1_500, seed=4)


def bare() -> Any:
    return preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.01))


def pipeline_of_rows(model: str, delay_rows: int) -> Pipeline:
    settings = core(**TABLE, **NO_BALANCE, model={"name": model})
    return Pipeline(settings, 0, ("no", "yes"), delay_rows=delay_rows)


def ours(rows: list[Row], model: str, delay_rows: int) -> list[float]:
    pipeline = pipeline_of_rows(model, delay_rows)
    return [float(scored.raw[0, 0]) for scored in pushed_rows(pipeline, rows)]


def plain_loop(rows: list[Row]) -> list[float]:
    """Predict, learn, predict, learn."""
    model, found = bare(), []
    for x, y in rows:
        found.append(model.predict_proba_one(x)[True])
        model.learn_one(x, bool(y))
    return found


def delayed_loop(rows: list[Row], delay_rows: int) -> list[float]:
    """River's own questions and answers: an answer due at or before a question comes before it."""
    model, found = bare(), []
    for _, x, y in stream.simulate_qa(rows, moment=None, delay=delay_rows):
        if y is None:
            found.append(model.predict_proba_one(x)[True])
        else:
            model.learn_one(x, bool(y))
    return found


def check_abstention(found: list[float], expected: list[float], until: int) -> None:
    """Ours says nothing, River says .5, before anything was learned."""
    assert all(math.isnan(raw) for raw in found[:until])
    assert expected[:until] == [0.5] * until


def test_scores_of_rows_are_those_of_the_plain_loop_bit_for_bit() -> None:
    found, expected = ours(ROWS, "river_logistic", 0), plain_loop(ROWS)
    check_abstention(found, expected, 1)
    assert found[1:] == expected[1:]


@pytest.mark.parametrize("delay_rows", DELAYS)
def test_scores_of_rows_with_late_labels_are_those_of_simulate_qa_bit_for_bit(delay_rows: int) -> None:
    found, expected = ours(ROWS, "river_logistic", delay_rows), delayed_loop(ROWS, delay_rows)
    check_abstention(found, expected, max(delay_rows, 1))
    assert found[max(delay_rows, 1) :] == expected[max(delay_rows, 1) :]


@pytest.mark.parametrize("delay_rows", DELAYS)
def test_the_vectorised_logistic_agrees_within_1e_9(delay_rows: int) -> None:
    found, expected = ours(ROWS, "logistic", delay_rows), delayed_loop(ROWS, delay_rows)
    start = max(delay_rows, 1)
    check_abstention(found, expected, start)
    np.testing.assert_allclose(found[start:], expected[start:], rtol=0, atol=1e-9)


def test_naive_bayes_says_what_rivers_says() -> None:
    found = ours(ROWS, "naive_bayes", 0)
    model, expected = naive_bayes.GaussianNB(), []
    for x, y in ROWS:
        expected.append(model.predict_proba_one(x).get(True, 0.0))
        model.learn_one(x, bool(y))
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-12, atol=0)


class Collected(metrics.ROCAUC):
    """A metric of River's that only keeps what `progressive_val_score` gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[int, float]] = []

    def update(self, y_true: Any, y_pred: Any, w: float = 1.0) -> None:
        self.pairs.append((int(y_true), y_pred[True]))


@pytest.mark.parametrize("delay_rows", DELAYS)
def test_after_the_end_the_figures_are_those_of_progressive_val_score(delay_rows: int) -> None:
    pipeline = pipeline_of_rows("river_logistic", delay_rows)
    pushed_rows(pipeline, ROWS)
    assert pipeline.report(digest=False).examples.held == delay_rows
    pipeline.run_out()
    report = pipeline.report(digest=False)
    collected = Collected()
    rows = [(x, bool(y)) for x, y in ROWS]
    evaluate.progressive_val_score(rows, bare(), collected, delay=delay_rows)
    known = collected.pairs[max(delay_rows, 1) :]  # answers come in the order of the questions
    assert len(collected.pairs) == report.examples.matured == len(ROWS)
    assert report.metrics.raw.rows == len(known)
    assert report.metrics.raw.roc_auc == pytest.approx(roc_auc_score(*zip(*known, strict=True)), abs=0.005)


def test_what_was_learned_at_the_end_is_what_river_has_learned() -> None:
    pipeline = pipeline_of_rows("river_logistic", 50)
    pushed_rows(pipeline, ROWS)
    pipeline.run_out()
    model = bare()
    for x, y in ROWS:
        model.learn_one(x, bool(y))
    probe = {"a": 6.0, "b": -500.0, "c": 1.0}
    values = np.array([[probe[name] for name in pipeline.featurizer.columns.names]])
    scores = pipeline.panel.members[0].model.predict(values, pipeline.featurizer.columns)
    assert scores.probability[0, 0] == model.predict_proba_one(probe)[True]


def test_absent_and_nominal_values_reach_river_as_they_are() -> None:
    rows: list[Row] = []
    for i, (x, label) in enumerate(ROWS[:600]):
        row = dict(x)
        if i % 3 == 0:
            del row["b"]
        row["brand"] = "abc"[(i + label) % 3]
        rows.append((row, label))

    def one_hot(x: dict[str, Any]) -> dict[str, float]:
        return {f"brand={x['brand']}": 1.0}

    numbers = compose.SelectType(float) | preprocessing.StandardScaler()
    model: Any = (numbers + compose.FuncTransformer(one_hot)) | linear_model.LogisticRegression(optim.SGD(0.01))
    expected = []
    for x, y in rows:
        expected.append(model.predict_proba_one(x)[True])
        model.learn_one(x, bool(y))
    np.testing.assert_allclose(ours(rows, "river_logistic", 0)[1:], expected[1:], rtol=0, atol=1e-12)


# -- events: labels come by the join


def event_loop(events: list[Event], dicts: Callable[[Search], list[dict[str, float]]]) -> Iterator[tuple[str, float]]:
    """River fed by hand: at each event first learn the searches whose window has closed, then predict."""
    model = bare()
    labels, window_us = labels_of(events), round(WINDOW_S * 1e6)
    waiting: deque[tuple[Search, list[dict[str, float]]]] = deque()
    for event in events:
        while waiting and waiting[0][0].ts_us + window_us <= event.ts_us:
            search, rows = waiting.popleft()
            for item, row in zip(search.item_ids, rows, strict=True):
                model.learn_one(row, bool(labels[search.event_id, item]))
        if isinstance(event, Search):
            rows = dicts(event)
            yield from ((event.event_id, model.predict_proba_one(row)[True]) for row in rows)
            waiting.append((event, rows))


def own_features(search: Search) -> list[dict[str, float]]:
    return [{"x": float(features["x"])} for features in search.item_features]  # type: ignore[arg-type]


def numbers_only(seed: int) -> list[Event]:
    """The shop's log with no feature but `x`, and a search exactly when the window of the first one closes."""
    events: list[Event] = []
    for event in shop(400, seed, signal=1.0):
        if isinstance(event, Purchase):
            events.append(event)
        else:
            features = tuple({"x": each["x"]} for each in event.item_features)
            ids = (event.event_id, event.ts_us, event.user_id, event.item_ids, event.positions)
            nothing: tuple[None, ...] = (None,) * len(event)
            events.append(Search(*ids, nothing, nothing, features))
    first = next(event for event in events if isinstance(event, Search))
    border = first.ts_us + round(WINDOW_S * 1e6)
    events.append(Search("border", border, "u-border", ("i0",), (1,), (None,), (None,), ({"x": 1.0},)))
    return in_order(events)


@pytest.mark.parametrize(("model", "tolerance"), [("river_logistic", 0.0), ("logistic", 1e-9)])
def test_scores_of_searches_are_those_of_river_fed_in_the_order_of_maturity(model: str, tolerance: float) -> None:
    events = numbers_only(seed=8)
    settings = core(**TABLE, **NO_BALANCE, model={"name": model})
    pipeline = Pipeline(settings, 0, ("no", "bought"))
    found = [(each.event_id, float(raw)) for each in pushed(pipeline, events) for raw in each.raw[:, 0]]
    expected = list(event_loop(events, own_features))
    assert [name for name, _ in found] == [name for name, _ in expected]
    silent = sum(math.isnan(raw) for _, raw in found)
    check_abstention([raw for _, raw in found], [raw for _, raw in expected], silent)
    assert 0 < silent < len(found) / 4
    assert found[silent][0] == "border"  # labels due exactly when it comes are learned before it
    np.testing.assert_allclose(
        [raw for _, raw in found[silent:]], [raw for _, raw in expected[silent:]], rtol=0, atol=tolerance
    )
    pipeline.run_out()
    report = pipeline.report(digest=False)
    labels = labels_of(events)
    assert report.examples.positive == sum(label > 0 for label in labels.values())
    assert report.examples.matured == len(found)
