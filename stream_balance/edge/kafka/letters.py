"""Letters: the dead-letter topics, read to where they end now, and sent again. In: letters. Out: records in the topics.

How far letters have been dealt with is remembered by reason, in the committed offsets of the group `<group_id>.dlq`:
the offset is where every reason has to be looked at, the metadata says from where on each reason is new. So letters of
one reason can be sent again before those of another, and none twice.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stream_balance.edge.dead_letter import DeadLetter, Judge, Verdict
from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.outbox import Outbox
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.kafka.sink import ATTEMPT, is_ours
from stream_balance.edge.kafka.topics import look_up
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import WorldError

ASK_S = 10.0
PLACES_MAX = 100_000  # of letters whose copies are known
SILENCE_S = 30.0


@dataclass(slots=True)
class Dealt:
    """How far a partition's letters have been dealt with: all before `offset`, those of a reason before its own."""

    offset: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)

    def is_new(self, reason: str, offset: int) -> bool:
        """Whether a letter is still to be dealt with."""
        return offset >= max(self.offset, self.by_reason.get(reason, 0))

    def advance(self, reasons: Iterable[str] | None, offset: int) -> None:
        """All letters of the reasons (None = of every reason) before `offset` have been dealt with."""
        if reasons is None:
            self.offset = max(self.offset, offset)
        for reason in reasons or ():
            self.by_reason[reason] = max(self.by_reason.get(reason, 0), offset)
        self.by_reason = {reason: at for reason, at in self.by_reason.items() if at > self.offset}


