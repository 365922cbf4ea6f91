"""Marginals: classes calibrated one by one, put right together. In: served probabilities of real rows, their labels.
Out: a factor for each class.

Maps that are right one by one need not be right once they are normalised to sum 1: where a class's own map is unsure,
the others lose to it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stream_balance.core.records import Floats

_SHIFT_MAX = 5.0


class Marginals:
    """A shift of each class's log odds, by recursive Newton steps towards mean probabilities equal to the rates.

    As a `Line` has it, of a shift alone and with the diagonal of the Hessian: with precision h and prior (h0, 0),
        h <- (1 - f) h + f h0 + sum p (1 - p),  shift <- shift + (sum (y - p) - f h0 shift) / h.

    >>> marginals = Marginals(classes=3, decay=0.99995, precision=2.0, youth=2.0)
    >>> marginals.factors.tolist()
    [1.0, 1.0, 1.0]
    >>> marginals.learn(np.full((300, 3), 1 / 3), np.array([0] * 200 + [1] * 50 + [2] * 50))
    >>> bool(marginals.factors[0] > 2.0 * marginals.factors[1])
    True
    """

    __slots__ = ("_fade", "_h", "_precision", "_rows", "_shift", "_youth", "factors")

    def __init__(self, classes: int, decay: float, precision: float, youth: float) -> None:
        self._fade, self._youth, self._precision, self._rows = 1.0 - decay, youth, precision, 0
        self._h, self._shift = np.full(classes, precision), np.zeros(classes)
        self.factors: Floats = np.ones(classes)

    def learn(self, said: Floats, labels: npt.NDArray[np.intp]) -> None:
        """Probabilities with these factors in them, (n, C), and classes, (n,)."""
        n = len(labels)
        self._rows += n
        keep = (1.0 - max(self._fade, self._youth / (self._youth + self._rows))) ** n
        pull = (1.0 - keep) * self._precision
        self._h = self._h * keep + pull + (said * (1.0 - said)).sum(axis=0)
        missing = np.bincount(labels, minlength=len(self._h)) - said.sum(axis=0)
        self._shift = np.clip(self._shift + (missing - pull * self._shift) / self._h, -_SHIFT_MAX, _SHIFT_MAX)
        self.factors = np.exp(self._shift)

    def state(self) -> list[object]:
        return [self._rows, self._h, self._shift]
