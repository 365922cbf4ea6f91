"""Merge: many partitions in, one total order out. Pure: no broker, no clock.

In: the decoded records of each partition (a *lane*), in offset order. Out: the same records in the order (time, search
before purchase, event id, SHA-256 of the content), as far as the lanes allow. Bounded by whoever feeds it: `buffered`
says how much a lane holds.

The rules:
- The records with the smallest time at the heads of the lanes go first, all of that time together, sorted.
- A lane with nothing buffered blocks, unless it is caught up: its position is the high-water mark of its last fetch.
- Within a lane a *run* of equal times is put into order, so its end must be known: another time follows, or the lane is
  caught up, or the run has reached `run_max` records or `run_bytes_max`, where it is cut, however it was fed.
- A bad record has no place in the order: it goes out when it is met at the front of its lane.
- What goes out is whole runs, so one offset per lane says what is still to do, and a restart there changes nothing.

What is not forced by times (a caught-up lane was passed over) is counted, and told to `on_unforced`, for a journal.
Two readings of the same lanes differ in nothing else, so a journal that has the next offsets behind each `take` with
such a decision is enough to repeat it: `follow` goes from entry to entry, at each with only the records before its
offsets in sight. A lane that stops there does not block, whether it had more by then or not; of the records in sight
the same heads meet as did then, so the same go first.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from stream_balance.core import order
from stream_balance.core.order import OrderKey
from stream_balance.core.records import Event
from stream_balance.errors import BadRecord

LaneKey = tuple[str, int]  # topic, partition
Headers = tuple[tuple[str, bytes], ...]


@dataclass(slots=True)
class Polled:
    """One record as it came: where from, its bytes, and what they say: `event`, or `bad` and why not."""

    topic: str
    partition: int
    offset: int
    record_time_us: int
    value: bytes
    key: bytes | None = None
    headers: Headers = ()
    event: Event | None = None
    bad: BadRecord | None = None

    @property
    def where(self) -> str:
        """`topic[partition]@offset`, as messages name it."""
        return f"{self.topic}[{self.partition}]@{self.offset}"


def order_key(record: Polled) -> OrderKey:
    """Place of a good record in the total order."""
    event = record.event
    assert event is not None, f"{record.where} has no place in the order: it is a bad record"
    return order.order_key(event, record.value)


@dataclass(slots=True)
class _Lane:
    key: LaneKey
    position: int  # offset behind the last record fed
    caught_up: bool = False
    bytes: int = 0  # of the buffered values
    buffer: deque[Polled] = field(default_factory=deque)
    limit: int | None = None  # while a journal is followed: nothing from this offset on is in sight

    def is_spent(self) -> bool:
        """Everything in sight of the journal's entry has been handed out."""
        return self.limit is not None and (self.buffer[0].offset if self.buffer else self.position) >= self.limit


