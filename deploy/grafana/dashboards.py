"""The three Grafana dashboards, from one table. `python deploy/grafana/dashboards.py` writes `dashboards/*.json`;
a test compares them, another runs every query against a real Prometheus that scraped the real service.

Few panels, each with a question it answers, thresholds where there is a border, and a link to the runbook.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "dashboards"
DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
RATE = "$__rate_interval"
GREEN, ORANGE, RED = "green", "orange", "red"
Steps = tuple[tuple[str, float | None], ...]  # colour from this value on


@dataclass(frozen=True)
class Query:
    """One PromQL expression and the name of its lines."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel. `steps` colour a stat, and are drawn as lines in a graph."""

    title: str
    tells: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 12
    steps: Steps = ()
    low: float | None = 0.0
    high: float | None = None
    stack: bool = False
    runbook: str | None = None  # its section; empty: the page as a whole
    words: dict[str, str] = field(default_factory=dict)  # stat: value -> text


def stat(title: str, expr: str, tells: str, steps: Steps, **more: Any) -> Panel:
    return Panel(title, tells, (Query(expr),), kind="stat", width=4, steps=steps, **more)


def graph(title: str, tells: str, *queries: tuple[str, str], **more: Any) -> Panel:
    return Panel(title, tells, tuple(Query(*query) for query in queries), **more)


SERVICE: list[Panel] = [
    stat("Ready", "stream_balance_ready", "Connected, and takes events.", ((RED, None), (GREEN, 1)),
         words={"0": "no", "1": "yes"}, runbook="down"),
    stat("Alerts firing", 'count(ALERTS{alertname=~"StreamBalance.*",alertstate="firing"}) or vector(0)',
         "Each has its place in the runbook.", ((GREEN, None), (RED, 1)), runbook=""),
    stat("Loop idle", "stream_balance_loop_idle_seconds", "Since the learning loop last turned; /health fails at 30 s.",
         ((GREEN, None), (ORANGE, 5), (RED, 30)), unit="s", runbook="loop-stalled"),
    stat("Lag", "max(stream_balance_consumer_lag_seconds)", "How long the oldest unread record has waited.",
         ((GREEN, None), (ORANGE, 10), (RED, 60)), unit="s", runbook="lag-growing"),
    stat("Broker", "1 - stream_balance_broker_away", "Whether Kafka answers.", ((RED, None), (GREEN, 1)),
         words={"0": "away", "1": "there"}, runbook="broker-away"),
    stat("Running since", 'time() - process_start_time_seconds{job="stream-balance"}',
         "A small number again and again is a restart loop.",
         ((ORANGE, None), (GREEN, 300)), unit="s", runbook="restart-loop"),
    graph("Events taken", "Searches and purchases a second. Flat at 0: nobody sends, or we do not read.",
          (f"rate(stream_balance_events_total[{RATE}])", "{{type}}"), unit="eps", runbook="no-events"),
    graph("Lag by topic", "Seconds that the oldest unread record of a topic has waited. Growing: too slow.",
          ("max by (topic) (stream_balance_consumer_lag_seconds)", "{{topic}}"), unit="s",
          steps=((GREEN, None), (RED, 60)), runbook="lag-growing"),
    graph("Time to score", "A search of the stream, from taking it to its score, due labels learned meanwhile; and a "
          "POST /score, from its first byte to the last of the answer.",
          (f"histogram_quantile(0.5, rate(stream_balance_score_seconds_bucket[{RATE}]))", "stream, median"),
          (f"histogram_quantile(0.99, rate(stream_balance_score_seconds_bucket[{RATE}]))", "stream, 99 %"),
          (f"histogram_quantile(0.99, rate(stream_balance_score_request_seconds_bucket[{RATE}]))", "/score, 99 %"),
          unit="s", runbook="scores-busy"),
    graph("Event to score", "From a search's Kafka timestamp to its prediction sent. Old logs show their age.",
          (f"histogram_quantile(0.5, rate(stream_balance_event_to_score_seconds_bucket[{RATE}]))", "median"),
          (f"histogram_quantile(0.99, rate(stream_balance_event_to_score_seconds_bucket[{RATE}]))", "99 %"),
          unit="s", runbook="lag-growing"),
    graph("What the loop does", "Share of its time. Much work and a lag: at the end of its strength. Much flush: the "
          "broker is slow to acknowledge.",
          (f"rate(stream_balance_loop_seconds_total[{RATE}])", "{{activity}}"),
          unit="percentunit", stack=True, high=1.0, runbook="lag-growing"),
    graph("Memory", "Of the process, and of the impressions that wait for a label.",
          ('process_resident_memory_bytes{job="stream-balance"}', "process"),
          ("stream_balance_held_bytes", "held impressions"),
          unit="bytes", runbook="dropping"),
    graph("Bad records", "A second, by reason; each is kept in a dead-letter topic.",
          (f"sum by (reason) (rate(stream_balance_bad_records_total[{RATE}])) > 0 or vector(0)", "{{reason}}"),
          unit="eps", runbook="dead-letters"),
    graph("Labels", "Impressions labelled a second, and those among them with an outcome.",
          (f"rate(stream_balance_examples_matured_total[{RATE}])", "labelled"),
          (f"rate(stream_balance_examples_positive_total[{RATE}])", "with an outcome"), unit="eps",
          runbook="no-positives"),
]  # fmt: skip

