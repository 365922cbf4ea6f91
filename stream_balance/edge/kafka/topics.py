"""Topics: what there is at the broker, and whether it will do. In: settings. Out: partition counts, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from stream_balance.edge.kafka import client
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import SettingsError, WorldError

LOOK_AGAIN_MAX = 4
LOOK_AGAIN_S = 0.25
Ensure = Callable[[Mapping[str, int]], Mapping[str, int]]


def look_up(
    settings: KafkaSettings,
    topics: Sequence[str],
    *,
    now_s: Callable[[], float],
    sleep: Callable[[float], None],
    missing: Ensure | None = None,
) -> dict[str, int]:
    """Partition counts of those of the topics that exist; `missing(counts)` may say which are to be created.

    Raises WorldError when no broker answers; that one of several is away does not matter.
    """
    admin = client.connect(lambda: client.new_admin(settings), settings, now_s=now_s, sleep=sleep)
    try:
        counts: dict[str, int] = client.connect(
            lambda: client.partition_counts(admin, list(topics)), settings, now_s=now_s, sleep=sleep
        )
        if missing is None:
            # A topic just created is not yet known to every broker.
            for _ in range(LOOK_AGAIN_MAX):
                if len(counts) == len(topics):
                    break
                sleep(LOOK_AGAIN_S)
                counts |= client.partition_counts(admin, list(topics))
        wanted = dict(missing(counts)) if missing is not None else {}
        if wanted:
            client.create_topics(admin, wanted, settings)
    except client.KafkaError as error:
        raise WorldError(f"Kafka at {settings.bootstrap} does not list its topics: {client.explain(error)}.") from error
    finally:
        admin.close()
    return counts | wanted


def names(topics: Sequence[str]) -> str:
    """The topics as a sentence names them."""
    return " and ".join(repr(topic) for topic in topics)


def absent(topics: Sequence[str], settings: KafkaSettings) -> str:
    """That they are not there, as the beginning of a message."""
    subject = "topic {} does" if len(topics) == 1 else "topics {} do"
    return f"{subject.format(names(topics))} not exist at {settings.bootstrap}"


def check_inputs(counts: Mapping[str, int], settings: KafkaSettings) -> None:
    """Both topics must be there, with equal numbers of partitions. Raises SettingsError naming what to do."""
    missing = [topic for topic in settings.topics if topic not in counts]
    if missing:
        raise SettingsError(
            f"{absent(missing, settings)}. Create what is missing with 'stream-balance produce "
            f"LOG --create-topics --partitions N', or 'kafka-topics.sh --bootstrap-server {settings.bootstrap} "
            f"--create --topic {missing[0]} --partitions N', or set kafka.search_topic and kafka.purchase_topic."
        )
    search, purchase = settings.topics
    if counts[search] != counts[purchase]:
        fewer = min(search, purchase, key=counts.__getitem__)
        raise SettingsError(
            f"topic {purchase!r} has {counts[purchase]} partitions, {search!r} has {counts[search]}; "
            "the join needs equal numbers. Give the smaller as many: kafka-topics.sh --bootstrap-server "
            f"{settings.bootstrap} --alter --topic {fewer} --partitions {max(counts[search], counts[purchase])}."
        )


def check_kept(key: LaneKey, wanted: int, earliest: int, settings: KafkaSettings) -> int:
    """How many records before the oldest kept one are gone. Raises WorldError unless such a loss is accepted."""
    if wanted >= earliest:
        return 0
    if not settings.accept_data_loss:
        raise WorldError(
            f"{key[0]}[{key[1]}]: the next record is at offset {wanted}, but the oldest one kept is at {earliest}: "
            f"{earliest - wanted} are gone (retention?). Start with --accept-data-loss to go on without them."
        )
    return earliest - wanted


def check_not_beyond(key: LaneKey, wanted: int, end: int, settings: KafkaSettings) -> None:
    """A topic cannot end before what we have read of it. Raises WorldError unless a loss is accepted."""
    if wanted > end and not settings.accept_data_loss:
        raise WorldError(
            f"{key[0]}[{key[1]}]: the next record is at offset {wanted}, but it ends at {end}: was the topic created "
            "anew? Start with --accept-data-loss to begin it afresh."
        )
