"""Carried: what became of fits, from a service's folder into a recording, and from either into a replay. In: paths.

A copy holds the whole lines that were there when it was made, and takes the place of the one before; the service may
go on writing meanwhile. Its own lock is not taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stream_balance.edge.checkpoint.disk import LocalDisk
from stream_balance.edge.checkpoint.fit_journal import FILE, FRESH, Entry, entries
from stream_balance.errors import SettingsError, WorldError


def carry(source: Path, folder: Path) -> int:
    """Copy the journal of a service's folder into a recording's, safe on return; how many requests it speaks of.

    Raises WorldError. A service that has journaled nothing yet has none: then nothing is copied.
    """
    found = _content(source)
    requests = len(entries(found, str(source)))
    try:
        if found:
            disk = LocalDisk(folder)
            file = disk.create(FRESH)
            try:
                file.write(found)
                file.sync()
            finally:
                file.close()
            disk.rename(FRESH, FILE)
            disk.sync_names()
    except OSError as error:
        raise WorldError(f"{str(folder)!r} cannot be written: {error.strerror}.") from error
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
    return content[: content.rfind(b"\n") + 1]
