"""How the service leaves: within ten seconds of the first signal whatever it is at, at once at the second; and what the
next start makes of it.
"""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_balance.commands.replay import replay_events
from stream_balance.edge.kafka import KafkaSettings
from stream_balance.settings import load
from tests.integration import slow_model
from tests.integration.conftest import OwnBroker
from tests.integration.proxy import Proxy
from tests.integration.service import Service
from tests.integration.test_outage import QUICK, prepare

pytestmark = [pytest.mark.broker, pytest.mark.real_kafka]
Proxied = tuple[OwnBroker, Proxy]
LEAVES_S = 10.0
MODEL = ("--model", slow_model.NAME, "--set", "join.window_s=30")  # it is slow once it has learned
RECORDS = 400
PAUSE_S = 0.005  # an item; a search has some eight


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stop") / "log.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:RECORDS]))
    return path


@pytest.fixture(scope="module")
def digest(log: Path) -> str:
    """The state digest of the log's replay."""
    settings = load(flags={"model": {"name": slow_model.NAME}, "join": {"window_s": 30}})
    return str(replay_events([log], settings, threading.Event())["state_digest"])


@pytest.fixture
def kafka(log: Path, topics: Callable[..., KafkaSettings], proxied: Proxied) -> Iterator[KafkaSettings]:
    """The log's topics behind the proxy, which is open again in the end."""
    yield prepare(log, topics, proxied).kafka
    proxied[1].turn("open")


def quick() -> list[str]:
    return [part for name, value in QUICK.items() for part in ("--set", f"kafka.{name}={value}")]


def test_a_busy_service_leaves_in_time_and_goes_on_where_it_was(
    kafka: KafkaSettings, digest: str, tmp_path: Path
) -> None:
    with Service(kafka, tmp_path / "state", *quick(), *MODEL, pause_s=PAUSE_S) as service:
        service.hear("reading")
        service.until(lambda: service.metric("events_total") > 100)
        service.signal(signal.SIGINT)
        assert service.end(LEAVES_S) == 0, service.words
        stopped = service.report
        done = sum(stopped["events"][kind] for kind in ("search", "purchase"))
        assert 100 < done < RECORDS, "it was to be stopped at work"
        again = service.to_the_end()
    assert again["state_digest"] == digest


def test_with_the_broker_away_it_leaves_in_time_and_the_next_start_does_the_rest(
    kafka: KafkaSettings, proxied: Proxied, digest: str, tmp_path: Path
) -> None:
    every = ("--set", "checkpoint.interval_events=10")
    with Service(kafka, tmp_path / "state", *quick(), *every, *MODEL, pause_s=PAUSE_S) as service:
        service.hear("reading")
        service.until(lambda: service.metric("checkpoints_total") >= 2)
        proxied[1].turn("swallowing")
        service.until(lambda: "away" in (service.health()["trouble"] or ""))
        service.signal(signal.SIGTERM)
        # 0 where every output had been acknowledged before: then all is saved, and only the commit is missing.
        told = {0: "offsets not committed", 1: "Kafka"}
        assert told[service.end(LEAVES_S)] in service.words
        assert "Traceback" not in service.words
        proxied[1].turn("open")
        assert service.to_the_end()["state_digest"] == digest


@pytest.mark.parametrize("fault", ["refusing", "swallowing"])
def test_asked_to_stop_before_a_broker_was_found_it_leaves(
    fault: Any, kafka: KafkaSettings, proxied: Proxied, tmp_path: Path
) -> None:
    proxied[1].turn(fault)
    with Service(kafka, tmp_path / "state", *quick()) as service:
        service.hear("waiting for the broker")
        service.signal(signal.SIGTERM)
        assert service.end(LEAVES_S) == 0, service.words
        assert "before the broker was found" in service.words
    proxied[1].turn("open")


def children_of(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in found]


def test_a_second_signal_ends_it_at_once_and_damages_nothing(kafka: KafkaSettings, digest: str, tmp_path: Path) -> None:
    rng, folder = random.Random(8), tmp_path / "state"
    often = ("--set", "checkpoint.interval_events=5", "--set", "checkpoint.interval_s=0.1")
    at_once = 0
    for life in range(3):
        with Service(kafka, folder, *quick(), *often, *MODEL, pause_s=PAUSE_S) as service:
            service.hear("reading")
            service.until(lambda life=life: service.metric("events_total") > 40 * (life + 1))
            children = children_of(service.process.pid)
            service.signal(signal.SIGTERM)
            threading.Event().wait(rng.uniform(0.0, 0.2))
            service.signal(rng.choice((signal.SIGTERM, signal.SIGINT)))
            code = service.end(LEAVES_S)
            assert code in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT), service.words
            at_once += code != 0
        for child in children:  # what wrote a checkpoint goes with it
            assert _goes(child)
    assert at_once > 0
    with Service(kafka, folder, *quick(), *often, *MODEL, pause_s=PAUSE_S) as service:
        assert service.to_the_end
        service.process.kill()
        service.end()
        assert service.to_the_end()["state_digest"] == digest


def _goes(pid: int) -> bool:
    """A kill takes effect a moment after it was sent."""
    pause = threading.Event()
    return any(not _is_alive(pid) or pause.wait(0.05) for _ in range(100))


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
