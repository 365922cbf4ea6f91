"""Scorecard: scikit-learn is the oracle; asking changes nothing; undefined is None."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from stream_balance.core.digest import Digest
from stream_balance.core.metrics_math import calibration_error, decision_figures, grouped
from stream_balance.core.oracle import Oracle
from stream_balance.core.records import Examples, Floats, Scored
from stream_balance.core.report import Decisions, Scope
from stream_balance.core.scorecard import BLOCK_ROWS, MetricSettings, Scorecard

Labels = npt.NDArray[np.int64]


def searches(
    served: Floats,
    labels: Labels,
    *,
    raw: Floats | None = None,
    threshold: float = 0.5,
    tiers: bytes | None = None,
    known: Sequence[bool] | None = None,
    truths: Floats | None = None,
    size: int = 7,
) -> Iterator[Examples]:
    """Rows as matured searches of `size` items; `served` is (n,) for two classes or (n, C-1)."""
    served = served.reshape(len(labels), -1)
    raw = served if raw is None else raw.reshape(len(labels), -1)
    block = np.concatenate((np.zeros((len(labels), 3)), raw, served, np.full((len(labels), 1), threshold)), axis=1)
    for start in range(0, len(labels), size):
        part = slice(start, min(start + size, len(labels)))
        n = part.stop - part.start
        scored = Scored(
            f"s{start}", "u", ("i",) * n, tuple(range(1, n + 1)),
            tiers[part] if tiers else bytes(n), 3, Scored.sealed(block[part].tobytes(), start),
            truths=tuple(truths[part].tolist()) if truths is not None else None,
        )  # fmt: skip
        yield Examples(scored, tuple(labels[part].tolist()), tuple(known[part]) if known else (False,) * n, (0.0,) * n)


def card(batches: Iterator[Examples], settings: MetricSettings | None = None, classes: int = 2) -> Scorecard:
    """A scorecard that has measured them."""
    made = Scorecard(settings or MetricSettings(), classes, [f"c{index}" for index in range(classes)])
    for examples in batches:
        made.score(examples)
    return made


def stream(kind: str, rows: int = 6000, seed: int = 1) -> tuple[Floats, Labels]:
    """Scores and labels: well spread, almost equal, extreme, tied, saturated."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.08).astype(np.int64)
    signal = rng.normal(size=rows) + labels
    logit = {
        "spread": signal * 1.5 - 3,
        "narrow": signal * 0.02 - 4,
        "tiny": signal * 3 - 25,
        "extreme": signal * 60,
        "tied": np.round(signal) - 2,
        "constant": np.full(rows, -2.5),
    }[kind]
    return 1.0 / (1.0 + np.exp(-logit)), labels


KINDS = ("spread", "narrow", "tiny", "extreme", "tied", "constant")


def digest(made: Scorecard) -> str:
    running = Digest()
    running.add(made.digest_state())
    return running.hex()


@pytest.mark.parametrize("kind", KINDS)
def test_streaming_auc_and_precision_agree_with_scikit_learn(kind: str) -> None:
    served, labels = stream(kind)
    lifetime = card(searches(served, labels)).metrics().lifetime
    assert lifetime.roc_auc == pytest.approx(oracle.roc_auc_score(labels, served), abs=0.002)
    assert lifetime.average_precision == pytest.approx(oracle.average_precision_score(labels, served), abs=0.005)


@pytest.mark.parametrize("kind", KINDS)
def test_the_window_is_exact(kind: str) -> None:
    served, labels = stream(kind)
    window = card(searches(served, labels)).metrics().window
    first = np.flatnonzero(labels)[-200]
    served, labels = served[first:], labels[first:]
    assert (window.rows, window.positives) == (len(labels), 200)
    assert window.roc_auc == pytest.approx(oracle.roc_auc_score(labels, served), abs=1e-9)
    assert window.average_precision == pytest.approx(oracle.average_precision_score(labels, served), abs=1e-9)


@pytest.mark.parametrize("rows", [100, BLOCK_ROWS, 1500, 4990])
def test_a_window_without_enough_positives_is_bounded_by_its_rows(rows: int) -> None:
    served, labels = stream("spread", rows=5000)
    window = card(searches(served, labels), MetricSettings(window_positives=10_000, window_rows=rows)).metrics().window
    assert (window.rows, window.positives) == (rows, labels[-rows:].sum())
    assert window.roc_auc == pytest.approx(oracle.roc_auc_score(labels[-rows:], served[-rows:]), abs=1e-9)


def test_the_window_reaches_back_to_its_first_positive_at_every_moment() -> None:
    served, labels = stream("spread", rows=2500)
    made = Scorecard(MetricSettings(window_positives=20, window_rows=300), 2, "ab")
    seen = 0
    for examples in searches(served, labels):
        made.score(examples)
        seen += len(examples)
        positives = np.flatnonzero(labels[:seen])
        first = positives[-20] if len(positives) >= 20 else 0
        assert made._window()[:, 0].tolist() == served[max(first, seen - 300) : seen].tolist()


