"""The service as a process with a checkpoint folder, watched through its log and its HTTP routes."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from stream_balance.edge.kafka import KafkaSettings
from tests.integration.slow_model import PAUSE
from tests.integration.test_run import call, flags

PATIENCE_S = 120.0
USER_ID = re.compile(r"\bu\d+\b")  # as the simulated shop writes them
TOKEN = "9f2c41d07e55b8a3"  # asked for by the service's routes


class Service:
    """`run`, its log as a stream of lines (JSON), its address once it has said so. Killed when the block ends."""

    def __init__(
        self, kafka: KafkaSettings, folder: Path, *more: str, prefix: tuple[str, ...] = (), pause_s: float = 0.0
    ) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        token_file = folder.parent / "token"
        token_file.write_text(TOKEN)
        guarded = ("--set", f"http.token_file={token_file}")
        self.arguments = ("run", *flags(kafka), "--port", "0", "--checkpoint-dir", str(folder), *guarded, *more)
        told = ("--report", "-", "--set", "log.format=json", "--set", "log.level=debug")
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "stream_balance", *self.arguments, *told],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, PAUSE: str(pause_s)},
        )  # fmt: skip
        self.told: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._out = ""
        self._readers = [threading.Thread(target=self._read_log), threading.Thread(target=self._read_report)]
        for reader in self._readers:
            reader.start()
        self.url = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self._readers:
            reader.join()
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self._look_through_the_log()

    def _look_through_the_log(self) -> None:
        """Whatever a test does to the service: no line of it speaks of a user, or gives away the token."""
        private = [line for line in self.told if USER_ID.search(line) or TOKEN in line]
        assert not private, f"these are never logged: {''.join(private)}"
        levels = {json.loads(line)["level"] for line in self.told if line.startswith("{")}
        assert levels <= {"debug", "info", "warning", "error"}

    def _read_log(self) -> None:
        for line in self.process.stderr or ():
            self.told.append(line)
            self._lines.put(line)
        self._lines.put(None)

    def _read_report(self) -> None:
        assert self.process.stdout is not None
        self._out = self.process.stdout.read()

    def hear(self, words: str) -> str:
        """The next line of the log that has these words."""
        while (line := self._lines.get(timeout=PATIENCE_S)) is not None:
            if found := re.search(r'"url": ?"([^"]+)"', line):
                self.url = found[1]
            if words in line:
                return line
        raise AssertionError(f"it has ended without saying {words!r}:\n{''.join(self.told)}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code; fails if it takes longer."""
        return self.process.wait(timeout_s)

    @property
    def words(self) -> str:
        """Everything it has told, to its end."""
        for reader in self._readers:
            reader.join()
        return "".join(self.told)

    @property
    def report(self) -> dict[str, Any]:
        self._readers[1].join()
        return dict(json.loads(self._out))

    def get(self, route: str) -> bytes:
        asked = urllib.request.Request(f"{self.url}/{route}", headers={"Authorization": f"Bearer {TOKEN}"})
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return bytes(answer.read())

    def health(self) -> dict[str, Any]:
        return dict(json.loads(self.get("health")))

    def metric(self, name: str) -> float:
        """A metric without labels, or the sum over its labels."""
        pattern = rb"^stream_balance_%s(?:\{[^}]*\})? (\S+)$" % name.encode()
        return sum(float(value) for value in re.findall(pattern, self.get("metrics"), re.MULTILINE))

    def until(self, holds: Callable[[], bool]) -> None:
        """Return once it is so."""
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.1)):
            with suppress(OSError):
                if holds():
                    return
            assert self.process.poll() is None, self.words
            pause.wait(0.1)
        raise AssertionError(f"never so:\n{''.join(self.told)}")

    def to_the_end(self) -> dict[str, Any]:
        """The report of a new life over the same folder that reads everything."""
        done = call(*self.arguments, "--until-caught-up", "--report", "-")
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))


def without_override() -> tuple[str, ...]:
    """What to put before a command so that permissions hold for it, root or not."""
    setpriv = shutil.which("setpriv")
    return (setpriv, "--bounding-set=-dac_override,-dac_read_search") if setpriv else ()
