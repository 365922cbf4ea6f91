"""The least that is an event, logs of them, and how tests read: shared by the tests of the Kafka edge."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterable
from typing import Any

from stream_balance.core.records import Event, Search
from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.edge.kafka.produce import Outgoing
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import Polled
from stream_balance.errors import BadRecord
from stream_balance.testing import make_purchase, make_search

START_MS = 1_700_000_000_000
PATIENCE_S = 60.0


class PlainCodec:
    """`s,id,user,ms` and `p,id,user,ms`: the least that is an event."""

    def parse(self, data: bytes) -> Event:
        try:
            kind, event_id, user_id, ms = data.decode().rstrip().split(",")
            make = {"s": make_search, "p": make_purchase}[kind]
            return make(event_id, ts=int(ms) / 1000, user_id=user_id)
        except (KeyError, ValueError) as error:
            raise BadRecord("plain", f"not an event: {error}") from error

    def check_time(self, event: Event, record_time_us: int | None) -> None:
        if record_time_us is not None and event.ts_us - record_time_us > 1_000_000:
            raise BadRecord("too_far_ahead", "ts is far ahead of its record's time")


def line(kind: str, event_id: str, user: str, ms: int) -> Outgoing:
    data = f"{kind},{event_id},{user},{ms}".encode()
    return Outgoing(data, "search" if kind == "s" else "purchase", user.encode(), ms)


def a_log(events: int, *, users: int = 50, step_ms: int = 3, seed: int = 1) -> list[Outgoing]:
    """Times do not fall and often repeat; one event in five is a purchase."""
    rng = random.Random(seed)
    times = itertools.accumulate((rng.randrange(step_ms) for _ in range(events)), initial=START_MS)
    return [
        line("p" if rng.random() < 0.2 else "s", f"e{n}", f"u{rng.randrange(users)}", ms)
        for n, ms in zip(range(events), times, strict=False)
    ]


def place(event: Event) -> tuple[int, int, str]:
    return event.ts_us, 0 if isinstance(event, Search) else 1, event.event_id


def in_total_order(log: Iterable[Outgoing]) -> list[tuple[int, int, str]]:
    codec = PlainCodec()
    return sorted(place(codec.parse(record.data)) for record in log)


def read(source: KafkaSource, until: int | None = None, patience_s: float = PATIENCE_S) -> list[Polled]:
    """Poll until caught up, or until so many records are there."""
    out: list[Polled] = []
    end = time.monotonic() + patience_s
    while (len(out) < until) if until is not None else not (source.caught_up()):
        out += source.poll(timeout_s=0.5)
        assert time.monotonic() < end, f"only {len(out)} records came; lag {source.lag()}"
    return out


def consume_all(settings: KafkaSettings, topic: str, count: int) -> list[Any]:
    """So many raw records of a topic, all partitions."""
    consumer = client.new_consumer(settings)
    partitions = [client.TopicPartition(topic, p) for p in sorted(consumer.partitions_for_topic(topic))]
    consumer.assign(partitions)
    for partition in partitions:
        consumer.seek(partition, 0)
    records: list[Any] = []
    end = time.monotonic() + PATIENCE_S
    while len(records) < count and time.monotonic() < end:
        records += [record for batch in consumer.poll(timeout_ms=500).values() for record in batch]
    consumer.close()
    return records


def partition_of(user: str, partitions: int = 2) -> int:
    return (client.murmur2(user.encode()) & 0x7FFFFFFF) % partitions
