"""The join: stories of purchases and searches, the law of conservation, a slow oracle, memory."""

from __future__ import annotations

import gc
import pickle
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from join_oracle import JoinOracle

from stream_balance.core.digest import Digest
from stream_balance.core.join import Joiner, JoinSettings
from stream_balance.core.lru import Share
from stream_balance.core.order import OrderSettings, Reorder
from stream_balance.core.records import Examples, Purchase, Scored, Search
from stream_balance.testing import make_purchase, make_scored, make_search

S = 1_000_000


def joiner_of(window_s: float = 60, disorder_s: float = 0, **bounds: int) -> Joiner:
    return Joiner(JoinSettings(window_s=window_s, **bounds), disorder_s)


def labels(matured: list[Examples]) -> dict[str, tuple[int, ...]]:
    return {examples.scored.event_id: examples.labels for examples in matured}


def conserved(joiner: Joiner) -> bool:
    counts = joiner.counts
    held = sum(len(scored) for scored in joiner._by_id.values())
    return counts.in_ == counts.held + counts.matured + sum(counts.dropped.values()) and counts.held == held


# -- stories


def test_a_purchase_that_comes_before_its_search_still_counts() -> None:
    joiner = joiner_of()
    joiner.match(make_purchase(item_id="i1", ts=10))
    joiner.hold(make_scored(items=["i1", "i2"], ts=9))
    assert joiner.mature(68_999_999) == []
    [examples] = joiner.mature(69 * S)
    assert (examples.labels, examples.known) == ((1, 0), (True, True))
    assert joiner.counts.label_known == 2


def test_both_classes_mature_together_at_the_end_of_the_window() -> None:
    joiner = joiner_of(window_s=60, disorder_s=5)
    joiner.hold(make_scored(items=["i1", "i2"], ts=0))
    joiner.match(make_purchase(item_id="i2", ts=1))
    assert joiner.due_us() == 65 * S
    assert joiner.mature(65 * S - 1) == []
    assert labels(joiner.mature(65 * S)) == {"s1": (0, 1)}
    assert joiner.due_us() is None


@pytest.mark.parametrize(("dt", "label"), [(-0.000001, 0), (0, 1), (59.999999, 1), (60, 0)])
def test_the_window_is_closed_at_the_search_and_open_at_its_end(dt: float, label: int) -> None:
    joiner = joiner_of(window_s=60, disorder_s=10)
    joiner.hold(make_scored(ts=100))
    joiner.match(make_purchase(ts=100 + dt))
    assert labels(joiner.mature(1000 * S)) == {"s1": (label,)}


def test_the_latest_search_before_the_purchase_that_showed_the_item_gets_it() -> None:
    joiner = joiner_of()
    for name, ts, items in (("a", 0, ["i1"]), ("b", 1, ["i1"]), ("c", 2, ["i2"]), ("d", 4, ["i1"])):
        joiner.hold(make_scored(name, ts=ts, items=items))
    joiner.match(make_purchase(item_id="i1", ts=3))
    assert labels(joiner.mature(100 * S)) == {"a": (0,), "b": (1,), "c": (0,), "d": (0,)}


def test_searches_at_one_time_are_told_apart_by_the_greatest_event_id() -> None:
    joiner = joiner_of()
    joiner.hold(make_scored("b", ts=1))
    joiner.hold(make_scored("a", ts=1))
    joiner.match(make_purchase(ts=1))
    assert labels(joiner.mature(100 * S)) == {"b": (1,), "a": (0,)}


@pytest.mark.parametrize(
    ("search_id", "expected"), [("a", {"a": (1,), "b": (0,)}), ("nowhere", {"a": (0,), "b": (0,)})]
)
def test_a_search_id_is_believed(search_id: str, expected: dict[str, tuple[int, ...]]) -> None:
    joiner = joiner_of()
    joiner.hold(make_scored("a", ts=0))
    joiner.hold(make_scored("b", ts=1))
    joiner.match(make_purchase(ts=2, search_id=search_id))
    assert labels(joiner.mature(100 * S)) == expected


