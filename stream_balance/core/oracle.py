"""Oracle: how good the true probabilities of a simulated log are, and how far ours are from them.

In: Examples whose search carries truths. Out: figures of the report, null without truths. The truth of an impression is
its probability of any outcome. Bounded: sums and one histogram.
"""

from __future__ import annotations

import numpy as np

from stream_balance.core.metrics_math import BINS, EPSILON, MetricSettings, average_precision, roc_auc, score_bins
from stream_balance.core.records import Examples, Floats
from stream_balance.core.report import OracleFigures

BLOCK_ROWS = 1024


class Oracle:
    """The truth measured like a model, on the same rows as the scorecard.

    Rows are folded in blocks of fixed size, so that the state does not depend on when a report was made.
    """

    def __init__(self, settings: MetricSettings) -> None:
        self._settings = settings
        self._block = np.zeros((BLOCK_ROWS, 3))  # truth, served, outcome
        self._filled = 0
        self._histogram = np.zeros((2, BINS))
        self._sums = np.zeros(4)  # rows, loss, absolute error, logit error

    def score(self, examples: Examples) -> None:
        """Measure one matured search, if it carries truths."""
        truths = examples.scored.truths
        if truths is None:
            return
        rows = np.empty((len(truths), 3))
        rows[:, 0] = truths
        rows[:, 1] = examples.scored.probability.sum(axis=1)
        rows[:, 2] = examples.labels
        if True in examples.known:
            rows = rows[~np.array(examples.known)]
        start = 0
        while start < len(rows):
            stop = min(len(rows), start + BLOCK_ROWS - self._filled)
            self._block[self._filled : self._filled + stop - start] = rows[start:stop]
            self._filled += stop - start
            start = stop
            if self._filled == BLOCK_ROWS:
                _fold(self._block, self._histogram, self._sums)
                self._filled = 0

    def metrics(self) -> OracleFigures | None:
        """Figures so far; None where no search carried truths."""
        histogram, sums = self._histogram.copy(), self._sums.copy()
        if self._filled:
            _fold(self._block[: self._filled], histogram, sums)
        rows, loss, absolute, logit = sums.tolist()
        if not rows:
            return None
        return OracleFigures(
            rows=round(rows),
            log_loss=loss / rows,
            roc_auc=roc_auc(histogram[1], histogram[0]),
            average_precision=average_precision(histogram[1], histogram[0]),
            absolute_error=absolute / rows,
            logit_error=logit / rows,
        )

    def digest_state(self) -> object:
        """Everything that a later figure depends on."""
        return [self._histogram, self._sums, self._block[: self._filled]]


def _fold(block: Floats, histogram: Floats, sums: Floats) -> None:
    """Add (n, 3) rows to the sums."""
    truth = np.clip(block[:, 0], EPSILON, 1.0 - EPSILON)
    served = np.clip(block[:, 1], EPSILON, 1.0 - EPSILON)
    outcome = block[:, 2] > 0.0
    np.add.at(histogram.reshape(-1), outcome * BINS + score_bins(block[:, 0]), 1.0)
    sums[0] += len(block)
    sums[1] -= np.log(np.where(outcome, truth, 1.0 - truth)).sum()
    sums[2] += np.abs(truth - served).sum()
    sums[3] += np.abs(np.log(truth / (1.0 - truth)) - np.log(served / (1.0 - served))).sum()