class LetterBox:
    """The letters of both dead-letter topics. A context manager; connects when entered. Raises WorldError.

    `passed` counts those that `letters` left out because they have been dealt with.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._now_s = now_s
        self._sleep = sleep
        self._consumer: Any = None
        self._ends: dict[LaneKey, int] = {}
        self._dealt: dict[LaneKey, Dealt] = {}
        self.passed = 0
        self.copies = 0
        self._places: dict[str, None] = {}  # of the latest letters

    def __enter__(self) -> LetterBox:
        settings = self._settings
        topics = [settings.dead_letter_topic(topic) for topic in settings.topics]
        counts = look_up(settings, topics, now_s=self._now_s, sleep=self._sleep, missing=lambda _: {})
        self._consumer = client.connect(
            lambda: client.new_consumer(settings, group_id=f"{settings.group_id}.dlq"),
            settings, now_s=self._now_s, sleep=self._sleep,
        )  # fmt: skip
        lanes = [(topic, partition) for topic in counts for partition in range(counts[topic])]
        try:
            self._look(lanes)
        except client.KafkaError as error:
            self._consumer.close(autocommit=False)
            raise WorldError(
                f"Kafka at {settings.bootstrap} does not tell its offsets: {client.explain(error)}."
            ) from error
        return self

    def _look(self, lanes: list[LaneKey]) -> None:
        ask_ms = int(ASK_S * 1000)
        partitions = {lane: client.TopicPartition(*lane) for lane in lanes}
        ends = self._consumer.end_offsets(list(partitions.values()), timeout_ms=ask_ms)
        begins = self._consumer.beginning_offsets(list(partitions.values()), timeout_ms=ask_ms)
        for lane, partition in partitions.items():
            self._ends[lane] = ends[partition]
            found = self._consumer.committed(partition, metadata=True, timeout_ms=ask_ms)
            dealt = Dealt(begins[partition])
            if found is not None and found.offset >= 0:
                dealt = Dealt(max(found.offset, begins[partition]), _by_reason(found.metadata))
            self._dealt[lane] = dealt
        self._consumer.assign(list(partitions.values()))

    def __exit__(self, *_: object) -> None:
        self._consumer.close(autocommit=False, timeout_ms=2000)

    def letters(self, *, again: bool = False) -> Iterator[tuple[LaneKey, int, DeadLetter]]:
        """Partition, offset and letter of those not dealt with (`again`: of all), up to where the topics end now.

        Of copies of one record only the first, as far as the latest `PLACES_MAX` letters tell.
        """
        open_lanes = set()
        begins = self._consumer.beginning_offsets(list(map(_partition, self._ends)), timeout_ms=int(ASK_S * 1000))
        for lane, end in self._ends.items():
            begin = begins[_partition(lane)]
            if not again:
                self.passed += self._dealt[lane].offset - begin
                begin = self._dealt[lane].offset
            self._consumer.seek(_partition(lane), begin)
            if begin < end:
                open_lanes.add(lane)
        quiet_since = self._now_s()
        while open_lanes:
            batches = self._consumer.poll(timeout_ms=500)
            for partition, records in batches.items():
                lane = (partition.topic, partition.partition)
                for record in records:
                    letter = _letter(record)
                    if self._is_copy(letter):
                        continue
                    new = again or self._dealt[lane].is_new(letter.reason, record.offset)
                    if record.offset < self._ends[lane] and new:
                        yield lane, record.offset, letter
                    self.passed += record.offset < self._ends[lane] and not new
            open_lanes = {lane for lane in open_lanes if self._position(lane) < self._ends[lane]}
            if batches:
                quiet_since = self._now_s()
            elif self._now_s() - quiet_since > SILENCE_S:
                raise WorldError(f"Kafka at {self._settings.bootstrap} sent no dead letters for {SILENCE_S:g} s.")

    def _is_copy(self, letter: DeadLetter) -> bool:
        """Whether the same record was met just now: a killed service writes what it had not settled once more."""
        if letter.place in self._places:
            self.copies += 1
            return True
        self._places[letter.place] = None
        if len(self._places) > PLACES_MAX:
            del self._places[next(iter(self._places))]
        return False

    def _position(self, lane: LaneKey) -> int:
        position = self._consumer.position(_partition(lane), timeout_ms=0)
        return position if position is not None else 0

    def dealt_with(self, reasons: Iterable[str] | None, stopped_at: Mapping[LaneKey, int]) -> None:
        """Remember that all letters (of the reasons) up to the end have been dealt with, or to where it stopped."""
        for lane, end in self._ends.items():
            self._dealt[lane].advance(reasons, stopped_at.get(lane, end))
        offsets = {
            _partition(lane): client.OffsetAndMetadata(dealt.offset, orjson.dumps(dealt.by_reason).decode(), -1)
            for lane, dealt in self._dealt.items()
        }
        try:
            self._consumer.commit(offsets, timeout_ms=int(3 * ASK_S * 1000))
        except client.KafkaError as error:
            raise WorldError(
                f"the letters were sent, but Kafka does not remember it ({client.explain(error)}): the next replay "
                "offers them again."
            ) from error


@dataclass(slots=True)
class Resent:
    """What became of the letters: how many were sent, and the others by verdict."""

    sent: int = 0
    left: Counter[Verdict] = field(default_factory=Counter)


class Resender:
    """Sends letters to their topics again, with their own bytes, key, headers and time. A context manager."""

    def __init__(
        self,
        settings: KafkaSettings,
        judge: Judge,
        *,
        now_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._judge = judge
        self._failed: list[BaseException] = []
        look_up(settings, settings.topics, now_s=now_s, sleep=sleep)
        producer = client.connect(lambda: client.new_producer(settings), settings, now_s=now_s, sleep=sleep)
        self._outbox = Outbox(producer, settings, lambda _, error: self._failed.append(error))
        self.resent = Resent()

    def __enter__(self) -> Resender:
        return self

    def __exit__(self, *_: object) -> None:
        self._outbox.close(5.0)

    def send(self, letter: DeadLetter) -> None:
        """Send a letter again if it may be; count it."""
        verdict, event = self._judge.verdict(letter)
        if verdict != "sendable" or event is None:
            self.resent.left[verdict] += 1
            return
        topic, key = self._judge.target(letter, event)
        headers = [*letter.headers, (ATTEMPT, str(letter.attempts + 1).encode())]
        time_ms = None if letter.record_time_us is None else letter.record_time_us // 1000
        try:
            self._outbox.send(topic, key, letter.value, timestamp_ms=time_ms, headers=headers)
        except client.MessageSizeTooLargeError:
            self.resent.left["cut"] += 1
            return
        self.resent.sent += 1

    def flush(self) -> None:
        """Return when all are acknowledged. Raises WorldError if not all are."""
        self._outbox.flush(self._settings.outage_max_s)
        if self._failed:
            raise WorldError(
                f"Kafka at {self._settings.bootstrap} refused {len(self._failed)} letters, the first with "
                f"{client.explain(self._failed[0])}."
            )


def _partition(lane: LaneKey) -> Any:
    return client.TopicPartition(*lane)


def _by_reason(metadata: str | None) -> dict[str, int]:
    try:
        found = orjson.loads(metadata or "{}")
    except orjson.JSONDecodeError:
        return {}
    return {str(reason): int(at) for reason, at in found.items()} if isinstance(found, dict) else {}


def _letter(record: Any) -> DeadLetter:
    """A record of a dead-letter topic. What its headers do not say is said of where it lies."""
    told = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers if is_ours(name)}
    value = record.value or b""
    time_us = _number(told.get("dead_letter.record_time_us"))
    return DeadLetter(
        place=f"{told.get('dead_letter.topic', '?')}[{told.get('dead_letter.partition', '?')}]"
        f"@{told.get('dead_letter.offset', '?')}",
        value=value,
        reason=told.get("dead_letter.reason", "unknown"),
        message=told.get("dead_letter.message", ""),
        topic=told.get("dead_letter.topic", "?"),
        key=record.key,
        headers=tuple((name, value or b"") for name, value in record.headers if not is_ours(name)),
        record_time_us=time_us if time_us is not None and time_us >= 0 else None,
        died_us=_number(told.get("dead_letter.time_us")),
        is_cut=len(value) != (_number(told.get("dead_letter.bytes")) or 0),
        attempts=_number(told.get(ATTEMPT)) or 0,
    )


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None
