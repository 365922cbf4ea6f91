"""Recent: what was used of late, under a bound. Share: one object for equal tuples, under a bound.

`Recent` keeps two generations instead of an exact order of use: a key used since the last turn is in the young one;
when the young one is half of `size_max`, the old one is forgotten and the young one becomes old. So a key is forgotten
only when at least size_max / 2 other keys have been used since, and the hot path is one dict lookup.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


class Recent:
    """Lists of `width` floats by key, at most about `size_max`; `forgotten` counts those that left.

    >>> recent = Recent(size_max=2, width=1)
    >>> for key in "abc":
    ...     recent.entry(key)[0] += 1.0
    >>> len(recent), recent.forgotten, recent.entry("c")
    (2, 1, [1.0])
    """

    __slots__ = ("_half", "_old", "_width", "forgotten", "young")

    def __init__(self, size_max: int, width: int) -> None:
        self._half = max(1, size_max // 2)
        self._width = width
        self._old: dict[str, list[float]] = {}
        self.young: dict[str, list[float]] = {}  # a reader in a hurry looks here first
        self.forgotten = 0

    def __len__(self) -> int:
        return len(self._old) + len(self.young)

    def entry(self, key: str) -> list[float]:
        """The list of a key, to be changed in place; zeros when new or forgotten."""
        found = self.young.get(key)
        if found is None:
            found = self._old.pop(key, None) or [0.0] * self._width
            if len(self.young) >= self._half:
                self.forgotten += len(self._old)
                self._old, self.young = self.young, {}
            self.young[key] = found
        return found

    def scale(self, factor: float) -> None:
        """Multiply every number."""
        for generation in (self._old, self.young):
            for found in generation.values():
                found[:] = [value * factor for value in found]

    def digest_state(self) -> object:
        """Keys and numbers in order of use."""
        return {
            "forgotten": self.forgotten,
            "old": (list(self._old), _numbers(self._old)),
            "young": (list(self.young), _numbers(self.young)),
        }


def _numbers(generation: dict[str, list[float]]) -> npt.NDArray[np.float64]:
    return np.array(list(generation.values()), dtype=np.float64)


class Share:
    """Gives one tuple for equal ones, so that what is held by the million is held once.

    Worth it for positions, and for item ids of searches with one item. Forgets everything at `size_max`.

    >>> share = Share(size_max=10)
    >>> share.of((1, 2)) is share.of(tuple([1, 2]))
    True
    """

    __slots__ = ("_seen", "_size_max")

    def __init__(self, size_max: int = 100_000) -> None:
        self._size_max = size_max
        self._seen: dict[tuple[object, ...], tuple[object, ...]] = {}

    def of(self, values: tuple[T, ...]) -> tuple[T, ...]:
        """The tuple to keep in place of `values`."""
        found = self._seen.get(values)
        if found is None:
            if len(self._seen) >= self._size_max:
                self._seen.clear()
            self._seen[values] = found = values
        return found  # type: ignore[return-value]  # equal to `values`, so of its type
