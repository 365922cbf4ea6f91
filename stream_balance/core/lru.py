"""What is remembered under a bound. Recent: numbers by key, the recently used. History: the decayed counts that are
known before an event. Share: one object for equal tuples.

`Recent` keeps two generations instead of an exact order of use: a key used since the last turn is in the young one;
when the young one is half of `size_max`, the old one is forgotten and the young one becomes old. So a key is forgotten
only when at least size_max / 2 other keys have been used since, and the hot path is one dict lookup.
"""

from __future__ import annotations

from math import log1p, nan
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Purchase, Search

T = TypeVar("T")

_NAN = nan
_EXPONENT_MAX = 200.0  # weights are rebased here, far from overflow
_BEGINNING_US = -(2**63)
_Entries = tuple[list[list[float]], list[float], list[list[float]]]  # of the items, the user, the categories
_NOTHING = [0.0, 0.0]  # stands for "no category"; never written


class Recent:
    """Lists of `width` floats by key, at most about `size_max`; `forgotten` counts those that left.

    >>> recent = Recent(size_max=2, width=1)
    >>> for key in "abc":
    ...     recent.entry(key)[0] += 1.0
    >>> len(recent), recent.forgotten, recent.entry("c")
    (2, 1, [1.0])
    """

    __slots__ = ("_half", "_old", "_width", "_zeros", "forgotten", "young")

    def __init__(self, size_max: int, width: int) -> None:
        self._half = max(1, size_max // 2)
        self._width = width
        self._zeros = [0.0] * width
        self._old: dict[str, list[float]] = {}
        self.young: dict[str, list[float]] = {}  # a reader in a hurry looks here first
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._old) + len(self.young)

    def entry(self, key: str) -> list[float]:
        """The list of a key, to be changed in place; zeros when new or forgotten."""
        found = self.young.get(key)
        if found is None:
            found = self._old.pop(key, None) or [0.0] * self._width
            if len(self.young) >= self._half:
                self.forgotten += len(self._old)
                self._old, self.young = self.young, {}
            self.young[key] = found
        return found

    def look(self, key: str) -> list[float]:
        """The list of a key, not to be changed and not counted as a use; zeros when unknown."""
        return self.young.get(key) or self._old.get(key) or self._zeros

    def scale(self, factor: float) -> None:
        """Multiply every number."""
        for generation in (self._old, self.young):
            for found in generation.values():
                found[:] = [value * factor for value in found]

    def digest_state(self) -> object:
        """Keys and numbers in order of use."""
        return {
            "forgotten": self.forgotten,
            "old": (list(self._old), _numbers(self._old)),
            "young": (list(self.young), _numbers(self.young)),
        }


def _numbers(generation: dict[str, list[float]]) -> npt.NDArray[np.float64]:
    return np.array(list(generation.values()), dtype=np.float64)


