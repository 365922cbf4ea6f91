"""Flat trees: an ensemble of decision trees as a few arrays, scored by bit masks. In: (n, d) rows. Out: raw scores.

Leaves of a tree are numbered from left to right. A node whose test fails rules out the leaves below its left branch;
the row's leaf is the first that no failing node rules out. All that a value of one column rules out is one row of a
table, so a row of d columns is d look-ups, their conjunction, and one look-up of the leaf for all trees at once.
Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression trees" (2015).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats

Ints = npt.NDArray[np.intp]
LEAVES_MAX = 16  # bits of a mask
_ALL = np.arange(1 << LEAVES_MAX)
FIRST_BIT = np.where(_ALL == 0, 0, np.log2(np.maximum(_ALL & -_ALL, 1))).astype(np.uint8)


class FlatTrees:
    """Trees of K outputs on up to d columns; `arrays` as `flatten` in `booster_fit` makes them.

    columns (u,): which columns the trees look at; nominal (u,): whether by level;
    edges (e,): of numeric columns their thresholds in order, of nominal ones the table row of each level code;
    edge_starts (u + 1,); row_starts (u + 1,): where a column's rows of the table begin; its last row is for absent;
    masks (r, t) uint16: the leaves that remain, by tree; leaves (t, 16): their values; output (t,): which output a
    tree adds to, trees in the order in which they are added; baseline (K,).
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.arrays = dict(arrays)
        edges, starts = arrays["edges"].tolist(), arrays["edge_starts"].tolist()
        self._columns: list[int] = arrays["columns"].tolist()
        self._nominal: list[bool] = arrays["nominal"].tolist()
        self._edges: list[list[float]] = [edges[a:b] for a, b in pairwise(starts)]
        rows = arrays["row_starts"].tolist()
        self._rows: list[int] = rows[:-1]
        self._absent: list[int] = [end - 1 for end in rows[1:]]
        self._width = max(self._columns) + 1  # of rows that have all of them
        self._numeric = [] if any(self._nominal) else list(zip(self._columns, self._edges, self._rows, strict=True))
        self._masks: npt.NDArray[np.uint16] = arrays["masks"]
        trees = self._masks.shape[1]
        leaves = np.array(arrays["leaves"])
        self._leaf_starts: Ints = np.arange(trees) * LEAVES_MAX
        baseline: Floats = arrays["baseline"]
        self._outputs = [np.flatnonzero(arrays["output"] == k) for k in range(len(baseline))]
        for k, mine in enumerate(self._outputs):
            leaves[mine[0]] += baseline[k]  # a sum begins with it
        self._leaves: Floats = leaves.reshape(-1)

    def __getstate__(self) -> dict[str, npt.NDArray[Any]]:
        return self.arrays

    def __setstate__(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        FlatTrees.__init__(self, arrays)

    def raw(self, rows: Floats) -> Floats:
        """Scores before any link, (n, K): the baseline and, one after the other, the trees' values."""
        if len(rows) == 1:
            masks = self._masks.take(self._places(rows[0].tolist()), axis=0)
            remaining = np.bitwise_and.reduce(masks, axis=0, keepdims=True)
        else:
            remaining = np.bitwise_and.reduce(self._masks[self._all_places(rows)], axis=1)
        values: Floats = self._leaves.take(self._leaf_starts + FIRST_BIT.take(remaining))
        # In the trees' order, as sklearn adds them, not pairwise: equal to the last bit.
        if len(self._outputs) == 1:
            total: Floats = np.add.accumulate(values, axis=1)[:, -1:]
            return total
        found = np.empty((len(rows), len(self._outputs)))
        for k, trees in enumerate(self._outputs):
            found[:, k] = np.add.accumulate(values[:, trees], axis=1)[:, -1]
        return found

    def _places(self, row: list[float]) -> list[int]:
        """By column looked at: the row of the table that the row's value leads to."""
        if self._numeric and len(row) >= self._width:
            present = sum([row[column] for column in self._columns])
            if present == present:  # noqa: PLR0124  # nothing is absent
                return [first + bisect_left(edges, row[column]) for column, edges, first in self._numeric]
        found = []
        for column, nominal, edges, first, absent in zip(
            self._columns, self._nominal, self._edges, self._rows, self._absent, strict=True
        ):
            value = row[column] if column < len(row) else np.nan
            if value != value:  # noqa: PLR0124  # absent
                found.append(absent)
            elif not nominal:
                found.append(first + bisect_left(edges, value))
            else:
                found.append(int(edges[int(value)]) if value < len(edges) else absent)
        return found

    def _all_places(self, rows: Floats) -> Ints:
        """The same for n rows, (n, u)."""
        found = np.empty((len(rows), len(self._columns)), dtype=np.intp)
        for i, column in enumerate(self._columns):
            if column >= rows.shape[1]:
                found[:, i] = self._absent[i]
                continue
            values, edges = rows[:, column], np.array(self._edges[i])
            if self._nominal[i]:
                known = values < len(edges)
                found[:, i] = self._absent[i]
                found[known, i] = edges[values[known].astype(np.intp)]
            else:
                found[:, i] = self._rows[i] + np.searchsorted(edges, values, side="left")
                found[np.isnan(values), i] = self._absent[i]
        return found
