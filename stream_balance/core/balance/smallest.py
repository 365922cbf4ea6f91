"""Smallest: the places of the k smallest of many numbers, in order. In: numbers, none NaN. Out: places and the numbers.

What numpy's `argpartition` leaves open is settled: equal numbers are taken in the order of their places, whatever the
machine. And it is several times faster for many rows of many numbers: columns are folded upon each other to groups, the
k groups with the smallest minima hold the k smallest numbers, and only those are sorted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats

Places = npt.NDArray[np.intp]

_SINGLE = 6  # so few rows are searched one by one
_SORTED = 100  # so many numbers are sorted as quickly as they are searched


def smallest_of_each(values: Floats, k: int) -> tuple[Places, Floats]:
    """Of each row of `values` (m, n) the k <= n smallest, smallest first: places and numbers, each (m, k).

    >>> [found.tolist() for found in smallest_of_each(np.array([[3.0, 1.0, 2.0, 1.0]]), 2)]
    [[[1, 3]], [[1.0, 1.0]]]
    """
    m, n = values.shape
    if m == 1:
        only = smallest(values[0], k)[None, :]
        return only, values.take(only)
    folds = _folds(n, k) if m > _SINGLE else 1
    if folds == 1:
        return _one_by_one(values, k)
    width = n // folds
    low = _folded(values[:, : folds * width], folds)
    chosen = low <= np.partition(low, k - 1, axis=1)[:, k - 1 : k]
    found = chosen.nonzero()[1]
    if len(found) == m * k:
        return _among(values, k, found.reshape(m, k), width)
    # Of some rows more groups have the same minimum.
    tied = np.add.reduce(chosen, axis=1) != k
    places, numbers = np.empty((m, k), dtype=np.intp), np.empty((m, k))
    places[tied], numbers[tied] = _one_by_one(values[tied], k)
    found = chosen[~tied].nonzero()[1].reshape(-1, k)
    places[~tied], numbers[~tied] = _among(values[~tied], k, found, width)
    return places, numbers


def _folds(n: int, k: int) -> int:
    """A power of 2: with so many columns a group, groups and candidates cost about the same."""
    folds = 1
    while 8 * folds * folds * k <= n:
        folds *= 2
    return folds


def _folded(values: Floats, folds: int) -> Floats:
    """The smallest of each group, (m, n / folds): column j is in group j modulo their number."""
    low = values
    while folds > 1:
        folds //= 2
        half = low.shape[1] // 2
        low = np.minimum(low[:, :half], low[:, half:])
    return low


def _one_by_one(values: Floats, k: int) -> tuple[Places, Floats]:
    m, n = values.shape
    places = np.empty((m, k), dtype=np.intp)
    for row in range(m):
        places[row] = smallest(values[row], k)
    return places, values.ravel().take(places + np.arange(m)[:, None] * n)


def _among(values: Floats, k: int, groups: Places, width: int) -> tuple[Places, Floats]:
    """The same among the columns of these groups, (m, k), and those that are in none."""
    m, n = values.shape
    folds = n // width
    grouped = folds * width
    candidates = np.empty((m, folds * k + n - grouped), dtype=np.intp)
    for fold in range(folds):
        np.add(groups, fold * width, out=candidates[:, fold * k : fold * k + k])
    candidates[:, folds * k :] = np.arange(grouped, n)
    candidates.sort(axis=1)
    firsts = np.arange(m)[:, None]
    numbers = values.ravel()
    order = numbers.take(candidates + firsts * n).argsort(axis=1, kind="stable")[:, :k]
    places = candidates.ravel().take(order + firsts * candidates.shape[1])
    return places, numbers.take(places + firsts * n)


def smallest(values: Floats, k: int) -> Places:
    """The places of the k smallest of `values` (n,), smallest first, (min(k, n),)."""
    if len(values) <= max(k, _SORTED):
        return values.argsort(kind="stable")[:k]
    bound = values.copy()
    bound.partition(k - 1)
    candidates = (values <= bound[k - 1]).nonzero()[0]
    places: Places = candidates.take(values.take(candidates).argsort(kind="stable")[:k])
    return places
