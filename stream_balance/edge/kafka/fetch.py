"""Fetch: one consumer over all partitions, feeding the merge. In: a client, where to begin. Out: records in the merge.

One consumer with `assign()` and its one I/O thread. Bounded: a partition whose buffer is full is taken out of the
assignment and put back, with a seek, when it is half empty; pausing it instead strands it in the client, and not
polling would stop the partitions that the merge waits for. A poll takes many records, a fetch as a rule: those left in
the client keep their partition out of the next request, which then waits for partitions that have nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.client import TopicFacts
from stream_balance.edge.kafka.decode import Decoder, decode
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.merge import LaneKey, Merge

STILL_ASKINGS, STILL_ASKINGS_MAX = 2, 32


class Fetcher:
    """Reads from where the merge's lanes stand. Raises the client's errors. Not thread-safe.

    Counters: `polls`, `records`, `bad`, `parked` (partitions taken out because they were full), `renewed` (clients).
    """

    def __init__(
        self, consumer: Any, lanes: Iterable[LaneKey], merge: Merge, settings: KafkaSettings, codec: Decoder
    ) -> None:
        self._consumer = consumer
        self._merge = merge
        self._settings = settings
        self._codec = codec
        self.lanes = {lane: client.TopicPartition(*lane) for lane in lanes}  # -> the client's name of the partition
        self._parked: set[LaneKey] = set()
        self._behind: dict[LaneKey, int] = {}
        self._still, self._still_max = 0, STILL_ASKINGS
        self._polls_asked = 0
        self.highwater: dict[LaneKey, int] = {}
        self.polls = 0
        self.records = 0
        self.bad = 0
        self.parked = 0
        self.renewed = 0

    def fetch(self, timeout_s: float) -> bool:
        """Bring what the client has into the merge; wait up to `timeout_s` for something to come. Whether it did."""
        self.polls += 1
        self._park()
        # Not kept by a name: the client keeps the frames of each of its time-outs, ours among them, until a collection.
        return self._feed(
            self._consumer.poll(timeout_ms=timeout_s * 1000, max_records=self._settings.buffer_records_max)
        )

    def is_low(self) -> bool:
        """Some partition has less than a quarter of what it may hold: time to fetch."""
        low = self._settings.buffer_records_max // 4
        return any(self._merge.buffered(lane)[0] <= low for lane in self.lanes)

    def _park(self) -> None:
        """Take out the partitions that hold enough, take back those that are half empty."""
        records_max, bytes_max = self._settings.buffer_records_max, self._settings.buffer_bytes_max
        parked = set()
        for lane in self.lanes:
            records, size_bytes = self._merge.buffered(lane)
            share = 2 if lane in self._parked else 1
            if records * share >= records_max or size_bytes * share >= bytes_max:
                parked.add(lane)
        if parked != self._parked:
            self.parked += len(parked - self._parked)
            self._assign(parked, self._parked - parked)

    def _assign(self, parked: set[LaneKey], moved: Iterable[LaneKey]) -> None:
        """Read all but the parked ones; those that have moved go on where the merge stands."""
        active = [lane for lane in self.lanes if lane not in parked]
        self._consumer.assign([self.lanes[lane] for lane in active])
        for lane in moved:
            if lane not in parked:
                self._consumer.seek(self.lanes[lane], self._merge.fetch_position(lane))
        self._parked = parked

    def seek(self) -> None:
        """Go on where the merge's lanes stand."""
        self._assign(self._parked, self.lanes)

    def _feed(self, batches: Mapping[Any, list[Any]]) -> bool:
        """Whether there is something in them."""
        for lane, partition in self.lanes.items():
            if lane in self._parked:
                continue
            batch = batches.get(partition, ())
            highwater = self._consumer.highwater(partition)
            if not batch and highwater == self.highwater.get(lane) and self._merge.is_caught_up(lane):
                continue
            # Behind the last record and whatever follows it without being one: control records, compaction gaps.
            position = self._consumer.position(partition, timeout_ms=0)
            if position is None:
                position = batch[-1].offset + 1 if batch else self._merge.fetch_position(lane)
            caught_up = highwater is not None and position >= highwater
            records = [decode(record, self._codec) for record in batch]
            self._merge.feed(lane, records, position=position, caught_up=caught_up)
            self.records += len(records)
            self.bad += sum(record.bad is not None for record in records)
            if highwater is not None:
                self.highwater[lane] = highwater
        return bool(batches)

    # Asking

    def earliest(self, timeout_s: float) -> dict[LaneKey, int]:
        """The oldest offset kept of each partition. Asks each partition's broker."""
        offsets = self._consumer.beginning_offsets(list(self.lanes.values()), timeout_ms=int(timeout_s * 1000))
        return {lane: offsets[partition] for lane, partition in self.lanes.items()}

    def latest(self, timeout_s: float) -> dict[LaneKey, int]:
        """The offset behind the last record of each partition."""
        offsets = self._consumer.end_offsets(list(self.lanes.values()), timeout_ms=int(timeout_s * 1000))
        return {lane: offsets[partition] for lane, partition in self.lanes.items()}

    def topic_facts(self) -> dict[str, TopicFacts]:
        """What the client knows of the topics."""
        return client.topic_facts(self._consumer, self._settings.topics)

    # Trouble

    def is_stranded(self, ends: Mapping[LaneKey, int]) -> bool:
        """Whether the client has lost a partition (seen after a change of leader): nothing of it is buffered, it is
        behind its end, and it has stood still over some askings, twice as many after each new client in vain.
        """
        if self.polls == self._polls_asked:  # nobody has asked for records since
            return False
        self._polls_asked = self.polls
        behind = {
            lane: position
            for lane, position in self._merge.positions().items()
            if position < max(ends[lane], self.highwater.get(lane, 0)) and not self._merge.buffered(lane)[0]
        }
        if not any(self._behind.get(lane) == position for lane, position in behind.items()):
            self._still, self._still_max = 0, STILL_ASKINGS
        else:
            self._still += 1
        self._behind = behind
        if self._still < self._still_max:
            return False
        self._still, self._still_max = 0, min(2 * self._still_max, STILL_ASKINGS_MAX)
        return True

    def renew(self) -> bool:
        """Begin afresh with a new client, where the merge stands. False if none can be had."""
        try:
            client.knock(self._settings)
            fresh = client.new_consumer(self._settings)
        except (client.KafkaError, OSError):
            return False
        self._consumer.close(timeout_ms=1000)
        self._consumer = fresh
        self.highwater.clear()
        self.seek()
        self.renewed += 1
        return True

    def close(self) -> None:
        """Leave; commits nothing. The counters stay."""
        self._consumer.close(autocommit=False, timeout_ms=2000)
