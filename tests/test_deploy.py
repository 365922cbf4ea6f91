"""The files of the deployment hold together: Compose, the image, Prometheus, Grafana, and what the service shows."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stream_balance.core.pipeline import Pipeline
from stream_balance.edge.board import Board
from stream_balance.edge.codec import Codec
from stream_balance.edge.exporter import make_exposition, render
from stream_balance.edge.logfile import read_events
from stream_balance.service import Session, drive
from stream_balance.settings import Settings, load, read_environment
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
YAML_FILES = [ROOT / "docker-compose.yml", *sorted(DEPLOY.rglob("*.yml"))]
OURS = re.compile(r"(stream_balance_\w+)(?:\{([^}]*)\})?")
Samples = dict[str, list[dict[str, str]]]


# --- the part of YAML these files are written in: block mappings and lists, quoted or plain scalars, JSON lists ---


def read_yaml(text: str) -> Any:
    """Nested dicts and lists of strings. Anything beyond that part of YAML is an AssertionError with the line."""
    lines = [
        (len(line) - len(line.lstrip()), line.strip())
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    value, rest = _block(lines, 0)
    assert rest == len(lines), f"not understood: {lines[rest]}"
    return value


def _block(lines: list[tuple[int, str]], at: int) -> tuple[Any, int]:
    indent, content = lines[at]
    if content.startswith("- "):
        return _list(lines, at, indent)
    mapping: dict[str, Any] = {}
    while at < len(lines) and lines[at][0] == indent:
        match = re.fullmatch(r"([\w.-]+):(?: (.*))?", lines[at][1])
        assert match, f"not understood: {lines[at][1]!r}"
        key, scalar = match.groups()
        assert key not in mapping, f"{key!r} is said twice"
        at += 1
        if scalar is not None:
            mapping[key] = _scalar(scalar)
        elif at < len(lines) and lines[at][0] > indent:
            mapping[key], at = _block(lines, at)
        else:
            mapping[key] = None
    return mapping, at


def _list(lines: list[tuple[int, str]], at: int, indent: int) -> tuple[list[Any], int]:
    found = []
    while at < len(lines) and lines[at][0] == indent and lines[at][1].startswith("- "):
        content = lines[at][1][2:]
        if re.match(r"[\w.-]+:( |$)", content):
            lines[at] = (indent + 2, content)  # a mapping that begins behind the dash
            value, at = _block(lines, at)
        else:
            value, at = _scalar(content), at + 1
        found.append(value)
    return found, at


def _scalar(text: str) -> Any:
    if text.startswith(("[", '"')):
        value, end = json.JSONDecoder().raw_decode(text)
        assert re.fullmatch(r"(\s+#.*)?", text[end:]), f"not understood: {text!r}"
        return value
    assert text[0] not in "{&*!|>'%@`", f"not understood: {text!r}"
    return re.sub(r"\s+#.*", "", text)


def compose() -> dict[str, Any]:
    document: dict[str, Any] = read_yaml((ROOT / "docker-compose.yml").read_text())
    return document


SERVICES = compose()["services"]


# --- Compose ---


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_yaml_files_can_be_read(path: Path) -> None:
    assert read_yaml(path.read_text())


def test_every_variable_has_a_default() -> None:
    text = (ROOT / "docker-compose.yml").read_text().replace("$$", "")
    variables = re.findall(r"\$\{?[^\s\"]*?\}|\$\w+", text)
    assert variables
    assert [v for v in variables if not re.fullmatch(r"\$\{[A-Z_]+:-[^}]+\}", v)] == []


def test_every_variable_is_documented_with_its_default() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for name, default in re.findall(r"\$\{([A-Z_]+):-([^}]+)\}", (ROOT / "docker-compose.yml").read_text()):
        assert f"`{name}`" in readme
        assert f"`{default}`" in readme


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []
    assert not any("network_mode" in service for service in SERVICES.values())


def test_images_are_pinned_or_built_here() -> None:
    for name, service in SERVICES.items():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file(), name
        else:
            assert re.fullmatch(r"[\w/-]+:v?\d+\.\d+\.\d+", service["image"]), name


def test_what_is_mounted_and_depended_on_exists() -> None:
    volumes = compose()["volumes"]
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in volumes, f"{name}: {volume}"
        depends_on = service.get("depends_on", {})
        assert set(depends_on) <= set(SERVICES), name
    assert SERVICES["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"
    for name in ("service", "events"):
        assert SERVICES[name]["depends_on"]["topics"]["condition"] == "service_completed_successfully"


def test_the_broker_keeps_records_whatever_their_time() -> None:
    assert SERVICES["kafka"]["environment"]["KAFKA_LOG_RETENTION_MS"] == "-1"


# --- settings ---


def test_the_settings_load_and_agree_with_compose() -> None:
    settings = load(DEPLOY / "settings.toml", environment={})
    assert settings.http.host == "127.0.0.1"
    assert SERVICES["service"]["ports"][0].endswith(f":{settings.http.port}")
    assert all(topic in SERVICES["topics"]["command"][0] for topic in settings.kafka.topics)
    targets = read_yaml((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0]["static_configs"]
    assert targets == [{"targets": [f"service:{settings.http.port}"]}]


def test_a_restarted_service_learns_again_what_it_held_in_memory() -> None:
    assert SERVICES["service"]["restart"] == "on-failure"
    assert load(DEPLOY / "settings.toml", environment={}).kafka.start == "earliest"


def test_the_containers_environment_is_known_to_the_settings() -> None:
    for name in ("service", "events"):
        environment = {
            key: re.sub(r"\$\{\w+:-([^}]+)\}", r"\1", value) for key, value in SERVICES[name]["environment"].items()
        }
        assert load(DEPLOY / "settings.toml", environment=environment).kafka.bootstrap == "kafka:9092"
        assert read_environment(environment)


# --- the image ---


def test_the_image_has_a_pinned_base_and_runs_as_nobody_special() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base) for base in bases)
    last_stage = text.rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (\S+)", last_stage, re.MULTILINE)
    assert users == ["10001:10001"]
    assert last_stage.index("USER ") < last_stage.index("ENTRYPOINT ")
    assert "[dev]" not in text
    assert "[gan]" not in text


def test_the_image_listens_on_all_interfaces_and_checks_its_health() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert load(environment=dict(re.findall(r"(STREAM_BALANCE__\w+)=(\S+)", text))).http.host == "0.0.0.0"
    assert f"http://127.0.0.1:{load(DEPLOY / 'settings.toml', environment={}).http.port}/health" in text


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists()
            assert source in kept


# --- the dashboard ---


@pytest.fixture(scope="module")
def samples(shop_log: Path) -> Samples:
    """Labels of every sample the exporter shows after a small log, by metric name."""
    settings = Settings.model_validate({"join": {"window_s": 300}})  # labels fall due within a short log
    board = Board()
    pipeline = Pipeline(settings.core(), settings.seed, ("none", *settings.wire.classes))
    session = Session(pipeline, settings)
    drive(islice(read_events([shop_log], Codec(settings.wire)), 1500), session, threading.Event())
    board.pin(session.report(digest=False), {"lag": {"search-events/0": 3}})
    found: Samples = {}
    for family in text_string_to_metric_families(render(make_exposition(board, {"python": "3"})).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def expressions() -> Iterator[str]:
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield target["expr"]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_a_panel_asks_for_what_the_exporter_shows(expression: str, samples: Samples) -> None:
    for name, selector in OURS.findall(expression):
        assert name in samples, f"{name} is not shown"
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selector):
            shown = {labels[label] for labels in samples[name]}
            assert set(values.split("|")) <= shown, f"{name} has no such {label}"


def test_a_dashboards_panels_have_places_and_the_provisioned_datasource() -> None:
    provisioned = read_yaml((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"]
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} == {provisioned[0]["uid"]}
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_dashboard_is_where_grafana_looks() -> None:
    provider = read_yaml((DEPLOY / "grafana/provisioning/dashboards/stream-balance.yml").read_text())["providers"][0]
    grafana = SERVICES["grafana"]
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/{DASHBOARDS[0].name}"
