"""Memory: what new rows leave of those before them. In: outcomes of real rows. Out: a factor from 0 to 1.

What a rate or a slope is known to hangs on outcomes, not on rows: 20,000 rows hold 1,000 outcomes at 5 %, 200 at 1 %. A
memory of so many outcomes is as sure at every rate; one of so many rows is as quick.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Outcomes = npt.NDArray[np.bool_]


def rarer(outcomes: Outcomes) -> int:
    """How many of n outcomes, (n,), are of the kind that there is less of.

    >>> rarer(np.array([True, False, True, True]))
    1
    """
    found = int(np.count_nonzero(outcomes))
    return min(found, len(outcomes) - found)


class Memory:
    """Fades by e in so many `rows`, or in so many `outcomes` of the rarer kind; the young never remember more than the
    last 1 / `youth` of all rows: what a model said at first soon means little.

    >>> memory = Memory(outcomes=2.0)
    >>> round(memory.keep(np.array([True, False, False, False, True])), 3)
    0.368
    """

    __slots__ = ("_outcomes", "_rows", "_youth", "seen")

    def __init__(self, rows: float = math.inf, outcomes: float = math.inf, youth: float = 0.0) -> None:
        self._rows, self._outcomes, self._youth = rows, outcomes, youth
        self.seen = 0  # rows so far

    def keep(self, outcomes: Outcomes) -> float:
        """What is left of all before once these n, (n,), have come; they count from now on."""
        n = len(outcomes)
        self.seen += n
        young = (1.0 - self._youth / (self._youth + self.seen)) ** n
        return min(young, math.exp(-n / self._rows - rarer(outcomes) / self._outcomes))
