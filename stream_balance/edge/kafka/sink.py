"""Sink: what leaves for Kafka. In: predictions, bad records. Out: acknowledged records, or a WorldError at flush.

At least once: everything handed in before a successful `flush` has been acknowledged by all replicas in sync.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.outbox import Outbox
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.kafka.topics import absent, look_up
from stream_balance.edge.merge import Polled
from stream_balance.errors import SettingsError, WorldError

OVERHEAD_BYTES = 2_048  # of a record beside its key, value and headers, generously
HEADER_TEXT_MAX = 1_000
ATTEMPT = "dead_letter.attempt"  # how often a record has been sent again


class KafkaSink:
    """Publishes predictions and dead letters. Counters: `predictions`, `dead_letters`, `truncated`, `failed`."""

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
        self._outbox: Outbox | None = None
        self._first_error: BaseException | None = None
        self.on_wait: Callable[[float], None] | None = None  # told once a slice while there is no room
        self.predictions = 0
        self.dead_letters = 0
        self.truncated = 0  # dead letters too large to be sent whole
        self.failed = 0

    def open(self) -> None:
        """Connect, and create the predictions and dead-letter topics where they are missing and it is allowed."""
        settings = self._settings
        dead = [settings.dead_letter_topic(topic) for topic in settings.topics]
        wanted = [settings.search_topic, settings.predictions_topic, *dead]
        look_up(settings, wanted, now_s=self._now_s, sleep=self._sleep, missing=self._missing_outputs)
        producer = client.connect(lambda: client.new_producer(settings), settings, now_s=self._now_s, sleep=self._sleep)
        outputs = [settings.predictions_topic, *dead]
        client.connect(
            lambda: [producer.partitions_for(topic) for topic in outputs],
            settings, now_s=self._now_s, sleep=self._sleep,
        )  # fmt: skip
        self._outbox = Outbox(producer, settings, self._note_failed, on_wait=self._waited, now_s=self._now_s)

    def _waited(self, waited_s: float) -> None:
        if self.on_wait is not None:
            self.on_wait(waited_s)

    def figures(self) -> dict[str, float]:
        """Counters and gauges of the way out, as the service's state has them."""
        outbox = self._outbox
        return {
            "predictions_published": self.predictions,
            "dead_letters": self.dead_letters,
            "outputs_unacknowledged": len(outbox) if outbox is not None else 0,
            "output_waits": outbox.waits if outbox is not None else 0,
            "dead_letters_cut": self.truncated,
        }

    def _missing_outputs(self, counts: Mapping[str, int]) -> dict[str, int]:
        settings = self._settings
        outputs = {settings.predictions_topic: counts.get(settings.search_topic, 1)}
        outputs |= {settings.dead_letter_topic(topic): 1 for topic in settings.topics}
        missing = {topic: partitions for topic, partitions in outputs.items() if topic not in counts}
        if missing and not settings.create_output_topics:
            raise SettingsError(
                f"{absent(list(missing), settings)}. Create what is missing, or set kafka.create_output_topics."
            )
        return missing

    def publish_prediction(self, key: bytes, value: bytes) -> None:
        """Send one prediction, keyed like the search it belongs to. Raises WorldError when it cannot be taken."""
        assert self._outbox is not None, "open() comes first"
        try:
            self._outbox.send(self._settings.predictions_topic, key, value)
        except client.MessageSizeTooLargeError as error:
            raise WorldError(
                f"a prediction of {len(value)} bytes cannot be sent, at most {self._settings.request_bytes_max} can "
                "(kafka.request_bytes_max)."
            ) from error
        self.predictions += 1

    def dead_letter(self, record: Polled, reason: str, message: str, now_us: int) -> None:
        """Send a bad record's own bytes to its dead-letter topic, with where it was and why in the headers.

        What is larger than a request loses its own headers, its key or the end of its bytes, whichever is too large;
        the header `dead_letter.bytes` has the length the bytes had.
        """
        assert self._outbox is not None, "open() comes first"
        about = [
            ("dead_letter.topic", record.topic.encode()),
            ("dead_letter.partition", str(record.partition).encode()),
            ("dead_letter.offset", str(record.offset).encode()),
            ("dead_letter.record_time_us", str(record.record_time_us).encode()),
            ("dead_letter.reason", reason.encode()),
            ("dead_letter.message", message[:HEADER_TEXT_MAX].encode()),
            ("dead_letter.time_us", str(now_us).encode()),
            ("dead_letter.bytes", str(len(record.value)).encode()),
        ]
        room = self._settings.request_bytes_max - OVERHEAD_BYTES - _size(about)
        # A header may be null, which the producer refuses.
        own = [(name, value or b"") for name, value in record.headers if name == ATTEMPT or not is_ours(name)]
        key = record.key
        if _size(own) + len(key or b"") + len(record.value) > room:
            own = own if _size(own) <= room // 4 else []
            key = key if key is None or len(key) <= room // 4 else None
            room -= _size(own) + len(key or b"")
            self.truncated += 1
        topic = self._settings.dead_letter_topic(record.topic)
        self._outbox.send(topic, key, record.value[:room], timestamp_ms=now_us // 1000, headers=own + about)
        self.dead_letters += 1

    def _note_failed(self, _: Any, error: BaseException) -> None:
        self.failed += 1
        self._first_error = self._first_error or error

    def flush(self, timeout_s: float) -> None:
        """Return when everything handed in is acknowledged. Raises WorldError if not all was, or not in time."""
        assert self._outbox is not None, "open() comes first"
        self._outbox.flush(timeout_s)
        self._check_refused()

    def try_flush(self, timeout_s: float) -> bool:
        """As `flush`, but False if it is not done in time. Raises WorldError if a record was refused."""
        assert self._outbox is not None, "open() comes first"
        done = self._outbox.try_flush(timeout_s)
        self._check_refused()
        return done

    def mark(self) -> int:
        """Stands for everything handed in so far, see `is_acknowledged`."""
        assert self._outbox is not None, "open() comes first"
        return self._outbox.mark()

    def is_acknowledged(self, mark: int) -> bool:
        """Whether everything that had been handed in at that mark is acknowledged; waits for nothing.

        Raises WorldError if a record was refused.
        """
        assert self._outbox is not None, "open() comes first"
        done = self._outbox.is_answered(mark)
        self._check_refused()
        return done

    def _check_refused(self) -> None:
        if self._first_error is not None:
            raise WorldError(
                f"Kafka at {self._settings.bootstrap} refused {self.failed} of our records, the first with "
                f"{client.explain(self._first_error)}."
            ) from self._first_error

    def close(self, timeout_s: float = 5.0) -> None:
        """Leave. Flush first: what is not acknowledged within `timeout_s` is given up."""
        if self._outbox is not None:
            self._outbox.close(timeout_s)
            self._outbox = None


def is_ours(header: str) -> bool:
    """Whether a header is one that dead letters carry beside the record's own."""
    return header.startswith("dead_letter.")


def _size(headers: Sequence[tuple[str, bytes]]) -> int:
    return sum(len(name.encode()) + len(value) + 16 for name, value in headers)
