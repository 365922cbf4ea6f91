"""Parameters: what a classifier is made with, checked where it is made. In: values. Raises ValueError, or TypeError."""

from __future__ import annotations

import math

import numpy as np

SEED_MAX = 2**32 - 1  # scikit-learn takes no larger one


def check_whole(name: str, value: object, least: int, most: int | None = None) -> None:
    """Raise for what is no whole number, or below `least`, or above `most`.

    >>> check_whole("networks", 0, 1)
    Traceback (most recent call last):
    ...
    ValueError: networks is 0, expected a whole number of at least 1.
    """
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r:.60}, expected a whole number of at least {least}.")
    if value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name} is {value!r:.60}, expected a whole number {bounds}.")


def check_seed(seed: object) -> None:
    """Raise for what is no seed. None is none: equal seeds give equal answers, which is what the arms promise."""
    check_whole("seed", seed, 0, SEED_MAX)


def check_between(name: str, value: object, low: float, high: float = math.inf, *, with_low: bool = False) -> None:
    """Raise for what is no number above `low` (or `low` itself) and below `high`.

    >>> check_between("target_share", 1.0, 0.0, 1.0)
    Traceback (most recent call last):
    ...
    ValueError: target_share is 1.0, expected a number above 0 and below 1.
    """
    bounds = f"{'from' if with_low else 'above'} {low:g}" + ("" if high == math.inf else f" and below {high:g}")
    if not isinstance(value, float | int | np.number):
        raise TypeError(f"{name} is {value!r:.60}, expected a number {bounds}.")
    if not (low <= value if with_low else low < value) or not value < high:
        raise ValueError(f"{name} is {value!r:.60}, expected a number {bounds}.")
