"""Ranking and exposure: expectations against every permutation, shares against counting by hand."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from stream_balance.core.digest import Digest
from stream_balance.core.metrics_math import MetricSettings, cut, gini, ranking_figures
from stream_balance.core.ranking import Exposure, Ranking
from stream_balance.core.records import Examples, Scored


def search(
    scores: Sequence[float],
    labels: Sequence[int],
    *,
    items: Sequence[str] | None = None,
    positions: Sequence[int] | None = None,
    tiers: Sequence[int] | None = None,
    known: Sequence[bool] | None = None,
    revenue: Sequence[float] | None = None,
) -> Examples:
    """One matured search of two classes."""
    n = len(scores)
    column = np.array(scores)[:, None]
    block = np.concatenate((column, column, np.full((n, 1), 0.5)), axis=1).tobytes()
    ids = tuple(items or [f"i{index}" for index in range(n)])
    scored = Scored(
        "s", "u", ids, tuple(positions or range(1, n + 1)), bytes(tiers or [0] * n), 0, Scored.sealed(block, 0)
    )
    return Examples(scored, tuple(labels), tuple(known or [False] * n), tuple(revenue or [0.0] * n))


def of_one_order(relevant: Sequence[bool], k: int) -> tuple[float, float, float]:
    """Reciprocal rank, nDCG@k and hit@k of a list without ties."""
    ranks = [rank for rank, bought in enumerate(relevant, start=1) if bought]
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(ranks)) + 1))
    gain = sum(1 / math.log2(rank + 1) for rank in ranks if rank <= k)
    return 1 / ranks[0], gain / ideal, float(ranks[0] <= k)


@pytest.mark.parametrize("seed", range(60))
def test_ties_are_the_mean_over_all_their_orders(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 7))
    scores = rng.integers(0, 3, n).astype(float).tolist()
    labels = rng.integers(0, 2, n)
    labels[rng.integers(n)] = 1
    k = int(rng.integers(1, n + 1))
    orders = [
        of_one_order([bool(labels[index]) for index in order], k)
        for order in itertools.permutations(range(n))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    made = ranking_figures(scores, np.flatnonzero(labels).tolist(), k)
    assert made == pytest.approx(np.mean(orders, axis=0), abs=1e-12)


def test_ndcg_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=30), rng.random(30) < 0.2
    made = ranking_figures(scores.tolist(), np.flatnonzero(labels).tolist(), 10)[1]
    assert made == pytest.approx(ndcg_score([labels], [scores], k=10), abs=1e-9)


@pytest.mark.parametrize(("items", "k"), [(1, 1), (2, 1), (3, 1), (4, 2), (19, 9), (20, 10), (500, 10)])
def test_k_is_half_the_list_between_one_and_ten(items: int, k: int) -> None:
    assert cut(items, 10) == k


def test_our_order_stands_beside_the_logged_one() -> None:
    made = Ranking(MetricSettings())
    made.score(search([0.1, 0.2, 0.3, 0.4], [0, 0, 0, 1], positions=[1, 2, 3, 4]))
    made.score(search([0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0], positions=[1, 2, 3, 4]))
    metrics = made.metrics()
    assert (metrics.searches, metrics.mrr, metrics.hit_at_k) == (2, (1 + 1 / 4) / 2, 0.5)
    assert (metrics.logged.mrr, metrics.logged.hit_at_k) == (metrics.mrr, 0.5)
    assert metrics.window.logged == metrics.logged


def test_only_searches_with_a_choice_and_a_purchase_count() -> None:
    made = Ranking(MetricSettings())
    made.score(search([0.5], [1]))
    made.score(search([0.5, 0.4], [0, 0]))
    made.score(search([0.5, 0.4], [1, 0], known=[True, False]))
    assert made.metrics().searches == 0
    assert made.metrics().mrr is None


def test_the_ranking_window_forgets() -> None:
    made = Ranking(MetricSettings(ranking_searches=3))
    for _ in range(5):
        made.score(search([0.1, 0.9], [1, 0]))
    for _ in range(3):
        made.score(search([0.9, 0.1], [1, 0]))
    metrics = made.metrics()
    assert (metrics.window.mrr, metrics.window.searches) == (1.0, 3)
    assert metrics.mrr == pytest.approx((5 * 0.5 + 3) / 8)


@pytest.mark.parametrize("counts", [[1], [0, 0, 3], [1, 1, 1], [5, 1, 0, 2, 2, 9]])
def test_gini_is_the_mean_absolute_difference_over_twice_the_mean(counts: list[int]) -> None:
    n, mean = len(counts), np.mean(counts)
    slow = sum(abs(a - b) for a in counts for b in counts) / (2 * n * n * mean)
    assert gini(np.array(counts)) == pytest.approx(slow)


def slow_exposure(window: Sequence[Examples]) -> tuple[float, float, float, float]:
    """Shares, coverage and Gini by counting slots one by one (no ties)."""
    ours: dict[str, int] = {item: 0 for examples in window for item in examples.scored.item_ids}
    tail_shown, tail_top, tail_slots, logged_slots, slots = set(), set(), 0, 0, 0
    for examples in window:
        scored = examples.scored
        n = len(scored)
        tail_shown |= {item for item, tier in zip(scored.item_ids, scored.tiers, strict=True) if tier}
        slots += cut(n, 10)
        for index in np.argsort(-scored.probability[:, 0])[: cut(n, 10)]:
            ours[scored.item_ids[index]] += 1
            tail_slots += scored.tiers[index]
            if scored.tiers[index]:
                tail_top.add(scored.item_ids[index])
        for index in np.argsort(scored.positions)[: cut(n, 10)]:
            logged_slots += scored.tiers[index]
    n, counts = len(ours), np.array(list(ours.values()))
    unequal = np.abs(counts[:, None] - counts[None, :]).sum() / (2 * n * n * counts.mean())
    return tail_slots / slots, logged_slots / slots, len(tail_top) / len(tail_shown), unequal


def shop(count: int, seed: int = 0) -> list[Examples]:
    """Searches over 60 items, of which the later ones are in the tail."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        n = int(rng.integers(1, 25))
        picked = rng.choice(60, n, replace=False)
        labels = (rng.random(n) < 0.1).astype(int).tolist()
        made.append(
            search(
                rng.random(n).tolist(),
                labels,
                items=[f"i{index}" for index in picked],
                positions=(rng.permutation(n) + 1).tolist(),
                tiers=(picked > 30).astype(int).tolist(),
                revenue=[2.5 * label for label in labels],
            )
        )
    return made


