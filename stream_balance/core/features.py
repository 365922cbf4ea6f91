"""Features: turns a search into one matrix, from the event and from what was known before it. In: Search, Purchase.
Out: a matrix. Bounded: columns, levels, items, users and categories; counts what is hashed, folded or forgotten.

Rules of residence
- All items of a search are featurized with the state before it; then it counts (`History` has the rules).
- Columns and codes are those of the `ColumnTable`. NaN = absent.
- Items that have the same keys and kinds go the fast way, columns at a time; any other search goes cell by cell. Both
  ways give the same bits and leave the same state.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from math import log1p
from operator import itemgetter
from typing import cast

import numpy as np
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from stream_balance.core.column_table import ColumnSettings, ColumnTable, Scope
from stream_balance.core.lru import History
from stream_balance.core.records import FeatureValue, Floats, Purchase, Search

_Block = tuple[Sequence[int], bytes]  # columns, and their values as float64: column after column, n each
_Hashed = tuple[int | slice, int, float]  # rows, hashed column, what to add

_NAN = math.nan
_NAN_BYTES = struct.pack("d", _NAN)
_DAY_US = 86_400_000_000


class FeatureSettings(ColumnSettings):
    """Which columns are made, and the bounds of the state behind them."""

    builtin: bool = True  # position, price, category, words of the query; off for tables, which have their own
    # Off: within the first days the hour is a trend, and a linear model extrapolates it far beyond what it has seen.
    time_of_day: bool = False  # hour_sin, hour_cos
    state: bool = True  # columns from decayed counts of items, users and categories
    items_max: PositiveInt = 200_000  # remembered, least recently used leave first
    users_max: PositiveInt = 200_000
    categories_max: PositiveInt = 10_000
    plans_max: PositiveInt = 256  # sets of keys whose items are read columns at a time; beyond it all are learned anew
    warm_s: NonNegativeFloat = 1_800.0  # of event time, at the start: columns from counts are absent
    half_life_s: PositiveFloat = 7 * 86_400.0  # of counts
    prior_impressions: PositiveFloat = 100.0  # an item's rate is drawn to the overall rate with this weight


class _Misfit(Exception):  # noqa: N818  # not an error: this search goes the slow way
    """The items do not have the keys and kinds of the plan."""


class _Plan:
    """How items with one set of keys are read, columns at a time. Derived from the table: never saved."""

    __slots__ = ("code_columns", "getter", "keys", "lists", "nominal", "number_columns", "numeric", "only_numbers")

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        self.getter = itemgetter(*keys) if len(keys) > 1 else None
        self.numeric: list[int] = []  # places among the keys
        self.lists: list[tuple[int, int]] = []  # (place, length)
        self.nominal: list[tuple[int, int]] = []  # (place, column)
        self.number_columns: list[int] = []  # of numbers, then of lists
        self.code_columns: list[int] = []
        self.only_numbers = False


class Featurizer:
    """Searches as matrices. `columns` is the table that says what each column is.

    `featurize` gives an (n, len(columns)) float64 matrix; popularity is stamped by another room.

    >>> from stream_balance.testing import make_search
    >>> featurizer = Featurizer(FeatureSettings(builtin=False, state=False))
    >>> search = make_search(items=["i1", "i2"], item_features=[{"rating": 4.5, "brand": "acme"}, {"rating": 3.0}])
    >>> featurizer.featurize(search).tolist(), featurizer.columns.names
    ([[4.5, 0.0], [3.0, nan]], ['rating', 'brand'])
    """

    def __init__(self, settings: FeatureSettings) -> None:
        self._settings = settings
        self._table = table = ColumnTable(settings)
        self.columns = table.columns
        self._plans: dict[tuple[str, ...], _Plan] = {}
        self._plans_forgotten = 0
        self._history = History(
            settings.items_max,
            settings.users_max,
            settings.categories_max,
            half_life_us=settings.half_life_s * 1e6,
            prior_impressions=settings.prior_impressions,
            warm_us=settings.warm_s * 1e6,
        )
        self._item_columns: list[int] = []
        self._search_columns: list[int] = []
        if settings.builtin:
            self._item_columns += [table.add("position"), table.add("price"), table.add("category", nominal=True)]
            self._search_columns.append(table.add("query_words"))
            if settings.time_of_day:
                self._search_columns += [table.add("hour_sin"), table.add("hour_cos")]
        if settings.state:
            self._item_columns += [table.add(name) for name in History.item_columns]
            self._search_columns += [table.add(name) for name in History.search_columns]

    def featurize(self, search: Search) -> Floats:
        """The matrix of a search, from what was known before it; then it counts. Lateness shows in its ts alone."""
        n = len(search.item_ids)
        settings = self._settings
        item_cells: list[float] = []  # column after column, n each
        search_cells: list[float] = []  # one each
        if settings.builtin or settings.state:
            log_prices = _log_prices(search)
            if settings.builtin:
                self._read_event(search, log_prices, item_cells, search_cells)
            if settings.state:
                self._history.read(search, log_prices, item_cells, search_cells)
        blocks: list[_Block] = []
        if item_cells:
            blocks.append((self._item_columns, struct.pack(f"{len(item_cells)}d", *item_cells)))
        if search_cells:
            blocks.append((self._search_columns, _repeated(search_cells, n)))
        hashed: list[_Hashed] = []
        try:
            blocks += self._fast(search.item_features)
        except (_Misfit, KeyError, TypeError, struct.error, OverflowError):
            blocks.append(self._slow(search.item_features, hashed))
        if search.features:
            plain, sums = self._table.cells("search", search.features)
            blocks.append((list(plain), _repeated(plain.values(), n)))
            hashed += [(slice(None), column, value) for column, value in sums]
        return _with_hashed(self._assembled(blocks, n), hashed)

    def look(self, search: Search) -> Floats:
        """The matrix that `featurize` would give, (n, len(columns)), and nothing changes.

        A name or a level that is not known yet is left out: nothing has been learned about it.
        """
        n = len(search.item_ids)
        item_cells: list[float] = []
        search_cells: list[float] = []
        log_prices = _log_prices(search)
        if self._settings.builtin:
            column = self._item_columns[2]
            codes = [_NAN if name is None else self._table.known_level(column, name) for name in search.categories]
            self._append_event(search, log_prices, codes, item_cells, search_cells)
        if self._settings.state:
            self._history.look(search, log_prices, item_cells, search_cells)
        values = np.full((n, len(self.columns)), np.nan)
        values[:, self._item_columns] = np.array(item_cells).reshape(-1, n).T
        values[:, self._search_columns] = search_cells
        places: list[tuple[int | slice, Mapping[str, FeatureValue], Scope]] = [
            (i, features, "item") for i, features in enumerate(search.item_features)
        ]
        hashed: list[_Hashed] = []
        for where, features, scope in [*places, (slice(None), search.features, "search")]:
            plain, sums = self._table.cells(scope, features, frozen=True)
            values[where, list(plain)] = list(plain.values())
            hashed += [(where, column, value) for column, value in sums]
        return _with_hashed(values, hashed)

    def observe_purchase(self, purchase: Purchase) -> None:
        """Count a purchase for the searches after it."""
        if self._settings.state:
            self._history.observe_purchase(purchase)

    def report(self) -> dict[str, int]:
        """Sizes, and counters of what was hashed, folded, withheld or forgotten."""
        return {
            "columns": len(self.columns), **self._table.counters, "plans_forgotten": self._plans_forgotten,
            **self._history.counts(),
        }  # fmt: skip

    # -- the event's own columns

    def _read_event(
        self, search: Search, log_prices: list[float], item_cells: list[float], search_cells: list[float]
    ) -> None:
        column = self._item_columns[2]
        codes: list[float | None] = list(map(self.columns.levels[column].get, search.categories))  # type: ignore[arg-type]
        if None in codes:
            codes = [_NAN if name is None else self._table.level(column, name) for name in search.categories]
        self._append_event(search, log_prices, codes, item_cells, search_cells)  # type: ignore[arg-type]  # no None is left

    def _append_event(
        self, search: Search, log_prices: list[float], codes: Sequence[float], item_cells: list[float],
        search_cells: list[float],
    ) -> None:  # fmt: skip
        item_cells += search.positions
        item_cells += log_prices
        item_cells += codes
        search_cells.append(_NAN if search.query is None else float(len(search.query.split())))
        if self._settings.time_of_day:
            angle = search.ts_us % _DAY_US / _DAY_US * math.tau
            search_cells += (math.sin(angle), math.cos(angle))

    # -- the features that came with the event

    def _fast(self, features: Sequence[Mapping[str, FeatureValue]]) -> list[_Block]:
        """Columns at a time. Changes nothing before it is certain that every item fits the plan."""
        if not any(features):
            return []
        plan = self._plans[tuple(features[0])]
        if set(map(len, features)) != {len(plan.keys)}:
            raise _Misfit
        if plan.only_numbers and len(features) == 1:  # a row of a table
            values = features[0].values()  # in the order of the plan's keys
            return [(plan.number_columns, struct.pack(f"{len(values)}d", *values))]
        if plan.getter is None:
            read: list[tuple[FeatureValue, ...]] = [tuple([item[plan.keys[0]] for item in features])]
        else:
            read = list(zip(*map(plan.getter, features), strict=True))
        flat = list(chain.from_iterable([read[place] for place in plan.numeric]))
        for place, width in plan.lists:
            lists = cast(tuple[list[float], ...], read[place])
            if set(map(len, lists)) != {width}:  # a number has no length: TypeError
                raise _Misfit
            flat += chain.from_iterable(zip(*lists, strict=True))
        numbers = struct.pack(f"{len(flat)}d", *flat)  # refuses strings and lists
        coded: list[list[int | None]] = []
        for place, column in plan.nominal:
            coded.append(list(map(self.columns.levels[column].get, read[place])))  # type: ignore[arg-type]
            if None in coded[-1] and not all(isinstance(value, str) for value in read[place]):
                raise _Misfit
        codes: list[int | None] = []
        for (place, column), known in zip(plan.nominal, coded, strict=True):
            codes += [self._table.level(column, str(name)) for name in read[place]] if None in known else known
        return [(plan.number_columns, numbers), (plan.code_columns, struct.pack(f"{len(codes)}d", *codes))]

    def _slow(self, features: Sequence[Mapping[str, FeatureValue]], hashed: list[_Hashed]) -> _Block:
        """Cell by cell; new columns and plans are made here."""
        n = len(features)
        table: dict[int, list[float]] = {}
        for i, item in enumerate(features):
            plain, sums = self._table.cells("item", item)
            for column, value in plain.items():
                table.setdefault(column, [_NAN] * n)[i] = value
            hashed += [(i, column, value) for column, value in sums]
        self._learn_plan(features[0])
        return list(table), struct.pack(f"{len(table) * n}d", *chain.from_iterable(table.values()))

    def _assembled(self, blocks: Sequence[_Block], n: int) -> Floats:
        """The matrix (n, columns) of blocks of columns; what no block has is absent."""
        step, width = 8 * n, len(self.columns)
        if len(blocks) == 1 and step and list(blocks[0][0]) == list(range(width)):  # as they come
            return np.frombuffer(blocks[0][1]).reshape(width, n).T.copy()
        table = [_NAN_BYTES * n] * width
        for columns, block in blocks:
            for i, column in enumerate(columns):
                table[column] = block[i * step : i * step + step]
        if not step or not width:
            return np.empty((n, width))
        return np.frombuffer(b"".join(table)).reshape(width, n).T.copy()

    def _learn_plan(self, features: Mapping[str, FeatureValue]) -> None:
        """Remember how items with these keys are read, if each of their features has a column."""
        keys = tuple(features)
        if not keys or keys in self._plans:
            return
        plan = _Plan(keys)
        listed: list[int | None] = []
        numbers: list[int | None] = []
        codes: list[int | None] = []
        for place, (name, value) in enumerate(features.items()):
            if isinstance(value, str):
                column = self._table.place(name, nominal=True)
                codes.append(column)
                plan.nominal.append((place, -1 if column is None else column))
            elif isinstance(value, list):
                plan.lists.append((place, len(value)))
                listed += [self._table.place(f"{name}.{i}", nominal=False) for i in range(len(value))]
            else:
                plan.numeric.append(place)
                numbers.append(self._table.place(name, nominal=False))
        used = [column for column in numbers + listed + codes if column is not None]
        if len(set(used)) < len(numbers) + len(listed) + len(codes):
            return  # one is hashed, or two share a column
        plan.number_columns = used[: len(used) - len(codes)]
        plan.code_columns = used[len(used) - len(codes) :]
        plan.only_numbers = len(plan.numeric) == len(keys)
        if len(self._plans) >= self._settings.plans_max:
            self._plans_forgotten += len(self._plans)
            self._plans.clear()
        self._plans[keys] = plan

    # -- state

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_plans": {}}  # derived, and made again by the next search

    def digest_state(self) -> object:
        """The table of columns, and the history."""
        return {**self._table.digest_state(), "history": self._history.digest_state()}


def _log_prices(search: Search) -> list[float]:
    return [_NAN if price is None else log1p(price) if price > 0 else 0.0 for price in search.prices]


def _with_hashed(values: Floats, hashed: Sequence[_Hashed]) -> Floats:
    """`values` with the hashed ones added, in their order."""
    for where, column, value in hashed:
        values[where, column] = np.nan_to_num(values[where, column]) + value
    return values


def _repeated(values: Collection[float], n: int) -> bytes:
    """Columns that have the same value in each of n rows."""
    return b"".join([struct.pack("d", value) * n for value in values])
