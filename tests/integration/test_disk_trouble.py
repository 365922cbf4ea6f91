"""The checkpoint folder cannot be written: at the start, or from some moment on. It is told, the last good checkpoint
stays, and what the service comes to in the end is the same.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stream_balance.commands.produce import outgoing
from stream_balance.commands.replay import replay_events
from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.store import Store
from stream_balance.edge.codec import Codec, WireSettings
from stream_balance.edge.kafka import KafkaSettings
from stream_balance.edge.kafka.produce import create_log_topics, produce
from stream_balance.edge.logfile import read_events
from stream_balance.settings import load
from tests.integration import slow_model
from tests.integration.conftest import Broker
from tests.integration.kill import topics_of
from tests.integration.service import Service, without_override
from tests.integration.test_run import command, flags

pytestmark = pytest.mark.broker
RECORDS = 400
MODEL = ("--model", slow_model.NAME, "--set", "join.window_s=30")
OFTEN = ("--set", "checkpoint.interval_s=0.3", "--set", "http.refresh_s=0.2")
SLOW = (*MODEL, *OFTEN)
PAUSE_S = 0.005
ROOM = "64m"


@pytest.fixture(scope="module")
def log(shop_log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disk") / "log.jsonl"
    path.write_bytes(b"".join(shop_log.read_bytes().splitlines(keepends=True)[:RECORDS]))
    return path


@pytest.fixture(scope="module")
def digest(log: Path) -> str:
    settings = load(flags={"model": {"name": slow_model.NAME}, "join": {"window_s": 30}})
    return str(replay_events([log], settings, threading.Event())["state_digest"])


def filled(settings: KafkaSettings, log: Path) -> KafkaSettings:
    produce(settings, map(outgoing, read_events([log], Codec(WireSettings()))))
    return settings


@pytest.fixture(scope="module")
def inputs(broker: Broker, log: Path) -> KafkaSettings:
    """Complete topics: while they are read no merge decision wants the journal, only checkpoints want the disk."""
    settings = topics_of(broker.bootstrap)
    create_log_topics(settings, 4)
    return filled(settings, log)


@pytest.fixture
def kafka(inputs: KafkaSettings) -> KafkaSettings:
    """The same inputs, outputs of its own."""
    own = topics_of(inputs.bootstrap)
    return own.model_copy(update={"search_topic": inputs.search_topic, "purchase_topic": inputs.purchase_topic})


class ReadOnly:
    """The folder's permissions are taken away."""

    prefix = without_override()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, _service: Service) -> None:
        self._folder.chmod(0o500)

    def end(self, _service: Service) -> None:
        self._folder.chmod(0o700)


class Limited:
    """No file may become larger: a quota, as far as a process can see."""

    prefix: tuple[str, ...] = ()

    def __init__(self, _folder: Path) -> None:
        self._hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def begin(self, service: Service) -> None:
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (1_000, self._hard))

    def end(self, service: Service) -> None:
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (self._hard, self._hard))


class Full:
    """A disk of its own, without room."""

    prefix: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        self._filling = folder / "filling"

    def begin(self, _service: Service) -> None:
        with suppress(OSError), self._filling.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))

    def end(self, _service: Service) -> None:
        self._filling.unlink()


