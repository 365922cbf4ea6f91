"""Writers: a forked child saves the state as it was while the loop goes on; what becomes of it damages nothing."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_balance.edge.checkpoint.allow import AllowList
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.store import Store, temporary_name
from stream_balance.edge.checkpoint.writer import ForkWriter, InlineWriter, Outcome, Writer
from tests.edge.test_checkpoint_store import header_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def outcome_of(writer: Writer) -> Outcome:
    pause = threading.Event()
    for _ in range(3_000):
        outcome = writer.poll()
        if outcome is not None:
            return outcome
        pause.wait(0.01)
    raise AssertionError("the writer does not end")


@pytest.mark.parametrize("make", [lambda: ForkWriter(60.0), InlineWriter], ids=["fork", "inline"])
def test_the_state_is_saved_as_it_was_at_the_start(tmp_path: Path, make: Callable[[], Writer]) -> None:
    store, writer = Store(LocalDisk(tmp_path), AllowList()), make()
    state = {"rows": [bytes([n % 256]) * 1000 for n in range(5000)], "n": 1}
    before = {"rows": list(state["rows"]), "n": 1}  # type: ignore[call-overload]
    writer.start(store.write(header_of(1), state))
    state["n"] = 2
    state["rows"].clear()  # type: ignore[attr-defined]
    outcome = outcome_of(writer)
    assert outcome.error is None
    store.install(1)
    assert outcome.bytes == (tmp_path / "checkpoint-0000000001.sbc").stat().st_size
    loaded = store.newest()
    assert loaded is not None
    assert loaded.state == before


def failing() -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("make", [lambda: ForkWriter(60.0), InlineWriter], ids=["fork", "inline"])
def test_a_failure_is_told_in_words(make: Callable[[], Writer]) -> None:
    writer = make()
    writer.start(failing)
    assert outcome_of(writer).error == "OSError: No space left on device"
    writer.start(lambda: 7)
    assert outcome_of(writer).bytes == 7


def forever() -> int:
    signal.pause()
    return 0


def test_a_child_that_is_killed_or_too_slow_is_a_failure() -> None:
    now = [0.0]
    writer = ForkWriter(5.0, lambda: now[0])
    writer.start(forever)
    assert writer._child is not None
    os.kill(writer._child[0], signal.SIGKILL)
    assert outcome_of(writer).error == "the writing process ended with -9"
    writer.start(forever)
    assert writer.poll() is None
    now[0] = 5.1
    assert "not done within 5 s" in str(outcome_of(writer).error)
    writer.start(forever)
    writer.kill()
    assert writer.poll() is None


def test_interrupts_do_not_reach_the_child() -> None:
    reading, writing = os.pipe()

    def wait() -> int:
        # Its own end of the pipe is closed already: a child keeps no files of its parent.
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(writing)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
        return 3

    writer = ForkWriter(60.0)
    with socket.socket():
        writer.start(wait)
        outcome = outcome_of(writer)
    assert (outcome.error, outcome.bytes) == (None, 3)
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_the_child_of_a_killed_service_ends_and_leaves_only_a_temporary_file(tmp_path: Path) -> None:
    code = f"""
import os, sys
from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.writer import ForkWriter
import pathlib, signal
disk = LocalDisk(pathlib.Path({str(tmp_path)!r}))
def write():
    disk.create({temporary_name(1)!r}).write(b"half")
    print(os.getpid(), flush=True)
    signal.pause()
ForkWriter(60.0).start(write)
signal.pause()
"""
    service = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    with service:
        assert service.stdout is not None
        assert int(service.stdout.readline()) != service.pid
        service.kill()
        service.wait()
        assert service.stdout.read() == ""  # until the child, too, has closed it: it has ended
    assert [path.name for path in tmp_path.iterdir()] == [temporary_name(1)]
