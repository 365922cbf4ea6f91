"""Carried: what became of fits, from a service's folder into a recording, and from either into a replay. In: paths.

A copy holds the whole lines that were there when it was made, and takes the place of the one before; the service may
go on writing meanwhile. Its own lock is not taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stream_balance.edge.checkpoint.disk import Disk, disk_error
from stream_balance.edge.checkpoint.fit_journal import FILE, FRESH, Entry, entries
from stream_balance.edge.recording import cannot_write
from stream_balance.errors import SettingsError, WorldError


def carry(source: Disk, target: Disk) -> int:
    """Copy the journal of a service's folder into a recording's, safe on return; how many requests it speaks of.

    Raises WorldError. A service that has journaled nothing yet has none: then nothing is copied.
    """
    try:
        with source.open(FILE) as file:
            found = _whole_lines(file.read())
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise disk_error(source, f"{FILE} cannot be read", error) from error
    requests = len(entries(found, source.where))
    try:
        if found:
            copy = target.create(FRESH)
            try:
                copy.write(found)
                copy.sync()
            finally:
                copy.close()
            target.rename(FRESH, FILE)
            target.sync_names()
    except OSError as error:
        raise cannot_write(target, FILE, error, f"it has {len(found):,} bytes") from error
    return requests


def followed(logs: Iterable[Path], given: Path | None) -> dict[str, Entry]:
    """What a replay follows: the journals in the recordings that it reads, and the one it was given (a folder, or the
    file). Raises SettingsError for one that is not there.
    """
    found: dict[str, Entry] = {}
    for log in logs:
        found |= entries(_content(log), str(log))
    if given is None:
        return found
    if not (given / FILE).is_file() and not given.is_file():
        raise SettingsError(
            f"--journal {str(given)!r} is neither {FILE} nor a folder that holds it. Leave it"
            " out if nothing was journaled."
        )
    return found | entries(_content(given), str(given))


def _content(path: Path) -> bytes:
    """Up to the last whole line; nothing where there is no journal."""
    file = path / FILE if path.is_dir() else path
    if file.name != FILE:
        return b""
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise WorldError(f"{str(file)!r} cannot be read: {error.strerror}.") from error
    return _whole_lines(content)


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
