"""Console: the report as a table for people. In: report document. Out: rich renderables."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text


def _show(value: Any, digits: int = 4) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def _scopes(metrics: dict[str, Any]) -> Table:
    table = Table(title="Prequential metrics on real impressions", title_justify="left")
    table.add_column("")
    scopes = {name: metrics[name] for name in ("lifetime", "window", "faded")}
    scopes |= {f"{tier} items": scope for tier, scope in metrics["tiers"].items()}
    for name in scopes:
        table.add_column(name, justify="right")
    for field in ("rows", "positives"):  # whole numbers, or sums of weights
        table.add_row(field, *(_show(scope.get(field), 0) for scope in scopes.values()))
    for field, label in (
        ("roc_auc", "ROC AUC"),
        ("average_precision", "average precision"),
        ("log_loss", "log-loss"), ("normalised_entropy", "normalised entropy"), ("brier", "Brier"), ("ece", "ECE"),
        ("mean_probability_over_rate", "probability / rate"),
    ):  # fmt: skip
        table.add_row(label, *(_show(scope.get(field)) for scope in scopes.values()))
    for field in ("gmean", "recall", "precision", "accuracy", "majority_accuracy"):
        row = (_show((scope.get("at_tuned") or {}).get(field)) for scope in scopes.values())
        table.add_row(f"{field.replace('_', ' ')} at tuned", *row)
    return table


def _facts(report: dict[str, Any]) -> str:
    events, examples, training = report["events"], report["examples"], report["training"]
    bad = sum(events["bad"].values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in events["bad"].items())
    samples = ", ".join(f"{origin} {count:,}" for origin, count in training["samples"].items() if count)
    lines = [
        f"events     {events['search']:,} searches, {events['purchase']:,} purchases, {bad:,} bad"
        + (f" ({reasons})" if bad else ""),
        f"examples   {examples['in']:,} in = {examples['held']:,} held + {examples['matured']:,} matured "
        f"+ {sum(examples['dropped'].values()):,} dropped; {examples['positive']:,} positive, "
        f"{examples['label_known']:,} label known, {examples['orphans']:,} orphan purchases, {examples['late']:,} late",
        f"samples    {samples or 'none'}; positive share {_show(training['positive_share'], 3)}, "
        f"target {_show(training['target_share'], 3)}",
    ]
    oracle, throughput = report.get("oracle"), report.get("throughput")
    if oracle:
        ours = report["metrics"]["lifetime"]
        lines.append(
            f"oracle     AUC {_show(oracle.get('roc_auc'))} (ours {_show(ours.get('roc_auc'))}), "
            f"log-loss {_show(oracle.get('log_loss'))} (ours {_show(ours.get('log_loss'))})"
        )
    if throughput:
        lines.append(
            f"speed      {throughput['examples_per_s']:,.0f} impressions/s, {throughput['cpu_s']:.1f} CPU s, "
            f"{throughput['wall_s']:.1f} s"
        )
    if report.get("state_digest"):
        lines.append(f"digest     {report['state_digest']}")
    return "\n".join(lines)


def render_report(report: dict[str, Any], title: str = "") -> RenderableType:
    """The whole report as renderables."""
    parts: list[RenderableType] = [_scopes(report["metrics"]), Text(_facts(report))]
    return Group(Text(title, style="bold"), *parts) if title else Group(*parts)


def one_class_warning(report: dict[str, Any]) -> str | None:
    """What to say when matured examples all have one class: nothing can be learned or ranked from them."""
    lifetime = report["metrics"]["lifetime"]
    rows, positives = lifetime.get("rows", 0), lifetime.get("positives", 0)
    if rows and positives in (0, rows):
        which = "no positives" if positives == 0 else "only positives"
        return (
            f"one class only: {rows:,} examples, {which}; AUC, average precision and G-mean are undefined. "
            "Check the label column or the purchases, and the attribution window."
        )
    return None
