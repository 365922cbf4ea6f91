"""Strategy: one way of balancing. Turns class shares into multipliers, multipliers into plans, plans into samples.

The majority is the class with the largest share p. With target share s, each other class c is raised until its odds
against the majority are s / (1 - s), never lowered: it needs m_c = max(1, s / (1 - s) * p_majority / p_c) times the
weight of the majority. A strategy chooses how the largest m is split between learning the rare more often and the
majority less often, which rows that falls on, and what stands beside a rare row. So with two classes the rare one gets
the share s, and s = .5 means equal classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import ClassVar

import numpy as np

from stream_balance.core.balance.neighbours import Interpolator
from stream_balance.core.balance.picked import COPIED, INTERPOLATED, OBSERVED, Picked
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Floats, Plan, Samples
from stream_balance.core.window import Window


class Strategy:
    """Base of all strategies: plan how often an example is learned, draw the samples.

    Multipliers follow `rates` when its shares change (its blocks' ends), so that between two changes `plan` only
    picks one of two ready plans of the class, by chance: a fractional multiplier is its floor or its ceiling. That
    also is what a dropped example costs: well under a microsecond. `weighs`: the model honours weights.
    """

    name: ClassVar[str]
    synthesises: ClassVar[bool] = False  # more than once learned = rows beside it, not copies
    ratio_outcomes: ClassVar[float] = 0.0  # of fewer rows of the rarest class its realised ratio is chance

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        self.settings = settings
        self.weighs = weighs
        self._rates = rates
        self._target = settings.target
        self._version = -1
        self._multipliers: tuple[float, ...] = ()
        # By class: plan, the other plan, chance of the other.
        self._choices: list[tuple[Plan, Plan, float]] = []
        self._interpolator = Interpolator(settings.neighbours)

    def parts(self) -> Sequence[Strategy]:
        """The strategies that draw: this one, or one for each tier."""
        return (self,)

    # -- multipliers

    @property
    def target(self) -> float:
        """The share of the rare class that is aimed at now."""
        return self._target

    def aim(self, target: float) -> None:
        """From now on aim at this share, 0 < target < 1."""
        self._target = target
        self._version = -1

    def majority_weight(self, needed: float) -> float:
        """The multiplier of the majority, when the rarest class needs `needed` >= 1 times its weight."""
        return 1.0

    def _needed(self, shares: list[float]) -> list[float]:
        """By class: how often it should count, relative to the majority."""
        majority = shares.index(max(shares))
        odds = self._target / (1 - self._target)
        return [1.0 if c == majority else max(1.0, odds * shares[majority] / p) for c, p in enumerate(shares)]

    def _weighted(self, needed: list[float], shares: list[float]) -> list[float]:
        """By class: the multiplier before clamps."""
        weight = self.majority_weight(max(needed))
        return [m * weight for m in needed]

    def _refresh(self) -> None:
        settings, shares = self.settings, self._rates.shares()
        wanted = self._weighted(self._needed(shares), shares)
        self._multipliers = self._means_of([min(max(m, settings.keep_min), settings.copies_max) for m in wanted])
        first = self._multipliers[0]
        offset = tuple(math.log(m / first) for m in self._multipliers[1:])
        self._choices = [self._choice_of(multiplier, offset) for multiplier in self._multipliers]
        self._version = self._rates.version

    def _means_of(self, clamped: list[float]) -> tuple[float, ...]:
        """By class: the mean of what is drawn for a multiplier within its clamps."""
        return tuple(clamped)

    def _choice_of(self, multiplier: float, offset: tuple[float, ...]) -> tuple[Plan, Plan, float]:
        """A plan, another, and the chance of the other, which come to `multiplier` in the mean."""
        whole = math.floor(multiplier)
        return self._plan_of(whole, offset), self._plan_of(whole + 1, offset), multiplier - whole

    def _plan_of(self, times: int, offset: tuple[float, ...]) -> Plan:
        if self.synthesises and times > 1:
            return Plan(copies=1, synthetic=times - 1, offset=offset)
        return Plan(copies=times, synthetic=0, offset=offset)

    def multipliers(self) -> tuple[float, ...]:
        """By class: the expected number of samples (or weight) of one example, after clamps."""
        if self._version != self._rates.version:
            self._refresh()
        return self._multipliers

    def target_share_after_clamps(self) -> float:
        """The share of outcomes (classes 1..C-1) among the samples that the multipliers in force lead to."""
        return sum(self.target_shares_after_clamps()[1:])

    def target_shares_after_clamps(self) -> list[float]:
        """The share of each class among the samples that the multipliers in force lead to."""
        weights = [m * p for m, p in zip(self.multipliers(), self._rates.shares(), strict=True)]
        return [weight / sum(weights) for weight in weights]

    # -- plans and samples

    def plan(self, label: int, tier: int, rng: Random) -> Plan:
        """How an example of this class is to be learned now, as far as its class says."""
        if self._version != self._rates.version:
            self._refresh()
        low, high, chance = self._choices[label]
        return high if chance and rng.random() < chance else low

    def draw(self, arrivals: Arrivals, window: Window, columns: Columns, rng: Random) -> Samples | None:
        """The samples of a matured search: each row that is kept, the rows beside it, its copies. None = no sample.

        All rows are planned first, under the shares before this search. Arrivals stay as they are. Whether they are in
        the window already makes no difference: a row is not its own neighbour.
        """
        if self._version != self._rates.version:
            self._refresh()
        labels, values = arrivals.labels, arrivals.values
        plans = self._plans(arrivals, window, columns, rng)
        kept = [i for i, plan in enumerate(plans) if plan.copies]
        if not kept:
            return None
        once = [plan.copies + plan.synthetic <= 1 and plan.weight == 1.0 for plan in plans]
        if all(once):
            offsets, n = [plans[i].offset for i in kept], len(kept)
            tiers = arrivals.tiers
            if n < len(tiers):
                values, tiers = values.take(kept, axis=0), bytes(tiers[i] for i in kept)
            return Samples(values, [labels[i] for i in kept], bytes(n), [1] * n, offsets, tiers=tiers)
        picked = Picked(values, arrivals.tiers)
        for i in kept:
            plan = plans[i]
            picked.add(i, labels[i], OBSERVED, 1, plan.offset)
            if plan.weight != 1.0:
                picked.weigh(plan.weight)
            if plan.synthetic or plan.copies > 1:
                self._multiply(arrivals, i, plan, picked, window, columns, rng)
        return picked.samples()

    def _plans(self, arrivals: Arrivals, window: Window, columns: Columns, rng: Random) -> list[Plan]:
        """A plan for each arrival."""
        chosen, chance_of = self._choices, rng.random
        return [
            high if chance and chance_of() < chance else low
            for low, high, chance in [chosen[each] for each in arrivals.labels]
        ]

    def _multiply(  # the rest of `draw` for one row
        self, arrivals: Arrivals, i: int, plan: Plan, picked: Picked, window: Window, columns: Columns, rng: Random
    ) -> None:
        label, copies = arrivals.labels[i], plan.copies
        if plan.synthetic:
            beside = self._beside(arrivals.values[i], label, arrivals.tiers[i], plan.synthetic, window, columns, rng)
            picked.add_new(beside, label, INTERPOLATED, plan.offset)
            copies += plan.synthetic - len(beside)  # where nothing can be interpolated, copies keep the odds
        if copies > 1:
            picked.add(i, label, COPIED, copies - 1, plan.offset)

    def _beside(
        self, row: Floats, label: int, tier: int, wanted: int, window: Window, columns: Columns, rng: Random
    ) -> Floats:
        """At most `wanted` new rows beside `row`, (k, d): between it and its neighbours of the class."""
        rows, pool = self._pool(label, tier, window)
        if rows is None:
            return np.empty((0, len(row)))
        return self._interpolator.beside(row, rows, wanted, columns, rng, (label, pool))

    def _pool(self, label: int, tier: int, window: Window) -> tuple[Floats | None, int | None]:
        """The newest rows of a class, to be read at once, and the tier they are of; None of too few."""
        pool, enough = self._pool_tier(label, tier, window)
        return window.latest(label, pool, self.settings.neighbour_rows_max) if enough else None, pool

    def _pool_tier(self, label: int, tier: int, window: Window) -> tuple[int | None, bool]:
        """The tier, where it has enough rows of a class, else all tiers (None); and whether those are enough."""
        settings = self.settings
        pool: int | None = tier
        size = window.size(label, tier)
        if size < settings.tier_min:
            size, pool = window.size(label), None
        return pool, size >= settings.minority_min

    def digest_state(self) -> object:
        """The target, the multipliers and the scales of distances; the rest follows from settings, rates and window."""
        return [self.name, self._target, np.array(self.multipliers()), self._interpolator.digest_state()]
