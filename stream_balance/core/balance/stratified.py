"""Stratified: one strategy for each popularity tier, with keep rates, copies and offsets of its own. In: as a strategy.

A cell is a class in a tier. Its multiplier follows the shares of its tier; where the tier has seen too few rows of a
class lately (`balance.tier_min`), the shares of all tiers together count (see `CellRates`). So the same target holds in
each tier, and a row's offset says what balancing did to the odds there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import ClassVar

import numpy as np

from stream_balance.core.balance.informed import FadingMean
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.balance.strategy import Strategy
from stream_balance.core.rates import Rates
from stream_balance.core.records import TAIL, TIERS, Arrivals, Columns, Floats, Plan, Samples
from stream_balance.core.window import Window


class CellRates(Rates):
    """Class shares of one tier, or of all where it has fewer than `rows_min` rows of a class. Counts nothing itself."""

    def __init__(self, own: Rates, all_tiers: Rates, rows_min: int) -> None:
        self.classes = own.classes
        self._own, self._all, self._rows_min = own, all_tiers, rows_min

    @property
    def version(self) -> int:  # type: ignore[override]  # follows both
        """Grows when one of the two has new shares."""
        return self._own.version + self._all.version

    @property
    def enough(self) -> bool:
        """Whether the tier stands for itself."""
        return min(self._own.window_counts()) >= self._rows_min

    def shares(self) -> list[float]:
        """They sum to 1, none is 0."""
        return (self._own if self.enough else self._all).shares()


class Stratified(Strategy):
    """`make(rates)` gives the strategy of a tier; they share nothing but the target."""

    name: ClassVar[str] = "stratified"

    def __init__(
        self, settings: BalanceSettings, rates: Rates, tiers: Sequence[Rates], make: Callable[[Rates], Strategy]
    ) -> None:
        super().__init__(settings, rates)
        self.cells = [CellRates(own, rates, settings.tier_min) for own in tiers]
        self._parts = [make(each) for each in self.cells]
        self._tail = FadingMean(0.5)  # decayed share of the tail among arrivals

    def parts(self) -> Sequence[Strategy]:
        """By tier."""
        return self._parts

    def aim(self, target: float) -> None:
        """In each tier."""
        super().aim(target)
        for part in self._parts:
            part.aim(target)

    def multipliers(self) -> tuple[float, ...]:
        """By class: the mean over the tiers, as they are shown."""
        return tuple(self._mixed([part.multipliers() for part in self._parts]))

    def target_shares_after_clamps(self) -> list[float]:
        """The share of each class among the samples, both tiers together."""
        weights = [
            [m * p for m, p in zip(part.multipliers(), cell.shares(), strict=True)]
            for part, cell in zip(self._parts, self.cells, strict=True)
        ]
        mixed = self._mixed(weights)
        return [each / sum(mixed) for each in mixed]

    def _mixed(self, by_tier: Sequence[Sequence[float]]) -> list[float]:
        tail = self._tail.value
        return [
            sum((tail if tier == TAIL else 1.0 - tail) * each[c] for tier, each in enumerate(by_tier))
            for c in range(self._rates.classes)
        ]

    def plan(self, label: int, tier: int, rng: Random) -> Plan:
        """As its tier plans it."""
        return self._parts[tier].plan(label, tier, rng)

    def draw(self, arrivals: Arrivals, window: Window, columns: Columns, rng: Random) -> Samples | None:
        """The samples of each tier's rows, head first."""
        tiers = arrivals.tiers
        self._tail.observe(float(tier == TAIL) for tier in tiers)
        found = []
        for tier in range(len(TIERS)):
            mine = [i for i, each in enumerate(tiers) if each == tier]
            if mine:
                part = arrivals if len(mine) == len(tiers) else _taken(arrivals, mine)
                samples = self._parts[tier].draw(part, window, columns, rng)
                found += [] if samples is None else [samples]
        return _joined(found) if found else None

    def digest_state(self) -> object:
        """The parts', and the tail's share."""
        return [self.name, self._target, [each.digest_state() for each in self._parts], self._tail.value]


def _taken(arrivals: Arrivals, places: list[int]) -> Arrivals:
    return Arrivals(
        arrivals.values[places], [arrivals.labels[i] for i in places], bytes(arrivals.tiers[i] for i in places),
        arrivals.probability[places],
    )  # fmt: skip


def _joined(parts: list[Samples]) -> Samples:
    if len(parts) == 1:
        return parts[0]
    rows: Floats = np.concatenate([each.rows for each in parts])
    weights = None
    if any(each.weights is not None for each in parts):
        weights = [w for each in parts for w in (each.weights or [1.0] * len(each))]
    return Samples(
        rows, [x for each in parts for x in each.labels], b"".join(each.origins for each in parts),
        [x for each in parts for x in each.times], [x for each in parts for x in each.offsets], weights,
        b"".join(each.tiers for each in parts),
    )  # fmt: skip
