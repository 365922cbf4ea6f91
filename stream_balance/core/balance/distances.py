"""Distances between rows of mixed columns, in units of each column's standard deviation. In: rows. Out: squares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats


@dataclass(frozen=True, slots=True)
class Scale:
    """How columns count in a distance: those that tell some rows from others."""

    width: int
    numbers: npt.NDArray[np.intp]  # numeric columns, m
    weights: Floats  # 1 / variance of each, (m,); 0 for one without variance
    levels: list[int]  # nominal columns
    has_constant: bool  # whether one of the weights is 0


def scale_of(rows: Floats, nominal: list[int]) -> Scale:
    """The scale of `rows`, (n, d). Left out is what is the same in all: constant and never absent, or always absent."""
    variance, absent = _variance(rows)
    if absent is None:
        always, useful = np.zeros(rows.shape[1], dtype=np.bool_), variance > 0
    else:
        always = np.asarray(absent.all(axis=0))
        useful = ~always & ((variance > 0) | absent.any(axis=0))
    useful[nominal] = False
    numbers = np.flatnonzero(useful)
    spread = variance[numbers]
    weights = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    levels = [column for column in nominal if not always[column]]
    return Scale(rows.shape[1], numbers, weights, levels, not weights.all())


def squared_distances(row: Floats, rows: Floats, scale: Scale) -> Floats:
    """Squared distance of `row` (d,) to each of `rows` (n, d), numeric columns in standard deviations.

    A different level counts 1, as does a value that one of both lacks; what both lack counts 0.
    """
    numbers = scale.numbers
    all_columns = len(numbers) == rows.shape[1]
    squares = rows - row if all_columns else rows.take(numbers, axis=1) - row.take(numbers)
    squares *= squares
    found: Floats = squares.dot(scale.weights)
    if scale.has_constant or math.isnan(float(found.dot(found))):  # a product with 0 need not show what is absent
        squares *= scale.weights
        squares[np.isnan(squares)] = 1.0
        absent = np.isnan(row.take(numbers))
        if absent.any():
            squares[:, absent] = ~np.isnan(rows.take(numbers[absent], axis=1))
        found = squares.sum(axis=1)
    for column in scale.levels:
        levels, level = rows[:, column], row[column]
        found += ~np.isnan(levels) if math.isnan(level) else levels != level
    return found


def _variance(rows: Floats) -> tuple[Floats, npt.NDArray[np.bool_] | None]:
    """Variance of each column over its present values, 0 where there is none; and what is absent, None = nothing."""
    average = np.full(len(rows), 1.0 / len(rows))  # products with it are several times faster than mean(axis=0)
    mean = average @ rows
    if not np.isnan(mean).any():
        squares = rows - mean
        squares *= squares
        return _real(average @ squares, mean), None
    absent = np.isnan(rows)
    count = np.maximum(len(rows) - absent.sum(axis=0), 1)
    mean = np.where(absent, 0.0, rows).sum(axis=0) / count
    centred = np.where(absent, 0.0, rows - mean)
    return _real((centred * centred).sum(axis=0) / count, mean), absent


def _real(variance: Floats, mean: Floats) -> Floats:
    """The variance, and 0 where it is only the rounding of the mean: a constant column has none."""
    return np.where(variance > 1e-24 * mean * mean, variance, 0.0)
