"""Exporter: Prometheus text made from the pinned report. A collector over one immutable document, in its own registry.

What is shown stands in the metric table; here it only becomes the client's families. The process's own metrics come
from the client.

A saved state brings its counts along, and after a kill they are those of the last checkpoint: a counter that went back
from 500 to 400 would be read as begun again and risen by 400. So counters are shown since the start of the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from stream_balance.edge import metric_read, metric_table
from stream_balance.edge.board import Board
from stream_balance.edge.metric_read import PREFIX, View


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, bool | int | float) else None


class ReportCollector(Collector):
    """Turns the board's last report into metric families at each scrape. Undefined figures are left out, never 0."""

    def __init__(self, board: Board, versions: dict[str, str]) -> None:
        self._board = board
        self._versions = versions

    def describe(self) -> list[Metric]:
        """Nothing is promised before the first report."""
        return []

    def view(self) -> View:
        """The documents of this moment."""
        pinned = self._board.latest()
        pulse = {
            "versions": self._versions,
            "idle_s": self._board.stalled_s(),
            "ready": self._board.ready,
            "report_age_s": self._board.age_s(),
            "live_pages": len(self._board.open_pages),
        }
        if self._board.scoring is not None:
            pulse |= self._board.scoring.tally.snapshot()
        return View(pinned.document if pinned else {}, pinned.state if pinned else {}, pulse)

    def collect(self) -> Iterator[Metric]:
        """All families that have a figure."""
        view, base = self.view(), View(self._board.base.document, self._board.base.state, {})
        for metric in metric_table.metrics():
            family = _family(metric, view, base)
            if family.samples:
                yield family


def _family(metric: metric_read.Metric, view: View, base: View) -> Metric:
    name = PREFIX + metric.name
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, metric.text, labels=metric.labels)
        for labels, value in metric.readings(view):
            bounds = [*map(str, value["bounds"]), "+Inf"]
            counts = [float(count) for count in accumulate(value["counts"])]
            histogram.add_metric(labels, list(zip(bounds, counts, strict=True)), value["sum"])
        return histogram
    if metric.kind == "info":
        info = InfoMetricFamily(name, metric.text)
        for _, value in metric.readings(view):
            info.add_metric([], value)
        return info
    if metric.kind == "counter":
        family: CounterMetricFamily | GaugeMetricFamily = CounterMetricFamily(name, metric.text, labels=metric.labels)
    else:
        family = GaugeMetricFamily(name, metric.text, labels=metric.labels)
    before = dict(metric.readings(base)) if metric.kind == "counter" else {}
    for labels, value in metric.readings(view):
        number = _number(value)
        if number is not None:
            began = before.get(labels, 0)
            # Of what has begun anew meanwhile nothing is taken off.
            family.add_metric(labels, number - began if number >= began else number)
    return family


def make_exposition(board: Board, versions: dict[str, str]) -> CollectorRegistry:
    """A registry of our own: the report's collector, and the client's for process, garbage collector and platform."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(board, versions))
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """The Prometheus text format."""
    return generate_latest(registry)