def test_a_late_search_that_suits_better_takes_the_purchase_over() -> None:
    joiner = joiner_of(disorder_s=10)
    joiner.hold(make_scored("a", ts=0))
    joiner.match(make_purchase(ts=5))
    joiner.hold(make_scored("b", ts=4))
    assert labels(joiner.mature(100 * S)) == {"a": (0,), "b": (1,)}


def test_a_search_that_is_late_and_older_leaves_the_purchase_where_it_is() -> None:
    joiner = joiner_of(disorder_s=10)
    joiner.hold(make_scored("a", ts=3))
    joiner.match(make_purchase(ts=5))
    joiner.hold(make_scored("b", ts=2))
    matured = joiner.mature(100 * S)
    assert [examples.scored.event_id for examples in matured] == ["b", "a"]
    assert [(examples.labels, examples.known) for examples in matured] == [((0,), (True,)), ((1,), (False,))]


def test_every_position_of_the_item_is_labelled_and_the_money_counted_once() -> None:
    joiner = joiner_of()
    joiner.hold(make_scored(items=["i1", "i2", "i1"]))
    joiner.match(make_purchase("p1", ts=1, price=2.0, quantity=3))
    joiner.match(make_purchase("p2", ts=2, price=1.0))
    [examples] = joiner.mature(100 * S)
    assert examples.labels == (1, 0, 1)
    assert examples.revenue == (7.0, 0.0, 0.0)


def test_of_several_outcomes_the_largest_class_wins() -> None:
    joiner = joiner_of()
    joiner.hold(make_scored())
    for name, label in (("p1", 1), ("p2", 3), ("p3", 2)):
        joiner.match(make_purchase(name, ts=1, label=label))
    assert labels(joiner.mature(100 * S)) == {"s1": (3,)}
    assert joiner.counts.positive == 1


def test_an_orphan_is_counted_when_the_watermark_has_passed_it() -> None:
    joiner = joiner_of(disorder_s=5)
    joiner.match(make_purchase(ts=10))
    joiner.mature(15 * S)
    assert joiner.counts.orphans == 0
    joiner.mature(15 * S + 1)
    assert joiner.counts.orphans == 1


def test_duplicates_are_seen_for_a_window_and_the_disorder() -> None:
    joiner = joiner_of(window_s=60, disorder_s=5)
    search, purchase = make_search(ts=0), make_purchase(ts=0)
    assert not joiner.is_duplicate(search)
    joiner.hold(make_scored(ts=0))
    joiner.match(purchase)
    joiner.mature(65 * S - 1)
    assert joiner.is_duplicate(search)
    assert joiner.is_duplicate(purchase)
    joiner.mature(65 * S)
    assert not joiner.is_duplicate(search)
    assert not joiner.is_duplicate(purchase)
    assert (joiner.counts.duplicate_search, joiner.counts.duplicate_purchase) == (1, 1)


def test_a_late_search_that_matures_at_once_is_not_taken_twice() -> None:
    joiner = joiner_of(window_s=60)
    joiner.mature(1000 * S)
    joiner.hold(make_scored(ts=0))
    assert len(joiner.mature(1001 * S)) == 1
    assert joiner.is_duplicate(make_search(ts=0))
    joiner.mature(1060 * S)
    assert not joiner.is_duplicate(make_search(ts=0))


def test_overflow_drops_the_oldest_and_never_guesses() -> None:
    joiner = joiner_of(held_max=3)
    for i in range(4):
        joiner.hold(make_scored(f"s{i}", ts=i, user_id=f"u{i}", items=["i1", "i2"] if i == 0 else ["i1"]))
        assert conserved(joiner)
    assert joiner.counts.dropped == {"overflow": 2}
    joiner.match(make_purchase(ts=3, user_id="u0"))
    assert set(labels(joiner.mature(100 * S))) == {"s1", "s2", "s3"}
    assert conserved(joiner)


def test_a_search_larger_than_the_bound_is_dropped_itself() -> None:
    joiner = joiner_of(held_max=1)
    joiner.hold(make_scored(items=["i1", "i2"]))
    assert (joiner.counts.held, joiner.counts.dropped, joiner.held_bytes()) == (0, {"overflow": 2}, 0)


