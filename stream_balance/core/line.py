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
_VARIANCE_MIN = 1e-12  # of log odds that are all the same: a prior of nothing holds nothing


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

    Recursive form of Platt (1999): with precision P and prior (P0, theta0), examples z = (x, min(x, 0), 1) and y do
        P <- k P + (1 - k) P0 + sum p (1 - p) z z',
        theta <- theta + P^-1 (sum (y - p) z - (1 - k) P0 (theta - theta0)),
    where k is what its `Memory` keeps. A slope that would leave its bounds is held there, and the others are the best
    beside it: bounded one by one they would no longer fit each other.

    The centre is the decayed mean of the logits. Around 0 instead, where no logit of a rare class lies, slope and shift
    are so correlated that the first positives throw the probabilities up several times over (seen on the simulated shop
    with labels half an hour late: mean probability over rate 2.4 in a stretch of 12,000 rows). The prior of the slopes
    is worth less where the logits hardly differ, in proportion to their variance: a hinge margin may have to be
    stretched tenfold, which the data could never prove against a prior made for log odds (seen: ECE .36 of the rate).

    Nearly all outcomes of a rare class lie above the centre and decide its slope; what lies below, half of the rows,
    has another (seen: the lowest tenth of a network's rows at .6 of their true rate, of 3,000 outcomes). Where outcomes
    are common it is the other way round: an elbow helps there too, but the prior is looser for the rarer side.
    """

    __slots__ = ("_h", "_precisions", "bend", "memory", "moments", "shift", "slope")

    def __init__(
        self, centre: float, memory: Memory, slope_precision: float, shift_precision: float,
        bend_precision: float | None = None,
    ) -> None:  # fmt: skip
        self.moments = Moments(centre)
        self.memory = memory
        self.slope, self.bend, self.shift = 1.0, 0.0, 0.0
        self._precisions = slope_precision, bend_precision, shift_precision
        # P, row by row from its diagonal on: of the slope, the bend and the shift.
        self._h = slope_precision, 0.0, 0.0, bend_precision or 1.0, 0.0, shift_precision

    @property
    def intercept(self) -> float:
        """Above the centre the map is slope * logit + intercept."""
        return self.shift + self.moments.mean * (1.0 - self.slope)

    def apply(self, logits: Floats) -> Floats:
        """The map, of (n,)."""
        found: Floats = self.slope * logits + self.intercept
        if self.bend:
            found += self.bend * np.minimum(logits - self.moments.mean, 0.0)
        return found

    def learn_many(self, logits: Floats, outcomes: Outcomes) -> None:
        """One Newton step on n examples at once."""
        slope_precision, bend_precision, shift_precision = self._precisions
        keep = self.memory.keep(outcomes)
        self._move(logits, keep)
        centre, variance = self.moments.mean, min(max(self.moments.variance, _VARIANCE_MIN), 1.0)
        x = logits - centre
        said = self.slope * x + (centre + self.shift)
        below = None if bend_precision is None else np.minimum(x, 0.0)
        if below is not None:
            said += self.bend * below
        p = 1.0 / (1.0 + np.exp(-said))
        w, error = p * (1.0 - p), outcomes - p
        wx, pull = w * x, (1.0 - keep) * variance * slope_precision
        pull_shift = (1.0 - keep) * shift_precision
        h00, h01, h02, h11, h12, h22 = self._h
        h00 = keep * h00 + pull + float(wx @ x)
        h02 = keep * h02 + float(wx.sum())
        h22 = keep * h22 + pull_shift + float(w.sum())
        g0 = float(error @ x) - pull * (self.slope - 1.0)
        g2 = float(error.sum()) - pull_shift * self.shift
        g1 = 0.0
        if below is not None and bend_precision is not None:
            w_below, pull = w * below, (1.0 - keep) * variance * bend_precision
            squares = float(w_below @ below)  # x min(x, 0) is the square of min(x, 0)
            h01, h11 = keep * h01 + squares, keep * h11 + pull + squares
            h12 = keep * h12 + float(w_below.sum())
            g1 = float(error @ below) - pull * self.bend
        self._h = h00, h01, h02, h11, h12, h22
        self.slope, self.bend, shift = _stepped((self.slope, self.bend, self.shift), self._h, (g0, g1, g2))
        self.shift = min(max(shift, -_SHIFT_MAX), _SHIFT_MAX)

    def _move(self, logits: Floats, keep: float) -> None:
        """To a new centre. Above it the line stays where it is; an elbow goes with the centre, so that what is below
        moves by bend times as much.
        """
        before = self.moments.mean
        self.moments.observe(logits, keep)
        moved = self.moments.mean - before
        self.shift += (self.slope - 1.0) * moved
        h00, h01, h02, h11, h12, h22 = self._h
        self._h = (
            h00 + moved * (moved * h22 - 2.0 * h02), h01 - moved * h12, h02 - moved * h22, h11, h12, h22,
        )  # fmt: skip

    def state(self) -> list[float]:
        return [self.slope, self.bend, self.shift, *self._h, *self.memory.state(), *self.moments.state()]


_Three = tuple[float, float, float]
_Symmetric = tuple[float, float, float, float, float, float]


def _stepped(theta: _Three, h: _Symmetric, g: _Three) -> _Three:
    """theta + h^-1 g, or the nearest in terms of h with both slopes, above the elbow and below it, within bounds.

    By cofactors: for three numbers ten times as fast as a library that first makes them a matrix.
    """
    h00, h01, h02, h11, h12, h22 = h
    c00, c01, c02 = h11 * h22 - h12 * h12, h02 * h12 - h01 * h22, h01 * h12 - h02 * h11
    c11, c12, c22 = h00 * h22 - h02 * h02, h01 * h02 - h00 * h12, h00 * h11 - h01 * h01
    determinant = h00 * c00 + h01 * c01 + h02 * c02
    g0, g1, g2 = g[0] / determinant, g[1] / determinant, g[2] / determinant
    slope = theta[0] + c00 * g0 + c01 * g1 + c02 * g2
    bend = theta[1] + c01 * g0 + c11 * g1 + c12 * g2
    shift = theta[2] + c02 * g0 + c12 * g1 + c22 * g2
    above, below = _bounded(slope), _bounded(slope + bend)
    if above == slope and below == slope + bend:
        return slope, bend, shift
    if below == slope + bend:  # the slope above is held: along the first column of the inverse
        away = (above - slope) / c00
        slope, bend, shift = above, bend + away * c01, shift + away * c02
    elif above == slope:  # that below: along the sum of the first two
        away = (below - slope - bend) / (c00 + 2.0 * c01 + c11)
        slope += away * (c00 + c01)
        bend, shift = below - slope, shift + away * (c02 + c12)
    # Both, or the other one too after that: the shift alone is free.
    above, below = _bounded(slope), _bounded(slope + bend)
    return above, below - above, shift - (h02 * (above - slope) + h12 * (below - above - bend)) / h22


def _bounded(slope: float) -> float:
    return min(max(slope, _SLOPE_MIN), _SLOPE_MAX)
