"""Odds: between probabilities and log odds. Pure arithmetic.

Rows of a table come singly, and floats are several times as fast as arrays of one: of a float, an only row of two
classes, each of these is a float.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import numpy as np

from stream_balance.core.records import Floats

LOGIT_MAX = 16.0
_EXPONENT_MAX = 700.0  # its exponential is still a float
_LOWEST = 1.0 / (1.0 + math.exp(LOGIT_MAX))
_HIGHEST = 1.0 - _LOWEST


@overload
def logits(probability: float) -> float: ...
@overload
def logits(probability: Floats) -> Floats: ...
def logits(probability: float | Floats) -> float | Floats:
    """Log odds, clipped to +-16; NaN stays NaN.

    >>> logits(np.array([0.5, 1.0])).round(6).tolist(), logits(0.5)
    ([0.0, 16.0], 0.0)
    """
    if isinstance(probability, float):
        if probability > _HIGHEST:
            return LOGIT_MAX
        return math.log(probability / (1.0 - probability)) if not probability < _LOWEST else -LOGIT_MAX
    clipped = np.minimum(np.maximum(probability, _LOWEST), _HIGHEST)
    found: Floats = np.log(clipped / (1.0 - clipped))
    return found


def probability_of_one(logit: float) -> float:
    """The way back from a log odds of any size; NaN stays NaN.

    >>> probability_of_one(0.0), probability_of_one(-1e9)
    (0.5, 0.0)
    """
    return 0.0 if logit < -_EXPONENT_MAX else 1.0 / (1.0 + math.exp(-logit))


@overload
def unbend(probability: float, offset: Sequence[float] | Floats) -> float: ...
@overload
def unbend(probability: Floats, offset: Sequence[float] | Floats) -> Floats: ...
def unbend(probability: float | Floats, offset: Sequence[float] | Floats) -> float | Floats:
    """Probabilities (n, C-1) with the log multipliers of classes 1..C-1 (against class 0) taken out of the odds.

    `offset` is (C-1,), or (n, C-1) where each row has its own.

    >>> unbend(np.array([[0.5]]), [math.log(3.0)]).tolist()
    [[0.25]]
    """
    if isinstance(probability, float):
        odds = probability * math.exp(-float(offset[0]))
        return odds / (max(1.0 - probability, 0.0) + odds)
    weighted = probability * np.exp(-np.asarray(offset))
    rest = np.maximum(1.0 - probability.sum(axis=1, keepdims=True), 0.0)
    found: Floats = weighted / (rest + weighted.sum(axis=1, keepdims=True))
    return found
