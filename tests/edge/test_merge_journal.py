"""A merge that follows the journal of another takes the same order, whatever it is fed and when."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.journal import MergeJournal
from stream_balance.edge.merge import LaneKey, Merge, Polled
from stream_balance.errors import BadRecord
from stream_balance.live_saving import as_lanes
from stream_balance.testing import make_purchase, make_search

LANES: list[LaneKey] = [("s", 0), ("s", 1), ("p", 0), ("p", 1)]
Place = tuple[str, int, int]


def logs_of(rng: random.Random, size: int) -> dict[LaneKey, list[Polled]]:
    """Records with few different times, not always in order, some of them bad, with gaps in the offsets."""
    logs: dict[LaneKey, list[Polled]] = {}
    for key in LANES:
        offset = 0
        logs[key] = []
        for _ in range(rng.randrange(size)):
            offset += rng.choice((1, 1, 1, 3))
            record = Polled(*key, offset, record_time_us=0, value=b"%d" % offset)
            ts, name = rng.randrange(8) + offset // 4, f"{key[0]}{key[1]}-{offset}"
            if rng.random() < 0.15:
                record.bad = BadRecord("json", "not JSON")
            else:
                record.event = make_search(name, ts=ts) if key[0] == "s" else make_purchase(name, ts=ts)
            logs[key].append(record)
    return logs


class Reader:
    """Feeds a merge of what has been produced, in pieces, and knows the high-water mark of each fetch."""

    def __init__(self, logs: dict[LaneKey, list[Polled]], rng: random.Random) -> None:
        self.merge = Merge(LANES, run_max=3, run_bytes_max=1 << 20)
        self._logs = logs
        self._rng = rng
        self.order: list[Place] = []
        self.journal: list[tuple[int, dict[LaneKey, int]]] = []  # records out by then, positions

    def step(self, produced: dict[LaneKey, int]) -> None:
        key = self._rng.choice(LANES)
        position = self.merge.fetch_position(key)
        there = [record for record in self._logs[key][: produced[key]] if record.offset >= position]
        some = there[: self._rng.randrange(4)]
        if some:
            position = some[-1].offset + 1
        caught_up = len(some) == len(there)
        if caught_up and self._rng.random() < 0.5 and produced[key] < len(self._logs[key]):
            position = self._logs[key][produced[key]].offset  # behind a gap
        self.merge.feed(key, some, position=position, caught_up=caught_up)
        before = self.merge.unforced
        for record in self.merge.take(self._rng.choice((1, 2, 50))):
            if record.event is not None:
                self.order.append((record.topic, record.partition, record.offset))
        if self.merge.unforced > before:
            self.journal.append((len(self.order), self.merge.positions()))


def run(reader: Reader, produced: dict[LaneKey, int], logs: dict[LaneKey, list[Polled]], rng: random.Random) -> None:
    """Until all is produced and handed out."""
    for _ in range(20_000):
        if rng.random() < 0.3:
            key = rng.choice(LANES)
            produced[key] = min(len(logs[key]), produced[key] + rng.randrange(4))
        reader.step(produced)
        read = all(not logs[key] or reader.merge.fetch_position(key) > logs[key][-1].offset for key in LANES)
        if read and reader.merge.all_done():
            return
    pytest.fail(f"not done: blocked by {reader.merge.blocked_by()}, journal left {len(reader.merge.plan())}")


def written(plan: list[dict[LaneKey, int]], rng: random.Random) -> list[dict[LaneKey, int]]:
    """The entries as a journal may have them: all lanes, or those that differ from the entry before."""
    found, before = [], dict[LaneKey, int]()
    for entry in plan:
        changed = {lane: offset for lane, offset in entry.items() if before.get(lane) != offset}
        found.append(rng.choice((entry, changed)))
        before = entry
    return found


@given(seed=st.integers(0, 2**32), size=st.integers(1, 40))
def test_following_the_journal_repeats_the_order(seed: int, size: int) -> None:
    rng = random.Random(seed)
    logs = logs_of(rng, size)
    first = Reader(logs, rng)
    starts: list[tuple[int, dict[LaneKey, int]]] = []
    produced = dict.fromkeys(LANES, 0)
    for _ in range(rng.randrange(200)):
        starts.append((len(first.order), first.merge.positions()))
        key = rng.choice(LANES)
        produced[key] = min(len(logs[key]), produced[key] + rng.randrange(3))
        first.step(produced)
    done, positions = rng.choice(starts) if starts else (0, first.merge.positions())
    decided = first.journal[-1][0] if first.journal else 0

    second = Reader(logs, rng)
    for key, offset in positions.items():
        second.merge.start_at(key, offset)
    # Entries that the checkpoint had seen already are in the journal too when it fell back to an older one.
    second.merge.follow(written([entry for _, entry in first.journal], rng))
    if rng.random() < 0.5:  # half of the way; then from there on with what is left of the journal
        for _ in range(rng.randrange(60)):
            second.step(produced)
        third = Reader(logs, rng)
        for key, offset in second.merge.positions().items():
            third.merge.start_at(key, offset)
        third.merge.follow(second.merge.plan())
        third.order, second = second.order, third
    run(second, produced, logs, rng)
    repeated = max(0, decided - done)
    assert second.order[:repeated] == first.order[done:decided]
    everything = {(*key, r.offset) for key in LANES for r in logs[key] if r.event is not None}
    assert sorted([*first.order[:done], *second.order]) == sorted(everything)


@given(seed=st.integers(0, 2**32))
def test_a_journal_is_followed_on_over_any_number_of_restarts(seed: int) -> None:
    rng = random.Random(seed)
    logs = logs_of(rng, 30)
    produced = dict.fromkeys(LANES, 0)
    order: list[Place] = []  # what is decided for good
    journal: list[tuple[int, dict[LaneKey, int]]] = []
    plan = journal
    for life in range(6):
        reader = Reader(logs, rng)
        reader.merge.follow(written([entry for _, entry in plan], rng))
        if life == 5:
            run(reader, produced, logs, rng)
        else:
            for _ in range(rng.randrange(120)):
                key = rng.choice(LANES)
                produced[key] = min(len(logs[key]), produced[key] + rng.randrange(2))
                reader.step(produced)
        common = min(len(order), len(reader.order))
        assert reader.order[:common] == order[:common]
        journal += reader.journal
        if journal:
            longer = max(order, reader.order, key=len)
            order = longer[: journal[-1][0]]
        plan = journal
    assert len(reader.order) == sum(record.event is not None for log in logs.values() for record in log)


def test_a_topic_that_ends_before_what_was_read_of_it_is_named() -> None:
    merge = Merge(LANES[:1], run_max=3, run_bytes_max=100)
    merge.follow([{LANES[0]: 5}])
    merge.feed(LANES[0], [], position=2, caught_up=True)
    assert merge.take(10) == []
    assert not merge.all_done()
    assert merge.missing() == [(LANES[0], 2, 5)]


def test_a_journal_takes_some_ten_times_its_bytes_when_it_is_followed(tmp_path: Path) -> None:
    """Whole entries of many partitions took a hundred and forty times as much: 64 MB could not be recovered."""
    rng = random.Random(0)
    journal, lanes = (
        MergeJournal(LocalDisk(tmp_path)),
        [(topic, n) for topic in ("searches", "purchases") for n in range(12)],
    )
    positions = dict.fromkeys(lanes, 10_000_000)
    journal.begin(1)
    for _ in range(3_000):
        positions[rng.choice(lanes)] += 1
        journal.append(positions)
    journal.close()
    tracemalloc.start()
    try:
        merge = Merge(lanes, run_max=3, run_bytes_max=100)
        merge.follow(as_lanes(MergeJournal(LocalDisk(tmp_path)).recover(1)))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 20 * journal.size
