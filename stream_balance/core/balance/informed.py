"""Informed: base of strategies that look at a row, not only at its class, before they say how often it is learned.

Each row gets a factor f >= 0: how much rather it than others of its class. With F, the decayed mean of f over the
class, a rare row is learned 1 + (m - 1) f / F times, and a majority row is kept with chance m f / F: so the class still
counts m times in the mean, and the target share is met although nobody knew the f of rows to come. Where a bound cuts
that short, what came of it is counted, and the offsets that samples carry say it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from random import Random
from typing import ClassVar

from stream_balance.core.balance.reference import Reference
from stream_balance.core.balance.settings import BalanceSettings
from stream_balance.core.balance.strategy import Strategy
from stream_balance.core.rates import Rates
from stream_balance.core.records import Arrivals, Columns, Floats, Plan
from stream_balance.core.window import Window

DECAY = 0.999  # per row of the class
_FIRST_ROWS = 20.0  # what a first guess is worth


class FadingMean:
    """Decayed mean of a factor, starting from a first guess."""

    __slots__ = ("total", "weight")

    def __init__(self, guess: float, weight: float = _FIRST_ROWS) -> None:
        self.total = guess * weight
        self.weight = weight

    def observe(self, values: Iterable[float]) -> None:
        """Take in values in their order."""
        for value in values:
            self.total = self.total * DECAY + value
            self.weight = self.weight * DECAY + 1.0

    @property
    def value(self) -> float:
        """The mean now."""
        return self.total / self.weight


class Informed(Strategy):
    """Plans class by class; `_raised` and `_lowered` say how often each row of a class is learned.

    The rarest class is never lowered, the others also where they are to be learned once (cleaning).
    """

    refreshes: ClassVar[int] = 1  # references are gathered anew after so many times `refresh_rows`

    def __init__(self, settings: BalanceSettings, rates: Rates, *, weighs: bool = False) -> None:
        super().__init__(settings, rates, weighs=weighs)
        self._came_to = [FadingMean(1.0) for _ in range(rates.classes)]  # samples over those planned, by class
        self._references: dict[int | None, tuple[int, Reference]] = {}  # by tier: rows added by then
        self._forgotten = 0  # rows that the window had been made to forget by then

    @property
    def rarest(self) -> int:
        """The class with the smallest share."""
        shares = self._rates.shares()
        return shares.index(min(shares))

    def _plans(self, arrivals: Arrivals, window: Window, columns: Columns, rng: Random) -> list[Plan]:
        labels, rarest = arrivals.labels, self.rarest
        offsets = self._offsets(arrivals)
        times = [1] * len(labels)
        for label in sorted(set(labels)):
            places = [i for i, each in enumerate(labels) if each == label]
            multiplier = self._multipliers[label]
            if multiplier > 1.0:
                found = self._raised(label, places, arrivals, window, columns, rng)
            elif label != rarest:
                found = self._lowered(label, places, arrivals, window, columns, rng)
            else:
                continue
            self._came_to[label].observe(n / multiplier for n in found)
            for place, n in zip(places, found, strict=True):
                times[place] = n
        return [self._plan_of(n, offset) for n, offset in zip(times, offsets, strict=True)]

    def _offsets(self, arrivals: Arrivals) -> Sequence[tuple[float, ...]]:
        """What learning rows of each class so often has done to the log odds, for each arrival."""
        logs = [math.log(m * max(each.value, 1e-6)) for m, each in zip(self._multipliers, self._came_to, strict=True)]
        return [tuple(log - logs[0] for log in logs[1:])] * len(arrivals)

    def _raised(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> list[int]:
        """How often each of these rows of a class that counts m > 1 times is learned."""
        return self._by_chance(label, len(places), rng)

    def _lowered(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns, rng: Random
    ) -> list[int]:
        """Whether each of these rows of a class that counts m <= 1 times is learned: 1 or 0."""
        return self._by_chance(label, len(places), rng)

    def _by_chance(self, label: int, n: int, rng: Random) -> list[int]:
        """Whatever the row: the floor or the ceiling of the class's multiplier."""
        return [rounded(self._multipliers[label], rng) for _ in range(n)]

    def _reference(self, label: int, tier: int, window: Window, columns: Columns) -> Reference | None:
        """The newest rows of all classes, of the tier where `label` has enough rows there; None without such rows.

        At most `refresh_rows`, `refreshes` times, behind the window: what came since then is no neighbour yet. What it
        is made to forget at a drift is none any more.
        """
        settings = self.settings
        pool, enough = self._pool_tier(label, tier, window)
        if not enough:
            return None
        if window.forgotten != self._forgotten:
            self._references.clear()
            self._forgotten = window.forgotten
        at, known = self._references.get(pool, (0, None))
        if known is None or window.added - at >= self.refreshes * settings.refresh_rows:
            rows, labels = window.recent(pool, settings.mixed_rows_max)
            known = Reference(rows, labels, columns)
            self._references[pool] = window.added, known
        return known

    def _by_reference(
        self, label: int, places: list[int], arrivals: Arrivals, window: Window, columns: Columns
    ) -> list[tuple[Reference, list[int]]] | None:
        """The places, tier by tier, with the reference to ask about them; None where one has none."""
        found = []
        tiers = sorted({arrivals.tiers[i] for i in places})
        for tier in tiers:
            reference = self._reference(label, tier, window, columns)
            if reference is None:
                return None
            mine = places if len(tiers) == 1 else [i for i in places if arrivals.tiers[i] == tier]
            found.append((reference, mine))
        return found

    def digest_state(self) -> object:
        """The base's, the means, and when the references were gathered."""
        means = [[each.total, each.weight] for each in self._came_to]
        gathered = [[-1 if pool is None else pool, at, len(each)] for pool, (at, each) in self._references.items()]
        return [super().digest_state(), means, gathered]


def rounded(expected: float, rng: Random) -> int:
    """A whole number, by chance one of the two next to `expected`, equal to it in the mean."""
    whole = math.floor(expected)
    part = expected - whole
    return whole + 1 if part and rng.random() < part else whole


def split(values: Floats, places: list[int]) -> Floats:
    """The rows at these places, (k, d)."""
    return values.take(places, axis=0)
