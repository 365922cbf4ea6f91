"""Child: one piece of work in a process of its own. In: a request on stdin. Out: one frame on stdout, nothing else.

Run by `edge/trainer.py` as `python -m stream_balance.edge.child module:function nice memory_mb result_max_mb`. The
function takes the request's bytes and returns the result's bytes; it is imported only after the limits are set. The
process ends with its parent, looked for every second, so that no child outlives a service that was killed.
"""

from __future__ import annotations

import importlib
import os
import resource
import struct
import sys
import threading
import time

FRAME = struct.Struct("<4s?dQ")  # magic, worked, CPU seconds, length of what follows
MAGIC = b"sbc1"
MESSAGE_MAX = 2_000


def frame(worked: bool, payload: bytes) -> bytes:
    """What a child says: a result, or why there is none, and the CPU seconds of the whole process."""
    return FRAME.pack(MAGIC, worked, time.process_time(), len(payload)) + payload


def work(reference: str, request: bytes, result_max: int) -> bytes:
    """The frame with the function's result, or with the last line of what went wrong."""
    module, _, name = reference.partition(":")
    try:
        result = getattr(importlib.import_module(module), name)(request)
        if not isinstance(result, bytes):
            raise TypeError(f"{reference} returned a {type(result).__name__}, expected bytes")
        if len(result) > result_max:
            raise ValueError(f"{reference} returned {len(result)} bytes, at most {result_max} are allowed")
    except MemoryError:
        return frame(False, b"memory: the limit was reached")
    except Exception as error:  # whatever it is, the parent decides
        return frame(False, f"error: {type(error).__name__}: {error}".encode()[:MESSAGE_MAX])
    return frame(True, result)


def _limit_memory(memory_mb: int) -> None:
    limit = memory_mb << 20
    # Writable memory: a library's mapped code does not count, which for torch is most of the address space.
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(3)


def main(arguments: list[str]) -> None:
    """Read, work, answer."""
    reference, (nice, memory_mb, result_max_mb, parent) = arguments[0], map(int, arguments[1:])
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.nice(nice)
    _limit_memory(memory_mb)
    answer_to = os.dup(1)
    os.dup2(2, 1)  # what the work prints is no part of the answer
    request = sys.stdin.buffer.read()
    with open(answer_to, "wb") as stream:
        stream.write(work(reference, request, result_max_mb << 20))


if __name__ == "__main__":
    main(sys.argv[1:])
