"""Reference: the newest rows of all classes, asked for neighbours of many rows at once. In: rows. Out: places, squares.

What needs to know where the classes meet (danger, hardness, cleaning, Tomek links) asks here. Distances are those of
`distances.py`, all of them by matrix products: |a - b|^2 = |a|^2 + |b|^2 - 2ab, around the mean of the rows so that
little is lost to rounding.
"""

from __future__ import annotations

import math
from copy import copy

import numpy as np
import numpy.typing as npt

from stream_balance.core.balance.distances import scale_of
from stream_balance.core.balance.smallest import Places, smallest_of_each
from stream_balance.core.records import Columns, Floats, fitted

EQUAL = 1e-9  # squares below are rounding: the row is equal, and may be the row itself
_ROUND = 2.0**23  # squares are rounded to 2^-29, so that equally far is equally far however it was worked out

Labels = npt.NDArray[np.int64]


class Reference:
    """`rows` (n, d), oldest first, and their classes (n,); both are kept as they are, never written.

    >>> reference = Reference(np.array([[0.0], [1.0], [5.0]]), np.array([0, 1, 0]), Columns())
    >>> reference.nearest(np.array([[0.0], [4.0]]), 1)[0].tolist()
    [[1], [2]]
    """

    def __init__(self, rows: Floats, labels: Labels, columns: Columns) -> None:
        self.rows = rows
        self.labels = labels
        self._scale = scale_of(rows, [column for column in columns.nominal_indices if column < rows.shape[1]])
        self._roots = np.sqrt(self._scale.weights)
        self._centre = self._mean(rows)
        scaled, self._lengths, self._present = self._prepared(rows)
        self._factors = np.multiply(scaled.T, -2.0, order="C")  # (d', n): what rows asked about are multiplied with
        self._squares: Floats | None = None  # (d', n), once something absent was met
        self._spacing: Floats = np.full(len(labels), np.nan)  # NaN = not asked for yet
        self._classes: dict[int, Reference | None] = {}
        self.measured: dict[tuple[int, int], Floats] = {}  # what is measured once of a class's rows, by another class

    def __len__(self) -> int:
        return len(self.labels)

    def _numbers(self, values: Floats) -> Floats:
        """The columns that count, a copy only where there are others."""
        numbers = self._scale.numbers
        return values if len(numbers) == values.shape[1] else values.take(numbers, axis=1)

    def _mean(self, rows: Floats) -> Floats:
        numbers = self._numbers(rows)
        mean: Floats = np.full(len(rows), 1.0 / max(len(rows), 1)) @ numbers
        if np.isnan(mean).any():
            absent = np.isnan(numbers)
            mean = np.where(absent, 0.0, numbers).sum(axis=0) / np.maximum(len(rows) - absent.sum(axis=0), 1)
        return mean

    def _prepared(self, values: Floats) -> tuple[Floats, Floats, Floats | None]:
        """Of rows (m, d): in units of deviation (0 = absent), sums of squares, and 1 where present or None."""
        scaled = self._numbers(values) - self._centre
        scaled *= self._roots
        lengths: Floats = np.vecdot(scaled, scaled)
        if not math.isnan(lengths.dot(lengths)):
            return scaled, lengths, None
        absent = np.isnan(scaled)
        scaled[absent] = 0.0
        return scaled, np.vecdot(scaled, scaled), (~absent).astype(np.float64)

    def squares(self, values: Floats) -> Floats:
        """Squared distances of m rows, (m, d'), to all of `rows`: (m, n), rounded."""
        values = fitted(values, self.rows.shape[1])
        scaled, lengths, present = self._prepared(values)
        found: Floats = scaled @ self._factors
        if present is None and self._present is None:
            found += lengths[:, None]
            found += self._lengths
        else:
            if self._squares is None:
                self._squares = self._factors * self._factors / 4.0
            mine = np.ones_like(scaled) if present is None else present
            theirs = np.ones_like(self._factors.T) if self._present is None else self._present
            found += (scaled * scaled) @ theirs.T
            found += mine @ self._squares
            # What one of both lacks counts 1, what both lack 0.
            found += mine.sum(axis=1)[:, None] + theirs.sum(axis=1) - 2.0 * (mine @ theirs.T)
        for column in self._scale.levels:
            levels, asked = self.rows[:, column], values[:, column][:, None]
            found += np.where(np.isnan(asked), ~np.isnan(levels), levels != asked)
        found += _ROUND
        found -= _ROUND
        return np.maximum(found, 0.0, out=found)

    def nearest(self, values: Floats, k: int) -> tuple[Places, Floats]:
        """The at most k nearest of `rows` for m rows, nearest first: places and squares, each (m, <= k).

        A row equal to the one asked about is left out once, as it may be the same row.
        """
        k = min(k, len(self) - 1)
        if k < 1:
            return np.empty((len(values), 0), dtype=np.intp), np.empty((len(values), 0))
        # Equal distances are taken oldest first.
        places, distances = smallest_of_each(self.squares(values), k + 1)
        itself = distances[:, :1] <= EQUAL
        return np.where(itself, places[:, 1:], places[:, :-1]), np.where(itself, distances[:, 1:], distances[:, :-1])

    def others(self, values: Floats, label: int, k: int) -> Floats:
        """For m rows of a class: the share of other classes among the k nearest, (m,); NaN without any row."""
        places, _ = self.nearest(values, k)
        if not places.shape[1]:
            return np.full(len(values), np.nan)
        found: Floats = np.add.reduce(self.labels[places] != label, axis=1) / places.shape[1]
        return found

    def of_class(self, label: int) -> Reference | None:
        """The rows of one class alone, distances as in the whole; None without any."""
        if label not in self._classes:
            mine = np.flatnonzero(self.labels == label)
            part = copy(self) if len(mine) else None
            if part is not None:
                part.rows, part.labels = self.rows.take(mine, axis=0), self.labels[mine]
                part._factors, part._squares = self._factors.take(mine, axis=1), None
                part._present = None if self._present is None else self._present[mine]
                part._lengths = self._lengths[mine]
                part._spacing, part._classes, part.measured = np.full(len(mine), np.nan), {}, {}
            self._classes[label] = part
        return self._classes[label]

    def newest(self, label: int, most: int) -> Floats:
        """The newest rows of one class, (n, d) with n <= most, oldest first."""
        return self.rows.take(np.flatnonzero(self.labels == label)[-most:], axis=0)

    def spacing(self, places: Places) -> Floats:
        """For some of `rows`, the square of the way to the nearest other one, (k,); infinite for a row alone."""
        unknown = np.unique(places[np.isnan(self._spacing[places])])
        if len(unknown):
            squares = self.nearest(self.rows[unknown], 1)[1]
            self._spacing[unknown] = squares[:, 0] if squares.shape[1] else np.inf
        found: Floats = self._spacing[places]
        return found
