"""A stage for alerts: one real Kafka; for each act a real service, what feeds it, and a Prometheus with our rules."""

from __future__ import annotations

import re
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from stream_balance.edge.kafka import KafkaSettings
from stream_balance.edge.kafka.produce import create_log_topics
from tests.conftest import ROOT
from tests.integration.conftest import OwnBroker, free_ports
from tests.integration.test_run import Running, command, flags
from tests.observability.test_prometheus import Prometheus

LOOK_S = 0.5
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LIMIT_MIN_S = 10  # a limit of seconds is not divided below this: a loaded machine alone takes as long


def hurried(rules: str, by: float) -> str:
    """The rules with every time divided: `for`, ranges, steps and offsets (none below two seconds), limits in seconds.

    >>> hurried("expr: rate(x[5m] offset 1h)\\n for: 30s", 10)
    'expr: rate(x[30s] offset 360s)\\n for: 3s'
    >>> hurried("expr: max(lag_seconds) > 60 and age_seconds > 300 and rows > 300", 10)
    'expr: max(lag_seconds) > 10 and age_seconds > 30 and rows > 300'
    """

    def shorter(found: re.Match[str]) -> str:
        return f"{max(2, round(int(found[1]) * UNITS[found[2]] / by))}s"

    def lower(found: re.Match[str]) -> str:
        return f"{found[1]}{max(LIMIT_MIN_S, round(int(found[2]) / by))}"

    if by <= 1:
        return rules
    places = re.compile(r"\[[^\]]+\]|offset \w+|for: \w+")
    times = places.sub(lambda place: re.sub(r"(\d+)([smhd])\b", shorter, place[0]), rules)
    return re.sub(r"(_seconds\)? > )(\d+)", lower, times)


@dataclass
class Act:
    """A service on topics of its own, and what watches it."""

    stage: Stack
    folder: Path
    settings: KafkaSettings
    hurry: float
    more: tuple[str, ...]
    port: int = field(default_factory=lambda: free_ports(1)[0])
    feeders: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
        self.start_service()
        self.prometheus = Prometheus(self.folder, self.service.url, hurried(rules, self.hurry), every_s=2)

    def start_service(self) -> None:
        """Start it, or start it again on its checkpoints."""
        saving = (
            "--set",
            f"checkpoint.dir={self.folder / 'state'}",
            "--set",
            f"checkpoint.interval_s={30 / self.hurry}",
        )
        bearing = ("--set", "bad.share_max=1.0", "--set", "join.window_s=60")
        self.service = Running(self.settings, "--port", str(self.port), *saving, *bearing, *self.more)

    def kill_service(self) -> None:
        self.service.process.kill()
        self.service.process.communicate()

    def of_the_service(self, metric: str) -> list[float]:
        """The figures of a metric as the service itself shows them now."""
        with urllib.request.urlopen(f"{self.service.url}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return [sample.value for family in families for sample in family.samples if sample.name == metric]

    def feed(self, lines: Iterable[bytes], speed: float | None, *more: str) -> subprocess.Popen[bytes]:
        """Send them at so many times their own speed; None = as fast as it goes. `more` are flags of `produce`."""
        log = self.folder / f"{len(self.feeders)}.jsonl"
        log.write_bytes(b"".join(line + b"\n" for line in lines))
        pace = () if speed is None else ("--speed", str(speed))
        sender = subprocess.Popen(
            command("produce", log, *flags(self.settings), *pace, *more, "--quiet"), stderr=subprocess.DEVNULL
        )
        self.feeders.append(sender)
        return sender

    def firing(self) -> set[str]:
        return {each["metric"]["alertname"] for each in self.prometheus.ask('ALERTS{alertstate="firing"}')}

    def expect(self, alert: str, cause: str, *, more_s: float = 0.0, step: Callable[[], None] = lambda: None) -> None:
        """Wait until an alert fires; `step` is done between the looks."""
        began = time.monotonic()
        patience_s = 120.0 + 1_200.0 / self.hurry + more_s
        while alert not in (now := self.firing()):
            if time.monotonic() - began > patience_s:
                self.stage.failed.append(alert)
                beside = ", ".join(sorted(now)) or "none"
                print(f"{cause:34} {alert} did NOT fire within {patience_s:.0f} s; firing: {beside}", flush=True)
                return
            step()
            time.sleep(LOOK_S)
        beside = ", ".join(sorted(now - {alert}))
        more = f"; beside it: {beside}" if beside else ""
        print(f"{cause:34} {alert} fires after {time.monotonic() - began:.0f} s{more}", flush=True)

    def until_silent(self) -> None:
        """Wait until nothing fires any more; who goes on firing is told."""
        end = time.monotonic() + 120.0 + 1_200.0 / self.hurry
        while (now := self.firing()) and time.monotonic() < end:
            time.sleep(LOOK_S)
        print(f"{'  mended':34} {'silent again' if not now else 'still firing: ' + ', '.join(sorted(now))}", flush=True)

    def end(self) -> None:
        for feeder in self.feeders:
            feeder.kill()
            feeder.wait()
        self.kill_service()
        self.prometheus.end()


@dataclass
class Stack:
    """What all acts share, and which alerts were not as they should be."""

    folder: Path
    broker: OwnBroker
    hurry: float
    load_s: float = 60.0
    partitions: int = 2
    now: Act | None = None
    failed: list[str] = field(default_factory=list)

    def act(self, name: str, *more: str, hurry: float | None = None) -> Act:
        """The next one, on topics that nobody has used; the one before ends. `more` are flags of the service."""
        self.end_act()
        unique = f"{name}-{uuid.uuid4().hex[:8]}"
        topics = {f"{kind}_topic": f"{kind}-{unique}" for kind in ("search", "purchase", "predictions")}
        settings = KafkaSettings(bootstrap=self.broker.bootstrap, group_id=unique, **topics)
        create_log_topics(settings, self.partitions)
        folder = self.folder / unique
        folder.mkdir()
        self.now = Act(self, folder, settings, hurry or self.hurry, more)
        return self.now

    def end_act(self) -> None:
        if self.now is not None:
            self.now.end()
        self.now = None

    def healthy(self, act: Act) -> None:
        """Load for a while: figures come, no alert fires."""
        act.prometheus.until("rate(stream_balance_examples_matured_total[10s]) > 0", 180.0)
        seen: set[str] = set()
        end = time.monotonic() + self.load_s
        while time.monotonic() < end:
            seen |= act.firing()
            time.sleep(LOOK_S)
        (rate,) = self.asked(act, f"sum(rate(stream_balance_events_total[{self.load_s:.0f}s]))")
        (scrapes,) = self.asked(act, f'count_over_time(up{{job="stream-balance"}}[{self.load_s:.0f}s])')
        self.failed += sorted(seen)
        told = f"{self.load_s:.0f} s, {float(rate):.0f} events/s, {scrapes} scrapes"
        print(f"{'healthy load':34} {told}; fired: {', '.join(sorted(seen)) or 'none'}", flush=True)

    @staticmethod
    def asked(act: Act, expression: str) -> list[str]:
        answers: list[dict[str, Any]] = act.prometheus.ask(expression)
        return [str(each["value"][1]) for each in answers]

    def end(self) -> None:
        self.end_act()
        self.broker.kill()
