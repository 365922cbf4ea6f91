"""Sign: puts a folder under a key, or under another one. In: checkpoints and journals, the key they have. Out: the
same, signed with the new one; nothing else of them changes.

Everything is looked at before anything is written. Each file is written beside the old one, synced, and takes its
place: a kill leaves files of either key, and the next `sign` does the rest. Who signs what had no signature vouches for
it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from stream_balance.edge.checkpoint import format as fmt
from stream_balance.edge.checkpoint.disk import Disk, Output
from stream_balance.edge.checkpoint.entries import Chain, are_signed, bare, whole_entries
from stream_balance.edge.checkpoint.fit_journal import FILE as FITS
from stream_balance.edge.checkpoint.format import Damaged, Trailer
from stream_balance.edge.checkpoint.journal import segment_name, segments
from stream_balance.edge.checkpoint.store import file_name, numbers, temporary_name
from stream_balance.errors import SettingsError

Write = Callable[[Output], None]


@dataclass(slots=True)
class Signed:
    """What was done: files signed anew, files that had the signature already, and checkpoints left as they are because
    they are not whole.
    """

    anew: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    damaged: list[Damaged] = field(default_factory=list)


def journals(disk: Disk) -> list[str]:
    """The journals of a folder."""
    return [name for name in (*map(segment_name, segments(disk)), FITS) if name in disk.names()]


def sign(disk: Disk, key: bytes, old: bytes | None = None) -> Signed:
    """Sign all that is signed with `old`; without `old`, all that is not signed. What `key` has signed stays.

    Raises OSError; Damaged for a journal, and SettingsError for a file that is signed otherwise: then nothing is done.
    """
    done, ready = Signed(), list[tuple[str, Write]]()
    for name in map(file_name, numbers(disk)):
        try:
            trailer = _trailer(disk, name)
        except Damaged as error:
            done.damaged.append(error)
            continue
        if trailer.is_by(key):
            done.before.append(name)
            continue
        _check(name, trailer.is_by(old) if old is not None else not trailer.signed, trailer.signed, old)
        ready.append((name, partial(_copy, disk, name, trailer.signed_with(key))))
    for name in journals(disk):
        lines = _lines(disk, name)
        if Chain(key, name).first_wrong(lines) is None:
            done.before.append(name)
            continue
        signed = are_signed(lines)
        _check(name, Chain(old, name).first_wrong(lines) is None if old is not None else not signed, signed, old)
        chain = Chain(key, name)
        ready.append((name, partial(_write, b"".join(chain.line(bare(line)) for line in lines))))
    for name, write in ready:
        _replace(disk, name, write)
        done.anew.append(name)
    return done


def _trailer(disk: Disk, name: str) -> Trailer:
    """Of a whole file; raises Damaged."""
    with disk.open(name) as source:
        return fmt.check(source, disk.size(name), name, None)


def _lines(disk: Disk, name: str) -> list[bytes]:
    """Of a journal, without what was not finished; raises Damaged."""
    with disk.open(name) as source:
        return whole_entries(source.read(), name)[0]


def _check(name: str, expected: bool, signed: bool, old: bytes | None) -> None:
    if expected:
        return
    found = "is not signed" if not signed else "is signed with another key"
    asked = "--old-key asks for its signature" if old is not None else "no --old-key was given"
    raise SettingsError(
        f"{name} {found}, and {asked}: nothing was signed. Give the key that the folder was used with; if somebody "
        "else wrote the file, do not trust it."
    )


def _copy(disk: Disk, name: str, trailer: Trailer, output: Output) -> None:
    content = disk.size(name) - len(trailer.packed())
    with disk.open(name) as source:
        for piece in fmt.pieces(source, content, name):
            output.write(piece)
    output.write(trailer.packed())


def _write(content: bytes, output: Output) -> None:
    output.write(content)


def _replace(disk: Disk, name: str, write: Write) -> None:
    temporary = temporary_name(0)  # of no checkpoint; what a kill leaves of it the next start removes
    output = disk.create(temporary)
    try:
        write(output)
        output.sync()
    finally:
        output.close()
    disk.rename(temporary, name)
    disk.sync_names()
