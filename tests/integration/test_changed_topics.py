"""Topics that changed behind our back, on a real broker: records deleted, topics created anew, partitions added."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from stream_balance.commands.produce import outgoing
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.edge.kafka.produce import create_log_topics, produce
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.logfile import read_events
from stream_balance.errors import SettingsError, WorldError
from tests.integration.plain import PATIENCE_S, START_MS, PlainCodec, a_log, line, read
from tests.integration.test_run import call, flags, report_of

pytestmark = [pytest.mark.broker, pytest.mark.real_kafka]


def accepting(settings: KafkaSettings) -> KafkaSettings:
    return settings.model_copy(update={"accept_data_loss": True})


def anew(settings: KafkaSettings, topic: str, partitions: int = 1) -> None:
    """Delete a topic and create it again."""
    admin = client.new_admin(settings)
    admin.delete_topics([topic])
    end = time.monotonic() + PATIENCE_S
    while topic in admin.list_topics() and time.monotonic() < end:
        pass
    client.create_topics(admin, {topic: partitions}, settings)
    admin.close()


def read_and_commit(settings: KafkaSettings) -> tuple[dict[Any, int], dict[str, str]]:
    source = KafkaSource(settings, PlainCodec())
    source.open()
    read(source)
    positions, ids = source.positions(), source.topic_ids()
    assert source.commit(positions)
    assert source._committer.committed(positions) == (positions, ids)
    source.close()
    return positions, ids


def test_a_topic_created_anew_is_refused_although_it_is_long_enough(topics: Any) -> None:
    settings = topics(partitions=1)
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(5)])
    positions, ids = read_and_commit(settings)
    anew(settings, settings.search_topic)
    produce(settings, [line("s", f"f{n}", "u", START_MS + n) for n in range(9)])
    with pytest.raises(WorldError, match=r"deleted and created anew.*--accept-data-loss"):
        KafkaSource(settings, PlainCodec()).open(positions, ids)
    notes: list[str] = []
    source = KafkaSource(accepting(settings), PlainCodec(), on_note=notes.append)
    source.open(positions, ids)
    records = read(source)
    source.close()
    assert [r.event.event_id for r in records if r.event] == [f"f{n}" for n in range(9)]
    assert notes == [f"topic {settings.search_topic!r} was created anew: it is read from its beginning"]


@pytest.mark.parametrize("accept", [False, True])
def test_a_topic_created_anew_while_it_is_read_is_noticed(topics: Any, accept: bool) -> None:
    settings = topics(partitions=1, topics_every_s=0.3, probe_every_s=0.2, accept_data_loss=accept)
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(5)])
    source = KafkaSource(settings, PlainCodec())
    source.open()
    assert len(read(source, until=5)) == 5
    anew(settings, settings.search_topic)
    produce(settings, [line("s", f"f{n}", "u", START_MS + n) for n in range(9)])
    if accept:
        ids = [r.event.event_id for r in read(source, until=9) if r.event]
        assert set(ids) == {f"f{n}" for n in range(9)}
    else:
        with pytest.raises(WorldError, match=r"created anew.*--accept-data-loss"):
            read(source, until=9)
    source.close()


def test_partitions_added_to_both_topics_are_told_and_read_after_a_restart(topics: Any) -> None:
    settings = topics(partitions=2, topics_every_s=0.3, probe_every_s=0.2)
    log = a_log(200)
    produce(settings, log[:100])
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records = read(source)
    admin = client.new_admin(settings)
    admin.create_partitions({settings.search_topic: 4})
    with pytest.raises(SettingsError, match="equal numbers"):
        KafkaSource(settings, PlainCodec()).open(source.positions(), source.topic_ids())
    admin.create_partitions({settings.purchase_topic: 4})
    admin.close()
    produce(settings, log[100:])
    end = time.monotonic() + PATIENCE_S
    while source.figures()["partitions_unread"] < 4 and time.monotonic() < end:
        records += source.poll(timeout_s=0.2)
    assert "has 2 partitions more than we read: restart" in (source.trouble() or "")
    positions, ids = source.positions(), source.topic_ids()
    source.close()
    notes: list[str] = []
    source = KafkaSource(settings, PlainCodec(), on_note=notes.append)
    source.open(positions, ids)
    records += read(source)
    source.close()
    assert sorted(r.event.event_id for r in records if r.event) == sorted(f"e{n}" for n in range(200))
    assert len(notes) == 4


def test_retention_that_overtakes_us_while_we_read_is_refused_or_counted(topics: Any) -> None:
    settings = topics(partitions=1, buffer_records_max=4, fetch_bytes_max=64)
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(100)])
    sources = [KafkaSource(each, PlainCodec()) for each in (settings, accepting(settings))]
    first = []
    for source in sources:
        source.open()
        first.append(read(source, until=2))
    admin = client.new_admin(settings)
    admin.delete_records({client.TopicPartition(settings.search_topic, 0): 90})
    admin.close()
    with pytest.raises(WorldError, match=r"oldest one kept is at 90: \d+ are gone.*--accept-data-loss"):
        read(sources[0])
    rest = read(sources[1])
    assert [r.offset for r in rest][-10:] == list(range(90, 100))
    assert len(first[1]) + len(rest) + sources[1].lost == 100
    for source in sources:
        source.close()


def test_a_checkpoint_of_a_topic_created_anew_is_refused_unless_the_loss_is_accepted(
    topics: Any, shop_log: Path, tmp_path: Path
) -> None:
    settings = topics(partitions=0)
    create_log_topics(settings, 1)
    first = list(map(outgoing, read_events([shop_log], Codec(WireSettings()))))[:300]
    produce(settings, first)
    service = (
        "run",
        *flags(settings),
        "--port",
        "0",
        "--until-caught-up",
        "--set",
        f"checkpoint.dir={tmp_path / 'state'}",
    )
    before = report_of(*service)
    anew(settings, settings.search_topic)
    produce(settings, first)
    refused = call(*service)
    assert refused.returncode == 1
    assert "was deleted and created anew" in refused.stderr
    after = report_of(*service, "--accept-data-loss")
    assert after["events"]["search"] == 2 * before["events"]["search"]
    assert after["examples"]["duplicates"] > 0
