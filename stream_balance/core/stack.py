"""Stack: what arms know beyond their weighted mean. In: that mean and what each arm said of real rows, and labels.
Out: a slope of the mean, a shift, and a coefficient of each arm.

Weights by loss tend to the arm that is best alone; where arms err on different rows, a sum of them is better than any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stream_balance.core.line import Moments
from stream_balance.core.records import Floats
from stream_balance.core.said import losses_of
from stream_balance.core.straighten import Trust

TRUST_DISCOUNT = 0.9999  # what a row leaves of the weights of the mean and of the sums
PART_ROWS = 256  # so many are learned by one step at most
AWAY_MAX = 3.0  # an arm is never further from the mean than this many of its usual distances: labels may be late
_SLOPE_MIN, _MAX = 0.1, 5.0  # no coefficient is beyond
_FIRST_ROWS = 20.0  # what a first guess of a usual distance, 1, is worth
_OTHERS = 2  # features before those of the arms: 1, and the mean

Bools = npt.NDArray[np.bool_]


class Sum:
    """Log odds = shift + slope * mean + sum of coefficients * (arm's log odds - mean), by recursive Newton steps.

    Stacked generalisation (Wolpert 1992; for probabilities as a logistic regression on log odds: Ting and Witten, JAIR
    1999), on a stream as online Newton steps (Hazan, Agarwal, Kale 2007) that forget. As in `Line`, with features x
    (1, the mean less its own decayed mean, what each arm adds), precision H and prior (h0 I around theta0: slope 1, all
    else 0):
        H <- k H + (1 - k) h0 I + sum p (1 - p) x x',
        theta <- theta + H^-1 (sum (y - p) x - (1 - k) h0 (theta - theta0))
    for n rows at once, k = decay^n. With several classes p is a softmax against class 0 and coefficients are of all
    classes: sum over c of p_c x_c x_c' less the outer product of sum p_c x_c. An arm that says nothing adds nothing.
    """

    __slots__ = ("_decay", "_h", "_moments", "_precision", "_spoken", "theta")

    def __init__(self, arms: int, decay: float, precision: float) -> None:
        self._decay, self._precision = decay, precision
        self._moments = Moments(0.0)
        self._h = np.eye(_OTHERS + arms) * precision
        self._spoken = np.zeros(arms)  # rows that each arm has spoken of, as far as they are remembered
        self.theta = np.zeros(_OTHERS + arms)  # shift around the centre, slope, coefficients
        self.theta[1] = 1.0

    @property
    def affine(self) -> Floats:
        """Shift around 0, slope, coefficients, (2 + arms,)."""
        found: Floats = self.theta.copy()
        found[0] += (1.0 - found[1]) * self._moments.mean
        return found

    def learn(self, mean: Floats, away: Floats, there: Bools, labels: npt.NDArray[np.intp]) -> None:
        """n rows: mean (n, C-1), distances of the arms from it (arms, n, C-1), who spoke (arms, n), labels (n,)."""
        keep = self.keep(len(labels))
        self._move(mean, keep)
        self._spoken = self._spoken * keep + there.sum(axis=1)
        x = np.concatenate((np.ones_like(mean)[None], mean[None] - self._moments.mean, away))
        flat = x.reshape(len(x), -1)
        p = _probabilities((self.theta @ flat).reshape(mean.shape) + self._moments.mean)
        weighed = flat * p.ravel()
        whole = weighed.reshape(x.shape).sum(axis=2)
        missing = (labels[:, None] == np.arange(1, p.shape[1] + 1)) - p
        pull = (1.0 - keep) * self._precision
        self._h = self._h * keep + weighed @ flat.T - whole @ whole.T
        self._h[np.diag_indices_from(self._h)] += pull
        gradient = flat @ missing.ravel() - pull * self.theta
        gradient[1] += pull
        self.theta = np.clip(self.theta + np.linalg.solve(self._h, gradient), -_MAX, _MAX)
        self.theta[1] = max(self.theta[1], _SLOPE_MIN)

    def keep(self, rows: int) -> float:
        """What is left of the past after so many rows."""
        return self._decay**rows

    def _move(self, mean: Floats, keep: float) -> None:
        """To a new centre; what is said stays as it is."""
        before = self._moments.mean
        self._moments.observe(mean.ravel(), keep)
        moved = self._moments.mean - before
        self.theta[0] += (self.theta[1] - 1.0) * moved
        self._h[1] -= moved * self._h[0]
        self._h[:, 1] -= moved * self._h[:, 0]

    def worth(self) -> Floats:
        """What each arm's coefficient saves in a row, (arms,), in nats: theta^2 / (2 (H^-1)_ii) of all remembered ones.

        The saliency of a weight, all others following (Hassibi and Stork, "Optimal brain surgeon", 1993).
        """
        spread = np.linalg.inv(self._h).diagonal()[_OTHERS:]
        found: Floats = self.theta[_OTHERS:] ** 2 / (2.0 * spread) / np.maximum(self._spoken, 1.0)
        return found

    def drop(self, arm: int) -> None:
        """An arm rests: the others take over what they can of it (the brain surgeon's step), and it begins anew."""
        place = _OTHERS + arm
        column = np.linalg.inv(self._h)[:, place]
        self.theta = self.theta - self.theta[place] / column[place] * column
        self.theta[1] = max(self.theta[1], _SLOPE_MIN)
        self.theta[place] = 0.0
        self._h[place] = self._h[:, place] = 0.0
        self._h[place, place] = self._precision
        self._spoken[arm] = 0.0

    def state(self) -> list[object]:
        return [self.theta, self._h, self._moments.state(), self._spoken]


class Stack:
    """The mean as it is, and one sum for each decay, weighed against each other by their losses (see `Trust`).

    So what was learned before a drift costs little after it, and what holds for long is known well. `table` is what
    comes of all: shift, slope, then coefficients, then the distances beyond which an arm counts as no further.

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
        self._trust = Trust(equal, equal, TRUST_DISCOUNT)
        self._settle()

    def _settle(self) -> None:
        mean, *others = self._trust.weights.tolist()
        affine = sum(weight * each.affine for weight, each in zip(others, self._sums, strict=True))
        affine[1] += mean
        self.table: Floats = np.concatenate((affine, self._limits))

    @property
    def _limits(self) -> Floats:
        found: Floats = AWAY_MAX * np.sqrt(self._squares[0] / self._squares[1])
        return found

    @property
    def coefficients(self) -> Floats:
        """Of each arm's distance from the mean, (arms,)."""
        return self.table[_OTHERS : _OTHERS + self._squares.shape[1]]

    def learn(self, mean: Floats, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        """n rows: their mean (n, C-1), what each arm said (arms, n, C-1), NaN = nothing; labels (n,) from 0 to C-1.

        All are weighed as they are before they learn these rows.
        """
        for start in range(0, len(labels), PART_ROWS):
            part = slice(start, start + PART_ROWS)
            self._learn(mean[part], said[:, part], labels[part])
        self._settle()

    def _learn(self, mean: Floats, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        raw, there = said - mean, ~np.isnan(said[:, :, 0])
        away, versions = _bounded(raw, self._limits[:, None, None]), [mean]
        flat = away.reshape(len(away), -1)
        for each in self._sums:
            affine = each.affine
            versions.append(affine[0] + affine[1] * mean + (affine[_OTHERS:] @ flat).reshape(mean.shape))
            each.learn(mean, away, there, labels)
        self._trust.weigh(losses_of(np.stack(versions), labels).sum(axis=1), len(labels))
        # As slowly as the sum that remembers longest; what is far out counts as no further.
        numbers = there.sum(axis=1) * mean.shape[1]
        self._squares *= self._sums[-1].keep(len(labels))
        self._squares += np.stack([(flat * flat).sum(axis=1), numbers])

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
    `table` of each row's stack, (n, 2 + 2 arms).
    """
    arms = len(said)
    coefficients, limits = tables.T[_OTHERS : _OTHERS + arms, :, None], tables.T[_OTHERS + arms :, :, None]
    found: Floats = np.add.reduce(_bounded(said - mean, limits) * coefficients, axis=0)
    found += tables[:, :1]
    found += tables[:, 1:2] * mean
    return found


def _bounded(away: Floats, limits: Floats) -> Floats:
    """How far each arm is from the mean, (arms, n, C-1), within its limits; one that says nothing is not."""
    found: Floats = np.minimum(np.maximum(away, -limits), limits)
    found[np.isnan(found)] = 0.0
    return found


def _probabilities(odds: Floats) -> Floats:
    """Of classes 1..C-1 whose log odds against class 0 these are, (n, C-1)."""
    top = np.maximum(odds.max(axis=1, keepdims=True), 0.0)
    found: Floats = np.exp(odds - top)
    found /= found.sum(axis=1, keepdims=True) + np.exp(-top)
    return found
