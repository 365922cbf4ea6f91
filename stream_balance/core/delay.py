"""Delay: holds scored rows of a labelled table until their label is due, `delay_rows` later. In = held + matured.

For tables there is nothing to join: each row brings its label, which is learned at once (delay 0) or after so many more
rows have come: a label due at or before a row is learned before that row is scored.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from stream_balance.core.records import Examples, Scored


@dataclass(slots=True)
class DelayCounts:
    """Counted in rows; `taken == held + matured` always."""

    taken: int = 0
    matured: int = 0
    positive: int = 0


class DelayedLabels:
    """First in, first out, by row count.

    >>> delay = DelayedLabels(delay_rows=1)
    >>> delay.counts
    DelayCounts(taken=0, matured=0, positive=0)
    """

    def __init__(self, delay_rows: int) -> None:
        self.delay_rows = delay_rows
        self.counts = DelayCounts()
        self._held: deque[tuple[int, Scored, int]] = deque()

    @property
    def held(self) -> int:
        """Rows that wait for their label."""
        return len(self._held)

    def hold(self, scored: Scored, label: int) -> None:
        """Take a scored row (one impression) with the label it will turn out to have."""
        self._held.append((self.counts.taken + self.delay_rows, scored, label))
        self.counts.taken += 1

    def mature(self, row: int | None) -> list[Examples]:
        """The rows due at or before `row` (its index; None = all that are held), oldest first."""
        found = []
        while self._held and (row is None or self._held[0][0] <= row):
            _, scored, label = self._held.popleft()
            self.counts.matured += 1
            self.counts.positive += label > 0
            found.append(Examples(scored, (label,), (False,), (0.0,)))
        return found

    def digest_state(self) -> object:
        """What is held, and the counts."""
        held = [(due, scored.event_id, scored.block, label) for due, scored, label in self._held]
        return [self.delay_rows, self.counts.taken, self.counts.matured, self.counts.positive, held]