def check_decisions(made: Decisions, labels: Labels, decided: Labels) -> None:
    for figure, value in (
        ("accuracy", oracle.accuracy_score(labels, decided)),
        ("recall", oracle.recall_score(labels, decided)),
        ("specificity", oracle.recall_score(labels, decided, pos_label=0)),
        ("precision", oracle.precision_score(labels, decided)),
        ("f1", oracle.f1_score(labels, decided)),
        ("balanced_accuracy", oracle.balanced_accuracy_score(labels, decided)),
        ("mcc", oracle.matthews_corrcoef(labels, decided)),
        ("kappa", oracle.cohen_kappa_score(labels, decided)),
        ("majority_accuracy", max(labels.mean(), 1 - labels.mean())),
    ):
        assert getattr(made, figure) == pytest.approx(value, abs=1e-9), figure
    assert made.gmean == pytest.approx(np.sqrt(made.recall or 0) * np.sqrt(made.specificity or 0), abs=1e-9)


def test_losses_and_decisions_agree_with_scikit_learn() -> None:
    served, labels = stream("spread")
    metrics = card(searches(served, labels, threshold=0.07)).metrics()
    start = np.flatnonzero(labels)[-200]
    for scope, part in ((metrics.lifetime, slice(0, None)), (metrics.window, slice(start, None))):
        p, y = served[part], labels[part]
        assert scope.log_loss == pytest.approx(oracle.log_loss(y, p), abs=1e-9)
        assert scope.brier == pytest.approx(oracle.brier_score_loss(y, p), abs=1e-9)
        base = oracle.log_loss(y, np.full(len(y), y.mean()))
        assert scope.normalised_entropy == pytest.approx(oracle.log_loss(y, p) / base, abs=1e-9)
        assert scope.mean_probability_over_rate == pytest.approx(p.mean() / y.mean(), abs=1e-9)
        assert scope.at_half is not None
        assert scope.at_tuned is not None
        check_decisions(scope.at_half, y, (p >= 0.5).astype(np.int64))
        check_decisions(scope.at_tuned, y, (p >= 0.07).astype(np.int64))


def test_calibration_error_is_that_of_fifteen_equal_bins() -> None:
    served, labels = stream("spread", rows=6000)
    order = np.argsort(served)
    chunks = [(served[chunk], labels[chunk]) for chunk in np.split(order, 15)]
    slow = sum(len(p) / len(labels) * abs(p.mean() - y.mean()) for p, y in chunks)
    made = card(searches(served, labels), MetricSettings(window_positives=10_000)).metrics()
    assert made.window.ece == pytest.approx(slow, abs=1e-9)
    assert made.lifetime.ece == pytest.approx(slow, abs=1e-3)


def test_calibration_error_of_tied_scores_does_not_depend_on_their_order() -> None:
    labels = np.array([1] * 10 + [0] * 90)
    positive, negative, total = grouped(np.full(100, 0.3), labels == 1)
    assert calibration_error(positive, negative, total, 15) == pytest.approx(0.2)


@pytest.mark.parametrize("fade", [0.9, 0.999])
def test_the_faded_scope_weighs_each_row_against_the_next(fade: float) -> None:
    served, labels = stream("spread", rows=2 * BLOCK_ROWS + 500)
    weights = fade ** np.arange(len(labels) - 1, -1, -1.0)
    faded = card(searches(served, labels), MetricSettings(fade=fade)).metrics().faded
    assert faded.rows == pytest.approx(weights.sum(), rel=1e-9)
    assert faded.positives == pytest.approx(weights @ labels, rel=1e-9)
    assert faded.log_loss == pytest.approx(oracle.log_loss(labels, served, sample_weight=weights), abs=1e-9)
    assert faded.roc_auc == pytest.approx(oracle.roc_auc_score(labels, served, sample_weight=weights), abs=0.005)
    slow = oracle.average_precision_score(labels, served, sample_weight=weights)
    assert faded.average_precision == pytest.approx(slow, abs=0.005)
    assert faded.at_half is not None
    agreed = ((served >= 0.5) == labels).astype(np.float64)
    assert faded.at_half.accuracy == pytest.approx(np.average(agreed, weights=weights), abs=1e-9)


def test_faded_weights_never_overflow() -> None:
    served, labels = stream("spread", rows=8 * BLOCK_ROWS)
    faded = card(searches(served, labels, size=1024), MetricSettings(fade=0.9)).metrics().faded
    assert faded.rows == pytest.approx(10.0, rel=1e-9)