Fault = ReadOnly | Limited | Full


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    wanted = [mount or "", "-t", "tmpfs", "-o", f"size={ROOM}", "none", str(folder)]
    if mount is None or subprocess.run(wanted, check=False, capture_output=True).returncode:
        pytest.skip("a disk of its own needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=[ReadOnly, Limited, Full], ids=["read-only", "limited", "full"])
def fault(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Fault]:
    """A folder for checkpoints, and what will happen to it."""
    folder = request.getfixturevalue("small_disk") if request.param is Full else tmp_path / "state"
    return folder, request.param(folder)


def test_checkpoints_that_fail_are_told_and_come_again_when_the_disk_is_mended(
    fault: tuple[Path, Fault], kafka: KafkaSettings, digest: str
) -> None:
    folder, trouble = fault
    with Service(kafka, folder, *SLOW, prefix=trouble.prefix, pause_s=PAUSE_S) as service:
        service.hear("reading")
        service.until(lambda: service.metric("checkpoints_total") >= 3)
        trouble.begin(service)
        service.hear("the last good one stays")
        service.until(lambda: service.metric("checkpoint_failures_total") >= 2)
        health = service.health()
        assert health["status"] == "trouble"
        assert f"No checkpoint could be written to {str(folder)!r}" in health["trouble"]
        assert "checkpoint.failing_max_s" in health["trouble"]
        assert Store(LocalDisk(folder), AllowList([slow_model.__name__])).newest() is not None
        made = service.metric("checkpoints_total")
        trouble.end(service)
        service.hear("checkpoints can be written again")
        service.until(lambda: service.metric("checkpoints_total") > made and service.health()["status"] == "ok")
        service.signal(signal.SIGTERM)
        assert service.end() == 0, service.words
        assert "Traceback" not in service.words
        assert service.to_the_end()["state_digest"] == digest


@pytest.mark.parametrize("ending", ["stopped", "at the limit"])
def test_while_checkpoints_fail_it_leaves_with_1_and_goes_on_from_the_last_good_one(
    ending: str, kafka: KafkaSettings, digest: str, tmp_path: Path
) -> None:
    folder, limit = tmp_path / "state", ("--set", "checkpoint.failing_max_s=1")
    trouble = Limited(folder)
    more = limit if ending == "at the limit" else ()
    with Service(kafka, folder, *SLOW, *more, pause_s=PAUSE_S) as service:
        service.hear("reading")
        service.until(lambda: service.metric("checkpoints_total") >= 3)
        trouble.begin(service)
        service.hear("the last good one stays")
        if ending == "stopped":
            service.signal(signal.SIGTERM)
        assert service.end() == 1
        assert "no checkpoint could be written" in service.words
        assert "The last good one is kept" in service.words
        assert "Traceback" not in service.words
        assert service.to_the_end()["state_digest"] == digest


def test_a_recording_without_room_ends_the_service_and_says_what_to_do(
    kafka: KafkaSettings, digest: str, tmp_path: Path
) -> None:
    folder, night = tmp_path / "state", tmp_path / "night"
    trouble = Limited(folder)
    with Service(kafka, folder, *SLOW, "--record", str(night), pause_s=PAUSE_S) as service:
        service.hear("reading")
        service.until(lambda: service.metric("checkpoints_total") >= 3)
        trouble.begin(service)
        assert service.end() == 1
        assert f"recording {str(night)!r}: " in service.words
        assert "cannot be written: File too large" in service.words
        assert "bytes are free there" in service.words
        assert "Make room or keep fewer segments (record.segments_max), and start again" in service.words
        assert "Traceback" not in service.words
        assert Store(LocalDisk(folder), AllowList([slow_model.__name__])).newest() is not None
        assert service.to_the_end()["state_digest"] == digest
    settings = load(flags={"model": {"name": slow_model.NAME}, "join": {"window_s": 30}})
    assert replay_events([night], settings, threading.Event())["state_digest"] == digest


@pytest.mark.parametrize("replaced", [False, True], ids=["deleted", "replaced"])
def test_a_folder_that_goes_away_ends_the_service(replaced: bool, kafka: KafkaSettings, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    with Service(kafka, folder, *SLOW, pause_s=PAUSE_S) as service:
        service.hear("reading")
        service.until(lambda: service.metric("checkpoints_total") >= 3)
        if replaced:
            folder.rename(elsewhere)
            folder.mkdir()
        else:
            shutil.rmtree(folder, ignore_errors=True)  # it may be writing there
        assert service.end() == 1
        assert f"checkpoint.dir {str(folder)!r} was removed or replaced while we ran" in service.words
        assert "Traceback" not in service.words
    if replaced:
        assert Store(LocalDisk(elsewhere), AllowList([slow_model.__name__])).newest() is not None


def test_a_merge_decision_that_cannot_be_journaled_ends_the_service_before_anything_leaves(
    broker: Broker, log: Path, tmp_path: Path
) -> None:
    kafka = topics_of(broker.bootstrap)
    create_log_topics(kafka, 4)
    filled(kafka, log)
    folder, late = tmp_path / "state", tmp_path / "late.jsonl"
    late.write_bytes(
        b"".join(log.read_bytes().splitlines(keepends=True)[-50:]).replace(b'"event_id":"', b'"event_id":"x')
    )
    with Service(kafka, folder, *MODEL, *OFTEN) as service:
        service.hear("reading")
        service.until(lambda: service.health()["status"] == "ok" and not _lag(service))
        left = service.metric("predictions_published_total")
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        filled(kafka, late)
        assert service.end() == 1
        assert "a merge decision cannot be journaled" in service.words
        again = service.to_the_end()
    assert left > 0
    whole = replay_events([log, late], load(flags={"join": {"window_s": 30}}), threading.Event())
    assert again["events"] == whole["events"]


def _lag(service: Service) -> float:
    return service.metric("consumer_lag_records") + (service.metric("events_total") < RECORDS / 2)


def started(folder: Path, kafka: KafkaSettings) -> subprocess.CompletedProcess[str]:
    arguments = ("run", *flags(kafka), "--port", "0", "--checkpoint-dir", folder, "--until-caught-up", *MODEL)
    return subprocess.run(
        [*without_override(), *command(*arguments)], capture_output=True, text=True, check=False, timeout=180
    )


@pytest.mark.parametrize("what", ["a file", "read-only", "read-only with checkpoints", "in a read-only folder"])
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(
    what: str, kafka: KafkaSettings, tmp_path: Path
) -> None:
    folder = closed = tmp_path / "state"
    if what == "a file":
        folder.write_bytes(b"mine")
    elif what == "in a read-only folder":
        folder.mkdir()
        folder = folder / "inner"
    elif what == "read-only":
        folder.mkdir()
    else:
        assert started(folder, kafka).returncode == 0
    before = (
        {path.name: path.read_bytes() for path in closed.iterdir() if path.name != "lock"} if closed.is_dir() else {}
    )
    closed.chmod(0o500)
    refused = started(folder, kafka)
    closed.chmod(0o700)
    assert refused.returncode == 2, refused.stderr
    assert f"checkpoint.dir {str(folder)!r} cannot be" in refused.stderr
    assert "Traceback" not in refused.stderr
    if closed.is_dir():
        assert {path.name: path.read_bytes() for path in closed.iterdir() if path.name != "lock"} == before
    else:
        assert closed.read_bytes() == b"mine"


def test_a_disk_that_is_full_at_the_start_is_told(small_disk: Path, kafka: KafkaSettings) -> None:
    with (small_disk / "filling").open("wb") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(1 << 20))
    refused = started(small_disk, kafka)
    assert refused.returncode == 1, refused.stderr
    assert "No space left on device" in refused.stderr
    assert "Traceback" not in refused.stderr
