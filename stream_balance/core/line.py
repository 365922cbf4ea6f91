"""Line: what a straight line through log odds can put right, or one with an elbow. In: log odds and outcomes of real
rows. Out: slopes, shift.

Recursive, one Newton step for many rows, with a prior that it is right as it is; it forgets.
"""

from __future__ import annotations

import numpy as np

from stream_balance.core.memory import Memory, Outcomes
from stream_balance.core.records import Floats

_FIRST_ROWS = 20.0  # what a first guess of mean and variance is worth
_SLOPE_MIN, _SLOPE_MAX, _SHIFT_MAX = 0.05, 50.0, 20.0  # a calibrator never turns the order of scores around


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
    """slope * x + bend * min(x, 0) + centre + shift of x = logit - centre, by Newton steps on the decayed logistic loss
    with a fading-in prior; without a `bend_precision` the bend stays 0.

    Recursive form of Platt (1999): with precision P and prior (P0, theta0), examples (x, min(x, 0), 1) and y do
        P <- k P + (1 - k) P0 + sum p (1 - p) x x',
        theta <- theta + P^-1 (sum (y - p) x - (1 - k) P0 (theta - theta0)),
    where k is what its `Memory` keeps.

    The centre is the decayed mean of the logits. Around 0 instead, where no logit of a rare class lies, slope and shift
    are so correlated that the first positives throw the probabilities up several times over (seen on the simulated shop
    with labels half an hour late: mean probability over rate 2.4 in a stretch of 12,000 rows). The prior of the slopes
    is worth less where the logits hardly differ, in proportion to their variance: a hinge margin may have to be
    stretched tenfold, which the data could never prove against a prior made for log odds (seen: ECE .36 of the rate).

    Nearly all outcomes of a rare class lie above the centre and decide its slope; what lies below, half of the rows,
    has another (seen: the lowest tenth of a network's rows at .6 of their true rate, of 3,000 outcomes).
    """

    __slots__ = ("_bend", "_h", "_prior", "memory", "moments", "shift", "slope")

    def __init__(
        self, centre: float, memory: Memory, slope_precision: float, shift_precision: float,
        bend_precision: float | None = None,
    ) -> None:  # fmt: skip
        self.moments = Moments(centre)
        self.memory = memory
        self.slope, self.shift = 1.0, 0.0
        bends = [] if bend_precision is None else [bend_precision]
        self._bend = [0.0] * len(bends)
        self._prior: Floats = np.array([slope_precision, *bends, shift_precision])
        self._h: Floats = np.diag(self._prior)

    @property
    def bend(self) -> float:
        """What the slope is more below the centre than above it."""
        return self._bend[0] if self._bend else 0.0

    @property
    def intercept(self) -> float:
        """Above the centre the map is slope * logit + intercept."""
        return self.shift + self.moments.mean * (1.0 - self.slope)

    def apply(self, logits: Floats) -> Floats:
        """The map, of (n,)."""
        found: Floats = self.slope * logits + self.intercept
        return found + self.bend * np.minimum(logits - self.moments.mean, 0.0) if self._bend else found

    def learn_many(self, logits: Floats, outcomes: Outcomes) -> None:
        """One Newton step on n examples at once."""
        keep = self.memory.keep(outcomes)
        self._move(logits, keep)
        centre, variance = self.moments.mean, min(self.moments.variance, 1.0)
        x = logits - centre
        inputs = np.stack([x, *[np.minimum(x, 0.0)] * len(self._bend), np.ones_like(x)])
        theta = np.array([self.slope, *self._bend, self.shift])
        p = 1.0 / (1.0 + np.exp(-(theta @ inputs + centre)))
        pull = (1.0 - keep) * self._prior
        pull[:-1] *= variance
        self._h = keep * self._h + (inputs * (p * (1.0 - p))) @ inputs.T
        self._h[np.diag_indices_from(self._h)] += pull
        away = theta.copy()
        away[0] -= 1.0
        theta += np.linalg.solve(self._h, inputs @ (outcomes - p) - pull * away)
        self.slope, *bend, self.shift = theta.tolist()
        self.slope = min(max(self.slope, _SLOPE_MIN), _SLOPE_MAX)
        self.shift = min(max(self.shift, -_SHIFT_MAX), _SHIFT_MAX)
        self._bend = [min(max(each, _SLOPE_MIN - self.slope), _SLOPE_MAX - self.slope) for each in bend]

    def _move(self, logits: Floats, keep: float) -> None:
        """To a new centre; the line stays where it is, an elbow goes with the centre."""
        before = self.moments.mean
        self.moments.observe(logits, keep)
        moved = self.moments.mean - before
        self.shift += (self.slope - 1.0) * moved
        self._h[0] -= moved * self._h[-1]
        self._h[:, 0] -= moved * self._h[:, -1]

    def state(self) -> list[object]:
        return [self.slope, *self._bend, self.shift, self._h, *self.memory.state(), *self.moments.state()]
