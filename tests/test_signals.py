"""What the first and the second signal do, and the last moment of a stop that does not come to its end."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from stream_balance.commands.run import known_to
from stream_balance.edge.board import Board
from stream_balance.edge.log import make_log
from stream_balance.edge.log_settings import LogSettings


def test_a_start_that_waits_for_the_broker_is_no_stalled_loop() -> None:
    clock = iter(range(0, 1000, 20))
    told = io.StringIO()
    slept: list[float] = []
    board = Board(stall_s=30, now=lambda: next(clock))
    wait = known_to(board, make_log(LogSettings(), told), "kafka:9092", slept.append)
    for _ in range(5):
        wait(1.0)
        assert board.healthy()
    assert slept == [1.0] * 5
    assert "kafka:9092" in str(board.trouble)
    assert told.getvalue().count("waiting for the broker") == 1
    board.ready, board.trouble = True, None
    wait(2.0)
    assert board.trouble is None, "from here on the loop says what is the matter"


STUCK = """
import threading
from stream_balance.commands.signals import stop_on_signals
with stop_on_signals({leave_after_s}) as stop:
    print("begun", flush=True)
    stop.wait()
    print("asked", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def stuck(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """A process that is asked to stop and never does."""
    code = STUCK.format(leave_after_s=request.param)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        yield process
        process.kill()


@pytest.mark.parametrize("stuck", ["0.1"], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_that_does_not_come_to_its_end_is_left(stuck: subprocess.Popen[str], number: signal.Signals) -> None:
    stuck.send_signal(number)
    _, told = stuck.communicate(timeout=60)
    assert stuck.returncode == 1
    assert told.startswith("error: not done 0.1 s after being asked to stop")


@pytest.mark.parametrize("stuck", ["None", "600.0"], indirect=True)
def test_the_second_signal_ends_it_at_once(stuck: subprocess.Popen[str]) -> None:
    stuck.send_signal(signal.SIGTERM)
    assert stuck.stdout is not None
    assert stuck.stdout.readline() == "asked\n"
    stuck.send_signal(signal.SIGINT)
    assert stuck.wait(60) == 128 + signal.SIGINT
