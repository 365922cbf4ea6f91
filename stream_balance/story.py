"""Story: what happened to one search of a log, or to one impression of it. In: log, settings, an id. Out: lines.

Replays the log as ever and looks on: the arms learn through a listener that passes everything on. So the story is of
the very run that the settings describe.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from stream_balance.core.lineup import Pair
from stream_balance.core.panel import Panel
from stream_balance.core.records import ORIGINS, TIERS, Columns, Examples, Purchase, Samples, Scored
from stream_balance.edge.logfile import read_events
from stream_balance.errors import SettingsError
from stream_balance.service import make_codec, make_pipeline
from stream_balance.settings import Settings


@dataclass(frozen=True, slots=True)
class Lesson:
    """How one search was learned, by arm: its strategy, its multipliers by class, the samples drawn (None = none)."""

    examples: Examples
    by_arm: list[tuple[Pair, tuple[float, ...], Samples | None]]


class Listener:
    """Stands before a panel's `learn` and where its arms' samples come from; remembers the lesson of one search."""

    def __init__(self, panel: Panel) -> None:
        self._learn, self._arms = panel.learn, panel.members[: panel.arms]
        self._drawn: dict[Pair, Samples | None] = {}
        self.event_id: str | None = None
        self.lesson: Lesson | None = None
        panel.learn = self.learn  # type: ignore[method-assign, assignment]  # passes on whatever it is given
        for arm in self._arms:
            if arm.balances:
                arm.strategy.draw = self._noted(arm.pair, arm.strategy.draw)  # type: ignore[method-assign]
            else:  # it is handed the rows as they came
                arm.model.learn = self._heard(arm.pair, arm.model.learn)  # type: ignore[method-assign, assignment]

    def _noted(self, pair: Pair, draw: Callable[..., Samples | None]) -> Callable[..., Samples | None]:
        def noted(*arguments: Any) -> Samples | None:
            self._drawn[pair] = drawn = draw(*arguments)
            return drawn

        return noted

    def _heard(self, pair: Pair, learn: Callable[[Samples, Columns], None]) -> Callable[[Samples, Columns], None]:
        def heard(samples: Samples, columns: Columns) -> None:
            self._drawn[pair] = samples
            learn(samples, columns)

        return heard

    def learn(self, examples: Examples, *arguments: Any) -> list[float]:
        """As the panel's."""
        wanted = examples.scored.event_id == self.event_id
        multipliers = [arm.strategy.multipliers() for arm in self._arms] if wanted else []
        self._drawn = {}
        losses = self._learn(examples, *arguments)
        if wanted:
            told = zip(self._arms, multipliers, strict=True)
            self.lesson = Lesson(
                examples, [(arm.pair, each, self._drawn[arm.pair]) for arm, each in told if arm.pair in self._drawn]
            )
        return losses


def tell_story(paths: Sequence[Path], settings: Settings, wanted: str, stop: threading.Event) -> Iterator[str]:
    """The lines, as the log comes to them. Raises SettingsError if no search has that id.

    `wanted` is a search's `event_id`, or `event_id/index` with the impression's place in it, counted from 0, which is
    its `prediction_id`.
    """
    pipeline = make_pipeline(settings)
    listener = Listener(pipeline.panel)
    told: Scored | None = None
    only: int | None = None
    for number, record in enumerate(read_events(paths, make_codec(settings)), start=1):
        if stop.is_set():
            return
        if record.event is None:
            continue
        scored_now = pipeline.push(record.event, record.data)
        if listener.lesson is not None:
            yield from _matured(listener.lesson, only, record.event.ts_us, settings)
            return
        if told is not None and isinstance(record.event, Purchase):
            yield from _purchase(record.event, told, only)
        for scored in scored_now:
            if told is None and (found := _place(scored, wanted)) is not None:
                told, only, listener.event_id = scored, found[0], scored.event_id
                yield from _scored(scored, only, number)
    if told is None:
        raise SettingsError(f"no search of the log is {wanted!r}. Name its event_id, or event_id/index.")
    yield "held      to the end of the log: its label was not due yet"


