"""Dead letters on a broker: kept before the offsets pass them, listed, sent again as they were, and not in circles."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import ConfigResource
from typer.testing import CliRunner, Result

from stream_balance.cli import app
from stream_balance.commands.produce import outgoing
from stream_balance.edge.bad_share import BadShare, BadShareSettings
from stream_balance.edge.board import Board
from stream_balance.edge.checkpoint import CheckpointSettings
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.edge.kafka.produce import create_log_topics, produce
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.log import silent_log
from stream_balance.edge.logfile import read_events
from stream_balance.edge.merge import Polled
from stream_balance.errors import WorldError
from stream_balance.live import KafkaDeadLetters, LiveLoop
from stream_balance.saving import saving
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import load
from tests.integration.plain import START_MS, PlainCodec, a_log, consume_all, line, read
from tests.integration.test_run import flags

pytestmark = [pytest.mark.broker, pytest.mark.real_kafka]


def prepare(topics: Callable[..., KafkaSettings], log: Path) -> KafkaSettings:
    kafka = topics(partitions=0)
    create_log_topics(kafka, 2)
    produce(kafka, map(outgoing, read_events([log], Codec(WireSettings()))))
    return kafka


def run(kafka: KafkaSettings, **wire: Any) -> Session:
    """The service without its predictions, from where offsets were committed to where the topics end."""
    settings = load().model_copy(
        update={"kafka": kafka.model_copy(update={"start": "committed"}), "wire": WireSettings(**wire)}
    )
    source, sink = KafkaSource(settings.kafka, Codec(settings.wire)), KafkaSink(settings.kafka)
    session = Session(make_pipeline(settings), settings, board=Board(), dead_letters=KafkaDeadLetters(sink))
    loop = LiveLoop(source, sink, session, threading.Event())
    loop.run(until_caught_up=True)
    loop.close()
    return session


def dlq(kafka: KafkaSettings, *arguments: str) -> Result:
    result = CliRunner().invoke(app, ["dlq", *arguments, *flags(kafka)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result


def letters(kafka: KafkaSettings, *arguments: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in dlq(kafka, "list", "--json", *arguments).stdout.splitlines()]


def test_letters_are_listed_and_sent_again_once_when_they_can_be_read(
    topics: Callable[..., KafkaSettings], shop_log: Path
) -> None:
    kafka = prepare(topics, shop_log)
    first = run(kafka, items_max=18).pipeline
    wide = first.bad["too_many_items"]
    assert wide > 10
    listed = letters(kafka)
    assert len(listed) == sum(first.bad.values())
    assert f"{len(listed):,} dead letters" in dlq(kafka, "list", "--limit", "3").stdout
    assert len(letters(kafka, "--reason", "too_many_items")) == wide

    would = dlq(kafka, "replay", "--reason", "too_many_items", "--dry-run").stdout
    assert f"{wide} dead letters would be sent again" in would
    assert len(letters(kafka)) == len(listed)
    some = dlq(kafka, "replay", "--reason", "too_many_items", "--limit", "4").stdout
    assert "4 dead letters sent again" in some
    assert "4 more went through a replay before; --again shows them" in dlq(kafka, "list").stdout
    rest = dlq(kafka, "replay").output
    assert f"{wide - 4} dead letters sent again" in rest
    assert "still cannot be read" in rest
    assert "offered again with --again" in rest
    assert "0 dead letters sent again" in dlq(kafka, "replay").stdout
    assert letters(kafka) == []
    assert f"{len(listed):,} more went through a replay before" in dlq(kafka, "list").stdout
    assert len(letters(kafka, "--again")) == len(listed)

    second = run(kafka).pipeline
    assert second.events == {"search": wide, "purchase": 0}
    assert second.bad == {}


def test_a_letter_goes_out_again_with_its_own_bytes_key_headers_and_time(topics: Callable[..., KafkaSettings]) -> None:
    kafka = topics(partitions=1)
    wide = json.dumps(
        {"event_id": "s", "ts": START_MS, "user_id": "u", "items": [{"item_id": f"i{n}"} for n in range(9)]}
    ).encode()
    producer = client.new_producer(kafka)
    producer.send(kafka.search_topic, wide, key=b"k", headers=[("trace", b"7")], timestamp_ms=START_MS)
    producer.flush()
    producer.close()
    for attempt in range(1, 5):
        assert run(kafka, items_max=8).pipeline.bad == ({"too_many_items": 1} if attempt < 5 else {})
        told = dlq(kafka, "replay").output
        assert ("1 dead letters sent again" in told) == (attempt < 4), told
        if attempt == 4:
            assert "was sent again too often" in told
    records = consume_all(kafka, kafka.search_topic, 4)
    assert {(each.value, each.key, each.timestamp) for each in records} == {(wide, b"k", START_MS)}
    attempts = [each.headers for each in records]
    assert attempts == [[("trace", b"7")], *([("trace", b"7"), ("dead_letter.attempt", n)] for n in (b"1", b"2", b"3"))]


def test_letters_of_a_file_go_where_they_belong(topics: Callable[..., KafkaSettings], tmp_path: Path) -> None:
    kafka = topics(partitions=1)
    file = tmp_path / "dead"
    purchase = '{"event_id":"p","ts":1772357400000,"user_id":"u","item_id":"i"}'
    rows = [{"path": "a", "line": 1, "reason": "x", "message": "", "text": text} for text in (purchase, "{")]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    told = dlq(kafka, "replay", str(file)).output
    assert "1 dead letters sent again" in told
    assert "1 left: still cannot be read" in told
    (record,) = consume_all(kafka, kafka.purchase_topic, 1)
    assert (record.value, record.key) == (purchase.encode(), b"u")


def test_a_broken_topic_ends_the_service_and_its_offsets_stay_before_what_was_not_kept(
    topics: Callable[..., KafkaSettings],
) -> None:
    kafka = topics(partitions=1)
    produce(kafka, [line("?", f"e{n}", "u", START_MS + n) for n in range(100)])
    settings = load().model_copy(update={"kafka": kafka, "bad": BadShareSettings(share_max=0.5, window_records=40)})
    source, sink = KafkaSource(kafka, PlainCodec()), KafkaSink(kafka)
    session = Session(
        make_pipeline(settings), settings, board=Board(), dead_letters=KafkaDeadLetters(sink),
        bad_share=BadShare(settings.bad),
    )  # fmt: skip
    loop = LiveLoop(source, sink, session, threading.Event())
    with pytest.raises(WorldError, match=r"21 of the latest 40 records could not be read \(plain 21\), at most 20"):
        loop.run(until_caught_up=True)
    loop.close()
    assert len(consume_all(kafka, kafka.dead_letter_topic(kafka.purchase_topic), 21)) == 21


def test_a_broken_topic_is_not_eaten_restart_by_restart_and_its_letters_count_once(
    topics: Callable[..., KafkaSettings], tmp_path: Path
) -> None:
    kafka = topics(partitions=1)
    broken = [line("?" if n % 3 else "p", f"e{n}", "u", START_MS + n) for n in range(300)]
    produce(kafka, broken)
    rooms = {
        "kafka": kafka, "bad": BadShareSettings(share_max=0.5, window_records=40),
        "checkpoint": CheckpointSettings(interval_events=4, interval_s=0.001, writer="inline"),
    }  # fmt: skip
    settings = load().model_copy(update=rooms)
    met = []
    for _ in range(3):
        with saving(settings, tmp_path / "state", "kafka", silent_log().warning) as saved:
            assert saved is not None
            source, sink = KafkaSource(kafka, PlainCodec()), KafkaSink(kafka)
            session = Session(
                saved.pipeline or make_pipeline(settings), settings, board=Board(),
                dead_letters=KafkaDeadLetters(sink), bad_share=BadShare(settings.bad), journal=saved.journal,
            )  # fmt: skip
            loop = LiveLoop(source, sink, session, threading.Event(), saving=saved)
            with pytest.raises(WorldError, match="21 of the latest 40 records could not be read"):
                loop.run(until_caught_up=True, batch_max=6)
            loop.close()
            session.fits.close()
            met.append((session.pipeline.bad["plain"], source.positions()))
    assert met[0] == met[1] == met[2], "every life ends at the same record"
    assert met[0][0] == 21
    assert len(list((tmp_path / "state").glob("*.sbc"))) > 1
    told = dlq(kafka, "list", "--limit", "0").output
    assert "21 dead letters: 21 plain" in told
    assert "more are copies" in told


def test_offsets_do_not_pass_a_dead_letter_that_was_not_acknowledged(topics: Callable[..., KafkaSettings]) -> None:
    kafka = topics(partitions=1)
    log = a_log(50)
    produce(kafka, log)
    source, sink = KafkaSource(kafka, PlainCodec()), KafkaSink(kafka)
    settings = load().model_copy(update={"kafka": kafka})
    session = Session(make_pipeline(settings), settings, board=Board(), dead_letters=KafkaDeadLetters(sink))
    loop = LiveLoop(source, sink, session, threading.Event())
    loop.run(until_caught_up=True)
    lane = (kafka.purchase_topic, 0)
    before = source._committer.committed([lane])[0]
    # From here on the dead-letter topic takes nothing of this size.
    admin = client.new_admin(kafka)
    resource = ConfigResource("TOPIC", kafka.dead_letter_topic(kafka.purchase_topic), {"max.message.bytes": "100"})
    admin.alter_configs([resource])
    admin.close()
    produce(kafka, [line("?", "x" * 500, "u", START_MS + 10_000_000)])
    records = read(source, until=1)
    session.take(records[0], records[0].value)
    with pytest.raises(WorldError, match="refused 1 of our records"):
        loop.settle()
    assert source.positions()[lane] == before[lane] + 1
    assert source._committer.committed([lane])[0] == before
    loop.close()


def test_a_record_whose_headers_and_key_leave_no_room_is_kept_all_the_same(
    topics: Callable[..., KafkaSettings],
) -> None:
    kafka = topics(partitions=1)
    sink = KafkaSink(kafka)
    sink.open()
    odd = Polled(kafka.search_topic, 0, 5, -1, b"?", b"k" * 900_000, (("null", None), ("large", b"h" * 900_000)))  # type: ignore[arg-type]
    sink.dead_letter(odd, "not_json", "no", now_us=START_MS * 1000)
    sink.dead_letter(
        Polled(kafka.search_topic, 0, 6, -1, b"?", b"k", (("null", None),)), "x", "", now_us=START_MS * 1000
    )  # type: ignore[arg-type]
    sink.flush(20)
    sink.close()
    first, second = consume_all(kafka, kafka.dead_letter_topic(kafka.search_topic), 2)
    assert (first.value, first.key, len(first.headers)) == (b"?", None, 8)
    assert (second.key, second.headers[0]) == (b"k", ("null", b""))
