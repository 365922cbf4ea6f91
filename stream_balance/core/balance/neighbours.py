"""Neighbours: rows between a row and its nearest neighbours of the same class (SMOTE). In: rows. Out: new rows.

Chawla et al., "SMOTE: synthetic minority over-sampling technique" (2002); nominal columns as in its section 6.1
(SMOTE-NC). Differences, each for a stream: the base is the row that arrives; distances are taken in units of each
column's standard deviation among the rows offered (refreshed every few draws), so that a price does not drown a rating.
In those units the median standard deviation, SMOTE-NC's penalty for a different level, is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Columns, Floats

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
        rows = fitted(rows, len(row))
        nominal = [column for column in columns.nominal_indices if column < len(row)]
        nearest = self._nearest(row, rows, self._scale(rows, nominal, pool))
        near: Floats = rows[nearest]
        towards = [int(len(near) * rng.random()) for _ in range(wanted)]
        gaps = np.array([rng.random() for _ in range(wanted)])
        step: Floats = near - row
        step[np.isnan(step)] = 0.0
        found: Floats = step[towards]
        found *= gaps[:, None]
        found += row
        for column in nominal:
            found[:, column] = _mode(near[:, column].tolist())
        return found

    def _scale(self, rows: Floats, nominal: list[int], pool: Pool | None) -> Scale:
        if pool is None:
            return scale_of(rows, nominal)
        draws, scale = self._scales.get(pool, (SCALE_DRAWS, None))
        if scale is None or draws >= SCALE_DRAWS or scale.width != rows.shape[1]:
            draws, scale = 0, scale_of(rows, nominal)
        self._scales[pool] = draws + 1, scale
        return scale

    def _nearest(self, row: Floats, rows: Floats, scale: Scale) -> npt.NDArray[np.intp]:
        """Indices of the nearest rows, nearest first; a row equal to `row` is left out once: it may be `row` itself."""
        squares = squared_distances(row, rows, scale)
        k = min(self._neighbours + 1, len(rows))
        # A stable order: equal distances are taken oldest first on every machine.
        order = squares.argsort(kind="stable")[:k]
        if k > 1 and squares[order[0]] == 0.0:
            return order[1:]
        return order[: self._neighbours]

    def digest_state(self) -> object:
        """The scales in use, by pool in the order of first use."""
        return [[*pool, draws, scale.weights, scale.width] for pool, (draws, scale) in self._scales.items()]


def fitted(rows: Floats, width: int) -> Floats:
    """`rows` with exactly `width` columns, the missing ones NaN."""
    if rows.shape[1] >= width:
        return rows[:, :width]
    wide = np.full((len(rows), width), np.nan)
    wide[:, : rows.shape[1]] = rows
    return wide


@dataclass(frozen=True, slots=True)
class Scale:
    """How columns count in a distance: those that tell some rows from others."""

    width: int
    numbers: npt.NDArray[np.intp]  # numeric columns, m
    weights: Floats  # 1 / variance of each, (m,); 0 for one without variance
    levels: list[int]  # nominal columns


def scale_of(rows: Floats, nominal: list[int]) -> Scale:
    """The scale of `rows`, (n, d). Left out is what is the same in all: constant and never absent, or always absent."""
    variance, absent = _variance(rows), np.isnan(rows)
    always = np.asarray(absent.all(axis=0))
    useful = ~always & ((variance > 0) | absent.any(axis=0))
    useful[nominal] = False
    numbers = np.flatnonzero(useful)
    spread = variance[numbers]
    weights = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return Scale(rows.shape[1], numbers, weights, [column for column in nominal if not always[column]])


def squared_distances(row: Floats, rows: Floats, scale: Scale) -> Floats:
    """Squared distance of `row` (d,) to each of `rows` (n, d), numeric columns in standard deviations.

    A different level counts 1, as does a value that one of both lacks; what both lack counts 0.
    """
    numbers = scale.numbers
    squares = (rows if len(numbers) == rows.shape[1] else rows.take(numbers, axis=1)) - row.take(numbers)
    squares *= squares
    found: Floats = squares @ scale.weights
    if math.isnan(float(found.sum())):
        squares *= scale.weights
        squares[np.isnan(squares)] = 1.0
        lacking = numbers[np.isnan(row.take(numbers))]
        if len(lacking):
            squares[:, np.isnan(row.take(numbers))] = ~np.isnan(rows.take(lacking, axis=1))
        found = squares.sum(axis=1)
    for column in scale.levels:
        levels, level = rows[:, column], row[column]
        found += ~np.isnan(levels) if math.isnan(level) else levels != level
    return found


def _variance(rows: Floats) -> Floats:
    """Variance of each column over its present values; 0 where there is none."""
    average = np.full(len(rows), 1.0 / len(rows))  # products with it are several times faster than mean(axis=0)
    mean = average @ rows
    if not np.isnan(mean).any():
        squares = rows - mean
        squares *= squares
        return _real(average @ squares, mean)
    present = ~np.isnan(rows)
    count = np.maximum(present.sum(axis=0), 1)
    filled = np.where(present, rows, 0.0)
    mean = filled.sum(axis=0) / count
    centred = np.where(present, rows - mean, 0.0)
    return _real((centred * centred).sum(axis=0) / count, mean)


def _real(variance: Floats, mean: Floats) -> Floats:
    """The variance, and 0 where it is only the rounding of the mean: a constant column has none."""
    return np.where(variance > 1e-24 * mean * mean, variance, 0.0)


def _mode(values: list[float]) -> float:
    """The most frequent value, the nearest row's among equals; absent counts as a value."""
    counts: dict[float | None, int] = {}
    for value in values:
        key = value if value == value else None  # noqa: PLR0124  # not NaN
        counts[key] = counts.get(key, 0) + 1
    best = max(counts, key=counts.__getitem__)  # the first to be counted among equals
    return math.nan if best is None else best
