"""The whole service in a simulated world: loop, source, merge, sink, pipeline, keeper, store and journal are real;
broker, disk, clock and chance are not. One seed is one history of lives, each ended by a crash, an error or a stop.

Checked at each record: it is taken in the order of the lives before. After each turn: nothing is taken twice or left
out, impressions add up, every merge decision taken is safe in the journal. On the way: offsets committed and records
left behind are covered by a checkpoint that no power failure can take; everything that left for a record is there; what
left twice is the same to the last bit. At the end: the report and digest equal those of a pipeline that was fed the
same records in the same order, without a break; where the topics were complete from the start, those of a service that
was never disturbed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.edge.checkpoint.writer import InlineWriter, Outcome
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.kafka.decode import decode
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import WorldError
from stream_balance.live import KafkaDeadLetters, LiveLoop, prediction_publisher
from stream_balance.live_saving import lanes
from stream_balance.saving import begin
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import Settings
from stream_balance.testing import make_purchase, make_search
from tests.simulation.broker import Kept, SimulatedBroker
from tests.simulation.disk import SimulatedDisk
from tests.simulation.fate import MOMENTS, TICK_S, Crash, Fate, Moment, ProcessEnds

SEARCHES, PURCHASES = "search-events", "purchase-events"
START_MS = 1_772_352_000_000
WINDOW_S = 60.0
LIVES_MAX = 8
TURNS_MAX = 4_000
ROT = 0.3
Place = tuple[str, int, int]
Logs = dict[LaneKey, list[Kept]]


def settings_of(rng: random.Random) -> Settings:
    """Small bounds, so that what is rare comes often; waits of one tick, so that their jitter cannot be seen."""
    backoff = {"backoff_min_s": TICK_S, "backoff_max_s": TICK_S, "probe_every_s": 1.0}
    return Settings.model_validate(
        {
            "join": {"window_s": WINDOW_S}, "balance": {"strategy": "smote_under"},
            "order": {"disorder_max_s": rng.choice((0.0, 0.0, 5.0))},
            "kafka": {
                "buffer_records_max": rng.choice((6, 40, 5_000)), "poll_records_max": rng.choice((2, 500)),
                "outage_max_s": 20.0, **backoff,
            },
            "checkpoint": {
                "interval_s": rng.choice((0.25, 2.0, 10.0)),
                "interval_events": rng.choice((5, 40, 1_000)),
                "keep": rng.choice((1, 3)),
                "failing_max_s": 10.0,
                "journal_bytes_max": rng.choice((4_000, 64_000_000)),
            },
            "bad": {"share_max": 1.0},
        }
    )  # fmt: skip


def logs_of(rng: random.Random, searches: int, *, growing: bool) -> Logs:
    """Searches and their purchases over two partitions each: a little out of order, some twice, some not readable, some
    equal in time; there from the start, or as time passes.
    """
    codec = Codec(WireSettings())
    events: list[tuple[int, LaneKey, bytes]] = []
    for index in range(searches):
        at_s = index * 2.0 + rng.choice((0.0, 0.0, rng.random()))
        user = rng.randrange(12)
        items = rng.sample(range(30), rng.randint(1, 4))
        search = make_search(
            f"s{index}", ts=START_MS / 1000 + at_s, user_id=f"u{user}", items=[f"i{item}" for item in items],
            prices=[float(item) for item in items], item_features=[{"x": rng.gauss(item % 3, 1)} for item in items],
        )  # fmt: skip
        events.append((round(at_s * 1000), (SEARCHES, user % 2), codec.encode_search(search)))
        for item in items:
            if rng.random() < (0.4 if item % 3 == 2 else 0.1):
                bought_s = at_s + rng.uniform(0.0, WINDOW_S)
                purchase = make_purchase(
                    f"p{index}-{item}", ts=START_MS / 1000 + bought_s, user_id=f"u{user}", item_id=f"i{item}",
                    search_id=rng.choice((None, f"s{index}")), price=1.0,
                )  # fmt: skip
                events.append((round(bought_s * 1000), (PURCHASES, user % 2), codec.encode_purchase(purchase)))
    for _ in range(searches // 10):
        at_ms, lane, data = rng.choice(events)
        events.append((at_ms + rng.randrange(4_000), lane, rng.choice((data, data, b"{broken", b'{"schema": 9}'))))
    events.sort(key=lambda event: event[0] + rng.choice((0, 0, 0, rng.randrange(3_000))))
    logs: Logs = {(topic, partition): [] for topic in (SEARCHES, PURCHASES) for partition in (0, 1)}
    offsets = dict.fromkeys(logs, 0)
    for at_ms, lane, data in events:
        offset = offsets[lane] + rng.choice((0, 0, 0, 0, 2))
        offsets[lane] = offset + 1
        # Partitions show their records at their own pace: that is what makes merge decisions unforced.
        from_tick = round(at_ms / 1000 / TICK_S * 0.15) + rng.choice((0, 0, 0, rng.randrange(12))) if growing else 0
        if logs[lane]:
            from_tick = max(from_tick, logs[lane][-1].from_tick)
        logs[lane].append(Kept(*lane, offset, START_MS + at_ms, None, data, from_tick=from_tick))
    return logs


class LateWriter:
    """Writes at once, for the state is no other then, and tells a while later; a write may also fail, or die."""

    def __init__(self, fate: Fate) -> None:
        self._fate = fate
        self._inline = InlineWriter(fate.now_s)
        self._polls = 0

    def start(self, write: Callable[[], int]) -> None:
        self._polls = self._fate.rng.choice((0, 0, 1, 5, 30))
        self._inline.start(write)

    def poll(self) -> Outcome | None:
        if self._polls > 0:
            self._polls -= 1
            return None
        outcome = self._inline.poll()
        if outcome is not None and self._fate.crash is not None and self._fate.rng.random() < 0.03:
            return Outcome(error="the writing process ended with -9")
        return outcome

    def kill(self) -> None:
        self._polls = 0
        self._inline.kill()


class Recording(Session):
    """A session that writes down the order in which records are taken, and holds it against that of the lives before:
    what was taken may have left, so it is taken again in the same order. Bad records have no place in it.
    """

    order: list[Place]
    known: list[Place]  # the longest order of good records so far
    decided: Callable[[], tuple[int, int]]  # decisions that times did not force, entries of the journal
    seen = (0, 0)

    def take(self, record: Any, content: bytes) -> None:
        unforced, entries = self.decided()
        if unforced > self.seen[0]:
            assert entries > self.seen[1], "a record is taken before the decision on its order is in the journal"
            self.seen = unforced, entries
        place = (record.topic, record.partition, record.offset)
        if record.event is not None:
            index = len(set(self.order) & set(self.known))
            if index == len(self.known):
                self.known.append(place)
            assert self.known[index] == place, f"event {index} was {self.known[index]} before, is {place} now"
        self.order.append(place)
        super().take(record, content)


def taken_by(pipeline: Pipeline) -> int:
    """Records that are in a pipeline's state, those included that it holds back."""
    return sum(pipeline.events.values()) + sum(pipeline.bad.values()) + len(pipeline.reorder)