SERVICE.append(
    graph("Checkpoint age", "How long something has been done that no checkpoint holds; 0 where none are made.",
          ("stream_balance_checkpoint_age_seconds or vector(0)", "age"), unit="s", steps=((GREEN, None), (RED, 300)),
          runbook="checkpoint-stale")
)  # fmt: skip

LEARNING = [
    stat("ROC AUC", 'stream_balance_metric_roc_auc{scope="window"}', "Over the last rows with 200 positives; its "
         "standard error is about .02.", ((RED, None), (ORANGE, 0.55), (GREEN, 0.6)), runbook="auc-drop"),
    stat("Average precision, times the rate", 'stream_balance_metric_average_precision{scope="window"} / '
         '(stream_balance_metric_positives{scope="window"} / stream_balance_metric_rows{scope="window"})',
         "1 is what guessing has.", ((RED, None), (ORANGE, 1.1), (GREEN, 1.5)), runbook="auc-drop"),
    stat("Probability over rate", 'stream_balance_metric_mean_probability_over_rate{scope="window"}',
         "1 is right on average; 2 promises twice as much as happens.",
         ((RED, None), (ORANGE, 0.7), (GREEN, 0.85), (ORANGE, 1.2), (RED, 1.4)), runbook="calibration-off"),
    stat("Normalised entropy", 'stream_balance_metric_normalised_entropy{scope="window"}',
         "Log-loss against always saying the rate; below 1 is better than that.", ((GREEN, None), (RED, 1.0)),
         runbook="calibration-off"),
    stat("Positives in the window", 'stream_balance_metric_positives{scope="window"}',
         "Below 100 no figure here is worth a decision.", ((RED, None), (ORANGE, 50), (GREEN, 100)),
         runbook="no-positives"),
    stat("Drift alarms, last day", "sum(increase(stream_balance_drift_alarms_total[1d]))",
         "Changes of the loss or of the label rate that the detectors reported.", ((GREEN, None), (ORANGE, 5)),
         runbook="auc-drop"),
    graph("ROC AUC", "By scope: window follows, lifetime remembers.",
          ('stream_balance_metric_roc_auc{scope=~"window|lifetime"}', "{{scope}}"), low=0.4, high=1.0,
          runbook="auc-drop"),
    graph("ROC AUC by tier", "Popular items (head) against the others (tail). Balancing must not pay for one with the "
          "other.", ('stream_balance_metric_roc_auc{scope=~"tier_head|tier_tail"}', "{{scope}}"), low=0.4, high=1.0),
    graph("Average precision", "Over the window, beside the rate of positives, which is what guessing has.",
          ('stream_balance_metric_average_precision{scope="window"}', "average precision"),
          ('stream_balance_metric_positives{scope="window"} / stream_balance_metric_rows{scope="window"}', "rate")),
    graph("Decisions at the tuned threshold", "Over the window.",
          ('stream_balance_decision_recall{scope="window",at="at_tuned"}', "recall"),
          ('stream_balance_decision_specificity{scope="window",at="at_tuned"}', "specificity"),
          ('stream_balance_decision_gmean{scope="window",at="at_tuned"}', "G-mean"), high=1.0),
    graph("Decision threshold", "In force, by tier.", ("stream_balance_threshold", "{{tier}}")),
    graph("Calibration: probability over rate", "1 is right on average.",
          ('stream_balance_metric_mean_probability_over_rate{scope=~"window|tier_head|tier_tail"}', "{{scope}}"),
          steps=((RED, None), (GREEN, 0.7), (RED, 1.4)), runbook="calibration-off"),
    graph("Calibration error (ECE)", "Mean distance between promised and seen, 15 bins.",
          ('stream_balance_metric_ece{scope=~"window|lifetime"}', "{{scope}}")),
    graph("Order of the items", "nDCG of our order beside the order shown, over the last searches with a purchase.",
          ('stream_balance_ranking_ndcg_at_k{order=~"ours_window|logged_window"}', "{{order}}"), high=1.0),
    graph("Drift", "Alarms by what is watched; the mean loss that the detector holds for current.",
          (f"increase(stream_balance_drift_alarms_total[{RATE}])", "alarms: {{watched}}"),
          ('stream_balance_drift_mean{watched="log_loss"}', "mean loss")),
]  # fmt: skip

