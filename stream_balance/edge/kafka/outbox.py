"""Outbox: a producer with a bound on what is on its way. In: records. Out: acknowledged records, or who failed.

Bounded: at most `unacknowledged_max` records and `unacknowledged_bytes_max` are on their way; beyond it sending waits,
in slices, and `on_wait` is told for how long already.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.errors import WorldError

SLICE_S = 1.0  # how long one wait may take before somebody is told


class Outbox:
    """The producer, with a bound on what is on its way, and an eye on what failed.

    `on_failed(tag, error)` is called for each record that could not be delivered, at a later `send` or at `flush`.
    Not thread-safe.
    """

    def __init__(
        self,
        producer: Any,
        settings: KafkaSettings,
        on_failed: Callable[[Any, BaseException], None],
        *,
        on_wait: Callable[[float], None] | None = None,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._settings = settings
        self._on_failed = on_failed
        self._on_wait = on_wait
        self._now_s = now_s
        self._on_way: deque[tuple[Any, Any, int]] = deque()  # the client's promise of an answer, the tag, bytes
        self._bytes = 0
        self.acknowledged = 0
        self._answered = 0  # with or without success
        self.waits = 0  # records that had to wait for room

    def __len__(self) -> int:
        return len(self._on_way)

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes,
        *,
        timestamp_ms: int | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        tag: Any = None,
    ) -> None:
        """Hand a record to the client. Raises MessageSizeTooLargeError at once, WorldError when there is no room."""
        size = len(key or b"") + len(value)
        self._make_room(size)
        began = self._now_s()
        while True:
            try:
                promise = self._producer.send(topic, key=key, value=value, timestamp_ms=timestamp_ms, headers=headers)
                break
            except client.MessageSizeTooLargeError:
                raise
            except client.KafkaTimeoutError:  # it does not know the topic's partitions
                self._bear(began, f"takes no records for topic {topic!r}")
            except client.KafkaError as error:
                raise WorldError(f"topic {topic!r} takes no records: {client.explain(error)}.") from error
        self._on_way.append((promise, tag, size))
        self._bytes += size

    def _is_full(self, size: int) -> bool:
        settings = self._settings
        too_large = self._bytes + size > settings.unacknowledged_bytes_max
        return len(self._on_way) >= settings.unacknowledged_max or (too_large and bool(self._on_way))

    def _make_room(self, size: int) -> None:
        """Wait until a record of so many bytes may go."""
        if not self._is_full(size):
            return
        self._collect()
        began = self._now_s()
        self.waits += self._is_full(size)
        while self._is_full(size):
            oldest = self._on_way[0][0]
            try:
                oldest.get(timeout=SLICE_S)
            except client.KafkaError:
                if not oldest.is_done:
                    self._bear(began, f"acknowledged nothing; {len(self._on_way)} records are on their way")
            self._collect()

    def _bear(self, began: float, what: str) -> None:
        """Another slice is over. Raises WorldError at the limit."""
        waited_s = self._now_s() - began
        if self._on_wait is not None:
            self._on_wait(waited_s)
        if waited_s >= self._settings.outage_max_s:
            raise WorldError(f"Kafka at {self._settings.bootstrap} {what}, for {waited_s:.0f} s (kafka.outage_max_s).")

    def _collect(self) -> None:
        """Take in the answers that are there, oldest first."""
        while self._on_way and self._on_way[0][0].is_done:
            promise, tag, size = self._on_way.popleft()
            self._bytes -= size
            self._answered += 1
            if promise.failed():
                self._on_failed(tag, promise.exception)
            else:
                self.acknowledged += 1

    def mark(self) -> int:
        """Stands for everything handed in so far, see `is_answered`."""
        return self._answered + len(self._on_way)

    def is_answered(self, mark: int) -> bool:
        """Whether everything that had been handed in at that mark has been answered; waits for nothing."""
        self._collect()
        return self._answered >= mark

    def try_flush(self, timeout_s: float) -> bool:
        """Wait until nothing is on its way; False if that takes longer."""
        try:
            self._producer.flush(timeout=timeout_s)
        except client.KafkaTimeoutError:
            return False
        finally:
            self._collect()
        return True

    def flush(self, timeout_s: float) -> None:
        """Wait until nothing is on its way. Raises WorldError if that takes longer than `timeout_s`."""
        if not self.try_flush(timeout_s):
            raise WorldError(
                f"Kafka at {self._settings.bootstrap} left {len(self._on_way)} records unanswered for {timeout_s:g} s."
            )

    def close(self, timeout_s: float) -> None:
        """Leave; what is not acknowledged by then is given up."""
        try:
            self._producer.close(timeout=timeout_s)
        except client.KafkaTimeoutError:
            client.give_up(self._producer)
