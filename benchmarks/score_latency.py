"""How long POST /score takes for a search of 20 items while the service learns: idle, at half and at full load.

    python benchmarks/score_latency.py [--requests 1000] [--per-second 50]

The service is `stream-balance demo` in a process of its own; capacity is what it does with `--rate 0` under the same
requests' absence. One client with one connection sends at fixed moments, whether or not the last answer was slow.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import time
from typing import Any

COMMAND = [sys.executable, "-m", "stream_balance", "demo", "--seed", "7", "--port", "0", "--set", "join.window_s=300"]


def capacity(events: int) -> float:
    """Events a second, as fast as it can, HTTP thread idle."""
    done = subprocess.run(
        [*COMMAND, "--rate", "0", "--max-events", str(events), "--report", "-"], capture_output=True, check=True
    )
    return events / float(json.loads(done.stdout)["throughput"]["wall_s"])


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


def under(rate: float, warm_up_s: float, requests: int, per_second: float) -> list[float]:
    """Latencies while the demo runs at `rate` events a second."""
    process = subprocess.Popen(
        [*COMMAND, "--rate", str(rate)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
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
    chosen: Any = parser.parse_args()
    able = capacity(chosen.events)
    print(f"capacity {able:,.0f} events/s; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, rate in (("idle (5 events/s)", 5.0), ("half the capacity", able / 2), ("as fast as it can", 0.0)):
        warm_up_s = 2.0 if rate == 5.0 else chosen.warm_up_s
        show(f"{name}", under(rate, warm_up_s, chosen.requests, chosen.per_second))


if __name__ == "__main__":
    main()
