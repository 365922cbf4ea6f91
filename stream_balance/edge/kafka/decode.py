"""Decode: a record as the client gives it. Out: the same with its event, or with the reason why it has none."""

from __future__ import annotations

from typing import Any, Protocol

from stream_balance.core.records import Event
from stream_balance.edge.merge import Polled
from stream_balance.errors import BadRecord

NO_TIME_US = -1  # the record carries no time


class Decoder(Protocol):
    """Bytes to events; both raise BadRecord."""

    def parse(self, data: bytes) -> Event: ...

    def check_time(self, event: Event, record_time_us: int | None) -> None: ...


def decode(record: Any, codec: Decoder) -> Polled:
    """One record, its event held against the record's time (Kafka's timestamp)."""
    has_time = record.timestamp is not None and record.timestamp >= 0
    polled = Polled(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        record_time_us=record.timestamp * 1000 if has_time else NO_TIME_US,
        value=record.value or b"",
        key=record.key,
        headers=tuple(record.headers),
    )
    try:
        if record.value is None:
            raise BadRecord("empty", "the record has no value")
        event = codec.parse(record.value)
        codec.check_time(event, polled.record_time_us if has_time else None)
        polled.event = event
    except BadRecord as bad:
        polled.bad = bad.to_keep()
    return polled