class Turns:
    """The loop's stop flag: asked once a turn, it lets the world go on; set when all is read, or by chance before."""

    def __init__(self, history: History, stop_at: int | None) -> None:
        self._history = history
        self._stop_at = stop_at
        self._turns = 0

    def is_set(self) -> bool:
        self._turns += 1
        assert self._turns < TURNS_MAX, "the service does not come to an end"
        self._history.fate.ticks += 1
        self._history.check_turn()
        self._history.disturb()
        if self._stop_at is not None and self._turns >= self._stop_at:
            return True
        return self._history.is_read()


@dataclass
class Ended:
    """What a seed came to."""

    report: dict[str, Any]
    order: list[Place]
    lives: int
    unforced: int = 0
    ended_at: list[tuple[str, Moment]] = field(default_factory=list)  # operations that lives have ended at
    turns: int = 0
    rotten: int = 0  # checkpoints that were damaged


@dataclass
class History:
    """One world, its service's lives, and what is checked over them."""

    seed: int
    searches: int = 60
    growing: bool = False
    crashes: tuple[Crash, ...] = ()  # lives' ends in this order, and no others; () = by chance
    disturbed: bool = True
    fate: Fate = field(init=False)

    def __post_init__(self) -> None:
        setup = random.Random(self.seed)
        self.settings = settings_of(setup)
        self.logs = logs_of(setup, self.searches, growing=self.growing)
        self.fate = Fate(setup.randrange(2**62))
        self.disk = SimulatedDisk(self.fate)
        self.broker = SimulatedBroker(self.fate, self.logs)
        self.broker.on_commit = self._check_commit
        self.order: list[Place] = []
        self.known: list[Place] = []
        self.unforced = 0
        self.turns = 0
        self.rotten = 0
        self._source: KafkaSource | None = None
        self._pipeline: Pipeline | None = None
        self._faults = False

    # A life

    def run(self) -> Ended:
        """Lives until all is read, and the checks after the last."""
        lives = 0
        with self.broker.install():
            while True:
                lives += 1
                last = lives > LIVES_MAX or not self.disturbed
                self.fate.live(None if last else self._next_end())
                self._faults = not last
                if last:
                    self.broker.away_until_s = self.disk.full_until_s = -1.0
                stop_at = self.fate.rng.choice((None, None, self.fate.rng.randrange(1, 60))) if not last else None
                try:
                    report = self._live(stop_at)
                except ProcessEnds as end:
                    if end.power:
                        self.disk.power_fails()
                except WorldError:
                    assert not last, "nothing disturbs the last life"
                else:
                    if self.is_read() and report is not None:
                        break
                self.broker.process_ended()
                self._check_kept()
                self._rot()
        self._check_outputs()
        return Ended(report, self.order, lives, self.unforced, self.fate.ended_at, self.turns, self.rotten)

    def _next_end(self) -> Crash | None:
        if self.crashes:
            return next(iter(self.crashes[len(self.fate.ended_at) :]), None)
        rng = self.fate.rng
        if rng.random() < 0.2:
            return None
        moment = rng.choice(MOMENTS)
        return Crash("", int(2 ** rng.uniform(0, 10)), moment, rng.random() < 0.5)

    def _live(self, stop_at: int | None) -> dict[str, Any] | None:
        fate, settings = self.fate, self.settings
        store = Store(self.disk, AllowList())
        clocks: dict[str, Any] = {"now_s": fate.now_s, "sleep": fate.sleep, "now": self._now}
        saved = begin(settings, "kafka", self.disk, store, LateWriter(fate), **clocks)
        assert saved.loaded is None or saved.pipeline is not None
        pipeline = saved.pipeline or make_pipeline(settings)
        del self.order[taken_by(pipeline) :]
        source = KafkaSource(settings.kafka, Codec(settings.wire), now_s=fate.now_s, sleep=fate.sleep)
        sink = KafkaSink(settings.kafka, now_s=fate.now_s, sleep=fate.sleep)
        session = Recording(
            pipeline, settings, dead_letters=KafkaDeadLetters(sink, fate.now_s),
            publish=prediction_publisher(sink, settings.wire.classes), journal=saved.journal,
        )  # fmt: skip
        session.order, session.known = self.order, self.known
        session.decided = lambda: (source.unforced, saved.keeper.journal.entries)
        turns: Any = Turns(self, stop_at)
        loop = LiveLoop(
            source, sink, session, turns, saving=saved, flush_max_s=settings.kafka.outage_max_s, now_s=fate.now_s
        )
        self._source, self._pipeline = source, pipeline
        is_killed = False
        try:
            loop.run(batch_max=settings.kafka.poll_records_max)
        except ProcessEnds:
            is_killed = True  # nothing is cleared up then
            raise
        finally:
            if not is_killed:
                saved.keeper.close()
            self.unforced += source.unforced
        loop.close()
        return session.report()

    def _now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.fate.now_s())

    def disturb(self) -> None:
        """A turn of the world: connections are lost, the disk is full, each for a while."""
        if self._faults and self.fate.rng.random() < 0.01:
            self.broker.away_until_s = self.fate.now_s() + self.fate.rng.choice((0.5, 3.0, 30.0))
        if self._faults and self.fate.rng.random() < 0.01:
            self.disk.full_until_s = self.fate.now_s() + self.fate.rng.choice((0.5, 3.0, 30.0))

    def is_read(self) -> bool:
        """Everything that will ever be there has been handed out."""
        if self._source is None or not self.broker.is_complete():
            return False
        positions = self._source.positions()
        return all(positions.get(lane, 0) >= self.broker.end_of(lane) for lane in self.logs)

    # Checks

    def check_turn(self) -> None:
        """What holds whenever the loop comes round."""
        source, pipeline = self._source, self._pipeline
        assert source is not None
        assert pipeline is not None
        self.turns += 1
        counts = pipeline.joiner.counts
        assert counts.in_ == counts.held + counts.matured + sum(counts.dropped.values()), counts
        assert taken_by(pipeline) == len(self.order) == len(set(self.order)), "a record was taken twice, or not at all"
        handed_out = source.positions()
        for lane, log in self.logs.items():
            taken = {offset for topic, partition, offset in self.order if (topic, partition) == lane}
            there = {record.offset for record in log if record.offset < handed_out.get(lane, 0)}
            assert taken == there, f"{lane}: not everything before {handed_out.get(lane, 0)} was taken, or more"
        unsafe = self.disk.unsafe("journal")
        assert not unsafe, f"records are taken in an order that only {unsafe} knows, which may be lost"

    def _safe_positions(self) -> dict[LaneKey, int] | None:
        """Where the newest checkpoint stands that a power failure would leave."""
        loaded = Store(self.disk.would_stay(), AllowList()).newest()
        return None if loaded is None else lanes(loaded.header.position["offsets"])

    def _check_commit(self, committed: dict[LaneKey, int]) -> None:
        """What is committed is in a safe checkpoint, and its dead letters and predictions have been acknowledged."""
        safe = self._safe_positions()
        assert safe is not None, "offsets are committed and no checkpoint is safe"
        assert all(safe[lane] >= offset for lane, offset in committed.items()), (safe, committed)
        dead = self._dead()
        codec = Codec(self.settings.wire)
        for lane, log in self.logs.items():
            for record in log:
                if record.offset < committed[lane] and _is_bad(codec, record):
                    assert (*lane, record.offset) in dead, f"{lane}@{record.offset} is passed, and is no dead letter"

    def _check_kept(self) -> None:
        """After the end of a process: few files, and one that can be loaded if there ever was one."""
        names = self.disk.names()
        assert sum(name.endswith(".sbc") for name in names) <= self.settings.checkpoint.keep + 2, names
        Store(self.disk, AllowList()).newest()

    def _rot(self) -> None:
        """By chance the newest checkpoints are damaged; a whole one stays, and the journal since then with it."""
        if self.crashes or self.fate.rng.random() >= ROT:
            return
        whole = [sequence for sequence in Store(self.disk, AllowList()).sequences() if self._is_whole(sequence)]
        for sequence in whole[self.fate.rng.randint(1, max(1, len(whole))) :]:
            self.disk.rots(file_name(sequence))
            self.rotten += 1

    def _is_whole(self, sequence: int) -> bool:
        try:
            Store(self.disk, AllowList()).verify(sequence)
        except Damaged:
            return False
        return True

    def _dead(self) -> set[Place]:
        found = set()
        for record in self.broker.published:
            headers = dict(record.headers)
            if "dead_letter.topic" in headers:
                place = [headers[f"dead_letter.{part}"].decode() for part in ("topic", "partition", "offset")]
                found.add((place[0], int(place[1]), int(place[2])))
        return found

    def _check_outputs(self) -> None:
        predictions: dict[str, bytes] = {}
        for record in self.broker.published:
            if record.topic == self.settings.kafka.predictions_topic:
                search = orjson.loads(record.value)["search_id"]
                before = predictions.setdefault(search, record.value)
                assert before == record.value, f"two predictions of {search} differ:\n{before!r}\n{record.value!r}"
        codec = Codec(self.settings.wire)
        everything = [record for log in self.logs.values() for record in log]
        bad = {(r.topic, r.partition, r.offset) for r in everything if _is_bad(codec, r)}
        assert self._dead() == bad
        good = [codec.parse(r.value) for r in everything if not _is_bad(codec, r) and r.topic == SEARCHES]
        held_back = self.settings.order.disorder_max_s > 0
        missing = {search.event_id for search in good} - predictions.keys()
        assert held_back or not missing, f"searches without a prediction: {missing}"
        assert len(self.order) == len(set(self.order)) == len(everything), "records taken twice, or not at all"


