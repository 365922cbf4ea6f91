"""Outages: the broker refuses, swallows, is slow, restarts. Nothing is lost or done twice, nobody hammers, all is told.

One log of moderate length, its replay the truth.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stream_balance.commands.produce import outgoing
from stream_balance.commands.replay import replay_events
from stream_balance.edge.board import Board
from stream_balance.edge.codec import Codec
from stream_balance.edge.kafka import KafkaSettings
from stream_balance.edge.kafka.produce import create_log_topics, produce
from stream_balance.edge.kafka.sink import KafkaSink
from stream_balance.edge.kafka.source import KafkaSource
from stream_balance.edge.logfile import read_events
from stream_balance.errors import WorldError
from stream_balance.live import KafkaDeadLetters, LiveLoop, prediction_publisher
from stream_balance.service import Session, make_pipeline
from stream_balance.settings import Settings, load
from tests.integration.conftest import OwnBroker
from tests.integration.plain import PATIENCE_S, consume_all
from tests.integration.proxy import Proxy
from tests.integration.test_run import Running, comparable

pytestmark = [pytest.mark.broker, pytest.mark.real_kafka]
Proxied = tuple[OwnBroker, Proxy]
EVENTS, AFTER_EVENTS = 1500, 300
# Small buffers, so that much is still to be fetched when the fault comes.
QUICK: dict[str, Any] = {
    "probe_every_s": 0.3, "backoff_max_s": 1.0, "buffer_records_max": 100, "fetch_bytes_max": 30_000,
}  # fmt: skip


def turn_bad(fault: str, node: OwnBroker, proxy: Proxy) -> None:
    if fault == "restarted":
        proxy.turn("refusing")
        node.stop()
    else:
        proxy.turn(fault)  # type: ignore[arg-type]  # a mode


def turn_good(fault: str, node: OwnBroker, proxy: Proxy) -> None:
    if fault == "restarted":
        node.start()
    proxy.turn("open")


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("outage") / "log.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:EVENTS]))
    return path


@pytest.fixture(scope="module")
def truth(log: Path) -> dict[str, Any]:
    return comparable(replay_events([log], load(), threading.Event()))


class Trouble(threading.Thread):
    """Turns the broker bad once some events are taken, good again when it has been noticed and has lasted `away_s`."""

    def __init__(
        self, fault: str, proxied: Proxied, session: Session, source: KafkaSource, away_s: float = 2.0
    ) -> None:
        super().__init__()
        self._fault, self._proxied, self._session, self._source = fault, proxied, session, source
        self._away_s = away_s
        self.over = threading.Event()
        self.polls = self.connections = 0
        self.told = ""
        self.lasted_s = 0.0

    @property
    def _board(self) -> Board:
        assert self._session.board is not None
        return self._session.board

    def until(self, holds: Callable[[], bool]) -> None:
        end, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while not holds() and time.monotonic() < end:
            pause.wait(0.01)

    def run(self) -> None:
        node, proxy = self._proxied
        self.until(lambda: sum(self._session.pipeline.events.values()) >= AFTER_EVENTS)
        began, polls, connections = time.monotonic(), self._source.figures()["client_polls"], proxy.connections
        turn_bad(self._fault, node, proxy)
        if self._fault != "slow":
            # By the way in, whose outages are counted: the way out may have noticed first.
            self.until(lambda: self._source.is_away and self._board.trouble is not None)
            self.told = str(self._board.trouble)
        self.until(lambda: self.over.is_set() or time.monotonic() - began >= self._away_s)
        self.polls = int(self._source.figures()["client_polls"] - polls)
        self.connections = proxy.connections - connections
        self.lasted_s = time.monotonic() - began
        turn_good(self._fault, node, proxy)


def prepare(log: Path, topics: Callable[..., KafkaSettings], proxied: Proxied, **more: Any) -> Settings:
    """The log in two topics of the broker behind the proxy."""
    kafka = topics(partitions=0, bootstrap=proxied[1].address, **QUICK | more)
    create_log_topics(kafka, 2)
    settings = load().model_copy(update={"kafka": kafka})
    produce(kafka, map(outgoing, read_events([log], Codec(settings.wire))))
    return settings


def make_loop(settings: Settings) -> tuple[LiveLoop, Session, KafkaSource, KafkaSink]:
    source, sink = KafkaSource(settings.kafka, Codec(settings.wire)), KafkaSink(settings.kafka)
    session = Session(
        make_pipeline(settings), settings, board=Board(), dead_letters=KafkaDeadLetters(sink),
        publish=prediction_publisher(sink, settings.wire.classes),
    )  # fmt: skip
    stop = threading.Event()
    return LiveLoop(source, sink, session, stop, flush_max_s=settings.kafka.outage_max_s), session, source, sink


@pytest.mark.parametrize("fault", ["refusing", "swallowing", "slow", "restarted"])
def test_an_outage_changes_nothing(
    fault: str, proxied: Proxied, topics: Callable[..., KafkaSettings], log: Path, truth: dict[str, Any]
) -> None:
    settings = prepare(log, topics, proxied)
    loop, session, source, _ = make_loop(settings)
    trouble = Trouble(fault, proxied, session, source)
    trouble.start()
    loop.run(until_caught_up=True)
    trouble.join()
    report, figures = session.end(), source.figures()
    loop.close()
    assert comparable(report) == truth
    searches = report["events"]["search"] - report["examples"]["duplicates"]
    predictions = [
        json.loads(record.value) for record in consume_all(settings.kafka, settings.kafka.predictions_topic, searches)
    ]
    assert len({each["search_id"] for each in predictions}) == searches
    if fault != "slow":
        assert figures["broker_outages"] >= 1
        assert figures["broker_outage_s"] > 0
        assert "Kafka" in trouble.told
        # Five waits a second at most, and some questions; three clients that come back with growing waits.
        assert trouble.polls < 10 * trouble.lasted_s + 20
        assert trouble.connections < 10 * trouble.lasted_s + 20


def test_with_its_outputs_stuck_the_loop_waits_and_goes_on_turning(
    proxied: Proxied, topics: Callable[..., KafkaSettings], log: Path, truth: dict[str, Any]
) -> None:
    settings = prepare(log, topics, proxied, unacknowledged_max=20)
    loop, session, source, sink = make_loop(settings)
    trouble = Trouble("swallowing", proxied, session, source)
    trouble.start()
    loop.run(until_caught_up=True)
    trouble.join()
    report = session.end()
    assert comparable(report) == truth
    assert sink.figures()["output_waits"] > 0
    loop.close()


@pytest.mark.parametrize("fault", ["refusing", "swallowing"])
def test_an_outage_beyond_the_limit_ends_the_loop_with_the_reason(
    fault: str, proxied: Proxied, topics: Callable[..., KafkaSettings], log: Path
) -> None:
    settings = prepare(log, topics, proxied, outage_max_s=2.0)
    loop, session, source, _ = make_loop(settings)
    trouble = Trouble(fault, proxied, session, source, away_s=PATIENCE_S)
    trouble.start()
    with pytest.raises(WorldError, match=r"Kafka .*(away|unanswered|acknowledged nothing).*kafka\.outage_max_s"):
        loop.run(until_caught_up=True)
    trouble.over.set()
    trouble.join()
    loop.close()


def test_the_service_tells_of_an_outage_and_leaves_with_1_at_the_limit(
    proxied: Proxied, topics: Callable[..., KafkaSettings], log: Path
) -> None:
    settings = prepare(log, topics, proxied).kafka
    limits = ("--set", "kafka.outage_max_s=6", "--set", "kafka.probe_every_s=0.3", "--set", "http.refresh_s=0.2")
    service = Running(settings, *limits)
    service.until(lambda report: report["events"]["search"] > 1000)
    proxied[1].turn("swallowing")
    pause, health = threading.Event(), service.get("health")
    for _ in range(100):
        health, metrics = service.get("health"), urllib.request.urlopen(f"{service.url}/metrics", timeout=10).read()
        if health["trouble"] and b"\nstream_balance_broker_away 1.0" in metrics:
            break
        pause.wait(0.1)
    assert (health["status"], f"Kafka at {settings.bootstrap} has been away" in health["trouble"]) == ("trouble", True)
    _, err = service.process.communicate(timeout=60)
    proxied[1].turn("open")
    assert service.process.returncode == 1
    assert "at most 6 s are borne (kafka.outage_max_s)" in err
    assert "Traceback" not in err