BALANCING = [
    stat("Positives among real rows", 'stream_balance_metric_positives{scope="window"} / '
         'stream_balance_metric_rows{scope="window"}', "What the stream is like.", ((GREEN, None),),
         unit="percentunit"),
    stat("Positives among samples learned", "stream_balance_training_positive_share", "What the model is taught.",
         ((GREEN, None),), unit="percentunit"),
    stat("Aimed at", "stream_balance_training_target_share", "After clamps.", ((GREEN, None),), unit="percentunit"),
    stat("Missed by", "abs(stream_balance_training_positive_share - stream_balance_training_target_share)",
         "Difference of the two.", ((GREEN, None), (ORANGE, 0.05), (RED, 0.1)), unit="percentunit",
         runbook="calibration-off"),
    stat("Samples per impression", "stream_balance_samples_per_impression", "What balancing costs or saves.",
         ((GREEN, None), (ORANGE, 3)), runbook="lag-growing"),
    stat("Impressions dropped", "sum(stream_balance_examples_dropped_total) or vector(0)",
         "Given up before their label: a bound is too small.", ((GREEN, None), (RED, 1)), runbook="dropping"),
    graph("Share of positives", "Real, learned, aimed at.",
          ('stream_balance_metric_positives{scope="window"} / stream_balance_metric_rows{scope="window"}', "real"),
          ("stream_balance_training_positive_share", "learned"), ("stream_balance_training_target_share", "aimed at"),
          unit="percentunit", high=1.0),
    graph("Samples learned", "A second, by origin: the impression itself, a copy, between neighbours, by the GAN.",
          (f"rate(stream_balance_samples_total[{RATE}])", "{{origin}}"), unit="eps", stack=True),
    graph("Samples learned, by class", "A second.",
          (f"rate(stream_balance_samples_by_class_total[{RATE}])", "{{class}}"), unit="eps", stack=True),
    graph("Real rows by class and tier", "Measured since the start; the rare ones are what everything hangs on.",
          ('stream_balance_class_rows{scope=~"tier_head|tier_tail"}', "{{class}} {{scope}}")),
    graph("What the arms weigh and add",
          "Share in the weighted mean of their log odds; what multiplies how far an arm is from it. By tier.",
          ("stream_balance_arm_weight", "{{arm}} {{tier}} weighs"),
          ("stream_balance_arm_coefficient", "{{arm}} {{tier}} adds")),
    graph("Log-loss of arms and references", "Calibrated, over the same rows.",
          ('stream_balance_arm_log_loss{scope="window"}', "{{arm}}")),
    graph("Lift over the same models without balancing", "Average precision gained, log-loss saved; two errors.",
          ('stream_balance_lift{reference="none"}', "{{figure}}"),
          ('stream_balance_lift{reference="none"} + 2 * stream_balance_lift_error{reference="none"}', "{{figure}} +2e"),
          ('stream_balance_lift{reference="none"} - 2 * stream_balance_lift_error{reference="none"}', "{{figure}} -2e"),
          runbook="lift-negative"),
    graph("Top slots for tail items", "Share under our order, beside the order shown.",
          ("stream_balance_exposure_tail_share", "ours"), ("stream_balance_exposure_logged_tail_share", "shown"),
          unit="percentunit", high=1.0),
    graph("The GAN", "In an hour: releases, refusals by reason, seconds that the loop waited. Age of the rows in use.",
          ("sum(increase(stream_balance_gan_releases_total[1h])) or vector(0)", "released"),
          ("sum by (reason) (increase(stream_balance_gan_refusals_total[1h])) > 0 or vector(0)", "refused {{reason}}"),
          ('increase(stream_balance_worker_stall_seconds_total{kind="gan"}[1h])', "waited for, s"),
          ("stream_balance_gan_release_age_seconds / 3600", "age for {{class}}, h"), runbook="gan-refusing"),
]  # fmt: skip

