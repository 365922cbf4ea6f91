"""Portion: how many records a turn of the loop takes. In: how long the last ones took. Out: a number.

A turn must be short whatever a record costs: between turns the loop shows that it lives, saves, and sees that it is
asked to stop.
"""

from __future__ import annotations

BEGIN = 16  # nothing is known of the model's speed yet


class Portion:
    """As many records as are done in about `turn_s` seconds, 1 to `most`; at most twice as many as the last time.

    >>> portion = Portion(500, turn_s=0.5)
    >>> portion.took(16, 4.0)
    >>> portion.size
    2
    >>> portion.took(2, 0.0)
    >>> portion.size
    4
    """

    def __init__(self, most: int, *, turn_s: float) -> None:
        self._most = most
        self._turn_s = turn_s
        self.size = min(BEGIN, most)

    def took(self, records: int, seconds: float) -> None:
        """So many records took so long."""
        if not records:
            return
        affordable = records * self._turn_s / seconds if seconds > 0 else float(self._most)
        self.size = max(1, min(self._most, 2 * self.size, int(affordable)))
