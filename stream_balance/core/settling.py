"""Settling: which rows were scored by models that have moved far since, as young ones do, and all after a change of the
rate.

In: that the rate has changed, rows learned, versions of the model. Out: whether what was said then is out of date.
"""

from __future__ import annotations

SETTLING_ROWS = 4_000  # learned ones after which models follow the rate


class Settling:
    """Labels are late: for as long as they are held, rows mature whose scores are of before the models had learned
    anything, or had followed a change of the rate. Whoever learned from those scores how far they are off would put
    right what the models have put right by themselves since. A stream begins with it.

    >>> settling = Settling()
    >>> settling.learned(SETTLING_ROWS, version=9); [settling.is_stale(each) for each in (3, 9)]
    [True, False]
    >>> settling.begin(); settling.is_stale(9)
    True
    """

    __slots__ = ("_left", "_settled")

    def __init__(self) -> None:
        self._left = SETTLING_ROWS  # rows still to be learned until models have settled
        self._settled = 0  # the first version that had

    def begin(self) -> None:
        """The rate has changed."""
        self._left = SETTLING_ROWS

    def learned(self, rows: int, version: int) -> None:
        """So many more rows were learned; the model's version now."""
        if self._left:
            self._left = max(self._left - rows, 0)
            self._settled = version

    def is_stale(self, version: int) -> bool:
        """Of a row scored by this version: its models had not settled, or have not yet."""
        return self._left > 0 or version < self._settled

    def digest_state(self) -> object:
        """Both counts."""
        return [self._left, self._settled]
