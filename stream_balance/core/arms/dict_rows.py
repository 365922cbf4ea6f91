"""Dict rows: River's rows as matrices. In: dicts. Out: (n, d) float64, and the table of their columns.

Numbers are numeric columns, strings nominal ones; None, NaN and numbers beyond +-1e30 are absent values. Columns and
levels may come at any time.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from stream_balance.core.records import Columns, Floats

COLUMNS_MAX = 1_000  # further ones are not looked at
LEVELS_MAX = 1_000  # of a nominal column; further ones are as absent
NUMBER_MAX = 1e30  # further away a number says nothing, and its square is no number

Row = Mapping[Hashable, Any]
_NUMBERS = frozenset((float, int, bool))


class DictRows:
    """The columns met so far, and rows in them.

    >>> rows = DictRows()
    >>> rows.meet([{"price": 2.5, "brand": "acme"}])
    True
    >>> rows.columns.names, rows.matrix([{"brand": "acme"}]).tolist()
    (['brand', 'price'], [[0.0, nan]])
    """

    def __init__(self) -> None:
        self.columns = Columns()
        self._places: dict[tuple[Hashable, bool], int] = {}
        self._keys: list[Hashable] = []  # by column
        self._usual: tuple[Hashable, ...] = ()  # the keys of a row of numbers alone, and their columns
        self._usual_places: list[int] = []

    def meet(self, rows: Sequence[Row]) -> bool:
        """Columns and levels that are new get their places, those of one row in the order of their names. Whether any
        did.
        """
        met = False
        for row in rows:
            if self._is_usual(row):
                continue
            fresh = []
            for key, value in row.items():
                if value is None:
                    continue
                place = self._places.get((key, isinstance(value, str)))
                if place is None:
                    _check(key, value)
                    fresh.append((key, isinstance(value, str), value))
                elif isinstance(value, str) and value not in self.columns.levels[place]:
                    met |= self._level(place, value)
            for key, nominal, value in sorted(fresh, key=lambda each: (str(each[0]), each[1])):
                if len(self.columns) < COLUMNS_MAX:
                    met = True
                    place = self._places[key, nominal] = self.columns.add(str(key), nominal=nominal)
                    self._keys.append(key)
                    if nominal:
                        self._level(place, value)
        return met

    def _level(self, place: int, name: str) -> bool:
        there = len(self.columns.levels[place]) < LEVELS_MAX
        if there:
            self.columns.level(place, name)
        return there

    def matrix(self, rows: Sequence[Row]) -> Floats:
        """The rows in the columns met so far, (n, d)."""
        places, levels, absent = self._places, self.columns.levels, [math.nan] * len(self.columns)
        found = []
        for row in rows:
            values = absent.copy()
            found.append(values)
            if self._is_usual(row):
                for usual, value in zip(self._usual_places, row.values(), strict=True):
                    values[usual] = value
                continue
            for key, value in row.items():
                nominal = isinstance(value, str)
                place = places.get((key, nominal))
                if place is not None and value is not None:
                    values[place] = levels[place].get(value, math.nan) if nominal else value
            self._note(row)
        try:
            read = np.array(found, dtype=np.float64)
        except (TypeError, ValueError, OverflowError):
            read = None
        if read is None or read.ndim > 2:
            for row in rows:
                for key, value in row.items():
                    _check(key, value)
        assert read is not None, "a value was to blame"
        beyond = np.abs(read) > NUMBER_MAX
        if beyond.any():
            read[beyond] = math.nan
        return read.reshape(len(rows), len(absent))

    def _is_usual(self, row: Row) -> bool:
        """Whether a row has the keys of the last row of numbers, in their order, and is one: most are, and this way
        takes a third of the time.
        """
        return tuple(row) == self._usual and _NUMBERS.issuperset(map(type, row.values()))

    def _note(self, row: Row) -> None:
        if _NUMBERS.issuperset(map(type, row.values())) and all((key, False) in self._places for key in row):
            self._usual, self._usual_places = tuple(row), [self._places[key, False] for key in row]

    def dicts(self, values: Floats) -> list[dict[Hashable, Any]]:
        """Rows of a matrix, (n, d), as River reads them: without absent values, levels by their names."""
        columns = self.columns
        return [
            {
                self._keys[i]: columns.level_names[i][int(value)] if columns.nominal[i] else value
                for i, value in enumerate(row)
                if not math.isnan(value)
            }
            for row in values.tolist()
        ]


def check_rows(rows: Sequence[Any]) -> None:
    """Raise TypeError if one is no dict, nor any other mapping."""
    for row in rows:
        if not isinstance(row, (dict, Mapping)):  # a union would be made anew each time
            raise TypeError(
                f"a row is of the type {type(row).__name__}, expected a dict of features, as {{'price': 2.5, 'brand': "
                "'acme'}. Of an array make one with dict(enumerate(row.tolist()))."
            )


def check_labels(labels: Sequence[Any]) -> None:
    """Raise ValueError if one is None, which is no outcome, or NaN, which is equal to nothing: each would be a class of
    its own. Raise TypeError for one that names no class, as a list or an array.
    """
    for label in labels:
        if not isinstance(label, Hashable):
            raise TypeError(
                f"a label is of the type {type(label).__name__}, expected False or True, a text or a whole number: "
                "what can be a key of a dict."
            )
        if label is None or label != label:  # noqa: PLR0124
            raise ValueError(f"a label is {label!r}, which names no class: leave such rows out.")


def present(row: Mapping[Any, Any]) -> dict[Any, Any]:
    """The row without what counts as absent, for whoever would take it for a value, or takes dicts alone.

    >>> present({"a": 1.0, "b": None, "c": float("nan"), "d": "x", "e": float("inf")})
    {'a': 1.0, 'd': 'x'}
    """
    absent = [key for key, value in row.items() if value is None or _is_beyond(value)]
    if isinstance(row, dict) and not absent:
        return row
    return {key: value for key, value in row.items() if key not in absent}


def _is_beyond(value: Any) -> bool:
    return isinstance(value, float | int | np.number) and not -NUMBER_MAX <= value <= NUMBER_MAX  # NaN is too


def _check(key: Hashable, value: object) -> None:
    """Raises TypeError for a value that is no number, no text and not absent."""
    if value is None or isinstance(value, str) or (value.__class__ in _NUMBERS and value.__class__ is not int):
        return
    try:
        read = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        read = None
    if read is None or read.ndim:
        raise TypeError(
            f"feature {key!r} is {repr(value)[:60]}; expected a number, a text or None. Make features of its parts."
        )
