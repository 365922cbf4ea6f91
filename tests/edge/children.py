"""Children for the trainer's tests: each is a kind of trouble, or none."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from stream_balance.core.synthesis import Quality, Release, TrainingSet, Vetting, outcome_to_bytes


def echo(request: bytes) -> bytes:
    print("a line that is no part of the answer")
    return request[::-1]


def surroundings(request: bytes) -> bytes:
    return f"{os.nice(0)} {os.environ['OMP_NUM_THREADS']} {os.getpid()}".encode()


def raises(request: bytes) -> bytes:
    raise ValueError("no such column")


def no_bytes(request: bytes) -> str:
    return "text"


def too_much(request: bytes) -> bytes:
    return bytes(2 << 20)


def crashes(request: bytes) -> bytes:
    os.kill(os.getpid(), signal.SIGSEGV)
    return b""


def crashes_in_real_time(request: bytes) -> bytes:
    os.kill(os.getpid(), 40)
    return b""


def writes_garbage(request: bytes) -> bytes:
    for descriptor in range(3, 10):
        with suppress(OSError):
            os.write(descriptor, b"nonsense, and more than a frame's header of it")
    return b""


def leaves(request: bytes) -> bytes:
    sys.stdout.flush()
    os._exit(0)


def hangs(request: bytes) -> bytes:
    time.sleep(600)
    return b""


def eats_memory(request: bytes) -> bytes:
    return bytes(sum(len(bytes(1 << 26)) for _ in [bytearray(1 << 30) for _ in range(64)]))


def eats_memory_in_a_library(request: bytes) -> bytes:
    """As the import of an extension module does that has no memory for its tables, and forgets to say so."""
    held = []
    with suppress(MemoryError):
        while True:
            held.append(bytearray(1 << 20))
    raise SystemError("error return without exception set")


def works_the_second_time(request: bytes) -> bytes:
    """The request names a file that the first attempt leaves; only a test may do so."""
    path = Path(request.decode())
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGABRT)
    return b"done"


def says_its_pid_and_hangs(request: bytes) -> bytes:
    Path(request.decode()).write_text(str(os.getpid()))
    return hangs(request)


def fails_on_x(request: bytes) -> bytes:
    if request == b"x":
        os._exit(1)
    return request


def pauses(request: bytes) -> bytes:
    """For so many seconds."""
    time.sleep(float(request))
    return request


def releases(request: bytes) -> bytes:
    """The rows it was asked to learn, as a release: quick, and a function of the request as every training is."""
    wanted = TrainingSet.from_bytes(request)
    quality = Quality(0.5, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0)
    vetting = Vetting("copula", "helps", "gain", 0.1, quality, ())
    return outcome_to_bytes(Release(wanted.label, wanted.rows[: 10 + wanted.seed % 50], vetting))
