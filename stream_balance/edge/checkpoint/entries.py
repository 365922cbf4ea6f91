"""Entries: a journal's file as lines, each with its sum. In: entries. Out: the whole ones again, or what is wrong.

An entry is synced before the next is written. So a kill or a power failure leaves whole entries and, behind them, at
most a part of one, which had no effect yet: it is left out. An entry behind a part is no such end: the part was whole
once, what it said has happened, and to leave it out would be to decide anew. Then the file is `Damaged`.

Under a key each entry also carries an HMAC-SHA256 over itself and the one before, the first over the file's name: none
can be changed, added, left out, moved, or brought from another file by who has not the key. Only the last ones can be
cut off unseen, as a kill may leave it too. A signed file is read without a key, as a signed checkpoint is.
"""

from __future__ import annotations

import hmac
import re
import zlib
from collections.abc import Sequence

from stream_balance.edge.checkpoint.format import Damaged
from stream_balance.errors import SettingsError

_LINES = re.compile(rb"(?=([0-9a-f]{8} \{[^\n]*\n))")  # wherever one might begin
_SIGNED = b"\t"  # before the signature; JSON has none within


def line_of(entry: bytes) -> bytes:
    """One entry, a JSON object without a line end, as it is written.

    >>> line_of(b'{"s/0":7}')
    b'38834318 {"s/0":7}\\n'
    """
    return b"%08x %s\n" % (zlib.crc32(entry), entry)


class Chain:
    """The entries of one file, one after the other, signed where there is a key."""

    def __init__(self, key: bytes | None, name: str) -> None:
        self._key = key
        self._last = name.encode()

    def line(self, entry: bytes) -> bytes:
        """The next entry as it is written."""
        return line_of(entry if self._key is None else entry + _SIGNED + self._next(entry))

    def _next(self, entry: bytes) -> bytes:
        assert self._key is not None
        # What goes before ends at a line end, which neither a name nor an entry has.
        self._last = hmac.digest(self._key, self._last + b"\n" + entry, "sha256").hex().encode()
        return self._last

    def first_wrong(self, lines: Sequence[bytes]) -> int | None:
        """Which of the file's entries is not what this key would have signed; None = they all are. Without a key
        nothing is wrong.
        """
        if self._key is None:
            return None
        for index, line in enumerate(lines):
            entry, _, signature = line.partition(_SIGNED)
            if not hmac.compare_digest(signature, self._next(entry)):
                return index
        return None


def read_entries(content: bytes, name: str, key: bytes | None = None, *, where: str = "") -> tuple[list[bytes], int]:
    """The entries of the file of that name (`where`: as messages call it), and how many bytes of an unfinished one are
    left out. Raises Damaged, and SettingsError for entries that are not signed with the key.
    """
    where = where or name
    lines, dropped = whole_entries(content, where)
    wrong = Chain(key, name).first_wrong(lines)
    if wrong is not None:
        if not are_signed(lines):
            found = "is not signed"
        elif wrong == 0:
            found = "is signed with another key, or for another file"
        else:
            found = f"has an entry {wrong + 1} that our key did not sign after the one before it"
        raise SettingsError(
            f"{where} {found}, and checkpoint.hmac_key_file asks for ours. Give the key it was written with; where you "
            "trust the folder, 'stream-balance checkpoint sign' signs it anew."
        )
    return [bare(line) for line in lines], dropped


def bare(line: bytes) -> bytes:
    """An entry without its signature."""
    return line.partition(_SIGNED)[0]


def are_signed(lines: Sequence[bytes]) -> bool:
    """Whether any of them has a signature, whosever."""
    return any(_SIGNED in line for line in lines)


def whole_entries(content: bytes, name: str) -> tuple[list[bytes], int]:
    """The entries with their signatures, and how many bytes of an unfinished one are left out. Raises Damaged, which
    names the file.
    """
    found: list[bytes] = []
    read = 0
    for line in content.splitlines(keepends=True):
        if not _is_whole(line):
            if b"\n" in content[read:-1] or any(_is_whole(match[1]) for match in _LINES.finditer(content, read + 1)):
                raise Damaged(f"{name} is damaged: its entry {len(found) + 1} is not whole, and others follow")
            break
        found.append(line[9:-1])
        read += len(line)
    return found, len(content) - read


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n") and line[8:9] == b" " and line[:8] == b"%08x" % zlib.crc32(line[9:-1])
