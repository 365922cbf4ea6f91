"""The total order: sorted within the disorder, late beyond it, bounded."""

from __future__ import annotations

import hashlib
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_balance.core import order
from stream_balance.core.order import OrderSettings, Reorder
from stream_balance.core.records import Event, Purchase
from stream_balance.testing import make_purchase, make_search

Pushed = tuple[Event, bytes]


def key(pushed: Pushed) -> tuple[int, int, str, bytes]:
    event, content = pushed
    return event.ts_us, isinstance(event, Purchase), event.event_id, hashlib.sha256(content).digest()


@st.composite
def disordered(draw: st.DrawFn) -> tuple[list[Pushed], int]:
    """Events whose place is at most `disorder` seconds from the order of their times."""
    disorder = draw(st.integers(1, 5))
    events: list[tuple[float, Pushed]] = []
    for _ in range(draw(st.integers(0, 30))):
        ts, number = draw(st.integers(0, 20)), draw(st.integers(0, 2))
        event = make_search(f"e{number}", ts=ts) if draw(st.booleans()) else make_purchase(f"e{number}", ts=ts)
        delay = draw(st.floats(0, disorder))
        events.append((ts + delay, (event, bytes([draw(st.integers(0, 2))]))))
    events.sort(key=lambda entry: entry[0])
    return [pushed for _, pushed in events], disorder


@given(disordered(), st.integers(0, 30))
def test_a_log_within_the_disorder_leaves_in_the_total_order(log: tuple[list[Pushed], int], cut: int) -> None:
    events, disorder = log
    reorder = Reorder(OrderSettings(disorder_max_s=disorder))
    contents = {id(event): content for event, content in events}
    released = []
    for step, (event, content) in enumerate(events):
        released += reorder.push(event, content)
        if step == cut:  # a cut run goes on as the whole one would
            assert pickle.loads(pickle.dumps(reorder)).digest_state() == reorder.digest_state()
    released += reorder.drain()
    keys = [key((event, contents[id(event)])) for event, _ in released]
    assert keys == sorted(key(pushed) for pushed in events)
    assert not any(late for _, late in released)
    assert reorder.late == 0
    assert reorder.watermark_us == max((event.ts_us for event, _ in events), default=order.BEGINNING_US)


def test_without_a_disorder_everything_passes_at_once_and_what_is_behind_is_late() -> None:
    reorder = Reorder(OrderSettings())
    passed = [reorder.push(make_search(f"s{ts}", ts=ts), b"")[0] for ts in (5, 5, 4, 6)]
    assert [late for _, late in passed] == [False, False, True, False]
    assert (reorder.late, reorder.watermark_us, len(reorder)) == (1, 6_000_000, 0)


def test_an_event_leaves_when_a_later_one_is_more_than_the_disorder_ahead() -> None:
    reorder = Reorder(OrderSettings(disorder_max_s=5))
    assert reorder.push(make_search("a", ts=0), b"") == []
    assert reorder.push(make_search("b", ts=5), b"") == []
    assert [event.event_id for event, _ in reorder.push(make_search("c", ts=5.000001), b"")] == ["a"]


def test_at_one_time_a_search_goes_before_a_purchase() -> None:
    reorder = Reorder(OrderSettings(disorder_max_s=1))
    reorder.push(make_purchase("a", ts=0), b"")
    reorder.push(make_search("z", ts=0), b"")
    assert [event.event_id for event, _ in reorder.drain()] == ["z", "a"]


def test_beyond_the_bound_the_smallest_leaves_early_and_is_counted() -> None:
    reorder = Reorder(OrderSettings(disorder_max_s=100, reorder_max=2))
    released = [event for ts in (3, 1, 2, 0) for event in reorder.push(make_search(f"s{ts}", ts=ts), b"")]
    assert [(event.event_id, late) for event, late in released] == [("s1", False), ("s0", True)]
    assert (reorder.forced, reorder.late, len(reorder)) == (1, 1, 2)


@pytest.mark.parametrize("disorder", [0, 10])
def test_contents_are_hashed_only_to_break_a_tie(disorder: float, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(content: bytes) -> None:
        raise AssertionError("hashed")

    monkeypatch.setattr(order.hashlib, "sha256", refuse)
    reorder = Reorder(OrderSettings(disorder_max_s=disorder))
    for ts in range(50):
        reorder.push(make_search(f"s{ts % 7}", ts=ts % 20), b"content")
    reorder.drain()
