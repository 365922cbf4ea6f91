"""Trainer: runs fits in child processes, one child a kind of work. In: complete requests. Out: results, or refusals.

A child is a pure function of its request: a crashed, killed or late one is tried again with the same bytes, so that
the result does not depend on how often it took. Whoever asked decides at which event the result enters, and waits
there; how long it waited is counted as a stall.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from pydantic import Field, PositiveFloat, PositiveInt

from stream_balance.core.records import RoomSettings
from stream_balance.edge.child import FRAME, LENGTH, MAGIC

TURN_S = 0.001  # while a result is waited for; in between a guest may come in
GRACE_S = 1.0  # for a child that is ending by itself


class WorkerSettings(RoomSettings):
    """Limits of one kind of child."""

    timeout_s: PositiveFloat = 300.0  # an attempt that takes longer is killed
    retries_max: int = Field(default=2, ge=0)  # further attempts after the first
    memory_mb: PositiveInt = 2_048  # writable memory of the child
    nice: int = Field(default=10, ge=0, le=19)  # the event loop goes first
    result_max_mb: PositiveInt = 256


@dataclass(frozen=True, slots=True)
class Worker:
    """A kind of work: the function `module:function` from bytes to bytes, and its limits.

    `keep`: the child stays for the next request (its libraries are loaded once), else each request has its own.
    """

    reference: str
    keep: bool = True
    settings: WorkerSettings = field(default_factory=WorkerSettings)


@dataclass(frozen=True, slots=True)
class Trained:
    """What a child returned. `cpu_s` is that child's, its start included; `attempts` counts the failed ones too."""

    result: bytes
    cpu_s: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no result, after the last attempt. `reason`: timeout, crash, killed, memory, error, garbage,
    closed."""

    reason: str
    message: str
    attempts: int


class Job:
    """One request under way."""

    def __init__(self, kind: str, request: bytes) -> None:
        self.kind = kind
        self.request = request
        self._outcome: Trained | Refusal | BaseException | None = None
        self._ready = threading.Event()

    def done(self) -> bool:
        """Whether `Trainer.wait` would return at once."""
        return self._ready.is_set()

    @staticmethod
    def refused(kind: str, request: bytes, refusal: Refusal) -> Job:
        """One that nobody works on."""
        job = Job(kind, request)
        job._finish(refusal)
        return job

    def _finish(self, outcome: Trained | Refusal | BaseException) -> None:
        self._outcome = outcome
        self._ready.set()

    def _result(self, turn: Callable[[], None] = lambda: None) -> Trained | Refusal:
        while not self._ready.wait(TURN_S):
            turn()
        assert self._outcome is not None, "a finished job has an outcome"
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        return self._outcome


@dataclass(slots=True)
class Tally:
    """Counters of one kind. `stall_s`: how long the loop stood still for its results."""

    requests: int = 0
    trained: int = 0
    retries: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0
    stall_s: float = 0.0


class Trainer:
    """At most one child of each kind at a time; what is submitted meanwhile waits in order.

    `workers` is the allow-list: no other function is ever run. Close it, or use it as a context manager.
    """

    def __init__(self, workers: Mapping[str, Worker]) -> None:
        self.tallies = {kind: Tally() for kind in workers}
        self._lanes = {kind: _Lane(kind, worker, self.tallies[kind]) for kind, worker in workers.items()}

    def submit(self, kind: str, request: bytes) -> Job:
        """Start the work, or put it into its kind's queue. Raises KeyError for a kind that is not in `workers`."""
        if kind not in self._lanes:
            raise KeyError(f"no worker for '{kind}'; there are: {', '.join(self._lanes)}")
        self.tallies[kind].requests += 1
        return self._lanes[kind].submit(Job(kind, request))

    def wait(self, job: Job, turn: Callable[[], None] = lambda: None) -> Trained | Refusal:
        """The outcome, once it is there; `turn` is called now and then while it is not.

        Raises what the job's thread raised: a mistake of this module, which is the loop's to end with.
        """
        if job.done():
            return job._result()
        began = time.perf_counter()
        outcome = job._result(turn)
        self.tallies[job.kind].stall_s += time.perf_counter() - began
        return outcome

    def close(self) -> None:
        """Kill what runs; every unfinished job is refused as closed."""
        for lane in self._lanes.values():
            lane.close()

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lane:
    """One kind: its queue, its thread while there is work, its child."""

    def __init__(self, kind: str, worker: Worker, tally: Tally) -> None:
        self._kind = kind
        self._worker = worker
        self._tally = tally
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def submit(self, job: Job) -> Job:
        with self._lock:
            self._waiting.append(job)
            if self._thread is None:
                thread = threading.Thread(target=self._work, name=f"trainer-{self._kind}", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:  # the system has no thread to give; nothing else waits here
                    self._waiting.clear()
                    job._finish(self._refused(_no_start(error), 1))
                    return job
                self._thread = thread
        return job

    def close(self) -> None:
        with self._lock:
            self._closed = True
            _kill(self._process)
            thread = self._thread
        if thread is not None:
            thread.join()
        self._end()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                job = self._waiting.popleft()
            # Whatever happens here, whoever waits is told: the loop would stand still for good.
            try:
                outcome: Trained | Refusal | BaseException = self._run(job.request)
            except BaseException as error:  # raised again in the thread that waits
                outcome = error
            job._finish(outcome)

    def _run(self, request: bytes) -> Trained | Refusal:
        tally, attempts = self._tally, 1
        said = self._attempt(request)
        while isinstance(said, Refusal) and said.reason != "closed" and attempts <= self._worker.settings.retries_max:
            tally.retries += 1
            attempts += 1
            said = self._attempt(request)
        if isinstance(said, Trained):
            tally.trained += 1
            tally.cpu_s += said.cpu_s
            return Trained(said.result, said.cpu_s, attempts)
        return self._refused(said, attempts)

    def _refused(self, said: Refusal, attempts: int) -> Refusal:
        refused = self._tally.refused
        refused[said.reason] = refused.get(said.reason, 0) + 1
        return Refusal(said.reason, f"{self._kind}: {said.message}; attempts: {attempts}", attempts)

    def _attempt(self, request: bytes) -> Trained | Refusal:
        """Ask the child. Where the system has no process, pipe or thread to give, the attempt has failed."""
        try:
            return self._asked(request)
        except (OSError, RuntimeError) as error:
            self._end()
            return _no_start(error)
        except BaseException:
            self._end()  # what it answers is of no known request any more
            raise

    def _asked(self, request: bytes) -> Trained | Refusal:
        """What the child says, a new one where there is none. After trouble of its own it is ended."""
        settings = self._worker.settings
        with self._lock:
            if self._closed:
                return Refusal("closed", "the trainer was closed", 1)
            process = self._process = self._process or _start(self._worker)
        late = threading.Event()

        def give_up() -> None:
            late.set()
            _kill(process)

        timer = threading.Timer(settings.timeout_s, give_up)
        timer.start()
        try:
            said = _ask(process, request, settings.result_max_mb << 20)
        finally:
            timer.cancel()
            timer.join()
        if self._closed:
            return Refusal("closed", "the trainer was closed", 1)
        if late.is_set():
            self._end()
            return Refusal("timeout", f"took longer than {settings.timeout_s:g} s", 1)
        if said is None:
            return _ending(self._end())
        if not self._worker.keep or (isinstance(said, Refusal) and said.reason == "garbage"):
            self._end()
        return said

    def _end(self) -> int | None:
        """End the child, if there is one, and wait for it; its exit code."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return None
        assert process.stdin is not None, "a pipe"
        assert process.stdout is not None, "a pipe"
        with suppress(OSError):  # what was not written to it is lost with it
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)  # one that is on its way out says how
        _kill(process)
        code = process.wait()
        process.stdout.close()
        return code


def _start(worker: Worker) -> subprocess.Popen[bytes]:
    settings = worker.settings
    limits = [settings.nice, settings.memory_mb, settings.result_max_mb, os.getpid()]
    # A session of its own: Ctrl-C at the terminal ends the service, which then ends the child.
    return subprocess.Popen(
        [sys.executable, "-m", "stream_balance.edge.child", worker.reference, *map(str, limits)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env=_environment(), start_new_session=True,
    )  # fmt: skip


def _ask(process: subprocess.Popen[bytes], request: bytes, result_max: int) -> Trained | Refusal | None:
    """One request and its answer; None when the child ended without any."""
    assert process.stdin is not None, "a pipe"
    assert process.stdout is not None, "a pipe"
    with suppress(BrokenPipeError):  # it is gone; the missing answer says so
        process.stdin.write(LENGTH.pack(len(request)) + request)
        process.stdin.flush()
    header = process.stdout.read(FRAME.size)
    if not header:
        return None
    if len(header) < FRAME.size:
        return Refusal("garbage", f"answered {len(header)} bytes, a frame has at least {FRAME.size}", 1)
    magic, worked, cpu_s, length = FRAME.unpack(header)
    if magic != MAGIC or length > result_max:
        return Refusal("garbage", f"answered something else than a frame: {header[:8]!r}", 1)
    payload = process.stdout.read(length)
    if len(payload) < length:
        return Refusal("garbage", f"answered {len(payload)} bytes of {length}", 1)
    if worked:
        return Trained(payload, cpu_s, 1)
    message = payload.decode(errors="replace")
    return Refusal("memory" if message.startswith("memory") else "error", message, 1)


def _no_start(error: OSError | RuntimeError) -> Refusal:
    """Of an attempt for which the system had nothing to give."""
    return Refusal("crash", f"the child could not be started or spoken to: {error}", 1)


def _ending(code: int | None) -> Refusal:
    """Why a child that ended by itself gave no answer."""
    if code is not None and code < 0:
        name = _signal_name(-code)
        # SIGKILL from elsewhere: the kernel wants memory back, or a person.
        return Refusal("killed" if name == "SIGKILL" else "crash", f"ended by {name}", 1)
    return Refusal("crash", f"ended with exit code {code}, without an answer", 1)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


def _environment() -> dict[str, str]:
    """The parent's, with the parent's import path, one thread, and hashing that is the same each time."""
    one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return os.environ | one_thread | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}


def _kill(process: subprocess.Popen[bytes] | None) -> None:
    """End the child and what it may have started. Only while it has not been waited for: its id is still its own."""
    if process is not None and process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
