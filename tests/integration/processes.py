"""Processes of a service that is run to its end or killed: who of them works, and whether any still does (Linux).

Time limits of a wall clock say nothing on a busy machine. `end_of` waits as long as processor time is used, up to a
bound of that, and what it says when it gives up names the processes and what they do.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CPU_MAX_S = 3_600.0  # of a process and all below it
STILL_S, STILL_CPU_S = 600.0, 5.0  # less than this in that time: nothing goes on any more
LOOK_S = 2.0
WORK = ("gan.worker", "booster_fit")  # what the children of a service do
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Seen:
    """A process as it is now. `cpu_s` includes that of children it has waited for."""

    pid: int
    command: str
    state: str
    cpu_s: float


def below(pid: int) -> Iterator[Seen]:
    """A process and all of its descendants, as far as they are there."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        yield Seen(pid, command, fields[0], sum(map(int, fields[11:15])) / _TICKS)
        for task in list(Path(f"/proc/{pid}/task").glob("*/children")):
            with suppress(OSError):
                for child in task.read_text().split():
                    yield from below(int(child))


def children_at_work(pid: int) -> list[str]:
    """What the children of a service are at, of `WORK`; one that waits for a request is at nothing."""
    return [
        work
        for seen in below(pid)
        for work in WORK
        if work in seen.command and seen.pid != pid and (seen.state in "RD" or work == "gan.worker")
    ]


def end_of(command: list[str], *, cpu_max_s: float = CPU_MAX_S, still_s: float = STILL_S) -> str:
    """What it writes to its standard output, once it has ended with 0. Raises AssertionError, saying what it was at."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        began = moved_at = time.monotonic()
        moved_cpu_s = 0.0
        while True:
            with suppress(subprocess.TimeoutExpired):
                out, told = process.communicate(timeout=LOOK_S)
                break
            tree = list(below(process.pid))
            now, cpu_s = time.monotonic(), sum(seen.cpu_s for seen in tree)
            if cpu_s - moved_cpu_s >= STILL_CPU_S:
                moved_at, moved_cpu_s = now, cpu_s
            if cpu_s < cpu_max_s and now - moved_at < still_s:
                continue
            process.kill()
            _, told = process.communicate()
            listed = "".join(f"\n  {s.pid} {s.state} {s.cpu_s:.1f} s of CPU: {s.command}" for s in tree)
            raise AssertionError(
                f"given up after {now - began:.0f} s and {cpu_s:.0f} s of CPU, {now - moved_at:.0f} s of them with "
                f"hardly any. There were:{listed}\nit said: {told[-2000:]}"
            )
    assert process.returncode == 0, told
    return out
