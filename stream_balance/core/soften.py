"""Soften: log odds far below what a model usually says, drawn in, for corrections that are fitted to all of them.

In: log odds. Out: the same, far ones nearer, in the same order. A line's fit goes by the square of a distance, so a
hundredth of rows for which a model swears on "never" (a leaf that has seen one class only, a first fit on few rows)
tilts it for all. Winsorising (Tukey, "The future of data analysis", 1962) bounds such rows; here they keep their order.
Only below, and not for class 0: on the other side lie the rare rows, which are what is looked for. Drawn in as well,
they fell in the order of a mixture.
"""

from __future__ import annotations

import math
from copy import copy

import numpy as np

from stream_balance.core.records import Floats
from stream_balance.core.straighten import Moments

BELOW = 2.0  # in standard deviations of the softened log odds, below their mean
STEEPNESS = 0.1  # of what lies further


class Softener:
    """Straight above a point below the usual log odds of a model, flatter under it; it follows what the model says.

    `bounds` = False: it changes nothing.

    >>> softener = Softener(centre=0.0, decay=0.999, youth=2.0)
    >>> softener.learn(softener.soften(np.tile([-1.0, 1.0], 500)))
    >>> softener.soften(np.array([-12.0, 0.5, 14.0])).round(1).tolist(), round(softener.of_one(-12.0), 1)
    ([-3.0, 0.5, 14.0], -3.0)
    """

    __slots__ = ("_bounds", "_fade", "_moments", "_rows", "_youth", "low")

    def __init__(self, centre: float, decay: float, youth: float, *, bounds: bool = True) -> None:
        self._fade, self._youth, self._bounds = 1.0 - decay, youth, bounds
        self.begin(Moments(centre), 0)

    def begin(self, moments: Moments, rows: int) -> None:
        """With what is known already of that many log odds."""
        self._moments, self._rows = copy(moments), rows
        self._bound()

    def _bound(self) -> None:
        self.low = self._moments.mean - BELOW * self._moments.spread if self._bounds else -math.inf

    def soften(self, logits: Floats) -> Floats:
        """Of any shape; NaN stays NaN."""
        if not self._bounds:
            return logits
        within = np.maximum(logits, self.low)
        found: Floats = within + STEEPNESS * (logits - within)
        return found

    def of_one(self, logit: float) -> float:
        """The same of a float."""
        return logit if logit >= self.low else self.low + STEEPNESS * (logit - self.low)

    def learn(self, softened: Floats) -> None:
        """n log odds as they were softened, (n,)."""
        self._rows += len(softened)
        fade = max(self._fade, self._youth / (self._youth + self._rows))
        self._moments.observe(softened, (1.0 - fade) ** len(softened))
        self._bound()

    def state(self) -> list[float]:
        """Rows and moments."""
        return [self._rows, *self._moments.state()]
