"""Nothing leaks: where labels are pure noise, nothing that was served knows them, however the events come."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import pytest
from streams import WINDOW_S, core, in_order, labels_of, pushed, shop

from stream_balance.core.pipeline import Pipeline
from stream_balance.core.records import Event, Purchase, Search

SEEDS = range(4)
SEARCHES = 600
Arrange = Callable[[list[Event], random.Random], list[Event]]


def as_it_is(events: list[Event], rng: random.Random) -> list[Event]:
    return events


def at_equal_times(events: list[Event], first: type) -> list[Event]:
    """Each purchase at the very time of the next search that comes (of any user), within its own window.

    What comes first at equal times: searches, or purchases.
    """
    searches = [event for event in events if isinstance(event, Search)]
    times = [search.ts_us for search in searches]
    moved: list[Event] = list(searches)
    for event in events:
        if isinstance(event, Purchase):
            place = int(np.searchsorted(times, event.ts_us))
            moved.append(replace(event, ts_us=times[min(place, len(times) - 1)]))
    return sorted(moved, key=lambda event: (event.ts_us, not isinstance(event, first), event.event_id))


def searches_first(events: list[Event], rng: random.Random) -> list[Event]:
    return at_equal_times(events, Search)


def purchases_first(events: list[Event], rng: random.Random) -> list[Event]:
    return at_equal_times(events, Purchase)


def bought_at_once(events: list[Event], rng: random.Random) -> list[Event]:
    """Half of the purchases at the very time of their own search, after it."""
    times = {search.event_id[1:]: search.ts_us for search in events if isinstance(search, Search)}
    moved = [
        replace(event, ts_us=times[event.event_id[1:7]])
        if isinstance(event, Purchase) and rng.random() < 0.5
        else event
        for event in events
    ]
    return in_order(moved)


def bought_before_shown(events: list[Event], rng: random.Random) -> list[Event]:
    """The same, but at equal times the purchase comes first: what it was of is known, the other items are not."""
    return sorted(bought_at_once(events, rng), key=lambda event: (event.ts_us, isinstance(event, Search)))


def late_searches(events: list[Event], rng: random.Random) -> list[Event]:
    """A tenth of the searches comes up to a window later, after purchases with later times, its own among them."""
    delays = {
        event.event_id: rng.uniform(0, WINDOW_S * 1e6) if isinstance(event, Search) and rng.random() < 0.1 else 0.0
        for event in events
    }
    return sorted(events, key=lambda event: (event.ts_us + delays[event.event_id], event.event_id))


ARRANGEMENTS: list[Arrange] = [
    as_it_is,
    searches_first,
    purchases_first,
    bought_at_once,
    bought_before_shown,
    late_searches,
]


def standard_error(positives: int, negatives: int) -> float:
    """Of the AUC of scores that know nothing (Mann & Whitney 1947)."""
    return math.sqrt((positives + negatives + 1) / (12 * positives * negatives))


def figures(arrange: Arrange, seeds: Iterable[int], strategy: str, **shop_settings: float) -> dict[str, float]:
    """Mean of the lifetime AUCs over the seeds, and the standard error that it would have if nothing leaked."""
    served, raw, errors = [], [], []
    for seed in seeds:
        events = arrange(shop(SEARCHES, seed, **shop_settings), random.Random(seed))
        pipeline = Pipeline(core(balance={"strategy": strategy}), seed, ("no", "bought"))
        pushed(pipeline, events)
        pipeline.run_out()
        report = pipeline.report(digest=False)
        assert report.examples.positive == sum(label > 0 for label in labels_of(events).values())
        assert report.examples.matured == report.examples.in_ == 6 * SEARCHES
        lifetime = report.metrics.lifetime
        assert lifetime.rows + report.examples.label_known == report.examples.matured
        served.append(lifetime.roc_auc)
        raw.append(report.metrics.raw.roc_auc)
        errors.append(standard_error(int(lifetime.positives), int(lifetime.rows - lifetime.positives)))
    pooled = math.sqrt(sum(error**2 for error in errors)) / len(errors)
    return {"served": float(np.mean(served)), "raw": float(np.mean(raw)), "error": pooled}


@pytest.mark.parametrize(
    ("arrange", "strategy"),
    [*((arrange, "smote_under") for arrange in ARRANGEMENTS), (purchases_first, "none"), (late_searches, "none")],
)
def test_labels_of_pure_noise_are_not_known_before(arrange: Arrange, strategy: str) -> None:
    found = figures(arrange, SEEDS, strategy)
    assert abs(found["served"] - 0.5) < 4 * found["error"], found
    assert abs(found["raw"] - 0.5) < 4 * found["error"], found


@pytest.mark.parametrize("arrange", ARRANGEMENTS)
def test_what_can_be_known_is_found(arrange: Arrange) -> None:
    found = figures(arrange, [1], "smote_under", signal=1.0, rate=0.08)
    assert found["served"] > 0.6
    assert found["raw"] > 0.6
