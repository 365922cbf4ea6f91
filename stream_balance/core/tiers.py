"""Tiers: says of each shown item whether it is popular (HEAD) or not (TAIL), before this showing counts.
In: item ids of one search. Out: n bytes of HEAD/TAIL. Bounded by `items_max`; counts the items it forgot.

Tail = items outside the smallest set that holds `head_share` of the decayed exposure. Exposure is impressions, decayed
by impressions (not by time: a quiet night changes nobody's popularity).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, PositiveInt

from stream_balance.core.records import RoomSettings

_WEIGHT_MAX = 1e100  # weights grow instead of all exposures shrinking; renormalised here, far from overflow


class TierSettings(RoomSettings):
    """What counts as popular, and how fast that changes."""

    head_share: float = Field(default=0.5, gt=0, lt=1)  # of the exposure that the head set holds
    every: PositiveInt = 2_000  # impressions between computations of the head set (or the number of items, if larger)
    first: PositiveInt = 200  # impressions before the first one; then at its doubles up to `every`
    hysteresis: float = Field(default=0.8, gt=0, le=1)  # a head item leaves below this share of the border's exposure
    half_life_impressions: int = Field(default=500_000, ge=1_000)  # exposure counts half after so many impressions
    items_max: PositiveInt = 200_000  # items remembered; beyond it the least exposed quarter is forgotten, counted


class Tiers:
    """The head set, recomputed now and then with hysteresis.

    Until the first computation (`first` impressions) nothing is known and every item is HEAD, so that one tier has
    all rows; afterwards an item never seen before is TAIL.

    >>> tiers = Tiers(TierSettings(first=4))
    >>> [list(tiers.stamp(("hot", "hot", "cold"))) for _ in range(3)]
    [[0, 0, 0], [0, 0, 0], [0, 0, 1]]
    """

    def __init__(self, settings: TierSettings) -> None:
        self._settings = settings
        self._exposure: dict[str, float] = {}
        self._head: dict[str, None] | None = None  # a dict for its order
        self._weight = 1.0
        self._growth = 2.0 ** (1.0 / settings.half_life_impressions)
        self._until_next = settings.first
        self.impressions = 0
        self.computations = 0
        self.items_forgotten = 0

    def stamp(self, item_ids: tuple[str, ...]) -> bytes:
        """Tier of each item as known before this search; then the search counts."""
        n = len(item_ids)
        head = self._head
        # HEAD is 0 and TAIL is 1: "not in head" is the tier's number.
        stamped = bytes(n) if head is None else bytes([item not in head for item in item_ids])
        exposure, weight = self._exposure, self._weight
        get = exposure.get
        for item in item_ids:
            exposure[item] = get(item, 0.0) + weight
        self._weight = weight * self._growth**n
        self.impressions += n
        self._until_next -= n
        if self._weight > _WEIGHT_MAX:
            self._renormalise()
        if self._until_next <= 0:
            self._compute()
        elif len(exposure) > self._settings.items_max:
            self._forget()
        return stamped

    def look(self, item_ids: tuple[str, ...]) -> bytes:
        """Tier of each item as `stamp` would say now; nothing counts."""
        head = self._head
        return bytes(len(item_ids)) if head is None else bytes([item not in head for item in item_ids])

    def counts(self) -> dict[str, int]:
        """Items known and in the head set, items forgotten."""
        return {"items": len(self._exposure), "head": len(self._head or ()), "items_forgotten": self.items_forgotten}

    def _compute(self) -> None:
        settings = self._settings
        if len(self._exposure) > settings.items_max:
            self._forget()
        items = list(self._exposure)
        exposure = np.fromiter(self._exposure.values(), dtype=np.float64, count=len(items))
        order = np.argsort(-exposure, kind="stable")  # ties: first seen first
        cumulative = np.cumsum(exposure[order])
        size = int(np.searchsorted(cumulative, settings.head_share * cumulative[-1])) + 1
        border = float(exposure[order[size - 1]])
        head = dict.fromkeys(items[i] for i in order[:size].tolist())
        for item in self._head or ():
            if self._exposure.get(item, 0.0) >= settings.hysteresis * border:
                head.setdefault(item)
        self._head = head
        self.computations += 1
        self._until_next = min(max(settings.every, len(items)), max(self.impressions, settings.first))

    def _renormalise(self) -> None:
        self._exposure = {item: value / self._weight for item, value in self._exposure.items()}
        self._weight = 1.0

    def _forget(self) -> None:
        """The least exposed go until three quarters of the bound are left: seldom, so cheap in the mean."""
        items = list(self._exposure)
        exposure = np.fromiter(self._exposure.values(), dtype=np.float64, count=len(items))
        keep = np.sort(np.argsort(-exposure, kind="stable")[: max(1, self._settings.items_max * 3 // 4)])
        self._exposure = {items[i]: self._exposure[items[i]] for i in keep.tolist()}
        self.items_forgotten += len(items) - len(keep)

    def digest_state(self) -> object:
        """Everything that steers what comes next, in the order of first appearance."""
        return {
            "items": list(self._exposure),
            "exposure": np.fromiter(self._exposure.values(), dtype=np.float64, count=len(self._exposure)),
            "head": None if self._head is None else list(self._head),
            "weight": self._weight,
            "until_next": self._until_next,
            "impressions": self.impressions,
            "computations": self.computations,
            "items_forgotten": self.items_forgotten,
        }
