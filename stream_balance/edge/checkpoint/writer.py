"""Writer: gets a checkpoint written without stopping the loop. In: a function that writes. Out: its size, or why not.

`ForkWriter` lets a forked child write: it has the state as it was at that moment, while the loop goes on with its own.
The child only pickles, sums, writes and syncs; it takes no lock that another thread may have held at the fork, touches
no connection, and ends with its parent. Renaming is the parent's, so that an orphan can never put a file in place.
`InlineWriter` writes at once, for systems and tests without fork.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

NICE = 10
_MESSAGE_MAX = 2_000
_PR_SET_PDEATHSIG = 1

Write = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a write: its size in bytes, or the reason why there is none. `seconds` from start to end."""

    bytes: int = 0
    seconds: float = 0.0
    error: str | None = None


class Writer(Protocol):
    """Writes one checkpoint at a time."""

    def start(self, write: Write) -> None:
        """Begin. The state may be changed as soon as this returns."""

    def poll(self) -> Outcome | None:
        """What became of it; None while it runs."""

    def kill(self) -> None:
        """Give up what runs, if something does."""


class InlineWriter:
    """Writes within `start`."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._outcome: Outcome | None = None

    def start(self, write: Write) -> None:
        began = self._now_s()
        try:
            size = write()
        except Exception as error:  # what cannot be written is the caller's to judge, whatever the reason
            self._outcome = Outcome(seconds=self._now_s() - began, error=explain(error))
        else:
            self._outcome = Outcome(size, self._now_s() - began)

    def poll(self) -> Outcome | None:
        outcome, self._outcome = self._outcome, None
        return outcome

    def kill(self) -> None:
        self._outcome = None


class ForkWriter:
    """Writes in a forked child; one that takes longer than `write_max_s` is killed."""

    def __init__(self, write_max_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._write_max_s = write_max_s
        self._now_s = now_s
        self._child: tuple[int, int, float] | None = None  # process id, pipe to read from, when it began
        self._failed: Outcome | None = None
        # Looked up before any fork: the child must not load libraries.
        self._prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def start(self, write: Write) -> None:
        assert self._child is None, "one checkpoint at a time"
        reading, writing = os.pipe()
        parent = os.getpid()
        try:
            with warnings.catch_warnings():
                # Python warns of forks beside threads; what the child does is chosen with them in mind.
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
        except OSError as error:
            os.close(reading)
            os.close(writing)
            self._failed = Outcome(error=f"fork: {explain(error)}")
            return
        if child == 0:
            self._be_child(write, writing, parent)
        os.close(writing)
        self._child = (child, reading, self._now_s())

    def _be_child(self, write: Write, pipe: int, parent: int) -> None:
        """Never returns."""
        code = 1
        try:
            if self._prctl is not None:
                self._prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
            # Ctrl-C reaches us too; the parent decides what becomes of this.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            gc.disable()  # a collection would touch, and so copy, every page
            _close_all_but(pipe)
            with suppress(OSError):
                os.nice(NICE)
            said = f"+{write()}"
            code = 0
        except BaseException as error:
            said = f"-{explain(error)}"
        try:
            os.write(pipe, said.encode()[:_MESSAGE_MAX])
        finally:
            os._exit(code)

    def poll(self) -> Outcome | None:
        if self._failed is not None:
            outcome, self._failed = self._failed, None
            return outcome
        if self._child is None:
            return None
        child, reading, began = self._child
        ended, status = os.waitpid(child, os.WNOHANG)
        seconds = self._now_s() - began
        if ended == 0:
            if seconds <= self._write_max_s:
                return None
            self.kill()
            return Outcome(seconds=seconds, error=f"not done within {self._write_max_s:g} s (checkpoint.write_max_s)")
        said = os.read(reading, _MESSAGE_MAX).decode(errors="replace")
        os.close(reading)
        self._child = None
        if os.waitstatus_to_exitcode(status) == 0 and said.startswith("+"):
            return Outcome(int(said[1:]), seconds)
        reason = said[1:] or f"the writing process ended with {os.waitstatus_to_exitcode(status)}"
        return Outcome(seconds=seconds, error=reason)

    def kill(self) -> None:
        self._failed = None
        if self._child is not None:
            child, reading, _ = self._child
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            self._child = None


def _close_all_but(pipe: int) -> None:
    """Connections, locks and the listening socket are the parent's: holding them would outlive it."""
    try:
        open_ones = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        open_ones = list(range(3, 4096))
    for fd in open_ones:
        if fd > 2 and fd != pipe:
            with suppress(OSError):
                os.close(fd)


def explain(error: BaseException) -> str:
    """An error's kind and words on one line."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
