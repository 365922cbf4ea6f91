"""Plain strategies: what they do follows from the class alone. Copies, thinning, weights, Poisson copies; SMOTE."""

from __future__ import annotations

import math
from bisect import bisect_right
from random import Random
from typing import ClassVar

import numpy as np

from stream_balance.core.balance.picked import COPIED, Picked
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.balance.strategy import Strategy
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Plan
from stream_balance.core.window import Window


class NoBalancing(Strategy):
    """Every example is learned once, whatever the shares: the baseline of all others."""

    name: ClassVar[str] = "none"

    def _needed(self, shares: list[float]) -> list[float]:
        return [1.0] * len(shares)


class RandomOver(Strategy):
    """Rare examples are learned repeatedly, the majority once (He and Garcia, "Learning from imbalanced data", TKDE
    2009, section 3.1.1).
    """

    name: ClassVar[str] = "random_over"


class Lowered(Strategy):
    """Under-sampling does all of the work."""

    def majority_weight(self, needed: float) -> float:
        """1 / needed, so that the rarest class counts once."""
        return 1.0 / needed


class RandomUnder(Lowered):
    """Majority examples are kept by chance, those of the rarest class all (He and Garcia 2009, section 3.1.1)."""

    name: ClassVar[str] = "random_under"


class Shared(Strategy):
    """Over- and under-sampling share the work: rare examples count sqrt(m) times, the majority 1 / sqrt(m) times.

    A model then learns sqrt(m) samples where over-sampling alone makes it learn m, and sees sqrt(m) times as many real
    majority rows as under-sampling alone. What a bound takes from one side, the other side gives.
    """

    def majority_weight(self, needed: float) -> float:
        """1 / sqrt(needed), or less where `copies_max` would cut the rare side; never below `keep_min`."""
        weight = min(1.0 / math.sqrt(needed), self.settings.copies_max / needed)
        return max(weight, self.settings.keep_min)


class NeighbourOver(Strategy):
    """Beside each rare example its nearest rows of the class are learned again, the majority once.

    What SMOTE (Chawla et al. 2002) finds, without interpolating: the copies fall on a neighbourhood and not on one
    row, and every row that is learned was seen. `neighbours` at most; where more are needed, all of them more often,
    the nearest first.
    """

    name: ClassVar[str] = "neighbour_over"

    def _multiply(
        self, arrivals: Arrivals, i: int, plan: Plan, picked: Picked, window: Window, columns: Columns, rng: Random
    ) -> None:
        label, row = arrivals.labels[i], arrivals.values[i]
        rows, pool = self._pool(label, arrivals.tiers[i], window)
        if rows is None:
            super()._multiply(arrivals, i, plan, picked, window, columns, rng)
            return
        wanted = plan.copies - 1
        near, _ = self._interpolator.near(row, rows, columns, (label, pool), min(wanted, self.settings.neighbours))
        each, more = divmod(wanted, len(near))
        picked.add_new(near, label, COPIED, plan.offset, [each + (k < more) for k in range(len(near))])


class Smote(Strategy):
    """Beside each rare example, rows between it and its neighbours are learned; the majority once.

    Chawla, Bowyer, Hall, Kegelmeyer, "SMOTE: synthetic minority over-sampling technique" (JAIR 2002), with nominal
    columns as in its section 6.1 (SMOTE-NC). The base is the row that arrives.
    """

    name: ClassVar[str] = "smote"
    synthesises: ClassVar[bool] = True


class SmoteUnder(Shared, Smote):
    """SMOTE with random under-sampling (both: Chawla et al. 2002), each doing half of the work, see `Shared`."""

    name: ClassVar[str] = "smote_under"


class ClassWeight(Strategy):
    """Cost-sensitive learning: every example is learned once, with the weight of its class; the mean weight is 1.

    After King and Zeng, "Logistic regression in rare events data" (Political Analysis 2001), section 5.1.1: weights
    s / p of the rare class and (1 - s) / (1 - p) of the other. A model that does not honour weights is given copies,
    by chance as many as the weight says.
    """

    name: ClassVar[str] = "class_weight"

    def _weighted(self, needed: list[float], shares: list[float]) -> list[float]:
        mean = sum(m * share for m, share in zip(needed, shares, strict=True))
        return [m / mean for m in needed]

    def _choice_of(self, multiplier: float, offset: tuple[float, ...]) -> tuple[Plan, Plan, float]:
        if not self.weighs:
            return super()._choice_of(multiplier, offset)
        plan = Plan(copies=1, synthetic=0, offset=offset, weight=multiplier)
        return plan, plan, 0.0


class Poisson(Strategy):
    """Each example is learned k times, k drawn from the Poisson distribution of its class's multiplier.

    Wang, Minku, Yao, "Resampling-based ensemble methods for online class imbalance learning" (TKDE 2015), for one
    learner. Its decay of .9 is of no use at 2 % positives, where it remembers a fifth of one; the shares here are those
    of `Rates`. k is cut at `copies_max`; multipliers, and so offsets and shares, are the mean of what is left.
    """

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self._tables: list[list[float]] = []  # by class: chance of at most k copies, for each k

    def _means_of(self, clamped: list[float]) -> tuple[float, ...]:
        """E[min(K, c)] = m - m P(K = c) + (c - m) P(K > c), where c is `copies_max`; draws go by the same tables."""
        most = self.settings.copies_max
        powers = np.arange(most + 1)
        # In logarithms: exp(-multiplier) alone is 0 from some 745 on.
        factorials = np.concatenate([[0.0], np.log(powers[1:]).cumsum()])
        self._tables, means = [], []
        for m in clamped:
            chances = np.exp(powers * math.log(m) - m - factorials)
            at_most = chances.cumsum()
            self._tables.append(at_most[:-1].tolist())
            beyond = max(1.0 - float(at_most[-1]), 0.0)
            means.append(m - max(m * float(chances[-1]) - (most - m) * beyond, 0.0))  # rounding adds no copies
        return tuple(means)

    def plan(self, label: int, tier: int, rng: Random) -> Plan:
        """k copies; k = 0 drops it."""
        if self._version != self._rates.version:
            self._refresh()
        return self._plan_of(bisect_right(self._tables[label], rng.random()), self._choices[label][0].offset)

    def _plans(self, arrivals: Arrivals, window: Window, columns: Columns, rng: Random) -> list[Plan]:
        return [self.plan(label, tier, rng) for label, tier in zip(arrivals.labels, arrivals.tiers, strict=True)]


class OversamplingOnlineBagging(Poisson):
    """OOB: rare examples are learned Poisson(m) times, the majority Poisson(1) times (see `Poisson`)."""

    name: ClassVar[str] = "oob"


class UndersamplingOnlineBagging(Lowered, Poisson):
    """UOB: the majority is learned Poisson(1 / m) times, the rarest class Poisson(1) times (see `Poisson`)."""

    name: ClassVar[str] = "uob"
