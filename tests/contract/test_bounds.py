"""Bounds: every buffer of the pipeline filled beyond its bound on purpose. It holds no more, counts what it lets go."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stream_balance.core.balance import BalanceSettings
from stream_balance.core.drift import DriftSettings
from stream_balance.core.features import FeatureSettings
from stream_balance.core.join import JoinSettings
from stream_balance.core.metrics_math import MetricSettings
from stream_balance.core.order import OrderSettings
from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event
from stream_balance.core.settings import CoreSettings
from stream_balance.core.tiers import TierSettings
from stream_balance.core.window import WindowSettings
from stream_balance.testing import make_purchase, make_search

EVENTS = 4000
SETTINGS = CoreSettings(
    balance=BalanceSettings(strategy="smote_under"),
    order=OrderSettings(disorder_max_s=2000.0, reorder_max=40),
    join=JoinSettings(window_s=5000.0, held_max=90, purchases_max=15, shared_max=3),
    features=FeatureSettings(
        columns_max=24,
        hash_columns=4,
        levels_max=5,
        level_buckets=3,
        items_max=30,
        users_max=20,
        categories_max=6,
        plans_max=4,
    ),
    tiers=TierSettings(items_max=30, first=20, every=10),
    window=WindowSettings(size_max=25),
    metrics=MetricSettings(window_rows=300, exposure_searches=20),
    drift=DriftSettings(alarms_max=3, check_rows=10),
)


def crowd(seed: int = 0) -> Iterator[Event]:
    """Ever new users, items, columns, categories and levels, out of order; purchases with and without searches."""
    rng = random.Random(seed)
    now = 1_760_000_000.0
    for n in range(EVENTS):
        now += rng.expovariate(0.1 if n < EVENTS // 3 else 0.0025)  # first too many to be held, then labels come due
        at, user = now - rng.random() ** 4 * 3000, f"u{rng.randrange(200)}"
        if rng.random() < 0.3:
            yield make_purchase(f"p{n}", ts=at, user_id=user, item_id=f"i{rng.randrange(300)}", price=1.0)
            continue
        items = [f"i{rng.randrange(300)}" for _ in range(3)]
        # The rate jumps now and again, so that the drift watch has something to tell.
        x = 8.0 if n // 400 % 2 else 0.0
        features: list[dict[str, Any]] = [
            {
                "x": rng.gauss(x, 1),
                "kind": rng.choice((1.0, "one")),
                f"f{rng.randrange(60)}": 1.0,
                "brand": f"b{rng.randrange(40)}",
            }
            for _ in items
        ]
        search = make_search(
            f"s{n}", ts=at, user_id=user, items=items, item_features=features,
            categories=[f"c{rng.randrange(30)}" for _ in items], prices=[rng.random() for _ in items],
        )  # fmt: skip
        yield replace(search, positions=tuple(at + n % 5 for at in search.positions))
        if rng.random() < (0.9 if x else 0.05):
            yield make_purchase(f"q{n}", ts=at + 1, user_id=user, item_id=items[0], search_id=search.event_id)


def sizes(pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """How much each buffer holds, and its bound."""
    joiner, history, columns = pipeline.joiner, pipeline.featurizer._history, pipeline.featurizer.columns
    features, join = SETTINGS.features, SETTINGS.join
    return {
        "reordered": (len(pipeline.reorder), SETTINGS.order.reorder_max),
        "held": (joiner.counts.held, join.held_max),
        "held searches": (len(joiner._by_id), join.held_max // 3),
        "shared": (len(pipeline._share), join.shared_max),
        "purchases": (len(joiner._outcomes), join.purchases_max),
        "purchases waiting": (len(joiner._waiting), join.purchases_max),
        "late ids": (len(joiner._late_ids), join.purchases_max),
        "columns": (len(columns), features.columns_max + features.hash_columns),
        "levels": (max(map(len, columns.levels)), features.levels_max + features.level_buckets),
        "plans": (len(pipeline.featurizer._plans), features.plans_max),
        "items": (len(history._items), features.items_max),
        "users": (len(history._users), features.users_max),
        "categories": (len(history._categories), features.categories_max),
        "items with a tier": (len(pipeline.tiers._exposure), 2 * SETTINGS.tiers.items_max),
        "exposure": (len(pipeline.exposure._lists), SETTINGS.metrics.exposure_searches),
        "alarms": (len(pipeline.drift.metrics().alarms), SETTINGS.drift.alarms_max),
        "window": (max((max(each) for each in pipeline.panel.window.counts().values()), default=0), 25),
    }


def test_every_buffer_is_filled_stays_within_its_bound_and_counts_what_it_let_go() -> None:
    pipeline = Pipeline(SETTINGS, 0, ("none", "bought"))
    largest: dict[str, int] = {}
    for n, event in enumerate(crowd()):
        pipeline.push(event)
        for name, (size, bound) in sizes(pipeline).items():
            assert size <= bound, f"{name} holds {size} after {n} events, at most {bound} are allowed"
            largest[name] = max(largest.get(name, 0), size)
    full = {name: bound for name, (_, bound) in sizes(pipeline).items()}
    full.pop("items with a tier")  # checked when tiers are computed anew
    for name, bound in full.items():
        assert largest[name] >= bound - 3, f"{name} held {largest[name]} at most, its bound {bound} was not tried"
    beyond = pipeline.vitals()["beyond_bounds"]
    assert all(beyond.values()), f"never counted: {[name for name, count in beyond.items() if not count]}"
    report = pipeline.report(digest=False)
    assert report.examples.dropped["overflow"] > 0
    assert report.examples.in_ == report.examples.held + report.examples.matured + sum(report.examples.dropped.values())
    assert sum(report.drift.counts.model_dump().values()) > SETTINGS.drift.alarms_max
    assert report.metrics.window.rows <= SETTINGS.metrics.window_rows
    assert pipeline.panel.window.evicted_by_count > 0
