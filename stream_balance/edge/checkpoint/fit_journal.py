"""Fit journal: what the world decided about fits in child processes, so that a restart and a replay decide the same.

A fit's result is a function of its request. Whether there is one (killed, too slow, no memory), and at which event it
entered where it need not wait for its time, is the world's doing and nobody's to repeat. So a refusal, a result that
entered, and that at some event it had not entered yet, are appended here by the SHA-256 of the request, and synced
before they have an effect. A line that is not whole was never relied upon. Bounded: the latest `entries_max` requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

import orjson

from stream_balance.edge.checkpoint.disk import Disk, Output, disk_error
from stream_balance.edge.checkpoint.entries import Chain, read_entries
from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.errors import WorldError

FILE, FRESH = "fits.jsonl", "fits.tmp"
ENTRIES_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of one request. `reason`: why it was refused. `result`: the SHA-256 of what entered, at its time
    or, early, at `position` events; `not_by`: up to there it had not entered early.
    """

    kind: str
    reason: str | None = None
    position: int | None = None
    result: str | None = None
    not_by: int = -1


class FitJournal:
    """The journal of one folder, or of none (`disk` None: it is followed, nothing is kept). The file is made with the
    first entry, under a key signed. `follow` are entries of another journal, which go before what the folder has of the
    same requests.
    """

    def __init__(
        self,
        disk: Disk | None,
        follow: Mapping[str, Entry] | None = None,
        *,
        entries_max: int = ENTRIES_MAX,
        key: bytes | None = None,
    ) -> None:
        self._disk = disk
        self._key = key
        self._chain = Chain(key, FILE)
        self._file: Output | None = None
        self._lines = 0  # of the file
        self._entries_max = entries_max
        self._known: dict[str, Entry] = {}
        self.forgotten = 0
        if disk is not None:
            try:
                if FILE in disk.names():
                    disk.sync_file(FILE)  # what a killed process left unsynced is about to be relied upon
                    with disk.open(FILE) as source:
                        self._known = entries(source.read(), f"checkpoint.dir {disk.where!r}: {FILE}", key)
            except OSError as error:
                raise disk_error(disk, f"{FILE} cannot be read", error) from error
        if follow:
            self._known |= follow
            self._put(())

    def __len__(self) -> int:
        return len(self._known)

    def why(self, kind: str, request: bytes) -> str | None:
        """The reason for which this request was refused; None if it was not."""
        return self._of(kind, request).reason

    @property
    def is_kept(self) -> bool:
        """Whether there is a folder: what effects had may then be out in the world."""
        return self._disk is not None

    def early(self, kind: str, request: bytes) -> Entry:
        """What is known of a request's entry."""
        return self._of(kind, request)

    def _of(self, kind: str, request: bytes) -> Entry:
        return self._known.get(_name(kind, request)) or Entry(kind)

    def refuse(self, kind: str, request: bytes, reason: str) -> None:
        """A refusal, safe on return. Raises WorldError."""
        self._change(kind, request, replace(self._of(kind, request), reason=reason))

    def enter(self, kind: str, request: bytes, position: int, outcome: bytes | str) -> None:
        """A result, or a refusal for a reason, enters early at so many events; safe on return. Raises WorldError."""
        entry = replace(self._of(kind, request), position=position)
        if isinstance(outcome, str):
            entry = replace(entry, reason=outcome)
        else:
            entry = replace(entry, result=hashlib.sha256(outcome).hexdigest())
        self._change(kind, request, entry)

    def serve(self, kind: str, request: bytes, result: bytes) -> None:
        """A result enters at its time; safe on return. Raises WorldError."""
        entry = replace(self._of(kind, request), result=hashlib.sha256(result).hexdigest())
        self._change(kind, request, entry)

    def wait(self, kind: str, request: bytes, position: int) -> None:
        """At so many events it had not entered; safe on return. Raises WorldError."""
        self._change(kind, request, replace(self._of(kind, request), not_by=position))

    def _change(self, kind: str, request: bytes, entry: Entry) -> None:
        name = _name(kind, request)
        self._known.pop(name, None)  # the latest stand last
        self._known[name] = entry
        self._put((name,))

    def _put(self, names: Iterable[str]) -> None:
        if self._disk is None:
            return
        try:
            if self._file is None or self._lines >= 2 * self._entries_max:
                self._begin(self._disk)
            else:
                self._write(self._file, names)
                self._file.sync()
        except OSError as error:
            did = f"{FILE} cannot be written, and must not be lost"
            raise disk_error(self._disk, did, error, "Mend the folder or its disk and start again.") from error

    def _begin(self, disk: Disk) -> None:
        """The latest ones in a file of their own, which takes the place of the one before."""
        kept = dict(list(self._known.items())[-self._entries_max :])
        self.forgotten += len(self._known) - len(kept)
        self._known = kept
        self.close()
        self._file, self._lines = disk.create(FRESH), 0
        self._chain = Chain(self._key, FILE)
        self._write(self._file, self._known)
        self._file.sync()
        disk.rename(FRESH, FILE)
        disk.sync_names()

    def _write(self, file: Output, names: Iterable[str]) -> None:
        entries_ = (orjson.dumps({"request": name, **asdict(self._known[name])}) for name in names)
        lines = [self._chain.line(entry) for entry in entries_]
        self._lines += len(lines)
        file.write(b"".join(lines))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def entries(content: bytes, where: str = FILE, key: bytes | None = None) -> dict[str, Entry]:
    """What whole lines say, by request; the last word on a request counts. Raises WorldError if the file lost some, and
    SettingsError if it is not signed with the key.
    """
    try:
        lines, _ = read_entries(content, FILE, key, where=where)
    except Damaged as error:
        raise WorldError(
            f"{error}: what the world decided about some fits is gone. Restore the file from a backup; or remove it, "
            "and go on without: a fit that was refused, or entered early, may then come to something else than it did."
        ) from None
    found: dict[str, Entry] = {}
    for line in lines:
        fields = orjson.loads(line)
        name = fields.pop("request")
        found.pop(name, None)
        found[name] = Entry(**fields)
    return found


def _name(kind: str, request: bytes) -> str:
    return hashlib.sha256(kind.encode() + b"\0" + request).hexdigest()
