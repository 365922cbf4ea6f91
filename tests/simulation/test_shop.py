"""The shop: the same seed is the same log, its order holds, and its truths are true."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from stream_balance.core.order import order_key
from stream_balance.core.records import Purchase, Search
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.logfile import read_lines
from stream_balance.simulation.shop import START_MS, Rank, Shop, ShopSettings, generate

CODEC = Codec(WireSettings())
PLAIN = ShopSettings(broken_share=0.0)


Log = list[tuple[Search | Purchase, bytes]]


def events(settings: ShopSettings, seed: int, n: int) -> Log:
    return [(CODEC.parse(line), line) for line in generate(n, seed, settings)]


def _by_rating(sign: float) -> Rank:
    def rank(event: bytes) -> list[float]:
        items = json.loads(event)["items"]
        assert {item["position"] for item in items} == {1}
        return [sign * item["features"]["rating"] for item in items]

    return rank


@pytest.fixture(scope="module")
def log() -> Log:
    """Four hours of the shop without broken records."""
    return events(PLAIN, 1, 9000)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    shop = Shop(ShopSettings(), 3)
    first = list(islice(shop.events(), 500))
    assert first == list(islice(shop.events(), 500)) == list(generate(500, 3))
    assert first[:10] != list(generate(10, 4))


def test_events_come_in_total_order_from_eight_o_clock_on(log: Log) -> None:
    keys = [order_key(event, line) for event, line in log]
    assert keys[0][0] == START_MS * 1000
    assert all(before < after for before, after in pairwise(keys))


def test_a_search_shows_distinct_items_in_numbered_positions(log: Log) -> None:
    searches = [event for event, _ in log[:1000] if isinstance(event, Search)]
    for search in searches:
        assert len(set(search.item_ids)) == len(search)
        assert search.positions == tuple(range(1, len(search) + 1))
        assert search.truths is not None
        assert 0 < min(search.truths) <= max(search.truths) < 1
    assert {len(search) for search in searches} == set(range(5, 21))


def test_broken_records_are_extra_lines_of_every_kind() -> None:
    settings = ShopSettings(broken_share=0.05)
    whole = list(generate(2000, 2, PLAIN))
    seen, good, reasons = set(), [], Counter[str]()
    for record in read_lines(generate(2000, 2, settings), CODEC):
        if record.bad is not None:
            reasons[record.bad.reason] += 1
        elif record.data in seen:
            reasons["duplicate"] += 1
        else:
            seen.add(record.data)
            good.append(record.data)
    assert good == whole[: len(good)]
    assert set(reasons) == {"not_json", "wrong_type", "not_finite", "too_far_ahead", "duplicate", "unknown_schema"}
    assert 60 <= sum(reasons.values()) <= 140


@pytest.mark.parametrize("closed", [False, True])
def test_truth_is_the_probability_of_a_purchase_within_the_window(log: Log, closed: bool) -> None:
    if closed:
        lines = islice(Shop(PLAIN, 1, _by_rating(1.0)).events(), 9000)
        log = [(CODEC.parse(line), line) for line in lines]
    searches: dict[str, Search] = {}
    bought: set[tuple[str, str]] = set()
    latest: dict[tuple[str, str], str] = {}
    too_late = 0
    for event, _ in log:
        if isinstance(event, Search):
            searches[event.event_id] = event
            latest |= {(event.user_id, item_id): event.event_id for item_id in event.item_ids}
            continue
        search_id = event.search_id or latest[event.user_id, event.item_id]
        if event.ts_us - searches[search_id].ts_us < 1800 * 1_000_000:
            bought.add((search_id, event.item_id))
        else:
            too_late += 1
    end_us = max(search.ts_us for search in searches.values()) - 1800 * 1_000_000
    done = [search for search in searches.values() if search.ts_us < end_us]
    label = np.array([(search.event_id, item_id) in bought for search in done for item_id in search.item_ids])
    truth = np.array([value for search in done for value in search.truths or ()])
    assert too_late > 0
    assert 0.01 < truth.mean() < 0.03
    # ten equal shares of the impressions: each share's purchases lie within 4 standard errors of what truth promises
    for part in np.array_split(np.argsort(truth), 10):
        error = math.sqrt(float((truth[part] * (1 - truth[part])).sum()))
        assert abs(label[part].sum() - truth[part].sum()) < 4 * error
    ranks = np.argsort(np.argsort(truth)) + 1.0
    positives = label.sum()
    auc = (ranks[label].sum() - positives * (positives + 1) / 2) / (positives * (len(label) - positives))
    assert 0.8 < auc < 0.9


def test_a_purchase_that_names_no_search_belongs_to_the_latest_that_showed_its_item(log: Log) -> None:
    all_named = events(PLAIN.model_copy(update={"search_id_share": 1.0}), 1, 3000)
    named = {event.event_id: event.search_id for event, _ in all_named if isinstance(event, Purchase)}
    latest: dict[tuple[str, str], str] = {}
    unnamed = 0
    for event, _ in log[:3000]:
        if isinstance(event, Search):
            latest |= {(event.user_id, item_id): event.event_id for item_id in event.item_ids}
        elif event.search_id is None:
            unnamed += 1
            assert latest[event.user_id, event.item_id] == named[event.event_id]
    assert unnamed > 20


def test_new_items_come_and_a_few_items_are_shown_most(log: Log) -> None:
    searches = [event for event, _ in log if isinstance(event, Search)]
    shown = Counter(item_id for search in searches for item_id in search.item_ids)
    early = {item_id for search in searches[: len(searches) // 2] for item_id in search.item_ids}
    assert len(set(shown) - early) > 10
    top = sum(count for _, count in shown.most_common(200))
    assert 0.3 < top / sum(shown.values()) < 0.7


def test_a_tiny_shop_still_sells() -> None:
    tiny = ShopSettings(users=1, items=3, items_new=3, categories=2, shown_min=1, shown_max=2, positive_share=0.3)
    assert len(events(tiny.model_copy(update={"broken_share": 0.0}), 0, 200)) == 200


def test_a_closed_loop_shows_the_items_in_the_order_of_their_scores_and_sells_accordingly() -> None:
    sold = {}
    for name, rank in (("best first", _by_rating(1.0)), ("own order", None), ("worst first", _by_rating(-1.0))):
        searches = []
        for line in islice(Shop(PLAIN, 4, rank).events(), 4000):
            event = CODEC.parse(line)
            if isinstance(event, Search):
                searches.append(event)
        ratings = [[features["rating"] for features in search.item_features] for search in searches]
        assert all(search.positions == tuple(range(1, len(search) + 1)) for search in searches)
        if rank is not None:
            assert all(each == sorted(each, reverse=name == "best first") for each in ratings)
        sold[name] = float(np.mean([truth for search in searches[:3000] for truth in search.truths or ()]))
    assert sold["best first"] > 1.05 * sold["worst first"]
