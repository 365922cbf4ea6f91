"""The files of the deployment hold together: Compose, the image, Prometheus, Grafana, and what the service shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from stream_balance.settings import load, read_environment
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))
YAML_FILES = [ROOT / "docker-compose.yml", *sorted(DEPLOY.rglob("*.yml"))]


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return document


SERVICES = compose()["services"]


# --- Compose ---


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_yaml_files_can_be_read(path: Path) -> None:
    assert yaml.safe_load(path.read_text())


def test_the_schema_of_compose_is_content() -> None:
    program = shutil.which("check-jsonschema", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("check-jsonschema is not installed")
    command = [program, "--builtin-schema", "vendor.compose-spec", str(ROOT / "docker-compose.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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


def test_no_two_services_build_one_image() -> None:
    """Compose builds them at once; the second to give its result that name can fail."""
    built = [service["image"] for service in SERVICES.values() if "build" in service]
    assert len(built) == 2
    assert len(set(built)) == 2


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
    targets = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"][0][
        "static_configs"
    ]
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


def test_the_image_has_torch_for_the_cpu_alone_before_all_else() -> None:
    steps = re.findall(r"pip install (.*)", (DEPLOY / "Dockerfile").read_text())
    assert steps == ['--no-deps --index-url "${TORCH_INDEX}" -c constraints.txt torch', "-c constraints.txt '.[gan]'"]
    assert re.search(r"^ARG TORCH_INDEX=https://\S+/whl/cpu$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)


def test_the_image_pins_what_it_is_made_of() -> None:
    pinned = dict(re.findall(r"^([\w-]+)==([\w.]+)$", (DEPLOY / "constraints.txt").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["gan"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(pinned[wanted.name]), line
    assert f"torch=={pinned['torch']}\n" in (ROOT / "constraints.txt").read_text()


def test_hadolint_is_content() -> None:
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if program is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run([program, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


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


# --- the dashboards ---


def test_a_dashboards_panels_have_places_and_the_provisioned_datasource() -> None:
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        assert {panel["datasource"]["uid"] for panel in panels} == {provisioned[0]["uid"]}
        assert len({panel["id"] for panel in panels}) == len(panels)
        assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)


def test_the_dashboard_is_where_grafana_looks() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/stream-balance.yml").read_text())["providers"][
        0
    ]
    grafana = SERVICES["grafana"]
    folder = provider["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{folder}/service.json"