def test_asking_in_between_changes_nothing() -> None:
    served, labels = stream("spread", rows=3000)
    asked, quiet = Scorecard(MetricSettings(), 2, "ab"), Scorecard(MetricSettings(), 2, "ab")
    for examples in searches(served, labels):
        asked.score(examples)
        quiet.score(examples)
        if examples.scored.ts_us % 35 == 0:
            asked.metrics()
    assert digest(asked) == digest(quiet)
    assert asked.metrics() == quiet.metrics()


def test_how_rows_are_cut_into_searches_changes_no_bit() -> None:
    served, labels = stream("spread", rows=3000)
    cards = [card(searches(served, labels, size=size)) for size in (1, 20, 2500)]
    assert len({digest(made) for made in cards}) == 1


def test_a_pickled_scorecard_goes_on_as_if_nothing_had_happened() -> None:
    served, labels = stream("spread", rows=3000)
    whole, first = card(searches(served, labels)), Scorecard(MetricSettings(), 2, "ab")
    batches = list(searches(served, labels))
    for examples in batches[:200]:
        first.score(examples)
    second: Scorecard = pickle.loads(pickle.dumps(first))
    for examples in batches[200:]:
        second.score(examples)
    assert digest(second) == digest(whole)


@pytest.mark.parametrize("size", [1, 7])
def test_rows_whose_label_was_known_are_in_no_figure(size: int) -> None:
    served, labels = stream("spread", rows=3000)
    known = (np.arange(len(labels)) % 3 == 0) & (labels == 1)
    made = card(searches(served, labels, known=known.tolist(), size=size))
    assert digest(made) == digest(card(searches(served[~known], labels[~known])))


def test_tiers_split_the_lifetime() -> None:
    served, labels = stream("spread", rows=3000)
    tiers = np.random.default_rng(0).integers(0, 2, len(labels))
    metrics = card(searches(served, labels, tiers=bytes(tiers.tolist()))).metrics()
    for tier, scope in enumerate((metrics.tiers.head, metrics.tiers.tail)):
        mine = tiers == tier
        assert (scope.rows, scope.positives) == (mine.sum(), labels[mine].sum())
        assert scope.log_loss == pytest.approx(oracle.log_loss(labels[mine], served[mine]), abs=1e-9)
    assert metrics.tiers.head.rows + metrics.tiers.tail.rows == metrics.lifetime.rows


def test_raw_scores_are_measured_where_the_learner_answered() -> None:
    served, labels = stream("spread", rows=3000)
    raw = served**2
    raw[::5] = np.nan
    made = card(searches(served, labels, raw=raw)).metrics().raw
    answered = ~np.isnan(raw)
    assert (made.rows, made.abstentions) == (answered.sum(), (~answered).sum())
    assert made.roc_auc == pytest.approx(oracle.roc_auc_score(labels[answered], raw[answered]), abs=0.005)


TWO_CLASSES = ("roc_auc", "average_precision", "normalised_entropy")
TWO_CLASSES_DECIDED = ("gmean", "balanced_accuracy", "mcc", "kappa")


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_only_leaves_undefined_what_needs_two(label: int) -> None:
    metrics = card(searches(np.full(50, 0.2), np.full(50, label))).metrics()
    for scope in (metrics.lifetime, metrics.window, metrics.faded, metrics.tiers.head):
        assert scope.at_half is not None
        assert {getattr(scope, name) for name in TWO_CLASSES} == {None}
        assert {getattr(scope.at_half, name) for name in TWO_CLASSES_DECIDED} == {None}
        assert (scope.at_half.precision, scope.at_half.f1) == (None, None)
        assert scope.log_loss == pytest.approx(-np.log(0.2 if label else 0.8))
    assert metrics.tiers.tail == Scope()
    assert metrics.raw.roc_auc is None


def test_nothing_measured_is_nothing_said() -> None:
    metrics = Scorecard(MetricSettings(), 2, "ab").metrics()
    assert metrics.lifetime == metrics.window == metrics.faded == Scope()


def test_a_constant_decision_has_no_precision_and_no_correlation() -> None:
    figures = decision_figures(np.array([[90.0, 0.0], [10.0, 0.0]]))
    assert (figures["precision"], figures["f1"]) == (None, None)
    assert (figures["mcc"], figures["kappa"], figures["gmean"]) == (0.0, 0.0, 0.0)


def test_a_probability_at_the_threshold_is_positive() -> None:
    made = card(searches(np.array([0.3, 0.3]), np.array([1, 0]), threshold=0.3)).metrics().lifetime.at_tuned
    assert made is not None
    assert (made.recall, made.specificity) == (1.0, 0.0)


def three_classes() -> tuple[Floats, Labels]:
    rng = np.random.default_rng(3)
    labels = rng.choice(3, size=4000, p=[0.7, 0.2, 0.1])
    logits = rng.normal(size=(4000, 3)) + 1.5 * np.eye(3)[labels]
    shares: Floats = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return shares, labels