def test_a_forgotten_purchase_keeps_the_label_it_gave() -> None:
    joiner = joiner_of(purchases_max=1)
    joiner.hold(make_scored(items=["i1", "i2"]))
    joiner.match(make_purchase("p1", ts=1, item_id="i1"))
    joiner.match(make_purchase("p2", ts=2, item_id="i2"))
    assert joiner.counts.forgotten == 1
    assert labels(joiner.mature(100 * S)) == {"s1": (1, 1)}


def test_what_waits_for_a_search_is_bounded() -> None:
    joiner = joiner_of(purchases_max=10, disorder_s=1e6)
    for i in range(1000):
        joiner.match(make_purchase(f"p{i}", ts=i, user_id=f"u{i}"))
        joiner.hold(make_scored(f"s{i}", ts=-1, user_id="other", items=["x"]))
    sizes = [len(kept) for kept in (joiner._outcomes, joiner._waiting, joiner._buyers, joiner._late_ids)]
    assert sizes == [10, 10, 10, 10]
    assert joiner.counts.orphans == 990


def test_nothing_is_left_behind_when_all_has_matured() -> None:
    joiner = joiner_of()
    for i in range(50):
        joiner.hold(make_scored(f"s{i}", ts=i % 7, user_id=f"u{i % 3}"))
        joiner.match(make_purchase(f"p{i}", ts=i % 9, user_id=f"u{i % 3}", search_id=None if i % 2 else f"s{i}"))
    joiner.mature(2**62)
    kept = (
        "_by_id",
        "_by_user",
        "_queue",
        "_late",
        "_late_ids",
        "_outcomes",
        "_asked",
        "_buyers",
        "_waiting",
        "_bought",
    )
    assert [name for name in (*kept, "_known") if getattr(joiner, name)] == []
    assert joiner.held_bytes() == 0


def test_searches_due_at_one_time_mature_as_they_came() -> None:
    joiner = joiner_of()
    for name, ts in (("first", 5), ("ahead", 9), ("second", 5), ("earliest", 4), ("third", 5)):
        joiner.hold(make_scored(name, ts=ts))
    names = [examples.scored.event_id for examples in joiner.mature(100 * S)]
    assert names == ["earliest", "first", "second", "third", "ahead"]


# -- the slow oracle

ITEMS = st.sampled_from(["i1", "i2", "i3"])
USERS = st.sampled_from(["u1", "u2"])
TIMES = st.integers(0, 20).map(float)


@st.composite
def streams(draw: st.DrawFn) -> list[Scored | Purchase]:
    """Events in any order of arrival: late, early, at equal times, with ids that repeat."""
    events: list[Scored | Purchase] = []
    for _ in range(draw(st.integers(0, 25))):
        ts, user = draw(TIMES), draw(USERS)
        number = draw(st.integers(0, 12))
        if draw(st.booleans()):
            events.append(
                make_scored(f"s{number}", ts=ts, user_id=user, items=draw(st.lists(ITEMS, min_size=1, max_size=4)))
            )
        else:
            search_id = draw(st.none() | st.integers(0, 13).map("s{}".format))
            label = draw(st.integers(1, 3))
            item = draw(ITEMS)
            events.append(
                make_purchase(f"p{number}", ts=ts, user_id=user, item_id=item, search_id=search_id, label=label)
            )
    if draw(st.booleans()):
        events.sort(key=lambda event: event.ts_us)
    return events


def as_search(event: Scored | Purchase) -> Search | Purchase:
    return event if isinstance(event, Purchase) else make_search(event.event_id, ts=event.ts_us / S)


@settings(max_examples=200, deadline=None)
@given(events=streams(), window=st.integers(1, 12), disorder=st.integers(0, 6), cut=st.integers(0, 25))
def test_the_join_equals_a_slow_oracle_and_loses_nothing(
    events: list[Scored | Purchase], window: int, disorder: int, cut: int
) -> None:
    joiner = joiner_of(window, disorder)
    oracle = JoinOracle(window * S, disorder * S)
    watermark = -(2**63)
    for step, event in enumerate(events):
        watermark = max(watermark, event.ts_us)
        mine = [(e.scored.event_id, e.labels, e.known) for e in joiner.mature(watermark)]
        assert mine == oracle.mature(watermark)
        duplicate = joiner.is_duplicate(as_search(event))
        assert duplicate == oracle.is_duplicate(event)
        if not duplicate:
            for side in (joiner, oracle):
                if isinstance(event, Purchase):
                    side.match(event)
                else:
                    side.hold(event)
        assert conserved(joiner)
        assert joiner.due_us() == min((s.ts_us + oracle.due_after_us for s in oracle.held), default=None)
        if step == cut:
            joiner = pickle.loads(pickle.dumps(joiner))
    mine = [(e.scored.event_id, e.labels, e.known) for e in joiner.mature(2**62)]
    assert mine == oracle.mature(2**62)
    assert joiner.counts.orphans == oracle.orphans
    assert joiner.counts.duplicate_search + joiner.counts.duplicate_purchase == oracle.duplicates
    assert joiner.counts.held == 0
    assert conserved(joiner)


