"""Client: the only file that imports the Kafka library. In: settings. Out: its consumer, producer and admin, set up so
that nothing is lost by default, and its errors in our words.

Facts it stands on (kafka-python 3.0.12, read in its source and seen): defaults commit on their own and start at the
latest offset; the client retries for ever in an outage without raising; sending has no bound on what is buffered.
"""

from __future__ import annotations

import random
import socket
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from stream_balance.edge.backoff import Backoff
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.errors import SettingsError, WorldError

with warnings.catch_warnings():
    # The library reads its schemas in a way that Python 3.11 calls deprecated; nothing of ours.
    warnings.filterwarnings("ignore", message="(read|open)_text is deprecated", category=DeprecationWarning)
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import (
        AuthorizationError,
        InvalidConfigurationError,
        KafkaConfigurationError,
        KafkaError,
        KafkaTimeoutError,
        LogTruncationError,
        MessageSizeTooLargeError,
        OffsetOutOfRangeError,
        SaslAuthenticationFailedError,
        TopicAlreadyExistsError,
        UnknownTopicOrPartitionError,
        UnsupportedSaslMechanismError,
        UnsupportedVersionError,
    )
    from kafka.partitioner.default import murmur2
    from kafka.structs import OffsetAndMetadata

__all__ = [
    "FATAL",
    "OFFSET_GONE",
    "KafkaError",
    "KafkaProducer",
    "KafkaTimeoutError",
    "MessageSizeTooLargeError",
    "OffsetAndMetadata",
    "TopicFacts",
    "TopicPartition",
    "connect",
    "create_topics",
    "explain",
    "give_up",
    "knock",
    "murmur2",
    "new_admin",
    "new_consumer",
    "new_producer",
    "partition_counts",
    "topic_facts",
]

# Waiting does not mend these.
FATAL = (
    AuthorizationError,
    KafkaConfigurationError,
    SaslAuthenticationFailedError,
    UnsupportedSaslMechanismError,
    UnsupportedVersionError,
)
OFFSET_GONE = (OffsetOutOfRangeError, LogTruncationError)
CONNECT_TRY_S = 3.0  # one attempt to reach the broker
REQUEST_S = 30.0
GIVE_UP_S = 1.0  # for the thread of a producer that is given up
BLOCK_S = 2.0  # how long handing over one record may take, before the caller is told
# A record of any time is taken, and kept: a replayed log is older than the default retention.
TOPIC_CONFIG = {"message.timestamp.type": "CreateTime", "retention.ms": "-1"}
TOPIC_CONFIG_TIMES = {
    "message.timestamp.before.max.ms": str(2**63 - 1),
    "message.timestamp.after.max.ms": str(2**63 - 1),
}


def _common(settings: KafkaSettings) -> dict[str, Any]:
    config: dict[str, Any] = {
        "bootstrap_servers": [address.strip() for address in settings.bootstrap.split(",")],
        "client_id": "stream-balance",
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": int(REQUEST_S * 1000),
        "reconnect_backoff_ms": int(settings.backoff_min_s * 1000),
        "reconnect_backoff_max_ms": int(settings.backoff_max_s * 1000),
        "bootstrap_timeout_ms": int(CONNECT_TRY_S * 1000),
        "metadata_max_age_ms": int(settings.topics_every_s * 1000),
    }
    if settings.ssl_ca_file is not None:
        if not settings.ssl_ca_file.is_file():
            raise SettingsError(f"kafka.ssl_ca_file: {str(settings.ssl_ca_file)!r} is not a file.")
        config["ssl_cafile"] = str(settings.ssl_ca_file)
    if settings.sasl_password_file is not None:
        try:
            password = settings.sasl_password_file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"kafka.sasl_password_file cannot be read: {error}.") from error
        config |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": password,
        }
    return config


def new_consumer(settings: KafkaSettings, *, group_id: str | None = None) -> Any:
    """A consumer that commits nothing and jumps nowhere by itself. Connects at once; raises KafkaError."""
    return KafkaConsumer(
        **_common(settings),
        group_id=group_id,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        allow_auto_create_topics=False,
        max_partition_fetch_bytes=settings.fetch_bytes_max,
        enable_incremental_fetch_sessions=False,  # after a change of leader a partition can be left out for good (seen)
        fetch_max_wait_ms=max(1, int(settings.fetch_wait_s * 1000)),
        metrics_enabled=False,
    )


