"""Table: rows of mixed columns as Gaussian scores and level numbers, and back. In: float64 rows, NaN = absent.

A numeric column becomes the normal score of its rank (u = (rank + chance) / n, z = inverse normal of u), with chance
spreading ties over their whole range of ranks: a column of counts, of zeros with a tail, or with absent values (a tie
below all others) is then as Gaussian as a price. A nominal column becomes a level number; rare levels share one slot.
The `Layout` (which columns, which levels) gives the networks their shape and stays through warm starts; the marginals
are taken anew from each window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from stream_balance.core.records import Floats

Ints = npt.NDArray[np.int64]

ABSENT = -1.0  # the level of an absent nominal value; codes of real levels are >= 0
GRIDS = range(7)  # decimals tried when a column's grid is looked for


@dataclass(frozen=True, slots=True)
class Layout:
    """Which columns are modelled, and the levels of the nominal ones: what the shape of the networks depends on.

    A column not named here is constant; it comes back as it was.
    """

    width: int
    numeric: tuple[int, ...]
    nominal: tuple[int, ...]
    levels: tuple[
        tuple[float, ...], ...
    ]  # by nominal column: the levels with a slot of their own, one more for the rest

    @property
    def slots(self) -> tuple[int, ...]:
        """By nominal column: the number of one-hot places."""
        return tuple(len(levels) + 1 for levels in self.levels)

    @property
    def size(self) -> int:
        """Width of an encoded row: numeric scores, then one-hot places."""
        return len(self.numeric) + sum(self.slots)

    def as_plain(self) -> list[object]:
        """As JSON can hold it."""
        return [self.width, list(self.numeric), list(self.nominal), [list(levels) for levels in self.levels]]

    @staticmethod
    def from_plain(plain: Sequence[Any]) -> Layout:
        """From what `as_plain` made of it."""
        width, numeric, nominal, levels = plain
        return Layout(width, tuple(numeric), tuple(nominal), tuple(tuple(each) for each in levels))


def layout_of(rows: Floats, nominal: Sequence[int], *, levels_max: int, level_rows_min: int) -> Layout:
    """The layout that rows (n, d) ask for: the columns that vary, and their frequent levels."""
    varying = [column for column in range(rows.shape[1]) if _varies(rows[:, column])]
    levels = []
    for column in (column for column in varying if column in nominal):
        found, counts = np.unique(np.where(np.isnan(rows[:, column]), ABSENT, rows[:, column]), return_counts=True)
        order = np.argsort(-counts, kind="stable")[:levels_max]
        levels.append(tuple(float(found[i]) for i in order if counts[i] >= level_rows_min))
    return Layout(
        rows.shape[1],
        tuple(column for column in varying if column not in nominal),
        tuple(column for column in varying if column in nominal),
        tuple(levels),
    )


def _varies(values: Floats) -> bool:
    absent = np.isnan(values)
    return bool(absent.any() and not absent.all()) or bool((values[~absent] != values[~absent][:1]).any())


class Table:
    """The marginals of rows (n, d) under a layout. Encodes any rows by them, decodes scores into rows like them.

    >>> rows = np.array([[1.0, 0.0], [2.0, 1.0], [2.0, 0.0], [5.0, 0.0]])
    >>> table = Table(rows, layout_of(rows, [1], levels_max=9, level_rows_min=1))
    >>> scores, levels = table.middle(rows)
    >>> scores.round(2).tolist(), levels.tolist()
    ([[-1.15], [0.0], [0.0], [1.15]], [[0], [1], [0], [0]])
    >>> table.decode(scores, levels, np.random.default_rng(0)).tolist()
    [[1.0, 0.0], [2.0, 1.0], [2.0, 0.0], [5.0, 0.0]]
    """

    def __init__(self, rows: Floats, layout: Layout) -> None:
        self.layout = layout
        self.n = len(rows)
        self._first = rows[0].copy()  # what constant columns hold
        filled = np.where(np.isnan(rows), -np.inf, rows)
        self._sorted = np.sort(filled[:, layout.numeric], axis=0)  # (n, p); absent first
        self._grids = [_grid(self._sorted[:, j]) for j in range(len(layout.numeric))]
        self._tied = [_tied(self._sorted[:, j]) for j in range(len(layout.numeric))]
        codes = self._codes(rows)
        self.frequencies = [
            np.bincount(self._slots(codes[:, j], j), minlength=slots).astype(np.float64) / self.n
            for j, slots in enumerate(layout.slots)
        ]
        self._rest = [codes[self._slots(codes[:, j], j) == slots - 1, j] for j, slots in enumerate(layout.slots)]

    @property
    def tied(self) -> tuple[bool, ...]:
        """By numeric column: whether most of its values are not alone, as in counts or columns of few prices."""
        return tuple(bool(each.mean() > 0.5) for each in self._tied)

    # -- encoding

    def ranks(self, rows: Floats) -> tuple[Floats, Floats]:
        """Lowest and highest rank of each numeric value among the table's rows, as shares, each (n, p) in 0..1."""
        filled = np.where(np.isnan(rows), -np.inf, rows)[:, self.layout.numeric]
        low, high = np.empty_like(filled), np.empty_like(filled)
        for j in range(filled.shape[1]):
            low[:, j] = np.searchsorted(self._sorted[:, j], filled[:, j], side="left")
            high[:, j] = np.searchsorted(self._sorted[:, j], filled[:, j], side="right")
        return low / self.n, high / self.n

    def middle(self, rows: Floats) -> tuple[Floats, Ints]:
        """Scores (n, p) with ties at the middle of their ranks, and slots (n, q): the encoding without chance."""
        low, high = self.ranks(rows)
        return self._score((low + high) / 2), self.slots(rows)

    def scores(self, rows: Floats, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Scores (n, p) with ties spread by chance, and slots (n, q): the encoding that is learned."""
        return self.spread(rows)(rng)

    def spread(self, rows: Floats) -> Callable[[np.random.Generator], tuple[Floats, Ints]]:
        """`scores` of the same rows, time and again: what chance has no part in is worked out once."""
        low, high = self.ranks(rows)
        width, slots = high - low, self.slots(rows)
        return lambda rng: (self._score(low + width * rng.random(low.shape)), slots)

    def _score(self, shares: Floats) -> Floats:
        edge = 0.5 / self.n
        found: Floats = ndtri(np.clip(shares, edge, 1 - edge))
        return found

    def _codes(self, rows: Floats) -> Floats:
        codes = rows[:, self.layout.nominal]
        return np.where(np.isnan(codes), ABSENT, codes)

    def _slots(self, codes: Floats, j: int) -> Ints:
        levels = self.layout.levels[j]
        slots = np.full(len(codes), len(levels), dtype=np.int64)
        for slot, level in enumerate(levels):
            slots[codes == level] = slot
        return slots

    def slots(self, rows: Floats) -> Ints:
        """Slot of each nominal value, (n, q); what is rare or new has the last slot of its column."""
        codes = self._codes(rows)
        return (
            np.stack([self._slots(codes[:, j], j) for j in range(codes.shape[1])], axis=1)
            if codes.size
            else (np.empty((len(rows), 0), dtype=np.int64))
        )

    # -- decoding

    def decode(self, scores: Floats, slots: Ints, rng: np.random.Generator) -> Floats:
        """Rows (n, d) for scores (n, p) and slots (n, q). Chance picks among the rare levels of a rest slot."""
        rows = np.tile(self._first, (len(scores), 1))
        shares = ndtr(scores)
        for j, column in enumerate(self.layout.numeric):
            rows[:, column] = self._values(shares[:, j], j)
        for j, column in enumerate(self.layout.nominal):
            levels = np.array([*self.layout.levels[j], np.nan])
            codes = levels[slots[:, j]]
            rest = slots[:, j] == len(levels) - 1
            if rest.any():
                # An empty rest (no rare level now) is drawn from the frequent ones.
                pool = self._rest[j] if len(self._rest[j]) else np.repeat(levels[:-1], self._counts(j))
                codes[rest] = pool[rng.integers(len(pool), size=int(rest.sum()))]
            rows[:, column] = np.where(codes == ABSENT, np.nan, codes)
        return rows

    def _counts(self, j: int) -> Ints:
        counts: Ints = np.rint(self.frequencies[j][:-1] * self.n).astype(np.int64)
        return counts

    def _values(self, shares: Floats, j: int) -> Floats:
        """The quantile function: straight lines between values seen once, steps at ties and absent values."""
        known, tied = self._sorted[:, j], self._tied[j]
        place = np.clip(shares * self.n - 0.5, 0, self.n - 1)
        below = np.minimum(place.astype(np.int64), self.n - 1)
        above = np.minimum(below + 1, self.n - 1)
        part = place - below
        step = tied[below] | tied[above]
        a, b = known[below], known[above]
        between = np.where(step, 0.0, b) * part + np.where(step, 0.0, a) * (1 - part)
        values = np.where(step, np.where(part < 0.5, a, b), between)
        grid = self._grids[j]
        if grid is not None:
            values = np.round(values, grid)
        return np.where(np.isneginf(values), np.nan, values)


def _tied(values: Floats) -> npt.NDArray[np.bool_]:
    """Which sorted values are not alone or not finite: there a quantile is a step."""
    equal = values[1:] == values[:-1]
    return np.concatenate(([False], equal)) | np.concatenate((equal, [False])) | np.isneginf(values)


def _grid(values: Floats) -> int | None:
    """The fewest decimals that write every value exactly; None where six are not enough."""
    finite = values[np.isfinite(values)]
    return next((decimals for decimals in GRIDS if np.array_equal(np.round(finite, decimals), finite)), None)
