"""Merge journal: where the merge took an order that times did not force. In: positions. Out: the same after a crash.

Which partition was caught up at what moment is nobody's to repeat; so after a `take` with such a decision the next
offset of each partition is appended, and synced before anything made of those records leaves. Recovery lets the merge
go from entry to entry with nothing beyond an entry's offsets in sight (see `Merge.follow`), which gives the same order.

One segment a checkpoint: `journal-N` holds what came after the snapshot of checkpoint N. Recovery from N reads N and
all later ones. A line that is not whole was never synced, so nothing of it has left: it and what follows is dropped.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping

import orjson

from stream_balance.edge.checkpoint.disk import Disk, Output

Positions = Mapping[tuple[str, int], int]
_SEGMENT = re.compile(r"journal-(\d{10})\.jsonl")


def segment_name(sequence: int) -> str:
    """The file of a segment."""
    return f"journal-{sequence:010d}.jsonl"


def segments(disk: Disk) -> list[int]:
    """The numbers of the segments there are."""
    return [int(match[1]) for name in disk.names() if (match := _SEGMENT.fullmatch(name))]


class MergeJournal:
    """Appends decisions to the present segment; raises OSError. `size` in bytes: of all since the last checkpoint.

    `entries` counts what was appended, `dropped` the bytes that recovery left out.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._file: Output | None = None
        self._number = -1
        self._sizes: dict[int, int] = {}
        self._last: dict[str, int] = {}
        self.entries = 0
        self.dropped = 0

    @property
    def size(self) -> int:
        return sum(self._sizes.values())

    def recover(self, since: int) -> list[dict[str, int]]:
        """The positions journaled since the snapshot of checkpoint `since`, each whole, keys `topic/partition`."""
        plan: list[dict[str, int]] = []
        for number in segments(self._disk):
            name = segment_name(number)
            if number < since:
                continue
            # What a killed process left unsynced is about to be relied upon.
            self._disk.sync_file(name)
            self._sizes[number] = self._disk.size(name)
            with self._disk.open(name) as source:
                content = source.read()
            positions: dict[str, int] = {}
            for line in self._whole_lines(content):
                positions = positions | line
                plan.append(positions)
        # So is the name of a checkpoint whose process was killed between rename and sync.
        self._disk.sync_names()
        return plan

    def _whole_lines(self, content: bytes) -> Iterator[dict[str, int]]:
        read = 0
        for line in content.splitlines(keepends=True):
            crc, _, data = line.rstrip(b"\n").partition(b" ")
            if not line.endswith(b"\n") or crc != b"%08x" % zlib.crc32(data):
                self.dropped += len(content) - read
                return
            yield orjson.loads(data)
            read += len(line)

    def numbers(self) -> list[int]:
        """The segments there are."""
        return segments(self._disk)

    def begin(self, number: int) -> None:
        """What is appended from now on belongs to checkpoint `number`. The segment is made with its first entry."""
        self.close()
        self._number = number
        self._last = {}

    def append(self, positions: Positions) -> None:
        """One decision, safe on return."""
        named = {f"{topic}/{partition}": offset for (topic, partition), offset in positions.items()}
        fresh = self._file is None
        if self._file is None:
            self._file = self._disk.create(segment_name(self._number))
        changed = {key: offset for key, offset in named.items() if self._last.get(key) != offset}
        data = orjson.dumps(changed)
        line = b"%08x %s\n" % (zlib.crc32(data), data)
        self._file.write(line)
        self._file.sync()
        if fresh:
            self._disk.sync_names()
        self._last = named
        self._sizes[self._number] = self._sizes.get(self._number, 0) + len(line)
        self.entries += 1

    def forget(self, before: int) -> None:
        """Remove the segments of checkpoints older than `before`."""
        for number in segments(self._disk):
            if number < before:
                self._disk.remove(segment_name(number))

    def settled(self, number: int) -> None:
        """Checkpoint `number` is in place: older segments no longer count."""
        self._sizes = {each: size for each, size in self._sizes.items() if each >= number}

    def close(self) -> None:
        """Close the segment."""
        if self._file is not None:
            self._file.close()
            self._file = None