@settings(max_examples=60, deadline=None)
@given(events=streams(), delays=st.lists(st.floats(0, 6), min_size=25, max_size=25))
def test_a_log_in_disorder_comes_to_what_the_sorted_log_comes_to(
    events: list[Scored | Purchase], delays: list[float]
) -> None:
    def outcome(log: list[Scored | Purchase]) -> str:
        reorder, joiner, trail = Reorder(OrderSettings(disorder_max_s=6)), joiner_of(5, 6), Digest()
        scored: dict[int, Scored | Purchase] = {}
        released = []
        for event in log:
            search = as_search(event)
            scored[id(search)] = event
            kept.append(search)
            released += reorder.push(search, event.event_id.encode() if isinstance(event, Purchase) else event.block)
        for event, _ in released + reorder.drain():
            # The watermark of this event, not of the batch it was released in.
            trail.add([(e.scored.event_id, e.labels, e.known) for e in joiner.mature(event.ts_us)])
            if not joiner.is_duplicate(event):
                original = scored[id(event)]
                if isinstance(original, Purchase):
                    joiner.match(original)
                else:
                    joiner.hold(original)
        trail.add(joiner.digest_state())
        return trail.hex()

    kept: list[Search | Purchase] = []  # keeps the ids in use
    unique = list({(type(event), event.event_id): event for event in events}.values())
    by_time = sorted(unique, key=lambda event: event.ts_us)
    order = sorted(range(len(by_time)), key=lambda i: by_time[i].ts_us + delays[i] * S)
    assert outcome(by_time) == outcome([by_time[i] for i in order])


def test_the_digest_follows_the_state() -> None:
    def digest(*events: Scored | Purchase) -> str:
        joiner, made = joiner_of(), Digest()
        for event in events:
            if isinstance(event, Purchase):
                joiner.match(event)
            else:
                joiner.hold(event)
        made.add(pickle.loads(pickle.dumps(joiner)).digest_state())
        return made.hex()

    assert digest(make_scored(), make_purchase()) == digest(make_scored(), make_purchase())
    assert digest(make_scored(), make_purchase()) != digest(make_scored())
    assert digest(make_scored(probability=0.1)) != digest(make_scored(probability=0.2))


# -- memory


# 22,000: just after the two dicts have grown, which is when they are largest.
@pytest.mark.parametrize(("searches", "n", "limit"), [(20_000, 1, 600), (22_000, 1, 600), (2_000, 20, 400)])
def test_a_held_impression_is_small(searches: int, n: int, limit: int) -> None:
    share = Share(JoinSettings().shared_max)
    catalogue = [f"item-{i:06d}" for i in range(1000)]
    template = make_scored(items=["x"] * n, values=[[0.5] * 20] * n)
    matrix = template.matrix().tobytes()
    gc.collect()
    tracemalloc.start()
    joiner = joiner_of(window_s=1e6)
    for i in range(searches):
        items = share.of(tuple(catalogue[(i + j) % 1000] for j in range(n)))
        positions = share.of(tuple(range(1, n + 1)))
        sealed = Scored.sealed(matrix, 1_750_000_000_000_000 + i, i)
        scored = Scored(f"search-{i:08d}", f"user-{i:08d}", items, positions, bytes(n), 20, sealed)
        joiner.hold(scored)
    gc.collect()
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    per_impression = used / (searches * n)
    assert per_impression <= limit
    assert joiner.held_bytes() == pytest.approx(used, rel=0.25)
