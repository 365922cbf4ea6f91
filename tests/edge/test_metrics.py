"""Metrics: what is shown is the table, the table is the documentation, and no figure of the report is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from inspect import getsource
from itertools import count
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from stream_balance.core import arm_report, retrain
from stream_balance.core import report as report_room
from stream_balance.core.gan_report import Gan, GanOutcome, GanPool, GanVetting
from stream_balance.core.report import Report
from stream_balance.edge import metric_table, trainer
from stream_balance.edge.board import Board, Pinned
from stream_balance.edge.exporter import make_exposition, render
from stream_balance.edge.metric_read import PREFIX
from stream_balance.edge.telemetry import Telemetry
from stream_balance.gan import vet, worker
from tests.conftest import ROOT

# Sections whose every figure must be shown; the others are documents about the run.
SHOWN = ("events", "examples", "metrics", "ranking", "exposure", "training", "threshold", "drift", "oracle")
STATE: dict[str, Any] = {
    "lag": {"search-events/0": 3, "a/b/11": 4}, "lag_s": {"search-events/0": 1.5}, "watermark_us": 2_000_000,
    "watermark_delay_s": 7.5, "held_bytes": 10, "reorder_held": 1, "feature_columns": 3, "features_withheld": 0,
    "model_version": 9, "beyond_bounds": {"users_forgotten": 1}, "predictions_published": 5, "dead_letters": 2,
    "broker_away": False, "broker_outages": 1, "broker_outage_s": 2.0, "records_lost": 0, "merge_unforced": 8,
    "client_polls": 3, "clients_renewed": 0, "partitions_parked": 1, "partitions_unread": 0, "runs_cut": 2,
    "outputs_unacknowledged": 4, "output_waits": 6, "dead_letters_cut": 1,
}  # fmt: skip


MODELS = [
    each
    for room in (report_room, arm_report)
    for each in vars(room).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == room.__name__
]


def filled(model: type[BaseModel], numbers: Iterator[int]) -> dict[str, Any]:
    """A document of the model with another number in each figure."""
    document: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        key, kind = field.alias or name, str(field.annotation)
        inner = next((each for each in MODELS if _names(kind, each)), None)
        if "dict" in kind:
            document[key] = (
                {"one": filled(inner, numbers)} if inner else {"none": next(numbers), "bought": next(numbers)}
            )
        elif inner is not None and "tuple" not in kind:
            document[key] = filled(inner, numbers)
        elif "tuple" not in kind and "str" not in kind:
            document[key] = next(numbers)
    return document


def _names(kind: str, model: type[BaseModel]) -> bool:
    return re.search(rf"\b{re.escape(model.__module__)}\.{model.__name__}\b", kind) is not None


def leaves(document: Any) -> Iterator[float]:
    if isinstance(document, dict):
        for value in document.values():
            yield from leaves(value)
    else:
        yield document


def exposition(document: dict[str, Any], state: dict[str, Any]) -> str:
    board = Board()
    board.pin(document, state)
    return render(make_exposition(board, {"python": "3"})).decode()


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return filled(Report, count(1_000_003))


@pytest.mark.parametrize("section", SHOWN)
def test_every_figure_of_the_report_is_shown(section: str, document: dict[str, Any]) -> None:
    text = exposition(document, {})
    shown = {sample.value for family in text_string_to_metric_families(text) for sample in family.samples}
    missing = [value for value in leaves(document[section]) if value not in shown]
    by_value = {value: path for path, value in paths(document)}
    assert not missing, [by_value[value] for value in missing]


def paths(document: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from paths(value, f"{prefix}.{key}")
    else:
        yield prefix, document


def test_what_the_gan_and_the_children_do_is_shown() -> None:
    vetted = GanOutcome(
        position=9,
        label="bought",
        asked_for="age",
        outcome="refusal",
        reason="c2st",
        vettings=(GanVetting(maker="copula", verdict="refused", reason="c2st", c2st=0.75),),
    )
    pool = {"bought": GanPool(maker="gan", rows=10, share=0.2, age_s=60.5, drawn=4)}
    gan = Gan(requests=3, releases=1, refusals={"c2st": 2}, pool=pool, last=vetted)
    tally = {"requests": 5, "trained": 4, "retries": 7, "refused": {"killed": 6}, "cpu_s": 1.5, "stall_s": 0.25}
    text = exposition(Report(gan=gan).document(), {"workers": {"gan": tally}})
    for line in (
        'gan_refusals_total{reason="c2st"} 2.0', "gan_releases_total 1.0", 'gan_c2st{maker="copula"} 0.75',
        'gan_release_age_seconds{class="bought"} 60.5', 'gan_release_share{class="bought"} 0.2',
        'worker_stall_seconds_total{kind="gan"} 0.25', 'worker_refusals_total{kind="gan",reason="killed"} 6.0',
        'worker_retries_total{kind="gan"} 7.0',
    ):  # fmt: skip
        assert f"stream_balance_{line}" in text
    assert 'stream_balance_gan_refusals_total{reason="harm"} 0.0' in text, "or the first one would not be seen"
    assert "gan_coverage" not in "".join(line for line in text.splitlines() if not line.startswith("#"))


def test_every_reason_to_refuse_has_a_counter_from_the_beginning() -> None:
    """The alert adds up what came of each: of reasons that begin with 1 none would count."""
    sources = [getsource(module) for module in (worker, retrain, trainer)]
    reasons = {word for source in sources for word in re.findall(r'Refusal\([^"()]*"(\w+)"', source)}
    breaches = re.findall(r'"(\w+)": [^,]*settings\.', getsource(vet.quality_breach))
    assert len(breaches) == 6
    assert len(reasons) >= 9
    assert {*breaches, *reasons, *retrain.OF_QUALITY, retrain.SPENT} <= {*metric_table.VETTED, *metric_table.CHILDS}


def test_an_undefined_figure_is_left_out() -> None:
    text = exposition(Report().document(), {})
    assert "stream_balance_metric_rows" in text
    assert 'stream_balance_bad_records_total{reason="not_json"} 0.0' in text, "or the first ones would not be seen"
    assert "stream_balance_metric_roc_auc" not in text
    assert "NaN" not in text
    assert "None" not in text


def test_before_the_first_report_there_is_the_pulse() -> None:
    text = render(make_exposition(Board(), {"python": "3"})).decode()
    assert "stream_balance_ready 0.0" in text
    assert "stream_balance_events" not in text
    assert "process_resident_memory_bytes" in text


def test_state_is_shown_with_its_labels(document: dict[str, Any]) -> None:
    telemetry = Telemetry()
    telemetry.score.observe(0.004)
    text = exposition(document, STATE | {"telemetry": telemetry.snapshot()})
    assert 'stream_balance_consumer_lag_records{partition="11",topic="a/b"} 4.0' in text
    assert "stream_balance_watermark_timestamp_seconds 2.0" in text
    assert 'stream_balance_score_seconds_bucket{le="0.0025"} 0.0' in text
    assert 'stream_balance_score_seconds_bucket{le="0.005"} 1.0' in text
    assert "stream_balance_score_seconds_count 1.0" in text


def test_names_are_unique_well_formed_and_helped() -> None:
    names = [metric.shown_name for metric in metric_table.metrics()]
    assert len(set(names)) == len(names)
    for metric in metric_table.metrics():
        assert re.fullmatch(rf"{PREFIX}[a-z][a-z0-9_]*[a-z0-9]", metric.shown_name)
        assert metric.text.endswith(".")
        assert not metric.name.endswith(("_total", "_info", "_ms", "_minutes"))
        assert set(metric.labels) <= {
            "activity", "answer", "arm", "at", "bound", "class", "figure", "kind", "maker", "order", "origin",
            "partition", "reason", "reference", "scope", "tier", "topic", "type", "watched",
        }, "a label of bounded size, listed here"  # fmt: skip


def test_the_documentation_is_the_table() -> None:
    written = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == metric_table.document(), "run: python -m stream_balance.edge.metric_table > docs/metrics.md"


def test_arms_and_lifts_are_shown_and_what_is_undefined_is_not() -> None:
    window = arm_report.ArmScope(rows=9, log_loss=0.5)
    arms = tuple(
        arm_report.ArmFigures(
            name=f"{model}:none", model=model, strategy="none", role="arm" if weight else "reference",
            running=model != "linear", samples=4, window=window, weight=weight,
        )
        for model, weight in (("linear", arm_report.TierFigures(head=0.25, tail=0.75)), ("logistic", None))
    )  # fmt: skip
    lift = {"none": arm_report.Lift(rows=9, log_loss=arm_report.Difference(value=-0.5, error=0.125))}
    target = arm_report.TargetFigures(objective="gmean", share=0.3, steps=2)
    mixture = arm_report.MixtureFigures(serve="champion", champion="linear:none", switches=3)
    text = exposition(Report(arms=arms, lift=lift, mixture=mixture, target=target).document(), {})
    for line in (
        'arm_weight{arm="linear:none",tier="tail"} 0.75', 'arm_running{arm="linear:none"} 0.0',
        'arm_running{arm="logistic:none"} 1.0', 'arm_log_loss{arm="logistic:none",scope="window"} 0.5',
        'arm_samples_total{arm="linear:none"} 4.0', "champion_switches_total 3.0",
        "target_share 0.3", "target_steps_total 2.0",
        'lift{figure="log_loss",reference="none"} -0.5', 'lift_error{figure="log_loss",reference="none"} 0.125',
    ):  # fmt: skip
        assert f"stream_balance_{line}" in text
    assert 'arm_weight{arm="logistic:none"' not in text
    assert "arm_roc_auc{" not in text
    assert 'figure="average_precision"' not in text


def test_counters_begin_with_the_process_and_gauges_are_the_states() -> None:
    before = Report().document()
    before["events"] |= {"search": 500, "bad": {"not_json": 7}}
    now = Report().document()
    now["events"] |= {"search": 512, "bad": {"not_json": 7, "bad_time": 3}}
    now["examples"] |= {"held": 90}
    board = Board()
    board.base = Pinned(before, {"features_withheld": 40, "beyond_bounds": {"users_forgotten": 5}})
    board.pin(now, {"features_withheld": 41, "beyond_bounds": {"users_forgotten": 2}, "model_version": 9})
    text = render(make_exposition(board, {})).decode()
    for line in (
        'events_total{type="search"} 12.0', 'bad_records_total{reason="not_json"} 0.0',
        'bad_records_total{reason="bad_time"} 3.0', "features_withheld_total 1.0", "held_impressions 90.0",
        'beyond_bounds_total{bound="users_forgotten"} 2.0',  # has begun anew meanwhile
    ):  # fmt: skip
        assert f"stream_balance_{line}" in text
