"""Soak: does memory stay flat? Millions of impressions through the whole replay, from bytes, with ever new users,
items, categories and levels, so that every bound of memory is reached early and churns to the end.

    python benchmarks/soak.py [--impressions 5000000] [--seed 0] [--strategy auto] [--growth-max 0.05] [--run]

A child process makes the records, so that what is measured is the service alone: decode, order, join, features, score,
metrics, balance, learn, and a report now and then. Prints resident memory and speed over time; ends with 1 if memory at
the end is more than `--growth-max` above what it was after 20 %. With `--run` they go through a real Kafka and the
service itself, see `soak_run`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import orjson

from benchmarks.soak_run import send, soak_run
from stream_balance.core.balance import BalanceSettings
from stream_balance.core.features import FeatureSettings
from stream_balance.core.join import JoinSettings
from stream_balance.core.order import OrderSettings
from stream_balance.core.tiers import TierSettings
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.logfile import read_lines
from stream_balance.service import Session, drive, make_pipeline
from stream_balance.settings import Settings

ITEMS = 20  # of one search
NUMBERS = 8  # numeric features of an item
START_MS = 1_772_352_000_000
GAP_MS = 360  # between searches
WINDOW_S = 3600.0  # so some 200,000 impressions are held
STEPS = 20


def records(impressions: int, seed: int) -> Iterator[bytes]:
    """Searches and their purchases as JSON lines in order of time; who and what appears moves on all the time."""
    rng = np.random.default_rng(seed)
    waiting: list[tuple[int, bytes]] = []
    weights = rng.normal(size=NUMBERS) * 0.7
    for s in range(impressions // ITEMS):
        at_ms = START_MS + s * GAP_MS
        while waiting and waiting[0][0] <= at_ms:
            yield waiting.pop(0)[1]
        values = rng.normal(size=(ITEMS, NUMBERS)).round(4)
        moved = s // 5
        ids = [f"item-{moved + int(i)}" for i in rng.zipf(1.3, ITEMS).clip(0, 20_000)]
        user = f"user-{moved + int(rng.integers(10_000))}"
        items = [
            {
                "item_id": ids[n], "position": n + 1, "price": round(float(rng.uniform(1, 90)), 2),
                "category": f"c{s // 50 + n}",
                "features": {**{f"x{j}": v for j, v in enumerate(row)}, "brand": f"b{s // 20 + n}"},
            }
            for n, row in enumerate(values.tolist())
        ]  # fmt: skip
        search = {"event_id": f"s-{s}", "ts": at_ms, "user_id": user, "query": "red shoes", "items": items}
        yield orjson.dumps(search)
        if s % 400 == 0:
            yield orjson.dumps(search)[: int(rng.integers(10, 200))]  # cut short
        for n in np.flatnonzero(rng.random(ITEMS) < 1 / (1 + np.exp(-(values @ weights - 5)))).tolist():
            due_ms = at_ms + int(rng.integers(1_000, 1_800_000))
            bought = {"event_id": f"p-{s}-{n}", "ts": due_ms, "user_id": user, "item_id": ids[n], "search_id": f"s-{s}"}
            waiting.append((due_ms, orjson.dumps(bought)))
        waiting.sort()


def soak_settings(seed: int, strategy: str | None) -> Settings:
    """Bounds that are reached within the first fifth."""
    return Settings(
        seed=seed,
        balance=BalanceSettings(strategy=strategy),
        order=OrderSettings(disorder_max_s=5.0),
        join=JoinSettings(window_s=WINDOW_S),
        features=FeatureSettings(items_max=20_000, users_max=20_000, categories_max=1_000),
        tiers=TierSettings(items_max=20_000),
        wire=WireSettings(interned_max=50_000),
    )


def resident_mb() -> float:
    """Resident memory of this process (Linux)."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def soak(impressions: int, seed: int, strategy: str | None) -> list[float]:
    """Resident memory after each of the `STEPS` parts."""
    settings = soak_settings(seed, strategy)
    codec, session = Codec(settings.wire), Session(make_pipeline(settings), settings)
    memory: list[float] = []
    began = [time.monotonic()]
    print(f"{'impressions':>12}{'resident MB':>13}{'impressions/s':>15}{'held':>9}{'matured':>11}{'positive':>10}")

    def step(_: int, *, last: bool = False) -> None:
        counts = session.pipeline.joiner.counts
        if counts.in_ < (len(memory) + 1) * impressions / STEPS and not last:
            return
        session.report(digest=False)
        now = time.monotonic()
        speed, began[0] = impressions / STEPS / (now - began[0]), now
        memory.append(resident_mb())
        print(
            f"{counts.in_:12,}{memory[-1]:13.1f}{speed:15,.0f}{counts.held:9,}{counts.matured:11,}{counts.positive:10,}",
            flush=True,
        )

    command = [sys.executable, __file__, "--make", "--impressions", str(impressions), "--seed", str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = (line.rstrip(b"\n") for line in child.stdout)
        drive(read_lines(lines, codec), session, threading.Event(), on_turn=step)
    step(0, last=True)
    beyond = session.pipeline.vitals()["beyond_bounds"]
    print(f"beyond bounds {beyond}, strings afresh {codec.afresh}, bad {session.pipeline.bad}")
    return memory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, default=5_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategy", default=None, help="auto unless told otherwise")
    parser.add_argument("--growth-max", type=float, default=0.05)
    parser.add_argument("--make", action="store_true", help="only write the records to standard output")
    parser.add_argument("--run", action="store_true", help="the service beside a real Kafka, not a replay")
    parser.add_argument("--bootstrap", default=None, help="with --run: a broker; its topics must not be there yet")
    parser.add_argument("--send", action="store_true", help="only send the records to --bootstrap")
    options = parser.parse_args()
    if options.make:
        for line in records(options.impressions, options.seed):
            sys.stdout.buffer.write(line + b"\n")
        return 0
    if options.send:
        send(options.bootstrap, records(options.impressions, options.seed))
        return 0
    if options.run:
        same = ["--impressions", str(options.impressions), "--seed", str(options.seed)]
        memory = soak_run(
            soak_settings(options.seed, options.strategy), options.impressions,
            lambda bootstrap: [sys.executable, __file__, "--send", "--bootstrap", bootstrap, *same],
            steps=STEPS, bootstrap=options.bootstrap,
        )  # fmt: skip
    else:
        memory = soak(options.impressions, options.seed, options.strategy)
    early, late = memory[STEPS // 5 - 1], memory[-1]
    growth = late / early - 1.0
    print(f"resident after 20 %: {early:.1f} MB, at the end: {late:.1f} MB ({growth:+.1%})")
    return 0 if growth <= options.growth_max else 1


if __name__ == "__main__":
    sys.exit(main())
