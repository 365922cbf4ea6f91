"""Trainer: children that work, crash, hang, eat memory or return garbage; none is left behind."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from stream_balance.edge.trainer import Refusal, Trained, Trainer, Worker, WorkerSettings

ROOT = Path(__file__).parent.parent.parent


def trainer(*names: str, keep: bool = True, **limits: float) -> Trainer:
    settings = WorkerSettings.model_validate({"retries_max": 0, **limits})
    return Trainer({name: Worker(f"tests.edge.children:{name}", keep, settings) for name in names})


def until(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Neither gone nor a zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_child_is_a_function_from_bytes_to_bytes() -> None:
    request = bytes(range(256)) * 4_000  # more than a pipe holds
    with trainer("echo") as work:
        outcome = work.wait(work.submit("echo", request))
    assert isinstance(outcome, Trained)
    assert outcome.result == request[::-1]
    assert outcome.attempts == 1
    assert work.tallies["echo"].trained == 1
    assert work.tallies["echo"].cpu_s == outcome.cpu_s > 0
    assert work.tallies["echo"].stall_s > 0


@pytest.mark.parametrize(("keep", "processes"), [(True, 1), (False, 3)])
def test_a_child_is_polite_and_stays_if_it_shall(keep: bool, processes: int) -> None:
    before = os.nice(0)
    with trainer("surroundings", keep=keep, nice=min(7, 19 - before)) as work:
        jobs = [work.submit("surroundings", b"") for _ in range(3)]
        outcomes = [work.wait(job) for job in jobs]
    said = [outcome.result.decode().split() for outcome in outcomes if isinstance(outcome, Trained)]
    assert [each[:2] for each in said] == [[str(before + min(7, 19 - before)), "1"]] * 3
    assert len({each[2] for each in said}) == processes
    assert not any(alive(int(each[2])) for each in said)
    assert os.nice(0) == before


def test_requests_of_a_kind_are_answered_in_their_order_and_a_failed_one_harms_no_other() -> None:
    with trainer("fails_on_x") as work:
        jobs = [work.submit("fails_on_x", request) for request in (b"a", b"x", b"b")]
        outcomes = [work.wait(job) for job in jobs]
    assert [getattr(outcome, "result", None) for outcome in outcomes] == [b"a", None, b"b"]


@pytest.mark.parametrize(
    ("name", "reason", "message"),
    [
        ("raises", "error", "ValueError: no such column"),
        ("no_bytes", "error", "returned a str, expected bytes"),
        ("too_much", "error", "returned 2097152 bytes, at most 1048576"),
        ("crashes", "crash", "ended by SIGSEGV"),
        ("crashes_in_real_time", "crash", "ended by signal 40"),
        ("leaves", "crash", "exit code 0, without an answer"),
        ("writes_garbage", "garbage", "something else than a frame: b'nonsense'"),
        ("eats_memory", "memory", "limit was reached"),
        ("eats_memory_in_a_library", "memory", "limit was reached (SystemError: error return without exception set)"),
        ("no_such_function", "error", "AttributeError"),
    ],
)
def test_trouble_is_a_refusal_with_its_reason(name: str, reason: str, message: str) -> None:
    with trainer(name, memory_mb=512, result_max_mb=1, retries_max=1) as work:
        outcome = work.wait(work.submit(name, b"request"))
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, outcome.attempts) == (reason, 2)
    assert message in outcome.message
    assert work.tallies[name].refused == {reason: 1}
    assert work.tallies[name].retries == 1


@contextmanager
def no_open_file_more() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@contextmanager
def no_thread_more() -> Iterator[None]:
    """A stack that no address space has room for."""
    before = threading.stack_size(1 << 50)
    try:
        yield
    finally:
        threading.stack_size(before)


@contextmanager
def no_interpreter() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", "/no/such/python")
        yield


@pytest.mark.parametrize(
    ("trouble", "message", "attempts"),
    [
        (no_interpreter, "could not be started or spoken to: [Errno 2]", 2),
        (no_open_file_more, "could not be started or spoken to: [Errno 24] Too many open files", 2),
        (no_thread_more, "could not be started or spoken to: can't start new thread", 1),  # not even the lane's own
    ],
)
def test_a_child_that_cannot_be_started_is_a_refusal_and_the_next_one_works(
    trouble: Callable[[], AbstractContextManager[None]], message: str, attempts: int
) -> None:
    with trainer("echo", retries_max=1) as work:
        with trouble():
            job = work.submit("echo", b"ab")
            until(job.done)
        outcome = work.wait(job)
        after = work.wait(work.submit("echo", b"ab"))
    assert isinstance(outcome, Refusal)
    assert (outcome.reason, outcome.attempts) == ("crash", attempts)
    assert message in outcome.message
    assert work.tallies["echo"].refused == {"crash": 1}
    assert isinstance(after, Trained)


def test_without_a_thread_for_the_clock_the_attempt_has_failed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with trainer("says_its_pid_and_hangs", retries_max=1) as work:
        job = work.submit("says_its_pid_and_hangs", str(pid_file).encode())
        until(lambda: pid_file.exists() and bool(pid_file.read_text()))
        with no_thread_more():
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            until(job.done)
        outcome = work.wait(job)
    assert isinstance(outcome, Refusal)
    assert "can't start new thread" in outcome.message


def test_what_nobody_has_thought_of_is_raised_where_the_job_is_waited_for() -> None:
    limits = WorkerSettings(retries_max=0)
    work = Trainer({"odd": Worker("tests.edge.children:no\0name", settings=limits)})
    jobs = [work.submit("odd", b"") for _ in range(2)]
    for job in jobs:
        until(job.done)
        with pytest.raises(ValueError, match="embedded null byte"):
            work.wait(job)
    work.close()


def test_a_child_that_hangs_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with trainer("says_its_pid_and_hangs", timeout_s=4) as work:
        outcome = work.wait(work.submit("says_its_pid_and_hangs", str(pid_file).encode()))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "timeout"
    assert not alive(int(pid_file.read_text()))


def test_a_crashed_child_is_tried_again_from_the_same_request(tmp_path: Path) -> None:
    with trainer("works_the_second_time", retries_max=2) as work:
        outcome = work.wait(work.submit("works_the_second_time", str(tmp_path / "mark").encode()))
    assert isinstance(outcome, Trained)
    assert (outcome.result, outcome.attempts) == (b"done", 2)
    assert work.tallies["works_the_second_time"].refused == {}


def test_closing_kills_the_child_and_refuses_what_waits(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    work = trainer("says_its_pid_and_hangs", retries_max=2)
    jobs = [work.submit("says_its_pid_and_hangs", str(pid_file).encode()) for _ in range(2)]
    until(lambda: pid_file.exists() and bool(pid_file.read_text()))
    assert not jobs[0].done()
    work.close()
    outcomes = [work.wait(job) for job in jobs]
    assert [outcome.reason for outcome in outcomes if isinstance(outcome, Refusal)] == ["closed", "closed"]
    assert not alive(int(pid_file.read_text()))


def test_a_child_does_not_outlive_a_parent_that_was_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "from stream_balance.edge.trainer import Trainer, Worker\n"
        "trainer = Trainer({'hang': Worker('tests.edge.children:says_its_pid_and_hangs')})\n"
        f"trainer.wait(trainer.submit('hang', {str(pid_file)!r}.encode()))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    until(lambda: pid_file.exists() and bool(pid_file.read_text()))
    child = int(pid_file.read_text())
    assert alive(child)
    parent.kill()
    parent.wait()
    until(lambda: not alive(child))


def test_only_what_is_on_the_list_is_run() -> None:
    with trainer("echo") as work, pytest.raises(KeyError, match="no worker for 'os'; there are: echo"):
        work.submit("os", b"")