DASHBOARDS: dict[str, tuple[str, list[Panel]]] = {
    "service": ("Is it alive, is it keeping up?", SERVICE),
    "learning": ("Is the model good, is it calibrated, did something change?", LEARNING),
    "balancing": ("What is the model taught, and is it what was meant?", BALANCING),
}


def _options(panel: Panel) -> tuple[dict[str, Any], dict[str, Any]]:
    """`options` and the panel type's own part of `custom`."""
    if panel.kind == "stat":
        reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
        shown = {"colorMode": "background", "graphMode": "area", "textMode": "value", "justifyMode": "auto"}
        wide = {"orientation": "auto", "wideLayout": True, "showPercentChange": False}
        return {"reduceOptions": reduce, **shown, **wide, "percentChangeColorMode": "standard"}, {}
    custom: dict[str, Any] = {"lineWidth": 2, "fillOpacity": 30 if panel.stack else 5, "showPoints": "never"}
    custom["stacking"] = {"mode": "normal" if panel.stack else "none", "group": "A"}
    if panel.steps:
        custom["thresholdsStyle"] = {"mode": "line"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}, custom


def _link(title: str, icon: str, url: str, *, new_tab: bool) -> dict[str, Any]:
    """A link with every key that Grafana's model of one has."""
    return {
        "title": title, "type": "link", "icon": icon, "tooltip": "", "url": url, "tags": [], "asDropdown": False,
        "targetBlank": new_tab, "includeVars": False, "keepTime": not new_tab,
    }  # fmt: skip


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    options, custom = _options(panel)
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if custom == {} else "palette-classic"},
    }
    defaults["custom"] = custom
    if panel.kind == "timeseries":
        defaults |= {key: value for key, value in (("min", panel.low), ("max", panel.high)) if value is not None}
    steps = panel.steps or ((GREEN, None),)
    defaults["thresholds"] = {"mode": "absolute", "steps": [{"color": colour, "value": at} for colour, at in steps]}
    defaults["mappings"] = (
        [{"type": "value", "options": {key: {"text": text} for key, text in panel.words.items()}}]
        if panel.words
        else []
    )
    links = []
    if panel.runbook is not None:
        links.append(_link("Runbook", "doc", f"${{service}}/runbook#{panel.runbook}".rstrip("#"), new_tab=True))
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.tells,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "links": links,
        "targets": [
            {"refId": chr(65 + index), "datasource": DATASOURCE, "expr": query.expr, "legendFormat": query.legend}
            for index, query in enumerate(panel.queries)
        ],
        "gridPos": {"h": 4 if panel.kind == "stat" else 8, "w": panel.width, "x": x, "y": y},
    }


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard in Grafana's JSON model: a row of stats, then two graphs a row."""
    question, panels = DASHBOARDS[name]
    x = y = height = 0
    made = []
    for number, panel in enumerate(panels, 1):
        if x + panel.width > 24:
            x, y = 0, y + height
        made.append(_panel(panel, number, x, y))
        x, height = x + panel.width, made[-1]["gridPos"]["h"]
    others = [
        _link(other.capitalize(), "dashboard", f"/d/{other}", new_tab=False) for other in DASHBOARDS if other != name
    ]
    runbook = _link("Runbook", "doc", "${service}/runbook", new_tab=True)
    return {
        "uid": name,
        "title": name.capitalize(),
        "description": question,
        "tags": ["stream-balance"],
        "schemaVersion": 41,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": [{
            "name": "Drift", "enable": True, "datasource": DATASOURCE, "iconColor": "purple",
            "expr": "sum by (watched) (changes(stream_balance_drift_alarms_total[1m])) > 0",
            "titleFormat": "drift: {{watched}}",
        }, {
            "name": "Generated rows", "enable": True, "datasource": DATASOURCE, "iconColor": "green",
            "expr": "changes(stream_balance_gan_releases_total[1m]) > 0", "titleFormat": "generated rows released",
        }, {
            "name": "Restart", "enable": True, "datasource": DATASOURCE, "iconColor": "red",
            "expr": "changes(process_start_time_seconds{job=\"stream-balance\"}[1m]) > 0", "titleFormat": "restart",
        }]},
        "templating": {"list": [{
            "name": "service", "label": "Service", "type": "textbox", "query": "http://127.0.0.1:8000",
            "current": {"text": "http://127.0.0.1:8000", "value": "http://127.0.0.1:8000"},
            "description": "Where a browser finds the service: for the links to its runbook.",
        }]},
        "links": [*others, runbook],
        "panels": made,
    }  # fmt: skip


def texts() -> dict[str, str]:
    """File name -> content."""
    return {f"{name}.json": json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
