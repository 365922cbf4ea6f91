"""Three brokers, one killed after the other, always a leader of what is being read and written: nothing is stranded,
lost or doubled.

STREAM_BALANCE_TEST_LEADER_KILLS says how many are killed in a row.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from stream_balance.edge.kafka import KafkaSettings, client
from stream_balance.edge.kafka.produce import Outgoing, produce
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.merge import Polled
from tests.integration.conftest import OwnBroker
from tests.integration.plain import PATIENCE_S, PlainCodec, a_log

pytestmark = [pytest.mark.broker, pytest.mark.real_kafka]
KILLS = int(os.environ.get("STREAM_BALANCE_TEST_LEADER_KILLS", "3"))
EACH = 400


def described(settings: KafkaSettings) -> list[dict[str, Any]]:
    """The partitions of both topics, with their leader and the replicas in sync."""
    admin = client.new_admin(settings)
    found = [partition for topic in admin.describe_topics(list(settings.topics)) for partition in topic["partitions"]]
    admin.close()
    return found


def wait_for_all_in_sync(settings: KafkaSettings) -> None:
    end, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not all(len(each["isr_nodes"]) == 3 for each in described(settings)):
        assert time.monotonic() < end, "the cluster does not heal"
        pause.wait(0.2)


def test_one_leader_after_the_other_killed(
    three_brokers: list[OwnBroker], topics: Callable[..., KafkaSettings]
) -> None:
    settings = topics(
        partitions=3, bootstrap=",".join(node.bootstrap for node in three_brokers), replication_factor=3,
        probe_every_s=0.5, backoff_max_s=1.0,
    )  # fmt: skip
    log = a_log(EACH * KILLS)
    source = KafkaSource(settings, PlainCodec())
    source.open()
    records: list[Polled] = []
    failed: list[BaseException] = []

    def write(part: list[Outgoing]) -> None:
        try:
            produce(settings, part)
        except BaseException as error:
            failed.append(error)

    for number in range(KILLS):
        wait_for_all_in_sync(settings)
        victim = three_brokers[described(settings)[number % 6]["leader_id"] - 1]
        writer = threading.Thread(target=write, args=(log[EACH * number : EACH * (number + 1)],))
        # In turn: before anything is written, in the middle, when all is written but not all is read.
        wanted, kill_at = EACH * (number + 1), EACH * number + (0, EACH // 4, EACH - 50)[number % 3]
        end, killed = time.monotonic() + PATIENCE_S, False
        while len(records) < wanted:
            if not killed and len(records) >= kill_at:
                victim.kill()
                killed = True
            if not writer.ident:
                writer.start()
            records += source.poll(20, timeout_s=0.2)
            assert not failed, f"the writer has failed at kill {number + 1}: {failed[0]}"
            assert time.monotonic() < end, f"stranded after kill {number + 1} at {len(records)}; lag {source.lag()}"
        writer.join()
        victim.start()
    figures = source.figures()
    source.close()
    assert sorted(r.event.event_id for r in records if r.event) == sorted(f"e{n}" for n in range(EACH * KILLS))
    offsets: dict[tuple[str, int], list[int]] = {}
    for record in records:
        offsets.setdefault((record.topic, record.partition), []).append(record.offset)
    assert all(each == list(range(len(each))) for each in offsets.values())
    print(f"{KILLS} leaders killed: {figures}")
