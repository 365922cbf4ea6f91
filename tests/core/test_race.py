"""Race: every runner comes to what it would come to alone."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
from imblearn.metrics import geometric_mean_score
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from stream_balance.core.pipeline import Pipeline
from stream_balance.core.race import Answers, Race
from stream_balance.core.settings import CoreSettings
from stream_balance.core.verdict import Verdict, sure
from tests.contract.streams import TABLE, core, pushed, pushed_rows, shop, table_rows

CLASSES = ("none", "bought")
STRATEGIES = ("none", "smote_under", "hard_mining", "near_miss")


def alone(strategy: str, **rooms: Any) -> CoreSettings:
    return core(arms={"references": False}, balance={"strategy": strategy}, **rooms)


def ticks() -> Any:
    """A clock that goes on by one each time it is read."""
    numbers = count()
    return lambda: float(next(numbers))


def test_each_runner_of_a_log_comes_to_the_report_and_digest_it_comes_to_alone() -> None:
    events = shop(500, seed=3, signal=1.0)
    race = Race([(name, alone(name)) for name in STRATEGIES], 1, CLASSES, ticks())
    pushed(race, events)
    race.run_out()
    for name, report in zip(STRATEGIES, race.reports(), strict=True):
        pipeline = Pipeline(alone(name), 1, CLASSES)
        pushed(pipeline, events)
        pipeline.run_out()
        assert report == pipeline.report(), name
    assert all(cost > 0 for cost in race.costs)


@pytest.mark.parametrize("delay_rows", [0, 7])
def test_each_runner_of_a_table_comes_to_the_report_it_comes_to_alone(delay_rows: int) -> None:
    rows = table_rows(900, seed=2)
    race = Race([(name, alone(name, **TABLE)) for name in STRATEGIES], 1, CLASSES, ticks(), delay_rows=delay_rows)
    pushed_rows(race, rows)
    race.run_out()
    reports = race.reports()
    for name, report in zip(STRATEGIES, reports, strict=True):
        pipeline = Pipeline(alone(name, **TABLE), 1, CLASSES, delay_rows=delay_rows)
        pushed_rows(pipeline, rows)
        pipeline.run_out()
        assert report == pipeline.report(), name
    answers = race.answers()
    assert answers.probability.shape == (len(STRATEGIES), 900)
    assert [int(answers.labels.sum())] * 4 == [report.metrics.lifetime.positives for report in reports]


def test_who_speaks_of_the_tail_only_is_one_whose_arms_all_do() -> None:
    pairs = [("linear:none",), ("tail_linear:none",), ("linear:none", "tail_linear:none"), ("tail_replay_mlp:none",)]
    runners = [("+".join(names), core(arms={"pairs": names, "references": False})) for names in pairs]
    assert Race(runners, 1, CLASSES, ticks()).tail_only == {1, 3}


def answers(rows: int = 4_000, seed: int = 0) -> Answers:
    """Two answers: the true probability, and the same with noise in its log odds."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-3, 1.5, rows)
    labels = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(np.uint8)
    said = 1 / (1 + np.exp(-np.stack([odds + rng.normal(0, 1.5, rows), odds])))
    return Answers(said.astype(np.float32), said >= 0.1, labels, np.zeros(rows, dtype=np.uint8))