def new_producer(settings: KafkaSettings) -> Any:
    """An idempotent producer: every record acknowledged by all replicas in sync, in order. Raises KafkaError."""
    return KafkaProducer(
        **_common(settings),
        enable_idempotence=True,
        acks="all",
        linger_ms=5,
        batch_size=131_072,
        max_request_size=settings.request_bytes_max,
        delivery_timeout_ms=int((settings.outage_max_s + REQUEST_S) * 1000),
        max_block_ms=int(BLOCK_S * 1000),
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )


def give_up(producer: Any) -> None:
    """End a producer with what it could not deliver: its own close() does not close then, it raises, once more when it
    is garbage.
    """
    producer._sender.force_close()
    producer._sender.join(GIVE_UP_S)  # it closes its sockets
    producer._closed = True


def new_admin(settings: KafkaSettings) -> Any:
    """A client that asks about topics and creates them. Raises KafkaError."""
    return KafkaAdminClient(**_common(settings))


def connect(
    make: Callable[[], Any], settings: KafkaSettings, *, now_s: Callable[[], float], sleep: Callable[[float], None]
) -> Any:
    """`make()`, tried again with growing waits while no broker answers. Raises WorldError naming the address."""
    backoff = Backoff(min_s=settings.backoff_min_s, max_s=settings.backoff_max_s, rng=random.Random())
    end_s = now_s() + settings.connect_max_s
    while True:
        try:
            knock(settings)
            return make()
        except FATAL as error:
            raise WorldError(f"Kafka at {settings.bootstrap} refused us: {explain(error)}.") from error
        except (KafkaError, OSError) as error:
            wait_s = backoff.next_s()
            if now_s() + wait_s >= end_s:
                raise WorldError(
                    f"Kafka at {settings.bootstrap} did not answer within {settings.connect_max_s:g} s "
                    f"({explain(error)}). Is the broker up, and kafka.bootstrap right?"
                ) from error
            sleep(wait_s)


def knock(settings: KafkaSettings) -> None:
    """Return if one of the bootstrap addresses takes connections, else raise OSError.

    Comes before each new client: one that cannot connect leaves its thread running, which goes on trying.
    """
    last: OSError = OSError("no address")
    for address in settings.bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TRY_S).close()
            return
        except OSError as error:
            last = error
    raise last


def explain(error: BaseException) -> str:
    """An error's kind and words on one line."""
    words = " ".join(str(error).split()).rstrip(".")
    name = type(error).__name__
    return words if words.startswith(name) else f"{name}: {words}" if words else name


def partition_counts(admin: Any, topics: list[str]) -> dict[str, int]:
    """Number of partitions of those of the topics that exist."""
    known = set(admin.list_topics())
    there = [topic for topic in topics if topic in known]
    if not there:
        return {}
    return {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(there)}


class TopicFacts(NamedTuple):
    """What a broker says of a topic. The id is another one when the topic was created anew; None = it has none."""

    id: str | None
    partitions: int


def topic_facts(consumer: Any, topics: Iterable[str]) -> dict[str, TopicFacts]:
    """What the client's latest metadata say of topics it reads; unknown ones are left out. Asks nobody, never waits."""
    cluster = consumer._client.cluster  # the public way waits for the broker
    found = {}
    for topic in topics:
        partitions = cluster.partitions_for_topic(topic)
        if partitions:
            topic_id = cluster.topic_id(topic)
            found[topic] = TopicFacts(str(topic_id) if topic_id is not None and topic_id.int else None, len(partitions))
    return found


def create_topics(admin: Any, partitions: Mapping[str, int], settings: KafkaSettings) -> None:
    """Create topics that take records of any time. One that appeared meanwhile is left as it is. Raises WorldError."""
    for topic, count in partitions.items():
        wanted = {"num_partitions": count, "replication_factor": settings.replication_factor}
        try:
            try:
                admin.create_topics({topic: wanted | {"configs": TOPIC_CONFIG | TOPIC_CONFIG_TIMES}})
            except InvalidConfigurationError:
                # Brokers before 3.6 do not know these two.
                admin.create_topics({topic: wanted | {"configs": TOPIC_CONFIG}})
        except TopicAlreadyExistsError:
            continue
        except KafkaError as error:
            raise WorldError(f"topic {topic!r} cannot be created: {explain(error)}.") from error
    try:
        admin.wait_for_topics(list(partitions))
    except (KafkaTimeoutError, UnknownTopicOrPartitionError) as error:
        raise WorldError(
            f"topics {', '.join(partitions)} were created but have no leader: {explain(error)}."
        ) from error