def test_exposure_agrees_with_counting_slots_over_its_window() -> None:
    searches = shop(50)
    made = Exposure(MetricSettings(exposure_searches=20))
    for examples in searches:
        made.score(examples)
    figures = made.metrics()
    assert figures.searches == 20
    expected = slow_exposure(searches[-20:])
    assert (figures.tail_share, figures.logged_tail_share, figures.coverage, figures.gini) == pytest.approx(expected)
    bought = sum(sum(examples.labels) for examples in searches[-20:])
    assert figures.purchases.head + figures.purchases.tail == bought
    assert figures.revenue.head + figures.revenue.tail == pytest.approx(2.5 * bought)


def test_tied_items_share_the_slots_between_them() -> None:
    made = Exposure(MetricSettings())
    made.score(search([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0], tiers=[0, 0, 0, 1]))
    figures = made.metrics()
    assert figures.slots == 2
    assert (figures.tail_share, figures.logged_tail_share, figures.coverage) == (0.25, 0.0, 0.5)
    assert figures.gini == pytest.approx(0.0)


def test_exposure_without_searches_or_without_a_tail_is_undefined() -> None:
    made = Exposure(MetricSettings())
    assert (made.metrics().tail_share, made.metrics().gini) == (None, None)
    made.score(search([0.5, 0.4], [0, 0]))
    assert (made.metrics().tail_share, made.metrics().coverage) == (0.0, None)


def test_a_search_with_a_known_label_takes_no_slot() -> None:
    made = Exposure(MetricSettings())
    made.score(search([0.5, 0.4], [1, 0], known=[True, False]))
    assert made.metrics().searches == 0


@pytest.mark.parametrize("room", [Ranking, Exposure])
def test_asking_and_pickling_change_nothing(room: type[Ranking] | type[Exposure]) -> None:
    quiet, asked = room(MetricSettings()), room(MetricSettings())
    for examples in shop(30):
        quiet.score(examples)
        asked.score(examples)
        asked.metrics()
        asked = pickle.loads(pickle.dumps(asked))
    one, two = Digest(), Digest()
    one.add(quiet.digest_state())
    two.add(asked.digest_state())
    assert one.hex() == two.hex()
    assert quiet.metrics() == asked.metrics()
