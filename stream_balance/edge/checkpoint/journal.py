"""Merge journal: where the merge took an order that times did not force. In: positions. Out: the same after a crash.

Which partition was caught up at what moment is nobody's to repeat; so after a `take` with such a decision the next
offset of each partition is appended, and synced before anything made of those records leaves. Recovery lets the merge
go from entry to entry with nothing beyond an entry's offsets in sight (see `Merge.follow`), which gives the same order.

One segment a checkpoint: `journal-N` holds what came after the snapshot of checkpoint N. Recovery from N reads N and
all later ones. See `entries` for a segment whose end is not whole, and for one that is damaged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from stream_balance.edge.checkpoint.disk import Disk, Output
from stream_balance.edge.checkpoint.entries import Chain, read_entries
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.errors import WorldError

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

    `entries` counts what was appended, `dropped` the bytes that recovery left out. With a key entries are signed.
    """

    def __init__(self, disk: Disk, key: bytes | None = None) -> None:
        self._disk = disk
        self._key = key
        self._chain = Chain(key, "")
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
        """The positions journaled since the snapshot of checkpoint `since`: of each entry those that differ from the
        entry before, keys `topic/partition`. They take some ten times the journal's bytes.

        Raises OSError, WorldError for a segment that lost an entry (another order would break the promise silently),
        and SettingsError for one that is not signed with our key.
        """
        plan: list[dict[str, int]] = []
        keys: dict[str, str] = {}  # each once in memory
        for number in segments(self._disk):
            name = segment_name(number)
            if number < since:
                continue
            # What a killed process left unsynced is about to be relied upon.
            self._disk.sync_file(name)
            self._sizes[number] = self._disk.size(name)
            # A segment begins with all positions.
            for entry in self._read(name):
                plan.append({keys.setdefault(key, key): offset for key, offset in orjson.loads(entry).items()})
        # So is the name of a checkpoint whose process was killed between rename and sync.
        self._disk.sync_names()
        return plan

    def _read(self, name: str) -> list[bytes]:
        with self._disk.open(name) as source:
            content = source.read()
        try:
            found, dropped = read_entries(content, name, self._key)
        except Damaged as error:
            raise WorldError(
                f"checkpoint.dir {self._disk.where!r}: {error}: the order in which records were taken is not known "
                "after it. Restore the file from a backup; or remove it, and go on without: what is read again may be "
                "taken in another order, and be predicted otherwise than it was."
            ) from None
        self.dropped += dropped
        return found

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
            self._chain = Chain(self._key, segment_name(self._number))
        changed = {key: offset for key, offset in named.items() if self._last.get(key) != offset}
        line = self._chain.line(orjson.dumps(changed))
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
