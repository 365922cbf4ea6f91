"""A real Prometheus scrapes the real service under load: every query of the dashboards returns data, every rule is
evaluated. Needs the programs `prometheus` and a broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_balance.edge.kafka import KafkaSettings
from stream_balance.edge.kafka.produce import create_log_topics
from tests.conftest import ROOT
from tests.integration.conftest import Broker, broker, free_ports  # noqa: F401  # a fixture
from tests.integration.service import USER_ID
from tests.integration.test_run import Running, command, flags

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed"),
]
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
# Over 200 events a second, so that labels fall due within seconds; all scopes and rates have something to show.
# The arms are those of `auto`, the last one balanced by a GAN that soon has a release: everything there is to be shown.
ARMS = "linear:none,replay_mlp:none,window_booster:none,logistic:gan"
SMALL_GAN = {
    "swap_after_events": 200, "retrain_events": 10**6, "on_drift": False, "check_events": 50, "copula_rows_min": 15,
    "gan_rows_min": 10**6, "release_rows": 100, "shadow_repeats": 1, "adopt": "vetted", "c2st_max": 1.0,
    "coverage_min": 0.0, "dcr_share_max": 1.0, "exact_share_max": 1.0, "marginal_max": 1.0, "pair_max": 1.0,
    "pairs_lost_max": 9.0, "errors": 100,
}  # fmt: skip
CHOSEN = {"join.window_s": 120, "http.refresh_s": 0.5, "drift.delta": 0.5} | {
    f"gan.{key}": value for key, value in SMALL_GAN.items()
}
LOAD = ("--arms", ARMS, *(part for key, value in CHOSEN.items() for part in ("--set", f"{key}={value}")))
QUERIES = sorted(
    {
        (path.stem, panel["title"], target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text())["panels"]
        for target in panel["targets"]
    }
)


class Prometheus:
    """A Prometheus process over our own configuration, the service's address put in; `rules` in place of ours."""

    def __init__(self, folder: Path, service: str, rules: str | None = None, every_s: int = 1) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": f"{every_s}s", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [service.removeprefix("http://")]}]
        ours = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text()
        (folder / "rules.yml").write_text(ours if rules is None else rules)
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def api(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The vector of an expression, with Grafana's variable as Grafana would fill it in."""
        result: list[dict[str, Any]] = self.api("query", query=expression.replace("$__rate_interval", "10s"))["result"]
        return result

    def until(self, expression: str, patience_s: float = 60.0) -> None:
        """Return when the expression has an answer that is not empty."""
        pause = threading.Event()
        for _ in range(int(patience_s / 0.5)):
            try:
                if self.ask(expression):
                    return
            except urllib.error.URLError:
                pass  # not listening yet
            pause.wait(0.5)
        raise AssertionError(f"no data within {patience_s:g} s: {expression}")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._log.close()


def ask_once(url: str) -> None:
    """Ask for scores, take any answer."""
    body = b'{"items": [{"item_id": "i-1"}]}'
    with suppress(OSError):
        request = urllib.request.Request(f"{url}/score", body, {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=30).close()


def ask_now_and_then(url: str, enough: threading.Event) -> None:
    while not enough.wait(0.3):
        ask_once(url)


@pytest.fixture(scope="module")
def scraped(
    broker: Broker,  # noqa: F811  # the fixture imported above
    tmp_path_factory: pytest.TempPathFactory,
    shop_log: Path,
) -> Iterator[Prometheus]:
    """Broker, topics, a service that is fed for as long as the tests run, and a Prometheus that has seen it."""
    unique = uuid.uuid4().hex[:8]
    names = {f"{name}_topic": f"{name}-{unique}" for name in ("search", "purchase", "predictions")}
    settings = KafkaSettings(bootstrap=broker.bootstrap, group_id=f"group-{unique}", **names)
    create_log_topics(settings, 4)
    service = Running(settings, *LOAD)
    feeder = subprocess.Popen(
        command("produce", shop_log, *flags(settings), "--speed", "60", "--quiet"), stderr=subprocess.DEVNULL
    )
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), service.url)
    enough = threading.Event()
    asking = threading.Thread(target=ask_now_and_then, args=(service.url, enough))
    asking.start()
    try:
        prometheus.until('stream_balance_metric_roc_auc{scope="tier_tail"} and on() stream_balance_ready == 1')
        prometheus.until("rate(stream_balance_examples_matured_total[10s]) > 0")
        prometheus.until("rate(stream_balance_events_total[10s]) > 0")
        prometheus.until('stream_balance_ranking_ndcg_at_k{order="ours_window"}')
        prometheus.until('stream_balance_lift_error{reference="none"}', 180.0)  # some 4,000 measured rows
        prometheus.until("stream_balance_gan_release_age_seconds", 120.0)
        yield prometheus
    finally:
        enough.set()
        asking.join()
        feeder.terminate()
        feeder.wait(30)
        prometheus.end()
        service.stop()
        # Arms, a release: whatever was told, no user was named.
        assert "release adopted" in service.told
        assert not USER_ID.search(service.told), service.told


@pytest.mark.parametrize(("dashboard", "title", "expression"), QUERIES)
def test_a_panels_query_returns_data(scraped: Prometheus, dashboard: str, title: str, expression: str) -> None:
    found = scraped.ask(expression)
    assert found, f"{dashboard}: {title}: {expression} has no data"
    assert any(entry["value"][1] != "NaN" for entry in found)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_marks_in_the_graphs_are_asked_for_rightly(scraped: Prometheus, path: Path) -> None:
    asked = [each["expr"] for each in json.loads(path.read_text())["annotations"]["list"]]
    assert asked
    assert [expression for expression in asked if not scraped.ask(expression.removesuffix(" > 0"))] == []


def test_prometheus_evaluates_every_rule(scraped: Prometheus) -> None:
    rules = [rule for group in scraped.api("rules")["groups"] for rule in group["rules"]]
    assert rules
    assert {rule["health"] for rule in rules} == {"ok"}
    assert not [rule["name"] for rule in rules if rule["state"] == "firing"], "a healthy service is silent"
