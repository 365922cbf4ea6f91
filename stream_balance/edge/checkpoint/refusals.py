"""Refusals: fits that a child process gave no result for, so that a restart and a replay do without them too.

A fit's result is a function of its request, but that there is none (killed, too slow, no memory) is the world's doing
and nobody's to repeat. So a refusal is appended here, by the SHA-256 of its request, and synced before its effect; who
asks the same again is refused at once, for the same reason. A line that is not whole was never relied upon.
"""

from __future__ import annotations

import hashlib
import zlib

import orjson

from stream_balance.edge.checkpoint.disk import Disk, Output, disk_error

FILE, FRESH = "refusals.jsonl", "refusals.tmp"
KEPT_MAX = 1_000  # the oldest are forgotten: the checkpoints of their time are long gone


class Refusals:
    """The refusals of one folder. The file is made with the first one."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._file: Output | None = None
        self._known: dict[str, tuple[str, str]] = {}  # by request: kind of work, reason
        try:
            if FILE in disk.names():
                self._recover()
        except OSError as error:
            raise disk_error(disk, f"{FILE} cannot be read", error) from error

    def __len__(self) -> int:
        return len(self._known)

    def _recover(self) -> None:
        self._disk.sync_file(FILE)  # what a killed process left unsynced is about to be relied upon
        with self._disk.open(FILE) as source:
            content = source.read()
        for line in content.splitlines(keepends=True):
            crc, _, data = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(data):
                return
            entry = orjson.loads(data)
            self._known[entry["request"]] = (entry["kind"], entry["reason"])

    def why(self, kind: str, request: bytes) -> str | None:
        """The reason for which this request was refused; None if it was not."""
        known = self._known.get(_name(kind, request))
        return None if known is None else known[1]

    def keep(self, kind: str, request: bytes, reason: str) -> None:
        """One refusal, safe on return. Raises WorldError."""
        self._known[_name(kind, request)] = (kind, reason)
        try:
            if self._file is None:
                self._begin()
            else:
                self._write(_name(kind, request))
                self._file.sync()
        except OSError as error:
            raise disk_error(self._disk, "a refusal cannot be journaled, and must not be lost", error) from error

    def _begin(self) -> None:
        """The latest ones in a file of their own, which takes the place of the one before."""
        self._known = dict(list(self._known.items())[-KEPT_MAX:])
        self._file = self._disk.create(FRESH)
        for name in self._known:
            self._write(name)
        self._file.sync()
        self._disk.rename(FRESH, FILE)
        self._disk.sync_names()

    def _write(self, name: str) -> None:
        assert self._file is not None, "begun"
        kind, reason = self._known[name]
        data = orjson.dumps({"request": name, "kind": kind, "reason": reason})
        self._file.write(b"%08x %s\n" % (zlib.crc32(data), data))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _name(kind: str, request: bytes) -> str:
    return hashlib.sha256(kind.encode() + b"\0" + request).hexdigest()
