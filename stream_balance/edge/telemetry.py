"""Telemetry: what the loop itself can see of its speed. In: moments, activities. Out: a snapshot as plain data.

Latencies are measured here, at the edge, because the core has no clock. Bounded: fixed buckets, a fixed set of
activities, a bounded trace of each partition's end. Written by the loop alone; readers get copies.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Generic, Literal, TypeVar

Activity = Literal["poll", "work", "flush", "checkpoint", "wait"]
ACTIVITIES: tuple[Activity, ...] = ("poll", "work", "flush", "checkpoint", "wait")

SCORE_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
EVENT_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
LABEL_BUCKETS_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 86_400.0)

Key = TypeVar("Key", bound=Hashable)


class Histogram:
    """Counts of observations by upper bound, their number and sum.

    >>> histogram = Histogram((1.0, 5.0))
    >>> for value in (0.5, 1.0, 3.0, 9.0):
    ...     histogram.observe(value)
    >>> histogram.snapshot()
    {'bounds': [1.0, 5.0], 'counts': [2, 1, 1], 'sum': 13.5}
    """

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        assert list(bounds) == sorted(set(bounds)), "bucket bounds grow"
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value `times` times; it belongs to the first bound that is not below it."""
        self._counts[bisect_left(self._bounds, value)] += times
        self._sum += value * times

    def snapshot(self) -> dict[str, Any]:
        """Plain data; `counts` has one more than `bounds`, for what is beyond the last."""
        return {"bounds": list(self._bounds), "counts": list(self._counts), "sum": self._sum}


class LagClock(Generic[Key]):
    """How long the oldest record that was not processed has been known to wait, by partition.

    Made from when each end was first seen, not from the records' own times: those of a replayed log are old. What was
    there before the first look counts from the first look. At most `points_max` points a partition; beyond it every
    second one is forgotten, so that the answer becomes coarser, never unbounded.

    >>> clock = LagClock()
    >>> clock.observe("p0", position=0, end=10, now_s=100.0), clock.observe("p0", position=4, end=20, now_s=103.0)
    (0.0, 3.0)
    >>> clock.observe("p0", position=10, end=20, now_s=104.0), clock.observe("p0", position=20, end=20, now_s=105.0)
    (1.0, 0.0)
    """

    def __init__(self, points_max: int = 256) -> None:
        self._points_max = points_max
        self._points: dict[Key, deque[tuple[float, int]]] = {}

    def observe(self, key: Key, *, position: int, end: int, now_s: float) -> float:
        """Seconds that the record at `position` has waited; 0 when there is none yet."""
        points = self._points.setdefault(key, deque())
        if end > position and (not points or end > points[-1][1]):
            points.append((now_s, end))
        while points and points[0][1] <= position:
            points.popleft()
        if len(points) > self._points_max:
            # Of two neighbours the earlier time with the later end: the wait is never said to be shorter than it is.
            pairs = list(points)
            merged = [(pairs[i][0], pairs[min(i + 1, len(pairs) - 1)][1]) for i in range(0, len(pairs), 2)]
            self._points[key] = points = deque(merged)
        return max(0.0, now_s - points[0][0]) if points else 0.0


class Telemetry:
    """Latency histograms and where the loop's time goes.

    `wall` is seconds since 1970, `clock` and `cpu` are the loop thread's own; all three are handed in.
    """

    def __init__(
        self,
        *,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.perf_counter,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.wall = wall
        self.clock = clock
        self._cpu = cpu
        self.score = Histogram(SCORE_BUCKETS_S)
        self.event_to_score = Histogram(EVENT_BUCKETS_S)
        self.label_to_learn = Histogram(LABEL_BUCKETS_S)
        self.learned_at_s: float | None = None
        self._spent = dict.fromkeys(ACTIVITIES, 0.0)
        self._activity: Activity = "work"
        self._since = clock()
        self._cpu_at = cpu()

    def enter(self, activity: Activity) -> None:
        """From now on the loop does this."""
        now = self.clock()
        self._spent[self._activity] += now - self._since
        self._activity, self._since = activity, now

    def snapshot(self) -> dict[str, Any]:
        """Everything so far as plain data."""
        self.enter(self._activity)
        return {
            "score_seconds": self.score.snapshot(),
            "event_to_score_seconds": self.event_to_score.snapshot(),
            "label_to_learn_seconds": self.label_to_learn.snapshot(),
            "learned_at_s": self.learned_at_s,
            "loop_seconds": dict(self._spent),
            "loop_cpu_seconds": max(0.0, self._cpu() - self._cpu_at),
        }
