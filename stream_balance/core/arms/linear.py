"""Linear: logistic regression by gradient steps on decayed standardisation, rare classes weighted, and told so.

A row of class c counts k_c times as much as one of the commonest class, k_c being what brings the class's odds to the
target (He & Garcia, "Learning from imbalanced data", 2009, section 3.2). The model learns with the offset ln(k_c / k_0)
in its logits and answers without it, so that its probabilities refer to the stream as it is (King & Zeng, "Logistic
regression in rare events data", 2001, equation 7, as a prior instead of a correction). Three or more classes: a softmax
against class 0.

Intercepts are learned on top of the log odds of the classes so far: a model that begins at a half has to be told by
hundreds of steps that outcomes are rare, and each of them moves the weights of whatever the row had.
"""

from __future__ import annotations

import math

import numpy as np

from stream_balance.core.arms.encoding import Encoder
from stream_balance.core.arms.learner import Learner
from stream_balance.core.arms.shares import DecayedShares
from stream_balance.core.records import Columns, Floats, Samples

RATE = 0.005  # of a step, in the long run
YOUTH_ROWS, YOUTH_TIMES = 300, 3.0  # and at first so many times more, which a model of 300 rows has half of
FIRST_SHARE, FIRST_ROWS = 0.02, 50.0  # of all classes but 0, before any row; and how many rows that guess is worth
TARGET_SHARE = 0.2  # of each rare class, against the commonest
WEIGHT_MAX = 10.0  # a larger one would be cut off by `GRADIENT_MAX`, and the offset would promise too much
GRADIENT_MAX = 10.0


class Linear(Learner):
    """Online logistic (softmax) regression of classes 0..C-1, cost-sensitive, with honest probabilities."""

    supports_offset: bool = True

    def __init__(
        self,
        classes: int = 2,
        *,
        rate: float = RATE,
        target_share: float = TARGET_SHARE,
        weight_max: float = WEIGHT_MAX,
    ) -> None:
        super().__init__(classes)
        self.encoder = Encoder()
        self.shares = DecayedShares(classes)
        self.weights: Floats = np.zeros((0, classes - 1))
        rare = FIRST_SHARE / (classes - 1)
        self.counts = [FIRST_ROWS * (1.0 - FIRST_SHARE), *[FIRST_ROWS * rare] * (classes - 1)]
        self.intercepts = [math.log(count / self.counts[0]) for count in self.counts[1:]]
        self._rate, self._weight_max = rate, weight_max
        self._odds = target_share / (1.0 - target_share)

    def logits(self, values: Floats) -> Floats:
        """Log odds of classes 1..C-1 against class 0, (n, C-1)."""
        encoded, weights = self.encoder.encode(values), self.weights
        if encoded.shape[1] > len(weights):  # columns that it has not learned yet
            encoded = encoded[:, : len(weights)]
        found: Floats = encoded @ weights
        found += self.intercepts[0] if self.classes == 2 else self.intercepts
        return found

    def learn_rows(self, samples: Samples, columns: Columns) -> None:
        """A gradient step for each row; its offset is in the logits meanwhile."""
        encoded = self._encoded(samples.rows, columns)
        step = self._step_binary if self.classes == 2 else self._step
        for row, label, offset in zip(encoded, samples.labels, samples.offsets, strict=True):
            step(row, label, offset)
            self._learned_one(label, offset)

    def _learned_one(self, label: int, offset: tuple[float, ...], weight: float = 1.0) -> None:
        """Count it; the intercepts follow the log odds of the classes so far, as they are where nothing is resampled:
        there it counts for less by as much as its offset says.
        """
        self.learned += 1
        self.shares.observe(label)
        if label:
            weight *= math.exp(-offset[label - 1 if len(offset) > 1 else 0])
        before = self.counts[label]
        self.counts[label] = before + weight
        moved = math.log1p(weight / before)
        if label:
            self.intercepts[label - 1] += moved
        else:
            self.intercepts = [each - moved for each in self.intercepts]

    def _rate_now(self) -> float:
        return self._rate * (1.0 + YOUTH_TIMES * YOUTH_ROWS / (YOUTH_ROWS + self.learned))

    def _encoded(self, rows: Floats, columns: Columns) -> Floats:
        """The rows, learned by the encoder, with a weight for each of their columns."""
        self.encoder.learn(rows, columns)
        if self.encoder.width > len(self.weights):
            more = np.zeros((self.encoder.width - len(self.weights), self.classes - 1))
            self.weights = np.concatenate([self.weights, more])
        return self.encoder.encode(rows)

    def aim(self, target: float) -> None:
        """The weights follow, and the offset that they are learned under with them."""
        self._odds = target / (1.0 - target)

    def aimed_share(self) -> float:
        """Of the outcomes, each row counted with its weight."""
        weighed = [share * k for share, k in zip(self.shares.values(), self._importance(), strict=True)]
        return 1.0 - weighed[0] / sum(weighed)

    def _importance(self) -> list[float]:
        """By class: how much a row of it counts."""
        shares = self.shares.values()
        highest = max(shares)
        return [
            1.0 if share == highest else min(max(self._odds * highest / share, 1.0), self._weight_max)
            for share in shares
        ]

    def _step_binary(self, row: Floats, label: int, offset: tuple[float, ...]) -> None:
        k0, k1 = self._importance()
        weights = self.weights[:, 0]
        z = float(row @ weights) + self.intercepts[0] + math.log(k1 / k0) + offset[0]
        p = 1.0 / (1.0 + math.exp(-z)) if z > -700.0 else 0.0
        gradient = (p - 1.0) * k1 if label else p * k0
        step = self._rate_now() * min(max(gradient, -GRADIENT_MAX), GRADIENT_MAX)
        self.intercepts[0] -= step
        weights -= step * row

    def _step(self, row: Floats, label: int, offset: tuple[float, ...]) -> None:
        importance = np.array(self._importance())
        z = row @ self.weights + self.intercepts + np.log(importance[1:] / importance[0]) + offset
        top = max(float(z.max()), 0.0)
        gradient = np.exp(z - top)
        gradient /= gradient.sum() + math.exp(-top)
        if label:
            gradient[label - 1] -= 1.0
        step = self._rate_now() * np.clip(gradient * importance[label], -GRADIENT_MAX, GRADIENT_MAX)
        self.intercepts = [each - moved for each, moved in zip(self.intercepts, step.tolist(), strict=True)]
        self.weights -= row[:, None] * step

    def digest_state(self) -> object:
        """All numbers."""
        return [
            self.learned, self._odds, self.encoder.digest_state(), self.shares.values(), self.counts, self.weights,
            self.intercepts,
        ]  # fmt: skip
