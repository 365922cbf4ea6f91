"""Commit: tells Kafka how far we are, and asks what was told. In: positions. Out: committed offsets, for lag graphs and
for `kafka.start = "committed"`. The topic's id goes along: offsets mean nothing in a topic created anew.

A client of its own: with a group the reading one would wait for the group's coordinator at each poll.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import WorldError

ASK_S = 10.0
FIRST_COMMIT_S = 20.0  # the first commit of all makes the broker create a topic
COMMIT_S = 5.0


class Committer:
    """The offsets of one consumer group. Connects when first used. Not thread-safe."""

    def __init__(self, settings: KafkaSettings, group_id: str | None = None) -> None:
        self._settings = settings
        self._group_id = group_id or settings.group_id
        self._consumer: Any = None
        self._commit_s = FIRST_COMMIT_S

    def _open(self) -> Any:
        if self._consumer is None:
            client.knock(self._settings)
            self._consumer = client.new_consumer(self._settings, group_id=self._group_id)
        return self._consumer

    def committed(self, lanes: Iterable[LaneKey]) -> tuple[dict[LaneKey, int], dict[str, str]]:
        """Offset by partition, and id by topic, of those that were committed. Raises KafkaError, OSError."""
        consumer = self._open()
        positions: dict[LaneKey, int] = {}
        ids: dict[str, str] = {}
        for lane in lanes:
            partition = client.TopicPartition(*lane)
            found = consumer.committed(partition, metadata=True, timeout_ms=int(ASK_S * 1000))
            if found is not None and found.offset >= 0:
                positions[lane] = found.offset
                if found.metadata:
                    ids[lane[0]] = found.metadata
        return positions, ids

    def commit(self, positions: Mapping[LaneKey, int], ids: Mapping[str, str], within_s: float | None = None) -> bool:
        """Everything before `positions` is done. False when it could not be told (in time); raises WorldError when it
        never will be (not authorised).
        """
        most_s = self._commit_s if within_s is None else min(self._commit_s, within_s)
        if most_s <= 0:
            return False
        offsets = {
            client.TopicPartition(*lane): client.OffsetAndMetadata(offset, ids.get(lane[0], ""), -1)
            for lane, offset in positions.items()
        }
        try:
            self._open().commit(offsets, timeout_ms=max(1, int(most_s * 1000)))
        except client.FATAL as error:
            raise WorldError(f"group {self._group_id!r} cannot commit its offsets: {client.explain(error)}.") from error
        except (client.KafkaError, OSError):
            return False
        self._commit_s = COMMIT_S
        return True

    def close(self) -> None:
        """Leave; commits nothing."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=2000)
            self._consumer = None
