"""Straighten: what a straight line through log odds cannot put right, and how far corrections are to be trusted.

In: log odds and outcomes of real rows. Out: a shift for each log odds; weights of several versions of log odds.
A correction that nothing calls for costs little, for it gets little weight.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats

# In standard deviations of the log odds; denser where the rare outcomes are.
KNOTS = np.array([-1.5, -0.75, 0.0, 0.5, 1.0, 1.5, 2.25])
STEEPNESS_MIN = 0.1  # the order of scores is never turned around
_SPREAD_MIN = 1e-3
_FIRST_ROWS = 20.0  # what a first guess of mean and variance is worth
Outcomes = npt.NDArray[np.bool_]


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

    @property
    def spread(self) -> float:
        """Standard deviation, never 0."""
        return max(math.sqrt(max(self.variance, 0.0)), _SPREAD_MIN)

    def state(self) -> list[float]:
        return [self.mean, self.variance, self.weight]


class Straightener:
    """Outcomes seen against outcomes expected around a few knots of the log odds: ln((seen + k) / (expected + k)).

    Like histogram binning (Zadrozny and Elkan, ICML 2001), with rows shared between the knots they lie between, decayed
    sums and a prior of k outcomes at each knot that all is right as it is. Linear between the knots and monotone.

    >>> straightener = Straightener(centre=-3.0, decay=0.99, prior=1.0)
    >>> straightener.learn(np.full(100, -3.0), np.arange(100) < 20)
    >>> bool(0.8 < straightener.shift(np.array([-3.0]))[0] < 1.5)
    True
    """

    __slots__ = ("_expected", "_fade", "_moments", "_places", "_prior", "_rows", "_seen", "_shifts", "_youth")

    def __init__(self, centre: float, decay: float, prior: float, youth: float = 2.0) -> None:
        self._fade, self._prior, self._youth = 1.0 - decay, prior, youth
        self._moments = Moments(centre)
        self._rows = 0
        self._expected, self._seen = np.zeros(len(KNOTS)), np.zeros(len(KNOTS))
        self._draw()

    def _draw(self) -> None:
        self._places = self._moments.mean + KNOTS * self._moments.spread
        wanted = self._places + np.log((self._seen + self._prior) / (self._expected + self._prior))
        least = STEEPNESS_MIN * self._places
        self._shifts = np.maximum.accumulate(wanted - least) + least - self._places

    def shift(self, logits: Floats) -> Floats:
        """What to add to each, (n,); NaN stays NaN."""
        found: Floats = np.interp(logits, self._places, self._shifts)
        return found

    def curve(self) -> Callable[[float], float]:
        """The same for one at a time, as it is now; not for NaN."""
        places, shifts = self._places.tolist(), self._shifts.tolist()
        steepness = [(b - a) / (y - x) for (x, y), (a, b) in zip(pairwise(places), pairwise(shifts), strict=True)]

        def shift(logit: float) -> float:
            if logit <= places[0]:
                return float(shifts[0])
            if logit >= places[-1]:
                return float(shifts[-1])
            left = bisect_right(places, logit) - 1
            return float(shifts[left] + steepness[left] * (logit - places[left]))

        return shift

    def learn(self, logits: Floats, outcomes: Outcomes) -> None:
        """n log odds as they were before the shift."""
        self._rows += len(logits)
        keep = (1.0 - max(self._fade, self._youth / (self._youth + self._rows))) ** len(logits)
        self._moments.observe(logits, keep)
        at = np.clip((logits - self._moments.mean) / self._moments.spread, KNOTS[0], KNOTS[-1])
        left = np.minimum(np.searchsorted(KNOTS, at, side="right") - 1, len(KNOTS) - 2)
        part = (at - KNOTS[left]) / (KNOTS[left + 1] - KNOTS[left])

        def shared(values: Floats) -> Floats:
            found = np.bincount(left, values * (1.0 - part), len(KNOTS)).astype(np.float64)
            found += np.bincount(left + 1, values * part, len(KNOTS))
            return found

        self._expected = self._expected * keep + shared(1.0 / (1.0 + np.exp(-logits)))
        self._seen = self._seen * keep + shared(outcomes.astype(np.float64))
        self._draw()

    def state(self) -> list[object]:
        return [self._moments.state(), self._rows, self._expected, self._seen]


class Trust:
    """Weights of several versions of the same log odds, by their log-loss; the served one is their mean.

    A correction that brings nothing is noise, and costs; weighed against the word as it was it costs a part of that.
    Weights begin with `first`; every row moves a part 1 - `discount` of them to `back` (fixed share: Herbster and
    Warmuth, "Tracking the best expert", 1998), so that a version that was worse for long is back within
    -ln(1 - discount) nats. With discounted losses, small but lasting differences, as at 1 %, could never be told.

    >>> trust = Trust([0.5, 0.5], [0.5, 0.5], discount=0.99999)
    >>> trust.learn(np.array([[0.0] * 20, [-3.0] * 20]), np.zeros(20, dtype=bool))
    >>> bool(trust.weights[1] > 0.99)
    True
    """

    __slots__ = ("_back", "_discount", "weights")

    def __init__(self, first: Sequence[float], back: Sequence[float], discount: float) -> None:
        self._discount = discount
        self._back: Floats = np.array(back)
        self.weights: Floats = np.array(first)

    def learn(self, versions: Floats, outcomes: Outcomes) -> None:
        """n log odds in each version, (versions, n)."""
        losses = np.logaddexp(0.0, np.where(outcomes, -versions, versions)).sum(axis=1)
        found = self.weights * np.exp(losses.min() - losses)
        left = self._discount ** len(outcomes)
        self.weights = found * (left / found.sum()) + self._back * (1.0 - left)

    def state(self) -> list[object]:
        return [self.weights]
