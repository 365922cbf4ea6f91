"""Reference: the newest rows of all classes, asked for neighbours of many rows at once. In: rows. Out: places, squares.

What needs to know where the classes meet (danger, hardness, cleaning, Tomek links) asks here. Distances are those of
`distances.py`, all of them by matrix products: |a - b|^2 = |a|^2 + |b|^2 - 2ab, around the mean of the rows so that
little is lost to rounding.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import numpy.typing as npt

from stream_balance.core.balance.distances import scale_of
from stream_balance.core.records import Columns, Floats, fitted

EQUAL = 1e-9  # squares below are rounding: the row is equal, and may be the row itself

Labels = npt.NDArray[np.int64]
Places = npt.NDArray[np.intp]


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
        numbers = rows.take(self._scale.numbers, axis=1)
        present = ~np.isnan(numbers)
        self._centre = np.where(present, numbers, 0.0).sum(axis=0) / np.maximum(present.sum(axis=0), 1)
        self._roots = np.sqrt(self._scale.weights)
        self._scaled, self._squares, self._present = self._prepared(rows)
        self._all_present = bool(present.all())
        self._spacing: Floats = np.full(len(labels), np.nan)  # NaN = not asked for yet
        self._classes: dict[int, Reference | None] = {}
        self.measured: Floats | None = None  # whatever is measured once of all `rows`, by whom it is for

    def __len__(self) -> int:
        return len(self.labels)

    def _prepared(self, values: Floats) -> tuple[Floats, Floats, Floats]:
        scaled = values.take(self._scale.numbers, axis=1) - self._centre
        scaled *= self._roots
        absent = np.isnan(scaled)
        present: Floats = (~absent).astype(np.float64)
        scaled[absent] = 0.0
        return scaled, scaled * scaled, present

    def squares(self, values: Floats) -> Floats:
        """Squared distances of m rows, (m, d'), to all of `rows`: (m, n)."""
        values = fitted(values, self.rows.shape[1])
        scaled, squares, present = self._prepared(values)
        found: Floats = scaled @ self._scaled.T
        found *= -2.0
        if self._all_present and present.all():
            found += squares.sum(axis=1)[:, None]
            found += self._squares.sum(axis=1)
        else:
            found += squares @ self._present.T
            found += present @ self._squares.T
            # What one of both lacks counts 1, what both lack 0.
            found += present.sum(axis=1)[:, None] + self._present.sum(axis=1) - 2.0 * (present @ self._present.T)
        for column in self._scale.levels:
            levels, asked = self.rows[:, column], values[:, column][:, None]
            found += np.where(np.isnan(asked), ~np.isnan(levels), levels != asked)
        return np.maximum(found, 0.0, out=found)

    def nearest(self, values: Floats, k: int) -> tuple[Places, Floats]:
        """The at most k nearest of `rows` for m rows, nearest first: places and squares, each (m, <= k).

        A row equal to the one asked about is left out once, as it may be the same row.
        """
        squares = self.squares(values)
        k = min(k, len(self) - 1)
        if k < 1:
            return np.empty((len(values), 0), dtype=np.intp), np.empty((len(values), 0))
        candidates = np.argpartition(squares, k, axis=1)[:, : k + 1]
        candidates.sort(axis=1)  # equal distances are taken oldest first
        distances = np.take_along_axis(squares, candidates, axis=1)
        order = np.argsort(distances, axis=1, kind="stable")
        places = np.take_along_axis(candidates, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
        itself = distances[:, :1] <= EQUAL
        return np.where(itself, places[:, 1:], places[:, :-1]), np.where(itself, distances[:, 1:], distances[:, :-1])

    def others(self, values: Floats, label: int, k: int) -> Floats:
        """For m rows of a class: the share of other classes among the k nearest, (m,); NaN without any row."""
        places, _ = self.nearest(values, k)
        if not places.shape[1]:
            return np.full(len(values), np.nan)
        found: Floats = (self.labels[places] != label).mean(axis=1)
        return found

    def of_class(self, label: int) -> Reference | None:
        """The rows of one class alone, distances as in the whole; None without any."""
        if label not in self._classes:
            mine = np.flatnonzero(self.labels == label)
            part = copy(self) if len(mine) else None
            if part is not None:
                part.rows, part.labels = self.rows[mine], self.labels[mine]
                part._scaled, part._squares, part._present = (
                    self._scaled[mine],
                    self._squares[mine],
                    self._present[mine],
                )
                part._spacing, part._classes, part.measured = np.full(len(mine), np.nan), {}, None
            self._classes[label] = part
        return self._classes[label]

    def spacing(self, places: Places) -> Floats:
        """For some of `rows`, the square of the way to the nearest other one, (k,); infinite for a row alone."""
        unknown = np.unique(places[np.isnan(self._spacing[places])])
        if len(unknown):
            squares = self.nearest(self.rows[unknown], 1)[1]
            self._spacing[unknown] = squares[:, 0] if squares.shape[1] else np.inf
        found: Floats = self._spacing[places]
        return found
