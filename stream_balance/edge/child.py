"""Child: pieces of work in a process of their own. In: requests on stdin. Out: one frame on stdout for each, no more.

Run by `edge/trainer.py` as `python -m stream_balance.edge.child module:function nice memory_mb result_max_mb parent`.
The function takes a request's bytes and returns the result's bytes; it is imported only after the limits are set. The
process ends when stdin does, and with its parent, looked for every second: no child outlives a service that was killed.
Nor does one that hangs where no other thread of it can look (seen: a library loaded at the limit of memory).
"""

from __future__ import annotations

import faulthandler
import importlib
import mmap
import os
import resource
import struct
import sys
import threading
import time
from typing import BinaryIO

LENGTH = struct.Struct("<Q")  # of the request that follows
FRAME = struct.Struct("<4s?dQ")  # magic, worked, CPU seconds since the frame before, length of what follows
MAGIC = b"sbc1"
MESSAGE_MAX = 2_000
HUNG_S = 600.0  # without one look at the parent
SPARE = 4 << 20  # bytes; what is refused is seldom larger


def work(reference: str, request: bytes, result_max: int) -> tuple[bool, bytes]:
    """True and the function's result, or False and the last line of what went wrong."""
    module, _, name = reference.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(request)
        if not isinstance(result, bytes):
            raise TypeError(f"{reference} returned a {type(result).__name__}, expected bytes")
        if len(result) > result_max:
            raise ValueError(f"{reference} returned {len(result)} bytes, at most {result_max} are allowed")
    except MemoryError:
        return False, b"memory: the limit was reached"
    except Exception as error:  # whatever it is, the parent decides
        # A library that cannot be loaded for want of memory says what comes into its head.
        if isinstance(error, SystemError | ImportError | OSError) and _is_full():
            return False, f"memory: the limit was reached ({type(error).__name__}: {error})".encode()[:MESSAGE_MAX]
        return False, f"error: {type(error).__name__}: {error}".encode()[:MESSAGE_MAX]
    return True, result


def _is_full() -> bool:
    """Whether the limit of writable memory leaves less than `SPARE`. Private pages count, shared ones would not."""
    try:
        mmap.mmap(-1, SPARE, flags=mmap.MAP_PRIVATE).close()
    except (OSError, MemoryError):
        return True
    return False


def serve(reference: str, requests: BinaryIO, answers: BinaryIO, result_max: int) -> None:
    """Answer requests until there are no more."""
    cpu_s = 0.0
    while len(header := requests.read(LENGTH.size)) == LENGTH.size:
        worked, payload = work(reference, requests.read(*LENGTH.unpack(header)), result_max)
        before, cpu_s = cpu_s, time.process_time()
        answers.write(FRAME.pack(MAGIC, worked, cpu_s - before, len(payload)) + payload)
        answers.flush()


def _limit_memory(memory_mb: int) -> None:
    limit = memory_mb << 20
    # Writable memory: a library's mapped code does not count, which for torch is most of the address space.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _behind(nice: int) -> None:
    """Behind the loop, also where that has real-time priority: `nice` alone means nothing there."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.nice(nice)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        # Ends the process by a thread that needs no interpreter; put off at each look.
        faulthandler.dump_traceback_later(HUNG_S, exit=True)
        time.sleep(1.0)
    os._exit(3)


def main(arguments: list[str]) -> None:
    """Set the limits, serve."""
    reference, (nice, memory_mb, result_max_mb, parent) = arguments[0], map(int, arguments[1:])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _behind(nice)
    _limit_memory(memory_mb)
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what the work prints is no part of the answer
    with open(answer_to, "wb") as answers:
        serve(reference, sys.stdin.buffer, answers, result_max_mb << 20)


if __name__ == "__main__":
    main(sys.argv[1:])
