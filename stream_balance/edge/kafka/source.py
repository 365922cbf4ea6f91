"""Source: one reader over all partitions of both topics. In: topics. Out: records in total order (see merge), and the
offset per partition that is next to do. Bears outages of up to `outage_max_s`; loses nothing without being told to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from stream_balance.edge.kafka import client, start, topics
from stream_balance.edge.kafka.commit import ASK_S, Committer
from stream_balance.edge.kafka.decode import Decoder
from stream_balance.edge.kafka.fetch import Fetcher
from stream_balance.edge.kafka.patience import Patience
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.merge import LaneKey, Merge, Polled
from stream_balance.errors import StreamBalanceError, WorldError

PROBE_S = 1.0  # how long one question to the brokers may take while running
WAITING_S = 0.02  # how often to look again while records are held back by a partition not yet heard of


class KafkaSource:
    """Reads both topics to the end and beyond.

    `on_unforced(ts_us, lanes passed over)` is told of each merge decision that times did not force, `on_note(text)` of
    what was followed without being asked: partitions that are new, records that are gone. Not thread-safe.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        codec: Decoder,
        *,
        on_unforced: Callable[[int, list[LaneKey]], None] | None = None,
        on_note: Callable[[str], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._codec = codec
        self._on_unforced = on_unforced
        self._note = on_note or (lambda _: None)
        self._now_s = now_s
        self._sleep = sleep
        self._patience = Patience(settings, now_s)
        self._committer = Committer(settings)
        self._watch = start.TopicWatch(settings, {})
        self._merge = Merge([], run_max=1, run_bytes_max=1)
        self._fetcher: Fetcher | None = None
        self._failures = 0
        self._out: list[Polled] = []  # between a gathering and its handing out
        self._anew: set[str] = set()
        self.lost = 0  # records that retention deleted before they were read

    @property
    def _reader(self) -> Fetcher:
        assert self._fetcher is not None, "open() comes first"
        return self._fetcher

    # Start

    def open(self, positions: Mapping[LaneKey, int] | None = None, topic_ids: Mapping[str, str] | None = None) -> None:
        """Connect, check the topics, begin at `positions` (counted in topics of these ids), else where `start` says.

        Raises SettingsError for topics that cannot be joined, WorldError for a broker that does not answer, and for
        offsets that are gone or mean something else now.
        """
        settings = self._settings
        counts = topics.look_up(settings, settings.topics, now_s=self._now_s, sleep=self._sleep)
        topics.check_inputs(counts, settings)
        consumer = client.connect(lambda: client.new_consumer(settings), settings, now_s=self._now_s, sleep=self._sleep)
        lanes = [(topic, partition) for topic in settings.topics for partition in range(counts[topic])]
        self._merge = Merge(
            lanes,
            run_max=settings.buffer_records_max // 2,
            run_bytes_max=settings.buffer_bytes_max // 2,
            on_unforced=self._on_unforced,
        )
        self._fetcher = Fetcher(consumer, lanes, self._merge, settings, self._codec)
        try:
            begin = self._plan_start(positions, topic_ids)
        except StreamBalanceError:
            self.close()
            raise
        for lane, offset in begin.offsets.items():
            self._merge.start_at(lane, offset)
        self.lost += begin.lost
        self._anew = begin.anew
        for note in begin.notes:
            self._note(note)
        self._reader.seek()
        self._patience = Patience(settings, self._now_s)

    def _plan_start(self, positions: Mapping[LaneKey, int] | None, topic_ids: Mapping[str, str] | None) -> start.Start:
        reader, settings = self._reader, self._settings
        try:
            earliest = client.connect(lambda: reader.earliest(ASK_S), settings, now_s=self._now_s, sleep=self._sleep)
            if positions is None and settings.start == "committed":
                positions, topic_ids = self._committer.committed(reader.lanes)
        except (client.KafkaError, OSError) as error:
            raise WorldError(
                f"Kafka at {settings.bootstrap} does not tell its offsets: {client.explain(error)}."
            ) from error
        self._watch = start.TopicWatch(settings, reader.topic_facts())
        return start.plan(reader.lanes, earliest, positions or {}, topic_ids or {}, self._watch.ids, settings)

    def follow(self, plan: Iterable[Mapping[LaneKey, int]]) -> None:
        """Take the order that a journal tells of, see `Merge.follow`. Call it between `open` and the first `poll`.

        What a journal says of a topic that was created anew since is of other records: then none is followed.
        """
        if not self._anew:
            self._merge.follow(plan)

    # Reading

    def poll(self, records_max: int | None = None, timeout_s: float = 0.1) -> list[Polled]:
        """The next records in total order, as soon as there are any; [] after `timeout_s`. At least `records_max`
        where there are enough; more only where times are equal. Raises WorldError after `outage_max_s` without broker.
        """
        self._gather(self._settings.poll_records_max if records_max is None else records_max, timeout_s)
        return self._hand_out()

    def _gather(self, records_max: int, timeout_s: float) -> None:
        """Into `_out`, and no name of a frame that a fetch has passed: the client keeps those, see `Fetcher.fetch`."""
        end_s = self._now_s() + timeout_s
        if self._reader.is_low():
            self._fetch(0.0)
        self._out = self._merge.take(records_max)
        while not self._out:
            left_s = end_s - self._now_s()
            if left_s <= 0:
                break
            hurry = self._merge.is_waiting() and not self._patience.is_away
            self._fetch(min(left_s, WAITING_S) if hurry else left_s)
            self._out = self._merge.take(records_max)

    def _hand_out(self) -> list[Polled]:
        out, self._out = self._out, []
        return out

    def _fetch(self, timeout_s: float) -> None:
        self.ask()
        try:
            something = self._reader.fetch(timeout_s)
        except client.OFFSET_GONE as error:
            self._skip_lost(error)
        except client.FATAL as error:
            raise self._refused(error) from error
        except client.KafkaError as error:
            self._stumble(error, timeout_s)
        else:
            if something:
                self._failures = 0

    # Trouble

    def ask(self) -> None:
        """Ask every partition's broker whether it is there, if it is time to; `poll` does so by itself.

        Raises WorldError after `outage_max_s` without answer.
        """
        if not self._patience.is_time_to_ask():
            return
        try:
            ends = self._reader.latest(PROBE_S)
        except client.FATAL as error:
            raise self._refused(error) from error
        except client.KafkaError as error:
            self._patience.failed(error)
        else:
            self._patience.answered()
            if self._reader.is_stranded(ends):
                self._reader.renew()
            self._look_at_topics()

    def _look_at_topics(self) -> None:
        """A topic created anew under our feet is refused, or read from its beginning."""
        anew = self._watch.look(self._reader.topic_facts())
        if not anew:
            return
        for lane in self._reader.lanes:
            if lane[0] in anew:
                self._merge.start_at(lane, 0)
        self._note(f"topic {topics.names(anew)} was created anew: it is read from its beginning")
        self._reader.seek()

    def _refused(self, error: BaseException) -> WorldError:
        return WorldError(f"Kafka at {self._settings.bootstrap} refused us: {client.explain(error)}.")

    def _stumble(self, error: BaseException, timeout_s: float) -> None:
        """The client failed at a poll: wait a little, then go on where the merge stands."""
        wait_s = self._patience.failed(error)
        self._failures += 1
        self._sleep(min(wait_s, max(timeout_s, self._settings.backoff_min_s)))
        # At every tenth it does not mend itself: begin afresh with a new client.
        if self._failures % 10 or not self._reader.renew():
            self._reader.seek()

    def _skip_lost(self, error: BaseException) -> None:
        """Offsets are gone: refuse, or begin at the oldest ones kept."""
        try:
            earliest, latest = self._reader.earliest(ASK_S), self._reader.latest(ASK_S)
        except client.KafkaError as second:
            self._stumble(second, 0.0)
            return
        moved = False
        for lane in self._reader.lanes:
            wanted = self._merge.fetch_position(lane)
            topics.check_not_beyond(lane, wanted, latest[lane], self._settings)
            if not earliest[lane] <= wanted <= latest[lane]:
                self.lost += topics.check_kept(lane, wanted, earliest[lane], self._settings)
                self._merge.start_at(lane, earliest[lane])
                self._note(f"{lane[0]}[{lane[1]}]: offset {wanted} is gone, read on at {earliest[lane]}")
                moved = True
        if moved:
            self._reader.seek()
        else:
            self._stumble(error, 0.0)

    # State

    def caught_up(self) -> bool:
        """Everything there is has been handed out, as far as the last fetches know, and no outage hides more."""
        return not self._patience.is_away and self._merge.all_done()

    @property
    def is_away(self) -> bool:
        """Whether the broker is away right now, as far as we know."""
        return self._patience.is_away

    def trouble(self) -> str | None:
        """What is the matter with the broker or the topics, in a sentence; None = nothing."""
        return self._patience.trouble or self._watch.trouble

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

    def figures(self) -> dict[str, float]:
        """Counters and gauges of the way in, as the service's state has them."""
        return {
            "broker_away": self._patience.is_away,
            "broker_outages": self._patience.reconnects,
            "broker_outage_s": self._patience.outage_s,
            "client_polls": self._reader.polls,
            "clients_renewed": self._reader.renewed,
            "partitions_parked": self._reader.parked,
            "partitions_unread": self._watch.unread,
            "records_lost": self.lost,
            "merge_unforced": self._merge.unforced,
            "runs_cut": self._merge.runs_cut,
        }

    def positions(self) -> dict[LaneKey, int]:
        """Per (topic, partition) the offset of the next record that poll() has not handed out."""
        return self._merge.positions()

    def topic_ids(self) -> dict[str, str]:
        """The topics' ids, to be kept beside `positions`; a broker may have none."""
        return self._watch.ids

    def lag(self) -> dict[LaneKey, int]:
        """Per (topic, partition) how many offsets lie between the next record and the high-water mark last heard of."""
        known = self._reader.highwater
        return {lane: max(0, known.get(lane, 0) - offset) for lane, offset in self.positions().items()}

    def commit(self, positions: Mapping[LaneKey, int], within_s: float | None = None) -> bool:
        """Tell Kafka that everything before `positions` is done. False when it could not be told, or not within so many
        seconds; raises WorldError when it never will be (not authorised).
        """
        return not self._patience.is_away and self._committer.commit(positions, self._watch.ids, within_s)

    def close(self) -> None:
        """Leave; commits nothing."""
        if self._fetcher is not None:
            self._fetcher.close()
        self._committer.close()
