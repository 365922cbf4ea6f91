"""Kafka edge against a real broker: order, bounds, outages, dead letters, refusals."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import Any

import pytest

from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.edge.kafka.produce import Outgoing, create_log_topics, produce
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import Polled
from stream_balance.errors import SettingsError, WorldError
from stream_balance.testing import make_search
from tests.integration.plain import (
    PATIENCE_S,
    START_MS,
    PlainCodec,
    a_log,
    consume_all,
    in_total_order,
    line,
    partition_of,
    place,
    read,
)

pytestmark = pytest.mark.broker

# Order


def test_a_log_comes_back_in_total_order_over_four_partitions(topics: Any) -> None:
    settings = topics(partitions=4)
    log = a_log(3000)
    assert produce(settings, log).sent == 3000
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records = read(source)
    lag, positions = source.lag(), source.positions()
    source.close()
    assert [place(r.event) for r in records if r.event] == in_total_order(log)
    assert {(r.topic, r.partition) for r in records if r.topic == settings.search_topic} == {
        (settings.search_topic, p) for p in range(4)
    }
    assert sum(positions.values()) == 3000
    assert set(lag.values()) == {0}
    assert all(r.record_time_us == r.event.ts_us for r in records if r.event)


def test_a_users_searches_and_purchases_share_a_partition_number(topics: Any) -> None:
    settings = topics(partitions=4)
    produce(settings, a_log(500))
    source = KafkaSource(settings, PlainCodec())
    source.open()
    found: dict[str, set[int]] = {}
    for record in read(source):
        assert record.event is not None
        found.setdefault(record.event.user_id, set()).add(record.partition)
    source.close()
    assert {len(partitions) for partitions in found.values()} == {1}


def test_a_live_record_comes_at_once_although_the_other_partitions_are_silent(topics: Any) -> None:
    settings = topics(partitions=4)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    assert read(source) == []
    produce(settings, [line("s", "live", "u1", START_MS)])
    begin = time.monotonic()
    (record,) = read(source, until=1)
    took_s = time.monotonic() - begin
    source.close()
    assert record.event == make_search("live", ts=START_MS / 1000)
    assert source.figures()["merge_unforced"] == 1
    assert took_s < 2


def test_committed_offsets_are_where_the_next_one_begins(topics: Any) -> None:
    settings = topics(partitions=2, start="committed")
    log = a_log(1000)
    produce(settings, log)
    first = KafkaSource(settings, PlainCodec())
    first.open()
    done = first.poll(400, timeout_s=10)
    assert first.commit(first.positions())
    first.close()
    second = KafkaSource(settings, PlainCodec())
    second.open()
    rest = read(second)
    second.close()
    assert [place(r.event) for r in done + rest if r.event] == in_total_order(log)


def test_given_positions_go_before_committed_ones(topics: Any) -> None:
    settings = topics(partitions=1)
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(10)])
    source = KafkaSource(settings, PlainCodec())
    source.open({(settings.search_topic, 0): 7, (settings.purchase_topic, 0): 0})
    records = read(source)
    source.close()
    assert [r.offset for r in records] == [7, 8, 9]


@pytest.mark.real_kafka
def test_a_transaction_ends_with_a_control_record_and_does_not_block(topics: Any, broker: Any) -> None:
    settings = topics(partitions=1)
    producer = client.KafkaProducer(bootstrap_servers=broker.bootstrap, transactional_id=settings.group_id)
    producer.init_transactions()
    for n, end in enumerate((producer.commit_transaction, producer.abort_transaction, producer.commit_transaction)):
        producer.begin_transaction()
        value = f"s,e{n},u,{START_MS + n}".encode()
        producer.send(settings.search_topic, value, key=b"u", timestamp_ms=START_MS + n).get(10)
        end()
    producer.close()
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records = read(source)
    source.close()
    assert [r.event.event_id for r in records if r.event] == ["e0", "e2"]
    assert source.positions()[(settings.search_topic, 0)] == 6


# Bounds


def test_a_partition_far_ahead_neither_fills_memory_nor_stops_the_merge(topics: Any) -> None:
    settings = topics(partitions=2, buffer_records_max=2000, fetch_bytes_max=65_536)
    users = {0: "u0", 1: next(u for u in ("u1", "u2", "u3", "u4", "u5") if partition_of(u) != partition_of("u0"))}
    ahead = [line("s", f"a{n}", users[0], START_MS + n) for n in range(100_000)]
    behind = [line("p" if n % 2 else "s", f"b{n}", users[1], START_MS + 20 * n) for n in range(5000)]
    produce(settings, ahead)
    produce(settings, behind)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    largest = 0
    records: list[Polled] = []
    while not source.caught_up():
        records += source.poll(timeout_s=0.5)
        largest = max(largest, *(source._merge.buffered(key)[0] for key in source._reader.lanes))
    parked = source.figures()["partitions_parked"]
    source.close()
    assert [place(r.event) for r in records if r.event] == in_total_order(ahead + behind)
    assert largest < 2 * 2000
    assert parked > 0


def test_what_is_fetched_and_not_taken_is_bounded_in_bytes_too(topics: Any) -> None:
    settings = topics(partitions=1, buffer_bytes_max=50_000, fetch_bytes_max=20_000)
    log = [line("s", f"a{n}-{'x' * 500}", "u", START_MS + n) for n in range(2000)]
    log += [line("p", f"b{n}", "u", START_MS + 100 * n) for n in range(20)]
    produce(settings, log)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    largest = 0
    records: list[Polled] = []
    while not source.caught_up():
        records += source.poll(1, timeout_s=0.5)  # slower than they come
        largest = max(largest, *(source._merge.buffered(key)[1] for key in source._reader.lanes))
    figures = source.figures()
    source.close()
    assert [place(r.event) for r in records if r.event] == in_total_order(log)
    assert figures["partitions_parked"] > 0
    # What the client had fetched when it was full comes on top, a producer's batch at least: brokers do not cut them.
    assert largest < 50_000 + 131_072


def test_a_run_of_equal_times_longer_than_the_buffer_does_not_stop_the_merge(topics: Any) -> None:
    settings = topics(partitions=1, buffer_records_max=100)
    produce(settings, [line("s", f"e{n}", "u", START_MS) for n in range(1000)])
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records = read(source)
    source.close()
    assert sorted(r.offset for r in records) == list(range(1000))


def test_records_larger_than_a_fetch_come_through_in_every_partition(topics: Any) -> None:
    settings = topics(partitions=4, fetch_bytes_max=10_000)
    log = [line("s", f"e{n}-{'x' * 200_000}", f"u{n}", START_MS + n) for n in range(24)]
    produce(settings, log)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records = read(source)
    source.close()
    assert [place(r.event) for r in records if r.event] == in_total_order(log)


# What is bad


def test_bad_records_are_handed_out_and_dead_lettered_with_where_and_why(topics: Any) -> None:
    settings = topics(partitions=2)
    bad = Outgoing(b"\xff{not json", None, b"17", START_MS)
    late = Outgoing(f"s,late,u,{START_MS + 9_000_000}".encode(), "search", b"u", START_MS)
    produce(settings, [*a_log(20), bad, late])
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records = [record for record in read(source) if record.bad]
    source.close()
    sink = KafkaSink(settings)
    sink.open()
    for record in records:
        assert record.bad is not None
        sink.dead_letter(record, record.bad.reason, str(record.bad), now_us=START_MS * 1000)
    sink.flush(20)
    sink.close()
    letters = {letter.value: letter for letter in consume_all(settings, settings.search_topic + ".dead", 2)}
    assert set(letters) == {bad.data, late.data}
    headers = dict(letters[bad.data].headers)
    (origin,) = [record for record in records if record.value == bad.data]
    assert letters[bad.data].key == b"17"
    assert headers["dead_letter.topic"] == settings.search_topic.encode()
    assert headers["dead_letter.partition"] == str(origin.partition).encode()
    assert headers["dead_letter.offset"] == str(origin.offset).encode()
    assert headers["dead_letter.reason"] == b"plain"
    assert headers["dead_letter.message"].startswith(b"not an event")
    assert headers["dead_letter.time_us"] == str(START_MS * 1000).encode()
    assert dict(letters[late.data].headers)["dead_letter.reason"] == b"too_far_ahead"


def test_a_dead_letter_too_large_to_send_is_cut_and_says_how_long_it_was(topics: Any) -> None:
    settings = topics(partitions=1)
    sink = KafkaSink(settings)
    sink.open()
    record = Polled(settings.search_topic, 0, 5, START_MS * 1000, b"x" * 5_000_000)
    sink.dead_letter(record, "too_large", "record has 5000000 bytes", now_us=START_MS * 1000)
    sink.flush(20)
    sink.close()
    (letter,) = consume_all(settings, settings.search_topic + ".dead", 1)
    assert sink.truncated == 1
    assert 1_000_000 < len(letter.value) < 1_048_576
    assert dict(letter.headers)["dead_letter.bytes"] == b"5000000"


def test_a_prediction_too_large_to_send_is_an_error_that_names_the_limit(topics: Any) -> None:
    sink = KafkaSink(topics(partitions=1, request_bytes_max=50_000))
    sink.open()
    sink.publish_prediction(b"u", bytes(40_000))
    with pytest.raises(WorldError, match=r"prediction of 60000 bytes cannot be sent, at most 50000 can .kafka.request"):
        sink.publish_prediction(b"u", bytes(60_000))
    sink.flush(20)
    sink.close()


def test_a_turn_takes_so_many_records_and_the_rest_comes_with_the_next_ones(topics: Any) -> None:
    settings = topics(partitions=2, poll_records_max=7)
    log = [line("s", f"e{n}", f"u{n}", START_MS + n) for n in range(100)]
    produce(settings, log)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    turns = []
    while not source.caught_up():
        turns.append(source.poll(timeout_s=0.5))
    source.close()
    assert max(map(len, turns)) == 7
    assert [place(record.event) for turn in turns for record in turn if record.event] == in_total_order(log)


def test_a_record_too_large_to_send_is_reported_and_the_log_goes_on(topics: Any) -> None:
    settings = topics(partitions=1)
    large = Outgoing(b"x" * 2_000_000, "search", b"u", START_MS)
    early = Outgoing(b"s,e,u,1", "search", b"u", -5)
    cut = Outgoing(b"its beginning", None, b"17", START_MS, cut_from=9_000_000)
    produced = produce(settings, [line("s", "a", "u", START_MS), large, early, cut, line("s", "b", "u", START_MS)])
    assert produced.sent == 2
    assert produced.failed == {"too_large": 2, "timestamp": 1}
    assert "record 4: 9,000,000 bytes, more than wire.record_bytes_max" in produced.examples[2]
    assert produced.examples[0].startswith("record 2: 2000000 bytes, at most 1048576")


def test_predictions_are_acknowledged_at_flush(topics: Any) -> None:
    settings = topics(partitions=3, unacknowledged_max=10)
    sink = KafkaSink(settings)
    sink.open()
    for n in range(200):
        sink.publish_prediction(f"u{n}".encode(), f"prediction {n}".encode())
    sink.flush(20)
    sink.close()
    values = {record.value for record in consume_all(settings, settings.predictions_topic, 200)}
    assert values == {f"prediction {n}".encode() for n in range(200)}


def test_outputs_on_their_way_are_bounded_in_bytes(topics: Any) -> None:
    settings = topics(partitions=1, unacknowledged_bytes_max=20_000)
    sink = KafkaSink(settings)
    sink.open()
    assert sink._outbox is not None
    for n in range(300):
        sink.publish_prediction(f"u{n}".encode(), bytes(2_000))
        assert sink._outbox._bytes <= 20_000
    sink.publish_prediction(b"u", bytes(100_000))  # one alone may be larger
    sink.flush(20)
    figures = sink.figures()
    sink.close()
    assert figures["output_waits"] > 0
    assert figures["outputs_unacknowledged"] == 0
    assert len(consume_all(settings, settings.predictions_topic, 301)) == 301


def test_a_log_is_published_at_the_speed_that_was_asked_for(topics: Any) -> None:
    settings = topics(partitions=1)
    clock = itertools.repeat(0.0)
    waits: list[float] = []
    log = [line("s", f"e{n}", "u", START_MS + 1000 * n) for n in range(4)]
    produce(settings, log, speed=2.0, now_s=lambda: next(clock), sleep=waits.append)
    assert waits == [0.5, 1.0, 1.5]


# Refusals


def test_unequal_partition_counts_are_refused(topics: Any) -> None:
    settings = topics(partitions=8, purchase_partitions=12)
    with pytest.raises(SettingsError, match=r"has 12 partitions, 'search-\w+' has 8; the join needs equal numbers"):
        KafkaSource(settings, PlainCodec()).open()


def test_a_missing_topic_is_named_with_how_to_create_it(topics: Any) -> None:
    settings = topics(partitions=0)
    with pytest.raises(SettingsError, match=rf"'{settings.search_topic}' and .* --create-topics --partitions N"):
        KafkaSource(settings, PlainCodec()).open()
    with pytest.raises(SettingsError, match="--create-topics"):
        produce(settings, [])


def test_topics_are_created_once_and_another_partition_count_is_refused(topics: Any) -> None:
    settings = topics(partitions=0)
    create_log_topics(settings, 3)
    create_log_topics(settings, 3)
    with pytest.raises(SettingsError, match="exists with 3 partitions, --partitions says 4"):
        create_log_topics(settings, 4)


def test_an_unreachable_broker_is_named_after_a_bounded_wait() -> None:
    with socket.socket() as taken:  # bound, not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = KafkaSettings(bootstrap=address, connect_max_s=1.0)
        with pytest.raises(WorldError, match=f"Kafka at {address} did not answer within 1 s"):
            KafkaSource(settings, PlainCodec()).open()


@pytest.mark.real_kafka
def test_offsets_that_retention_deleted_are_refused_unless_the_loss_is_accepted(topics: Any) -> None:
    settings = topics(partitions=1)
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(10)])
    admin = client.new_admin(settings)
    admin.delete_records({client.TopicPartition(settings.search_topic, 0): 6})
    admin.close()
    positions = {(settings.search_topic, 0): 2, (settings.purchase_topic, 0): 0}
    with pytest.raises(WorldError, match=r"offset 2, but the oldest one kept is at 6: 4 are gone.*--accept-data-loss"):
        KafkaSource(settings, PlainCodec()).open(positions)
    source = KafkaSource(settings.model_copy(update={"accept_data_loss": True}), PlainCodec())
    source.open(positions)
    records = read(source)
    source.close()
    assert [r.offset for r in records] == [6, 7, 8, 9]
    assert source.lost == 4


@pytest.mark.real_kafka
def test_offsets_beyond_the_end_of_a_topic_are_refused_unless_the_loss_is_accepted(topics: Any) -> None:
    settings = topics(partitions=1)
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(10)])
    positions = {(settings.search_topic, 0): 500, (settings.purchase_topic, 0): 0}
    source = KafkaSource(settings, PlainCodec())
    source.open(positions)
    with pytest.raises(
        WorldError, match=r"next record is at offset 500, but it ends at 10: was the topic created anew"
    ):
        read(source)
    source.close()
    source = KafkaSource(settings.model_copy(update={"accept_data_loss": True}), PlainCodec())
    source.open(positions)
    records = read(source, until=10)
    source.close()
    assert [r.offset for r in records] == list(range(10))


# Outages


@pytest.mark.real_kafka
def test_a_broker_killed_and_back_loses_and_doubles_nothing(topics: Any, own_broker: Any) -> None:
    settings = topics(partitions=4, bootstrap=own_broker.bootstrap, probe_every_s=0.5, backoff_max_s=1.0)
    log = a_log(4000)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    produce(settings, log[:2000])
    records = read(source, until=1000)
    writer = threading.Thread(target=produce, args=(settings, log[2000:]))
    own_broker.kill()
    writer.start()
    end = time.monotonic() + PATIENCE_S
    while not source.is_away and time.monotonic() < end:
        records += source.poll(timeout_s=0.2)
    own_broker.start()
    records += read(source, until=4000 - len(records))
    writer.join()
    figures = source.figures()
    source.close()
    assert sorted(place(r.event) for r in records if r.event) == in_total_order(log)
    assert figures["broker_outages"] >= 1
    assert figures["broker_outage_s"] > 0


@pytest.mark.real_kafka
def test_a_partition_that_the_client_has_lost_gets_a_new_client(topics: Any) -> None:
    settings = topics(partitions=1, probe_every_s=0.2)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    assert read(source) == []
    # A paused partition is one that the client leaves out of its fetches, for good.
    source._reader._consumer.pause(source._reader.lanes[settings.search_topic, 0])
    produce(settings, [line("s", f"e{n}", "u", START_MS + n) for n in range(5)])
    records = read(source, until=5)
    renewed = source.figures()["clients_renewed"]
    source.close()
    assert [r.offset for r in records] == list(range(5))
    assert renewed == 1


@pytest.mark.real_kafka
def test_a_broker_away_for_too_long_is_named(topics: Any, own_broker: Any) -> None:
    settings = topics(partitions=1, bootstrap=own_broker.bootstrap, probe_every_s=0.2, outage_max_s=2.0)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    own_broker.freeze()
    with pytest.raises(WorldError, match=f"{own_broker.bootstrap} has been away for . s, at most 2 s are borne"):
        read(source, until=1)
    own_broker.thaw()
    source.close()


@pytest.mark.real_kafka
def test_what_is_not_acknowledged_is_an_error_at_flush(topics: Any, own_broker: Any) -> None:
    settings = topics(partitions=1, bootstrap=own_broker.bootstrap)
    sink = KafkaSink(settings)
    sink.open()
    sink.publish_prediction(b"u", b"one")
    sink.flush(20)
    own_broker.freeze()
    sink.publish_prediction(b"u", b"two")
    with pytest.raises(WorldError, match="1 records unanswered for 1 s"):
        sink.flush(1.0)
    own_broker.thaw()
    sink.flush(20)
    sink.close()
