"""Alerts, dashboards and runbook hold together: every name is known, every alert is told, tested and has its place."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from stream_balance.edge import metric_table
from stream_balance.edge.page import runbook, slug
from tests.conftest import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = ROOT / "deploy" / "grafana" / "dashboards"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
STORIES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
SECTIONS = set(re.findall(r'<h2 id="([\w-]+)"', runbook()))
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bstream_balance_\w+", expression))


def known_names() -> set[str]:
    names = set()
    for metric in metric_table.metrics():
        suffixes = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        names |= {metric.shown_name + suffix for suffix in suffixes}
    return names


@needs_promtool
@pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "rules_test.yml")])
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_is_tested_both_ways_and_told(rule: dict[str, Any]) -> None:
    told = [
        (len(case["exp_alerts"]), watched(story))
        for story in STORIES
        for case in story["alert_rule_test"]
        if case["alertname"] == rule["alert"]
    ]
    assert any(firing for firing, _ in told), "no story in which it fires"
    assert any(firing < services for firing, services in told), "no story in which it stays silent"
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"].endswith(".")
    assert section_of(rule) in SECTIONS
    assert f"`{rule['alert']}`" in (ROOT / "docs" / "runbook.md").read_text()
    assert names_in(rule["expr"]) <= known_names()


def section_of(rule: dict[str, Any]) -> str:
    """The place in the runbook that the alert names."""
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert (ROOT / document).is_file()
    return str(anchor)


def watched(story: dict[str, Any]) -> int:
    """How many services a story is about; an alert of fewer leaves some silent."""
    return len(set(re.findall(r'instance="(\w+)"', str(story["input_series"]))))


def test_every_section_of_the_runbook_belongs_to_an_alert() -> None:
    assert {section_of(rule) for rule in RULES} == SECTIONS


def test_links_within_the_runbook_lead_somewhere() -> None:
    links = set(re.findall(r'href="#([\w-]+)"', runbook()))
    assert links
    assert links <= SECTIONS
    assert slug("One class, only!") == "one-class-only"


def test_the_dashboards_are_what_their_source_writes() -> None:
    spec = importlib.util.spec_from_file_location("dashboards", DASHBOARDS.parent / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    source = importlib.util.module_from_spec(spec)
    sys.modules["dashboards"] = source  # dataclasses look their module up by name
    spec.loader.exec_module(source)
    written = {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}
    assert written == source.texts(), "run: python deploy/grafana/dashboards.py"


@pytest.mark.parametrize("path", sorted(DASHBOARDS.glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_asks_for_what_there_is_and_links_to_the_runbook(path: Any) -> None:
    document = json.loads(path.read_text())
    text = json.dumps(document)
    assert names_in(" ".join(t["expr"] for p in document["panels"] for t in p["targets"])) <= known_names()
    anchors = set(re.findall(r"/runbook#([\w-]+)", text))
    assert anchors
    assert anchors <= SECTIONS
    assert len(document["panels"]) <= 15, "few panels"
    assert all(panel["description"] for panel in document["panels"])
    alarming = [panel for panel in document["panels"] if {"red", "orange"} & {step["color"] for step in steps(panel)}]
    assert alarming
    assert [panel["title"] for panel in alarming if not panel["links"]] == [], "a colour that alarms says what to do"


def steps(panel: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return found
