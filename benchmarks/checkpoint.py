"""What a checkpoint of a million held impressions costs: how long the loop stands still, how long it takes to write and
to restore.

    python benchmarks/checkpoint.py --items 20     # items a search; 1 is the worst case for objects, 20 for bytes
"""

from __future__ import annotations

import argparse
import gc
import resource
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Scored
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.format import Header
from stream_balance.edge.checkpoint.store import Store, file_name, temporary_name
from stream_balance.edge.checkpoint.writer import ForkWriter
from stream_balance.edge.http_settings import HttpSettings
from stream_balance.edge.pauses import handing_over
from stream_balance.service import make_pipeline
from stream_balance.settings import Settings
from stream_balance.testing import make_search

COLUMNS = 20
SHOP = [f"item-{i}" for i in range(5_000)]


def holding(held: int, items: int = 20) -> Pipeline:
    """A pipeline that holds so many impressions, in searches of so many items."""
    pipeline = make_pipeline(Settings())
    rng, n = np.random.default_rng(0), items
    users, positions = [f"user-{i}" for i in range(50_000)], tuple(range(1, n + 1))
    for i in range(held // n):
        block = Scored.sealed(rng.random((n, COLUMNS + 3)).tobytes(), i * 1_000)
        shown = tuple(SHOP[k] for k in rng.integers(0, len(SHOP), n))
        pipeline.joiner.hold(Scored(f"held-{i:09d}", users[i % len(users)], shown, positions, bytes(n), COLUMNS, block))
    return pipeline


def main() -> None:
    """Build, save beside a loop that goes on scoring, restore, stop; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=20)
    parser.add_argument("--held", type=int, default=1_000_000)
    asked = parser.parse_args()
    n = asked.items
    pipeline = holding(asked.held, n)
    began = time.perf_counter()
    digest = pipeline.state_digest()
    digest_s = time.perf_counter() - began
    threading.Thread(target=threading.Event().wait, daemon=True).start()  # as beside the client's and HTTP threads
    with tempfile.TemporaryDirectory() as name, handing_over(HttpSettings().switch_s):  # as the service does
        store = Store(LocalDisk(Path(name)), AllowList())
        header = Header(1, "", "kafka", {}, {}, "", {})
        writer = ForkWriter(600.0)
        began = time.perf_counter()
        writer.start(store.write(header, {"pipeline": pipeline, "plan": []}))
        stop_s = time.perf_counter() - began
        turns = []
        outcome = None
        while outcome is None:
            began_turn = time.perf_counter()
            at = asked.held // n + len(turns)
            pipeline.push(make_search(f"live-{at}", ts=at / 1000, items=SHOP[:20]))
            outcome = writer.poll()
            turns.append(time.perf_counter() - began_turn)
        assert outcome.error is None, outcome.error
        shutil.copy(Path(name) / temporary_name(1), Path(name) / file_name(0))  # one that is too much afterwards
        began = time.perf_counter()
        store.install(1)
        store.prune(1)
        place_s = time.perf_counter() - began
        rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        child_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        del pipeline
        gc.collect()
        began = time.perf_counter()
        loaded = store.newest()
        restore_s = time.perf_counter() - began
        assert loaded is not None
        assert loaded.state["pipeline"].state_digest() == digest, "the restored state is another"
    slow = np.quantile(turns, (0.5, 0.99, 1.0)) * 1000
    print(f"held {asked.held:,} impressions in searches of {n}, {COLUMNS} columns; {outcome.bytes / 1e6:.0f} MB")
    print(f"loop stood still {stop_s * 1000:.1f} ms, and {place_s * 1000:.1f} ms to put it in place and prune;")
    print(f"while it was written a turn took {slow[0]:.2f} ms in the median,")
    print(f"{slow[1]:.2f} ms in 99 %, {slow[2]:.1f} ms at most ({len(turns)} turns)")
    print(f"written in {outcome.seconds:.2f} s beside the loop; verified and restored in {restore_s:.2f} s")
    print(f"a stop takes {outcome.seconds + digest_s:.2f} s: that, and the final report's digest, {digest_s:.2f} s")
    print(f"memory: service {rss_mb:.0f} MB, writing process {child_mb:.0f} MB at most")


if __name__ == "__main__":
    main()
