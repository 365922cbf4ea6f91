"""Smallest: the places of the k smallest of many numbers, in order. In: numbers. Out: places and those numbers.

What numpy's `argpartition` leaves open is settled: equal numbers are taken in the order of their places, whatever the
machine. And it is several times faster for many rows of many numbers: columns are folded upon each other to groups, the
k groups with the smallest minima hold the k smallest numbers, and only those are sorted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats

Places = npt.NDArray[np.intp]

_SORTED = 100  # so many numbers are sorted as quickly as they are searched


def smallest_of_each(values: Floats, k: int) -> tuple[Places, Floats]:
    """Of each row of `values` (m, n) the k <= n smallest, smallest first: places and numbers, each (m, k).

    >>> [found.tolist() for found in smallest_of_each(np.array([[3.0, 1.0, 2.0, 1.0]]), 2)]
    [[[1, 3]], [[1.0, 1.0]]]
    """
    m, n = values.shape
    groups = _groups(values, k)
    if groups is None:
        places = np.stack([smallest(row, k) for row in values]) if m else np.empty((0, k), dtype=np.intp)
        return places, np.take_along_axis(values, places, axis=1)
    width, found = groups
    folds = n // width
    candidates = (found[:, None, :] + (np.arange(folds) * width)[:, None]).reshape(m, folds * k)
    if n > folds * width:  # columns that are in no group
        left = np.broadcast_to(np.arange(folds * width, n), (m, n - folds * width))
        candidates = np.concatenate([candidates, left], axis=1)
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


def _groups(values: Floats, k: int) -> tuple[int, Places] | None:
    """How many groups there are, and the k of each row with the smallest minima, (m, k); None: not worth it, or ties.

    Column j is in the group j modulo the number of groups.
    """
    m, n = values.shape
    folds = 1
    while 8 * folds * folds * k <= n:
        folds *= 2
    if folds == 1:
        return None
    width = n // folds
    low, halves = values[:, : folds * width], folds
    while halves > 1:
        halves //= 2
        low = np.minimum(low[:, : halves * width], low[:, halves * width :])
    bound = np.partition(low, k - 1, axis=1)[:, k - 1 : k]
    found = (low <= bound).nonzero()[1]
    return (width, found.reshape(m, k)) if len(found) == m * k else None
