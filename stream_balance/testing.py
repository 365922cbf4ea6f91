"""Builders of records for tests: small, typed, with defaults for everything that a story does not care about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stream_balance.core.records import (
    ORIGINS,
    Arrivals,
    FeatureValue,
    Floats,
    Origin,
    Purchase,
    Samples,
    Scored,
    Search,
)

SECOND_US = 1_000_000


def make_search(
    event_id: str = "s1",
    *,
    ts: float = 0.0,
    user_id: str = "u1",
    items: Sequence[str] = ("i1",),
    prices: Sequence[float | None] | None = None,
    categories: Sequence[str | None] | None = None,
    item_features: Sequence[Mapping[str, FeatureValue]] | None = None,
    features: Mapping[str, FeatureValue] | None = None,
    query: str | None = None,
    truths: Sequence[float] | None = None,
) -> Search:
    """A search at `ts` seconds; positions are 1..n.

    >>> make_search(items=["i1", "i2"], ts=2).positions
    (1, 2)
    """
    n = len(items)
    return Search(
        event_id=event_id,
        ts_us=round(ts * SECOND_US),
        user_id=user_id,
        item_ids=tuple(items),
        positions=tuple(range(1, n + 1)),
        prices=tuple(prices) if prices is not None else (None,) * n,
        categories=tuple(categories) if categories is not None else (None,) * n,
        item_features=tuple(item_features) if item_features is not None else ({},) * n,
        features=features or {},
        query=query,
        truths=tuple(truths) if truths is not None else None,
    )


def make_purchase(
    event_id: str = "p1",
    *,
    ts: float = 0.0,
    user_id: str = "u1",
    item_id: str = "i1",
    search_id: str | None = None,
    price: float | None = None,
    quantity: int = 1,
    label: int = 1,
) -> Purchase:
    """A purchase at `ts` seconds.

    >>> make_purchase(ts=1.5).ts_us
    1500000
    """
    return Purchase(event_id, round(ts * SECOND_US), user_id, item_id, search_id, price, quantity, label)


def make_scored(
    event_id: str = "s1",
    *,
    ts: float = 0.0,
    user_id: str = "u1",
    items: Sequence[str] = ("i1",),
    values: Sequence[Sequence[float]] | None = None,
    probability: float = 0.5,
    threshold: float = 0.5,
    tiers: bytes | None = None,
) -> Scored:
    """A search at `ts` seconds as it was scored, two classes, the same probability for every item.

    >>> make_scored(items=["i1", "i2"], values=[[1.0], [2.0]], probability=0.25).probability.tolist()
    [[0.25], [0.25]]
    """
    n = len(items)
    features = np.asarray(values if values is not None else [[0.0]] * n, dtype=np.float64).reshape(n, -1)
    rest = np.tile([probability, probability, threshold], (n, 1))
    return Scored(
        event_id=event_id,
        user_id=user_id,
        item_ids=tuple(items),
        positions=tuple(range(1, n + 1)),
        tiers=tiers if tiers is not None else bytes(n),
        width=features.shape[1],
        block=Scored.sealed(np.hstack([features, rest]).tobytes(), round(ts * SECOND_US)),
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of `Samples`, for tests that look at them one by one."""

    row: Floats
    label: int
    origin: Origin = "observed"
    offset: tuple[float, ...] = (0.0,)
    times: int = 1


def together(samples: Sequence[Sample]) -> Samples:
    """Samples of equal width as a model takes them.

    >>> each_of(together([Sample(np.zeros(2), 1, times=3)]))[0].times
    3
    """
    return Samples(
        np.array([sample.row for sample in samples]),
        [sample.label for sample in samples],
        bytes([ORIGINS.index(sample.origin) for sample in samples]),
        [sample.times for sample in samples],
        [sample.offset for sample in samples],
    )


def each_of(samples: Samples | None) -> list[Sample]:
    """Samples one by one; none of None."""
    if samples is None:
        return []
    columns = (samples.rows, samples.labels, samples.origins, samples.offsets, samples.times)
    return [
        Sample(row, label, ORIGINS[origin], offset, times)
        for row, label, origin, offset, times in zip(*columns, strict=True)
    ]


def make_arrivals(values: Floats, labels: Sequence[int], tiers: bytes | None = None) -> Arrivals:
    """Rows that arrive for learning, (n, d), served .5; of the head unless said otherwise."""
    n = len(labels)
    return Arrivals(values, labels, bytes(n) if tiers is None else tiers, np.full((n, max(1, *labels, 1)), 0.5))
