"""Produce: publishes a recorded log to the two topics. In: records in log order. Out: what was sent, and what not.

Keyed, so that a user's searches and purchases share a partition number; the record's time is Kafka's timestamp.
A record that cannot be sent is counted by reason, and the log goes on. Order within a key is the log's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.outbox import Outbox
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.kafka.topics import absent, look_up
from stream_balance.edge.pace import Pace
from stream_balance.errors import SettingsError

Kind = Literal["search", "purchase"]
EXAMPLES_MAX = 5
TIMESTAMP_MAX_MS = 2**63 - 1


@dataclass(slots=True)
class Outgoing:
    """A record of a log on its way to Kafka. `kind` None = undecodable: goes to the search topic. Of a record that had
    `cut_from` bytes only the beginning was read: it is not sent.
    """

    data: bytes
    kind: Kind | None
    key: bytes
    timestamp_ms: int | None
    cut_from: int | None = None


@dataclass(slots=True)
class Produced:
    """What became of a log: records acknowledged, failures by reason, and the first of them in words."""

    sent: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    def note_failed(self, number: int, reason: str, words: str) -> None:
        """Count a record (`number` counts from 1) that could not be sent."""
        self.failed[reason] = self.failed.get(reason, 0) + 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"record {number}: {words}")


def create_log_topics(
    settings: KafkaSettings,
    partitions: int,
    *,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Create the two topics where they are missing. Raises SettingsError where one has another number of partitions."""

    def missing(counts: Mapping[str, int]) -> dict[str, int]:
        for topic, found in counts.items():
            if found != partitions:
                raise SettingsError(
                    f"topic {topic!r} exists with {found} partitions, --partitions says {partitions}. Say --partitions "
                    f"{found}, delete the topic, or name another one."
                )
        return {topic: partitions for topic in settings.topics if topic not in counts}

    look_up(settings, settings.topics, now_s=now_s, sleep=sleep, missing=missing)


def produce(
    settings: KafkaSettings,
    records: Iterable[Outgoing],
    *,
    speed: float | None = None,
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_progress: Callable[[int], None] | None = None,
) -> Produced:
    """Publish the records; returns when all are acknowledged or given up.

    `speed` is recorded time over real time (60 = an hour in a minute); None = as fast as it goes. `on_progress(n)` is
    called after each record handed over. Raises SettingsError for missing topics, WorldError when Kafka stays away.
    """
    counts = look_up(settings, settings.topics, now_s=now_s, sleep=sleep)
    missing = [topic for topic in settings.topics if topic not in counts]
    if missing:
        how = "stream-balance produce LOG --create-topics --partitions N"
        raise SettingsError(f"{absent(missing, settings)}. '{how}' makes them and sends the log.")
    produced = Produced()
    producer = client.connect(lambda: client.new_producer(settings), settings, now_s=now_s, sleep=sleep)
    outbox = Outbox(
        producer, settings, lambda number, error: produced.note_failed(number, _reason(error), client.explain(error))
    )
    try:
        pace = Pace(speed, now_s, sleep) if speed is not None else None
        for number, record in enumerate(records, start=1):
            if pace is not None and record.timestamp_ms is not None:
                pace.wait_for(record.timestamp_ms / 1000)
            _send(outbox, settings, record, number, produced)
            if on_progress is not None:
                on_progress(number)
        outbox.flush(settings.outage_max_s)
    finally:
        outbox.close(1.0)
    produced.sent = outbox.acknowledged
    return produced


def _send(outbox: Outbox, settings: KafkaSettings, record: Outgoing, number: int, produced: Produced) -> None:
    topic = settings.purchase_topic if record.kind == "purchase" else settings.search_topic
    if record.timestamp_ms is not None and not 0 <= record.timestamp_ms <= TIMESTAMP_MAX_MS:
        produced.note_failed(number, "timestamp", f"time {record.timestamp_ms} ms is not one Kafka can hold")
        return
    if record.cut_from is not None:
        words = f"{record.cut_from:,} bytes, more than wire.record_bytes_max; only its beginning was read"
        produced.note_failed(number, "too_large", words)
        return
    try:
        outbox.send(topic, record.key, record.data, timestamp_ms=record.timestamp_ms, tag=number)
    except client.MessageSizeTooLargeError:
        produced.note_failed(
            number,
            "too_large",
            f"{len(record.data)} bytes, at most {settings.request_bytes_max} can be sent (kafka.request_bytes_max)",
        )


def _reason(error: BaseException) -> str:
    return "too_large" if isinstance(error, client.MessageSizeTooLargeError) else type(error).__name__
