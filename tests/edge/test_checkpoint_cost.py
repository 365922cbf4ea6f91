"""What a checkpoint costs the loop does not grow with what is held; what it costs its child, and a restart, grows in
proportion and no faster. `python benchmarks/checkpoint.py` measures the seconds for a million impressions held.
"""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.checkpoint import COLUMNS, holding
from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.keeper import About, Keeper, Snapshot
from stream_balance.edge.checkpoint.settings import CheckpointSettings
from stream_balance.edge.checkpoint.store import Store, file_name
from stream_balance.edge.checkpoint.writer import ForkWriter, InlineWriter, Writer

FEW, MANY = 2_000, 40_000  # impressions held
ITEMS = 20


def calls_of(work: Callable[[], object]) -> int:
    """How many functions, Python's and C's, are called meanwhile in this thread."""
    calls = 0

    def count(_frame: Any, event: str, _what: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def peak_of(work: Callable[[], object]) -> int:
    """How many bytes it takes meanwhile in this process, at most."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def keeper_of(folder: Path, writer: Writer) -> Keeper:
    disk = LocalDisk(folder)
    keeper = Keeper(Store(disk, AllowList()), disk, writer, CheckpointSettings(), About("kafka", {}, {}))
    keeper.resume(None)
    return keeper


def saved(folder: Path, pipeline: Pipeline) -> Path:
    keeper = keeper_of(folder, InlineWriter())
    keeper.start(Snapshot({"pipeline": pipeline}, {}, {}))
    assert keeper.settled() is not None
    return folder / file_name(keeper.latest)


@pytest.fixture(scope="module")
def pipelines() -> dict[int, Pipeline]:
    return {held: holding(held, ITEMS) for held in (FEW, MANY)}


def test_the_loop_does_no_more_for_a_checkpoint_when_more_is_held(
    pipelines: dict[int, Pipeline], tmp_path: Path
) -> None:
    calls, bytes_ = {}, {}
    for held, pipeline in pipelines.items():
        folder, writer = tmp_path / str(held), ForkWriter(600.0)
        keeper = keeper_of(folder, writer)
        snapshot = Snapshot({"pipeline": pipeline}, {}, {})
        for count, into in ((calls_of, calls), (peak_of, bytes_)):
            into[held] = count(lambda keeper=keeper, snapshot=snapshot: keeper.start(snapshot))
            keeper.abandon()
    assert calls[MANY] == calls[FEW]
    assert bytes_[MANY] < 1.1 * bytes_[FEW] + 10_000
    # What a copy of the state, or its pickle, would take: the measure can fail.
    inline = keeper_of(tmp_path / "inline", InlineWriter())
    assert peak_of(lambda: inline.start(Snapshot({"pipeline": pipelines[MANY]}, {}, {}))) > 10 * bytes_[MANY]


def test_a_file_has_the_numbers_of_what_is_held_and_little_beside(
    pipelines: dict[int, Pipeline], tmp_path: Path
) -> None:
    few, many = (saved(tmp_path / str(held), pipelines[held]).stat().st_size for held in (FEW, MANY))
    assert (many - few) / (MANY - FEW) < 1.5 * 8 * (COLUMNS + 3)


def test_a_restart_does_for_each_search_what_it_does_for_the_first(
    pipelines: dict[int, Pipeline], tmp_path: Path
) -> None:
    calls = {}
    for held, pipeline in pipelines.items():
        store = Store(LocalDisk(saved(tmp_path / str(held), pipeline).parent), AllowList())
        calls[held] = calls_of(store.newest)
    each = (calls[MANY] - calls[FEW]) / ((MANY - FEW) / ITEMS)
    assert each < 8, "so many calls of functions for a search held"
