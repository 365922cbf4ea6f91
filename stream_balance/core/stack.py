"""Stack: what arms know beyond their weighted mean. In: that mean and what each arm said of real rows, and labels.
Out: a coefficient of each arm.

Weights by loss tend to the arm that is best alone; where arms err on different rows, a sum of them is better than any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream_balance.core.memory import Memory
from stream_balance.core.records import Floats
from stream_balance.core.said import losses_of, probability_of
from stream_balance.core.straighten import Trust

TRUST_ROWS = 10_000.0  # how long the trust in the mean and in the sums is remembered
PART_ROWS = 256  # so many are learned by one step at most
AWAY_MAX = 3.0  # an arm is never further from the mean than this many of its usual distances: labels may be late
_MAX = 5.0  # no coefficient is beyond
_FIRST_ROWS = 20.0  # what a first guess of a usual distance, 1, is worth

Bools = npt.NDArray[np.bool_]


class Sum:
    """Log odds = mean + sum of coefficients * (arm's log odds - mean), by recursive Newton steps.

    Stacked generalisation (Wolpert 1992; for probabilities as a logistic regression on log odds: Ting and Witten, JAIR
    1999), on a stream as online Newton steps (Hazan, Agarwal, Kale 2007) that forget. As in `Line`, with features x
    (how far each arm is from the mean), precision H and prior (h0 I around 0):
        H <- k H + (1 - k) h0 I + sum p (1 - p) x x',
        theta <- theta + H^-1 (sum (y - p) x - (1 - k) h0 theta)
    for n rows at once, k = decay^n. With several classes p is a softmax against class 0 and coefficients are of all
    classes: sum over c of p_c x_c x_c' less the outer product of sum p_c x_c. An arm that says nothing adds nothing.
    Level and slope are left to the calibrators below and above: where labels are late, each that moved them too would
    put right again what another has put right since.
    """

    __slots__ = ("_decay", "_h", "_precision", "_spoken", "theta")

    def __init__(self, arms: int, decay: float, precision: float) -> None:
        self._decay, self._precision = decay, precision
        self._h = np.eye(arms) * precision
        self._spoken = np.zeros(arms)  # rows that each arm has spoken of, as far as they are remembered
        self.theta = np.zeros(arms)

    def said(self, mean: Floats, away: Floats) -> Floats:
        """Of n rows: mean (n, C-1), distances of the arms from it (arms, n, C-1)."""
        found: Floats = mean + (self.theta @ away.reshape(len(away), -1)).reshape(mean.shape)
        return found

    def learn(self, mean: Floats, away: Floats, there: Bools, labels: npt.NDArray[np.intp]) -> None:
        """n rows as in `said`, who spoke (arms, n), labels (n,)."""
        keep = self.keep(len(labels))
        self._spoken = self._spoken * keep + there.sum(axis=1)
        p = probability_of(self.said(mean, away))
        flat = away.reshape(len(away), -1)
        weighed = flat * p.ravel()
        whole = weighed.reshape(away.shape).sum(axis=2)
        missing = (labels[:, None] == np.arange(1, p.shape[1] + 1)) - p
        pull = (1.0 - keep) * self._precision
        self._h = self._h * keep + weighed @ flat.T - whole @ whole.T
        np.einsum("ii->i", self._h)[...] += pull  # a view of its diagonal
        gradient = flat @ missing.ravel() - pull * self.theta
        self.theta = np.minimum(np.maximum(self.theta + np.linalg.solve(self._h, gradient), -_MAX), _MAX)

    def keep(self, rows: int) -> float:
        """What is left of the past after so many rows."""
        return self._decay**rows

    def worth(self) -> Floats:
        """What each arm's coefficient saves in a row, (arms,), in nats: theta^2 / (2 (H^-1)_ii) of all remembered ones.

        The saliency of a weight, all others following (Hassibi and Stork, "Optimal brain surgeon", 1993).
        """
        spread = np.linalg.inv(self._h).diagonal()
        found: Floats = self.theta**2 / (2.0 * spread) / np.maximum(self._spoken, 1.0)
        return found

    def drop(self, arm: int) -> None:
        """An arm rests: the others take over what they can of it (the brain surgeon's step), and it begins anew."""
        column = np.linalg.inv(self._h)[:, arm]
        self.theta = self.theta - self.theta[arm] / column[arm] * column
        self.theta[arm] = 0.0
        self._h[arm] = self._h[:, arm] = 0.0
        self._h[arm, arm] = self._precision
        self._spoken[arm] = 0.0

    def state(self) -> list[object]:
        return [self.theta, self._h, self._spoken]


class Stack:
    """The mean as it is, and one sum for each decay, weighed against each other by their losses (see `Trust`).

    So what was learned before a drift costs little after it, and what holds for long is known well. `table` is what
    comes of all: coefficients, then the distances beyond which an arm counts as no further.

    >>> stack, said = Stack(2, [0.9995], precision=20.0), np.array([[[1.0]] * 400, [[-1.0]] * 400])
    >>> stack.learn(np.zeros((400, 1)), said, np.array([1, 1, 1, 0] * 100))
    >>> stack.learn(np.zeros((400, 1)), said, np.array([1, 1, 1, 0] * 100))
    >>> bool(0.8 < corrected(np.zeros((1, 1)), said[:, :1], stack.table[None])[0, 0] < 1.2)
    True
    """

    __slots__ = ("_squares", "_sums", "_trust", "table")

    def __init__(self, arms: int, decays: Sequence[float], precision: float) -> None:
        self._sums = [Sum(arms, decay, precision) for decay in decays]
        self._squares = np.ones((2, arms)) * _FIRST_ROWS  # of distances, decayed; and of how many numbers
        equal = (1.0 / (1 + len(decays)),) * (1 + len(decays))
        self._trust = Trust(equal, equal, Memory(rows=TRUST_ROWS))
        self._settle()

    def _settle(self) -> None:
        weights = self._trust.weights[1:].tolist()
        coefficients = sum(weight * each.theta for weight, each in zip(weights, self._sums, strict=True))
        self.table: Floats = np.concatenate((coefficients, self._limits))

    @property
    def _limits(self) -> Floats:
        found: Floats = AWAY_MAX * np.sqrt(self._squares[0] / self._squares[1])
        return found

    @property
    def coefficients(self) -> Floats:
        """Of each arm's distance from the mean, (arms,)."""
        return self.table[: self._squares.shape[1]]

    def learn(self, mean: Floats, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        """n rows: their mean (n, C-1), what each arm said (arms, n, C-1), NaN = nothing; labels (n,) from 0 to C-1.

        All are weighed as they are before they learn these rows.
        """
        for start in range(0, len(labels), PART_ROWS):
            part = slice(start, start + PART_ROWS)
            self._learn(mean[part], said[:, part], labels[part])
        self._settle()

    def _learn(self, mean: Floats, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        there, versions = ~np.isnan(said[:, :, 0]), [mean]
        away = _bounded(said - mean, self._limits[:, None, None])
        for each in self._sums:
            versions.append(each.said(mean, away))
            each.learn(mean, away, there, labels)
        self._trust.weigh(losses_of(np.stack(versions), labels).sum(axis=1), labels > 0)
        # As slowly as the sum that remembers longest, while an arm speaks: one that never does keeps its guess.
        spoken = there.sum(axis=1)
        self._squares *= [self._sums[-1].keep(rows) for rows in spoken.tolist()]
        self._squares += np.stack([(away * away).sum(axis=(1, 2)), spoken * mean.shape[1]])

    def worth(self) -> Floats:
        """What each arm's coefficients save in a row, (arms,), in nats, as far as the sums are trusted."""
        weights = self._trust.weights[1:].tolist()
        found: Floats = np.sum([w * each.worth() for w, each in zip(weights, self._sums, strict=True)], axis=0)
        return found

    def drop(self, arm: int) -> None:
        """An arm rests."""
        for each in self._sums:
            each.drop(arm)
        self._settle()

    def alarm(self) -> None:
        """The stream has changed: the mean alone is served, until the sums are found to be better again."""
        self._trust.weights = np.eye(len(self._trust.weights))[0]
        self._settle()

    def state(self) -> list[object]:
        return [self._trust.state(), self._squares, *(each.state() for each in self._sums)]


def corrected(mean: Floats, said: Floats, tables: Floats) -> Floats:
    """What is served of n rows, (n, C-1): of a mean (n, C-1), what each arm says (arms, n, C-1), NaN = nothing, and the
    `table` of each row's stack, (n, 2 arms).
    """
    arms = len(said)
    coefficients, limits = tables.T[:arms, :, None], tables.T[arms:, :, None]
    found: Floats = np.add.reduce(_bounded(said - mean, limits) * coefficients, axis=0)
    found += mean
    return found


def _bounded(away: Floats, limits: Floats) -> Floats:
    """How far each arm is from the mean, (arms, n, C-1), within its limits; one that says nothing is not."""
    found: Floats = np.minimum(np.maximum(away, -limits), limits)
    found[np.isnan(found)] = 0.0
    return found
