"""A broker as the Kafka client shows it: the few methods of consumer, producer and admin client that the edge calls.

It outlives the service. Records appear as time passes; a fetch brings a part of what is there; connections are lost for
a while. What a producer was handed arrives in order, at once or later; of what was not acknowledged when its process
ended, a beginning may have arrived. `install` puts it in the client's place.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from kafka.errors import KafkaConnectionError, KafkaTimeoutError

from stream_balance.edge.kafka import client
from stream_balance.edge.merge import LaneKey
from tests.simulation.fate import Fate

TOPIC_ID = uuid.UUID(int=7)


@dataclass(slots=True)
class Kept:
    """A record in a partition, there from tick `from_tick` on."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    from_tick: int = 0


class SimulatedBroker:
    """Partitions of the input topics, and what has been published."""

    def __init__(self, fate: Fate, inputs: dict[LaneKey, list[Kept]]) -> None:
        self.fate = fate
        self.inputs = inputs
        self.published: list[Kept] = []
        self.committed: dict[LaneKey, int] = {}
        self.away_until_s = -1.0
        self.coordinates = True  # False: who asks it to take a group's offsets waits for an answer in vain
        self.waited_s: list[float] = []  # how long each of them did
        self.on_commit: Any = None  # called with the offsets, before they are taken
        self._on_way: list[Promise] = []

    # The world's side

    def end_of(self, lane: LaneKey) -> int:
        """The high-water mark: behind the last record there is."""
        there = [record for record in self.inputs[lane] if record.from_tick <= self.fate.ticks]
        return there[-1].offset + 1 if there else 0

    def is_complete(self) -> bool:
        return all(not log or log[-1].from_tick <= self.fate.ticks for log in self.inputs.values())

    def process_ended(self) -> None:
        """Of what was on its way, a beginning arrives."""
        for promise in self._on_way[: self.fate.rng.randint(0, len(self._on_way))]:
            self.published.append(promise.record)
        self._on_way.clear()

    def is_away(self) -> bool:
        return self.fate.now_s() < self.away_until_s

    def answer(self, name: str) -> None:
        """A question to the broker: a crash point, and an error while it is away."""
        if self.fate.passing(f"broker.{name}") is not None:
            self.fate.ends()
        if self.is_away():
            raise KafkaConnectionError("simulated")

    def deliver(self, some: bool) -> None:
        """Acknowledge what is on its way, or a beginning of it."""
        if self.is_away():
            return
        count = self.fate.rng.randint(0, len(self._on_way)) if some else len(self._on_way)
        for promise in self._on_way[:count]:
            promise.is_done = True
            self.published.append(promise.record)
        del self._on_way[:count]

    @contextmanager
    def install(self) -> Iterator[None]:
        """The client's constructors make simulated ones."""
        with (
            patch.object(client, "knock", lambda _settings: None),
            patch.object(client, "new_admin", lambda _settings: Admin(self)),
            patch.object(client, "new_consumer", lambda _settings, group_id=None: Consumer(self)),
            patch.object(client, "new_producer", lambda _settings: Producer(self)),
        ):
            yield


class Admin:
    """Lists and creates topics; outputs are there at once."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self._topics = {topic: 0 for topic, _ in broker.inputs}
        for topic, partition in broker.inputs:
            self._topics[topic] = max(self._topics[topic], partition + 1)

    def list_topics(self) -> list[str]:
        return list(self._topics)

    def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        return [{"name": topic, "partitions": [None] * self._topics[topic]} for topic in topics]

    def create_topics(self, topics: dict[str, Any]) -> None:
        for topic in topics:
            self._topics[topic] = 1

    def wait_for_topics(self, topics: list[str]) -> None:
        return

    def close(self) -> None:
        return


class _Cluster:
    """What `client.topic_facts` looks at."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {partition for name, partition in self._broker.inputs if name == topic}

    def topic_id(self, _topic: str) -> uuid.UUID:
        return TOPIC_ID


