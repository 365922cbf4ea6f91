"""Marginals: classes calibrated one by one, put right together. In: served probabilities of real rows, their labels.
Out: a factor for each class.

Maps that are right one by one need not be right once they are normalised to sum 1: where a class's own map is unsure,
the others lose to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_balance.core.memory import Memory
from stream_balance.core.records import Floats

PRECISION = 20.0  # of the prior that shifts are 0: at first the maps beneath still move
_SHIFT_MAX = 5.0


class Marginals:
    """A shift of each class's log odds, by recursive Newton steps towards mean probabilities equal to the rates.

    As a `Line` has it, of shifts alone: with precision H and prior (h0 I, 0), rows of probabilities p and labels y,
        H <- k H + (1 - k) h0 I + sum (diag(p) - p p'),  shift <- shift + H^-1 (sum (y - p) - (1 - k) h0 shift).

    >>> marginals = Marginals(classes=3, memory=Memory(outcomes=1_000))
    >>> marginals.factors.tolist()
    [1.0, 1.0, 1.0]
    >>> marginals.learn(np.full((300, 3), 1 / 3), np.array([0] * 200 + [1] * 50 + [2] * 50))
    >>> bool(marginals.factors[0] > 1.5 * marginals.factors[1])
    True
    """

    __slots__ = ("_h", "_memory", "_precision", "_shift", "factors")

    def __init__(self, classes: int, memory: Memory, precision: float = PRECISION) -> None:
        self._memory, self._precision = memory, precision
        self._h, self._shift = np.eye(classes) * precision, np.zeros(classes)
        self.factors: Floats = np.ones(classes)

    def learn(self, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        """Probabilities with these factors in them, (n, C), and classes, (n,)."""
        keep = self._memory.keep(labels > 0)
        pull = (1.0 - keep) * self._precision
        mean = said.sum(axis=0)
        self._h = self._h * keep - said.T @ said
        self._h[np.diag_indices_from(self._h)] += pull + mean
        missing = np.bincount(labels, minlength=len(mean)) - mean
        step = np.linalg.solve(self._h, missing - pull * self._shift)
        self._shift = np.clip(self._shift + step, -_SHIFT_MAX, _SHIFT_MAX)
        self.factors = np.exp(self._shift)

    def begin_anew(self, rows: int) -> None:
        """What is older than the latest rows is soon forgotten."""
        self._memory.begin_anew(rows)

    def state(self) -> list[object]:
        return [self._memory.state(), self._h, self._shift]