class Merge:
    """Holds what was fetched and not yet handed out, and hands it out in total order.

    `run_max` and `run_bytes_max` bound a run of equal times within a lane. Whoever stops feeding a lane while it holds
    at least one of them can be sure that its head has a known end: it does not block the merge.

    >>> merge = Merge([("search-events", 0), ("purchase-events", 0)], run_max=100, run_bytes_max=1 << 20)
    >>> merge.feed(("search-events", 0), [], position=0, caught_up=True)
    >>> merge.take(10), merge.blocked_by()
    ([], [('purchase-events', 0)])
    """

    def __init__(
        self,
        lanes: Iterable[LaneKey],
        *,
        run_max: int,
        run_bytes_max: int,
        on_unforced: Callable[[int, list[LaneKey]], None] | None = None,
    ) -> None:
        self._lanes = [_Lane(key, 0) for key in lanes]
        self._index = {lane.key: index for index, lane in enumerate(self._lanes)}
        self._run_max = run_max
        self._run_bytes_max = run_bytes_max
        self._on_unforced = on_unforced
        self._heads: list[tuple[int, int]] = []  # heap of (time of the lane's head, index of the lane)
        self._blocking = set(range(len(self._lanes)))  # lanes with nothing buffered, more to come
        self._bad: deque[Polled] = deque()  # met at the front of a lane, not yet handed out
        self._plan: deque[Mapping[LaneKey, int]] = deque()  # entries of the journal still to be followed
        self.unforced = 0  # groups handed out although a caught-up lane might still have brought something before them
        self.runs_cut = 0

    def follow(self, plan: Iterable[Mapping[LaneKey, int]]) -> None:
        """Take the order that was taken before: `plan` has the next offsets behind each decision, oldest first; each
        entry those that differ from the entry before.

        A lane that no entry has named yet was not there yet. Call it after `start_at`, before the first `feed`.
        """
        self._plan = deque(plan)
        self._next_entry()

    def plan(self) -> list[Mapping[LaneKey, int]]:
        """What is left of the journal that is followed, its first entry with all lanes; empty when its end was
        reached.
        """
        if not self._plan:
            return []
        return [{lane.key: lane.limit or 0 for lane in self._lanes}, *islice(self._plan, 1, None)]

    def missing(self) -> list[tuple[LaneKey, int, int]]:
        """(lane, where it ends, offset in the journal) of lanes that have ended before what was once read of them."""
        return [
            (lane.key, lane.position, lane.limit)
            for lane in self._lanes
            if lane.limit is not None and lane.caught_up and not lane.buffer and not lane.is_spent()
        ]

    def _next_entry(self) -> None:
        """Take up the first entry that leaves something to do, or none."""
        while self._plan:
            entry = self._plan[0]
            for lane in self._lanes:
                lane.limit = entry.get(lane.key, lane.limit or 0)
            if not all(lane.is_spent() for lane in self._lanes):
                break
            self._plan.popleft()
        else:
            for lane in self._lanes:
                lane.limit = None
        self._heads.clear()
        for index in range(len(self._lanes)):
            self._settle(index)

    def feed(self, key: LaneKey, records: Iterable[Polled], *, position: int, caught_up: bool) -> None:
        """Append what was fetched, in offset order. `position` is the offset the next fetch starts at (gaps count)."""
        index = self._index[key]
        lane = self._lanes[index]
        was_empty = not lane.buffer
        for record in records:
            lane.buffer.append(record)
            lane.bytes += len(record.value)
        lane.position = position
        lane.caught_up = caught_up
        if was_empty:
            self._settle(index)
        if self._plan and lane.is_spent():
            self._turn_over()

    def _turn_over(self) -> None:
        """Go on to the journal's next entry once all in sight of this one has been handed out."""
        if all(lane.is_spent() for lane in self._lanes):
            self._next_entry()

    def take(self, records_max: int) -> list[Polled]:
        """The next records in total order: whole groups, until there are `records_max` of them or no more can go."""
        out: list[Polled] = []
        self._hand_out_bad(out)
        while len(out) < records_max and self._heads and not self._blocking:
            group = self._next_group()
            if group is None:
                break
            out.extend(group)
            self._hand_out_bad(out)
            if self._plan:
                self._turn_over()
                self._hand_out_bad(out)
        return out

    def _hand_out_bad(self, out: list[Polled]) -> None:
        out.extend(self._bad)
        self._bad.clear()

    def _settle(self, index: int) -> None:
        """Put a lane whose head changed where it belongs: bad records off its front, then among heads or blocking."""
        lane = self._lanes[index]
        buffer = lane.buffer
        while buffer and buffer[0].event is None:
            lane.bytes -= len(buffer[0].value)
            self._bad.append(buffer.popleft())
        self._blocking.discard(index)
        if lane.is_spent():
            return
        if buffer:
            heapq.heappush(self._heads, (buffer[0].event.ts_us, index))  # type: ignore[union-attr]  # good by the loop above
        elif lane.limit is not None or not lane.caught_up:
            self._blocking.add(index)

    def _next_group(self) -> list[Polled] | None:
        """All runs of the smallest time, sorted; None while the end of one of them is not known."""
        ts_us = self._heads[0][0]
        runs: list[tuple[int, int]] = []
        forced = len(self._heads) == len(self._lanes)
        while self._heads and self._heads[0][0] == ts_us:
            index = heapq.heappop(self._heads)[1]
            size, known = self._run(index, ts_us)
            runs.append((index, size))
            if not known:
                if self._plan or not self._lanes[index].caught_up:
                    for popped, _ in runs:
                        heapq.heappush(self._heads, (ts_us, popped))
                    return None
                forced = False
        if not forced and not self._plan:
            self._note_unforced(ts_us)
        group: list[Polled] = []
        for index, size in runs:
            self._pull(index, size, group)
        if len(group) > 1:
            group.sort(key=order_key)
        return group

    def _run(self, index: int, ts_us: int) -> tuple[int, bool]:
        """Length of the run at a lane's head, bad records within it included, and whether its end is known."""
        size = 0
        size_bytes = 0
        lane = self._lanes[index]
        for record in lane.buffer:
            if record.event is not None and record.event.ts_us != ts_us:
                return size, True
            if lane.limit is not None and record.offset >= lane.limit:
                return size, True
            if size >= self._run_max or size_bytes >= self._run_bytes_max:
                return size, True
            size += 1
            size_bytes += len(record.value)
        known = size >= self._run_max or size_bytes >= self._run_bytes_max
        return size, known or (lane.limit is not None and lane.position >= lane.limit)

    def _pull(self, index: int, size: int, group: list[Polled]) -> None:
        lane = self._lanes[index]
        buffer = lane.buffer
        for _ in range(size):
            record = buffer.popleft()
            lane.bytes -= len(record.value)
            (group if record.event is not None else self._bad).append(record)
        self._settle(index)
        if buffer and group and buffer[0].event is not None and buffer[0].event.ts_us == group[-1].event.ts_us:  # type: ignore[union-attr]
            self.runs_cut += 1

    def _note_unforced(self, ts_us: int) -> None:
        self.unforced += 1
        if self._on_unforced is not None:
            self._on_unforced(ts_us, [lane.key for lane in self._lanes if lane.caught_up and not lane.buffer])

    def start_at(self, key: LaneKey, offset: int) -> None:
        """Go on at `offset` behind what is buffered: a start, or a gap."""
        self._lanes[self._index[key]].position = offset

    def is_caught_up(self, key: LaneKey) -> bool:
        """Whether the lane's last fetch reached the high-water mark: it does not block."""
        return self._lanes[self._index[key]].caught_up

    def all_done(self) -> bool:
        """Every lane caught up, nothing buffered, no journal to follow."""
        return not self._bad and not self._plan and all(lane.caught_up and not lane.buffer for lane in self._lanes)

    def buffered(self, key: LaneKey) -> tuple[int, int]:
        """Records and bytes of values held for a lane."""
        lane = self._lanes[self._index[key]]
        return len(lane.buffer), lane.bytes

    def is_waiting(self) -> bool:
        """Records are held, and a lane that is not caught up keeps them back."""
        return bool(self._heads)

    def blocked_by(self) -> list[LaneKey]:
        """The lanes with nothing buffered that are not caught up."""
        return [self._lanes[index].key for index in sorted(self._blocking)]

    def fetch_position(self, key: LaneKey) -> int:
        """Where the next fetch of a lane starts."""
        return self._lanes[self._index[key]].position

    def positions(self) -> dict[LaneKey, int]:
        """Per lane the offset of the next record that was not handed out."""
        next_offsets = {lane.key: lane.buffer[0].offset if lane.buffer else lane.position for lane in self._lanes}
        for record in self._bad:
            key = (record.topic, record.partition)
            next_offsets[key] = min(next_offsets[key], record.offset)
        return next_offsets
