"""The stack by hand, without Docker: a real Kafka, the real service under load, a real Prometheus with our rules; then
the causes of alerts are made, one by one, and what fires is told.

    python -m tests.observability.stack --load-s 120 --hurry 10   # needs KAFKA_HOME, java and prometheus

`--hurry N` divides every time in the rules by N (1 = as they are deployed; the whole then takes about an hour).
Exit code 1 if an alert that should fire did not, or if one fired under healthy load.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stream_balance.edge.kafka import KafkaSettings
from stream_balance.edge.kafka.produce import create_log_topics
from stream_balance.simulation.shop import generate
from tests.conftest import ROOT
from tests.integration.conftest import OwnBroker, free_ports, kafka_home, kafka_of
from tests.integration.test_run import Running, command, flags
from tests.observability.test_prometheus import Prometheus

LOOK_S = 0.5
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def hurried(rules: str, by: float) -> str:
    """The rules with every time divided: `for`, ranges, steps and offsets; none below two seconds.

    >>> hurried("expr: rate(x[5m] offset 1h)\\n for: 30s", 10)
    'expr: rate(x[30s] offset 360s)\\n for: 3s'
    """

    def shorter(found: re.Match[str]) -> str:
        return f"{max(2, round(int(found[1]) * UNITS[found[2]] / by))}s"

    places = re.compile(r"\[[^\]]+\]|offset \w+|for: \w+")
    return places.sub(lambda place: re.sub(r"(\d+)([smhd])\b", shorter, place[0]), rules)


@dataclass
class Stack:
    """What runs, and what was seen."""

    folder: Path
    broker: OwnBroker
    settings: KafkaSettings
    hurry: float
    port: int
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    service: Running | None = None
    prometheus: Prometheus | None = None
    failed: list[str] = field(default_factory=list)

    def watch(self, service: Running, folder: Path) -> None:
        """A Prometheus of its own for a service."""
        rules = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
        self.prometheus = Prometheus(folder, service.url, hurried(rules, self.hurry), every_s=2)

    def end_watch(self) -> None:
        if self.prometheus is not None:
            self.prometheus.end()
        self.prometheus = None

    def start_service(self, settings: KafkaSettings | None = None, state: Path | None = None) -> Running:
        self.service = Running(
            settings or self.settings, "--port", str(self.port), "--set", "join.window_s=60", "--set",
            "bad.share_max=1.0", "--set", f"checkpoint.dir={state or self.folder / 'state'}",
        )  # fmt: skip
        return self.service

    def feed(self, log: Path, settings: KafkaSettings | None = None, speed: float = 40.0) -> subprocess.Popen[bytes]:
        chosen = flags(settings or self.settings)
        process = subprocess.Popen(
            command("produce", log, *chosen, "--speed", str(speed), "--quiet"), stderr=subprocess.DEVNULL
        )
        self.processes.append(process)
        return process

    def kill_service(self) -> None:
        assert self.service is not None
        self.service.process.kill()
        self.service.process.communicate()

    def ask(self, expression: str) -> list[dict[str, Any]]:
        assert self.prometheus is not None
        return self.prometheus.ask(expression)

    def firing(self) -> set[str]:
        return {each["metric"]["alertname"] for each in self.ask('ALERTS{alertstate="firing"}')}

    def expect(self, alert: str, cause: str, patience_s: float, step: Callable[[], None] = lambda: None) -> None:
        """Wait until an alert fires; `step` is done between the looks."""
        began = time.monotonic()
        while alert not in (now := self.firing()):
            if time.monotonic() - began > patience_s:
                self.failed.append(alert)
                print(f"{cause:34} {alert} did NOT fire within {patience_s:.0f} s; firing: {sorted(now) or 'none'}")
                return
            step()
            time.sleep(LOOK_S)
        beside = sorted(now - {alert})
        more = f"; beside it: {', '.join(beside)}" if beside else ""
        print(f"{cause:34} {alert} fires after {time.monotonic() - began:.0f} s{more}", flush=True)

    def until_silent(self, patience_s: float) -> None:
        """Wait until nothing fires any more; who goes on firing is told."""
        end = time.monotonic() + patience_s
        while (now := self.firing()) and time.monotonic() < end:
            time.sleep(LOOK_S)
        print(f"{'  mended':34} {'silent again' if not now else 'still firing: ' + ', '.join(sorted(now))}", flush=True)

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        if self.service is not None:
            self.kill_service()
        self.end_watch()
        self.broker.kill()


def topics(broker: OwnBroker) -> KafkaSettings:
    """Two topics of their own."""
    unique = uuid.uuid4().hex[:8]
    names = {f"{name}_topic": f"{name}-{unique}" for name in ("search", "purchase", "predictions")}
    settings = KafkaSettings(bootstrap=broker.bootstrap, group_id=f"group-{unique}", **names)
    create_log_topics(settings, 2)
    return settings


def healthy(stack: Stack, load_s: float) -> None:
    """Load for a while: figures come, no alert fires."""
    stack.watch(stack.start_service(), stack.folder)
    assert stack.prometheus is not None
    stack.prometheus.until("rate(stream_balance_examples_matured_total[10s]) > 0", 180.0)
    seen: set[str] = set()
    end = time.monotonic() + load_s
    while time.monotonic() < end:
        seen |= stack.firing()
        time.sleep(LOOK_S)
    (rate,) = stack.ask(f"sum(rate(stream_balance_events_total[{int(load_s)}s]))")
    scrapes = stack.ask(f'count_over_time(up{{job="stream-balance"}}[{int(load_s)}s])')
    stack.failed += sorted(seen)
    told = f"{load_s:.0f} s, {float(rate['value'][1]):.0f} events/s, {scrapes[0]['value'][1]} scrapes"
    print(f"{'healthy load':34} {told}; fired: {', '.join(sorted(seen)) or 'none'}", flush=True)


def causes(stack: Stack, feeder: subprocess.Popen[bytes], patience_s: float) -> None:
    """Make the cause of one alert after another."""
    broken = stack.folder / "broken.jsonl"
    broken.write_text("this is no event\n" * 2_000)
    stack.feed(broken)
    stack.expect("StreamBalanceDeadLetters", "records are broken", patience_s)
    stack.broker.stop()
    stack.expect("StreamBalanceBrokerAway", "the broker is stopped", patience_s)
    stack.broker.start()
    stack.until_silent(patience_s)
    feeder.kill()
    feeder.wait()
    stack.expect("StreamBalanceNoEvents", "the producer is killed", patience_s)
    stack.kill_service()
    stack.expect("StreamBalanceDown", "the service is killed", patience_s)

    def restart() -> None:
        stack.start_service()
        assert stack.prometheus is not None
        stack.prometheus.until('up{job="stream-balance"} == 1')
        time.sleep(2.0)  # long enough to be scraped
        stack.kill_service()

    stack.expect("StreamBalanceRestartLoop", "it is restarted again and again", patience_s, restart)


def purchases_never_come(stack: Stack, patience_s: float) -> None:
    """Another service and another Prometheus, which have never seen a purchase."""
    searches, folder = stack.folder / "searches.jsonl", stack.folder / "lonely"
    folder.mkdir()
    searches.write_bytes(b"".join(line + b"\n" for line in generate(6_000, seed=3) if b'"items"' in line))
    lonely = topics(stack.broker)
    stack.end_watch()
    stack.watch(stack.start_service(lonely, folder / "state"), folder)
    assert stack.prometheus is not None
    stack.prometheus.until('up{job="stream-balance"} == 1')
    stack.feed(searches, lonely, speed=200.0)
    stack.expect("StreamBalanceOneClassOnly", "purchases never come", patience_s)
    stack.expect("StreamBalanceNoPositives", "purchases never come", patience_s)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load-s", type=float, default=120.0)
    parser.add_argument("--hurry", type=float, default=10.0)
    chosen = parser.parse_args()
    home = kafka_home()
    if home is None:
        print("needs KAFKA_HOME, a folder with Kafka's libs/, and java on the path", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave no process behind
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broker = kafka_of(home, folder)
        broker.start()
        stack = Stack(folder, broker, topics(broker), chosen.hurry, free_ports(1)[0])
        try:
            log = folder / "shop.jsonl"
            log.write_bytes(b"".join(line + b"\n" for line in generate(60_000, seed=7)))
            feeder = stack.feed(log)
            healthy(stack, chosen.load_s)
            patience_s = 120.0 + 1_200.0 / chosen.hurry
            causes(stack, feeder, patience_s)
            purchases_never_come(stack, patience_s)
        finally:
            stack.end()
    print("as it should be" if not stack.failed else f"not as it should be: {', '.join(stack.failed)}")
    return 1 if stack.failed else 0


if __name__ == "__main__":
    sys.exit(main())
