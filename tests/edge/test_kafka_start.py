"""Start: which offsets are refused, which are followed, and what is said of it."""

from __future__ import annotations

import pytest

from stream_balance.edge.kafka.client import TopicFacts
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.edge.kafka.start import TopicWatch, plan
from stream_balance.edge.merge import LaneKey
from stream_balance.errors import SettingsError, WorldError

REFUSE = KafkaSettings()
ACCEPT = KafkaSettings(accept_data_loss=True)
SEARCH, PURCHASE = REFUSE.topics
IDS = {SEARCH: "id-s", PURCHASE: "id-p"}


def lanes(partitions: int) -> list[LaneKey]:
    return [(topic, partition) for topic in (SEARCH, PURCHASE) for partition in range(partitions)]


def at(offset: int, partitions: int = 2) -> dict[LaneKey, int]:
    return dict.fromkeys(lanes(partitions), offset)


def test_without_positions_it_begins_at_the_oldest_records_kept() -> None:
    start = plan(lanes(2), at(40), {}, {}, IDS, REFUSE)
    assert (start.offsets, start.lost, start.notes) == (at(40), 0, [])


def test_positions_are_followed() -> None:
    start = plan(lanes(2), at(0), at(7), IDS, IDS, REFUSE)
    assert (start.offsets, start.lost, start.notes) == (at(7), 0, [])


def test_records_that_retention_deleted_are_refused_or_left_out_and_counted() -> None:
    with pytest.raises(WorldError, match=r"offset 7, but the oldest one kept is at 10: 3 are gone.*--accept-data-loss"):
        plan(lanes(2), at(10), at(7), IDS, IDS, REFUSE)
    start = plan(lanes(2), at(10), at(7), IDS, IDS, ACCEPT)
    assert (start.offsets, start.lost) == (at(10), 12)
    assert start.notes == ["12 records that retention deleted are left out"]


def test_a_topic_created_anew_is_refused_or_read_from_its_beginning() -> None:
    now = IDS | {SEARCH: "id-other"}
    with pytest.raises(
        WorldError, match=r"'search-events' was deleted and created anew.*id-s.*id-other.*--accept-data"
    ):
        plan(lanes(2), at(0), at(7), IDS, now, REFUSE)
    start = plan(lanes(2), at(0), at(7), IDS, now, ACCEPT)
    assert start.offsets == {lane: 0 if lane[0] == SEARCH else 7 for lane in lanes(2)}
    assert start.notes == ["topic 'search-events' was created anew: it is read from its beginning"]


def test_a_broker_without_topic_ids_is_believed() -> None:
    assert plan(lanes(1), at(0, 1), at(7, 1), {}, IDS, REFUSE).offsets == at(7, 1)
    assert plan(lanes(1), at(0, 1), at(7, 1), IDS, {}, REFUSE).offsets == at(7, 1)


def test_partitions_that_were_added_are_read_from_their_beginning() -> None:
    start = plan(lanes(3), at(0, 3), at(7), IDS, IDS, REFUSE)
    assert start.offsets == at(7) | {(SEARCH, 2): 0, (PURCHASE, 2): 0}
    assert "search-events[2] is new: it is read from its beginning" in start.notes


def test_a_new_partition_that_has_lost_its_beginning_is_refused() -> None:
    with pytest.raises(WorldError, match=r"search-events\[2\]: the next record is at offset 0, but the oldest .* at 5"):
        plan(lanes(3), at(0) | {(SEARCH, 2): 5, (PURCHASE, 2): 5}, at(7), IDS, IDS, REFUSE)


def test_positions_of_partitions_or_topics_that_are_not_there_are_refused_or_forgotten() -> None:
    with pytest.raises(WorldError, match=r"search-events\[1\] has a saved position, but the topic has 1 partitions"):
        plan(lanes(1), at(0, 1), at(7), IDS, IDS, REFUSE)
    with pytest.raises(SettingsError, match=r"topic 'other', the settings say 'search-events' and 'purchase-events'"):
        plan(lanes(1), at(0, 1), {("other", 0): 7}, IDS, IDS, REFUSE)
    start = plan(lanes(1), at(0, 1), at(7), IDS, IDS, ACCEPT)
    assert start.offsets == at(7, 1)
    assert "search-events[1] is no longer there: its position is forgotten" in start.notes


def test_the_watch_tells_of_growth_and_loss_and_refuses_a_new_topic() -> None:
    facts = {SEARCH: TopicFacts("a", 2), PURCHASE: TopicFacts("b", 2)}
    watch = TopicWatch(REFUSE, facts)
    assert (watch.look(facts), watch.trouble, watch.unread) == ([], None, 0)
    watch.look({SEARCH: TopicFacts("a", 5)})
    assert watch.unread == 3
    assert watch.trouble == (
        "topic 'purchase-events' is gone; topic 'search-events' has 3 partitions more than we read: restart"
    )
    with pytest.raises(WorldError, match="created anew"):
        watch.look({SEARCH: TopicFacts("z", 2)})
    accepting = TopicWatch(ACCEPT, facts)
    assert accepting.look({SEARCH: TopicFacts("z", 2), PURCHASE: facts[PURCHASE]}) == [SEARCH]
    assert accepting.look({SEARCH: TopicFacts("z", 2), PURCHASE: facts[PURCHASE]}) == []
    assert accepting.ids == {SEARCH: "z", PURCHASE: "b"}
