"""Reference: the newest rows of all classes, asked for neighbours of many rows at once. In: rows. Out: places, squares.

What needs to know where the classes meet (danger, hardness, cleaning, Tomek links) asks here.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import numpy.typing as npt

from stream_balance.core.balance.distances import EQUAL, Distances, scale_of
from stream_balance.core.balance.smallest import Places, smallest_of_each
from stream_balance.core.records import Columns, Floats

Labels = npt.NDArray[np.int64]


class Reference:
    """`rows` (n, d), oldest first, and their classes (n,); both are kept as they are, never written.

    >>> reference = Reference(np.array([[0.0], [1.0], [5.0]]), np.array([0, 1, 0]), Columns())
    >>> reference.nearest(np.array([[0.0], [4.0]]), 1)[0].tolist()
    [[1], [2]]
    """

    def __init__(self, rows: Floats, labels: Labels, columns: Columns) -> None:
        nominal = [column for column in columns.nominal_indices if column < rows.shape[1]]
        self._distances = Distances(rows, scale_of(rows, nominal))
        self.labels = labels
        self._spacing: Floats = np.full(len(labels), np.nan)  # NaN = not asked for yet
        self._classes: dict[int, Reference | None] = {}
        self.measured: Floats | None = None  # whatever is measured once of all `rows`, by whom it is for

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def rows(self) -> Floats:
        """The rows, (n, d)."""
        return self._distances.rows

    def squares(self, values: Floats) -> Floats:
        """Squared distances of m rows, (m, d'), to all of `rows`: (m, n)."""
        return self._distances.squares(values)

    def nearest(self, values: Floats, k: int) -> tuple[Places, Floats]:
        """The at most k nearest of `rows` for m rows, nearest first: places and squares, each (m, <= k).

        A row equal to the one asked about is left out once, as it may be the same row.
        """
        k = min(k, len(self) - 1)
        if k < 1:
            return np.empty((len(values), 0), dtype=np.intp), np.empty((len(values), 0))
        places, distances = smallest_of_each(self.squares(values), k + 1)  # equal distances are taken oldest first
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
                part._distances, part.labels = self._distances.of(mine), self.labels[mine]
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
