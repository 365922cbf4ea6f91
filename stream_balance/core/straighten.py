"""Straighten: what a straight line through log odds cannot put right, and how far corrections are to be trusted.

In: log odds and outcomes of real rows. Out: a shift for each log odds; weights of several versions of log odds.
A correction that nothing calls for costs little, for it gets little weight.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from stream_balance.core.memory import Memory, Outcomes
from stream_balance.core.records import Floats

BINS = 24  # that rows and outcomes are gathered in
PRIOR_ROWS_MAX = 1_000.0  # a prior of rare outcomes is worth no more rows than this
TILT = 0.1  # of a difference in log odds is kept where an isotonic regression sees none: plateaus tie rows
# Beyond the outermost places, means of the outermost bins, the shift stays as it is for so far, then log odds rise by
# this much of theirs: a model whose scale grows is followed. On the side of the commoner kind by a part of both, which
# falls with the cube of the rarer kind's share and is never nothing, so that no rows are tied: that few rows are still
# less likely than the least likely nothing shows, and a model that swears on them may know nothing of them (seen: a
# tree's leaves that say 0 where the truth is the average rate).
REACH, STEEPNESS_BEYOND = 0.5, 0.1
PART_MIN = 0.01
_SAME = 1e-6  # log odds that differ by less are the same place
_LOGIT_MAX = 15.0  # beyond it log odds are taken for this


def isotonic(rates: Floats, weights: Floats) -> Floats:
    """The nearest rates that never fall, (n,), in weighted squares.

    Isotonic regression by pooling adjacent violators (Ayer et al. 1955); pools of equal rates are one.

    >>> isotonic(np.array([0.1, 0.5, 0.3]), np.array([1.0, 1.0, 3.0])).round(2).tolist()
    [0.1, 0.35, 0.35]
    """
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for rate, weight in zip(rates.tolist(), weights.tolist(), strict=True):
        mean, mass, count = rate, weight, 1
        while means and means[-1] >= mean:
            before = masses.pop()
            mean = (mean * mass + means.pop() * before) / (mass + before)
            mass += before
            count += counts.pop()
        means.append(mean)
        masses.append(mass)
        counts.append(count)
    return np.repeat(means, counts)


class Straightener:
    """Isotonic calibration of a stream (Zadrozny and Elkan, KDD 2002) on a history of a few bins.

    A bin has decayed counts of its rows and outcomes, and a place: the log odds of the mean of what was said of them.
    New rows join the bins and all are bundled anew, in order, into `BINS` of equal shares of rows and outcomes, half of
    each (after the streaming histograms of Ben-Haim and Tom-Tov, JMLR 2010): fine where rows are and where outcomes
    are, whatever their distribution. Each bin's rate, with a prior of k outcomes that all is right as it is, enters an
    isotonic regression; bins that it pools are tilted around their mean. Between the places log odds are linear.

    >>> straightener = Straightener(Memory(rows=100), prior=1.0)
    >>> straightener.learn(np.full(100, -3.0), np.arange(100) < 20)
    >>> bool(0.8 < straightener.shift(np.array([-3.0]))[0] < 1.6)
    True
    """

    __slots__ = ("_beyond", "_ends", "_memory", "_outcomes", "_places", "_prior", "_rows", "_turns")

    def __init__(self, memory: Memory, prior: float) -> None:
        self._memory, self._prior = memory, prior
        self._places, self._rows, self._outcomes = np.zeros(0), np.zeros(0), np.zeros(0)
        self._turns = self._ends = np.zeros(0)  # log odds where the map has another slope, and what becomes of them
        self._beyond = (1.0, 1.0)  # its slopes below the first and above the last

    def shift(self, logits: Floats) -> Floats:
        """What to add to each, (n,); NaN stays NaN."""
        if not len(self._rows):
            return logits * 0.0
        turns, (below, above) = self._turns, self._beyond
        found: Floats = np.minimum(logits - turns[0], 0.0)
        found *= below
        found += above * np.maximum(logits - turns[-1], 0.0)
        found += np.interp(logits, turns, self._ends)
        found -= logits
        return found

    def curve(self) -> Callable[[float], float]:
        """The same for one at a time, as it is now; not for NaN."""
        if not len(self._rows):
            return lambda logit: 0.0
        places, values = self._turns.tolist(), self._ends.tolist()
        steepness = [(b - a) / (y - x) for (x, y), (a, b) in zip(pairwise(places), pairwise(values), strict=True)]
        # Below the first place, above the last.
        lefts, heights = [places[0], *places], [values[0], *values]
        slopes = [self._beyond[0], *steepness, self._beyond[1]]

        def shift(logit: float) -> float:
            at = bisect_right(places, logit)
            return float(heights[at] + slopes[at] * (logit - lefts[at]) - logit)

        return shift

    def learn(self, logits: Floats, outcomes: Outcomes) -> None:
        """n log odds as they were before the shift."""
        keep = self._memory.keep(outcomes)
        bounded = np.minimum(np.maximum(logits, -_LOGIT_MAX), _LOGIT_MAX)
        places: Floats = np.concatenate((self._places, bounded))
        order = places.argsort(kind="stable")
        places = places[order]
        rows = np.concatenate((self._rows * keep, np.ones(len(logits))))[order]
        positive: Floats = np.concatenate((self._outcomes * keep, outcomes.astype(np.float64)))[order]
        at = _bundled(places, rows, positive)
        self._rows = np.bincount(at, rows).astype(np.float64)
        self._outcomes = np.bincount(at, positive).astype(np.float64)
        said = np.bincount(at, rows / (1.0 + np.exp(-places))) / self._rows
        self._places = np.log(said / (1.0 - said))
        self._draw(said)

    def begin_anew(self, rows: int) -> None:
        """What is older than the latest rows is soon forgotten."""
        self._memory.begin_anew(rows)

    def _draw(self, said: Floats) -> None:
        prior = np.minimum(self._prior / np.minimum(said, 1.0 - said), PRIOR_ROWS_MAX)
        weights = self._rows + prior
        rates = isotonic((self._outcomes + prior * said) / weights, weights)
        pool = np.concatenate(([0], (rates[1:] > rates[:-1]).cumsum()))
        centre = np.bincount(pool, said * weights) / np.bincount(pool, weights)
        flat = np.log(rates / (1.0 - rates)) - TILT * np.log(centre / (1.0 - centre))[pool]
        # Where tilted pools overlap, half way between what rises to the right and what falls to the left.
        flat = (np.maximum.accumulate(flat) + np.minimum.accumulate(flat[::-1])[::-1]) / 2.0
        ends, places = flat + TILT * self._places, self._places
        share = float(self._outcomes.sum() / self._rows.sum())
        below, above = (min(max((2.0 * kind) ** 3, PART_MIN), 1.0) for kind in (share, 1.0 - share))
        self._beyond = STEEPNESS_BEYOND * below, STEEPNESS_BEYOND * above
        below, above = REACH * below, REACH * above
        self._turns = np.concatenate(([places[0] - below], places, [places[-1] + above]))
        self._ends = np.concatenate(([ends[0] - below], ends, [ends[-1] + above]))

    def state(self) -> list[object]:
        return [self._memory.state(), self._places, self._rows, self._outcomes]


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
    Weights begin with `first`; what their memory does not keep of them goes to `back` (fixed share: Herbster and
    Warmuth, "Tracking the best expert", 1998), so that a version that was worse for long is back within some nats, the
    logarithm of the memory's length. With discounted losses, small but lasting differences, as at 1 %, could never be
    told.

    >>> trust = Trust([0.5, 0.5], [0.5, 0.5], Memory(outcomes=10_000))
    >>> trust.learn(np.array([[0.0] * 20, [-3.0] * 20]), np.zeros(20, dtype=bool))
    >>> bool(trust.weights[1] > 0.99)
    True
    """

    __slots__ = ("_back", "_memory", "weights")

    def __init__(self, first: Sequence[float], back: Sequence[float], memory: Memory) -> None:
        self._memory = memory
        self._back: Floats = np.array(back)
        self.weights: Floats = np.array(first)

    def learn(self, versions: Floats, outcomes: Outcomes) -> None:
        """n log odds in each version, (versions, n)."""
        self.weigh(np.logaddexp(0.0, np.where(outcomes, -versions, versions)).sum(axis=1), outcomes)

    def weigh(self, losses: Floats, outcomes: Outcomes) -> None:
        """What each version lost, (versions,), of n rows with these outcomes, (n,)."""
        # Against the best of those that weigh anything: beside one that weighs nothing all could come to nothing.
        least = losses[self.weights > 0.0].min()
        found = self.weights * np.exp(least - np.maximum(losses, least))
        left = self._memory.keep(outcomes)
        self.weights = found * (left / found.sum()) + self._back * (1.0 - left)

    def begin_anew(self) -> None:
        """What was found out of the versions is of another stream."""
        self.weights = self._back.copy()

    def state(self) -> list[object]:
        return [self.weights, self._memory.state()]
