"""Early entry against a broker: where an answer entered goes along with the recording, and a replay follows it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_balance.edge.kafka import KafkaSettings
from tests.integration.conftest import Broker
from tests.integration.service import Service
from tests.integration.test_run import call, flags, produce, report_of
from tests.test_gan_service import QUICK

pytestmark = pytest.mark.broker

ROOMS = QUICK | {"gan": QUICK["gan"] | {"swap_after_events": 1_500, "retrain_events": 100_000}}
GAN = [
    part
    for room, fields in ROOMS.items()
    for name, value in fields.items()
    for part in ("--set", f"{room}.{name}={str(value).lower() if isinstance(value, bool) else value}")
]


def test_where_an_answer_entered_early_a_recording_knows_and_a_replay_enters_it_there(
    broker: Broker, topics: Callable[..., KafkaSettings], shop_log: Path, tmp_path: Path
) -> None:
    lines = shop_log.read_bytes().splitlines(keepends=True)
    halves = [tmp_path / "first.jsonl", tmp_path / "second.jsonl"]
    halves[0].write_bytes(b"".join(lines[:1500]))
    halves[1].write_bytes(b"".join(lines[1500:2000]))
    settings, state, folder = topics(partitions=0), tmp_path / "state", tmp_path / "night"
    assert produce(halves[0], settings).returncode == 0
    with Service(settings, state, *GAN, "--set", "workers.early=true") as service:
        service.hear("reading")
        service.until(lambda: service.metric("worker_results_total") >= 1)
        # The answer is there; events that come now find it.
        assert produce(halves[1], settings).returncode == 0
        service.until(lambda: service.metric("gan_releases_total") >= 1)
        service.signal(signal.SIGTERM)
        assert service.end() == 0, service.words
        live = service.report
    (outcome,) = live["gan"]["history"]
    assert outcome["early"], outcome
    done = call("record", folder, *flags(settings), "--until-caught-up", "--journal", state)
    assert done.returncode == 0, done.stderr
    followed, alone = report_of("replay", folder, *GAN), report_of("replay", *halves, *GAN)
    assert followed["gan"]["history"] == [outcome]
    assert not [each for each in alone["gan"]["history"] if each["early"]]
