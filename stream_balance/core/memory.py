"""Memory: what new rows leave of those before them. In: outcomes of real rows. Out: a factor from 0 to 1.

What a rate or a slope is known to hangs on outcomes, not on rows: 20,000 rows hold 1,000 outcomes at 5 %, 200 at 1 %. A
memory of so many outcomes is as sure at every rate; one of so many rows is as quick at every rate.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Outcomes = npt.NDArray[np.bool_]
RAREST_MAX = 0.1  # the rarer kind is counted as one row in ten where it is more: some thousand rows are always kept


class Memory:
    """Fades by e in so many `rows`, or in so many `outcomes` of the kind that there is less of, whichever comes first.

    In youth it is shorter: what a model said at first soon means little. At most 1 / (1 + `youth`) of the weight of all
    rows is kept.

    >>> memory = Memory(outcomes=2.0)
    >>> round(memory.keep(np.arange(20) < 2), 3)
    0.368
    """

    __slots__ = ("_kinds", "_outcomes", "_rows", "_youth", "seen")

    def __init__(self, rows: float = math.inf, outcomes: float = math.inf, youth: float = 0.0) -> None:
        self._rows, self._outcomes, self._youth = rows, outcomes, youth
        self.seen = 0  # rows so far
        self._kinds = (0.0, 0.0)  # outcomes and others, as far as they are remembered: which of them is the rarer

    def keep(self, outcomes: Outcomes) -> float:
        """What is left of all before once these n, (n,), have come; they count from now on."""
        n, found = len(outcomes), int(np.count_nonzero(outcomes))
        self.seen += n
        young = (1.0 - self._youth / (self._youth + self.seen)) ** n
        if self._outcomes == math.inf:
            return min(young, math.exp(-n / self._rows))
        yes, no = self._kinds
        more, others = yes + found, no + n - found
        kept = min(young, math.exp(-n / self._rows - (_rarer(more, others) - _rarer(yes, no)) / self._outcomes))
        self._kinds = more * kept, others * kept
        return kept

    def begin_anew(self, rows: int) -> None:
        """All but the latest rows were of another stream: it is as young as these are many."""
        self.seen = min(self.seen, rows)

    def state(self) -> list[float]:
        """Rows so far, and the kinds as far as they are remembered."""
        return [self.seen, *self._kinds]


def _rarer(yes: float, no: float) -> float:
    """Counted from the beginning, so that it is the same however rows are cut into blocks."""
    return min(yes, no, RAREST_MAX * (yes + no))
