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

BINS = 24  # that rows and outcomes are gathered in
PRIOR_ROWS_MAX = 1_000.0  # a prior of rare outcomes is worth no more rows than this
STEEPNESS_MIN = 0.01  # the order of scores is never turned around, nor lost
_SAME = 1e-6  # log odds that differ by less are the same place
_PRIOR_LOGIT_MAX = 30.0
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


def isotonic(rates: Floats, weights: Floats) -> Floats:
    """The nearest rates that never fall, (n,), in weighted squares.

    Isotonic regression (Ayer et al. 1955) by its min-max formula, max over a <= i of min over b >= i of the mean of
    a..b: for the few places of a straightener faster than pooling neighbours one by one.

    >>> isotonic(np.array([0.1, 0.5, 0.3]), np.array([1.0, 1.0, 3.0])).round(2).tolist()
    [0.1, 0.35, 0.35]
    """
    sums = np.concatenate(([0.0], (rates * weights).cumsum()))
    totals = np.concatenate(([0.0], weights.cumsum()))
    width = totals[1:] - totals[:-1, None]
    means = (sums[1:] - sums[:-1, None]) / np.where(width > 0.0, width, 1.0)  # row a, column b; b < a is never read
    lowest = np.minimum.accumulate(means[:, ::-1], axis=1)[:, ::-1]
    found: Floats = np.maximum.accumulate(lowest, axis=0).diagonal()
    return found


class Straightener:
    """Isotonic calibration of a stream (Zadrozny and Elkan, KDD 2002) on a history of a few bins.

    A bin has a place, the mean of its log odds, and decayed counts of its rows and outcomes. New rows join the bins and
    all are bundled anew, in order, into `BINS` of equal shares of rows and outcomes, half of each (after the streaming
    histograms of Ben-Haim and Tom-Tov, JMLR 2010): fine where rows are and where outcomes are, whatever their
    distribution. Each bin's rate, with a prior of k outcomes that all is right as it is, enters an isotonic regression;
    between the places its log odds are linear, and everywhere rise by `STEEPNESS_MIN` at least.

    >>> straightener = Straightener(decay=0.99, prior=1.0)
    >>> straightener.learn(np.full(100, -3.0), np.arange(100) < 20)
    >>> bool(0.8 < straightener.shift(np.array([-3.0]))[0] < 1.6)
    True
    """

    __slots__ = ("_fade", "_outcomes", "_places", "_prior", "_rows", "_seen", "_values", "_youth")

    def __init__(self, decay: float, prior: float, youth: float = 2.0) -> None:
        self._fade, self._prior, self._youth = 1.0 - decay, prior, youth
        self._seen = 0
        self._places = self._values = np.zeros(1)  # without any row nothing is known, and nothing moved
        self._rows, self._outcomes = np.zeros(0), np.zeros(0)

    def shift(self, logits: Floats) -> Floats:
        """What to add to each, (n,); NaN stays NaN."""
        if not len(self._rows):
            return logits * 0.0
        places = self._places
        beyond: Floats = np.minimum(logits - places[0], 0.0)
        beyond += np.maximum(logits - places[-1], 0.0)
        beyond *= STEEPNESS_MIN
        beyond += np.interp(logits, places, self._values)
        beyond -= logits
        return beyond

    def curve(self) -> Callable[[float], float]:
        """The same for one at a time, as it is now; not for NaN."""
        if not len(self._rows):
            return lambda logit: 0.0
        places, values = self._places.tolist(), self._values.tolist()
        steepness = [(b - a) / (y - x) for (x, y), (a, b) in zip(pairwise(places), pairwise(values), strict=True)]
        # Below the first place, above the last.
        lefts, heights, slopes = [places[0], *places], [values[0], *values], [STEEPNESS_MIN, *steepness, STEEPNESS_MIN]

        def shift(logit: float) -> float:
            at = bisect_right(places, logit)
            return float(heights[at] + slopes[at] * (logit - lefts[at]) - logit)

        return shift

    def learn(self, logits: Floats, outcomes: Outcomes) -> None:
        """n log odds as they were before the shift."""
        self._seen += len(logits)
        keep = (1.0 - max(self._fade, self._youth / (self._youth + self._seen))) ** len(logits)
        known = len(self._rows)
        places: Floats = np.concatenate((self._places[:known], logits))
        order = places.argsort(kind="stable")
        places = places[order]
        rows = np.concatenate((self._rows * keep, np.ones(len(logits))))[order]
        positive: Floats = np.concatenate((self._outcomes * keep, outcomes.astype(np.float64)))[order]
        at = _bundled(places, rows, positive)
        self._rows = np.bincount(at, rows).astype(np.float64)
        self._outcomes = np.bincount(at, positive).astype(np.float64)
        self._places = np.bincount(at, rows * places) / self._rows
        self._draw()

    def _draw(self) -> None:
        places = self._places
        bounded = np.minimum(np.maximum(places, -_PRIOR_LOGIT_MAX), _PRIOR_LOGIT_MAX)
        said = 1.0 / (1.0 + np.exp(-bounded))
        prior = np.minimum(self._prior / np.minimum(said, 1.0 - said), PRIOR_ROWS_MAX)
        weights = self._rows + prior
        rates = isotonic((self._outcomes + prior * said) / weights, weights)
        least = STEEPNESS_MIN * places
        above = np.log(rates / (1.0 - rates)) - least
        above = (np.maximum.accumulate(above) + np.minimum.accumulate(above[::-1])[::-1]) / 2.0
        self._values = above + least

    def state(self) -> list[object]:
        return [self._seen, self._places, self._rows, self._outcomes]


def _bundled(places: Floats, rows: Floats, outcomes: Floats) -> npt.NDArray[np.intp]:
    """By place, in order: its bin, from 0 on, none of them empty; those of the same log odds are in one."""
    whole, positive = np.add.reduce(rows), np.add.reduce(outcomes)
    shares = rows / whole
    if positive > 0.0:
        shares += outcomes / positive
    middle = shares.cumsum()
    middle -= shares / 2.0
    at = np.minimum((middle * (BINS / np.add.reduce(shares))).astype(np.intp), BINS - 1)
    begins = np.empty(len(places), dtype=np.bool_)
    begins[0] = True
    np.greater(places[1:] - places[:-1], _SAME, out=begins[1:])
    at = at[begins][begins.cumsum() - 1]
    found: npt.NDArray[np.intp] = np.concatenate(([0], (at[1:] > at[:-1]).cumsum()))
    return found


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
