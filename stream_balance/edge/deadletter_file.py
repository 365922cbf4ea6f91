"""Dead letters on disk: bad records with where and why, one JSON line each. Appends; bounded; counts what it left out.

A line holds `path`, `line`, `reason`, `message` and the record's bytes: as `text`, or as `base64` if not UTF-8.
"""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from typing import Protocol

import orjson
from pydantic import PositiveInt

from stream_balance.core.records import RoomSettings
from stream_balance.errors import BadRecord, SettingsError, WorldError


class DeadLetterSettings(RoomSettings):
    """How much is kept."""

    bytes_max: PositiveInt = 100_000_000  # of the file, what was there before included


class Placed(Protocol):
    """A record that knows its bytes and its place."""

    @property
    def data(self) -> bytes: ...
    @property
    def path(self) -> Path: ...
    @property
    def line_number(self) -> int: ...


class DeadLetterFile:
    """Keeps bad records until `bytes_max`; `kept` and `left_out` count them. Also a context manager.

    Raises SettingsError if the file cannot be opened, WorldError if it cannot be written. Every line is written whole;
    a line that an earlier end cut short is closed first.
    """

    def __init__(self, path: Path, settings: DeadLetterSettings | None = None) -> None:
        self.path = path
        self.kept = 0
        self.left_out = 0
        self._bytes_max = (settings or DeadLetterSettings()).bytes_max
        try:
            self._file = path.open("ab+")
            self._size = self._file.tell()
            if self._size > 0:
                self._file.seek(-1, 2)
                if self._file.read(1) != b"\n":
                    self._size += self._file.write(b"\n")
        except OSError as error:
            told = f"dead-letter file {str(path)!r} cannot be opened: {error.strerror}."
            raise SettingsError(f"{told} Name a file in a folder that exists.") from error

    def keep(self, record: Placed, bad: BadRecord) -> None:
        """Append one record, or count it as left out if the file is full."""
        fields: dict[str, object] = {"path": str(record.path), "line": record.line_number}
        fields |= {"reason": bad.reason, "message": str(bad)}
        try:
            line = orjson.dumps(fields | {"text": record.data.decode("utf-8")}, option=orjson.OPT_APPEND_NEWLINE)
        except UnicodeDecodeError:
            encoded = b64encode(record.data).decode("ascii")
            line = orjson.dumps(fields | {"base64": encoded}, option=orjson.OPT_APPEND_NEWLINE)
        if self._size + len(line) > self._bytes_max:
            self.left_out += 1
            return
        try:
            self._size += self._file.write(line)
        except OSError as error:
            raise WorldError(f"dead-letter file {str(self.path)!r} cannot be written: {error.strerror}.") from error
        self.kept += 1

    def sync(self) -> None:
        """What was kept so far is safe."""
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise WorldError(f"dead-letter file {str(self.path)!r} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Flush and let go of the file. May be called twice."""
        try:
            self._file.close()
        except OSError as error:
            raise WorldError(f"dead-letter file {str(self.path)!r} cannot be written: {error.strerror}.") from error

    def __enter__(self) -> DeadLetterFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
