"""Exporter: Prometheus text made from the pinned report. A collector over one immutable document, in its own registry.

Names: prefix `stream_balance_`, base units, `_total` for counters. Labels are of bounded size: scopes, tiers, reasons,
origins and kinds come from closed lists, classes from the settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from stream_balance.edge.board import Board

PREFIX = "stream_balance_"

SCALARS = (
    "rows", "positives", "roc_auc", "average_precision", "log_loss", "brier", "normalised_entropy", "ece",
    "mean_probability_over_rate",
)  # fmt: skip
DECISIONS = ("accuracy", "recall", "specificity", "precision", "f1", "gmean", "balanced_accuracy", "mcc", "kappa")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _family(kind: type[Any], name: str, text: str, label: str, values: dict[str, Any]) -> Metric:
    family: Metric = kind(PREFIX + name, text, labels=[label])
    for key, value in values.items():
        number = _number(value)
        if number is not None:
            family.add_metric([key], number)  # type: ignore[attr-defined]  # on every family with samples
    return family


class ReportCollector(Collector):
    """Turns the board's last report into metric families at each scrape. Undefined figures are left out, never 0."""

    def __init__(self, board: Board, versions: dict[str, str]) -> None:
        self._board = board
        self._versions = versions

    def describe(self) -> list[Metric]:
        """Nothing is promised before the first report."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All families of the last report."""
        yield InfoMetricFamily(PREFIX + "build", "Versions of the service and its libraries.", self._versions)
        yield GaugeMetricFamily(
            PREFIX + "loop_idle_seconds", "Seconds since the learning loop last turned.", self._board.stalled_s()
        )
        yield GaugeMetricFamily(PREFIX + "ready", "1 once the service takes events.", float(self._board.ready))
        pinned = self._board.latest()
        if pinned is not None:
            yield from self._counters(pinned.document)
            yield from self._training(pinned.document)
            yield from self._metrics(pinned.document["metrics"])
            yield from self._ranking(pinned.document)
            yield from self._service(pinned.state)

    @staticmethod
    def _counters(report: dict[str, Any]) -> Iterator[Metric]:
        events, examples = report["events"], report["examples"]
        kinds = {kind: events[kind] for kind in ("search", "purchase")}
        yield _family(CounterMetricFamily, "events", "Events taken, by type.", "type", kinds)
        yield _family(CounterMetricFamily, "bad_records", "Records that could not be read.", "reason", events["bad"])
        yield GaugeMetricFamily(PREFIX + "held_impressions", "Impressions that wait for a label.", examples["held"])
        for name, text in (
            ("in", "Impressions scored and held."),
            ("matured", "Impressions whose label became due."),
            ("positive", "Matured impressions with an outcome."),
            ("label_known", "Impressions whose label was known when they were scored; kept out of the metrics."),
            ("orphans", "Purchases without a search."),
            ("late", "Events behind the watermark."),
            ("duplicates", "Events whose id had been seen."),
        ):
            value = _number(examples.get(name))
            if value is not None:
                yield CounterMetricFamily(f"{PREFIX}examples_{name}", text, value)
        text = "Impressions given up before their label was due."
        yield _family(CounterMetricFamily, "examples_dropped", text, "reason", examples["dropped"])

    @staticmethod
    def _training(report: dict[str, Any]) -> Iterator[Metric]:
        training = report["training"]
        yield _family(CounterMetricFamily, "samples", "Samples learned.", "origin", training["samples"])
        for name, text in (
            ("positive_share", "Share of positives among the samples learned lately."),
            ("target_share", "Share of positives aimed at, after clamps."),
        ):
            value = _number(training.get(name))
            if value is not None:
                yield GaugeMetricFamily(f"{PREFIX}training_{name}", text, value)
        yield _family(GaugeMetricFamily, "threshold", "Decision threshold in force.", "tier", report["threshold"] or {})

    @staticmethod
    def _metrics(metrics: dict[str, Any]) -> Iterator[Metric]:
        scopes = {name: metrics[name] for name in ("lifetime", "window", "faded")}
        scopes |= {f"tier_{tier}": scope for tier, scope in metrics["tiers"].items()}
        for name in SCALARS:
            values = {scope: figures.get(name) for scope, figures in scopes.items()}
            yield _family(GaugeMetricFamily, "metric_" + name, f"Prequential {name}.", "scope", values)
        for name in DECISIONS:
            family = GaugeMetricFamily(
                f"{PREFIX}decision_{name}", f"Prequential {name} of the decisions.", labels=["scope", "at"]
            )
            for scope, figures in scopes.items():
                for at in ("at_half", "at_tuned"):
                    value = _number((figures.get(at) or {}).get(name))
                    if value is not None:
                        family.add_metric([scope, at], value)
            yield family

    @staticmethod
    def _ranking(report: dict[str, Any]) -> Iterator[Metric]:
        ranking, exposure = report["ranking"], report["exposure"]
        for name in ("mrr", "ndcg_at_k", "hit_at_k"):
            values = {"ours": ranking.get(name), "logged": (ranking.get("logged") or {}).get(name)}
            yield _family(GaugeMetricFamily, "ranking_" + name, f"Ranking quality: {name}.", "order", values)
        for name in ("tail_share", "logged_tail_share", "coverage", "gini"):
            value = _number(exposure.get(name))
            if value is not None:
                yield GaugeMetricFamily(f"{PREFIX}exposure_{name}", f"Exposure in the top k: {name}.", value)

    @staticmethod
    def _service(state: dict[str, Any]) -> Iterator[Metric]:
        for name, text in (
            ("predictions_published", "Predictions handed to the output."),
            ("dead_letters", "Records sent to the dead letters."),
        ):
            value = _number(state.get(name))
            if value is not None:
                yield GaugeMetricFamily(PREFIX + name, text, value)
        lag = state.get("lag")
        if isinstance(lag, dict):
            family = GaugeMetricFamily(
                PREFIX + "consumer_lag_records", "Records not yet processed.", labels=["topic", "partition"]
            )
            for key, value in lag.items():
                topic, _, partition = key.rpartition("/")
                family.add_metric([topic, partition], float(value))
            yield family


def make_exposition(board: Board, versions: dict[str, str]) -> CollectorRegistry:
    """A registry of our own with the one collector in it."""
    registry = CollectorRegistry()
    registry.register(ReportCollector(board, versions))
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """The Prometheus text format."""
    return generate_latest(registry)