class History:
    """Decayed counts of items, users and categories, as they were known before a search.

    A search at ts t sees purchases with ts < t only. Once a purchase with ts >= t has been observed (a late search, or
    the purchase came first at equal ts), every column made of purchases is absent in that search, counted `withheld`:
    the user's own purchase in its counts would give the label away. Searches carry no label: their counts always show.
    For the first `warm_us` of event time all columns are absent: counts that grow from nothing say how late it is, and
    a model that learns them an attribution window later, when they have grown on, takes that for news about the items.
    Counts fade by event time: weights grow with the half-life instead of all counts shrinking. Columns are log1p of
    counts; `item_rate` is drawn to the overall rate; `price_to_category` is a difference of logs.
    """

    item_columns = ("item_impressions", "item_purchases", "item_rate", "price_to_category")
    search_columns = ("user_searches", "user_purchases")

    def __init__(
        self,
        items_max: int,
        users_max: int,
        categories_max: int,
        *,
        half_life_us: float,
        prior_impressions: float,
        warm_us: float = 0.0,
    ) -> None:
        self._items = Recent(items_max, 2)  # impressions, purchases
        self._users = Recent(users_max, 2)  # searches, purchases
        self._categories = Recent(categories_max, 2)  # prices, sum of log1p(price)
        self._totals = [0.0, 0.0]  # impressions, purchases
        self._half_life_us = half_life_us
        self._prior_impressions = prior_impressions
        self._warm_us = warm_us
        self._first_us: int | None = None
        self._base_us: int | None = None
        self._weight_now = 1.0
        self._purchase_us = _BEGINNING_US  # the latest purchase observed
        self.withheld = 0

    def counts(self) -> dict[str, int]:
        """Searches without purchase columns, and what was forgotten."""
        return {
            "withheld": self.withheld,
            "items_forgotten": self._items.forgotten,
            "users_forgotten": self._users.forgotten,
            "categories_forgotten": self._categories.forgotten,
        }

    def observe_purchase(self, purchase: Purchase) -> None:
        """Count a purchase for the searches after it."""
        weight = self._weight(purchase.ts_us)
        self._items.entry(purchase.item_id)[1] += weight
        self._users.entry(purchase.user_id)[1] += weight
        self._totals[1] += weight
        self._purchase_us = max(self._purchase_us, purchase.ts_us)

    def read(self, search: Search, log_prices: list[float], item_cells: list[float], search_cells: list[float]) -> None:
        """Append the state's columns, then count the search."""
        weight = self._weight(search.ts_us)
        young, entry = self._items.young.get, self._items.entry
        items = [young(item) or entry(item) for item in search.item_ids]
        user = self._users.entry(search.user_id)
        young, entry = self._categories.young.get, self._categories.entry
        means = [_NOTHING if name is None else young(name) or entry(name) for name in search.categories]
        self.withheld += self._append(
            search, self._weight_now, (items, user, means), log_prices, item_cells, search_cells
        )
        for price, mean in zip(log_prices, means, strict=True):
            if price == price and mean is not _NOTHING:  # noqa: PLR0124  # not NaN
                mean[0] += weight
                mean[1] += weight * price
        for item in items:
            item[0] += weight
        user[0] += weight
        self._totals[0] += weight * len(items)

    def look(self, search: Search, log_prices: list[float], item_cells: list[float], search_cells: list[float]) -> None:
        """Append what `read` would, and leave everything as it is."""
        items = list(map(self._items.look, search.item_ids))
        user = self._users.look(search.user_id)
        means = [_NOTHING if name is None else self._categories.look(name) for name in search.categories]
        now = self._weight_now
        if self._base_us is not None:
            exponent = (search.ts_us - self._base_us) / self._half_life_us
            now = max(now, 2.0 ** min(max(exponent, -1_000.0), 1_000.0))
        self._append(search, now, (items, user, means), log_prices, item_cells, search_cells)

    def _append(
        self, search: Search, now: float, entries: _Entries, log_prices: list[float], item_cells: list[float],
        search_cells: list[float],
    ) -> bool:  # fmt: skip
        """Append the columns of these entries, `now` being what an event counts; True if purchases are withheld."""
        items, user, means = entries
        if self._warm_us and (self._first_us is None or search.ts_us < self._first_us + self._warm_us):
            item_cells += [_NAN] * (len(self.item_columns) * len(items))
            search_cells += [_NAN] * len(self.search_columns)
            return False
        item_cells += [log1p(item[0] / now) for item in items]
        withheld = search.ts_us <= self._purchase_us
        if withheld:
            item_cells += [_NAN] * (2 * len(items))
            user_purchases = _NAN
        else:
            drawn = self._prior_impressions * now
            bought = drawn * self._totals[1] / self._totals[0] if self._totals[0] else 0.0
            item_cells += [log1p(item[1] / now) for item in items]
            item_cells += [(item[1] + bought) / (item[0] + drawn) for item in items]
            user_purchases = log1p(user[1] / now)
        search_cells += (log1p(user[0] / now), user_purchases)
        # A price that is absent (NaN) stays absent in the difference.
        item_cells += [
            price - mean[1] / mean[0] if mean[0] else _NAN for price, mean in zip(log_prices, means, strict=True)
        ]
        return withheld

    def _weight(self, ts_us: int) -> float:
        """What one event at `ts_us` counts; `_weight_now` is what one at the latest time counts."""
        if self._base_us is None:
            self._base_us = self._first_us = ts_us
        exponent = (ts_us - self._base_us) / self._half_life_us
        if exponent > _EXPONENT_MAX:
            factor = 0.5 ** min(exponent, 1_000.0)
            for room in (self._items, self._users, self._categories):
                room.scale(factor)
            self._totals = [total * factor for total in self._totals]
            self._base_us, self._weight_now, exponent = ts_us, 1.0, 0.0
        weight: float = 2.0 ** max(exponent, -1_000.0)
        self._weight_now = max(self._weight_now, weight)
        return weight

    def digest_state(self) -> object:
        """Everything that steers what comes next, in order of use."""
        return {
            "items": self._items.digest_state(),
            "users": self._users.digest_state(),
            "categories": self._categories.digest_state(),
            "totals": self._totals,
            "first_us": self._first_us,
            "base_us": self._base_us,
            "weight_now": self._weight_now,
            "purchase_us": self._purchase_us,
            "withheld": self.withheld,
        }


class Share:
    """Gives one tuple for equal ones, so that what is held by the million is held once.

    Worth it for positions, and for item ids of searches with one item. Forgets everything at `size_max`, which costs
    memory only; `forgotten` counts.

    >>> share = Share(size_max=10)
    >>> share.of((1, 2)) is share.of(tuple([1, 2]))
    True
    """

    __slots__ = ("_seen", "_size_max", "forgotten")

    def __init__(self, size_max: int) -> None:
        self.forgotten = 0
        self._size_max = size_max
        self._seen: dict[tuple[object, ...], tuple[object, ...]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def of(self, values: tuple[T, ...]) -> tuple[T, ...]:
        """The tuple to keep in place of `values`."""
        found = self._seen.get(values)
        if found is None:
            if len(self._seen) >= self._size_max:
                self.forgotten += len(self._seen)
                self._seen.clear()
            self._seen[values] = found = values
        return found  # type: ignore[return-value]  # equal to `values`, so of its type
