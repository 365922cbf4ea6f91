"""Back-off: how long to wait before the next try. Grows, is jittered, has a bound. Out: seconds."""

from __future__ import annotations

import random


class Backoff:
    """Exponential back-off with jitter, between `min_s` and `max_s`.

    The n-th wait is uniform in [bound / 2, bound] with bound = min(max_s, min_s * 2**n): clients that lost
    the same broker do not come back in step, and none at once ("equal jitter", Brooker, AWS Architecture Blog, 2015).

    >>> backoff = Backoff(min_s=1.0, max_s=4.0, rng=random.Random(0))
    >>> [0.5 * bound <= backoff.next_s() <= bound for bound in (1.0, 2.0, 4.0, 4.0)]
    [True, True, True, True]
    """

    __slots__ = ("_bound_s", "_max_s", "_min_s", "_rng")

    def __init__(self, *, min_s: float, max_s: float, rng: random.Random) -> None:
        if not 0 < min_s <= max_s:
            raise ValueError(f"back-off from {min_s} s to {max_s} s: expected 0 < min_s <= max_s")
        self._min_s = min_s
        self._max_s = max_s
        self._rng = rng
        self._bound_s = min_s

    def next_s(self) -> float:
        """The next wait in seconds; the one after it is up to twice as long."""
        wait_s = self._bound_s * (0.5 + 0.5 * self._rng.random())
        self._bound_s = min(self._max_s, 2.0 * self._bound_s)
        return wait_s

    def reset(self) -> None:
        """It worked: the next trouble starts small again."""
        self._bound_s = self._min_s
