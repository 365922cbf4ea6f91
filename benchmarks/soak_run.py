"""Soak of `run`: the same records through a real Kafka, a service that learns, publishes and writes checkpoints.

    python benchmarks/soak.py --run [--impressions 5000000] [--strategy smote_under]    # KAFKA_HOME, or --bootstrap

A process of its own sends the records meanwhile; it is ahead from the start, so the service has all it can take. What
is measured is the service's process alone, from outside: the median of its resident memory in each part.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from stream_balance.edge.kafka.produce import Outgoing, create_log_topics, produce
from stream_balance.edge.kafka.settings import KafkaSettings
from stream_balance.settings import Settings
from tests.integration.conftest import kafka_home, kafka_of

LOOK_S = 1.0
PARTITIONS = 4
HELD_BACK = 1_000  # impressions at most that wait for their order in the end
STARTS_S = 120.0


def send(bootstrap: str, lines: Iterable[bytes]) -> int:
    """All of them, keyed by user, at the times they tell."""
    done = produce(KafkaSettings(bootstrap=bootstrap), _outgoing(lines))
    assert not done.failed, done
    return done.sent


def _outgoing(lines: Iterable[bytes]) -> Iterator[Outgoing]:
    at_ms = 0
    for line in lines:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            yield Outgoing(line, None, b"", at_ms)
            continue
        at_ms = event["ts"]
        yield Outgoing(line, "search" if "items" in event else "purchase", event["user_id"].encode(), at_ms)


@contextmanager
def broker(bootstrap: str | None) -> Iterator[str]:
    """The one that is given, or one of our own."""
    if bootstrap is not None:
        yield bootstrap
        return
    home = kafka_home()
    if home is None:
        sys.exit("no broker: give --bootstrap, or set KAFKA_HOME")
    with tempfile.TemporaryDirectory() as name:
        own = kafka_of(home, Path(name))
        own.start()
        try:
            yield own.bootstrap
        finally:
            own.kill()


def resident_mb(pid: int) -> float:
    """Resident memory of a process (Linux)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def figures(url: str) -> defaultdict[str, float]:
    """What the service's metrics say, those with labels summed up; 0 where they do not say it yet."""
    found: defaultdict[str, float] = defaultdict(float)
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        for name, value in re.findall(rb"^stream_balance_(\w+)(?:\{[^}]*\})? (\S+)$", answer.read(), re.MULTILINE):
            found[name.decode()] += float(value)
    return found


def soak_run(
    settings: Settings, impressions: int, sender: Callable[[str], list[str]], *, steps: int, bootstrap: str | None
) -> list[float]:
    """Resident memory in each of so many parts of what is sent by the command `sender(bootstrap)`."""
    with tempfile.TemporaryDirectory() as name, broker(bootstrap) as address:
        create_log_topics(KafkaSettings(bootstrap=address), PARTITIONS)
        command = [
            sys.executable, "-m", "stream_balance", "run", "--bootstrap", address, "--port", "0",
            "--checkpoint-dir", f"{name}/state", "--set", "log.level=info", *_as_flags(settings),
        ]  # fmt: skip
        log = Path(name) / "log"
        with (
            log.open("wb") as told,
            subprocess.Popen(sender(address)) as sending,
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told) as service,
        ):
            try:
                memory = _watch(service, log, impressions, steps)
                service.send_signal(signal.SIGTERM)
                assert service.wait(30.0) == 0, log.read_text()[-2000:]
                print(f"stopped: {log.read_text().splitlines()[-1]}")
                return memory
            finally:
                for process in (sending, service):
                    if process.poll() is None:
                        process.kill()


def _watch(service: subprocess.Popen[bytes], log: Path, impressions: int, steps: int) -> list[float]:
    url, end = None, time.monotonic() + STARTS_S
    while url is None and time.monotonic() < end:
        time.sleep(LOOK_S)
        found = re.search(r"report (http\S+)/report\.json", log.read_text())
        url = found[1] if found else None
    assert url is not None, log.read_text()
    memory: list[float] = []
    looks: list[float] = []
    began = time.monotonic()
    print(f"{'impressions':>12}{'resident MB':>13}{'impressions/s':>15}{'held':>9}{'checkpoints':>13}{'lag':>10}")
    while len(memory) < steps:
        time.sleep(LOOK_S)
        assert service.poll() is None, log.read_text()[-2000:]
        looks.append(resident_mb(service.pid))
        try:
            now = figures(url)
        except OSError:  # too busy to say
            continue
        if now["examples_in_total"] < (len(memory) + 1) * impressions / steps - HELD_BACK:
            continue
        speed, began = impressions / steps / (time.monotonic() - began), time.monotonic()
        memory.append(statistics.median(looks))
        looks.clear()
        print(
            f"{now['examples_in_total']:12,.0f}{memory[-1]:13.1f}{speed:15,.0f}{now['held_impressions']:9,.0f}"
            f"{now['checkpoints_total']:13,.0f}{now['consumer_lag_records']:10,.0f}",
            flush=True,
        )
    return memory


def _as_flags(settings: Settings) -> list[str]:
    """Those that are not their defaults, as flags."""
    flags = []
    for section, values in settings.model_dump(mode="json", exclude_defaults=True).items():
        pairs = values.items() if isinstance(values, dict) else [(None, values)]
        for key, value in pairs:
            name = section if key is None else f"{section}.{key}"
            flags += ["--set", f"{name}={value}"]
    return flags
