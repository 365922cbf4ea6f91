"""Source: one reader over all partitions of both topics. In: topics. Out: records in total order (see merge), and the
offset per partition that is next to do.

One consumer with `assign()` and its one I/O thread. Bounded: a partition whose buffer is full is taken out of the
assignment and put back, with a seek, when it is half empty; pausing it instead strands it in the client, and not
polling would stop the partitions that the merge waits for. A poll takes many records, a fetch as a rule: those left in
the client keep their partition out of the next request, which then waits for partitions that have nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from stream_balance.edge.kafka import client, topics
from stream_balance.edge.kafka.decode import Decoder, decode
from stream_balance.edge.kafka.patience import Patience
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.merge import LaneKey, Merge, Polled
from stream_balance.errors import WorldError

ASK_S = 10.0  # how long one question to the broker may take at start
PROBE_S = 1.0  # and while running
COMMIT_S = 30.0  # the first commit of all makes the broker create a topic
WAITING_S = 0.02  # how often to look again while records are held back by a partition not yet heard of


class KafkaSource:
    """Reads both topics to the end and beyond; survives outages of up to `outage_max_s`.

    `on_unforced(ts_us, lanes passed over)` is told of each merge decision that times did not force.
    Not thread-safe. Counters: `records`, `bad`, `reconnects`, `outage_s`, `parked`,
    `mended` (new clients for stranded partitions), `lost` (records that retention deleted).
    """

    def __init__(
        self,
        settings: KafkaSettings,
        codec: Decoder,
        *,
        on_unforced: Callable[[int, list[LaneKey]], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._on_unforced = on_unforced
        self._now_s = now_s
        self._sleep = sleep
        self._patience = Patience(settings, now_s)
        self._consumer: Any = None
        self._committer: Any = None
        self._merge = Merge([], run_max=1, run_bytes_max=1)
        self._lanes: dict[LaneKey, Any] = {}  # -> the client's name of the partition
        self._parked: set[LaneKey] = set()
        self._highwater: dict[LaneKey, int] = {}
        self._behind: dict[LaneKey, int] = {}
        self._failures = 0
        self.records = 0
        self.bad = 0
        self.parked = 0
        self.mended = 0
        self.lost = 0

    # Start

    def open(self, positions: Mapping[LaneKey, int] | None = None) -> None:
        """Connect, check the topics, begin at `positions`, else where `start` says.

        Raises SettingsError for topics that cannot be joined, WorldError for a broker that does not answer, and for
        offsets that are gone.
        """
        settings = self._settings
        counts = topics.look_up(settings, settings.topics, now_s=self._now_s, sleep=self._sleep)
        topics.check_inputs(counts, settings)
        self._consumer = self._connect(lambda: client.new_consumer(settings))
        keys = [(topic, partition) for topic in settings.topics for partition in range(counts[topic])]
        self._lanes = {key: client.TopicPartition(*key) for key in keys}
        self._merge = Merge(
            keys,
            run_max=settings.buffer_records_max // 2,
            run_bytes_max=settings.buffer_bytes_max // 2,
            on_unforced=self._on_unforced,
        )
        for key, offset in self._start_offsets(positions).items():
            self._merge.start_at(key, offset)
        self._assign(reset=True)
        self._patience = Patience(settings, self._now_s)

    def _connect(self, make: Callable[[], Any]) -> Any:
        return client.connect(make, self._settings, now_s=self._now_s, sleep=self._sleep)

    def _start_offsets(self, positions: Mapping[LaneKey, int] | None) -> dict[LaneKey, int]:
        try:
            earliest = self._earliest(self._lanes, ASK_S)
            if positions is None:
                positions = self._committed() if self._settings.start == "committed" else {}
        except (client.KafkaError, OSError) as error:
            raise WorldError(
                f"Kafka at {self._settings.bootstrap} does not tell its offsets: {client.explain(error)}."
            ) from error
        wanted = {key: positions.get(key, earliest[key]) for key in self._lanes}
        for key, offset in wanted.items():
            self.lost += topics.check_kept(key, offset, earliest[key], self._settings)
        return {key: max(offset, earliest[key]) for key, offset in wanted.items()}

    def _earliest(self, keys: Iterable[LaneKey], timeout_s: float) -> dict[LaneKey, int]:
        partitions = {self._lanes[key]: key for key in keys}
        offsets = self._consumer.beginning_offsets(list(partitions), timeout_ms=int(timeout_s * 1000))
        return {key: offsets[partition] for partition, key in partitions.items()}

    def _committed(self) -> dict[LaneKey, int]:
        committer = self._open_committer()
        found = {key: committer.committed(tp, timeout_ms=int(ASK_S * 1000)) for key, tp in self._lanes.items()}
        return {key: offset for key, offset in found.items() if offset is not None}

    def follow(self, plan: Iterable[Mapping[LaneKey, int]]) -> None:
        """Take the order that a journal tells of, see `Merge.follow`. Call it between `open` and the first `poll`."""
        self._merge.follow(plan)

    # Reading

    def poll(self, records_max: int | None = None, timeout_s: float = 0.1) -> list[Polled]:
        """The next records in total order, as soon as there are any; [] after `timeout_s`. At least `records_max`
        where there are enough; more only where times are equal. Raises WorldError after `outage_max_s` without broker.
        """
        records_max = self._settings.poll_records_max if records_max is None else records_max
        end_s = self._now_s() + timeout_s
        if self._is_low():
            self._fetch(0.0)
        out = self._merge.take(records_max)
        while not out:
            left_s = end_s - self._now_s()
            if left_s <= 0:
                break
            self._fetch(min(left_s, WAITING_S) if self._merge.is_waiting() else left_s)
            out = self._merge.take(records_max)
        return out

    def _is_low(self) -> bool:
        """Some partition has less than a quarter of what it may hold: time to fetch."""
        low = self._settings.buffer_records_max // 4
        return any(self._merge.buffered(key)[0] <= low for key in self._lanes)

    def _fetch(self, timeout_s: float) -> None:
        """Bring what the client has into the merge; waits up to `timeout_s` for something to come."""
        if self._patience.is_time_to_ask():
            self._probe()
        try:
            self._assign()
            batches = self._consumer.poll(timeout_ms=timeout_s * 1000, max_records=self._settings.buffer_records_max)
            self._feed(batches)
        except client.OFFSET_GONE:
            self._skip_lost()
        except client.FATAL as error:
            raise self._refused(error) from error
        except client.KafkaError as error:
            self._stumble(error, timeout_s)
        else:
            if batches:
                self._failures = 0

    def _assign(self, *, reset: bool = False) -> None:
        """Park the partitions that hold enough, take back those that are half empty, at the offset they stopped at."""
        records_max, bytes_max = self._settings.buffer_records_max, self._settings.buffer_bytes_max
        parked = set()
        for key in self._lanes:
            records, size_bytes = self._merge.buffered(key)
            share = 2 if key in self._parked else 1
            if records * share >= records_max or size_bytes * share >= bytes_max:
                parked.add(key)
        if parked == self._parked and not reset:
            return
        back = set(self._lanes) if reset else self._parked - parked
        self.parked += len(parked - self._parked)
        active = [key for key in self._lanes if key not in parked]
        self._consumer.assign([self._lanes[key] for key in active])
        for key in active:
            if key in back:
                self._consumer.seek(self._lanes[key], self._merge.fetch_position(key))
        self._parked = parked

    def _feed(self, batches: Mapping[Any, list[Any]]) -> None:
        for key, partition in self._lanes.items():
            if key in self._parked:
                continue
            batch = batches.get(partition, ())
            highwater = self._consumer.highwater(partition)
            if not batch and highwater == self._highwater.get(key) and self._merge.is_caught_up(key):
                continue
            # Behind the last record and whatever follows it without being one: control records, compaction gaps.
            position = self._consumer.position(partition, timeout_ms=0)
            if position is None:
                position = batch[-1].offset + 1 if batch else self._merge.fetch_position(key)
            caught_up = highwater is not None and position >= highwater
            records = [decode(record, self._codec) for record in batch]
            self._merge.feed(key, records, position=position, caught_up=caught_up)
            self.records += len(records)
            self.bad += sum(record.bad is not None for record in records)
            if highwater is not None:
                self._highwater[key] = highwater

    # Trouble

    def _probe(self) -> None:
        """Ask every partition's broker whether it is there."""
        try:
            self._earliest(self._lanes, PROBE_S)
        except client.FATAL as error:
            raise self._refused(error) from error
        except client.KafkaError as error:
            self._patience.failed(error)
        else:
            self._patience.answered()
            self._mend()

    def _mend(self) -> None:
        """A partition with nothing buffered that is behind, and was at the same offset a probe ago, is stranded in the
        client (seen after a change of leader): begin afresh with a new one.
        """
        behind = {
            key: position
            for key, position in self._merge.positions().items()
            if position < self._highwater.get(key, 0) and not self._merge.buffered(key)[0]
        }
        if any(self._behind.get(key) == position for key, position in behind.items()):
            self.mended += 1
            self._reopen()
        self._behind = behind

    def _refused(self, error: BaseException) -> WorldError:
        return WorldError(f"Kafka at {self._settings.bootstrap} refused us: {client.explain(error)}.")

    def _stumble(self, error: BaseException, timeout_s: float) -> None:
        """The client failed at a poll: wait a little, then go on where the merge stands."""
        wait_s = self._patience.failed(error)
        self._failures += 1
        self._sleep(min(wait_s, max(timeout_s, self._settings.backoff_min_s)))
        if self._failures % 10 == 0:  # it does not mend itself: begin afresh with a new client
            self._reopen()
        else:
            self._assign(reset=True)

    def _reopen(self) -> None:
        try:
            client.knock(self._settings)
            fresh = client.new_consumer(self._settings)
        except (client.KafkaError, OSError):
            return
        self._consumer.close(timeout_ms=1000)
        self._consumer = fresh
        self._highwater.clear()
        self._assign(reset=True)

    def _skip_lost(self) -> None:
        """Offsets are gone: refuse, or begin at the oldest ones kept."""
        partitions = list(self._lanes.values())
        try:
            earliest = self._earliest(self._lanes, ASK_S)
            latest = self._consumer.end_offsets(partitions, timeout_ms=int(ASK_S * 1000))
        except client.KafkaError as second:
            self._stumble(second, 0.0)
            return
        for key, partition in self._lanes.items():
            wanted = self._merge.fetch_position(key)
            topics.check_not_beyond(key, wanted, latest[partition], self._settings)
            if not earliest[key] <= wanted <= latest[partition]:
                self.lost += topics.check_kept(key, wanted, earliest[key], self._settings)
                self._merge.start_at(key, earliest[key])
        self._assign(reset=True)

    # State

    def caught_up(self) -> bool:
        """Everything there is has been handed out, as far as the last fetches know, and no outage hides more."""
        return not self._patience.is_away and self._merge.all_done()

    @property
    def is_away(self) -> bool:
        """Whether the broker is away right now, as far as we know."""
        return self._patience.is_away

    @property
    def reconnects(self) -> int:
        """Outages that ended."""
        return self._patience.reconnects

    @property
    def outage_s(self) -> float:
        """How long they took together."""
        return self._patience.outage_s

    def plan(self) -> list[Mapping[LaneKey, int]]:
        """What is left of the journal that is followed."""
        return self._merge.plan()

    def missing(self) -> list[tuple[LaneKey, int, int]]:
        """(partition, its end, offset in the journal) of partitions that end before what was once read of them."""
        return self._merge.missing()

    @property
    def unforced(self) -> int:
        """Merge decisions that times did not force."""
        return self._merge.unforced

    @property
    def runs_cut(self) -> int:
        """Runs of equal times that were too long to be put into order as one."""
        return self._merge.runs_cut

    def positions(self) -> dict[LaneKey, int]:
        """Per (topic, partition) the offset of the next record that poll() has not handed out."""
        return self._merge.positions()

    def lag(self) -> dict[LaneKey, int]:
        """Per (topic, partition) how many offsets lie between the next record and the high-water mark last heard of."""
        return {key: max(0, self._highwater.get(key, 0) - offset) for key, offset in self.positions().items()}

    def commit(self, positions: Mapping[LaneKey, int]) -> bool:
        """Tell Kafka that everything before `positions` is done. False when it could not be told; raises WorldError
        when it never will be (not authorised).
        """
        offsets = {self._lanes[key]: client.OffsetAndMetadata(offset, "", -1) for key, offset in positions.items()}
        try:
            self._open_committer().commit(offsets, timeout_ms=int(COMMIT_S * 1000))
        except client.FATAL as error:
            raise WorldError(
                f"group {self._settings.group_id!r} cannot commit its offsets: {client.explain(error)}."
            ) from error
        except (client.KafkaError, OSError):
            return False
        return True

    def _open_committer(self) -> Any:
        # A client of its own: with a group the reading one would wait for the group's coordinator at each poll.
        if self._committer is None:
            client.knock(self._settings)
            self._committer = client.new_consumer(self._settings, group_id=self._settings.group_id)
        return self._committer

    def close(self) -> None:
        """Leave; commits nothing."""
        for consumer in (self._consumer, self._committer):
            if consumer is not None:
                consumer.close(autocommit=False, timeout_ms=2000)
        self._consumer = self._committer = None
