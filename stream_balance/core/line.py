"""Line: what a straight line through log odds can put right, or one with elbows. In: log odds and outcomes of real
rows. Out: slopes, shift.

Recursive, one Newton step for many rows, with a prior that it is right as it is; it forgets.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from stream_balance.core.memory import Memory, Outcomes
from stream_balance.core.records import Floats

_FIRST_ROWS = 20.0  # what a first guess of mean and variance is worth
_SLOPE_MIN, _SLOPE_MAX, _SHIFT_MAX = 0.05, 50.0, 20.0  # a calibrator never turns the order of scores around
_VARIANCE_MIN = 1e-12  # of log odds that are all the same: a prior of nothing holds nothing
ELBOWS = 0.0, -1.0  # where a line bends, in deviations of the log odds from their mean


class Moments:
    """Decayed mean and variance of log odds, from a first guess of (`mean`, 1)."""

    __slots__ = ("mean", "variance", "weight")

    def __init__(self, mean: float) -> None:
        self.mean, self.variance, self.weight = mean, 1.0, _FIRST_ROWS

    def observe(self, values: Floats, keep: float) -> None:
        """Take in n values, of all before them a part `keep` is left."""
        before = self.weight * keep
        self.weight = before + len(values)
        away = values - self.mean
        step = float(away.sum()) / self.weight
        self.variance = (self.variance * before + float(away @ (away - step))) / self.weight
        self.mean += step

    def state(self) -> list[float]:
        return [self.mean, self.variance, self.weight]


class Line:
    """slope * x + bends @ min(x - elbows, 0) + centre + shift of x = logit - centre, by Newton steps on the decayed
    logistic loss with a fading-in prior; one elbow for each of the `bend_precisions`, the first of `ELBOWS`.

    Recursive form of Platt (1999): with precision P and prior (P0, theta0), examples z and outcomes y do
        P <- k P + (1 - k) P0 + sum p (1 - p) z z',
        theta <- theta + P^-1 (sum (y - p) z - (1 - k) P0 (theta - theta0)),
    where k is what its `Memory` keeps, theta holds the slope of each piece, from above down, and the shift, and z how
    much of x lies in each piece, and 1. A slope that would leave its bounds is held there, and the others are the best
    beside it: bounded one by one they would no longer fit each other. The prior holds the first slope to 1 and each
    other to the one above it.

    The centre is the decayed mean of the logits. Around 0 instead, where no logit of a rare class lies, slope and shift
    are so correlated that the first positives throw the probabilities up several times over (seen on the simulated shop
    with labels half an hour late: mean probability over rate 2.4 in a stretch of 12,000 rows). The prior of the slopes
    is worth less where the logits hardly differ, in proportion to their variance: a hinge margin may have to be
    stretched tenfold, which the data could never prove against a prior made for log odds (seen: ECE .36 of the rate).

    Nearly all outcomes of a rare class lie above the centre and decide its slope; what lies below, half of the rows,
    has another (seen: the lowest tenth of a network's rows at .6 of their true rate, of 3,000 outcomes), and the sixth
    that lies a deviation below one more: there log odds flatten into a floor of what nothing tells (.35 too low).
    Where outcomes are common it is the other way round: elbows help there too, but the prior is looser for the rarer
    side.
    """

    __slots__ = ("_as_it_is", "_elbows", "_h", "_prior", "_shift_precision", "memory", "moments", "shift", "slopes")

    def __init__(
        self, centre: float, memory: Memory, slope_precision: float, shift_precision: float,
        bend_precisions: tuple[float, ...] = (),
    ) -> None:  # fmt: skip
        self.moments = Moments(centre)
        self.memory = memory
        self._elbows = [ELBOWS[i] for i in range(len(bend_precisions))]
        pieces = 1 + len(bend_precisions)
        self.slopes = [1.0] * pieces
        self.shift = 0.0
        self._as_it_is = np.array([1.0] * pieces + [0.0])
        self._prior = of_slopes(np.diag([slope_precision, *bend_precisions, shift_precision]))
        self._shift_precision = shift_precision
        self._h: Floats = self._prior

    @property
    def intercept(self) -> float:
        """Above all elbows the map is slopes[0] * logit + intercept."""
        return self.shift + self.moments.mean * (1.0 - self.slopes[0])

    def elbows(self) -> list[tuple[float, float]]:
        """From above down: the log odds where it bends, and by how much it is steeper below."""
        places = (self.moments.mean + away for away in self._away())
        return [(place, below - above) for place, (above, below) in zip(places, pairwise(self.slopes), strict=True)]

    def _away(self) -> list[float]:
        """The elbows, from the centre."""
        deviation = math.sqrt(max(self.moments.variance, _VARIANCE_MIN))
        return [elbow * deviation for elbow in self._elbows]

    def apply(self, logits: Floats) -> Floats:
        """The map, of (n,)."""
        found: Floats = self.slopes[0] * logits + self.intercept
        for place, bend in self.elbows():
            if bend:
                found += bend * np.minimum(logits - place, 0.0)
        return found

    def learn_many(self, logits: Floats, outcomes: Outcomes) -> None:
        """One Newton step on n examples at once."""
        keep = self.memory.keep(outcomes)
        self._move(logits, keep)
        z, theta = self._pieces(logits - self.moments.mean), np.array([*self.slopes, self.shift])
        p = 1.0 / (1.0 + np.exp(-(theta @ z + self.moments.mean)))
        fresh = 1.0 - keep
        prior = fresh * min(max(self.moments.variance, _VARIANCE_MIN), 1.0) * self._prior
        prior[-1, -1] = fresh * self._shift_precision
        self._h = keep * self._h + prior + (z * (p * (1.0 - p))) @ z.T
        away = theta - self._as_it_is
        *self.slopes, shift = _stepped(theta, self._h, z @ (outcomes - p) - prior @ away).tolist()
        self.shift = min(max(shift, -_SHIFT_MAX), _SHIFT_MAX)

    def _pieces(self, x: Floats) -> Floats:
        """How much of each x, (n,), lies above the first elbow, between each two, and below the last, and 1:
        (pieces + 1, n).
        """
        found = np.ones((len(self.slopes) + 1, len(x)))
        found[0] = x
        for i, elbow in enumerate(self._away()):
            np.minimum(x - elbow, 0.0, out=found[i + 1])
            found[i] -= found[i + 1]
        return found

    def _move(self, logits: Floats, keep: float) -> None:
        """To a new centre. Above it the line stays where it is; elbows go with the centre and the deviation, so that
        what is below moves by bend times as much. What is known of bends is not turned with them: it soon is of rows
        around the new ones.
        """
        before = self.moments.mean
        self.moments.observe(logits, keep)
        moved = self.moments.mean - before
        self.shift += (self.slopes[0] - 1.0) * moved
        h = self._h = self._h.copy()
        h[0] -= moved * h[-1]
        h[:, 0] -= moved * h[:, -1]

    def state(self) -> list[object]:
        return [self.slopes, self.shift, self._h, *self.memory.state(), *self.moments.state()]


def of_slopes(h: Floats) -> Floats:
    """A precision of the first slope, of what each other is steeper than the one above it, and of the shift, as one of
    slopes and shift.
    """
    bends = np.eye(len(h)) - np.eye(len(h), k=-1)
    bends[-1, -2] = 0.0
    found: Floats = bends.T @ h @ bends
    return found


def _stepped(theta: Floats, h: Floats, g: Floats) -> Floats:
    """theta + h^-1 g, or near to the nearest in terms of h with all but the last within bounds."""
    found: Floats = theta + _solved(h, g)
    held = np.zeros(len(theta), dtype=np.bool_)
    for _ in theta[:-1]:
        beyond = [not _SLOPE_MIN <= slope <= _SLOPE_MAX for slope in found[:-1].tolist()]
        if not any(beyond):
            break
        held[:-1] |= beyond
        at = np.minimum(np.maximum(found, _SLOPE_MIN), _SLOPE_MAX)[held]
        found[~held] -= _solved(h[~held][:, ~held], h[~held][:, held] @ (at - found[held]))
        found[held] = at
    return found


def _solved(h: Floats, g: Floats) -> Floats:
    """h^-1 g; 0 of a curvature that has faded to nothing."""
    try:
        return np.linalg.solve(h, g).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        return np.zeros_like(g)
