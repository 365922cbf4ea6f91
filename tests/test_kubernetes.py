"""The Kubernetes manifests say what the service is: one writer, its probes, its user, its settings, its state."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest
import yaml

from stream_balance.settings import load, read_environment
from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: dict[str, dict[str, Any]] = {
    document["kind"]: document
    for name in KUSTOMIZATION["resources"]
    for document in yaml.safe_load_all((FOLDER / name).read_text())
}
POD = MANIFESTS["StatefulSet"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
ENVIRONMENT = dict(line.split("=", 1) for line in (FOLDER / "config.env").read_text().splitlines())


def test_every_manifest_is_listed() -> None:
    assert {path.name for path in FOLDER.glob("*.yaml")} == {*KUSTOMIZATION["resources"], "kustomization.yaml"}


def test_the_schemas_of_kubernetes_are_content() -> None:
    program = shutil.which("kubernetes-validate")  # a hundred megabytes of schemas: not among what development takes
    if program is None:
        pytest.skip("kubernetes-validate is not installed")
    files = [FOLDER / name for name in KUSTOMIZATION["resources"] if name != "pod-monitor.yaml"]  # another's kind
    assert len(files) == 3
    done = subprocess.run([program, "--strict", *map(str, files)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_one_writer_with_one_volume_that_is_written() -> None:
    assert MANIFESTS["StatefulSet"]["spec"]["replicas"] == 1
    (claim,) = MANIFESTS["StatefulSet"]["spec"]["volumeClaimTemplates"]
    (mount,) = [each for each in CONTAINER["volumeMounts"] if each["name"] == claim["metadata"]["name"]]
    assert ENVIRONMENT["STREAM_BALANCE__CHECKPOINT__DIR"].startswith(mount["mountPath"] + "/")
    declared = {volume["name"] for volume in POD["volumes"]} | {claim["metadata"]["name"]}
    assert {each["name"] for each in CONTAINER["volumeMounts"]} == declared


def test_the_environment_is_known_to_the_settings() -> None:
    assert read_environment(ENVIRONMENT)
    settings = load(environment=ENVIRONMENT)
    (port,) = CONTAINER["ports"]
    assert settings.http.port == port["containerPort"]
    assert settings.http.token_file is not None
    mounts = [each["mountPath"] for each in CONTAINER["volumeMounts"]]
    assert str(settings.http.token_file.parent) in mounts


@pytest.mark.parametrize(
    ("probe", "path"), [("startupProbe", "/health"), ("livenessProbe", "/health"), ("readinessProbe", "/ready")]
)
def test_the_probes_ask_what_needs_no_token(probe: str, path: str) -> None:
    assert CONTAINER[probe]["httpGet"] == {"path": path, "port": "http"}


def test_it_runs_as_the_images_user_and_may_do_little() -> None:
    user = POD["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}" in (ROOT / "deploy" / "Dockerfile").read_text()
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "memory" in CONTAINER["resources"]["limits"]


def test_selectors_meet_the_pods_labels() -> None:
    labels = MANIFESTS["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert MANIFESTS["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert MANIFESTS["Service"]["spec"]["selector"] == labels
    assert MANIFESTS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert MANIFESTS["PodMonitor"]["spec"]["selector"]["matchLabels"] == labels