def test_figures_are_scikit_learns_and_the_gain_is_their_difference() -> None:
    given = answers(4_500)
    verdict = Verdict(given)
    values = []
    for place, said in enumerate(given.probability):
        figures = verdict.figures(place)
        values.append(average_precision_score(given.labels, said))
        assert figures["average_precision"]["value"] == pytest.approx(values[-1], abs=5e-4)
        assert figures["roc_auc"]["value"] == pytest.approx(roc_auc_score(given.labels, said), abs=1e-4)
        assert figures["log_loss"]["value"] == pytest.approx(log_loss(given.labels, said), abs=1e-6)
        assert figures["mean_probability_over_rate"]["value"] == pytest.approx(said.sum() / given.labels.sum())
        assert figures["gmean"]["value"] == pytest.approx(geometric_mean_score(given.labels, said >= 0.1))
        shares = zip(np.array_split(np.sort(said), 15), np.array_split(given.labels[np.argsort(said)], 15), strict=True)
        gaps = [abs(float(p.sum()) - float(y.sum())) for p, y in shares]
        assert figures["ece"]["value"] == pytest.approx(sum(gaps) / len(said), abs=1e-4)
    gain = verdict.gain(1, 0)
    assert gain["average_precision"]["value"] == pytest.approx(values[1] - values[0], abs=0.01)
    assert sure(gain["average_precision"])
    assert sure(gain["log_loss"])
    assert verdict.gain(1, 1)["average_precision"] == {"value": 0.0, "error": 0.0, "interval": (0.0, 0.0)}


def test_an_error_is_how_far_figures_of_other_draws_lie_apart() -> None:
    found = [Verdict(answers(seed=seed)).figures(1)["roc_auc"] for seed in range(30)]
    values, errors = (np.array([each[name] for each in found], dtype=float) for name in ("value", "error"))
    assert errors.mean() == pytest.approx(values.std(), rel=0.35)


def test_19_of_20_intervals_hold_what_a_million_rows_say() -> None:
    truth = Verdict(answers(1_000_000, seed=1_000)).figures(0)
    found = [Verdict(answers(seed=seed)).figures(0) for seed in range(100)]
    for figure in ("roc_auc", "average_precision", "log_loss", "mean_probability_over_rate", "gmean"):
        ends = [each[figure]["interval"] for each in found]
        held = sum(low <= truth[figure]["value"] <= high for low, high in ends)
        assert 88 <= held <= 100, figure  # binomial(100, .95): below 88 in two of a thousand


def test_an_interval_ends_where_its_figure_does() -> None:
    given = answers(400)
    sure_of_all = given.labels.astype(np.float32)[None, :] * 0.98 + 0.01
    certain = Answers(
        np.repeat(sure_of_all, 2, axis=0), np.repeat(sure_of_all > 0.5, 2, axis=0), given.labels, given.tiers
    )
    figures = Verdict(certain).figures(0)
    assert figures["roc_auc"]["interval"] == figures["gmean"]["interval"] == (1.0, 1.0)
    assert all(Verdict(answers(400, seed)).figures(1)["ece"]["interval"][0] >= 0.0 for seed in range(5))


def test_curves_and_plots_are_of_the_rows_given() -> None:
    given = answers()
    verdict = Verdict(given)
    curve = verdict.curve(0)
    assert curve[-1]["row"] == 4_000
    assert np.mean([point["rate"] for point in curve]) == pytest.approx(given.labels.mean(), abs=0.002)
    recalls, precisions = zip(*verdict.precision_recall(1), strict=True)
    assert list(recalls) == sorted(recalls)
    assert recalls[-1] == 1.0
    assert max(precisions) > 2 * precisions[-1] >= 2 * given.labels.mean()
    assert sum(point["rows"] for point in verdict.reliability(0)) == 4_000


def test_nothing_measured_and_one_class_are_undefined_not_an_error() -> None:
    none = np.zeros(0, dtype=np.uint8)
    empty = Verdict(Answers(np.zeros((2, 0), dtype=np.float32), np.zeros((2, 0), dtype=np.bool_), none, none))
    tenth, never = np.full((2, 50), 0.1, dtype=np.float32), np.zeros((2, 50), dtype=np.bool_)
    one = Verdict(Answers(tenth, never, np.zeros(50, np.uint8), np.zeros(50, np.uint8)))
    for verdict in (empty, one):
        assert verdict.figures(0)["average_precision"] == {"value": None, "error": None, "interval": None}
        assert verdict.figures(0)["gmean"]["value"] is None
        assert verdict.gain(1, 0)["average_precision"]["value"] is None
        assert verdict.precision_recall(0) == []
    assert empty.curve(0) == []
