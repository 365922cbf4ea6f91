"""Neighbours: rows between a row and its nearest neighbours of the same class (SMOTE). In: rows. Out: new rows.

Chawla et al., "SMOTE: synthetic minority over-sampling technique" (2002); nominal columns as in its section 6.1
(SMOTE-NC). Differences, each for a stream: the base is the row that arrives; distances are taken in units of each
column's standard deviation among the rows offered (refreshed every few draws), so that a price does not drown a rating.
In those units the median standard deviation, SMOTE-NC's penalty for a different level, is 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from random import Random

import numpy as np

from stream_balance.core.balance.distances import EQUAL, Scale, scale_of, squared_distances
from stream_balance.core.balance.smallest import smallest_of_each
from stream_balance.core.records import Columns, Floats, fitted

Pool = tuple[int, int | None]  # class and tier that rows come from; None = all tiers
SCALE_DRAWS = 16  # a scale is worked out anew after so many draws


class Interpolator:
    """Makes rows beside rows. Remembers the scale of each pool of rows for `SCALE_DRAWS` draws.

    >>> (beside,) = Interpolator(neighbours=1).beside(
    ...     np.array([[0.0]]), np.array([[0.0], [1.0], [9.0]]), [2], Columns(), Random(1)
    ... )
    >>> bool(((beside > 0) & (beside < 1)).all())
    True
    """

    def __init__(self, neighbours: int) -> None:
        self._neighbours = neighbours
        self._scales: dict[Pool, tuple[int, Scale]] = {}  # draws since it was made

    def beside(
        self, asked: Floats, rows: Floats, wanted: Sequence[int], columns: Columns, rng: Random,
        pool: Pool | None = None,
    ) -> list[Floats]:  # fmt: skip
        """For each of m rows `asked` (m, d) as many as `wanted`, (w, d), between it and its neighbours.

        They are sought among `rows` (n >= 1, any width). A numeric value lies between those of both rows, and is
        absent (NaN) where it is absent in the row asked about, or as there where the neighbour lacks it. A nominal
        value is the most frequent among the neighbours. `pool` names where `rows` come from; without it their scale
        is worked out anew.
        """
        rows, near, nominal = self.near(asked, rows, columns, pool)
        levels = [(column, [_mode(rows[places, column].tolist()) for places in near]) for column in nominal]
        return between(asked, rows, near, wanted, levels, rng)

    def near(
        self, asked: Floats, rows: Floats, columns: Columns, pool: Pool | None = None
    ) -> tuple[Floats, list[list[int]], list[int]]:
        """`rows` in the width of `asked` (m, d); of each row the places of its nearest; the nominal columns."""
        width = asked.shape[1]
        rows = fitted(rows, width)
        nominal = [column for column in columns.nominal_indices if column < width]
        scale = self._scale(rows, nominal, pool, len(asked))
        return rows, self._nearest(asked, rows, scale, self._neighbours), nominal

    def _scale(self, rows: Floats, nominal: list[int], pool: Pool | None, asked: int) -> Scale:
        if pool is None:
            return scale_of(rows, nominal)
        draws, scale = self._scales.get(pool, (SCALE_DRAWS, None))
        if scale is None or draws >= SCALE_DRAWS or scale.width != rows.shape[1]:
            draws, scale = 0, scale_of(rows, nominal)
        self._scales[pool] = draws + asked, scale
        return scale

    @staticmethod
    def _nearest(asked: Floats, rows: Floats, scale: Scale, wanted: int) -> list[list[int]]:
        """Of each row the places of the nearest, nearest first; an equal one is left out once: it may be the row."""
        # Equal distances are taken oldest first on every machine.
        order, squares = smallest_of_each(squared_distances(asked, rows, scale), min(wanted + 1, len(rows)))
        several = order.shape[1] > 1
        return [
            places[1:] if several and square <= EQUAL else places[:wanted]
            for places, square in zip(order.tolist(), squares[:, 0].tolist(), strict=True)
        ]

    def digest_state(self) -> object:
        """The scales in use, by pool in the order of first use."""
        return [[*pool, draws, scale.roots, scale.width] for pool, (draws, scale) in self._scales.items()]


def between(
    asked: Floats, rows: Floats, near: Sequence[Sequence[int]], wanted: Sequence[int],
    levels: Sequence[tuple[int, Sequence[float]]], rng: Random, reach: Floats | None = None,
) -> list[Floats]:  # fmt: skip
    """For each of m rows `asked` (m, d) as many as `wanted` between it and some of `rows` (n, d), chosen by chance.

    `near`: the places in `rows` to choose from, for each; `reach` (n,): at most so much of the way to each of `rows`.
    `levels`: nominal columns, each with the level of the rows beside each row.
    """
    chance = rng.random
    towards = [places[int(len(places) * chance())] for places, n in zip(near, wanted, strict=True) for _ in range(n)]
    gaps = np.array([chance() for _ in towards])
    if reach is not None:
        gaps *= reach.take(towards)
    base = asked.repeat(wanted, axis=0)
    found = rows.take(towards, axis=0)
    found -= base
    found[np.isnan(found)] = 0.0
    found *= gaps[:, None]
    found += base
    for column, level in levels:
        found[:, column] = np.repeat(level, wanted)
    ends = list(accumulate(wanted))
    return [found[end - n : end] for end, n in zip(ends, wanted, strict=True)]


def _mode(values: list[float]) -> float:
    """The most frequent value, the nearest row's among equals; absent counts as a value."""
    counts: dict[float | None, int] = {}
    for value in values:
        key = value if value == value else None  # noqa: PLR0124  # not NaN
        counts[key] = counts.get(key, 0) + 1
    best = max(counts, key=counts.__getitem__)  # the first to be counted among equals
    return math.nan if best is None else best
