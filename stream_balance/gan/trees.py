"""Trees: each column drawn given those before it, from the leaf of a tree. In: rows, a Table. Out: scores and levels.

Sequential trees (Reiter, "Using CART to generate partially synthetic public use microdata", Journal of Official
Statistics 21, 2005): a column's tree is grown on the columns before it, a made row falls to a leaf of it and takes the
value of one of the leaf's rows. What bends, comes in kinds or changes its spread is held, which one copula cannot. Of
each column there are several trees, on other parts of the rows, and a made row falls through one of them: fewer rows
to a leaf without a row's path being learned by heart. What the residual generator edits; a rung of its own below it.

Within a leaf values are taken evenly, not by chance alone (stratified sampling: Cochran, "Sampling techniques", 1977,
chapter 5): as many rows as were learned hold about what those hold, not a bootstrap of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from stream_balance.core.records import Floats
from stream_balance.gan.table import Ints, Table

LEAF_ROWS = 20  # of those that a tree is grown on
TREES, TREES_ALL = 8, 200  # by column, where there are not too many columns for it
PART, GROWN_ROWS_MAX = 0.63, 2_000  # of the rows that a tree is grown on, drawn without repeats, and at most how many


@dataclass(frozen=True, slots=True)
class _Tree:
    """A grown tree (none: all rows are one leaf), and the values of all rows, leaf by leaf."""

    grown: Any
    leaves: Ints
    starts: Ints
    counts: Ints
    values: Floats

    def draw(self, before: Floats, rng: np.random.Generator) -> Floats:
        """A value for each row (m, k) of the columns before; of one leaf's values all are taken about as often."""
        if not len(before):
            return self.values[:0]
        leaves = np.zeros(len(before), dtype=np.int64) if self.grown is None else self.grown.apply(before)
        at = np.searchsorted(self.leaves, leaves)
        found: Floats = self.values[self.starts[at] + (evenly(at, rng) * self.counts[at]).astype(np.int64)]
        return found


def evenly(groups: Ints, rng: np.random.Generator) -> Floats:
    """Numbers in [0, 1), (n,): of the m members of a group one lies in each m-th part, which one by chance.

    >>> np.sort(evenly(np.array([7, 7, 7, 7]), np.random.default_rng(0)) * 4).astype(int).tolist()
    [0, 1, 2, 3]
    """
    order = rng.permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    _, starts, counts = np.unique(groups[order], return_index=True, return_counts=True)
    found = np.empty(len(groups))
    found[order] = (np.arange(len(groups)) - np.repeat(starts, counts) + rng.random(len(groups))) / np.repeat(
        counts, counts
    )
    return found


class Trees:
    """The dependence of rows (n, d) under a table's marginals.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(800, 1))
    >>> rows = np.hstack([x, x * x])
    >>> from stream_balance.gan.table import layout_of
    >>> table = Table(rows, layout_of(rows, [], levels_max=9, level_rows_min=1))
    >>> made = Trees(rows, table, rng).rows(2000, rng)
    >>> bool(np.corrcoef(made[:, 0] ** 2, made[:, 1])[0, 1] > 0.7)  # no straight line says anything here
    True
    """

    def __init__(self, rows: Floats, table: Table, rng: np.random.Generator) -> None:
        self.table = table
        self._rows = len(rows)
        scores, slots = table.scores(rows, rng)
        self._numeric = scores.shape[1]
        self._ends = list(accumulate([1] * self._numeric + list(table.layout.slots), initial=0))
        trees = max(1, min(TREES, TREES_ALL // max(len(self._ends) - 1, 1)))
        places = np.hstack([scores, *(np.eye(width)[slots[:, j]] for j, width in enumerate(table.layout.slots))])
        values = np.hstack([scores, slots])
        self._columns = [
            [self._grown(places[:, : self._ends[j]], values[:, j], j, rng) for _ in range(trees if j else 1)]
            for j in range(values.shape[1])
        ]

    def _grown(self, before: Floats, values: Floats, column: int, rng: np.random.Generator) -> _Tree:
        """A tree of a column's values (n,) on the places of the columns before, (n, k)."""
        leaves, grown = np.zeros(len(values), dtype=np.int64), None
        if column:
            kind = DecisionTreeRegressor if column < self._numeric else DecisionTreeClassifier
            part = rng.permutation(len(values))[: min(max(int(PART * len(values)), 1), GROWN_ROWS_MAX)]
            # random_state: which of two equal cuts is taken.
            grown = kind(min_samples_leaf=LEAF_ROWS, random_state=0).fit(before[part], values[part])
            leaves = grown.apply(before)
        order = np.argsort(leaves, kind="stable")
        found, starts, counts = np.unique(leaves[order], return_index=True, return_counts=True)
        return _Tree(grown, found, starts, counts, values[order])

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """Scores (n, p) and slots (n, q) of n new rows, even in each run of as many as were learned."""
        starts = range(0, n, self._rows)
        values = np.concatenate([self._run(min(self._rows, n - at), rng) for at in starts] or [self._run(0, rng)])
        return values[:, : self._numeric], values[:, self._numeric :].astype(np.int64)

    def _run(self, n: int, rng: np.random.Generator) -> Floats:
        places = np.zeros((n, self._ends[-1]))
        values = np.empty((n, len(self._columns)))
        for j, trees in enumerate(self._columns):
            chosen = rng.permutation(n) % len(trees)
            for k, tree in enumerate(trees):
                mine = chosen == k
                values[mine, j] = tree.draw(places[mine, : self._ends[j]], rng)
            if j < self._numeric:
                places[:, j] = values[:, j]
            else:
                places[np.arange(n), self._ends[j] + values[:, j].astype(np.int64)] = 1.0
        return values

    def rows(self, n: int, rng: np.random.Generator) -> Floats:
        """n new rows, (n, d)."""
        scores, slots = self.sample(n, rng)
        return self.table.decode(scores, slots, rng)