class _Client:
    def __init__(self, broker: SimulatedBroker) -> None:
        self.cluster = _Cluster(broker)


class Consumer:
    """Fetches a part of what is there, of some partitions; knows the high-water mark of its last fetch of each."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self._client = _Client(broker)
        self._positions: dict[Any, int] = {}
        self._assigned: list[Any] = []
        self._highwater: dict[Any, int] = {}

    def assign(self, partitions: list[Any]) -> None:
        self._assigned = list(partitions)

    def seek(self, partition: Any, offset: int) -> None:
        self._positions[partition] = offset

    def poll(self, timeout_ms: float, max_records: int) -> dict[Any, list[Kept]]:
        broker, rng = self._broker, self._broker.fate.rng
        if broker.fate.passing("broker.poll") is not None:
            broker.fate.ends()
        broker.deliver(some=True)
        batches: dict[Any, list[Kept]] = {}
        if broker.is_away():
            broker.fate.sleep(timeout_ms / 1000)
            if rng.random() < 0.2:
                raise KafkaConnectionError("simulated")
            return batches
        for partition in self._assigned:
            if rng.random() < 0.3:
                continue  # not in this fetch
            lane = (partition.topic, partition.partition)
            position, end = self._positions[partition], broker.end_of(lane)
            there = [record for record in broker.inputs[lane] if position <= record.offset < end]
            some = there[: rng.randint(1, 12)]
            self._highwater[partition] = end
            if some:
                batches[partition] = some
                self._positions[partition] = some[-1].offset + 1
        if not batches:
            broker.fate.sleep(timeout_ms / 1000)
        return batches

    def highwater(self, partition: Any) -> int | None:
        return self._highwater.get(partition)

    def position(self, partition: Any, timeout_ms: float) -> int:
        return self._positions[partition]

    def beginning_offsets(self, partitions: list[Any], timeout_ms: float) -> dict[Any, int]:
        self._broker.answer("offsets")
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: list[Any], timeout_ms: float) -> dict[Any, int]:
        self._broker.answer("offsets")
        return {each: self._broker.end_of((each.topic, each.partition)) for each in partitions}

    def commit(self, offsets: dict[Any, Any], timeout_ms: float) -> None:
        self._broker.answer("commit")
        if not self._broker.coordinates:
            self._broker.waited_s.append(timeout_ms / 1000)
            self._broker.fate.sleep(timeout_ms / 1000)
            raise KafkaTimeoutError("simulated")
        taken = {(each.topic, each.partition): offset.offset for each, offset in offsets.items()}
        if self._broker.on_commit is not None:
            self._broker.on_commit(taken)
        self._broker.committed = taken

    def close(self, autocommit: bool = False, timeout_ms: float = 0) -> None:
        return


class Promise:
    """What `send` returns."""

    def __init__(self, record: Kept) -> None:
        self.record = record
        self.is_done = False
        self.exception = None

    def failed(self) -> bool:
        return False


class Producer:
    """Hands records to the broker, which takes them in order."""

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker

    def partitions_for(self, topic: str) -> set[int]:
        return {0}

    def send(
        self, topic: str, key: bytes | None, value: bytes, timestamp_ms: int | None, headers: Any = None
    ) -> Promise:
        fate = self._broker.fate
        moment = fate.passing("broker.send")
        promise = Promise(Kept(topic, 0, 0, timestamp_ms or 0, key, value, list(headers or ())))
        self._broker._on_way.append(promise)
        if moment is not None:
            fate.ends()
        return promise

    def flush(self, timeout: float) -> None:
        fate = self._broker.fate
        moment = fate.passing("broker.flush")
        self._broker.deliver(some=moment == "within")
        if moment is not None:
            fate.ends()
        if self._broker._on_way:
            fate.sleep(timeout)
            raise KafkaTimeoutError("simulated")

    def close(self, timeout: float) -> None:
        return
