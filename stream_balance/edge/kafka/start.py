"""Start: where reading begins, and whether the topics are still those in which the positions were counted. Pure.

In: positions with the topics' ids (of a checkpoint, or committed), what the broker has now. Out: an offset per
partition, or a refusal. A topic deleted and created anew has another id, and the old offsets mean other records in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from stream_balance.edge.kafka import topics
from stream_balance.edge.kafka.client import TopicFacts
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import SettingsError, WorldError


@dataclass(slots=True)
class Start:
    """Where to begin. `lost` counts records that are gone, where they can be counted; `notes` say what was followed."""

    offsets: dict[LaneKey, int]
    lost: int = 0
    anew: set[str] = field(default_factory=set)  # topics that are others of the same name
    notes: list[str] = field(default_factory=list)


def plan(
    lanes: Iterable[LaneKey],
    earliest: Mapping[LaneKey, int],
    positions: Mapping[LaneKey, int],
    ids_then: Mapping[str, str],
    ids_now: Mapping[str, str],
    settings: KafkaSettings,
) -> Start:
    """An offset for each lane. No positions at all = the oldest records kept.

    Partitions that have come since are read from their beginning. Raises SettingsError for positions of other topics,
    WorldError for records that are gone, unless such a loss is accepted.
    """
    lanes = list(lanes)
    start = Start({})
    known = {lane: offset for lane, offset in positions.items() if _is_there(lane, lanes, settings, start)}
    anew = start.anew
    anew |= {topic for topic in settings.topics if is_anew(topic, ids_then.get(topic), ids_now.get(topic), settings)}
    start.notes += [f"topic {topic!r} was created anew: it is read from its beginning" for topic in sorted(anew)]
    for lane in lanes:
        if lane[0] in anew or not positions:
            start.offsets[lane] = earliest[lane]
            continue
        if lane not in known:
            start.notes.append(f"{lane[0]}[{lane[1]}] is new: it is read from its beginning")
        wanted = known.get(lane, 0)
        start.lost += topics.check_kept(lane, wanted, earliest[lane], settings)
        start.offsets[lane] = max(wanted, earliest[lane])
    if start.lost:
        start.notes.append(f"{start.lost} records that retention deleted are left out")
    return start


def is_anew(topic: str, then: str | None, now: str | None, settings: KafkaSettings) -> bool:
    """Whether a topic is another one of the same name. Raises WorldError if so, unless a loss is accepted."""
    if then is None or now is None or then == now:
        return False
    if not settings.accept_data_loss:
        raise WorldError(
            f"topic {topic!r} was deleted and created anew (its id was {then}, now it is {now}): our offsets mean "
            "other records in it. Start with --accept-data-loss to read it from its beginning."
        )
    return True


def _is_there(lane: LaneKey, lanes: list[LaneKey], settings: KafkaSettings, start: Start) -> bool:
    """Whether a position is of a partition that is there. Raises unless a loss is accepted."""
    if lane in lanes:
        return True
    topic, partition = lane
    if settings.accept_data_loss:
        start.notes.append(f"{topic}[{partition}] is no longer there: its position is forgotten")
        return False
    if topic not in settings.topics:
        raise SettingsError(
            f"the saved positions are of topic {topic!r}, the settings say {topics.names(settings.topics)}. Set "
            "kafka.search_topic and kafka.purchase_topic as they were, or start with --accept-data-loss."
        )
    count = sum(other == topic for other, _ in lanes)
    raise WorldError(
        f"{topic}[{partition}] has a saved position, but the topic has {count} partitions: was it created anew? Start "
        "with --accept-data-loss to go on without it."
    )


class TopicWatch:
    """Looks at the topics while they are read: created anew, gone, grown. `unread` counts partitions not read yet."""

    def __init__(self, settings: KafkaSettings, facts: Mapping[str, TopicFacts]) -> None:
        self._settings = settings
        self._known = dict(facts)
        self.unread = 0
        self.trouble: str | None = None

    @property
    def ids(self) -> dict[str, str]:
        """Id by topic, where the broker has ids."""
        return {topic: facts.id for topic, facts in self._known.items() if facts.id is not None}

    def look(self, facts: Mapping[str, TopicFacts]) -> list[str]:
        """The topics created anew since the last look. Raises WorldError for such a one unless a loss is accepted."""
        gone = [topic for topic in self._known if topic not in facts]
        grown = {
            topic: facts[topic].partitions - known.partitions
            for topic, known in self._known.items()
            if topic in facts and facts[topic].partitions > known.partitions
        }
        anew = [
            topic
            for topic, known in self._known.items()
            if topic in facts and is_anew(topic, known.id, facts[topic].id, self._settings)
        ]
        for topic in anew:
            self._known[topic] = TopicFacts(facts[topic].id, self._known[topic].partitions)
        self.unread = sum(grown.values())
        told = [f"topic {topics.names(gone)} is gone"] if gone else []
        told += [f"topic {topic!r} has {more} partitions more than we read: restart" for topic, more in grown.items()]
        self.trouble = "; ".join(told) or None
        return anew
