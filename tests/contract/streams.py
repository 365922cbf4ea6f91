"""Streams for whole-pipeline tests: small simulated logs with known labels, and pipelines to feed them to."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from stream_balance.core.pipeline import Pipeline, row_as_search
from stream_balance.core.records import Event, FeatureValue, Purchase, Scored, Search
from stream_balance.core.settings import CoreSettings
from stream_balance.testing import make_purchase, make_search

WINDOW_S = 600.0
ITEMS = tuple(f"i{k}" for k in range(60))
TABLE = {"features": {"builtin": False, "state": False}}
Row = tuple[dict[str, FeatureValue], int]


def core(**rooms: Any) -> CoreSettings:
    """Settings of the core with a window that suits the logs below; one dict per room."""
    if not rooms.keys() & {"arms", "model"}:  # one arm, unless they say otherwise: it learns ten times as fast
        rooms["balance"] = {"strategy": "smote_under"} | rooms.get("balance", {})
    return CoreSettings.model_validate({"join": {"window_s": WINDOW_S}, **rooms})


def pushed(pipeline: Pipeline, events: Iterable[Event]) -> list[Scored]:
    """Every search as it was scored."""
    return [scored for event in events for scored in pipeline.push(event, event.event_id.encode())]


def pushed_rows(pipeline: Pipeline, rows: Iterable[Row]) -> list[Scored]:
    """Every row of a table as it was scored."""
    return [
        pipeline.push_row(row_as_search(i, i * 1_000_000, features), label) for i, (features, label) in enumerate(rows)
    ]


def table_rows(n: int, seed: int = 0, classes: int = 2) -> list[Row]:
    """Rows of three numbers on very different scales, the first two of which tell the class."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for _ in range(n):
        label = int(rng.random() < 0.1) if classes == 2 else int(rng.choice(classes, p=[0.8, 0.15, 0.05]))
        values = rng.normal([label, -2 * label, 0], [1, 2, 1]) * [1, 1e3, 1e-3] + [5, 0, 1]
        rows.append(({name: float(value) for name, value in zip("abc", values, strict=True)}, label))
    return rows


def shop(
    searches: int, seed: int, *, rate: float = 0.05, signal: float = 0.0, classes: int = 2, with_ids: bool = False
) -> list[Event]:
    """A log in order of time: six items per search, each bought by chance, within the window after its search.

    `signal` moves the log odds of a purchase with the item's feature `x`. A user is not shown an item twice within the
    window, so that whether it is bought depends on this search alone.
    """
    rng = random.Random(seed)
    events: list[Event] = []
    shown: dict[str, list[tuple[float, str]]] = {}
    now = 1_760_000_000.0
    for index in range(searches):
        now += rng.expovariate(1 / 10)
        user = f"u{rng.randrange(40)}"
        recent = [(ts, item) for ts, item in shown.get(user, []) if now - ts <= WINDOW_S]
        taken = {item for _, item in recent}
        free = [item for item in ITEMS if item not in taken]
        items = rng.sample(free, 6)
        shown[user] = recent + [(now, item) for item in items]
        features: list[dict[str, FeatureValue]] = [{"x": rng.gauss(0, 1), "brand": rng.choice("abc")} for _ in items]
        search = make_search(
            f"s{index:06d}", ts=now, user_id=user, items=items, item_features=features, query="red shoes",
            prices=[rng.uniform(5, 50) for _ in items], categories=[rng.choice(("shoes", "hats")) for _ in items],
        )  # fmt: skip
        events.append(search)
        for item, each in zip(items, features, strict=True):
            odds = rate / (1 - rate) * np.exp(signal * float(each["x"]) - signal**2 / 2)  # type: ignore[arg-type]
            if rng.random() < odds / (1 + odds):
                bought = make_purchase(
                    f"p{index:06d}-{item}", ts=now + rng.uniform(1, 0.9 * WINDOW_S), user_id=user, item_id=item,
                    search_id=search.event_id if with_ids else None, label=1 + index % (classes - 1), price=9.0,
                )  # fmt: skip
                events.append(bought)
    return in_order(events)


def in_order(events: Iterable[Event]) -> list[Event]:
    """In the total order: by time, searches first, then by id."""
    return sorted(events, key=lambda event: (event.ts_us, isinstance(event, Purchase), event.event_id))


def labels_of(events: Sequence[Event], window_us: int = round(WINDOW_S * 1e6)) -> dict[tuple[str, str], int]:
    """Label of each (search, item), looked up the slow way."""
    labels = {}
    by_buyer: dict[tuple[str, str], list[Purchase]] = {}
    for event in events:
        if isinstance(event, Purchase):
            by_buyer.setdefault((event.user_id, event.item_id), []).append(event)
    for search in events:
        if isinstance(search, Search):
            for item in search.item_ids:
                bought = by_buyer.get((search.user_id, item), [])
                labels[search.event_id, item] = max(
                    (p.label for p in bought if 0 <= p.ts_us - search.ts_us < window_us), default=0
                )
    return labels