def _place(scored: Scored, wanted: str) -> tuple[int | None] | None:
    """Whether this search is wanted, and which of its impressions (None = all)."""
    if scored.event_id == wanted:
        return (None,)
    name, _, index = wanted.rpartition("/")
    if scored.event_id != name or not index.isdecimal():
        return None
    if int(index) >= len(scored.item_ids):
        raise SettingsError(
            f"search {name!r} has {len(scored.item_ids)} items, the last is {len(scored.item_ids) - 1}."
        )
    return (int(index),)


def _chosen(n: int, only: int | None) -> Sequence[int]:
    return range(n) if only is None else [only]


def _time(ts_us: int) -> str:
    return datetime.fromtimestamp(ts_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _scored(scored: Scored, only: int | None, number: int) -> Iterator[str]:
    n = len(scored.item_ids)
    yield (
        f"scored    {_time(scored.ts_us)}, record {number:,}: search {scored.event_id} with {n} items, "
        f"model version {scored.model_version:,}"
    )
    probability, raw = scored.probability.sum(axis=1), scored.raw.sum(axis=1)
    rank = np.empty(n, dtype=int)
    rank[np.argsort(-probability, kind="stable")] = np.arange(1, n + 1)
    for i in _chosen(n, only):
        side = "above" if probability[i] >= scored.threshold[i] else "below"
        learner = "nothing yet" if np.isnan(raw[i]) else f"{raw[i]:.4f}"
        yield (
            f"          [{i}] item {scored.item_ids[i]}, shown at {scored.positions[i]}, {TIERS[scored.tiers[i]]}: "
            f"probability {probability[i]:.4f} (the learner said {learner}), rank {rank[i]} of {n}, "
            f"{side} the threshold {scored.threshold[i]:.4f}"
        )


def _purchase(event: Purchase, scored: Scored, only: int | None) -> Iterator[str]:
    if event.user_id == scored.user_id and event.item_id in {scored.item_ids[i] for i in _chosen(len(scored), only)}:
        after_s = (event.ts_us - scored.ts_us) / 1e6
        named = f", names search {event.search_id}" if event.search_id is not None else ""
        yield (
            f"purchase  {_time(event.ts_us)}: {event.event_id} of item {event.item_id}, {after_s:,.0f} s after the "
            f"search{named}"
        )


def _matured(lesson: Lesson, only: int | None, ts_us: int, settings: Settings) -> Iterator[str]:
    examples = lesson.examples
    scored, names = examples.scored, ("none", *settings.wire.classes)
    due_us = scored.ts_us + round((settings.join.window_s + settings.order.disorder_max_s) * 1e6)
    yield f"held      until its window closed at {_time(due_us)}"
    yield f"matured   at the first event after that, {_time(ts_us)}"
    for i in _chosen(len(examples), only):
        label = examples.labels[i]
        paid = f", revenue {examples.revenue[i]:g}" if examples.revenue[i] else ""
        known = "; known when it was scored, so no figure counts it" if examples.known[i] else ""
        yield f"          [{i}] label {names[label]}{paid}{known}"
        for pair, multipliers, drawn in lesson.by_arm:
            by = f"{pair.model}: " if len(lesson.by_arm) > 1 else ""
            yield (
                f"learned   [{i}] {by}{times_learned(scored, i, label, drawn)}: {pair.strategy} wants "
                f"{multipliers[label]:.3g} samples of each {names[label]!r} now"
            )
    for pair, _, drawn in lesson.by_arm:
        if drawn is not None:
            by = f" by {pair.model}" if len(lesson.by_arm) > 1 else ""
            count = Counter(ORIGINS[origin] for origin in drawn.origins)
            origins = ", ".join(f"{n} {name}" for name, n in sorted(count.items()))
            yield f"          rows drawn for the whole search{by}: {origins}"


def times_learned(scored: Scored, index: int, label: int, drawn: Samples | None) -> str:
    """How often the impression's own row was learned, by the samples that are it bit for bit."""
    times = 0
    if drawn is not None:
        row = scored.values[index]
        width = min(len(row), drawn.rows.shape[1])
        rows = np.ascontiguousarray(drawn.rows[:, :width])
        alike = (rows.view(np.int64) == np.ascontiguousarray(row[:width]).view(np.int64)).all(axis=1)
        times = sum(n for n, same, of in zip(drawn.times, alike, drawn.labels, strict=True) if same and of == label)
    return "not at all" if not times else "once" if times == 1 else f"{times} times"
