"""Neighbours: rows between a row and its nearest neighbours of the same class (SMOTE). In: rows. Out: new rows.

Chawla et al., "SMOTE: synthetic minority over-sampling technique" (2002); nominal columns as in its section 6.1
(SMOTE-NC). Differences, each for a stream: the base is the row that arrives; distances are taken in units of each
column's standard deviation among the rows offered (refreshed every few draws), so that a price does not drown a rating.
In those units the median standard deviation, SMOTE-NC's penalty for a different level, is 1.
"""

from __future__ import annotations

import math
from random import Random

import numpy as np

from stream_balance.core.balance.distances import Scale, scale_of, squared_distances
from stream_balance.core.balance.smallest import Places, smallest
from stream_balance.core.records import Columns, Floats, fitted

Pool = tuple[int, int | None]  # class and tier that rows come from; None = all tiers
SCALE_DRAWS = 16  # a scale is worked out anew after so many draws


class Interpolator:
    """Makes rows beside a row. Remembers the scale of each pool of rows for `SCALE_DRAWS` draws.

    >>> beside = Interpolator(neighbours=1).beside(
    ...     np.array([0.0]), np.array([[0.0], [1.0], [9.0]]), 2, Columns(), Random(1)
    ... )
    >>> bool(((beside > 0) & (beside < 1)).all())
    True
    """

    def __init__(self, neighbours: int) -> None:
        self._neighbours = neighbours
        self._scales: dict[Pool, tuple[int, Scale]] = {}  # draws since it was made

    def beside(
        self, row: Floats, rows: Floats, wanted: int, columns: Columns, rng: Random, pool: Pool | None = None
    ) -> Floats:
        """`wanted` rows, (wanted, d), between `row` (d,) and its neighbours among `rows` (n >= 1, any width).

        A numeric value lies between those of both rows, and is absent (NaN) where either is absent in `row`, or
        as in `row` where the neighbour lacks it. A nominal value is the most frequent among the neighbours.
        `pool` names where `rows` come from; without it their scale is worked out anew.
        """
        near, nominal = self.near(row, rows, columns, pool)
        return between(row, near, wanted, nominal, rng)

    def near(
        self, row: Floats, rows: Floats, columns: Columns, pool: Pool | None = None, k: int | None = None
    ) -> tuple[Floats, list[int]]:
        """The k nearest of `rows` in the width of `row`, nearest first, (<= k, d); and its nominal columns."""
        rows = fitted(rows, len(row))
        nominal = [column for column in columns.nominal_indices if column < len(row)]
        places = self._nearest(row, rows, self._scale(rows, nominal, pool), k or self._neighbours)
        return rows.take(places, axis=0), nominal

    def _scale(self, rows: Floats, nominal: list[int], pool: Pool | None) -> Scale:
        if pool is None:
            return scale_of(rows, nominal)
        draws, scale = self._scales.get(pool, (SCALE_DRAWS, None))
        if scale is None or draws >= SCALE_DRAWS or scale.width != rows.shape[1]:
            draws, scale = 0, scale_of(rows, nominal)
        self._scales[pool] = draws + 1, scale
        return scale

    @staticmethod
    def _nearest(row: Floats, rows: Floats, scale: Scale, wanted: int) -> Places:
        """Indices of the nearest rows, nearest first; a row equal to `row` is left out once: it may be `row` itself."""
        squares = squared_distances(row, rows, scale)
        k = min(wanted + 1, len(rows))
        # A stable order: equal distances are taken oldest first on every machine.
        order = smallest(squares, k)
        if k > 1 and squares[order[0]] == 0.0:
            return order[1:]
        return order[:wanted]

    def digest_state(self) -> object:
        """The scales in use, by pool in the order of first use."""
        return [[*pool, draws, scale.weights, scale.width] for pool, (draws, scale) in self._scales.items()]


def between(
    row: Floats, near: Floats, wanted: int, nominal: list[int], rng: Random, reach: Floats | None = None
) -> Floats:
    """`wanted` rows between `row` (d,) and rows `near` (k, d), chosen by chance; at most `reach` (k,) of the way."""
    k, chance, steps = len(near), rng.random, range(wanted)
    towards = [int(k * chance()) for _ in steps]
    gaps = np.array([chance() for _ in steps])
    if reach is not None:
        gaps *= reach[towards]
    step: Floats = near - row
    step[np.isnan(step)] = 0.0
    found: Floats = step.take(towards, axis=0)
    found *= gaps[:, None]
    found += row
    for column in nominal:
        found[:, column] = _mode(near[:, column].tolist())
    return found


def _mode(values: list[float]) -> float:
    """The most frequent value, the nearest row's among equals; absent counts as a value."""
    counts: dict[float | None, int] = {}
    for value in values:
        key = value if value == value else None  # noqa: PLR0124  # not NaN
        counts[key] = counts.get(key, 0) + 1
    best = max(counts, key=counts.__getitem__)  # the first to be counted among equals
    return math.nan if best is None else best
