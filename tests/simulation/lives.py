"""The whole service in a simulated world: loop, source, merge, sink, pipeline, keeper, store and journal are real;
broker, disk, clock and chance are not. One seed is one history of lives, each ended by a crash, an error or a stop.

Checked at each record: it is taken in the order of the lives before. After each turn: nothing is taken twice or left
out, impressions add up, every merge decision taken is safe in the journal. On the way: offsets committed and records
left behind are covered by a checkpoint that no power failure can take; everything that left for a record is there; what
left twice is the same to the last bit. At the end: the report and digest equal those of a pipeline that was fed the
same records in the same order, without a break; where the topics were complete from the start, those of a service that
was never disturbed.

A `whole` history has child processes too, whose answers are late, refused, lost with their process and asked for again,
and may enter early; and the service records what it takes. What the world decided about fits is safe in its journal
whenever the loop comes round; the pipeline that is fed without a break, and the service that is never disturbed, follow
it. What was recorded is what was taken, in that order, and covers every safe checkpoint.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.fit_journal import FILE as FITS
from stream_balance.edge.checkpoint.fit_journal import Entry, FitJournal, entries
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.edge.checkpoint.store import Store, file_name, numbers
from stream_balance.edge.codec import Codec
from stream_balance.edge.kafka.decode import decode
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.errors import WorldError
from stream_balance.live import KafkaDeadLetters, LiveLoop, prediction_publisher
from stream_balance.live_recording import LiveRecording, records_in
from stream_balance.saving import begin
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import Settings
from tests.simulation.broker import SimulatedBroker
from tests.simulation.checks import Checks
from tests.simulation.children import SimulatedTrainer
from tests.simulation.disk import SimulatedDisk
from tests.simulation.fate import MOMENTS, Crash, Fate, Moment, ProcessEnds
from tests.simulation.watched import LateWriter, Recording, Turns
from tests.simulation.world import Logs, Place, logs_of, settings_of

LIVES_MAX = 8
KEY = b"0123456789abcdef"
ROT = 0.3


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
    whole: bool = False  # with children, and a recording
    follow: dict[str, Entry] = field(default_factory=dict)  # what the world decided of fits, elsewhere
    fate: Fate = field(init=False)

    def __post_init__(self) -> None:
        setup = random.Random(self.seed)
        self.key = KEY if self.seed % 3 == 0 else None  # with one, checkpoints and journals are signed, and held to it
        self.settings = settings_of(setup, whole=self.whole, signed=self.key is not None)
        self.logs = logs_of(setup, self.searches, growing=self.growing, items_max=12 if self.whole else 4)
        self.fate = Fate(setup.randrange(2**62))
        self.disk = SimulatedDisk(self.fate)
        self.night = SimulatedDisk(self.fate) if self.whole else None
        self.broker = SimulatedBroker(self.fate, self.logs)
        self.order: list[Place] = []
        self.checks = Checks(self.settings, self.logs, self.disk, self.broker, self.order, self.night, self.key)
        self.broker.on_commit = self.checks.commit
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
                    self.broker.away_until_s = -1.0
                    for disk in self._disks():
                        disk.full_until_s = -1.0
                stop_at = self.fate.rng.choice((None, None, self.fate.rng.randrange(1, 60))) if not last else None
                try:
                    report = self._live(stop_at)
                except ProcessEnds as end:
                    if end.power:
                        for disk in self._disks():
                            disk.power_fails()
                except WorldError:
                    assert not last, "nothing disturbs the last life"
                else:
                    if self.is_read() and report is not None:
                        break
                self.broker.process_ended()
                self.checks.kept()
                self._rot()
        self.checks.outputs()
        self.checks.recording()
        return Ended(report, self.order, lives, self.unforced, self.fate.ended_at, self.turns, self.rotten)

    def _disks(self) -> list[SimulatedDisk]:
        return [self.disk] if self.night is None else [self.disk, self.night]

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
        store = Store(self.disk, AllowList(), key=self.key)
        clocks: dict[str, Any] = {"now_s": fate.now_s, "sleep": fate.sleep, "now": self._now}
        saved = begin(settings, "kafka", self.disk, store, LateWriter(fate), follow=self.follow, **clocks)
        assert saved.loaded is None or saved.pipeline is not None
        pipeline = saved.pipeline or make_pipeline(settings)
        del self.order[records_in(pipeline) :]
        source = KafkaSource(settings.kafka, Codec(settings.wire), now_s=fate.now_s, sleep=fate.sleep)
        sink = KafkaSink(settings.kafka, now_s=fate.now_s, sleep=fate.sleep)
        session = Recording(
            pipeline, settings, dead_letters=KafkaDeadLetters(sink, fate.now_s),
            publish=prediction_publisher(sink, settings.wire.classes), journal=saved.journal,
            early=settings.workers.early and self.disturbed, trainer=SimulatedTrainer(fate, fails=self._faults),
        )  # fmt: skip
        recorded = None if self.night is None else LiveRecording(self.night, settings.record, self.disk)
        session.order, session.known = self.order, self.known
        session.decided = lambda: (source.unforced, saved.keeper.journal.entries)
        turns: Any = Turns(self, stop_at)
        loop = LiveLoop(
            source, sink, session, turns, saving=saved, recorded=recorded, flush_max_s=settings.kafka.outage_max_s,
            now_s=fate.now_s,
        )  # fmt: skip
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
                if recorded is not None:
                    recorded.close()
            self.unforced += source.unforced
        loop.close()
        return session.report()

    def _now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=self.fate.now_s())

    def disturb(self) -> None:
        """A turn of the world: connections are lost, the disk is full, each for a while."""
        if self._faults and self.fate.rng.random() < 0.01:
            self.broker.away_until_s = self.fate.now_s() + self.fate.rng.choice((0.5, 3.0, 30.0))
        for disk in self._disks():
            if self._faults and self.fate.rng.random() < 0.01:
                disk.full_until_s = self.fate.now_s() + self.fate.rng.choice((0.5, 3.0, 30.0))

    def is_read(self) -> bool:
        """Everything that will ever be there has been handed out."""
        if self._source is None or not self.broker.is_complete():
            return False
        positions = self._source.positions()
        return all(positions.get(lane, 0) >= self.broker.end_of(lane) for lane in self.logs)

    def check_turn(self) -> None:
        """What holds whenever the loop comes round."""
        assert self._source is not None
        assert self._pipeline is not None
        self.turns += 1
        self.checks.turn(self._source, self._pipeline)

    def decided_of_fits(self) -> dict[str, Entry]:
        """What the journal that went along with the recording says, where there is one."""
        if self.night is None or FITS not in self.night.names():
            return {}
        with self.night.open(FITS) as source:
            return entries(source.read(), key=self.key)

    def _rot(self) -> None:
        """By chance the newest checkpoints are damaged; a whole one stays, and the journal since then with it."""
        if self.crashes or self.fate.rng.random() >= ROT:
            return
        whole = [sequence for sequence in numbers(self.disk) if self._is_whole(sequence)]
        for sequence in whole[self.fate.rng.randint(1, max(1, len(whole))) :]:
            self.disk.rots(file_name(sequence))
            self.rotten += 1

    def _is_whole(self, sequence: int) -> bool:
        try:
            Store(self.disk, AllowList(), key=self.key).verify(sequence)
        except Damaged:
            return False
        return True


def in_one_piece(settings: Settings, logs: Logs, order: list[Place], follow: dict[str, Entry]) -> dict[str, Any]:
    """The report of a pipeline that takes these records in this order, and does with fits as was done."""
    pipeline, codec = make_pipeline(settings), Codec(settings.wire)
    trainer = SimulatedTrainer(Fate(0), fails=False)
    session = Session(pipeline, settings, journal=FitJournal(None, follow), trainer=trainer)
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
    follow = history.decided_of_fits()
    piece = in_one_piece(history.settings, history.logs, ended.order, follow)
    _equal(ended.report, piece, "a pipeline that took the same order without a break")
    if not growing:
        alike = {"searches": history.searches, "whole": history.whole, "follow": follow}
        calm = History(seed, growing=False, disturbed=False, **alike).run()
        assert ended.order == calm.order, "complete topics were taken in another order"
        _equal(ended.report, calm.report, "a service that was never disturbed")
    return ended


def _equal(report: dict[str, Any], other: dict[str, Any], what: str) -> None:
    different = [key for key in report if key != "throughput" and report[key] != other[key]]
    assert not different, f"{different} differ from {what}: {[(report[k], other[k]) for k in different[:2]]}"
