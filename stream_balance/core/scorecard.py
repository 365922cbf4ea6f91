"""Scorecard: prequential figures of the served probabilities. In: Examples. Out: Metrics. Bounded; re-predicts nothing.

Rows whose label was known when they were scored are left out. Rows are written to a block of fixed size and folded into
the tallies when it is full; a report folds the rows still in the block into a copy. So the state does not depend on
when, or whether, anybody asked for a report, not by one bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_balance.core.metrics_math import (
    BINS,
    Ints,
    Measured,
    MetricSettings,
    average_precision,
    calibration_error,
    decision_figures,
    entropy,
    grouped,
    mean,
    measure,
    ratio,
    roc_auc,
    score_bins,
)
from stream_balance.core.records import TIERS, Examples, Floats
from stream_balance.core.report import ClassFigures, Decisions, MacroFigures, Metrics, RawFigures, Scope, TierScopes

__all__ = ["MetricSettings", "Scorecard"]

BLOCK_ROWS = 1024
_RESCALE_AT = 1e100  # faded weights grow with each row; beyond this they are scaled back to 1


def _bins(classes: int) -> int:
    """Fewer bins for many classes, each of which has histograms of its own: about 1.4 MB a class."""
    return BINS if classes == 2 else BINS // 4


class _Tally:
    """Weighted sums and score histograms of rows, by group (tier). Everything a scope needs but the rows themselves."""

    def __init__(self, groups: int, classes: int) -> None:
        tasks, rules = (1, 2) if classes == 2 else (classes, 1)
        self.groups = groups
        self.classes = classes
        self.bins = bins = _bins(classes)
        self.histogram = np.zeros((tasks, groups, 2, bins))  # mass by task, group, truth, bin
        self.scores = np.zeros((tasks, groups, bins))  # sum of scores
        self.sums = np.zeros((groups, 2))  # loss, Brier
        self.confusion = np.zeros((rules, groups, classes, classes))  # label, decided

    def copy(self) -> _Tally:
        twin = _Tally.__new__(_Tally)
        twin.groups, twin.classes, twin.bins = self.groups, self.classes, self.bins
        twin.histogram, twin.scores = self.histogram.copy(), self.scores.copy()
        twin.sums, twin.confusion = self.sums.copy(), self.confusion.copy()
        return twin

    def arrays(self) -> list[Floats]:
        """Every sum, for scaling and for the digest."""
        return [self.histogram, self.scores, self.sums, self.confusion]

    def divide(self, divisor: float) -> None:
        for array in self.arrays():
            np.divide(array, divisor, out=array)

    def add(self, measured: Measured, bins: Ints, group: Ints, weights: Floats) -> None:
        """Add rows; `bins` is (t, n), `group` and `weights` (n,)."""
        for task, column in enumerate(bins):
            cell = (group * 2 + measured.truth[task]) * self.bins + column
            np.add.at(self.histogram[task].reshape(-1), cell, weights)
            np.add.at(self.scores[task].reshape(-1), group * self.bins + column, measured.ranks[task] * weights)
        for index, values in enumerate((measured.loss, measured.brier)):
            self.sums[:, index] += np.bincount(group, weights=values * weights, minlength=self.groups)
        width = self.classes
        for rule, decided in enumerate(measured.decided):
            cell = (group * width + measured.label) * width + decided
            counts = np.bincount(cell, weights=weights, minlength=self.groups * width * width)
            self.confusion[rule] += counts.reshape(self.groups, width, width)

    def summary(self, group: slice) -> _Summary:
        """What was added, over some of the groups."""
        histogram = self.histogram[:, group].sum(axis=1)
        scores = self.scores[:, group].sum(axis=1)
        tasks = [(mass[1], mass[0], score) for mass, score in zip(histogram, scores, strict=True)]
        loss, brier = self.sums[group].sum(axis=0).tolist()
        return _Summary(tasks, loss, brier, self.confusion[:, group].sum(axis=1))


@dataclass(frozen=True, slots=True)
class _Summary:
    """One scope before its figures: groups of equal score by task, sums, confusion tables by rule."""

    tasks: Sequence[tuple[Floats, Floats, Floats]]  # positives, negatives, sum of scores by group
    loss: float
    brier: float
    confusion: Floats


def _exact(rows: Floats, classes: int) -> _Summary:
    """Summary of the rows themselves, ties grouped exactly."""
    measured = measure(rows, classes)
    tasks = [grouped(score, truth) for score, truth in zip(measured.ranks, measured.truth, strict=True)]
    confusion = [
        np.bincount(measured.label * classes + decided, minlength=classes * classes).reshape(classes, classes)
        for decided in measured.decided
    ]
    table = np.asarray(confusion, dtype=np.float64)
    return _Summary(tasks, float(measured.loss.sum()), float(measured.brier.sum()), table)


def _amount(mass: float, whole: bool) -> float | int:
    return round(mass) if whole else mass


def _scope(summary: _Summary, ece_bins: int, names: Sequence[str], *, whole: bool = True) -> Scope:
    """Figures of a summary; masses are whole numbers unless rows are weighted."""
    counts = summary.confusion[0].sum(axis=1)
    rows, outcomes = float(counts.sum()), float(counts[1:].sum())
    base: dict[str, object] = {"rows": _amount(rows, whole), "positives": _amount(outcomes, whole)}
    if rows <= 0.0:
        return Scope.model_validate(base)
    log_loss = summary.loss / rows
    base |= {"log_loss": log_loss, "normalised_entropy": ratio(log_loss, entropy(counts))}
    if len(counts) > 2:
        return Scope.model_validate(base | _by_class(summary, names, log_loss, whole=whole))
    positive, negative, score = summary.tasks[0]
    half, tuned = (Decisions.model_validate(decision_figures(table)) for table in summary.confusion)
    return Scope.model_validate(
        base
        | {
            "roc_auc": roc_auc(positive, negative),
            "average_precision": average_precision(positive, negative),
            "brier": summary.brier / rows,
            "ece": calibration_error(positive, negative, score, ece_bins),
            "mean_probability_over_rate": ratio(float(score.sum()), outcomes),
            "at_half": half,
            "at_tuned": tuned,
        }
    )


def _by_class(summary: _Summary, names: Sequence[str], log_loss: float, *, whole: bool) -> dict[str, object]:
    """One-vs-rest figures and their means; a class without rows has no recall and is left out of the G-mean."""
    table = summary.confusion[0]
    counts, decided, right = table.sum(axis=1).tolist(), table.sum(axis=0).tolist(), np.diag(table).tolist()
    figures = [
        ClassFigures(
            rows=_amount(counts[index], whole),
            recall=ratio(right[index], counts[index]),
            precision=ratio(right[index], decided[index]),
            roc_auc=roc_auc(positive, negative),
            average_precision=average_precision(positive, negative),
        )
        for index, (positive, negative, _) in enumerate(summary.tasks)
    ]
    recalls = [figure.recall for figure in figures if figure.recall is not None]
    macro = MacroFigures(
        recall=mean(recalls),
        precision=mean([figure.precision for figure in figures]),
        roc_auc=mean([figure.roc_auc for figure in figures]),
        average_precision=mean([figure.average_precision for figure in figures]),
        gmean=float(np.prod(recalls)) ** (1.0 / len(recalls)) if len(recalls) > 1 else None,
        log_loss=log_loss,
    )
    return {"per_class": dict(zip(names, figures, strict=True)), "macro": macro}


class Scorecard:
    """Figures of every real impression as it was served: lifetime, window, faded, by tier, and of the raw scores.

    `classes` counts class 0; `class_names` has one name per class. Memory: 6 MB for two classes, 1.4 MB for
    each of more, and `window_rows` rows. Histogram figures agree with exact ones within .005; the window's are exact.
    """

    def __init__(self, settings: MetricSettings, classes: int, class_names: Sequence[str]) -> None:
        assert len(class_names) == classes >= 2, "one name per class, and at least two classes"
        self._settings = settings
        self._classes = classes
        self._names = tuple(class_names)
        outcomes = classes - 1
        self._block = np.zeros((BLOCK_ROWS, 2 * outcomes + 3))  # raw, served, threshold, label, tier
        self._filled = 0
        self._whole = _Tally(len(TIERS), classes)
        self._faded = _Tally(1, classes)
        self._scale = 1.0  # weight of the next row in the faded tally
        self._growth = settings.fade ** -np.arange(BLOCK_ROWS + 1.0)
        self._raw = np.zeros((1 if classes == 2 else classes, 2, _bins(classes)))
        self._abstained = 0
        self._ring = np.zeros((settings.window_rows, outcomes + 2))  # served, threshold, label
        self._folded = 0  # rows ever folded

    def score(self, examples: Examples) -> None:
        """Measure one matured search."""
        scored = examples.scored
        if len(examples.labels) == 1 and not examples.known[0]:  # rows of a table: four times as fast as the columns
            row = self._block[self._filled]
            row[:-2] = scored.figures_of_one()
            row[-2] = examples.labels[0]
            row[-1] = scored.tiers[0]
            self._filled += 1
            if self._filled == BLOCK_ROWS:
                self._fold()
            return
        rows = scored.matrix()[:, scored.width :]
        labels: Sequence[int] = examples.labels
        tiers = np.frombuffer(scored.tiers, dtype=np.uint8)
        if True in examples.known:
            new = [index for index, known in enumerate(examples.known) if not known]
            rows, tiers, labels = rows[new], tiers[new], [labels[index] for index in new]
        start = 0
        while start < len(labels):
            at = self._filled
            stop = min(len(labels), start + BLOCK_ROWS - at)
            to = at + stop - start
            self._block[at:to, :-2] = rows[start:stop]
            self._block[at:to, -2] = labels[start:stop]
            self._block[at:to, -1] = tiers[start:stop]
            self._filled, start = to, stop
            if to == BLOCK_ROWS:
                self._fold()

    def _fold(self) -> None:
        """Move the full block into the tallies and the ring."""
        self._abstained += self._add(self._whole, self._faded, self._raw)
        self._scale *= float(self._growth[BLOCK_ROWS])
        if self._scale > _RESCALE_AT:
            self._faded.divide(self._scale)
            self._scale = 1.0
        size = len(self._ring)
        latest = self._block[-size:, self._classes - 1 : -1]
        self._folded += BLOCK_ROWS
        self._ring[np.arange(self._folded - len(latest), self._folded) % size] = latest
        self._filled = 0

    def _add(self, whole: _Tally, faded: _Tally, raw: Floats) -> int:
        """Add the rows in the block to the tallies given; returns from how many the learner abstained."""
        block, classes = self._block[: self._filled], self._classes
        measured = measure(block[:, classes - 1 : -1], classes)
        bins = score_bins(measured.ranks, whole.bins)
        whole.add(measured, bins, block[:, -1].astype(np.intp), np.ones(len(block)))
        faded.add(measured, bins, np.zeros(len(block), dtype=np.intp), self._scale * self._growth[: len(block)])
        answered = ~np.isnan(block[:, 0])
        scores = block[answered, : classes - 1].T
        if classes > 2:
            scores = np.concatenate((1.0 - scores.sum(axis=0)[None, :], scores))
        for task, column in enumerate(score_bins(scores, whole.bins)):
            np.add.at(raw[task].reshape(-1), measured.truth[task, answered] * whole.bins + column, 1.0)
        return len(block) - int(np.count_nonzero(answered))

    def _window(self) -> Floats:
        """Rows since the one that holds the `window_positives`-th last positive, oldest first."""
        size = len(self._ring)
        start = self._folded % size
        ring = (self._ring[:start],) if self._folded < size else (self._ring[start:], self._ring[:start])
        rows = np.concatenate((*ring, self._block[: self._filled, self._classes - 1 : -1]))[-size:]
        positives = np.flatnonzero(rows[:, -1])
        wanted = self._settings.window_positives
        return rows[positives[-wanted] :] if len(positives) >= wanted else rows

    def window_outcomes(self) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Of the window's rows: the served probability of any outcome, and whether there was one; both (n,)."""
        rows = self._window()
        return rows[:, :-2].sum(axis=1), rows[:, -1] > 0

    def metrics(self, between: Callable[[], None] = lambda: None) -> Metrics:
        """All scopes as they are now; changes nothing. `between` is called after each piece of the work."""
        whole, faded, raw, abstained = self._whole.copy(), self._faded.copy(), self._raw.copy(), self._abstained
        if self._filled:
            abstained += self._add(whole, faded, raw)
        between()
        faded.divide(self._scale * float(self._growth[self._filled]) * self._settings.fade)  # the newest row weighs 1

        def figures(summary: _Summary, *, weighted: bool = False) -> Scope:
            between()
            return _scope(summary, self._settings.ece_bins, self._names, whole=not weighted)

        return Metrics(
            lifetime=figures(whole.summary(slice(None))),
            window=figures(_exact(self._window(), self._classes)),
            faded=figures(faded.summary(slice(None)), weighted=True),
            tiers=TierScopes(head=figures(whole.summary(slice(0, 1))), tail=figures(whole.summary(slice(1, 2)))),
            raw=_raw_figures(raw, abstained),
        )

    def digest_state(self) -> object:
        """Everything that a later figure depends on."""
        tallies = [*self._whole.arrays(), *self._faded.arrays(), self._raw]
        ring = self._ring[: min(self._folded, len(self._ring))]
        return [tallies, self._scale, self._abstained, ring, self._folded, self._block[: self._filled]]


def _raw_figures(raw: Floats, abstained: int) -> RawFigures:
    rows = round(float(raw[0].sum()))
    auc = [roc_auc(mass[1], mass[0]) for mass in raw]
    precision = [average_precision(mass[1], mass[0]) for mass in raw]
    if len(raw) == 1:
        return RawFigures(rows=rows, abstentions=abstained, roc_auc=auc[0], average_precision=precision[0])
    macro = MacroFigures(roc_auc=mean(auc), average_precision=mean(precision))
    return RawFigures(rows=rows, abstentions=abstained, macro=macro)
