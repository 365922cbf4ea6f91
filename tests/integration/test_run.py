"""The service against a real broker: what `run` makes of complete topics equals what `replay` makes of the log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer

from stream_balance.edge.kafka import KafkaSettings
from tests.integration.conftest import Broker, OwnBroker

pytestmark = pytest.mark.broker
ONE_ARM = ("--strategy", "smote_under")  # where the arms are not what is asked


def flags(settings: KafkaSettings) -> list[str]:
    """The test's topics as command-line settings."""
    names = ("search_topic", "purchase_topic", "predictions_topic", "group_id")
    chosen = [f"kafka.{name}={getattr(settings, name)}" for name in names]
    return ["--bootstrap", settings.bootstrap, *(part for each in chosen for part in ("--set", each))]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "stream_balance", *map(str, arguments)]


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=180)


def report_of(*arguments: str | Path) -> dict[str, Any]:
    done = call(*arguments, "--report", "-")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """All but speed and operational settings."""
    return {key: value for key, value in report.items() if key not in ("throughput", "settings")}


class Running:
    """`run` as a process, and its HTTP address."""

    def __init__(self, settings: KafkaSettings, *more: str) -> None:
        self.process = subprocess.Popen(
            command("run", *flags(settings), "--port", "0", "--report", "-", *more),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "COLUMNS": "200"},
        )  # fmt: skip
        assert self.process.stderr is not None
        first = self.process.stderr.readline()
        assert "http://" in first, first + self.process.stderr.read()
        self.told = ""  # its log, once it has ended
        self.url = first.split()[1].removesuffix("/metrics")

    def get(self, route: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/{route}", timeout=30) as answer:
            return json.load(answer)

    def until(self, holds: Callable[[dict[str, Any]], bool], patience_s: float = 90.0) -> dict[str, Any]:
        """The first report that satisfies `holds`."""
        pause = threading.Event()
        for _ in range(int(patience_s / 0.2)):
            report: dict[str, Any] = self.get("report.json")
            if holds(report):
                return report
            pause.wait(0.2)
        raise AssertionError(f"not so within {patience_s:g} s; events {report['events']}")

    def stop(self) -> dict[str, Any]:
        """SIGTERM: drain, leave, report."""
        self.process.send_signal(signal.SIGTERM)
        out, self.told = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, self.told
        return dict(json.loads(out))


def produce(log: Path, settings: KafkaSettings) -> subprocess.CompletedProcess[str]:
    return call("produce", log, *flags(settings), "--create-topics", "--partitions", "4")


def test_run_over_complete_topics_equals_the_replay_of_the_log(
    broker: Broker, topics: Callable[..., KafkaSettings], short_log: Path
) -> None:
    settings = topics(partitions=0)
    done = produce(short_log, settings)
    assert done.returncode == 0, done.stderr
    replayed = report_of("replay", short_log)
    ran = report_of("run", *flags(settings), "--port", "0", "--until-caught-up")
    assert comparable(ran) == comparable(replayed)
    assert ran["examples"]["in"] > 10_000

    # a restart begins again and comes to the same state
    service = Running(settings)
    wanted = replayed["events"]["search"] + replayed["events"]["purchase"]
    fresh = service.until(lambda report: report["events"]["search"] + report["events"]["purchase"] == wanted)
    assert fresh["state_digest"] == replayed["state_digest"]
    assert service.get("health")["status"] == "ok"
    assert service.get("ready") == {"ready": True}
    assert comparable(service.stop()) == comparable(replayed)


def test_predictions_and_dead_letters_are_published(
    broker: Broker, topics: Callable[..., KafkaSettings], short_log: Path
) -> None:
    settings = topics(partitions=0)
    assert produce(short_log, settings).returncode == 0
    ran = report_of("run", *ONE_ARM, *flags(settings), "--port", "0", "--until-caught-up")
    predictions = read_all(settings, settings.predictions_topic)
    assert len(predictions) == ran["events"]["search"] - ran["examples"]["duplicates"]
    one = json.loads(predictions[0])
    assert set(one) == {"schema", "search_id", "user_id", "ts", "model_version", "items"}
    assert all(0 <= item["probability"] <= 1 for item in one["items"])
    dead = sum(len(read_all(settings, settings.dead_letter_topic(topic))) for topic in settings.topics)
    assert dead == sum(ran["events"]["bad"].values()) > 0


def read_all(settings: KafkaSettings, topic: str) -> list[bytes]:
    """Every value of a topic, through the bare client."""
    consumer = KafkaConsumer(
        topic, bootstrap_servers=settings.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False,
        consumer_timeout_ms=3000, group_id=None,
    )  # fmt: skip
    try:
        return [record.value for record in consumer]
    finally:
        consumer.close()


def test_unequal_partition_counts_are_refused(broker: Broker, topics: Callable[..., KafkaSettings]) -> None:
    settings = topics(partitions=3, purchase_partitions=2)
    done = call("run", *flags(settings), "--port", "0")
    assert done.returncode == 2, done.stderr
    assert "equal numbers" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_topics_are_named(broker: Broker, topics: Callable[..., KafkaSettings], shop_log: Path) -> None:
    settings = topics(partitions=0)
    for done in (call("run", *flags(settings), "--port", "0"), call("produce", shop_log, *flags(settings))):
        assert done.returncode in (1, 2)
        assert settings.search_topic in done.stderr
        assert "--create-topics" in done.stderr


@pytest.mark.real_kafka
def test_a_broker_away_for_ten_seconds_costs_nothing(
    own_broker: OwnBroker, topics: Callable[..., KafkaSettings], shop_log: Path
) -> None:
    settings = topics(partitions=0, bootstrap=own_broker.bootstrap)
    lines = shop_log.read_bytes().splitlines(keepends=True)
    first = shop_log.with_name("first-half.jsonl")
    first.write_bytes(b"".join(lines[: len(lines) // 2]))
    second = shop_log.with_name("second-half.jsonl")
    second.write_bytes(b"".join(lines[len(lines) // 2 :]))
    assert produce(first, settings).returncode == 0
    service = Running(settings, *ONE_ARM)
    service.until(lambda report: report["events"]["search"] > 0)
    own_broker.stop()
    threading.Event().wait(10)
    health = service.get("health")
    assert health["status"] == "trouble"
    assert "has been away for" in health["trouble"]
    own_broker.start()
    done = call("produce", second, *flags(settings))
    assert done.returncode == 0, done.stderr
    whole = report_of("replay", shop_log, *ONE_ARM)
    wanted = whole["events"]["search"] + whole["events"]["purchase"]
    service.until(lambda report: report["events"]["search"] + report["events"]["purchase"] >= wanted)
    stopped = service.stop()
    assert stopped["events"]["search"] == whole["events"]["search"]
    assert stopped["events"]["purchase"] == whole["events"]["purchase"]
    assert stopped["examples"] == whole["examples"]
