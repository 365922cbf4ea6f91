"""Learner: what our own arms share. In: samples, rows. Out: probabilities, from log odds against class 0."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np

from stream_balance.core.arms.model import abstention
from stream_balance.core.records import Columns, Floats, Samples, Scores

LOGIT_MAX = 30.0  # beyond it a probability is 0 or 1 for all that follows


class Learner(ABC):
    """A `Model` whose answer is a softmax of log odds, and that learns a search's rows as matrices."""

    supports_offset: bool = False
    honours_weights: bool = False  # they weigh classes themselves
    tail_only: bool = False  # asked about rows of the tail, and no others
    sure_early: bool = False  # of the few rows it has seen; a mixture trusts others more until labels tell

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise ValueError(f"a classifier needs at least 2 classes, {classes} were given")
        self.classes = classes
        self.learned = 0

    @abstractmethod
    def logits(self, values: Floats) -> Floats | None:
        """Log odds of classes 1..C-1 against class 0, (n, C-1); None while nothing can be said."""

    @abstractmethod
    def learn_rows(self, samples: Samples, columns: Columns) -> None:
        """Learn n >= 1 rows in their order, each once, and count them in `learned`."""

    def aim(self, target: float) -> None:  # noqa: B027  # most have nothing to aim
        """From now on aim at this share of the rare class, 0 < target < 1, as far as this learner balances by itself.

        What it says goes on to refer to the stream as it is.
        """

    def aimed_share(self) -> float | None:
        """The share of outcomes in what it learns from, by its own balancing; None where it does none."""
        return None

    def forget(self, latest: int, keep_min: int) -> None:  # noqa: B027  # most keep no rows
        """The stream has changed: what was learned before the latest so many rows is out of date.

        A learner that keeps rows lets the older ones go, but not the latest `keep_min` of a class.
        """

    @abstractmethod
    def digest_state(self) -> object:
        """All of it, in plain values."""

    def predict(self, values: Floats, columns: Columns) -> Scores:
        """Probabilities of classes 1..C-1, (n, C-1)."""
        found = self.logits(values) if self.learned else None
        if found is None:
            return abstention(len(values), self.classes)
        return Scores(probabilities(found), np.zeros(len(values), dtype=np.bool_))

    def predict_single(self, values: Floats) -> float:
        """Probability of class 1, of an only row of two classes; NaN: nothing."""
        found = self.logits(values) if self.learned else None
        return math.nan if found is None else _sigmoid(found.item())

    def learn(self, samples: Samples, columns: Columns) -> None:
        """Learn rows, each as often as it says."""
        self.learn_rows(samples.unrolled(), columns)


def _sigmoid(logit: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(logit, -LOGIT_MAX), LOGIT_MAX)))


def probabilities(logits: Floats) -> Floats:
    """Softmax against class 0, (n, C-1) to (n, C-1).

    >>> probabilities(np.zeros((1, 3))).tolist()
    [[0.25, 0.25, 0.25]]
    """
    if logits.size == 1:  # as `predict_single`, to the last bit
        return np.array([[_sigmoid(logits.item())]])
    bounded = np.minimum(np.maximum(logits, -LOGIT_MAX), LOGIT_MAX)
    found: Floats
    if bounded.shape[1] == 1:
        found = 1.0 / (1.0 + np.exp(-bounded))
        return found
    odds = np.exp(bounded)
    found = odds / (1.0 + odds.sum(axis=1, keepdims=True))
    return found
