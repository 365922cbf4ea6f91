"""Dead letters on disk: bad records with where and why, one JSON line each. Appends; bounded; counts what it left out.

A line holds `path`, `line`, `reason`, `message`, `record_time_us` where one is known, and the record's bytes: as
`text`, or as `base64` if not UTF-8.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import orjson
from pydantic import PositiveInt

from stream_balance.core.records import RoomSettings
from stream_balance.edge.dead_letter import DeadLetter
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
        time_us = getattr(record, "record_time_us", None)  # a row of a table has none
        if time_us is not None:
            fields["record_time_us"] = time_us
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


def read_letters(path: Path) -> Iterator[DeadLetter]:
    """The letters of a file, oldest first; a line that was cut short is left out. Raises SettingsError for no file."""
    try:
        with path.open("rb") as file:
            for line in file:
                letter = _letter(line)
                if letter is not None:
                    yield letter
    except OSError as error:
        raise SettingsError(f"dead-letter file {str(path)!r} cannot be read: {error.strerror}.") from error


def _letter(line: bytes) -> DeadLetter | None:
    try:
        fields = orjson.loads(line)
        value = b64decode(fields["base64"]) if "base64" in fields else fields["text"].encode()
        reason = fields["reason"]
        return DeadLetter(
            place=fields.get("place") or f"{fields['path']}:{fields['line']}",
            value=value,
            reason=reason,
            message=fields["message"],
            record_time_us=fields.get("record_time_us"),
            is_cut=reason == "too_large",  # only the beginning of such a line is kept
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
