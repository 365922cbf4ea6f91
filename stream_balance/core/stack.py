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
_SLOPE_MIN, _MAX = 0.1, 5.0  # no coefficient is beyond
_OTHERS = 2  # features before those of the arms: 1, and the mean


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

    __slots__ = ("_decay", "_h", "_moments", "_precision", "theta")

    def __init__(self, arms: int, decay: float, precision: float) -> None:
        self._decay, self._precision = decay, precision
        self._moments = Moments(0.0)
        self._h = np.eye(_OTHERS + arms) * precision
        self.theta = np.zeros(_OTHERS + arms)  # shift around the centre, slope, coefficients
        self.theta[1] = 1.0

    @property
    def affine(self) -> Floats:
        """Shift around 0, slope, coefficients, (2 + arms,)."""
        found: Floats = self.theta.copy()
        found[0] += (1.0 - found[1]) * self._moments.mean
        return found

    def learn(self, mean: Floats, away: Floats, labels: npt.NDArray[np.intp]) -> None:
        """n rows: mean (n, C-1), distances of the arms from it (arms, n, C-1), labels (n,)."""
        keep = self._decay ** len(labels)
        self._move(mean, keep)
        x = np.concatenate((np.ones_like(mean)[None], mean[None] - self._moments.mean, away))
        p = _probabilities(np.tensordot(self.theta, x, axes=1) + self._moments.mean)
        flat, weighed = x.reshape(len(x), -1), (x * p).reshape(len(x), -1)
        whole = (x * p).sum(axis=2)
        missing = (labels[:, None] == np.arange(1, p.shape[1] + 1)) - p
        pull = (1.0 - keep) * self._precision
        self._h = self._h * keep + weighed @ flat.T - whole @ whole.T
        self._h[np.diag_indices_from(self._h)] += pull
        gradient = flat @ missing.ravel() - pull * self.theta
        gradient[1] += pull
        self.theta = np.clip(self.theta + np.linalg.solve(self._h, gradient), -_MAX, _MAX)
        self.theta[1] = max(self.theta[1], _SLOPE_MIN)

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
        found: Floats = (1.0 - self._decay) * self.theta[_OTHERS:] ** 2 / (2.0 * spread)
        return found

    def state(self) -> list[object]:
        return [self.theta, self._h, self._moments.state()]


class Stack:
    """The mean as it is, and one sum for each decay, weighed against each other by their losses (see `Trust`).

    So what was learned before a drift costs little after it, and what holds for long is known well. `shift`, `slope`
    and `coefficients` are what comes of all.

    >>> stack, said = Stack(2, [0.9995], precision=20.0), np.array([[[1.0]] * 400, [[-1.0]] * 400])
    >>> stack.learn(np.zeros((400, 1)), said, np.array([1, 1, 1, 0] * 100))
    >>> stack.learn(np.zeros((400, 1)), said, np.array([1, 1, 1, 0] * 100))
    >>> bool(0.9 < stack.corrected(np.zeros((1, 1)), said[:, :1]).item() < 1.2)
    True
    """

    __slots__ = ("_sums", "_trust", "coefficients", "shift", "slope")

    def __init__(self, arms: int, decays: Sequence[float], precision: float) -> None:
        self._sums = [Sum(arms, decay, precision) for decay in decays]
        equal = (1.0 / (1 + len(decays)),) * (1 + len(decays))
        self._trust = Trust(equal, equal, TRUST_DISCOUNT)
        self._settle()

    def _settle(self) -> None:
        mean, *others = self._trust.weights.tolist()
        affine = sum(weight * each.affine for weight, each in zip(others, self._sums, strict=True))
        self.shift, self.slope = float(affine[0]), mean + float(affine[1])
        self.coefficients: Floats = affine[_OTHERS:]

    def corrected(self, mean: Floats, said: Floats) -> Floats:
        """Of a mean (n, C-1) and what each arm says, (arms, n, C-1), NaN = nothing."""
        found: Floats = self.shift + self.slope * mean + np.tensordot(self.coefficients, _away(mean, said), axes=1)
        return found

    def shares(self, weights: Floats) -> Floats:
        """The log odds of all arms times these, (arms,), and the shift: what comes to the same where all say something
        and the mean is theirs with `weights`.
        """
        found: Floats = (self.slope - self.coefficients.sum()) * weights + self.coefficients
        return found

    def learn(self, mean: Floats, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        """n rows: their mean (n, C-1), what each arm said (arms, n, C-1), NaN = nothing; labels (n,) from 0 to C-1.

        All are weighed as they are before they learn these rows.
        """
        away, versions = _away(mean, said), [mean]
        for each in self._sums:
            shift, slope, *coefficients = each.affine.tolist()
            versions.append(shift + slope * mean + np.tensordot(coefficients, away, axes=1))
            each.learn(mean, away, labels)
        self._trust.weigh(losses_of(np.stack(versions), labels).sum(axis=1), len(labels))
        self._settle()

    def worth(self) -> Floats:
        """What each arm's coefficients save in a row, (arms,), in nats, as far as the sums are trusted."""
        weights = self._trust.weights[1:].tolist()
        found: Floats = np.sum([w * each.worth() for w, each in zip(weights, self._sums, strict=True)], axis=0)
        return found

    def state(self) -> list[object]:
        return [self._trust.state(), *(each.state() for each in self._sums)]


def _away(mean: Floats, said: Floats) -> Floats:
    """How far each arm is from the mean, (arms, n, C-1); one that says nothing is not."""
    away = said - mean
    away[np.isnan(away)] = 0.0
    return away


def _probabilities(odds: Floats) -> Floats:
    """Of classes 1..C-1 whose log odds against class 0 these are, (n, C-1)."""
    top = np.maximum(odds.max(axis=1, keepdims=True), 0.0)
    found: Floats = np.exp(odds - top)
    found /= found.sum(axis=1, keepdims=True) + np.exp(-top)
    return found
