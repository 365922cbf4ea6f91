"""Comparison: the window's figures agree with scikit-learn, differences are paired, and their errors are honest."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score, recall_score, roc_auc_score

from stream_balance.core.comparison import Comparison, ComparisonSettings, Objective, Rows, View
from stream_balance.core.records import Floats

OBJECTIVES: tuple[Objective, ...] = ("average_precision", "log_loss", "gmean", "ndcg_at_10")
SETTINGS = ComparisonSettings(block_rows=200, blocks_max=10)


def losses(odds: Floats, labels: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Floats:
    with np.errstate(invalid="ignore"):  # NaN where nothing was said
        found: Floats = np.logaddexp(0.0, np.where(labels > 0, -odds, odds))
    return found


def filled(odds: Floats, labels: np.ndarray[tuple[int], np.dtype[np.intp]], step: int = 20) -> View:
    comparison = Comparison(SETTINGS, len(odds))
    for start in range(0, odds.shape[1], step):
        part = slice(start, start + step)
        tiers = bytes(i % 2 for i in range(len(labels[part])))
        searches = np.full(len(tiers), start)
        comparison.add(Rows(odds[:, part], losses(odds, labels)[:, part], labels[part], tiers, searches))
    view = comparison.view()
    assert view is not None
    return view


def stream(n: int, seed: int, answers: int = 2) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.intp]]]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(-2.5, 1.2, n)
    labels = (rng.random(n) < 1 / (1 + np.exp(-truth))).astype(np.intp)
    return truth + rng.normal(0, 0.7, (answers, n)), labels


@pytest.mark.parametrize("tier", [None, 0, 1])
def test_figures_are_those_of_scikit_learn_on_the_rows_of_the_window(tier: int | None) -> None:
    odds, labels = stream(2_900, seed=1)
    found = filled(odds, labels).figures(1, tier)
    kept = slice(800, None)  # ten blocks of 200 rows, and the open one
    score, truth = odds[1, kept], labels[kept]
    if tier is not None:
        score, truth = score[tier::2], truth[tier::2]
    assert found.rows == len(score)
    assert found.roc_auc == pytest.approx(roc_auc_score(truth, score), abs=0.005)
    assert found.average_precision == pytest.approx(average_precision_score(truth, score), abs=0.005)
    assert found.log_loss == pytest.approx(losses(score, truth).mean(), abs=1e-6)


def test_a_difference_is_over_the_rows_where_both_said_something() -> None:
    odds, labels = stream(1_000, seed=2)
    odds[1, :400] = np.nan
    lift = filled(odds, labels).lift(0, 1)
    ours, theirs, truth = odds[0, 400:], odds[1, 400:], labels[400:]
    assert lift.rows == 600
    assert lift.log_loss.value == pytest.approx((losses(theirs, truth) - losses(ours, truth)).mean(), abs=1e-6)
    wanted = average_precision_score(truth, ours) - average_precision_score(truth, theirs)
    assert lift.average_precision.value == pytest.approx(wanted, abs=0.005)
    assert lift.log_loss.error is None  # three blocks


def test_the_same_answer_twice_has_no_lift_and_no_error() -> None:
    odds, labels = stream(2_000, seed=3, answers=1)
    lift = filled(np.concatenate([odds, odds]), labels).lift(0, 1)
    assert (lift.log_loss.value, lift.log_loss.error) == (0.0, 0.0)
    assert (lift.average_precision.value, lift.average_precision.error) == (0.0, 0.0)


def test_errors_are_as_large_as_the_lifts_of_equally_good_answers_vary() -> None:
    views = [filled(*stream(2_000, seed)) for seed in range(100, 160)]
    for figure in OBJECTIVES:
        gains = [view.gain(0, 1, figure) for view in views]
        pairs = [(gain.value, gain.error) for gain in gains if gain.value is not None and gain.error is not None]
        spread = float(np.std([value for value, _ in pairs]))
        said = float(np.sqrt(np.mean([error**2 for _, error in pairs])))
        assert len(pairs) == len(views)
        print(f"{figure}: spread {spread:.5f}, said {said:.5f}")
        assert 0.75 < said / spread < 1.33


def test_gains_in_decisions_and_rankings_are_those_of_scikit_learn() -> None:
    odds, labels = stream(2_000, seed=7)
    view, rate = filled(odds, labels), labels.mean()
    decided = odds >= np.log(rate / (1 - rate))
    ours, theirs = (np.sqrt(recall_score(labels, each) * recall_score(labels, each, pos_label=0)) for each in decided)
    assert view.gain(0, 1, "gmean").value == pytest.approx(ours - theirs, abs=1e-9)
    searches = [slice(start, start + 20) for start in range(0, 2_000, 20) if labels[start : start + 20].any()]
    ndcg = [[ndcg_score([labels[each]], [said[each]], k=10) for each in searches] for said in odds]
    assert view.gain(0, 1, "ndcg_at_10").value == pytest.approx(np.mean(ndcg[0]) - np.mean(ndcg[1]), abs=1e-6)