def _is_bad(codec: Codec, record: Kept) -> bool:
    try:
        event = codec.parse(record.value)
        codec.check_time(event, record.timestamp * 1000)
    except Exception:  # of the codec only BadRecord, which is what is asked
        return True
    return False


def in_one_piece(settings: Settings, logs: Logs, order: list[Place]) -> dict[str, Any]:
    """The report of a pipeline that takes these records in this order."""
    pipeline, codec = make_pipeline(settings), Codec(settings.wire)
    session = Session(pipeline, settings)
    by_place = {(record.topic, record.partition, record.offset): record for log in logs.values() for record in log}
    for place in order:
        polled = decode(by_place[place], codec)
        session.take(polled, polled.value)
    return session.report()


def check_seed(seed: int, **more: Any) -> Ended:
    """One seed: its lives and every check. Raises AssertionError."""
    growing = more.pop("growing", seed % 2 == 1)
    history = History(seed, growing=growing, **more)
    ended = history.run()
    whole = in_one_piece(history.settings, history.logs, ended.order)
    _equal(ended.report, whole, "a pipeline that took the same order without a break")
    if not growing:
        calm = History(seed, growing=False, disturbed=False, searches=history.searches).run()
        assert ended.order == calm.order, "complete topics were taken in another order"
        _equal(ended.report, calm.report, "a service that was never disturbed")
    return ended


def _equal(report: dict[str, Any], other: dict[str, Any], what: str) -> None:
    different = [key for key in report if key != "throughput" and report[key] != other[key]]
    assert not different, f"{different} differ from {what}: {[(report[k], other[k]) for k in different[:2]]}"
