"""`record` and back: what was recorded replays to the numbers of the log it came from, also in two goes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from stream_balance.edge.kafka import KafkaSettings
from tests.integration.conftest import Broker
from tests.integration.test_run import ONE_ARM, call, comparable, flags, produce, report_of

pytestmark = pytest.mark.broker


def test_a_recording_in_two_goes_replays_like_the_log_and_goes_back_to_kafka(
    broker: Broker, topics: Callable[..., KafkaSettings], short_log: Path, tmp_path: Path
) -> None:
    lines = short_log.read_bytes().splitlines(keepends=True)
    halves = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    halves[0].write_bytes(b"".join(lines[:800]))
    halves[1].write_bytes(b"".join(lines[800:]))
    settings, folder = topics(partitions=0), tmp_path / "night"
    for half in halves:
        assert produce(half, settings).returncode == 0
        done = call("record", folder, *flags(settings), "--until-caught-up", "--set", "record.segment_bytes_max=80000")
        assert done.returncode == 0, done.stderr
    assert len(list(folder.glob("events-*.jsonl.zst"))) >= 2
    recorded, original = report_of("replay", folder), report_of("replay", *halves)
    assert recorded["events"] == original["events"]
    assert comparable(recorded) == comparable(original)

    back = topics(partitions=4)
    done = call("replay", folder, "--to-kafka", "--bootstrap", back.bootstrap, *flags(back)[2:])
    assert done.returncode == 0, done.stderr
    again = report_of("run", *flags(back), "--port", "0", "--until-caught-up")
    assert again["metrics"] == recorded["metrics"]


def test_what_a_live_service_records_replays_to_its_state(
    broker: Broker, topics: Callable[..., KafkaSettings], shop_log: Path, tmp_path: Path
) -> None:
    lines = shop_log.read_bytes().splitlines(keepends=True)
    settings, folder, log = topics(partitions=0), tmp_path / "night", tmp_path / "log.jsonl"
    service = ("run", *ONE_ARM, *flags(settings), "--port", "0", "--until-caught-up", "--record", folder)
    for first in (0, 700):  # its topics end twice, with nothing said of what may come
        log.write_bytes(b"".join(lines[first : first + 700]))
        assert produce(log, settings).returncode == 0
        ran = report_of(*service, "--checkpoint-dir", tmp_path / "state")
    assert comparable(report_of("replay", folder, *ONE_ARM)) == comparable(ran)
    assert ran["examples"]["matured"] > 0
    refused = call("record", folder, *flags(settings), "--until-caught-up")
    assert refused.returncode == 2
    assert "was recorded by 'run --record'" in refused.stderr
    alone = call(*service)
    assert alone.returncode == 2
    assert "--record without a checkpoint folder" in alone.stderr
