"""Gather: what comes a few rows at a time, until there is enough of it to be worth a matrix. In and out: anything of
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from stream_balance.core.records import HEAD, Samples, fitted

TAUGHT_ROWS = 16  # rows that models learn together
YOUNG = 64  # but of n learned rows never more than n / 64 wait
FIRST_OUTCOMES, FIRST_SHARE = 4, 8  # as few outcomes, or an eighth of all rows there have been, if that is more


class _OfRows(Protocol):
    def __len__(self) -> int: ...


T = TypeVar("T", bound=_OfRows)


class Gather(Generic[T]):
    """Things of one row or more that wait, in their order; its length is that of all their rows.

    >>> gather = Gather()
    >>> gather.add(b"a"); gather.add(b"bc")
    >>> len(gather), gather.taken(), len(gather)
    (3, [b'a', b'bc'], 0)
    """

    def __init__(self) -> None:
        self.waiting: list[T] = []
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, thing: T) -> None:
        """It comes after those that wait."""
        self.waiting.append(thing)
        self._rows += len(thing)

    def taken(self) -> list[T]:
        """All that wait; none waits any more."""
        waiting, self.waiting, self._rows = self.waiting, [], 0
        return waiting


def worth_learning(rows: int, learned: int) -> bool:
    """Whether so many rows are enough for a step, after so many learned ones: at first every row counts."""
    return rows >= min(TAUGHT_ROWS, learned // YOUNG)


class Patience:
    """Counts rows until they are enough for corrections to move: a block of them, or, in the youth of a stream, a few
    outcomes. Where outcomes are common a block is long; where they are rare, fewer rows tell nothing.

    >>> patience = Patience(block_rows=64)
    >>> [patience.has_enough([label]) for label in (1, 1, 0, 1, 1, 1)], patience.has_enough([0] * 62)
    ([False, False, False, False, True, False], False)
    """

    __slots__ = ("_before", "_block_rows", "_outcomes", "_rows")

    def __init__(self, block_rows: int) -> None:
        self._block_rows = block_rows
        self._before = self._rows = self._outcomes = 0

    def has_enough(self, labels: Sequence[int]) -> bool:
        """Count these too; if it says yes, it begins anew."""
        self._rows += len(labels)
        if any(labels):
            self._outcomes += sum(1 for label in labels if label)
        if self._rows < self._block_rows and self._outcomes < max(FIRST_OUTCOMES, self._before // FIRST_SHARE):
            return False
        self._before += self._rows
        self._rows = self._outcomes = 0
        return True

    def skip(self, rows: int) -> None:
        """So many rows were counted before."""
        self._before += rows


def joined(several: Sequence[Samples]) -> Samples:
    """At least one, end to end, in rows as wide as the widest.

    >>> joined([Samples.of(np.array([1.0]), 0), Samples.of(np.array([2.0, 3.0]), 1)]).rows.tolist()
    [[1.0, nan], [2.0, 3.0]]
    """
    if len(several) == 1:
        return several[0]
    width = max(each.rows.shape[1] for each in several)
    weights, tiers = None, b""
    if any(each.weights is not None for each in several):
        weights = [w for each in several for w in each.weights or [1.0] * len(each)]
    if any(each.tiers for each in several):
        tiers = b"".join([each.tiers or bytes([HEAD]) * len(each) for each in several])
    return Samples(
        np.concatenate([fitted(each.rows, width) for each in several]),
        [label for each in several for label in each.labels],
        b"".join([each.origins for each in several]),
        [times for each in several for times in each.times],
        [offset for each in several for offset in each.offsets],
        weights,
        tiers,
    )
