"""Entries: a journal's file as lines, each with its sum. In: entries. Out: the whole ones again, or what is wrong.

An entry is synced before the next is written. So a kill or a power failure leaves whole entries and, behind them, at
most a part of one, which had no effect yet: it is left out. A whole entry behind a part is no such end: the part was
whole once, what it said has happened, and to leave it out would be to decide anew. Then the file is `Damaged`.
"""

from __future__ import annotations

import re
import zlib

from stream_balance.edge.checkpoint.format import Damaged

_LINES = re.compile(rb"(?=([0-9a-f]{8} \{[^\n]*\n))")  # wherever one might begin


def line_of(entry: bytes) -> bytes:
    """One entry, a JSON object without a line end, as it is written.

    >>> line_of(b'{"s/0":7}')
    b'38834318 {"s/0":7}\\n'
    """
    return b"%08x %s\n" % (zlib.crc32(entry), entry)


def whole_entries(content: bytes, name: str) -> tuple[list[bytes], int]:
    """The entries, and how many bytes of an unfinished one are left out. Raises Damaged, which names the file."""
    found: list[bytes] = []
    read = 0
    for line in content.splitlines(keepends=True):
        if not _is_whole(line):
            if any(_is_whole(match[1]) for match in _LINES.finditer(content, read + 1)):
                raise Damaged(f"{name} is damaged: its entry {len(found) + 1} is not whole, and whole ones follow")
            break
        found.append(line[9:-1])
        read += len(line)
    return found, len(content) - read


def _is_whole(line: bytes) -> bool:
    return line.endswith(b"\n") and line[8:9] == b" " and line[:8] == b"%08x" % zlib.crc32(line[9:-1])
