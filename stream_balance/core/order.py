"""Reorder: gives events out in one total order, as far as the log's disorder allows. In: Event and its bytes, as
they come. Out: (Event, late). Holds `disorder_max_s` of event time, at most `reorder_max` events; counts what it
could not mend.

The order: (ts, search before purchase, event_id, SHA-256 of the content). It does not depend on partitions or topics.
"""

from __future__ import annotations

import hashlib
import heapq

from pydantic import NonNegativeFloat, PositiveInt

from stream_balance.core.records import Event, Purchase, RoomSettings

BEGINNING_US = -(2**63)  # before every timestamp


class OrderSettings(RoomSettings):
    """How much disorder of the log is mended."""

    disorder_max_s: NonNegativeFloat = 0.0  # event time that is held back; a log at most so disordered comes out sorted
    reorder_max: PositiveInt = 1_000_000  # events held; beyond it the smallest leaves early, counted `forced`


class Content:
    """The last part of the key: hashed only when two events agree in everything before it."""

    __slots__ = ("content",)

    def __init__(self, content: bytes) -> None:
        self.content = content

    def key(self) -> bytes:
        return hashlib.sha256(self.content).digest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.content == other.content

    def __lt__(self, other: Content) -> bool:
        return self.key() < other.key()

    __hash__ = None  # type: ignore[assignment]  # compared, never a key


OrderKey = tuple[int, int, str, Content]
_Held = tuple[int, int, str, Content, int, Event]


def order_key(event: Event, content: bytes) -> OrderKey:
    """Place in the total order: (ts, search before purchase, event_id, content hash)."""
    return (event.ts_us, 1 if isinstance(event, Purchase) else 0, event.event_id, Content(content))


class Reorder:
    """Events in the total order, each with whether it is late: its time lies before one that has already left.

    With `disorder_max_s` 0 every event passes at once. Otherwise an event leaves when its ts < (largest ts seen) -
    disorder; a late one leaves at once. `watermark_us` is the largest ts that has left.

    >>> from stream_balance.testing import make_search
    >>> reorder = Reorder(OrderSettings(disorder_max_s=5))
    >>> [reorder.push(make_search(f"s{ts}", ts=ts), b"") for ts in (3, 1)]
    [[], []]
    >>> [(event.event_id, late) for event, late in reorder.push(make_search("s9", ts=9), b"")]
    [('s1', False), ('s3', False)]
    >>> [(event.event_id, late) for event, late in reorder.push(make_search("s2", ts=2), b"")]
    [('s2', True)]
    """

    def __init__(self, settings: OrderSettings) -> None:
        self._disorder_us = round(settings.disorder_max_s * 1e6)
        self._held_max = settings.reorder_max
        self._heap: list[_Held] = []
        self._arrivals = 0  # the last resort of the heap's comparison: equal keys leave as they came
        self._largest_us = BEGINNING_US
        self.watermark_us = BEGINNING_US
        self.late = 0
        self.forced = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, event: Event, content: bytes) -> list[tuple[Event, bool]]:
        """Take one event, give back those that may leave now, in order."""
        ts_us = event.ts_us
        if ts_us < self.watermark_us:
            self.late += 1
            return [(event, True)]
        if not self._disorder_us:
            self.watermark_us = self._largest_us = ts_us
            return [(event, False)]
        self._arrivals += 1
        heapq.heappush(self._heap, (*order_key(event, content), self._arrivals, event))
        self._largest_us = max(self._largest_us, ts_us)
        released = self._release(self._largest_us - self._disorder_us)
        while len(self._heap) > self._held_max:
            self.forced += 1
            released.append((self._pop(), False))
        return released

    def drain(self) -> list[tuple[Event, bool]]:
        """Give back everything that is held, in order: the log has ended."""
        return self._release(self._largest_us + 1)

    def _release(self, before_us: int) -> list[tuple[Event, bool]]:
        released = []
        heap = self._heap
        while heap and heap[0][0] < before_us:
            released.append((self._pop(), False))
        return released

    def _pop(self) -> Event:
        held = heapq.heappop(self._heap)
        self.watermark_us = held[0]
        return held[-1]

    def digest_state(self) -> object:
        """Everything that steers what comes next, in order."""
        held = [(ts, kind, event_id, content.key()) for ts, kind, event_id, content, _, _ in sorted(self._heap)]
        return {
            "watermark_us": self.watermark_us,
            "largest_us": self._largest_us,
            "late": self.late,
            "forced": self.forced,
            "held": held,
        }
