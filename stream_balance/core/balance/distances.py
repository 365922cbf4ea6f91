"""Distances between rows of mixed columns, in units of each column's standard deviation. In: rows. Out: squares.

Of many rows by matrix products, |a - b|^2 = |a|^2 + |b|^2 - 2ab, around a mean so that little is lost to rounding; of a
few by their differences, which costs less than making ready for products.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats, fitted

_FEW = 8_192  # differences of columns, beyond those of two rows
EQUAL = 1e-9  # squares below are rounding: the row is equal, and may be the row itself


@dataclass(frozen=True, slots=True)
class Scale:
    """How columns count in a distance: those that tell some rows from others."""

    width: int
    numbers: npt.NDArray[np.intp]  # numeric columns, m
    centre: Floats  # the mean of each, (m,)
    roots: Floats  # 1 / standard deviation of each, (m,); 0 for one without variance
    levels: list[int]  # nominal columns


def scale_of(rows: Floats, nominal: list[int]) -> Scale:
    """The scale of `rows`, (n, d). Left out is what is the same in all: constant and never absent, or always absent."""
    mean, variance, absent = _moments(rows)
    if absent is None:
        always, useful = np.zeros(rows.shape[1], dtype=np.bool_), variance > 0
    else:
        always = np.asarray(absent.all(axis=0))
        useful = ~always & ((variance > 0) | absent.any(axis=0))
    useful[nominal] = False
    numbers = np.flatnonzero(useful)
    spread = np.sqrt(variance[numbers])
    roots = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    return Scale(rows.shape[1], numbers, mean[numbers], roots, [column for column in nominal if not always[column]])


def squared_distances(asked: Floats, rows: Floats, scale: Scale) -> Floats:
    """Squared distances of m rows `asked` (m, d) to n `rows` (n, d), numeric columns in standard deviations: (m, n).

    A different level counts 1, as does a value that one of both lacks; what both lack counts 0.
    """
    if (len(asked) - 2) * rows.size > _FEW:
        return Distances(rows, scale).squares(asked)
    mine, theirs = _numbers(asked, scale), _numbers(rows, scale)
    squares = theirs - mine[:, None, :]
    squares *= squares
    weights, (m, n, columns) = scale.roots * scale.roots, squares.shape
    found: Floats = squares.reshape(m * n, columns).dot(weights)  # as one matrix, which is several times faster
    if math.isnan(float(found.dot(found))):
        squares *= weights
        squares[np.isnan(squares)] = 1.0
        row, column = np.isnan(mine).nonzero()
        squares[row, :, column] = ~np.isnan(theirs.T[column])
        found = squares.sum(axis=2)
    found = found.reshape(m, n)
    return _with_levels(found, asked, rows, scale)


class Distances:
    """Squared distances as above, of any rows to `rows` (n, d), which are kept as they are, never written.

    >>> Distances(np.array([[0.0], [2.0]]), scale_of(np.array([[0.0], [2.0]]), [])).squares(np.array([[4.0]])).tolist()
    [[16.0, 4.0]]
    """

    def __init__(self, rows: Floats, scale: Scale) -> None:
        self.rows = rows
        self._scale = scale
        self._scaled, self._lengths, self._present = self._prepared(rows)

    def _prepared(self, values: Floats) -> tuple[Floats, Floats, Floats | None]:
        """Of rows (m, d): in units of deviation (0 = absent), their squared lengths (m,), 1 where present or None."""
        scale = self._scale
        scaled = _numbers(values, scale) - scale.centre
        scaled *= scale.roots
        lengths: Floats = np.einsum("ij,ij->i", scaled, scaled)
        if not math.isnan(np.add.reduce(lengths)):
            return scaled, lengths, None
        absent = np.isnan(scaled)
        scaled[absent] = 0.0
        return scaled, np.einsum("ij,ij->i", scaled, scaled), (~absent).astype(np.float64)

    def squares(self, asked: Floats) -> Floats:
        """Of m rows, (m, any width), to all of `rows`: (m, n)."""
        asked = fitted(asked, self._scale.width)
        scaled, lengths, present = self._prepared(asked)
        found: Floats = (-2.0 * scaled) @ self._scaled.T
        if present is None and self._present is None:
            found += lengths[:, None]
            found += self._lengths
        else:
            mine = np.ones_like(scaled) if present is None else present
            theirs = np.ones_like(self._scaled) if self._present is None else self._present
            found += (scaled * scaled) @ theirs.T
            found += mine @ (self._scaled * self._scaled).T
            # What one of both lacks counts 1, what both lack 0.
            found += mine.sum(axis=1)[:, None] + theirs.sum(axis=1) - 2.0 * (mine @ theirs.T)
        found = _with_levels(found, asked, self.rows, self._scale)
        return np.maximum(found, 0.0, out=found)

    def of(self, places: npt.NDArray[np.intp]) -> Distances:
        """Those to some of `rows` alone."""
        part = copy(self)
        part.rows, part._scaled, part._lengths = self.rows[places], self._scaled[places], self._lengths[places]
        part._present = None if self._present is None else self._present[places]
        return part


def _numbers(values: Floats, scale: Scale) -> Floats:
    """The numeric columns, a copy only where there are others."""
    return values if len(scale.numbers) == values.shape[1] else values.take(scale.numbers, axis=1)


def _with_levels(found: Floats, asked: Floats, rows: Floats, scale: Scale) -> Floats:
    """`found` (m, n), with what nominal columns add."""
    for column in scale.levels:
        levels, level = rows[:, column], asked[:, column, None]
        found += np.where(np.isnan(level), ~np.isnan(levels), levels != level)
    return found


def _moments(rows: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_] | None]:
    """Mean and variance of each column's present values, 0 where there are none; what is absent, None = nothing."""
    average = np.full(len(rows), 1.0 / len(rows))  # products with it are several times faster than mean(axis=0)
    mean = average @ rows
    if not np.isnan(mean).any():
        squares = rows - mean
        squares *= squares
        return mean, _real(average @ squares, mean), None
    absent = np.isnan(rows)
    count = np.maximum(len(rows) - absent.sum(axis=0), 1)
    mean = np.where(absent, 0.0, rows).sum(axis=0) / count
    centred = np.where(absent, 0.0, rows - mean)
    return mean, _real((centred * centred).sum(axis=0) / count, mean), absent


def _real(variance: Floats, mean: Floats) -> Floats:
    """The variance, and 0 where it is only the rounding of the mean: a constant column has none."""
    return np.where(variance > 1e-24 * mean * mean, variance, 0.0)
