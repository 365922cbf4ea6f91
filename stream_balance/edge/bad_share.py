"""Bad share: ends the run when too many of the latest records could not be read. In: good or bad. Out: WorldError.

A broken topic is not eaten up record by record, or restart by restart: somebody has to look. Counts records only;
bounded by `window_records`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import Field, PositiveInt

from stream_balance.core.records import RoomSettings
from stream_balance.errors import WorldError


class BadShareSettings(RoomSettings):
    """How many bad records are borne. 1 = any number."""

    share_max: float = Field(default=0.5, ge=0.0, le=1.0)  # of the latest records
    window_records: PositiveInt = 1_000


class BadShare:
    """The latest `window_records` records, good or bad; raises once more than `share_max` of so many are bad.

    What is missing in the window, at the start, counts as good.

    >>> share = BadShare(BadShareSettings(share_max=0.5, window_records=4))
    >>> share.good(), share.bad("not_json"), share.bad("not_json")
    (None, None, None)
    >>> share.bad("not_utf8")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    stream_balance.errors.WorldError: 3 of the latest 4 records could not be read (not_json 2, not_utf8 1), at most 2...
    """

    __slots__ = ("_bad", "_bad_max", "_next", "_reasons", "_ring")

    def __init__(self, settings: BadShareSettings) -> None:
        self._ring: list[str | None] = [None] * settings.window_records
        self._next = 0
        self._bad = 0
        self._bad_max = settings.share_max * settings.window_records
        self._reasons: Counter[str] = Counter()

    def good(self) -> None:
        """One more record that could be read."""
        if self._bad:
            self._push(None)

    def bad(self, reason: str) -> None:
        """One more record that could not. Raises WorldError if it is one too many."""
        self._push(reason)
        if self._bad > self._bad_max:
            reasons = ", ".join(f"{name} {count}" for name, count in self._reasons.most_common(5))
            raise WorldError(
                f"{self._bad} of the latest {len(self._ring)} records could not be read ({reasons}), at most "
                f"{int(self._bad_max)} are borne. Look at them with 'stream-balance dlq list' (a log's are in its "
                "dead-letter file); bad.share_max = 1 goes on."
            )

    def state(self) -> list[str | None]:
        """The latest records, oldest first: why each could not be read, None = it could."""
        return self._ring[self._next :] + self._ring[: self._next]

    def restore(self, state: Sequence[str | None]) -> None:
        """Go on from another's state, so that a restart does not forget how many were bad."""
        for reason in state[-len(self._ring) :]:
            self._push(reason)

    def _push(self, reason: str | None) -> None:
        left = self._ring[self._next]
        if left is not None:
            self._bad -= 1
            self._reasons[left] -= 1
            if not self._reasons[left]:
                del self._reasons[left]
        self._ring[self._next] = reason
        self._next = (self._next + 1) % len(self._ring)
        if reason is not None:
            self._bad += 1
            self._reasons[reason] += 1
