"""Kafka edge: the live source, the sink, the log producer. In: topics. Out: records in one total order, and back.

`client` is the only file that imports the Kafka library; this package itself imports only the settings, so that a
command without Kafka does not load it.
"""

from __future__ import annotations

from stream_balance.edge.kafka.settings import KafkaSettings

__all__ = ["KafkaSettings"]
