"""Signals: the first SIGINT or SIGTERM asks for a clean end, the second ends at once.

What a clean end may wait for (a broker, a disk, a fit in a child) can take longer than anybody waits before SIGKILL; so
there may be a last moment. Leaving then is what a kill would do, and costs what a kill costs: nothing that is saved.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(BaseException):
    """Asked to stop before there was anything to finish. Not an Exception: no handler of trouble may catch it."""


@contextmanager
def stop_on_signals(leave_after_s: float | None = None) -> Iterator[threading.Event]:
    """An event that the first signal sets. The second signal leaves with 128 + its number; so long after the first
    the process leaves with 1, whatever it is at (None = it is waited for).
    """
    stop = threading.Event()

    def leave() -> None:
        sys.stderr.write(
            f"error: not done {leave_after_s:g} s after being asked to stop: left at once. What came after the last "
            "checkpoint will be done again at the next start (checkpoint.stop_max_s).\n"
        )
        sys.stderr.flush()
        os._exit(1)

    last = threading.Timer(leave_after_s or 0.0, leave)
    last.daemon = True

    def ask(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()
        if leave_after_s is not None:
            last.start()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        last.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)


def sleep_until(stop: threading.Event, is_begun: Callable[[], bool]) -> Callable[[float], None]:
    """A sleep that `stop` ends; raises Stopped then if nothing has begun yet that wants finishing."""

    def sleep(seconds: float) -> None:
        if stop.wait(seconds) and not is_begun():
            raise Stopped

    return sleep
