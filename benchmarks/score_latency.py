"""How long POST /score takes for a search of 20 items while the service learns: idle, at half and at full load.

    python benchmarks/score_latency.py [--requests 1000] [--per-second 50] [-- --strategy auto]

The service is `stream-balance demo` in a process of its own; capacity is what it does with `--rate 0` under the same
requests' absence. One client with one connection sends at fixed moments, whether or not the last answer was slow.

On a machine that does other work too, `chrt -r 10 python benchmarks/score_latency.py` puts service and client before
that work, and the service's children (which leave real-time priority by themselves) behind the service but before it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "stream_balance", "demo", "--seed", "7", "--port", "0", "--set", "join.window_s=300"]


def capacity(events: int, more: list[str]) -> float:
    """Events a second, as fast as it can, HTTP thread idle."""
    command = [*COMMAND, *more, "--rate", "0", "--max-events", str(events), "--report", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process, prefer(process):
        report, _ = process.communicate()
    return events / float(json.loads(report)["throughput"]["wall_s"])


def request() -> bytes:
    items = [
        {"item_id": f"i-{i}", "position": i + 1, "price": 9.5 + i, "category": f"c-{i % 4}",
         "features": {"rating": 4.0 - i / 10, "brand": f"b-{i % 5}", "embedding": [0.1 * i, 0.2, -0.3, 0.4]}}
        for i in range(20)
    ]  # fmt: skip
    return json.dumps({"schema": 1, "user_id": "u-3", "query": "red shoes", "items": items}).encode()


def latencies(address: str, requests: int, per_second: float) -> list[float]:
    """Milliseconds from the moment a request was due to its whole answer, sorted."""
    connection = http.client.HTTPConnection(address, timeout=30)
    body, headers = request(), {"Content-Type": "application/json"}
    found = []
    start = time.perf_counter() + 0.1
    for number in range(requests):
        due = start + number / per_second
        time.sleep(max(0.0, due - time.perf_counter()))
        connection.request("POST", "/score", body, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        found.append((time.perf_counter() - due) * 1000)
    connection.close()
    return sorted(found)


@contextmanager
def prefer(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Where we have real-time priority, the children of `process` get the least of it."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(1.0):
            with suppress(OSError):
                for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
                    for child in children.read_text().split():
                        for task in os.listdir(f"/proc/{child}/task"):
                            os.sched_setscheduler(int(task), os.SCHED_OTHER, os.sched_param(0))
                            os.setpriority(os.PRIO_PROCESS, int(task), -20)

    thread = threading.Thread(target=look)
    if os.sched_getscheduler(0) == os.SCHED_RR:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.ident is not None:
            thread.join()


def under(rate: float, warm_up_s: float, requests: int, per_second: float, more: list[str]) -> list[float]:
    """Latencies while the demo runs at `rate` events a second."""
    process = subprocess.Popen(
        [*COMMAND, *more, "--rate", str(rate)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    with prefer(process):
        return asked(process, warm_up_s, requests, per_second)


def asked(process: subprocess.Popen[str], warm_up_s: float, requests: int, per_second: float) -> list[float]:
    """Latencies of a demo, which is ended."""
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        address = line.split("http://")[1].split("/")[0]
        time.sleep(warm_up_s)
        return latencies(address, requests, per_second)
    finally:
        process.terminate()
        process.communicate()


def show(name: str, found: list[float]) -> None:
    def at(share: float) -> float:
        return found[min(len(found) - 1, int(share * len(found)))]

    print(f"{name:34} p50 {at(0.5):6.2f} ms   p90 {at(0.9):6.2f} ms   p99 {at(0.99):6.2f} ms   max {found[-1]:6.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--per-second", type=float, default=50.0)
    parser.add_argument("--events", type=int, default=20_000, help="to measure the capacity with")
    parser.add_argument("--warm-up-s", type=float, default=15.0)
    parser.add_argument("more", nargs="*", help="for the demo, after --: flags of its own")
    chosen: Any = parser.parse_args()
    able = capacity(chosen.events, chosen.more)
    print(f"capacity {able:,.0f} events/s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, rate in (("idle (5 events/s)", 5.0), ("half the capacity", able / 2), ("as fast as it can", 0.0)):
        warm_up_s = 2.0 if rate == 5.0 else chosen.warm_up_s
        show(f"{name}", under(rate, warm_up_s, chosen.requests, chosen.per_second, chosen.more))


if __name__ == "__main__":
    main()