def test_three_classes_are_measured_one_against_the_rest() -> None:
    shares, labels = three_classes()
    metrics = card(searches(shares[:, 1:], labels), MetricSettings(window_positives=10_000), classes=3).metrics()
    decided = shares.argmax(axis=1)
    recalls = oracle.recall_score(labels, decided, average=None)
    for scope, tolerance in ((metrics.lifetime, 0.005), (metrics.window, 1e-9)):
        assert scope.per_class is not None
        assert scope.macro is not None
        assert list(scope.per_class) == ["c0", "c1", "c2"]
        for index, figures in enumerate(scope.per_class.values()):
            mine = labels == index
            assert figures.rows == mine.sum()
            assert figures.recall == pytest.approx(recalls[index])
            assert figures.roc_auc == pytest.approx(oracle.roc_auc_score(mine, shares[:, index]), abs=tolerance)
            slow = oracle.average_precision_score(mine, shares[:, index])
            assert figures.average_precision == pytest.approx(slow, abs=tolerance)
        assert scope.macro.precision == pytest.approx(oracle.precision_score(labels, decided, average="macro"))
        assert scope.macro.gmean == pytest.approx(np.prod(recalls) ** (1 / 3))
        assert scope.macro.log_loss == scope.log_loss == pytest.approx(oracle.log_loss(labels, shares), abs=1e-9)
        assert (scope.roc_auc, scope.brier, scope.ece, scope.at_half, scope.at_tuned) == (None,) * 5
        assert scope.positives == (labels > 0).sum()
    assert metrics.raw.roc_auc is None
    assert metrics.raw.macro is not None
    assert metrics.raw.macro.roc_auc is not None


def test_a_class_that_never_came_has_no_recall_and_stays_out_of_the_means() -> None:
    shares, labels = three_classes()
    made = card(searches(shares[labels < 2, 1:], labels[labels < 2]), classes=3).metrics().lifetime
    assert made.per_class is not None
    assert made.macro is not None
    assert (made.per_class["c2"].recall, made.per_class["c2"].roc_auc) == (None, None)
    both = [made.per_class[name].recall or 0.0 for name in ("c0", "c1")]
    assert made.macro.gmean == pytest.approx(np.sqrt(np.prod(both)))


def test_the_oracle_measures_the_truth_and_our_distance_from_it() -> None:
    truth, labels = stream("spread", rows=3000)
    served = np.clip(truth * 1.2, 0.0, 0.999)
    asked, quiet = Oracle(MetricSettings()), Oracle(MetricSettings())
    for examples in itertools.chain(searches(served, labels, truths=truth), searches(served, labels)):
        asked.score(examples)
        quiet.score(examples)
        asked.metrics()
    made = quiet.metrics()
    assert made is not None
    assert made == asked.metrics()
    assert made.rows == len(labels)
    assert made.log_loss == pytest.approx(oracle.log_loss(labels, truth), abs=1e-9)
    assert made.roc_auc == pytest.approx(oracle.roc_auc_score(labels, truth), abs=0.005)
    assert made.absolute_error == pytest.approx(np.abs(truth - served).mean(), abs=1e-9)
    assert made.logit_error is not None
    assert made.logit_error > 0.1


def test_without_truths_there_is_no_oracle() -> None:
    made = Oracle(MetricSettings())
    made.score(next(searches(np.array([0.5]), np.array([1]))))
    assert made.metrics() is None


FADED = st.floats(0.0, 1e6) | st.sampled_from([0.0, 1e-30, 1e-300, 5e-324]) | st.floats(0.0, 1e-320)


@given(st.lists(FADED, min_size=4, max_size=4))
def test_decisions_have_figures_however_little_is_left_of_a_faded_class(cells: list[float]) -> None:
    figures = decision_figures(np.array(cells).reshape(2, 2))
    assert all(value is None or -1.0 - 1e-9 <= value <= 1.0 + 1e-9 for value in figures.values()), figures


@pytest.mark.parametrize("classes", [2, 3])
def test_a_report_can_be_made_long_after_the_last_outcome(classes: int) -> None:
    """The faded scope holds ever less of a class that no longer comes; one day it is lost in rounding."""
    rng = np.random.default_rng(0)
    labels = np.zeros(60_000, dtype=np.int64)
    labels[:30] = rng.integers(0, classes, 30)
    served = np.full((len(labels), classes - 1), 0.01)
    made = Scorecard(MetricSettings(), classes, [f"c{index}" for index in range(classes)])
    for number, examples in enumerate(searches(served, labels, size=500)):
        made.score(examples)
        faded = made.metrics().faded
        assert 0.0 < (faded.rows if number else 1.0) <= 1001.0
    if classes == 2:
        assert faded.at_half is not None
        assert faded.at_half.accuracy == pytest.approx(1.0)
