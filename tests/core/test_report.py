"""Report: strict JSON, one schema, and no field without its line in the documentation."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stream_balance.core import arm_report, gan_report, report
from stream_balance.core.report import Decisions, ExampleCounts, Metrics, Record, Report, Scope, report_schema

DOCUMENT = Path(__file__).parents[2] / "docs" / "report.md"
TOP_LEVEL = {
    "gan",
    "events", "examples", "metrics", "ranking", "exposure", "training", "arms", "mixture",
    "lift", "target", "threshold", "drift", "oracle", "throughput",
    "stopped", "state_digest", "settings", "seed", "versions",
}  # fmt: skip


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def models() -> list[type[Record]]:
    found = [
        value
        for value in (*vars(report).values(), *vars(gan_report).values(), *vars(arm_report).values())
        if isinstance(value, type) and issubclass(value, Record)
    ]
    return [model for model in found if model is not Record]


@pytest.mark.parametrize("model", models())
def test_every_field_is_documented(model: type[Record]) -> None:
    documented = set(re.findall(r"`([a-z0-9_]+)`", DOCUMENT.read_text(encoding="utf-8")))
    assert {field.alias or name for name, field in model.model_fields.items()} <= documented


def test_the_document_has_the_sections_of_the_schema() -> None:
    assert set(Report().document()) == TOP_LEVEL
    assert set(report_schema()["properties"]) == TOP_LEVEL


def test_examples_in_is_spelled_in() -> None:
    examples = ExampleCounts(in_=3, held=1, matured=2)
    assert examples.model_dump(by_alias=True)["in"] == 3
    assert ExampleCounts.model_validate({"in": 3}).in_ == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(value: float) -> None:
    scope = Scope(roc_auc=value, at_half=Decisions(mcc=value))
    made = Report(metrics=Metrics(lifetime=scope), settings={"far": value})
    document: dict[str, Any] = json.loads(made.to_json(), parse_constant=refuse)
    assert document["metrics"]["lifetime"]["roc_auc"] is None
    assert document["metrics"]["lifetime"]["at_half"]["mcc"] is None
    assert document["settings"]["far"] is None
    assert document == made.document()


def test_a_report_comes_back_from_its_json_unchanged() -> None:
    made = Report(seed=3, metrics=Metrics(lifetime=Scope(rows=5, log_loss=0.1 + 0.2)), versions={"river": "0.26"})
    assert Report.model_validate_json(made.to_json()) == made


def test_counts_stay_whole_and_weights_do_not() -> None:
    text = Report(metrics=Metrics(lifetime=Scope(rows=5), faded=Scope(rows=4.5))).document()["metrics"]
    assert isinstance(text["lifetime"]["rows"], int)
    assert text["faded"]["rows"] == 4.5


def test_a_report_cannot_be_changed_and_takes_no_unknown_field() -> None:
    with pytest.raises(ValidationError):
        setattr(Report(), "seed", 4)  # noqa: B010  # a checker would refuse the plain assignment
    with pytest.raises(ValidationError):
        Report.model_validate({"sede": 4})
