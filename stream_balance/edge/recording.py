"""Recording: a folder of log segments that goes on where it stopped. In: records in order, positions. Out: segments
`events-000001.jsonl.zst`, and `recording.json`, which says which of them are whole and where the input goes on.

A segment is written beside, synced, renamed, its name synced; then the manifest is replaced. So whatever a crash leaves
that the manifest does not name is not part of the recording: it is removed, and recorded again. Bounded: `segments_max`
segments of `segment_bytes_max` before compression; beyond it the oldest goes, counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import zstandard
from pydantic import PositiveFloat, PositiveInt

from stream_balance.core.records import RoomSettings
from stream_balance.edge.checkpoint.disk import Disk, Output
from stream_balance.edge.logfile import wrap
from stream_balance.edge.segments import MANIFEST, MERGED, TAKEN, VERSION, read_manifest, recording_disk
from stream_balance.errors import SettingsError, WorldError

_BY = {MERGED: "'record'", TAKEN: "'run --record'"}


class RecordSettings(RoomSettings):
    """How large and how old a segment becomes, and how many are kept."""

    segment_bytes_max: PositiveInt = 268_435_456  # before compression
    segment_age_max_s: PositiveFloat = 900.0  # what a crash costs at most: it is read from the topics again
    segments_max: PositiveInt | None = None  # None = all are kept


class Recording:
    """An open folder. `append` records, then `rotate` with the positions behind the last of them.

    `order` says whose order it is: that of a merge of its own, or the one in which a service took the records. Not
    thread-safe, one writer a folder. Counters: `records`, `removed` (segments beyond `segments_max`).
    """

    def __init__(self, folder: Path | Disk, settings: RecordSettings, *, order: str = MERGED) -> None:
        self.disk: Disk = made(folder) if isinstance(folder, Path) else folder
        self._settings = settings
        self._stream: Any = None
        self._file: Output | None = None
        self._bytes = self._here = 0
        self.records = 0
        self.removed = 0
        self._manifest = read_manifest(self.disk) or {
            "version": VERSION, "next": 1, "segments": [], "positions": {}, "order": order,
        }  # fmt: skip
        if self._manifest.get("order", MERGED) != order:
            raise SettingsError(
                f"{self.disk.where!r} was recorded by {_BY[self._manifest.get('order', MERGED)]}, this is "
                f"{_BY[order]}, whose order may be another. Name another folder."
            )
        known = {segment["name"] for segment in self._manifest["segments"]}
        try:
            for name in self.disk.names():
                if name.startswith("events-") and name not in known:
                    self.disk.remove(name)
        except OSError as error:
            raise SettingsError(
                f"recording {self.disk.where!r}: what an earlier end left cannot be removed: {error.strerror}. Name a "
                "folder that can be written."
            ) from error

    @property
    def positions(self) -> dict[str, int]:
        """Where the input goes on, by `topic/partition`; empty for a new recording."""
        return dict(self._manifest["positions"])

    @property
    def topic_ids(self) -> dict[str, str]:
        """The topics' ids when the positions were noted."""
        return dict(self._manifest.get("topic_ids", {}))

    @property
    def is_open(self) -> bool:
        """Whether records wait in an open segment."""
        return self._here > 0

    def append(self, data: bytes, record_time_us: int) -> None:
        """One record as it came, with its record time (below 0: none)."""
        line = (wrap(data, record_time_us) if record_time_us >= 0 or b"\n" in data else data) + b"\n"
        try:
            if self._stream is None:
                self._file = target = self.disk.create(self._part())
                compressor: Any = zstandard.ZstdCompressor(level=6)
                self._stream = compressor.stream_writer(target, closefd=False)
            self._stream.write(line)
        except OSError as error:
            raise self._cannot(self._part(), error) from error
        self._bytes += len(line)
        self._here += 1
        self.records += 1

    def is_full(self, age_s: float) -> bool:
        """Whether the open segment, begun `age_s` ago, is to be closed."""
        return self.is_open and (
            self._bytes >= self._settings.segment_bytes_max or age_s >= self._settings.segment_age_max_s
        )

    def rotate(self, positions: Mapping[str, int], topic_ids: Mapping[str, str]) -> str | None:
        """Close the open segment: after this its records are safe. Returns its name; None if there was none.

        Positions that moved without a record (gaps, a transaction's end) are noted all the same.
        """
        if not self.is_open or self._file is None:
            if self._manifest["segments"] and dict(positions) != self._manifest["positions"]:
                self._manifest |= {"positions": dict(positions), "topic_ids": dict(topic_ids)}
                try:
                    self._write_manifest()
                except OSError as error:
                    raise self._cannot(MANIFEST, error) from error
            return None
        name = f"events-{self._manifest['next']:06d}.jsonl.zst"
        doing = self._part()
        try:
            self._stream.close()
            self._file.sync()
            self._file.close()
            self.disk.rename(self._part(), name)
            self.disk.sync_names()
            segments = [*self._manifest["segments"], {"name": name, "records": self._here, "bytes": self._bytes}]
            keep = self._settings.segments_max or len(segments)
            gone, segments = segments[:-keep], segments[-keep:]
            self._manifest |= {
                "next": self._manifest["next"] + 1, "segments": segments, "positions": dict(positions),
                "topic_ids": dict(topic_ids),
            }  # fmt: skip
            doing = MANIFEST
            self._write_manifest()
            for segment in gone:
                self.disk.remove(segment["name"])
        except OSError as error:
            raise self._cannot(doing, error) from error
        self.removed += len(gone)
        self._stream, self._file, self._bytes, self._here = None, None, 0, 0
        return name

    def abandon(self) -> None:
        """Let go of the open segment; its records are not part of the recording."""
        if self._file is not None:
            self._file.close()
        self._stream, self._file, self._bytes, self._here = None, None, 0, 0

    def _part(self) -> str:
        return f"events-{self._manifest['next']:06d}.part"

    def _write_manifest(self) -> None:
        temporary = MANIFEST + ".part"
        file = self.disk.create(temporary)
        try:
            file.write(orjson.dumps(self._manifest, option=orjson.OPT_INDENT_2))
            file.sync()
        finally:
            file.close()
        self.disk.rename(temporary, MANIFEST)
        self.disk.sync_names()

    def _cannot(self, name: str, error: OSError) -> WorldError:
        return cannot_write(self.disk, name, error, f"the open segment has {self._bytes:,} bytes before compression")


def made(folder: Path) -> Disk:
    """The folder, made if it is missing. Raises SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"{str(folder)!r} cannot be made a folder: {error.strerror}.") from error
    return recording_disk(folder)


def cannot_write(disk: Disk, name: str, error: OSError, wanted: str) -> WorldError:
    """What could not be written, how much room there is, and what to do."""
    room = disk.room()
    free = "" if room is None else f"; {room:,} bytes are free there"
    return WorldError(
        f"recording {disk.where!r}: {name} cannot be written: {error.strerror or error} ({wanted}{free}). Make room or "
        "keep fewer segments (record.segments_max), and start again: what is not recorded yet is read again, nothing "
        "is lost. Or record into another folder, which then begins late."
    )
