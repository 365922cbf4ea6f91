"""Ranking and exposure: what our order of the shown items is worth, and to whom it gives the top slots.

In: Examples. Out: report figures. Our order is by probability of any outcome, ties taken as expectation over their
random orders; the logged order is by position. A search with an impression whose label was known when scored is
left out. Bounded: sums since the start and windows of searches.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stream_balance.core import report
from stream_balance.core.metrics_math import Ints, MetricSettings, cut, gini, ranking_figures
from stream_balance.core.records import HEAD, TAIL, Examples, Floats

Bools = npt.NDArray[np.bool_]

_ZERO = bytes(8)
_PIECE_SEARCHES = 250  # counted at once
_List = tuple[tuple[str, ...], bytes, tuple[int, ...], bytes]  # item ids, scores (float64 bytes), positions, tiers


class _Credited(NamedTuple):
    """Some searches: how many top slots they have; by impression the item's code, whether it is of the tail, and the
    slots that our order and the logged one give it.
    """

    slots: int
    columns: tuple[Ints, Bools, Floats, Floats]


def _outcome(examples: Examples) -> Floats:
    """Probability of any outcome, (n,)."""
    served = examples.scored.probability
    outcome: Floats = served[:, 0] if served.shape[1] == 1 else served.sum(axis=1)
    return outcome


class Ranking:
    """Reciprocal rank, nDCG@k, hit@k over searches with two items or more and a purchase: our order and the logged."""

    def __init__(self, settings: MetricSettings) -> None:
        self._top_k = settings.top_k
        self._sums = [0.0] * 6  # ours: reciprocal rank, nDCG, hit; then logged
        self._latest = np.zeros((settings.ranking_searches, 6))
        self._searches = 0

    def score(self, examples: Examples) -> None:
        """Measure one matured search."""
        items = len(examples.labels)
        if items < 2 or not any(examples.labels) or True in examples.known:
            return
        relevant = [index for index, label in enumerate(examples.labels) if label]
        k = cut(items, self._top_k)
        shown = [-position for position in examples.scored.positions]
        figures = (*ranking_figures(_outcome(examples).tolist(), relevant, k), *ranking_figures(shown, relevant, k))
        self._sums = [total + figure for total, figure in zip(self._sums, figures, strict=True)]
        self._latest[self._searches % len(self._latest)] = figures
        self._searches += 1

    def metrics(self) -> report.Ranking:
        """Since the start, and over the latest searches."""
        held = min(self._searches, len(self._latest))
        ours, logged = _orders(self._sums, self._searches)
        ours_lately, logged_lately = _orders(self._latest[:held].sum(axis=0).tolist(), held)
        window = report.RankingWindow(**ours_lately, searches=held, logged=report.OrderFigures(**logged_lately))
        all_logged = report.OrderFigures(**logged)
        return report.Ranking(**ours, searches=self._searches, logged=all_logged, window=window)

    def digest_state(self) -> object:
        """Everything that a later figure depends on."""
        return [self._searches, self._sums, self._latest[: min(self._searches, len(self._latest))]]


def _orders(sums: list[float], searches: int) -> tuple[dict[str, float], dict[str, float]]:
    """Means by name, of our order and of the logged one; empty without searches."""
    if not searches:
        return {}, {}
    names = ("mrr", "ndcg_at_k", "hit_at_k")
    means = [total / searches for total in sums]
    return dict(zip(names, means[:3], strict=True)), dict(zip(names, means[3:], strict=True))


class Exposure:
    """Shares of the top-k slots over the latest `exposure_searches` searches. Keeps the lists; counts when asked.

    A slot that tied items compete for is shared among them, so all figures are expectations over random orders of ties.
    """

    def __init__(self, settings: MetricSettings) -> None:
        self._top_k = settings.top_k
        self._lists: deque[_List] = deque(maxlen=settings.exposure_searches)
        self._sales: deque[tuple[int, int, float, float]] = deque(maxlen=settings.exposure_searches)  # by tier

    def score(self, examples: Examples) -> None:
        """Take one matured search."""
        if True in examples.known:
            return
        scored = examples.scored
        # One item takes its one slot whatever its score.
        scores = _ZERO if len(examples.labels) == 1 else _outcome(examples).tobytes()
        self._lists.append((scored.item_ids, scores, scored.positions, scored.tiers))
        self._sales.append(_sales(examples) if any(examples.labels) else (0, 0, 0.0, 0.0))

    def metrics(self, between: Callable[[], None] = lambda: None) -> report.Exposure:
        """Figures over the window as it is now. `between` is called once in so many searches."""
        if not self._lists:
            return report.Exposure()
        codes: defaultdict[str, int] = defaultdict()
        codes.default_factory = codes.__len__
        lists, pieces = iter(self._lists), []
        while piece := list(islice(lists, _PIECE_SEARCHES)):
            between()
            pieces.append(self._credited(piece, codes))
        slots = sum(each.slots for each in pieces)
        items, tail, ours, logged = (
            np.concatenate(column) for column in zip(*(p.columns for p in pieces), strict=True)
        )
        missed = np.ones(len(codes))
        np.multiply.at(missed, items[tail], 1.0 - ours[tail])
        tail_items = int(np.count_nonzero(np.bincount(items[tail])))
        bought_head, bought_tail, revenue_head, revenue_tail = (
            sum(column) for column in zip(*self._sales, strict=True)
        )
        return report.Exposure(
            searches=len(self._lists),
            slots=slots,
            tail_share=float(ours[tail].sum()) / slots,
            logged_tail_share=float(logged[tail].sum()) / slots,
            coverage=float((1.0 - missed).sum()) / tail_items if tail_items else None,
            gini=gini(np.bincount(items, weights=ours)),
            purchases=report.TierCounts(head=int(bought_head), tail=int(bought_tail)),
            revenue=report.TierSums(head=revenue_head, tail=revenue_tail),
        )

    def _credited(self, lists: Sequence[_List], codes: Mapping[str, int]) -> _Credited:
        sizes = np.array([len(ids) for ids, *_ in lists], dtype=np.intp)
        k = np.clip(sizes // 2, 1, self._top_k)
        scores = np.frombuffer(b"".join(scores for _, scores, _, _ in lists), dtype=np.float64)
        positions = np.fromiter(chain.from_iterable(places for *_, places, _ in lists), dtype=np.float64)
        tail = np.frombuffer(b"".join(tiers for *_, tiers in lists), dtype=np.uint8) == TAIL
        shown = chain.from_iterable(ids for ids, *_ in lists)
        items = np.fromiter(map(codes.__getitem__, shown), dtype=np.intp, count=len(scores))
        columns = (items, tail, _credit(scores, sizes, k), _credit(-positions, sizes, k))
        return _Credited(int(np.minimum(k, sizes).sum()), columns)

    def digest_state(self) -> object:
        """Everything that a later figure depends on; ids as one string with their lengths beside it."""
        shown = [item for ids, *_ in self._lists for item in ids]
        return [
            "".join(shown),
            np.array([len(item) for item in shown], dtype=np.int64),
            np.array([len(ids) for ids, *_ in self._lists], dtype=np.int64),
            b"".join(scores for _, scores, _, _ in self._lists),
            np.array([place for *_, places, _ in self._lists for place in places], dtype=np.int64),
            b"".join(tiers for *_, tiers in self._lists),
            np.array(self._sales, dtype=np.float64),
        ]


def _sales(examples: Examples) -> tuple[int, int, float, float]:
    """Impressions bought (head, tail) and their revenue (head, tail)."""
    bought, revenue = [0, 0], [0.0, 0.0]
    for label, tier, money in zip(examples.labels, examples.scored.tiers, examples.revenue, strict=True):
        if label:
            bought[tier] += 1
            revenue[tier] += money
    return bought[HEAD], bought[TAIL], revenue[HEAD], revenue[TAIL]


def _credit(scores: Floats, sizes: Ints, k: Ints) -> Floats:
    """Expected number of top-k slots of each impression, (rows,): 0 or 1, or between for items tied at the border.

    `sizes` and `k` are by search, `scores` by impression, searches one after another.
    """
    rows = len(scores)
    search = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((-scores, search))
    ordered, owner = scores[order], search[order]
    fresh = np.ones(rows, dtype=np.bool_)
    fresh[1:] = (ordered[1:] != ordered[:-1]) | (owner[1:] != owner[:-1])
    starts = np.flatnonzero(fresh)
    tied = np.diff(np.append(starts, rows))
    above = starts - (np.cumsum(sizes) - sizes)[owner[starts]]
    share = np.clip((k[owner[starts]] - above) / tied, 0.0, 1.0)
    credit = np.empty(rows)
    credit[order] = np.repeat(share, tied)
    return credit
