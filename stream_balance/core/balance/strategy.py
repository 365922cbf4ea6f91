"""Strategy: one way of balancing. Turns class shares into multipliers, multipliers into plans, plans into samples.

The majority is the class with the largest share p. With target share s, each other class c is raised until its odds
against the majority are s / (1 - s), never lowered: it needs m_c = max(1, s / (1 - s) * p_majority / p_c) times the
weight of the majority. A strategy chooses only how the largest m is split between learning the rare more often and
the majority less often. So with two classes the rare one gets the share s, and s = .5 means equal classes.
"""

from __future__ import annotations

import math
from random import Random
from typing import ClassVar

import numpy as np
from pydantic import Field, PositiveInt

from stream_balance.core.balance.neighbours import Interpolator
from stream_balance.core.rates import Rates
from stream_balance.core.records import ORIGINS, Arrivals, Columns, Floats, Plan, RoomSettings, Samples
from stream_balance.core.window import Window

DEFAULT_TARGET_SHARE = 0.2
OBSERVED, COPIED, INTERPOLATED, GENERATED = range(len(ORIGINS))


class BalanceSettings(RoomSettings):
    """What is balanced, how far, and the bounds that hold whatever the rates say."""

    strategy: str = "smote_under"
    target_share: float | None = Field(default=None, gt=0, lt=1)  # of the rare class; None = .2; .5 = equal classes
    copies_max: int = Field(default=50, ge=1)  # an example counts at most so often, synthetic rows included
    keep_min: float = Field(default=0.002, gt=0, le=1)  # a majority example is learned at least this often
    neighbours: PositiveInt = 5  # SMOTE interpolates towards one of so many
    neighbour_rows_max: PositiveInt = 200  # neighbours are sought among so many of the newest rows
    minority_min: int = Field(default=2, ge=1)  # with fewer rows of the class to choose from, copies instead
    tier_min: PositiveInt = 20  # with fewer rows of the class in the tier, those of all tiers are used

    @property
    def target(self) -> float:
        """The target share in force."""
        return DEFAULT_TARGET_SHARE if self.target_share is None else self.target_share


class Strategy:
    """Base of all strategies: plan how often an example is learned, draw the samples.

    Multipliers follow `rates` when its shares change (its blocks' ends), so that between two changes `plan` only
    picks one of two ready plans of the class, by chance: a fractional multiplier is its floor or its ceiling. That
    also is what a dropped example costs: well under a microsecond.
    """

    name: ClassVar[str]
    synthesises: ClassVar[bool] = False

    def __init__(self, settings: BalanceSettings, rates: Rates) -> None:
        self.settings = settings
        self._rates = rates
        self._version = -1
        self._multipliers: tuple[float, ...] = ()
        # By class: plan, the other plan, chance of the other.
        self._choices: list[tuple[Plan, Plan, float]] = []
        self._interpolator = Interpolator(settings.neighbours)

    def majority_weight(self, needed: float) -> float:
        """The multiplier of the majority, when the rarest class needs `needed` >= 1 times its weight."""
        return 1.0

    def _needed(self) -> list[float]:
        """By class: how often it should count, relative to the majority."""
        shares = self._rates.shares()
        majority = shares.index(max(shares))
        odds = self.settings.target / (1 - self.settings.target)
        return [1.0 if c == majority else max(1.0, odds * shares[majority] / p) for c, p in enumerate(shares)]

    def _refresh(self) -> None:
        settings = self.settings
        needed = self._needed()
        weight = self.majority_weight(max(needed))
        self._multipliers = tuple(min(max(m * weight, settings.keep_min), settings.copies_max) for m in needed)
        first = self._multipliers[0]
        offset = tuple(math.log(m / first) for m in self._multipliers[1:])
        self._choices = []
        for multiplier in self._multipliers:
            whole = math.floor(multiplier)
            low, high = (self._plan_of(times, offset) for times in (whole, whole + 1))
            self._choices.append((low, high, multiplier - whole))
        self._version = self._rates.version

    def _plan_of(self, times: int, offset: tuple[float, ...]) -> Plan:
        if self.synthesises and times > 1:
            return Plan(copies=1, synthetic=times - 1, offset=offset)
        return Plan(copies=times, synthetic=0, offset=offset)

    def plan(self, label: int, tier: int, rng: Random) -> Plan:
        """How an example of this class is to be learned now. Multipliers are of classes; the tier is for `draw`."""
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
        labels, values, chosen, chance_of = arrivals.labels, arrivals.values, self._choices, rng.random
        plans = [
            high if chance and chance_of() < chance else low for low, high, chance in [chosen[each] for each in labels]
        ]
        kept = [i for i, plan in enumerate(plans) if plan.copies]
        if not kept:
            return None
        once = [plan.copies + plan.synthetic <= 1 for plan in plans]
        if all(once):
            offsets, n = [plans[i].offset for i in kept], len(kept)
            return Samples(values.take(kept, axis=0), [labels[i] for i in kept], bytes(n), [1] * n, offsets)
        picked = _Picked(values)
        for i in kept:
            picked.add(i, labels[i], OBSERVED, 1, plans[i].offset)
            if not once[i]:
                self._multiply(arrivals, i, plans[i], picked, window, columns, rng)
        return picked.samples()

    def _multiply(  # the rest of `draw` for one row
        self, arrivals: Arrivals, i: int, plan: Plan, picked: _Picked, window: Window, columns: Columns, rng: Random
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
        """At most `wanted` new rows beside `row`, (k, d)."""
        settings = self.settings
        pool: int | None = tier if window.size(label, tier) >= settings.tier_min else None
        if window.size(label, pool) < settings.minority_min:
            return values_of_none(row)
        rows = window.latest(label, pool, settings.neighbour_rows_max)
        return self._interpolator.beside(row, rows, wanted, columns, rng, (label, pool))

    def multipliers(self) -> tuple[float, ...]:
        """By class: the expected number of samples of one example, after clamps."""
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

    def digest_state(self) -> object:
        """The multipliers and the scales of distances; everything else follows from settings, rates and window."""
        return [self.name, np.array(self.multipliers()), self._interpolator.digest_state()]


def values_of_none(row: Floats) -> Floats:
    """No rows of the width of `row`."""
    return np.empty((0, len(row)))


class _Picked:
    """Collects samples in order; the matrix is made once."""

    def __init__(self, values: Floats) -> None:
        self._values = values
        self._new: list[Floats] = []
        self._next = len(values)
        self._places: list[int] = []
        self._labels: list[int] = []
        self._origins = bytearray()
        self._times: list[int] = []
        self._offsets: list[tuple[float, ...]] = []

    def add(self, place: int, label: int, origin: int, times: int, offset: tuple[float, ...]) -> None:
        self._places.append(place)
        self._labels.append(label)
        self._origins.append(origin)
        self._times.append(times)
        self._offsets.append(offset)

    def add_new(self, rows: Floats, label: int, origin: int, offset: tuple[float, ...]) -> None:
        k = len(rows)
        self._new.append(rows)
        self._places += range(self._next, self._next + k)
        self._next += k
        self._labels += [label] * k
        self._origins += bytes([origin]) * k
        self._times += [1] * k
        self._offsets += [offset] * k

    def samples(self) -> Samples | None:
        if not self._places:
            return None
        offered = np.concatenate((self._values, *self._new)) if self._new else self._values
        return Samples(
            offered.take(self._places, axis=0), self._labels, bytes(self._origins), self._times, self._offsets
        )
