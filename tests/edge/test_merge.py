"""Merge: one total order out of many partitions, whatever the way they are fed."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.edge.merge import LaneKey, Merge, Polled, order_key
from stream_balance.errors import BadRecord
from stream_balance.testing import make_purchase, make_search

SEARCHES, PURCHASES = "search-events", "purchase-events"
A: LaneKey = (SEARCHES, 0)
B: LaneKey = (PURCHASES, 0)
Logs = dict[LaneKey, list[Polled]]


def record(
    key: LaneKey, offset: int, ts: int | None, event_id: str = "e", *, purchase: bool = False, value: bytes = b"x"
) -> Polled:
    """A record of `ts` seconds; None = a bad one."""
    polled = Polled(key[0], key[1], offset, record_time_us=0, value=value)
    if ts is None:
        polled.bad = BadRecord("json", "not JSON")
    else:
        polled.event = make_purchase(event_id, ts=ts) if purchase else make_search(event_id, ts=ts)
    return polled


def lane(key: LaneKey, times: list[int | None]) -> list[Polled]:
    return [record(key, offset, ts, f"{key[0][0]}{key[1]}-{offset}") for offset, ts in enumerate(times)]


def merge_of(*keys: LaneKey, run_max: int = 100) -> Merge:
    return Merge(keys, run_max=run_max, run_bytes_max=1 << 20)


def feed_all(merge: Merge, key: LaneKey, records: list[Polled], *, caught_up: bool = True) -> None:
    merge.feed(key, records, position=records[-1].offset + 1 if records else 0, caught_up=caught_up)


def places(records: list[Polled]) -> list[str]:
    return [polled.where for polled in records]


def test_the_smallest_head_goes_first() -> None:
    merge = merge_of(A, B)
    feed_all(merge, A, lane(A, [1, 4, 5]))
    feed_all(merge, B, lane(B, [2, 3, 6]))
    assert [polled.event.ts_us // 1_000_000 for polled in merge.take(100) if polled.event] == [1, 2, 3, 4, 5, 6]


def test_at_equal_times_searches_come_first_then_ids_then_contents() -> None:
    merge = merge_of(A, B)
    same = sorted((b"1", b"2", b"3"), key=lambda value: sha256(value).digest())
    mine = [record(A, 0, 7, "p", purchase=True), *(record(A, n + 1, 7, "s", value=v) for n, v in enumerate(same[::-1]))]
    feed_all(merge, A, mine)
    feed_all(merge, B, [record(B, 0, 7, "a", purchase=True), record(B, 1, 7, "r")])
    ordered = [(polled.event.event_id, polled.value) for polled in merge.take(100) if polled.event]
    assert ordered == [("r", b"x"), *(("s", value) for value in same), ("a", b"x"), ("p", b"x")]


def test_an_empty_partition_blocks_until_it_is_caught_up() -> None:
    merge = merge_of(A, B)
    feed_all(merge, A, lane(A, [1, 2]))
    assert merge.take(100) == []
    assert merge.blocked_by() == [B]
    feed_all(merge, B, [], caught_up=True)
    assert len(merge.take(100)) == 2


def test_a_caught_up_partition_that_is_passed_over_is_told() -> None:
    told: list[tuple[int, list[LaneKey]]] = []
    merge = Merge([A, B], run_max=9, run_bytes_max=999, on_unforced=lambda ts_us, lanes: told.append((ts_us, lanes)))
    feed_all(merge, B, lane(B, [2]), caught_up=False)
    feed_all(merge, A, lane(A, [1, 3]))
    assert places(merge.take(100)) == ["search-events[0]@0"]
    assert told == []
    merge.feed(B, lane(B, [2, 2])[1:], position=2, caught_up=True)
    merge.take(100)
    assert told == [(2_000_000, []), (3_000_000, [B])]
    assert merge.unforced == 2


def test_the_end_of_a_run_of_equal_times_must_be_known() -> None:
    merge = merge_of(A)
    feed_all(merge, A, [record(A, 0, 5, "b"), record(A, 1, 5, "c")], caught_up=False)
    assert merge.take(100) == []
    assert merge.is_waiting()
    merge.feed(A, [record(A, 2, 5, "a"), record(A, 3, 6)], position=4, caught_up=False)
    assert places(merge.take(100)) == [f"search-events[0]@{offset}" for offset in (2, 0, 1)]
    assert merge.positions() == {A: 3}


def test_an_endless_run_is_cut_at_its_bound() -> None:
    merge = merge_of(A, run_max=3)
    feed_all(merge, A, [record(A, n, 5, f"{9 - n}") for n in range(5)], caught_up=False)
    assert [polled.offset for polled in merge.take(100)] == [2, 1, 0]
    assert merge.runs_cut == 1


def test_a_bad_record_goes_out_when_it_is_met_although_the_merge_is_blocked() -> None:
    merge = merge_of(A, B)
    feed_all(merge, A, lane(A, [None, None, 1, None, 2]))
    assert [polled.offset for polled in merge.take(100)] == [0, 1]
    assert merge.positions() == {A: 2, B: 0}
    feed_all(merge, B, [])
    assert [polled.offset for polled in merge.take(100)] == [2, 3, 4]
    assert merge.all_done()


def test_a_full_buffer_of_bad_records_behind_an_open_run_does_not_block() -> None:
    merge = merge_of(A, run_max=3)
    feed_all(merge, A, lane(A, [1, None, None, None]), caught_up=False)
    assert [polled.offset for polled in merge.take(100)] == [0, 1, 2, 3]


def test_whole_groups_are_handed_out_so_positions_say_it_all() -> None:
    merge = merge_of(A, B)
    feed_all(merge, A, lane(A, [1, 1, 1, 2]))
    feed_all(merge, B, lane(B, [1, 1, 3]))
    assert len(merge.take(1)) == 5
    assert merge.positions() == {A: 3, B: 2}


def test_a_gap_behind_the_last_record_counts_as_done() -> None:
    merge = merge_of(A)
    merge.feed(A, lane(A, [1]), position=7, caught_up=True)
    merge.take(1)
    assert merge.positions() == {A: 7}


# Laws


@st.composite
def logs(draw: st.DrawFn, *, ordered: bool) -> Logs:
    """Up to four partitions; few times, so that runs and ties are common; some bad records."""
    result: Logs = {}
    for partition in range(draw(st.integers(1, 4))):
        key = ((SEARCHES, PURCHASES)[partition % 2], partition // 2)
        times = draw(st.lists(st.one_of(st.integers(0, 6), st.none()), max_size=14))
        if ordered:
            good = iter(sorted(ts for ts in times if ts is not None))
            times = [None if ts is None else next(good) for ts in times]
        ids = draw(st.lists(st.sampled_from("abc"), min_size=len(times), max_size=len(times)))
        result[key] = [
            record(key, offset, ts, event_id, purchase=key[0] == PURCHASES, value=bytes([offset, partition]))
            for offset, (ts, event_id) in enumerate(zip(times, ids, strict=True))
        ]
    return result


def run(
    parts: Logs, draw_sizes: Iterator[int], *, run_max: int = 100, takes: list[dict[LaneKey, int]] | None = None
) -> list[str]:
    """Feed the logs in pieces of the drawn sizes, taking in between; a partition is caught up at its end only."""
    merge = merge_of(*parts, run_max=run_max)
    fed = dict.fromkeys(parts, 0)
    starts = {key: records[0].offset if records else 0 for key, records in parts.items()}
    for key, start in starts.items():
        merge.start_at(key, start)
    out: list[str] = []
    while not merge.all_done():
        for key, records in parts.items():
            size = next(draw_sizes)
            piece = records[fed[key] : fed[key] + size]
            fed[key] += len(piece)
            merge.feed(key, piece, position=starts[key] + fed[key], caught_up=fed[key] == len(records))
        out += places(merge.take(next(draw_sizes) + 1))
        if takes is not None:
            takes.append({"out": len(out), **merge.positions()})  # type: ignore[dict-item]
    return out


def sizes(data: st.DataObject) -> Iterator[int]:
    drawn = data.draw(st.lists(st.integers(0, 5), max_size=40))
    yield from drawn
    while True:
        yield 3


def good(parts: Logs) -> set[str]:
    return {polled.where for records in parts.values() for polled in records if polled.event}


@given(parts=logs(ordered=True), data=st.data())
def test_ordered_partitions_give_the_total_order_however_they_are_fed(parts: Logs, data: st.DataObject) -> None:
    everything = [polled for records in parts.values() for polled in records if polled.event]
    expected = places(sorted(everything, key=order_key))
    kept = good(parts)
    assert [place for place in run(parts, sizes(data)) if place in kept] == expected


@pytest.mark.parametrize("run_max", [2, 100])
@given(parts=logs(ordered=False), data=st.data())
def test_disordered_partitions_give_one_order_however_they_are_fed(
    run_max: int, parts: Logs, data: st.DataObject
) -> None:
    kept = good(parts)
    at_once = [place for place in run(parts, iter(lambda: 99, 0), run_max=run_max) if place in kept]
    assert [place for place in run(parts, sizes(data), run_max=run_max) if place in kept] == at_once
    assert sorted(at_once) == sorted(kept)


@pytest.mark.parametrize("run_max", [2, 100])
@given(parts=logs(ordered=False), data=st.data())
def test_every_record_goes_out_once(run_max: int, parts: Logs, data: st.DataObject) -> None:
    out = run(parts, sizes(data), run_max=run_max)
    assert sorted(out) == sorted(polled.where for records in parts.values() for polled in records)


@given(parts=logs(ordered=False), data=st.data())
def test_a_run_cut_at_any_positions_equals_the_whole_run(parts: Logs, data: st.DataObject) -> None:
    takes: list[dict[LaneKey, int]] = []
    whole = run(parts, sizes(data), run_max=3, takes=takes)
    if not takes:
        return
    cut = dict(data.draw(st.sampled_from(takes)))
    done = whole[: cut.pop("out")]  # type: ignore[call-overload]
    rest = {key: [polled for polled in records if polled.offset >= cut[key]] for key, records in parts.items()}
    kept = good(parts)
    again = run(rest, sizes(data), run_max=3)
    assert [p for p in done + again if p in kept] == [p for p in whole if p in kept]
    assert sorted(done + again) == sorted(whole)


def test_a_bad_record_that_waits_is_still_to_be_done() -> None:
    merge = merge_of(A, B)
    feed_all(merge, A, lane(A, [None, None, 5]))
    assert merge.positions()[A] == 0
    assert places(merge.take(1)) == ["search-events[0]@0", "search-events[0]@1"]
    assert merge.positions()[A] == 2
