"""Dead letter: a record that could not be read, as it was kept. Out: whether it may be sent again.

Pure. A letter comes from a dead-letter topic or from a dead-letter file; both say where the record was and why it was
bad. What still cannot be read, was cut, or has come back too often stays where it is.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from typing import Literal

from stream_balance.core.records import Event, Search
from stream_balance.edge.codec import Codec
from stream_balance.errors import BadRecord

Verdict = Literal["sendable", "still_bad", "cut", "too_often", "foreign"]
VERDICTS: dict[Verdict, str] = {
    "sendable": "can be read now",
    "still_bad": "still cannot be read",
    "cut": "was too large to be kept whole",
    "too_often": "was sent again too often",
    "foreign": "is of a topic that the settings do not name",
}


@dataclass(slots=True)
class DeadLetter:
    """One record with its own bytes, key and headers. `topic` None = from a file: the content says the topic."""

    place: str  # where the record was
    value: bytes
    reason: str
    message: str
    topic: str | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    record_time_us: int | None = None
    died_us: int | None = None
    is_cut: bool = False
    attempts: int = 0  # how often it has been sent again

    def fields(self) -> dict[str, object]:
        """As a JSON line shows it."""
        told: dict[str, object] = {"place": self.place, "reason": self.reason, "message": self.message}
        if self.died_us is not None:
            told["time_us"] = self.died_us
        if self.attempts:
            told["attempts"] = self.attempts
        if self.is_cut:
            told["cut"] = True
        try:
            return told | {"text": self.value.decode("utf-8")}
        except UnicodeDecodeError:
            return told | {"base64": b64encode(self.value).decode("ascii")}


@dataclass(slots=True)
class Judge:
    """Says of a letter whether it may be sent again, by the settings of now."""

    codec: Codec
    topics: tuple[str, str]  # searches, purchases
    attempts_max: int

    def verdict(self, letter: DeadLetter) -> tuple[Verdict, Event | None]:
        """The verdict, and the event if it can be read."""
        if letter.topic is not None and letter.topic not in self.topics:
            return "foreign", None
        if letter.is_cut:
            return "cut", None
        if letter.attempts >= self.attempts_max:
            return "too_often", None
        try:
            return "sendable", self.codec.decode(letter.value, letter.record_time_us)
        except BadRecord:
            return "still_bad", None

    def target(self, letter: DeadLetter, event: Event) -> tuple[str, bytes | None]:
        """Topic and key to send it with: its own, or those of its content."""
        if letter.topic is not None:
            return letter.topic, letter.key
        return self.topics[0 if isinstance(event, Search) else 1], event.user_id.encode()
